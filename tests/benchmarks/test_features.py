"""The general features on real texts with the real encoder."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality.features import FEATURES, comparison, features
from benchmarks.quality.views import TextView, view_texts
from grader.encoders import load_encoder
from grader.encoders.sentence_transformer import SentenceTransformerEncoder

QUESTION = "Why does a metal spoon feel colder than a wooden one?"
REFERENCE = "Metal conducts heat away from the hand faster than wood does."
RIGHT = "The metal takes the warmth out of your hand more quickly than wood."
TURNED = "Metal conducts heat away from the hand slower than wood does."
NEGATED = "Metal does not conduct heat away from the hand faster than wood does."
ELSEWHERE = "Plants need sunlight in order to grow."
NUMBERS = ("It takes 3 hours.", "It takes five hours.", "It takes three hours.")


@pytest.fixture(scope="module")
def encoder() -> SentenceTransformerEncoder:
    found = load_encoder("embedded", "cpu")
    assert isinstance(found, SentenceTransformerEncoder)
    return found


@pytest.fixture(scope="module")
def views(encoder: SentenceTransformerEncoder) -> dict[str, TextView]:
    texts = [QUESTION, REFERENCE, RIGHT, TURNED, NEGATED, ELSEWHERE, *NUMBERS, "...", "Heat. It moves; the hand cools."]
    return view_texts(encoder, texts)


def row(views: dict[str, TextView], answer: str, *references: str) -> dict[str, float]:
    values, _ = features(views[QUESTION], [views[r] for r in references or (REFERENCE,)], views[answer])
    assert np.isfinite(values).all()
    return dict(zip(FEATURES, values.tolist(), strict=True))


def test_names_are_unique() -> None:
    assert len(set(FEATURES)) == len(FEATURES)


def test_a_right_answer_is_closer_than_one_about_something_else(views: dict[str, TextView]) -> None:
    right, elsewhere = row(views, RIGHT), row(views, ELSEWHERE)
    for name in ("recall6", "recall_new6", "cos6", "cos_beyond_question", "lex_recall_new", "sentence_recall"):
        assert right[name] > elsewhere[name], name


def test_the_reference_itself_is_recalled_whole(views: dict[str, TextView]) -> None:
    itself = row(views, REFERENCE)
    for name in ("recall1", "recall6", "precision3", "cos6", "lex_recall", "pairs", "characters", "sentence_least"):
        assert itself[name] == pytest.approx(1.0, abs=2e-3), name
    assert itself["negation_parity"] == itself["antonym"] == itself["length_ratio"] == 0.0


def test_opposites_are_noticed(views: dict[str, TextView]) -> None:
    assert row(views, TURNED)["antonym"] == 1.0
    assert row(views, NEGATED)["negation_parity"] == 1.0
    assert row(views, RIGHT)["antonym"] == row(views, RIGHT)["negation_parity"] == 0.0


def test_a_number_word_is_its_number(views: dict[str, TextView]) -> None:
    assert row(views, NUMBERS[1], NUMBERS[0])["number_replaced"] == 1.0
    assert row(views, NUMBERS[2], NUMBERS[0])["number_replaced"] == 0.0


def test_the_best_reference_decides(views: dict[str, TextView]) -> None:
    values, best = features(views[QUESTION], [views[ELSEWHERE], views[REFERENCE]], views[RIGHT])
    assert best == 1
    both, alone = dict(zip(FEATURES, values, strict=True)), row(views, RIGHT)
    assert both["recall6"] == alone["recall6"]
    assert both["max_cos6"] == alone["cos6"] > both["mean_cos6"]


def test_an_answer_without_words_is_far_from_everything_and_no_error(views: dict[str, TextView]) -> None:
    assert row(views, "...")["lex_recall"] == 0.0
    assert np.isfinite(comparison(views[REFERENCE], views["..."])).all()


def test_sentences_are_seen_apart(views: dict[str, TextView]) -> None:
    view = views["Heat. It moves; the hand cools."]
    assert len(view.sentences) >= 2
    assert np.allclose(np.linalg.norm(view.sentences, axis=1), 1, atol=1e-3)


def test_company_in_a_batch_does_not_matter(encoder: SentenceTransformerEncoder, views: dict[str, TextView]) -> None:
    alone = view_texts(encoder, [RIGHT])[RIGHT]
    assert np.allclose(alone.means, views[RIGHT].means, atol=1e-5)
    assert alone.stems == views[RIGHT].stems


def test_comparison_of_a_text_with_itself_holds_no_difference(views: dict[str, TextView]) -> None:
    size = views[REFERENCE].means.shape[1]
    same = comparison(views[REFERENCE], views[REFERENCE])
    assert same.shape == (10 * size,)
    assert np.abs(same[: 4 * size]).max() < 2e-3
