"""Several banks in one service: each question is listed, graded and kept with the bank it is of."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.config import Settings
from grader.bank import load_bank
from grader.calibration import load_calibration
from grader.encoders.hashing import HashingEncoder
from grader.library import Library
from grader.pipeline import Grader

Json = dict[str, Any]
GOOD = "Warm air rises and cools, and its vapour condenses on dust, so drops form."
INLINE = {"prompt": "Why is grass green?", "reference_answers": ["Chlorophyll absorbs red and blue light."]}


@pytest.fixture
def both(weather_bank: Path, tmp_path: Path) -> Iterator[TestClient]:
    """A service with the bank that ships and one on the weather, as its settings say."""
    settings = Settings(
        bank=("pytorch", str(weather_bank)),
        encoder="hashing",
        cache_folder=tmp_path / "cache",
        database=f"sqlite:///{tmp_path / 'grades.db'}",
        metrics_public=True,
    )
    with TestClient(create_app(settings)) as opened:
        app: Any = opened.app
        assert app.state.grading.wait(120)
        yield opened


@pytest.mark.parametrize(
    ("given", "banks"),
    [
        ("", ()),
        ("pytorch", ("pytorch",)),
        (f"pytorch{os.pathsep}/srv/my bank", ("pytorch", "/srv/my bank")),
        (f"{os.pathsep} ./pytorch {os.pathsep}", ("./pytorch",)),
        (Path("/srv/bank"), ("/srv/bank",)),
        ([Path("/srv/bank"), "pytorch"], ("/srv/bank", "pytorch")),
    ],
)
def test_the_setting_takes_several_folders(given: Any, banks: tuple[str, ...]) -> None:
    assert Settings(bank=given).bank == banks


def test_the_environment_is_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADER_BANK", os.pathsep.join(["pytorch", "/srv/bank"]))
    assert Settings().bank == ("pytorch", "/srv/bank")


def test_all_questions_are_listed_with_their_bank(both: TestClient, weather_bank: Path) -> None:
    found = both.get("/v1/questions").json()
    weather = load_bank(weather_bank)
    assert found["banks"][1] == {"id": "weather", "title": "Weather", "version": weather.version, "questions": 2}
    assert [one["bank"] for one in found["questions"]] == ["pytorch"] * 21 + ["weather"] * 2
    assert both.get("/v1/questions/thunder").json()["bank"] == "weather"
    assert both.get("/v1/questions/thunder", params={"view": "full"}).json()["rubric"]["criteria"]


def test_one_bank_can_be_listed_alone(both: TestClient) -> None:
    found = both.get("/v1/questions", params={"bank": "weather"}).json()
    assert [one["id"] for one in found["questions"]] == ["clouds", "thunder"]
    assert [one["id"] for one in found["banks"]] == ["weather"]
    assert both.get("/v1/questions", params={"bank": "nobody"}).json()["questions"] == []
    assert both.get("/v1/questions", params={"bank": "No Id"}).status_code == 422


def test_readiness_counts_all_and_names_what_each_bank_is_graded_with(both: TestClient) -> None:
    found = both.get("/readyz").json()
    assert found["questions"] == 23
    assert [one["bank"].split("@")[0] for one in found["banks"]] == ["pytorch", "weather"]
    assert found["provenance"] == found["banks"][0]


def test_an_answer_goes_to_the_bank_of_its_question(both: TestClient, weather_bank: Path) -> None:
    grade = both.post("/v1/grades", json={"question_id": "clouds", "answer": GOOD}).json()
    assert grade["provenance"]["bank"] == load_bank(weather_bank).version
    assert grade["score"] is not None
    kept = both.get(f"/v1/grades/{grade['id']}").json()
    assert kept["question_id"] == "clouds"
    assert both.get("/v1/grades", params={"question_id": "clouds"}).json()["grades"][0]["id"] == grade["id"]
    other = both.post("/v1/grades", json={"question_id": "zero-grad", "answer": "It clears the gradients."}).json()
    assert other["provenance"]["bank"].startswith("pytorch@")


def test_inline_questions_and_unknown_ids(both: TestClient) -> None:
    inline = both.post("/v1/grades", json={"question": INLINE, "answer": "Chlorophyll absorbs red light."})
    assert inline.status_code == 200
    assert inline.json()["provenance"]["bank"].startswith("pytorch@")
    unknown = both.post("/v1/grades", json={"question_id": "cloud", "answer": GOOD})
    assert unknown.status_code == 404
    assert "did you mean clouds" in unknown.json()["detail"]


def test_a_batch_may_hold_answers_to_all_of_them(both: TestClient) -> None:
    rows = [{"question_id": name, "answer": f"{GOOD} {n}"} for n in range(40) for name in ("clouds", "zero-grad")]
    few = both.post("/v1/grades/batch", json={"answers": rows[:4]}).json()["results"]
    banks = [one["grade"]["provenance"]["bank"].split("@")[0] for one in few]
    assert banks == ["weather", "pytorch"] * 2
    many = both.post("/v1/grades/batch", json={"answers": rows})
    assert many.status_code == 202
    end = time.monotonic() + 120
    while both.get(many.headers["location"]).json()["state"] != "done" and time.monotonic() < end:
        time.sleep(0.05)
    job = both.get(many.headers["location"]).json()
    assert (job["graded"], job["failed"]) == (80, 0)


def test_a_grade_of_any_bank_can_be_overridden_and_is_counted(both: TestClient) -> None:
    grade = both.post("/v1/grades", json={"question_id": "thunder", "answer": "Light is faster than sound."}).json()
    body = {"author": "Kim", "reason": "The distance was meant as well.", "criteria": {"distance": "met"}}
    after = both.post(f"/v1/grades/{grade['id']}/override", json=body)
    assert after.status_code == 201, after.text
    agreement = both.get("/v1/agreement").json()
    assert "thunder" in str(agreement)


def test_figures_name_the_versions_of_every_bank(both: TestClient) -> None:
    both.post("/v1/grades", json={"question_id": "clouds", "answer": GOOD})
    figures = both.get("/metrics").text
    lines = [line for line in figures.splitlines() if line.startswith("grader_versions{")]
    assert len(lines) == 2
    assert any('bank="weather@' in line for line in lines)
    assert 'grader_stage_seconds_count{stage="judge"} 1.0' in figures


def test_a_broken_second_bank_is_told_by_the_service(
    weather_bank: Path, problem_of: Callable[[Any], Json], tmp_path: Path
) -> None:
    (weather_bank / "01-clouds.yaml").write_text("number: one\n")
    app = create_app(Settings(bank=["pytorch", weather_bank], encoder="hashing", cache_folder=tmp_path))
    app.state.grading.start()
    assert app.state.grading.wait(60)
    response = TestClient(app).get("/readyz")
    assert response.status_code == 503
    assert str(weather_bank / "01-clouds.yaml") in problem_of(response)["detail"]


def test_one_grader_is_served_as_before(weather_bank: Path, tmp_path: Path) -> None:
    grader = Grader(load_bank(weather_bank), HashingEncoder(), load_calibration())
    settings = Settings(database=f"sqlite:///{tmp_path / 'one.db'}")
    for load in (lambda: grader, lambda: Library([grader])):
        with TestClient(create_app(settings, load=load)) as opened:
            app: Any = opened.app
            assert app.state.grading.wait(60)
            assert opened.get("/v1/questions").json()["banks"][0]["id"] == "weather"
