"""What the applications of a simulation propose, and how they vote on what others propose."""

from __future__ import annotations

import functools
import random

from ..core.crypto import blake3
from ..core.input import Certify
from ..core.values import SyncPointKind
from ..engine import Engine
from ..errors import ArgumentError, EngineStopped, ProposalRejected
from ..message import Message, SyncPoint
from ..proposal import Proposal
from .checkers import Checkers
from .cluster import Cluster, Node
from .history import Asked, History
from .scenario import Scenario

__all__ = ["Deciding"]

MS = 1_000_000
KINDS = (SyncPointKind.SESSION, SyncPointKind.SNAPSHOT, SyncPointKind.EPOCH, SyncPointKind.CUSTOM)
LATE_SHARE = 0.7  # of the run, after which the end is proposed


class Deciding:
    """Proposes by the agenda of a scenario; the first word of what is attached says how the others vote."""

    def __init__(self, cluster: Cluster, history: History, checkers: Checkers, scenario: Scenario) -> None:
        self.cluster = cluster
        self.history = history
        self.checkers = checkers
        self.scenario = scenario
        self.most_open = 0  # proposals in flight at once, as far as any machine said
        self._rng = random.Random(f"deciding/{scenario.seed}")
        cluster.approve = self._approve

    def start(self, honest: list[int]) -> None:
        """Plan it all."""
        agenda, rng, duration = self.scenario.agenda, self._rng, self.scenario.duration_ns
        for first in range(0, agenda.proposals, agenda.burst):
            at = rng.randrange(duration)
            for number in range(first, min(first + agenda.burst, agenda.proposals)):
                how = rng.random()
                word = "refuse" if how < agenda.refused else "open" if how < agenda.refused + agenda.open else "approve"
                timeout = rng.choice((20, 60)) * MS if rng.random() < agenda.hasty else 3_000 * MS
                metadata = b"%s %d" % (word.encode(), number)
                self._plan(at, rng.choice(honest), rng.choice(KINDS), metadata, timeout)
        if agenda.ends:
            at = rng.randrange(int(duration * LATE_SHARE), duration)
            self._plan(at, rng.choice(honest), SyncPointKind.END, b"approve the end", 3_000 * MS)

    def received(self, node: Node, message: Message) -> None:
        """Attest a state at each sync point, and ask for certificates of some."""
        if not isinstance(message, SyncPoint) or node.engine is None:
            return
        status = node.engine.status()
        self.most_open = max(self.most_open, status.consensus.proposals)
        lot = message.order_hash[0]
        if lot < 128:
            message.attest(blake3(b"state" + message.order_hash))
        if (lot + node.number) % 4 == 0:
            node.engine._driver.post(Certify(message.index))

    # -- private --------------------------------------------------------------------------------------

    def _plan(self, at: int, peer: int, kind: SyncPointKind, metadata: bytes, timeout: int) -> None:
        self.cluster.at(at, functools.partial(self._ask, peer, kind, metadata, timeout))

    def _ask(self, peer: int, kind: SyncPointKind, metadata: bytes, timeout: int) -> None:
        node = self.cluster.nodes[peer]
        if not node.up or node.engine is None or node.host.process.stopped:
            return  # there is no application that could ask
        now = self.cluster.now_ns
        asked = Asked(peer, node.host.starts, kind, metadata, now, node.host.hardware_clock.wall() + timeout)
        self.history.asks(asked)
        self.cluster.spawn(peer, functools.partial(self._propose, node.engine, asked, kind, timeout))

    async def _propose(self, engine: Engine, asked: Asked, kind: SyncPointKind, timeout: int) -> None:
        try:
            point = await engine.propose(kind, asked.metadata, timeout / 1e9)
        except (ProposalRejected, EngineStopped) as error:
            self.history.answered(asked, error)
        else:
            self.history.answered(asked, point)

    def _approve(self, node: Node, proposal: Proposal) -> bool | None:
        """The policy of all peers."""
        word = proposal.metadata.partition(b" ")[0]
        if word == b"approve":
            return True
        if word == b"refuse":
            return False
        lot = blake3(proposal.id + bytes((node.number % 256,)))[0]
        if lot < 160:
            return lot < 120
        if lot < 230 and node.engine is not None:
            at = self.cluster.now_ns + lot * MS // 10
            self.cluster.at(at, functools.partial(self._late, node, node.engine, proposal.id, approve=lot % 3 > 0))
        return None

    def _late(self, node: Node, engine: Engine, id: bytes, *, approve: bool) -> None:
        if node.up and node.engine is engine and not node.host.process.stopped:
            self.cluster.spawn(node.number, functools.partial(self._vote, engine, id, approve))

    @staticmethod
    async def _vote(engine: Engine, id: bytes, approve: bool) -> None:
        try:
            engine.vote(id, approve)
        except (ArgumentError, EngineStopped):  # it is decided already
            return
