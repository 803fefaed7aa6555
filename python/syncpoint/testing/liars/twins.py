"""One identity that runs more than once with honest code: by mistake, or so that each copy knows others."""

from __future__ import annotations

import random
from collections.abc import Callable

from ...core.committee import Committee
from ...core.config import MachineConfig
from ...core.crypto import Signer
from ...core.dag import Node
from ...core.error import Reject
from ...core.machine import Machine
from ...core.propose import Made, Proposer
from ...core.replica import Replica
from ...core.roster import Roster
from ...core.values import Event
from ...core.verify import exposed
from ...runtime import driver
from ..cluster import Cluster
from ..cluster import Node as Peer
from .base import Liar, LiarSpec

__all__ = ["Copies", "HotSpare", "Twin", "TwinMachine", "TwinProposer", "TwinReplica"]

MS = 1_000_000
STUCK_ROUNDS = 4  # above our newest event, before we do not wait any longer
TURN_NS = (100 * MS, 800 * MS)  # so long a copy knows the same peers
MAX_SIGNED = 4_096  # rounds of which it is noted what was signed; the oldest is forgotten


class TwinProposer(Proposer):
    """Builds on what this copy made, and says nothing of the others."""

    def accuse(self, creator: int, first: Event, second: Event) -> None:
        """Not of ourselves."""
        if creator != self.own:
            super().accuse(creator, first, second)

    def _strong(self, round: int, left_out: int) -> list[Node] | None:
        """With our own newest event, without those that stand in its way (V8); None where that is too few."""
        tip, q = self.tip, self.committee.q
        if round == 0 or tip is None:
            return []
        chosen = [tip]
        for creator, variants in enumerate(self._dag.row(round).variants):
            if creator != self.own and variants and not left_out >> creator & 1:
                chosen.append(min(variants, key=lambda node: node.index))
        ours = {node.digest for node in tip.parents if node.creator == self.own}
        if exposed(chosen, self._dag) >> self.own & 1:
            chosen = [node for node in chosen if node is tip or not _votes_else(node, self.own, ours)]
        while liars := exposed(chosen, self._dag):
            kept = [node for node in chosen if not liars >> node.creator & 1]
            if len(kept) == len(chosen):
                break
            chosen = kept
        return chosen if tip in chosen and len(chosen) >= q else None


class TwinReplica(Replica):
    """A replica that is not disturbed by events with its own signature that it did not make (contrary to R5)."""

    def __init__(
        self,
        config: MachineConfig,
        roster: Roster,
        committee: Committee,
        network_id: bytes,
        number: int,
        signer: Signer,
        signed: Callable[[Event], None],
    ) -> None:
        super().__init__(config, roster, committee, network_id, number, signer)
        self.proposer = TwinProposer(
            self.network,
            committee,
            config.local,
            self.own,
            signer,
            config.entropy,
            number,
            self.dag,
            self.decider,
            self.orderer,
            self.timer,
        )
        self._signed = signed
        self._ours: dict[bytes, None] = {}
        self._meeting = False

    def _may_propose(self) -> bool:
        self.recovery.believe()  # what others know of us need not be ours
        return super()._may_propose()

    def _event_frame(self, peer: int, frame: bytes) -> Reject | None:
        self._meeting = True
        try:
            return super()._event_frame(peer, frame)
        finally:
            self._meeting = False

    def halt(self, reason: str | None) -> None:
        """Not for what the other copies did."""
        if not self._meeting and not self.proposer.is_copied:
            super().halt(reason)

    def propose(self) -> Made | None:
        """Go on from what another copy made, as with a copy of its journal, where our own way is at an end (V8)."""
        tip = self.proposer.tip
        if tip is not None and not self.is_waiting and self.dag.top > tip.round + STUCK_ROUNDS:
            newest = self.dag.row(self.dag.frontier[self.own]).variants[self.own]
            if newest and newest[0].round > tip.round:
                self.proposer.tip = newest[0]
        return super().propose()

    def _take(self, event: Event, sender: int) -> Reject | None:
        if sender == self.own:  # it is from our journal
            self._ours[event.digest] = None
            self._signed(event)
        return super()._take(event, sender)

    def _one_variant(self, event: Event, sender: int | None) -> Reject | None:
        reject = super()._one_variant(event, sender)
        return None if event.digest in self._ours else reject

    def _accept(self, event: Event) -> Reject | None:
        tip = self.proposer.tip
        reject = super()._accept(event)
        if event.creator == self.own and event.digest not in self._ours:
            self.proposer.tip = tip
        return reject

    def _forget(self) -> None:
        super()._forget()
        while len(self._ours) > self.retention.rounds:
            del self._ours[next(iter(self._ours))]


class TwinMachine(Machine):
    """A machine of such replicas."""

    def __init__(self, config: MachineConfig, signed: Callable[[Event], None]) -> None:
        self._signed = signed
        super().__init__(config)

    def make_replica(self, roster: Roster, committee: Committee, number: int) -> Replica:
        """One that its copies do not disturb."""
        signer = self._signer_in(roster)
        return TwinReplica(self.config, roster, committee, self._network_id, number, signer, self._signed)


class Copies(Liar):
    """One identity that runs more than once, at one address."""

    def __init__(self, cluster: Cluster, spec: LiarSpec, rng: random.Random) -> None:
        super().__init__(cluster, spec, rng)
        self.copies: list[Peer] = []

    def start(self) -> None:
        """Start the first copy, and the others with it or when it is time to lie."""
        cluster, spec = self.cluster, self.spec
        self.copies = [cluster.nodes[self.creator]]
        self.copies += [cluster.add_twin(self.creator) for _ in range(spec.copies - 1)]
        for copy in self.copies:
            self.prepare(copy)
        cluster.start(self.creator)
        if spec.begin_ns > cluster.now_ns:
            cluster.at(spec.begin_ns, self._start_others)
        else:
            self._start_others()
        if spec.until_ns is not None:
            cluster.at(spec.until_ns, self._end)

    def prepare(self, copy: Peer) -> None:
        """Change what is to be changed about a copy before it starts."""

    def _start_others(self) -> None:
        if self.over:
            return
        self.count("lies")
        self.count("copies", len(self.copies))
        for copy in self.copies[1:]:
            self.cluster.start(copy.number)

    def _end(self) -> None:
        """Silence, and links that stay up."""
        for copy in self.copies:
            if copy.up:
                self.cluster.crash(copy.number, silent=True)


class HotSpare(Copies):
    """The engine as it is, started a second time with the same key: who sees that stops making events (R5)."""

    kind = "hot_spare"


class Twin(Copies):
    """Copies that all act as if they were the only one, each linked with a part of the peers that changes."""

    kind = "twin"

    def __init__(self, cluster: Cluster, spec: LiarSpec, rng: random.Random) -> None:
        super().__init__(cluster, spec, rng)
        self._signed: dict[int, bytes] = {}  # round -> what was signed first for it
        self._apart = False

    def start(self) -> None:
        """Start, and change who knows whom from time to time."""
        super().start()
        self._turn()

    def prepare(self, copy: Peer) -> None:
        """Let it run code that is honest in all but one thing."""
        copy.host.make = self._machine

    def _machine(self, config: MachineConfig) -> driver.Machine:
        return TwinMachine(config, self._note)

    def _note(self, event: Event) -> None:
        """A copy signs."""
        if self._signed.setdefault(event.round, event.digest) != event.digest:
            self.count("forks")
        if len(self._signed) > MAX_SIGNED:
            del self._signed[next(iter(self._signed))]

    def _turn(self) -> None:
        """Cut each copy off from some peers, and join it with others."""
        if self.over:
            return
        cluster, rng = self.cluster, self.rng
        others = [node.number for node in cluster.nodes if node.creator != self.creator]
        if self._apart:
            for copy in self.copies:
                cluster.join((copy.number,), others, by=self)
        self._apart = self.lies()
        if self._apart:
            self.count("turns")
            how = rng.choice(("drop", "hold", "hold", "reset"))
            side = rng.random() < 0.5
            for at, copy in enumerate(self.copies):
                for other in others:
                    near = self._side(other) == at % 2 if side else rng.random() < 0.7
                    if not near:
                        cluster.cut(copy.number, other, how, by=self)
                        cluster.cut(other, copy.number, how, by=self)
        cluster.loop.call_at_ns(cluster.loop.now_ns + rng.randint(*TURN_NS), self._turn)

    def _side(self, number: int) -> int:
        """In which of two halves a host is: copies of other liars are divided among both."""
        nodes = self.cluster.nodes
        alike = [node.number for node in nodes if node.creator == nodes[number].creator]
        return alike.index(number) % 2 if len(alike) > 1 else int(2 * number >= self.cluster.n)


def _votes_else(node: Node, own: int, ours: set[bytes]) -> bool:
    """Whether it has another variant of us as a strong parent than our own event builds on."""
    return any(parent.creator == own and parent.digest not in ours for parent in node.strong_parents())
