"""What the tests of the service share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.postgres import Cluster

Json = dict[str, Any]

GOOD = (
    "Whatever sits in p.grad stays there and the result of the next backward is summed onto it. zero_grad() gets rid of "
    "that leftover. Once per batch, anywhere ahead of backward. Lose the line and your step drags old batches along "
    "until training falls over. On 2.x the grads go to None instead of zeros, which trims memory."
)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database, of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/grades.db"
        return
    cluster: Cluster = request.getfixturevalue("postgres")
    with cluster.database() as address:
        yield address


@pytest.fixture(scope="session")
def good() -> str:
    """A good answer to `zero-grad`."""
    return GOOD


@pytest.fixture(scope="session")
def grade(client: httpx.Client) -> Callable[..., Json]:
    """Sends a request to /v1/grades, expects 200 and gives the Grade: `grade(answer=..., question_id=...)`.

    Nothing is kept, so that the id is that of the content: the same for the same answer.
    """

    def send(**body: object) -> Json:
        question = {} if "question" in body else {"question_id": "zero-grad"}
        response = client.post("/v1/grades", json={"store": False} | question | body)
        assert response.status_code == 200, response.text
        found: Json = response.json()
        return found

    return send


@pytest.fixture(scope="session")
def problem_of() -> Callable[[httpx.Response], Json]:
    """Checks that a response is a problem as RFC 9457 has it and gives its content."""

    def check(response: httpx.Response) -> Json:
        assert response.headers["content-type"] == "application/problem+json", response.text
        content: Json = response.json()
        assert set(content) - {"errors"} == {"type", "title", "status", "detail"}
        assert content["type"] == "about:blank"
        assert content["status"] == response.status_code
        assert content["title"]
        assert content["detail"]
        assert all(set(one) == {"field", "message"} for one in content.get("errors", []))
        return content

    return check
