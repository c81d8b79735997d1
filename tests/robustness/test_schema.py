"""Requests made up from the OpenAPI document itself, each alone and chained by its links: nothing breaks, nothing surprises.

Sound and unsound requests for every operation, with an admin's key; checked are the status (no 5xx, none that is not
described), the content type, the headers and the body against their schemas, and that methods that are not there get 405.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from api.docs import ROOT
from api.store import keys
from tests.robustness.conftest import CASES

PATHS: dict[str, dict[str, Any]] = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))["paths"]
OPERATIONS = [(method, path) for path, methods in PATHS.items() for method in methods]
# Of the others there is one request to make, however many are asked for.
VARIED = sum("requestBody" in one or "parameters" in one for methods in PATHS.values() for one in methods.values())
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
          response_schema_conformance, unsupported_method]  # fmt: skip
PATIENCE = 120  # seconds: a busy machine is no fault of the service
STEPS = 6  # requests in a chain


def tried(share: int) -> settings:
    """So many of all cases; the suite tries the same ones every time, by hand they differ."""
    return settings(
        max_examples=max(2, CASES // share),
        deadline=None,
        derandomize=CASES < 1000,
        suppress_health_check=list(HealthCheck),
        database=None,
    )


@pytest.fixture(scope="module")
def headers(app: FastAPI) -> dict[str, str]:
    """An admin's key."""
    with app.state.stores.open().write() as tx:
        _, text = keys.create(tx, "schemathesis", "admin")
    return {"Authorization": f"Bearer {text}"}


@pytest.fixture(scope="module")
def document(app: FastAPI) -> Any:
    """The document of the running service."""
    return schemathesis.openapi.from_asgi("/openapi.json", app)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_operation_keeps_its_word(
    document: Any, headers: dict[str, str], method: str, path: str, mode: GenerationMode
) -> None:
    operation = document[path][method.upper()]

    @tried(VARIED * len(MODES))
    @given(operation.as_strategy(generation_mode=mode))
    def one(case: schemathesis.Case) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS, timeout=PATIENCE)

    try:
        one()
    except Exception as error:
        if mode is GenerationMode.NEGATIVE and "Unsatisfiable" in type(error).__name__ + str(error):
            pytest.skip("nothing in this operation's request can be wrong")
        raise


def test_chained_by_links_it_keeps_its_word(document: Any, headers: dict[str, str]) -> None:
    sent: list[int] = []

    class Chains(document.as_state_machine()):  # type: ignore[misc]
        def get_call_kwargs(self, _case: schemathesis.Case) -> dict[str, Any]:
            return {"headers": headers, "timeout": PATIENCE}

        def validate_response(self, response: Any, case: schemathesis.Case, *_: Any, **__: Any) -> None:
            sent.append(response.status_code)
            case.validate_response(response, checks=CHECKS, transport_kwargs={"headers": headers})

    Chains.run(settings=settings(tried(10 * STEPS), stateful_step_count=STEPS))
    assert {200, 202} & set(sent)
