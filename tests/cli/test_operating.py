"""`grader keys`, `grader database`, `grader regrade`: what an operator does, on a real database file."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from api.store import Store, grades
from api.store.grades import Filter, Review
from api.store.keys import Keyring
from grader.bank import load_bank
from grader.pipeline import Grader
from grader.schema import LlmUse

Run = Callable[..., Result]
ErrorOf = Callable[[Result], BaseException]
ANSWER = "Sunlight has many colours and the eye sees them."  # by hashed words one of two criteria is met


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'g.db'}"


@pytest.fixture
def operate(run: Run, url: str) -> Run:
    """Runs an operator's command on the test's own database."""

    def invoke(*words: object, **options: Any) -> Result:
        return run(*words, "--database", url, **options)

    return invoke


def json_of(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


# ---- keys ------------------------------------------------------------------------------------------------------------


def test_a_key_is_printed_once_and_opens(operate: Run, url: str) -> None:
    result = operate("keys", "create", "--role", "reviewer", "--name", "Dana", "--expires", "90d")
    token = result.stdout.strip()
    assert re.fullmatch(r"ag_[0-9a-f]{16}_\S{43}", token)
    (listed,) = json_of(operate("keys", "list"))
    assert (listed["role"], listed["name"], listed["valid"]) == ("reviewer", "Dana", True)
    assert token.split("_", 2)[2] not in operate("keys", "list").output
    store = Store.open(url)
    found = Keyring(store).key_of(token)
    assert found is not None and found.id == listed["id"]
    assert operate("keys", "revoke", listed["id"]).exit_code == 0
    assert Keyring(store).key_of(token) is None
    store.close()
    assert json_of(operate("keys", "list"))[0]["valid"] is False


def test_a_key_as_json(operate: Run) -> None:
    made = json_of(operate("keys", "create", "--role", "admin", "--json"))
    assert made["key"].startswith(f"ag_{made['id']}_")
    assert made["expires_at"] is None


@pytest.mark.parametrize("name", ["", " ", "x" * 201, "a\0b", "a\nb", "half \ud800"])
def test_a_name_that_is_none_is_refused(operate: Run, error_of: ErrorOf, name: str) -> None:
    assert "1 to 200" in str(error_of(operate("keys", "create", "--role", "admin", "--name", name)))
    assert json_of(operate("keys", "list")) == []


@pytest.mark.parametrize("expires", ["soon", "0d", "2001-01-01", "-5d", "99999999999d", ""])
def test_an_end_that_is_none_is_refused(operate: Run, error_of: ErrorOf, expires: str) -> None:
    error = error_of(operate("keys", "create", "--role", "admin", "--expires", expires))
    assert "90d" in str(error) or "over already" in str(error)
    assert json_of(operate("keys", "list")) == []


def test_a_role_that_is_none_is_a_usage_error(operate: Run) -> None:
    result = operate("keys", "create", "--role", "boss")
    assert result.exit_code == 2
    assert "reviewer" in result.output


def test_revoking_the_last_key_says_what_that_means(operate: Run, error_of: ErrorOf) -> None:
    made = json_of(operate("keys", "create", "--role", "admin", "--json"))
    assert "open to this machine again" in operate("keys", "revoke", made["id"]).output
    assert "no key" in str(error_of(operate("keys", "revoke", "ffffffffffffffff")))


# ---- serve -----------------------------------------------------------------------------------------------------------


def test_an_address_that_others_reach_needs_a_key(environment: dict[str, str], url: str) -> None:
    words = [sys.executable, "-c", "from grader.cli import main; main()", "serve", "--host", "0.0.0.0", "--port", "0"]
    options = {"capture_output": True, "text": True, "timeout": 120, "check": False}
    result = subprocess.run(words, env=environment | {"GRADER_DATABASE": url}, **options)
    assert result.returncode == 1
    assert "grader keys create --role admin" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_database_that_cannot_be_used_is_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "g.db").write_bytes(b"no database" * 500)
    words = [sys.executable, "-c", "from grader.cli import main; main()", "serve", "--port", "0"]
    options = {"capture_output": True, "text": True, "timeout": 120, "check": False}
    result = subprocess.run(words, env=environment | {"GRADER_DATABASE": f"sqlite:///{tmp_path / 'g.db'}"}, **options)
    assert result.returncode == 1
    assert "no SQLite database" in result.stderr
    assert "Traceback" not in result.stderr


# ---- database --------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tiny_bank: Path) -> Grader:
    """A grader of a small bank that a test may change, loaded as the commands do."""
    return Grader.load(tiny_bank, encoder="hashing")


@pytest.fixture
def kept(url: str, tiny: Grader) -> grades.StoredGrade:
    """A grade of a candidate called anna."""
    store = Store.open(url)
    with store.write() as tx:
        grade = tiny.grade("sky", ANSWER)
        stored = grades.add(tx, grade, answer=ANSWER, question=tiny.bank.question("sky"), candidate="anna")
    store.close()
    return stored


def test_a_backup_is_restored_elsewhere(operate: Run, run: Run, kept: grades.StoredGrade, tmp_path: Path) -> None:
    file, elsewhere = tmp_path / "b.gz", f"sqlite:///{tmp_path / 'new.db'}"
    assert operate("database", "backup", file).exit_code == 0
    assert run("database", "restore", file, "--database", elsewhere).exit_code == 0
    found = json_of(run("database", "export", "anna", "--database", elsewhere))
    assert found["answers"][0]["grades"][0]["grade"]["id"] == kept.id
    assert operate("database", "upgrade").stdout == "The database is up to date.\n"


def test_an_export_goes_to_a_new_file_of_its_owner(
    operate: Run, kept: grades.StoredGrade, tmp_path: Path, error_of: ErrorOf
) -> None:
    file = tmp_path / "anna.json"
    assert operate("database", "export", "anna", "--output", file).exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text(encoding="utf-8"))["answers"][0]["answer"] == kept.answer
    assert "name a new file" in str(error_of(operate("database", "export", "anna", "--output", file)))


def test_erasing_asks_first(operate: Run, kept: grades.StoredGrade, error_of: ErrorOf) -> None:
    assert operate("database", "erase", "anna", input="n\n").exit_code == 1
    assert json_of(operate("database", "export", "anna"))["answers"][0]["answer"] == kept.answer
    assert "1 answers, 1 grades" in operate("database", "erase", "anna", "--yes").stdout
    assert "no candidate" in str(error_of(operate("database", "erase", "anna", "--yes")))
    log = [json.loads(line) for line in operate("database", "log").stdout.splitlines()]
    assert [one["action"] for one in log] == ["candidate.erased", "candidate.exported"]


def test_an_erased_candidate_is_in_no_file_while_the_service_runs(
    operate: Run, kept: grades.StoredGrade, url: str, tmp_path: Path
) -> None:
    service = Store.open(url)  # SQLite empties its log by itself when the last one closes the database
    with service.write() as tx:
        grades.add(tx, kept.grade, answer="of anna-7f3a", question=grades.rubric_of(tx, kept), candidate="anna-7f3a")
    assert [file.name for file in tmp_path.glob("g.db*") if b"anna-7f3a" in file.read_bytes()]
    assert operate("database", "erase", "anna-7f3a", "--yes").exit_code == 0
    assert not [file.name for file in tmp_path.glob("g.db*") if b"anna-7f3a" in file.read_bytes()]
    service.close()


def test_retention_keeps_what_is_young(operate: Run, kept: grades.StoredGrade) -> None:
    assert operate("database", "retain", "--days", 1, "--yes").stdout.startswith("0 answers")
    assert json_of(operate("database", "export", "anna"))["answers"][0]["answer"] == kept.answer
    assert operate("database", "retain", "--days", 0, "--yes").exit_code == 2


def test_an_address_that_is_none_is_one_line(run: Run, error_of: ErrorOf) -> None:
    assert "sqlite:///FILE" in str(error_of(run("keys", "list", "--database", "mysql://x")))


@pytest.mark.parametrize("words", [
    ("keys", "list"), ("keys", "revoke", "0"), ("database", "backup", "b.gz"), ("database", "export", "anna"),
    ("database", "erase", "anna", "--yes"), ("database", "retain", "--days", 9, "--yes"), ("database", "log"),
    ("regrade", "--dry-run"),
])  # fmt: skip
def test_a_database_that_is_not_there_is_not_made_by_a_slip(
    operate: Run, error_of: ErrorOf, tmp_path: Path, words: tuple[object, ...]
) -> None:
    assert "There is no database" in str(error_of(operate(*words)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("keys", "create", "--role", "admin"), ("database", "upgrade")])
def test_what_makes_a_database_says_where(operate: Run, url: str, words: tuple[str, ...]) -> None:
    result = operate(*words)
    assert (result.exit_code, result.stderr.splitlines()[0]) == (0, f"Database: {url}")


def test_a_database_is_named_before_it_is_asked_about_and_without_its_password(
    run: Run, operate: Run, url: str
) -> None:
    assert url in operate("database", "erase", "anna", input="n\n").output
    assert url in operate("database", "retain", "--days", 9, input="n\n").output
    result = run("keys", "list", "--database", "postgresql://me:secret@127.0.0.1:1/grades?password=secret")
    assert result.stderr.splitlines()[0] == "Database: postgresql://me:***@127.0.0.1:1/grades"
    assert "secret" not in result.output


# ---- regrade ---------------------------------------------------------------------------------------------------------


def regrade(operate: Run, bank: Path, *words: object) -> Any:
    return json_of(operate("regrade", "--bank", bank, "--encoder", "hashing", *words))


def test_the_same_bank_changes_nothing(operate: Run, kept: grades.StoredGrade, tiny_bank: Path) -> None:
    found = regrade(operate, tiny_bank, "--dry-run")
    assert (found["same"], found["changed"], found["changes"]) == (1, 0, [])
    assert kept.grade.score is not None


def test_another_bank_says_who_would_change_and_why(
    operate: Run, kept: grades.StoredGrade, tiny_bank: Path, url: str
) -> None:
    file = tiny_bank / "01-sky.yaml"
    text = file.read_text(encoding="utf-8")
    text = text.replace("points: 40", "points: 90").replace("points: 60", "points: 10")
    file.write_text(text, encoding="utf-8")
    found = regrade(operate, tiny_bank, "--dry-run")
    (change,) = found["changes"]
    assert (change["id"], change["candidate"], change["before"]) == (kept.id, "anna", kept.grade.score)
    assert change["after"] != change["before"]
    assert set(change["versions"]) == {"bank", "rubric"}
    store = Store.open(url)
    with store.read() as tx:
        assert grades.get(tx, kept.id).superseded_by is None  # it was only said

    assert regrade(operate, tiny_bank, "--write")["changed"] == 1
    with store.read() as tx:
        (now,) = grades.find(tx, Filter()).grades
    assert (now.kind, now.supersedes, now.grade.score) == ("regrade", kept.id, change["after"])
    assert regrade(operate, tiny_bank, "--dry-run")["same"] == 1
    store.close()


def test_what_a_person_has_said_stands(operate: Run, kept: grades.StoredGrade, tiny_bank: Path, url: str) -> None:
    store = Store.open(url)
    with store.write() as tx:
        grades.override(tx, kept.id, Review("Dana", "right", score=99))
    found = regrade(operate, tiny_bank, "--write")
    assert (found["people"], found["changed"], found["same"]) == (1, 0, 0)
    store.close()


def test_a_grade_with_a_language_model_is_not_replaced_by_one_without(
    operate: Run, kept: grades.StoredGrade, tiny_bank: Path, url: str
) -> None:
    use = LlmUse(model="author:1", asked=("blue",), settled=1, judgements="0")
    assisted = kept.grade.model_copy(
        update={"score": 12.0, "provenance": kept.grade.provenance.model_copy(update={"llm": use})}
    )
    store = Store.open(url)
    with store.write() as tx:
        stored = grades.add(tx, assisted, answer=ANSWER, question=load_bank(tiny_bank).question("sky"))
    result = operate("regrade", "--write", "--bank", tiny_bank, "--encoder", "hashing")
    (change,) = json.loads(result.stdout)["changes"]
    assert result.exit_code == 1
    assert change["id"] == stored.id
    assert "no language model is configured" in change["error"]
    with store.read() as tx:
        assert grades.get(tx, stored.id).superseded_by is None
    store.close()


def test_a_question_that_is_gone_is_told_and_the_rest_goes_on(
    operate: Run, kept: grades.StoredGrade, tiny_bank: Path
) -> None:
    file = tiny_bank / "01-sky.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("id: sky", "id: heaven"), encoding="utf-8")
    result = operate("regrade", "--dry-run", "--bank", tiny_bank, "--encoder", "hashing")
    assert result.exit_code == 1
    (change,) = json.loads(result.stdout)["changes"]
    assert change["id"] == kept.id
    assert "There is no question 'sky'" in change["error"]


def test_one_must_say_which(operate: Run) -> None:
    for words in ((), ("--dry-run", "--write")):
        assert operate("regrade", *words).exit_code == 2
