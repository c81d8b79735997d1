"""Wording heads: which runs of one to three words tell a criterion's right sentences from its wrong ones.

Mean vectors hardly move when "not" is added or two names change places; the words themselves do. For every criterion a
logistic regression over the presence of word runs is fitted to its right and wrong sentences (`grader/fitting.py`), read
only where a sentence is about the criterion at all, and weighed with everything else by the calibration. Bigrams as a match for
neural readers on short texts: Wang & Manning 2012.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from grader.text import words

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

LONGEST = 3  # words in a run
STRENGTH = 3.0  # inverse regularisation C; 1 to 30 do alike (benchmarks/LOG.md)


@dataclass(frozen=True)
class WordingHead:
    """One criterion's runs, by crc32 in ascending order, what each speaks for (+ right, - wrong), and the bias."""

    runs: NDArray[np.uint32]
    weights: NDArray[np.float32]
    bias: float

    def read(self, found: NDArray[np.uint32]) -> float:
        """Log odds that a sentence with these runs is right rather than wrong; runs never seen have no say."""
        if not len(self.runs) or not len(found):
            return self.bias
        places = np.searchsorted(self.runs, found)
        places[places == len(self.runs)] = 0
        known = places[self.runs[places] == found]
        return float(self.weights[known].sum(dtype=np.float64) / max(1, len(known)) ** 0.5) + self.bias


def runs_of(text: str) -> NDArray[np.uint32]:
    """The runs of a text, each once, in ascending order."""
    found = words(text)
    runs = {
        zlib.crc32(" ".join(found[start : start + length]).encode())
        for length in range(1, LONGEST + 1)
        for start in range(len(found) - length + 1)
    }
    return np.array(sorted(runs), dtype=np.uint32)


def fit_wording(texts: Sequence[str], right: Sequence[bool]) -> WordingHead:
    """A head from sentences that are right about a criterion and others that are wrong about it."""
    from sklearn.linear_model import LogisticRegression

    found = [runs_of(text) for text in texts]
    known = np.unique(np.concatenate([*found, np.zeros(0, dtype=np.uint32)]))
    if len(set(right)) < 2:
        return WordingHead(np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.float32), 0.0)
    model = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=300).fit(
        _matrix(found, known), list(right)
    )
    return WordingHead(known, model.coef_[0].astype(np.float32), float(model.intercept_[0]))


def _matrix(found: list[NDArray[np.uint32]], known: NDArray[np.uint32]) -> csr_matrix[Any]:
    """Presence of every run, each row at unit length: shape (texts, runs)."""
    from scipy.sparse import csr_matrix

    borders = np.cumsum([0, *map(len, found)])
    columns = np.searchsorted(known, np.concatenate(found))
    values = np.concatenate([np.full(len(runs), len(runs) ** -0.5) for runs in found if len(runs)])
    return csr_matrix((values, columns, borders), shape=(len(found), len(known)))
