"""The wall clock of the machine is set, hours ahead or back, while the service runs: over HTTP, on both databases.

Order, pages, repeats, keys and jobs must not suffer; rates, queues and time limits go by a clock that nobody can set.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.config import Settings
from api.store import keys
from grader.bank import load_bank
from grader.calibration import load_calibration
from grader.encoders.hashing import HashingEncoder
from grader.pipeline import Grader
from grader.schema import Grade

Json = dict[str, Any]
Start = Callable[..., TestClient]
BODY: Json = {"question_id": "zero-grad", "answer": "It clears .grad before backward adds new ones."}
JUMPS = (-5, 11, -26, 3)  # hours
ENOUGH = 90.0  # seconds


class JumpingClock:
    """Runs as time does, and can be set."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def jump(self, hours: float) -> None:
        self.ahead += timedelta(hours=hours)


class GatedGrader(Grader):
    """Says when a grade begins, and ends it when it is let."""

    def __init__(self) -> None:
        super().__init__(load_bank(), HashingEncoder(), load_calibration())
        self.begun = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)

    def grade(self, *arguments: Any, **named: Any) -> Grade:
        self.begun.release()
        assert self.gate.acquire(timeout=ENOUGH)
        return super().grade(*arguments, **named)


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
def start(url: str, clock: JumpingClock, fast_grader: Grader) -> Iterator[Start]:
    """Starts services on one database and one clock."""
    with ExitStack() as stack:

        def run(grader: Grader = fast_grader, **settings: Any) -> TestClient:
            app = create_app(Settings(database=url, **settings), load=lambda: grader, clock=clock)
            client = stack.enter_context(TestClient(app))
            assert app.state.grading.wait(ENOUGH)
            return client

        yield run


def send(client: TestClient, key: str | None = None, **body: Any) -> Json:
    headers = {"idempotency-key": key} if key else {}
    response = client.post("/v1/grades", json=BODY | body, headers=headers)
    assert response.status_code == 200, response.text
    found: Json = response.json()
    return found


def listed(client: TestClient, **wanted: Any) -> list[str]:
    """Ids of all grades, page by page."""
    found: list[str] = []
    cursor = None
    while True:
        page = client.get("/v1/grades", params={"limit": 2, **wanted} | ({"cursor": cursor} if cursor else {})).json()
        found += [one["id"] for one in page["grades"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def test_lists_and_pages_are_in_the_order_of_arrival(start: Start, clock: JumpingClock) -> None:
    client = start()
    sent = [send(client)["id"]]
    for hours in JUMPS:
        clock.jump(hours)
        sent += [send(client)["id"], send(client)["id"]]
    assert listed(client) == sent[::-1]

    first = client.get("/v1/grades", params={"limit": 4}).json()
    clock.jump(-48)
    newer = send(client)["id"]  # dated before everything, but behind the reader's back
    rest = client.get("/v1/grades", params={"limit": 200, "cursor": first["next_cursor"]}).json()
    assert [one["id"] for one in (*first["grades"], *rest["grades"])] == sent[::-1]
    assert listed(client)[0] == newer


def test_the_history_of_a_grade_is_in_the_order_of_what_happened(start: Start, clock: JumpingClock) -> None:
    client = start()
    ids = [send(client)["id"]]
    for number, hours in enumerate(JUMPS):
        clock.jump(hours)
        made = client.post(f"/v1/grades/{ids[-1]}/override", json={"reason": f"Number {number}.", "score": number})
        assert made.status_code == 201
        ids.append(made.json()["after"]["id"])
    history = client.get(f"/v1/grades/{ids[0]}/history").json()["grades"]
    assert [one["id"] for one in history] == ids
    assert listed(client) == [ids[-1]]


def test_a_key_gets_the_first_grade_whatever_the_clock_says(start: Start, clock: JumpingClock) -> None:
    client = start()
    first = send(client, "once")
    for hours in JUMPS:
        clock.jump(hours)
        assert send(client, "once") == first
    assert listed(client) == [first["id"]]


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_clock_that_is_set_in_mid_work_leaves_one_grade(start: Start, clock: JumpingClock, hours: float) -> None:
    """The lease of the first looks as if it had ended, so an equal request begins as well: one of them is kept."""
    grader = GatedGrader()
    client = start(grader, grading_slots=4)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(send, client, "once")
        assert grader.begun.acquire(timeout=ENOUGH)
        clock.jump(hours)
        second = pool.submit(send, client, "once")
        assert grader.begun.acquire(timeout=ENOUGH)
        for _ in range(4):
            grader.gate.release()
        assert first.result(ENOUGH) == second.result(ENOUGH)
    assert listed(client, history=True) == [first.result()["id"]]


def test_a_key_ends_by_the_clock_and_is_valid_again_when_the_clock_is_put_right(
    start: Start, clock: JumpingClock
) -> None:
    client = start()
    store = client.app.state.stores.open()  # type: ignore[attr-defined]
    with store.write() as tx:
        key, text = keys.create(tx, "tool", "admin", expires_at=tx.now + timedelta(hours=2))
    sent = {"authorization": f"Bearer {text}"}

    def status() -> int:
        return int(client.get("/v1/grades", headers=sent).status_code)

    assert status() == 200
    for hours, expected in ((-5, 200), (5, 200), (3, 401), (-3, 200)):
        clock.jump(hours)
        assert status() == expected
        assert client.get("/v1/grades").status_code == 401  # a key that has ended opens the service to nobody
    with store.write() as tx:
        keys.revoke(tx, key.id)
    clock.jump(-30)
    assert status() == 401  # before it was revoked, by the clock


def test_rates_do_not_go_by_that_clock(start: Start, clock: JumpingClock) -> None:
    client = start(rate_per_key=1)
    with client.app.state.stores.open().write() as tx:  # type: ignore[attr-defined]
        _, text = keys.create(tx, "tool", "admin")
    sent = {"authorization": f"Bearer {text}"}
    assert client.get("/v1/questions", headers=sent).status_code == 200
    clock.jump(24)
    refused = client.get("/v1/questions", headers=sent)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60


def test_a_job_goes_on_and_grades_every_row_once(start: Start, clock: JumpingClock) -> None:
    """Two services work on one database; after each jump the lease of the one looks ended to the other."""
    client, _other = start(job_lease_seconds=5), start(job_lease_seconds=5)
    rows = [BODY | {"id": f"row-{number}"} for number in range(90)]
    job = client.post("/v1/grades/batch", json={"answers": rows}).json()["id"]
    graded, jumps, end = 0, iter(JUMPS * 50), time.monotonic() + ENOUGH
    while True:
        found = client.get(f"/v1/jobs/{job}").json()
        assert found["total"] == len(rows) == found["pending"] + found["graded"]
        assert found["graded"] >= graded  # progress never goes back
        if found["state"] == "done":
            break
        assert time.monotonic() < end, found
        if found["graded"] > graded:
            clock.jump(next(jumps))
        graded = found["graded"]
        time.sleep(0.02)
    results = client.get(f"/v1/jobs/{job}/results", params={"format": "csv"}).text.splitlines()[1:]
    names, ids = zip(*(line.split(",")[:2] for line in results), strict=True)
    assert list(names) == [row["id"] for row in rows]
    assert len(set(ids)) == len(rows)
    assert sorted(listed(client, limit=200)) == sorted(ids)
