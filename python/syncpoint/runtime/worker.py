"""A thread of its own for what has to wait for a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

__all__ = ["ThreadWorker", "Worker"]

Result = TypeVar("Result")


class Worker(Protocol):
    """Does one thing after the other, beside the event loop: real, or simulated on virtual time (L3)."""

    async def run(self, work: Callable[[], Result]) -> Result:
        """Do it after all that came before; what it returns or raises. Cancelled, it is done all the same."""
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


class ThreadWorker:
    """One thread, which is there from the first work on."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="syncpoint store")

    async def run(self, work: Callable[[], Result]) -> Result:
        """Do it in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def close(self) -> None:
        """The thread ends by itself when its last work is done."""
        self._executor.shutdown(wait=False)
