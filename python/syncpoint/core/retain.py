"""How much of the past is kept, for ourselves and for peers that are behind (F4)."""

from __future__ import annotations

from .config import Local, Network

__all__ = ["HOPELESS", "RETAIN_GC_DEPTHS", "Retention"]

RETAIN_GC_DEPTHS = 2  # rounds retained whatever their events take, in gc_depths
HOPELESS = 4  # times what is retained: so far behind, or so much held, a peer gives up making events


class Retention:
    """Rounds and bytes of events that stay in memory, and what a start needs from a store (R1)."""

    def __init__(self, network: Network, local: Local, n: int) -> None:
        self.rounds = max(local.retain_events // n, RETAIN_GC_DEPTHS * network.gc_depth)
        self._least = RETAIN_GC_DEPTHS * network.gc_depth
        self._bytes = local.retain_bytes

    def floor(self, closed: int, held: int, own_round: int | None) -> int:
        """Up to which round to drop, with `held` bytes of events here; nothing when it is not above 0.

        `own_round` is the round that our next event builds on, None when we make no more.
        """
        floor = closed - (self._least if held > self._bytes else self.rounds)
        # Our own rounds have no gaps (P1): the next one builds on the last.
        return floor if own_round is None else min(floor, own_round - self._least)

    def hopeless(self, closed: int, held: int, own_round: int) -> str | None:
        """Why our next event can never be, if so: we are too far behind."""
        behind = closed - own_round
        if behind > HOPELESS * self.rounds or (held > HOPELESS * self._bytes and behind > self._least):
            return (
                f"our newest event is of round {own_round}, and round {closed} has closed: "
                "what the next one would have to build on is too long ago"
            )
        return None
