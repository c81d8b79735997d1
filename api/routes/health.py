"""Is it alive, and can it grade?"""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from api.errors import responses
from api.state import LoadedGrader

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
def readyz(grader: LoadedGrader) -> Ready:
    """200 once model and bank are loaded and warm, 503 before and when they cannot be."""
    versions = grader.versions().model_dump(exclude={"rubric"})
    return Ready(questions=len(grader.bank.questions), provenance=versions)
