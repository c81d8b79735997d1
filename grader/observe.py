"""What an onlooker is told while answers are graded: how long each step took, what was found in a cache, what came out.

An onlooker decides nothing: a grade is the same with any of them. Nothing here holds the text of an answer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from grader.schema import Grade

Stage = Literal["prepare", "judge"]
CallResult = Literal["ok", "cached", "refused", "timeout", "unreachable", "protocol", "budget"]


@dataclass(frozen=True)
class JudgeCall:
    """One call of a judge that may fail or cost something; `cost` in the currency of the judge's price list."""

    judge: str
    result: CallResult
    seconds: float
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0


class Observer:
    """Base of onlookers, and the one that looks away. Called from several threads at once; must not raise."""

    def stage(self, name: Stage, begun: float, ended: float) -> None:
        """A step of one grade ran from `begun` to `ended` (seconds of time.perf_counter)."""

    def cache(self, name: str, *, hit: bool) -> None:
        """Something was looked up in the cache of that name."""

    def judged(self, call: JudgeCall) -> None:
        """A judge outside of this process, or a large model inside, was asked."""

    def graded(self, grade: Grade) -> None:
        """A grade is complete."""

    @contextmanager
    def timed(self, name: Stage) -> Iterator[None]:
        """Times a step and tells `stage`, also when the step fails."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.stage(name, begun, time.perf_counter())


SILENT = Observer()
