"""`grader grade --input --output`: many answers, three formats, nothing lost when it is stopped."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet
from typer.testing import Result

from grader.errors import InvalidAnswer
from grader.pipeline import Grader

Json = dict[str, Any]
Run = Callable[..., Result]
Error = Callable[[Result], Any]

SKY: Json = {
    "prompt": "Why is the sky blue?",
    "reference_answers": ["Air scatters blue light far more than red light."],
}
ROWS: list[Json] = [
    {"id": "one", "question_id": "zero-grad", "answer": "backward() adds to .grad, zero_grad() clears it. 😀"},
    {"id": "two", "question_id": "autograd", "answer": "It records operations,\non a tape; \"quoted\", 'too'."},
    {"id": "inline", "question": SKY, "answer": "Blue light is scattered by the air far more than red light."},
    {"id": "empty", "question_id": "zero-grad", "answer": ""},
]
BAD_ROWS: list[tuple[Json, str, str]] = [
    ({"id": "unknown", "question_id": "zero-gard", "answer": "x"}, "UnknownQuestion", "did you mean zero-grad?"),
    ({"id": "long", "question_id": "zero-grad", "answer": "x" * 20_001}, "AnswerTooLong", "20,001 characters"),
    ({"id": "both", "question_id": "zero-grad", "question": SKY, "answer": "x"}, "invalid_row", "either question_id or"),
    ({"id": "neither", "answer": "x"}, "invalid_row", "either question_id or"),
    ({"id": "thin", "question": SKY | {"reference_answers": ["So."]}, "answer": "x"}, "InvalidQuestion", "send criteria"),
    ({"id": "wrong", "question": {"prompt": "Why?"}, "answer": "x"}, "invalid_row", "question.reference_answers"),
    ({"id": "extra", "question_id": "zero-grad", "answer": "x", "mark": 3}, "invalid_row", "mark"),
    ({"id": "i" * 201, "question_id": "zero-grad", "answer": "x"}, "invalid_row", "id"),
]  # fmt: skip


def write_jsonl(path: Path, rows: Iterable[Json]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path: Path, rows: Iterable[Json]) -> Path:
    """Rows as a spreadsheet saves them: with a byte order mark, inline questions as JSON in their cell."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, ("id", "question_id", "question", "answer"))
        writer.writeheader()
        for row in rows:
            writer.writerow(row | ({"question": json.dumps(row["question"])} if "question" in row else {}))
    return path


def write_parquet(path: Path, rows: Iterable[Json]) -> Path:
    cells = [row | ({"question": json.dumps(row["question"])} if "question" in row else {}) for row in rows]
    schema = pyarrow.schema([(name, pyarrow.string()) for name in ("id", "question_id", "question", "answer")])
    parquet.write_table(pyarrow.Table.from_pylist(cells, schema=schema), path)
    return path


WRITERS = {".jsonl": write_jsonl, ".csv": write_csv, ".parquet": write_parquet}
NESTED = ("score_interval", "criteria", "misconceptions", "flags", "review_reasons", "feedback", "provenance", "error")


def read(path: Path) -> list[Json]:
    """The rows of an output file, with the nested parts of tables read back."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if path.suffix == ".csv":
        csv.field_size_limit(10_000_000)
        with path.open(encoding="utf-8", newline="") as file:
            rows: list[Json] = [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]
    else:
        rows = [{k: v for k, v in row.items() if v is not None} for row in parquet.read_table(path).to_pylist()]
    for row in rows:
        row.update({name: json.loads(row[name]) for name in NESTED if name in row})
    return rows


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "in.jsonl", ROWS)


@pytest.fixture(scope="module")
def hashing(tmp_path_factory: pytest.TempPathFactory) -> Grader:
    """The grader that the commands use here."""
    return Grader.load(encoder="hashing", cache_folder=tmp_path_factory.mktemp("hashing"))


# ---- formats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("out", WRITERS)
@pytest.mark.parametrize("into", WRITERS)
def test_every_format_goes_in_and_out(run: Run, tmp_path: Path, hashing: Grader, into: str, out: str) -> None:
    source, target = WRITERS[into](tmp_path / f"in{into}", ROWS), tmp_path / f"out{out}"
    result = run("grade", "--input", source, "--output", target)
    assert result.exit_code == 0, result.output
    assert "4 rows graded, 0 could not be" in result.stderr
    assert result.stdout == ""
    found = read(target)
    assert [row["id"] for row in found] == ["one", "two", "inline", "empty"]
    expected = hashing.grade("zero-grad", ROWS[0]["answer"]).model_dump(mode="json")
    assert float(found[0]["score"]) == expected["score"]
    assert found[0]["criteria"] == expected["criteria"]
    assert found[0]["provenance"] == expected["provenance"]
    assert found[3]["outcome"] == "not_gradable"
    assert found[3].get("score") is None
    assert not [path for path in tmp_path.iterdir() if path not in {source, target}], "something was left behind"


def test_an_output_row_is_the_grade_with_the_rows_id(run: Run, source: Path, tmp_path: Path, hashing: Grader) -> None:
    run("grade", "--input", source, "--output", tmp_path / "out.jsonl")
    for given, found in zip(ROWS[:2], read(tmp_path / "out.jsonl")[:2], strict=True):
        grade = hashing.grade(given["question_id"], given["answer"]).model_dump(mode="json")
        assert found == grade | {"id": given["id"]}
        for span in (span for one in found["criteria"] for span in one["evidence"]):
            assert given["answer"][span["start"] : span["end"]] == span["text"]


def test_an_inline_question_derives_its_criteria(run: Run, source: Path, tmp_path: Path) -> None:
    run("grade", "--input", source, "--output", tmp_path / "out.jsonl")
    found = read(tmp_path / "out.jsonl")[2]
    assert [one["statement"] for one in found["criteria"]] == SKY["reference_answers"]
    assert found["question_id"].startswith("inline-")


def test_a_struct_column_of_parquet_is_an_inline_question(run: Run, tmp_path: Path) -> None:
    rows: list[Json] = [
        {"id": "a", "question": SKY | {"criteria": None}, "answer": "Air scatters blue light."},
        {"id": "b", "question": SKY | {"criteria": [{"statement": "Air scatters.", "points": 2.0}]}, "answer": "Air scatters."},
    ]  # fmt: skip
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "in.parquet")
    result = run("grade", "--input", tmp_path / "in.parquet", "--output", tmp_path / "out.jsonl")
    assert result.exit_code == 0, read(tmp_path / "out.jsonl")
    assert [len(row["criteria"]) for row in read(tmp_path / "out.jsonl")] == [1, 1]


def test_upper_case_endings_and_ndjson_are_known(run: Run, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "IN.NDJSON", ROWS[:1])
    assert run("grade", "--input", source, "--output", tmp_path / "OUT.CSV").exit_code == 0
    assert (tmp_path / "OUT.CSV").read_text(encoding="utf-8").startswith("id,question_id,outcome,score")


def test_an_empty_input_gives_an_empty_output(run: Run, tmp_path: Path) -> None:
    for suffix, write in WRITERS.items():
        source = write(tmp_path / f"in{suffix}", [])
        result = run("grade", "--input", source, "--output", tmp_path / f"out{suffix}")
        assert result.exit_code == 0, result.output
        assert read(tmp_path / f"out{suffix}") == []


# ---- rows that cannot be graded --------------------------------------------------------------------------------------


@pytest.mark.parametrize("out", WRITERS)
def test_bad_rows_are_written_with_their_reason_and_stop_nothing(run: Run, tmp_path: Path, out: str) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [*(row for row, _, _ in BAD_ROWS), *ROWS])
    result = run("grade", "--input", source, "--output", tmp_path / f"out{out}")
    assert result.exit_code == 1
    assert f"4 rows graded, {len(BAD_ROWS)} could not be" in result.stderr
    found = read(tmp_path / f"out{out}")
    assert [row["id"] for row in found] == [row["id"] for row, _, _ in BAD_ROWS] + [row["id"] for row in ROWS]
    for (given, code, words), row in zip(BAD_ROWS, found, strict=False):
        assert set(row) == {"id", "error"}, given["id"]
        assert row["error"]["code"] == code
        assert words in row["error"]["message"]
    assert all("error" not in row for row in found[len(BAD_ROWS) :])


def test_lines_that_are_no_rows_are_named_by_their_number(run: Run, tmp_path: Path) -> None:
    sound = json.dumps(ROWS[0]).encode()
    lines = [
        b"not json",
        b"[1, 2]",
        b"\xff\xfe",
        b'{"id": "cut',
        b"[" * 50_000,
        b"",
        b"null",
        b'{"id": 1, "id": 2}',
        sound,
    ]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    result = run("grade", "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    assert result.exit_code == 1
    found = read(tmp_path / "out.jsonl")
    assert [row["id"] for row in found] == ["row-1", "row-2", "row-3", "row-4", "row-5", "row-7", "row-8", "one"]
    assert "duplicate key 'id'" in found[-2]["error"]["message"]
    assert all("line" in row["error"]["message"] for row in found[:-1])
    assert found[-1]["question_id"] == "zero-grad"


def test_a_lone_surrogate_is_refused_and_stays_readable(run: Run, tmp_path: Path) -> None:
    lines = (
        '{"id": "\\ud800", "question_id": "zero-grad", "answer": "It clears the gradients."}\n'
        '{"id": "half", "question_id": "zero-grad", "answer": "It \\udfff clears."}\n'
        '{"id": "name", "question_id": "zero-grad", "answer": "It clears.", "\\ud800": 1}\n'
    )
    (tmp_path / "in.jsonl").write_text(lines, encoding="utf-8")
    for suffix in WRITERS:
        target = tmp_path / f"out{suffix}"
        assert run("grade", "--input", tmp_path / "in.jsonl", "--output", target).exit_code == 1
        found = read(target)
        assert [row["id"] for row in found] == ["\\ud800", "half", "name"]
        assert "lone surrogate" in found[1]["error"]["message"]


def test_rows_without_an_id_are_named_by_their_number(run: Run, tmp_path: Path) -> None:
    rows = [
        {k: v for k, v in ROWS[0].items() if k != "id"},
        ROWS[0] | {"id": ""},
        ROWS[0] | {"id": 0},
        ROWS[0] | {"id": 7},
    ]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    run("grade", "--input", source, "--output", tmp_path / "out.jsonl")
    assert [row["id"] for row in read(tmp_path / "out.jsonl")] == ["row-1", "row-2", "0", "7"]


def test_a_repeated_id_is_graded_once(run: Run, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [ROWS[0], ROWS[1], ROWS[0] | {"answer": "another"}])
    target = tmp_path / "out.jsonl"
    assert run("grade", "--input", source, "--output", target).exit_code == 1
    found = read(target)
    assert [row["id"] for row in found] == ["one", "two", "one"]
    assert "error" not in found[0]
    assert found[2]["error"]["code"] == "repeated_id"
    before = target.read_bytes()
    again = run("grade", "--input", source, "--output", target)
    assert "3 were there already" in again.stderr
    assert target.read_bytes() == before


def test_odd_csv_cells(run: Run, tmp_path: Path) -> None:
    huge = "word " * 40_000
    text = (
        "id,question_id,question,answer\r\n"
        "more,zero-grad,,a,b,c\r\n"
        "less,zero-grad,\r\n"
        "empty,zero-grad,,\r\n"
        'json,,"{not json",x\r\n'
        f"huge,zero-grad,,{huge}\r\n"
        'lines,zero-grad,,"It clears\r\nthe ""old"" gradients, before backward."\r\n'
    )
    (tmp_path / "in.csv").write_text(text, encoding="utf-8", newline="")
    run("grade", "--input", tmp_path / "in.csv", "--output", tmp_path / "out.jsonl")
    more, less, empty, broken, long, lines = read(tmp_path / "out.jsonl")
    assert "more cells than the header" in more["error"]["message"]
    assert "row 2 has fewer cells than the header" in less["error"]["message"]
    assert empty["outcome"] == "not_gradable"
    assert "must hold JSON" in broken["error"]["message"]
    assert long["error"]["code"] == "AnswerTooLong"
    assert lines["score"] is not None


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_table_as_spreadsheets_of_other_countries_save_it(run: Run, tmp_path: Path, delimiter: str) -> None:
    with (tmp_path / "in.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, ("id", "question_id", "answer"), delimiter=delimiter)
        writer.writeheader()
        writer.writerow(ROWS[0] | {"answer": "It adds up, so zero_grad() clears; then backward()."})
    result = run("grade", "--input", tmp_path / "in.csv", "--output", tmp_path / "out.jsonl")
    assert result.exit_code == 0, result.output
    assert read(tmp_path / "out.jsonl")[0]["score"] is not None


# ---- files that cannot be used ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ("in.jsonl", "out.txt", "the ending must be .jsonl, .csv or .parquet, not '.txt'"),
        ("in.jsonl", "out", "not 'nothing'"),
        ("in.xlsx", "out.jsonl", "not '.xlsx'"),
        ("in.jsonl", "nowhere/out.jsonl", "nowhere: there is no such folder; make it first"),
        ("nowhere.jsonl", "out.jsonl", "nowhere.jsonl: there is no such file"),
        ("folder.jsonl", "out.jsonl", "folder.jsonl: there is no such file"),
        ("in.jsonl", "folder.jsonl", "folder.jsonl: Is a directory"),
        ("in.jsonl", "folder.csv", "folder.csv: Is a directory"),
        ("in.jsonl", "in.jsonl", "is also the input"),
        ("in.jsonl", "foreign.jsonl", "is not a file of grades"),
        ("in.jsonl", "foreign.csv", "is not a file of grades"),
        ("in.jsonl", "other-rows.jsonl", "is not a file of grades"),
        ("in.jsonl", "there.parquet", "exists and is complete"),
        ("junk.parquet", "out.jsonl", "is not readable as Parquet"),
        ("latin.csv", "out.jsonl", "is not UTF-8 (byte 29)"),
        ("mute.csv", "out.jsonl", "found: 'id', 'question_id', 'anwser'"),
        ("mute.parquet", "out.jsonl", "found: 'question_id', 'anwser'"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_left_alone(
    run: Run, error_of: Error, tmp_path: Path, source: str, target: str, words: str
) -> None:
    write_jsonl(tmp_path / "in.jsonl", ROWS)
    write_jsonl(tmp_path / "other-rows.jsonl", ROWS)
    (tmp_path / "in.xlsx").write_bytes(b"PK")
    (tmp_path / "foreign.jsonl").write_bytes(b"my notes, without a line end")
    (tmp_path / "foreign.csv").write_bytes(b"name,notes\n1,without a line end")
    (tmp_path / "there.parquet").write_bytes(b"PAR1")
    (tmp_path / "junk.parquet").write_bytes(b"junk")
    (tmp_path / "latin.csv").write_bytes(b"id,question_id,answer\n1,zero-\xe9,x\n"[:21] + b"\n1,zero-\xe9,x\n")
    (tmp_path / "mute.csv").write_text("id;question_id;anwser\n1;zero-grad;x\n")
    parquet.write_table(pyarrow.table({"question_id": ["zero-grad"], "anwser": ["x"]}), tmp_path / "mute.parquet")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "folder.csv").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    error = error_of(run("grade", "--input", tmp_path / source, "--output", tmp_path / target))
    assert isinstance(error, InvalidAnswer)
    assert words in str(error)
    assert {path: path.read_bytes() for path in before} == before


# ---- stopped and resumed ---------------------------------------------------------------------------------------------


@pytest.fixture
def many() -> list[Json]:
    return [
        ROWS[0] | {"id": f"row {n}, ü", "answer": f"Number {n}: zero_grad() clears the gradients."} for n in range(12)
    ]


@pytest.mark.parametrize("out", [".jsonl", ".csv"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.3, 0.55, 0.9, 0.999])
def test_a_truncated_output_is_completed(run: Run, tmp_path: Path, many: list[Json], out: str, kept: float) -> None:
    source, target = write_jsonl(tmp_path / "in.jsonl", many), tmp_path / f"out{out}"
    run("grade", "--input", source, "--output", target)
    whole = target.read_bytes()
    header = whole.index(b"\n") + 1 if out == ".csv" and kept else 0
    target.write_bytes(whole[: header + int((len(whole) - header) * kept)])
    result = run("grade", "--input", source, "--output", target)
    assert result.exit_code == 0, result.output
    assert target.read_bytes() == whole


@pytest.mark.parametrize("lost", range(1, 4))
@pytest.mark.parametrize("out", [".jsonl", ".csv"])
def test_an_output_without_its_last_characters_is_completed(
    run: Run, tmp_path: Path, many: list[Json], out: str, lost: int
) -> None:
    source, target = write_jsonl(tmp_path / "in.jsonl", many), tmp_path / f"out{out}"
    run("grade", "--input", source, "--output", target)
    whole = target.read_bytes()
    target.write_bytes(whole[:-lost])
    assert run("grade", "--input", source, "--output", target).exit_code == 0
    assert target.read_bytes() == whole


def test_new_rows_are_added_to_an_output(run: Run, tmp_path: Path, many: list[Json]) -> None:
    source, target = write_jsonl(tmp_path / "in.jsonl", many[:5]), tmp_path / "out.jsonl"
    run("grade", "--input", source, "--output", target)
    write_jsonl(source, many)
    result = run("grade", "--input", source, "--output", target)
    assert "7 rows graded, 0 could not be, 5 were there already" in result.stderr
    assert [row["id"] for row in read(target)] == [row["id"] for row in many]


def test_parquet_is_resumed_from_the_file_beside_it(run: Run, tmp_path: Path, many: list[Json]) -> None:
    source, rows = write_jsonl(tmp_path / "in.jsonl", many), tmp_path / "rows.jsonl"
    run("grade", "--input", source, "--output", rows)
    started = tmp_path / "out.parquet.partial.jsonl"
    started.write_bytes(rows.read_bytes()[: rows.stat().st_size // 2])
    result = run("grade", "--input", source, "--output", tmp_path / "out.parquet")
    assert result.exit_code == 0
    assert "were there already" in result.stderr
    assert [row["id"] for row in read(tmp_path / "out.parquet")] == [row["id"] for row in many]
    assert not started.exists()


@pytest.mark.parametrize("out", [".jsonl", ".parquet"])
def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(
    environment: dict[str, str], tmp_path: Path, out: str
) -> None:
    rows = [ROWS[0] | {"id": f"r{n}", "answer": f"{n} {'zero_grad() clears old gradients. ' * 30}"} for n in range(600)]
    source, target = write_jsonl(tmp_path / "in.jsonl", rows), tmp_path / f"out{out}"
    growing = target if out == ".jsonl" else tmp_path / "out.parquet.partial.jsonl"
    # A test run in the background ignores Ctrl-C, and so would its children: the first line undoes that.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from grader.cli import main; main()"
    )  # fmt: skip
    words = [
        sys.executable,
        "-c",
        code,
        "grade",
        "--input",
        str(source),
        "--output",
        str(target),
        "--encoder",
        "hashing",
    ]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, env=environment)
    end = time.monotonic() + 60
    while not (growing.exists() and growing.stat().st_size) and time.monotonic() < end:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130, message
    assert b"run the same command again to go on" in message
    assert b"Traceback" not in message
    done = growing.read_bytes().count(b"\n")
    assert 0 < done < len(rows)
    result = subprocess.run(words, capture_output=True, env=environment, timeout=120, check=True)
    assert f"{done} were there already".encode() in result.stderr
    assert [row["id"] for row in read(target)] == [row["id"] for row in rows]
