"""Everything about one person, out as JSON and gone; and the end of what has become old."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from api.store import Store, UnknownRecord, candidates, events, grades, idempotency, jobs
from api.store.candidates import Erased
from api.store.grades import Filter, Review
from api.store.tables import job_rows, metadata
from api.upkeep import MOST_DRIFT, Upkeep
from grader.schema import Grade, Question
from tests.api.store.conftest import ANSWER, Clock

Keep = Callable[..., grades.StoredGrade]
SIGN = "anna-7f3a"  # found nowhere else


def everything(store: Store) -> str:
    """Every row of every table, as text."""
    with store.read() as tx:
        return "\n".join(str(tuple(row)) for table in metadata.sorted_tables for row in tx.execute(select(table)))


def fill(store: Store, keep: Keep) -> str:
    """An answer that was overridden twice, a job with two rows and an idempotency record of one candidate."""
    kept = keep(candidate=SIGN, answer="anna-7f3a wrote this", hints=["accumulates"])
    with store.write() as tx:
        _, after = grades.override(tx, kept.id, Review("Dana", "of anna-7f3a", score=10))
        grades.override(tx, after.id, Review("Dana", "of anna-7f3a again", score=20))
        mine = idempotency.claim(tx, "", "k", "m")
        idempotency.settle(tx, "", "k", mine, grade_id=kept.id)
        rows = [
            jobs.NewRow({"answer": "of anna-7f3a"}, "row of anna-7f3a", SIGN),
            jobs.NewRow({"answer": "x"}, 2, "ben"),
        ]
        job = jobs.create(tx, rows)
    return job.id


def test_an_export_holds_everything_and_is_json(store: Store, keep: Keep) -> None:
    job_id = fill(store, keep)
    with store.read() as tx:
        found = candidates.export(tx, SIGN)
    found = json.loads(json.dumps(found))
    (answer,) = found["answers"]
    assert (answer["answer"], answer["hints"]) == ("anna-7f3a wrote this", ["accumulates"])
    assert [one["kind"] for one in answer["grades"]] == ["grade", "override", "override"]
    assert [one["review"] and one["review"]["score"] for one in answer["grades"]] == [None, 10, 20]
    assert [(row["job_id"], row["request"]["answer"]) for row in found["job_rows"]] == [(job_id, "of anna-7f3a")]


def test_after_erasure_no_trace_is_left_and_nobody_else_is_touched(store: Store, keep: Keep) -> None:
    other = keep(candidate="ben")
    fill(store, keep)
    assert SIGN in everything(store)
    with store.write() as tx:
        assert candidates.erase(tx, SIGN, "test") == Erased(answers=1, grades=3, job_rows=1)
    assert SIGN not in everything(store)
    with store.read() as tx:
        assert [one.id for one in grades.find(tx, Filter(history=True)).grades] == [other.id]
        assert events.latest(tx)[0].details == {"answers": 1, "grades": 3, "job_rows": 1}
        assert idempotency.fingerprint("x")
        with pytest.raises(UnknownRecord):
            candidates.export(tx, SIGN)
    with pytest.raises(UnknownRecord), store.write() as tx:
        candidates.erase(tx, SIGN, "test")


def test_retention_takes_what_is_older_and_nothing_else(store: Store, keep: Keep, clock: Clock) -> None:
    fill(store, keep)
    with store.write() as tx:
        (job,) = [jobs.claim(tx, "w", timedelta(minutes=1))]
        assert job is not None
        jobs.cancel(tx, job.id)
    clock.advance(days=10)
    young = keep(answer=ANSWER)
    with store.write() as tx:
        erased = candidates.retain(tx, tx.now - timedelta(days=5), "test")
        assert erased == Erased(answers=1, grades=3, job_rows=2)
        assert candidates.retain(tx, tx.now - timedelta(days=5), "test") == Erased(0, 0, 0)
        with pytest.raises(UnknownRecord):
            jobs.get(tx, job.id)
    with store.read() as tx:
        assert [one.id for one in grades.find(tx, Filter(history=True)).grades] == [young.id]
    assert SIGN not in everything(store)


def test_a_job_that_still_runs_is_not_old(store: Store, keep: Keep, clock: Clock) -> None:
    job_id = fill(store, keep)
    clock.advance(days=100)
    with store.write() as tx:
        candidates.retain(tx, tx.now, "test")
        assert jobs.get(tx, job_id).pending == 2


def test_upkeep_deletes_what_the_operator_set_and_nothing_by_a_clock_that_jumped(
    store: Store, keep: Keep, clock: Clock
) -> None:
    keep(candidate=SIGN)
    Upkeep(store, retention_days=30).once()
    clock.advance(days=31)
    Upkeep(store, retention_days=0).once()
    Upkeep(store, retention_days=30).once(drift=31 * 86_400)
    assert SIGN in everything(store)
    Upkeep(store, retention_days=30).once(drift=MOST_DRIFT / 2)
    assert SIGN not in everything(store)
    if store.engine.dialect.name == "sqlite":
        folder = Path(store.engine.url.database or "").parent
        assert not [file for file in folder.iterdir() if SIGN.encode() in file.read_bytes()]


@pytest.mark.parametrize("retention_days", [0, 30])
def test_upkeep_deletes_a_job_that_keeps_nothing_a_day_after_its_end(
    store: Store, graded: Grade, question: Question, clock: Clock, retention_days: int
) -> None:
    rows = [jobs.NewRow({"answer": ANSWER}, SIGN)]
    with store.write() as tx:
        kept, unkept, waiting = (jobs.create(tx, rows, store=keep) for keep in (True, False, False))
        for job in (kept, unkept):
            (row,) = jobs.pending(tx, job.id, 1)
            jobs.complete(tx, row, graded, question=question, store=job.store)
            jobs.finish(tx, job.id)
    left = {kept.id, unkept.id, waiting.id}
    for hours, gone in ((23, set()), (1, {unkept.id})):
        clock.advance(hours=hours)
        Upkeep(store, retention_days).once()
        left -= gone
        with store.read() as tx:
            assert set(tx.execute(select(job_rows.c.job_id)).scalars()) == left


def test_upkeep_runs_by_itself_and_ends_when_told(store: Store, keep: Keep, clock: Clock) -> None:
    keep(candidate=SIGN)
    clock.advance(days=31)
    upkeep = Upkeep(store, retention_days=30, every=0.01)
    upkeep.start()
    for _ in range(2000):
        if SIGN not in everything(store):
            break
    upkeep.stop()
    assert SIGN not in everything(store)
    assert not upkeep._thread.is_alive()
