"""`grader bank draft`: what it writes passes `bank check` and runs in `bank test`; nothing is overwritten."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import Result

Run = Callable[..., Result]
REFERENCE = (
    "Air molecules scatter sunlight in all directions. Short blue wavelengths are scattered more than long red ones. "
    "At sunset the light crosses more air before it reaches us. Most of the blue is then gone."
)


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    file = tmp_path / "reference.txt"
    file.write_text(REFERENCE, encoding="utf-8")
    return file


def test_a_draft_is_a_bank_that_can_be_checked_and_tested(run: Run, tmp_path: Path, reference: Path) -> None:
    folder = tmp_path / "sky"
    done = run("bank", "draft", "Why is the sky blue?", "--reference", reference, "--into", folder)
    assert done.exit_code == 0, done.output
    written = yaml.safe_load((folder / "01-sky-blue.yaml").read_text(encoding="utf-8"))
    assert written["draft"] is True
    assert len(written["criteria"]) == 4
    check = run("bank", "check", folder)
    assert check.exit_code == 0
    assert "is a draft" in check.output
    assert "sample" in run("bank", "test", folder).output
    again = run("bank", "draft", "Why is it red?", "--reference", reference, "--into", folder, "--id", "red")
    assert again.exit_code == 0
    assert (folder / "02-red.yaml").is_file()


def test_without_a_reference_and_a_model_it_says_what_to_do(run: Run, tmp_path: Path) -> None:
    done = run("bank", "draft", "Why is the sky blue?", "--into", tmp_path / "sky")
    assert done.exit_code == 1
    assert "--reference" in str(done.exception) + done.output


def test_a_judge_has_to_be_configured(run: Run) -> None:
    done = run("grade", "zero-grad", "--judge", "auto", input="Gradients add up.")
    assert done.exit_code == 1
    assert "GRADER_LLM_BACKEND" in str(done.exception) + done.output
    assert run("grade", "zero-grad", "--judge", "maybe", input="x").exit_code == 2
