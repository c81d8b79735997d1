"""Many answers from a file into a file: JSONL, CSV or Parquet, row by row, resumable.

A row that cannot be graded is written with its reason and never stops the run. Rows whose id is already in the output
are skipped, so a run that was stopped goes on where it was. This module knows nothing of the terminal.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self, TextIO

from pydantic import Field, StringConstraints, ValidationError, model_validator

from grader import strict_json
from grader.assist import JudgeMode
from grader.errors import GraderError, InvalidAnswer
from grader.library import Library
from grader.pipeline import Grader
from grader.schema import Frozen, Grade, InlineQuestion

Format = Literal["jsonl", "csv", "parquet"]
PARQUET_ROWS = 1000  # rows read at a time
# Characters; the csv module's own 131,072 is less than one grade with 40 criteria, and one long answer would end the run.
LONGEST_CELL = 100_000_000
# Semicolons are what spreadsheets save as CSV where the comma is the decimal sign.
DELIMITERS = ",;\t"
# Columns of a CSV or Parquet file; nested parts are JSON in their cell.
SCALARS = ("id", "question_id", "outcome", "score", "max_score", "similarity", "coverage")
NESTED = ("score_interval", "criteria", "misconceptions", "flags", "review_reasons", "feedback", "provenance", "error")


class BatchRow(Frozen):
    """One row of the input: an answer and the question it answers, by id or inline; whether a language model may help."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    question_id: str | None = None
    question: InlineQuestion | None = None
    answer: str = Field()
    judge: JudgeMode | None = None

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if (self.question_id is None) == (self.question is None):
            raise ValueError("give either question_id or question, not both and not neither")
        return self


@dataclass
class Totals:
    """What a run did: rows graded, rows that could not be, rows that were there already."""

    graded: int = 0
    failed: int = 0
    resumed: int = 0


def file_format(path: Path) -> Format:
    """The format by the file's ending; raises InvalidAnswer for others."""
    endings: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
    if path.suffix.lower() not in endings:
        raise InvalidAnswer(f"{path}: the ending must be .jsonl, .csv or .parquet, not {path.suffix or 'nothing'!r}.")
    return endings[path.suffix.lower()]


def grade_file(
    grader: Grader | Library,
    source: Path,
    target: Path,
    totals: Totals,
    progress: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> None:
    """Grades every row of `source` that is not in `target` yet; `progress(done, total)` is told after each."""
    if not source.is_file():
        raise InvalidAnswer(f"{source}: there is no such file.")
    if target.exists() and target.samefile(source):
        raise InvalidAnswer(f"{target} is also the input; give another --output.")
    try:
        _grade_rows(grader, source, target, totals, progress)
    except OSError as error:
        raise InvalidAnswer(f"{error.filename or target}: {error.strerror or error}") from error


def _grade_rows(
    grader: Grader | Library, source: Path, target: Path, totals: Totals, progress: Callable[[int, int | None], None]
) -> None:
    total = _count(source)
    seen: set[str] = set()
    with _sink(target) as sink:
        there = Counter(sink.done)
        for number, (name, raw) in enumerate(input_rows(source), start=1):
            if there[name]:
                there[name] -= 1
                totals.resumed += 1
            else:
                row = _repeated(name) if name in seen else graded_row(grader, name, raw)
                sink.write(row)
                totals.failed += "error" in row
                totals.graded += "error" not in row
            seen.add(name)
            progress(number, total)


def graded_row(grader: Grader | Library, name: str, raw: dict[str, Any] | GraderError) -> dict[str, Any]:
    """`{"id", ...Grade}`, or `{"id", "error": {"code", "message"}}` when the row cannot be graded."""
    if isinstance(raw, GraderError):
        return _failed(name, raw)
    try:
        row = BatchRow.model_validate({**raw, "id": name})
        question = row.question_id if row.question is None else row.question
        grade: Grade = grader.grade(question or "", row.answer, row.judge)
    except ValidationError as error:
        parts = [f"{'.'.join(map(str, e['loc'])) or 'row'}: {e['msg']}" for e in error.errors(include_url=False)]
        return {"id": name, "error": {"code": "invalid_row", "message": "; ".join(parts)}}
    except GraderError as error:
        return _failed(name, error)
    return {**grade.model_dump(mode="json"), "id": name}


def _failed(name: str, error: GraderError) -> dict[str, Any]:
    return {"id": name, "error": {"code": type(error).__name__, "message": str(error)}}


def _repeated(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "error": {"code": "repeated_id", "message": f"the id {name!r} stands in the input more than once"},
    }


# ---- reading ---------------------------------------------------------------------------------------------------------


def _count(source: Path) -> int | None:
    """Rows of a JSONL file, for the progress bar; unknown for others."""
    if file_format(source) != "jsonl":
        return None
    with source.open("rb") as file:
        return sum(1 for line in file if line.strip())


def input_rows(source: Path) -> Iterator[tuple[str, dict[str, Any] | GraderError]]:
    """Id and content of every row; a row without an id is named by its number."""
    readers = {"jsonl": _jsonl_rows, "csv": _csv_rows, "parquet": _parquet_rows}
    for number, raw in readers[file_format(source)](source):
        given = raw.get("id") if isinstance(raw, dict) else None
        name = f"row-{number}" if given in (None, "") else str(given)
        # Half a character (JSON's "\\ud800") cannot be written as UTF-8; its escape can.
        yield name.encode("utf-8", "backslashreplace").decode(), raw


def asks_a_model(source: Path) -> bool:
    """Whether a row of a file wants a language model by its own field `judge`; what is wrong with the file is told later."""
    try:
        rows = input_rows(source)
        return any(isinstance(raw, dict) and raw.get("judge") in ("auto", "required") for _, raw in rows)
    except (OSError, GraderError):
        return False


def _jsonl_rows(source: Path) -> Iterator[tuple[int, dict[str, Any] | GraderError]]:
    with source.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                value = strict_json.loads(line.decode("utf-8-sig"))
            except (UnicodeDecodeError, ValueError, RecursionError) as error:
                yield number, InvalidAnswer(f"line {number} is not JSON in UTF-8: {error}")
                continue
            yield number, value if isinstance(value, dict) else InvalidAnswer(f"line {number} is not a JSON object")


def _csv_rows(source: Path) -> Iterator[tuple[int, dict[str, Any] | GraderError]]:
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            delimiter = _delimiter(source, file.readline())
            file.seek(0)
            for number, cells in enumerate(_csv_reader(file, delimiter), start=1):
                if None in cells:
                    more = "has more cells than the header; quote cells that hold the separator"
                    yield number, InvalidAnswer(f"row {number} {more}")
                    continue
                if None in cells.values():  # cut short: what is missing may have been the answer
                    yield number, InvalidAnswer(f"row {number} has fewer cells than the header")
                    continue
                yield number, _from_cells({key: value for key, value in cells.items() if value not in (None, "")})
    except UnicodeDecodeError as error:
        raise InvalidAnswer(f"{source} is not UTF-8 (byte {error.start}); save it as UTF-8.") from error
    except csv.Error as error:
        raise InvalidAnswer(f"{source} is not readable as CSV: {error}") from error


def _csv_reader(file: TextIO, delimiter: str = ",") -> csv.DictReader[str]:
    csv.field_size_limit(LONGEST_CELL)
    return csv.DictReader(file, delimiter=delimiter)


def _delimiter(source: Path, header: str) -> str:
    """What separates the columns, told by their names; raises InvalidAnswer when those that are needed are not there."""
    if not header:
        return ","
    csv.field_size_limit(LONGEST_CELL)
    read = {one: next(csv.reader([header], delimiter=one)) for one in DELIMITERS}
    delimiter = next((one for one in DELIMITERS if _is_header(read[one])), None)
    if delimiter is None:
        raise _no_header(source, max(read.values(), key=len))
    return delimiter


def _is_header(columns: Collection[str]) -> bool:
    return "answer" in columns and ("question_id" in columns or "question" in columns)


def _no_header(source: Path, columns: Collection[str]) -> InvalidAnswer:
    found = ", ".join(repr(name[:40]) for name in list(columns)[:10])
    return InvalidAnswer(
        f"{source} must have the columns 'answer' and 'question_id' or 'question', named in its first line and "
        f"separated by commas, semicolons or tabs; found: {found}."
    )


def _parquet_rows(source: Path) -> Iterator[tuple[int, dict[str, Any] | GraderError]]:
    parquet = _parquet()
    number = 0
    try:
        file = parquet.ParquetFile(source)
    except ValueError as error:  # pyarrow's ArrowInvalid
        raise InvalidAnswer(f"{source} is not readable as Parquet: {error}") from error
    if not _is_header(file.schema_arrow.names):
        raise _no_header(source, file.schema_arrow.names)
    for batch in file.iter_batches(batch_size=PARQUET_ROWS):
        for cells in batch.to_pylist():
            number += 1
            yield number, _from_cells({key: value for key, value in cells.items() if value is not None})


def _from_cells(cells: dict[str, Any]) -> dict[str, Any] | GraderError:
    """A table row: an inline question is JSON in its cell; an empty answer is an answer."""
    cells.setdefault("answer", "")
    if isinstance(cells.get("question"), str):
        try:
            cells["question"] = strict_json.loads(cells["question"])
        except ValueError as error:
            return InvalidAnswer(f"the question column must hold JSON: {error}")
    elif isinstance(cells.get("question"), dict):  # a struct of Parquet holds null where a field was not given
        cells["question"] = {key: value for key, value in cells["question"].items() if value is not None}
    return cells


def _parquet() -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise InvalidAnswer("Parquet files need pyarrow: pip install 'answer-grader[parquet]'.") from error
    return parquet


# ---- writing ---------------------------------------------------------------------------------------------------------


class Sink(Protocol):
    """Where rows go; `done` holds the ids that were there before, and how often."""

    @property
    def done(self) -> Counter[str]: ...
    def write(self, row: dict[str, Any]) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *failure: object) -> None: ...


def _sink(target: Path) -> Sink:
    if not target.parent.is_dir():
        raise InvalidAnswer(f"{target.parent}: there is no such folder; make it first.")
    sinks: dict[Format, Callable[[Path], Sink]] = {"jsonl": JsonlSink, "csv": CsvSink, "parquet": ParquetSink}
    return sinks[file_format(target)](target)


ROW_START = b'{"id": '  # how every row that is written begins


def _not_grades(target: Path) -> InvalidAnswer:
    return InvalidAnswer(f"{target} exists and is not a file of grades; choose another.")


def _id_of(line: bytes) -> str | None:
    """The id of a row that was written before; None when the line is something else."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return str(row["id"]) if isinstance(row, dict) and "id" in row and ("outcome" in row or "error" in row) else None


class JsonlSink:
    """A line a row, flushed at once; half a line left by a crash is cut off."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.done: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self.target.touch()
        whole = 0
        with self.target.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n") and line[: len(ROW_START)] == ROW_START[: len(line)]:
                    break
                if (name := _id_of(line)) is None:
                    raise _not_grades(self.target)
                self.done[name] += 1
                whole += len(line)
        self._file = self.target.open("r+b")
        self._file.truncate(whole)
        self._file.seek(whole)
        return self

    def write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        self._file.flush()

    def __exit__(self, *failure: object) -> None:
        self._file.close()


class CsvSink:
    """A header and a line a row; nested parts are JSON in their cell. Half a line left by a crash is cut off."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.done: Counter[str] = Counter()

    def __enter__(self) -> Self:
        new = not self.target.exists() or self.target.stat().st_size == 0
        if not new:
            self.done = self._cut_and_read()
        self._file = self.target.open("a", encoding="utf-8", newline="", errors="replace")
        self._writer = csv.DictWriter(self._file, (*SCALARS, *NESTED))
        if new:
            self._writer.writeheader()
        return self

    def _cut_and_read(self) -> Counter[str]:
        raw = self.target.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        reader = _csv_reader(io.StringIO(whole.decode("utf-8", "replace"), newline=""))
        if tuple(reader.fieldnames or ()) != (*SCALARS, *NESTED):
            raise _not_grades(self.target)
        done = Counter(row["id"] for row in reader)
        if len(whole) < len(raw):
            os.truncate(self.target, len(whole))
        return done

    def write(self, row: dict[str, Any]) -> None:
        self._writer.writerow(to_cells(row))
        self._file.flush()

    def __exit__(self, *failure: object) -> None:
        self._file.close()


class ParquetSink:
    """Rows go to a JSONL file beside the target first; the Parquet file is made from it when all are there."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self._rows = JsonlSink(target.with_name(target.name + ".partial.jsonl"))

    @property
    def done(self) -> Counter[str]:
        return self._rows.done

    def __enter__(self) -> Self:
        _parquet()
        if self.target.exists():
            raise InvalidAnswer(f"{self.target} exists and is complete; remove it to grade anew.")
        self._rows.__enter__()
        return self

    def write(self, row: dict[str, Any]) -> None:
        self._rows.write(row)

    def __exit__(self, *failure: object) -> None:
        self._rows.__exit__()
        if failure[0] is not None:
            return
        import pyarrow

        with self._rows.target.open(encoding="utf-8") as file:
            cells = [to_cells(json.loads(line)) for line in file]
        kinds = [(n, pyarrow.float64() if n in {"score", "max_score", "similarity", "coverage"} else pyarrow.string())
                 for n in (*SCALARS, *NESTED)]  # fmt: skip
        table = pyarrow.Table.from_pylist(cells, schema=pyarrow.schema(kinds))
        _parquet().write_table(table, self.target)
        self._rows.target.unlink()


def to_cells(row: dict[str, Any]) -> dict[str, Any]:
    """A row of an output table: nested parts as JSON, what is missing as None."""
    nested = {name: json.dumps(row[name], ensure_ascii=False) for name in NESTED if row.get(name) is not None}
    return {**dict.fromkeys((*SCALARS, *NESTED)), **{name: row.get(name) for name in SCALARS}, **nested}
