"""A simulated disk that outlives processes and can lose what was not synced, with the production store on it."""

from __future__ import annotations

import asyncio
import bisect
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from ..runtime.rows import Batch, DeliveredRow, EventRow, MetaRow
from .loop import Process, VirtualLoop

__all__ = ["Disk", "SimulatedFile", "SimulatedWorker", "Store", "WrittenAt"]

Result = TypeVar("Result")

ROW_BYTES = 200  # about what a row takes besides its record
UNSYNCED_SHARE = 10  # a commit that is not synced takes so many times less than one that is
TIP_NS = 1  # what a tip takes, so that it can be told from the commit before it; nothing on a disk that takes no time


class Store(StrEnum):
    """What a process that starts again finds of its store."""

    KEPT = "kept"
    """All that was written. A commit that was not finished is gone."""

    UNSYNCED_LOST = "unsynced_lost"
    """All up to the last commit that was synced: the power failed. The tip may be older or newer."""

    TORN = "torn"
    """The same, some of the commits after it, and a part of the next one, which is none."""

    OLD = "old"
    """A backup: what was written some time before the process died."""

    LOST = "lost"
    """Nothing."""


class WrittenAt(NamedTuple):
    """A moment from which on something of a disk is another."""

    at_ns: int  # of the loop
    what: str  # "begun", "written" or "synced", of a commit; "tip"


@dataclass(frozen=True, slots=True)
class _Commit:
    """What the file holds after a commit."""

    written_ns: int
    end_event: int
    end_index: int
    first_event: int
    first_index: int
    meta: dict[str, MetaRow]
    size: int


@dataclass(frozen=True, slots=True)
class _TipWrite:
    """What the tip says from a time on."""

    written_ns: int
    data: bytes
    is_synced: bool


_EMPTY = _Commit(0, 1, 0, 1, 0, {}, 0)


class Disk:
    """The disk of one simulated computer, with one store file and its tip.

    What is done to it takes time, which `SimulatedWorker` lets pass: a synced commit `sync_ns`, one that is not synced
    a tenth. Rows are whole or not there, as SQLite has it; of a commit that is not whole nothing is left.
    """

    def __init__(self, loop: VirtualLoop, sync_ns: int = 0, rng: random.Random | None = None) -> None:
        """`rng` decides what a crash leaves, where that is open."""
        self.sync_ns = sync_ns
        self.torn = 0  # commits that were lost in the middle of being written
        self.unsynced_lost = 0  # commits
        self.found_events = 0  # when it was opened last
        self.found_bytes = 0
        self.found_places = 0
        self.moments: list[WrittenAt] | None = None  # set to a list to have them noted
        self.events: list[EventRow] = []
        self.places: list[DeliveredRow] = []
        self._loop = loop
        self._rng = rng or random.Random(0)
        self._ids: dict[tuple[int, bytes], int] = {}  # round and digest of an event -> its id
        self._commits: list[_Commit] = []
        self._syncs: list[tuple[int, int]] = []  # ns, and how many commits are durable from then on
        self._tips: list[_TipWrite] = []
        self._inode = 0  # 0: there is no file
        self._inodes = 0  # that were given out
        self._boot = 1
        self._at_ns = 0  # when what was done last is done

    @property
    def now(self) -> _Commit:
        """What the file holds."""
        return self._commits[-1] if self._commits else _EMPTY

    @property
    def done_ns(self) -> int:
        """When all that was asked for is done."""
        return self._at_ns

    # -- what the file does -----------------------------------------------------------------------------

    def open(self) -> bool:
        """Make the file if there is none; whether there was one."""
        existed = self._inode != 0
        if not existed:
            self._new_inode()
        now = self.now
        self.found_events, self.found_bytes = now.end_event - now.first_event, now.size
        self.found_places = now.end_index - now.first_index
        return existed

    def commit(self, batch: Batch, sync: bool) -> None:
        """Append a commit."""
        now = self.now
        assert not batch.events or batch.events[0].id == now.end_event, "events are numbered without gaps"
        assert not batch.delivered or batch.delivered[0].id == now.end_index, "places are numbered without gaps"
        begin = self._pass(0, "begun")
        unsynced_ns = self.sync_ns // UNSYNCED_SHARE
        written_ns = self._pass(unsynced_ns, "written")
        self.events += batch.events
        self.places += batch.delivered
        size = now.size + ROW_BYTES * (len(batch.events) + len(batch.delivered))
        for row in batch.events:
            self._ids[row.round, row.digest] = row.id
            size += len(row.record)
        first_event = max(now.first_event, batch.forget_events)
        first_index = max(now.first_index, batch.forget_delivered)
        for row in self.events[now.first_event - 1 : first_event - 1]:
            size -= ROW_BYTES + len(row.record)
        size -= ROW_BYTES * (first_index - now.first_index)
        meta = now.meta | {row.name: row for row in batch.meta}
        self._commits.append(
            _Commit(
                written_ns, len(self.events) + 1, len(self.places), first_event, first_index, meta, size
            )
        )  # fmt: skip
        if sync:
            durable_ns = self._pass(begin + self.sync_ns - written_ns, "synced")
            self._syncs.append((durable_ns, len(self._commits)))

    def event(self, round: int, digest: bytes) -> EventRow | None:
        """The event of a round with this id."""
        id = self._ids.get((round, digest), 0)
        return self.events[id - 1] if self.now.first_event <= id < self.now.end_event else None

    def inode(self) -> int:
        """The number of the file."""
        return self._inode

    def boot(self) -> bytes:
        """Which start of the computer it is."""
        return self._boot.to_bytes(16, "little")

    def read_tip(self) -> bytes | None:
        """What was written last."""
        return self._tips[-1].data if self._tips else None

    def write_tip(self, data: bytes, sync: bool) -> None:
        """Write it in one piece."""
        at_ns = self._pass((self.sync_ns if sync else 0) + min(TIP_NS, self.sync_ns), "tip")
        self._tips.append(_TipWrite(at_ns, data, sync))

    # -- what happens to it -----------------------------------------------------------------------------

    def crashed(
        self,
        store: Store,
        at_ns: int | None = None,
        *,
        backup_ns: int = 0,
        power: bool = False,
        traces: bool = False,
    ) -> None:
        """The process is gone since `at_ns`, a time of the loop, None is now; what the next one will find.

        For `Store.OLD`, that is what there was `backup_ns` before. With `power` the computer starts anew. With
        `traces` an old or lost store shows that it is: the tip stays, or the file is another one.
        """
        died_ns = self._loop.now_ns if at_ns is None else at_ns
        written = self._written(died_ns)
        durable = max((count for ns, count in self._syncs if ns <= died_ns), default=0)
        tips = [tip for tip in self._tips if tip.written_ns <= died_ns]
        self._tips, self._at_ns = tips, died_ns
        if power or store is not Store.KEPT:
            self._boot += 1
        if store is Store.KEPT:
            self._cut(written)
            return
        if store is Store.LOST:
            self._lose(tips if traces else [])
            return
        if store is Store.OLD:
            self._put_back(died_ns - backup_ns, traces)
        else:
            self._power_failed(durable, written, store is Store.TORN)
        self._syncs = [(died_ns, len(self._commits))]
        self._tips = [_TipWrite(died_ns, tip.data, True) for tip in self._tips[-1:]]

    # -- private ----------------------------------------------------------------------------------------

    def _pass(self, ns: int, what: str) -> int:
        self._at_ns = max(self._at_ns, self._loop.now_ns) + ns
        if self.moments is not None:
            self.moments.append(WrittenAt(self._at_ns, what))
        return self._at_ns

    def _written(self, ns: int) -> int:
        """How many commits were written by a time."""
        return bisect.bisect_right(self._commits, ns, key=lambda commit: commit.written_ns)

    def _power_failed(self, durable: int, written: int, torn: bool) -> None:
        """What was not synced is gone; when it is torn, not all of it. Pages reach the disk in any order."""
        kept = self._rng.randint(durable, written) if torn else durable
        self.torn += torn and kept < written
        self.unsynced_lost += written - kept
        self._cut(kept)
        synced = max((at for at, tip in enumerate(self._tips) if tip.is_synced), default=-1)
        if self._tips:
            last = self._rng.choice((max(0, synced), self._rng.randrange(max(0, synced), len(self._tips)),
                                     len(self._tips) - 1))  # fmt: skip
            del self._tips[last + 1 :]

    def _put_back(self, ns: int, traces: bool) -> None:
        """A backup from a time takes the place of the file."""
        kept = self._written(ns)
        if not kept:
            self._lose(self._tips if traces else [])
            return
        self._cut(kept)
        if traces and self._rng.random() < 0.5:  # the file alone is written over, and the tip stays
            return
        if traces:  # both are copies
            self._new_inode()
        self._tips = [tip for tip in self._tips if tip.written_ns <= ns]

    def _lose(self, tips: Sequence[_TipWrite]) -> None:
        self._cut(0)
        self._inode = 0
        self._tips = list(tips)

    def _cut(self, commits: int) -> None:
        """Leave the first commits."""
        del self._commits[commits:]
        now = self.now
        for row in self.events[now.end_event - 1 :]:
            self._ids.pop((row.round, row.digest), None)
        del self.events[now.end_event - 1 :]
        del self.places[now.end_index :]
        self._syncs = [(ns, min(count, commits)) for ns, count in self._syncs]

    def _new_inode(self) -> None:
        self._inodes += 1
        self._inode = self._inodes


class SimulatedFile:
    """The `StoreFile` of one process on a simulated disk."""

    def __init__(self, disk: Disk, name: str) -> None:
        self._disk = disk
        self._name = name

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return self._name

    def open(self) -> bool:
        """Make it if need be; whether it was there. No other process of the same computer could have it."""
        return self._disk.open()

    def commit(self, batch: Batch, sync: bool) -> None:
        """Write all of a batch."""
        self._disk.commit(batch, sync)

    def meta(self) -> list[MetaRow]:
        """All rows about the file itself."""
        return list(self._disk.now.meta.values())

    def events(self, first: int, end: int) -> list[EventRow]:
        """Events by id."""
        return self._disk.events[max(first, self._disk.now.first_event) - 1 : max(1, end) - 1]

    def event(self, round: int, digest: bytes) -> EventRow | None:
        """An event by its round and its own id."""
        return self._disk.event(round, digest)

    def events_from(self, round: int) -> Iterator[EventRow]:
        """Events by round."""
        rows = self._disk.events[self._disk.now.first_event - 1 :]
        yield from sorted((row for row in rows if row.round >= round), key=lambda row: (row.round, row.digest))

    def delivered(self, first: int, end: int) -> list[DeliveredRow]:
        """Delivered events by index."""
        return self._disk.places[max(first, self._disk.now.first_index) : max(0, end)]

    def size(self) -> int:
        """Bytes of its rows, about."""
        return self._disk.now.size

    def inode(self) -> int:
        """The file's number."""
        return self._disk.inode()

    def boot(self) -> bytes:
        """Which start of the computer it is."""
        return self._disk.boot()

    def read_tip(self) -> bytes | None:
        """The bytes of the tip."""
        return self._disk.read_tip()

    def write_tip(self, tip: bytes, sync: bool) -> None:
        """Write the tip."""
        self._disk.write_tip(tip, sync)

    def close(self) -> None:
        """Nothing to let go of: only one process at a time runs on a simulated computer."""


class SimulatedWorker:
    """What waits for a simulated disk: one thing after the other, each for as long as the disk takes.

    The disk is told at once what is done to it, and notes when that will be done; so a crash in between finds what
    there was at its time.
    """

    def __init__(self, disk: Disk, process: Process) -> None:
        self._disk = disk
        self._loop = disk._loop
        self._process = process
        self._waiting: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._busy = False

    async def run(self, work: Callable[[], Result]) -> Result:
        """Do it after all that came before, and wait as long as that takes."""
        done: asyncio.Future[Result] = self._loop.create_future()
        self._waiting.append((work, done))
        if not self._busy:
            self._next()
        return await done

    def close(self) -> None:
        """Nothing to let go of."""

    def _next(self) -> None:
        """Do what waits, until something takes time."""
        self._busy = False
        while self._waiting and not self._busy and self._process.alive:
            work, done = self._waiting.popleft()
            result: Any = None
            error: BaseException | None = None
            try:
                result = work()
            except Exception as raised:
                error = raised
            takes_ns = self._disk.done_ns - self._loop.now_ns
            if takes_ns <= 0:
                _end(done, result, error)
                continue
            self._busy = True
            self._loop.call_at_ns(self._disk.done_ns, self._timed, done, result, error)

    def _timed(self, done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        _end(done, result, error)
        self._next()


def _end(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.done():  # whoever waited was cancelled
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
