"""What the tests of the pages share: one Chromium, a watched page, servers whose grader is fast, hostile or slow."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, expect, sync_playwright

from api.app import create_app
from api.config import Settings
from grader.bank import load_bank
from grader.calibration import load_calibration
from grader.encoders.hashing import HashingEncoder
from grader.judges import Case, Judge
from grader.library import Library
from grader.pipeline import Grader
from grader.schema import Criterion, Judgement

Serve = Callable[[FastAPI], AbstractContextManager[str]]

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")

# Milliseconds; a page comes at once, unless the machine is busy with something else.
WAIT = 60_000
expect.set_options(timeout=WAIT)

HOSTILE_BANK = Path(__file__).parent / "hostile_bank"

GOOD = (
    "Whatever sits in p.grad stays there and the result of the next backward is summed onto it. zero_grad() gets rid of "
    "that leftover. Once per batch, anywhere ahead of backward. Lose the line and your step drags old batches along "
    "until training falls over. On 2.x the grads go to None instead of zeros, which trims memory."
)


@pytest.fixture(scope="session")
def good() -> str:
    """A good answer to `zero-grad`."""
    return GOOD


@pytest.fixture(scope="session")
def weak() -> str:
    """A weak answer to `zero-grad`."""
    return "It clears the old gradients, I think."


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of the pages."""
    executable = next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)
    if executable is None:
        pytest.skip(f"no browser on this machine: none of {', '.join(CHROMIUM_NAMES)} is on the PATH")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=list(CHROMIUM_ARGS))
        yield opened
        opened.close()


class Watched:
    """Pages of one visitor, and everything on them that must not happen: dialogs, exceptions, foreign requests."""

    def __init__(self, browser: Browser, home: str, **options: Any) -> None:
        self.context = browser.new_context(base_url=home, **options)
        self.context.set_default_timeout(WAIT)
        self.home = home
        self.incidents: list[str] = []
        self.page = self.tab()

    def tab(self) -> Page:
        """Another page of the same visitor."""
        page = self.context.new_page()
        page.on("dialog", self._dialog)
        page.on("console", lambda message: self._note(message.type == "error", f"console: {message.text}"))
        page.on("pageerror", lambda error: self._note(True, f"exception: {error}"))
        page.on("request", lambda request: self._note(not request.url.startswith(self.home), f"request: {request.url}"))
        return page

    def _dialog(self, dialog: Any) -> None:
        self.incidents.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note(self, wrong: bool, text: str) -> None:
        # Chromium notes a page's own status on the console; nothing else may be there.
        if wrong and "the server responded with a status of 4" not in text:
            self.incidents.append(text)


Visit = Callable[..., Watched]


@pytest.fixture
def visit(browser: Browser, fast_site: str) -> Iterator[Visit]:
    """Opens a browser as a new visitor: `visit(home=..., java_script_enabled=False, ...)`; checks that nothing happened."""
    opened: list[Watched] = []

    def start(home: str = fast_site, **options: Any) -> Watched:
        opened.append(Watched(browser, home, **options))
        return opened[-1]

    yield start
    for one in opened:
        one.context.close()
    assert [incident for one in opened for incident in one.incidents] == []


@pytest.fixture(scope="session")
def site(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., AbstractContextManager[str]]:
    """Serves a grader with a database of its own: `with site(grader, queue_length=0) as address`."""

    def start(grader: Grader | Library, **settings: Any) -> AbstractContextManager[str]:
        database = tmp_path_factory.mktemp("store") / "grades.db"
        return serve(create_app(Settings(database=f"sqlite:///{database}", **settings), load=lambda: grader))

    return start


@pytest.fixture(scope="session")
def fast_site(site: Callable[..., AbstractContextManager[str]], fast_grader: Grader) -> Iterator[str]:
    """A server whose grader compares hashed words: an answer takes milliseconds."""
    with site(fast_grader) as address:
        yield address


class GatedJudge:
    """A judge that waits at a gate before it judges as the shipped one does: how slow it is, is the test's to say."""

    name = "gated"
    version = "1"

    def __init__(self, inner: Judge) -> None:
        self.inner = inner
        self.gate = threading.Event()

    def judge(self, case: Case, criteria: Sequence[Criterion]) -> list[Judgement]:
        """See Judge.judge."""
        self.gate.wait(30)
        return self.inner.judge(case, criteria)


@pytest.fixture(scope="module")
def gated(
    site: Callable[..., AbstractContextManager[str]], fast_grader: Grader
) -> Iterator[tuple[str, threading.Event]]:
    """A server with room for one answer at a time and none in line, and the gate that lets it through."""
    judge = GatedJudge(fast_grader.judge)
    grader = Grader(fast_grader.bank, fast_grader.encoder, load_calibration(), judge=judge)
    with site(grader, grading_slots=1, queue_length=0) as address:
        yield address, judge.gate


@pytest.fixture(scope="session")
def hostile_site(site: Callable[..., AbstractContextManager[str]]) -> Iterator[str]:
    """A server whose bank tries, in every text, to be more than text."""
    with site(Grader(load_bank(HOSTILE_BANK), HashingEncoder(), load_calibration())) as address:
        yield address
