"""One effect for one key: at once, one after the other, after a crash, after a day."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from api.store import Store, grades, idempotency, jobs
from api.store.idempotency import LEASE, Claim, ClaimLost
from tests.api.store.conftest import Clock

Keep = Callable[..., grades.StoredGrade]


def claim(store: Store, key: str = "k", mark: str = "m", scope: str = "s") -> Claim:
    with store.write() as tx:
        return idempotency.claim(tx, scope, key, mark)


def settle(store: Store, mine: Claim, grade_id: str | None) -> None:
    with store.write() as tx:
        idempotency.settle(tx, "s", "k", mine, grade_id=grade_id)


def release(store: Store, mine: Claim) -> None:
    with store.write() as tx:
        idempotency.release(tx, "s", "k", mine)


def test_of_many_at_once_one_works(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        states = [found.state for found in pool.map(lambda _: claim(store), range(16))]
    assert sorted(states) == ["busy"] * 15 + ["mine"]


def test_what_came_of_it_is_given_again(store: Store, keep: Keep) -> None:
    mine = claim(store)
    assert mine.state == "mine"
    kept = keep()
    settle(store, mine, kept.id)
    assert claim(store) == Claim("done", kept.id)


def test_a_small_batch_is_busy_while_its_request_works_and_anybodys_after(store: Store, clock: Clock) -> None:
    mine = claim(store)
    with store.write() as tx:
        job = jobs.create(tx, [], worker=f"{jobs.REQUEST}1", lease=LEASE)
        idempotency.settle(tx, "s", "k", mine, job_id=job.id)
        assert idempotency.is_busy(tx, "s", "k")
    assert claim(store).state == "busy"
    assert claim(store, mark="other").state == "other_body"
    clock.advance(seconds=LEASE.total_seconds())  # it has died: the job goes on in the background, and may be seen
    with store.read() as tx:
        assert not idempotency.is_busy(tx, "s", "k")
    assert claim(store) == Claim("done", job_id=job.id)


def test_another_body_is_told_whether_the_first_is_done_or_not(store: Store) -> None:
    mine = claim(store)
    assert claim(store, mark="other").state == "other_body"
    settle(store, mine, None)
    assert claim(store, mark="other").state == "other_body"
    assert claim(store) == Claim("done")


def test_the_keys_of_two_clients_are_two_keys(store: Store) -> None:
    assert claim(store, scope="one").state == claim(store, scope="two", mark="other").state == "mine"


def test_after_an_error_the_same_request_may_try_again(store: Store) -> None:
    release(store, claim(store))
    assert claim(store).state == "mine"


def test_a_release_does_not_undo_what_is_done(store: Store, keep: Keep) -> None:
    mine = claim(store)
    kept = keep()
    settle(store, mine, kept.id)
    release(store, mine)
    assert claim(store) == Claim("done", kept.id)


def test_a_worker_that_died_is_followed_by_one_other(store: Store, clock: Clock) -> None:
    claim(store)
    clock.advance(seconds=LEASE.total_seconds() - 1)
    assert claim(store).state == "busy"
    clock.advance(seconds=2)
    with ThreadPoolExecutor(8) as pool:
        states = [found.state for found in pool.map(lambda _: claim(store), range(8))]
    assert sorted(states) == ["busy"] * 7 + ["mine"]


@pytest.mark.parametrize("jump", [{"seconds": 61}, {"hours": 5}, {"hours": -5}])
def test_who_was_overtaken_can_neither_settle_nor_release(
    store: Store, keep: Keep, clock: Clock, jump: dict[str, float]
) -> None:
    late = claim(store)
    clock.advance(**jump)
    mine = claim(store)
    assert mine.state == "mine"
    with pytest.raises(ClaimLost):
        settle(store, late, None)
    release(store, late)
    kept = keep()
    settle(store, mine, kept.id)
    with pytest.raises(ClaimLost):
        settle(store, late, None)
    assert claim(store) == Claim("done", kept.id)


def test_a_claim_that_was_given_up_is_taken_over_at_once_and_no_other_is(store: Store, clock: Clock) -> None:
    lost = claim(store)
    assert lost.until is not None
    clock.advance(seconds=1)
    for given_up in ((), {lost.until + timedelta(microseconds=1)}):
        with store.write() as tx:
            assert idempotency.is_busy(tx, "s", "k", given_up=given_up)
            assert idempotency.claim(tx, "s", "k", "m", given_up=given_up).state == "busy"
    with store.write() as tx:
        assert not idempotency.is_busy(tx, "s", "k", given_up={lost.until})
        assert idempotency.claim(tx, "s", "k", "m", given_up={lost.until}).state == "mine"
        assert idempotency.claim(tx, "s", "k", "m", given_up={lost.until}).state == "busy"  # it is another's now


def test_a_clock_that_is_set_back_blocks_nobody(store: Store, clock: Clock) -> None:
    claim(store)
    clock.advance(days=-1)
    assert claim(store).state == "mine"


def test_after_a_day_a_key_is_new(store: Store, keep: Keep, clock: Clock) -> None:
    settle(store, claim(store), keep().id)
    clock.advance(hours=24)
    assert claim(store, mark="other").state == "mine"
    clock.advance(hours=25)
    with store.write() as tx:
        assert idempotency.purge(tx) == 1


def test_a_fingerprint_is_of_the_content_not_of_its_spelling() -> None:
    assert idempotency.fingerprint({"a": 1, "b": "é"}) == idempotency.fingerprint({"b": "é", "a": 1})
    assert idempotency.fingerprint({"a": 1}) != idempotency.fingerprint({"a": "1"})
