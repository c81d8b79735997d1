"""Grades with and without a language model beside each other, as the README shows them.

    python -m benchmarks.side_by_side [--limit N]

The answers are those by writers who had not seen the bank, graded by hand. The judge is a scripted one that is told the
expert's verdicts: it shows how far a model that is always right could go, within the bound, and nothing about any model.
With GRADER_LLM_* set, the model these name is a column of its own. The table has one answer of each kind, drawn with a
fixed seed from those that left the offline judge a criterion open; the lines below it are about all answers.
"""

from __future__ import annotations

import argparse
import copy
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from api.config import Settings
from benchmarks.judge_agreement import Row, unseen
from grader import Grade, Grader
from grader.assist import Assistant, Policy
from grader.judges.language import LanguageJudge
from grader.judges.scripted import ToldJudge
from grader.llm import load_judge

SEED = 0


@dataclass(frozen=True)
class Pair:
    """One answer, and its grades offline and by judge; `grades` has only those that a judge was asked for."""

    row: Row
    offline: Grade
    grades: dict[str, Grade] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether the offline judge left something to ask."""
        told = self.grades["told"].provenance
        return told.llm is not None or told.degraded is not None


def graded(grader: Grader, row: Row) -> Pair:
    """The grades of an answer without and with the judge of `grader`."""
    before, after = (grader.grade(row.question, row.answer, judge=mode) for mode in ("off", "auto"))
    return Pair(row, before, {"told": after})


def with_judge(grader: Grader, judge: LanguageJudge, policy: Policy) -> Grader:
    """The same grader, assisted."""
    made = copy.copy(grader)
    made.assistant = Assistant(judge, policy)
    return made


def one_of_each_kind(pairs: Sequence[Pair]) -> Iterator[Pair]:
    """A pair of every kind of answer that has one with something open, in the order of the experts' scores."""
    chosen = []
    for kind in sorted({pair.row.kind for pair in pairs}):
        some = [pair for pair in pairs if pair.row.kind == kind and pair.is_open]
        if some:
            chosen.append(random.Random(SEED).choice(some))
    yield from sorted(chosen, key=lambda pair: -pair.row.score)


def table(pairs: Sequence[Pair], model: str | None) -> str:
    """The table in Markdown."""
    columns = [
        "answer (kind)",
        "expert",
        "offline",
        "told judge",
        *([model] if model else []),
        "asked",
        "what a person is told",
    ]
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for pair in pairs:
        told = pair.grades["told"]
        cells = [f"{pair.offline.question_id} ({pair.row.kind.replace('_', ' ')})", f"{100 * pair.row.score:.0f}"]
        cells += [_points(pair.offline), _points(told)]
        cells += [_points(pair.grades["model"])] if model else []
        cells += [str(len(told.provenance.llm.asked) if told.provenance.llm else 0), _reasons(pair) or "nothing more"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(pairs: Sequence[Pair], bound: float) -> str:
    """All answers, in words."""
    open_ = [pair for pair in pairs if pair.is_open]
    beyond = [pair for pair in open_ if _disagrees(pair.grades["told"])]

    def error(grades: Sequence[Grade], some: Sequence[Pair]) -> float:
        return statistics.fmean(abs((g.score or 0) - 100 * p.row.score) for g, p in zip(grades, some, strict=True))

    told = [pair.grades["told"] for pair in pairs]
    of_open = [pair.grades["told"] for pair in open_]
    moves = [abs((pair.grades["told"].score or 0) - (pair.offline.score or 0)) for pair in open_]
    return (
        f"{len(pairs)} answers; {len(open_)} left a criterion open. Mean error: offline "
        f"{error([pair.offline for pair in pairs], pairs):.1f}, with the told judge {error(told, pairs):.1f} "
        f"(of those with something open: {error([pair.offline for pair in open_], open_):.1f} and "
        f"{error(of_open, open_):.1f}). Largest move {max(moves, default=0):.1f}, bound {bound:g}; "
        f"{len(beyond)} went to review because the judges disagree."
    )


def _points(grade: Grade) -> str:
    review = " (review)" if grade.outcome == "needs_review" else ""
    return f"{grade.score:g}{review}" if grade.score is not None else "none"


def _disagrees(grade: Grade) -> bool:
    return any(flag.code == "judge_disagrees" for flag in grade.flags)


def _reasons(pair: Pair) -> str:
    found = []
    for name, grade in pair.grades.items():
        told = [flag.message for flag in grade.flags if flag.code == "judge_disagrees"]
        found += [f"{name}: {text}" for text in told]
    return " ".join(found).replace("|", "/")


def main() -> None:
    """Prints the table and the lines below it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--limit", type=int, default=0, help="answers, drawn with a fixed seed; 0: all")
    given = parser.parse_args()
    rows = list(unseen())
    rows = random.Random(SEED).sample(rows, given.limit) if given.limit else rows
    options = Settings().llm()
    model = load_judge(options)
    plain = Grader.load()
    told = with_judge(plain, ToldJudge({row.answer: row.verdicts for row in rows}), Policy())
    pairs = [graded(told, row) for row in rows]
    shown = list(one_of_each_kind(pairs))
    if model is not None:
        asked = with_judge(plain, model, options.policy)
        shown = [
            replace(p, grades=p.grades | {"model": asked.grade(p.row.question, p.row.answer, judge="auto")})
            for p in shown
        ]
    print(table(shown, options.model.rsplit("/", 1)[-1] if model else None))
    print()
    print(summary(pairs, Policy().bound))


if __name__ == "__main__":
    main()
