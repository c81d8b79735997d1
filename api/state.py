"""The grader of a running service: loaded in the background, then shared by all requests."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request

from api.errors import NotReady
from grader.errors import GraderError
from grader.pipeline import Grader

logger = logging.getLogger("api")


class GraderState:
    """Loads a grader once, in a thread, and hands it out when it is warm. `failure` says why it never will be."""

    def __init__(self, load: Callable[[], Grader]) -> None:
        self._load = load
        self._grader: Grader | None = None
        self._done = threading.Event()
        self.failure: str | None = None
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

    def grader(self) -> Grader:
        """The warm grader; raises NotReady."""
        if self._grader is not None:
            return self._grader
        if self.failure is not None:
            raise NotReady(f"The service cannot grade: {self.failure}", retry_after=None)
        done, total = self.progress
        raise NotReady(f"The service is starting ({done} of {total} questions ready); try again soon.", retry_after=2)

    def _run(self) -> None:
        try:
            grader = self._load()
            grader.warm(self._advance)
            self._grader = grader
            logger.info("ready: %d questions of %s", len(grader.bank.questions), grader.bank.version)
        except GraderError as error:
            self.failure = str(error)
            logger.error("cannot grade: %s", error)
        except Exception as error:
            self.failure = f"{type(error).__name__} while loading; the log has the details"
            logger.exception("loading failed")
        finally:
            self._done.set()

    def _advance(self, done: int, total: int) -> None:
        self.progress = (done, total)


def get_grader(request: Request) -> Grader:
    """Dependency: the warm grader of this app."""
    state: GraderState = request.app.state.grading
    return state.grader()


LoadedGrader = Annotated[Grader, Depends(get_grader)]
