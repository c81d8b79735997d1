"""What a page costs a visitor: bytes, first paint, layout shift. `python -m benchmarks.pages http://127.0.0.1:8000`.

Drives a real Chromium against a service that runs already; every page is opened by a browser that has nothing cached.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from rich.table import Table

QUESTION = "/questions/zero-grad"
ANSWER = (
    "backward() adds to .grad instead of overwriting it, so zero_grad() clears it once per iteration before backward()."
)
BYTES = """() => performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource'))
    .reduce((sum, entry) => sum + entry.decodedBodySize, 0)"""
FIRST_PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"
SHIFT = """() => new Promise(done => {
    let sum = 0;
    new PerformanceObserver(list => list.getEntries().forEach(one => { if (!one.hadRecentInput) sum += one.value; }))
        .observe({ type: 'layout-shift', buffered: true });
    setTimeout(() => done(sum), 200);
})"""


def opened(browser: Browser, address: str) -> Iterator[tuple[str, Page]]:
    """Each page in a context of its own."""
    for name, path in (("home", "/"), ("question", QUESTION), ("interview", "/interview"), ("history", "/history")):
        page = browser.new_context(base_url=address).new_page()
        page.goto(path)
        yield name, page
        page.context.close()
    page = browser.new_context(base_url=address).new_page()
    page.goto(QUESTION)
    page.locator("#answer").fill(ANSWER)
    with page.expect_navigation():
        page.locator("[data-main]").click()
    yield "result", page
    page.context.close()


def main() -> None:
    address = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise SystemExit("No Chromium found (Debian: apt-get install chromium).")
    table = Table("page", "kB, uncompressed", "first paint (ms)", "layout shift")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        for name, page in opened(browser, address):
            size, paint, shift = (page.evaluate(one) for one in (BYTES, FIRST_PAINT, SHIFT))
            table.add_row(name, f"{size / 1000:.1f}", f"{paint:.0f}", f"{shift:.4f}")
        browser.close()
    Console().print(table)


if __name__ == "__main__":
    main()
