"""`grader benchmark` from the command line."""

from __future__ import annotations

import os
import site
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from grader.bank import DEFAULT_BANK
from grader.cli.app import app
from grader.errors import BankError, UnknownQuestion

ROOT = Path(__file__).resolve().parents[2]


def test_the_card_of_one_question_goes_to_a_file(tmp_path: Path, environment: dict[str, str]) -> None:
    card = tmp_path / "card.md"
    words = ["benchmark", "quality", "--question", "grad-attribute", "--output", str(card), "--encoder", "hashing"]
    done = CliRunner(env=environment).invoke(app, words)
    assert done.exit_code == 0, done.output
    page = card.read_text(encoding="utf-8")
    assert page.startswith("# Quality card\n")
    assert "unseen writers: Spearman" in page
    assert "encoder: `hashing 1`" in page
    assert "give their folder with `--data DIR`" in page


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (["--data", "nowhere"], BankError, "docs/quality.md"),
        (["--question", "zero-grat"], UnknownQuestion, "did you mean zero-grad"),
    ],
)
def test_mistakes_are_told_at_once(words: list[str], kind: type[Exception], message: str) -> None:
    done = CliRunner().invoke(app, ["benchmark", "quality", *words, "--device", "cpu"])
    assert isinstance(done.exception, kind)
    assert message in str(done.exception)


def test_what_cannot_be_measured_is_no_choice() -> None:
    done = CliRunner().invoke(app, ["benchmark", "beauty"])
    assert done.exit_code == 2
    assert "quality" in done.output and "speed" in done.output


def test_an_installed_package_says_where_the_benchmarks_are(tmp_path: Path, environment: dict[str, str]) -> None:
    """Only `grader` and `api` on the path, as a wheel has them."""
    for name in ("grader", "api"):
        (tmp_path / name).symlink_to(ROOT / name)
    # -S: without site, the checkout that an editable install adds to the path is not there.
    path = os.pathsep.join([str(tmp_path), *site.getsitepackages()])
    settings: dict[str, Any] = {"env": environment | {"PYTHONPATH": path}, "cwd": tmp_path}
    command = [sys.executable, "-S", "-P", "-c", "from grader.cli import main; main()", "benchmark", "speed"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **settings)
    assert done.returncode == 1
    assert "Clone the repository" in done.stderr
    assert DEFAULT_BANK.is_dir()
