"""The arithmetic of agreement: pure functions of arrays, no grader, no files.

Arrays of scores are (answers,) in points of 100 unless said otherwise; groups name the question of each answer. An
interval is a bootstrap that draws whole questions, because answers to one question are alike (cluster bootstrap, Cameron,
Gelbach & Miller 2008).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Array = NDArray[np.float64]
Statistic = Callable[[Array, Array], float]

BANDS = 5  # of equal width over 0..100, for the weighted kappa
DRAWS = 1000
LEVEL = 0.90


@dataclass(frozen=True)
class Interval:
    """A figure with the ends of its 90 % bootstrap interval."""

    value: float
    low: float
    high: float


def pearson(found: Array, wanted: Array) -> float:
    """Pearson's r; 0 where one side does not vary."""
    if len(found) < 2 or np.ptp(found) == 0 or np.ptp(wanted) == 0:
        return 0.0
    return float(np.corrcoef(found, wanted)[0, 1])


def spearman(found: Array, wanted: Array) -> float:
    """Spearman's rho, ties at their mean rank; 0 where one side does not vary."""
    return pearson(rankdata(found), rankdata(wanted))


def mean_error(found: Array, wanted: Array) -> float:
    """Mean absolute error, in the unit of the scores."""
    return float(np.abs(found - wanted).mean())


def root_mean_square_error(found: Array, wanted: Array) -> float:
    """In the unit of the scores."""
    return float(np.sqrt(np.mean((found - wanted) ** 2)))


def weighted_kappa(found: Array, wanted: Array, bands: int = BANDS) -> float:
    """Quadratically weighted kappa (Cohen 1968) of scores 0..100 cut into bands of equal width."""
    one, other = (np.clip(scores * bands / 100, 0, bands - 1).astype(int) for scores in (found, wanted))
    seen = np.zeros((bands, bands))
    np.add.at(seen, (one, other), 1.0)
    expected = np.outer(seen.sum(1), seen.sum(0)) / len(found)
    cost = (np.arange(bands)[:, None] - np.arange(bands)[None, :]) ** 2
    by_chance = float((cost * expected).sum())
    return 1.0 - float((cost * seen).sum()) / by_chance if by_chance else 1.0


def interval(statistic: Statistic, found: Array, wanted: Array, groups: Sequence[str]) -> Interval:
    """The statistic over all answers, and its 90 % interval when whole questions are drawn with replacement."""
    places = [np.flatnonzero(np.asarray(groups) == name) for name in sorted(set(groups))]
    random = np.random.default_rng(0)
    draws = []
    for _ in range(DRAWS):
        take = np.concatenate([places[i] for i in random.integers(0, len(places), len(places))])
        draws.append(statistic(found[take], wanted[take]))
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(statistic(found, wanted), float(low), float(high))


def class_f1(found: Sequence[str], wanted: Sequence[str], name: str) -> tuple[float, int]:
    """F1 of one class, and how often it was wanted."""
    hits = sum(f == w == name for f, w in zip(found, wanted, strict=True))
    total = found.count(name) + wanted.count(name)
    return (2 * hits / total if total else 0.0), wanted.count(name)


def macro_f1(found: Array, wanted: Array) -> float:
    """Mean F1 over the classes (numbers) that are wanted at least once."""
    scores = []
    for name in np.unique(wanted):
        one, other = found == name, wanted == name
        scores.append(2 * float((one & other).sum()) / float(one.sum() + other.sum()))
    return float(np.mean(scores))


def area_under_curve(high: Array, low: Array) -> float:
    """Chance that a value of `high` lies above one of `low` (ties count half); .5 where one of them is empty."""
    if not len(high) or not len(low):
        return 0.5
    ranks = rankdata(np.concatenate([high, low]))[: len(high)]
    return float((ranks.sum() - len(high) * (len(high) + 1) / 2) / (len(high) * len(low)))


@dataclass(frozen=True)
class Bin:
    """Probabilities of one tenth of the scale: how many, what they say on average, and how often it was so."""

    count: int
    said: float
    true: float


def reliability(probabilities: Array, happened: Array, bins: int = 10) -> list[Bin]:
    """Bins of equal width over 0..1 that hold anything, in order."""
    place = np.clip((probabilities * bins).astype(int), 0, bins - 1)
    filled = [place == number for number in range(bins) if (place == number).any()]
    return [Bin(int(b.sum()), float(probabilities[b].mean()), float(happened[b].mean())) for b in filled]


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error (Naeini et al. 2015): mean distance between said and true, weighted by count."""
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.said - b.true) for b in bins) / total if total else 0.0


def share_at_accuracy(uncertainty: Array, right: Array, accuracy: float) -> float:
    """Largest share of answers, most certain first, among which at least `accuracy` are right (risk-coverage curve).

    Answers of the same uncertainty are taken or left together.
    """
    order = np.argsort(uncertainty, kind="stable")
    sorted_uncertainty, cumulated = uncertainty[order], np.cumsum(right[order]) / np.arange(1, len(right) + 1)
    last_of_its_kind = np.append(np.diff(sorted_uncertainty) > 0, True)
    good = np.flatnonzero(last_of_its_kind & (cumulated >= accuracy))
    return float((good[-1] + 1) / len(right)) if len(good) else 0.0
