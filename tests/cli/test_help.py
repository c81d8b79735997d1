"""`--help` and `--version`: complete, and at once, because nothing heavy is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

import grader

Run = Callable[..., Result]
Command = Callable[..., subprocess.CompletedProcess[bytes]]
COMMANDS = (
    (), ("grade",), ("serve",), ("questions",), ("questions", "list"), ("questions", "show"), ("bank",),
    ("bank", "check"), ("bank", "test"), ("bank", "schema"), ("keys",), ("keys", "create"), ("keys", "list"),
    ("keys", "revoke"), ("database",), ("database", "upgrade"), ("database", "backup"), ("database", "restore"),
    ("database", "export"), ("database", "erase"), ("database", "retain"), ("database", "log"), ("regrade",),
)  # fmt: skip
HEAVY = (
    "torch",
    "transformers",
    "sentence_transformers",
    "pydantic",
    "numpy",
    "fastapi",
    "uvicorn",
    "yaml",
    "py3langid",
    "sqlalchemy",
)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "grader")
def test_every_command_has_help(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words, "--help") if words != ("grade",) and words != ("bank", "test") else run(*words, "-h")
    assert result.exit_code == 0
    assert "Usage" in result.stdout
    assert "--help" in result.stdout


@pytest.mark.parametrize("words", [(), ("bank",)], ids=["grader", "bank"])
def test_without_a_command_help_is_shown(run: Run, words: tuple[str, ...]) -> None:
    assert "Usage" in run(*words).output


def test_the_version_is_the_packages(run: Run) -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"{grader.__version__}\n")


@pytest.mark.parametrize("module", ["grader", "grader.cli", "grader.cli.app"])
def test_nothing_heavy_is_imported_before_it_is_needed(environment: dict[str, str], module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    loaded = found.stdout.split()
    assert module.split(".")[0] in loaded
    assert not set(HEAVY) & set(loaded)


def test_help_takes_less_than_half_a_second(command: Command) -> None:
    """CPU seconds of the best of three, so that a busy machine does not fail it."""
    seconds = []
    for _ in range(3):
        before = os.times()
        result = command("--help")
        after = os.times()
        assert result.returncode == 0
        assert b"Usage" in result.stdout
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(seconds) < 0.5


def test_the_console_script_is_installed(environment: dict[str, str]) -> None:
    script = Path(sys.executable).parent / "grader"
    found = subprocess.run([script, "--version"], capture_output=True, text=True, env=environment, check=True)
    assert found.stdout.strip() == grader.__version__


def test_an_unknown_command_is_a_usage_error(run: Run) -> None:
    result = run("grad")
    assert result.exit_code == 2
    assert "grad" in result.stderr
