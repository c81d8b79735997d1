"""The parts of the pages that need no server: texts, pictures, topics, the difference of two answers."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from api.errors import STATUS, TITLES
from api.texts import SHIPPED
from api.web.charts import gauge, line
from api.web.compare import compare, word_difference
from api.web.home import Choice, chosen, sections, topic_of
from api.web.render import address, local_path, reflow, slug, topic_name
from grader.bank import load_bank
from grader.pipeline import Grader

ROOT = Path(__file__).parents[2]
WEB = ROOT / "api" / "web"
ENGLISH = SHIPPED.texts("en")
BANK = load_bank()
TEMPLATES = sorted((WEB / "templates").glob("*.html"))

# ---- texts -----------------------------------------------------------------------------------------------------------


def used_keys() -> set[str]:
    """Keys in templates and code; `verdict.` stands for any key that begins so, because the rest is filled in."""
    code = [path.read_text(encoding="utf-8") for layer in ("api", "grader") for path in (ROOT / layer).rglob("*.py")]
    sources = [path.read_text(encoding="utf-8") for path in [*TEMPLATES, *WEB.glob("*.py")]]
    found = {key for text in sources for key in re.findall(r"""\bt(?:\.(?:count|get))?\(\s*["']([a-z_.]+)["']""", text)}
    found |= {key for text in sources for key in re.findall(r"""texts_of\(request\)\(["']([a-z_.]+)["']""", text)}
    said = re.compile(r"""(?:say\(|count\(|key = |else )f?["']((?:grade|refused)\.[a-z_.]+)""")
    return found | {key for text in code for key in said.findall(text)}


def test_every_text_that_is_used_is_there_and_every_text_is_used() -> None:
    words = ENGLISH.words
    used = used_keys() | {"refused.framework."}  # the framework says those
    prefixes = tuple(key for key in used if key.endswith((".", "_")))
    assert not {key for key in used - set(prefixes) if key not in words and f"{key}.one" not in words}
    plain = used - set(prefixes)
    unused = {key for key in words if key not in plain and key.removesuffix(".one").removesuffix(".other") not in plain}
    assert {key for key in unused if not key.startswith(prefixes)} == set()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_no_words_of_their_own(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    source = re.sub(r"\{% block (width|here) %\}.*?\{% endblock %\}", "", source)  # a class and an address
    text = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", " ", source, flags=re.S)
    shown = re.findall(r"""(?:aria-label|title|placeholder|alt)=["']([^"']*[A-Za-z]{3,}[^"']*)["']""", text)
    text = re.sub(r"<pre.*?</pre>|<[^>]*>", " ", text, flags=re.S)
    assert shown == []
    assert re.findall(r"[A-Za-z]{3,}", text) == []


def test_the_script_holds_no_words_of_its_own() -> None:
    source = re.sub(r"//[^\n]*|/\*.*?\*/", "", (WEB / "static" / "page.js").read_text(encoding="utf-8"), flags=re.S)
    texts = re.findall(r"""["`']([^"`'\n]*)["`']""", source)
    assert not [text for text in texts if re.search(r"[A-Z][a-z]+ [a-z]+ [a-z]+", text)]


def test_other_languages_say_the_same_keys() -> None:
    assert "en" in SHIPPED.names
    for language in SHIPPED.names:
        assert [(folder / f"{language}.toml").is_file() for folder in SHIPPED.folders] == [True, True]
        assert SHIPPED.texts(language).words.keys() == ENGLISH.words.keys()


def test_every_title_of_an_error_has_its_words() -> None:
    api = WEB.parent
    texts = "".join(path.read_text(encoding="utf-8") for path in api.glob("*.py"))
    titles = {title for _, title in STATUS.values()} | set(TITLES.values())
    titles |= set(re.findall(r"""Refused\(\d+, "([^"]+)\"""", texts))
    titles |= set(re.findall(r"""title(?:, detail)? = "([^"]+)\"""", texts))
    titles |= set(re.findall(r"""page\(request, \d+, "([^"]+)\"""", texts))
    words = ENGLISH.words
    # These only ever answer programs.
    titles -= {"Empty file", "Unsupported media type", "Unreadable file", "Still in work"}
    assert len(titles) > 20
    assert {title for title in titles if words.get(f"error.title.{slug(title)}") != title} == set()


def test_the_language_is_the_first_that_is_here() -> None:
    for header in ("", "en-GB,en;q=0.9", "xx, yy;q=0.5, EN", "x" * 10_000, ",,;;q=", "*"):
        assert SHIPPED.texts_for(header).language == "en"


def test_a_number_chooses_its_words() -> None:
    assert ENGLISH.count("home.attempts", 1) == "1 attempt"
    assert ENGLISH.count("home.attempts", 3) == "3 attempts"
    with pytest.raises(KeyError):
        ENGLISH("no.such.key")


# ---- pictures --------------------------------------------------------------------------------------------------------


def test_a_gauge_stays_on_its_scale_and_keeps_the_order() -> None:
    for score, low, high in ((0, 0, 0), (50, 20, 90), (100, 100, 100), (3, 0, 61.5)):
        picture = gauge(score, (low, high), before=0)
        assert 10 <= picture.low <= picture.dot <= picture.low + max(4, picture.width) <= 394
        assert picture.width >= 4
    assert gauge(50, (0, 100)).dot == 200
    assert gauge(50, (0, 100)).before is None


def test_a_course_runs_from_left_to_right_and_up_for_more() -> None:
    dots = line([0, 50, 100]).dots
    assert [x for x, _, _ in dots] == sorted(x for x, _, _ in dots)
    assert [y for _, y, _ in dots] == [58, 32, 6]
    assert line([40]).dots[0][0] == 120
    assert line([]).dots == ()


# ---- two attempts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "a b"),
        ("a b", ""),
        ("a b c", "a x c"),
        ("  lead", "lead  "),
        ("a\n\nb", "a b"),
        ("same words", "same words"),
        ("🙂 א", "א 🙂 b\t"),
    ],
)
def test_the_difference_gives_both_texts_back(before: str, after: str) -> None:
    runs = word_difference(before, after)
    assert runs is not None
    assert "".join(text for change, text in runs if change != "gone") == after
    assert "".join(text for change, text in runs if change != "new") == before


def test_the_difference_of_random_texts_gives_both_back() -> None:
    chance = random.Random(7)
    for _ in range(200):
        before, after = (" ".join(chance.choices("abcd \n", k=chance.randrange(30))) for _ in range(2))
        runs = word_difference(before, after)
        assert runs is not None
        assert "".join(text for change, text in runs if change != "gone") == after


def test_texts_that_would_take_minutes_are_not_compared() -> None:
    assert word_difference("a b " * 5_000, "b b a " * 3_300) is None


def test_a_comparison_names_what_is_new_lost_and_missing(fast_grader: Grader, good: str) -> None:
    first, second = good.split(". ", 2)[0] + ".", good.split(". ", 2)[2]
    one, other = (fast_grader.grade("zero-grad", text) for text in (first, second))
    found = compare(one, other, first, second)
    met = [{r.id for r in grade.criteria if r.verdict == "met"} for grade in (one, other)]
    assert {r.id for r in found.gained} == met[1] - met[0]
    assert {r.id for r in found.lost} == met[0] - met[1]
    assert {r.id for r in found.missing}.isdisjoint(met[0] | met[1])
    assert len(found.gained) + len(found.lost) + len(found.missing) + len(met[0] & met[1]) == len(one.criteria)


# ---- home ------------------------------------------------------------------------------------------------------------


def test_every_question_has_its_place_in_every_order() -> None:
    for order in ("number", "topic", "level"):
        found = [q for part in sections(BANK.questions, BANK.questions, order) for q in part.questions]
        assert sorted(q.number for q in found) == [q.number for q in BANK.questions]
    sizes = [
        list(topic_of(BANK.questions).values()).count(topic)
        for topic in set(topic_of(BANK.questions).values())
        if topic
    ]
    assert min(sizes) >= 2


def test_a_search_needs_every_word_and_minds_no_case() -> None:
    assert [q.id for q in chosen(BANK.questions, Choice("CLIPPING gradient"))] == ["gradient-clipping"]
    assert chosen(BANK.questions, Choice("clipping quantization")) == []
    assert {q.level for q in chosen(BANK.questions, Choice(level="mid"))} == {"mid"}
    assert all("autograd" in q.tags for q in chosen(BANK.questions, Choice(topic="autograd")))


# ---- small things ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "", "/a\nb"]
)
def test_no_address_leads_elsewhere(wanted: str) -> None:
    assert local_path(wanted) == "/"


def test_words_of_tags_and_lines_of_references() -> None:
    assert [topic_name(tag) for tag in ("nn-module", "gpu", "state-of-the-art", "air", "sql")] == [
        "NN module",
        "GPU",
        "State of the art",
        "Air",
        "SQL",
    ]
    assert address("https://www.example.org/a/?b=1/") == "example.org/a/?b=1"
    assert reflow("one\ntwo\n\nthree\n- four\n    five\n") == "one two\n\nthree\n- four\n    five"
