"""Where hosts cannot be made, these tests are skipped, and one line says why."""

from __future__ import annotations

import functools

import pytest

from .hosts import why_not


@pytest.fixture(autouse=True)
def _can_make_hosts() -> None:
    if (reason := _why_not()) is not None:
        pytest.skip(f"no network of hosts: {reason}")


_why_not = functools.cache(why_not)
