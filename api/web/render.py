"""Turns a template and its values into a page. Knows the request's language and practice mode, nothing of grading."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from api.access import Caller
from api.auth import COOKIE as SESSION_COOKIE
from grader.feedback import label
from grader.texts import Languages, Texts

STATIC = Path(__file__).parent / "static"
PRACTICE_COOKIE = "practice"
MACHINE_PATHS = ("/v1/", "/healthz", "/readyz", "/metrics", "/openapi.json")

SMALL_WORDS = frozenset("a an and as at by for in of on or the to vs with".split())
# Short words of tags that are abbreviations although they could be spoken as a word.
ABBREVIATIONS = frozenset("ai api asr aws cpu gan gpu io iot orm os rag tpu ui uri url ux".split())
_SOFT_BREAK = re.compile(r"(?<=\S)[ \t]*\n(?=[^\s`#>*+\-|\d])")

_environment = Environment(
    loader=PackageLoader("api.web", "templates"),
    # Everything that is filled in is escaped, whatever the template is called.
    autoescape=select_autoescape(default=True, default_for_string=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def topic_name(tag: str) -> str:
    """A tag as a heading: `nn-module` becomes `NN module`; short words without a vowel are taken for abbreviations."""

    def is_short_for(word: str) -> bool:
        return word in ABBREVIATIONS or (len(word) <= 3 and word not in SMALL_WORDS and not set(word) & set("aeiouy"))

    text = " ".join(word.upper() if is_short_for(word) else word for word in tag.split("-"))
    return text[:1].upper() + text[1:]


def reflow(text: str) -> str:
    """Joins lines that were only broken to fit a file; blank lines, indented lines, bullets and fences stay."""
    return _SOFT_BREAK.sub(" ", text.strip())


def address(url: str) -> str:
    """An address as people read it out: without the scheme and the slash at the end."""
    return re.sub(r"^https?://(www\.)?|/$", "", url)


_environment.filters |= {"label": label, "topic": topic_name, "reflow": reflow, "address": address}


def _for_every_page(request: Request) -> dict[str, Any]:
    caller: Caller | None = getattr(request.state, "caller", None)  # public pages have none
    return {
        "t": texts_of(request),
        "practice": practises(request),
        "path": request.url.path,
        "reviews": caller is not None and caller.role in {"reviewer", "admin"},
        "may_see_reference": caller is not None and not caller.is_candidate,
        "signed_in": SESSION_COOKIE in request.cookies,
        "key_name": caller.name if caller is not None and caller.key_id is not None else None,
    }


_templates = Jinja2Templates(env=_environment, context_processors=[_for_every_page])


def texts_of(request: Request) -> Texts:
    """The words of this request's language."""
    languages: Languages = request.app.state.languages
    return languages.texts_for(request.headers.get("accept-language", ""))


def practises(request: Request) -> bool:
    """Whether the visitor asked for pages without numbers."""
    return request.cookies.get(PRACTICE_COOKIE) == "1"


def page(request: Request, template: str, values: dict[str, Any] | None = None, status: int = 200) -> Response:
    """The page that a template makes of these values."""
    return _templates.TemplateResponse(request, template, values or {}, status)


def error_page(request: Request, status: int, title: str, detail: str, *, refresh: bool = False) -> Response | None:
    """An error as a page for a browser; None for everyone else, who gets problem+json."""
    if request.url.path.startswith(MACHINE_PATHS) or "text/html" not in request.headers.get("accept", ""):
        return None
    values = {
        "title": title,
        "slug": slug(title),
        "status": status,
        "detail": texts_of(request).translate(detail),
        "refresh": refresh and request.method == "GET",
        "sent": request.method == "POST",
        "request_id": getattr(request.state, "request_id", None),
    }
    return page(request, "error.html", values, status)


def slug(title: str) -> str:
    """The key of a title among the texts: `Not found` is `not-found`."""
    return title.lower().replace(" ", "-")


def local_path(wanted: str) -> str:
    """A path of this service to go back to; anything that could lead elsewhere becomes the first page."""
    safe = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if safe else "/"
