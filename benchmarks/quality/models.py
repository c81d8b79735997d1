"""Small heads on the general features: a label of three, or a score 0..1, for questions they have never seen.

Three different models, averaged: a linear one, which extrapolates, boosted trees, which bend, and a kernel or comparison
model, which sees what neither does. Together they generalise to new questions better than the best of them. Constructors
only store; what is learnt ends in `_`; `fit` returns self. Settings were chosen by leaving out whole questions of the
training splits of the public sets (benchmarks/LOG.md).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.features import FEATURES
from benchmarks.quality.measures import Array

LABELS = ("incorrect", "correct", "contradictory")
# For scores of questions never seen few features carry over; with more, a model learns to know the questions.
SCORE_FEATURES = (
    "recall_new6", "recall_new1", "recall3", "recall6", "recall_low3", "lex_recall_new", "precision_new6", "cos6",
    "cos_beyond_question", "sentence_recall", "length_ratio", "length",
)  # fmt: skip
# What the pair network thinks of an answer beside its closest reference: one column behind the features.
PAIR = "pair_met"
COMPONENTS = 200  # principal components of the comparison vectors
COMPONENT_WEIGHT = 1.0  # of a component, beside a feature, both standardised


class LabelModel:
    """Probabilities of LABELS from rows of FEATURES and comparison vectors (features.comparison)."""

    def fit(self, rows: Array, comparisons: NDArray[Any], labels: NDArray[np.int64]) -> Self:
        """`rows` (answers, features), `comparisons` (answers, 10 d), `labels` indices into LABELS."""
        from sklearn.decomposition import PCA
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.neural_network import MLPClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        components = min(COMPONENTS, len(rows) - 1)
        self.components_ = make_pipeline(
            StandardScaler(), PCA(components, whiten=True, svd_solver="randomized", random_state=0)
        ).fit(comparisons.astype(np.float32))
        self.scaler_ = StandardScaler().fit(rows)
        self.trees_ = HistGradientBoostingClassifier(
            max_iter=120,
            learning_rate=0.06,
            max_leaf_nodes=8,
            l2_regularization=5,
            class_weight="balanced",
            random_state=0,
        ).fit(rows, labels)
        both = self._both(rows, comparisons)
        self.linear_ = LogisticRegression(C=0.003, max_iter=500, class_weight="balanced").fit(both, labels)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # ten rounds are the regularisation
            self.network_ = MLPClassifier((48,), alpha=10, max_iter=10, random_state=0).fit(both, labels)
        return self

    def probabilities(self, rows: Array, comparisons: NDArray[Any]) -> Array:
        """Shape (answers, 3); rows sum to 1."""
        both = self._both(rows, comparisons)
        found: Array = (
            self.trees_.predict_proba(rows) + self.linear_.predict_proba(both) + self.network_.predict_proba(both)
        ) / 3
        return found

    def _both(self, rows: Array, comparisons: NDArray[Any]) -> Array:
        components = self.components_.transform(comparisons.astype(np.float32))
        return np.concatenate([self.scaler_.transform(rows), COMPONENT_WEIGHT * components], axis=1)


class ScoreModel:
    """A score 0..1 from rows of FEATURES, and PAIR behind them where it is among `names`; it rises with each it uses."""

    def __init__(self, names: Sequence[str] = SCORE_FEATURES) -> None:
        self.names = tuple(names)

    def fit(self, rows: Array, scores: Array, weights: Array | None = None) -> Self:
        """`rows` (answers, columns), `scores` 0..1, `weights` how much each answer counts (default: all the same)."""
        from sklearn.ensemble import HistGradientBoostingRegressor
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVR

        chosen = self._chosen(rows)
        self.models_: list[Any] = [
            make_pipeline(StandardScaler(), Ridge(10, positive=True)).fit(chosen, scores, ridge__sample_weight=weights),
            make_pipeline(StandardScaler(), SVR(C=0.1, gamma=0.02, epsilon=0.05)).fit(
                chosen, scores, svr__sample_weight=weights
            ),
            HistGradientBoostingRegressor(
                max_iter=80, learning_rate=0.06, max_leaf_nodes=5, min_samples_leaf=25, l2_regularization=10,
                monotonic_cst=[1] * len(self.names), random_state=0,
            ).fit(chosen, scores, sample_weight=weights),
        ]  # fmt: skip
        return self

    def predict(self, rows: Array) -> Array:
        """Shape (answers,), within 0..1."""
        chosen = self._chosen(rows)
        mean: Array = np.mean([model.predict(chosen) for model in self.models_], axis=0)
        return np.clip(mean, 0, 1)

    def _chosen(self, rows: Array) -> Array:
        chosen: Array = rows[:, [(*FEATURES, PAIR).index(name) for name in self.names]]
        return chosen
