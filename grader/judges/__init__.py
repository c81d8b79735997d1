"""The Judge seam: one answer and some criteria in, a judgement on each out.

`offline` ships: similarity, contrast and, where the bank has them, trained criterion heads and the entailment network's
reading, weighed by the calibration.
`scripted` is a fake for tests that says what it is told.
A judge never adds points: it gives probabilities and quotes, the rest is `scoring`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from grader.encoders import LayerVectors
from grader.evidence import (
    REFERENCE_SIGNALS,
    SIGNALS,
    AnswerVectors,
    MisconceptionSignals,
    Signals,
    measure,
    measure_misconceptions,
    measure_reference,
)
from grader.index import QuestionIndex
from grader.judges.entailment import READER_MISCONCEPTION_SIGNALS, READER_SIGNALS
from grader.judges.heads import HEAD_SIGNALS, HeadReading, QuestionHeads, read
from grader.schema import Criterion, EvidenceSpan, Judgement
from grader.text import NormalisedText

if TYPE_CHECKING:
    from grader.judges.pair import PairReader

MISCONCEPTION_SIGNALS = ("wrong", "margin", "answer_contrast")
HEAD_MISCONCEPTION_SIGNALS = ("head_held",)
# Log-odds, by the pair network, that the closest span meets the criterion, and that it contradicts it.
PAIR_SIGNALS = ("pair_met", "pair_contradicted")

Level = Literal["reference", "encoder", "rubric", "heads", "entailment"]
# What is measured when a question has one wording a criterion, as one with a reference answer alone; when it has more, or the
# encoder is not the one that the pair network was made from; when
# heads were fitted to its rubric alone or to more than that; and when the network knows it as well.
CRITERION_SIGNALS_OF: dict[Level, tuple[str, ...]] = {
    "reference": (*SIGNALS, *REFERENCE_SIGNALS, *PAIR_SIGNALS),
    "encoder": SIGNALS,
    "rubric": (*SIGNALS, *HEAD_SIGNALS),
    "heads": (*SIGNALS, *HEAD_SIGNALS),
    "entailment": (*SIGNALS, *HEAD_SIGNALS, *READER_SIGNALS),
}
MISCONCEPTION_SIGNALS_OF: dict[Level, tuple[str, ...]] = {
    "reference": MISCONCEPTION_SIGNALS,
    "encoder": MISCONCEPTION_SIGNALS,
    "rubric": (*MISCONCEPTION_SIGNALS, *HEAD_MISCONCEPTION_SIGNALS),
    "heads": (*MISCONCEPTION_SIGNALS, *HEAD_MISCONCEPTION_SIGNALS),
    "entailment": (*MISCONCEPTION_SIGNALS, *HEAD_MISCONCEPTION_SIGNALS, *READER_MISCONCEPTION_SIGNALS),
}


@dataclass(frozen=True)
class Case:
    """Everything a judge may look at. `vectors.segments` is what counts as an answer (guards removed the rest).

    `layers` (segments, layers, d) and `heads` are there together, or neither is; `logits` (criteria then misconceptions, 2),
    the network's reading of the whole answer, only where there are heads too. `pair` is there where a wording a criterion is
    all that is known.
    """

    index: QuestionIndex
    answer: NormalisedText
    vectors: AnswerVectors
    layers: LayerVectors | None = None
    heads: QuestionHeads | None = None
    logits: NDArray[np.float64] | None = None
    pair: PairReader | None = None

    @property
    def level(self) -> Level:
        """How much is known about the question."""
        if self.heads is None or self.layers is None:
            return "reference" if self.pair is not None else "encoder"
        if self.heads.source == "rubric":
            return "rubric"
        return "heads" if self.logits is None else "entailment"

    @cached_property
    def signals(self) -> list[Signals]:
        """Measured once, for all who need them; over all criteria, since they are compared with each other."""
        return measure(self.index, self.vectors)

    @cached_property
    def misconceptions(self) -> list[MisconceptionSignals]:
        """The closest span to every misconception."""
        return measure_misconceptions(self.index, self.vectors)

    @cached_property
    def reading(self) -> HeadReading | None:
        """What the question's heads say; None where it has none."""
        if self.heads is None or self.layers is None:
            return None
        return read(self.heads, self.layers, [segment.text for segment in self.vectors.segments])

    def criterion_rows(self) -> NDArray[np.float64]:
        """Shape (criteria, signals), in the order of CRITERION_SIGNALS_OF this level."""
        parts = [np.stack([signal.values for signal in self.signals])]
        if self.pair is not None and self.reading is None:
            texts = [self._text(signal.support_span) for signal in self.signals]
            statements = [criterion.statement for criterion in self.index.question.criteria]
            parts += [
                measure_reference(self.index, self.vectors),
                self.pair.read(list(zip(statements, texts, strict=True))),
            ]
        if self.reading is not None:
            parts.append(self.reading.rows)
        if self.logits is not None:
            read_ = self.logits[: len(parts[0])]
            parts += [read_, np.broadcast_to(read_.mean(axis=0), read_.shape)]
        return np.concatenate(parts, axis=1)

    def misconception_rows(self) -> NDArray[np.float64]:
        """Shape (misconceptions, signals), in the order of MISCONCEPTION_SIGNALS_OF this level."""
        contrast = self.signals[0].values[SIGNALS.index("answer_contrast")]
        parts = [np.array([[m.wrong, m.wrong - m.right, contrast] for m in self.misconceptions]).reshape(-1, 3)]
        if self.reading is not None:
            parts.append(self.reading.held[:, None])
        if self.logits is not None:
            parts.append(self.logits[len(self.signals) :])
        return np.concatenate(parts, axis=1)

    def _text(self, span: tuple[int, int]) -> str:
        return " ".join(segment.text for segment in self.vectors.segments[span[0] : span[1] + 1])

    def quote(self, span: tuple[int, int]) -> EvidenceSpan:
        """The words of a range of segments, both ends included, verbatim from the answer as it was sent."""
        segments = self.vectors.segments
        return self.answer.span(segments[span[0]].start, segments[span[1]].end)


class Judge(Protocol):
    """Gives an opinion on criteria. `version` changes whenever its opinions could."""

    name: str
    version: str

    def judge(self, case: Case, criteria: Sequence[Criterion]) -> list[Judgement]:
        """One Judgement a criterion, in the order given. Evidence must be verbatim; a judge that does not know abstains."""
        ...
