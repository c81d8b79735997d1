"""The web form in a real Chromium: the whole way, with and without JavaScript, by keyboard, narrow, dark, attacked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser

WEAK = "It clears the old gradients, I think."
QUESTION = "What is the purpose of zero_grad() in PyTorch, and when is it used?"


class Watched:
    """A page and everything on it that must not happen: dialogs, console errors, exceptions, foreign requests."""

    def __init__(self, page: Page, home: str) -> None:
        self.page = page
        self.incidents: list[str] = []
        page.on("dialog", self._dialog)
        page.on("console", lambda message: self._note(message.type == "error", f"console: {message.text}"))
        page.on("pageerror", lambda error: self._note(True, f"exception: {error}"))
        page.on("request", lambda request: self._note(not request.url.startswith(home), f"request: {request.url}"))

    def _dialog(self, dialog: Any) -> None:
        self.incidents.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _note(self, wrong: bool, text: str) -> None:
        if wrong:
            self.incidents.append(text)


@pytest.fixture(params=[True, False], ids=["with JavaScript", "without JavaScript"])
def watched(browser: Browser, server: str, request: pytest.FixtureRequest) -> Iterator[Watched]:
    """A fresh page, with and without JavaScript."""
    context = browser.new_context(base_url=server, java_script_enabled=request.param)
    yield Watched(context.new_page(), server)
    context.close()


@pytest.fixture
def page(browser: Browser, server: str) -> Iterator[Page]:
    """A fresh page."""
    context = browser.new_context(base_url=server)
    yield context.new_page()
    context.close()


def answer_with(page: Page, text: str) -> None:
    """Fills the form and sends it."""
    page.locator("#answer").fill(text)
    page.locator("form button").click()
    expect(page.locator("section.verdict")).to_be_visible()


def score_of(page: Page) -> float:
    return float(page.locator(".score strong").inner_text())


def shown_answer(page: Page) -> str:
    """The answer as it stands on the result page, without the numbers that lead to the points."""
    texts = page.locator("section[aria-labelledby=yours] .answer").evaluate(
        "box => [...box.childNodes].filter(node => !(node.classList && node.classList.contains('ref')))"
        ".map(node => node.textContent)"
    )
    return "".join(texts)


def test_from_the_list_to_a_better_answer(watched: Watched, good: str) -> None:
    page = watched.page
    page.goto("/")
    expect(page.locator(".questions a")).to_have_count(21)
    page.get_by_role("link", name="zero_grad()").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(QUESTION)

    answer_with(page, WEAK)
    first = score_of(page)
    expect(page.get_by_role("heading", name="Missing")).to_be_visible()
    assert page.locator(".hintlist li").count() >= 3
    expect(page.get_by_role("heading", name="What to do next")).to_be_visible()
    assert page.locator("section[aria-labelledby=next] li").count() >= 1
    expect(page.locator("#answer")).to_have_value(WEAK)

    answer_with(page, good)
    assert score_of(page) > first
    marks = page.locator(".answer mark").all_inner_texts()
    assert marks
    assert all(mark in good for mark in marks)
    assert shown_answer(page) == good

    page.get_by_role("link", name="Show the reference answer").click()
    expect(page.get_by_role("heading", name="Key points")).to_be_visible()
    assert "backward() adds newly computed gradients" in page.locator("main").inner_text()
    page.get_by_role("link", name="Questions").click()
    expect(page.locator(".questions a")).to_have_count(21)
    assert watched.incidents == []


def test_the_number_behind_marked_words_leads_to_its_point(page: Page, good: str) -> None:
    page.goto("/questions/zero-grad")
    answer_with(page, good)
    reference = page.locator(".answer a.ref").first
    number = reference.inner_text()
    reference.click()
    expect(page.locator(f"#point-{number}")).to_be_in_viewport()
    assert page.url.endswith(f"#point-{number}")
    words = page.locator(f"#point-{number} blockquote").first.inner_text()
    assert " ".join(words.split()) in " ".join(good.split())


def test_hints_open_on_demand(watched: Watched) -> None:
    watched.page.goto("/questions/zero-grad")
    hint = watched.page.locator("details.hints li").first
    expect(hint).to_be_hidden()
    watched.page.locator("details.hints summary").click()
    expect(hint).to_be_visible()


def test_a_too_long_answer_is_not_lost(watched: Watched) -> None:
    page = watched.page
    page.goto("/questions/zero-grad")
    long = "gradients are summed " * 1_000
    page.locator("#answer").fill(long)
    page.locator("form button").click()
    expect(page.get_by_role("alert")).to_contain_text("the limit is 20,000")
    expect(page.locator("#answer")).to_have_value(long)
    assert page.locator("#answer").get_attribute("aria-invalid") == "true"


def test_what_is_no_answer_gets_no_score(watched: Watched) -> None:
    watched.page.goto("/questions/zero-grad")
    answer_with(watched.page, "")
    expect(watched.page.locator(".score")).to_have_text("No score")
    assert watched.incidents == []


def test_by_keyboard_alone(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to content"
    tab_to(page, "zero_grad()")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(QUESTION)
    tab_to(page, "#answer")
    page.keyboard.type("backward() adds to .grad instead of overwriting it.")
    page.keyboard.press("Tab")
    assert focused(page) == "Grade my answer"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "the focus cannot be seen"
    page.keyboard.press("Enter")
    expect(page.locator("section.verdict")).to_be_visible()
    tab_to(page, "Show the reference answer")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Key points")).to_be_visible()


def focused(page: Page) -> str:
    """Text of the focused element, or its id when it has one."""
    found: str = page.evaluate(
        "(e => e.id ? '#' + e.id : e.innerText.trim())(document.activeElement)",
    )
    return found


def tab_to(page: Page, wanted: str) -> None:
    """Presses Tab until the focus is on what was wanted."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if wanted in focused(page):
            return
    raise AssertionError(f"{wanted!r} cannot be reached by Tab")


def test_nothing_is_cut_off_at_320_pixels(page: Page, good: str) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    for path in ("/", "/questions/zero-grad", "/questions/zero-grad/reference", "/nope", "/questions/nope"):
        page.goto(path)
        assert overflow(page) <= 0, path
    page.goto("/questions/zero-grad")
    answer_with(
        page, f"{good}\n{'unbreakable' * 60}\nfor x in loader: optimizer.zero_grad(set_to_none=True) # {'=' * 200}"
    )
    page.locator("details.how summary").click()
    assert overflow(page) <= 0


def overflow(page: Page) -> int:
    """Pixels by which a page is wider than its window."""
    found: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(browser: Browser, server: str, good: str, scheme: Any) -> None:
    context = browser.new_context(base_url=server, color_scheme=scheme)
    page = context.new_page()
    page.goto("/questions/zero-grad")
    wrong = "Gradients are overwritten by backward anyway. zero_grad() belongs between backward() and step()."
    answer_with(page, f"{good} {wrong}")
    background = luminance(style(page, "body", "backgroundColor"))
    assert (background < 0.1) if scheme == "dark" else (background > 0.8)
    seen = 0
    for selector in ("h1", ".crumb", ".summary", ".answer", ".answer mark", ".answer a.ref", ".name", ".pts", "a", "button",
                     "textarea", "blockquote", ".foot", ".help"):  # fmt: skip
        if page.locator(selector).count():
            assert contrast(page, selector) >= 4.5, (scheme, selector)
            seen += 1
    assert seen >= 12
    context.close()


def style(page: Page, selector: str, name: str) -> str:
    """A computed style of the first element that a selector finds."""
    return str(page.locator(selector).first.evaluate(f"e => getComputedStyle(e).{name}"))


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)`, as WCAG defines it."""
    channels = [int(part) / 255 for part in colour.split("(")[1].rstrip(")").split(",")[:3]]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(page: Page, selector: str) -> float:
    """WCAG contrast of an element's text with the nearest background that is not transparent."""
    behind = page.locator(selector).first.evaluate(
        "e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;"
        " if (c !== 'rgba(0, 0, 0, 0)') return c; } return 'rgb(255, 255, 255)'; }"
    )
    dark, light = sorted((luminance(style(page, selector, "color")), luminance(str(behind))))
    return (light + 0.05) / (dark + 0.05)


HOSTILE = (
    "<script>alert(1)</script>",
    "</textarea><script>alert(2)</script>",
    "<img src=x onerror=alert(3)>",
    "\"><img src='https://evil.example/x.png'>",
    "<svg onload=alert(4)><script>alert(5)</script></svg>",
    "<svg><animate onbegin=alert(6) attributeName=x dur=1s>",
    "<iframe src='javascript:alert(7)'></iframe>",
    "<a href='javascript:alert(8)'>click</a>",
    "[click](javascript:alert(9))",
    "<style>body{display:none} @import 'https://evil.example/x.css';</style>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<base href='https://evil.example/'>",
    "<form action='https://evil.example/'><button>Grade my answer</button></form>",
    "{{7*7}} {{constructor.constructor('alert(10)')()}}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{x}}{% endfor %}",
    "${alert(11)} <%= 7*7 %> #{7*7}",
    "<body onload=alert(12)>",
    "<input autofocus onfocus=alert(13)>",
    "<details open ontoggle=alert(14)>x</details>",
    "'-alert(15)-'\" onmouseover=alert(16) x=\"",
    "<math><mtext></p><img src onerror=alert(17)></math>",
    "&lt;script&gt;alert(18)&lt;/script&gt; &#60;script&#62;",
)


def test_hostile_answers_are_shown_and_never_run(watched: Watched) -> None:
    page = watched.page
    before, after = "backward() adds each gradient to .grad. ", " zero_grad() clears the old ones before that."
    page.goto("/questions/zero-grad")
    for payload in HOSTILE:
        answer = before + payload + after
        answer_with(page, answer)
        assert shown_answer(page) == answer
        expect(page.locator("#answer")).to_have_value(answer)
        assert page.locator("main script, main style, main img, main iframe, main input, main svg[onload]").count() == 0
        assert page.url.endswith("/questions/zero-grad")
        expect(page.locator("form")).to_have_count(1)
    assert watched.incidents == []


def test_a_hostile_address_is_shown_and_never_run(watched: Watched) -> None:
    page = watched.page
    for payload in ("<script>alert(1)", "'\"><img src=x onerror=alert(1)>", "javascript:alert(1)", "{{7*7}}"):
        response = page.goto(f"/questions/{payload}")
        assert response is not None
        assert response.status == 404
        expect(page.get_by_role("heading", level=1)).to_have_text("Unknown question")
        assert page.locator("main script, main img").count() == 0
        assert "49" not in page.locator("main").inner_text()
    # Chromium notes a page's own status 404 on the console; nothing else may be there.
    assert [one for one in watched.incidents if "404" not in one] == []
