"""The line in front of the grader: so many grades at once, so many waiting, and 429 for the rest at once.

Refusing early keeps the waiting time of those who were let in bounded, and memory flat. The line belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
    async def place(self) -> AsyncIterator[None]:
        """Waits for a place and holds it; raises Refused (429) when the line is full or does not move."""
        await self._enter()
        begun = time.monotonic()
        try:
            yield
        finally:
            self.in_hand -= 1
            self._places.release()
            self._mean += NEWEST * (time.monotonic() - begun - self._mean)

    async def _enter(self) -> None:
        if self._places.locked() and self.in_line >= self.waiting:
            raise self._refusal(say("refused.busy.full"))
        self.in_line += 1
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self.patience):
                await self._places.acquire()
        except TimeoutError:
            raise self._refusal(say("refused.busy.waited", seconds=f"{self.patience:g}")) from None
        finally:
            self.in_line -= 1
            self.metrics.waited(time.monotonic() - begun)
        self.in_hand += 1

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
