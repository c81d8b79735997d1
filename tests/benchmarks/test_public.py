"""The protocol for public sets, on small sets in their form, written here; with the real encoder and the real grader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.quality import public, sets
from benchmarks.quality.models import LABELS, LabelModel, ScoreModel
from grader.encoders.sentence_transformer import SentenceTransformerEncoder
from grader.errors import BankError
from grader.pipeline import Grader

# Question, reference, and answers that are correct, incorrect and contradictory.
FACTS = (
    ("Why does ice float?", "Ice is less dense than water.", "Water is denser than ice, so ice stays on top.",
     "Because it is cold and hard.", "Ice is more dense than water."),
    ("What do lungs do?", "Lungs bring oxygen into the blood.", "They take in oxygen and give it to the blood.",
     "They are in the chest.", "Lungs take oxygen out of the blood."),
    ("Why is the sky dark at night?", "The sun lights the other side of the earth.",
     "At night the sunlight falls on the opposite side of our planet.", "It is late and people sleep.",
     "The sun lights this side of the earth."),
    ("What makes a bulb glow?", "A current heats the wire in it.", "The wire gets hot because current flows in it.",
     "It is made of glass.", "No current flows in the wire."),
    ("Why do plants need light?", "They make sugar from light, water and air.",
     "With light they turn water and air into sugar.", "They are green.", "They make sugar without any light."),
    ("What does a magnet attract?", "A magnet attracts iron.", "Things of iron are pulled by it.",
     "It has a red end.", "A magnet repels iron."),
)  # fmt: skip


def facts(name: str, count: int = len(FACTS)) -> list[dict[str, Any]]:
    """`count` questions with nine answers each: three wordings of each label."""
    rows = []
    for number, (question, reference, *answers) in enumerate(FACTS[:count]):
        for label, score, answer in zip(
            ("correct", "incorrect", "contradictory"), (1.0, 0.25, 0.0), answers, strict=True
        ):
            rows += [
                {
                    "question_id": f"{name}-{number}",
                    "question": question,
                    "reference": [reference],
                    "answer": said,
                    "score": score,
                    "label3": label,
                    "question_text_in_train": number == 0,
                }
                for said in (answer, f"I think: {answer}", f"{answer} That is what we learnt.")
            ]
    return rows


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all sets but DigiKlausur."""
    folder = tmp_path_factory.mktemp("sets")
    for name, file in sets.FILES.items():
        if name != "digiklausur":
            (folder / file).parent.mkdir(exist_ok=True)
            lines = [json.dumps(row) for row in facts(name, 3 if "U" in name else len(FACTS))]
            (folder / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def encoder(real_grader: Grader) -> SentenceTransformerEncoder:
    assert isinstance(real_grader.encoder, SentenceTransformerEncoder)
    return real_grader.encoder


def test_every_part_has_its_figures_and_a_missing_set_its_line(real_grader: Grader, data: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    sections, skipped = public.sections(real_grader, data, tmp_path, steps.append)
    assert [section.title for section in sections] == ["SciEntsBank", "Beetle", "Mohler", "SAF"]
    assert len(skipped) == 1 and "digiklausur/mandatory.jsonl not found" in skipped[0]
    figures = {figure.name: figure.value for section in sections for figure in section.figures}
    assert len(figures) == 8
    # Training and test hold the same facts here, so that a head that learns anything at all must do well.
    assert figures["SciEntsBank, unseen questions: macro-F1 of 3"] > 0.8
    assert figures["SciEntsBank, unseen questions: AUC correct over contradictory"] > 0.9
    assert figures["SAF, unseen questions: Pearson"] > 0.5
    assert any("features of mohler" in step for step in steps)
    again: list[str] = []
    repeated, _ = public.sections(real_grader, data, tmp_path, again.append)
    assert not any("features of" in step for step in again), "the cache was not used"
    assert repeated == sections


def test_beetle_leaves_out_questions_that_were_in_training(
    real_grader: Grader, encoder: SentenceTransformerEncoder, data: Path
) -> None:
    train, tested = (sets.load_set(data, f"beetle {part}", encoder, None) for part in ("train", "UQ"))
    assert any(answer["question_text_in_train"] for answer in tested.answers)
    table = next(part for part in public.beetle(real_grader, train, tested).body if not isinstance(part, str))
    assert "(18)" in table.rows[0][0]


def test_a_head_never_learns_from_the_question_it_grades(encoder: SentenceTransformerEncoder, data: Path) -> None:
    answers = sets.load_set(data, "mohler", encoder, None)
    seen: list[tuple[set[str], set[str]]] = []

    def fit(known: sets.PublicSet, new: sets.PublicSet) -> Any:
        seen.append((set(known.groups), set(new.groups)))
        return np.zeros(len(new.answers))

    public._each_left_out(answers, fit)
    assert len(seen) == len(FACTS)
    assert all(len(new) == 1 and not known & new for known, new in seen)


def test_a_damaged_cache_is_measured_anew(encoder: SentenceTransformerEncoder, data: Path, tmp_path: Path) -> None:
    first = sets.load_set(data, "saf UQ", encoder, tmp_path)
    (stored,) = tmp_path.glob("*.npz")
    stored.write_bytes(b"half a file")
    (read,) = tmp_path.glob("*.pair")
    read.write_bytes(read.read_bytes()[:200])
    second = sets.load_set(data, "saf UQ", encoder, tmp_path)
    assert np.array_equal(first.rows, second.rows)
    assert np.array_equal(first.pair, second.pair)


@pytest.mark.parametrize(("change", "words"), [({"reference": []}, "reference: is empty"), ({"score": None}, "score")])
def test_a_file_of_another_form_is_an_error_with_its_line(
    encoder: SentenceTransformerEncoder, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    (tmp_path / "mohler").mkdir()
    row = facts("x", 1)[0] | change
    lines = [json.dumps({key: value for key, value in row.items() if value is not None})]
    (tmp_path / "mohler" / "all.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(BankError, match=words) as error:
        sets.load_set(tmp_path, "mohler", encoder, None)
    assert "all.jsonl:1" in str(error.value)


def test_the_label_model_gives_probabilities_and_the_same_ones_again(
    encoder: SentenceTransformerEncoder, data: Path
) -> None:
    train = sets.load_set(data, "beetle train", encoder, None)
    labels = public.labels_of(train)
    models = [LabelModel().fit(train.rows, train.comparisons, labels) for _ in range(2)]
    found = [model.probabilities(train.rows, train.comparisons) for model in models]
    assert np.array_equal(*found)
    assert found[0].shape == (len(train.answers), len(LABELS))
    assert np.allclose(found[0].sum(1), 1)


def test_the_score_model_stays_within_bounds(encoder: SentenceTransformerEncoder, data: Path) -> None:
    train = sets.load_set(data, "mohler", encoder, None)
    model = ScoreModel().fit(train.rows, train.scores)
    found = model.predict(train.rows)
    assert ((found >= 0) & (found <= 1)).all()
    correct = np.array([answer["label3"] == "correct" for answer in train.answers])
    assert found[correct].mean() > found[~correct].mean()
