"""What was written for measuring is complete, fits the bank and shares nothing with the training data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.quality.data import BankData, read_bank_data, read_lines, stable_hash
from grader.bank import load_bank
from grader.errors import BankError
from grader.text import words

BANK = load_bank()


@pytest.fixture(scope="module")
def data() -> BankData:
    return read_bank_data(BANK)


def test_every_question_has_twins_and_rewordings(data: BankData) -> None:
    ids = {question.id for question in BANK.questions}
    twins = Counter(twin.question_id for twin in data.twins)
    rewordings = Counter(pair.question_id for pair in data.rewordings)
    assert set(twins) == set(rewordings) == ids
    assert min(twins.values()) >= 4 and min(rewordings.values()) >= 2
    assert {pair.kind for pair in data.rewordings} == {"second_language", "spoken"}


def test_twins_name_criteria_of_their_question_and_differ_in_little(data: BankData) -> None:
    criteria = {question.id: {criterion.id for criterion in question.criteria} for question in BANK.questions}
    shared = []
    for twin in data.twins:
        assert twin.criterion in criteria[twin.question_id]
        assert twin.true != twin.false
        true, false = set(words(twin.true)), set(words(twin.false))
        shared.append(len(true & false) / len(true | false))
    assert sum(shared) / len(shared) > 0.65


def test_neither_side_of_a_twin_can_be_told_by_its_negations(data: BankData) -> None:
    negations = {"not", "no", "never", "nothing", "can't", "doesn't", "don't", "isn't", "aren't", "won't", "without"}
    signs = [
        sum(word in negations for word in words(twin.true)) - sum(word in negations for word in words(twin.false))
        for twin in data.twins
    ]
    assert sum(sign > 0 for sign in signs) >= 8
    assert sum(sign < 0 for sign in signs) >= 8


def test_nothing_stands_in_the_training_data_word_for_word(data: BankData) -> None:
    trained = {tuple(words(s.text)) for part in data.training.statements.values() for s in part}
    assert not [twin for twin in data.twins if {tuple(words(twin.true)), tuple(words(twin.false))} & trained]


def test_training_answers_are_either_learnt_from_or_set_aside(data: BankData) -> None:
    total = sum(len(part) for part in data.training.answers.values())
    assert len(data.set_aside) + len(data.learnt_from) == total
    assert 0.1 < len(data.set_aside) / total < 0.25


def test_training_twins_are_pairs_of_one_criterion(data: BankData) -> None:
    found = data.training_twins(2)
    assert max(Counter(twin.question_id for twin in found).values()) == 2
    assert found == data.training_twins(2)


def test_some_questions_only() -> None:
    some = read_bank_data(BANK, ["cuda"])
    kinds = (some.unseen, some.samples, some.twins, some.rewordings)
    assert {row.question_id for part in kinds for row in part} == {"cuda"}
    assert set(some.training.statements) == {"cuda"}


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"a": 1}\n\n{"a": \n', encoding="utf-8")
    with pytest.raises(BankError, match=r"rows\.jsonl:3"):
        list(read_lines(file))


def test_the_hash_is_the_same_in_every_process() -> None:
    assert stable_hash("gradient") == 1975448853000391388
