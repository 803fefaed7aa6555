"""Where a peer keeps what must survive it: the interface, and the one that forgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

__all__ = ["MemoryStorage", "Storage"]


class Storage(Protocol):
    """The journal of one peer; called from the event loop's thread only.

    Raises StorageError (or CorruptError) from any method when the store fails; the engine then stops.
    """

    def load(self) -> Sequence[bytes]:
        """All records, oldest first; called once, before the first append."""
        ...

    def append(self, records: Sequence[bytes], durable: Callable[[], None]) -> None:
        """Take records, and call `durable` in the event loop as soon as they survive a crash (J1)."""
        ...

    def close(self) -> None:
        """Let go of the store; what was appended and not reported durable may be lost."""
        ...


class MemoryStorage:
    """Promises nothing beyond the life of the process, so it need not keep anything.

    A peer that loses its process loses its journal, and could then sign a second event for a slot. It
    notices as soon as another peer shows it an event of its own, and makes no more (R5); but what nobody
    has seen before it starts again, nobody can show it. Give such a peer a new key.
    """

    def load(self) -> Sequence[bytes]:
        """No records: this process has just begun."""
        return ()

    def append(self, records: Sequence[bytes], durable: Callable[[], None]) -> None:
        """As durable as it will ever be, at once."""
        durable()

    def close(self) -> None:
        """Nothing to let go of."""
