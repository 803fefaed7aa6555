"""Every example in a docstring does what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import syncpoint

MODULES = [
    "syncpoint",
    *(
        info.name
        for info in pkgutil.walk_packages(syncpoint.__path__, "syncpoint.")
        if not info.name.endswith(".__main__")  # importing it runs it
    ),
]
WITH_EXAMPLES = {
    "syncpoint.address",
    "syncpoint.genesis",
    "syncpoint.message",
    "syncpoint.options",
    "syncpoint.peers",
    "syncpoint.record",
}


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert results.failed == 0
    if name in WITH_EXAMPLES:
        assert results.attempted > 0, "its examples were not found"


def test_no_module_is_left_out() -> None:
    assert set(MODULES) >= WITH_EXAMPLES
    assert len(MODULES) > 30
