"""The OpenAPI document: committed, complete, and true."""

from __future__ import annotations

import json
from typing import Any

import httpx
import jsonschema
import pytest

from api import docs
from api.errors import MEDIA_TYPE
from api.routes.grades import EXAMPLES

Json = dict[str, Any]
COMMITTED: Json = json.loads((docs.ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
OPERATIONS = [
    (method, path, operation)
    for path, operations in COMMITTED["paths"].items()
    for method, operation in operations.items()
]


def test_the_committed_document_is_the_apps() -> None:
    assert (docs.ROOT / "docs" / "openapi.json").read_text(encoding="utf-8") == docs.openapi()


def test_the_served_document_is_the_committed_one(client: httpx.Client) -> None:
    assert client.get("/openapi.json").json() == COMMITTED


def test_all_generated_documentation_is_current() -> None:
    assert docs.stale() == []


def test_it_is_openapi_3_1_with_a_licence_and_a_version() -> None:
    assert COMMITTED["openapi"].startswith("3.1")
    assert COMMITTED["info"]["license"]["identifier"] == "Apache-2.0"
    assert COMMITTED["info"]["version"]


def test_every_route_of_the_contract_is_described() -> None:
    described = {(method.upper(), path) for method, path, _ in OPERATIONS}
    assert described >= {
        ("POST", "/v1/grades"),
        ("GET", "/v1/questions"),
        ("GET", "/v1/questions/{question_id}"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
    }
    assert not [path for _, path in described if path.startswith("/questions")], "pages are no part of the API"


def test_every_problem_is_described_as_a_problem() -> None:
    for method, path, operation in OPERATIONS:
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert MEDIA_TYPE in response["content"], (method, path, status)


def test_the_problems_of_grading_are_all_described() -> None:
    responses = COMMITTED["paths"]["/v1/grades"]["post"]["responses"]
    problems = {"400", "401", "403", "404", "408", "409", "413", "415", "422", "429", "503"}
    assert set(responses) == {"200"} | problems


def test_its_schemas_are_valid_json_schema() -> None:
    for schema in COMMITTED["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_its_examples_are_those_of_the_route() -> None:
    examples = COMMITTED["paths"]["/v1/grades"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert {name: one["value"] for name, one in examples.items()} == {n: one["value"] for n, one in EXAMPLES.items()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_its_examples_are_graded_and_the_grades_fit_the_schema(client: httpx.Client, name: str) -> None:
    response = client.post("/v1/grades", json=EXAMPLES[name]["value"])
    assert response.status_code == 200
    grade = response.json()
    assert grade["outcome"] != "not_gradable"
    assert grade["score"] is not None
    fits(grade, "Grade")


@pytest.mark.parametrize(
    ("path", "schema"),
    [("/v1/questions", "QuestionList"), ("/v1/questions/zero-grad", "QuestionDetail"), ("/healthz", "Alive"),
     ("/v1/questions/zero-grad?view=full", "QuestionDetail"), ("/readyz", "Ready"), ("/v1/questions/nope", "Problem"),
     ("/v1/questions/zero-grad?view=x", "Problem")],
)  # fmt: skip
def test_responses_fit_their_schemas(client: httpx.Client, path: str, schema: str) -> None:
    fits(client.get(path).json(), schema)


def fits(value: object, schema: str) -> None:
    """Raises when a value does not fit a schema of the document."""
    whole = {"$ref": f"#/components/schemas/{schema}", "components": COMMITTED["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)
    assert isinstance(value, dict)
    assert value
