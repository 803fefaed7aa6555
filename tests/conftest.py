"""What all tests share: the two cores, the seed of whatever is random, and how to run a failure again."""

from __future__ import annotations

import os
import random
from collections.abc import Generator

import pytest

from syncpoint.backend import core_info
from syncpoint.errors import CoreUnavailable

_SEED = pytest.StashKey[int]()
# How much a test draws: what was set when it failed is part of the command that runs it again.
_AMOUNTS = ("SYNCPOINT_DAGS", "SYNCPOINT_SCENARIOS", "SYNCPOINT_VECTORS", "SYNCPOINT_LOCKSTEP", "SYNCPOINT_NET")


def why_no_native() -> str | None:
    """Why the native core cannot run here, None when it can."""
    try:
        core_info("native")
    except CoreUnavailable as error:
        return str(error)
    return None


def pytest_configure(config: pytest.Config) -> None:
    """Say what the mark means."""
    config.addinivalue_line("markers", "native: needs the native core; SYNCPOINT_REQUIRE_NATIVE=1 makes it a must")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that is given the native core by name and has no mark would fail only where nobody has that core."""
    unmarked = [
        item.nodeid
        for item in items
        if isinstance(item, pytest.Function)
        and hasattr(item, "callspec")
        and item.callspec.params.get("core") in ("native", "mixed", "lockstep")
        and item.get_closest_marker("native") is None
    ]
    if unmarked:
        raise pytest.UsageError(f"these need the native core; mark them with pytest.mark.native: {', '.join(unmarked)}")


def pytest_report_header() -> str:
    """Which cores there are."""
    reason = why_no_native()
    return f"syncpoint cores: python, {'native' if reason is None else f'no native one ({reason})'}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Without the native core its tests are skipped, or fail where it has to be there."""
    if item.get_closest_marker("native") is None:
        return
    reason = why_no_native()
    if reason is None:
        return
    if os.environ.get("SYNCPOINT_REQUIRE_NATIVE") == "1":
        pytest.fail(f"SYNCPOINT_REQUIRE_NATIVE=1, but the native core does not run: {reason}", pytrace=False)
    pytest.skip(f"no native core: {reason}")


@pytest.fixture(params=["python", pytest.param("native", marks=pytest.mark.native)])
def core(request: pytest.FixtureRequest) -> str:
    """Each core in turn."""
    return str(request.param)


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
        given = "".join(f"{name}={os.environ[name]} " for name in _AMOUNTS if os.environ.get(name))
        command = f"{given}SYNCPOINT_SEED={item.config.stash[_SEED]} python -m pytest '{item.nodeid}'"
        report.sections.append(("replay", command))
    return report
