"""General features: how an answer compares with a reference answer to a question nobody trained on.

`features(question, references, answer)` gives one row of FEATURES for an answer, whatever the subject. It looks at nothing
but those texts (no other answers, no labels), so a row for a single answer is the same in a benchmark and in service.

- **Alignment**: every token of the reference finds its closest token in the answer, in three layers of the encoder; the
  mean over the reference's tokens, weighted by their rarity, is the recall, the other direction the precision (after
  BERTScore, Zhang et al. 2020; monolingual alignment for grading, Sultan, Salazar & Sumner 2016). Function words weigh
  little. `_new` leaves out words that the question already has (question demoting, Mohler, Bunescu & Mihalcea 2011).
- **Cosines** of whole texts in four layers, and of sentences with sentences.
- **Words**: rarity-weighted recall and precision of stems, pairs of stems, runs of characters.
- **Opposites**: a negation more or less, another number, an antonym in place of a word.
- **Form**: lengths, and how much of the answer is the question again.

With several references, the one that fits best gives the row, and `max_`/`mean_` columns say how the others fit.
`comparison` gives the same alignment as a long vector (what differs, dimension by dimension) for models that learn.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.views import TOKEN_LAYERS, Floats, TextView
from grader.evidence import FUNCTION_WORDS

VERSION = "1"  # changes with any number below; caches depend on it
COSINE_LAYERS = (0, 2, 4, 6)
FUNCTION_WEIGHT = 0.15  # of a function word beside a content word of the same rarity, in recall and precision
# Most of what tells words apart in `comparison` are content words, but "not" and "before" are function words.
COMPARISON_FUNCTION_WEIGHT = 0.3
LOW_SHARE = 0.25  # recall_low: the alignment below which this share of the reference's weight lies

_PAIRS = """increase decrease|increases decreases|more less|more fewer|higher lower|high low|greater smaller|bigger smaller|
larger smaller|faster slower|fast slow|open closed|open close|before after|first last|same different|true false|
positive negative|always never|all none|up down|above below|hot cold|warm cool|heavier lighter|longer shorter|long short|
harder softer|hard soft|start end|begin end|input output|inside outside|connected separated|connected disconnected|
complete incomplete|with without|can cannot|left right|light dark|maximum minimum|most least|many few|static dynamic|
public private|push pull|insert delete|add remove|top bottom|front back|forward backward|parent child|stronger weaker|
strong weak|near far|closer farther|thick thin|rough smooth|wet dry|full empty|on off|in out|even odd|rise fall|rises falls|
gain lose|attract repel|early late|local global|upper lower|sender receiver|server client|parallel series|better worse|
easier harder|deep shallow|equal unequal|possible impossible|dependent independent|evaporated condensed"""
ANTONYMS: dict[str, set[str]] = {}
for _one, _other in (pair.split() for pair in _PAIRS.replace("\n", "").split("|")):
    ANTONYMS.setdefault(_one, set()).add(_other)
    ANTONYMS.setdefault(_other, set()).add(_one)

_ACROSS = (
    "cos6", "cos4", "recall6", "recall3", "recall_new6", "lex_recall", "lex_recall_new", "characters", "pairs",
    "precision6", "sentence_recall",
)  # fmt: skip
FEATURES: tuple[str, ...] = (
    *(f"{part}{layer}" for layer in TOKEN_LAYERS
      for part in ("recall", "precision", "recall_new", "precision_new", "recall_low")),
    "new_share", "monotone",
    *(f"{part}{layer}" for layer in COSINE_LAYERS for part in ("cos", "question_cos")),
    "reference_question_cos", "cos_beyond_question",
    "sentence_recall", "sentence_least", "sentence_precision", "sentence_best",
    "lex_recall", "lex_precision", "lex_recall_new", "lex_precision_new", "echo", "reference_echo", "pairs", "characters",
    "length", "reference_length", "length_ratio", "content_length", "new_length", "function_share",
    "negation_parity", "negated", "reference_negated", "negations_more",
    "numbers_missed", "number_added", "number_replaced", "antonym", "antonym_near",
    *(f"max_{name}" for name in _ACROSS), *(f"mean_{name}" for name in _ACROSS), "references",
)  # fmt: skip


def features(question: TextView, references: Sequence[TextView], answer: TextView) -> tuple[NDArray[np.float64], int]:
    """A row of FEATURES, and which reference fits best; there must be at least one reference."""
    rows = [_compare(question, reference, answer) for reference in references]
    fit = [r["recall6"] + r["recall3"] + 0.3 * r["lex_recall_new"] + r["cos6"] + r["cos4"] for r in rows]
    best = int(np.argmax(fit))
    row = dict(rows[best])
    for name in _ACROSS:
        values = [one[name] for one in rows]
        row[f"max_{name}"], row[f"mean_{name}"] = max(values), sum(values) / len(values)
    row["references"] = math.log(len(references))
    return np.array([row[name] for name in FEATURES]), best


def comparison(reference: TextView, answer: TextView) -> Floats:
    """What differs between aligned tokens and between the means, dimension by dimension: shape (10 * d,)."""
    wanted, said = _tokens(reference), _tokens(answer)
    similarity = np.einsum("lid,ljd->lij", wanted, said).mean(0)
    to_answer, to_reference = similarity.argmax(1), similarity.argmax(0)
    wanted_weight = _weights(reference, COMPARISON_FUNCTION_WEIGHT) + np.float32(1e-3)
    said_weight = _weights(answer, COMPARISON_FUNCTION_WEIGHT) + np.float32(1e-3)
    parts = []
    for layer in (0, len(TOKEN_LAYERS) - 1):
        parts.append(np.average(np.abs(wanted[layer] - said[layer][to_answer]), axis=0, weights=wanted_weight))
        parts.append(np.average(np.abs(said[layer] - wanted[layer][to_reference]), axis=0, weights=said_weight))
    for layer in COSINE_LAYERS[1:]:
        parts.append(np.abs(reference.means[layer] - answer.means[layer]))
        parts.append(reference.means[layer] * answer.means[layer] * 10)  # about the size of the differences
    return np.concatenate(parts).astype(np.float32)


# ---- one reference ---------------------------------------------------------------------------------------------------


def _compare(question: TextView, reference: TextView, answer: TextView) -> dict[str, float]:
    return {
        **_alignment(question, reference, answer),
        **_cosines(question, reference, answer),
        **_words(question, reference, answer),
        **_form(question, reference, answer),
        **_opposites(question, reference, answer),
    }


def _alignment(question: TextView, reference: TextView, answer: TextView) -> dict[str, float]:
    similarity = np.einsum("lid,ljd->lij", _tokens(reference), _tokens(answer))
    wanted, said = _weights(reference, FUNCTION_WEIGHT), _weights(answer, FUNCTION_WEIGHT)
    new_wanted, new_said = wanted * _is_new(reference, question), said * _is_new(answer, question)
    row: dict[str, float] = {}
    for number, layer in enumerate(TOKEN_LAYERS):
        recall, precision = similarity[number].max(1), similarity[number].max(0)
        row[f"recall{layer}"], row[f"precision{layer}"] = _mean(recall, wanted), _mean(precision, said)
        row[f"recall_new{layer}"], row[f"precision_new{layer}"] = _mean(recall, new_wanted), _mean(precision, new_said)
        row[f"recall_low{layer}"] = _weighted_quantile(recall, wanted, LOW_SHARE)
    row["new_share"] = float(new_wanted.sum() / wanted.sum()) if wanted.sum() > 0 else 0.0
    places = similarity.mean(0).argmax(1)[wanted > 2 * FUNCTION_WEIGHT]
    row["monotone"] = float(np.mean(np.diff(places) > 0)) if len(places) > 1 else 0.5
    return row


def _cosines(question: TextView, reference: TextView, answer: TextView) -> dict[str, float]:
    row: dict[str, float] = {}
    for layer in COSINE_LAYERS:
        row[f"cos{layer}"] = float(reference.means[layer] @ answer.means[layer])
        row[f"question_cos{layer}"] = float(question.means[layer] @ answer.means[layer])
    row["reference_question_cos"] = float(reference.means[-1] @ question.means[-1])
    wanted, said = (_beyond(text.means[-1], question.means[-1]) for text in (reference, answer))
    row["cos_beyond_question"] = float(wanted @ said)
    sentences = reference.sentences @ answer.sentences.T
    return row | {
        "sentence_recall": float(sentences.max(1).mean()),
        "sentence_least": float(sentences.max(1).min()),
        "sentence_precision": float(sentences.max(0).mean()),
        "sentence_best": float(sentences.max()),
    }


def _words(question: TextView, reference: TextView, answer: TextView) -> dict[str, float]:
    wanted, said, asked = reference.content_stems, answer.content_stems, question.content_stems
    rare_wanted = dict(zip(reference.stems, reference.rarity.tolist(), strict=True))
    rare_said = dict(zip(answer.stems, answer.rarity.tolist(), strict=True))
    return {
        "lex_recall": _share(wanted, said, rare_wanted),
        "lex_precision": _share(said, wanted, rare_said),
        "lex_recall_new": _share(wanted - asked, said, rare_wanted),
        "lex_precision_new": _share(said - asked, wanted, rare_said),
        "echo": _share(said, asked, rare_said),
        "reference_echo": _share(wanted, asked, rare_wanted),
        "pairs": len(reference.pairs & answer.pairs) / max(1, len(reference.pairs)),
        "characters": _counter_cosine(reference.characters, answer.characters),
    }


def _form(question: TextView, reference: TextView, answer: TextView) -> dict[str, float]:
    count, wanted = len(answer.words), len(reference.words)
    return {
        "length": math.log1p(count),
        "reference_length": math.log1p(wanted),
        "length_ratio": math.log((count + 1) / (wanted + 1)),
        "content_length": math.log1p(len(answer.content_stems)),
        "new_length": math.log1p(len(answer.content_stems - question.content_stems)),
        "function_share": sum(word in FUNCTION_WORDS for word in answer.words) / max(1, count),
    }


def _opposites(question: TextView, reference: TextView, answer: TextView) -> dict[str, float]:
    missed, added = reference.numbers - answer.numbers, answer.numbers - reference.numbers - question.numbers
    wanted, said = set(reference.words), set(answer.words)
    known = wanted & ANTONYMS.keys()
    return {
        "negation_parity": float(reference.negations % 2 != answer.negations % 2),
        "negated": float(answer.negations > 0),
        "reference_negated": float(reference.negations > 0),
        "negations_more": float(answer.negations - reference.negations),
        "numbers_missed": len(missed) / max(1, len(reference.numbers)),
        "number_added": float(bool(added)),
        "number_replaced": float(bool(missed) and bool(added)),
        "antonym": float(sum(w not in said and bool(ANTONYMS[w] & said) and not ANTONYMS[w] & wanted for w in known)),
        "antonym_near": float(sum(bool(ANTONYMS[w] & said) for w in known)),
    }


# ---- arithmetic ------------------------------------------------------------------------------------------------------


def _tokens(view: TextView) -> Floats:
    """Shape (layers, tokens, d); one token of zeros where the text has none."""
    if view.tokens.shape[1] == 0:
        return np.zeros((len(TOKEN_LAYERS), 1, view.tokens.shape[2]), dtype=np.float32)
    return view.tokens.astype(np.float32)


def _weights(view: TextView, of_function_words: float) -> Floats:
    if not len(view.rarity):
        return np.zeros(1, dtype=np.float32)
    return view.rarity * np.where(view.content, np.float32(1), np.float32(of_function_words))


def _is_new(view: TextView, question: TextView) -> NDArray[np.bool_]:
    if not view.stems:
        return np.ones(1, dtype=bool)
    return np.array([stem not in question.content_stems for stem in view.stems], dtype=bool)


def _mean(values: Floats, weights: Floats) -> float:
    total = float(weights.sum())
    return float((values * weights).sum()) / total if total > 0 else 0.0


def _weighted_quantile(values: Floats, weights: Floats, share: float) -> float:
    order = np.argsort(values)
    cumulated = np.cumsum(weights[order])
    return float(values[order[min(int(np.searchsorted(cumulated, share * cumulated[-1])), len(values) - 1)]])


def _beyond(vector: Floats, direction: Floats) -> Floats:
    """The part of a vector that is not along the other, at length 1."""
    rest: Floats = vector - (vector @ direction) * direction
    unit: Floats = rest / np.maximum(np.linalg.norm(rest), np.float32(1e-6))
    return unit


def _share(wanted: frozenset[str], found: frozenset[str], rarity: dict[str, float]) -> float:
    weight: Callable[[str], float] = lambda stem: rarity.get(stem, 1.0)  # noqa: E731
    total = sum(weight(stem) for stem in sorted(wanted))
    return sum(weight(stem) for stem in sorted(wanted & found)) / total if total > 0 else 0.0


def _counter_cosine(one: Counter[str], other: Counter[str]) -> float:
    together = sum(count * other.get(key, 0) for key, count in one.items())
    size = math.sqrt(sum(n * n for n in one.values()) * sum(n * n for n in other.values()))
    return together / size if size else 0.0
