"""How many requests one address, and one key, may make: a steady rate with room for a burst.

The generic cell rate algorithm (ITU-T I.371): one number per client says when its allowance is full again, so nothing is
counted and nothing has to be swept up on a timer. Counts are kept by each worker process and forgotten at a restart.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import Page, problem
from api.metrics import Metrics
from api.texts import say

WINDOW = 60.0  # seconds: the unit in which rates are set
MOST_CLIENTS = 20_000  # remembered at once, about 200 bytes each; the one not seen for longest is forgotten first
# Asked by the operator's own tools at a fixed rate; refusing them would make a busy service look like a dead one.
UNLIMITED = ("/healthz", "/readyz", "/metrics", "/static/")


@dataclass(frozen=True)
class Allowance:
    """What a client may still do: `remaining` requests at once; `wait` seconds until the next one if it may not."""

    allowed: bool
    remaining: int
    wait: float
    reset: float  # seconds until the whole burst is there again


class Rate:
    """`per_minute` requests a minute for each name, all of them at once if they were saved up. Not thread-safe."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._interval = WINDOW / per_minute
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, name: str) -> Allowance:
        """Uses one request of this name's allowance, if there is one."""
        now = self._clock()
        full_at = max(self._full_at.get(name, now), now) + self._interval
        over = full_at - now - WINDOW
        if over > 1e-9:
            return Allowance(False, 0, over, full_at - self._interval - now)
        self._full_at[name] = full_at
        self._full_at.move_to_end(name)
        if len(self._full_at) > MOST_CLIENTS:
            self._full_at.popitem(last=False)
        left = WINDOW - (full_at - now)
        return Allowance(True, math.floor(left / self._interval + 1e-9), 0.0, full_at - now)


class RateLimit:
    """Refuses (429) what is over the rate of the client that `name_of` finds; None is not limited.

    Says how things stand in `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10).
    """

    def __init__(
        self,
        app: ASGIApp,
        policy: Literal["address", "key"],
        per_minute: int,
        name_of: Callable[[Scope], str | None],
        page: Page,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app = app
        self.policy = policy
        self.rate = Rate(per_minute, clock)
        self.name_of = name_of
        self.page = page
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = self.name_of(scope) if scope["type"] == "http" and not scope["path"].startswith(UNLIMITED) else None
        if name is None:
            await self.app(scope, receive, send)
            return
        allowance = self.rate.take(name)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=list(message["headers"]))
                self._tell(headers, allowance)
                message = {**message, "headers": headers.raw}
            await send(message)

        if allowance.allowed:
            await self.app(scope, receive, with_headers)
            return
        self.metrics.refuse(self.policy)
        seconds = max(1, math.ceil(allowance.wait))
        detail = say(f"refused.rate.{self.policy}", most=self.rate.per_minute, seconds=seconds)
        title = "Too many requests"
        response = self.page(Request(scope), 429, title, detail) or problem(429, title, detail)
        response.headers["retry-after"] = str(seconds)
        await response(scope, receive, with_headers)

    def _tell(self, headers: MutableHeaders, allowance: Allowance) -> None:
        reset = math.ceil(allowance.reset)
        headers.append("ratelimit-policy", f'"{self.policy}";q={self.rate.per_minute};w={WINDOW:.0f}')
        headers.append("ratelimit", f'"{self.policy}";r={allowance.remaining};t={reset}')


def address_of(scope: Scope) -> str | None:
    """The network a request comes from: the IPv4 address or the IPv6 /64; None for this machine itself."""
    client = scope.get("client")
    if client is None:
        return None
    try:
        address = ipaddress.ip_address(client[0].split("%")[0])
    except ValueError:
        return None  # a Unix socket or a test client: whoever that is has access to this machine
    if address.is_loopback:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return None if address.ipv4_mapped.is_loopback else str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def key_of(scope: Scope) -> str | None:
    """The id of the key a request was authenticated with; None without one."""
    caller = scope.get("state", {}).get("caller")
    return getattr(caller, "key_id", None)
