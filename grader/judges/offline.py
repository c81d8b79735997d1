"""The offline judge: weighs everything that was measured about an answer by the calibration fitted for just that.

How close the sentences come to each criterion's right and wrong wordings; where the bank has them, what its trained heads
say; and where the entailment network knows the question, its reading of the whole answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from grader.calibration import CLASSES, Calibration
from grader.errors import CalibrationError
from grader.judges import CRITERION_SIGNALS_OF, MISCONCEPTION_SIGNALS_OF, Case, Level
from grader.schema import Criterion, Judgement, MisconceptionFinding

LEVELS: tuple[Level, ...] = get_args(Level)
MET, PARTIAL, WRONG = CLASSES.index("met"), CLASSES.index("partial"), CLASSES.index("contradicted")


class OfflineJudge:
    """Deterministic, without a network: zero-shot for any question, with heads for those the bank was trained on."""

    name = "offline"

    def __init__(self, calibrations: Mapping[Level, Calibration], version: str = "zero-shot") -> None:
        for level, calibration in calibrations.items():
            _check(calibration, CRITERION_SIGNALS_OF[level], MISCONCEPTION_SIGNALS_OF[level])
        self.calibrations = calibrations
        self.version = version

    @property
    def newest(self) -> Calibration:
        """The calibration for the questions most is known about."""
        return next(self.calibrations[level] for level in reversed(LEVELS) if level in self.calibrations)

    def calibration(self, case: Case | None) -> Calibration:
        """The calibration that decides a case, by what is known about its question."""
        return self.calibrations["encoder" if case is None else case.level]

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
            judged_by="entailment" if case.level == "entailment" else "encoder",
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
