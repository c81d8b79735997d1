"""Criterion x segments -> the words that come closest, and how close they come.

For every criterion the best span (one segment or two neighbours) is found by how much closer it is to the criterion's
right wordings than to its wrong ones; what is measured there are the signals that the calibration weighs. Nothing here
decides anything, and nothing is fitted here.

The contrast with an author's wrong versions follows the idea of contrastive references; token recall weighted by rarity
is the lexical overlap of short-answer grading (Mohler & Mihalcea 2009; Sultan, Salazar & Sumner 2016).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from grader.encoders import Vectors
from grader.index import CriterionVectors, QuestionIndex, closest
from grader.text import Segment, words

# How much being close to a wrong version counts against a span when the best one is chosen.
CONTRAST_WEIGHT = 0.5

FUNCTION_WORDS = frozenset(
    """a about after all also although am an and any are aren't as at be because been before being both but by can can't
    cannot could did didn't do does doesn't doing don't down during each either else even every few for from further get
    gets got had has hasn't have haven't having he her here him his how i if in into is isn't it it's its itself just let
    like may me might more most much must my neither no nor not of off on once only onto or other our out over own rather
    same she should shouldn't since so some still such than that that's the their them then there these they this those
    through to too under until unless up upon us very was wasn't we were what when where whether which while who whom
    whose why will with within without won't would you your you're""".split()
)
NEGATIONS = frozenset(
    """not no never none nor neither cannot can't don't doesn't didn't isn't aren't wasn't weren't won't wouldn't shouldn't
    couldn't hasn't haven't without nothing nobody nowhere hardly instead dont doesnt isnt wont cant didnt""".split()
)

SIGNALS = (
    "support",  # similarity to the closest right wording
    "scaled_support",  # the same on the criterion's private scale: 0 another criterion's wording, 1 one of its own
    "mean_support",  # similarity to the mean of the right wordings
    "contrast",  # support minus similarity to the closest contradiction, at the same span
    "wrong_support",  # highest similarity of any span to a contradiction
    "worst_contrast",  # lowest contrast of any span that is about this criterion
    "recall",  # rarity-weighted share of the closest wording's content words that the span holds
    "token_contrast",  # the same share of words only the right wording has, minus those only the wrong one has
    "negation",  # 1 when the span and the closest right wording differ in having a negation
    "statement",  # share of function words in the span: low in bare lists of terms
    "exclusive",  # support minus the same span's support for the best other criterion
    "similarity",  # of the whole answer to the closest reference answer
    "answer_support",  # mean scaled support over all criteria
    "answer_contrast",  # mean contrast over all criteria
)

# Beside those, where a criterion is nothing but a sentence of a reference answer: how many of its words the answer has.
REFERENCE_SIGNALS = (
    "whole_recall",  # share of the statement's content words anywhere in the answer
    "new_recall",  # the same of those that the question does not say itself
)


@dataclass(frozen=True)
class Signals:
    """What was measured for one criterion. `values` follows SIGNALS; spans are (first, last) indices of segments."""

    criterion_id: str
    values: NDArray[np.float64]
    support_span: tuple[int, int]
    wrong_span: tuple[int, int]


@dataclass(frozen=True)
class MisconceptionSignals:
    """Closeness of the closest span to a misconception, and to what is right about the same matter."""

    misconception_id: str
    wrong: float
    right: float
    span: tuple[int, int]


@dataclass(frozen=True)
class Spans:
    """Every segment and every pair of neighbours: index ranges (inclusive) and unit vectors."""

    ranges: list[tuple[int, int]]
    vectors: Vectors
    tokens: list[frozenset[str]]
    negated: list[bool]
    function_share: list[float]


@dataclass(frozen=True)
class AnswerVectors:
    """An answer's segments, their vectors (n, d) and the vector of the whole (1, d)."""

    segments: Sequence[Segment]
    vectors: Vectors
    whole: Vectors

    @cached_property
    def spans(self) -> Spans:
        """Every segment and every pair of neighbours, worked out once for all who measure."""
        ranges = span_ranges(len(self.segments))
        texts = [" ".join(self.segments[i].text for i in range(first, last + 1)) for first, last in ranges]
        return Spans(
            ranges,
            with_neighbours(self.vectors),
            [stems(text) for text in texts],
            [_negated(text) for text in texts],
            [function_share(text) for text in texts],
        )


def reference_similarity(index: QuestionIndex, answer: AnswerVectors) -> float:
    """Cosine of the whole answer to the closest reference answer, cut to 0..1."""
    return float(np.clip(closest(answer.whole, index.references)[0], 0.0, 1.0))


def measure(index: QuestionIndex, answer: AnswerVectors) -> list[Signals]:
    """Signals for every criterion of the question; the answer must have at least one segment."""
    spans = answer.spans
    rarity = _rarity(index)
    right = np.stack([closest(spans.vectors, c.right) for c in index.criteria])  # (criteria, spans)
    wrong = np.stack([closest(spans.vectors, c.wrong) for c in index.criteria])
    has_wrong = np.array([len(c.wrong) > 0 for c in index.criteria])[:, None]
    contrast = np.where(has_wrong, right - wrong, 0.0)
    similarity = reference_similarity(index, answer) if index.question.uses_similarity else 0.5
    rows = [
        _criterion_row(number, criterion, spans, right, wrong, contrast, rarity)
        for number, criterion in enumerate(index.criteria)
    ]
    scaled = float(np.mean([row["scaled_support"] for row, _, _ in rows]))
    level = float(np.mean([row["contrast"] for row, _, _ in rows]))
    return [
        Signals(
            criterion.id,
            np.array(
                [
                    {**row, "similarity": similarity, "answer_support": scaled, "answer_contrast": level}[s]
                    for s in SIGNALS
                ]
            ),
            spans.ranges[best],
            spans.ranges[worst],
        )
        for criterion, (row, best, worst) in zip(index.question.criteria, rows, strict=True)
    ]


def _criterion_row(
    number: int,
    criterion: CriterionVectors,
    spans: Spans,
    right: NDArray[np.float32],
    wrong: NDArray[np.float32],
    contrast: NDArray[np.float32],
    rarity: dict[str, float],
) -> tuple[dict[str, float], int, int]:
    best = int(np.argmax(right[number] + CONTRAST_WEIGHT * np.minimum(contrast[number], 0.0)))
    worst = int(np.argmax(wrong[number])) if len(criterion.wrong) else best
    # Only spans that are about this criterion at all may speak against it.
    about = np.maximum(right[number], wrong[number]) >= criterion.background
    worst_contrast = float(np.where(about, contrast[number], 0.0).min())
    support = float(right[number, best])
    vector = spans.vectors[best]
    nearest_right = int(np.argmax(criterion.right @ vector))
    right_tokens = stems(criterion.right_texts[nearest_right])
    wrong_tokens: frozenset[str] = frozenset()
    if len(criterion.wrong):
        wrong_tokens = stems(criterion.wrong_texts[int(np.argmax(criterion.wrong @ vector))])
    others = np.delete(right[:, best], number)
    row = {
        "support": support,
        "scaled_support": (support - criterion.background) / (criterion.own - criterion.background),
        "mean_support": float(vector @ criterion.right.mean(axis=0)),
        "contrast": float(contrast[number, best]),
        "wrong_support": max(0.0, float(wrong[number, worst])),
        "worst_contrast": worst_contrast,
        "recall": _share(right_tokens, spans.tokens[best], rarity),
        "token_contrast": _share(right_tokens - wrong_tokens, spans.tokens[best], rarity)
        - _share(wrong_tokens - right_tokens, spans.tokens[best], rarity),
        "negation": float(spans.negated[best] != _negated(criterion.right_texts[nearest_right])),
        "statement": spans.function_share[best],
        "exclusive": support - float(others.max()) if len(others) else 0.0,
    }
    return row, best, worst


def measure_reference(index: QuestionIndex, answer: AnswerVectors) -> NDArray[np.float64]:
    """Shape (criteria, REFERENCE_SIGNALS): each statement's words against the words of the whole answer.

    Leaving out what the question says already is what short-answer grading calls question demoting (Mohler et al. 2011).
    """
    said = frozenset().union(*answer.spans.tokens)
    asked = stems(index.question.prompt)
    rows = []
    for criterion in index.question.criteria:
        wanted = stems(criterion.statement)
        new = wanted - asked
        rows.append([len(part & said) / len(part) if part else 0.5 for part in (wanted, new)])
    return np.array(rows)


def measure_misconceptions(index: QuestionIndex, answer: AnswerVectors) -> list[MisconceptionSignals]:
    """For every misconception the span closest to it, and how close that span is to anything right."""
    spans = answer.spans
    truths = np.concatenate([index.corrections, *(criterion.right for criterion in index.criteria)])
    right = closest(spans.vectors, truths)
    found = []
    for misconception, vectors in zip(index.question.misconceptions, index.misconceptions, strict=True):
        wrong = closest(spans.vectors, vectors)
        best = int(np.argmax(wrong + CONTRAST_WEIGHT * np.minimum(wrong - right, 0.0)))
        found.append(MisconceptionSignals(misconception.id, float(wrong[best]), float(right[best]), spans.ranges[best]))
    return found


def span_ranges(count: int) -> list[tuple[int, int]]:
    """Index ranges, both ends included, of every segment and then of every pair of neighbours."""
    return [(i, i) for i in range(count)] + [(i, i + 1) for i in range(count - 1)]


def with_neighbours(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit vectors (n, ..., d) and behind them those of every pair of neighbours, in the order of `span_ranges`."""
    if len(vectors) < 2:
        return vectors
    joined = vectors[:-1] + vectors[1:]
    joined /= np.maximum(np.linalg.norm(joined, axis=-1, keepdims=True), np.float32(1e-9))
    return np.concatenate([vectors, joined])


# ---- words -----------------------------------------------------------------------------------------------------------


def function_share(text: str) -> float:
    """Share of function words among the words of a text, 0 when it has none."""
    found = words(text)
    return sum(word in FUNCTION_WORDS for word in found) / len(found) if found else 0.0


def _negated(text: str) -> bool:
    return sum(word in NEGATIONS for word in words(text)) % 2 == 1


@lru_cache(maxsize=50_000)
def stems(text: str) -> frozenset[str]:
    """Stems of the content words; `optimizer.zero_grad` also counts as its parts."""
    parts = {part for word in words(text) for part in (word, *re.split(r"[._']", word))}
    return frozenset(_stem(part) for part in parts if part and part not in FUNCTION_WORDS)


def _stem(word: str) -> str:
    for suffix in (
        "izations",
        "isation",
        "ization",
        "ations",
        "ation",
        "ingly",
        "edly",
        "ing",
        "ies",
        "ed",
        "es",
        "ly",
        "s",
    ):
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            return word[: -len(suffix)].replace("is", "iz") if suffix.startswith("i") else word[: -len(suffix)]
    return word


def _rarity(index: QuestionIndex) -> dict[str, float]:
    """Inverse document frequency of stems over the question's criteria, each with its wordings as one document."""
    counts: Counter[str] = Counter()
    for criterion in index.criteria:
        counts.update(frozenset().union(*(stems(text) for text in criterion.right_texts)))
    total = len(index.criteria)
    return {token: math.log((total + 1) / (count + 0.5)) for token, count in counts.items()}


def _share(wanted: frozenset[str], found: frozenset[str], rarity: dict[str, float]) -> float:
    """Share of `wanted`, weighted by rarity, that is in `found`; 0 when nothing is wanted."""
    default = 1.0
    total = sum(rarity.get(token, default) for token in wanted)
    return sum(rarity.get(token, default) for token in wanted & found) / total if total > 0 else 0.0
