"""The agreed stream on its way to the application: first what the store has of it, then what is delivered (J2)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from .core.values import Delivered, SyncPoint
from .errors import ArgumentError, ArgumentTypeError
from .message import Message
from .runtime.line import Line
from .runtime.storage import Loaded, Storage

__all__ = ["Brake", "Stream", "check_resume"]

log = logging.getLogger("syncpoint.engine")

MAX_UNREAD_MESSAGES = 65_536  # delivered, not received by the application; beyond, the engine stands still
MAX_UNREAD_BYTES = 256 * 1024 * 1024  # the same, in bytes of transactions
MAX_READ_AHEAD = 256  # messages of the store that wait in memory before no further page is read


class Brake(Protocol):
    """What stands still when nobody receives."""

    def pause(self, reason: str) -> None:
        """Stand still."""
        ...

    def resume(self, reason: str) -> None:
        """Go on."""
        ...


class Stream:
    """Messages in the agreed order, each once, without a gap, from where the application wants them.

    What the store has is read in pages, as the application receives them; what is delivered meanwhile waits.
    """

    max_messages: int | None = None  # instead of MAX_UNREAD_MESSAGES, where a simulation lowers it

    def __init__(
        self,
        storage: Storage,
        brake: Brake,
        message: Callable[[Delivered | SyncPoint], Message],
        failed: Callable[[BaseException], None],
    ) -> None:
        """`message` makes what is received; `failed` is told when what is stored cannot be read."""
        self._storage = storage
        self._brake = brake
        self._message = message
        self._failed = failed
        self._readers = Line()
        self._stored: deque[Message] = deque()  # read from the store
        self._live: deque[Message] = deque()
        self._live_bytes = 0
        self._next = 0  # the index that is read from the store next
        self._end = 0  # the index at which the store's part of the stream ends
        self._live_from = 0  # delivered events below are not given: the store has them, or the application does
        self._given = -1  # the index of the newest message that was received
        self._filling: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self._ended = False
        self._finished = False  # the session has ended: what is here is the rest (S4)

    def begin(self, loaded: Loaded, resume_after: int | None) -> None:
        """Start behind an index, None: at the beginning; ArgumentError when the store does not reach back so far."""
        first = 0 if resume_after is None else resume_after + 1
        if first < loaded.first:
            what = "the stream from its beginning" if resume_after is None else f"resume_after={resume_after}"
            raise ArgumentError(
                f"{what}: the store begins with index {loaded.first}; give resume_after={loaded.first - 1} or higher"
            )
        if first > loaded.end:
            # The application may be ahead: what it received is not always written before.
            log.warning(
                "resume_after=%d, and the store ends with index %d: what lies between is ordered again, and not given",
                first - 1,
                loaded.end - 1,
            )
        self._next, self._end = first, loaded.end
        self._live_from = max(first, loaded.end)
        self._given = first - 1
        if self._next < self._end:
            self._filling = asyncio.get_running_loop().create_task(self._fill(), name="syncpoint stream")

    def deliver(self, messages: Sequence[Delivered | SyncPoint]) -> None:
        """Take what was delivered now."""
        for done in messages:
            if done.index < self._live_from or self._ended:
                continue
            message = self._message(done)
            self._live.append(message)
            self._live_bytes += message._payload_bytes
        self._readers.call()
        if len(self._live) > (self.max_messages or MAX_UNREAD_MESSAGES) or self._live_bytes > MAX_UNREAD_BYTES:
            log.warning("%d messages are unread: the engine stands still until they are received", len(self._live))
            self._brake.pause("unread")

    async def receive(self) -> Message | None:
        """The next message, None after the last; cancelled, it has taken none."""
        await self._readers.turn(lambda: self._ready or self._ended or self._is_over)
        if self._stored:
            message = self._stored.popleft()
            if len(self._stored) <= MAX_READ_AHEAD // 2:
                self._room.set()
        elif self._ready:
            message = self._live.popleft()
            self._live_bytes -= message._payload_bytes
            limit = self.max_messages or MAX_UNREAD_MESSAGES
            if len(self._live) <= limit // 2 and self._live_bytes <= MAX_UNREAD_BYTES // 2:
                self._brake.resume("unread")
        else:
            return None
        self._given = message.index
        return message

    @property
    def unread(self) -> int:
        """Messages that can be received, in memory and in the store."""
        return len(self._stored) + max(0, self._end - self._next) + len(self._live)

    def check_forget(self, until: int) -> None:
        """Refuse to forget what the application has not received."""
        if isinstance(until, bool) or not isinstance(until, int):
            raise ArgumentTypeError(f"forget(until={until!r}): give an index")
        if not 0 <= until <= self._given:
            raise ArgumentError(
                f"forget(until={until}): received so far are the indices up to {self._given}; give 0 to that"
            )

    def end(self) -> None:
        """Nothing comes any more: what is in memory can still be received, as far as it has no gap."""
        if self._ended:
            return
        self._ended = True
        if self._next < self._end:
            self._live.clear()
            self._end = self._next
        self._room.set()
        self._readers.call()

    def finish(self) -> None:
        """Nothing is delivered any more: when all is received, that was all."""
        self._finished = True
        self._readers.call()

    async def close(self) -> None:
        """End, and let go of the store."""
        self.end()
        if self._filling is not None:
            await asyncio.wait((self._filling,))

    @property
    def _ready(self) -> bool:
        return bool(self._stored) or (self._next >= self._end and bool(self._live))

    @property
    def _is_over(self) -> bool:
        return self._finished and not self._stored and self._next >= self._end and not self._live

    async def _fill(self) -> None:
        """Read one page after the other, as fast as they are received."""
        while self._next < self._end:
            try:
                page = await self._storage.read(self._next, self._end)
            except Exception as error:  # damage, or a disk that cannot be read
                self._failed(error)
                return
            if self._ended:
                return
            self._stored += [self._message(done) for done in page]
            self._next = page[-1].index + 1
            self._readers.call()
            while len(self._stored) > MAX_READ_AHEAD // 2 and not self._ended:
                self._room.clear()
                await self._room.wait()


def check_resume(resume_after: object, stores: bool) -> None:
    """Refuse a `resume_after` that no store could follow."""
    if resume_after is None:
        return
    if isinstance(resume_after, bool) or not isinstance(resume_after, int):
        raise ArgumentTypeError(f"Engine.start: resume_after is {resume_after!r}: give an index, or None")
    if resume_after < -1:
        raise ArgumentError(f"Engine.start: resume_after is {resume_after}: give -1 (the beginning) or an index")
    if not stores:
        raise ArgumentError(
            f"Engine.start: resume_after is {resume_after}, and nothing is stored: give Context(storage=...) a folder"
        )
