"""Lines in and out of file descriptors without stopping the event loop.

A pipe, a file, a terminal and /dev/null need different calls in asyncio, and some of them have none on
some systems; a thread that blocks in `os.read` or `os.write` serves them all alike. The buffered files of
`sys` are not used: a thread that waits inside one holds its lock, and the interpreter cannot end then.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import queue
import select
import threading
from collections.abc import AsyncIterator, Callable, Coroutine

from ..errors import ArgumentError

__all__ = ["LineReader", "LineWriter"]

CHUNK_BYTES = 64 * 1024  # read at once; a batch holds the lines that end in it


class LineReader:
    """Reads lines, without their line feeds; at most one batch is read ahead of whoever takes them."""

    def __init__(self, descriptor: int | None, max_line_bytes: int, what: str = "standard input") -> None:
        """`descriptor` None is an input that is at its end already."""
        self._descriptor = descriptor
        self._max_line_bytes = max_line_bytes
        self._what = what

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """The lines as they come, many at a time, until the end of the input; to be called once.

        Raises ArgumentError for a line that is too long, OSError when the input cannot be read.
        """
        if self._descriptor is None:
            return
        loop = asyncio.get_running_loop()
        batches: asyncio.Queue[list[bytes] | Exception | None] = asyncio.Queue(maxsize=1)

        def put(batch: list[bytes] | Exception | None) -> None:
            _wait_for(batches.put(batch), loop)

        threading.Thread(target=self._read, args=(put,), name="syncpoint lines in", daemon=True).start()
        while (batch := await batches.get()) is not None:
            if isinstance(batch, Exception):
                raise batch
            yield batch

    def _read(self, put: Callable[[list[bytes] | Exception | None], None]) -> None:
        with contextlib.suppress(_LoopGone):
            try:
                self._split(put)
            except Exception as error:
                put(error)
            else:
                put(None)

    def _split(self, put: Callable[[list[bytes] | Exception | None], None]) -> None:
        assert self._descriptor is not None
        rest: list[bytes] = []  # the pieces of a line that has not ended yet
        rest_bytes = 0
        while chunk := _read_some(self._descriptor):
            first, *lines = chunk.split(b"\n")
            rest.append(first)
            rest_bytes += len(first)
            if lines:
                lines.insert(0, b"".join(rest))
                rest = [lines.pop()]
                rest_bytes = len(rest[0])
            if rest_bytes > self._max_line_bytes or any(len(line) > self._max_line_bytes for line in lines):
                raise ArgumentError(
                    f"{self._what} holds a line of more than {self._max_line_bytes} bytes, the largest allowed: "
                    "send shorter lines"
                )
            if lines:
                put(lines)
        if rest_bytes:
            put([b"".join(rest)])


class LineWriter:
    """Writes bytes; `write` returns when they are out, so a slow reader slows us down and nothing piles up."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]]] = queue.SimpleQueue()
        threading.Thread(target=self._write, name="syncpoint lines out", daemon=True).start()

    async def write(self, data: bytes) -> None:
        """Write all of it. Raises OSError, BrokenPipeError when the reader is gone."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._work.put((data, done))
        await done

    def _write(self) -> None:
        while True:
            data, done = self._work.get()
            failure: OSError | None = None
            try:
                view = memoryview(data)
                while view:
                    view = view[_write_some(self._descriptor, view) :]
            except OSError as error:
                failure = error
            try:
                self._loop.call_soon_threadsafe(_settle, done, failure)
            except RuntimeError:  # the loop is closed
                return


class _LoopGone(Exception):
    """The event loop that waits for lines has ended."""


def _wait_for(coroutine: Coroutine[object, object, None], loop: asyncio.AbstractEventLoop) -> None:
    """Run a coroutine in the loop from a thread, and wait for it."""
    try:
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError:
        coroutine.close()
        raise _LoopGone from None
    try:
        future.result()
    except BaseException:
        raise _LoopGone from None


def _settle(done: asyncio.Future[None], failure: OSError | None) -> None:
    if done.done():
        return
    if failure is None:
        done.set_result(None)
    else:
        done.set_exception(failure)


def _read_some(descriptor: int) -> bytes:
    while True:
        try:
            return os.read(descriptor, CHUNK_BYTES)
        except BlockingIOError:  # another process made our common terminal or pipe non-blocking
            select.select([descriptor], [], [])
        except OSError as error:
            if error.errno in (errno.EBADF, errno.EIO):  # closed; or a terminal that is not ours any more
                return b""
            raise


def _write_some(descriptor: int, data: memoryview) -> int:
    while True:
        try:
            return os.write(descriptor, data)
        except BlockingIOError:
            select.select([], [descriptor], [])
