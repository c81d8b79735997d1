"""What a quality card consists of, and how it reads as Markdown. Knows nothing of how a figure is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.quality.measures import Interval

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Figure:
    """One figure that has a goal: `value` in the unit of `goal`, `text` as it is shown."""

    name: str
    value: float
    text: str
    goal: float
    better: Better = "higher"

    @property
    def reached(self) -> bool:
        """Whether the value is at least as good as the goal."""
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal


@dataclass(frozen=True)
class Table:
    """Rows of cells, already text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """One part of the card: what was measured and how, its figures with goals, and its tables in between paragraphs."""

    title: str
    figures: tuple[Figure, ...] = ()
    body: tuple[str | Table, ...] = ()


@dataclass(frozen=True)
class Card:
    """All sections, and the versions of everything that was measured."""

    versions: dict[str, str]
    sections: tuple[Section, ...]
    skipped: tuple[str, ...] = field(default=())

    @property
    def figures(self) -> list[Figure]:
        """The figures of all sections, in order."""
        return [figure for section in self.sections for figure in section.figures]


def ratio(value: float) -> str:
    """A figure between -1 and 1 in two digits, without the zero before the point: .93, -.07, 1.00."""
    return f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 0.995 else f"{value:.2f}"


def percent(value: float) -> str:
    """A share as a whole percentage."""
    return f"{value:.0%}".replace("%", " %")


def with_interval(found: Interval, show: str = "ratio") -> str:
    """A figure and its interval: `.89 (.86 to .91)`, or in points with one digit."""
    parts = (found.value, found.low, found.high)
    value, low, high = (ratio(x) if show == "ratio" else f"{x:.1f}" for x in parts)
    return f"{value} ({low} to {high})"


def markdown(card: Card) -> str:
    """The card as a page."""
    lines = [
        "# Quality card",
        "",
        "Written by `grader benchmark quality`; do not edit. Intervals hold 90 % and come from drawing whole questions.",
        "",
        *(f"- {name}: `{value}`" for name, value in card.versions.items()),
        "",
        "## All figures that have a goal",
        "",
        *_table(_summary(card.figures)),
    ]
    if card.skipped:
        lines += ["Not measured this time:", "", *(f"- {reason}" for reason in card.skipped), ""]
    for section in card.sections:
        lines += [f"## {section.title}", ""]
        for part in section.body:
            lines += _table(part) if isinstance(part, Table) else [part, ""]
    return "\n".join(lines).rstrip() + "\n"


def _summary(figures: Sequence[Figure]) -> Table:
    return Table(
        ("figure", "found", "goal", "reached"),
        tuple((figure.name, figure.text, _goal(figure), "yes" if figure.reached else "**no**") for figure in figures),
    )


def _goal(figure: Figure) -> str:
    """The goal in the form in which the figure is shown."""
    if figure.goal == 1:
        return "all"
    sign = "≥" if figure.better == "higher" else "≤"
    if "%" in figure.text:
        return f"{sign} {percent(figure.goal)}"
    return f"{sign} {ratio(figure.goal) if figure.goal < 1 else f'{figure.goal:g}'}"


def _table(table: Table) -> list[str]:
    rows = [table.header, tuple("---" for _ in table.header), *table.rows]
    return [*("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows), ""]


def as_json(card: Card) -> dict[str, object]:
    """The figures for programs: name, value, goal, whether it is reached, and what was skipped."""
    return {
        "versions": card.versions,
        "figures": [
            {"name": f.name, "value": round(f.value, 4), "goal": f.goal, "better": f.better, "reached": f.reached}
            for f in card.figures
        ],
        "skipped": list(card.skipped),
    }
