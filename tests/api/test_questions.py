"""GET /v1/questions: the bank over HTTP, with and without what only graders may see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from grader.bank import load_bank

Json = dict[str, Any]
BANK = load_bank()
SUMMARY = {"number", "id", "prompt", "kind", "level", "tags", "bank"}


def test_all_questions_are_listed_in_order(client: httpx.Client) -> None:
    found = client.get("/v1/questions").json()
    assert found["bank"] == BANK.version
    assert found["banks"] == [{"id": "pytorch", "title": BANK.info.title, "version": BANK.version, "questions": 21}]
    assert [one["id"] for one in found["questions"]] == [one.id for one in BANK.questions]
    assert [one["number"] for one in found["questions"]] == list(range(1, 22))
    assert all(set(one) == SUMMARY for one in found["questions"])


@pytest.mark.parametrize("question", BANK.questions, ids=lambda question: question.id)
def test_the_candidates_view_gives_nothing_away(client: httpx.Client, question: Any) -> None:
    response = client.get(f"/v1/questions/{question.id}")
    found = response.json()
    assert set(found) == SUMMARY | {"sources", "hints"}
    assert found["prompt"] == question.prompt
    assert found["hints"] == [one.hint for one in question.criteria if one.hint]
    assert not [one.id for one in question.criteria if one.statement in response.text]
    assert not [text for text in question.reference_answers if text in response.text]


def test_the_full_view_has_the_rubric(client: httpx.Client) -> None:
    question = BANK.question("zero-grad")
    rubric = client.get("/v1/questions/zero-grad", params={"view": "full"}).json()["rubric"]
    assert set(rubric) == {"reference_answers", "groups", "criteria", "misconceptions"}
    assert rubric["reference_answers"] == list(question.reference_answers)
    assert [one["statement"] for one in rubric["criteria"]] == [one.statement for one in question.criteria]
    assert [one["correction"] for one in rubric["misconceptions"]] == [
        one.correction for one in question.misconceptions
    ]


def test_an_unknown_id_suggests_a_near_one(client: httpx.Client, problem_of: Callable[[httpx.Response], Json]) -> None:
    response = client.get("/v1/questions/zero-gard")
    assert response.status_code == 404
    assert "did you mean zero-grad?" in problem_of(response)["detail"]


def test_an_unknown_id_far_from_all_says_where_they_are_listed(
    client: httpx.Client, problem_of: Callable[[httpx.Response], Json]
) -> None:
    response = client.get("/v1/questions/the-moon")
    assert response.status_code == 404
    assert "grader questions list" in problem_of(response)["detail"]


@pytest.mark.parametrize("path", ["zero-grad?view=admin", "x" * 81, "zero-grad?view="])
def test_a_wrong_parameter_is_named(
    client: httpx.Client, problem_of: Callable[[httpx.Response], Json], path: str
) -> None:
    response = client.get(f"/v1/questions/{path}")
    assert response.status_code == 422
    assert [one["field"] for one in problem_of(response)["errors"]] in (["view"], ["question_id"])


@pytest.mark.parametrize("path", ["%00", "%ff", "..%2f..%2fetc%2fpasswd", "%F0%9F%98%80", "<script>", "zero-grad%20"])
def test_odd_ids_are_unknown_not_errors(
    client: httpx.Client, problem_of: Callable[[httpx.Response], Json], path: str
) -> None:
    response = client.get(f"/v1/questions/{path}")
    assert response.status_code == 404
    assert problem_of(response)["status"] == 404
