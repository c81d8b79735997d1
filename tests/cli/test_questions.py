"""`grader questions`: the bank in a terminal and in a pipe."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from grader.bank import load_bank
from grader.errors import BankError, UnknownQuestion

Run = Callable[..., Result]
Command = Callable[..., subprocess.CompletedProcess[bytes]]
Error = Callable[[Result], Any]
BANK = load_bank()


@pytest.mark.parametrize("words", [("questions", "list"), ("questions",)], ids=" ".join)
def test_the_list_is_json_in_a_pipe(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert [one["id"] for one in found] == [one.id for one in BANK.questions]
    assert all(set(one) == {"number", "id", "prompt", "kind", "level", "tags", "bank"} for one in found)


@pytest.mark.parametrize("question", BANK.questions, ids=lambda question: question.id)
def test_a_question_is_shown_with_its_rubric(run: Run, question: Any) -> None:
    result = run("questions", "show", question.id)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == question.model_dump(mode="json")


def test_another_bank_can_be_listed(run: Run, tiny_bank: Path) -> None:
    assert [one["id"] for one in json.loads(run("questions", "list", "--bank", tiny_bank).stdout)] == ["sky"]
    assert json.loads(run("questions", "show", "sky", "--bank", tiny_bank).stdout)["prompt"] == "Why is the sky blue?"


def test_an_unknown_id_suggests_a_near_one(command: Command) -> None:
    result = command("questions", "show", "zero-gard")
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode().strip() == "Error: There is no question 'zero-gard'; did you mean zero-grad?"


def test_an_unknown_id_far_from_all_says_where_they_are_listed(run: Run, error_of: Error) -> None:
    error = error_of(run("questions", "show", "moon"))
    assert isinstance(error, UnknownQuestion)
    assert "grader questions list" in str(error)


def test_a_bank_that_is_not_there_is_named(run: Run, error_of: Error, tmp_path: Path) -> None:
    error = error_of(run("questions", "list", "--bank", tmp_path / "nowhere"))
    assert isinstance(error, BankError)
    assert "nowhere: there is no such folder" in str(error)
