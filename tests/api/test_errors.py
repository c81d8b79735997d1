"""Everything that can be wrong with a request: always a problem with a clear status, never a crash, never an echo."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.config import Settings
from grader.bank import load_bank
from grader.calibration import load_calibration
from grader.encoders.hashing import HashingEncoder
from grader.judges.scripted import ScriptedJudge
from grader.pipeline import Grader

Json = dict[str, Any]
Check = Callable[[Any], Json]

MARKER = "marker-7f3a9c"
LIMIT = Settings().max_body_bytes
JSON = {"content-type": "application/json"}
REFERENCE = "Air molecules scatter blue light more than red light."


def body(**fields: object) -> bytes:
    """A request that is fine but for the fields given; a field given as `...` is left out."""
    whole = {"question_id": "zero-grad", "answer": f"It clears the gradients, {MARKER}."} | fields
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()


def inline(**fields: object) -> bytes:
    """A request with an inline question that is fine but for the fields given."""
    question = {"prompt": f"Why is the sky blue, {MARKER}?", "reference_answers": [REFERENCE]} | fields
    return body(question_id=..., question={name: value for name, value in question.items() if value is not ...})


def raw(answer: bytes) -> bytes:
    """A request whose answer is this JSON text."""
    return b'{"question_id": "zero-grad", "answer": ' + answer + b"}"


MALFORMED: dict[str, tuple[bytes, int]] = {
    # not JSON
    "broken": (b"{not json}", 400),
    "cut off in a text": (body()[:-3], 400),
    "cut off after a name": (b'{"question_id"', 400),
    "cut off in an escape": (raw(b'"abc\\u00'), 400),
    "one brace": (b"{", 400),
    "single quotes": (b"{'question_id': 'zero-grad', 'answer': 'x'}", 400),
    "comma at the end": (b'{"question_id": "zero-grad", "answer": "x",}', 400),
    "comment": (b'/* note */ {"question_id": "zero-grad", "answer": "x"}', 400),
    "two documents": (body() + body(), 400),
    "lines of JSON": (body() + b"\n" + body(), 400),
    "raw line end in a text": (raw(b'"a\nb"'), 400),
    "raw NUL in a text": (raw(b'"a\x00b"'), 400),
    "NUL only": (b"\x00", 400),
    "a form": (b"question_id=zero-grad&answer=x", 400),
    "XML": (b"<grade><answer>x</answer></grade>", 400),
    "YAML": (b"question_id: zero-grad\nanswer: x\n", 400),
    "a wrong escape": (raw(b'"\\x41"'), 400),
    "an undefined value": (raw(b"undefined"), 400),
    # not UTF-8
    "latin-1": ('{"question_id": "zero-grad", "answer": "é"}'.encode("latin-1"), 400),
    "utf-16": ('{"question_id": "zero-grad", "answer": "é"}'.encode("utf-16"), 400),
    "utf-16 without a mark": ('{"question_id": "zero-grad", "answer": "é"}'.encode("utf-16-le"), 400),
    "surrogate as bytes": (raw(b'"\xed\xa0\x80"'), 400),
    "overlong encoding": (raw(b'"\xc0\xaf"'), 400),
    "half a character": (raw('"é'.encode()[:-1] + b'"'), 400),
    "gzip": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", 400),
    # JSON that breaks parsers
    "deep lists": (b"[" * 100_000 + b"]" * 100_000, 400),
    "deep answer": (raw(b"[" * 50_000 + b"]" * 50_000), 400),
    "deep objects": (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, 400),
    "unclosed lists": (b"[" * 200_000, 400),
    "a number of 5,000 digits": (raw(b"9" * 5_000), 400),
    # lone surrogates, escaped
    "lone high surrogate": (raw(b'"\\ud800 gradients are summed"'), 422),
    "lone low surrogate": (raw(b'"gradients \\udfff are summed"'), 422),
    "surrogates in the wrong order": (raw(b'"\\udc00\\ud800"'), 422),
    "surrogate in the id": (b'{"question_id": "\\ud800", "answer": "x"}', 422),
    "surrogate in a name": (b'{"\\ud800": 1, "question_id": "zero-grad", "answer": "x"}', 422),
    "surrogate in the view": (b'{"view": "\\ud800", "question_id": "zero-grad", "answer": "x"}', 422),
    "surrogate in a prompt": (inline(prompt="\ud800"), 422),
    "surrogate in a reference": (inline(reference_answers=["Air \udfff scatters light well."]), 422),
    "surrogate in a criterion": (inline(criteria=[{"statement": "Air \ud800 scatters."}]), 422),
    # not an object
    "nothing": (b"", 422),
    "null": (b"null", 422),
    "list": (b"[]", 422),
    "list of requests": (b"[" + body() + b"]", 422),
    "number": (b"1", 422),
    "text": (b'"zero-grad"', 422),
    "true": (b"true", 422),
    "empty object": (b"{}", 422),
    # wrong fields
    "no answer": (body(answer=...), 422),
    "no question": (body(question_id=...), 422),
    "answer is null": (body(answer=None), 422),
    "answer is a number": (body(answer=5), 422),
    "answer is NaN": (raw(b"NaN"), 422),
    "answer is too large a number": (raw(b"1e999"), 422),
    "answer is true": (body(answer=True), 422),
    "answer is a list": (body(answer=[MARKER]), 422),
    "answer is an object": (body(answer={"text": MARKER}), 422),
    "id is a number": (body(question_id=11), 422),
    "id is empty": (body(question_id=""), 422),
    "id is too long": (body(question_id="z" * 81), 422),
    "unknown field": (body(language="en"), 422),
    "misspelt field": (body(anwser="x"), 422),
    "unknown view": (body(view="admin"), 422),
    "view is null": (body(view=None), 422),
    "duplicate keys, the last one wrong": (b'{"question_id": "zero-grad", "answer": "x", "answer": 5}', 400),
    "duplicate keys, both right": (b'{"question_id": "autograd", "question_id": "zero-grad", "answer": "x"}', 400),
    "both questions": (inline()[:-1] + b', "question_id": "zero-grad"}', 422),
    # wrong inline questions
    "question is a text": (body(question_id=..., question="Why?"), 422),
    "question is a list": (body(question_id=..., question=[]), 422),
    "no prompt": (inline(prompt=...), 422),
    "blank prompt": (inline(prompt="  \n "), 422),
    "prompt too long": (inline(prompt="x" * 2_001), 422),
    "no references": (inline(reference_answers=...), 422),
    "empty references": (inline(reference_answers=[]), 422),
    "reference is blank": (inline(reference_answers=[""]), 422),
    "reference is a text": (inline(reference_answers=REFERENCE), 422),
    "nine references": (inline(reference_answers=[REFERENCE] * 9), 422),
    "nothing to derive criteria from": (inline(reference_answers=["Rayleigh."]), 422),
    "criteria are a text": (inline(criteria="Air scatters."), 422),
    "a criterion is a text": (inline(criteria=["Air scatters."]), 422),
    "a criterion is empty": (inline(criteria=[{}]), 422),
    "points are 0": (inline(criteria=[{"statement": "Air scatters.", "points": 0}]), 422),
    "points are negative": (inline(criteria=[{"statement": "Air scatters.", "points": -1}]), 422),
    "points are a word": (inline(criteria=[{"statement": "Air scatters.", "points": "many"}]), 422),
    "points are NaN": (inline(criteria=[{"statement": "Air scatters.", "points": float("nan")}]), 422),
    "points are infinite": (inline(criteria=[{"statement": "Air scatters.", "points": float("inf")}]), 422),
    "points are huge": (inline(criteria=[{"statement": "Air scatters.", "points": 10**300}]), 422),
    "points are null": (inline(criteria=[{"statement": "Air scatters.", "points": None}]), 422),
    "41 criteria": (inline(criteria=[{"statement": "Air scatters."}] * 41), 422),
    "unknown field in a question": (inline(hint="x"), 422),
    "unknown field in a criterion": (inline(criteria=[{"statement": "Air scatters.", "weight": 1}]), 422),
    "a misconception is empty": (inline(misconceptions=[""]), 422),
    # fine, but for what there is not or what is too much
    "unknown question": (body(question_id="zero-gard"), 404),
    "id with NUL": (body(question_id="zero\x00grad"), 404),
    "id with markup": (body(question_id="<script>alert(1)</script>"), 404),
    "answer too long": (body(answer=MARKER + "x" * 20_000), 413),
    "body too large": (body(answer=MARKER + "x" * LIMIT), 413),
}  # fmt: skip


@pytest.mark.parametrize(("content", "status"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_request_is_a_clear_problem(
    client: httpx.Client, problem_of: Check, content: bytes, status: int
) -> None:
    response = client.post("/v1/grades", content=content, headers=JSON)
    assert response.status_code == status, response.text
    found = problem_of(response)
    assert MARKER not in response.text
    assert len(response.content) < 2_000
    assert "Traceback" not in response.text
    if found["title"] == "Invalid request":
        assert found["errors"]


def test_the_table_is_as_long_as_promised() -> None:
    assert len(MALFORMED) >= 40
    assert all(400 <= status < 500 for _, status in MALFORMED.values())


def test_a_good_request_works_after_all_of_them(client: httpx.Client, good: str) -> None:
    sound = {"question_id": "zero-grad", "answer": good, "store": False}  # what is stored gets an id of its own
    before = client.post("/v1/grades", json=sound)
    for content, _ in MALFORMED.values():
        client.post("/v1/grades", content=content, headers=JSON)
    after = client.post("/v1/grades", json=sound)
    assert after.status_code == 200
    assert after.content == before.content


# ---- one thing at a time ---------------------------------------------------------------------------------------------


def test_every_wrong_field_is_named(client: httpx.Client, problem_of: Check) -> None:
    wrong = {"question": {"prompt": 1, "reference_answers": [2], "criteria": [{"points": -1}]}, "answer": 3, "extra": 4}
    response = client.post("/v1/grades", json=wrong)
    assert response.status_code == 422
    found = problem_of(response)
    assert {one["field"] for one in found["errors"]} >= {
        "question.prompt",
        "question.reference_answers.0",
        "question.criteria.0.statement",
        "question.criteria.0.points",
        "answer",
        "extra",
    }
    assert "question.prompt" in found["detail"]


def test_thousands_of_wrong_fields_get_a_short_problem(client: httpx.Client, problem_of: Check) -> None:
    response = client.post("/v1/grades", json={f"field-{n}": n for n in range(10_000)})
    assert response.status_code == 422
    assert len(problem_of(response)["errors"]) <= 50
    assert len(response.content) < 10_000


def test_a_huge_field_name_is_not_sent_back(client: httpx.Client, problem_of: Check) -> None:
    response = client.post("/v1/grades", json={"x" * 100_000: 1, "question_id": "zero-grad", "answer": "y"})
    assert response.status_code == 422
    assert problem_of(response)["errors"]
    assert len(response.content) < 1_000


def test_an_unknown_question_suggests_a_near_one(client: httpx.Client, problem_of: Check) -> None:
    response = client.post("/v1/grades", content=body(question_id="zero-gard"), headers=JSON)
    assert "did you mean zero-grad?" in problem_of(response)["detail"]


def test_a_lone_surrogate_says_where_it_is(client: httpx.Client, problem_of: Check) -> None:
    response = client.post("/v1/grades", content=raw(b'"abc \\ud83d def"'), headers=JSON)
    detail = problem_of(response)["detail"]
    assert "offset 4" in detail
    assert "surrogate" in detail


def test_a_pair_of_surrogates_is_a_character(client: httpx.Client) -> None:
    response = client.post(
        "/v1/grades", content=raw(b'"Gradients \\ud83d\\ude00 are summed up by backward."'), headers=JSON
    )
    assert response.status_code == 200


def test_a_nul_in_an_answer_is_a_space(client: httpx.Client) -> None:
    answer = "backward()\x00adds to .grad, zero_grad()\x00clears it before each backward pass."
    found = [client.post("/v1/grades", content=body(answer=text), headers=JSON).json() for text in (
        answer, answer.replace("\x00", " "))]  # fmt: skip
    assert found[0]["score"] is not None
    assert found[0]["score"] == found[1]["score"]


def test_a_byte_order_mark_is_no_fault(client: httpx.Client) -> None:
    assert client.post("/v1/grades", content=b"\xef\xbb\xbf" + body(), headers=JSON).status_code == 200


def test_an_answer_one_character_too_long_says_both_numbers(client: httpx.Client, problem_of: Check) -> None:
    response = client.post("/v1/grades", content=body(answer="x" * 20_001), headers=JSON)
    assert response.status_code == 413
    detail = problem_of(response)["detail"]
    assert "20,001" in detail
    assert "20,000" in detail


# ---- the body as a whole ---------------------------------------------------------------------------------------------


def padded(size: int) -> bytes:
    """A sound request of so many bytes."""
    sound = body()
    return sound[:-1] + b" " * (size - len(sound)) + b"}"


def chunks(content: bytes) -> Iterator[bytes]:
    """A body in pieces: httpx sends it without a Content-Length."""
    for start in range(0, len(content), 50_000):
        yield content[start : start + 50_000]


def test_a_body_of_just_the_limit_is_taken(client: httpx.Client) -> None:
    assert client.post("/v1/grades", content=padded(LIMIT), headers=JSON).status_code == 200
    assert client.post("/v1/grades", content=chunks(padded(LIMIT)), headers=JSON).status_code == 200


def test_a_body_over_the_limit_by_its_content_length(client: httpx.Client, problem_of: Check) -> None:
    response = client.post("/v1/grades", content=padded(LIMIT + 1), headers=JSON)
    assert response.status_code == 413
    assert f"{LIMIT:,} bytes" in problem_of(response)["detail"]


def test_a_body_over_the_limit_in_chunks(client: httpx.Client, problem_of: Check) -> None:
    response = client.post("/v1/grades", content=chunks(padded(LIMIT + 1)), headers=JSON)
    assert response.request.headers["transfer-encoding"] == "chunked"
    assert response.status_code == 413
    assert problem_of(response)["title"] == "Body too large"


def test_a_client_that_hangs_up_halfway_harms_nobody(client: httpx.Client, server: str) -> None:
    address = urlsplit(server)
    for sent in (b"", b'{"question_id": "zero-grad", "ans'):
        with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
            head = f"POST /v1/grades HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
            connection.sendall(head.encode() + b"Content-Length: 500\r\n\r\n" + sent)
    assert client.post("/v1/grades", content=body(), headers=JSON).status_code == 200


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json", "application/xml",
     "", "json", "application/jsonp"],
)  # fmt: skip
def test_another_content_type_is_refused(client: httpx.Client, problem_of: Check, kind: str) -> None:
    response = client.post("/v1/grades", content=body(), headers={"content-type": kind})
    assert response.status_code == 415
    assert "application/json" in problem_of(response)["detail"]


def test_a_missing_content_type_is_refused(client: httpx.Client, problem_of: Check) -> None:
    response = client.post("/v1/grades", content=body())
    assert "content-type" not in response.request.headers
    assert response.status_code == 415
    assert problem_of(response)["title"] == "Unsupported media type"


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.ats+json"])
def test_json_by_any_of_its_names_is_taken(client: httpx.Client, kind: str) -> None:
    assert client.post("/v1/grades", content=body(), headers={"content-type": kind}).status_code == 200


# ---- where and how ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/grades", "GET, HEAD, POST"),
        ("PUT", "/v1/grades", "GET, HEAD, POST"),
        ("PATCH", "/v1/grades", "GET, HEAD, POST"),
        ("OPTIONS", "/v1/grades", "GET, HEAD, POST"),
        ("TRACE", "/v1/grades", "GET, HEAD, POST"),
        ("POST", "/v1/questions", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("DELETE", "/", "GET, HEAD"),
    ],
)
def test_a_wrong_method_names_all_right_ones(
    client: httpx.Client, problem_of: Check, method: str, path: str, allowed: str
) -> None:
    response = client.request(method, path, headers=JSON)
    assert response.status_code == 405
    assert response.headers["allow"] == allowed
    assert problem_of(response)["title"] == "Method not allowed"


@pytest.mark.parametrize(
    "path",
    ["/nope", "/v1", "/v1/nope", "/v2/grades", "/v1/grades/grd_1", "//v1/questions", "/static/nope.css",
     "/static/../app.py", "/static/%2e%2e/%2e%2e/app.py", "/static/..%2f..%2fapp.py", "/.env", "/redoc"],
)  # fmt: skip
def test_an_unknown_path_is_a_problem(client: httpx.Client, problem_of: Check, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert problem_of(response)["title"] == "Not found"


EVERYWHERE = [
    ("GET", "/"), ("GET", "/questions/zero-grad"), ("GET", "/questions/zero-grad/reference"), ("GET", "/questions/nope"),
    ("POST", "/questions/zero-grad"), ("GET", "/static/style.css"), ("GET", "/static/icon.svg"), ("GET", "/static/nope"),
    ("GET", "/v1/questions"), ("GET", "/v1/questions/zero-grad"), ("GET", "/v1/questions/nope"), ("GET", "/v1/grades"),
    ("POST", "/v1/grades"), ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/openapi.json"), ("GET", "/nope"),
    ("GET", "/v1/questions/"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), EVERYWHERE)
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_security_headers_are_on_every_response(client: httpx.Client, method: str, path: str, accept: str) -> None:
    response = client.request(method, path, headers={"accept": accept})
    policy = response.headers.get_list("content-security-policy")
    assert len(policy) == 1
    assert "default-src 'none'" in policy[0]
    is_page = response.headers.get("content-type", "").startswith("text/html")  # a redirection has no content
    assert ("script-src 'self'" in policy[0]) is is_page
    assert "unsafe" not in policy[0]
    assert ("form-action 'self'" if is_page else "form-action 'none'") in policy[0]
    assert "frame-ancestors 'none'" in policy[0]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("status", [413, 415, 400])
def test_security_headers_are_on_refusals_too(client: httpx.Client, status: int) -> None:
    sent = {413: padded(LIMIT + 1), 415: body(), 400: b"\xff"}[status]
    headers = {"content-type": "text/plain" if status == 415 else "application/json"}
    response = client.post("/v1/grades", content=sent, headers=headers)
    assert response.status_code == status
    assert "default-src 'none'" in response.headers["content-security-policy"]


def test_the_api_page_runs_no_inline_script_and_loads_nothing_from_elsewhere(client: httpx.Client) -> None:
    response = client.get("/docs")
    assert response.status_code == 200
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert re.findall(r"<script(?![^>]*src=\"/static/)", response.text) == []
    assert re.findall(r"(?:src|href)=\"(?:https?:)?//", response.text.replace('href="https://github.com', "")) == []
    assert "POST /v1/grades" in response.text


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_an_unforeseen_error_tells_nothing_and_is_still_guarded(problem_of: Check, accept: str) -> None:
    broken: Any = {"accumulates": ("met", 5)}  # a script that no judge can follow
    grader = Grader(load_bank(), HashingEncoder(), load_calibration(), judge=ScriptedJudge(broken))
    app = create_app(Settings(), load=lambda: grader)
    app.state.grading.start()
    assert app.state.grading.wait(60)
    client = TestClient(app, raise_server_exceptions=False, headers={"accept": accept})
    answer = f"backward() adds to .grad and {MARKER} clears it."
    if accept == "text/html":
        response = client.post("/questions/zero-grad", data={"answer": answer})
        assert response.headers["content-type"].startswith("text/html")
    else:
        response = client.post("/v1/grades", json={"question_id": "zero-grad", "answer": answer})
        assert "log" in problem_of(response)["detail"]
    assert response.status_code == 500
    assert MARKER not in response.text
    assert "TypeError" not in response.text
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert client.get("/healthz").status_code == 200
