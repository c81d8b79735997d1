"""One effect for one key: at once, one after the other, after a crash, after a day."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from api.store import Store, grades, idempotency
from api.store.idempotency import LEASE, Claim
from tests.api.store.conftest import Clock

Keep = Callable[..., grades.StoredGrade]


def claim(store: Store, key: str = "k", mark: str = "m", scope: str = "s") -> Claim:
    with store.write() as tx:
        return idempotency.claim(tx, scope, key, mark)


def settle(store: Store, grade_id: str | None) -> None:
    with store.write() as tx:
        idempotency.settle(tx, "s", "k", grade_id=grade_id)


def test_of_many_at_once_one_works(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        states = [found.state for found in pool.map(lambda _: claim(store), range(16))]
    assert sorted(states) == ["busy"] * 15 + ["mine"]


def test_what_came_of_it_is_given_again(store: Store, keep: Keep) -> None:
    assert claim(store).state == "mine"
    kept = keep()
    settle(store, kept.id)
    assert claim(store) == Claim("done", kept.id)


def test_another_body_is_told_whether_the_first_is_done_or_not(store: Store) -> None:
    claim(store)
    assert claim(store, mark="other").state == "other_body"
    settle(store, None)
    assert claim(store, mark="other").state == "other_body"
    assert claim(store) == Claim("done")


def test_the_keys_of_two_clients_are_two_keys(store: Store) -> None:
    assert claim(store, scope="one").state == claim(store, scope="two", mark="other").state == "mine"


def test_after_an_error_the_same_request_may_try_again(store: Store) -> None:
    claim(store)
    with store.write() as tx:
        idempotency.release(tx, "s", "k")
    assert claim(store).state == "mine"


def test_a_release_does_not_undo_what_is_done(store: Store, keep: Keep) -> None:
    claim(store)
    kept = keep()
    settle(store, kept.id)
    with store.write() as tx:
        idempotency.release(tx, "s", "k")
    assert claim(store) == Claim("done", kept.id)


def test_a_worker_that_died_is_followed_by_one_other(store: Store, clock: Clock) -> None:
    claim(store)
    clock.advance(seconds=LEASE.total_seconds() - 1)
    assert claim(store).state == "busy"
    clock.advance(seconds=2)
    with ThreadPoolExecutor(8) as pool:
        states = [found.state for found in pool.map(lambda _: claim(store), range(8))]
    assert sorted(states) == ["busy"] * 7 + ["mine"]


def test_a_clock_that_is_set_back_blocks_nobody(store: Store, clock: Clock) -> None:
    claim(store)
    clock.advance(days=-1)
    assert claim(store).state == "mine"


def test_after_a_day_a_key_is_new(store: Store, keep: Keep, clock: Clock) -> None:
    claim(store)
    settle(store, keep().id)
    clock.advance(hours=24)
    assert claim(store, mark="other").state == "mine"
    clock.advance(hours=25)
    with store.write() as tx:
        assert idempotency.purge(tx) == 1


def test_a_fingerprint_is_of_the_content_not_of_its_spelling() -> None:
    assert idempotency.fingerprint({"a": 1, "b": "é"}) == idempotency.fingerprint({"b": "é", "a": 1})
    assert idempotency.fingerprint({"a": 1}) != idempotency.fingerprint({"a": "1"})
