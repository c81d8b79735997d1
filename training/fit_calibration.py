"""Fits `grader/calibration-*.json` and reports how well each judge does on answers it has not seen.

    python -m training.fit_calibration [--judge encoder|rubric|heads|entailment] [--dry-run]

All are fitted on the graded answers of `training/data/` that heads are not trained on (`GradedAnswer.set_aside`). The point
scale and the interval come from opinions with the answer's question left out of the fit. The tests take part in neither:
the bank's own samples, and `benchmarks/data/`, answers by writers who had seen neither the bank's wordings nor the training
data. Deterministic; the bootstrap is seeded.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from grader.bank import Bank, expected_score, load_bank
from grader.calibration import CLASSES, Calibration, Linear, calibration_file
from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.evidence import reference_similarity
from grader.fitting import GradedAnswer, fit_rubric_heads, read_data
from grader.index import build_index, default_cache_folder
from grader.judges import CRITERION_SIGNALS_OF, MISCONCEPTION_SIGNALS_OF, Level
from grader.judges.entailment import EntailmentReader, load_reader
from grader.judges.heads import BankHeads, load_heads
from grader.judges.offline import LEVELS, MET, PARTIAL, WRONG
from grader.pipeline import Trained, neighbours_of, prepare
from grader.schema import Flag, Interval, Judgement, MisconceptionFinding, PointScale, Question
from grader.scoring import MISCONCEPTION_FROM, score, sigma

DATA = Path(__file__).parent / "data"
UNSEEN = Path(__file__).parent.parent / "benchmarks" / "data"
REGULARISATION = 0.3  # inverse strength C; chosen by left-out log loss among 0.03, 0.1, 0.3, 1, 3 (benchmarks/LOG.md)
COVERAGE = 0.90
TIE = 0.01  # share of an error by which two point scales differ for no reason
MIN_KIND = 15  # answers
BLANK_POINTS, BLANK_INTERVAL = PointScale(low=0, high=1), Interval(quantile=1, floor=1)


@dataclass(frozen=True)
class Measured:
    """A graded answer and what the judge sees of it."""

    question: Question
    graded: GradedAnswer
    flags: tuple[Flag, ...]
    criterion_rows: NDArray[np.float64]
    misconception_rows: NDArray[np.float64]
    similarity: float
    level: Level

    @property
    def labels(self) -> list[int]:
        verdicts = self.graded.verdicts
        return [CLASSES.index(verdicts.get(c.id, "not_met")) for c in self.question.criteria]


def sample_answers(bank: Bank) -> list[GradedAnswer]:
    """The samples that ship with the bank, with the score their verdicts add up to, kept inside their range."""
    return [
        GradedAnswer(
            question_id=question.id,
            id=sample.id,
            quality=sample.kind,
            answer=sample.answer,
            verdicts=sample.verdicts,
            misconceptions=sample.misconceptions,
            score=min(max(expected_score(question, sample), sample.score[0]), sample.score[1]),
        )
        for question in bank.questions
        for sample in question.samples
    ]


def unseen_answers(bank: Bank) -> list[GradedAnswer]:
    """The answers of `benchmarks/data/`."""
    lines = [
        line
        for file in sorted((UNSEEN / bank.info.id).glob("unseen-*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]
    return [GradedAnswer.model_validate_json(line) for line in lines]


def measure_all(
    bank: Bank,
    answers: list[GradedAnswer],
    encoder: SentenceTransformerEncoder,
    heads: BankHeads | None,
    reader: EntailmentReader | None = None,
) -> list[Measured]:
    """Every graded answer with what the judge sees; those that the guards refuse take no part."""
    indexes = {question.id: build_index(question, encoder, default_cache_folder()) for question in bank.questions}
    neighbours = {name: neighbours_of(index, list(indexes.values())) for name, index in indexes.items()}
    rows = []
    for graded in answers:
        name = graded.question_id
        trained = Trained(heads.questions[name] if heads else None, reader)
        prepared = prepare(indexes[name], encoder, graded.answer, neighbours[name], trained)
        if prepared.case is None:
            print(f"refused: {name}/{graded.id} ({graded.quality}): {prepared.refusal}")
            continue
        case = prepared.case
        similarity = reference_similarity(case.index, case.vectors)
        question = case.index.question
        rows.append(
            Measured(
                question,
                graded,
                prepared.flags,
                case.criterion_rows(),
                case.misconception_rows(),
                similarity,
                case.level,
            )
        )
    return rows


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


def fit(rows: list[Measured], points: PointScale, interval: Interval, fitted_on: str) -> Calibration:
    """The calibration fitted on these answers; `points` and `interval` are taken over."""
    criterion_rows = np.concatenate([row.criterion_rows for row in rows])
    labels = np.array([label for row in rows for label in row.labels])
    known = [row for row in rows if row.graded.misconceptions is not None and len(row.misconception_rows)]
    held_rows = np.concatenate([row.misconception_rows for row in known])
    held = np.array([int(m.id in (r.graded.misconceptions or ())) for r in known for m in r.question.misconceptions])
    level = rows[0].level
    return Calibration(
        signals=CRITERION_SIGNALS_OF[level],
        classes=CLASSES,
        criterion=fit_linear(criterion_rows, labels, classes=len(CLASSES)),
        misconception_signals=MISCONCEPTION_SIGNALS_OF[level],
        misconception=fit_linear(held_rows, held, classes=1),
        points=points,
        interval=interval,
        fitted_on=fitted_on,
    )


Opinions = list[tuple[list[Judgement], list[MisconceptionFinding]]]


def opinion(row: Measured, calibration: Calibration) -> tuple[list[Judgement], list[MisconceptionFinding]]:
    """What the judge says of a measured answer."""
    question = row.question
    said = judgements(question, row.criterion_rows, calibration)
    held = calibration.misconception_probabilities(row.misconception_rows)
    found = [
        MisconceptionFinding(misconception_id=m.id, probability=float(p))
        for m, p in zip(question.misconceptions, held, strict=True)
    ]
    return said, found


def judgements(question: Question, rows: NDArray[np.float64], calibration: Calibration) -> list[Judgement]:
    """What a calibration makes of measured criteria: `rows` (criteria, signals)."""
    probabilities = calibration.verdict_probabilities(rows)
    return [
        Judgement(criterion_id=c.id, p_met=float(p[MET]), p_partial=float(p[PARTIAL]), p_contradicted=float(p[WRONG]))
        for c, p in zip(question.criteria, probabilities, strict=True)
    ]


def left_out(rows: list[Measured]) -> Opinions:
    """Each answer judged by a calibration that has not seen its question."""
    by_question = {}
    for name in {row.question.id for row in rows}:
        others = [row for row in rows if row.question.id != name]
        by_question[name] = fit(others, BLANK_POINTS, BLANK_INTERVAL, "left out")
    return [opinion(row, by_question[row.question.id]) for row in rows]


def scores(rows: list[Measured], opinions: Opinions, points: PointScale, interval: Interval) -> NDArray[np.float64]:
    """Shape (answers, 3): score and the ends of its interval."""
    results = [
        score(row.question, said, found, row.flags, points, interval)
        for row, (said, found) in zip(rows, opinions, strict=True)
    ]
    return np.array([[r.score, *(r.interval or (0, 0))] for r in results], dtype=float)


def choose_points(rows: list[Measured], opinions: Opinions) -> PointScale:
    """The mean of the point scales, on a grid of 0.05, that err within TIE of the least over left-out answers.

    Every kind of answer counts the same, however many were written of it: who will be graded is not known. Which of the scales
    that err alike is the least is chance, and moves from 0.4-0.5 to 0.05-0.9 with a handful of answers; their mean does not.
    """
    target = np.array([row.graded.score for row in rows])
    weights = kind_weights([row.graded.quality for row in rows])
    grid = [PointScale(low=a / 20, high=b / 20) for a in range(0, 9) for b in range(9, 20)]

    errors = [
        np.average(np.abs(scores(rows, opinions, points, BLANK_INTERVAL)[:, 0] - target), weights=weights)
        for points in grid
    ]
    tied = [points for points, error in zip(grid, errors, strict=True) if error <= min(errors) * (1 + TIE)]
    low, high = (float(np.mean([getattr(points, end) for points in tied])) for end in ("low", "high"))
    return PointScale(low=round(low, 3), high=round(high, 3))


def kind_weights(kinds: list[str]) -> NDArray[np.float64]:
    """Shape (answers,): one over the size of the answer's kind; kinds of fewer than MIN_KIND answers are one kind."""
    sizes = Counter(kinds)
    merged = [kind if sizes[kind] >= MIN_KIND else "" for kind in kinds]
    sizes = Counter(merged)
    return np.array([1.0 / sizes[kind] for kind in merged])


def choose_interval(rows: list[Measured], opinions: Opinions, points: PointScale, floor: float = 5.0) -> Interval:
    """The quantile that puts 90 % of left-out answers inside their interval."""
    found = scores(rows, opinions, points, Interval(quantile=1, floor=floor))[:, 0]
    spread = np.array([sigma(row.question, said, floor) for row, (said, _) in zip(rows, opinions, strict=True)])
    ratio = np.abs(found - np.array([row.graded.score for row in rows])) / spread
    return Interval(quantile=round(float(np.quantile(ratio, COVERAGE)), 3), floor=floor)


# ---- the report ------------------------------------------------------------------------------------------------------


def spearman(found: NDArray[np.float64], rows: list[Measured]) -> str:
    """Spearman's rho with a 95 % bootstrap interval that draws whole questions."""
    target = np.array([row.graded.score for row in rows])
    owner = np.array([row.question.id for row in rows])
    names, random = np.unique(owner), np.random.default_rng(0)
    draws = []
    for _ in range(1000):
        take = np.concatenate([np.flatnonzero(owner == name) for name in random.choice(names, len(names))])
        draws.append(spearmanr(found[take], target[take])[0])
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{spearmanr(found, target)[0]:.2f} ({low:.2f} to {high:.2f})"


def report(rows: list[Measured], opinions: Opinions, points: PointScale, interval: Interval) -> None:
    """Prints agreement on left-out questions, the baselines beside it, and how it does on each kind of answer."""
    result = scores(rows, opinions, points, interval)
    target = np.array([row.graded.score for row in rows])
    error = np.abs(result[:, 0] - target)
    inside = (result[:, 1] <= target) & (target <= result[:, 2])
    print(
        f"{len(rows)} answers to {len({row.question.id for row in rows})} questions, each question left out of its fit"
    )
    print(f"  grader        Spearman {spearman(result[:, 0], rows)}, mean absolute error {error.mean():.1f} of 100")
    print(
        f"  length only   Spearman {spearman(np.array([float(len(row.graded.answer.split())) for row in rows]), rows)}"
    )
    print(f"  plain cosine  Spearman {spearman(np.array([row.similarity for row in rows]), rows)}")
    width = np.mean(result[:, 2] - result[:, 1])
    print(f"  {inside.mean():.0%} inside the interval, which is {width:.0f} points wide on average")
    kinds = np.array([row.graded.quality for row in rows])
    for kind in sorted(set(kinds)):
        here = kinds == kind
        print(
            f"  {kind:18} {here.sum():4}  expected {target[here].mean():5.1f}  given {result[here, 0].mean():5.1f}"
            f"  error {error[here].mean():5.1f}"
        )
    labels = [label for row in rows for label in row.labels]
    given = [_likeliest(judgement) for said, _ in opinions for judgement in said]
    for number, name in enumerate(CLASSES):
        true = sum(g == number == y for g, y in zip(given, labels, strict=True))
        recall, precision = true / max(1, labels.count(number)), true / max(1, given.count(number))
        print(f"  {name:12} recall {recall:.2f}  precision {precision:.2f}")
    charged = [
        (finding.probability >= MISCONCEPTION_FROM, finding.misconception_id in row.graded.misconceptions)
        for row, (_, found) in zip(rows, opinions, strict=True)
        if row.graded.misconceptions is not None
        for finding in found
    ]
    hits, wrongly = sum(a and b for a, b in charged), sum(a and not b for a, b in charged)
    print(f"  misconceptions: {hits} of {sum(b for _, b in charged)} found, {wrongly} wrongly charged")


def _likeliest(judgement: Judgement) -> int:
    rest = 1 - judgement.p_met - judgement.p_partial - judgement.p_contradicted
    return int(np.argmax([rest, judgement.p_partial, judgement.p_met, judgement.p_contradicted]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--judge", choices=LEVELS, default="entailment")
    parser.add_argument("--dry-run", action="store_true", help="report only, write nothing")
    arguments = parser.parse_args()
    bank = load_bank()
    encoder = SentenceTransformerEncoder(device="cpu")
    heads = load_heads(bank.path) if arguments.judge in {"heads", "entailment"} else None
    if arguments.judge == "rubric":
        fitted = {question.id: fit_rubric_heads(question, encoder) for question in bank.questions}
        heads = BankHeads({name: one for name, one in fitted.items() if one}, encoder.revision, "rubric")
    reader = load_reader(bank, encoder) if arguments.judge == "entailment" else None
    data = read_data(bank, DATA / bank.info.id)
    answers = [a for part in data.answers.values() for a in part if a.set_aside]
    rows = measure_all(bank, answers, encoder, heads, reader)
    opinions = left_out(rows)
    points = choose_points(rows, opinions)
    interval = choose_interval(rows, opinions, points)
    print("# Fit: each question left out of the calibration it is judged by")
    report(rows, opinions, points, interval)
    fitted_on = f"{len(rows)} graded answers to {len(bank.questions)} questions of {bank.version}"
    calibration = fit(rows, points, interval, fitted_on)
    for title, tests in (("the bank's own samples", sample_answers(bank)), ("unseen writers", unseen_answers(bank))):
        print(f"# Test: {title}")
        measured = measure_all(bank, tests, encoder, heads, reader)
        report(measured, [opinion(row, calibration) for row in measured], points, interval)
    print(
        f"point scale {points.low:g} to {points.high:g}, interval {interval.quantile:g} sigma; version {calibration.version}"
    )
    if not arguments.dry_run:
        calibration_file(arguments.judge).write_text(calibration.model_dump_json(indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
