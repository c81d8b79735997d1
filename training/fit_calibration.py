"""Fits `grader/calibration.json` and reports how well it does on questions it has not seen.

    python -m training.fit_calibration [--bank FOLDER] [--graded FILE.jsonl] [--output FILE] [--dry-run]

Data: the graded samples of the bank and `training/data/pytorch/graded_answers.jsonl` (answers to six of its questions,
with a verdict per criterion). Every figure it prints is measured with the answer's question left out of the fit; what is
written is then fitted on all. Deterministic: no random numbers but the seeded bootstrap of the intervals.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from grader.bank import Bank, expected_score, load_bank
from grader.calibration import CLASSES, DEFAULT_FILE, MISCONCEPTION_SIGNALS, Calibration, Linear, misconception_row
from grader.encoders import load_encoder
from grader.evidence import SIGNALS, Signals, measure_misconceptions, reference_similarity
from grader.index import build_index
from grader.judges.encoder import MET, PARTIAL, WRONG
from grader.pipeline import neighbours_of, prepare
from grader.schema import Flag, Interval, Judgement, MisconceptionFinding, PointScale, Question
from grader.scoring import MISCONCEPTION_FROM, score, sigma

GRADED = Path(__file__).parent / "data" / "pytorch" / "graded_answers.jsonl"
REGULARISATION = 0.3  # inverse strength C; chosen by left-out log loss among 0.03, 0.1, 0.3, 1, 3 (benchmarks/LOG.md)
COVERAGE = 0.90


@dataclass(frozen=True)
class Graded:
    """One graded answer, measured."""

    question: Question
    kind: str
    answer: str
    score: float
    verdicts: dict[str, str]
    misconceptions: frozenset[str] | None  # None: not annotated
    flags: tuple[Flag, ...]
    signals: list[Signals]
    wrong_rows: NDArray[np.float64]  # (misconceptions, signals)
    similarity: float


def read(bank: Bank, graded: Path) -> Iterator[tuple[Question, str, str, float, dict[str, str], frozenset[str] | None]]:
    """Question, kind, answer, score, verdicts and misconceptions of every graded answer."""
    for question in bank.questions:
        for sample in question.samples:
            middle = min(max(expected_score(question, sample), sample.score[0]), sample.score[1])
            yield question, sample.kind, sample.answer, middle, dict(sample.verdicts), frozenset(sample.misconceptions)
    known = {question.id: question for question in bank.questions}
    for line in graded.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["question_id"] in known:
            yield known[row["question_id"]], row["kind"], row["answer"], float(row["score"]), row["verdicts"], None


def measured(bank: Bank, graded: Path) -> tuple[list[Graded], int]:
    """Every graded answer with its signals, and how many the guards refused."""
    encoder = load_encoder()
    indexes = {question.id: build_index(question, encoder) for question in bank.questions}
    neighbours = {name: neighbours_of(index, list(indexes.values())) for name, index in indexes.items()}
    rows, refused = [], 0
    for question, kind, answer, expected, verdicts, held in read(bank, graded):
        prepared = prepare(indexes[question.id], encoder, answer, neighbours[question.id])
        if prepared.case is None:
            refused += 1
            continue
        case = prepared.case
        found = measure_misconceptions(case.index, case.vectors)
        wrong = np.array([misconception_row(f, case.signals) for f in found]).reshape(-1, len(MISCONCEPTION_SIGNALS))
        similarity = reference_similarity(case.index, case.vectors)
        rows.append(
            Graded(question, kind, answer, expected, verdicts, held, prepared.flags, case.signals, wrong, similarity)
        )
    return rows, refused


def fit_linear(rows: NDArray[np.float64], labels: NDArray[np.int64], classes: int) -> Linear:
    """A standardised multinomial (classes > 1) or binary (1) logistic regression."""
    scaler = StandardScaler().fit(rows)
    model = LogisticRegression(C=REGULARISATION, max_iter=5000).fit(scaler.transform(rows), labels)
    if classes > 1 and len(model.classes_) != classes:
        raise SystemExit(f"the data hold only {len(model.classes_)} of {classes} verdicts; add graded answers")
    return Linear(
        mean=tuple(np.round(scaler.mean_, 6)),
        scale=tuple(np.round(scaler.scale_, 6)),
        weights=tuple(tuple(np.round(row, 6)) for row in model.coef_),
        bias=tuple(np.round(model.intercept_, 6)),
    )


def criterion_data(rows: list[Graded]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    signals = [signal.values for row in rows for signal in row.signals]
    labels = [CLASSES.index(row.verdicts.get(s.criterion_id, "not_met")) for row in rows for s in row.signals]
    return np.array(signals), np.array(labels)


def misconception_data(rows: list[Graded]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    known = [row for row in rows if row.misconceptions is not None and len(row.wrong_rows)]
    labels = [int(m.id in (row.misconceptions or ())) for row in known for m in row.question.misconceptions]
    return np.concatenate([row.wrong_rows for row in known]), np.array(labels)


def fit(rows: list[Graded], points: PointScale, interval: Interval, fitted_on: str) -> Calibration:
    """The calibration fitted on these answers; `points` and `interval` are taken over."""
    return Calibration(
        signals=SIGNALS,
        classes=CLASSES,
        criterion=fit_linear(*criterion_data(rows), classes=len(CLASSES)),
        misconception_signals=MISCONCEPTION_SIGNALS,
        misconception=fit_linear(*misconception_data(rows), classes=1),
        points=points,
        interval=interval,
        fitted_on=fitted_on,
    )


def judgements(row: Graded, calibration: Calibration) -> tuple[list[Judgement], list[MisconceptionFinding]]:
    """What the offline judge says of a measured answer."""
    probabilities = calibration.verdict_probabilities(row.signals)
    said = [
        Judgement(
            criterion_id=s.criterion_id,
            p_met=float(p[MET]),
            p_partial=float(p[PARTIAL]),
            p_contradicted=float(p[WRONG]),
        )
        for s, p in zip(row.signals, probabilities, strict=True)
    ]
    wrong = 1 / (1 + np.exp(-calibration.misconception.logits(row.wrong_rows)[:, 0])) if len(row.wrong_rows) else []
    findings = [
        MisconceptionFinding(misconception_id=m.id, probability=float(p))
        for m, p in zip(row.question.misconceptions, wrong, strict=True)
    ]
    return said, findings


Opinions = list[tuple[list[Judgement], list[MisconceptionFinding]]]


def left_out(rows: list[Graded]) -> Opinions:
    """Each answer judged by a calibration that has not seen its question."""
    blank = (PointScale(low=0, high=1), Interval(quantile=1, floor=1), "left out")
    by_question = {
        q: fit([row for row in rows if row.question.id != q], *blank) for q in {row.question.id for row in rows}
    }
    return [judgements(row, by_question[row.question.id]) for row in rows]


def scores(rows: list[Graded], opinions: Opinions, points: PointScale, interval: Interval) -> NDArray[np.float64]:
    """Shape (answers, 3): score and the ends of its interval."""
    results = [
        score(row.question, said, found, row.flags, points, interval)
        for row, (said, found) in zip(rows, opinions, strict=True)
    ]
    return np.array([[r.score, *(r.interval or (0, 0))] for r in results], dtype=float)


def choose_points(rows: list[Graded], opinions: Opinions) -> PointScale:
    """The point scale with the least mean absolute error over left-out answers, on a grid of 0.05."""
    target = np.array([row.score for row in rows])
    blank = Interval(quantile=1, floor=1)
    grid = [PointScale(low=a / 20, high=b / 20) for a in range(0, 9) for b in range(9, 20)]
    return min(grid, key=lambda p: float(np.abs(scores(rows, opinions, p, blank)[:, 0] - target).mean()))


def choose_interval(rows: list[Graded], opinions: Opinions, points: PointScale, floor: float = 5.0) -> Interval:
    """The quantile that puts 90 % of left-out answers inside their interval."""
    found = scores(rows, opinions, points, Interval(quantile=1, floor=floor))[:, 0]
    spread = np.array([sigma(row.question, said, floor) for row, (said, _) in zip(rows, opinions, strict=True)])
    ratio = np.abs(found - np.array([row.score for row in rows])) / spread
    return Interval(quantile=round(float(np.quantile(ratio, COVERAGE)), 3), floor=floor)


# ---- the report ------------------------------------------------------------------------------------------------------


def spearman(found: NDArray[np.float64], rows: list[Graded]) -> str:
    """Spearman's rho with a 95 % bootstrap interval that draws whole questions."""
    target = np.array([row.score for row in rows])
    owner = np.array([row.question.id for row in rows])
    names, random = np.unique(owner), np.random.default_rng(0)
    draws = []
    for _ in range(1000):
        take = np.concatenate([np.flatnonzero(owner == name) for name in random.choice(names, len(names))])
        draws.append(spearmanr(found[take], target[take])[0])
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{spearmanr(found, target)[0]:.2f} ({low:.2f} to {high:.2f})"


def report(rows: list[Graded], opinions: Opinions, points: PointScale, interval: Interval) -> None:
    """Prints agreement on left-out questions, the baselines beside it, and how it does on each kind of answer."""
    result = scores(rows, opinions, points, interval)
    target = np.array([row.score for row in rows])
    error = np.abs(result[:, 0] - target)
    inside = (result[:, 1] <= target) & (target <= result[:, 2])
    print(
        f"{len(rows)} answers to {len({row.question.id for row in rows})} questions, each question left out of its fit"
    )
    print(f"  grader        Spearman {spearman(result[:, 0], rows)}, mean absolute error {error.mean():.1f} of 100")
    print(f"  length only   Spearman {spearman(np.array([float(len(row.answer.split())) for row in rows]), rows)}")
    print(f"  plain cosine  Spearman {spearman(np.array([row.similarity for row in rows]), rows)}")
    width = np.mean(result[:, 2] - result[:, 1])
    print(f"  {inside.mean():.0%} inside the interval, which is {width:.0f} points wide on average")
    kinds = np.array([row.kind for row in rows])
    for kind in sorted(set(kinds)):
        here = kinds == kind
        print(
            f"  {kind:18} {here.sum():4}  expected {target[here].mean():5.1f}  given {result[here, 0].mean():5.1f}"
            f"  error {error[here].mean():5.1f}"
        )
    labels = [CLASSES.index(row.verdicts.get(s.criterion_id, "not_met")) for row in rows for s in row.signals]
    given = [_likeliest(judgement) for said, _ in opinions for judgement in said]
    for number, name in enumerate(CLASSES):
        true = sum(g == number == y for g, y in zip(given, labels, strict=True))
        recall, precision = true / max(1, labels.count(number)), true / max(1, given.count(number))
        print(f"  {name:12} recall {recall:.2f}  precision {precision:.2f}")
    charged = [
        (finding.probability >= MISCONCEPTION_FROM, finding.misconception_id in row.misconceptions)
        for row, (_, found) in zip(rows, opinions, strict=True)
        if row.misconceptions is not None
        for finding in found
    ]
    hits, wrongly = sum(a and b for a, b in charged), sum(a and not b for a, b in charged)
    print(f"  misconceptions: {hits} of {sum(b for _, b in charged)} found, {wrongly} wrongly charged")


def _likeliest(judgement: Judgement) -> int:
    rest = 1 - judgement.p_met - judgement.p_partial - judgement.p_contradicted
    return int(np.argmax([rest, judgement.p_partial, judgement.p_met, judgement.p_contradicted]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--bank", type=Path, default=None)
    parser.add_argument("--graded", type=Path, default=GRADED)
    parser.add_argument("--output", type=Path, default=DEFAULT_FILE)
    parser.add_argument("--dry-run", action="store_true", help="report only, write nothing")
    arguments = parser.parse_args()
    bank = load_bank(arguments.bank)
    rows, refused = measured(bank, arguments.graded)
    print(f"{refused} answers were refused by the guards and take no part")
    opinions = left_out(rows)
    points = choose_points(rows, opinions)
    interval = choose_interval(rows, opinions, points)
    report(rows, opinions, points, interval)
    calibration = fit(
        rows, points, interval, f"{len(rows)} graded answers to {len(bank.questions)} questions of {bank.version}"
    )
    print(
        f"point scale {points.low:g} to {points.high:g}, interval {interval.quantile:g} sigma; version {calibration.version}"
    )
    if not arguments.dry_run:
        arguments.output.write_text(calibration.model_dump_json(indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
