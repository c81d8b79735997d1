"""One attempt at a question as the form carries it: nothing of it is kept on the server between two requests.

The answer before and the scores so far travel as hidden fields. Who changes them fools only themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import BaseModel, Field, field_validator

from grader.schema import MAX_SCORE, Criterion, Question

# Scores that the course of a question shows.
MOST_SCORES = 12


@dataclass(frozen=True)
class Attempt:
    """An answer with what came before it: ids of hints seen, the answer before, the scores so far (oldest first)."""

    question: Question
    answer: str
    hints: tuple[str, ...] = ()
    previous: str = ""
    course: tuple[float, ...] = ()

    @property
    def is_another(self) -> bool:
        """Whether there is an earlier attempt to compare with."""
        return bool(self.previous.strip())

    @property
    def hinted(self) -> tuple[Criterion, ...]:
        """The criteria whose hints were asked for, in that order."""
        known = {criterion.id: criterion for criterion in self.question.criteria}
        return tuple(known[one] for one in self.hints if one in known)

    def with_hint(self, criterion_id: str) -> Attempt:
        return replace(self, hints=(*self.hints, criterion_id))

    def after(self, score: float | None) -> Attempt:
        """The state from which the next attempt starts, once this one has its score."""
        course = self.course if score is None else (*self.course, score)[-MOST_SCORES:]
        return replace(self, previous=self.answer, course=course)


class AttemptForm(BaseModel):
    """The fields of the form. What does not fit is dropped, never refused: an answer must not be lost over it."""

    answer: str = ""
    hint: list[str] = Field(default_factory=list)
    previous: str = ""
    course: str = ""

    @field_validator("answer", "previous")
    @classmethod
    def _as_typed(cls, text: str) -> str:
        return text.replace("\r\n", "\n")  # browsers send Windows line ends; offsets refer to what was typed

    def attempt(self, question: Question) -> Attempt:
        """The attempt at this question that the fields describe."""
        known = {criterion.id for criterion in question.criteria}
        hints = tuple(dict.fromkeys(one for one in self.hint if one in known))
        return Attempt(question, self.answer, hints, self.previous, _scores(self.course))


def _scores(text: str) -> tuple[float, ...]:
    found: list[float] = []
    for part in text.split(",")[-MOST_SCORES:]:
        try:
            score = float(part)
        except ValueError:
            continue
        if 0 <= score <= MAX_SCORE:
            found.append(score)
    return tuple(found)
