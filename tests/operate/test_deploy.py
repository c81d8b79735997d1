"""The container files and the dashboard name only what there is. No engine runs here: what is built is checked by hand."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from api.config import Settings
from api.docs import ROOT
from api.metrics import Metrics
from grader.observe import JudgeCall

DEPLOY = ROOT / "docs" / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "answer-grader.json").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((DEPLOY / "alerts.yml").read_text(encoding="utf-8"))
ENVIRONMENTS = sorted(DEPLOY.glob("*.env"))
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]] + [
    rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]
]


def assignments(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """Every series of the service and its labels."""
    metrics = Metrics()
    metrics.judged(JudgeCall("one", "ok", 1))
    metrics.cache("one", hit=True)
    metrics.answered("GET", "/", 200, 0.1)
    metrics.criteria.labels("met", "encoder")
    metrics.flags.labels("too_long")
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? ", metrics.text().decode(), re.M):
        found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return found


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_is_about_figures_and_labels_that_exist(known: dict[str, set[str]], query: str) -> None:
    names = re.findall(r"\b((?:grader|process)_\w+)", query)
    assert names
    labels = {"job"}  # Prometheus' own
    for name in names:
        assert name in known, name
        labels |= known[name]
    used = set(re.findall(r"(\w+)(?:=~|=)\"", query))
    for group in re.findall(r"by \(([^)]*)\)", query):
        used |= set(group.split(", "))
    assert used <= labels


def test_every_setting_in_the_container_files_is_one() -> None:
    settings = {f"GRADER_{name.upper()}" for name in Settings.model_fields}
    named = set(re.findall(r"\bGRADER_[A-Z_]+\b", DOCKERFILE))
    for service in COMPOSE["services"].values():
        named |= {name for name in service.get("environment", {}) if name.startswith("GRADER_")}
    for file in ENVIRONMENTS:
        named |= {name for name in assignments(file.read_text(encoding="utf-8")) if name.startswith("GRADER_")}
    assert named <= settings, named - settings


def test_what_the_environment_files_set_is_used_by_the_compose_file() -> None:
    used = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text(encoding="utf-8")))
    assert len(ENVIRONMENTS) == 3
    for file in ENVIRONMENTS:
        assert set(assignments(file.read_text(encoding="utf-8"))) <= used


def test_the_service_runs_alone_by_default_and_every_profile_is_there() -> None:
    services = COMPOSE["services"]
    assert [name for name, service in services.items() if "profiles" not in service] == ["api"]
    assert {p for service in services.values() for p in service.get("profiles", [])} == {
        "postgres",
        "gpu",
        "llm",
        "monitoring",
    }
    assert all(need["required"] is False for need in services["api"]["depends_on"].values())


def test_every_port_is_this_machines_only_and_every_mounted_file_is_there() -> None:
    for service in COMPOSE["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source
            else:
                assert source in COMPOSE["volumes"]


def test_the_image_gets_what_it_copies_and_does_not_run_as_root() -> None:
    let_in = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")
    }
    copied = {
        word.removeprefix("./")
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.M)
        for word in line.split()
    }
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
    users = re.findall(r"^USER (\S+)", DOCKERFILE, re.M)
    assert users[-1].isdigit()
    assert int(users[-1]) > 0
    assert "HEALTHCHECK" in DOCKERFILE
