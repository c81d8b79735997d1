"""Signals -> probabilities, and the width of the score interval: fitted offline, loaded from JSON.

Two small logistic models that know no question: one over the four verdicts of a criterion, one for misconceptions. Every
weight can be read in `calibration-*.json`, one file a judge; `training/fit_calibration.py` writes them and reports how
well they do. The score interval is a normalised split-conformal one (Papadopoulos et al. 2002):
the 90 % quantile of |error| / sigma over left-out answers, times the answer's own sigma.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from grader.bank import content_hash
from grader.errors import CalibrationError
from grader.schema import Frozen, Interval, PointScale

BANK_SCALE_FILE = "calibration.json"
CLASSES = ("not_met", "partial", "met", "contradicted")


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

    def verdict_probabilities(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shape (criteria, 4) in the order of CLASSES; every row sums to 1. `rows` follows `signals`."""
        logits = self.criterion.logits(rows)
        exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float64] = exponent / exponent.sum(axis=1, keepdims=True)
        return probabilities

    def misconception_probabilities(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shape (misconceptions,). `rows` follows `misconception_signals`."""
        if not len(rows):
            return np.zeros(0)
        probabilities: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-self.misconception.logits(rows)[:, 0]))
        return probabilities


class BankScale(Frozen):
    """How strict the graders of one bank are, fitted to their own graded answers by `grader calibrate`.

    It takes the place of the shipped point scale and interval; the probabilities of the verdicts stay what they are.
    `base` is the version of the calibration it was fitted on top of: with another one it is void.
    """

    base: str
    points: PointScale
    interval: Interval
    fitted_on: str

    @cached_property
    def version(self) -> str:
        """Hash of all its numbers."""
        return content_hash(self.model_dump(mode="json"))


def load_bank_scale(folder: Path) -> BankScale | None:
    """The scale beside a bank, None when it has none; raises CalibrationError when the file is damaged."""
    file = folder / BANK_SCALE_FILE
    if not file.is_file():
        return None
    try:
        return BankScale.model_validate_json(file.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place}: {first['msg']}" if place else str(first["msg"])
        raise _unusable(file, reason) from error
    except (OSError, ValueError) as error:
        raise _unusable(file, str(error)) from error


def _unusable(file: Path, reason: str) -> CalibrationError:
    return CalibrationError(f"{file} cannot be used ({reason}); run `grader calibrate` again or remove the file.")


def calibration_file(judge: str) -> Path:
    """The file that ships for a judge (`encoder` or `heads`)."""
    return Path(__file__).with_name(f"calibration-{judge}.json")


def load_calibration(judge: str = "encoder", path: Path | None = None) -> Calibration:
    """The calibration that ships for a judge, or the one in `path`; raises CalibrationError when it cannot be used."""
    file = path or calibration_file(judge)
    try:
        calibration = Calibration.model_validate_json(file.read_bytes())
    except OSError as error:
        raise CalibrationError(f"The calibration cannot be read: {error}. Reinstall answer-grader.") from error
    except ValidationError as error:
        raise CalibrationError(f"{file} is not a calibration file: {error.error_count()} fields are wrong.") from error
    if calibration.classes != CLASSES:
        raise CalibrationError(f"{file} was fitted on other verdicts than this version knows; fit it again.")
    return calibration
