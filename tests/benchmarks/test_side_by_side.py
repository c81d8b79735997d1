"""Grades with and without a judge beside each other: what is printed is what was graded."""

from __future__ import annotations

import re

import pytest

from benchmarks.judge_agreement import Row, unseen
from benchmarks.side_by_side import graded, one_of_each_kind, summary, table, with_judge
from grader import Grader
from grader.assist import Policy
from grader.judges.scripted import ToldJudge

QUESTION = "zero-grad"


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [row for row in unseen() if row.question == QUESTION][:12]


def test_the_told_judge_brings_grades_nearer_to_the_experts(fast_grader: Grader, rows: list[Row]) -> None:
    judge = ToldJudge({row.answer: row.verdicts for row in rows})
    pairs = [graded(with_judge(fast_grader, judge, Policy(bound=100)), row) for row in rows]
    open_ = [pair for pair in pairs if pair.is_open]
    assert open_

    def error(name: str) -> float:
        of = {"offline": [p.offline.score for p in open_], "told": [p.grades["told"].score for p in open_]}
        return sum(abs((score or 0) - 100 * p.row.score) for score, p in zip(of[name], open_, strict=True))

    assert error("told") < error("offline")


def test_the_table_and_the_lines_below_it(fast_grader: Grader, rows: list[Row]) -> None:
    bound = Policy().bound
    judge = ToldJudge({row.answer: row.verdicts for row in rows})
    pairs = [graded(with_judge(fast_grader, judge, Policy()), row) for row in rows]
    shown = list(one_of_each_kind(pairs))
    lines = table(shown, None).splitlines()
    assert len(lines) == 2 + len(shown)
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    found = re.search(r"Largest move ([\d.]+), bound (\d+)", summary(pairs, bound))
    assert found
    assert float(found.group(1)) <= float(found.group(2)) == bound


def test_it_says_nothing_about_answers_it_was_not_told_of(fast_grader: Grader, rows: list[Row]) -> None:
    pair = graded(with_judge(fast_grader, ToldJudge({}), Policy()), rows[0])
    assert pair.offline.score == pair.grades["told"].score
