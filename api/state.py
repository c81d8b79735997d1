"""What a running service has one of: its graders, loaded in the background, and the store; shared by all requests."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from api.errors import NotReady
from api.metrics import Metrics
from api.store import Store
from api.store.engine import utc_now
from api.texts import say
from grader.errors import GraderError
from grader.library import Library
from grader.pipeline import Grader

logger = logging.getLogger("api")


class GraderState:
    """Loads the graders once, in a thread, and hands them out when all are warm. `failure` says why they never will be."""

    def __init__(self, load: Callable[[], Grader | Library], metrics: Metrics) -> None:
        self._load = load
        self._metrics = metrics
        self._grader: Library | None = None
        self._done = threading.Event()
        self.failure: str | None = None
        self.draining = False
        self.progress = (0, 0)

    def start(self) -> None:
        """Begins to load; returns at once."""
        threading.Thread(target=self._run, name="load-grader", daemon=True).start()

    def wait(self, timeout: float | None = None) -> bool:
        """Whether loading ended, well or badly, within `timeout` seconds."""
        return self._done.wait(timeout)

    @property
    def ready(self) -> bool:
        return self._grader is not None

    def close(self) -> None:
        """Lets go of what the grader holds open outside of itself: the connections of a language model."""
        if self._grader is not None and self._grader.assistant is not None:
            self._grader.assistant.close()

    def drain(self) -> None:
        """From now on /readyz says 503, so that a balancer sends new work elsewhere; what comes is still served."""
        self.draining = True
        self._metrics.ready.set(0)

    def grader(self) -> Library:
        """The warm graders; raises NotReady."""
        if self._grader is not None:
            return self._grader
        if self.failure is not None:
            raise NotReady(say("refused.start.failed", failure=self.failure), retry_after=None)
        done, total = self.progress
        raise NotReady(say("refused.start.not_yet", done=done, total=total), retry_after=2)

    def _run(self) -> None:
        try:
            loaded = self._load()
            grader = loaded if isinstance(loaded, Library) else Library([loaded])
            grader.warm(self._advance)
            self._metrics.watch(grader)
            self._grader = grader
            self._metrics.ready.set(1)
            logger.info("ready: %d questions of %s", len(grader.questions), ", ".join(b.version for b in grader.banks))
        except GraderError as error:
            self.failure = str(error)
            logger.error("cannot grade: %s", error)
        except Exception as error:
            self.failure = say("refused.start.crashed", kind=type(error).__name__)
            logger.exception("loading failed")
        finally:
            self._done.set()

    def _advance(self, done: int, total: int) -> None:
        self.progress = (done, total)


async def get_grader(request: Request) -> Library:
    """Dependency: the warm graders of this app."""
    state: GraderState = request.app.state.grading
    return state.grader()


LoadedGrader = Annotated[Library, Depends(get_grader)]


class StoreState:
    """Opens the store once, at the first use: to make an app touches no file."""

    def __init__(self, url: str | None, clock: Callable[[], datetime] = utc_now) -> None:
        self._url = url
        self._clock = clock
        self._store: Store | None = None
        self._lock = threading.Lock()

    def open(self) -> Store:
        """The store; raises StoreError. Blocks, so call it off the event loop."""
        with self._lock:
            if self._store is None:
                self._store = Store.open(self._url, clock=self._clock)
            return self._store

    def close(self) -> None:
        """Gives the connections back; the next use opens it again."""
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None


async def get_store(request: Request) -> Store:
    """Dependency: the store of this app."""
    state: StoreState = request.app.state.stores
    return state.open()


OpenStore = Annotated[Store, Depends(get_store)]
