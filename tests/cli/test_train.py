"""`grader train`: heads for a bank from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from grader import BankError, load_bank
from grader.bank import DEFAULT_BANK
from grader.cli.app import app
from grader.judges.heads import load_heads


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    folder = tmp_path / "bank"
    folder.mkdir()
    for name in ("bank.yaml", "11-zero-grad.yaml"):
        shutil.copy(DEFAULT_BANK / name, folder)
    return folder


def test_it_writes_heads_beside_the_bank(bank: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "statements").mkdir(parents=True)
    row = {"criterion": "accumulates", "verdict": "met", "text": "It sums up what every pass brings."}
    (data / "statements" / "11-zero-grad.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["train", str(bank), "--data", str(data), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert "heads for 1 of 1 questions from 1 statements and 0 answers" in result.output
    heads = load_heads(bank)
    assert heads is not None
    assert set(heads.questions) == {"zero-grad"}


def test_without_contradictions_there_is_nothing_to_learn_from(bank: Path) -> None:
    file = bank / "11-zero-grad.yaml"
    question = load_bank(bank).questions[0]
    bare = [criterion.model_copy(update={"contradictions": ()}) for criterion in question.criteria]
    changed = question.model_copy(update={"criteria": tuple(bare), "samples": ()})
    file.write_text(json.dumps(changed.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
    result = CliRunner().invoke(app, ["train", str(bank), "--device", "cpu"])
    assert result.exit_code == 1
    assert "each criterion needs a contradiction" in result.output
    assert not (bank / "heads.safetensors").exists()


def test_a_data_folder_that_is_not_there_is_an_error(bank: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", str(bank), "--data", str(tmp_path / "nothing")])
    assert isinstance(result.exception, BankError)
    assert "docs/training.md" in str(result.exception)
