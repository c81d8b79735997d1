"""/healthz and /readyz: of a running server, of one that still loads, of one that never will be ready."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.config import Settings
from grader.pipeline import Grader

Json = dict[str, Any]
Check = Callable[[Any], Json]
BROWSER = {"accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def gate() -> threading.Event:
    """Loading ends when this is set."""
    return threading.Event()


@pytest.fixture
def loading(gate: threading.Event, fast_grader: Grader) -> Iterator[TestClient]:
    """A service whose model is still being loaded."""

    def load() -> Grader:
        gate.wait(60)
        return fast_grader

    with TestClient(create_app(Settings(), load=load)) as opened:
        yield opened
        gate.set()


def failing(load: Callable[[], Grader]) -> TestClient:
    """A service whose loading has failed."""
    app = create_app(Settings(), load=load)
    app.state.grading.start()
    assert app.state.grading.wait(60)
    return TestClient(app)


def test_a_running_server_is_alive_and_ready(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert ready.status_code == 200
    found = ready.json()
    assert (found["status"], found["questions"]) == ("ready", 21)
    assert found["provenance"]["encoder"] == "all-MiniLM-L6-v2"
    assert "degraded" in found["provenance"]
    assert found["provenance"]["llm"] is None
    assert "rubric" not in found["provenance"]


def test_a_loading_service_is_alive_but_not_ready(loading: TestClient, problem_of: Check) -> None:
    assert loading.get("/healthz").status_code == 200
    response = loading.get("/readyz")
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert "starting" in problem_of(response)["detail"]


@pytest.mark.parametrize("path", ["/v1/questions", "/v1/questions/zero-grad"])
def test_a_loading_service_asks_to_come_back(loading: TestClient, problem_of: Check, path: str) -> None:
    response = loading.get(path)
    assert response.status_code == 503
    assert "retry-after" in response.headers
    assert problem_of(response)["title"] == "Not ready"


def test_a_loading_service_grades_nothing(loading: TestClient, problem_of: Check) -> None:
    response = loading.post("/v1/grades", json={"question_id": "zero-grad", "answer": "marker-of-the-answer"})
    assert response.status_code == 503
    assert "marker-of-the-answer" not in problem_of(response)["detail"]


def test_a_browser_is_shown_a_page_that_reloads_itself(loading: TestClient) -> None:
    response = loading.get("/", headers=BROWSER)
    assert response.status_code == 503
    assert response.headers["content-type"].startswith("text/html")
    assert '<meta http-equiv="refresh"' in response.text


def test_it_becomes_ready_when_loading_ends(loading: TestClient, gate: threading.Event) -> None:
    assert loading.get("/readyz").status_code == 503
    gate.set()
    state: Any = loading.app
    assert state.state.grading.wait(60)
    assert loading.get("/readyz").json()["provenance"]["encoder"] == "hashing"
    assert (
        loading.post("/v1/grades", json={"question_id": "zero-grad", "answer": "It clears .grad."}).status_code == 200
    )


def test_a_service_that_failed_to_load_says_why_and_not_when(tmp_path: Path, problem_of: Check) -> None:
    client = failing(lambda: Grader.load(tmp_path / "nowhere", encoder="hashing"))
    assert client.get("/healthz").status_code == 200
    response = client.get("/readyz")
    assert response.status_code == 503
    assert "retry-after" not in response.headers
    detail = problem_of(response)["detail"]
    assert detail.startswith("The service cannot grade:")
    assert "there is no such folder" in detail
    page = client.get("/", headers=BROWSER)
    assert page.status_code == 503
    assert 'http-equiv="refresh"' not in page.text


def test_an_unforeseen_failure_keeps_its_words_to_the_log(problem_of: Check) -> None:
    def load() -> Grader:
        raise ZeroDivisionError("secret-of-the-operator")

    response = failing(load).get("/readyz")
    assert response.status_code == 503
    detail = problem_of(response)["detail"]
    assert "ZeroDivisionError" in detail
    assert "secret-of-the-operator" not in response.text
