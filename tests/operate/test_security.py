"""What a browser's user is guarded by: headers, the policy of pages, refusal of other sites' requests, CORS."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from api.config import Settings

MakeService = Callable[..., TestClient]
FORM = {"answer": "It clears the old gradients."}
OWN = "http://testserver"


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),  # a program
        ({"sec-fetch-site": "same-origin", "origin": OWN}, True),
        ({"sec-fetch-site": "none"}, True),  # typed by the user
        ({"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, False),
        ({"sec-fetch-site": "same-site", "origin": "http://other.testserver"}, False),
        ({"sec-fetch-site": "CROSS-SITE"}, False),
        ({"origin": OWN}, True),  # an older browser, or one without TLS
        ({"origin": "https://evil.example"}, False),
        ({"origin": "http://testserver.evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://["}, False),
    ],
)
@pytest.mark.parametrize("path", ["/questions/zero-grad", "/v1/grades"])
def test_other_sites_cannot_send_forms(usual: TestClient, headers: dict[str, str], allowed: bool, path: str) -> None:
    if path.startswith("/v1/"):
        response = usual.post(path, json={"question_id": "zero-grad", "answer": FORM["answer"]}, headers=headers)
    else:
        response = usual.post(path, data=FORM, headers=headers)
    assert (response.status_code == 403) is not allowed, response.text
    assert usual.get("/", headers=headers).status_code == 200  # links from elsewhere work
    if not allowed:
        assert response.json()["title"] == "Cross-site request refused"


def test_the_policy_of_pages_and_of_data(usual: TestClient) -> None:
    client = usual
    page, data = client.get("/"), client.get("/v1/questions")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "script-src" not in data.headers["content-security-policy"]
    for response in (page, data):
        policy = response.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert response.headers["cross-origin-opener-policy"] == "same-origin"
        assert "geolocation=()" in response.headers["permissions-policy"]
        assert "strict-transport-security" not in response.headers
    assert page.headers["cache-control"] == "private, no-cache"
    assert data.headers["cache-control"] == "no-store"
    assert client.get("/static/style.css").headers["cache-control"] == "public, max-age=3600"
    assert client.get("https://testserver/").headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/questions", "/", "/static/style.css", "/nope"])
def test_head_is_get_without_a_body(usual: TestClient, path: str) -> None:
    client = usual
    head, get = client.head(path), client.get(path)
    assert head.status_code == get.status_code
    assert head.content == b""
    assert head.headers["content-length"] == str(len(get.content))
    assert head.headers["content-type"] == get.headers["content-type"]


PREFLIGHT = {"origin": "https://tool.example", "access-control-request-method": "POST"}


def test_cors_is_off_by_default(usual: TestClient) -> None:
    client = usual
    assert "access-control-allow-origin" not in client.options("/v1/grades", headers=PREFLIGHT).headers
    answer = client.get("/v1/questions", headers={"origin": "https://tool.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_cors_for_named_origins_only(service: MakeService) -> None:
    client = service(cors_origins="https://tool.example, https://other.example")
    allowed = client.options("/v1/grades", headers=PREFLIGHT)
    assert allowed.headers["access-control-allow-origin"] == "https://tool.example"
    sent = client.post(
        "/v1/grades",
        json={"question_id": "zero-grad", "answer": FORM["answer"]},
        headers={"origin": "https://tool.example", "sec-fetch-site": "cross-site"},
    )
    assert sent.status_code == 200
    assert "x-request-id" in sent.headers["access-control-expose-headers"]
    refused = client.options("/v1/grades", headers=PREFLIGHT | {"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize("value", ["*", "https://a.example/", "a.example", "https://*.example"])
def test_an_origin_that_is_none_or_all_is_refused(value: str) -> None:
    with pytest.raises(ValidationError, match="cors_origins"):
        Settings(cors_origins=value)  # type: ignore[arg-type]
