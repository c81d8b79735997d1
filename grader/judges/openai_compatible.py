"""A judge behind any OpenAI-compatible endpoint: OpenAI, vLLM, Ollama, llama.cpp, `transformers serve`.

What such a server takes differs: the first calls find out how it returns structured output (json_schema, json_object or
plain text) and which parameters it refuses, and remember it for the endpoint. The schema stands in the prompt in any
case; a reply that does not fit is sent back once for repair, then there is no opinion; one that was cut short is asked
for again with more room, for models that think aloud first. Log-probabilities are not used. Only hosts on an allow-list
are called, redirects are not followed, and no error carries a key, a prompt or a reply.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from grader.bank import content_hash
from grader.errors import JudgeError, JudgeUnavailable
from grader.judges import Case
from grader.judges.language import Consultation, Usage, Writing, priced
from grader.judges.prompting import (
    SYSTEM,
    VERSION,
    InvalidReply,
    grading_prompt,
    judgement,
    read_reply,
    reply_schema,
    show,
)
from grader.schema import Criterion, Judgement
from grader.texts import say

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAI

    from grader.judges.transport import BoundedClient

logger = logging.getLogger(__name__)

LOOPBACK = ("localhost", "127.0.0.1", "::1")
Mode = Literal["json_schema", "json_object", "plain"]
MODES: tuple[Mode, ...] = ("json_schema", "json_object", "plain")
# Tokens of a reply for each criterion: an id, a verdict and a quote of a sentence or two.
TOKENS_PER_CRITERION = 160
# After this many failures in a row nothing is asked for a while: seconds.
BREAK_AFTER = 5
BREAK_SECONDS = 30.0
# So many times the tokens for a second try when the first was cut short.
MORE_ROOM = 8
RETRIES = 2  # by the client: exponential with jitter, and as long as Retry-After says

NOTHING = Usage()

Messages = list[dict[str, str]]
Schema = dict[str, Any]
# A request that is too long for a model, in the words of vLLM, llama.cpp, OpenAI and Ollama.
_TOO_LONG = re.compile(r"context|too (?:long|large|many tokens)|input length")
# A form that a server breaks on instead of refusing it; any gateway in trouble speaks of responses and formats.
_BREAKS_ON_FORM = re.compile(r"response.?format|schema|grammar")


class _Heard(NamedTuple):
    text: str
    usage: Usage
    cut: bool  # it ran out of tokens


@dataclass(frozen=True)
class Endpoint:
    """Where a model is served. `prices` are per million tokens in and out; the key is never shown."""

    base_url: str
    model: str
    api_key: str = field(default="", repr=False)
    allowed_hosts: tuple[str, ...] = LOOPBACK
    prices: tuple[float, float] = (0.0, 0.0)

    def checked(self) -> Endpoint:
        """Itself; raises JudgeError when it cannot be used. No message repeats more of the address than its host."""
        try:
            parts = urlsplit(self.base_url)
        except ValueError:  # its message repeats the address
            parts = urlsplit("")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise JudgeError(
                "The base URL of the language model is no address of an endpoint; give one like "
                "http://127.0.0.1:11434/v1."
            )
        if parts.username or parts.password:
            raise JudgeError(
                "The base URL of the language model holds a password; give the key as the API key instead."
            )
        if "?" in self.base_url or "#" in self.base_url:
            raise JudgeError(
                "The base URL of the language model holds a query or a fragment, after which no path can follow; give "
                "the URL without it, and a key as the API key."
            )
        if parts.hostname not in {host.strip("[]").lower() for host in self.allowed_hosts}:
            raise JudgeError(
                f"The host {parts.hostname!r} is not on the list of hosts that answers may be sent to "
                f"({', '.join(self.allowed_hosts)}); add it there if candidates' answers may leave for it."
            )
        if not self.model:
            raise JudgeError("No model is named; say which one the endpoint should use.")
        if not re.fullmatch(r"[\x21-\x7e]*", self.api_key):
            raise JudgeError("The API key holds a blank, a line break or a letter that no key has; give the key alone.")
        return self


class CircuitBreaker:
    """Stops asking after BREAK_AFTER failures in a row, and lets one call through to see when BREAK_SECONDS are over."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._open_until = 0.0

    def check(self) -> None:
        """Raises JudgeUnavailable while nothing should be asked."""
        with self._lock:
            if self._failures < BREAK_AFTER:
                return
            left = self._open_until - self._clock()
            if left > 0:
                reason = say("grade.degraded.paused", n=self._failures, seconds=f"{left:.0f}")
                raise JudgeUnavailable("budget", reason)
            self._open_until = self._clock() + BREAK_SECONDS  # this caller tries; the others wait for what comes of it

    def record(self, *, good: bool) -> None:
        """Tells what came of a call."""
        with self._lock:
            self._failures = 0 if good else self._failures + 1
            if self._failures >= BREAK_AFTER:
                self._open_until = self._clock() + BREAK_SECONDS


class OpenAICompatibleJudge:
    """Asks for all criteria in one call; every credit needs a quote. Safe to share by threads."""

    name = "openai_compatible"

    def __init__(self, endpoint: Endpoint, breaker: CircuitBreaker | None = None) -> None:
        self.endpoint = endpoint.checked()
        self.breaker = breaker or CircuitBreaker()
        self.version = f"{endpoint.model}+{VERSION}+{content_hash([endpoint.base_url])[:6]}"
        self.mode: Mode = MODES[0]
        self._refused: set[str] = set()  # parameters this endpoint does not take
        self._client: OpenAI | None = None
        self._http: BoundedClient | None = None
        self._lock = threading.Lock()

    def judge(self, case: Case, criteria: Sequence[Criterion]) -> list[Judgement]:
        """See Judge.judge."""
        return self.consult(case, criteria, seconds=60.0).judgements

    def consult(self, case: Case, criteria: Sequence[Criterion], seconds: float) -> Consultation:
        """See LanguageJudge.consult. One call, and one more when the reply has to be repaired."""
        if not criteria:
            return Consultation([], Usage())
        shown = show(case)
        messages = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": grading_prompt(case, shown, criteria)},
        ]
        ends = time.monotonic() + seconds
        schema = reply_schema(criteria)
        limit = 64 + TOKENS_PER_CRITERION * len(criteria)
        usage = Usage()
        fault: InvalidReply | None = None
        for _ in range(2):  # once more when the reply cannot be used
            try:
                heard = self._ask(messages, limit, ends, schema)
            except JudgeUnavailable as failure:
                failure.spent = (usage + Usage(*failure.spent)).parts
                raise
            usage += heard.usage
            try:
                replies = read_reply(heard.text, criteria)
            except InvalidReply as error:
                fault = error
            else:
                return Consultation([judgement(case, shown, one, replies[one.id]) for one in criteria], usage)
            if heard.cut:
                limit *= MORE_ROOM
            else:
                messages += _repair(heard.text, fault)
        raise JudgeUnavailable("protocol", say("grade.degraded.unusable", fault=fault), usage.parts)

    def write(self, system: str, prompt: str, max_tokens: int, seconds: float) -> Writing:
        """See LanguageJudge.write."""
        messages = [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
        heard = self._ask(messages, max_tokens, time.monotonic() + seconds)
        return Writing(heard.text, heard.usage)

    # ---- one call ----------------------------------------------------------------------------------------------------

    def _ask(self, messages: Messages, max_tokens: int, ends: float, schema: Schema | None = None) -> _Heard:
        """A reply, in the form of a schema where one is given. Steps down until the endpoint takes a form, and remembers it."""
        from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError

        self.breaker.check()
        mode: Mode = self.mode if schema else "plain"
        refused = set(self._refused)
        while ends > time.monotonic():
            try:
                client, http = self._opened()
                http.until(ends)
                reply = client.chat.completions.create(**self._request(messages, max_tokens, mode, refused, schema))
            except APITimeoutError:
                break
            except APIConnectionError:
                raise self._failed("unreachable", say("grade.degraded.unreachable")) from None
            except APIStatusError as error:
                if (simpler := self._simpler(error, mode, refused)) is None:
                    reason = say("grade.degraded.status", status=error.status_code)
                    raise self._failed("unreachable", reason) from None
                mode = simpler
            except (APIError, ValueError, TypeError, AttributeError):  # a body that is not what the protocol says
                raise self._failed("protocol", say("grade.degraded.nonsense")) from None
            else:
                found = self._content(reply)
                self.breaker.record(good=True)
                self._learn(mode if schema else self.mode, refused)
                return found
        raise self._failed("timeout", say("grade.degraded.too_long"))

    def _learn(self, mode: Mode, refused: set[str]) -> None:
        with self._lock:
            if mode != self.mode or not refused <= self._refused:
                logger.info("the endpoint takes %s, without %s", mode, ", ".join(sorted(refused)) or "exception")
            self.mode, self._refused = mode, self._refused | refused

    def _failed(
        self, result: Literal["timeout", "unreachable", "protocol"], reason: str, usage: Usage = NOTHING
    ) -> JudgeUnavailable:
        self.breaker.record(good=False)
        return JudgeUnavailable(result, reason, usage.parts)

    def _declined(self, reason: str, usage: Usage = NOTHING) -> JudgeUnavailable:
        """For what lies in the answer: the endpoint is well, and no candidate can have it left alone for others."""
        self.breaker.record(good=True)
        return JudgeUnavailable("refused", reason, usage.parts)

    def _content(self, reply: Any) -> _Heard:
        choices, counts = getattr(reply, "choices", None), getattr(reply, "usage", None)
        tokens = Usage(getattr(counts, "prompt_tokens", 0) or 0, getattr(counts, "completion_tokens", 0) or 0)
        usage = priced(tokens, *self.endpoint.prices)
        if not choices or getattr(choices[0], "message", None) is None:
            raise self._failed("protocol", say("grade.degraded.nonsense"), usage)
        message = choices[0].message
        if getattr(message, "refusal", None) or choices[0].finish_reason == "content_filter":
            raise self._declined(say("grade.degraded.declined"), usage)
        return _Heard(str(message.content or ""), usage, choices[0].finish_reason == "length")

    def _request(
        self, messages: Messages, max_tokens: int, mode: Mode, refused: set[str], schema: Schema | None
    ) -> dict[str, Any]:
        request: dict[str, Any] = {"model": self.endpoint.model, "messages": messages, "stream": False}
        options: dict[str, Any] = {"temperature": 0.0, "seed": 0, "max_tokens": max_tokens}
        if "max_tokens" in refused:  # its newer name
            options["max_completion_tokens"] = max_tokens
        request |= {name: value for name, value in options.items() if name not in refused}
        if mode == "json_schema":
            named = {"name": "verdicts", "schema": schema, "strict": True}
            request["response_format"] = {"type": "json_schema", "json_schema": named}
        elif mode == "json_object":
            # llama.cpp's servers keep to a schema beside the type; without one a small model may never come to a brace.
            beside = {} if "schema" in refused else {"schema": schema}
            request["response_format"] = {"type": "json_object"} | beside
        return request

    def _simpler(self, error: APIStatusError, mode: Mode, refused: set[str]) -> Mode | None:
        """How to ask a server that refused a request for its form; None when it was not for that or all was tried.

        Adds to `refused` what the server does not take. Raises JudgeUnavailable when what was refused is the answer.
        """
        said = str(getattr(error, "message", "")).lower()
        # Azure, and gateways that keep its message alone.
        if error.status_code == 400 and (error.code == "content_filter" or "content management policy" in said):
            raise self._declined(say("grade.degraded.declined")) from None
        if error.status_code in {400, 413, 422} and _TOO_LONG.search(said):
            raise self._declined(say("grade.degraded.no_room")) from None
        if error.status_code in {400, 422}:
            for name in ("max_completion_tokens", "max_tokens", "temperature", "seed"):
                # A server that names the newer parameter asks for it in place of the older one.
                older = name == "max_completion_tokens" and "max_tokens" not in refused
                parameter = "max_tokens" if older else name
                if name in said and parameter not in refused:
                    refused.add(parameter)
                    return mode
            if mode == "json_object" and "schema" in said and "schema" not in refused:
                refused.add("schema")
                return mode
        elif error.status_code < 500 or not _BREAKS_ON_FORM.search(said):
            return None
        return MODES[MODES.index(mode) + 1] if mode != MODES[-1] else None

    def _opened(self) -> tuple[OpenAI, BoundedClient]:
        with self._lock:
            if self._client is None or self._http is None:
                try:
                    from openai import OpenAI

                    from grader.judges.transport import BoundedClient
                except ImportError:
                    raise JudgeError(
                        "The openai client is missing; install it with: pip install 'answer-grader[llm]'"
                    ) from None
                self._http = BoundedClient()
                key = self.endpoint.api_key or "none"
                self._client = OpenAI(
                    base_url=self.endpoint.base_url,
                    api_key=key,
                    # Said once more, since OPENAI_CUSTOM_HEADERS would come before the key.
                    default_headers={"Authorization": f"Bearer {key}"},
                    max_retries=RETRIES,
                    http_client=self._http,
                )
            return self._client, self._http

    def close(self) -> None:
        """Closes the connections; they open again when they are needed."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = self._http = None


def _repair(said: str, fault: InvalidReply) -> Messages:
    """What is said to a model whose reply cannot be used: its reply, and why."""
    again = f"That reply cannot be used: {fault}. Reply again, with the JSON only."
    return [{"role": "assistant", "content": said[:8_000]}, {"role": "user", "content": again}]
