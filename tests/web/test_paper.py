"""What comes out of the printer: the history and a result, dark on white, without what only a screen can use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import Visit
from tests.web.walk import QUESTION, send

pytestmark = pytest.mark.browser

# A4 at 96 pixels an inch, less the margins.
PAPER = {"width": 673, "height": 986}
CONTROLS = "button, input:not([type=hidden]), select, textarea, nav a, .skip"
WHITE, BLACK = "rgb(255, 255, 255)", "rgb(0, 0, 0)"


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, visit: Visit, good: str, weak: str) -> Page:
    """Somebody with two attempts, whose screen is light or dark."""
    scheme: Any = request.param
    page = visit(viewport=PAPER, color_scheme=scheme).page
    page.goto("/history")
    page.get_by_role("button", name="Keep my history").click()
    page.goto(QUESTION)
    send(page, weak)
    send(page, good)
    return page


def printed(page: Page) -> None:
    """Looks at the page as the printer does, and sees that nothing on it asks to be pressed or typed into."""
    page.emulate_media(media="print")
    shown = [one for one in page.locator(CONTROLS).all() if one.is_visible()]
    assert [one.inner_text() for one in shown] == []
    look = page.locator("body").evaluate("e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color]")
    assert look == [WHITE, BLACK]
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_the_history_on_paper(page: Page, tmp_path: Path) -> None:
    page.goto("/history")
    printed(page)
    for heading in ("My history", "Ideas to come back to", "By topic", "Attempts"):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
    for heading in ("Take it with you", "Erase everything"):
        expect(page.get_by_role("heading", name=heading)).to_be_hidden()
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("tbody tr").first).to_be_visible()
    expect(page.locator(".course").first).to_be_visible()
    file = tmp_path / "history.pdf"
    page.pdf(path=file, format="A4", print_background=False)
    content = file.read_bytes()
    assert content.startswith(b"%PDF-")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 2


def test_a_result_on_paper(page: Page, good: str) -> None:
    score = page.locator(".score strong").inner_text()
    printed(page)
    expect(page.locator(".score strong")).to_have_text(score)
    expect(page.locator(".score")).to_be_visible()
    expect(page.locator("section[aria-labelledby=yours] .answer")).to_contain_text(good[:40])
    expect(page.locator("section[aria-labelledby=yours] .answer")).to_be_visible()
    expect(page.locator(".point").first).to_be_visible()
    expect(page.get_by_role("heading", name="What to do next")).to_be_visible()
    expect(page.get_by_role("heading", name="Improve it")).to_be_hidden()
