"""A simulated disk, which outlives processes and can lose what was not synced."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from enum import StrEnum

from ..runtime.storage import Loaded, MemoryStorage, StorageSettings, StorageUser
from .loop import VirtualLoop

__all__ = ["Disk", "SimulatedStorage", "Store"]


class Store(StrEnum):
    """What a process that starts again finds of its store."""

    KEPT = "kept"
    """All that was reported durable, and what else reached the disk."""

    UNSYNCED_LOST = "unsynced_lost"
    """All that was reported durable, and nothing else: the power failed."""

    TORN = "torn"
    """The same, and a part of the next record, which is no record."""

    OLD = "old"
    """A backup: what was durable some time before the process died."""

    LOST = "lost"
    """Nothing."""


class Disk:
    """The disk of one simulated computer: records, and how many of them are synced.

    Records are whole or not there, as in a store that checks them: of a torn one nothing is left.
    """

    def __init__(self, loop: VirtualLoop, sync_ns: int = 0) -> None:
        """`sync_ns` is how long it takes until a record is durable."""
        self.sync_ns = sync_ns
        self.records: list[bytes] = []
        self.synced = 0
        self.torn = 0  # records that were lost in the middle of being written
        self.unsynced_lost = 0
        self._loop = loop
        self._synced_at: list[int] = []  # ns: when each record became durable

    def became_durable(self, size: int) -> None:
        """So many of the records are durable now."""
        self.synced = max(self.synced, size)
        self._synced_at += [self._loop.now_ns] * (self.synced - len(self._synced_at))

    def crashed(self, store: Store, backup_at_ns: int | None = None) -> None:
        """The process is gone; what the next one will find.

        For `Store.OLD`, that is what was durable at `backup_at_ns`, a time of the loop; None is now.
        """
        if store is Store.UNSYNCED_LOST or store is Store.TORN:
            if store is Store.TORN and len(self.records) > self.synced:
                self.torn += 1
            self.unsynced_lost += len(self.records) - self.synced
            del self.records[self.synced :]
        elif store is Store.OLD:
            until = self._loop.now_ns if backup_at_ns is None else backup_at_ns
            del self.records[bisect.bisect_right(self._synced_at, until) :]
        elif store is Store.LOST:
            self.records = []
        self.synced = len(self.records)
        del self._synced_at[self.synced :]
        self.became_durable(self.synced)


class SimulatedStorage(MemoryStorage):
    """The store of one process on a simulated disk: it keeps our own events, and nothing else."""

    def __init__(self, disk: Disk, alive: Callable[[], bool], settings: StorageSettings) -> None:
        super().__init__(settings)
        self._disk = disk
        self._alive = alive

    async def load(self, user: StorageUser) -> Loaded:
        """All records, oldest first."""
        return Loaded(records=tuple(self._disk.records), whole=not self._joining)

    def persist(self, records: Sequence[bytes], durable: Callable[[], None]) -> None:
        """Write records, and say when they are synced."""
        disk = self._disk
        disk.records += map(bytes, records)
        size = len(disk.records)
        if disk.sync_ns == 0:
            disk.became_durable(size)
            durable()
            return

        def synced() -> None:
            if self._alive():
                disk.became_durable(size)
                durable()

        disk._loop.call_later(disk.sync_ns / 1e9, synced)
