"""What the tests share: graders, a real server on a free loopback port, a real Chromium. Nothing is patched.

`fast_grader` compares hashed words (a shipped fake that discriminates); `real_grader` has the embedded model.
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, sync_playwright

from api.app import create_app
from api.config import Settings
from benchmarks.postgres import Cluster
from grader.bank import load_bank
from grader.calibration import load_calibration
from grader.encoders.hashing import HashingEncoder
from grader.pipeline import Grader

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
)
WEATHER_BANK = Path(__file__).parent / "weather_bank"
# Seconds; loading the model and embedding the bank take about 30 on one core.
START_LIMIT = 300.0


@contextmanager
def _folder_in_environment(name: str, folder: Path) -> Iterator[Path]:
    before = os.environ.get(name)
    os.environ[name] = str(folder)
    yield folder
    if before is None:
        del os.environ[name]
    else:
        os.environ[name] = before


@pytest.fixture(scope="session", autouse=True)
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a store goes that no test says anything about, so that nobody's own grades are touched."""
    with _folder_in_environment("XDG_DATA_HOME", tmp_path_factory.mktemp("data")) as folder:
        yield folder


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's cache folder: empty at first, then shared, so that the shipped bank is embedded once for all tests."""
    with _folder_in_environment("XDG_CACHE_HOME", tmp_path_factory.mktemp("cache")) as folder:
        yield folder


@pytest.fixture(scope="session")
def real_grader(cache_home: Path) -> Grader:
    """The grader as it ships: embedded model, shipped bank."""
    del cache_home
    return Grader.load(device="cpu")


@pytest.fixture(scope="session")
def fast_grader() -> Grader:
    """The shipped bank with the hashing encoder: ready in a second, blind to meaning."""
    return Grader(load_bank(), HashingEncoder(), load_calibration())


@pytest.fixture
def weather_bank(tmp_path: Path) -> Path:
    """The folder of a small bank on another subject: two questions, nothing trained."""
    return Path(shutil.copytree(WEATHER_BANK, tmp_path / "weather"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A private PostgreSQL, started by the first test that needs one."""
    try:
        cluster = Cluster()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    yield cluster
    cluster.close()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def module_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an empty database, of each kind, for all tests of a module: what one takes the other may choke on."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('module')}/grades.db"
        return
    with request.getfixturevalue("postgres").database() as address:
        yield address


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The address of a real server that runs this app, once it is ready to grade."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", ws="none", timeout_graceful_shutdown=2)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, name="server")
    thread.start()
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        _wait_until_ready(address)
        yield address
    finally:
        running.should_exit = True
        thread.join(timeout=30)
        listening.close()


@pytest.fixture(scope="session")
def serve() -> Callable[[FastAPI], AbstractContextManager[str]]:
    """Runs an app of a test's own: `with serve(app) as address`."""
    return serving


@pytest.fixture(scope="session")
def server(real_grader: Grader) -> Iterator[str]:
    """The address of a real server that is ready to grade."""
    with serving(create_app(Settings(), load=lambda: real_grader)) as address:
        yield address


def _wait_until_ready(address: str) -> None:
    end = time.monotonic() + START_LIMIT
    with httpx.Client(base_url=address, timeout=30) as client:
        while time.monotonic() < end:
            try:
                if client.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass  # it does not listen yet
            time.sleep(0.1)
    raise TimeoutError(f"the server was not ready within {START_LIMIT:.0f} s")


@pytest.fixture(scope="session")
def client(server: str) -> Iterator[httpx.Client]:
    """A client of the server."""
    with httpx.Client(base_url=server, timeout=60) as opened:
        yield opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium; a module's own, because Playwright keeps an event loop running in this thread."""
    executable = next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)
    if executable is None:
        pytest.skip(f"no browser on this machine: none of {', '.join(CHROMIUM_NAMES)} is on the PATH")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=list(CHROMIUM_ARGS))
        yield opened
        opened.close()
