"""Banks: what is read, and that every fault is named with file, line and field."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from grader import BankError, InlineQuestion, InvalidQuestion, UnknownQuestion, load_bank
from grader.bank import DEFAULT_BANK, bank_json_schema, expected_score, question_from_inline, read_bank, rubric_hash

GOOD = """\
id: why-sky
prompt: Why is the sky blue?
reference_answers:
  - Air scatters blue light more than red light.
criteria:
  - id: scatter
    statement: Air scatters sunlight.
    points: 40
    exemplars: [the air bounces light around]
    contradictions: [air absorbs all light]
    hint: What does air do to light?
  - id: blue-more
    statement: Blue light is scattered more than red.
    points: 60
misconceptions:
  - id: ocean
    statement: The sky mirrors the sea.
    correction: The sea is blue because of the sky and of water itself.
    penalty: 20
samples:
  - id: good-1
    kind: good
    answer: Air scatters light.
    score: [30, 50]
    verdicts: {scatter: met}
"""


def write_bank(folder: Path, text: str = GOOD) -> Path:
    (folder / "bank.yaml").write_text("id: small\ntitle: A small bank\n", encoding="utf-8")
    (folder / "sky.yaml").write_text(text, encoding="utf-8")
    return folder


def problems(folder: Path, text: str) -> list[str]:
    _, found = read_bank(write_bank(folder, text))
    return [str(problem).removeprefix(str(folder) + "/") for problem in found]


def test_a_good_bank_is_read(tmp_path: Path) -> None:
    bank = load_bank(write_bank(tmp_path))
    assert [question.id for question in bank.questions] == ["why-sky"]
    assert bank.info.title == "A small bank"
    assert bank.questions[0].kind == "concept"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("points: 40", "points: 30", "sky.yaml:5: criteria: the points an answer can earn sum to 90"),
        ("points: 40", "points: many", "sky.yaml:8: criteria[0].points: "),
        ("    statement: Air scatters sunlight.\n", "", "sky.yaml:6: criteria[0].statement: is missing"),
        ("    hint:", "    hnit:", "sky.yaml:11: criteria[0].hnit: is not a field of this format"),
        ("id: blue-more", "id: scatter", "sky.yaml:6: criteria[0].id: 'scatter' is used 2 times"),
        ("id: why-sky", "id: Why Sky", "sky.yaml:1: id: 'Why Sky' does not have the form"),
        (
            "[air absorbs all light]",
            "[The air bounces light around]",
            "contradictions[0]: the same text is also listed",
        ),
        ("{scatter: met}", "{scater: met}", "sky.yaml:25: samples[0].verdicts.scater: there is no criterion 'scater'"),
        ("{scatter: met}", "{scatter: good}", "sky.yaml:25: samples[0].verdicts.scatter: "),
        ("[30, 50]", "[50, 30]", "sky.yaml:21: samples[0]: score goes from 50 down to 30"),
        ("[30, 50]", "[80, 100]", "sky.yaml:24: samples[0].score: the verdicts add up to 40 points"),
        ("    points: 60", "    points: 60\n    group: any", "criteria[1].group: there is no group 'any'"),
        ("prompt: Why", "prompt: Why\nprompt: Why", "sky.yaml:3: prompt: the field stands here twice"),
        ("criteria:\n", "criteria: [\n", "not valid YAML"),
        (GOOD, "- a\n- list\n", "sky.yaml:1: a mapping of fields was expected"),
        (GOOD, "", "a mapping of fields was expected"),
    ],
)
def test_a_fault_is_named_with_file_line_and_field(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in GOOD
    found = problems(tmp_path, GOOD.replace(old, new, 1))
    assert any(expected in line for line in found), found


def test_all_faults_are_listed_not_only_the_first(tmp_path: Path) -> None:
    found = problems(tmp_path, GOOD.replace("points: 40", "points: x").replace("hint:", "hnit:"))
    assert len(found) == 2


def test_files_that_are_not_text_or_too_large(tmp_path: Path) -> None:
    write_bank(tmp_path)
    (tmp_path / "sky.yaml").write_bytes("prompt: é".encode("latin-1"))
    (tmp_path / "huge.yaml").write_bytes(b"a" * 2_000_001)
    _, found = read_bank(tmp_path)
    assert [problem.message.split(";")[0] for problem in found] == [
        "the file is larger than 2,000,000 bytes",
        "not UTF-8 (byte 8)",
    ]


def test_two_questions_with_one_id(tmp_path: Path) -> None:
    write_bank(tmp_path)
    (tmp_path / "two.yaml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(BankError, match=r"'why-sky' is also in sky\.yaml"):
        load_bank(tmp_path)


@pytest.mark.parametrize("make", ["missing", "no bank.yaml", "no questions"])
def test_folders_that_are_no_bank(tmp_path: Path, make: str) -> None:
    folder = tmp_path / "bank"
    if make != "missing":
        folder.mkdir()
    if make == "no questions":
        (folder / "bank.yaml").write_text("id: a\ntitle: b\n", encoding="utf-8")
    with pytest.raises(BankError):
        load_bank(folder)


def test_yaml_tags_run_nothing(tmp_path: Path) -> None:
    found = problems(tmp_path, GOOD.replace("why-sky", "!!python/object/apply:os.getcwd []"))
    assert any("not valid YAML" in line for line in found)


def test_groups_count_the_best_any_of(tmp_path: Path) -> None:
    text = GOOD.replace("criteria:\n", "groups:\n  - {id: any, any_of: 1}\ncriteria:\n", 1)
    text = text.replace("    points: 40", "    points: 100\n    group: any").replace(
        "    points: 60", "    points: 100\n    group: any"
    )
    bank = load_bank(write_bank(tmp_path, text.replace("[30, 50]", "[90, 100]")))
    question = bank.questions[0]
    assert question.possible_points() == 100
    assert expected_score(question, question.samples[0]) == 100


def test_unknown_question_suggests_near_ones() -> None:
    with pytest.raises(UnknownQuestion, match="did you mean zero-grad"):
        load_bank().question("zero-gard")


def test_the_rubric_hash_follows_what_decides_a_grade(tmp_path: Path) -> None:
    question = load_bank(write_bank(tmp_path)).questions[0]
    assert rubric_hash(question) == rubric_hash(question.model_copy(update={"samples": (), "tags": ("physics",)}))
    assert rubric_hash(question) != rubric_hash(question.model_copy(update={"prompt": "Why is the sky red?"}))


def test_inline_questions_are_scaled_to_a_hundred_points() -> None:
    inline = InlineQuestion.model_validate(
        {
            "prompt": "Why?",
            "reference_answers": ["Because."],
            "criteria": [{"statement": "One.", "points": 1}, {"statement": "Three.", "points": 3}],
            "misconceptions": ["No reason."],
        }
    )
    question = question_from_inline(inline)
    assert [criterion.points for criterion in question.criteria] == [25, 75]
    assert question.misconceptions[0].statement == "No reason."
    assert question == question_from_inline(inline)


def test_criteria_are_derived_from_the_reference_answer() -> None:
    inline = InlineQuestion(prompt="Why?", reference_answers=("Air scatters light. Blue scatters most of all.",))
    statements = [criterion.statement for criterion in question_from_inline(inline).criteria]
    assert statements == ["Air scatters light.", "Blue scatters most of all."]


@pytest.mark.parametrize(
    ("reference", "statements"),
    [("push, pop", ["push, pop"]), ("Yes. Because it scatters light.", ["Because it scatters light."])],
)
def test_a_short_reference_is_one_criterion(reference: str, statements: list[str]) -> None:
    question = question_from_inline(InlineQuestion(prompt="Why?", reference_answers=(reference,)))
    assert [criterion.statement for criterion in question.criteria] == statements


def test_a_reference_without_sentences_cannot_be_graded_against() -> None:
    with pytest.raises(InvalidQuestion, match="send criteria or a fuller reference answer"):
        question_from_inline(InlineQuestion(prompt="Why?", reference_answers=("Because.",)))


def test_the_schema_for_editors_accepts_every_shipped_question() -> None:
    accepts = jsonschema.Draft202012Validator(bank_json_schema())
    files = sorted(DEFAULT_BANK.glob("[0-9]*.yaml"))
    assert len(files) == 21
    for file in files:
        assert list(accepts.iter_errors(yaml.safe_load(file.read_text(encoding="utf-8")))) == [], file.name
