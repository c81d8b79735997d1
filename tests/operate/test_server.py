"""The real command: slow and silent clients, what is not HTTP, SIGTERM with work in hand, kill -9 in the middle of a job."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

Serve = Callable[..., Any]
GOOD = "backward() adds to .grad instead of overwriting it, so zero_grad() clears the old gradients first."


def connect(address: str) -> socket.socket:
    place = urlsplit(address)
    assert place.hostname and place.port
    return socket.create_connection((place.hostname, place.port), timeout=30)


def until_closed(connection: socket.socket) -> tuple[bytes, float]:
    """What is still sent, and how many seconds it took until the other side closed the connection."""
    begun, received = time.monotonic(), b""
    while chunk := connection.recv(65_536):
        received += chunk
    return received, time.monotonic() - begun


def test_slow_and_silent_clients_are_cut_off_and_what_is_not_http_gets_a_problem(serve: Serve) -> None:
    running = serve(GRADER_IDLE_SECONDS="1", GRADER_BODY_SECONDS="1")
    host = urlsplit(running.address).netloc
    head = f"POST /v1/grades HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    # silent; half a header; a second request that does not end on a connection that was fine
    for sent in (b"", head.encode(), f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\nGET /hea".encode()):
        with connect(running.address) as connection:
            connection.sendall(sent)
            received, seconds = until_closed(connection)
            assert (b"200 OK" in received) is (b"healthz" in sent)
            assert 0.5 < seconds < 15
    with connect(running.address) as connection:  # a body that does not come
        connection.sendall(f'{head}Content-Length: 500\r\n\r\n{{"answer": "'.encode())
        received, _ = until_closed(connection)
        assert b" 408 " in received
        assert b"application/problem+json" in received
    with connect(running.address) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS\r\n\r\n")
        received, _ = until_closed(connection)
        top, _, content = received.partition(b"\r\n\r\n")
        assert top.startswith(b"HTTP/1.1 400")
        assert b"application/problem+json" in top
        assert json.loads(content)["title"] == "Not HTTP"
        sent_id = re.search(rb"\r\nx-request-id: (req_[0-9a-f]+)", top)
        assert sent_id
        assert f'"request_id": "{sent_id[1].decode()}"' in "\n".join(running.lines())
    assert httpx.get(f"{running.address}/healthz").status_code == 200


def test_sigterm_lets_a_balancer_know_and_finishes_what_is_in_hand(serve: Serve) -> None:
    running = serve(GRADER_DRAIN_SECONDS="2")
    answers = [{"question_id": "zero-grad", "answer": f"{GOOD} {n}"} for n in range(64)]
    found: list[int] = []
    with httpx.Client(base_url=running.address, timeout=60) as client:

        def work() -> None:
            found.append(client.post("/v1/grades/batch", json={"answers": answers}).status_code)

        assert client.get("/readyz").status_code == 200
        running.stop()
        time.sleep(0.5)
        ready = httpx.get(f"{running.address}/readyz")
        assert ready.status_code == 503
        assert "stop" in ready.json()["detail"]
        thread = threading.Thread(target=work)  # begins while it drains, ends when it no longer listens
        time.sleep(1)
        thread.start()
        assert running.ended(60) in {0, -signal.SIGTERM}
        thread.join(60)
    assert found == [200]
    events = [json.loads(line) for line in running.lines() if line.startswith("{")]
    assert "draining" in [event["event"] for event in events]
    assert not [event for event in events if event["level"] in {"error", "critical"}]


@pytest.mark.parametrize("kills", [3])
def test_a_job_survives_kill_9_and_grades_every_row_once(serve: Serve, client: httpx.Client, kills: int) -> None:
    rows = 150
    content = "\n".join(
        json.dumps({"id": f"a-{n}", "question_id": "zero-grad", "answer": f"{GOOD} Number {n}."}) for n in range(rows)
    )
    lease = {"GRADER_JOB_LEASE_SECONDS": "2"}
    running = serve(**lease)
    headers = {"content-type": "application/x-ndjson"}
    sent = client.post(f"{running.address}/v1/grades/batch", content=content, headers=headers)
    assert sent.status_code == 202
    job = sent.json()["id"]
    seen: dict[str, str] = {}
    for _ in range(kills):
        progress(client, running.address, job, at_least=len(seen) + 5)
        seen |= results(client, running.address, job)
        assert len(seen) < rows  # the kill meets a job that is not done
        running.stop(signal.SIGKILL)
        running.ended()
        running = serve(**lease)
        after = results(client, running.address, job)
        assert after.items() >= seen.items()  # what was read before the kill is there, under the same id
        seen = after
    progress(client, running.address, job, at_least=rows, limit=180)
    whole = results(client, running.address, job)
    assert sorted(whole) == sorted(f"a-{n}" for n in range(rows))
    assert len(set(whole.values())) == rows
    assert whole.items() >= seen.items()
    assert count_of_grades(client, running.address) == rows


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """One for all requests of a test: to make one reads the certificates of the world, which takes longer than a grade."""
    with httpx.Client(timeout=60) as opened:
        yield opened


def results(client: httpx.Client, address: str, job: str) -> dict[str, str]:
    """Row id -> grade id of what is settled."""
    text = client.get(f"{address}/v1/jobs/{job}/results").text
    return {row["id"]: row["grade_id"] for row in map(json.loads, text.splitlines())}


def progress(client: httpx.Client, address: str, job: str, at_least: int, limit: float = 90) -> None:
    """Waits until so many rows are graded."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        found = client.get(f"{address}/v1/jobs/{job}").json()
        assert found["failed"] == 0
        if found["graded"] >= min(at_least, found["total"]):
            return
        time.sleep(0.05)
    raise TimeoutError(found)


def count_of_grades(client: httpx.Client, address: str) -> int:
    """All stored grades, page by page."""
    count, cursor = 0, None
    while True:
        params = {"limit": 100} | ({"cursor": cursor} if cursor else {})
        page = client.get(f"{address}/v1/grades", params=params).json()
        count += len(page["grades"])
        cursor = page.get("next_cursor") or page.get("next")
        if not cursor:
            return count


def test_the_log_of_the_command_is_json(serve: Serve) -> None:
    running = serve()
    assert httpx.get(f"{running.address}/v1/questions").status_code == 200
    running.stop()
    running.ended()
    for line in running.lines():
        event = json.loads(line)
        assert {"event", "level", "timestamp", "logger"} <= set(event)
    assert re.search(r'"route": "/v1/questions"', "\n".join(running.lines()))
