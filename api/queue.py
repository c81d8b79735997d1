"""The line in front of the grader: so many grades at once, so many waiting, and 429 for the rest at once.

Refusing early keeps the waiting time of those who were let in bounded, and memory flat. The line belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from fastapi import Depends, Request

from api.errors import Refused
from api.metrics import Metrics
from api.texts import say

# Weight of the newest grade in the running mean of seconds per grade.
NEWEST = 0.1
FIRST_GUESS = 0.2  # seconds per grade, before one has been timed
LONGEST_RETRY = 60  # seconds


class GradingQueue:
    """At most `running` grades at once and `waiting` more in line, none of them longer than `patience` seconds."""

    def __init__(self, running: int, waiting: int, patience: float, metrics: Metrics) -> None:
        self.running = running
        self.waiting = waiting
        self.patience = patience
        self.metrics = metrics
        self.in_hand = 0
        self.in_line = 0
        self._mean = FIRST_GUESS
        self._places = asyncio.Semaphore(running)
        metrics.queue_running.set_function(lambda: self.in_hand)
        metrics.queue_waiting.set_function(lambda: self.in_line)

    @asynccontextmanager
    async def place(self, *, grades: bool = True) -> AsyncIterator[None]:
        """Waits for a place and holds it; raises Refused (429) when the line is full or does not move.

        `grades`: for a grade, whose time says how long those in line will wait.
        """
        if self._places.locked() and self.in_line >= self.waiting:
            raise self._refusal(say("refused.busy.full"))
        if not await self._waited(self.patience):
            raise self._refusal(say("refused.busy.waited", seconds=f"{self.patience:g}"))
        with self._held(grades):
            yield

    @asynccontextmanager
    async def another_place(self, patience: float) -> AsyncIterator[bool]:
        """A place for who was let in before, behind all who wait now; False, and none, when there was none in time."""
        if patience <= 0 or not await self._waited(patience):
            yield False
            return
        with self._held(True):
            yield True

    async def _waited(self, patience: float) -> bool:
        self.in_line += 1
        begun = time.monotonic()
        try:
            async with asyncio.timeout(patience):
                return await self._places.acquire()
        except TimeoutError:
            return False
        finally:
            self.in_line -= 1
            self.metrics.waited(time.monotonic() - begun)

    @contextmanager
    def _held(self, grades: bool) -> Iterator[None]:
        self.in_hand += 1
        begun = time.monotonic()
        try:
            yield
        finally:
            self.in_hand -= 1
            self._places.release()
            if grades:
                self._mean += NEWEST * (time.monotonic() - begun - self._mean)

    def _refusal(self, reason: str) -> Refused:
        self.metrics.refuse("queue")
        seconds = min(LONGEST_RETRY, max(1, math.ceil(self._mean * (self.in_line + self.in_hand) / self.running)))
        detail = say("refused.busy.why", reason=reason, seconds=seconds)
        return Refused(429, "Too busy", detail, retry_after=seconds)


async def _place(request: Request) -> AsyncIterator[None]:
    queue: GradingQueue = request.app.state.queue
    async with queue.place():
        yield


# Dependency of every route that grades. Left before the response is sent, so that a slow reader holds nobody up.
GradingPlace = Depends(_place, scope="function")
