"""`grader calibrate`: what it fitted, what it gains, and why it writes nothing when it gains nothing."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from grader.calibrate import LEAST_GAIN, Fit, fit, read_graded, write
from grader.cli.grading import load
from grader.errors import CalibrationError


def run(graded: Path, bank: str | None, encoder: str, device: str, *, out_of: float, dry_run: bool) -> int:
    """Prints the cross-validated gain and writes the scale beside the bank; exit status 1 when there is none."""
    if not graded.is_file():
        raise CalibrationError(f"There is no file {graded}; give a CSV with question_id, answer and score.")
    grader = load(bank, encoder, device)
    with Progress(disable=not sys.stderr.isatty(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("judging answers", total=None)
        rows = read_graded(grader, graded, out_of=out_of, progress=lambda done: progress.update(task, completed=done))
    found = fit(grader, rows)
    _print(found)
    if found.gain < LEAST_GAIN:
        print("The scale that ships suits these graders as well; nothing was written.")
        return 1
    if dry_run:
        print("Nothing was written (--dry-run).")
        return 0
    print(f"Written to {write(grader.bank.path, found.scale)}; remove the file to go back.")
    return 0


def _print(found: Fit) -> None:
    print(
        f"{found.answers} answers to {found.questions} questions; rank correlation with your graders {found.order:.2f}"
    )
    print(
        f"mean absolute error, each fifth of the answers left out of its fit: {found.error_before:.1f} points before, "
        f"{found.error_after:.1f} after"
    )
    print(f"{found.inside:.0%} of the left-out answers lie inside their interval")
