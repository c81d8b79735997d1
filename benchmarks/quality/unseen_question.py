"""A new question of the same bank: rubric, exemplars and contradictions are there, but nothing was trained on it.

The answers of unseen writers are judged by heads fitted to the rubric alone, as the grader does for any bank that comes
without training data, and by a calibration fitted on the answers to the other questions only, point scale included; so
nothing of the question's own answers decides anything.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

import numpy as np

from benchmarks.quality import measures
from benchmarks.quality.card import Figure, Section, with_interval
from benchmarks.quality.measures import Array
from grader.bank import Bank
from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.fitting import GradedAnswer, fit_rubric_heads
from grader.judges.heads import BankHeads
from grader.schema import PointScale
from training import fit_calibration as fitting

SCALES = [PointScale(low=low / 10, high=high / 10) for low in range(5) for high in range(5, 10)]


def left_out_section(
    bank: Bank, encoder: SentenceTransformerEncoder, known: Sequence[GradedAnswer], answers: Sequence[GradedAnswer]
) -> Section:
    """`known` are answers to fit calibrations on, `answers` the ones to grade."""
    heads = rubric_heads(bank, encoder)
    with redirect_stdout(sys.stderr):  # it names refused answers as it goes, and standard output is for the card
        fitted_on = fitting.measure_all(bank, list(known), encoder, heads)
        rows = fitting.measure_all(bank, list(answers), encoder, heads)
    found = left_out_scores(fitted_on, rows)
    wanted = np.array([row.graded.score for row in rows])
    groups = [row.question.id for row in rows]
    rho = measures.interval(measures.spearman, found, wanted, groups)
    error = measures.interval(measures.mean_error, found, wanted, groups)
    return Section(
        "A new question of the same bank",
        (Figure("question left out of all training: Spearman", rho.value, with_interval(rho), 0.75),),
        (
            f"{len(rows)} answers of unseen writers, each question graded by heads that know its rubric alone, calibrated "
            f"on the answers to the other questions: Spearman {with_interval(rho)}, mean error "
            f"{with_interval(error, 'points')}.",
        ),
    )


def rubric_heads(bank: Bank, encoder: SentenceTransformerEncoder) -> BankHeads:
    """Heads that have seen nothing but each question's own rubric."""
    fitted = {question.id: fit_rubric_heads(question, encoder) for question in bank.questions}
    return BankHeads({name: heads for name, heads in fitted.items() if heads is not None}, encoder.revision, "rubric")


def left_out_scores(fitted_on: list[fitting.Measured], rows: list[fitting.Measured]) -> Array:
    """Shape (rows,): the score of each answer by a calibration that has seen no answer to its question."""
    found = np.zeros(len(rows))
    for name in sorted({row.question.id for row in rows}):
        others = [row for row in fitted_on if row.question.id != name]
        calibration = fitting.fit(others, SCALES[0], fitting.BLANK_INTERVAL, "the other questions")
        points = _best_scale(others, [fitting.opinion(row, calibration) for row in others])
        here = [place for place, row in enumerate(rows) if row.question.id == name]
        chosen = [rows[place] for place in here]
        found[here] = _scores(chosen, [fitting.opinion(row, calibration) for row in chosen], points)
    return found


def _best_scale(rows: list[fitting.Measured], opinions: fitting.Opinions) -> PointScale:
    """The scale with the least error on answers whose questions the calibration knows: nothing of a left-out one counts."""
    wanted = np.array([row.graded.score for row in rows])
    return min(SCALES, key=lambda points: float(np.abs(_scores(rows, opinions, points) - wanted).mean()))


def _scores(rows: list[fitting.Measured], opinions: fitting.Opinions, points: PointScale) -> Array:
    return fitting.scores(rows, opinions, points, fitting.BLANK_INTERVAL)[:, 0]
