"""Grades a free-text answer to a known question: offline, the same every time, with the words behind every point.

1. `text` cleans the answer and splits it into segments that remember their offsets.
2. `encoders` embeds the segments; `index` holds the question's side, embedded once.
3. `evidence` finds, for every criterion, the words that come closest, and measures how close.
4. `judges` and `calibration` turn the measurements into probabilities, `guards` into flags.
5. `scoring` adds the points up: a pure function, no model, no I/O.
6. `feedback` says it in words. `pipeline.Grader.grade` is the recipe, one step a line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grader.errors import (
    AnswerTooLong,
    BankError,
    CalibrationError,
    EncoderError,
    GraderError,
    InvalidAnswer,
    InvalidQuestion,
    UnknownQuestion,
)

if TYPE_CHECKING:
    from grader.bank import Bank, load_bank
    from grader.pipeline import Grader
    from grader.schema import Grade, InlineQuestion, Question

__version__ = "0.1.0"

__all__ = [
    "AnswerTooLong",
    "Bank",
    "BankError",
    "CalibrationError",
    "EncoderError",
    "Grade",
    "Grader",
    "GraderError",
    "InlineQuestion",
    "InvalidAnswer",
    "InvalidQuestion",
    "Question",
    "UnknownQuestion",
    "__version__",
    "load_bank",
]

_HOMES = {
    "Bank": "grader.bank",
    "Grade": "grader.schema",
    "Grader": "grader.pipeline",
    "InlineQuestion": "grader.schema",
    "Question": "grader.schema",
    "load_bank": "grader.bank",
}


def __getattr__(name: str) -> Any:
    """Imports pydantic and numpy only when a name that needs them is used, so that `grader --help` answers at once."""
    if name not in _HOMES:
        raise AttributeError(f"module 'grader' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
