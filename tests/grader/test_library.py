"""Several banks side by side: each keeps its own grades, versions and trained parts; what they cannot share is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from grader.bank import DEFAULT_BANK, SHIPPED, bank_of, load_bank, load_banks
from grader.calibration import load_calibration
from grader.encoders.hashing import HashingEncoder
from grader.errors import BankError, UnknownQuestion
from grader.library import Library
from grader.pipeline import Grader
from grader.schema import InlineQuestion

GOOD = "Warm air rises and cools, and its vapour condenses on dust, so drops form."
INLINE = InlineQuestion(prompt="Why is grass green?", reference_answers=("Chlorophyll absorbs red and blue light.",))


def fast(folder: Path | None = None) -> Grader:
    """A grader that compares hashed words."""
    return Grader(load_bank(folder), HashingEncoder(), load_calibration())


def problems(*banks: Path | str) -> list[str]:
    with pytest.raises(BankError) as raised:
        load_banks(banks)
    return [str(problem) for problem in raised.value.problems]


def test_every_question_is_graded_by_its_own_bank(weather_bank: Path, fast_grader: Grader) -> None:
    library = Library([fast_grader, fast(weather_bank)])
    assert [bank.info.id for bank in library.banks] == ["pytorch", "weather"]
    assert [q.id for q in library.questions] == [*(q.id for q in fast_grader.bank.questions), "clouds", "thunder"]
    own, other = library.grade("clouds", GOOD), library.grade("zero-grad", "It clears the gradients of the last batch.")
    assert own.provenance.bank.startswith("weather@1.0.0+")
    assert other.provenance.bank == fast_grader.bank.version
    assert library.bank_of("thunder").info.title == "Weather"


def test_a_grade_is_the_same_whatever_else_is_loaded(weather_bank: Path, fast_grader: Grader) -> None:
    alone = fast(weather_bank)
    together = Library([fast_grader, fast(weather_bank)])
    assert together.grade("clouds", GOOD) == alone.grade("clouds", GOOD)
    sample = fast_grader.bank.question("zero-grad").samples[0].answer
    assert together.grade("zero-grad", sample) == fast_grader.grade("zero-grad", sample)


def test_an_inline_question_goes_to_the_first_bank(weather_bank: Path, fast_grader: Grader) -> None:
    for first, second in ((fast_grader, fast(weather_bank)), (fast(weather_bank), fast_grader)):
        found = Library([first, second]).grade(INLINE, "Chlorophyll takes in red and blue light.")
        assert found.provenance.bank == first.bank.version


def test_an_unknown_id_suggests_near_ones_of_all_banks(weather_bank: Path, fast_grader: Grader) -> None:
    library = Library([fast_grader, fast(weather_bank)])
    with pytest.raises(UnknownQuestion, match="did you mean clouds"):
        library.question("cloud")
    with pytest.raises(UnknownQuestion, match="did you mean zero-grad"):
        library.grade("zero-gard", GOOD)
    with pytest.raises(UnknownQuestion, match="did you mean thunder"):
        bank_of(library.banks, "thundr")


def test_progress_counts_all_banks(weather_bank: Path, fast_grader: Grader) -> None:
    told: list[tuple[int, int]] = []
    Library([fast_grader, fast(weather_bank)]).warm(lambda done, total: told.append((done, total)))
    assert told == [(done, 23) for done in range(1, 24)]


def test_the_encoder_is_loaded_once_and_shared(weather_bank: Path, tmp_path: Path) -> None:
    library = Library.load([SHIPPED, weather_bank], encoder="hashing", cache_folder=tmp_path / "cache")
    assert library.graders[0].encoder is library.graders[1].encoder
    assert library.graders[0].heads is not None
    assert library.graders[1].heads is None


def test_each_bank_has_the_judge_that_was_trained_for_it(
    weather_bank: Path, real_grader: Grader, tmp_path: Path
) -> None:
    second = Grader.load(weather_bank, encoder=real_grader.encoder, cache_folder=tmp_path / "cache")
    library = Library([real_grader, second])
    shipped, own = library.grade("zero-grad", "It clears the old gradients."), library.grade("clouds", GOOD)
    assert shipped.provenance.degraded is own.provenance.degraded is None
    assert shipped.provenance.judge != own.provenance.judge
    assert shipped.provenance.weights == own.provenance.weights
    assert own.score is not None and own.score > 50


def test_the_word_names_the_bank_that_ships_and_a_path_a_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert load_bank(SHIPPED).path == DEFAULT_BANK
    assert [bank.path for bank in load_banks()] == [DEFAULT_BANK]
    monkeypatch.chdir(tmp_path)
    assert problems("./pytorch") == problems(Path("pytorch"))
    assert "there is no such folder" in problems("./pytorch")[0]


def test_a_question_of_two_banks_is_refused_and_both_files_named(weather_bank: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "bank.yaml").write_text((weather_bank / "bank.yaml").read_text().replace("id: weather", "id: copy"))
    (copy / "7.yaml").write_text((weather_bank / "01-clouds.yaml").read_text())
    [found] = problems(SHIPPED, weather_bank, copy)
    assert found.startswith(f"{copy / '7.yaml'}: id: 'clouds' is also in {weather_bank / '01-clouds.yaml'};")
    with pytest.raises(BankError, match="clouds"):
        Library([fast(weather_bank), fast(copy)])


def test_banks_of_the_same_id_and_the_same_bank_twice_are_refused(weather_bank: Path, tmp_path: Path) -> None:
    (tmp_path / "bank.yaml").write_text((weather_bank / "bank.yaml").read_text())
    (tmp_path / "1.yaml").write_text((weather_bank / "01-clouds.yaml").read_text().replace("id: clouds", "id: fog"))
    [found] = problems(weather_bank, tmp_path)
    assert found.startswith(f"{tmp_path / 'bank.yaml'}: id: 'weather' is also the id of the bank in {weather_bank}")
    assert problems(SHIPPED, DEFAULT_BANK) == [f"{DEFAULT_BANK}: the same bank is named twice"]


def test_all_faults_of_all_banks_are_told_at_once(weather_bank: Path, tmp_path: Path) -> None:
    (weather_bank / "02-thunder.yaml").write_text("number: two\n")
    found = problems(weather_bank, SHIPPED, tmp_path / "nowhere")
    assert any(one.startswith(str(weather_bank / "02-thunder.yaml")) for one in found)
    assert found[-1].startswith(f"{tmp_path / 'nowhere'}: there is no such folder")
