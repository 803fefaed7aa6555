"""The sync points of `syncpoint demo`: peers propose sessions in turn, and all change at the same index."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rich.text import Text

from .cluster import Cluster, WorkerPeer
from .points import is_same_session

__all__ = ["Sessions"]

PROPOSE_S = 1.0  # from one proposal to the next


class Sessions:
    """Has peers propose in turn, and knows when all of it is decided."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._proposing: asyncio.Task[None] | None = None
        self.proposed = 0
        self.last = -1  # the number of the last proposal, once it is made

    def begin(self) -> None:
        """Propose from now on."""
        self._proposing = asyncio.create_task(self._propose_in_turn())

    def cancel(self) -> None:
        """Propose nothing more."""
        if self._proposing is not None:
            self._proposing.cancel()

    async def finish(self, wait: Callable[[Callable[[], bool], str], Awaitable[None]]) -> None:
        """Wait until all is decided, then have one last sync point, which is where the peers are compared.

        What a living peer has proposed is decided before the last one is proposed, so all of it lies before that one
        on every peer. A proposal of a killed peer may be decided later; then it lies behind.
        """
        self.cancel()
        alive = self._cluster.alive
        await wait(lambda: all(each.proposals_decided == each.proposals_made for each in alive), "proposals are open")
        self.last = self.proposed
        self._propose(alive[0])
        await wait(
            lambda: all(any(point.proposal == self.last for point in each.points) for each in alive),
            "the last sync point is outstanding",
        )

    def line(self) -> str:
        """The newest session for a log."""
        alive = self._cluster.alive
        points = [peer.points[-1] for peer in alive if peer.points]
        if not points:
            return "first session"
        newest = max(points, key=lambda point: point.epoch_index)
        return f"session {newest.session_id[:8]} at index {newest.index} on {points.count(newest)} of {len(alive)}"

    def picture(self) -> list[Text]:
        """A line per peer; they light up when all are in the same session, begun at the same index."""
        same = is_same_session([peer.points for peer in self._cluster.alive])
        lines = []
        for peer in self._cluster.peers:
            style = "dim" if peer.killed else "bold green" if same else "yellow"
            text = Text(f"{peer.number:>4} ", style)
            if peer.points:
                newest = peer.points[-1]
                text.append(
                    f"session {newest.session_id[:8]}  from index {newest.index}, sync point {newest.epoch_index}"
                )
            else:
                text.append("first session")
            lines.append(text)
        state = "the same session from the same index on all peers" if same else "a session begins"
        return [*lines, Text(f"     {state}", "dim")]

    async def _propose_in_turn(self) -> None:
        while True:
            await asyncio.sleep(PROPOSE_S)
            alive = self._cluster.alive
            self._propose(alive[self.proposed % len(alive)])

    def _propose(self, peer: WorkerPeer) -> None:
        peer.proposals_made += 1
        self._cluster.tell(peer, {"do": "propose", "number": self.proposed})
        self.proposed += 1
