"""Jobs: every row is settled once, whoever works on it and whenever they die."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from api.store import Conflict, Store, UnknownRecord, events, grades, jobs, keys
from api.store.jobs import NewRow, Row
from api.store.tables import answers
from grader.schema import Grade, Question
from tests.api.store.conftest import ANSWER, Clock

LEASE = timedelta(seconds=30)
Complete = Callable[..., Grade | None]


def create(opened: Store, rows: int = 3, **options: object) -> jobs.Job:
    new = [NewRow({"question_id": "zero-grad", "answer": ANSWER, "n": n}, f"row {n}", f"c{n}") for n in range(rows)]
    with opened.write() as tx:
        return jobs.create(tx, new, **options)  # type: ignore[arg-type]


@pytest.fixture
def complete(store: Store, graded: Grade, question: Question) -> Complete:
    def settle(row: Row, *, keep: bool = True) -> Grade | None:
        with store.write() as tx:
            return jobs.complete(tx, row, graded, question=question, store=keep)

    return settle


def kept_answers(store: Store) -> int:
    with store.read() as tx:
        return tx.execute(select(func.count()).select_from(answers)).scalar_one()


def test_a_job_from_start_to_end(store: Store, complete: Complete, clock: Clock) -> None:
    job = create(store)
    assert (job.state, job.total, job.pending) == ("queued", 3, 3)
    with store.write() as tx:
        claimed = jobs.claim(tx, "w", LEASE)
        assert claimed is not None
        assert (claimed.id, claimed.state, claimed.started_at) == (job.id, "running", clock.now)
        rows = jobs.pending(tx, job.id, 10)
    assert [(row.row, row.client_id, row.candidate, row.request["n"]) for row in rows] == [
        (0, "row 0", "c0", 0), (1, "row 1", "c1", 1), (2, "row 2", "c2", 2),
    ]  # fmt: skip
    first = complete(rows[0])
    with store.write() as tx:
        assert jobs.fail(tx, rows[1], "no such question \x00")
        assert jobs.finish(tx, job.id).state == "running"
    complete(rows[2])
    with store.write() as tx:
        done = jobs.finish(tx, job.id)
        assert (done.state, done.graded, done.failed, done.finished_at) == ("done", 2, 1, clock.now)
        found = jobs.results(tx, job.id)
        assert [one.state for one in found] == ["graded", "failed", "graded"]
        assert found[0].grade == first
        assert found[1].error == "no such question \x00"
        assert jobs.results(tx, job.id, after=1) == found[2:]
        assert jobs.claim(tx, "w", LEASE) is None
    assert first is not None
    with store.read() as tx:
        assert grades.get(tx, first.id).candidate == "c0"


def test_a_settled_row_is_settled_for_good(store: Store, complete: Complete) -> None:
    job = create(store, 1)
    with store.read() as tx:
        (row,) = jobs.pending(tx, job.id, 1)
    assert complete(row) is not None
    assert complete(row) is None
    with store.write() as tx:
        assert not jobs.fail(tx, row, "late")
    assert kept_answers(store) == 1


def test_many_workers_on_one_job_grade_every_row_once(store: Store, complete: Complete) -> None:
    job = create(store, 20)
    together = threading.Barrier(4)

    def work(_: int) -> int:
        together.wait()
        with store.read() as tx:
            rows = jobs.pending(tx, job.id, 100)
        return sum(complete(row) is not None for row in rows)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) == 20
    assert kept_answers(store) == 20


def test_a_job_is_claimed_by_one_and_taken_over_when_its_lease_ends(store: Store, clock: Clock) -> None:
    first, second = create(store), create(store)
    with store.write() as tx:
        assert jobs.claim(tx, "a", LEASE).id == first.id  # type: ignore[union-attr]
    with store.write() as tx:
        assert jobs.claim(tx, "b", LEASE).id == second.id  # type: ignore[union-attr]
        assert jobs.claim(tx, "c", LEASE) is None
        assert jobs.claim(tx, "a", LEASE).id == first.id  # type: ignore[union-attr]
    clock.advance(seconds=20)
    with store.write() as tx:
        assert jobs.renew(tx, first.id, "a", LEASE)
    clock.advance(seconds=15)
    with store.write() as tx:
        assert jobs.claim(tx, "c", LEASE).id == second.id  # type: ignore[union-attr]
        assert not jobs.renew(tx, second.id, "b", LEASE)
        jobs.give_up(tx, first.id, "a")
        assert jobs.claim(tx, "d", LEASE).id == first.id  # type: ignore[union-attr]


def test_a_clock_that_is_set_back_does_not_hold_a_job(store: Store, clock: Clock) -> None:
    create(store)
    with store.write() as tx:
        assert jobs.claim(tx, "a", LEASE)
    clock.advance(days=-3)
    with store.write() as tx:
        assert jobs.claim(tx, "b", LEASE)


def test_a_cancelled_job_forgets_what_is_not_graded(store: Store, complete: Complete) -> None:
    job = create(store)
    with store.write() as tx:
        jobs.claim(tx, "w", LEASE)
        rows = jobs.pending(tx, job.id, 3)
    complete(rows[0])
    with store.write() as tx:
        cancelled = jobs.cancel(tx, job.id)
        assert (cancelled.state, cancelled.graded, cancelled.cancelled) == ("cancelled", 1, 2)
        assert not jobs.renew(tx, job.id, "w", LEASE)
        assert jobs.cancel(tx, job.id) == cancelled
        assert jobs.claim(tx, "w", LEASE) is None
    assert complete(rows[1]) is None
    with store.write() as tx:
        assert jobs.finish(tx, job.id).state == "cancelled"


def test_the_log_says_who_has_cancelled_or_deleted_a_job(store: Store) -> None:
    with store.write() as tx:
        mine, _ = keys.create(tx, "mine", "candidate")
    job = create(store, key_id=mine.id)
    with store.write() as tx:
        jobs.cancel(tx, job.id, actor="an admin")
        jobs.remove(tx, job.id, actor="another")
        found = [(one.actor, one.action) for one in events.latest(tx, job.id)]
        with pytest.raises(UnknownRecord):
            jobs.get(tx, job.id)
    assert found == [("another", "job.deleted"), ("an admin", "job.cancelled"), (mine.id, "job.created")]


def test_a_job_that_is_done_cannot_be_cancelled(store: Store) -> None:
    job = create(store, 0)
    with store.write() as tx:
        assert jobs.finish(tx, job.id).state == "done"
    with pytest.raises(Conflict), store.write() as tx:
        jobs.cancel(tx, job.id)


def test_a_job_that_keeps_nothing_has_its_results_and_no_answers(
    store: Store, complete: Complete, graded: Grade
) -> None:
    job = create(store, 1, store=False)
    with store.read() as tx:
        (row,) = jobs.pending(tx, job.id, 1)
    assert complete(row, keep=False) == graded
    with store.read() as tx:
        assert [one.grade for one in jobs.results(tx, job.id)] == [graded]
        assert jobs.pending(tx, job.id, 1) == []
    assert kept_answers(store) == 0


def test_somebody_elses_job_is_unknown(store: Store) -> None:
    with store.write() as tx:
        mine, _ = keys.create(tx, "mine", "candidate")
    job = create(store, key_id=mine.id)
    with store.read() as tx:
        assert jobs.get(tx, job.id, mine.id) == job
        with pytest.raises(UnknownRecord):
            jobs.get(tx, job.id, "other")
