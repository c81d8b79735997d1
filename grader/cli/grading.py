"""`grader grade`: one answer, or a file of many with progress and resume."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console

from grader.bank import Bank, bank_of, load_banks
from grader.cli import output
from grader.errors import InvalidAnswer, JudgeError
from grader.library import Library
from grader.pipeline import Grader

if TYPE_CHECKING:
    from grader.assist import Assistant, JudgeMode

Loaded = TypeVar("Loaded", Grader, Library)


def load(bank: str | Path | Bank | None, encoder: str, device: str, judge: JudgeMode | None = None) -> Grader:
    """A grader, with a word on standard error while the model loads when someone is watching.

    With a `judge` it is assisted by the language model of the GRADER_LLM_* settings, in that mode.
    """
    assistant = _assistant(judge)
    return _with_a_word(lambda: Grader.load(bank, encoder=encoder, device=device, assistant=assistant))


def load_library(banks: Sequence[str], encoder: str, device: str, judge: JudgeMode | None = None) -> Library:
    """The same for several banks."""
    assistant = _assistant(judge)
    return _with_a_word(lambda: Library.load(banks, encoder=encoder, device=device, assistant=assistant))


def _with_a_word(load: Callable[[], Loaded]) -> Loaded:
    if not sys.stderr.isatty():
        return load()
    with Console(stderr=True).status("loading the model ..."):
        return load()


def _assistant(judge: JudgeMode | None) -> Assistant | None:
    if judge is None:
        return None
    from api.config import read_settings
    from grader.llm import load_assistant

    assistant = load_assistant(read_settings().llm(), judge)
    if assistant is None and judge != "off":
        raise JudgeError("No language model is configured; set GRADER_LLM_BACKEND and the others (docs/llm-judges.md).")
    return assistant


def _mode(judge: JudgeMode | None, rows: Path | None = None) -> JudgeMode | None:
    """`--judge`, else what the deployment says; None when nobody is to be asked, and no row of a file wants it either."""
    from api.config import read_settings
    from grader.batch import asks_a_model

    settings = read_settings()
    default = settings.judge or "auto"
    if default == "auto" and settings.llm_backend == "none":
        default = "off"
    mode = judge or default
    return None if mode == "off" and (rows is None or not asks_a_model(rows)) else mode


@contextmanager
def _closing(grader: Loaded) -> Iterator[Loaded]:
    """Lets go of the connections to a language model in the end."""
    try:
        yield grader
    finally:
        if grader.assistant is not None:
            grader.assistant.close()


def grade_one(
    question_id: str,
    file: str | None,
    banks: Sequence[str],
    encoder: str,
    device: str,
    judge: JudgeMode | None = None,
    *,
    as_json: bool,
    candidate: bool,
) -> int:
    """Prints the grade of one answer; exit status 0 also when it is not gradable (that is a grade)."""
    found = bank_of(load_banks(banks), question_id)  # a mistyped id is told at once, not after the model has loaded
    answer = read_answer(file)
    with _closing(load(found, encoder, device, _mode(judge))) as grader:
        grade = grader.grade(question_id, answer)
    grade = grade.for_candidate() if candidate else grade
    if output.wants_json(as_json):
        output.print_json(grade.model_dump(mode="json"))
    else:
        output.show_grade(grade, answer)
    return 0


def read_answer(file: str | None) -> str:
    """The text of a file or of standard input; raises InvalidAnswer when it is not UTF-8 or not there."""
    try:
        if file is None or file == "-":
            if sys.stdin.isatty():
                print("Type the answer; end with Ctrl-D on a line of its own.", file=sys.stderr)
            raw = sys.stdin.buffer.read()
        else:
            raw = Path(file).read_bytes()
    except OSError as error:
        raise InvalidAnswer(f"The answer cannot be read: {error}") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidAnswer(f"The answer is not UTF-8 (byte {error.start}); save it as UTF-8.") from error


def grade_many(
    source: Path, target: Path, banks: Sequence[str], encoder: str, device: str, judge: JudgeMode | None = None
) -> int:
    """Grades every row of `source` into `target`; exit status 1 when some rows could not be graded, 130 when stopped."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from grader.batch import Totals, grade_file

    loaded = load_library(banks, encoder, device, _mode(judge, source))
    totals = Totals()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    shown = Progress(*columns, disable=not sys.stderr.isatty(), console=Console(stderr=True))
    with _closing(loaded) as grader, shown as progress:
        task = progress.add_task("grading", total=None)

        def show(done: int, total: int | None) -> None:
            progress.update(task, completed=done, total=total)

        try:
            grade_file(grader, source, target, totals, show)
        except KeyboardInterrupt:
            print(f"Stopped after {totals.graded} rows; run the same command again to go on.", file=sys.stderr)
            return 130
    skipped = f", {totals.resumed} were there already" if totals.resumed else ""
    print(f"{totals.graded} rows graded, {totals.failed} could not be{skipped}: {target}", file=sys.stderr)
    return 1 if totals.failed else 0
