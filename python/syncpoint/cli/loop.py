"""The event loop that a command runs on: asyncio's own, or uvloop where it was asked for."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any, TypeVar

from ..errors import ArgumentError

__all__ = ["Loop", "run_on"]

T = TypeVar("T")


class Loop(StrEnum):
    """Which event loop."""

    ASYNCIO = "asyncio"
    UVLOOP = "uvloop"


def run_on(loop: Loop, main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a new event loop; ArgumentError for a loop that is not installed."""
    try:
        with asyncio.Runner(loop_factory=_factory(loop)) as runner:
            return runner.run(main)
    finally:
        main.close()  # where there was no loop to run it on


def _factory(loop: Loop) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if loop is Loop.ASYNCIO:
        return None
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError as error:
        raise ArgumentError(
            f"--loop uvloop: uvloop cannot be used here ({error}): pip install 'syncpoint[fast]', or leave --loop out"
        ) from None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
