"""Files that are missing or damaged when the service starts: one clear error each, and never a grade from what is broken."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.config import Settings
from grader.bank import DEFAULT_BANK
from grader.encoders.sentence_transformer import EMBEDDED_PACKAGE, _embedded_path

Serve = Callable[..., Any]
Breaker = Callable[[Path], None]
QUESTION = "11-zero-grad.yaml"


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    """A copy of the bank that ships, with everything that was trained for it."""
    return Path(shutil.copytree(DEFAULT_BANK, tmp_path / "bank"))


# ---- the bank ----------------------------------------------------------------------------------------------------------


def edited(old: str, new: str) -> Breaker:
    """Puts something else in the place of the first `old` of a question's file."""

    def edit(bank: Path) -> None:
        text = (bank / QUESTION).read_text(encoding="utf-8")
        assert old in text
        (bank / QUESTION).write_text(text.replace(old, new, 1), encoding="utf-8")

    return edit


def cut_off(bank: Path) -> None:
    whole = (bank / QUESTION).read_bytes()
    (bank / QUESTION).write_bytes(whole[: whole.index(b"criteria:") + len(b"criteria:")])


def without_bank_file(bank: Path) -> None:
    (bank / "bank.yaml").unlink()


def start(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real command, which is expected to give up."""
    base = {name: os.environ[name] for name in ("PATH", "HOME", "XDG_DATA_HOME") if name in os.environ}
    code = "from grader.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "serve", "--port", "0", *arguments],
        env=base | {"GRADER_ENCODER": "hashing"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("breaker", "message"),
    [
        (without_bank_file, r"Error: .*/bank: there is no bank\.yaml in it"),
        (shutil.rmtree, r"Error: .*/bank: there is no such folder"),
        (cut_off, rf"Error: .*/{QUESTION}:\d+: criteria: "),
        (edited("points: ", "points: many #"), rf"Error: .*/{QUESTION}:\d+: criteria\[0\]\.points: "),
        (edited("criteria:", "criteria: ]"), rf"Error: .*/{QUESTION}:\d+: not valid YAML: "),
    ],
    ids=["no bank.yaml", "no folder", "cut off", "a wrong field", "no YAML"],
)
def test_a_missing_or_broken_bank_ends_the_start_with_its_place(
    bank: Path, tmp_path: Path, breaker: Breaker, message: str
) -> None:
    breaker(bank)
    done = start(GRADER_BANK=str(bank), GRADER_DATABASE=f"sqlite:///{tmp_path}/g.db")
    assert done.returncode == 1
    assert "Web form" not in done.stdout  # it has never listened
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert re.match(message, lines[0]), lines[0]


def test_every_problem_of_a_bank_is_told_and_workers_are_not_started(bank: Path, tmp_path: Path) -> None:
    edited("points: ", "points: many #")(bank)
    (bank / "12-backpropagation.yaml").write_text("number: 12\n", encoding="utf-8")
    done = start("--workers", "2", GRADER_BANK=str(bank), GRADER_DATABASE=f"sqlite:///{tmp_path}/g.db")
    assert done.returncode == 1
    places = re.findall(r"(\S+\.yaml:\d+): (\S+):", done.stderr)
    assert {Path(place).name.split(":")[0] for place, _ in places} == {QUESTION, "12-backpropagation.yaml"}
    assert {"criteria[0].points", "prompt", "id"} <= {field for _, field in places}


# ---- the model ---------------------------------------------------------------------------------------------------------


def test_damaged_weights_are_named_and_what_was_kept_can_still_be_read(serve: Serve, tmp_path: Path) -> None:
    before = serve()
    body = {"question_id": "zero-grad", "answer": "It clears the gradients that backward adds up."}
    with httpx.Client(timeout=60) as client:
        kept = client.post(f"{before.address}/v1/grades", json=body).json()
        before.stop()
        before.ended()

        # The package as it was installed, but for one bit in the middle of the weights, and found first.
        package = tmp_path / "first" / EMBEDDED_PACKAGE
        shutil.copytree(_embedded_path().parent, package)
        weights = package / "model" / "model.safetensors"
        with weights.open("r+b") as file:
            file.seek(weights.stat().st_size // 2)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))

        running = serve(until=503, GRADER_ENCODER="embedded", PYTHONPATH=str(package.parent))
        ready = client.get(f"{running.address}/readyz")
        assert ready.headers["content-type"] == "application/problem+json"
        detail = ready.json()["detail"]
        for expected in ("The service cannot grade", str(weights), "not the published ones", "pip install"):
            assert expected in detail
        assert "\n" not in detail
        errors = [event for line in running.lines() if (event := json.loads(line))["level"] == "error"]
        assert [event["event"] for event in errors] == [detail.replace("The service cannot grade: ", "cannot grade: ")]
        assert client.get(f"{running.address}/healthz").status_code == 200
        assert client.post(f"{running.address}/v1/grades", json=body).status_code == 503
        assert client.get(f"{running.address}/v1/grades/{kept['id']}").json()["score"] == kept["score"]


# ---- what was trained for a bank ---------------------------------------------------------------------------------------


def shortened(name: str) -> Breaker:
    def shorten(bank: Path) -> None:
        content = (bank / name).read_bytes()
        (bank / name).write_bytes(content[: len(content) // 2])

    return shorten


def without_header(name: str) -> Breaker:
    """The file says at its start how long its table of contents is."""

    def damage(bank: Path) -> None:
        content = bytearray((bank / name).read_bytes())
        content[0:8] = b"\xff" * 8
        (bank / name).write_bytes(content)

    return damage


def holding(name: str, content: str) -> Breaker:
    def write(bank: Path) -> None:
        (bank / name).write_text(content, encoding="utf-8")

    return write


@pytest.mark.parametrize(
    ("breaker", "name", "encoder"),
    [
        (shortened("heads.safetensors"), "heads.safetensors", "hashing"),
        (without_header("heads.safetensors"), "heads.safetensors", "hashing"),
        (holding("heads.safetensors", ""), "heads.safetensors", "hashing"),
        (shortened("reader.safetensors"), "reader.safetensors", "embedded"),
        (without_header("reader.safetensors"), "reader.safetensors", "embedded"),
        (holding("calibration.json", '{"base": "x", "points": '), "calibration.json", "hashing"),
        (holding("calibration.json", '{"base": "x", "points": {}}'), "calibration.json", "hashing"),
        (holding("calibration.json", "\x00\x01"), "calibration.json", "hashing"),
    ],
)
def test_what_was_trained_and_is_damaged_is_named_instead_of_left_out(
    bank: Path, tmp_path: Path, breaker: Breaker, name: str, encoder: str
) -> None:
    breaker(bank)
    settings = Settings(bank=bank, encoder=encoder, database=f"sqlite:///{tmp_path}/g.db", cache_folder=tmp_path)
    with TestClient(create_app(settings)) as client:
        state: Any = client.app
        assert state.state.grading.wait(120)
        ready = client.get("/readyz")
        assert ready.status_code == 503
        detail = ready.json()["detail"]
        assert detail.startswith(f"The service cannot grade: {bank / name}")
        assert "\n" not in detail
        assert re.search(r"remove|again", detail)  # what to do
        body = {"question_id": "zero-grad", "answer": "It clears the gradients."}
        assert client.post("/v1/grades", json=body).status_code == 503
