"""`grader benchmark`: the figures of benchmarks/RESULTS.md, measured again. Needs a source checkout, which has the data."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path
from rich.console import Console

from grader.bank import load_bank
from grader.cli import output
from grader.cli.grading import load
from grader.errors import BankError, GraderError, Problem


def quality(
    data: Path | None,
    card_file: Path | None,
    cache: Path | None,
    encoder: str,
    device: str,
    questions: list[str],
    *,
    as_json: bool,
) -> int:
    """Measures the quality card and prints it, or writes it to a file."""
    if data is not None and not data.is_dir():
        raise BankError([Problem(str(data), 0, "", "there is no such folder; docs/quality.md says what goes into it")])
    bank = load_bank()
    for name in questions:
        bank.question(name)  # a mistyped id is told at once, not after the model has loaded
    run, card = _module("benchmarks.quality.run"), _module("benchmarks.quality.card")
    grader = load(bank, encoder, device)
    begun = time.monotonic()
    console = Console(stderr=True)
    measured = run.quality_card(
        grader,
        data,
        cache=cache or user_cache_path("answer-grader") / "benchmark",
        questions=questions or None,
        progress=lambda step: console.print(f"{time.monotonic() - begun:6.0f} s  {step}", highlight=False),
    )
    if as_json:
        output.print_json(card.as_json(measured))
    if card_file is not None:
        card_file.write_text(card.markdown(measured), encoding="utf-8")
    elif not as_json:
        sys.stdout.write(card.markdown(measured))
    return 0


def speed(rounds: int, device: str) -> int:
    """Prints how fast a full grade is, in ratios."""
    _module("benchmarks.speed").run(rounds, device)
    return 0


def _module(name: str) -> Any:
    """A module of the folder `benchmarks`, which is not part of the installed package."""
    if importlib.util.find_spec("benchmarks") is None or importlib.util.find_spec("training") is None:
        raise GraderError(
            "The benchmarks and their data are not part of the installed package. Clone the repository, run `make setup-dev` "
            "in it, and use `.venv/bin/grader benchmark` there."
        )
    return importlib.import_module(name)
