"""The line in front of the grader: who is let in, who waits, who is sent away at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.config import Settings
from api.errors import Refused
from api.metrics import Metrics
from api.queue import GradingQueue
from api.routes.grades import GradeRequest
from api.store import idempotency
from grader.bank import load_bank
from grader.calibration import load_calibration
from grader.encoders.hashing import HashingEncoder
from grader.pipeline import Grader
from grader.schema import Grade
from tests.conftest import serving

MakeService = Callable[..., TestClient]
ANSWER = {"question_id": "zero-grad", "answer": "It clears the old gradients before backward adds the new ones."}


def test_places_are_given_in_order_and_the_rest_refused_at_once() -> None:
    async def scenario() -> tuple[list[int], list[Refused], GradingQueue]:
        queue = GradingQueue(running=1, waiting=2, patience=60, metrics=Metrics())
        order: list[int] = []
        leave = asyncio.Event()

        async def one(number: int) -> None:
            async with queue.place():
                order.append(number)
                await leave.wait()

        tasks = []
        for number in range(5):
            tasks.append(asyncio.ensure_future(one(number)))
            await asyncio.sleep(0)
        assert (queue.in_hand, queue.in_line) == (1, 2)
        leave.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        return order, [one for one in results if isinstance(one, Refused)], queue

    order, refused, queue = asyncio.run(scenario())
    assert order == [0, 1, 2]
    assert [(one.status, (one.retry_after or 0) >= 1) for one in refused] == [(429, True)] * 2
    assert (queue.in_hand, queue.in_line) == (0, 0)


def test_nobody_waits_longer_than_the_patience() -> None:
    async def scenario() -> GradingQueue:
        queue = GradingQueue(running=1, waiting=5, patience=0.05, metrics=Metrics())
        async with queue.place():
            with pytest.raises(Refused, match="the answer waited"):
                async with queue.place():
                    raise AssertionError("there is one place only")
        async with queue.place():  # the one who gave up has taken no place with them
            pass
        return queue

    queue = asyncio.run(scenario())
    assert (queue.in_hand, queue.in_line) == (0, 0)


def test_who_leaves_while_waiting_leaves_the_line() -> None:
    async def scenario() -> GradingQueue:
        queue = GradingQueue(running=1, waiting=5, patience=60, metrics=Metrics())

        async def one() -> None:
            async with queue.place():
                pass

        async with queue.place():
            task = asyncio.ensure_future(one())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert queue.in_line == 0
        return queue

    assert asyncio.run(scenario()).in_hand == 0


class GatedGrader(Grader):
    """Grades when it is let."""

    def __init__(self) -> None:
        super().__init__(load_bank(), HashingEncoder(), load_calibration())
        self.gate = threading.Event()
        self.busy = threading.Semaphore(0)

    def grade(self, *arguments: object, **named: object) -> Grade:  # type: ignore[override]
        self.busy.release()
        assert self.gate.wait(60)
        return super().grade(*arguments, **named)  # type: ignore[arg-type]


def test_overload_gets_429_and_everyone_who_was_let_in_a_grade(service: MakeService) -> None:
    grader = GatedGrader()
    client = service(grader=grader, grading_slots=1, queue_length=2)
    with ThreadPoolExecutor(12) as pool:
        sent = [pool.submit(client.post, "/v1/grades", json=ANSWER) for _ in range(12)]
        assert grader.busy.acquire(timeout=60)
        while sum(one.done() for one in sent) < 9:  # 1 in hand, 2 in line, 9 refused
            assert not grader.busy.acquire(timeout=0.02)
        assert client.get("/healthz").status_code == 200
        metrics = client.get("/metrics").text
        grader.gate.set()
        found = [one.result() for one in sent]
    assert sorted(one.status_code for one in found) == [200] * 3 + [429] * 9
    assert {one.headers.get("retry-after") is not None for one in found if one.status_code == 429} == {True}
    scores = {one.json()["score"] for one in found if one.status_code == 200}
    assert len(scores) == 1
    for line in ("grader_queue_running 1.0", "grader_queue_waiting 2.0", 'grader_refused_total{reason="queue"} 9.0'):
        assert line in metrics
    assert client.post("/v1/grades", json=ANSWER).status_code == 200


def test_a_request_that_takes_too_long_is_answered_and_keeps_its_place(tmp_path: Path) -> None:
    """On a real server: the client in this process gives a response only once the service is through with a request."""
    grader = GatedGrader()
    settings = Settings(database=f"sqlite:///{tmp_path}/grades.db", grading_slots=1, queue_length=0, request_seconds=1)
    app = create_app(settings, load=lambda: grader)
    with serving(app) as address, httpx.Client(base_url=address, timeout=30) as client:
        try:
            late = client.post("/v1/grades", json=ANSWER)
            next_one = client.post("/v1/grades", json=ANSWER)
        finally:
            grader.gate.set()  # or the service would wait for the grade before it stops
    assert late.status_code == 503
    assert late.json()["title"] == "Timed out"
    assert late.headers["retry-after"] == "5"
    assert next_one.status_code == 429


def test_who_waits_for_an_equal_request_takes_no_place(service: MakeService) -> None:
    """A process that was killed in the middle leaves keys that nobody works for; their clients all come back."""
    client = service(grading_slots=1, queue_length=0)
    store = client.app.state.stores.open()  # type: ignore[attr-defined]
    keys = [f"key-{number}" for number in range(6)]
    with store.write() as tx:
        mark = idempotency.fingerprint(GradeRequest.model_validate(ANSWER).model_dump(mode="json"))
        dead = [idempotency.claim(tx, "", key, mark) for key in keys]
    with ThreadPoolExecutor(len(keys)) as pool:
        sent = [
            pool.submit(client.post, "/v1/grades", json=ANSWER, headers={"idempotency-key": key}) for key in keys[1:]
        ]
        for number in range(5):
            assert client.post("/v1/grades", json=ANSWER, headers={"idempotency-key": f"n-{number}"}).status_code == 200
        assert not any(one.done() for one in sent)
        with store.write() as tx:
            idempotency.release(tx, "", keys[1], dead[1])
        assert sent[0].result().status_code == 200
        for key, claim in zip(keys, dead, strict=True):
            with store.write() as tx:
                idempotency.release(tx, "", key, claim)
        # All at once now, with one place and no line: some are sent away, and none is told that it is still in work.
        assert {one.result().status_code for one in sent} <= {200, 429}
