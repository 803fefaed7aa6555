"""The durable store of one peer: what is written when, what is read again, and what is done in trouble with the disk.

It is the same in both worlds (L3). What differs is the file, and who waits for it: `sqlite` and `worker` here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from ..core.journal import RecordType, height
from ..errors import ArgumentError, CorruptError, StorageError
from .batches import Batches, Given
from .meta import read_meta
from .old import OldEvents
from .page import read_page, row_of
from .proposals import Proposals
from .reload import MOVE_AWAY, Reload
from .rows import Batch, DeliveredRow, MetaRow, StoreFile
from .storage import Agreed, Loaded, StorageSettings, StorageUser, is_event
from .tip import BOOT_BYTES, DURABILITIES, Tip, doubt
from .whole import Wholeness
from .worker import Worker

__all__ = ["Store"]

log = logging.getLogger("syncpoint.store")

MAX_UNWRITTEN_BYTES = 64 * 1024 * 1024  # given, not written; beyond, the engine stands still until half is
MAX_COMMIT_BYTES = 8 * 1024 * 1024  # in one commit; the rest goes into the next
LINGER_S = 0.05  # before what nobody waits for is written; mostly a commit that somebody waits for comes before
MAX_LINGER_BYTES = 1024 * 1024  # of it; beyond, it is written now
ROW_BYTES = 200  # about what a row takes besides its record
FIRST_RETRY_S = 1.0  # after a commit that failed; then twice as long
MAX_RETRY_S = 30.0  # doubling ends here


@dataclass(slots=True)
class _Commit:
    """What goes into one commit; it may take several attempts."""

    given: list[Given]
    batch: Batch | None = None
    committed: bool = False  # what remains to be done is the tip
    whole: bool = True  # whether own events are all there once it is committed
    sync: bool = field(init=False)
    signed: bool = field(init=False)

    def __post_init__(self) -> None:
        self.signed = any(given.is_own for given in self.given)
        self.sync = False


class Store:
    """A `Storage` on a file.

    What somebody waits for is committed at once, with all that came before; the rest waits a while for that. Whatever
    comes while a commit runs goes into the next one. A commit is synced if an own event is in it and the durability is
    "full"; what others have made is durable with the next of these, or is fetched again.
    """

    def __init__(self, file: StoreFile, worker: Worker, settings: StorageSettings) -> None:
        self._file = file
        self._worker = worker
        self._settings = settings
        self._user: StorageUser | None = None
        self._batches = Batches(file, settings)  # the worker's
        self._proposals = Proposals()  # as of what was given last
        self._is_whole = True  # own events are all there, as the tip says (R2)
        self._epoch = 0  # the number of the one that began last, as of what was given last
        self._again: dict[int, DeliveredRow] = {}  # rows that the machine delivers once more after the start
        self._end = 0  # the next index that is new
        self._waiting: deque[Given] = deque()
        self._unwritten = 0  # bytes
        self._is_full = False
        self._writing: asyncio.Task[None] | None = None
        self._lingering: asyncio.TimerHandle | None = None  # until the next commit begins, where nobody waits for it
        self._hurries = False  # somebody waits for something that was given
        self._is_open = False
        self._closing = False
        self._failed = False
        self._trouble: str | None = None
        self._patience = asyncio.Event()  # set to try again at once

    # -- Storage ----------------------------------------------------------------------------------------

    async def load(self, user: StorageUser) -> Loaded:
        """Open the file and read what a start needs."""
        self._user = user
        loaded = await self._worker.run(self._load)
        self._end, self._epoch = loaded.end, len(loaded.epochs)
        return loaded

    def write(self, records: Sequence[bytes]) -> None:
        """Take records of accepted events."""
        self._give(Given(_bytes(records), records=records))

    def persist(self, records: Sequence[bytes], durable: Callable[[], None]) -> None:
        """Take records of our own, and say when they are durable (J1, S4)."""
        self._epoch += sum(record[0] == RecordType.EPOCH for record in records)
        if self._settings.durability == "memory":
            self._give(Given(_bytes(records), records=records, is_own=True))
            durable()
        else:
            self._give(Given(_bytes(records), records=records, is_own=True, durable=durable))

    def deliver(self, messages: Sequence[Agreed], states: Sequence[tuple[int, bytes]]) -> None:
        """Take places in the order and the state behind them; those of before the start must be the same again (J2)."""
        new = [done for done in messages if not self._was_delivered(done)]
        proposals = self._changed(states, messages) if states else None
        if new:
            self._end = new[-1].index + 1
        if new or proposals is not None:
            size = sum(2 * ROW_BYTES + len(done.metadata) for done in new if not is_event(done))
            size += ROW_BYTES * len(new) + (0 if proposals is None else len(proposals.value))
            self._give(Given(size, messages=new, proposals=proposals))

    async def above(self, epoch: int, frontier: Sequence[int], first: int, most: int) -> AsyncIterator[list[bytes]]:
        """Old events for a peer that is behind, in pages, as commits must not wait for all of them (F3)."""
        old = OldEvents(self._file, epoch, frontier, first, most)
        while not old.is_complete:
            yield await self._worker.run(old.read_page)

    async def read(self, first: int, end: int) -> list[Agreed]:
        """A page of the stream (J2)."""
        return await self._worker.run(
            lambda: read_page(self._file, self._settings, self._batches.state.first_index, first, end)
        )

    async def written(self) -> None:
        """Wait for a commit, if one is under way or due."""
        if self._writing is not None or self._waiting:
            await self._commit_now()

    async def forget(self, until: int) -> None:
        """Delete what is not needed any more, in steps between commits."""
        if until >= self._end:
            raise ArgumentError(f"forget(until={until}): delivered so far are the indices below {self._end}")
        if not await self._commit_now():  # up to there, too
            return
        await self._worker.run(lambda: self._batches.forgetter.forget(until, self._batches.state))
        while True:
            before = self._batches.state
            if not await self._commit_now():
                return
            after = self._batches.state
            if (after.first_event, after.first_index) == (before.first_event, before.first_index):
                return

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written at the moment."""
        return self._trouble

    async def close(self) -> None:
        """Write what can be written, sync it, and let go of the file."""
        self._closing = True
        self._patience.set()
        self._write()
        if self._writing is not None:
            await self._writing
        try:
            await self._worker.run(self._close)
        finally:
            self._worker.close()

    # -- giving, in the event loop ------------------------------------------------------------------------

    def _was_delivered(self, done: Agreed) -> bool:
        if done.index >= self._end:
            return False
        before = self._again.pop(done.index, None)
        if before is None or not before.says_the_same(row_of(done)):
            raise CorruptError(
                f"{self._file.name}: what stands at index {done.index} is another one than before the start: "
                f"the store is damaged; {MOVE_AWAY}"
            )
        return True

    def _changed(self, states: Sequence[tuple[int, bytes]], messages: Sequence[Agreed]) -> MetaRow | None:
        epoch = messages[-1].epoch if messages else self._epoch
        closed = height(epoch, messages[-1].closed_by) if messages else 0
        try:
            return self._proposals.take([(height(epoch, round), state) for round, state in states], closed)
        except CorruptError as error:
            raise CorruptError(f"{self._file.name}: {error}: the store is damaged; {MOVE_AWAY}") from None

    async def _commit_now(self) -> bool:
        """Wait until all that was given is committed; False when the store is closed, or has failed."""
        step = asyncio.Event()
        self._give(Given(0, durable=step.set))
        while not step.is_set():
            if self._writing is None:
                return False
            await asyncio.wait((self._writing,))
        return True

    def _give(self, given: Given) -> None:
        if self._failed or self._closing:
            return
        self._waiting.append(given)
        self._unwritten += given.size
        if not self._is_full and self._unwritten > MAX_UNWRITTEN_BYTES:
            self._is_full = True
            assert self._user is not None
            self._user.storage_full(True)
        self._hurries |= given.durable is not None or self._unwritten > MAX_LINGER_BYTES
        self._linger()

    def _linger(self) -> None:
        """Write what waits, now or before long."""
        if self._hurries:
            self._write()
        elif self._lingering is None and self._writing is None:
            self._lingering = asyncio.get_running_loop().call_later(LINGER_S, self._write)

    def _write(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if self._waiting and not self._failed:
            self._hurries = True
            if self._writing is None:
                self._writing = asyncio.get_running_loop().create_task(self._write_all(), name="syncpoint store")

    async def _write_all(self) -> None:
        """Commit until nobody waits any more."""
        try:
            while self._hurries and not self._failed:
                commit = self._next()
                if not await self._commit(commit):
                    return
                self._unwritten -= sum(given.size for given in commit.given)
                for given in commit.given:
                    if given.durable is not None:
                        given.durable()
                if self._is_full and self._unwritten <= MAX_UNWRITTEN_BYTES // 2:
                    self._is_full = False
                    assert self._user is not None
                    self._user.storage_full(False)
        finally:
            self._writing = None
        if self._waiting and not (self._failed or self._closing):
            self._linger()

    def _next(self) -> _Commit:
        """As much of what waits as goes into one commit, in order."""
        given = [self._waiting.popleft()]
        size = given[0].size
        while self._waiting and size + self._waiting[0].size <= MAX_COMMIT_BYTES:
            given.append(self._waiting.popleft())
            size += given[-1].size
        self._hurries = bool(self._waiting)
        return _Commit(given)

    async def _commit(self, commit: _Commit) -> bool:
        """Try until it is committed; False when that can never be, or nobody waits any more."""
        pause = FIRST_RETRY_S
        while True:
            try:
                await self._worker.run(lambda: self._attempt(commit))
            except CorruptError as error:
                self._fail(error)
                return False
            except StorageError as error:
                if self._closing:
                    log.error("%s: not everything could be written: %s", self._file.name, _reason(error, self._file))
                    self._trouble = f"the store cannot be written: {_reason(error)}"  # its state is that of this commit
                    return False
                self._in_trouble(error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._patience.wait(), pause)
                pause = min(MAX_RETRY_S, 2 * pause)
            except Exception as error:  # a bug: nothing may go on as if it had been written
                self._fail(error)
                return False
            else:
                if self._trouble is not None:
                    log.warning("%s can be written again", self._file.name)
                    self._trouble = None
                return True

    def _in_trouble(self, error: StorageError) -> None:
        if self._trouble is None:
            waits = self._settings.durability != "memory"
            what = "this peer makes no events until it can" if waits else "it goes on, and loses it all if it dies"
            log.error("%s cannot be written: %s; %s", self._file.name, _reason(error, self._file), what)
        self._trouble = f"the store cannot be written: {_reason(error)}"

    def _fail(self, error: BaseException) -> None:
        self._failed = True
        self._waiting.clear()
        assert self._user is not None
        self._user.storage_failed(error)

    # -- in the worker ------------------------------------------------------------------------------------

    def _load(self) -> Loaded:
        file, settings, batches = self._file, self._settings, self._batches
        existed = file.open()
        meta = {row.name: row for row in file.meta()}
        is_new = not meta
        if not is_new:
            batches.state, self._proposals, starts = read_meta(file, meta, settings.identity)
            for start in starts:
                batches.epochs.add(start)
        reload = Reload(file, batches.state, self._proposals, settings, batches.epochs)
        batches.open, batches.top, batches.forgetter.closed = reload.open, reload.top, reload.closed
        why = doubt(file.read_tip(), existed, batches.state.sequence, file.inode(), file.boot()) or reload.doubt
        if why is None and settings.joining:
            why = "joining_running_session says so"
        if why is not None:
            log.warning("%s: own events may be missing: %s. The others are asked what they have of us", file.name, why)
        self._is_whole = why is None
        batches.wholeness = Wholeness(self._is_whole, reload.is_fenced)
        new = [*settings.identity.rows(), self._proposals.row()] if is_new else []
        # What a killed process wrote without syncing it: the tip must not say that it is there before it stays.
        file.commit(Batch(meta=[*new, batches.state.row()]), sync=True)
        # From here on a crash is one of this process, on this start of the computer.
        self._write_tip(clean=False, sync=True)
        self._again = reload.again
        self._is_open = True
        return Loaded(
            records=reload.records,
            whole=self._is_whole,
            first=batches.state.first_index,
            end=batches.state.end_index,
            epochs=tuple(batches.epochs.starts),
        )

    def _attempt(self, commit: _Commit) -> None:
        if commit.batch is None:
            commit.batch = self._batches.put_together(commit.given)
            commit.whole = self._batches.wholeness.is_whole
            commit.sync = commit.signed and self._settings.durability == "full"
        if not commit.committed:
            if self._is_whole and not commit.whole:  # no crash may leave the epoch that begins without that
                self._is_whole = False
                self._write_tip(clean=False, sync=True)
            self._file.commit(commit.batch, commit.sync)
            commit.committed = True
        if commit.signed:
            # Whoever knows where to go on has to know it after a crash as well (R2): else the peer would ask again,
            # and be one of the f faults once more.
            regained, self._is_whole = commit.whole and not self._is_whole, commit.whole
            self._write_tip(clean=False, sync=regained)

    def _close(self) -> None:
        if self._is_open and not self._failed and self._trouble is None:
            with contextlib.suppress(StorageError):  # it is in trouble: the next start will know
                self._file.commit(Batch(meta=[self._batches.state.row()]), sync=True)
                self._write_tip(clean=True, sync=True)
        self._file.close()

    def _write_tip(self, *, clean: bool, sync: bool) -> None:
        tip = Tip(
            durability=DURABILITIES.index(self._settings.durability),
            clean=clean,
            whole=self._is_whole,
            sequence=self._batches.state.sequence,
            inode=self._file.inode(),
            boot=self._file.boot().ljust(BOOT_BYTES, b"\0"),
        )
        self._file.write_tip(tip.encode(), sync)


def _bytes(records: Sequence[bytes]) -> int:
    return sum(map(len, records)) + ROW_BYTES * len(records)


def _reason(error: StorageError, named: StoreFile | None = None) -> str:
    """Why, without the file where that is named already."""
    reason = error.strerror or str(error)
    return reason if named is None else reason.removeprefix(f"{named.name}: ")
