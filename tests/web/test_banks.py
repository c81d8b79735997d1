"""More than one bank in the web form: kept apart on the first page, mixed where that is wanted, never lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from grader.bank import load_bank
from grader.calibration import load_calibration
from grader.library import Library
from grader.pipeline import Grader
from tests.web.conftest import Visit
from tests.web.test_states import LOOKS, faults_of
from tests.web.walk import send

BANK = Path(__file__).parent.parent / "weather_bank"
GOOD = "Moist air rises and cools as it expands, and its water vapour condenses into droplets around dust or salt."


@pytest.fixture(scope="module")
def address(site: Callable[..., AbstractContextManager[str]], fast_grader: Grader) -> Iterator[str]:
    """A server with the bank that ships and one on the weather."""
    weather = Grader(load_bank(BANK), fast_grader.encoder, load_calibration())
    with site(Library([fast_grader, weather])) as opened:
        yield opened


@pytest.fixture
def web(address: str) -> Iterator[httpx.Client]:
    """A visitor without a browser."""
    with httpx.Client(base_url=address, timeout=60, follow_redirects=True) as opened:
        yield opened


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (320, "dark"), (700, "light")])
def test_the_first_page_keeps_banks_apart_and_filters_by_them(
    visit: Visit, address: str, width: int, scheme: Any
) -> None:
    page = visit(home=address, viewport={"width": width, "height": 900}, color_scheme=scheme).page
    page.goto("/")
    expect(page.locator("h2.shelf")).to_have_text([re.compile(r"PyTorch.*21 questions"), re.compile(r"Weather.*2 qu")])
    expect(page.locator(".questions a")).to_have_count(23)
    assert faults_of(page, LOOKS if width == 700 else {}) == []
    page.get_by_label("Bank").select_option("weather")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("h2.shelf")).to_have_text([re.compile("Weather")])
    expect(page.locator(".questions a")).to_have_count(2)
    expect(page.get_by_label("Bank")).to_have_value("weather")
    assert faults_of(page, LOOKS if width == 700 else {}) == []
    page.get_by_role("link", name="Surprise me").click()
    expect(page.locator(".crumb").first).to_contain_text("Weather")


@pytest.mark.browser
def test_an_answer_to_the_second_bank_from_question_to_history(visit: Visit, address: str) -> None:
    page = visit(home=address).page
    page.goto("/questions/clouds")
    page.get_by_role("button", name="Give me a hint").click()
    expect(page.locator("#hints li")).to_have_count(1)
    send(page, GOOD)
    page.locator(".how summary").click()
    expect(page.locator(".how")).to_contain_text("weather@1.0.0+")
    page.get_by_role("button", name="Keep", exact=False).first.click()
    page.goto("/questions/zero-grad")
    send(page, "It clears the gradients.")
    page.goto("/history")
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator(".trends h3")).to_have_text([re.compile("^PyTorch.*: "), re.compile("^Weather: ")])
    page.goto("/")
    expect(page.locator(".progress-line")).to_contain_text("2 of 23")


def test_the_next_question_is_of_the_same_bank(web: httpx.Client) -> None:
    for here, following in (("clouds", "thunder"), ("thunder", "clouds"), ("community-experience", "pytorch-vs-")):
        assert re.search(rf'<p class="links"><a href="/questions/{following}', web.get(f"/questions/{here}").text)


def test_topics_and_searches_go_over_all_banks(web: httpx.Client) -> None:
    assert 'value="air"' in web.get("/").text
    found = web.get("/", params={"q": "lightning"}).text
    assert "/questions/thunder" in found and "/questions/zero-grad" not in found
    assert found.count('class="shelf"') == 1
    assert "/questions/thunder" not in web.get("/", params={"q": "lightning", "bank": "pytorch"}).text
    assert "No question fits" in web.get("/", params={"bank": "nobody"}).text


def test_an_interview_is_of_all_banks_or_of_one(web: httpx.Client) -> None:
    assert '<option value="weather">Weather</option>' in web.get("/interview").text
    drawn = web.get("/interview/draw", params={"count": 5, "bank": "weather"})
    assert sorted(drawn.url.params.get_list("question")) == ["clouds", "thunder"]
    form = {"question": ["clouds", "zero-grad"], "answers": ["", ""], "position": "1", "answer": GOOD}
    results = web.post("/interview/run", data=form | {"action": "finish"})
    assert results.status_code == 200
    assert "How does a cloud form?" in results.text and "zero_grad()" in results.text


def test_reviewers_see_grades_of_all_banks(web: httpx.Client) -> None:
    for question in ("clouds", "zero-grad"):
        body = {"question_id": question, "answer": GOOD, "candidate": "a-1"}
        assert web.post("/v1/grades", json=body).status_code == 200
    queue = web.get("/review", params={"outcome": "", "question": "clouds"}).text
    assert '<optgroup label="Weather">' in queue and "How does a cloud form?" in queue
    items = web.get("/review/items").text
    assert "Weather 1. How does a cloud form?" in items and "PyTorch theory 11. What is the purp" in items
    assert "Moist air rises and cools" in web.get("/review/questions/clouds").text


def test_one_bank_alone_looks_as_before(fast_site: str) -> None:
    found = httpx.get(fast_site).text
    assert 'name="bank"' not in found and 'class="shelf"' not in found
    assert f"<h1>{load_bank().info.title}</h1>" in found
