"""Requests that generated tests broke the service with, kept so that they never do again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.docs import ROOT

REFERENCE = "Air scatters blue light more than red light."


@pytest.fixture(scope="module")
def client(app: FastAPI) -> TestClient:
    return TestClient(app, raise_server_exceptions=False)


def test_a_judge_that_is_not_there_is_the_requests_fault_not_the_services(client: TestClient) -> None:
    body = {"question_id": "zero-grad", "answer": "It clears the old gradients.", "judge": "required"}
    response = client.post("/v1/grades", json=body)
    assert response.status_code == 422  # coming back later will not help, so it is no 503
    assert response.json()["title"] == "No judge"
    assert "docs/llm-judges.md" in response.json()["detail"]
    degraded = client.post("/v1/grades", json=body | {"judge": "auto"}).json()["provenance"]["degraded"]
    assert "no language model is configured" in degraded


@pytest.mark.parametrize(("points", "status"), [(5e-324, 422), (0.0009, 422), (0.001, 200), (1_000_000, 200)])
def test_points_that_would_be_scaled_to_nothing_are_refused(client: TestClient, points: float, status: int) -> None:
    criteria: list[dict[str, Any]] = [{"statement": REFERENCE, "points": 1_000_000}] * 39
    question = {"prompt": "Why is the sky blue?", "reference_answers": [REFERENCE]}
    question["criteria"] = [*criteria, {"statement": "Blue light is scattered.", "points": points}]
    response = client.post("/v1/grades", json={"question": question, "answer": REFERENCE, "store": False})
    assert response.status_code == status, response.text
    if status == 422:
        assert response.json()["errors"][0]["field"] == "question.criteria.39.points"


DOCUMENT = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))["paths"]
TAKES_JSON = [path for path, methods in DOCUMENT.items() for one in methods.values() if "requestBody" in one]


@pytest.mark.parametrize("path", TAKES_JSON)
@pytest.mark.parametrize("key", ["reason", "\\ud800"])
def test_a_key_that_is_there_twice_is_refused_and_named(client: TestClient, path: str, key: str) -> None:
    body = f'{{"answers": [{{"{key}": 1, "x": 2, "{key}": 3}}]}}'
    response = client.post(path.format(grade_id="grd_1"), content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["detail"] == f"The body is not valid JSON: duplicate key '{key}'"
