"""Rates: what a client may do, what it is told, and who is not limited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from api.rates import MOST_CLIENTS, WINDOW, Rate, address_of, key_of

MakeService = Callable[..., TestClient]
ELSEWHERE = ("203.0.113.9", 40_000)


class Clock:
    """Time that moves when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_a_steady_rate() -> None:
    clock = Clock()
    rate = Rate(60, clock)
    assert [rate.take("a").allowed for _ in range(61)] == [True] * 60 + [False]
    refused = rate.take("a")
    assert (refused.allowed, refused.remaining, refused.wait) == (False, 0, pytest.approx(1.0))
    clock.now += 1.0
    assert rate.take("a").allowed
    assert not rate.take("a").allowed
    clock.now += WINDOW
    assert rate.take("a").remaining == 59


def test_clients_do_not_share_an_allowance() -> None:
    rate = Rate(1, Clock())
    assert rate.take("a").allowed
    assert not rate.take("a").allowed
    assert rate.take("b").allowed


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 50), st.lists(st.floats(0, 5), max_size=200))
def test_never_more_than_twice_the_rate_in_any_minute(per_minute: int, pauses: list[float]) -> None:
    clock = Clock()
    rate = Rate(per_minute, clock)
    allowed = []
    for pause in pauses:
        clock.now += pause
        if rate.take("a").allowed:
            allowed.append(clock.now)
    for moment in allowed:
        assert sum(moment <= other < moment + WINDOW for other in allowed) <= 2 * per_minute


def test_the_table_of_clients_is_bounded() -> None:
    rate = Rate(10, Clock())
    for number in range(MOST_CLIENTS + 100):
        rate.take(str(number))
    assert len(rate._full_at) == MOST_CLIENTS


def test_an_address_is_told_how_it_stands_and_refused_when_over(service: MakeService) -> None:
    client = service(client=ELSEWHERE, rate_per_address=3, metrics_public=True)
    found = [client.get("/openapi.json") for _ in range(4)]
    assert [one.status_code for one in found] == [200, 200, 200, 429]
    assert [one.headers["ratelimit"].split(";t=")[0] for one in found] == [f'"address";r={n}' for n in (2, 1, 0, 0)]
    assert found[0].headers["ratelimit-policy"] == '"address";q=3;w=60'
    refused = found[-1]
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["status"] == 429
    assert client.get("/", headers={"accept": "text/html"}).headers["content-type"].startswith("text/html")
    assert 'grader_refused_total{reason="address"} 2.0' in client.get("/metrics").text


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/static/style.css"])
def test_an_operators_tools_are_never_refused(service: MakeService, path: str) -> None:
    client = service(client=ELSEWHERE, rate_per_address=1, metrics_public=True)
    assert {client.get(path).status_code for _ in range(5)} == {200}


def test_this_machine_is_not_limited_by_address(service: MakeService) -> None:
    client = service(client=("127.0.0.1", 1), rate_per_address=1)
    found = [client.get("/v1/questions") for _ in range(3)]
    assert {one.status_code for one in found} == {200}
    assert "ratelimit" not in found[0].headers


@pytest.mark.parametrize(
    ("address", "name"),
    [("203.0.113.9", "203.0.113.9"), ("::ffff:203.0.113.9", "203.0.113.9"), ("::ffff:127.0.0.1", None), ("::1", None),
     ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"), ("fe80::1%eth0", "fe80::/64"), ("127.3.2.1", None), ("nobody", None)],
)  # fmt: skip
def test_whose_allowance_a_request_uses(address: str, name: str | None) -> None:
    assert address_of({"client": (address, 1)}) == name


def test_without_a_client_or_a_key_there_is_no_name() -> None:
    empty: dict[str, Any] = {}
    assert address_of(empty) is None
    assert key_of(empty) is None
