"""Nothing typed is lost: drafts, tabs, the back button, a slow server, a busy one, one that is gone."""

from __future__ import annotations

import json
import threading

import pytest
from playwright.sync_api import Page, Route, expect

from tests.web.conftest import Visit
from tests.web.walk import QUESTION, send

pytestmark = pytest.mark.browser

# Milliseconds until somebody who pressed a button must see that something happens.
PROGRESS_WITHIN = 100
WATCH = """() => {
    const form = document.querySelector('form[data-send]');
    const sending = form.querySelector('[data-sending]');
    let begun = 0;
    form.addEventListener('submit', () => { begun = performance.now(); }, { capture: true, once: true });
    new MutationObserver(() => {
        const took = performance.now() - begun;
        const said = [form.querySelector('[data-main]').textContent, form.querySelector('[data-status]').textContent];
        if (!sending.hidden) console.info(JSON.stringify({ took, said }));
    }).observe(sending, { attributes: true });
}"""


def drafted(page: Page, text: str) -> None:
    """Types an answer and waits until the browser has kept it."""
    page.locator("#answer").fill(text)
    expect(page.locator("[data-saved]")).to_be_visible()


def test_a_draft_survives_a_reload_and_a_closed_tab(visit: Visit, weak: str) -> None:
    visitor = visit()
    page = visitor.page
    page.goto(QUESTION)
    drafted(page, weak)
    expect(page.locator("[data-words]")).to_have_text("7 words")
    page.reload()
    expect(page.locator("#answer")).to_have_value(weak)
    page.close()
    page = visitor.tab()
    page.goto(QUESTION)
    expect(page.locator("#answer")).to_have_value(weak)
    expect(page.get_by_text("Your draft from last time is back.")).to_be_visible()
    page.get_by_role("button", name="Start afresh").click()
    expect(page.locator("#answer")).to_have_value("")
    page.reload()
    expect(page.locator("#answer")).to_have_value("")


def test_two_tabs_keep_two_questions_apart_and_tell_of_the_same(visit: Visit, weak: str, good: str) -> None:
    visitor = visit()
    first, other, same = visitor.page, visitor.tab(), visitor.tab()
    first.goto(QUESTION)
    other.goto("/questions/autograd")
    same.goto(QUESTION)
    drafted(other, "About autograd.")
    drafted(first, weak)
    expect(same.get_by_text("You changed this answer in another tab.")).to_be_visible()
    expect(same.locator("#answer")).to_have_value("")
    same.get_by_role("button", name="Use the words from there").click()
    expect(same.locator("#answer")).to_have_value(weak)
    other.reload()
    expect(other.locator("#answer")).to_have_value("About autograd.")
    send(first, weak)
    send(same, good)
    expect(first.locator("#answer")).to_have_value(weak)


def test_the_back_button_gives_the_answer_back(visit: Visit, weak: str, good: str) -> None:
    page = visit().page
    page.goto(QUESTION)
    send(page, weak)
    page.go_back()
    expect(page.locator("#answer")).to_have_value(weak)
    expect(page.get_by_role("button", name="Grade my answer")).to_have_attribute("aria-disabled", "false")
    send(page, good)
    page.go_back()
    expect(page.locator("#answer")).to_have_value(good)


def test_without_javascript_the_back_button_does_too(visit: Visit, weak: str) -> None:
    page = visit(java_script_enabled=False).page
    page.goto(QUESTION)
    send(page, weak)
    page.go_back()
    expect(page.locator("#answer")).to_have_value(weak)


def test_a_slow_server_shows_progress_at_once_and_a_busy_one_gives_the_answer_back(
    visit: Visit, gated: tuple[str, threading.Event], good: str, weak: str
) -> None:
    address, gate = gated
    slow, busy = visit(address).page, visit(address).page
    for page, text in ((slow, good), (busy, weak)):
        page.goto(QUESTION)
        page.locator("#answer").fill(text)
    slow.evaluate(WATCH)
    # Told on the console: Playwright itself looks at a page again only when its navigation has ended.
    with (
        slow.expect_request(lambda request: request.method == "POST"),
        slow.expect_console_message(lambda message: "took" in message.text) as told,
    ):
        slow.locator("[data-main]").click(no_wait_after=True)
    seen = json.loads(told.value.text)
    assert seen["took"] < PROGRESS_WITHIN
    assert seen["said"] == ["Grading…", "Your answer is being graded. This takes a second or two."]
    # The one place is taken: the next answer is refused, and comes back.
    busy.locator("[data-main]").click()
    expect(busy.get_by_role("alert").first).to_contain_text("The service is busy")
    expect(busy.locator("#answer")).to_have_value(weak)
    gate.set()
    expect(slow.locator("section.verdict")).to_be_visible()


def test_a_service_that_is_gone_keeps_the_answer(visit: Visit, weak: str) -> None:
    visitor = visit()
    page = visitor.page
    page.goto(QUESTION)
    page.locator("#answer").fill(weak)
    visitor.context.set_offline(True)
    page.locator("[data-main]").click()
    expect(page.get_by_text("The service cannot be reached just now.")).to_be_visible()
    expect(page.locator("#answer")).to_have_value(weak)
    expect(page.locator("#answer")).to_be_focused()
    visitor.context.set_offline(False)
    page.locator("[data-main]").click()
    expect(page.locator("section.verdict")).to_be_visible()
    visitor.incidents.clear()  # the browser noted that it was offline


def test_a_connection_that_breaks_keeps_the_answer(visit: Visit, good: str) -> None:
    visitor = visit()
    page = visitor.page
    page.goto(QUESTION)
    page.locator("#answer").fill(good)

    def cut(route: Route) -> None:
        route.abort() if route.request.method == "POST" else route.fallback()

    page.route("**/questions/**", cut)
    with page.expect_event("requestfailed"):
        page.locator("[data-main]").click(no_wait_after=True)
    page.unroute("**/questions/**")
    page.goto(QUESTION)
    expect(page.locator("#answer")).to_have_value(good)
    visitor.incidents.clear()  # the browser noted the broken connection


def test_an_error_page_after_sending_says_where_the_answer_is(visit: Visit) -> None:
    page = visit().page
    page.goto(QUESTION)
    huge = "gradient " * 40_000
    page.locator("#answer").fill(huge)
    page.locator("[data-main]").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Body too large")
    expect(page.locator("main")).to_contain_text("go back with your browser's Back button")
    page.go_back()
    expect(page.locator("#answer")).to_have_value(huge)
