"""Services with settings of their own, in this process or as the real command."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.config import Settings
from grader.pipeline import Grader

MakeService = Callable[..., TestClient]
START_LIMIT = 120.0  # seconds


@pytest.fixture(scope="session")
def usual(tmp_path_factory: pytest.TempPathFactory, fast_grader: Grader) -> Iterator[TestClient]:
    """A running service as it is without any setting; shared, because to start one takes a second."""
    database = f"sqlite:///{tmp_path_factory.mktemp('usual')}/grades.db"
    app = create_app(Settings(database=database), load=lambda: fast_grader)
    with TestClient(app, raise_server_exceptions=False) as client:
        assert app.state.grading.wait(60)
        yield client


@pytest.fixture
def service(tmp_path: Path, fast_grader: Grader) -> Iterator[MakeService]:
    """Makes running services that are ready to grade: `service(rate_per_key=5)`."""
    with ExitStack() as stack:

        def make(
            *, client: tuple[str, int] = ("testclient", 1), grader: Grader = fast_grader, **settings: Any
        ) -> TestClient:
            given = {"database": f"sqlite:///{tmp_path}/grades.db"} | settings
            app = create_app(Settings(**given), load=lambda: grader)
            opened = stack.enter_context(TestClient(app, client=client, raise_server_exceptions=False))
            assert app.state.grading.wait(60)
            return opened

        yield make


@dataclass
class Process:
    """A running `grader serve` and how to reach it."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(how)

    def ended(self, timeout: float = 30) -> int:
        return self.process.wait(timeout)

    def lines(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines()


@contextmanager
def serving(tmp_path: Path, *, until: int = 200, **environment: str) -> Iterator[Process]:
    """The real command with the hashing encoder, ready to grade; with `until=503`, once it knows that it never will be."""
    log = tmp_path / "service.log"
    base = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    given = base | {
        "GRADER_ENCODER": "hashing",
        "GRADER_DATABASE": f"sqlite:///{tmp_path}/grades.db",
        "GRADER_CACHE_FOLDER": str(tmp_path / "cache"),
        "GRADER_LOG_FORMAT": "json",
        "OMP_WAIT_POLICY": "passive",
    }
    code = "from grader.cli import main; main()"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", code, "serve", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=given | environment,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        found = re.search(r"Web form: (http://\S+?)/ ", line)
        assert found, line + log.read_text()
        running = Process(process, found.group(1), log)
        _wait(running, until)
        yield running
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _wait(running: Process, until: int) -> None:
    end = time.monotonic() + START_LIMIT
    with httpx.Client(base_url=running.address, timeout=10) as client:
        while time.monotonic() < end and running.process.poll() is None:
            try:
                found = client.get("/readyz")
                # A service that still loads says when to ask again, one that has failed to load does not.
                if found.status_code == until and "retry-after" not in found.headers:
                    return
            except httpx.TransportError:
                pass  # it does not listen yet
            time.sleep(0.05)
    raise TimeoutError("\n".join(running.lines()))


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts real services: `serve(GRADER_DRAIN_SECONDS="1")`."""
    with ExitStack() as stack:
        yield lambda **given: stack.enter_context(serving(tmp_path, **given))
