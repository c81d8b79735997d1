"""The request field `judge` over HTTP: assisted, off, degraded, 503; metrics count calls; no key leaves the process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from api.config import Settings
from grader import load_bank
from grader.calibration import load_calibration
from grader.encoders.hashing import HashingEncoder
from grader.errors import JudgeError
from grader.llm import load_assistant
from grader.pipeline import Grader

GOOD = (
    "PyTorch adds up gradients: every backward() call does += on .grad. zero_grad() clears the old ones so they do not "
    "leak into the new step. Call it once per iteration, before loss.backward()."
)
KEY = "sk-very-secret-0123456789"


@pytest.fixture
def assisted(
    peer: Any, serve: Callable[[FastAPI], AbstractContextManager[str]], tmp_path: Path
) -> Iterator[Callable[..., httpx.Response]]:
    """Sends an answer to a real service whose language model is the peer."""
    key = tmp_path / "key"
    key.write_text(KEY + "\n")
    settings = Settings(
        llm_backend="openai",
        llm_model="a-model",
        llm_base_url=peer.url,
        llm_api_key_file=key,
        llm_cache=tmp_path / "judgements.sqlite3",
        llm_bound=100,
        llm_timeout=60,
        llm_price_input=2,
    )
    assistant = load_assistant(settings.llm())
    app = create_app(settings, lambda: Grader(load_bank(), HashingEncoder(), load_calibration(), assistant=assistant))
    with serve(app) as address, httpx.Client(base_url=address, timeout=90) as client:

        def send(**body: Any) -> httpx.Response:
            return client.post("/v1/grades", json={"question_id": "zero-grad", "answer": GOOD, "store": False} | body)

        send.client = client  # type: ignore[attr-defined]
        yield send


def test_a_request_chooses(assisted: Any, peer: Any) -> None:
    off = assisted(judge="off").json()
    assert (off["provenance"]["llm"], peer.requests) == (None, [])
    auto = assisted().json()
    assert auto["provenance"]["llm"]["model"].startswith("openai_compatible:a-model+")
    assert auto["provenance"]["llm"]["cost"] == pytest.approx(100 * 2 / 1e6)
    assert "llm" in {criterion["judged_by"] for criterion in auto["criteria"]}
    assert auto["score"] > off["score"]
    assert peer.headers[-1]["authorization"] == f"Bearer {KEY}"
    assert assisted().json() == auto == assisted(judge="required").json()
    assert len(peer.requests) == 1  # the others came from memory
    assert assisted(judge="perhaps").status_code == 422


def test_readiness_names_the_model_that_grades_name(assisted: Any, peer: Any) -> None:
    ready = assisted.client.get("/readyz").json()
    assert peer.requests == []  # it says what is configured and asks nobody
    named = assisted().json()["provenance"]["llm"]["model"]
    assert ready["provenance"]["llm"] == ready["banks"][0]["llm"] == named


def test_each_answer_of_a_batch_chooses(assisted: Any, peer: Any) -> None:
    answer = {"question_id": "zero-grad", "answer": GOOD}
    rows = [answer | {"judge": "off"}, answer, answer | {"judge": "required"}]

    def results(**body: Any) -> Any:
        return assisted.client.post("/v1/grades/batch", json={"answers": rows, "store": False} | body).json()["results"]

    assert [row["grade"]["provenance"]["llm"] is None for row in results()] == [True, False, False]
    assert [row["grade"]["provenance"]["llm"] is None for row in results(judge="off")] == [True, True, False]
    peer.behaviour = "refuses"
    rows[2]["answer"] = GOOD + " It saves no memory."
    failed = results()[2]
    assert failed["grade"] is None
    assert "refused" in failed["error"]
    assert assisted.client.post("/v1/grades/batch", json={"answers": rows, "judge": "maybe"}).status_code == 422


def test_a_failing_model_degrades_or_503s_and_shows_no_key(assisted: Any, peer: Any) -> None:
    peer.behaviour = "refuses"
    degraded = assisted()
    assert degraded.json()["provenance"]["degraded"].endswith("the language model refused to answer")
    assert degraded.json()["score"] == assisted(judge="off").json()["score"]
    required = assisted(judge="required")
    assert required.status_code == 503
    assert required.headers["content-type"] == "application/problem+json"
    assert "refused" in required.json()["detail"]
    peer.behaviour = "json_schema"
    assert "language model" not in str(assisted().json()["provenance"]["degraded"])
    metrics = assisted.client.get("/metrics").text
    calls = [line for line in metrics.splitlines() if "judge" in line and 'result="refused"' in line]
    assert calls
    assert KEY not in metrics + degraded.text + required.text


def test_a_wrong_configuration_is_told_before_anything_is_graded() -> None:
    for wrong in (
        {"llm_backend": "openai", "llm_model": "m", "llm_base_url": "https://elsewhere.example/v1"},
        {"llm_backend": "openai", "llm_base_url": "http://127.0.0.1:1/v1"},
        {
            "llm_backend": "openai",
            "llm_model": "m",
            "llm_base_url": "http://127.0.0.1:1/v1",
            "llm_api_key_file": "/no/file",
        },
        {"judge": "required"},
    ):
        with pytest.raises(JudgeError):
            load_assistant(Settings.model_validate(wrong).llm())
    assert KEY not in repr(Settings(llm_api_key=KEY)) + repr(Settings(llm_api_key=KEY).llm())  # type: ignore[arg-type]
