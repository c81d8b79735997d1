"""Wording heads: runs of words that tell right sentences from wrong ones made of nearly the same words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from grader.bank import DEFAULT_BANK, load_bank
from grader.judges.heads import load_heads
from grader.judges.wording import WordingHead, fit_wording, runs_of

TWINS = Path(__file__).parents[2] / "benchmarks" / "data" / "pytorch" / "twins.jsonl"
RIGHT = [
    "Gradients are added to what is stored.",
    "They are not overwritten.",
    "backward adds, it does not replace.",
    "The new values are added up.",
]
WRONG = [
    "Gradients are overwritten.",
    "They are not added to what is stored.",
    "backward replaces, it does not add.",
    "The new values replace the old.",
]


def head() -> WordingHead:
    return fit_wording(RIGHT + WRONG, [True] * 4 + [False] * 4)


def test_a_negation_turns_it_round() -> None:
    fitted = head()
    assert fitted.read(runs_of("It does not replace, it adds.")) > fitted.read(runs_of("It does not add, it replaces."))


def test_runs_never_seen_have_no_say() -> None:
    fitted = head()
    assert fitted.read(runs_of("Zebras graze quietly.")) == fitted.bias
    assert fitted.read(runs_of("")) == fitted.bias


def test_runs_are_sorted_unique_and_blind_to_case() -> None:
    runs = runs_of("No no NO, no!")
    assert runs.tolist() == sorted(set(runs.tolist()))
    np.testing.assert_array_equal(runs, runs_of("no no no no"))


def test_sentences_of_one_kind_only_teach_nothing() -> None:
    fitted = fit_wording(RIGHT, [True] * 4)
    assert fitted.read(runs_of(RIGHT[0])) == 0.0


def test_the_shipped_heads_tell_most_unseen_twins_apart() -> None:
    loaded = load_heads(DEFAULT_BANK)
    assert loaded is not None
    bank = load_bank()
    right = []
    for line in TWINS.read_text(encoding="utf-8").splitlines():
        twin = json.loads(line)
        places = [criterion.id for criterion in bank.question(twin["question_id"]).criteria]
        one = loaded.questions[twin["question_id"]].wording[places.index(twin["criterion"])]
        right.append(one.read(runs_of(twin["true"])) > one.read(runs_of(twin["false"])))
    assert np.mean(right) > 0.7
