"""Deterministic changes of form: they change something, leave code alone, and come out the same every time."""

from __future__ import annotations

import pytest

from benchmarks.quality import rewording
from grader.text import words

ANSWER = (
    "Gradients accumulate in the parameters, therefore they have to be cleared before every backward pass. "
    "Calling optimizer.zero_grad() does exactly that. Forgetting it makes training unstable, because every update then "
    "uses the gradients of several batches. Sometimes people accumulate deliberately."
)


@pytest.mark.parametrize("name", rewording.CHANGES)
def test_a_change_is_the_same_every_time_and_leaves_code_alone(name: str) -> None:
    change = rewording.CHANGES[name]
    once = rewording.changed(ANSWER, change)
    assert once == rewording.changed(ANSWER, change)
    assert once != ANSWER
    assert "optimizer.zero_grad()" in once


def test_typos_keep_the_number_of_words_and_most_of_them() -> None:
    before, after = words(ANSWER), words(rewording.changed(ANSWER, rewording.typos))
    assert len(before) == len(after)
    wrong = sum(one != other for one, other in zip(before, after, strict=True))
    assert 1 <= wrong <= len(before) // 6


def test_order_and_punctuation_keep_every_word() -> None:
    for change in (rewording.sentence_order, rewording.unpunctuated):
        assert sorted(words(rewording.changed(ANSWER, change))) == sorted(words(ANSWER))


def test_two_sentences_stay_in_order() -> None:
    assert rewording.changed("One is this. Two is that.", rewording.sentence_order) == "One is this. Two is that."


def test_fillers_and_politeness_only_add() -> None:
    for change in (rewording.fillers, rewording.politeness):
        added = words(rewording.changed(ANSWER, change))
        for word in words(ANSWER):
            added.remove(word)
        assert added


def test_lists_and_code_are_not_plain_prose() -> None:
    assert rewording.is_plain_prose(ANSWER)
    assert not rewording.is_plain_prose("- one\n- two")
    assert not rewording.is_plain_prose("```x = 1```")
