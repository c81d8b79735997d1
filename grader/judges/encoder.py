"""The offline judge: how close the answer's sentences are to each criterion's right and wrong wordings, calibrated."""

from __future__ import annotations

from collections.abc import Sequence

from grader.calibration import CLASSES, Calibration
from grader.judges import Case
from grader.schema import Criterion, Judgement

MET, PARTIAL, WRONG = CLASSES.index("met"), CLASSES.index("partial"), CLASSES.index("contradicted")


class EncoderJudge:
    """Judges by similarity and contrast; deterministic, offline."""

    name = "encoder"

    def __init__(self, calibration: Calibration) -> None:
        self.calibration = calibration
        self.version = calibration.version

    def judge(self, case: Case, criteria: Sequence[Criterion]) -> list[Judgement]:
        """See Judge.judge."""
        probabilities = self.calibration.verdict_probabilities(case.signals)
        judgements = {}
        for signal, row in zip(case.signals, probabilities, strict=True):
            wrong = row[WRONG] > max(row[MET], row[PARTIAL])
            judgements[signal.criterion_id] = Judgement(
                criterion_id=signal.criterion_id,
                p_met=float(row[MET]),
                p_partial=float(row[PARTIAL]),
                p_contradicted=float(row[WRONG]),
                evidence=(case.quote(*(signal.wrong_span if wrong else signal.support_span)),),
            )
        return [judgements[criterion.id] for criterion in criteria]
