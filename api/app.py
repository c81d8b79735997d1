"""The application: routes, limits and the grader, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from api import errors
from api.auth import BEARER, Authentication
from api.config import Settings
from api.jobs import Backlog, JobWorker
from api.limits import RequestLimits, ResponseDeadline
from api.logging import RequestLog
from api.metrics import Metrics
from api.queue import GradingQueue
from api.rates import RateLimit, address_of, key_of
from api.routes import batch, grades, health, jobs, people, questions, reviews
from api.security import HeadAsGet, SameSiteOnly, SecurityHeaders
from api.state import GraderState, StoreState
from api.store.engine import utc_now
from api.texts import SHIPPED
from api.tracing import SILENT, Tracing
from api.upkeep import Upkeep
from api.web import pages
from grader import __version__
from grader.library import Library
from grader.llm import load_assistant
from grader.pipeline import Grader
from grader.texts import Languages

DESCRIPTION = """Grades free-text answers to open questions: offline, the same every time, and with the words behind
every point. Errors are problem+json (RFC 9457). Offsets are half-open code points into the answer as it was sent."""


def create_app(
    settings: Settings | None = None,
    load: Callable[[], Grader | Library] | None = None,
    clock: Callable[[], datetime] = utc_now,
    languages: Languages = SHIPPED,
) -> FastAPI:
    """The ASGI app. `load` makes the grader, or those of several banks (default: from the settings), in the background.

    `clock` is what everything that is kept is dated by; whatever is measured goes by a clock that nobody can set.
    `languages` are those that pages can be read in.
    """
    chosen = settings or Settings()

    def load_from_settings() -> Library:
        return Library.load(
            chosen.bank,
            encoder=chosen.encoder,
            device=chosen.device,
            cache_folder=chosen.cache_folder,
            max_answer_chars=chosen.max_answer_chars,
            assistant=load_assistant(chosen.llm()),
        )

    tracing = Tracing(chosen.otlp_endpoint) if chosen.otlp_endpoint else None
    metrics = Metrics(tracing)
    state = GraderState(load or load_from_settings, metrics)
    stores = StoreState(chosen.database, clock)
    queue = GradingQueue(chosen.grading_slots, chosen.queue_length, chosen.queue_seconds, metrics)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        store = await run_in_threadpool(stores.open)
        state.start()
        upkeep = Upkeep(store, chosen.retention_days, grading=state)
        upkeep.start()
        worker = app.state.jobs = JobWorker(stores, state, metrics, timedelta(seconds=chosen.job_lease_seconds))
        worker.start()
        yield
        await run_in_threadpool(worker.stop)
        await run_in_threadpool(upkeep.stop)
        await run_in_threadpool(state.close)
        stores.close()
        if tracing is not None:
            await run_in_threadpool(tracing.close)

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
        responses=errors.responses(408, 429, 503),
        telemetry=tracing.config if tracing else SILENT,
    )
    app.state.settings = chosen
    app.state.grading = state
    app.state.stores = stores
    app.state.metrics = metrics
    app.state.queue = queue
    app.state.backlog = Backlog(chosen.max_waiting_rows_per_key, chosen.max_waiting_rows, metrics)
    app.state.languages = languages
    app.state.jobs = None
    errors.install(app, pages.error_page)
    app.include_router(health.router)
    for router in (questions.router, batch.router, grades.router, jobs.router, reviews.router, people.router):
        app.include_router(router, dependencies=[Depends(BEARER)], responses=errors.responses(401, 403))
    pages.install(app)
    _add_middleware(app, chosen, metrics, stores)
    return app


def _add_middleware(app: FastAPI, settings: Settings, metrics: Metrics, stores: StoreState) -> None:
    """What every request passes, from the inside out: the last one added is the first one met."""
    page = pages.error_page
    app.add_middleware(
        RequestLimits,
        page=page,
        max_body_bytes=settings.max_body_bytes,
        max_upload_bytes=settings.max_upload_bytes,
        patience=settings.body_seconds,
    )
    app.add_middleware(ResponseDeadline, page=page, seconds=settings.request_seconds)
    # Rates come before the body is read; that of an address also before a key is looked at, so that none can be guessed.
    if settings.rate_per_key:
        app.add_middleware(
            RateLimit, policy="key", per_minute=settings.rate_per_key, name_of=key_of, page=page, metrics=metrics
        )
    public = frozenset({("GET", "/metrics")} if settings.metrics_public else ())
    app.add_middleware(
        Authentication, store=stores.open, open_to_machine=settings.is_loopback, page=page, public=public
    )
    if settings.rate_per_address:
        app.add_middleware(
            RateLimit,
            policy="address",
            per_minute=settings.rate_per_address,
            name_of=address_of,
            page=page,
            metrics=metrics,
        )
    app.add_middleware(SameSiteOnly, page=page, allowed_origins=settings.cors_origins)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization", "content-type", "idempotency-key", "x-request-id"],
            expose_headers=["location", "retry-after", "ratelimit", "ratelimit-policy", "x-request-id"],
        )
    app.add_middleware(HeadAsGet)
    app.add_middleware(RequestLog, page=page, metrics=metrics)
    app.add_middleware(SecurityHeaders)
