"""Is it alive, can it grade, and how is it doing?"""

from __future__ import annotations

from contextlib import suppress
from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from api.errors import NotReady, responses
from api.metrics import Metrics
from api.state import GraderState, LoadedGrader, StoreState
from api.store import StoreError, jobs

router = APIRouter(tags=["operate"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Model and banks are loaded and warm."""

    status: Literal["ready"] = "ready"
    questions: int = Field(description="How many questions there are in all banks.")
    provenance: dict[str, str | None] = Field(
        description="What grades of the first bank are made with; `llm` names the language model, where one is configured."
    )
    banks: list[dict[str, str | None]] = Field(description="The same for every bank.")


@router.get("/healthz")
async def healthz() -> Alive:
    """200 as long as the process answers."""
    return Alive()


@router.get("/readyz", responses=responses(503))
async def readyz(request: Request, grader: LoadedGrader) -> Ready:
    """200 once model and banks are loaded and warm; 503 before, when they cannot be, and once the service is to stop."""
    state: GraderState = request.app.state.grading
    if state.draining:
        raise NotReady("The service is about to stop; send new work elsewhere.", retry_after=None)
    llm = {"llm": grader.assistant.model if grader.assistant else None}
    versions = [one.versions().model_dump(exclude={"rubric"}) | llm for one in grader.graders]
    return Ready(questions=len(grader.questions), provenance=versions[0], banks=versions)


@router.get(
    "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}, **responses(401, 403)}
)
async def metrics(request: Request) -> Response:
    """Figures in Prometheus' text format. They hold no text, no ids and no names."""
    figures: Metrics = request.app.state.metrics
    with suppress(StoreError):  # all other figures are there without the database
        figures.job_rows_waiting.set(await run_in_threadpool(_waiting, request.app.state.stores))
    return Response(figures.text(), media_type=CONTENT_TYPE_LATEST)


def _waiting(stores: StoreState) -> int:
    with stores.open().read() as tx:
        return jobs.waiting(tx)
