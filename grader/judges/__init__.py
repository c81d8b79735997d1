"""The Judge seam: one answer and some criteria in, a judgement on each out.

`encoder` (similarity, contrast, calibration) ships as the offline judge; `scripted` is a fake for tests that says what
it is told. A judge never adds points: it gives probabilities and quotes, the rest is `scoring`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from grader.evidence import AnswerVectors, Signals, measure
from grader.index import QuestionIndex
from grader.schema import Criterion, EvidenceSpan, Judgement
from grader.text import NormalisedText


@dataclass(frozen=True)
class Case:
    """Everything a judge may look at. `vectors.segments` holds only what counts as an answer (guards removed the rest)."""

    index: QuestionIndex
    answer: NormalisedText
    vectors: AnswerVectors

    @cached_property
    def signals(self) -> list[Signals]:
        """Measured once, for all who need them; over all criteria, since they are compared with each other."""
        return measure(self.index, self.vectors)

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
