"""The Judge seam: one answer and some criteria in, a judgement on each out.

`offline` ships: similarity, contrast and, where its weights are there, a trained reader, weighed by the calibration.
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

from grader.evidence import (
    SIGNALS,
    AnswerVectors,
    MisconceptionSignals,
    Signals,
    measure,
    measure_misconceptions,
)
from grader.index import QuestionIndex
from grader.schema import Criterion, EvidenceSpan, Judgement
from grader.text import NormalisedText

# What a reader adds to the signals of a criterion: its opinion, and what it thinks of the answer as a whole.
READER_SIGNALS = ("log_not_met", "log_partial", "log_met", "log_contradicted", "answer_met", "answer_contradicted")
MISCONCEPTION_SIGNALS = ("wrong", "margin", "answer_contrast")
READER_MISCONCEPTION_SIGNALS = ("log_not_held", "log_held", "log_denied")
# Log-probabilities below this are all the same to the calibration.
LEAST_LOG = -8.0


class Reader(Protocol):
    """A trained network that reads an answer with each statement of a rubric in mind."""

    revision: str

    def read(self, case: Case) -> NDArray[np.float64]:
        """Shape (criteria + misconceptions, 4): log-probabilities in the order of calibration.CLASSES."""
        ...


@dataclass(frozen=True)
class Case:
    """Everything a judge may look at. `vectors.segments` is what counts as an answer (guards removed the rest)."""

    index: QuestionIndex
    answer: NormalisedText
    vectors: AnswerVectors
    reader: Reader | None = None

    @cached_property
    def signals(self) -> list[Signals]:
        """Measured once, for all who need them; over all criteria, since they are compared with each other."""
        return measure(self.index, self.vectors)

    @cached_property
    def misconceptions(self) -> list[MisconceptionSignals]:
        """The closest span to every misconception."""
        return measure_misconceptions(self.index, self.vectors)

    @cached_property
    def reading(self) -> NDArray[np.float64] | None:
        """The reader's log-probabilities, cut at LEAST_LOG; None without a reader."""
        return None if self.reader is None else np.maximum(self.reader.read(self), LEAST_LOG)

    def criterion_rows(self) -> NDArray[np.float64]:
        """Shape (criteria, signals): SIGNALS, then READER_SIGNALS where there is a reader."""
        rows = np.stack([signal.values for signal in self.signals])
        if self.reading is None:
            return rows
        reading = self.reading[: len(rows)]
        whole = np.exp(reading[:, [2, 3]]).mean(axis=0, keepdims=True).repeat(len(rows), axis=0)
        return np.concatenate([rows, reading, whole], axis=1)

    def misconception_rows(self) -> NDArray[np.float64]:
        """Shape (misconceptions, signals): MISCONCEPTION_SIGNALS, then the reader's where there is one."""
        contrast = self.signals[0].values[SIGNALS.index("answer_contrast")]
        rows = np.array([[m.wrong, m.wrong - m.right, contrast] for m in self.misconceptions]).reshape(-1, 3)
        if self.reading is None:
            return rows
        return np.concatenate([rows, self.reading[len(self.signals) :][:, [0, 2, 3]]], axis=1)

    def quote(self, first: int, last: int) -> EvidenceSpan:
        """The words of segments `first` to `last`, verbatim from the answer as it was sent."""
        segments = self.vectors.segments
        return self.answer.span(segments[first].start, segments[last].end)


class Judge(Protocol):
    """Gives an opinion on criteria. `version` changes whenever its opinions could."""

    name: str
    version: str

    def judge(self, case: Case, criteria: Sequence[Criterion]) -> list[Judgement]:
        """One Judgement a criterion, in the order given. Evidence must be verbatim; a judge that does not know abstains."""
        ...
