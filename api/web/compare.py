"""Two attempts at one question: which points are new, lost or still missing, and which words changed."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from grader.schema import CriterionResult, Grade

Change = Literal["same", "new", "gone"]
# Pairs of equal words, one from each attempt: what the time of the comparison grows with. Two ordinary answers of 1,500
# words have about 40,000; "a b a b ..." against "b b a ..." has millions and would take half a minute.
MOST_PAIRS = 100_000
_WORD = re.compile(r"\s*\S+|\s+$")


@dataclass(frozen=True)
class Comparison:
    """What a second attempt changed. `words` is None when the attempts are too long to be compared word by word."""

    gained: tuple[CriterionResult, ...]
    lost: tuple[CriterionResult, ...]
    missing: tuple[CriterionResult, ...]
    by: float | None
    words: tuple[tuple[Change, str], ...] | None


def compare(before: Grade, after: Grade, answer_before: str, answer_after: str) -> Comparison:
    """`after` against `before`, both grades of the same question."""
    was = {result.id: result for result in before.criteria}
    pairs = [(was[now.id], now) for now in after.criteria if now.id in was]
    by = None if before.score is None or after.score is None else round(after.score - before.score, 1)
    return Comparison(
        gained=tuple(now for old, now in pairs if now.verdict == "met" and old.verdict != "met"),
        lost=tuple(now for old, now in pairs if now.verdict != "met" and old.verdict == "met"),
        missing=tuple(now for old, now in pairs if now.verdict != "met" and old.verdict != "met"),
        by=by,
        words=word_difference(answer_before, answer_after),
    )


def word_difference(before: str, after: str) -> tuple[tuple[Change, str], ...] | None:
    """Runs of words: without the `gone` ones they are `after`, without the `new` ones `before`; None when too long."""
    old, new = _WORD.findall(before), _WORD.findall(after)
    counted = Counter(new)
    if sum(times * counted[word] for word, times in Counter(old).items()) > MOST_PAIRS:
        return None
    runs: list[tuple[Change, str]] = []
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            runs.append(("same", "".join(new[c:d])))
            continue
        if b > a:
            runs.append(("gone", "".join(old[a:b])))
        if d > c:
            runs.append(("new", "".join(new[c:d])))
    return tuple(runs)
