"""The arithmetic of the quality card, against numbers worked out by hand and by other libraries."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score, f1_score, roc_auc_score

from benchmarks.quality import measures

RANDOM = np.random.default_rng(1)
WANTED = RANDOM.integers(0, 101, 200).astype(float)
FOUND = np.clip(WANTED + RANDOM.normal(0, 20, 200), 0, 100)
GROUPS = [f"q{number % 10}" for number in range(200)]


def test_spearman_is_that_of_scipy_with_ties_too() -> None:
    rounded = np.round(FOUND, -1)
    assert measures.spearman(rounded, WANTED) == pytest.approx(spearmanr(rounded, WANTED)[0])


def test_a_side_that_does_not_vary_agrees_with_nothing() -> None:
    assert measures.pearson(np.full(4, 50.0), WANTED[:4]) == 0.0
    assert measures.spearman(WANTED[:1], WANTED[:1]) == 0.0


def test_kappa_is_that_of_scikit_learn_on_bands() -> None:
    bands = [np.clip(scores * 5 / 100, 0, 4).astype(int) for scores in (FOUND, WANTED)]
    assert measures.weighted_kappa(FOUND, WANTED) == pytest.approx(cohen_kappa_score(*bands, weights="quadratic"))
    assert measures.weighted_kappa(WANTED, WANTED) == 1.0


def test_macro_f1_is_that_of_scikit_learn() -> None:
    found, wanted = RANDOM.integers(0, 3, 300).astype(float), RANDOM.integers(0, 3, 300).astype(float)
    assert measures.macro_f1(found, wanted) == pytest.approx(f1_score(wanted, found, average="macro"))


def test_area_under_curve_is_that_of_scikit_learn() -> None:
    high, low = np.round(RANDOM.normal(1, 1, 50), 1), np.round(RANDOM.normal(0, 1, 80), 1)
    expected = roc_auc_score([1] * 50 + [0] * 80, np.concatenate([high, low]))
    assert measures.area_under_curve(high, low) == pytest.approx(expected)
    assert measures.area_under_curve(high, low[:0]) == 0.5


def test_class_f1_counts_what_was_wanted() -> None:
    assert measures.class_f1(["met", "met", "not"], ["met", "not", "met"], "met") == (0.5, 2)
    assert measures.class_f1(["a"], ["a"], "b") == (0.0, 0)


def test_intervals_draw_whole_questions_and_are_the_same_every_time() -> None:
    first = measures.interval(measures.mean_error, FOUND, WANTED, GROUPS)
    assert first == measures.interval(measures.mean_error, FOUND, WANTED, GROUPS)
    assert first.low < first.value < first.high
    # Errors that are the same for all answers to a question vary between questions only: the interval must be wider.
    of_question = np.array([float(group[1:]) for group in GROUPS])
    alike = measures.interval(measures.mean_error, WANTED + of_question, WANTED, GROUPS)
    alone = measures.interval(measures.mean_error, WANTED + of_question, WANTED, [str(n) for n in range(200)])
    assert alike.high - alike.low > 2 * (alone.high - alone.low)


def test_calibration_error_by_hand() -> None:
    said = np.array([0.1, 0.1, 0.9, 0.9])
    bins = measures.reliability(said, np.array([0.0, 0.0, 1.0, 0.0]))
    assert [(b.count, b.true) for b in bins] == [(2, 0.0), (2, 0.5)]
    assert measures.calibration_error(bins) == pytest.approx((2 * 0.1 + 2 * 0.4) / 4)
    assert measures.reliability(np.array([1.0]), np.array([1.0])) == [measures.Bin(1, 1.0, 1.0)]


def test_share_at_accuracy_takes_the_most_certain_first() -> None:
    right = np.array([1.0, 1.0, 0.0, 1.0])
    assert measures.share_at_accuracy(np.array([1.0, 2.0, 3.0, 4.0]), right, 0.95) == 0.5
    assert measures.share_at_accuracy(np.array([1.0, 2.0, 3.0, 4.0]), right, 0.7) == 1.0
    # The wrong one is as certain as the first: they cannot be told apart.
    assert measures.share_at_accuracy(np.array([1.0, 2.0, 1.0, 2.0]), right, 0.95) == 0.0
