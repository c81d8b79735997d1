"""What can go wrong, as types.

    GraderError
    +-- BankError             a bank or question file is missing, unreadable or wrong (lists every problem)
    +-- UnknownQuestion       no question has that id
    +-- InvalidAnswer         the answer cannot be taken as it is
    |   +-- AnswerTooLong
    +-- InvalidQuestion       an inline question cannot be graded against
    +-- InvalidReview         a person's review does not fit the grade it is about
    +-- EncoderError          the embedding model is missing, damaged or unusable
    +-- JudgeUnavailable      a judge that was asked for gives no opinion: down, slow, refusing or incomprehensible
    |   +-- JudgeMissing      there is none
    +-- JudgeError            a language model is configured in a way that cannot work
    +-- CalibrationError      the calibration file is missing or does not fit this version

An answer that can be read but not graded is not an error: it is a Grade whose outcome is `not_gradable`.
Every message says what to do. This module knows nothing of HTTP; `api/errors.py` maps the classes to statuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from grader.texts import say


class GraderError(Exception):
    """Base of everything the library raises on purpose."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a bank file; `line` is 1-based, 0 when it belongs to no line."""

    path: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        return f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"


class BankError(GraderError):
    """A bank cannot be used; `problems` lists all that was found, not only the first."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class UnknownQuestion(GraderError):
    """No question of the loaded bank has this id."""

    def __init__(self, question_id: str, near: list[str]) -> None:
        self.question_id = question_id
        key = "refused.question." + ("unknown", "near", "near_two")[len(near[:2])]
        super().__init__(say(key, id=repr(question_id), **dict(zip(("first", "second"), near, strict=False))))


class InvalidAnswer(GraderError):
    """The answer is not usable text."""


class AnswerTooLong(InvalidAnswer):
    """The answer has more characters than the limit."""

    def __init__(self, length: int, limit: int) -> None:
        self.length, self.limit = length, limit
        super().__init__(say("refused.answer.too_long", length=f"{length:,}", limit=f"{limit:,}"))


class InvalidQuestion(GraderError):
    """An inline question is incomplete or inconsistent."""


class InvalidReview(GraderError):
    """A review names what the grade does not have, or leaves the score open."""


class EncoderError(GraderError):
    """The embedding model cannot be loaded or used."""


class CalibrationError(GraderError):
    """The calibration cannot be loaded or does not belong to this version of the signals."""


class JudgeError(GraderError):
    """A language model cannot be set up as configured."""


class JudgeUnavailable(GraderError):
    """A judge that was asked gives no opinion; `result` says in a word how it failed (see `observe.CallResult`).

    `spent` is what replies took that nobody could use: tokens in, tokens out, cost.
    """

    def __init__(
        self,
        result: Literal["refused", "timeout", "unreachable", "protocol", "budget"],
        reason: str,
        spent: tuple[int, int, float] = (0, 0, 0.0),
    ) -> None:
        self.result: Literal["refused", "timeout", "unreachable", "protocol", "budget"] = result
        self.spent = spent
        super().__init__(reason)


class JudgeMissing(JudgeUnavailable):
    """A judge was asked for where none is configured: the same request will not succeed later."""
