"""The log: JSON a line, an id for every request, and nothing of what anybody wrote."""

from __future__ import annotations

import io
import json
import logging as std
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import httpx2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import IntegrityError

from api import logging
from api.app import create_app
from grader.bank import load_bank
from grader.calibration import load_calibration
from grader.encoders.hashing import HashingEncoder
from grader.errors import InvalidQuestion
from grader.judges.scripted import ScriptedJudge
from grader.pipeline import Grader
from grader.schema import Grade

MakeService = Callable[..., TestClient]
Json = dict[str, Any]
MARKER = "marker-93c1"


@pytest.fixture
def log() -> Iterator[Callable[[], list[Json]]]:
    """Everything that has been logged, as the operator's collector reads it."""
    root = std.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    logging.configure("debug", "json", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = before
    root.setLevel(level)


def of_requests(lines: list[Json]) -> list[Json]:
    return [line for line in lines if line["event"] == "request"]


def test_a_request_is_a_line_with_its_id(service: MakeService, log: Callable[[], list[Json]]) -> None:
    client = service()
    response = client.post("/v1/grades", json={"question_id": "zero-grad", "answer": f"It clears {MARKER}."})
    line = of_requests(log())[-1]
    assert line["request_id"] == response.headers["x-request-id"]
    assert (line["method"], line["route"], line["status"], line["level"]) == ("POST", "/v1/grades", 200, "info")
    assert 0 < line["milliseconds"] < 60_000
    assert line["timestamp"].endswith("Z")


def test_an_id_of_the_caller_is_taken_over_when_it_is_one(service: MakeService, log: Callable[[], list[Json]]) -> None:
    client = service()
    assert client.get("/healthz", headers={"x-request-id": "trace-1:a.b_c"}).headers["x-request-id"] == "trace-1:a.b_c"
    for forged in ('{"level": "error"}', "x" * 65, "a b", ""):
        found = client.get("/healthz", headers={"x-request-id": forged}).headers["x-request-id"]
        assert found.startswith("req_")
    assert len({line["request_id"] for line in of_requests(log())}) == 5


def test_ids_of_paths_are_not_logged(service: MakeService, log: Callable[[], list[Json]]) -> None:
    client = service()
    client.get(f"/v1/grades/{MARKER}")
    client.get(f"/v1/questions/{MARKER}?view={MARKER}")
    client.get(f"/{MARKER}/nothing-there")
    routes = [line["route"] for line in of_requests(log())]
    assert routes == ["/v1/grades/{grade_id}", "/v1/questions/{question_id}", "none"]


def test_what_is_refused_before_it_is_routed_is_logged_and_counted_by_its_route(
    service: MakeService, log: Callable[[], list[Json]]
) -> None:
    client = service(max_body_bytes=1024, rate_per_address=4, client=("192.0.2.1", 1))
    client.get(f"/v1/grades/{MARKER}")
    client.head(f"/v1/questions/{MARKER}")
    local = service(max_body_bytes=1024)
    local.post("/v1/grades", content="x" * 2000)
    local.post(f"/v1/grades/{MARKER}/override", content="x", headers={"content-type": "text/plain"})
    local.post(f"/questions/{MARKER}", headers={"sec-fetch-site": "cross-site"})
    for _ in range(3):
        limited = client.get(f"/v1/jobs/{MARKER}")
    assert limited.status_code == 429
    found = [(line["route"], line["status"]) for line in of_requests(log())]
    assert found[:5] == [
        ("/v1/grades/{grade_id}", 401),
        ("/v1/questions/{question_id}", 401),
        ("/v1/grades", 413),
        ("/v1/grades/{grade_id}/override", 415),
        ("/questions/{question_id}", 403),
    ]
    assert found[-1] == ("/v1/jobs/{job_id}", 429)
    assert 'route="/v1/grades",status="413"' in local.get("/metrics").text


class TalkativeGrader(Grader):
    """Says something at each answer."""

    def grade(self, *arguments: Any, **named: Any) -> Grade:
        std.getLogger("grader").warning("talk")
        return super().grade(*arguments, **named)


def test_lines_of_a_job_name_it_and_so_does_that_of_its_request(
    service: MakeService, log: Callable[[], list[Json]]
) -> None:
    client = service(grader=TalkativeGrader(load_bank(), HashingEncoder(), load_calibration()))
    headers = {"content-type": "text/csv"}
    rows = "question_id,answer\nzero-grad,It clears.\n"
    made = client.post("/v1/grades/batch", content=rows, headers=headers)
    for _ in range(600):
        if client.get(f"/v1/jobs/{made.json()['id']}").json()["state"] == "done":
            break
        time.sleep(0.05)
    lines = log()
    request = next(line for line in of_requests(lines) if line["request_id"] == made.headers["x-request-id"])
    assert (request["status"], request["job"]) == (202, made.json()["id"])
    of_job = {line["event"] for line in lines if line.get("job") == made.json()["id"]}
    assert {"job taken", "talk"} <= of_job


def test_who_asks_whether_the_service_is_ready_is_no_news(usual: TestClient, log: Callable[[], list[Json]]) -> None:
    app = create_app(usual.app.state.settings)  # type: ignore[attr-defined]
    assert TestClient(app).get("/readyz").status_code == 503  # nothing was started
    assert [line["level"] for line in of_requests(log())] == ["debug"]


def test_no_answer_is_ever_logged(service: MakeService, log: Callable[[], list[Json]]) -> None:
    client = service(max_body_bytes=4096)
    question = {"prompt": f"Why {MARKER}?", "reference_answers": [f"Because of {MARKER} and of nothing else."]}
    for body in (
        {"question_id": "zero-grad", "answer": MARKER * 20},
        {"question": question, "answer": f"It is {MARKER}."},
        {"question_id": MARKER, "answer": MARKER},
        {"question_id": "zero-grad", "answer": [MARKER]},
        {"question_id": "zero-grad", "answer": MARKER * 1000},
        {"question_id": "zero-grad", "answer": MARKER, MARKER: MARKER},
    ):
        client.post("/v1/grades", json=body)
        client.post("/v1/grades/batch", json={"answers": [body]})
    client.post("/v1/grades", content=f'{{"answer": "{MARKER}', headers={"content-type": "application/json"})
    client.post("/v1/grades/batch", content=f"id,answer\n1,{MARKER},,\n", headers={"content-type": "text/csv"})
    client.post("/questions/zero-grad", data={"answer": MARKER})
    kept = [json.dumps(line) for line in log() if line["logger"] not in {"httpx", "httpx2"}]  # the test's own client
    assert len(kept) >= 15
    assert not [line for line in kept if MARKER in line]


def test_an_unforeseen_error_is_logged_by_its_places_and_answered_with_its_id(
    service: MakeService, log: Callable[[], list[Json]]
) -> None:
    broken: Any = {"accumulates": ("met", 5)}  # a script that no judge can follow
    grader = Grader(load_bank(), HashingEncoder(), load_calibration(), judge=ScriptedJudge(broken))
    client = service(grader=grader)
    response = client.post("/v1/grades", json={"question_id": "zero-grad", "answer": f"It adds up {MARKER}."})
    assert response.status_code == 500
    assert "default-src 'none'" in response.headers["content-security-policy"]
    failed = next(line for line in log() if line["event"] == "failed")
    assert failed["request_id"] == response.headers["x-request-id"]
    assert failed["exception"][0]["type"] == "TypeError"
    assert "scripted.py" in failed["exception"][0]["at"][-1]
    assert 'status="500"' in client.get("/metrics").text


def test_messages_of_strangers_are_left_out_and_ours_kept() -> None:
    def fail() -> None:
        try:
            raise IntegrityError(f"INSERT {MARKER}", {"answer": MARKER}, Exception(MARKER))
        except IntegrityError as error:
            raise InvalidQuestion("Send criteria.") from error

    with pytest.raises(InvalidQuestion) as raised:
        fail()
    found = logging.describe(raised.value)
    assert [one["type"] for one in found] == ["InvalidQuestion", "IntegrityError"]
    assert found[0]["message"] == "Send criteria."
    assert MARKER not in json.dumps(found)


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_addresses_of_judges_and_webhooks_are_not_logged(library: Any, log: Callable[[], list[Json]]) -> None:
    with library.Client(transport=library.MockTransport(lambda _: library.Response(200))) as client:
        client.get(f"http://127.0.0.1/{MARKER}")
    assert MARKER not in json.dumps(log())


def test_lines_of_libraries_are_json_too(log: Callable[[], list[Json]]) -> None:
    try:
        raise ValueError(MARKER)
    except ValueError:
        std.getLogger("some.library").exception("it broke %d times", 3)
    line = log()[-1]
    assert (line["event"], line["logger"], line["level"]) == ("it broke 3 times", "some.library", "error")
    assert line["exception"][0]["type"] == "ValueError"
    assert MARKER not in json.dumps(line)
