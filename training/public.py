"""How the training splits of the public sets are shared out: whole questions to the pair network, others to its calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from grader.text import words

# Of each so many-th question of a set, counted in the order of its file: whether the network learns from it.
SHARES = {
    "scientsbank": lambda number: number % 6 != 0,
    "beetle": lambda number: number % 6 != 0,
    "saf_v2_en": lambda number: (
        number % 4 == 0
    ),  # its long answers are dear to learn from, and say much about the scale
}


def for_the_network(name: str, rows: Sequence[Mapping[str, Any]]) -> list[bool]:
    """For each row of a training split, whether the pair network learns from it; the calibration has the others."""
    order = {question: n for n, question in enumerate(dict.fromkeys(str(row["question_id"]) for row in rows))}
    return [SHARES[name](order[str(row["question_id"])]) for row in rows]


def closest(answer: str, references: Sequence[str]) -> str:
    """The reference with the largest share of common words: a label speaks of the one that an answer comes nearest to."""
    said = set(words(answer))
    return max(references, key=lambda text: len(said & set(words(text))) / max(1, len(said | set(words(text)))))
