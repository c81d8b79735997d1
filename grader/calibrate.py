"""Fits the point scale of one bank to answers that its own graders have scored: `grader calibrate GRADED.csv`.

What the judges see stays as it is; what is fitted is how much of it earns points (two numbers) and how wide the interval
must be. Whether that helps is measured by cross-validation, and nothing is written when it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grader.batch import input_rows
from grader.calibration import BANK_SCALE_FILE, BankScale
from grader.errors import CalibrationError, GraderError
from grader.pipeline import Grader, Opinion
from grader.schema import MAX_SCORE, Interval, PointScale
from grader.scoring import score, sigma

FEWEST = 20  # graded answers below which two numbers and a quantile say nothing
FOLDS = 5
COVERAGE = 0.90
LEAST_SPREAD = 10.0  # standard deviation of the given scores, in points; below it there is no scale to fit
LEAST_ORDER = 0.3  # rank correlation of the grader with the people below which no scale can mend it
# The fitted scale must beat the shipped one by this many points, left out, before it takes its place.
LEAST_GAIN = 0.25
GRID = [PointScale(low=low / 20, high=high / 20) for low in range(0, 11) for high in range(low + 4, 21)]


@dataclass(frozen=True)
class GradedOpinion:
    """What the judges say of an answer, and the score (0..100) a person gave it."""

    opinion: Opinion
    expected: float


@dataclass(frozen=True)
class Fit:
    """What cross-validation says: mean absolute errors in points, left out, and the scale fitted to all answers."""

    answers: int
    questions: int
    order: float  # Spearman's rho between the grader and the people
    error_before: float
    error_after: float
    inside: float  # share of left-out answers whose score lies in its 90 % interval
    scale: BankScale

    @property
    def gain(self) -> float:
        """Points by which the left-out error falls."""
        return self.error_before - self.error_after


def read_graded(
    grader: Grader,
    file: Path,
    *,
    out_of: float = MAX_SCORE,
    progress: Callable[[int], None] = lambda _done: None,
) -> list[GradedOpinion]:
    """Rows of `question_id`, `answer` and `score` (0 to `out_of`) from CSV, JSONL or Parquet, each judged.

    Raises CalibrationError that names every row which cannot be used: a fit on part of the data would mislead.
    """
    found, problems = [], []
    for number, (name, row) in enumerate(input_rows(file), start=1):
        try:
            if isinstance(row, GraderError):
                raise row
            found.append(_graded(grader, row, out_of))
        except GraderError as error:
            problems.append(f"row {number} ({name}): {error}")
        progress(number)
    if problems:
        shown = "\n".join(problems[:20])
        more = f"\n... and {len(problems) - 20} more" if len(problems) > 20 else ""
        raise CalibrationError(f"{file}: {len(problems)} rows cannot be used; nothing was fitted.\n{shown}{more}")
    return found


def _graded(grader: Grader, row: dict[str, Any], out_of: float) -> GradedOpinion:
    missing = [name for name in ("question_id", "answer", "score") if row.get(name) in (None, "")]
    if missing:
        raise CalibrationError(f"needs {', '.join(missing)}")
    try:
        given = float(row["score"])
    except (TypeError, ValueError):
        given = float("nan")
    if not 0 <= given <= out_of:
        raise CalibrationError(f"the score {row['score']!r} is not a number from 0 to {out_of:g}")
    opinion = grader.opinion(str(row["question_id"]), str(row["answer"]))
    if opinion.prepared.case is None:
        raise CalibrationError(f"the answer cannot be graded: {opinion.prepared.refusal}")
    return GradedOpinion(opinion, given / out_of * MAX_SCORE)


def fit(grader: Grader, rows: Sequence[GradedOpinion]) -> Fit:
    """The scale that suits these answers best; raises CalibrationError when they cannot support one."""
    from scipy.stats import spearmanr

    shipped = grader.offline.newest
    expected = np.array([row.expected for row in rows])
    if len(rows) < FEWEST:
        raise CalibrationError(f"{len(rows)} graded answers are too few to fit a scale; at least {FEWEST} are needed.")
    if expected.std() < LEAST_SPREAD:
        raise CalibrationError(
            f"The given scores hardly differ (standard deviation {expected.std():.1f} points); add answers of other quality."
        )
    before = _scores(rows, shipped.points)
    order = float(spearmanr(before, expected)[0]) if before.std() > 0 else 0.0
    if order < LEAST_ORDER:
        raise CalibrationError(
            f"The grader orders these answers unlike the people do (rank correlation {order:.2f}); no scale can mend that. "
            "Write more exemplars and contradictions and run `grader train`."
        )
    table = np.stack([_scores(rows, points) for points in GRID])  # (grid, answers)
    folds = np.arange(len(rows)) % FOLDS
    after = np.zeros(len(rows))
    for fold in range(FOLDS):
        chosen = _best(table[:, folds != fold], expected[folds != fold], shipped.points)
        after[folds == fold] = table[chosen, folds == fold]
    best = _best(table, expected, shipped.points)
    spread = np.array([_sigma(row, shipped.interval.floor) for row in rows])
    interval = Interval(quantile=_quantile(np.abs(after - expected) / spread), floor=shipped.interval.floor)
    owners = {row.opinion.prepared.index.question.id for row in rows}
    scale = BankScale(
        base=shipped.version,
        points=GRID[best],
        interval=interval,
        fitted_on=f"{len(rows)} graded answers to {len(owners)} questions of {grader.bank.version}",
    )
    return Fit(
        answers=len(rows),
        questions=len(owners),
        order=order,
        error_before=float(np.abs(before - expected).mean()),
        error_after=float(np.abs(after - expected).mean()),
        inside=float((np.abs(after - expected) <= interval.quantile * spread).mean()),
        scale=scale,
    )


def write(folder: Path, scale: BankScale) -> Path:
    """Puts the scale beside its bank, where `Grader.load` finds it."""
    file = folder / BANK_SCALE_FILE
    file.write_text(scale.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return file


def _scores(rows: Sequence[GradedOpinion], points: PointScale) -> NDArray[np.float64]:
    blank = Interval(quantile=1, floor=1)
    found = [
        score(
            row.opinion.prepared.index.question,
            row.opinion.judgements,
            row.opinion.findings,
            row.opinion.prepared.flags,
            points,
            blank,
        ).score
        for row in rows
    ]
    return np.array(found, dtype=np.float64)


def _best(table: NDArray[np.float64], expected: NDArray[np.float64], shipped: PointScale) -> int:
    """Index into GRID of the least mean error, drawn towards the shipped scale the more the fewer answers there are."""
    distance = np.array([abs(p.low - shipped.low) + abs(p.high - shipped.high) for p in GRID])
    error = np.abs(table - expected).mean(axis=1)
    return int(np.argmin(error + 100 * distance / max(1, table.shape[1])))


def _sigma(row: GradedOpinion, floor: float) -> float:
    return sigma(row.opinion.prepared.index.question, row.opinion.judgements, floor)


def _quantile(ratios: NDArray[np.float64]) -> float:
    """The split-conformal quantile: with n answers the ceil(0.9 (n + 1))-th smallest ratio."""
    place = min(len(ratios), ceil(COVERAGE * (len(ratios) + 1))) - 1
    return round(float(np.sort(ratios)[place]), 3)
