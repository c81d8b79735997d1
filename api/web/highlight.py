"""Cuts an answer into pieces at the borders of its evidence, so that a template can mark them.

Works on offsets only; escaping is the template's job and it escapes every piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from grader.feedback import label
from grader.schema import Grade

Tone = Literal["met", "partial", "contradicted", "misconception", "flag"]
# When marks overlap, the piece takes the tone that the reader must not miss.
URGENCY: tuple[Tone, ...] = ("misconception", "contradicted", "flag", "partial", "met")


@dataclass(frozen=True)
class Mark:
    """One reason why some words are marked; `number` is the point's number on the page, 0 for flags."""

    start: int
    end: int
    tone: Tone
    number: int
    name: str
    anchor: str


@dataclass(frozen=True)
class Piece:
    """A run of the answer with the same marks: `ends` are those whose last words these are, `leads` the numbers of the
    points whose first words they are."""

    text: str
    marks: tuple[Mark, ...]
    ends: tuple[Mark, ...]
    leads: tuple[int, ...]

    @property
    def tone(self) -> Tone | None:
        """The most urgent tone of its marks."""
        tones = {mark.tone for mark in self.marks}
        return next((tone for tone in URGENCY if tone in tones), None)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The points it belongs to."""
        return tuple(dict.fromkeys(mark.number for mark in self.marks if mark.number))


def marks_of(grade: Grade) -> list[Mark]:
    """Every mark a grade puts on its answer."""
    marks: list[Mark] = []
    for number, result in enumerate(grade.criteria, start=1):
        if result.verdict in {"met", "partial", "contradicted"}:
            tone: Tone = result.verdict
            name = result.hint or label(result.id)
            marks += [Mark(s.start, s.end, tone, number, name, f"point-{number}") for s in result.evidence]
    for number, found in enumerate(grade.misconceptions, start=len(grade.criteria) + 1):
        marks += [
            Mark(s.start, s.end, "misconception", number, label(found.id), f"point-{number}") for s in found.evidence
        ]
    marks += [
        Mark(flag.start, flag.end, "flag", 0, flag.message, "notes")
        for flag in grade.flags
        if flag.start is not None and flag.end is not None
    ]
    return marks


def pieces(answer: str, grade: Grade) -> list[Piece]:
    """The answer, cut; joined again the texts are the answer."""
    marks = marks_of(grade)
    borders = sorted({0, len(answer), *(m.start for m in marks), *(m.end for m in marks)})
    found: list[Piece] = []
    led: set[int] = set()
    for start, end in pairwise(borders):
        here = tuple(mark for mark in marks if mark.start <= start and end <= mark.end)
        leads = tuple(dict.fromkeys(mark.number for mark in here if mark.number and mark.number not in led))
        led.update(leads)
        found.append(Piece(answer[start:end], here, tuple(mark for mark in here if mark.end == end), leads))
    return found
