"""What happens in `syncpoint demo`: peers share out the lines of a text, and all receive them in one order."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .cluster import Cluster, WorkerPeer
from .demo_sessions import Sessions

__all__ = ["DemoRun", "Kill", "Settings"]

HEAD_START_NS = 200_000_000  # from giving out the lines to sending the first one
EARLIEST_KILL, LATEST_KILL = 0.25, 0.75  # of the lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What was asked for."""

    text: Sequence[str]
    title: str
    peers: int
    rule: str
    order: str
    rate: float  # lines per second of all peers, 0 for as fast as possible
    kill: bool
    seed: int
    patience_s: float
    core: str
    sync_points: bool = False


@dataclass(slots=True)
class Kill:
    """The peer that is killed, when, and what became of its lines."""

    peer: int
    after_lines: int  # once so many are final everywhere
    at_lines: int | None = None  # as it happened
    at_s: float | None = None
    taken_over: int | None = None


class DemoRun:
    """One run, from the first line sent to the last one received."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self.settings = settings
        self.cluster = cluster
        self.state = "starting"
        self.begin_ns = 0  # monotonic, when the first line is sent
        self.end_ns = 0  # when the last peer received the last one
        self.kill: Kill | None = None
        self.sessions = Sessions(cluster) if settings.sync_points else None
        self._plan: list[tuple[int, int, str]] = []  # line, when, text
        if settings.kill:
            dice = random.Random(settings.seed)  # noqa: S311 - to be replayed, not to be secret
            fraction = dice.uniform(EARLIEST_KILL, LATEST_KILL)
            self.kill = Kill(dice.randrange(settings.peers), max(1, int(len(settings.text) * fraction)))

    @property
    def everywhere(self) -> int:
        """How many lines are final at every living peer."""
        return min((peer.lines for peer in self.cluster.alive), default=0)

    @property
    def elapsed_s(self) -> float:
        """Since the first line was sent."""
        if not self.begin_ns:
            return 0.0
        return max(0, (self.end_ns or time.monotonic_ns()) - self.begin_ns) / 1e9

    @property
    def dead(self) -> list[int]:
        """The numbers of the peers that were killed."""
        return [peer.number for peer in self.cluster.peers if peer.killed]

    async def play(self) -> None:
        """Do it all. Raises ClusterFailed and ClusterStalled."""
        try:
            await self._play()
        finally:
            if self.sessions is not None:
                self.sessions.cancel()

    async def _play(self) -> None:
        cluster, settings = self.cluster, self.settings
        self.state = "linking up"
        await cluster.start(report_s=0.05, grid=True)
        self.begin_ns = time.monotonic_ns() + HEAD_START_NS
        step_ns = 1e9 / settings.rate if settings.rate else 0.0
        self._plan = [
            (number, self.begin_ns + int(number * step_ns), line) for number, line in enumerate(settings.text)
        ]
        self.state = "running"
        for peer in cluster.peers:
            cluster.send(peer, self._plan[peer.number :: settings.peers])
        if self.sessions is not None:
            self.sessions.begin()
        if self.kill is not None:
            await self._kill(self.kill)
        total = len(settings.text)
        await self._wait(lambda: all(peer.lines >= total for peer in cluster.alive), "lines are outstanding")
        self.end_ns = max(peer.deliveries[-1].at_ns for peer in cluster.alive)
        if self.sessions is not None:
            self.state = "the last sync point"
            await self.sessions.finish(self._wait)
        await cluster.stop()
        self.state = "done"

    async def _kill(self, kill: Kill) -> None:
        """Kill a peer, wait until its last words are in the order, and send what it can no longer send.

        Why no line can come twice: a killed peer sends nothing more, and what it had sent is with a survivor
        before that survivor's link to it is closed. A survivor sends its fence once the link is closed and no
        event it received still waits for its parents; so all the events of the dead peer that it will ever
        have other than through another survivor are accepted, and are ancestors of the fence's event (P6),
        unless they lie so far back that they are never delivered. An event seen through its descendant is
        delivered with it or before (O2, O4, O5). Whatever event of the dead peer is accepted anywhere was
        accepted first by a survivor that had it from the dead peer itself. So once the fences of all
        survivors are delivered, every line of the dead peer that ever will be in the order is in it, and
        all others can be sent by somebody else.
        """
        cluster = self.cluster
        victim = cluster.peers[kill.peer]
        await self._wait(lambda: self.everywhere >= kill.after_lines, "lines are outstanding")
        kill.at_lines, kill.at_s = self.everywhere, round(self.elapsed_s, 3)
        self.state = f"peer {kill.peer} killed: waiting for its last words"
        await cluster.kill(victim)
        survivors = cluster.alive
        for peer in survivors:
            cluster.tell(peer, {"do": "fence", "dead": kill.peer})
        numbers = {peer.number for peer in survivors}
        await self._wait(
            lambda: all(peer.fences >= numbers for peer in survivors), "the survivors' fences are outstanding"
        )
        delivered = _lines_of(survivors[0])
        missing = [entry for entry in self._plan[kill.peer :: self.settings.peers] if entry[0] not in delivered]
        kill.taken_over = len(missing)
        for place, peer in enumerate(survivors):
            cluster.send(peer, missing[place :: len(survivors)])
        self.state = f"peer {kill.peer} killed: {len(missing)} of its lines taken over"

    async def _wait(self, holds: Callable[[], bool], what: str) -> None:
        await self.cluster.wait(holds, self.settings.patience_s, what)


def _lines_of(peer: WorkerPeer) -> set[int]:
    return {line for each in peer.deliveries for line in each.lines}
