"""How much of the past is kept, for ourselves and for peers that are behind (F4)."""

from __future__ import annotations

from .config import Local, Network

__all__ = ["RETAIN_GC_DEPTHS", "Retention"]

RETAIN_GC_DEPTHS = 3  # rounds retained whatever their events take, in gc_depths


class Retention:
    """Rounds and bytes of events that stay in memory, and what a start needs from a store (R1)."""

    def __init__(self, network: Network, local: Local, n: int) -> None:
        self._least = RETAIN_GC_DEPTHS * network.gc_depth  # rounds below the last closed one, whatever they take
        self.rounds = max(local.retain_events // n, self._least)
        self._bytes = local.retain_bytes
        self._gc_depth = network.gc_depth

    def floor(self, closed: int, held: int) -> int:
        """Up to which round to drop, with `held` bytes of events here; nothing when it is not above 0."""
        return closed - self._kept(held)

    def reach(self, held: int) -> int:
        """How far below the others' an event may be, so that they can take it: they retain about what we do."""
        return self._kept(held) - self._gc_depth

    def _kept(self, held: int) -> int:
        return self._least if held > self._bytes else self.rounds
