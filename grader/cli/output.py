"""What the commands print: tables and panels in a terminal, JSON in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from grader.bank import Bank
from grader.feedback import label
from grader.schema import CriterionResult, Grade, Question

STYLES = {"met": "green", "partial": "yellow", "not_met": "dim", "contradicted": "red", "abstained": "magenta"}
SIGNS = {"met": "✓", "partial": "~", "not_met": "·", "contradicted": "✗", "abstained": "?"}


def wants_json(asked: bool) -> bool:
    """JSON when asked for or when nobody is looking."""
    return asked or not sys.stdout.isatty()


def print_json(value: Any) -> None:
    """One indented JSON document on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def show_questions(banks: Sequence[Bank], *, as_json: bool) -> None:
    """All questions: number, id, level, prompt; a table a bank, or one list that says which bank each is of."""
    if as_json:
        fields = {"number", "id", "prompt", "kind", "level", "tags"}
        pairs = [(bank, question) for bank in banks for question in bank.questions]
        print_json([one.model_dump(mode="json", include=fields) | {"bank": bank.info.id} for bank, one in pairs])
        return
    for bank in banks:
        _show_bank(bank)


def _show_bank(bank: Bank) -> None:
    table = Table(title=f"{escape(bank.info.title)} ({len(bank.questions)} questions)", box=None, title_justify="left")
    for column in ("no", "id", "level", "question"):
        table.add_column(column, style="bold" if column == "id" else None, no_wrap=column == "id")
    for question in bank.questions:
        table.add_row(str(question.number), question.id, question.level, escape(question.prompt))
    Console().print(table)


def show_question(question: Question, *, as_json: bool) -> None:
    """One question with its rubric."""
    if as_json:
        print_json(question.model_dump(mode="json"))
        return
    console = Console()
    console.print(Panel(escape(question.prompt), title=question.id, subtitle=f"{question.kind}, {question.level}"))
    table = Table(box=None)
    for column in ("points", "criterion", "statement"):
        table.add_column(column, justify="right" if column == "points" else "left")
    for criterion in question.criteria:
        table.add_row(f"{criterion.points:g}", criterion.id, escape(criterion.statement))
    console.print(table)
    for number, reference in enumerate(question.reference_answers, start=1):
        console.print(Panel(escape(reference), title=f"Reference answer {number}"))


def show_grade(grade: Grade, answer: str) -> None:
    """A grade for human eyes: score, highlighted answer, points, feedback."""
    console = Console()
    console.print(Panel(Group(*_headline(grade)), title=grade.question_id))
    if grade.score is not None:
        console.print(Panel(_highlighted(grade, answer), title="Your answer"))
        console.print(_points(grade))
    for title, lines in (
        ("To improve", grade.feedback.improvements),
        ("Next", grade.feedback.next_steps),
        ("Flags", tuple(f"{flag.code}: {flag.message}" for flag in grade.flags)),
        ("For review", grade.review_reasons),
    ):
        if lines:
            console.print(Text(title, style="bold"))
            for line in lines:
                console.print(Text(f"  • {line}"))


def _headline(grade: Grade) -> list[Text]:
    if grade.score is None or grade.score_interval is None:
        return [Text("not gradable", style="bold magenta"), Text(grade.feedback.summary)]
    low, high = grade.score_interval
    return [
        Text(f"{grade.score:g} of {grade.max_score}", style="bold").append(
            f"   (90 % interval {low:g} to {high:g}; similarity {grade.similarity:.2f}, coverage {grade.coverage:.2f})",
            style="not bold dim",
        ),
        Text(grade.feedback.summary),
    ]


def _highlighted(grade: Grade, answer: str) -> Text:
    text = Text(answer)
    for result in grade.criteria:
        for span in result.evidence:
            text.stylize(STYLES[result.verdict], span.start, span.end)
    for misconception in grade.misconceptions:
        for span in misconception.evidence:
            text.stylize("red underline", span.start, span.end)
    return text


def _points(grade: Grade) -> Table:
    table = Table(box=None)
    table.add_column("")
    table.add_column("points", justify="right")
    table.add_column("criterion")
    table.add_column("words", overflow="fold")
    for result in grade.criteria:
        style = STYLES[result.verdict]
        table.add_row(
            Text(SIGNS[result.verdict], style=style),
            f"{result.points:g}/{result.max_points:g}",
            Text(label(result.id), style=style),
            Text(_words(result), style="italic" if result.evidence else "dim"),
        )
    for misconception in grade.misconceptions:
        table.add_row(
            Text("✗", style="red"), f"-{misconception.penalty:g}", Text(label(misconception.id), style="red"),
            Text(misconception.correction),
        )  # fmt: skip
    return table


def _words(result: CriterionResult) -> str:
    if result.evidence:
        return " … ".join(f"“{' '.join(span.text.split())}”" for span in result.evidence)
    return result.hint or ""
