"""What a caller is told who wants a language model where there is none."""

from __future__ import annotations

from fastapi.testclient import TestClient


def test_a_judge_that_is_not_there_is_the_requests_fault_not_the_services(usual: TestClient) -> None:
    body = {"question_id": "zero-grad", "answer": "It clears the old gradients.", "judge": "required"}
    response = usual.post("/v1/grades", json=body)
    assert response.status_code == 422  # coming back later will not help, so it is no 503
    assert response.json()["title"] == "No judge"
    assert "docs/llm-judges.md" in response.json()["detail"]
    degraded = usual.post("/v1/grades", json=body | {"judge": "auto"}).json()["provenance"]["degraded"]
    assert "no language model is configured" in degraded
