"""The README tells the truth: its commands exist and its examples print what it says they print."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path

import httpx

from grader import Grader

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found, language
    return found.group(1)


def test_the_python_example_prints_what_the_readme_says(real_grader: Grader) -> None:
    assert "Grader.load()" in block("python")  # the one line that is not run again: loading takes seconds
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(block("python").replace("Grader.load()", "ready"), {"ready": real_grader})
    assert printed.getvalue() == block("text")


def test_the_curl_example_prints_what_the_readme_says(server: str) -> None:
    example = block("console")
    sent = re.search(r"-d '(\{.*?\})'", example)
    assert sent
    grade = httpx.post(f"{server}/v1/grades", json=json.loads(sent.group(1)), timeout=60).json()
    shown = {
        "score": grade["score"],
        "covered": [
            {"id": result["id"], "words": result["evidence"][0]["text"]}
            for result in grade["criteria"]
            if result["verdict"] == "met"
        ],
    }
    assert json.loads(example[example.index("\n{") :]) == shown


def test_every_page_that_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_two_commands_come_first() -> None:
    assert 0 < README.index("make run") < README.index("make test") < README.index("##")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^run: setup", makefile, re.MULTILINE)
    assert re.search(r"^test: setup", makefile, re.MULTILINE)
