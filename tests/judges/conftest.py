"""What the tests of language judges share: cases, and a real HTTP peer that behaves as the servers of this world do."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from email.utils import formatdate
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse

from grader.bank import load_bank
from grader.calibration import load_calibration
from grader.encoders.hashing import HashingEncoder
from grader.judges import Case
from grader.judges.openai_compatible import RETRIES, CircuitBreaker, Endpoint, OpenAICompatibleJudge
from grader.pipeline import Grader, prepare

GOOD = (
    "PyTorch adds up gradients: every backward() call does += on .grad. zero_grad() clears the old ones so they do not "
    "leak into the new step. Call it once per iteration, before loss.backward()."
)


class Peer:
    """An OpenAI-compatible server. `behaviour` picks how it behaves, `requests` keeps what it was sent."""

    def __init__(self) -> None:
        self.behaviour = "json_schema"
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        answer: Callable[[dict[str, Any]], Response] | None = getattr(self, f"_{self.behaviour}", None)
        if self.behaviour == "slow":
            await asyncio.sleep(8)
        return answer(body) if answer else self._reply(verdicts(body))

    def _reply(self, text: str | None, finish_reason: str = "stop", **message: Any) -> Response:
        said = {"role": "assistant", "content": text} | message
        choice = {"index": 0, "finish_reason": finish_reason, "message": said}
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        content = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "usage": usage,
        }
        return JSONResponse(content)

    def _error(self, status: int, message: str, **headers: str) -> Response:
        return JSONResponse({"error": {"message": message, "type": "x"}}, status, headers=headers or None)

    def _json_object(self, body: dict[str, Any]) -> Response:  # llama.cpp builds and older gateways
        if body.get("response_format", {}).get("type") == "json_schema":
            return self._error(400, "response_format type must be json_object or text")
        return self._reply(verdicts(body))

    def _object_with_schema(self, body: dict[str, Any]) -> Response:  # llama-cpp-python's server
        form = body.get("response_format", {})
        if form.get("type") == "json_schema":
            return self._error(500, "('body', 'response_format', 'type'): Input should be 'text' or 'json_object'")
        return self._reply(verdicts(body) if "schema" in form else "\n" * 200)

    def _object_alone(self, body: dict[str, Any]) -> Response:
        form = body.get("response_format", {})
        if form.get("type") == "json_schema":
            return self._error(400, "response_format type must be json_object or text")
        if "schema" in form:
            return self._error(400, "Unknown parameter: 'response_format.schema'.")
        return self._reply(verdicts(body))

    def _plain(self, body: dict[str, Any]) -> Response:  # transformers serve
        if "response_format" in body:
            return self._error(422, "Unsupported parameter: response_format")
        return self._reply(f"Certainly! Here it is:\n```json\n{verdicts(body)}\n```\nHope it helps.")

    def _reasoning(self, body: dict[str, Any]) -> Response:  # models that take neither temperature nor max_tokens
        if "max_tokens" in body:
            return self._error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        if "temperature" in body:
            return self._error(400, "Unsupported value: 'temperature' does not support 0.0 with this model.")
        return self._reply(verdicts(body))

    def _stubborn(self, body: dict[str, Any]) -> Response:
        return self._error(400, f"Cannot take {', '.join(sorted(body))}.")

    def _busy_once(self, body: dict[str, Any]) -> Response:
        if len(self.requests) == 1:
            return self._error(429, "slow down", **{"retry-after": "0.05"})
        return self._reply(verdicts(body))

    def _busy(self, body: dict[str, Any]) -> Response:
        del body
        return self._error(429, "slow down", **{"retry-after": "0.01"})

    def _busy_for_long(self, body: dict[str, Any], **headers: str) -> Response:
        if len(self.requests) == 1:
            return self._error(429, "slow down", **(headers or {"retry-after": "30"}))
        return self._reply(verdicts(body))

    def _busy_for_milliseconds(self, body: dict[str, Any]) -> Response:  # Azure
        return self._busy_for_long(body, **{"retry-after-ms": "30000", "retry-after": "0.01"})

    def _busy_until(self, body: dict[str, Any]) -> Response:  # proxies
        return self._busy_for_long(body, **{"retry-after": formatdate(time.time() + 30, usegmt=True)})

    def _drips(self, body: dict[str, Any]) -> Response:  # blanks keep the connection open while a model works
        reply = self._reply(verdicts(body)).body

        async def drops() -> AsyncIterator[bytes]:
            for _ in range(150):
                yield b" "
                await asyncio.sleep(0.1)
            yield bytes(reply)

        return StreamingResponse(drops(), media_type="application/json")

    def _endless(self, body: dict[str, Any]) -> Response:
        return self._reply(" " * 3_000_000 + verdicts(body))

    def _too_long(self, body: dict[str, Any]) -> Response:  # vLLM
        del body
        return self._error(400, "max_tokens is too large: 500. This model's maximum context length is 2048 tokens.")

    def _thinks(self, body: dict[str, Any]) -> Response:  # Qwen 3 and others where the server leaves the thoughts in
        return self._reply('<think>\nMaybe {"verdicts": []}? Or {"a": 1}?\n</think>\n\n' + verdicts(body))

    def _thinks_at_length(self, body: dict[str, Any]) -> Response:  # thoughts count as tokens of the reply
        if body["max_tokens"] < 1_000:
            return self._reply(None, "length")
        return self._reply(verdicts(body))

    def _considers_at_length(self, body: dict[str, Any]) -> Response:  # its thoughts hold a reply that is not its last
        if body["max_tokens"] < 1_000:
            return self._reply("<think>\nPerhaps:\n" + verdicts(body) + "\nBut is that so? The ans", "length")
        return self._reply(verdicts(body))

    def _no_choices(self, body: dict[str, Any]) -> Response:
        reply = json.loads(bytes(self._reply(verdicts(body)).body))
        return JSONResponse(reply | {"choices": []})

    def _broken(self, body: dict[str, Any]) -> Response:
        del body
        return self._error(500, "sk-secret leaked by a careless server", **{"retry-after": "0.01"})

    def _down_for_a_moment(self, body: dict[str, Any]) -> Response:
        if len(self.requests) <= 1 + RETRIES:
            return self._error(503, "no response from upstream: wrong format of its status", **{"retry-after": "0.01"})
        return self._reply(verdicts(body))

    def _nonsense(self, body: dict[str, Any]) -> Response:
        del body
        return self._reply("I think it is a rather nice answer, all in all: 9/10.")

    def _mends(self, body: dict[str, Any]) -> Response:
        right = verdicts({"messages": body["messages"][:2]})
        return self._reply(right if len(body["messages"]) > 2 else right.replace('"verdict"', '"decision"'))

    def _outside_the_set(self, body: dict[str, Any]) -> Response:
        return self._reply(verdicts({"messages": body["messages"][:2]}).replace('"met"', '"excellent"'))

    def _refuses(self, body: dict[str, Any]) -> Response:
        del body
        return self._reply(None, refusal="I cannot help with that.")

    def _filters(self, body: dict[str, Any]) -> Response:  # Azure
        del body
        message = "The response was filtered due to the prompt triggering the content management policy."
        error = {"message": message, "type": None, "param": "prompt", "code": "content_filter", "status": 400}
        return JSONResponse({"error": error}, 400)

    def _filters_without_code(self, body: dict[str, Any]) -> Response:  # gateways that keep the message alone
        del body
        return self._error(400, "Filtered due to the prompt triggering Azure OpenAI's content management policy.")

    def _not_the_protocol(self, body: dict[str, Any]) -> Response:
        del body
        return Response("<html>a captive portal</html>", media_type="text/html")

    def _redirects(self, body: dict[str, Any]) -> Response:
        del body
        return RedirectResponse("http://198.51.100.7/v1/chat/completions", 307)

    def _invents(self, body: dict[str, Any]) -> Response:
        return self._reply(verdicts(body, quote="words that the candidate never wrote"))


def verdicts(body: dict[str, Any], quote: str | None = None) -> str:
    """A model's reply: everything is met, shown by the first sentence of the answer."""
    prompt = body["messages"][1]["content"]
    if "Criteria:" not in prompt:
        return "free text"
    ids = re.findall(r"^- ([a-z0-9-]+): ", prompt.split("Criteria:\n")[1].split("\n\n")[0], re.MULTILINE)
    answer = re.search(r"BEGIN (\w+)\n(.*)\nEND \1", prompt, re.DOTALL)
    words = quote or (answer.group(2).split(". ")[0] if answer else "")
    return json.dumps({one: {"verdict": "met", "quote": words} for one in ids})


@pytest.fixture(scope="session")
def _peer() -> Iterator[Peer]:
    peer = Peer()
    app = FastAPI()
    app.add_api_route("/v1/chat/completions", peer.complete, methods=["POST"], response_model=None)
    listening = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    while not running.started:
        time.sleep(0.01)
    peer.url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    yield peer
    running.should_exit = True
    thread.join(timeout=10)
    listening.close()


@pytest.fixture
def peer(_peer: Peer) -> Peer:
    """The peer, with nothing remembered."""
    _peer.behaviour, _peer.requests, _peer.headers = "json_schema", [], []
    return _peer


@pytest.fixture
def judge_of(peer: Peer) -> Iterator[Callable[..., OpenAICompatibleJudge]]:
    """Makes a judge that talks to the peer, which behaves as named."""
    made: list[OpenAICompatibleJudge] = []

    def make(behaviour: str, breaker: CircuitBreaker | None = None) -> OpenAICompatibleJudge:
        peer.behaviour = behaviour
        made.append(OpenAICompatibleJudge(Endpoint(peer.url, "a-model", "sk-secret", prices=(1.0, 10.0)), breaker))
        return made[-1]

    yield make
    for judge in made:
        judge.close()


@pytest.fixture(scope="session")
def plain_grader() -> Grader:
    """The shipped bank with hashed words and no language model."""
    return Grader(load_bank(), HashingEncoder(), load_calibration())


@pytest.fixture(scope="session")
def case_of(plain_grader: Grader) -> Callable[..., Case]:
    """Makes the case of an answer to `zero-grad`."""

    def make(answer: str = GOOD) -> Case:
        index = plain_grader._index(plain_grader.bank.question("zero-grad"))
        case = prepare(index, plain_grader.encoder, answer, None).case
        assert case is not None
        return case

    return make
