"""Who may do what: every route times every role times own and other people's data, made from the app's own routes.

A new route without a line in api/access.py, or with a new parameter in its path, fails here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.access import ACCESS, ANYONE, PUBLIC
from api.app import create_app
from api.auth import COOKIE, session_cookie
from api.config import Settings
from api.places import places
from api.store import Store, grades, jobs, keys
from api.store.keys import ROLES, Role
from grader.pipeline import Grader

PLACES = sorted((method, path) for methods, path in places(create_app(Settings())) for method in methods - {"HEAD"})
# Which of these records a visitor may see depends on a cookie of their own, not on the key (tests/web).
BY_COOKIE = "/history"
ANSWER = "It clears .grad before backward adds new ones."
BODIES: dict[str, dict[str, Any]] = {
    "/v1/grades": {"json": {"question_id": "zero-grad", "answer": ANSWER, "store": False}},
    "/v1/grades/batch": {"json": {"answers": [{"question_id": "zero-grad", "answer": ANSWER}]}},
    "/v1/grades/{grade_id}/override": {"json": {"reason": "looked at it", "score": 50}},
}
CANDIDATE = "cand-1"


@dataclass(frozen=True)
class Service:
    """A running service that others can reach, and two keys of each role."""

    app: FastAPI
    client: TestClient
    store: Store
    grader: Grader
    tokens: dict[tuple[Role, str], tuple[str, str]]  # (role, own or other) -> (id, token)

    def send(self, method: str, path: str, token: str | None = None, **options: Any) -> Any:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return self.client.request(method, path, headers=headers | options.pop("headers", {}), **options)


@pytest.fixture(scope="module")
def service(fast_grader: Grader, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    url = f"sqlite:///{tmp_path_factory.mktemp('access') / 'g.db'}"
    settings = Settings(database=url, host="0.0.0.0", rate_per_key=0, rate_per_address=0)
    app = create_app(settings, load=lambda: fast_grader)
    store = Store.open(url)
    with store.write() as tx:
        tokens = {(role, who): keys.create(tx, f"{role} {who}", role) for role in ROLES for who in ("own", "other")}
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
        assert app.state.grading.wait(60)
        known = {name: (key.id, token) for name, (key, token) in tokens.items()}
        yield Service(app, client, store, fast_grader, known)
    store.close()


def fresh(service: Service, key_id: str | None) -> dict[str, str]:
    """A grade, a job and a candidate of one key: what the parameters of paths stand for."""
    with service.store.write() as tx:
        stored = grades.add(
            tx,
            service.grader.grade("zero-grad", ANSWER),
            answer=ANSWER,
            question=service.grader.bank.question("zero-grad"),
            candidate=CANDIDATE,
            key_id=key_id,
        )
        job = jobs.create(tx, [jobs.NewRow({"question_id": "zero-grad", "answer": ANSWER})], key_id=key_id)
        jobs.cancel(tx, job.id)
    return {
        "grade_id": stored.id,
        "job_id": job.id,
        "candidate": CANDIDATE,
        "question_id": "zero-grad",
        "path": "style.css",
    }


def address(path: str, values: dict[str, str]) -> str:
    """A path with its parameters filled in; KeyError for one that these tests do not know yet."""
    found = re.sub(r"\{(\w+)(?::\w+)?\}", lambda match: values[match[1]], path)
    return f"{found}/style.css" if path == "/static" else found


def test_every_route_has_a_line_and_every_line_a_route() -> None:
    assert set(PLACES) == set(ACCESS)


@pytest.mark.parametrize(("method", "path"), PLACES, ids=[" ".join(place) for place in PLACES])
def test_without_a_key_only_what_is_public_answers(service: Service, method: str, path: str) -> None:
    status = service.send(method, address(path, fresh(service, None)), **BODIES.get(path, {})).status_code
    if (method, path) == ("POST", "/login"):
        assert status in {401, 422}  # what was typed is no key
    elif ACCESS[method, path] is PUBLIC:
        assert status not in {401, 403}
        assert status < 500
    else:
        assert status == 401


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("method", "path"), PLACES, ids=[" ".join(place) for place in PLACES])
def test_a_role_may_do_what_its_line_says(service: Service, method: str, path: str, role: Role) -> None:
    line = ACCESS[method, path]
    reach = "all" if line is PUBLIC else line.get(role)
    is_record = "{grade_id}" in path or "{job_id}" in path
    key_id, token = service.tokens[role, "own"]
    other_id, _ = service.tokens[role, "other"]
    for owner in (key_id, other_id, None):
        where = address(path, fresh(service, owner))
        status = service.send(method, where, token, **BODIES.get(path, {})).status_code
        if reach is None:
            assert status == 403, where
            continue
        assert status != 403, where
        assert status != 401 or path == "/login", where
        assert status < 500, where
        if is_record and not path.startswith(BY_COOKIE):
            assert (status == 404) == (reach == "own" and owner != key_id), (where, status)


# ---- what a candidate may see ----------------------------------------------------------------------------------------


def test_a_candidate_sees_feedback_and_hints_and_no_more(service: Service) -> None:
    _, candidate = service.tokens["candidate", "own"]
    _, reviewer = service.tokens["reviewer", "own"]
    wrong = "It sets the weights back to zero."
    body = {"question_id": "zero-grad", "answer": wrong, "view": "full"}
    grade = service.send("POST", "/v1/grades", candidate, json=body).json()
    override = {"reason": "a secret reason", "criteria": {"accumulates": "met"}}
    after = service.send("POST", f"/v1/grades/{grade['id']}/override", reviewer, json=override).json()["after"]
    seen = [
        grade,
        service.send("GET", f"/v1/grades/{grade['id']}", candidate).json(),
        service.send("GET", f"/v1/grades/{after['id']}", candidate).json(),
        *service.send("GET", "/v1/grades?history=true", candidate).json()["grades"],
    ]
    question = service.grader.bank.question("zero-grad")
    hidden = [one.statement for one in (*question.criteria, *question.misconceptions)] + list(
        question.reference_answers
    )
    for one in seen:
        assert all(result["statement"] is None for result in one["criteria"])
        assert all(result["hint"] for result in one["criteria"])
        assert not [text for text in [*hidden, "a secret reason"] if text in str(one)]
    full = service.send("GET", f"/v1/grades/{after['id']}", reviewer).json()
    assert full["record"]["reason"] == "a secret reason"
    assert all(result["statement"] for result in full["criteria"])


def test_a_candidate_may_not_ask_for_rubrics(service: Service) -> None:
    for role in ROLES:
        _, token = service.tokens[role, "own"]
        response = service.send("GET", "/v1/questions/zero-grad?view=full", token)
        assert response.status_code == (403 if role == "candidate" else 200)
        assert service.send("GET", "/v1/questions/zero-grad", token).status_code == 200


def test_lists_hold_own_grades_or_all(service: Service) -> None:
    for role in ROLES:
        key_id, token = service.tokens[role, "own"]
        own = fresh(service, key_id)["grade_id"]
        others = fresh(service, service.tokens[role, "other"][0])["grade_id"]
        found = {one["id"] for one in service.send("GET", "/v1/grades?limit=200", token).json()["grades"]}
        assert own in found
        assert (others in found) == (ANYONE is not None and ANYONE[role] == "all")


def test_the_log_names_who_has_stopped_and_deleted_somebody_elses_job(service: Service) -> None:
    admin_id, admin = service.tokens["admin", "own"]
    owner_id, _ = service.tokens["candidate", "own"]
    with service.store.write() as tx:
        rows = [jobs.NewRow({"question_id": "zero-grad", "answer": ANSWER})]
        job = jobs.create(tx, rows, key_id=owner_id, worker="busy", lease=timedelta(hours=1))
    found = [service.send("DELETE", f"/v1/jobs/{job.id}", admin).status_code for _ in range(2)]
    assert found == [200, 204]
    log = service.send("GET", "/v1/events?limit=2", admin).json()["events"]
    assert [(one["actor"], one["action"]) for one in log] == [(admin_id, "job.deleted"), (admin_id, "job.cancelled")]


# ---- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Basic YTpi",
        "Bearer ag_0123456789abcdef_" + "A" * 43,
        "Bearer ag_é",
        "bearer\tag_",
    ],
)
def test_what_is_no_key_is_refused_and_told_how_to_get_one(service: Service, header: str) -> None:
    response = service.client.get("/v1/grades", headers={"authorization": header.encode()})
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert response.headers["content-type"] == "application/problem+json"
    assert "grader keys create" in response.json()["detail"]


def test_a_revoked_key_is_refused_at_the_next_request(service: Service) -> None:
    with service.store.write() as tx:
        key, token = keys.create(tx, "short-lived", "admin")
    cookie = session_cookie(service.store, token)
    assert cookie is not None
    signed_in = {"cookie": f"{COOKIE}={cookie}"}
    assert service.send("GET", "/v1/grades", token).status_code == 200
    assert service.send("GET", "/v1/grades", headers=signed_in).status_code == 200
    with service.store.write() as tx:
        keys.revoke(tx, key.id)
    assert service.send("GET", "/v1/grades", token).status_code == 401
    assert service.send("GET", "/v1/grades", headers=signed_in).status_code == 401


def test_a_cookie_that_was_not_signed_here_opens_nothing(service: Service, tmp_path: Path) -> None:
    elsewhere = Store.open(f"sqlite:///{tmp_path / 'g.db'}")
    with elsewhere.write() as tx:
        _, token = keys.create(tx, "elsewhere", "admin")
    foreign = session_cookie(elsewhere, token)
    elsewhere.close()
    assert session_cookie(service.store, token) is None
    for cookie in (foreign, "x", "", service.tokens["admin", "own"][0]):
        assert service.send("GET", "/v1/grades", headers={"cookie": f"{COOKIE}={cookie}"}).status_code == 401


def test_a_browser_without_a_key_is_sent_to_the_login(service: Service) -> None:
    response = service.client.get("/questions/zero-grad", headers={"accept": "text/html"})
    assert response.status_code == 303
    assert response.headers["location"] == "/login?next=%2Fquestions%2Fzero-grad"


def test_nothing_of_a_body_is_read_before_the_key_is_known(service: Service) -> None:
    response = service.client.post("/v1/grades", content=b"{" * 100)
    assert response.status_code == 401


# ---- the open loopback -----------------------------------------------------------------------------------------------


@pytest.fixture
def loopback(fast_grader: Grader, tmp_path: Path) -> Iterator[tuple[TestClient, Store]]:
    """A service on 127.0.0.1 without any key."""
    url = f"sqlite:///{tmp_path / 'g.db'}"
    store = Store.open(url)
    with TestClient(create_app(Settings(database=url), load=lambda: fast_grader)) as client:
        yield client, store
    store.close()


def test_a_loopback_without_keys_is_open_until_the_first_key(loopback: tuple[TestClient, Store]) -> None:
    client, store = loopback
    assert client.get("/v1/events").status_code == 200
    with store.write() as tx:
        key, token = keys.create(tx, "first", "admin")
    assert client.get("/v1/events").status_code == 401
    assert client.get("/v1/events", headers={"authorization": f"Bearer {token}"}).status_code == 200
    with store.write() as tx:
        keys.revoke(tx, key.id)
    assert client.get("/v1/events").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"host": "evil.example"}, {"host": "evil.example:8000"}, {"host": "192.168.1.5"}, {"x-forwarded-for": "203.0.113.9"},
     {"forwarded": "for=203.0.113.9"}, {"host": "127.0.0.1.evil.example"}, {"host": "[2001:db8::1]:80"}],
)  # fmt: skip
def test_what_comes_from_further_away_needs_a_key(loopback: tuple[TestClient, Store], headers: dict[str, str]) -> None:
    client, _ = loopback
    assert client.get("/v1/grades", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "127.0.0.2", "a.localhost", "LOCALHOST"]
)
def test_this_machine_by_any_of_its_names_is_let_in(loopback: tuple[TestClient, Store], host: str) -> None:
    client, _ = loopback
    assert client.get("/v1/grades", headers={"host": host}).status_code == 200


def test_another_machine_is_asked_for_a_key_even_when_bound_to_loopback(fast_grader: Grader, tmp_path: Path) -> None:
    settings = Settings(database=f"sqlite:///{tmp_path / 'g.db'}")
    with TestClient(create_app(settings, load=lambda: fast_grader), client=("203.0.113.9", 4711)) as client:
        assert client.get("/v1/grades").status_code == 401
        assert client.get("/healthz").status_code == 200
