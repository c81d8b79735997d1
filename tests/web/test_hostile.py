"""Answers, banks and names are hostile text: shown to the letter, never run."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import Visit
from tests.web.payloads import PAYLOADS
from tests.web.test_journey import shown_answer
from tests.web.walk import send

pytestmark = pytest.mark.browser

# What a payload would have put into the page; the page's own script and pictures are elsewhere or have a class.
FOREIGN = ", ".join(
    [
        f"main {tag}"
        for tag in "script style img iframe object embed video audio math base marquee font link meta".split()
    ]
    + [f"main {tag}" for tag in ("template", "svg:not([class])")]
    + [f"[{name}]" for name in "style onload onerror onclick onfocus onmouseover ontoggle".split()]
    + ["body > *:not(header, main, footer, a.skip)"]
)
# Payloads in one answer: each page load with all its checks takes a moment.
TOGETHER = 8


def assert_clean(page: Page, home: str) -> None:
    """Nothing of a payload has become part of the page."""
    expect(page.locator("main")).to_have_count(1)  # waits for a page that is still on its way
    assert page.locator(FOREIGN).count() == 0
    assert page.url.startswith(home)
    assert page.locator("body").is_visible()


def test_there_are_enough_payloads() -> None:
    assert len(set(PAYLOADS)) >= 50


def test_hostile_answers_are_shown_and_never_run(visit: Visit, fast_site: str) -> None:
    page = visit().page
    before, after = "backward() adds each gradient to .grad. ", " zero_grad() clears the old ones before that."
    page.goto("/questions/zero-grad")
    for start in range(0, len(PAYLOADS), TOGETHER):
        answer = before + "\n".join(PAYLOADS[start : start + TOGETHER]) + after
        send(page, answer)
        assert shown_answer(page) == answer
        expect(page.locator("#answer")).to_have_value(answer)
        assert_clean(page, fast_site)


def test_hostile_answers_in_every_place_that_carries_them(visit: Visit, fast_site: str) -> None:
    """Hidden fields, the difference of two attempts, the reference page, the history, the reviewer's pages."""
    page = visit().page
    everything = "\n".join(PAYLOADS)
    page.goto("/questions/zero-grad")
    send(page, everything)
    send(page, f"{everything} backward() adds to .grad, so zero_grad() clears it.")
    page.locator(".since summary").click()
    assert_clean(page, fast_site)
    page.get_by_role("button", name="Show the reference beside my answer").click()
    assert_clean(page, fast_site)
    page.goto("/questions/zero-grad")
    send(page, everything)
    page.get_by_role("button", name="Keep this attempt").click()
    assert shown_answer(page) == everything
    assert_clean(page, fast_site)
    for path in ("/history", "/", "/review?outcome=", "/review/questions/zero-grad"):
        page.goto(path)
        assert_clean(page, fast_site)
    page.locator("thead a").first.click()
    assert_clean(page, fast_site)


def test_hostile_names_reasons_and_searches(visit: Visit, fast_site: str) -> None:
    page = visit().page
    with httpx.Client(base_url=fast_site, timeout=60) as client:
        sent = client.post(
            "/v1/grades", json={"question_id": "cuda", "answer": "CUDA runs code on the GPU.", "candidate": "a" * 20}
        )
    grade = sent.json()["id"]
    # A page shows each name and reason as it was typed: a review keeps them, and so do the next one's fields.
    for start in range(0, len(PAYLOADS), 16):
        page.goto(f"/review/grades/{grade}")
        page.locator("#author").fill(PAYLOADS[start][:200])
        page.locator("#reason").fill("\n".join(PAYLOADS[start : start + 16])[:2_000])
        page.get_by_role("button", name="Save my review").click()
        expect(page.locator(".chain li").last).to_contain_text(PAYLOADS[start + 1][:40].strip())
        assert_clean(page, fast_site)
        grade = page.url.rsplit("/", 1)[1]
    for payload in PAYLOADS[::16]:
        page.goto("/")
        page.get_by_label("Search").fill(payload)
        page.keyboard.press("Enter")
        expect(page.get_by_label("Search")).to_have_value(payload.replace("\n", ""))
        assert_clean(page, fast_site)


def test_a_hostile_bank_is_shown_and_never_run(visit: Visit, hostile_site: str) -> None:
    page = visit(hostile_site).page
    answer = "The kettle heats the water. Cold water makes tea. The lid keeps the steam."
    for path in (
        "/",
        "/questions/hostile",
        "/questions/hostile/reference",
        "/interview",
        "/interview/run?question=hostile",
    ):
        page.goto(path)
        assert_clean(page, hostile_site)
    page.goto("/questions/hostile")
    for _ in range(3):
        page.locator("#answer").fill(answer)
        with page.expect_navigation():
            page.get_by_role("button", name="hint").click()
        assert_clean(page, hostile_site)
    send(page, answer)
    assert_clean(page, hostile_site)
    with page.expect_navigation():
        page.get_by_role("button", name="Keep this attempt").click()
    page.goto("/history")
    assert_clean(page, hostile_site)
    page.goto("/review/items")
    assert_clean(page, hostile_site)


def test_a_hostile_address_is_shown_and_never_run(visit: Visit, fast_site: str) -> None:
    page = visit().page
    for payload in ("<script>alert(1)", "'\"><img src=x onerror=alert(1)>", "javascript:alert(1)", "{{7*7}}"):
        response = page.goto(f"/questions/{payload}")
        assert response is not None
        assert response.status == 404
        expect(page.get_by_role("heading", level=1)).to_have_text("Unknown question")
        assert_clean(page, fast_site)
        assert "49" not in page.locator("h1 + .lead").inner_text()


def test_the_policy_stops_a_script_even_if_one_got_in(visit: Visit) -> None:
    visitor = visit()
    page = visitor.page
    page.goto("/")
    page.evaluate(
        """() => {
            const clicked = document.createElement('b');
            clicked.setAttribute('onclick', 'window.ran = 1');
            document.body.append(clicked);
            clicked.click();
            for (const [tag, text] of [['script', 'window.ran = 1'], ['style', 'body { display: none }']]) {
                const made = document.createElement(tag);
                made.textContent = text;
                document.body.append(made);
            }
        }"""
    )
    assert page.evaluate("window.ran") is None
    assert page.locator("body").is_visible()
    assert len([one for one in visitor.incidents if "Content Security Policy" in one]) == 3
    visitor.incidents.clear()  # the three refusals are what was wanted
