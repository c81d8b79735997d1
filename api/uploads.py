"""What a batch request holds: answers as JSON, or a file of them (JSON lines or CSV) as people and programs save it.

A JSON body is written by a program, so a field that does not fit refuses it as a whole. A file is written by people: a row
that cannot be read becomes a result that says why, in its place among the others.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, ValidationError, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler

from api.errors import Refused
from api.grading import Candidate
from api.store.jobs import NewRow
from grader.assist import JudgeMode
from grader.batch import input_rows
from grader.errors import GraderError
from grader.schema import InlineQuestion

# By media type; the gate in front of the routes (api/limits.py) lets no other in.
SUFFIXES = {"application/x-ndjson": ".jsonl", "application/jsonl": ".jsonl", "text/csv": ".csv"}


class BatchAnswer(BaseModel):
    """One answer of a batch, and the question it answers: by id or inline."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        None, description="What the client calls this answer; comes back with its result."
    )
    question_id: Annotated[str, StringConstraints(min_length=1, max_length=80)] | None = None
    question: InlineQuestion | None = None
    answer: str
    candidate: Candidate | None = Field(None, description="Who wrote it, as the client calls them.")
    judge: JudgeMode | None = Field(
        None,
        description="As for one answer; with `required` the result says why there is no grade. Default: the batch's.",
    )

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if (self.question_id is None) == (self.question is None):
            raise ValueError("give either question_id or question, not both and not neither")
        return self

    def row(self, judge: JudgeMode | None = None) -> NewRow:
        """As a row of a job; `judge` where it names none itself."""
        fields = {"question_id", "question", "answer", "judge"}
        request = self.model_dump(mode="json", include=fields, exclude_none=True)
        if judge is not None:
            request.setdefault("judge", judge)
        return NewRow(request, self.id, self.candidate)


class BatchRequest(BaseModel):
    """Many answers."""

    model_config = ConfigDict(extra="forbid")

    answers: Annotated[list[BatchAnswer], Field(min_length=1)]
    store: bool = Field(
        True,
        description="false: nothing is kept but the results of a job, until it is deleted: a day after its end, or before.",
    )
    judge: JudgeMode | None = Field(
        None, description="For all answers: whether a language model settles what the offline judge is unsure of."
    )
    _file: bytes | None = PrivateAttr(None)

    @model_validator(mode="wrap")
    @classmethod
    def _or_a_file(cls, value: Any, handler: ModelWrapValidatorHandler[BatchRequest]) -> BatchRequest:
        """FastAPI hands a body that is not JSON over as bytes."""
        if not isinstance(value, bytes):
            return handler(value)
        made = cls.model_construct(answers=[], store=True)
        made._file = value
        return made

    def file(self) -> bytes | None:
        """The uploaded file, when the body was one."""
        return self._file


def rows_of(request: BatchRequest, content_type: str, most: int) -> list[NewRow]:
    """The rows of a request; raises Refused: 413 when there are more than `most`, 422 when there are none."""
    content = request.file()
    rows = _limited(
        (answer.row(request.judge) for answer in request.answers) if content is None else _read(content, content_type),
        most,
    )
    if not rows:
        raise Refused(422, "Empty file", "The file holds no answers; send a row for each, CSV with a header.")
    return rows


def _limited(rows: Iterator[NewRow], most: int) -> list[NewRow]:
    found: list[NewRow] = []
    for row in rows:
        if len(found) == most:
            raise Refused(
                413, "Too many answers", f"A batch may hold {most:,} answers; send the others in another one."
            )
        found.append(row)
    return found


def _read(content: bytes, content_type: str) -> Iterator[NewRow]:
    kind = content_type.split(";")[0].strip().lower()
    # grader.batch reads files, with every rule about damaged lines and cells; one reader is enough.
    with tempfile.TemporaryDirectory(prefix="grader-upload-") as folder:
        path = Path(folder) / f"answers{SUFFIXES[kind]}"
        path.write_bytes(content)
        try:
            for name, raw in input_rows(path):
                yield _row(name, raw)
        except GraderError as error:
            raise Refused(422, "Unreadable file", str(error).replace(str(path), "The file")) from None


def _row(name: str, raw: dict[str, Any] | GraderError) -> NewRow:
    name = name[:200]
    if isinstance(raw, GraderError):
        return NewRow({"problem": str(raw)}, name)
    try:
        known = {field: value for field, value in raw.items() if value is not None}
        return BatchAnswer.model_validate({**known, "id": name}).row()
    except ValidationError as error:
        parts = [f"{'.'.join(map(str, e['loc'])) or 'row'}: {e['msg']}" for e in error.errors(include_url=False)[:5]]
        return NewRow({"problem": "; ".join(parts)[:1000]}, name)
