"""The offline judge: how close the answer's sentences are to each criterion's right and wrong wordings, and what a
trained reader makes of them where there is one; weighed by the calibration that was fitted for just that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from grader.calibration import CLASSES, Calibration, load_calibration
from grader.encoders import Encoder
from grader.errors import CalibrationError, EncoderError
from grader.evidence import SIGNALS
from grader.judges import MISCONCEPTION_SIGNALS, READER_MISCONCEPTION_SIGNALS, READER_SIGNALS, Case, Reader
from grader.schema import Criterion, Judgement

if TYPE_CHECKING:
    from pathlib import Path

MET, PARTIAL, WRONG = CLASSES.index("met"), CLASSES.index("partial"), CLASSES.index("contradicted")


class OfflineJudge:
    """Deterministic, without a network. `encoder` without a reader, `entailment` with one."""

    def __init__(self, calibration: Calibration, reader_revision: str | None = None) -> None:
        signals = (*SIGNALS, *READER_SIGNALS) if reader_revision else SIGNALS
        held = (*MISCONCEPTION_SIGNALS, *READER_MISCONCEPTION_SIGNALS) if reader_revision else MISCONCEPTION_SIGNALS
        if (calibration.signals, calibration.misconception_signals) != (signals, held):
            raise CalibrationError(
                "The calibration was fitted on other signals than this version measures; fit it again."
            )
        self.calibration = calibration
        self.judged_by: Literal["encoder", "entailment"] = "entailment" if reader_revision else "encoder"
        self.name: str = self.judged_by
        self.version = f"{reader_revision}+{calibration.version}" if reader_revision else calibration.version

    def judge(self, case: Case, criteria: Sequence[Criterion]) -> list[Judgement]:
        """See Judge.judge."""
        probabilities = self.calibration.verdict_probabilities(case.criterion_rows())
        judgements = {}
        for signal, row in zip(case.signals, probabilities, strict=True):
            wrong = row[WRONG] > max(row[MET], row[PARTIAL])
            judgements[signal.criterion_id] = Judgement(
                criterion_id=signal.criterion_id,
                p_met=float(row[MET]),
                p_partial=float(row[PARTIAL]),
                p_contradicted=float(row[WRONG]),
                evidence=(case.quote(*(signal.wrong_span if wrong else signal.support_span)),),
                judged_by=self.judged_by,
            )
        return [judgements[criterion.id] for criterion in criteria]


@dataclass(frozen=True)
class Offline:
    """What the offline judge needs, loaded; `degraded` says why it is not what it could be."""

    calibration: Calibration
    reader: Reader | None
    degraded: str | None = None

    def judge(self) -> OfflineJudge:
        return OfflineJudge(self.calibration, self.reader.revision if self.reader else None)


def load_offline(encoder: Encoder, weights: Path | None = None) -> Offline:
    """The reader and its calibration for the embedded encoder; without its weights the zero-shot judge, and why."""
    from grader.encoders.sentence_transformer import SentenceTransformerEncoder

    if not isinstance(encoder, SentenceTransformerEncoder) or not encoder.embedded:
        reason = f"judge and calibration were fitted for the embedded encoder, not for {encoder.name}"
        return Offline(load_calibration("encoder"), None, reason)
    from grader.judges.entailment import WEIGHTS, EntailmentReader

    try:
        reader = EntailmentReader(encoder, weights or WEIGHTS)
    except EncoderError as error:
        return Offline(load_calibration("encoder"), None, str(error))
    return Offline(load_calibration("entailment"), reader)
