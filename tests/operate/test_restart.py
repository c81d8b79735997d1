"""PostgreSQL goes away and comes back while clients post grades: nobody is lied to, nothing is lost or there twice."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlalchemy import func, select

from api.store import Store
from api.store.tables import answers, grades, idempotency, job_rows
from benchmarks.postgres import Cluster

Serve = Callable[..., Any]
CLIENTS = 6
OUTAGES = 2
ROWS = 90  # more than are graded at once, so that they become a job
PATIENCE = 180.0  # seconds that one answer, or the job, may take on a busy machine
BODY = {"question_id": "zero-grad", "answer": "backward() adds to .grad, so zero_grad() clears it first."}


@dataclass
class Told:
    """What the clients were told; filled by many threads, each with keys of its own."""

    acknowledged: dict[str, str] = field(default_factory=dict)  # idempotency key -> grade id
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)


def problems_of(response: httpx.Response) -> Iterator[str]:
    """What is not as it should be about a response."""
    if response.status_code == 200:
        return
    told = f"{response.status_code} {response.text[:300]}"
    if response.status_code not in {429, 503}:
        yield f"unexpected: {told}"
    if response.headers.get("content-type") != "application/problem+json":
        yield f"no problem+json: {told}"
    if int(response.headers.get("retry-after", "0")) < 1:
        yield f"does not say when to come back: {told}"
    if response.status_code == 503 and "database" not in response.json()["detail"].lower():
        yield f"does not say what is wrong: {told}"


def send(address: str, told: Told, name: int) -> None:
    """One client: answer after answer, each sent again with its key until it is acknowledged."""
    try:
        with httpx.Client(base_url=address, timeout=60) as client:
            for number in itertools.count():
                if told.stop.is_set():
                    return
                key = f"client-{name}-{number}"
                told.acknowledged[key] = acknowledged(client, told, key)
                if number % 5 == 0 and acknowledged(client, told, key) != told.acknowledged[key]:
                    told.wrong.append(f"{key} got two grades")
    except (httpx.HTTPError, TimeoutError, ValueError) as error:  # a thread's error would be lost
        told.wrong.append(f"client {name}: {type(error).__name__}: {error}")


def acknowledged(client: httpx.Client, told: Told, key: str) -> str:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        response = client.post("/v1/grades", json=BODY | {"candidate": key}, headers={"idempotency-key": key})
        told.statuses[response.status_code] += 1
        told.wrong += problems_of(response)
        if response.status_code == 200:
            return str(response.json()["id"])
        time.sleep(0.1)
    raise TimeoutError(f"{key} was not acknowledged within {PATIENCE:.0f} s")


def until(happened: Callable[[], bool], told: Told) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert not told.wrong, told.wrong[:5]
        assert time.monotonic() < end, told.statuses
        time.sleep(0.05)


def test_postgresql_restarts_in_mid_load_and_no_grade_is_lost_or_there_twice(serve: Serve, postgres: Cluster) -> None:
    with postgres.database() as url:
        running = serve(GRADER_DATABASE=url, GRADER_JOB_LEASE_SECONDS="5")
        told = Told()
        with httpx.Client(base_url=running.address, timeout=60) as client:
            rows = [BODY | {"id": f"row-{number}"} for number in range(ROWS)]
            job = client.post("/v1/grades/batch", json={"answers": rows}).json()["id"]
            threads = [threading.Thread(target=send, args=(running.address, told, name)) for name in range(CLIENTS)]
            for thread in threads:
                thread.start()
            try:
                for _ in range(OUTAGES):
                    served, refused = told.statuses[200], told.statuses[503]
                    until(lambda served=served: told.statuses[200] >= served + 2 * CLIENTS, told)
                    postgres.stop("immediate")
                    try:
                        until(lambda refused=refused: told.statuses[503] >= refused + 2 * CLIENTS, told)
                        assert client.get("/healthz").status_code == 200
                    finally:
                        postgres.start()
                served = told.statuses[200]
                until(lambda: told.statuses[200] >= served + 2 * CLIENTS, told)
            finally:
                told.stop.set()
                for thread in threads:
                    thread.join(2 * PATIENCE)
            until(lambda: client.get(f"/v1/jobs/{job}").json()["state"] == "done", told)
        assert not told.wrong, told.wrong[:5]
        assert set(told.statuses) <= {200, 429, 503}
        assert_kept_once(url, told)
        events = "\n".join(running.lines())
        assert '"level": "critical"' not in events
        assert "Traceback" not in events


def assert_kept_once(url: str, told: Told) -> None:
    """Every acknowledged grade is there under its id, and there is nothing else but the rows of the job."""
    store = Store.open(url)
    with store.read() as tx:
        single = select(answers.c.candidate, grades.c.id).join(grades, grades.c.answer_id == answers.c.id)
        kept = [(row.candidate, row.id) for row in tx.execute(single.where(answers.c.candidate.is_not(None)))]
        settled = {row.key: row.grade_id for row in tx.execute(select(idempotency))}
        states = Counter(tx.execute(select(job_rows.c.state)).scalars())
        of_job = tx.execute(select(func.count(func.distinct(job_rows.c.grade_id)))).scalar_one()
        whole = tx.execute(select(func.count()).select_from(answers)).scalar_one()
    store.close()
    assert sorted(kept) == sorted(told.acknowledged.items())
    assert settled == told.acknowledged
    assert states == {"graded": ROWS}
    assert of_job == ROWS
    assert whole == len(kept) + ROWS
