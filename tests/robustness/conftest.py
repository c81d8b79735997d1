"""A service in this process, and how many cases are tried: few in the suite, as many as you like by hand.

GRADER_TEST_CASES=5000 python -m pytest tests/robustness/test_schema.py
GRADER_TEST_CASES=10000 python -m pytest tests/robustness/test_malformed.py
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from fastapi import FastAPI

from api.app import create_app
from api.config import Settings
from grader.pipeline import Grader

# Cases in all; the default keeps the suite short.
CASES = int(os.environ.get("GRADER_TEST_CASES", "300"))


@pytest.fixture(scope="session")
def cases() -> int:
    """How many cases to try in all."""
    return CASES


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of an empty database."""
    return f"sqlite:///{tmp_path_factory.mktemp('robust')}/grades.db"


@pytest.fixture(scope="module")
def app(request: pytest.FixtureRequest, url: str, fast_grader: Grader) -> Iterator[FastAPI]:
    """A service that is ready to grade; fast, because what is tried here is everything but the meaning of words."""
    settings = Settings(
        database=url,
        rate_per_address=0,
        rate_per_key=0,
        max_body_bytes=65_536,
    )
    made = create_app(settings, load=lambda: fast_grader)
    made.state.grading.start()
    assert made.state.grading.wait(60)
    yield made
    made.state.stores.close()
    families = made.state.metrics.requests.collect()
    total = sum(sample.value for family in families for sample in family.samples if sample.name.endswith("_total"))
    if "GRADER_TEST_CASES" in os.environ:
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print(f"\n{request.node.name}: {total:,.0f} requests were answered")
