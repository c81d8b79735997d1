"""Where the lines of a picture run: scores as coordinates for the SVG in the templates.

Knows numbers only. Scores go from 0 to 100; coordinates are in the units of each picture's viewBox.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GAUGE_WIDTH = 400.0
# The dot stays whole at both ends.
GAUGE_MARGIN = 10.0
LINE_WIDTH, LINE_HEIGHT = 240.0, 64.0
LINE_MARGIN = 6.0


@dataclass(frozen=True)
class Gauge:
    """A score on the scale, the interval around it, and where the last attempt stood (None: there was none)."""

    dot: float
    low: float
    width: float
    before: float | None
    ticks: tuple[tuple[float, int], ...]


def gauge(score: float, interval: tuple[float, float], before: float | None = None) -> Gauge:
    """The picture of a score with its interval, in a viewBox 400 wide."""
    low, high = (_across(edge) for edge in interval)
    ticks = tuple((_across(value), value) for value in (0, 25, 50, 75, 100))
    return Gauge(
        _across(score), low, max(4.0, round(high - low, 1)), None if before is None else _across(before), ticks
    )


def _across(score: float) -> float:
    return round(GAUGE_MARGIN + score / 100 * (GAUGE_WIDTH - 2 * GAUGE_MARGIN), 1)


@dataclass(frozen=True)
class Line:
    """Scores over time: `path` for a polyline, `dots` as (x, y, score), in a viewBox 240 x 64."""

    path: str
    dots: tuple[tuple[float, float, float], ...]


def line(scores: Sequence[float]) -> Line:
    """The course of scores, oldest first, evenly spaced; one score is a single dot in the middle."""
    inner, height = LINE_WIDTH - 2 * LINE_MARGIN, LINE_HEIGHT - 2 * LINE_MARGIN
    steps = max(1, len(scores) - 1)
    offset = inner / 2 if len(scores) == 1 else 0.0
    dots = tuple(
        (round(LINE_MARGIN + offset + inner * at / steps, 1), round(LINE_MARGIN + height * (1 - score / 100), 1), score)
        for at, score in enumerate(scores)
    )
    return Line(" ".join(f"{x:g},{y:g}" for x, y, _ in dots), dots)
