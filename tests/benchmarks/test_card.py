"""The quality card as a page and as JSON."""

from __future__ import annotations

import pytest

from benchmarks.quality.card import Card, Figure, Section, Table, as_json, markdown, percent, ratio, with_interval
from benchmarks.quality.measures import Interval

CARD = Card(
    {"grader": "0.1.0"},
    (
        Section("One", (Figure("agreement", 0.91, ".91", 0.93),), ("Words.", Table(("a", "b"), (("x|y", "1"),)))),
        Section(
            "Two",
            (
                Figure("error", 7.0, "7.0", 8, "lower"),
                Figure("same", 1.0, "100 %", 1.0),
                Figure("held", 0.96, "96 %", 0.97),
            ),
        ),
    ),
    ("the public sets",),
)


def test_the_page_has_goals_first_and_escapes_cells() -> None:
    page = markdown(CARD)
    assert "| agreement | .91 | ≥ .93 | **no** |" in page
    assert "| error | 7.0 | ≤ 8 | yes |" in page
    assert "| same | 100 % | all | yes |" in page
    assert "| held | 96 % | ≥ 97 % | **no** |" in page
    assert "| x\\|y | 1 |" in page
    assert page.index("All figures") < page.index("Not measured") < page.index("## One") < page.index("## Two")


def test_json_says_what_is_reached() -> None:
    found = as_json(CARD)
    assert [figure["reached"] for figure in found["figures"]] == [False, True, True, False]  # type: ignore[index,attr-defined]
    assert found["skipped"] == ["the public sets"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.931, ".93"), (-0.07, "-.07"), (1.0, "1.00"), (0.999, "1.00"), (0.0, ".00"), (-1.0, "-1.00")]
)
def test_ratios(value: float, text: str) -> None:
    assert ratio(value) == text


def test_intervals_and_shares() -> None:
    assert with_interval(Interval(0.8, 0.75, 0.85)) == ".80 (.75 to .85)"
    assert with_interval(Interval(7.04, 6, 8.06), "points") == "7.0 (6.0 to 8.1)"
    assert percent(0.925) == "92 %"
