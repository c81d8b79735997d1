"""Over a real socket: every kind of server is understood, every kind of failure is a reason and never a number."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from httpx2 import Headers

from grader.errors import JudgeError, JudgeUnavailable
from grader.judges import Case
from grader.judges.openai_compatible import (
    BREAK_AFTER,
    BREAK_SECONDS,
    RETRIES,
    CircuitBreaker,
    Endpoint,
    OpenAICompatibleJudge,
)
from grader.judges.prompting import reply_schema
from grader.judges.transport import PAUSE, BoundedClient, _wait

MakeJudge = Callable[..., OpenAICompatibleJudge]
MakeCase = Callable[..., Case]
# Seconds; a loaded machine is slow, and what is waited for here is not time.
PATIENT = 60.0


@pytest.mark.parametrize(
    ("behaviour", "mode", "calls"),
    [
        ("json_schema", "json_schema", 1),
        ("json_object", "json_object", 2),
        ("object_with_schema", "json_object", 2 + RETRIES),
        ("object_alone", "json_object", 3),
        ("plain", "plain", 3),
    ],
)
def test_it_finds_out_what_a_server_takes_and_remembers(
    peer: Any, judge_of: MakeJudge, case_of: MakeCase, behaviour: str, mode: str, calls: int
) -> None:
    judge, case = judge_of(behaviour), case_of()
    found = judge.consult(case, case.index.question.criteria[:3], PATIENT)
    assert [one.p_met > 0.8 for one in found.judgements] == [True] * 3
    assert all(case.answer.original[s.start : s.end] == s.text for one in found.judgements for s in one.evidence)
    assert (judge.mode, len(peer.requests)) == (mode, calls)
    judge.consult(case, case.index.question.criteria[:1], PATIENT)
    assert len(peer.requests) == calls + 1
    request = peer.requests[-1]
    assert (request["temperature"], request["seed"]) == (0.0, 0)
    assert "logprobs" not in request
    assert '"enum": ["met", "not_met", "contradicted"]' in request["messages"][1]["content"]


def test_it_learns_which_parameters_a_model_refuses(peer: Any, judge_of: MakeJudge, case_of: MakeCase) -> None:
    judge, case = judge_of("reasoning"), case_of()
    assert judge.consult(case, case.index.question.criteria[:1], PATIENT).judgements[0].p_met > 0.8
    assert "max_completion_tokens" in peer.requests[-1]
    assert not {"temperature", "max_tokens"} & set(peer.requests[-1])
    assert judge.mode == "json_schema"


def test_tokens_and_cost_are_counted(judge_of: MakeJudge, case_of: MakeCase) -> None:
    case = case_of()
    usage = judge_of("json_schema").consult(case, case.index.question.criteria[:1], PATIENT).usage
    assert (usage.input_tokens, usage.output_tokens) == (100, 20)
    assert usage.cost == pytest.approx((100 * 1 + 20 * 10) / 1e6)


@pytest.mark.parametrize(("behaviour", "replies"), [("nonsense", 2), ("refuses", 1), ("no_choices", 1)])
def test_replies_that_nobody_could_use_are_counted_too(
    judge_of: MakeJudge, case_of: MakeCase, behaviour: str, replies: int
) -> None:
    case = case_of()
    with pytest.raises(JudgeUnavailable) as raised:
        judge_of(behaviour).consult(case, case.index.question.criteria[:1], PATIENT)
    assert raised.value.spent == pytest.approx((100 * replies, 20 * replies, replies * (100 * 1 + 20 * 10) / 1e6))


def test_a_busy_server_is_asked_again(peer: Any, judge_of: MakeJudge, case_of: MakeCase) -> None:
    case = case_of()
    found = judge_of("busy_once").consult(case, case.index.question.criteria[:1], PATIENT)
    assert found.judgements[0].p_met > 0.8
    assert len(peer.requests) == 2


def test_a_reply_is_repaired_once(peer: Any, judge_of: MakeJudge, case_of: MakeCase) -> None:
    case = case_of()
    found = judge_of("mends").consult(case, case.index.question.criteria[:2], PATIENT)
    assert found.judgements[0].p_met > 0.8
    assert found.usage.input_tokens == 200
    assert len(peer.requests) == 2


def test_thoughts_are_no_reply(peer: Any, judge_of: MakeJudge, case_of: MakeCase) -> None:
    case = case_of()
    assert judge_of("thinks").consult(case, case.index.question.criteria[:1], PATIENT).judgements[0].p_met > 0.8
    assert len(peer.requests) == 1


@pytest.mark.parametrize("behaviour", ["thinks_at_length", "considers_at_length"])
def test_a_reply_that_was_cut_short_gets_more_room(
    peer: Any, judge_of: MakeJudge, case_of: MakeCase, behaviour: str
) -> None:
    case = case_of()
    found = judge_of(behaviour).consult(case, case.index.question.criteria[:1], PATIENT)
    assert found.judgements[0].p_met > 0.8
    first, second = peer.requests
    assert second["max_tokens"] > first["max_tokens"]
    assert second["messages"] == first["messages"]


def test_a_long_answer_teaches_nothing_about_the_endpoint(peer: Any, judge_of: MakeJudge, case_of: MakeCase) -> None:
    judge, case = judge_of("too_long"), case_of()
    for _ in range(BREAK_AFTER + 1):
        with pytest.raises(JudgeUnavailable, match="too long for the language model") as raised:
            judge.consult(case, case.index.question.criteria[:1], PATIENT)
        assert raised.value.result == "refused"
    peer.behaviour = "json_schema"  # no breaker is open, and what was learnt stands
    assert judge.consult(case, case.index.question.criteria[:1], PATIENT).judgements[0].p_met > 0.8
    assert "max_tokens" in peer.requests[-1]
    assert judge.mode == "json_schema"


def test_a_server_in_trouble_teaches_nothing_about_the_endpoint(
    peer: Any, judge_of: MakeJudge, case_of: MakeCase
) -> None:
    judge, case = judge_of("down_for_a_moment"), case_of()
    with pytest.raises(JudgeUnavailable, match="status 503"):
        judge.consult(case, case.index.question.criteria[:1], PATIENT)
    judge.consult(case, case.index.question.criteria[:1], PATIENT)
    assert peer.requests[-1]["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize("behaviour", ["filters", "filters_without_code"])
def test_a_content_filter_is_asked_once_and_opens_no_breaker(
    peer: Any, judge_of: MakeJudge, case_of: MakeCase, behaviour: str
) -> None:
    judge, case = judge_of(behaviour), case_of()
    for _ in range(BREAK_AFTER + 1):
        with pytest.raises(JudgeUnavailable, match="refused to answer") as raised:
            judge.consult(case, case.index.question.criteria[:1], PATIENT)
        assert raised.value.result == "refused"
    assert len(peer.requests) == BREAK_AFTER + 1


def test_what_a_refused_request_tells_is_not_remembered(peer: Any, judge_of: MakeJudge, case_of: MakeCase) -> None:
    judge, case = judge_of("reasoning"), case_of()
    peer.behaviour = "stubborn"
    with pytest.raises(JudgeUnavailable):
        judge.consult(case, case.index.question.criteria[:1], PATIENT)
    peer.behaviour = "json_schema"
    judge.consult(case, case.index.question.criteria[:1], PATIENT)
    assert {"temperature", "seed", "max_tokens", "response_format"} <= set(peer.requests[-1])


@pytest.mark.parametrize(
    ("behaviour", "seconds", "result"),
    # With more time than given each of them would have been a reply in the end.
    [
        ("drips", 1.5, "timeout"),
        ("busy_for_long", 8.0, "unreachable"),
        ("busy_for_milliseconds", 8.0, "unreachable"),
        ("busy_until", 8.0, "unreachable"),
    ],
)
def test_no_server_holds_a_call_beyond_its_time(
    judge_of: MakeJudge, case_of: MakeCase, behaviour: str, seconds: float, result: str
) -> None:
    case = case_of()
    with pytest.raises(JudgeUnavailable) as raised:
        judge_of(behaviour).consult(case, case.index.question.criteria[:1], seconds)
    assert raised.value.result == result


@pytest.mark.parametrize(
    ("behaviour", "result"),
    [
        ("busy", "unreachable"),
        ("endless", "protocol"),
        ("no_choices", "protocol"),
        ("broken", "unreachable"),
        ("redirects", "unreachable"),
        ("nonsense", "protocol"),
        ("outside_the_set", "protocol"),
        ("not_the_protocol", "protocol"),
        ("refuses", "refused"),
    ],
)
def test_what_goes_wrong_is_a_reason(
    judge_of: MakeJudge, case_of: MakeCase, caplog: pytest.LogCaptureFixture, behaviour: str, result: str
) -> None:
    caplog.set_level(logging.DEBUG)  # of the client and of what is below it as well
    case = case_of()
    with pytest.raises(JudgeUnavailable) as raised:
        judge_of(behaviour).consult(case, case.index.question.criteria[:2], PATIENT)
    assert raised.value.result == result
    assert "sk-secret" not in str(raised.value) + caplog.text
    assert raised.value.__cause__ is None


def test_it_does_not_wait_longer_than_it_may(
    judge_of: MakeJudge, case_of: MakeCase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    case = case_of()
    judge = judge_of("json_schema")
    judge.consult(case, case.index.question.criteria[:1], PATIENT)  # the client is loaded and connected
    judge = judge_of("slow")
    begun = time.monotonic()
    with pytest.raises(JudgeUnavailable) as raised:
        judge.consult(case, case.index.question.criteria[:1], 0.3)
    assert raised.value.result == "timeout"
    assert time.monotonic() - begun < 7
    assert "Retrying request" not in caplog.text  # it would pause first, and nobody is waiting any more


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, PAUSE),
        ({"retry-after": "30"}, 30),
        ({"retry-after": "30", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "30", "retry-after-ms": "soon"}, 30),
        ({"retry-after": "Fri, 01 Jan 2010 00:00:00 GMT"}, PAUSE),
        ({"retry-after": "in a while"}, PAUSE),
        ({"retry-after": "nan"}, PAUSE),
        ({"retry-after": "-5"}, PAUSE),
    ],
)
def test_how_long_the_client_would_pause_is_known(headers: dict[str, str], seconds: float) -> None:
    assert _wait(Headers(headers)) == pytest.approx(seconds, rel=1e-4)


def test_nobody_listens(case_of: MakeCase) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    case = case_of()
    judge = OpenAICompatibleJudge(Endpoint(f"http://127.0.0.1:{port}/v1", "m"))
    with pytest.raises(JudgeUnavailable) as raised:
        judge.consult(case, case.index.question.criteria, PATIENT)
    assert raised.value.result == "unreachable"
    judge.close()


def test_an_invented_quote_voids_the_verdict(judge_of: MakeJudge, case_of: MakeCase) -> None:
    case = case_of()
    found = judge_of("invents").consult(case, case.index.question.criteria[:2], PATIENT).judgements
    assert [one.abstained for one in found] == [True, True]


def test_the_breaker_stops_asking_and_tries_again(peer: Any, judge_of: MakeJudge, case_of: MakeCase) -> None:
    now = [0.0]
    judge, case = judge_of("not_the_protocol", CircuitBreaker(lambda: now[0])), case_of()
    for _ in range(BREAK_AFTER):
        with pytest.raises(JudgeUnavailable):
            judge.consult(case, case.index.question.criteria[:1], PATIENT)
    asked = len(peer.requests)
    with pytest.raises(JudgeUnavailable) as raised:
        judge.consult(case, case.index.question.criteria[:1], PATIENT)
    assert (raised.value.result, len(peer.requests)) == ("budget", asked)
    now[0], peer.behaviour = BREAK_SECONDS + 1, "json_schema"
    assert judge.consult(case, case.index.question.criteria[:1], PATIENT).judgements[0].p_met > 0.8
    assert judge.consult(case, case.index.question.criteria[:1], PATIENT).judgements[0].p_met > 0.8


@pytest.mark.parametrize(
    "url",
    [
        "http://203.0.113.9/v1",
        "https://api.openai.com/v1",
        "http://127.0.0.1.evil.example/v1",
        "http://127.0.0.1@evil.example/v1",
        "ftp://localhost/",
        "localhost",
    ],
)
def test_only_hosts_on_the_list_are_called(url: str) -> None:
    with pytest.raises(JudgeError):
        Endpoint(url, "m").checked()
    assert Endpoint("https://api.openai.com/v1", "m", allowed_hosts=("api.openai.com",)).checked()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/v1?key=sk-secret",
        "http://127.0.0.1:1/v1#sk-secret",
        "http://127.0.0.1:1/v1?",
        "http://sk-secret@127.0.0.1:1/v1",
        "http://me:sk-secret@[::1/v1",
        "http://me:sk-secret@\u2100/v1",
        "me:sk-secret@127.0.0.1:1/v1",
    ],
)
def test_a_base_url_with_more_than_an_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(JudgeError) as raised:
        Endpoint(url, "m").checked()
    assert "sk-secret" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_what_cannot_be_a_key_is_told_at_once_and_not_shown(key: str) -> None:
    with pytest.raises(JudgeError) as raised:
        Endpoint("http://127.0.0.1:1/v1", "m", key).checked()
    assert key not in str(raised.value)


def test_the_key_goes_to_the_endpoint_and_nowhere_else(
    peer: Any, judge_of: MakeJudge, case_of: MakeCase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    case, judge = case_of(), judge_of("json_schema")
    judge.consult(case, case.index.question.criteria[:1], PATIENT)
    assert peer.headers[-1]["authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in repr(judge.endpoint) + judge.version + json.dumps(peer.requests) + caplog.text


def test_the_environment_neither_leads_a_call_away_nor_adds_to_it(
    peer: Any, judge_of: MakeJudge, case_of: MakeCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}"
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, closed)
        monkeypatch.setenv(name.upper(), closed)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "of-another")
    added = {"AUTHORIZATION": "Bearer of-another", "Host": "of-another.example", "X-Team": "of-another"}
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "\n".join(f"{name}: {value}" for name, value in added.items()))
    case = case_of()
    judge_of("json_schema").consult(case, case.index.question.criteria[:1], PATIENT)
    sent = peer.headers[-1]
    assert sent["authorization"] == "Bearer sk-secret"
    assert sent["host"] == urlsplit(peer.url).netloc
    assert not any("of-another" in value for value in sent.values())
    assert not any(name.startswith("x-") for name in sent)


def test_certificates_of_the_environment_are_believed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "own.pem"
    own.write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(own))
    with pytest.raises(ssl.SSLError):  # it is read
        BoundedClient()


@pytest.mark.parametrize("behaviour", ["json_schema", "object_with_schema"])
def test_the_schema_of_a_request_names_its_criteria(
    peer: Any, judge_of: MakeJudge, case_of: MakeCase, behaviour: str
) -> None:
    judge, case = judge_of(behaviour), case_of()
    for criteria in (case.index.question.criteria[:2], case.index.question.criteria[2:3]):
        judge.consult(case, criteria, PATIENT)
        form = peer.requests[-1]["response_format"]
        assert form.get("schema", form.get("json_schema", {}).get("schema")) == reply_schema(criteria)
