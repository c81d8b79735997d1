"""Starts the service: `grader serve`."""

from __future__ import annotations

import logging
import socket
import sys

import uvicorn
from pydantic import ValidationError

from api.app import create_app
from api.config import Settings


def run(host: str | None = None, port: int | None = None, workers: int = 1) -> None:
    """Serves until stopped; command-line values win over GRADER_* variables."""
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = _settings(given)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    if not settings.is_loopback:
        print(
            f"Warning: {settings.host} can be reached from other machines and this service asks nobody for a key; "
            "put it behind a proxy that does, or serve on 127.0.0.1.",
            file=sys.stderr,
        )
    if workers > 1:
        # Each worker process builds its own app from the environment, so the values must be the environment's.
        if given:
            raise SystemExit("With --workers give host and port as GRADER_HOST and GRADER_PORT.")
        uvicorn.run(
            "api.app:create_app",
            factory=True,
            host=settings.host,
            port=_announce(settings),
            workers=workers,
            log_level="warning",
        )
        return
    uvicorn.run(create_app(settings), host=settings.host, port=_announce(settings), log_level="warning")


def _settings(given: dict[str, str | int]) -> Settings:
    try:
        return Settings.model_validate({**Settings().model_dump(), **given})
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
        raise SystemExit(f"Error: a setting is wrong ({'; '.join(wrong)}); docs/settings.md lists them.") from None


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
