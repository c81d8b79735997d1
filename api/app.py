"""The application: routes, limits and the grader, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api import errors
from api.config import Settings
from api.limits import RequestLimits, SecurityHeaders
from api.routes import grades, health, questions
from api.state import GraderState
from api.web import pages
from grader import __version__
from grader.pipeline import Grader

DESCRIPTION = """Grades free-text answers to open questions: offline, the same every time, and with the words behind
every point. Errors are problem+json (RFC 9457). Offsets are half-open code points into the answer as it was sent."""


def create_app(settings: Settings | None = None, load: Callable[[], Grader] | None = None) -> FastAPI:
    """The ASGI app. `load` makes the grader (default: from the settings); it runs in the background after start."""
    chosen = settings or Settings()

    def load_from_settings() -> Grader:
        return Grader.load(
            chosen.bank,
            encoder=chosen.encoder,
            device=chosen.device,
            cache_folder=chosen.cache_folder,
            max_answer_chars=chosen.max_answer_chars,
        )

    state = GraderState(load or load_from_settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        state.start()
        yield

    app = FastAPI(
        title="answer-grader",
        version=__version__,
        summary="Grades free-text answers with evidence for every point.",
        description=DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
        # The usual documentation pages load scripts from elsewhere; ours is in web/pages.py and works offline.
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = chosen
    app.state.grading = state
    errors.install(app, pages.error_page)
    app.include_router(health.router)
    app.include_router(questions.router)
    app.include_router(grades.router)
    pages.install(app)
    app.add_middleware(RequestLimits, max_body_bytes=chosen.max_body_bytes, page=pages.error_page)
    app.add_middleware(SecurityHeaders)
    return app
