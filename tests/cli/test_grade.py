"""`grader grade QUESTION_ID [FILE]`: one answer."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from grader.errors import AnswerTooLong, BankError, InvalidAnswer, UnknownQuestion
from grader.pipeline import Grader

Run = Callable[..., Result]
Command = Callable[..., subprocess.CompletedProcess[bytes]]
Error = Callable[[Result], Any]

ANSWER = (
    "backward() adds each new gradient to whatever is already in .grad. 😀 zero_grad() clears the old gradients.\r\n"
)
LINES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with the answer."""
    path = tmp_path / "answer.txt"
    path.write_bytes(ANSWER.encode())
    return path


def test_the_grade_is_json_when_nobody_looks(run: Run, tmp_path: Path) -> None:
    result = run("grade", "zero-grad", input=ANSWER.encode())
    assert result.exit_code == 0
    assert result.stderr == ""
    grader = Grader.load(encoder="hashing", cache_folder=tmp_path)
    assert json.loads(result.stdout) == grader.grade("zero-grad", ANSWER).model_dump(mode="json")


def test_a_file_a_dash_and_standard_input_are_the_same(run: Run, file: Path) -> None:
    from_file = run("grade", "zero-grad", file)
    from_dash = run("grade", "zero-grad", "-", input=ANSWER.encode())
    from_input = run("grade", "zero-grad", input=ANSWER.encode())
    assert from_file.exit_code == 0
    assert from_file.stdout == from_dash.stdout == from_input.stdout


def test_evidence_refers_to_the_file_as_it_is(run: Run, file: Path) -> None:
    found = json.loads(run("grade", "zero-grad", file).stdout)
    spans = [span for one in found["criteria"] for span in one["evidence"]]
    assert spans
    assert all(ANSWER[span["start"] : span["end"]] == span["text"] for span in spans)


def test_the_real_model_grades_from_a_pipe(command: Command, tiny_bank: Path) -> None:
    answer = "The air throws sunlight in all directions. Blue is scattered a lot more than red is."
    result = command("grade", "sky", "--bank", tiny_bank, "--device", "cpu", input=answer.encode())
    assert result.returncode == 0, result.stderr
    assert result.stderr == b""
    found = json.loads(result.stdout)
    assert found["provenance"]["encoder"] == "all-MiniLM-L6-v2"
    assert found["score"] is not None


def test_the_candidates_view_has_no_statement(run: Run, file: Path) -> None:
    found = json.loads(run("grade", "zero-grad", file, "--candidate").stdout)
    assert all(one["statement"] is None for one in (*found["criteria"], *found["misconceptions"]))
    assert found["score"] == json.loads(run("grade", "zero-grad", file).stdout)["score"]


@pytest.mark.parametrize("answer", ["", " \n", "sdfghjkl qwrtzpsd xcvbnmlk hjklqwrt zxcvbnmq wrtzpsdf"])
def test_what_is_no_answer_is_a_grade_without_a_score(run: Run, answer: str) -> None:
    result = run("grade", "zero-grad", input=answer)
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert (found["outcome"], found["score"]) == ("not_gradable", None)


def test_a_byte_order_mark_is_no_part_of_the_answer(run: Run, file: Path, tmp_path: Path) -> None:
    marked = tmp_path / "marked.txt"
    marked.write_bytes(b"\xef\xbb\xbf" + ANSWER.encode())
    assert run("grade", "zero-grad", marked).stdout == run("grade", "zero-grad", file).stdout


def test_another_bank(run: Run, tiny_bank: Path) -> None:
    found = json.loads(run("grade", "sky", "--bank", tiny_bank, input="Air molecules scatter sunlight.").stdout)
    assert found["question_id"] == "sky"
    assert found["provenance"]["bank"].startswith("tiny@1.2.3+")


# ---- what goes wrong is one line and exit status 1 -------------------------------------------------------------------


def test_an_unknown_id_suggests_a_near_one(command: Command) -> None:
    result = command("grade", "zero-gard", "--encoder", "hashing", input=ANSWER.encode())
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode() == "Error: There is no question 'zero-gard'; did you mean zero-grad?\n"


def test_a_missing_file_is_named(command: Command, tmp_path: Path) -> None:
    result = command("grade", "zero-grad", tmp_path / "nowhere.txt", "--encoder", "hashing")
    assert (result.returncode, result.stdout) == (1, b"")
    message = result.stderr.decode()
    assert message.startswith("Error: The answer cannot be read:")
    assert "nowhere.txt" in message
    assert message.count("\n") == 1


def test_a_reader_that_goes_away_is_no_traceback(environment: dict[str, str]) -> None:
    code = "from grader.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "questions", "show", "zero-grad"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    message = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)
    assert b"Traceback" not in message


@pytest.mark.parametrize(
    ("content", "place"), [(b"caf\xe9", 3), (b"\xff\xfeh\x00i\x00", 0), (b"ok \xed\xa0\x80", 3)], ids=repr
)
def test_an_answer_that_is_not_utf8_says_where(
    run: Run, error_of: Error, tmp_path: Path, content: bytes, place: int
) -> None:
    file = tmp_path / "latin.txt"
    file.write_bytes(content)
    for result in (run("grade", "zero-grad", file), run("grade", "zero-grad", input=content)):
        error = error_of(result)
        assert isinstance(error, InvalidAnswer)
        assert str(error) == f"The answer is not UTF-8 (byte {place}); save it as UTF-8."


def test_a_folder_is_no_answer(run: Run, error_of: Error, tmp_path: Path) -> None:
    error = error_of(run("grade", "zero-grad", tmp_path))
    assert isinstance(error, InvalidAnswer)
    assert "cannot be read" in str(error)


def test_a_too_long_answer_says_both_numbers(run: Run, error_of: Error) -> None:
    error = error_of(run("grade", "zero-grad", input="x" * 20_001))
    assert isinstance(error, AnswerTooLong)
    assert "20,001 characters; the limit is 20,000" in str(error)


def test_an_unknown_question_and_a_missing_bank_are_told_apart(run: Run, error_of: Error, tmp_path: Path) -> None:
    assert isinstance(error_of(run("grade", "moon", input="x")), UnknownQuestion)
    assert isinstance(error_of(run("grade", "zero-grad", "--bank", tmp_path, input="x")), BankError)


@pytest.mark.parametrize(
    "words",
    [("grade",), ("grade", "--input", "a.jsonl"), ("grade", "--output", "b.jsonl"),
     ("grade", "zero-grad", "--input", "a.jsonl", "--output", "b.jsonl")],
    ids=" ".join,
)  # fmt: skip
def test_options_that_do_not_fit_together_are_a_usage_error(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert "Invalid value" in result.stderr


# ---- in a terminal ---------------------------------------------------------------------------------------------------


def in_a_terminal(environment: dict[str, str], *arguments: str, input: bytes = b"") -> str:
    """Output of the real command when it writes to a terminal."""
    ours, theirs = pty.openpty()
    code = "from grader.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env=environment | {"TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    assert process.stdin is not None
    process.stdin.write(input)
    process.stdin.close()
    pieces = []
    while True:
        try:
            piece = os.read(ours, 65_536)
        except OSError:  # the other end was closed
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return LINES.sub("", b"".join(pieces).decode())


def test_a_grade_in_a_terminal_is_for_human_eyes(environment: dict[str, str]) -> None:
    shown = in_a_terminal(environment, "grade", "zero-grad", "--encoder", "hashing", input=ANSWER.encode())
    assert re.search(r"[\d.]+ of 100", shown)
    assert "Your answer" in shown
    assert "zero_grad() clears the old gradients." in shown
    assert "Accumulates" in shown
    assert "To improve" in shown
    assert not shown.lstrip().startswith("{")


def test_json_can_be_asked_for_in_a_terminal(environment: dict[str, str]) -> None:
    words = ("grade", "zero-grad", "--encoder", "hashing", "--json")
    assert json.loads(in_a_terminal(environment, *words, input=ANSWER.encode()))["question_id"] == "zero-grad"


def test_markup_in_an_answer_is_text_in_a_terminal(environment: dict[str, str]) -> None:
    answer = "[bold red]backward()[/] adds to .grad, [link=https://evil.example]zero_grad()[/link] clears it."
    shown = in_a_terminal(environment, "grade", "zero-grad", "--encoder", "hashing", input=answer.encode())
    assert "[bold red]backward()[/]" in shown


def test_questions_in_a_terminal_are_a_table(environment: dict[str, str]) -> None:
    shown = in_a_terminal(environment, "questions", "list")
    assert "PyTorch theory (21 questions)" in shown
    assert "zero-grad" in shown
    one = in_a_terminal(environment, "questions", "show", "zero-grad")
    assert "accumulates" in one
    assert "Reference answer 1" in one
