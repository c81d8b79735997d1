"""What a person may ask of whoever keeps their answers: all of it as JSON, and the end of it. And the log of who did what."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from starlette.convertors import Convertor, register_url_convertor

from api.access import CurrentCaller
from api.errors import responses
from api.state import OpenStore
from api.store import candidates, events

router = APIRouter(prefix="/v1", tags=["people"])


class AnyReference(Convertor[str]):
    """Part of an address that may hold anything: who was named with a slash or a line break before must still be found."""

    regex = "(?s:.+)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("reference", AnyReference())
InPath = Annotated[
    str,
    Path(min_length=1, max_length=200, description="The reference that was sent with the answers.", examples=["a-17"]),
]


class CandidateExport(BaseModel):
    """Everything that is kept about one candidate."""

    candidate: str
    exported_at: datetime
    answers: list[dict[str, Any]] = Field(description="Answers with all their grades, reviews included.")
    job_rows: list[dict[str, Any]] = Field(description="Their rows of jobs.")


class Erased(BaseModel):
    """How many records are gone."""

    answers: int
    grades: int
    job_rows: int


class Event(BaseModel):
    """One thing that was done."""

    at: datetime
    actor: str = Field(description="Id of the key, `local`, `command line` or `retention`.")
    action: str
    subject: str | None = Field(description="Id of what it was done to.")
    details: dict[str, Any]


class Events(BaseModel):
    """What was done, newest first."""

    events: list[Event]


@router.get("/candidates/{candidate:reference}", responses=responses(401, 403, 404, 422))
def export_candidate(candidate: InPath, store: OpenStore, caller: CurrentCaller) -> CandidateExport:
    """Everything that is kept about one candidate."""
    with store.write() as tx:  # a write, because who took it out is noted
        found = candidates.export(tx, candidate)
        events.add(tx, caller.actor, "candidate.exported", answers=len(found["answers"]))
    return CandidateExport.model_validate(found)


@router.delete("/candidates/{candidate:reference}", responses=responses(401, 403, 404, 422))
def erase_candidate(candidate: InPath, store: OpenStore, caller: CurrentCaller) -> Erased:
    """Delete everything that is kept about one candidate, for good."""
    with store.write() as tx:
        erased = candidates.erase(tx, candidate, caller.actor)
    store.empty_log()
    return Erased.model_validate(erased, from_attributes=True)


@router.get("/events", responses=responses(401, 403, 422))
def list_events(store: OpenStore, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Events:
    """Who did what and when, newest first: reviews, erasures, exports, keys, jobs."""
    with store.read() as tx:
        found = events.latest(tx, limit=limit)
    return Events.model_validate({"events": found}, from_attributes=True)
