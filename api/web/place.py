"""A place in the grading line for pages: when there is none, the page says so and gives the answer back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated

from fastapi import Depends, Request

from api.errors import Refused, status_of
from api.queue import GradingQueue
from grader.errors import GraderError


async def _place_or_reason(request: Request) -> AsyncIterator[Refused | None]:
    queue: GradingQueue = request.app.state.queue
    async with AsyncExitStack() as held:
        refusal: Refused | None = None
        try:
            await held.enter_async_context(queue.place())
        except Refused as error:
            refusal = error
        yield refusal


# Why nothing can be graded now; None while this request holds its place. Left before the response is sent.
Refusal = Annotated[Refused | None, Depends(_place_or_reason, scope="function")]


def status_for(error: GraderError | Refused) -> int:
    """HTTP status of a form that comes back."""
    return error.status if isinstance(error, Refused) else status_of(error)[0]
