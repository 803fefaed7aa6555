"""Both cores for the tests of machines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core import virtual
from lockstep.functions import compare_all
from lockstep.pair import Pair


@pytest.fixture(params=["python", pytest.param("lockstep", marks=pytest.mark.native)])
def machines(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters of Python machines, then of pairs of both cores that must answer the same at every step."""
    if request.param == "lockstep":
        monkeypatch.setattr(virtual, "machine_of", lambda _, config: Pair(config, ("python", "native"), look_every=25))


@pytest.fixture(scope="module", params=["python", pytest.param("lockstep", marks=pytest.mark.native)])
def functions(request: pytest.FixtureRequest) -> Iterator[None]:
    """The Python core's functions by themselves, then with the native ones beside them, which must answer the same."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        if request.param == "lockstep":
            compare_all(monkeypatch)
        yield
