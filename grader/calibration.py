"""Signals -> probabilities, and the width of the score interval: fitted offline, loaded from JSON.

Two small logistic models that know no question: one over the four verdicts of a criterion, one for misconceptions. Every
weight can be read in `calibration.json`; `training/fit_calibration.py` writes that file and reports, question by
question left out, how well it does. The score interval is a normalised split-conformal one (Papadopoulos et al. 2002):
the 90 % quantile of |error| / sigma over left-out answers, times the answer's own sigma.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from grader.bank import content_hash
from grader.errors import CalibrationError
from grader.evidence import SIGNALS, MisconceptionSignals, Signals
from grader.schema import Frozen, Interval, PointScale

DEFAULT_FILE = Path(__file__).with_name("calibration.json")
CLASSES = ("not_met", "partial", "met", "contradicted")
MISCONCEPTION_SIGNALS = ("wrong", "margin", "answer_contrast")


class Linear(Frozen):
    """A standardised linear model: logits = (x - mean) / scale @ weights.T + bias."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...]

    def logits(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shape (rows, classes)."""
        standard = (rows - np.array(self.mean)) / np.array(self.scale)
        # einsum sums every row by itself in a fixed order, whatever the number of rows: a grade must not depend on it.
        result: NDArray[np.float64] = np.einsum("rs,cs->rc", standard, np.array(self.weights)) + np.array(self.bias)
        return result


class Calibration(Frozen):
    """The fitted numbers. `signals` and `classes` pin the order they were fitted in."""

    signals: tuple[str, ...]
    classes: tuple[str, ...]
    criterion: Linear
    misconception_signals: tuple[str, ...]
    misconception: Linear
    points: PointScale
    interval: Interval
    fitted_on: str

    @cached_property
    def version(self) -> str:
        """Hash of all its numbers."""
        return content_hash(self.model_dump(mode="json"))

    def verdict_probabilities(self, signals: Sequence[Signals]) -> NDArray[np.float64]:
        """Shape (criteria, 4) in the order of CLASSES; rows sum to 1."""
        logits = self.criterion.logits(np.stack([signal.values for signal in signals]))
        exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float64] = exponent / exponent.sum(axis=1, keepdims=True)
        return probabilities

    def misconception_probabilities(
        self, found: Sequence[MisconceptionSignals], signals: Sequence[Signals]
    ) -> NDArray[np.float64]:
        """Shape (misconceptions,)."""
        if not found:
            return np.zeros(0)
        rows = np.stack([misconception_row(signal, signals) for signal in found])
        probabilities: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-self.misconception.logits(rows)[:, 0]))
        return probabilities


def misconception_row(found: MisconceptionSignals, signals: Sequence[Signals]) -> NDArray[np.float64]:
    """What the misconception model sees, in the order of MISCONCEPTION_SIGNALS."""
    contrast = signals[0].values[SIGNALS.index("answer_contrast")]
    return np.array([found.wrong, found.wrong - found.right, contrast])


def load_calibration(file: Path | None = None) -> Calibration:
    """The calibration that ships or the one in `file`; raises CalibrationError when it is missing or of another version."""
    path = file or DEFAULT_FILE
    try:
        calibration = Calibration.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CalibrationError(f"The calibration cannot be read: {error}. Reinstall answer-grader.") from error
    except ValidationError as error:
        raise CalibrationError(f"{path} is not a calibration file: {error.error_count()} fields are wrong.") from error
    expected = (SIGNALS, CLASSES, MISCONCEPTION_SIGNALS)
    if (calibration.signals, calibration.classes, calibration.misconception_signals) != expected:
        raise CalibrationError(f"{path} was fitted on other signals than this version measures; fit it again.")
    return calibration
