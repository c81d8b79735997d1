"""The history: only when asked for, only one's own, taken out whole, erased whole."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import httpx
import pytest

BROWSER = {"accept": "text/html"}


@pytest.fixture
def visitor(fast_site: str) -> Iterator[httpx.Client]:
    """A new visitor."""
    with httpx.Client(base_url=fast_site, headers=BROWSER, timeout=60, follow_redirects=True) as opened:
        yield opened


@pytest.fixture
def regular(visitor: httpx.Client) -> httpx.Client:
    """A visitor who asked for a history."""
    visitor.post("/history/start")
    return visitor


def answer(client: httpx.Client, text: str, question: str = "zero-grad") -> str:
    """Sends an answer and gives the path of what comes."""
    response = client.post(f"/questions/{question}", data={"answer": text})
    assert response.status_code == 200
    return response.url.path


def test_nothing_is_kept_unless_asked_for(visitor: httpx.Client, good: str) -> None:
    assert answer(visitor, good) == "/questions/zero-grad"
    assert "set-cookie" not in visitor.get("/history").headers
    assert "Keep your attempts?" in visitor.get("/history").text
    assert visitor.get("/history/export.json").status_code == 404


def test_the_attempt_at_hand_can_be_the_first_one_kept(visitor: httpx.Client, good: str) -> None:
    response = visitor.post("/history/start", data={"question_id": "zero-grad", "answer": good.replace(". ", ".\r\n")})
    assert response.url.path.startswith("/history/grd_")
    cookie = response.history[0].headers["set-cookie"].lower()
    assert all(word in cookie for word in ("profile=", "httponly", "samesite=lax"))
    kept = visitor.get("/history/export.json").json()["answers"]
    assert [one["answer"] for one in kept] == [good.replace(". ", ".\n")]


def test_attempts_are_kept_compared_and_counted(regular: httpx.Client, good: str, weak: str) -> None:
    first, second = answer(regular, weak), answer(regular, good)
    assert first != second
    page = regular.get(second).text
    assert "Since your last attempt" in page
    assert "Kept in your history." in page
    assert "Since your last attempt" not in regular.get(first).text
    home = regular.get("/").text
    assert "1 of 21 questions tried" in home
    assert "2 attempts" in home
    history = regular.get("/history").text
    assert history.count('href="/history/grd_') == 2
    assert "Ideas to come back to" in history


def test_hints_are_kept_with_the_attempt_they_were_used_for(regular: httpx.Client, good: str, weak: str) -> None:
    hinted = {"answer": weak, "hint": ["accumulates", "call-timing", "no-such-point", "accumulates"]}
    first = regular.post("/questions/zero-grad", data=hinted).url.path
    second = answer(regular, good, "autograd")
    page = regular.get(first).text
    assert '<span class="pill">2 hints used</span>' in page.split("</h1>")[0]
    # The next attempt starts with the hints of this one: what was seen stays seen.
    assert page.count('name="hint" value="accumulates"') >= 1
    assert "hints used" not in regular.get(second).text
    table = regular.get("/history").text.split("<tbody>")[1]
    assert [part.split("</td>")[0] for part in table.split('<td class="figure">')[2::2]] == ["0", "2"]
    rows = csv.DictReader(io.StringIO(regular.get("/history/export.csv").text.removeprefix("\ufeff")))
    assert [row["hints"] for row in rows] == ["0", "2"]
    kept = regular.get("/history/export.json").json()["answers"]
    assert [one["hints"] for one in kept] == [["accumulates", "call-timing"], []]


def test_the_first_attempt_kept_brings_its_hints(visitor: httpx.Client, weak: str) -> None:
    first = {"question_id": "zero-grad", "answer": weak, "hint": "accumulates"}
    response = visitor.post("/history/start", data=first)
    assert "1 hint used" in response.text
    assert [one["hints"] for one in visitor.get("/history/export.json").json()["answers"]] == [["accumulates"]]


def test_a_review_moves_no_attempt(regular: httpx.Client, good: str, weak: str) -> None:
    first, second = answer(regular, weak), answer(regular, good)
    grade_id = first.rsplit("/", 1)[1]
    response = regular.post(
        f"/review/grades/{grade_id}", data={"author": "Reviewer", "reason": "Looked.", "score": "33"}
    )
    reviewed = f"/history/{response.url.path.rsplit('/', 1)[1]}"
    table = regular.get("/history").text.split("<tbody>")[1]
    assert table.index(second) < table.index(reviewed)
    assert "Since your last attempt" not in regular.get(reviewed).text
    assert "before: 33" in regular.get(second).text


def test_a_reload_keeps_nothing_twice(regular: httpx.Client, good: str) -> None:
    path = answer(regular, good)
    for _ in range(3):
        assert regular.get(path).status_code == 200
    assert len(regular.get("/history/export.json").json()["answers"]) == 1


def test_an_empty_answer_is_no_attempt(regular: httpx.Client) -> None:
    assert answer(regular, "  ") == "/questions/zero-grad"
    assert "Nothing here yet" in regular.get("/history").text


def test_nobody_sees_anothers_history(regular: httpx.Client, fast_site: str, good: str) -> None:
    path = answer(regular, good)
    forged = {"profile": regular.cookies["profile"][:-2] + "xx"}
    for cookies in ({}, forged, {"profile": "x"}, {"profile": ".."}):
        with httpx.Client(base_url=fast_site, headers=BROWSER, cookies=cookies, timeout=60) as other:
            assert other.get(path).status_code == 404
            assert "Keep your attempts?" in other.get("/history").text
    with httpx.Client(base_url=fast_site, headers=BROWSER, timeout=60, follow_redirects=True) as other:
        other.post("/history/start")
        assert other.get(path).status_code == 404
        assert other.get("/history/export.json").status_code == 404


def test_the_table_holds_everything_and_runs_nothing(regular: httpx.Client) -> None:
    texts = ["=1+1 backward() adds to .grad", '-2 zero_grad() clears\nthe "gradients"; before, backward()']
    for text in texts:
        answer(regular, text)
    response = regular.get("/history/export.csv")
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in response.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(response.text.removeprefix("\ufeff"))))
    assert [row["answer"] for row in rows] == [f"'{text}" for text in reversed(texts)]
    assert all(row["question"].startswith("What is the purpose") and row["when"] for row in rows)


def test_erasing_leaves_nothing(regular: httpx.Client, good: str) -> None:
    path, cookie = answer(regular, good), regular.cookies["profile"]
    response = regular.post("/history/erase")
    assert "All gone" in response.text
    assert "profile" not in regular.cookies
    regular.cookies.set("profile", cookie)
    assert regular.get(path).status_code == 404
    assert "Nothing here yet" in regular.get("/history").text
    assert "All gone" in regular.post("/history/erase").text


def test_a_long_history_comes_in_pages(regular: httpx.Client) -> None:
    for number in range(52):
        answer(regular, f"Attempt {number}: backward() adds to .grad.")
    first = regular.get("/history").text
    assert first.count('href="/history/grd_') == 50
    assert 'href="/history?after=50"' in first
    assert len(first.encode()) < 60_000
    assert regular.get("/history?after=50").text.count('href="/history/grd_') == 2


def test_an_interview_is_part_of_the_history(regular: httpx.Client, good: str) -> None:
    data = {
        "question": ["zero-grad", "cuda"],
        "answers": [good, ""],
        "position": "1",
        "answer": "",
        "action": "finish",
    }
    assert regular.post("/interview/run", data=data).status_code == 200
    assert [one["question_id"] for one in regular.get("/history/export.json").json()["answers"]] == ["zero-grad"]
