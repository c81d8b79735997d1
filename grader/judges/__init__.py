"""The Judge seam: one answer and some criteria in, a judgement on each out.

`offline` ships: similarity, contrast and, where the bank has them, trained criterion heads, weighed by the calibration.
`scripted` is a fake for tests that says what it is told.
A judge never adds points: it gives probabilities and quotes, the rest is `scoring`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from grader.encoders import LayerVectors
from grader.evidence import (
    SIGNALS,
    AnswerVectors,
    MisconceptionSignals,
    Signals,
    measure,
    measure_misconceptions,
)
from grader.index import QuestionIndex
from grader.judges.heads import HeadReading, QuestionHeads, read
from grader.schema import Criterion, EvidenceSpan, Judgement
from grader.text import NormalisedText

MISCONCEPTION_SIGNALS = ("wrong", "margin", "answer_contrast")
HEAD_MISCONCEPTION_SIGNALS = ("head_held",)


@dataclass(frozen=True)
class Case:
    """Everything a judge may look at. `vectors.segments` is what counts as an answer (guards removed the rest).

    `layers` (segments, layers, d) and `heads` are there together, or neither is.
    """

    index: QuestionIndex
    answer: NormalisedText
    vectors: AnswerVectors
    layers: LayerVectors | None = None
    heads: QuestionHeads | None = None

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
        return None if self.heads is None or self.layers is None else read(self.heads, self.layers)

    def criterion_rows(self) -> NDArray[np.float64]:
        """Shape (criteria, signals): SIGNALS, then HEAD_SIGNALS where there are heads."""
        rows = np.stack([signal.values for signal in self.signals])
        return rows if self.reading is None else np.concatenate([rows, self.reading.rows], axis=1)

    def misconception_rows(self) -> NDArray[np.float64]:
        """Shape (misconceptions, signals): MISCONCEPTION_SIGNALS, then the heads' where there are some."""
        contrast = self.signals[0].values[SIGNALS.index("answer_contrast")]
        rows = np.array([[m.wrong, m.wrong - m.right, contrast] for m in self.misconceptions]).reshape(-1, 3)
        return rows if self.reading is None else np.concatenate([rows, self.reading.held[:, None]], axis=1)

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
