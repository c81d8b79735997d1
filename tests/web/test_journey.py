"""The way of a newcomer, with the grader as it ships: answer, understand, improve, see the score rise."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import Visit
from tests.web.walk import send

pytestmark = pytest.mark.browser

PROMPT = "What is the purpose of zero_grad() in PyTorch, and when is it used?"


def score_of(page: Page) -> float:
    """The number on a result page."""
    return float(page.locator(".score strong").inner_text())


def shown_answer(page: Page) -> str:
    """The answer as it stands on the result page, without the numbers that lead to the points."""
    texts = page.locator("section[aria-labelledby=yours] .answer").evaluate(
        "box => [...box.childNodes].filter(node => !(node.classList && node.classList.contains('ref')))"
        ".map(node => node.textContent)"
    )
    return "".join(texts)


def focused(page: Page) -> str:
    """Text of the focused element, or its id when it has one."""
    return str(page.evaluate("(e => e.id ? '#' + e.id : e.innerText.trim())(document.activeElement)"))


def tab_to(page: Page, wanted: str) -> None:
    """Presses Tab until the focus is on what was wanted, and sees to it that the focus shows."""
    for _ in range(90):
        page.keyboard.press("Tab")
        if wanted in focused(page):
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            return
    raise AssertionError(f"{wanted!r} cannot be reached by Tab")


@pytest.mark.parametrize("script", [True, False], ids=["with JavaScript", "without JavaScript"])
def test_from_the_list_to_a_better_answer(visit: Visit, server: str, good: str, weak: str, script: bool) -> None:
    page = visit(server, java_script_enabled=script).page
    page.goto("/")
    expect(page.locator(".questions a")).to_have_count(21)
    page.get_by_role("link", name="zero_grad()").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(PROMPT)

    page.locator("#answer").fill(weak)
    page.get_by_role("button", name="Give me a hint").click()
    expect(page.locator("#hints li")).to_have_count(1)
    expect(page.locator("#answer")).to_have_value(weak)
    page.get_by_role("button", name="Another hint").click()
    expect(page.locator("#hints li")).to_have_count(2)

    send(page, weak)
    first = score_of(page)
    expect(page.locator("main")).to_contain_text("2 hints used")
    expect(page.get_by_role("heading", name="Missing")).to_be_visible()
    expect(page.locator(".since")).to_have_count(0)
    expect(page.locator("#answer")).to_have_value(weak)

    send(page, good)
    assert score_of(page) > first
    assert shown_answer(page) == good
    assert set(page.locator(".answer:not(.difference) mark").all_inner_texts())
    expect(page.locator(".since")).to_contain_text(f"Up by {score_of(page) - first:.0f} points")
    expect(page.locator(".since")).to_contain_text("more points covered")
    expect(page.locator(".course")).to_have_attribute(
        "aria-label", f"Your scores so far: {first:.0f} → {score_of(page):.0f}."
    )
    page.locator(".since summary").click()
    expect(page.locator(".difference ins").first).to_be_visible()

    assert "adds newly computed gradients" not in page.content()
    page.get_by_role("button", name="Show the reference beside my answer").click()
    expect(page.locator("main")).to_contain_text("backward() adds newly computed gradients")
    assert shown_answer(page) == good


def test_the_whole_way_by_keyboard_alone(visit: Visit, server: str, good: str, weak: str) -> None:
    page = visit(server).page
    page.goto("/")
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to content"
    tab_to(page, "zero_grad()")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(PROMPT)
    tab_to(page, "#answer")
    page.keyboard.type(weak)
    page.keyboard.press("Control+Enter")
    expect(page.locator("section.verdict")).to_be_visible()
    first = score_of(page)
    tab_to(page, "#answer")
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(good)
    tab_to(page, "Grade it again")
    page.keyboard.press("Enter")
    expect(page.locator(".since")).to_be_visible()
    assert score_of(page) > first
    tab_to(page, "Show the reference beside my answer")
    page.keyboard.press("Enter")
    expect(page.locator("#reference-1")).to_be_visible()


def test_a_point_and_its_words_light_each_other_up(visit: Visit, server: str, good: str) -> None:
    page = visit(server, viewport={"width": 1440, "height": 900}).page
    page.goto("/questions/zero-grad")
    send(page, good)
    point = page.locator(".point[data-point]").first
    number = point.get_attribute("data-point")
    words = page.locator(f"#words-{number}")
    expect(page.locator(".lit")).to_have_count(0)
    point.hover()
    expect(words).to_have_class("met lit")
    page.mouse.move(0, 0)
    expect(page.locator(".lit")).to_have_count(0)
    words.hover()
    expect(point).to_have_class("point lit")
    page.mouse.move(0, 0)
    page.locator(f".ref[data-point='{number}']").first.focus()
    expect(point).to_have_class("point lit")
    expect(words).to_have_class("met lit")
    # Without a mouse and without JavaScript the two are links to each other.
    assert page.locator(f".ref[data-point='{number}']").first.get_attribute("href") == f"#{point.get_attribute('id')}"
    assert point.locator("a[data-point]").get_attribute("href") == f"#words-{number}"


def test_practice_shows_words_and_no_numbers(visit: Visit, good: str, weak: str) -> None:
    page = visit().page
    page.goto("/questions/zero-grad")
    page.get_by_role("button", name="Practise without numbers").click()
    expect(page.get_by_role("button", name="Check my answer")).to_be_visible()
    for answer in (weak, good):
        send(page, answer)
        assert page.locator(".score, .gauge, .pts, .course").count() == 0
        assert " of 100" not in page.locator("main").inner_text()
        assert page.locator(".point").count() == 8
    page.get_by_role("button", name="Show the numbers again").click()
    send(page, good)
    expect(page.locator(".score")).to_be_visible()


@pytest.mark.parametrize("script", [True, False], ids=["with JavaScript", "without JavaScript"])
def test_a_mock_interview(visit: Visit, good: str, script: bool) -> None:
    page = visit(java_script_enabled=script).page
    page.goto("/")
    page.get_by_role("link", name="Mock interview").first.click()
    page.get_by_label("3", exact=True).check()
    page.get_by_role("button", name="Start").click()
    expect(page.locator(".crumb")).to_have_text("Question 1 of 3")
    expect(page.get_by_role("timer")).to_contain_text("left")
    page.locator("#answer").fill("First answer, \r\nto be kept.")
    page.get_by_role("button", name="Switch the timer off").click()
    expect(page.get_by_role("timer")).to_have_count(0)
    expect(page.locator("#answer")).to_have_value("First answer, \nto be kept.")
    page.get_by_role("button", name="Next question").click()
    expect(page.locator(".crumb")).to_have_text("Question 2 of 3")
    expect(page.locator("#answer")).to_have_value("")
    expect(page.get_by_role("button", name="Switch the timer on")).to_be_visible()
    page.locator("#answer").fill(good)
    page.get_by_role("button", name="Back to the question before").click()
    expect(page.locator("#answer")).to_have_value("First answer, \nto be kept.")
    page.get_by_role("button", name="Next question").click()
    expect(page.locator("#answer")).to_have_value(good)
    page.get_by_role("button", name="Next question").click()
    page.get_by_role("button", name="Finish").click()
    expect(page.locator(".sat > li")).to_have_count(3)
    expect(page.locator(".sat > li").nth(2)).to_contain_text("No answer given")
    page.get_by_role("button", name="Look at this answer closely").nth(1).click()
    assert shown_answer(page) == good


def test_finding_a_question(visit: Visit) -> None:
    page = visit().page
    page.goto("/")
    page.get_by_label("Search").fill("gradient CLIPPING")
    page.keyboard.press("Enter")
    expect(page.locator(".questions a")).to_have_count(1)
    expect(page.locator(".found")).to_contain_text("One question")
    page.get_by_role("link", name="Show all questions").click()
    page.get_by_label("Level").select_option("mid")
    page.get_by_label("Group by").select_option("level")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator(".group h2")).to_have_text(["Mid"])
    page.goto("/?q=nothing-has-this")
    expect(page.get_by_role("heading", name="No question fits")).to_be_visible()
    page.goto("/surprise")
    expect(page.locator("#answer")).to_be_visible()


@pytest.mark.parametrize(
    "answer",
    [
        "שיטת backward() מוסיפה את הגרדיאנטים ל-.grad ולכן zero_grad() מנקה אותם.",
        "🙂 backward() adds 👩‍🔬 to .grad\u200d, so zero_grad() clears it 🇩🇪 before the next pass. 🙃",
        "كل استدعاء يضيف. backward() adds the gradient to .grad; zero_grad() clears it before that.",
        "backward() adds.\n\n    optimizer.zero_grad()\n\tloss.backward()\n\n* once per batch\u00a0\u2028end",
    ],
    ids=["right to left", "emoji", "both directions", "code"],
)
def test_any_script_comes_back_as_it_was_written(visit: Visit, answer: str) -> None:
    page = visit().page
    page.goto("/questions/zero-grad")
    send(page, answer)
    assert shown_answer(page) == answer
    expect(page.locator("#answer")).to_have_value(answer)
    direction = page.locator("section[aria-labelledby=yours] .answer").evaluate("e => getComputedStyle(e).direction")
    assert direction == ("rtl" if answer[0] in "שك" else "ltr")


def test_an_answer_of_20000_characters(visit: Visit, good: str, weak: str) -> None:
    page = visit().page
    page.goto("/questions/zero-grad")
    long = (good + "\n") * (20_000 // (len(good) + 1))
    long += "x" * (20_000 - len(long))
    for _ in range(2):  # the second attempt carries the first along
        send(page, long)
        assert shown_answer(page) == long
    send(page, weak)
    expect(page.locator(".since")).to_be_visible()


# What a browser that can listen offers, played by the test: `said(words)` is somebody speaking, `fail()` a missing microphone.
LISTENER = """
    window.SpeechRecognition = class {
        start() { window.listening = this; this.results = []; }
        stop() { this.onend(); }
        static said(words, isFinal = true) {
            const heard = Object.assign([{ transcript: words }], { isFinal });
            const at = window.listening.results.push(heard) - 1;
            window.listening.onresult({ resultIndex: at, results: window.listening.results });
        }
        static fail() { window.listening.onerror({ error: "not-allowed" }); window.listening.onend(); }
    };
"""
DEAF = "delete window.SpeechRecognition; delete window.webkitSpeechRecognition;"


def test_dictation_is_not_offered_where_the_browser_cannot(visit: Visit) -> None:
    visitor = visit()
    visitor.context.add_init_script(DEAF)
    visitor.page.goto("/questions/zero-grad")
    expect(visitor.page.locator("[data-words]")).to_be_visible()  # the script has run
    expect(visitor.page.get_by_role("button", name="Dictate")).to_be_hidden()
    expect(visitor.page.locator("#dictate-note")).to_be_hidden()
    silent = visit(java_script_enabled=False).page
    silent.goto("/questions/zero-grad")
    expect(silent.get_by_role("button", name="Dictate")).to_be_hidden()


@pytest.mark.parametrize("path", ["/questions/zero-grad", "/interview/run?question=zero-grad&started=1"])
def test_what_is_dictated_is_written_and_kept(visit: Visit, path: str) -> None:
    visitor = visit()
    visitor.context.add_init_script(LISTENER)
    page = visitor.page
    page.goto(path)
    page.locator("#answer").fill("Typed first.")
    expect(page.locator("#dictate-note")).to_be_hidden()
    page.get_by_role("button", name="Dictate").click()
    expect(page.locator("#dictate-note")).to_contain_text("this service never hears it")
    stop = page.get_by_role("button", name="Stop dictating")
    expect(stop).to_have_attribute("aria-pressed", "true")
    page.evaluate("SpeechRecognition.said('it clears', false)")  # not sure yet: nothing is written
    page.evaluate("SpeechRecognition.said(' It clears the gradients. ')")
    page.evaluate("SpeechRecognition.said('Once per batch.')")
    spoken = "Typed first. It clears the gradients. Once per batch."
    expect(page.locator("#answer")).to_have_value(spoken)
    expect(page.locator("[data-words]")).to_have_text("9 words")
    expect(page.locator("[data-saved]")).to_be_visible()
    stop.click()
    expect(page.get_by_role("button", name="Dictate")).to_have_attribute("aria-pressed", "false")
    page.reload()
    expect(page.locator("#answer")).to_have_value(spoken)


def test_a_microphone_that_is_not_there_is_said(visit: Visit) -> None:
    visitor = visit()
    visitor.context.add_init_script(LISTENER)
    page = visitor.page
    page.goto("/questions/zero-grad")
    page.get_by_role("button", name="Dictate").click()
    page.evaluate("SpeechRecognition.fail()")
    expect(page.locator("#dictate-note")).to_contain_text("could not listen")
    expect(page.get_by_role("button", name="Dictate")).to_be_visible()


@pytest.mark.parametrize("script", [True, False], ids=["with JavaScript", "without JavaScript"])
def test_the_end_of_the_time_is_said_and_cuts_nothing_off(visit: Visit, good: str, script: bool) -> None:
    page = visit(java_script_enabled=script).page
    page.goto("/interview/run?question=zero-grad&minutes=3&started=1000")
    expect(page.get_by_role("timer")).to_contain_text("The planned time is over")
    page.locator("#answer").fill(good)
    page.get_by_role("button", name="Finish").click()
    expect(page.locator(".sat > li")).to_have_count(1)
    expect(page.locator(".sat > li .tallies")).to_be_visible()
