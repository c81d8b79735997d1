"""The offline judge: how close the answer's sentences are to each criterion's right and wrong wordings, and what the
bank's trained heads make of them where there are some; weighed by the calibration that was fitted for just that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from grader.calibration import CLASSES, Calibration
from grader.errors import CalibrationError
from grader.evidence import SIGNALS
from grader.judges import HEAD_MISCONCEPTION_SIGNALS, MISCONCEPTION_SIGNALS, Case
from grader.judges.heads import HEAD_SIGNALS, BankHeads
from grader.schema import Criterion, Judgement, MisconceptionFinding

MET, PARTIAL, WRONG = CLASSES.index("met"), CLASSES.index("partial"), CLASSES.index("contradicted")


class OfflineJudge:
    """Deterministic, without a network: zero-shot for any question, with heads for those the bank was trained on."""

    name = "offline"

    def __init__(
        self, zero_shot: Calibration, with_heads: Calibration | None = None, heads: BankHeads | None = None
    ) -> None:
        _check(zero_shot, SIGNALS, MISCONCEPTION_SIGNALS)
        if with_heads is not None:
            _check(with_heads, (*SIGNALS, *HEAD_SIGNALS), (*MISCONCEPTION_SIGNALS, *HEAD_MISCONCEPTION_SIGNALS))
        self.zero_shot = zero_shot
        self.with_heads = with_heads
        self.version = f"{heads.revision if heads else 'zero-shot'}"

    def calibration(self, case: Case | None) -> Calibration:
        """The calibration that decides a case: the one for heads where there are heads."""
        if case is not None and case.heads is not None and self.with_heads is not None:
            return self.with_heads
        return self.zero_shot

    def judge(self, case: Case, criteria: Sequence[Criterion]) -> list[Judgement]:
        """See Judge.judge."""
        probabilities = self.calibration(case).verdict_probabilities(case.criterion_rows())
        judgements = {
            criterion.id: self._judgement(case, number, row)
            for number, (criterion, row) in enumerate(zip(case.index.question.criteria, probabilities, strict=True))
        }
        return [judgements[criterion.id] for criterion in criteria]

    def _judgement(self, case: Case, number: int, row: NDArray[np.float64]) -> Judgement:
        wrong = row[WRONG] > row[MET] + row[PARTIAL]
        if case.reading is not None:
            span = (case.reading.wrong_spans if wrong else case.reading.right_spans)[number]
        else:
            span = case.signals[number].wrong_span if wrong else case.signals[number].support_span
        return Judgement(
            criterion_id=case.signals[number].criterion_id,
            p_met=float(row[MET]),
            p_partial=float(row[PARTIAL]),
            p_contradicted=float(row[WRONG]),
            evidence=(case.quote(span),),
        )

    def misconceptions(self, case: Case) -> list[MisconceptionFinding]:
        """How likely the answer holds each misconception, and where."""
        probabilities = self.calibration(case).misconception_probabilities(case.misconception_rows())
        spans = [m.span for m in case.misconceptions] if case.reading is None else case.reading.held_spans
        return [
            MisconceptionFinding(
                misconception_id=m.misconception_id, probability=float(p), evidence=(case.quote(span),)
            )
            for m, p, span in zip(case.misconceptions, probabilities, spans, strict=True)
        ]


def _check(calibration: Calibration, signals: Sequence[str], misconception_signals: Sequence[str]) -> None:
    if (calibration.signals, calibration.misconception_signals) != (tuple(signals), tuple(misconception_signals)):
        raise CalibrationError("The calibration was fitted on other signals than this version measures; fit it again.")
