"""Several banks on the command line: `--bank` more than once, the word `pytorch`, and GRADER_BANK of the service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import Result

from grader.errors import BankError, UnknownQuestion

Run = Callable[..., Result]
Command = Callable[..., subprocess.CompletedProcess[bytes]]
Error = Callable[[Result], Any]
CODE = "from grader.cli import main; main()"
GOOD = "Warm air rises and cools, and its vapour condenses on dust, so drops form."


@pytest.fixture
def both(weather_bank: Path) -> tuple[object, ...]:
    """The options that name two banks."""
    return ("--bank", "pytorch", "--bank", weather_bank)


def test_the_list_holds_all_banks_and_says_which_is_which(run: Run, both: tuple[object, ...]) -> None:
    found = json.loads(run("questions", "list", *both).stdout)
    assert [one["bank"] for one in found] == ["pytorch"] * 21 + ["weather"] * 2
    assert [one["id"] for one in found[-2:]] == ["clouds", "thunder"]


def test_a_question_is_shown_whichever_bank_it_is_of(run: Run, both: tuple[object, ...]) -> None:
    assert json.loads(run("questions", "show", "thunder", *both).stdout)["prompt"].startswith("Why is thunder heard")
    assert json.loads(run("questions", "show", "zero-grad", *both).stdout)["id"] == "zero-grad"


def test_one_answer_is_graded_by_its_bank(run: Run, error_of: Error, both: tuple[object, ...]) -> None:
    found = json.loads(run("grade", "clouds", *both, input=GOOD).stdout)
    assert found["provenance"]["bank"].startswith("weather@1.0.0+")
    found = json.loads(run("grade", "zero-grad", *both, input="It clears the gradients.").stdout)
    assert found["provenance"]["bank"].startswith("pytorch@")
    error = error_of(run("grade", "cloud", *both, input=GOOD))
    assert isinstance(error, UnknownQuestion)
    assert "did you mean clouds" in str(error)


def test_a_file_may_hold_answers_to_all_of_them(run: Run, both: tuple[object, ...], tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    inline = {"prompt": "Why is grass green?", "reference_answers": ["Chlorophyll absorbs red and blue light."]}
    rows = [
        {"id": "a", "question_id": "clouds", "answer": GOOD},
        {"id": "b", "question_id": "zero-grad", "answer": "It clears the gradients."},
        {"id": "c", "question": inline, "answer": "Chlorophyll absorbs red light."},
        {"id": "d", "question_id": "nobody", "answer": "?"},
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("grade", "--input", source, "--output", target, *both).exit_code == 1
    found = [json.loads(line) for line in target.read_text().splitlines()]
    banks = [one["provenance"]["bank"].split("@")[0] for one in found[:3]]
    assert banks == ["weather", "pytorch", "pytorch"]
    assert found[3]["error"]["code"] == "UnknownQuestion"


def test_banks_that_share_a_question_are_refused(run: Run, error_of: Error, weather_bank: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "bank.yaml").write_text((weather_bank / "bank.yaml").read_text().replace("id: weather", "id: copy"))
    (copy / "7.yaml").write_text((weather_bank / "01-clouds.yaml").read_text())
    error = error_of(run("questions", "list", "--bank", weather_bank, "--bank", copy))
    assert isinstance(error, BankError)
    assert str(copy / "7.yaml") in str(error) and str(weather_bank / "01-clouds.yaml") in str(error)


def test_a_service_with_a_broken_second_bank_does_not_start(
    environment: dict[str, str], command: Command, weather_bank: Path
) -> None:
    (weather_bank / "02-thunder.yaml").write_text("number: two\nid: thunder\n")
    said = command("serve", "--port", 0, "--bank", "pytorch", "--bank", weather_bank)
    words = [sys.executable, "-c", CODE, "serve", "--port", "0"]
    names = environment | {"GRADER_BANK": os.pathsep.join(["pytorch", str(weather_bank)])}
    set_up = subprocess.run(words, capture_output=True, env=names, timeout=120, check=False)
    for result in (said, set_up):
        message = result.stderr.decode()
        assert result.returncode == 1
        assert f"{weather_bank / '02-thunder.yaml'}:1: number" in message
        assert "Traceback" not in message


def test_a_service_has_the_banks_of_its_setting_and_regrades_by_them(
    environment: dict[str, str], weather_bank: Path, tmp_path: Path
) -> None:
    names = environment | {
        "GRADER_BANK": os.pathsep.join(["pytorch", str(weather_bank)]),
        "GRADER_ENCODER": "hashing",
        "GRADER_DATABASE": f"sqlite:///{tmp_path / 'grades.db'}",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=names,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().decode().split()[2].rstrip("/")
        with httpx.Client(base_url=address, timeout=30) as client:
            ready = wait_for(client)
            assert ready["questions"] == 23
            body = {"question_id": "clouds", "answer": GOOD}
            assert client.post("/v1/grades", json=body).json()["provenance"]["bank"].startswith("weather@")
            body = {"question_id": "zero-grad", "answer": "It clears the gradients."}
            assert client.post("/v1/grades", json=body).json()["provenance"]["bank"].startswith("pytorch@")
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    words = [sys.executable, "-c", CODE, "regrade", "--dry-run", "--encoder", "hashing", "--json"]
    result = subprocess.run(words, capture_output=True, env=names, timeout=120, check=False)
    found = json.loads(result.stdout)
    assert (found["same"], found["failed"]) == (2, 0)


def wait_for(client: httpx.Client) -> dict[str, Any]:
    """What /readyz says once it says ready."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            response = client.get("/readyz")
            if response.status_code == 200:
                found: dict[str, Any] = response.json()
                return found
        except httpx.TransportError:
            pass  # it does not listen yet
        time.sleep(0.1)
    raise TimeoutError("not ready within 120 s")
