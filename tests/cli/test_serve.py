"""`grader serve`: the real command, from its first line of output to its end."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import httpx

from api.config import service_settings

Command = Callable[..., subprocess.CompletedProcess[bytes]]
CODE = "from grader.cli import main; main()"


def test_it_prints_its_address_serves_there_and_ends_when_told(environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment | {"GRADER_ENCODER": "hashing"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        found = re.search(r"Web form: (http://127\.0\.0\.1:[1-9]\d*)/", line)
        assert found, line
        with httpx.Client(base_url=found.group(1), timeout=10) as client:
            ready = wait_for(client)
            assert ready.json()["provenance"]["encoder"] == "hashing"
            assert client.get("/").status_code == 200
            answer = {
                "question_id": "zero-grad",
                "answer": "It clears the old gradients before backward adds new ones.",
            }
            assert client.post("/v1/grades", json=answer).json()["score"] is not None
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        assert process.returncode in {0, -signal.SIGTERM}
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def wait_for(client: httpx.Client) -> httpx.Response:
    """The first answer of /readyz that says ready."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            response = client.get("/readyz")
            if response.status_code == 200:
                return response
        except httpx.TransportError:
            pass  # it does not listen yet
        time.sleep(0.05)
    raise TimeoutError("not ready within 60 s")


def test_a_port_that_is_taken_is_one_line(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = command("serve", "--port", port)
    assert result.returncode == 1
    message = result.stderr.decode()
    assert f"cannot listen on 127.0.0.1:{port}" in message
    assert "--port" in message
    assert "Traceback" not in message


def test_an_address_for_several_workers_is_refused_like_any_error(command: Command) -> None:
    found = command("serve", "--workers", "2", "--host", "127.0.0.1")
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1].startswith(b"Error: with --workers give host")


def test_a_port_that_is_none_is_no_traceback(command: Command) -> None:
    result = command("serve", "--port", "70000")
    assert result.returncode != 0
    assert b"Traceback" not in result.stderr


def test_a_wrong_setting_is_named(environment: dict[str, str]) -> None:
    result = subprocess.run(
        [sys.executable, "-c", CODE, "serve"],
        capture_output=True,
        env=environment | {"GRADER_MAX_BODY_BYTES": "lots"},
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert b"max_body_bytes" in result.stderr
    assert b"Traceback" not in result.stderr


def test_a_language_model_that_may_take_longer_than_a_request_is_refused(environment: dict[str, str]) -> None:
    given = {"GRADER_LLM_BACKEND": "openai", "GRADER_LLM_TIMEOUT": "60"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, "serve", "--port", "0"],
        capture_output=True,
        text=True,
        env=environment | given,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: GRADER_LLM_TIMEOUT (60 s) has to be below GRADER_REQUEST_SECONDS (60 s)")
    assert "Traceback" not in done.stderr
    assert service_settings(llm_backend="openai", llm_timeout=59.5).llm_timeout == 59.5
    assert service_settings(llm_timeout=60).llm_backend == "none"  # nothing waits for it
