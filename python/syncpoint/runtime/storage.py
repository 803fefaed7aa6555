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

    A peer that loses its process loses its journal: it is not let back in with the same key, because it
    could sign two events for one slot (R5).
    """

    def load(self) -> Sequence[bytes]:
        """No records: this process has just begun."""
        return ()

    def append(self, records: Sequence[bytes], durable: Callable[[], None]) -> None:
        """As durable as it will ever be, at once."""
        durable()

    def close(self) -> None:
        """Nothing to let go of."""
