"""Every page in every state: no violation that axe-core finds, nothing cut off, nothing that shifts, little to load."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.web.conftest import Visit
from tests.web.walk import walk

pytestmark = pytest.mark.browser

PAGE_BYTES = 100_000  # html, style and script of one page, uncompressed
# Cumulative layout shift; below 0.1 counts as good, and here nothing should move at all.
MOST_SHIFT = 0.01

WEIGHT = """() => performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource'))
    .reduce((sum, entry) => sum + entry.decodedBodySize, 0)"""
# What depends on width and colours; the rest is the same whatever they are.
LOOKS = {
    "runOnly": ["color-contrast", "target-size", "scrollable-region-focusable", "link-in-text-block", "meta-viewport"]
}

SHIFT = """() => new Promise(done => {
    let sum = 0;
    new PerformanceObserver(list => list.getEntries().forEach(one => { if (!one.hadRecentInput) sum += one.value; }))
        .observe({ type: 'layout-shift', buffered: true });
    setTimeout(() => done(sum), 30);
})"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (320, "dark")])
def test_every_state_of_every_page(visit: Visit, good: str, weak: str, width: int, scheme: Any) -> None:
    page = visit(viewport={"width": width, "height": 900}, color_scheme=scheme).page
    rules = {} if scheme == "light" else LOOKS
    found: dict[str, list[str]] = {}
    names = []
    for name in walk(page, weak, good):
        names.append(name)
        if faults := faults_of(page, rules):
            found[name] = faults
    assert found == {}
    assert len(names) == len(set(names)) >= 25


def faults_of(page: Page, rules: dict[str, Any]) -> list[str]:
    """What is wrong with a page as it stands."""
    faults = [
        f"{one['id']}: {node['target']} {node.get('failureSummary', '')[:300]}"
        for one in Axe().run(page, options=rules).response["violations"]
        for node in one["nodes"]
    ]
    if (over := page.evaluate(OVERFLOW)) > 0:
        faults.append(f"wider than the window by {over} px")
    if (weight := page.evaluate(WEIGHT)) > PAGE_BYTES:
        faults.append(f"{weight} bytes")
    if (shift := page.evaluate(SHIFT)) > MOST_SHIFT:
        faults.append(f"shifts by {shift}")
    if page.locator("h1").count() != 1:
        faults.append("not one h1")
    return faults


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_other_scheme_and_width_fit_too(visit: Visit, good: str, scheme: Any) -> None:
    width = 320 if scheme == "light" else 1440
    page = visit(viewport={"width": width, "height": 900}, color_scheme=scheme).page
    page.goto("/questions/zero-grad")
    page.locator("#answer").fill(
        f"{good}\n{'unbreakable' * 60}\nfor x in loader: zero_grad(set_to_none=True) # {'=' * 200}"
    )
    page.locator("[data-main]").click()
    page.locator("section.verdict").wait_for()
    assert faults_of(page, LOOKS) == []
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 27)"
    assert dark == (scheme == "dark")
