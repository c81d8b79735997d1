"""The card of one question: all of its parts, on the real grader and on the fake one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.quality import robustness
from benchmarks.quality.bank import grade_all, scores, tfidf_ridge, verdict_section
from benchmarks.quality.card import Card, as_json, markdown
from benchmarks.quality.data import read_bank_data
from benchmarks.quality.run import quality_card
from grader.pipeline import Grader

QUESTION = "zero-grad"


@pytest.fixture(scope="module")
def card(fast_grader: Grader) -> Card:
    """Of a grader that only counts words: quick, and bad at much."""
    return quality_card(fast_grader, questions=[QUESTION])


def test_all_parts_are_there(card: Card) -> None:
    titles = [section.title for section in card.sections]
    assert titles == [
        "Agreement with people",
        "Claims that must hold in every question",
        "Verdicts on single criteria (unseen writers)",
        "How sure it is, and whether rightly (unseen writers)",
        "True sentences and their false twins",
        "Form without content",
        "Attacks and disguises",
        "Repeatability",
    ]
    assert card.skipped == (
        "a new question of the bank: needs the whole bank and the embedded encoder",
        "the public sets: give their folder with `--data DIR`",
    )
    page = markdown(card)
    for part in ("length only", "tf-idf ridge", "plain cosine", "confidently_wrong", "16 answers"):
        assert part in page


def test_figures_are_what_they_say(card: Card) -> None:
    figures = {figure.name: figure.value for figure in card.figures}
    assert figures["the same grade again, to the last digit"] == 1.0
    assert -1 <= figures["unseen writers: Spearman"] <= 1
    assert 0 < figures["unseen writers: mean error, points"] < 100
    assert 0 <= figures["true above its false twin, unseen"] <= 1


def test_attacks_are_told_by_judge(card: Card) -> None:
    section = next(section for section in card.sections if section.title == "Attacks and disguises")
    rows = {row[0]: row[1:] for part in section.body if not isinstance(part, str) for row in part.rows}
    assert int(rows["offline"][0]) == int(rows["obeying (scripted)"][0]) == 3 * 96
    assert "SmolLM2-135M (optional)" in rows
    assert "benchmarks.attacks --judge configured" in markdown(card)
    rise = next(figure for figure in section.figures if "obeying" in figure.name)
    assert (rise.goal, rise.better) == (15.0, "lower")


def test_the_card_is_the_same_every_time(card: Card, fast_grader: Grader) -> None:
    assert markdown(quality_card(fast_grader, questions=[QUESTION])) == markdown(card)
    assert as_json(card)["figures"]


def test_the_baseline_learns_from_training_answers_only(fast_grader: Grader) -> None:
    data = read_bank_data(fast_grader.bank, [QUESTION])
    found = tfidf_ridge(data.learnt_from, data.unseen)
    wanted = np.array([answer.score for answer in data.unseen])
    assert np.corrcoef(found, wanted)[0, 1] > 0.3
    assert (tfidf_ridge([], data.unseen) == 50).all()


def test_the_real_grader_is_right_about_one_question(real_grader: Grader) -> None:
    data = read_bank_data(real_grader.bank, [QUESTION])
    unseen = grade_all(real_grader, data.unseen)
    wanted = np.array([answer.score for answer in data.unseen])
    assert np.corrcoef(scores(unseen), wanted)[0, 1] > 0.7
    table = next(part for part in verdict_section(unseen).body if not isinstance(part, str))
    assert float({row[0]: row[4] for row in table.rows}["met"]) > 0.6
    same = robustness.repeatability_section(real_grader, unseen)
    assert same.figures[0].value == 1.0
    few = replace(data, twins=data.twins[:8], rewordings=(), training=replace(data.training, statements={}))
    assert robustness.twins_section(real_grader, few).figures[0].value > 0.6


def test_a_question_left_out_is_judged_without_its_answers(real_grader: Grader) -> None:
    from benchmarks.quality.unseen_question import left_out_scores, rubric_heads
    from grader.encoders.sentence_transformer import SentenceTransformerEncoder
    from training import fit_calibration as fitting

    assert isinstance(real_grader.encoder, SentenceTransformerEncoder)
    names = [QUESTION, "cuda", "quantization"]
    data = read_bank_data(real_grader.bank, names)
    bank = replace(real_grader.bank, questions=tuple(q for q in real_grader.bank.questions if q.id in names))
    heads = rubric_heads(bank, real_grader.encoder)
    fitted_on = fitting.measure_all(bank, data.set_aside[::2], real_grader.encoder, heads)
    rows = fitting.measure_all(bank, data.unseen[::6], real_grader.encoder, heads)
    found = left_out_scores(fitted_on, rows)
    # Labels of the question's own answers, turned upside down, must not move a score.
    turned = [
        replace(row, graded=row.graded.model_copy(update={"score": 100 - row.graded.score, "verdicts": {}}))
        if row.question.id == QUESTION
        else row
        for row in fitted_on
    ]
    here = np.array([row.question.id == QUESTION for row in rows])
    assert here.any() and not here.all()
    again = left_out_scores(turned, rows)
    assert np.allclose(found[here], again[here])
    assert not np.allclose(found[~here], again[~here])
