"""API keys: shown once, kept as a hash, ended by revoking or expiry at the very next request."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from sqlalchemy import select

from api.store import Store, UnknownRecord, events, keys
from api.store.tables import api_keys
from tests.api.store.conftest import Clock


def make(store: Store, role: keys.Role = "candidate", **options: object) -> tuple[keys.Key, str]:
    with store.write() as tx:
        return keys.create(tx, "a name", role, **options)  # type: ignore[arg-type]


def test_a_key_opens_and_nothing_like_it_does(store: Store) -> None:
    key, token = make(store, "reviewer")
    ring = keys.Keyring(store)
    found = ring.key_of(token)
    assert found is not None
    assert (found.id, found.role, found.name) == (key.id, "reviewer", "a name")
    secret = token.split("_", 2)[2]
    swapped = token[:-1] + ("A" if token[-1] != "A" else "B")
    for wrong in ("", "ag_", swapped, f"ag_{'0' * 16}_{secret}", token + "x", token.upper(), f" {token}", "ag_é_x"):
        assert ring.key_of(wrong) is None
    assert ring.key_of(token) is not None


def test_what_is_kept_does_not_hold_the_key(store: Store) -> None:
    key, token = make(store)
    with store.read() as tx:
        row = tx.execute(select(api_keys)).one()
    assert row.hash.startswith("$argon2id$")
    assert token.split("_", 2)[2] not in str(row)
    assert key.id in token


def test_two_keys_are_never_alike(store: Store) -> None:
    made = [make(store) for _ in range(5)]
    assert len({token for _, token in made}) == len({key.id for key, _ in made}) == 5


def test_a_revoked_key_is_refused_at_once_also_where_it_was_just_used(store: Store) -> None:
    key, token = make(store)
    ring = keys.Keyring(store)
    assert ring.key_of(token) is not None
    with store.write() as tx:
        revoked = keys.revoke(tx, key.id)
    assert revoked.revoked_at == store.clock()
    assert ring.key_of(token) is None
    assert ring.by_id(key.id) is None
    with store.read() as tx:
        assert [event.action for event in events.latest(tx, key.id)] == ["key.revoked", "key.created"]


def test_an_expired_key_is_refused_and_still_counts_as_configured(store: Store, clock: Clock) -> None:
    _, token = make(store, expires_at=clock.now + timedelta(days=1))
    ring = keys.Keyring(store)
    assert ring.key_of(token) is not None
    clock.advance(days=1)
    assert ring.key_of(token) is None
    with store.read() as tx:
        assert keys.any_configured(tx)


def test_no_key_is_configured_before_the_first_and_after_the_last(store: Store) -> None:
    with store.read() as tx:
        assert not keys.any_configured(tx)
    key, _ = make(store)
    with store.write() as tx:
        assert keys.any_configured(tx)
        keys.revoke(tx, key.id)
        assert not keys.any_configured(tx)
        with pytest.raises(UnknownRecord):
            keys.revoke(tx, "ffffffffffffffff")


def test_last_use_is_kept_to_the_minute(store: Store, clock: Clock) -> None:
    key, token = make(store)
    ring = keys.Keyring(store)

    def used() -> object:
        with store.read() as tx:
            return keys.get(tx, key.id).last_used_at

    assert used() is None
    ring.key_of(token)
    first = used()
    assert first == clock.now
    clock.advance(seconds=30)
    ring.key_of(token)
    assert used() == first
    clock.advance(seconds=30)
    ring.key_of(token)
    assert used() == clock.now
    clock.advance(days=-2)  # the clock was set back
    ring.key_of(token)
    assert used() == clock.now


def test_the_second_check_is_cheap(store: Store) -> None:
    _, token = make(store)
    ring = keys.Keyring(store)
    begun = time.process_time()
    ring.key_of(token)
    first = time.process_time() - begun
    begun = time.process_time()
    for _ in range(10):
        ring.key_of(token)
    assert (time.process_time() - begun) / 10 < first
