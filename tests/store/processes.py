"""Peers in processes of their own that talk with the test, in lines of JSON.

They are forked by a server that has imported what they need: most of a start is imports, and they say nothing about
stores.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import select
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

__all__ = ["DEADLINE_S", "Child", "free_ports", "preload", "say", "spawn", "told"]

DEADLINE_S = 120.0  # of any wait: a run that needs it has failed
MAX_LINE_BYTES = 1 << 24

_FORKS = multiprocessing.get_context("forkserver")


@dataclass
class Child:
    """A process, and what it is told and says."""

    process: ForkServerProcess
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def tell(self, what: str) -> None:
        """Give it a line."""
        self.writer.write(what.encode() + b"\n")

    async def said(self) -> AsyncIterator[list[Any]]:
        """All that it says, until it has ended."""
        with contextlib.suppress(ConnectionError):  # what it was told, and did not read any more
            async for line in self.reader:
                if line.endswith(b"\n"):  # else it was killed in the middle
                    yield json.loads(line)
        self.writer.close()
        self.process.join()

    def end(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.join()
        self.writer.close()


def preload(*modules: str) -> None:
    """What the server imports; it counts before the first process."""
    _FORKS.set_forkserver_preload(list(modules))


async def spawn(work: Callable[..., Coroutine[Any, Any, None]], *given: object) -> Child:
    """Run a coroutine of a module in a process, whose standard input and output are the connection to us."""
    ours, theirs = _FORKS.Pipe()
    process = _FORKS.Process(target=_live, args=(theirs, work, given))
    process.start()
    theirs.close()
    with ours:
        end = socket.socket(fileno=os.dup(ours.fileno()))
    reader, writer = await asyncio.open_connection(sock=end, limit=MAX_LINE_BYTES)
    return Child(process, reader, writer)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


# -- in the process -------------------------------------------------------------------------------------


def say(*what: object) -> None:
    """One line in one piece, so that whoever is killed has said it or not."""
    data = json.dumps(what).encode() + b"\n"
    while data:
        select.select((), (1,), ())  # `told` shares it with us, and has made it non-blocking
        data = data[os.write(1, data) :]


async def told() -> AsyncIterator[str]:
    """What the test tells us, until it lets go of us."""
    reader, _ = await asyncio.open_connection(sock=socket.socket(fileno=os.dup(0)))
    async for line in reader:
        yield line.decode().rstrip("\n")


def _live(ours: Connection, work: Callable[..., Coroutine[Any, Any, None]], given: tuple[object, ...]) -> None:
    for descriptor in (0, 1):
        os.dup2(ours.fileno(), descriptor)
    asyncio.run(work(*given))
