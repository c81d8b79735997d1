"""`grader regrade`: who would get another grade from the bank and grader of today, and why."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.grading import asked
from api.store import Conflict, Store, grades
from api.store.grades import Filter, StoredGrade
from grader.assist import JudgeMode
from grader.cli import output
from grader.errors import GraderError
from grader.library import Library
from grader.schema import Grade

PAGE = 100


@dataclass(frozen=True)
class Change:
    """One answer whose grade would be another; `error` when it could not be graded again."""

    id: str
    question_id: str
    candidate: str | None
    before: float | None
    after: float | None
    outcome: tuple[str, str]
    criteria: dict[str, tuple[str, str]]  # id -> verdict before and after
    misconceptions: tuple[list[str], list[str]]  # ids gone and come
    versions: dict[str, tuple[str | None, str | None]]  # what of the provenance is another
    error: str | None = None


@dataclass
class Totals:
    """How many grades were looked at, and what would become of them."""

    same: int = 0
    changed: int = 0
    failed: int = 0
    people: int = 0  # overridden by a person: their word stands


def regrade(store: Store, grader: Library, question_id: str | None, *, write: bool, as_json: bool) -> int:
    """Prints every change and, with `write`, keeps it as a new grade; exit status 1 when some could not be graded."""
    totals, changes = Totals(), []
    for stored in _standing(store, question_id):
        if stored.kind == "override":
            totals.people += 1
            continue
        change = _again(store, grader, stored, write=write)
        if change is None:
            totals.same += 1
            continue
        changes.append(change)
        totals.failed += change.error is not None
        totals.changed += change.error is None
    if as_json:
        output.print_json({"written": write, **asdict(totals), "changes": [asdict(change) for change in changes]})
    else:
        _show(changes, totals, write=write)
    return 1 if totals.failed else 0


def _standing(store: Store, question_id: str | None) -> Iterator[StoredGrade]:
    """The grades that nothing replaces, newest first, a page at a time; ones that come in meanwhile are left out."""
    cursor: int | None = None
    while True:
        with store.read() as tx:
            page = grades.find(tx, Filter(question_id=question_id), cursor, PAGE)
        yield from page.grades
        cursor = page.next_cursor
        if cursor is None:
            return


def _again(store: Store, grader: Library, stored: StoredGrade, *, write: bool) -> Change | None:
    question = stored.question if stored.question is not None else stored.question_id
    # What a language model had its say in is not replaced by a grade without it, because none is configured or well today.
    judge: JudgeMode = "required" if stored.grade.provenance.llm else "off"
    try:
        grade = grader.grade(question, stored.answer, judge)
    except GraderError as error:
        return _compared(stored, stored.grade, str(error))
    if _content(grade) == _content(stored.grade):
        return None
    if write:
        try:
            with store.write() as tx:
                grades.regrade(tx, stored.id, grade, asked(grader, question))
        except Conflict as error:  # somebody has reviewed it meanwhile: theirs stands
            return _compared(stored, stored.grade, str(error))
    return _compared(stored, grade)


def _content(grade: Grade) -> dict[str, object]:
    """What a person would notice: not the versions, not the last digits of a probability."""
    return {
        "outcome": grade.outcome,
        "score": grade.score,
        "criteria": {one.id: (one.verdict, one.points) for one in grade.criteria},
        "misconceptions": [one.id for one in grade.misconceptions],
    }


def _compared(stored: StoredGrade, grade: Grade, error: str | None = None) -> Change:
    old = stored.grade
    before = {one.id: one.verdict for one in old.criteria}
    after = {one.id: one.verdict for one in grade.criteria}
    held, holds = ([one.id for one in which.misconceptions] for which in (old, grade))
    was, now = old.provenance.model_dump(), grade.provenance.model_dump()
    return Change(
        id=stored.id,
        question_id=stored.question_id,
        candidate=stored.candidate,
        before=old.score,
        after=None if error else grade.score,
        outcome=(old.outcome, grade.outcome),
        criteria={
            name: (before.get(name, "-"), after.get(name, "-"))
            for name in dict.fromkeys([*before, *after])
            if before.get(name) != after.get(name)
        },
        misconceptions=([one for one in held if one not in holds], [one for one in holds if one not in held]),
        versions={name: (was[name], now[name]) for name in was if was[name] != now[name]},
        error=error,
    )


def _show(changes: list[Change], totals: Totals, *, write: bool) -> None:
    table = Table(box=None)
    for column in ("grade", "candidate", "question", "score", "why"):
        table.add_column(column, no_wrap=column in {"grade", "score"})
    for change in changes:
        score = f"{_number(change.before)} -> {_number(change.after)}"
        table.add_row(change.id, escape(change.candidate or "-"), change.question_id, score, escape(_why(change)))
    if changes:
        Console().print(table)
    verb = "changed" if write else "would change"
    print(
        f"{totals.changed} {verb}, {totals.same} stay the same, {totals.people} stay as people left them, "
        f"{totals.failed} could not be graded again.",
        file=sys.stderr,
    )


def _why(change: Change) -> str:
    if change.error:
        return change.error
    parts = [f"{name}: {old} -> {new}" for name, (old, new) in change.criteria.items()]
    gone, come = change.misconceptions
    parts += [f"no longer {name}" for name in gone] + [f"now {name}" for name in come]
    if change.outcome[0] != change.outcome[1]:
        parts.append(f"{change.outcome[0]} -> {change.outcome[1]}")
    parts.append(f"by another {', '.join(change.versions)}" if change.versions else "by nothing that has a version")
    return "; ".join(parts)


def _number(score: float | None) -> str:
    return "-" if score is None else f"{score:g}"
