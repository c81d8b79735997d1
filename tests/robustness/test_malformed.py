"""Thousands of broken requests, made by breaking good ones: each gets a clear 4xx, and the next good one its grade.

They go straight into the app, header bytes and all, because a decent HTTP client would refuse to send most of them.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import FastAPI

Headers = list[tuple[bytes, bytes]]
GOOD: dict[str, Any] = {
    "question_id": "zero-grad",
    "answer": "backward() adds to .grad, so zero_grad() clears it first.",
}
INLINE: dict[str, Any] = {
    "question": {
        "prompt": "Why is the sky blue?",
        "reference_answers": ["Air scatters blue light more than red light."],
        "criteria": [{"statement": "Blue light is scattered more.", "points": 2}],
    },
    "answer": "Blue light is scattered more than red light.",
}
BATCH: dict[str, Any] = {"answers": [GOOD, INLINE]}
PATHS = {"/v1/grades": [GOOD, INLINE], "/v1/grades/batch": [BATCH]}


@pytest.fixture(scope="module")
def url(module_url: str) -> str:
    """Both databases, where this folder's other tests have one."""
    return module_url


@dataclass
class Case:
    """A broken request; `hopeless` when no reading of it can be right."""

    kind: str
    path: str
    body: bytes
    headers: Headers = field(default_factory=lambda: [(b"content-type", b"application/json")])
    hopeless: bool = True


Breaker = Callable[[random.Random, str, dict[str, Any]], Case]


def truncated(chance: random.Random, path: str, good: dict[str, Any]) -> Case:
    whole = json.dumps(good).encode()
    return Case("truncated", path, whole[: chance.randrange(1, len(whole))])


def flipped(chance: random.Random, path: str, good: dict[str, Any]) -> Case:
    body = bytearray(json.dumps(good, ensure_ascii=False).encode())
    for _ in range(chance.randrange(1, 6)):
        body[chance.randrange(len(body))] = chance.randrange(256)
    return Case("flipped bytes", path, bytes(body), hopeless=False)


def encoded(chance: random.Random, path: str, good: dict[str, Any]) -> Case:
    name = chance.choice(["utf-16", "utf-16-le", "utf-32", "utf-7", "cp037", "latin-1", "cp1252"])
    text = json.dumps(good | {"answer": "Größe é ü"}, ensure_ascii=False)
    return Case(f"encoded as {name}", path, text.encode(name, "replace"), hopeless=name != "utf-7")


def with_nul(chance: random.Random, path: str, good: dict[str, Any]) -> Case:
    body = bytearray(json.dumps(good).encode())
    body.insert(chance.randrange(len(body) + 1), 0)
    return Case("NUL byte", path, bytes(body))


def surrogate(chance: random.Random, path: str, _good: dict[str, Any]) -> Case:
    broken = chance.choice(["\\ud800", "\\udfff", "\\udc00\\ud800", "\\ud83d x"])
    target = chance.choice(["answer", "question_id", "candidate"])
    fields = {"question_id": "zero-grad", "answer": "x"} | {target: "@"}
    one = json.dumps(fields).replace("@", broken)
    # In a batch one bad answer is that row's affair.
    return Case(
        "lone surrogate",
        path,
        (f'{{"answers": [{one}]}}' if "batch" in path else one).encode(),
        hopeless="batch" not in path,
    )


def odd_candidate(chance: random.Random, path: str, good: dict[str, Any]) -> Case:
    wrong = {"candidate": chance.choice(["a\u0000b", "\u0007", "a\nb", "x" * 201, "a/b", ".hidden", ""])}
    broken = {"answers": [good["answers"][0] | wrong]} if "answers" in good else good | wrong
    return Case("odd candidate", path, json.dumps(broken).encode())


def nested(chance: random.Random, path: str, _good: dict[str, Any]) -> Case:
    depth = chance.choice([200, 1000, 10_000, 25_000])
    opened, closed = chance.choice([(b"[", b"]"), (b'{"a":', b"}")])
    inner = opened * depth + b"1" + closed * chance.choice([0, depth])
    return Case("deep nesting", path, chance.choice([inner, b'{"question_id": "zero-grad", "answer": ' + inner + b"}"]))


def huge_number(chance: random.Random, path: str, good: dict[str, Any]) -> Case:
    number = chance.choice(["1e999", "-1e999", "9" * 5000, "NaN", "-Infinity", "0." + "3" * 5000, "1E+99999"])
    target = chance.choice(list(good))
    rest = {name: value for name, value in good.items() if name != target}
    return Case("huge number", path, (json.dumps(rest)[:-1] + f', "{target}": {number}}}').replace("{,", "{").encode())


def duplicated(chance: random.Random, path: str, good: dict[str, Any]) -> Case:
    target = chance.choice(list(good))
    other = json.dumps(chance.choice([None, 5, [], {}, True]))
    return Case("duplicate key", path, (json.dumps(good)[:-1] + f', "{target}": {other}}}').encode())


def mistyped(chance: random.Random, path: str, good: dict[str, Any]) -> Case:
    target = chance.choice(list(good))
    wrong = chance.choice([5, 1.5, True, [[]], {"a": 1}, [None], {"": None}])
    return Case("wrong type", path, json.dumps(good | {target: wrong}).encode())


def unknown_field(chance: random.Random, path: str, good: dict[str, Any]) -> Case:
    name = "".join(chance.choice("abc\u0000\u202e\U0001f600 .$[]") for _ in range(chance.randrange(1, 40)))
    return Case("unknown field", path, json.dumps(good | {name: 1}).encode())


def no_json(chance: random.Random, path: str, _good: dict[str, Any]) -> Case:
    body = chance.choice(
        [b"", b"null", b"[]", b"<a/>", b"a=b", b"\xff\xfe", chance.randbytes(chance.randrange(1, 2000))]
    )
    return Case("no JSON object", path, body)


def wrong_header(chance: random.Random, path: str, good: dict[str, Any]) -> Case:
    body = json.dumps(good).encode()
    kind = chance.choice(
        [b"text/plain", b"", b"application/xml", b"multipart/form-data", b"\xff\xfe", b"a" * 5000, b"image/png;;"]
    )
    return Case("wrong content type", path, body, [(b"content-type", kind)])


def odd_header(chance: random.Random, path: str, good: dict[str, Any]) -> Case:
    names = [b"content-length", b"idempotency-key", b"x-request-id", b"authorization", b"accept", b"origin", b"cookie",
             b"sec-fetch-site", b"x-forwarded-for", b"host", b"if-match", b"content-encoding"]  # fmt: skip
    value = chance.choice(
        [b"", b"\x00", b"\xff" * 20, b"9" * 400, b"-1", b"a" * 8000, b"\r\n x: y", b"*/*;q=nan", b"\xed\xa0\x80"]
    )
    headers = [(b"content-type", b"application/json"), (chance.choice(names), value)]
    return Case("odd header", path, json.dumps(good).encode(), headers, hopeless=False)


def damaged_upload(chance: random.Random, _path: str, _good: dict[str, Any]) -> Case:
    kind = chance.choice([b"text/csv", b"application/x-ndjson"])
    body = bytearray(
        b'id,question_id,answer\n1,zero-grad,"It clears it"\n' if kind == b"text/csv" else json.dumps(GOOD).encode()
    )
    for _ in range(chance.randrange(1, 10)):
        body[chance.randrange(len(body))] = chance.randrange(256)
    return Case("damaged upload", "/v1/grades/batch", bytes(body), [(b"content-type", kind)], hopeless=False)


BREAKERS: list[Breaker] = [
    truncated, flipped, encoded, with_nul, surrogate, odd_candidate, nested, huge_number,
    duplicated, mistyped, unknown_field, no_json, wrong_header, odd_header, damaged_upload,
]  # fmt: skip


def made(number: int) -> Case:
    """The same case for the same number, on every machine."""
    chance = random.Random(number)
    path = chance.choice(list(PATHS))
    return BREAKERS[number % len(BREAKERS)](chance, path, chance.choice(PATHS[path]))


async def send(app: FastAPI, case: Case) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the response."""
    messages: list[Any] = []
    body = [{"type": "http.request", "body": case.body, "more_body": False}]

    async def receive() -> Any:
        return body.pop() if body else {"type": "http.disconnect"}

    async def collect(message: Any) -> None:
        messages.append(message)

    host = [] if any(name == b"host" for name, _ in case.headers) else [(b"host", b"localhost")]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
             "path": case.path, "raw_path": case.path.encode(), "query_string": b"", "root_path": "",
             "headers": host + case.headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {}}  # fmt: skip
    await app(scope, receive, collect)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in messages[0]["headers"]}
    return messages[0]["status"], headers, b"".join(message.get("body", b"") for message in messages[1:])


def wrong_with(case: Case, status: int, headers: dict[str, str], content: bytes) -> str | None:
    """What is not as it should be about a response to a broken request."""
    if status >= 500:
        return f"{status}"
    if case.hopeless and not 400 <= status < 500:
        return f"taken with {status}"
    if status >= 400:
        if headers.get("content-type") != "application/problem+json":
            return f"no problem+json but {headers.get('content-type')}"
        found = json.loads(content)
        if found["status"] != status or not found["detail"] or len(content) > 20_000:
            return f"an unclear problem: {content[:200]!r}"
    return None


@pytest.mark.parametrize("seed", [0])
def test_broken_requests_get_a_clear_4xx_and_good_ones_their_grade(app: FastAPI, cases: int, seed: int) -> None:
    good = Case("good", "/v1/grades", json.dumps(GOOD | {"store": False}).encode())
    seen: Counter[tuple[str, int]] = Counter()
    failures: list[str] = []

    async def all_of_them() -> None:
        before = await send(app, good)
        assert before[0] == 200, before
        for number in range(seed, seed + cases):
            case = made(number)
            status, headers, content = await send(app, case)
            seen[case.kind, status] += 1
            if (reason := wrong_with(case, status, headers, content)) is not None:
                failures.append(
                    f"case {number}, {case.kind}, {case.path}: {reason}\n   {case.headers!r} {case.body[:300]!r}"
                )
        assert (await send(app, good))[2] == before[2]

    asyncio.run(all_of_them())
    assert not failures, f"{len(failures)} of {cases}:\n" + "\n".join(failures[:20])
    assert sum(seen.values()) == cases
    assert len({kind for kind, _ in seen}) >= len(BREAKERS)
