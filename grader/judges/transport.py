"""The HTTP client of a judge over the network: a call ends when its time is over and a reply when it is too large.

It goes to the endpoint itself and says no more than the configuration does: proxies of the environment are not used, and
headers that the environment or the client's library add are not sent.

The timeouts of an HTTP client hold for a single read; a server that sends a blank now and then, or asks to be tried again
in a minute, would hold a thread for as long as it likes. Importing this module needs the extra `llm`.
"""

from __future__ import annotations

import threading
import time
from email.utils import parsedate_to_datetime
from typing import Any

from httpx2 import Headers, ReadTimeout, Request, RequestError, Response, TimeoutException, create_ssl_context
from openai import APIConnectionError, APITimeoutError, DefaultHttpxClient

# Bytes; a reply with 64 verdicts and their quotes takes a tenth of it.
MOST_BYTES = 2_000_000
# Seconds: the longest that the client pauses of itself between the few tries it has.
PAUSE = 1.0
SENT = frozenset({"accept", "accept-encoding", "authorization", "content-length", "content-type", "user-agent"})


class TooLarge(ValueError):
    """A reply has more than MOST_BYTES."""


class BoundedClient(DefaultHttpxClient):
    """Follows no redirects, which could lead to a host that is not allowed. Each thread has its own end of time."""

    def __init__(self) -> None:
        # Certificates of the environment (SSL_CERT_FILE) are the operator's own and are believed.
        super().__init__(follow_redirects=False, trust_env=False, verify=create_ssl_context())
        self._thread = threading.local()

    def until(self, ends: float) -> None:
        """Calls of this thread end at `ends` (time.monotonic()), retries and all."""
        self._thread.ends = ends

    def send(self, request: Request, **options: Any) -> Response:
        """A response that has been read; raises TooLarge, RequestError, and where there is no time for another try what the
        client itself raises after its last one."""
        ends = self._thread.ends
        sent = {name: value for name, value in request.headers.items() if name in SENT}
        request.headers = Headers({"host": request.url.netloc.decode("ascii")} | sent)
        try:
            response, body = self._sent(request, ends, options)
        except RequestError as error:
            if ends - time.monotonic() > PAUSE:
                raise  # the client tries again
            kind = APITimeoutError if isinstance(error, TimeoutException) else APIConnectionError
            raise kind(request=request) from None
        kept = {"content-type", "retry-after", "retry-after-ms", "x-request-id", "x-should-retry"}
        headers = {name: value for name, value in response.headers.items() if name.lower() in kept}
        if _wait(response.headers) > ends - time.monotonic():
            headers["x-should-retry"] = "false"  # by then nobody is waiting any more
        return Response(response.status_code, headers=headers, content=body, request=request)

    def _sent(self, request: Request, ends: float, options: dict[str, Any]) -> tuple[Response, bytes]:
        request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), _left(request, ends))
        response = super().send(request, **{**options, "stream": True})
        try:
            return response, _read(request, response, ends)
        finally:
            response.close()


def _read(request: Request, response: Response, ends: float) -> bytes:
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MOST_BYTES:
            raise TooLarge(f"the reply has more than {MOST_BYTES:,} bytes")
        _left(request, ends)
    return bytes(body)


def _left(request: Request, ends: float) -> float:
    if (left := ends - time.monotonic()) <= 0:
        raise ReadTimeout("no time is left", request=request)
    return left


def _wait(headers: Headers) -> float:
    """Seconds that the client would wait before it tries again: what the server asks for, else its own pause."""
    return asked if (asked := _asked(headers)) > 0 else PAUSE


def _asked(headers: Headers) -> float:
    """Seconds that a server asks to be left alone, in any of the ways that the client understands; 0 for none."""
    for header, parts in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            return float(headers.get(header, "")) / parts
        except ValueError:
            pass
    try:
        return parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0
