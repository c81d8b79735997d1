"""Runs a bank's graded samples through the grader and compares with what they expect.

`baseline.json` in the bank's folder remembers which samples held; a test fails on a regression: a sample that held and no
longer does, or fewer right verdicts over the whole bank. So a bank can be honest about what its grader cannot do yet and
still notice when a change makes it worse.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from grader.bank import expected_score
from grader.errors import BankError, Problem
from grader.pipeline import Grader
from grader.schema import Grade, Question, Sample

BASELINE_FILE = "baseline.json"
# Share of all verdicts that may be lost before the bank fails: float noise of another CPU may tip a verdict on the edge.
VERDICT_TOLERANCE = 0.005
# Score points by which a sample that held may leave its range, for the same reason.
RANGE_TOLERANCE = 1.0


@dataclass(frozen=True)
class SampleResult:
    """One sample, graded. `score` is None when it was not gradable, which counts as a score of 0."""

    question_id: str
    sample: Sample
    score: float | None
    verdicts_right: int
    verdicts: int
    expected: float

    @property
    def key(self) -> str:
        return f"{self.question_id}/{self.sample.id}"

    def in_range(self, tolerance: float = 0.0) -> bool:
        low, high = self.sample.score
        return low - tolerance <= (self.score or 0.0) <= high + tolerance


@dataclass(frozen=True)
class Tally:
    """Shares over some samples: how many are in range, how many verdicts are right, how far off the score is."""

    samples: int
    in_range: int
    verdicts_right: int
    verdicts: int
    mean_error: float

    @classmethod
    def of(cls, results: Sequence[SampleResult]) -> Tally:
        error = sum(abs((r.score or 0.0) - r.expected) for r in results) / len(results) if results else 0.0
        return cls(
            len(results),
            sum(result.in_range() for result in results),
            sum(result.verdicts_right for result in results),
            sum(result.verdicts for result in results),
            error,
        )

    @property
    def range_share(self) -> float:
        return self.in_range / self.samples if self.samples else 0.0

    @property
    def verdict_share(self) -> float:
        return self.verdicts_right / self.verdicts if self.verdicts else 0.0


@dataclass(frozen=True)
class BankTest:
    """What came of running a bank's samples."""

    results: tuple[SampleResult, ...]
    regressions: tuple[str, ...] = field(default=())
    has_baseline: bool = False

    @property
    def passed(self) -> bool:
        """No regression; without a baseline every sample must be in its range."""
        if self.has_baseline:
            return not self.regressions
        return all(result.in_range() for result in self.results)

    def by_kind(self) -> dict[str, Tally]:
        return {
            kind: Tally.of(found) for kind, found in sorted(_grouped(self.results, lambda r: r.sample.kind).items())
        }

    def by_question(self) -> dict[str, Tally]:
        return {name: Tally.of(found) for name, found in _grouped(self.results, lambda r: r.question_id).items()}


def run(
    grader: Grader, progress: Callable[[int, int], None] = lambda _done, _total: None, *, compare: bool = True
) -> BankTest:
    """Grades every sample of the grader's bank; `compare`s with the baseline, when there is one."""
    work = [(question, sample) for question in grader.bank.questions for sample in question.samples]
    results = []
    for done, (question, sample) in enumerate(work, start=1):
        results.append(_compare(question, sample, grader.grade(question.id, sample.answer)))
        progress(done, len(work))
    baseline = read_baseline(grader.bank.path) if compare else None
    if baseline is None:
        return BankTest(tuple(results))
    return BankTest(tuple(results), tuple(_regressions(results, baseline)), has_baseline=True)


def _compare(question: Question, sample: Sample, grade: Grade) -> SampleResult:
    right = sum(
        result.verdict == sample.verdicts.get(result.id, "not_met")
        # What cannot be graded credits nothing, and that is what "not met" asks for.
        or (grade.score is None and sample.verdicts.get(result.id, "not_met") == "not_met")
        for result in grade.criteria
    )
    low, high = sample.score
    expected = min(max(expected_score(question, sample), low), high)
    return SampleResult(question.id, sample, grade.score, right, len(grade.criteria), expected)


def _grouped(results: Sequence[SampleResult], key: Callable[[SampleResult], str]) -> dict[str, list[SampleResult]]:
    groups: dict[str, list[SampleResult]] = defaultdict(list)
    for result in results:
        groups[key(result)].append(result)
    return groups


# ---- the baseline ----------------------------------------------------------------------------------------------------


def read_baseline(folder: Path) -> dict[str, object] | None:
    """The remembered state of a bank; None when there is none; raises BankError when the file is damaged."""
    file = folder / BASELINE_FILE
    if not file.is_file():
        return None
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return {"held": [str(key) for key in stored["held"]], "verdict_share": float(stored["verdict_share"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"not a baseline ({error}); write a new one with `grader bank test --update-baseline`"
        raise BankError([Problem(str(file), 0, "", message)]) from error


def write_baseline(folder: Path, test: BankTest) -> None:
    """Remembers which samples hold now and how many verdicts are right."""
    held = sorted(result.key for result in test.results if result.in_range())
    state = {"verdict_share": round(Tally.of(test.results).verdict_share, 4), "held": held}
    (folder / BASELINE_FILE).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")


def _regressions(results: Sequence[SampleResult], baseline: dict[str, object]) -> list[str]:
    held = baseline["held"]
    found = [
        f"{result.key} ({result.sample.kind}): {_number(result.score)}, expected "
        f"{result.sample.score[0]:g} to {result.sample.score[1]:g}; it held before"
        for result in results
        if isinstance(held, list) and result.key in held and not result.in_range(RANGE_TOLERANCE)
    ]
    share, before = Tally.of(results).verdict_share, baseline["verdict_share"]
    if isinstance(before, float) and share < before - VERDICT_TOLERANCE:
        found.append(f"{share:.1%} of the verdicts are right, {before:.1%} before")
    return found


def _number(score: float | None) -> str:
    return "not gradable" if score is None else f"{score:g}"
