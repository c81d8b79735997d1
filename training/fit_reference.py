"""Fits the calibration for questions with a reference answer and little else: `python -m training.fit_reference --data DIR`.

Answers of the public sets' training splits (docs/quality.md), to questions that the pair network has not learnt from, are
measured as the service measures those to an inline question: criteria derived from the reference answer. With every
fourth comes an answer to a question of another set, which deserves nothing. Nobody has said what the verdict on such a
criterion should be, only what the whole answer deserves. So the weights are those with which the mean of the criteria's
credits comes closest to the score, every set counting the same, and with which answers labelled contradictory are
contradicted (both at once, by L-BFGS). Two thirds of each set's questions are fitted to; the others choose the width of the
interval. Deterministic.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional

from benchmarks.quality.data import read_lines
from grader.bank import load_bank, question_from_inline
from grader.calibration import CLASSES, Calibration, Linear, calibration_file, load_calibration
from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.errors import GraderError
from grader.index import QuestionIndex, build_index
from grader.judges import CRITERION_SIGNALS_OF, MISCONCEPTION_SIGNALS_OF
from grader.judges.offline import MET, PARTIAL, WRONG
from grader.judges.pair import load_pair
from grader.pipeline import Trained, prepare
from grader.schema import InlineQuestion, Interval, PointScale, Question
from grader.scoring import score, sigma
from training.fit_calibration import judgements, unseen_answers
from training.public import closest, for_the_network

SETS = ("saf_v2_en", "scientsbank", "beetle")
ANSWERS = 900  # of a set, spread evenly
CHOOSING_EVERY = 3  # so many-th question chooses the interval
UNRELATED_EVERY = 4  # so many-th answer comes with one that is about something else
PENALTY = 1e-2  # of the squared weights
CONTRADICTION_WEIGHT = 0.3  # of telling contradictory answers, beside coming close to the score
NEVER = (
    -12.0
)  # logit of `partial`, which no label of these sets names: a middling share of the points is partial anyway
COVERAGE = 0.90
SCALE = PointScale(low=0, high=1)  # the weights are fitted to the score itself

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """An answer of a public set, as the judge sees it: `rows` (criteria, signals), `score` 0..1."""

    source: str
    question_id: str
    question: Question
    rows: Floats
    score: float
    label: str


def measure(data: Path, encoder: SentenceTransformerEncoder) -> list[Measured]:
    """The answers that can be graded at all, set by set, and unrelated ones among them."""
    found: list[Measured] = []
    chosen = {name: spread(data, name) for name in SETS}
    measurer = Measurer(encoder)
    for name, lines in chosen.items():
        elsewhere = [line["answer"] for other in SETS if other != name for line in chosen[other]]
        for number, line in enumerate(lines):
            question = inline(line["question"], closest(line["answer"], line["reference"]))
            if question is None:  # a reference of one word
                continue
            label = line.get("label3") or ""
            deserved = 0.0 if label == "contradictory" else float(line["score"])
            said = [(line["answer"], deserved, label)]
            if number % UNRELATED_EVERY == 0:
                said.append((elsewhere[number * len(elsewhere) // len(lines)], 0.0, "unrelated"))
            for answer, score_, label_ in said:
                rows = measurer.rows(question, answer)
                if rows is not None:
                    found.append(Measured(name, str(line["question_id"]), question, rows, score_, label_))
        print(f"{name}: {len(found)} so far", flush=True)
    return found


def spread(data: Path, name: str) -> list[dict[str, Any]]:
    """Answers of a set's training split to questions that the network has not learnt from."""
    every = list(read_lines(data / name / "train.jsonl"))
    lines = [line for line, is_kept in zip(every, for_the_network(name, every), strict=True) if not is_kept]
    return [lines[i] for i in np.linspace(0, len(lines) - 1, min(ANSWERS, len(lines))).astype(int)]


def inline(prompt: str, reference: str) -> Question | None:
    """An inline question with one reference answer, None when no criteria can be derived from it."""
    try:
        return question_from_inline(InlineQuestion(prompt=prompt[:2000] or "?", reference_answers=(reference,)))
    except GraderError:
        return None


class Measurer:
    """Measures answers as the grader would, a question's index made once."""

    def __init__(self, encoder: SentenceTransformerEncoder) -> None:
        self.encoder = encoder
        self.pair = load_pair(encoder)
        self._indexes: dict[str, QuestionIndex] = {}

    def rows(self, question: Question, answer: str) -> Floats | None:
        """Signals (criteria, signals); None when the answer cannot be graded."""
        if question.id not in self._indexes:
            self._indexes[question.id] = build_index(question, self.encoder)
        case = prepare(self._indexes[question.id], self.encoder, answer, None, Trained(pair=self.pair)).case
        return None if case is None else case.criterion_rows()


def fit_linear(rows: list[Measured]) -> Linear:
    """Weights over CLASSES; `not_met` has none, `partial` is out of reach."""
    every = np.concatenate([row.rows for row in rows])
    mean, spread = every.mean(axis=0), np.maximum(every.std(axis=0), 1e-6)
    parts = [_tensors([row for row in rows if row.source == name], mean, spread) for name in SETS]
    weights = torch.zeros((every.shape[1], 2), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = PENALTY * (weights**2).sum()
        for x, share, deserved, contradictory in parts:
            logits = x @ weights + bias  # of met and of contradicted, against not met
            odds = torch.softmax(torch.cat([torch.zeros_like(logits[..., :1]), logits], -1), -1)
            met, wrong = (odds[..., 1] * share).sum(1), (odds[..., 2] * share).sum(1)
            total = total + ((met - deserved) ** 2).mean()
            known = ~torch.isnan(contradictory)
            if known.any():
                total = total + CONTRADICTION_WEIGHT * functional.binary_cross_entropy(
                    wrong[known].clamp(1e-4, 1 - 1e-4), contradictory[known]
                )
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    columns = {MET: 0, WRONG: 1}
    fitted, shift = weights.detach().numpy(), bias.detach().numpy()
    return Linear(
        mean=tuple(np.round(mean, 6)),
        scale=tuple(np.round(spread, 6)),
        weights=tuple(
            tuple(np.round(fitted[:, columns[k]], 6)) if k in columns else (0.0,) * len(fitted)
            for k in range(len(CLASSES))
        ),
        bias=tuple(
            NEVER if k == PARTIAL else round(float(shift[columns[k]]), 6) if k in columns else 0.0
            for k in range(len(CLASSES))
        ),
    )


def _tensors(rows: list[Measured], mean: Floats, spread: Floats) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Signals (answers, criteria, signals), each criterion's share of the points, scores, and 1 for contradictory."""
    most = max(len(row.rows) for row in rows)
    x, share = np.zeros((len(rows), most, len(mean))), np.zeros((len(rows), most))
    for place, row in enumerate(rows):
        x[place, : len(row.rows)] = (row.rows - mean) / spread
        share[place, : len(row.rows)] = 1 / len(row.rows)
    contradictory = np.array([float(row.label == "contradictory") if row.label else np.nan for row in rows])
    deserved = np.array([row.score for row in rows])
    return torch.tensor(x), torch.tensor(share), torch.tensor(deserved), torch.tensor(contradictory)


def scored(rows: list[Measured], calibration: Calibration) -> tuple[Floats, Floats]:
    """Scores 0..100 and their sigma as the grader would give them, shape (answers,) each."""
    found, spread = [], []
    for row in rows:
        said = judgements(row.question, row.rows, calibration)
        found.append(score(row.question, said, (), (), calibration.points, calibration.interval).score or 0.0)
        spread.append(sigma(row.question, said, calibration.interval.floor))
    return np.array(found), np.array(spread)


def fit(rows: list[Measured], fitted_on: str) -> Calibration:
    """Weights from two thirds of the questions, the width of the interval from the others."""
    order = {name: number for number, name in enumerate(dict.fromkeys((row.source, row.question_id) for row in rows))}
    choosing = [row for row in rows if order[row.source, row.question_id] % CHOOSING_EVERY == 0]
    learning = [row for row in rows if order[row.source, row.question_id] % CHOOSING_EVERY != 0]
    base = load_calibration("encoder")
    interval = Interval(quantile=1, floor=5)
    start = Calibration(
        signals=CRITERION_SIGNALS_OF["reference"],
        classes=CLASSES,
        criterion=fit_linear(learning),
        misconception_signals=MISCONCEPTION_SIGNALS_OF["reference"],
        misconception=base.misconception,
        points=SCALE,
        interval=interval,
        fitted_on=fitted_on,
    )
    deserved = 100 * np.array([row.score for row in choosing])
    found, spread = scored(choosing, start)
    quantile = round(float(np.quantile(np.abs(found - deserved) / spread, COVERAGE)), 3)
    unrelated = np.array([row.label == "unrelated" for row in choosing])
    for name in SETS:
        here = np.array([row.source == name for row in choosing]) & ~unrelated
        r, off = np.corrcoef(found[here], deserved[here])[0, 1], np.abs(found - deserved)[here].mean()
        print(f"{name}: r {r:.2f}, mean error {off:.1f}")
    print(
        f"unrelated answers: {found[unrelated].mean():.1f} points, nine in ten below {np.quantile(found[unrelated], 0.9):.0f}"
    )
    return start.model_copy(update={"interval": interval.model_copy(update={"quantile": quantile})})


def test_on_bank(calibration: Calibration, encoder: SentenceTransformerEncoder) -> None:
    """Prints how well the shipped bank is graded by the bare statements of its criteria, and by a reference answer alone."""
    bank, measurer = load_bank(), Measurer(encoder)
    for title, made in (("statements alone", bare), ("one reference answer alone", referred)):
        questions = {question.id: made(question) for question in bank.questions}
        found, deserved = [], []
        for graded in unseen_answers(bank):
            question = questions[graded.question_id]
            rows = measurer.rows(question, graded.answer)
            if rows is not None:
                row = Measured("", graded.question_id, question, rows, 0.0, "")
                found.append(scored([row], calibration)[0][0])
                deserved.append(graded.score)
        error = np.abs(np.array(found) - np.array(deserved)).mean()
        print(f"unseen writers, {title}: Spearman {spearmanr(found, deserved)[0]:.2f}, mean error {error:.1f}")


def bare(question: Question) -> Question:
    """The question with nothing but the statements of its criteria."""
    criteria = [criterion.model_copy(update={"exemplars": (), "contradictions": ()}) for criterion in question.criteria]
    return question.model_copy(update={"criteria": tuple(criteria), "misconceptions": (), "samples": ()})


def referred(question: Question) -> Question:
    """The question as if it had come with its first reference answer and no more."""
    return question_from_inline(
        InlineQuestion(prompt=question.prompt, reference_answers=question.reference_answers[:1])
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--dry-run", action="store_true", help="report only, write nothing")
    arguments = parser.parse_args()
    encoder = SentenceTransformerEncoder(device="cpu")
    rows = measure(arguments.data, encoder)
    questions = len({(row.source, row.question_id) for row in rows})
    calibration = fit(rows, f"{len(rows)} answers to {questions} questions of {', '.join(SETS)}")
    print(f"interval {calibration.interval.quantile:g} sigma, version {calibration.version}")
    test_on_bank(calibration, encoder)
    if not arguments.dry_run:
        target = calibration_file("reference")
        target.write_text(calibration.model_dump_json(indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
