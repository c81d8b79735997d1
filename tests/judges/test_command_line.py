"""`grader grade` asks the language model that is configured, as the service would; `--judge` and a row's own field choose."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from grader.cli.app import app
from grader.errors import JudgeError

Run = Callable[..., Result]
GOOD = (
    "PyTorch adds up gradients: every backward() call does += on .grad. zero_grad() clears the old ones so they do not "
    "leak into the new step. Call it once per iteration, before loss.backward()."
)


@pytest.fixture
def run(peer: Any, tmp_path: Path) -> Run:
    """Runs `grader grade` where the peer is configured as the language model; keywords are GRADER_* variables."""

    def invoke(*words: object, **variables: str) -> Result:
        given = {"JUDGE": "", "LLM_BACKEND": "openai", "LLM_MODEL": "a-model", "LLM_BASE_URL": peer.url}
        given |= {"LLM_CACHE": str(tmp_path / "judgements.db")} | variables
        environment = {f"GRADER_{name}": value or None for name, value in given.items()}
        runner = CliRunner(env=environment | {"XDG_CACHE_HOME": str(tmp_path), "NO_COLOR": "1"})
        return runner.invoke(app, ["grade", *map(str, words), "--encoder", "hashing"], input=GOOD)

    return invoke


@pytest.mark.parametrize(
    ("judge", "option", "asked"),
    [
        ("", None, True),
        ("auto", None, True),
        ("required", None, True),
        ("off", None, False),
        ("off", "auto", True),
        ("", "off", False),
        ("required", "off", False),
    ],
)
def test_the_deployment_says_whether_a_model_is_asked_and_the_option_wins(
    run: Run, peer: Any, judge: str, option: str | None, asked: bool
) -> None:
    result = run("zero-grad", *(["--judge", option] if option else []), JUDGE=judge)
    assert result.exit_code == 0, result.output
    assert (json.loads(result.stdout)["provenance"]["llm"] is not None) == asked == bool(peer.requests)


def test_without_a_model_nothing_is_asked_unless_it_is_required(run: Run) -> None:
    for judge in ("", "auto", "off"):
        result = run("zero-grad", LLM_BACKEND="", JUDGE=judge)
        assert result.exit_code == 0, result.output
        provenance = json.loads(result.stdout)["provenance"]
        assert (provenance["llm"], "language model" in (provenance["degraded"] or "")) == (None, False)
    failed = run("zero-grad", LLM_BACKEND="", JUDGE="required")
    assert "GRADER_LLM_BACKEND" in str(failed.exception)


def test_a_wrong_setting_is_one_line(run: Run) -> None:
    result = run("zero-grad", JUDGE="perhaps")
    assert result.exit_code == 1
    assert "a setting is wrong (judge:" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("judge", "asked"), [("", [False, True, True]), ("off", [False, False, True]), ("required", [False, True, True])]
)
@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_each_row_of_a_file_chooses(
    run: Run, peer: Any, tmp_path: Path, ending: str, judge: str, asked: list[bool]
) -> None:
    source, target = tmp_path / f"in{ending}", tmp_path / "out.jsonl"
    judges = ("off", "", "auto")
    if ending == ".csv":
        lines = ["question_id,answer,judge", *(f'zero-grad,"{GOOD}",{one}' for one in judges)]
    else:
        row = {"question_id": "zero-grad", "answer": GOOD}
        lines = [json.dumps(row | ({"judge": one} if one else {})) for one in judges]
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    result = run("--input", source, "--output", target, JUDGE=judge)
    assert result.exit_code == 0, result.output
    grades = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [grade["provenance"]["llm"] is not None for grade in grades] == asked
    assert len(peer.requests) == 1  # the same answer is asked about once


def test_a_row_that_requires_a_model_that_fails_says_why(run: Run, peer: Any, tmp_path: Path) -> None:
    peer.behaviour = "refuses"
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    row = {"question_id": "zero-grad", "answer": GOOD}
    rows = [row, row | {"judge": "required"}, row | {"judge": "perhaps"}]
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert run("--input", source, "--output", target).exit_code == 1
    graded, refused, invalid = (json.loads(line) for line in target.read_text(encoding="utf-8").splitlines())
    assert "refused" in graded["provenance"]["degraded"]
    assert "refused" in refused["error"]["message"]
    assert (invalid["error"]["code"], "judge" in invalid["error"]["message"]) == ("invalid_row", True)


def test_a_file_whose_rows_ask_for_nothing_needs_no_model(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"question_id": "zero-grad", "answer": GOOD, "judge": "off"}), encoding="utf-8")
    result = run("--input", source, "--output", tmp_path / "out.jsonl", "--judge", "off", LLM_MODEL="")
    assert result.exit_code == 0, result.output
    assert isinstance(run("zero-grad", LLM_MODEL="").exception, JudgeError)
