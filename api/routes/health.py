"""Is it alive, can it grade, and how is it doing?"""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from api.errors import NotReady, responses
from api.metrics import Metrics
from api.state import GraderState, LoadedGrader

router = APIRouter(tags=["operate"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Model and bank are loaded and warm."""

    status: Literal["ready"] = "ready"
    questions: int
    provenance: dict[str, str | None]


@router.get("/healthz")
async def healthz() -> Alive:
    """200 as long as the process answers."""
    return Alive()


@router.get("/readyz", responses=responses(503))
async def readyz(request: Request, grader: LoadedGrader) -> Ready:
    """200 once model and bank are loaded and warm; 503 before, when they cannot be, and once the service is to stop."""
    state: GraderState = request.app.state.grading
    if state.draining:
        raise NotReady("The service is about to stop; send new work elsewhere.", retry_after=None)
    versions = grader.versions().model_dump(exclude={"rubric"})
    return Ready(questions=len(grader.bank.questions), provenance=versions)


@router.get(
    "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}, **responses(401, 403)}
)
async def metrics(request: Request) -> Response:
    """Figures in Prometheus' text format. They hold no text, no ids and no names."""
    figures: Metrics = request.app.state.metrics
    return Response(figures.text(), media_type=CONTENT_TYPE_LATEST)
