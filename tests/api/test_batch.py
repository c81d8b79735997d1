"""Batches and jobs: over HTTP, on both databases, with a worker that is killed by nobody's hand but ours."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from api.app import create_app
from api.config import Settings
from api.errors import Refused
from api.jobs import Backlog, JobWorker, new_worker, work_off
from api.metrics import Metrics
from api.state import GraderState, StoreState
from api.store import Store, candidates, jobs, keys, tables
from api.store.jobs import NewRow
from grader.bank import load_bank
from grader.calibration import load_calibration
from grader.encoders.hashing import HashingEncoder
from grader.library import Library
from grader.pipeline import Grader
from grader.schema import Grade

Json = dict[str, Any]
GOOD = "backward() adds to .grad instead of overwriting it, so zero_grad() clears the old gradients first."
ENOUGH = 60.0  # seconds: far more than any job here takes


@pytest.fixture
def service(url: str, fast_grader: Grader) -> Iterator[TestClient]:
    """A running service that is ready to grade."""
    app = create_app(Settings(database=url, max_job_rows=200), load=lambda: fast_grader)
    with TestClient(app) as client:
        assert app.state.grading.wait(ENOUGH)
        yield client


def answer(number: int, **fields: object) -> Json:
    return {"id": f"a-{number}", "question_id": "zero-grad", "answer": f"{GOOD} Take {number}."} | fields


def ended(client: TestClient, job: str) -> Json:
    """A job once it is done or cancelled."""
    end = time.monotonic() + ENOUGH
    while time.monotonic() < end:
        found: Json = client.get(f"/v1/jobs/{job}").json()
        if found["state"] in {"done", "cancelled"}:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"{job} did not end: {found}")


def lines(client: TestClient, job: str) -> list[Json]:
    response = client.get(f"/v1/jobs/{job}/results")
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


# ---- at once ---------------------------------------------------------------------------------------------------------


def test_a_small_batch_is_graded_at_once_and_kept(service: TestClient) -> None:
    response = service.post("/v1/grades/batch", json={"answers": [answer(n) for n in range(3)]})
    assert response.status_code == 200, response.text
    found = response.json()
    assert [(one["row"], one["id"]) for one in found["results"]] == [(0, "a-0"), (1, "a-1"), (2, "a-2")]
    single = service.post("/v1/grades", json={"question_id": "zero-grad", "answer": answer(1)["answer"]}).json()
    grade = found["results"][1]["grade"]
    assert grade | {"id": ""} == single | {"id": ""}
    assert service.get(f"/v1/grades/{grade['id']}").json().items() >= grade.items()
    assert [one["grade_id"] for one in lines(service, found["job"])] == [one["grade"]["id"] for one in found["results"]]


def test_an_answer_that_cannot_be_graded_says_why_and_stops_nobody(service: TestClient) -> None:
    batch = [answer(0), answer(1, question_id="no-such-question"), answer(2, answer="half \ud800"), answer(3)]
    content = json.dumps({"answers": batch})
    response = service.post("/v1/grades/batch", content=content, headers={"content-type": "application/json"})
    results = response.json()["results"]
    assert [one["grade"] is None for one in results] == [False, True, True, False]
    assert "no-such-question" in results[1]["error"]
    assert "surrogate" in results[2]["error"]


def test_a_batch_with_its_own_questions(service: TestClient) -> None:
    prompt = f"Why is the sky blue ({uuid.uuid4()})?"  # the grader is shared: this question it has not seen yet
    question = {"prompt": prompt, "reference_answers": ["Air scatters blue light more than red light."]}
    batch = [{"question": question, "answer": f"Blue light is scattered more by the air. {n}"} for n in range(4)]
    results = service.post("/v1/grades/batch", json={"answers": batch}).json()["results"]
    assert len({one["grade"]["question_id"] for one in results}) == 1
    assert all(one["grade"]["score"] is not None and one["id"] is None for one in results)
    metrics = service.get("/metrics").text
    assert 'grader_cache_total{cache="inline_question",result="hit"} 3.0' in metrics
    assert 'grader_cache_total{cache="inline_question",result="miss"} 1.0' in metrics


def test_a_small_batch_that_keeps_nothing(service: TestClient) -> None:
    response = service.post(
        "/v1/grades/batch", json={"answers": [answer(0), answer(1, question_id="x")], "store": False}
    )
    found = response.json()
    assert found["job"] is None
    assert found["results"][0]["grade"]["score"] is not None
    assert "'x'" in found["results"][1]["error"]
    assert service.get("/v1/grades").json()["grades"] == []
    store: Store = service.app.state.stores.open()  # type: ignore[attr-defined]
    with store.write() as tx:
        assert tx.execute(select(func.count()).select_from(tables.jobs)).scalar() == 0
        assert tx.execute(select(func.count()).select_from(tables.answers)).scalar() == 0


def test_one_wrong_field_refuses_a_json_batch_and_is_named(service: TestClient) -> None:
    response = service.post("/v1/grades/batch", json={"answers": [answer(0), answer(1, anwser="x")]})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "answers.1.anwser"
    assert service.post("/v1/grades/batch", json={"answers": []}).status_code == 422


class SlowGrader(Grader):
    """Takes a fifth of a second and remembers in which order it was asked."""

    def __init__(self) -> None:
        super().__init__(load_bank(), HashingEncoder(), load_calibration())
        self.asked: list[str] = []

    def grade(self, question: Any, answer: str, *others: Any) -> Grade:
        self.asked.append(answer)
        time.sleep(0.2)
        return super().grade(question, answer, *others)


@pytest.fixture
def slow(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[TestClient, SlowGrader]]:
    """A service that grades one answer at a time, and loses patience with a batch after a second, or half of the parameter."""
    seconds = getattr(request, "param", 2)
    grader = SlowGrader()
    settings = Settings(database=f"sqlite:///{tmp_path}/slow.db", grading_slots=1, request_seconds=seconds)
    with TestClient(create_app(settings, load=lambda: grader)) as client:
        assert client.app.state.grading.wait(ENOUGH)  # type: ignore[attr-defined]
        yield client, grader


@pytest.mark.parametrize("store", [True, False])
def test_a_small_batch_that_takes_long_becomes_a_job(slow: tuple[TestClient, SlowGrader], store: bool) -> None:
    client, grader = slow
    batch = [answer(0), answer(1, question_id="x"), *(answer(n) for n in range(2, 11))]
    body = {"answers": batch, "store": store}
    headers = {"idempotency-key": "slow"}
    response = client.post("/v1/grades/batch", json=body, headers=headers)
    assert response.status_code == 202, response.text
    job = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    assert job["graded"] > 0
    done = ended(client, job["id"])
    assert (done["state"], done["graded"], done["failed"]) == ("done", 10, 1)
    assert [one["id"] for one in lines(client, job["id"])] == [f"a-{n}" for n in range(11)]
    assert len(client.get("/v1/grades").json()["grades"]) == (10 if store else 0)
    assert len(grader.asked) == len(set(grader.asked)) == 10
    if store:
        again = client.post("/v1/grades/batch", json=body, headers=headers)
        assert (again.status_code, again.json()["job"]) == (200, job["id"])


@pytest.mark.parametrize("slow", [60], indirect=True)
def test_a_single_answer_comes_in_between_the_rows_of_a_batch(slow: tuple[TestClient, SlowGrader]) -> None:
    client, grader = slow
    with ThreadPoolExecutor(1) as pool:
        batch = pool.submit(client.post, "/v1/grades/batch", json={"answers": [answer(n) for n in range(20)]})
        while not grader.asked:
            time.sleep(0.01)
        single = client.post("/v1/grades", json={"question_id": "zero-grad", "answer": "alone"})
        assert not batch.done()
        batch.result()
    assert single.status_code == 200
    assert grader.asked.index("alone") < 10


# ---- jobs ------------------------------------------------------------------------------------------------------------


def test_more_answers_become_a_job_with_progress_and_results(service: TestClient) -> None:
    response = service.post("/v1/grades/batch", json={"answers": [answer(n) for n in range(70)]})
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["total"], job["graded"] + job["pending"]) == (70, 70)
    done = ended(service, job["id"])
    assert (done["state"], done["graded"], done["failed"], done["pending"]) == ("done", 70, 0, 0)
    found = lines(service, job["id"])
    assert [one["id"] for one in found] == [f"a-{n}" for n in range(70)]
    assert len({one["grade_id"] for one in found}) == 70
    single = service.post("/v1/grades", json={"question_id": "zero-grad", "answer": answer(42)["answer"]}).json()
    assert found[42] | {"id": "", "grade_id": ""} == single | {"id": "", "grade_id": ""}


@pytest.mark.parametrize("kind", ["application/x-ndjson", "text/csv"])
def test_a_file_becomes_a_job_and_its_bad_rows_keep_their_place(service: TestClient, kind: str) -> None:
    if kind == "text/csv":
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(["id", "question_id", "answer", "candidate"])
        writer.writerows(
            [["one", "zero-grad", GOOD, "anna"], ["two", "nowhere", GOOD, ""], ["three", "", GOOD, ""],
             ["four", "autograd", "", ""], ["five", "autograd", GOOD, "a/b"]]
        )  # fmt: skip
        content = table.getvalue()
    else:
        rows = [
            answer(1, id="one", candidate="anna"),
            answer(2, id="two", question_id="nowhere"),
            answer(3, id="three", question_id=None),
            answer(3, id="five", candidate="a\0b"),
        ]
        content = "\n".join([*map(json.dumps, rows), "{broken", json.dumps(answer(4, id="four", answer=""))])
    response = service.post("/v1/grades/batch", content=content, headers={"content-type": kind})
    assert response.status_code == 202, response.text
    job = ended(service, response.json()["id"])
    found = {one["id"]: one for one in lines(service, job["id"])}
    assert found["one"]["score"] is not None
    assert "nowhere" in found["two"]["error"]["message"]
    assert "either question_id or question" in found["three"]["error"]["message"]
    assert found["four"]["outcome"] == "not_gradable"
    if kind == "application/x-ndjson":
        assert "not JSON" in found["row-5"]["error"]["message"]
    assert found["five"]["error"]["message"].startswith("candidate: ")
    table_of = list(csv.DictReader(io.StringIO(service.get(job["results"], params={"format": "csv"}).text)))
    assert [row["id"] for row in table_of] == list(found)
    assert float(table_of[0]["score"]) == found["one"]["score"]
    assert json.loads(table_of[0]["criteria"]) == found["one"]["criteria"]
    assert table_of[0]["grade_id"] == found["one"]["grade_id"]


def test_an_id_that_is_a_formula_stays_text_in_a_table(service: TestClient) -> None:
    job = service.post("/v1/grades/batch", json={"answers": [answer(0, id="=1+1")]}).json()["job"]
    table = service.get(f"/v1/jobs/{job}/results", params={"format": "csv"}).text
    assert [row["id"] for row in csv.DictReader(io.StringIO(table))] == ["'=1+1"]
    assert lines(service, job)[0]["id"] == "=1+1"


def test_a_row_whose_answer_is_not_kept_any_longer_says_so(service: TestClient) -> None:
    body, headers = {"answers": [answer(0)]}, {"idempotency-key": "old"}
    found = service.post("/v1/grades/batch", json=body, headers=headers).json()
    store: Store = service.app.state.stores.open()  # type: ignore[attr-defined]
    with store.write() as tx:
        ended_at = jobs.get(tx, found["job"]).finished_at
        assert ended_at is not None
        candidates.retain(tx, ended_at, "test")  # the answer came in before the job was done
    (row,) = lines(service, found["job"])
    assert (row["grade_id"], row["error"]["code"]) == (None, "deleted")
    assert "not kept any longer" in row["error"]["message"]
    (again,) = service.post("/v1/grades/batch", json=body, headers=headers).json()["results"]
    assert (again["grade"], again["error"]) == (None, row["error"]["message"])


def test_a_file_that_is_none_and_a_batch_that_is_too_long(service: TestClient) -> None:
    def send(content: str | bytes, kind: str) -> tuple[int, str]:
        response = service.post("/v1/grades/batch", content=content, headers={"content-type": kind})
        assert response.headers["content-type"] == "application/problem+json"
        return response.status_code, response.json()["detail"]

    assert send("", "text/csv")[0] == 422
    assert send(b"id,answer\n" + b'x,"caf\xe9"', "text/csv")[0] == 422
    assert "UTF-8" in send(b"id,answer\n" + b'x,"caf\xe9"', "text/csv")[1]
    for kind in ("application/pdf", "multipart/form-data; boundary=x"):
        status, detail = send("a", kind)
        assert (status, detail.split("(")[0]) == (
            415,
            "Send the body as application/json, application/x-ndjson or text/csv ",
        )
    status, detail = send("id;question_id;text\n1;zero-grad;x", "text/csv")
    assert (status, detail[:32]) == (422, "The file must have the columns '")
    assert "found: 'id', 'question_id', 'text'" in detail
    status, detail = send("\n".join(json.dumps(answer(n)) for n in range(201)), "application/x-ndjson")
    assert (status, "200 answers" in detail) == (413, True)


def test_a_job_of_one_row_does_not_wait_for_all_rows_before_it(url: str, fast_grader: Grader) -> None:
    stores, metrics = StoreState(url), Metrics()
    state = GraderState(lambda: fast_grader, metrics)
    state.start()
    assert state.wait(ENOUGH)
    with stores.open().write() as tx:
        rows = [NewRow({"question_id": "zero-grad", "answer": f"{GOOD} {n}"}) for n in range(60)]
        large, small = [jobs.create(tx, some) for some in (rows, rows[:1])]
    worker = JobWorker(stores, state, metrics, turn=0)
    worker.start()
    end = time.monotonic() + ENOUGH
    found: list[jobs.Job] = []
    while time.monotonic() < end and not (found and found[1].state == "done"):
        time.sleep(0.005)
        with stores.open().read() as tx:
            found = [jobs.get(tx, one.id) for one in (large, small)]
    worker.stop()
    stores.close()
    assert found[1].state == "done"
    assert found[0].pending > 40


def test_no_more_rows_may_wait_than_there_is_room_for(url: str, fast_grader: Grader) -> None:
    gate = threading.Event()

    def load() -> Grader:
        gate.wait(ENOUGH)
        return fast_grader

    with closing(Store.open(url)) as store, store.write() as tx:
        own, other = [keys.create(tx, name, "admin") for name in ("own", "other")]
        first = jobs.create(tx, [NewRow({"question_id": "zero-grad", "answer": GOOD})] * 3, key_id=own[0].id)
        backlog = Backlog(of_key=5, in_all=8, metrics=Metrics())
        backlog.admit(tx, own[0].id, 2)
        backlog.admit(tx, other[0].id, 5)
        for key, rows, words in ((own, 3, "one key may have 5"), (other, 6, "may have 8 answers")):
            with pytest.raises(Refused, match=words):
                backlog.admit(tx, key[0].id, rows)
        assert jobs.waiting_of(tx, None) == 0
    settings = Settings(database=url, max_waiting_rows=3)
    with TestClient(create_app(settings, load=load), headers={"authorization": f"Bearer {own[1]}"}) as client:
        assert "grader_job_rows_waiting 3.0" in client.get("/metrics").text
        gate.set()
        ended(client, first.id)
        assert "grader_job_rows_waiting 0.0" in client.get("/metrics").text
        # Nobody waits, so this one may come although it is larger.
        content = "\n".join(json.dumps(answer(n)) for n in range(4))
        sent = client.post("/v1/grades/batch", content=content, headers={"content-type": "application/jsonl"})
        assert sent.status_code == 202


def test_a_batch_on_a_full_line_is_told_when_to_come_back(slow: tuple[TestClient, SlowGrader]) -> None:
    client, _ = slow
    client.app.state.backlog = Backlog(1000, 70, client.app.state.metrics)  # type: ignore[attr-defined]
    body, headers = {"answers": [answer(n) for n in range(65)]}, {"idempotency-key": "first"}
    first = client.post("/v1/grades/batch", json=body, headers=headers)
    refused = client.post("/v1/grades/batch", json=body, headers={"idempotency-key": "second"})
    assert (first.status_code, refused.status_code) == (202, 429)
    assert int(refused.headers["retry-after"]) > 0
    assert "may have 70 answers waiting" in refused.json()["detail"]
    small = client.post("/v1/grades/batch", json={"answers": [answer(99)]})  # waits in line as a single answer does
    assert small.status_code in {200, 202}
    assert client.post("/v1/grades/batch", json=body, headers=headers).json()["id"] == first.json()["id"]
    assert 'grader_refused_total{reason="backlog"} 1.0' in client.get("/metrics").text
    client.delete(f"/v1/jobs/{first.json()['id']}")
    assert client.post("/v1/grades/batch", json=body, headers={"idempotency-key": "second"}).status_code == 202


def test_a_job_can_be_cancelled(url: str, fast_grader: Grader) -> None:
    gate = threading.Event()

    def load() -> Grader:
        gate.wait(ENOUGH)
        return fast_grader

    # The worker cannot begin before the grader is ready, so every row still waits when the job is cancelled.
    settings = Settings(database=url)
    with closing(Store.open(url)) as store, store.write() as tx:
        job = jobs.create(tx, [NewRow({"question_id": "zero-grad", "answer": GOOD})] * 3)
    with TestClient(create_app(settings, load=load)) as client:
        assert client.delete(f"/v1/jobs/{job.id}").json()["cancelled"] == 3
        gate.set()
        assert client.app.state.grading.wait(ENOUGH)  # type: ignore[attr-defined]
        assert ended(client, job.id)["state"] == "cancelled"
        assert lines(client, job.id) == []
    with closing(Store.open(url)) as store, store.read() as tx:
        assert jobs.pending(tx, job.id, 10) == []


@pytest.mark.parametrize("keep", [True, False])
def test_a_job_that_has_ended_can_be_deleted_and_the_grades_it_kept_stay(service: TestClient, keep: bool) -> None:
    content, headers = (
        json.dumps(answer(1)),
        {"content-type": "application/x-ndjson", "idempotency-key": f"file-{keep}"},
    )
    url = f"/v1/grades/batch?store={str(keep).lower()}"
    job = ended(service, service.post(url, content=content, headers=headers).json()["id"])
    (row,) = lines(service, job["id"])
    response = service.delete(f"/v1/jobs/{job['id']}")
    assert (response.status_code, response.content) == (204, b"")
    assert service.get(job["results"]).status_code == service.delete(f"/v1/jobs/{job['id']}").status_code == 404
    assert service.get(f"/v1/grades/{row['grade_id']}").status_code == (200 if keep else 404)
    store: Store = service.app.state.stores.open()  # type: ignore[attr-defined]
    with store.read() as tx:
        for table in (tables.job_rows, tables.idempotency):
            assert tx.execute(select(func.count()).select_from(table)).scalar() == 0
    assert service.post(url, content=content, headers=headers).json()["id"] != job["id"]


def test_a_job_that_is_not_there(service: TestClient) -> None:
    for response in (
        service.get("/v1/jobs/job_0"),
        service.get("/v1/jobs/job_0/results"),
        service.delete("/v1/jobs/job_0"),
    ):
        assert response.status_code == 404
        assert "job_0" in response.json()["detail"]


# ---- nothing lost, nothing twice -------------------------------------------------------------------------------------


def test_the_same_key_gets_the_same_job_and_another_body_a_conflict(service: TestClient) -> None:
    for count in (2, 70):
        headers = {"idempotency-key": f"order-{count}"}
        body = {"answers": [answer(n) for n in range(count)]}
        first = service.post("/v1/grades/batch", json=body, headers=headers)
        if count > 64:
            ended(service, first.json()["id"])
        second = service.post("/v1/grades/batch", json=body, headers=headers)
        assert (first.status_code, second.status_code) == ((200, 200) if count == 2 else (202, 202)), second.text
        name = "job" if count == 2 else "id"
        assert first.json()[name] == second.json()[name]
        assert [one.headers["idempotency-replayed"] for one in (first, second)] == ["false", "true"]
        if count == 2:
            assert first.json() == second.json()
        other = service.post("/v1/grades/batch", json={"answers": [answer(99)]}, headers=headers)
        assert other.status_code == 409
    assert len(service.get("/v1/grades", params={"limit": 100}).json()["grades"]) == 72


def test_a_key_works_for_a_batch_of_which_nothing_is_kept(service: TestClient) -> None:
    headers = {"idempotency-key": "unkept"}
    body = {"answers": [answer(0), answer(1, question_id="x")], "store": False}
    first, second = (service.post("/v1/grades/batch", json=body, headers=headers) for _ in range(2))
    assert (first.status_code, second.content) == (200, first.content)
    assert [one.headers["idempotency-replayed"] for one in (first, second)] == ["false", "true"]
    assert service.post("/v1/grades/batch", json={"answers": [answer(0)]}, headers=headers).status_code == 409
    assert service.get("/v1/grades").json()["grades"] == []


@pytest.mark.parametrize("first", ["/v1/grades", "/v1/grades/batch"])
def test_a_key_is_one_key_on_both_routes(service: TestClient, first: str) -> None:
    single = {"question_id": "zero-grad", "answer": GOOD}
    bodies: dict[str, Json] = {"/v1/grades": single, "/v1/grades/batch": {"answers": [single]}}
    for path in sorted(bodies, key=lambda path: path != first):
        response = service.post(path, json=bodies[path], headers={"idempotency-key": "both"})
        assert response.status_code == (200 if path == first else 409)


@pytest.mark.parametrize("keep", [True, False])
def test_equal_batches_that_arrive_at_once_get_the_results_of_one(service: TestClient, keep: bool) -> None:
    body, headers = {"answers": [answer(n) for n in range(8)], "store": keep}, {"idempotency-key": "at-once"}
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: service.post("/v1/grades/batch", json=body, headers=headers), range(6)))
    assert [response.status_code for response in found] == [200] * 6
    assert len({response.content for response in found}) == 1
    assert sum(response.headers["idempotency-replayed"] == "false" for response in found) == 1
    assert len(service.get("/v1/grades").json()["grades"]) == (8 if keep else 0)


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "é"])
def test_a_key_that_is_none_is_refused_for_a_batch_too(service: TestClient, key: str) -> None:
    headers = {"idempotency-key": key.encode("latin-1")}
    assert service.post("/v1/grades/batch", json={"answers": [answer(0)]}, headers=headers).status_code == 422


def test_two_workers_on_one_job_settle_every_row_once(url: str, fast_grader: Grader) -> None:
    with closing(Store.open(url)) as store:
        with store.write() as tx:
            rows = [NewRow({"question_id": "zero-grad", "answer": f"{GOOD} {n}"}, f"a-{n}") for n in range(40)]
            job = jobs.create(tx, rows)
        metrics = Metrics()

        def work() -> None:
            # No lease at all: each takes the job over from the other, as after a pause longer than a lease.
            work_off(store, Library([fast_grader]), job, new_worker(), metrics)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(ENOUGH)
        with store.read() as tx:
            results = jobs.results(tx, job.id)
    assert [one.client_id for one in results] == [f"a-{n}" for n in range(40)]
    ids = [one.grade.id for one in results if one.grade]
    assert len(set(ids)) == 40
    assert 'grader_job_rows_total{result="graded"} 40.0' in metrics.text().decode()


def test_a_worker_that_is_stopped_leaves_the_rest_to_the_next(url: str, fast_grader: Grader) -> None:
    stores, metrics = StoreState(url), Metrics()
    state = GraderState(lambda: fast_grader, metrics)
    state.start()
    assert state.wait(ENOUGH)
    with stores.open().write() as tx:
        job = jobs.create(tx, [NewRow({"question_id": "zero-grad", "answer": f"{GOOD} {n}"}) for n in range(60)])
    first = JobWorker(stores, state, metrics)
    first.start()
    while True:
        with stores.open().read() as tx:
            if jobs.get(tx, job.id).graded >= 2:
                break
        time.sleep(0.005)
    first.stop()
    with stores.open().read() as tx:
        half = jobs.get(tx, job.id)
    second = JobWorker(stores, state, metrics, lease=timedelta(hours=1))
    second.start()
    end = time.monotonic() + ENOUGH
    while time.monotonic() < end:
        with stores.open().read() as tx:
            whole = jobs.get(tx, job.id)
        if whole.state == "done":
            break
        time.sleep(0.02)
    second.stop()
    stores.close()
    assert (whole.state, whole.graded) == ("done", 60)
    assert half.pending + half.graded == 60


def test_a_row_that_breaks_the_grader_does_not_stop_the_others(url: str, fast_grader: Grader) -> None:
    with closing(Store.open(url)) as store:
        with store.write() as tx:
            broken = NewRow({"question_id": "zero-grad"})  # an older version's row without an answer
            job = jobs.create(tx, [broken, NewRow({"question_id": "zero-grad", "answer": GOOD})], store=False)
        work_off(store, Library([fast_grader]), job, new_worker(), Metrics())
        with store.read() as tx:
            found = jobs.results(tx, job.id)
    assert [one.state for one in found] == ["failed", "graded"]
    assert found[0].error == "Something went wrong here; the service's log has the details."
    assert found[1].grade is not None
