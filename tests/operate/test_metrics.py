"""Figures: there from the first scrape, true, and without a word or a name in them."""

from __future__ import annotations

from collections.abc import Callable

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from api.metrics import Metrics
from grader.observe import JudgeCall

MakeService = Callable[..., TestClient]
MARKER = "marker-51d0"


def figures(client: TestClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(response.text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(client: TestClient, name: str, **labels: str) -> float:
    return figures(client)[name, frozenset(labels.items())]


def test_a_grade_moves_the_figures_it_should(service: MakeService) -> None:
    client = service()
    before = figures(client)
    assert value(client, "grader_ready") == 1
    good = {"question_id": "zero-grad", "answer": f"It clears the gradients that backward has added up, {MARKER}."}
    grades = [client.post("/v1/grades", json=body).json() for body in (good, good, good | {"answer": ""})]
    after = figures(client)
    made = {
        outcome: after["grader_grades_total", frozenset({("outcome", outcome)})]
        - before["grader_grades_total", frozenset({("outcome", outcome)})]
        for outcome in ("graded", "needs_review", "not_gradable")
    }
    assert made == {o: sum(one["outcome"] == o for one in grades) for o in made}
    assert made["not_gradable"] == 1
    for stage, count in (("queue", 3), ("prepare", 3), ("judge", 2)):
        key = ("grader_stage_seconds_count", frozenset({("stage", stage)}))
        assert after[key] - before[key] == count
    abstained = sum(one["verdict"] == "abstained" for grade in grades for one in grade["criteria"])
    counted = [
        n
        for (name, labels), n in after.items()
        if name == "grader_criteria_total" and ("verdict", "abstained") in labels
    ]
    assert sum(counted) == abstained
    requests = frozenset({("method", "POST"), ("route", "/v1/grades"), ("status", "200")})
    assert after["grader_http_requests_total", requests] == 3


def test_no_label_holds_what_a_client_sent(service: MakeService) -> None:
    client = service()
    client.get(f"/{MARKER}")
    client.get(f"/v1/questions/{MARKER}")
    client.request(MARKER.upper(), "/v1/questions")
    client.post("/v1/grades", json={"question_id": MARKER, "answer": MARKER}, headers={"x-request-id": MARKER})
    assert MARKER.lower() not in client.get("/metrics").text.lower()
    assert 'method="other"' in client.get("/metrics").text


def test_the_versions_in_use_are_figures_too(service: MakeService) -> None:
    client = service()
    provenance = client.get("/readyz").json()["provenance"]
    labels = {name: provenance[name] for name in ("grader", "bank", "encoder", "judge")}
    assert value(client, "grader_versions", **labels) == 1


def test_what_an_assisting_judge_costs() -> None:
    metrics = Metrics()
    metrics.judged(JudgeCall("small", "ok", 1.5, input_tokens=100, output_tokens=20, cost=0.25))
    metrics.judged(JudgeCall("small", "timeout", 20.0))
    text = metrics.text().decode()
    for line in (
        'grader_judge_calls_total{judge="small",result="ok"} 1.0',
        'grader_judge_calls_total{judge="small",result="timeout"} 1.0',
        'grader_judge_tokens_total{direction="input",judge="small"} 100.0',
        'grader_judge_cost_total{judge="small"} 0.25',
        'grader_judge_seconds_sum{judge="small"} 21.5',
    ):
        assert line in text


def test_two_services_in_one_process_count_apart(service: MakeService) -> None:
    one, other = Metrics(), Metrics()
    one.refuse("queue")
    assert 'reason="queue"} 1.0' in one.text().decode()
    assert 'reason="queue"} 0.0' in other.text().decode()
    assert service().get("/metrics").status_code == 200
