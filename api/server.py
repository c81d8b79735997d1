"""Starts the service, and stops it without dropping what is in work: `grader serve`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Sequence
from types import FrameType
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from api import logging
from api.app import create_app
from api.config import Settings, service_settings
from api.errors import MEDIA_TYPE, Problem
from api.security import HEADERS
from api.state import GraderState
from api.store import Store
from api.store.keys import any_configured
from grader.bank import load_banks

log = logging.get("api.server")


def run(host: str | None = None, port: int | None = None, banks: Sequence[str] | None = None, workers: int = 1) -> None:
    """Serves until stopped; command-line values win over GRADER_* variables.

    What can be known before anything listens (settings, database, keys, banks, address) ends it with an error. What only shows
    when the model is loaded leaves it running for what was kept, with /readyz saying why it cannot grade.
    """
    said = {"host": host, "port": port, "bank": tuple(banks) if banks else None}
    given = {name: value for name, value in said.items() if value is not None}
    settings = service_settings(**given)
    logging.configure(settings.log_level, settings.log_format)
    _check_store(settings)
    # Read again by whoever grades; what is wrong with them ends the start here, file and line.
    load_banks(settings.bank)
    if workers > 1:
        # Each worker process builds its own app from the environment, so the values must be the environment's.
        if given:
            raise SystemExit(
                "Error: with --workers give host, port and banks as GRADER_HOST, GRADER_PORT and GRADER_BANK."
            )
        uvicorn.run("api.server:create_worker", factory=True, workers=workers, **_options(settings))
        return
    with contextlib.suppress(KeyboardInterrupt):
        Server(create_app(settings), settings).run()


def _check_store(settings: Settings) -> None:
    """Opens the database before anything else: what is wrong with it is one line here, not a traceback later.

    An address that others can reach needs a key: nobody would be asked for one otherwise.
    """
    store = Store.open(settings.database)
    try:
        with store.read() as tx:
            has_key = any_configured(tx)
    finally:
        store.close()
    if not has_key and not settings.is_loopback:
        raise SystemExit(
            f"Error: {settings.host} can be reached from other machines and there is no API key yet. Make one first: "
            "`grader keys create --role admin --name me` (with the same GRADER_DATABASE), or serve on 127.0.0.1."
        )


def create_worker() -> FastAPI:
    """The app of one of several worker processes."""
    settings = service_settings()
    logging.configure(settings.log_level, settings.log_format)
    return create_app(settings)


class Server(uvicorn.Server):
    """Serves one app. The first SIGTERM makes /readyz say 503; after `drain_seconds` no connection is taken any more,
    requests in work are finished, and the process ends. Ctrl-C does not wait."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(uvicorn.Config(app, **_options(settings)))
        self.settings = settings
        self.grading: GraderState = app.state.grading

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        first = not self.grading.draining
        self.grading.drain()
        if first and sig == signal.SIGTERM and self.settings.drain_seconds:
            log.info("draining", seconds=self.settings.drain_seconds)
            asyncio.get_running_loop().call_later(self.settings.drain_seconds, super().handle_exit, sig, frame)
        else:
            super().handle_exit(sig, frame)


class Impatient(H11Protocol):
    """HTTP/1.1 that closes a connection on which a request does not begin, or its headers do not end, in time.

    uvicorn itself waits for ever: a few thousand clients that each send a byte a minute would use up all sockets. What is
    not HTTP at all gets a problem like any other error.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait(self.timeout_keep_alive)

    def handle_events(self) -> None:
        super().handle_events()
        if self.conn.their_state is not h11.IDLE:
            self._unset_deadline()  # the headers are there; the body has a time limit of its own

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and self.conn.their_state is h11.IDLE:
            # Until the next request begins the keep-alive timer runs; its first byte stops that one, but not this one.
            self._wait(2 * self.timeout_keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_deadline()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        content = Problem(type="about:blank", title="Not HTTP", status=400, detail=f"{msg} Send HTTP/1.1.")
        body = content.model_dump_json(exclude_none=True).encode()
        headers = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), "connection": "close", **HEADERS}
        headers[logging.REQUEST_ID] = logging.new_request_id()
        log.info("not http", request_id=headers[logging.REQUEST_ID], status=400)
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:  # else half a response is out already
            for event in (
                h11.Response(status_code=400, headers=list(headers.items())),
                h11.Data(body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _wait(self, seconds: float) -> None:
        self._unset_deadline()
        self._deadline = self.loop.call_later(seconds, self.transport.close)

    def _unset_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": _announce(settings),
        "http": Impatient,
        "ws": "none",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "timeout_keep_alive": settings.idle_seconds,
        "timeout_graceful_shutdown": settings.stop_seconds,
    }


def _announce(settings: Settings) -> int:
    """Prints the address; the port to listen on, which is a free one when the setting is 0."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise SystemExit(
                f"Error: cannot listen on {host}:{settings.port} ({error.strerror}); choose another with --port."
            ) from None
        port = int(probe.getsockname()[1])
    print(f"Web form: http://{host}:{port}/   API: http://{host}:{port}/docs   (Ctrl-C stops)", flush=True)
    return port
