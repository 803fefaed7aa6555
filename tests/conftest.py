"""What all tests share: the seed of whatever is random, and how to run a failure again."""

from __future__ import annotations

import os
import random
from collections.abc import Generator

import pytest

_SEED = pytest.StashKey[int]()


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """Where a test's randomness starts: SYNCPOINT_SEED, or a fresh number that a failure reports."""
    given = os.environ.get("SYNCPOINT_SEED")
    value = int(given) if given else random.SystemRandom().getrandbits(32)
    request.config.stash[_SEED] = value
    return value


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and "seed" in getattr(item, "fixturenames", ()) and _SEED in item.config.stash:
        count = os.environ.get("SYNCPOINT_DAGS")
        given = f"SYNCPOINT_DAGS={count} " if count else ""
        command = f"{given}SYNCPOINT_SEED={item.config.stash[_SEED]} python -m pytest '{item.nodeid}'"
        report.sections.append(("replay", command))
    return report
