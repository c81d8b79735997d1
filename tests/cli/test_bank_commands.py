"""`grader bank`: what an author is told about a bank, and when its tests fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import Result

from grader.bank import DEFAULT_BANK
from grader.errors import BankError

Run = Callable[..., Result]
Error = Callable[[Result], Any]

# Name: what is replaced in the question's file, by what, the line's start that is named, the field, the message.
FAULTS: dict[str, tuple[str, str, str, str, str]] = {
    "a misspelt field": (
        "    hint: What does", "    hnit: What does",
        "    hnit:", "criteria[0].hnit", "is not a field of this format"),
    "a missing field": ("prompt: Why is the sky blue?\n", "", "number:", "prompt", "is missing"),
    "a missing statement": (
        "    statement: Air molecules scatter sunlight.\n", "",
        "  - id: scattering", "criteria[0].statement", "is missing"),
    "an id with a space": (
        "- id: scattering", "- id: scat tering",
        "  - id: scat tering", "criteria[0].id", "does not have the form"),
    "a kind that is not known": ("kind: concept", "kind: essay", "kind: essay", "kind", "Input should be"),
    "points as a word": ("points: 40", "points: many", "    points: many", "criteria[0].points", "valid number"),
    "negative points": ("points: 40", "points: -40", "    points: -40", "criteria[0].points", "greater than 0"),
    "a sum that is not 100": ("points: 40", "points: 50", "criteria:", "criteria", "sum to 110; they must sum to 100"),
    "an id that is used twice": (
        "- id: wavelength", "- id: scattering",
        "  - id: scattering", "criteria[0].id", "is used 2 times"),
    "a field that stands twice": (
        "level: junior\n", "level: junior\nlevel: mid\n",
        "level: mid", "level", "stands here twice"),
    "text that YAML reads as a number": (
        "answer: Why is the sky blue?", "answer: 42",
        "    answer: 42", "samples[1].answer", "put it in quotes"),
    "a wrong statement that is also right": (
        "      - Air molecules absorb sunlight.", "      - Air molecules scatter sunlight.",
        "      - Air molecules scatter sunlight.", "criteria[0].contradictions[0]", "also listed as right"),
    "a group that is not there": (
        "    points: 40", "    points: 40\n    group: any",
        "    group: any", "criteria[0].group", "any"),
    "a sample about no criterion": (
        "    score: [0, 5]\n  - id: echo", "    score: [0, 5]\n    verdicts: {sky: met}\n  - id: echo",
        "    verdicts: {sky: met}", "samples[0].verdicts.sky", "there is no criterion 'sky'"),
    "a sample with a misconception that is not there": (
        "    score: [0, 5]\n  - id: echo", "    score: [0, 5]\n    misconceptions: [sea]\n  - id: echo",
        "    misconceptions: [sea]", "samples[0].misconceptions[0]", "there is no misconception 'sea'"),
    "a range that is upside down": (
        "score: [0, 5]\n  - id: echo", "score: [5, 0]\n  - id: echo",
        "  - id: noise", "samples[0]", "write the lower number first"),
    "a range that the verdicts do not fit": (
        "score: [0, 5]\n  - id: echo", "score: [90, 100]\n  - id: echo",
        "    score: [90, 100]", "samples[0].score", "does not fit the range 90 to 100"),
    "a source that is no address": (
        "https://example.org/sky", "example.org",
        "  - example.org", "sources[0]", "does not have the form"),
    "no criteria": ("criteria:\n", "criteria: []\nold:\n", "criteria: []", "criteria", "at least 1 item"),
    "a tab in the indent": ("    points: 40", "\tpoints: 40", "\tpoints: 40", "", "not valid YAML"),
    "an open quote": ("prompt: Why is the sky blue?", 'prompt: "Why is the sky blue?', "", "", "not valid YAML"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "line", "field", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_named_by_file_line_and_field(
    run: Run, tiny_bank: Path, old: str, new: str, line: str, field: str, message: str
) -> None:
    file = tiny_bank / "01-sky.yaml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    result = run("bank", "check", tiny_bank)
    assert result.exit_code == 1
    assert result.stdout == ""
    found = [one for one in result.stderr.splitlines() if message in one]
    assert found, result.stderr
    lines = file.read_text(encoding="utf-8").split("\n")
    if line:
        number = next(n for n, content in enumerate(lines, start=1) if content.startswith(line))
        place = f"{file}:{number}: {field}: " if field else f"{file}:{number}: "
        assert any(one.startswith(place) for one in found), (place, found)
    else:
        assert found[0].startswith(f"{file}:")
    count = len(result.stderr.splitlines()) - 1
    assert result.stderr.splitlines()[-1] == f"{count} problem{'' if count == 1 else 's'} found."


def test_the_fault_table_starts_from_a_sound_bank(run: Run, tiny_bank: Path) -> None:
    result = run("bank", "check", tiny_bank)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "A tiny bank: 1 questions, 2 criteria, 2 samples; no problems.\n"


def test_the_shipped_bank_has_no_problems(run: Run) -> None:
    result = run("bank", "check", DEFAULT_BANK)
    assert result.exit_code == 0, result.stderr
    assert "21 questions" in result.stdout


def test_all_problems_are_listed_at_once(run: Run, tiny_bank: Path) -> None:
    file = tiny_bank / "01-sky.yaml"
    text = file.read_text(encoding="utf-8")
    (tiny_bank / "02-copy.yaml").write_text(text, encoding="utf-8")
    (tiny_bank / "03-list.yaml").write_text("- 1\n- 2\n", encoding="utf-8")
    (tiny_bank / "04-latin.yaml").write_bytes(b"prompt: caf\xe9\n")
    (tiny_bank / "05-empty.yml").write_text("", encoding="utf-8")
    (tiny_bank / "bank.yaml").write_text("id: tiny\ntitle: A tiny bank\nversion: one\n", encoding="utf-8")
    result = run("bank", "check", tiny_bank)
    assert result.exit_code == 1
    problems = result.stderr.splitlines()
    assert len(problems) == 6
    for file_name, words in (
        ("bank.yaml:3", "version"), ("02-copy.yaml:2", "'sky' is also in 01-sky.yaml"), ("03-list.yaml:1", "mapping"),
        ("04-latin.yaml", "not UTF-8 (byte 11)"), ("05-empty.yml:1", "mapping"),
    ):  # fmt: skip
        assert any(file_name in one and words in one for one in problems), (file_name, problems)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "there is no such folder"),
        ("empty", "there is no bank.yaml in it"),
        ("file", "there is no such folder"),
    ],
)
def test_what_is_no_bank_is_said(run: Run, tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x", encoding="utf-8")
    result = run("bank", "check", tmp_path / name)
    assert result.exit_code == 1
    assert words in result.stderr
    assert "1 problem found." in result.stderr


def test_a_bank_without_questions_is_a_problem(run: Run, tiny_bank: Path) -> None:
    (tiny_bank / "01-sky.yaml").unlink()
    result = run("bank", "check", tiny_bank)
    assert result.exit_code == 1
    assert "it holds no question files" in result.stderr


def test_a_yaml_tag_runs_nothing(run: Run, tiny_bank: Path) -> None:
    made = tiny_bank / "made"
    (tiny_bank / "02-evil.yaml").write_text(f"prompt: !!python/object/apply:os.mkdir ['{made}']\n", encoding="utf-8")
    result = run("bank", "check", tiny_bank)
    assert result.exit_code == 1
    assert "02-evil.yaml:1" in result.stderr
    assert not made.exists()


# ---- bank test -------------------------------------------------------------------------------------------------------


def expect_more(bank: Path) -> None:
    """Makes the first sample, which is noise, expect full points: it cannot get them."""
    file = bank / "01-sky.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content["samples"][0] |= {"score": [90, 100], "verdicts": {"scattering": "met", "wavelength": "met"}}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")


def test_samples_that_hold_pass(run: Run, tiny_bank: Path) -> None:
    result = run("bank", "test", tiny_bank)
    assert result.exit_code == 0, result.output
    assert "passed: nothing that held before is lost" in result.stdout
    assert "weak" in result.stdout
    assert "100%" in result.stdout
    assert not (tiny_bank / "baseline.json").exists()


def test_a_sample_that_misses_fails_and_says_what_to_do(run: Run, tiny_bank: Path) -> None:
    expect_more(tiny_bank)
    result = run("bank", "test", tiny_bank)
    assert result.exit_code == 1
    assert "failed: 1 samples miss their range" in result.stdout
    assert "--update-baseline" in result.stdout


def test_verbose_names_the_samples_that_miss(run: Run, tiny_bank: Path) -> None:
    expect_more(tiny_bank)
    result = run("bank", "test", tiny_bank, "--verbose")
    assert "sky/noise (weak): not gradable, expected 90 to 100" in result.stdout
    assert "sky/noise" not in run("bank", "test", tiny_bank).stdout


def test_a_baseline_accepts_what_misses_today(run: Run, tiny_bank: Path) -> None:
    expect_more(tiny_bank)
    updated = run("bank", "test", tiny_bank, "--update-baseline")
    assert updated.exit_code == 0
    assert json.loads((tiny_bank / "baseline.json").read_text(encoding="utf-8"))["held"] == ["sky/echo"]
    again = run("bank", "test", tiny_bank)
    assert again.exit_code == 0
    assert "1 samples miss their range and are known to" in again.stdout


def test_a_sample_that_held_and_no_longer_does_is_a_regression(run: Run, tiny_bank: Path) -> None:
    assert run("bank", "test", tiny_bank, "--update-baseline").exit_code == 0
    expect_more(tiny_bank)
    result = run("bank", "test", tiny_bank)
    assert result.exit_code == 1
    assert "regression: sky/noise (weak): not gradable, expected 90 to 100; it held before" in result.stdout
    assert "regression: 50.0% of the verdicts are right, 100.0% before" in result.stdout
    assert "failed: 2 regressions" in result.stdout


def test_the_outcome_as_json(run: Run, tiny_bank: Path) -> None:
    run("bank", "test", tiny_bank, "--update-baseline")
    expect_more(tiny_bank)
    result = run("bank", "test", tiny_bank, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert set(found) == {"passed", "all", "by_kind", "by_question", "regressions", "samples"}
    assert found["passed"] is False
    assert found["all"] == {"samples": 2, "score_in_range": 0.5, "verdicts_right": 0.5, "mean_error": 50.0}
    assert found["by_kind"] == {"weak": found["all"]}
    assert found["by_question"] == {"sky": found["all"]}
    assert len(found["regressions"]) == 2
    assert found["samples"][0] == {
        "sample": "sky/noise", "kind": "weak", "score": None, "expected": [90.0, 100.0], "in_range": False,
        "verdicts_right": 0, "verdicts": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"held": 5, "verdict_share": 1}', '{"held": [], "verdict_share": "x"}']
)
def test_a_damaged_baseline_says_how_to_mend_it(run: Run, error_of: Error, tiny_bank: Path, content: str) -> None:
    (tiny_bank / "baseline.json").write_text(content, encoding="utf-8")
    error = error_of(run("bank", "test", tiny_bank))
    assert isinstance(error, BankError)
    assert "baseline.json: not a baseline" in str(error)
    assert "--update-baseline" in str(error)


def test_a_damaged_baseline_can_be_replaced(run: Run, tiny_bank: Path) -> None:
    (tiny_bank / "baseline.json").write_text("{", encoding="utf-8")
    result = run("bank", "test", tiny_bank, "--update-baseline")
    assert result.exit_code == 0, result.exception
    assert json.loads((tiny_bank / "baseline.json").read_text(encoding="utf-8"))["verdict_share"] == 1.0


def test_a_broken_bank_is_not_tested(run: Run, error_of: Error, tiny_bank: Path) -> None:
    (tiny_bank / "01-sky.yaml").write_text("prompt: x\n", encoding="utf-8")
    error = error_of(run("bank", "test", tiny_bank))
    assert isinstance(error, BankError)
    assert "01-sky.yaml:1: id: is missing" in str(error)


def test_the_schema_is_the_committed_one(run: Run) -> None:
    result = run("bank", "schema")
    assert result.exit_code == 0
    committed = DEFAULT_BANK.parent / "schema.json"
    assert json.loads(result.stdout) == json.loads(committed.read_text(encoding="utf-8"))
