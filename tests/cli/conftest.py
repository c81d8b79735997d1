"""What the tests of the command line share: the commands in this process, the real command in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from grader.cli.app import app

MAIN = "from grader.cli import main; main()"

BANK_YAML = "id: tiny\ntitle: A tiny bank\nversion: 1.2.3\nlanguage: en\n"
QUESTION_YAML = """\
number: 1
id: sky
prompt: Why is the sky blue?
kind: concept
level: junior
tags: [light]
sources:
  - https://example.org/sky
reference_answers:
  - |
    Air molecules scatter sunlight. Blue light is scattered far more than red light, so it reaches us from everywhere.
criteria:
  - id: scattering
    statement: Air molecules scatter sunlight.
    points: 40
    exemplars:
      - The gas in the air throws the light of the sun in all directions.
    contradictions:
      - Air molecules absorb sunlight.
    hint: What does the air do with the light?
  - id: wavelength
    statement: Blue light is scattered far more than red light.
    points: 60
    exemplars:
      - Short waves are bounced around much more than long ones.
    contradictions:
      - Red light is scattered far more than blue light.
    hint: Which colour is affected most?
misconceptions:
  - id: ocean
    statement: The sky is blue because it mirrors the ocean.
    correction: The sky is blue far from any ocean, too.
    penalty: 20
samples:
  - id: noise
    kind: weak
    answer: sdfghjkl qwrtzpsd xcvbnmlk hjklqwrt zxcvbnmq wrtzpsdf
    score: [0, 5]
  - id: echo
    kind: weak
    answer: Why is the sky blue?
    score: [0, 5]
"""


@pytest.fixture(scope="session")
def run(cache_home: Path) -> Callable[..., Result]:
    """Runs a command in this process, with the hashing encoder where it takes one."""
    runner = CliRunner(env={"XDG_CACHE_HOME": str(cache_home), "NO_COLOR": "1", "COLUMNS": "200"})

    def invoke(*arguments: object, input: str | bytes | None = None) -> Result:
        words = [str(argument) for argument in arguments]
        takes_encoder = words[:1] == ["grade"] or words[:2] == ["bank", "test"]
        return runner.invoke(app, [*words, "--encoder", "hashing"] if takes_encoder else words, input=input)

    return invoke


@pytest.fixture(scope="session")
def environment(cache_home: Path) -> dict[str, str]:
    """The environment of a command in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GRADER_", "COV_"))}
    return kept | {"XDG_CACHE_HOME": str(cache_home), "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "PYTHONUTF8": "1"}


@pytest.fixture(scope="session")
def command(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs the real command in a process of its own, as the console script does."""

    def invoke(*arguments: object, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        words = [sys.executable, "-W", "error", "-c", MAIN, *map(str, arguments)]
        return subprocess.run(words, input=input, capture_output=True, env=environment, timeout=120, check=False)

    return invoke


@pytest.fixture
def tiny_bank(tmp_path: Path) -> Path:
    """The folder of a small, sound bank of one question."""
    folder = tmp_path / "bank"
    folder.mkdir()
    (folder / "bank.yaml").write_text(BANK_YAML, encoding="utf-8")
    (folder / "01-sky.yaml").write_text(QUESTION_YAML, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def error_of() -> Callable[[Result], Any]:
    """The error that a command in this process ended with; `main` prints it as one line."""

    def check(result: Result) -> BaseException:
        assert result.exception is not None, result.output
        assert result.exit_code == 1
        return result.exception

    return check
