"""Where a peer keeps what must survive it: the interface, and the one that forgets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..core.config import Network
from ..core.error import Reject
from ..core.journal import EpochStart
from ..core.values import Delivered, Event, SyncPoint
from ..core.wire import event_key
from ..errors import ArgumentError
from .rows import Identity

if TYPE_CHECKING:
    from typing_extensions import TypeIs

__all__ = ["Agreed", "Loaded", "MemoryStorage", "Storage", "StorageSettings", "StorageUser", "is_event"]

Agreed = Delivered | SyncPoint
"""What has a place in the agreed order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """What an engine tells its store of itself."""

    identity: Identity
    """Whose store it is."""

    decode: Callable[[bytes], Event | Reject]
    """What makes an event of an EVENT frame of whatever epoch it says; it is called in another thread."""

    locate: Callable[[bytes], tuple[bytes, int, bytes] | None] = event_key
    """What finds epoch id, round and digest of the event in an EVENT frame; it is called in another thread."""

    keep_rounds: Callable[[Network, int], int]
    """Rounds below the last closed one that a machine takes up at its start, and that always stay (F4).

    They follow from an epoch's settings and from how many make events in it.
    """

    durability: str = "full"
    """One of `DURABILITIES`."""

    retain_rounds: int | None = None
    """Rounds below the last closed one that are kept for the application; None keeps everything."""

    retain_bytes: int | None = None
    """The store is kept at about so many bytes; None sets no limit."""

    joining: bool = False
    """Whether own events may be missing, whatever the store says (R2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a store has when its peer starts."""

    records: Sequence[bytes] = ()
    """For `Start.records`."""

    whole: bool = True
    """For `Start.whole`."""

    first: int = 0
    """The lowest index of the agreed stream that can be read."""

    end: int = 0
    """The lowest index that is not stored yet."""

    epochs: Sequence[EpochStart] = ()
    """How all epochs after the first began, in their order (S4)."""


class StorageUser(Protocol):
    """Whoever is told of what happens to a store, in the event loop's thread."""

    def storage_failed(self, error: BaseException) -> None:
        """It contradicts itself, and takes nothing more."""
        ...

    def storage_full(self, full: bool) -> None:
        """So much is not written that nothing more should come; or there is room again."""
        ...


class Storage(Protocol):
    """The store of one peer; called from the event loop's thread only.

    What is given to it is written in that order: when something is durable, all that came before it is as well.
    """

    async def load(self, user: StorageUser) -> Loaded:
        """Open it and read what a start needs; called once, before anything else.

        Raises StorageError when it cannot be opened, CorruptError when it contradicts itself.
        """
        ...

    def write(self, records: Sequence[bytes]) -> None:
        """Take records of accepted events, of any epoch that began; nothing waits for them (J2)."""
        ...

    def persist(self, records: Sequence[bytes], durable: Callable[[], None]) -> None:
        """Take records, and call `durable` in the event loop as soon as they are as durable as was promised (J1).

        These are own events, and the beginnings of epochs (S4).
        """
        ...

    def deliver(self, messages: Sequence[Agreed], states: Sequence[tuple[int, bytes]]) -> None:
        """Take places in the order, sync points as they are, and the state of proposals and votes (J2, R1).

        `states` has rounds, ascending, each with the state behind its closing, where that changed; they become durable
        with the messages. All are of one epoch: that of the messages, without any the one that began last.
        CorruptError when something is at another place, or another one, than before.
        """
        ...

    def above(self, epoch: int, frontier: Sequence[int], first: int, most: int) -> AsyncIterator[list[bytes]]:
        """EVENT frames of an epoch, from its round `first` on and above a frontier, in ascending rounds, in pages (F3).

        `epoch` is its number, `frontier` has a round for each of its creators.
        As many as `most` bytes take, the first one whatever its size; none from a gap in the rounds on.
        """
        ...

    async def read(self, first: int, end: int) -> list[Agreed]:
        """Events and sync points from index `first` on: at least one, and as many below `end` as make a page (J2).

        Raises CorruptError where they are damaged, and ArgumentError where they are not kept, or not any more.
        """
        ...

    async def written(self) -> None:
        """Wait until all that was given before is written and can be read; at once where nothing will be any more."""
        ...

    async def forget(self, until: int) -> None:
        """Delete what nobody needs who has the stream up to this index; ArgumentError beyond what was delivered."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written at the moment, None when all is well."""
        ...

    async def close(self) -> None:
        """Write what can be written, and let go of it."""
        ...


class MemoryStorage:
    """Promises nothing beyond the life of the process, so it need not keep anything.

    A peer that loses its process loses its journal, and could then sign a second event for a slot. As soon as
    another peer shows it an event of its own, it asks the others how far it was (R2); but what none of those who
    answer has seen, nobody can show it, unless it is told that it joins a running session.
    """

    trouble: str | None = None

    def __init__(self, settings: StorageSettings) -> None:
        self._joining = settings.joining

    async def load(self, user: StorageUser) -> Loaded:
        """No records: this process has just begun."""
        return Loaded(whole=not self._joining)

    def write(self, records: Sequence[bytes]) -> None:
        """Nothing is kept."""

    def persist(self, records: Sequence[bytes], durable: Callable[[], None]) -> None:
        """As durable as it will ever be, at once."""
        durable()

    def deliver(self, messages: Sequence[Agreed], states: Sequence[tuple[int, bytes]]) -> None:
        """Nothing is kept."""

    async def above(self, epoch: int, frontier: Sequence[int], first: int, most: int) -> AsyncIterator[list[bytes]]:
        """What a machine has dropped is gone."""
        return
        yield

    async def read(self, first: int, end: int) -> list[Agreed]:
        """There is nothing to read."""
        raise ArgumentError(f"the stream from index {first} on is not kept: give Context(storage=...) a folder")

    async def written(self) -> None:
        """There is nothing to wait for."""

    async def forget(self, until: int) -> None:
        """There is nothing to forget."""

    async def close(self) -> None:
        """Nothing to let go of."""


def is_event(done: Agreed) -> TypeIs[Delivered]:
    """Whether a core delivered an event, and not a sync point; the native core has classes of its own."""
    return hasattr(done, "event")
