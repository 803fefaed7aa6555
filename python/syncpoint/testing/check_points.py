"""Whether sync points, proposals and votes are the same everywhere, and whether somebody agreed to them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ..core.crypto import blake3
from ..core.epoch import Outcome
from ..core.input import Input, Propose, Vote
from ..core.items import proposal_id
from ..core.output import Certified, Closed, Deliver, Diverged, Opened, Output
from ..core.values import SyncPointKind
from ..errors import ProposalRejected
from ..message import SyncPoint
from ..runtime.storage import is_event
from .check_order import epoch_id_of
from .checker import Observed, Points
from .cluster import Node
from .history import Asked, Place, Stream

__all__ = ["SyncPoints"]


class SyncPoints(Points):
    """Whoever receives a sync point receives the same; what peers count of proposals and votes is the same (S1, S2).

    A sync point has a time right behind what comes before it, is asked for and approved by a quorum, and no honest
    peer is among those that approved without having said so (S2); beats are as far apart as they must be (S5). Nothing
    comes after the end (S4). The state of proposals and votes is compared behind the closing of each round that changed
    it. A certificate has good signatures of a quorum for the order as it is (C2), and nobody sees a contradiction (C4).
    Whoever proposed learns what came of it.
    """

    def __init__(self, observed: Observed) -> None:
        super().__init__(observed)
        cluster = observed.cluster
        self._epoch_id = epoch_id_of(cluster)
        self._states: dict[int, bytes] = {}  # round -> hash of the state behind it
        self._rounds: list[int] = []  # of these, ascending
        self._at: dict[int, tuple[int, int]] = {}  # host -> its start, and the newest round that it told a state of
        self._approved: dict[bytes, set[int]] = {}  # proposal -> honest creators that said so
        self._proposals: dict[int, bytes] = {}  # index of a sync point -> its proposal
        self._open: dict[int, dict[bytes, Opened]] = {}  # host -> proposals that it says are open
        self._outcomes: dict[bytes, Outcome] = {}  # as they were told first
        self._told: dict[
            int, tuple[int, set[bytes]]
        ] = {}  # host -> its start, and the proposals that it says are decided
        self._end: int | None = None  # index, as machines say
        self._last: SyncPoint | None = None
        self._beat_at = 0  # ns, of the newest EPOCH

    # -- what machines say ----------------------------------------------------------------------------

    def stepped(self, node: Node, inputs: Sequence[Input], outputs: Sequence[Output]) -> None:
        """Compare what a machine counts with what others did."""
        for input in inputs:
            if isinstance(input, Vote) and input.approves:
                self._approved.setdefault(input.proposal, set()).add(node.creator)
            elif isinstance(input, Propose):
                id = proposal_id(self._epoch_id, node.creator, input.body)
                self._approved.setdefault(id, set()).add(node.creator)
        for output in outputs:
            if isinstance(output, Deliver):
                self._delivered(node, output)
            elif isinstance(output, Opened):
                self._open.setdefault(node.number, {})[output.proposal] = output
            elif isinstance(output, Closed):
                self._closed(node, output.proposal, Outcome(output.outcome))
            elif isinstance(output, Certified):
                self._certified(node, output)
            elif isinstance(output, Diverged):
                raise self.violated(node.number, f"others contradict it: {output.divergence}")

    def _delivered(self, node: Node, output: Deliver) -> None:
        for done in output.messages:
            if not is_event(done):
                if done.kind == SyncPointKind.END:
                    self._end = done.index
                self.history.digests[done.index] = done.digest
                self._proposals[done.index] = done.proposal
        if self._end is not None and output.messages and output.messages[-1].index > self._end:
            raise self.violated(
                node.number, f"it delivers index {output.messages[-1].index}, but the session ended with {self._end}"
            )
        start, last = self._at.get(node.number, (0, 0))
        if start != node.host.starts:
            last = -1
            self._open.pop(node.number, None)
        for round, state in output.states:
            known = self._states.get(round)
            if known is None:
                if self._rounds and round < self._rounds[-1]:
                    raise self.violated(node.number, f"it counted something in round {round}, where others did not")
                self._states[round] = known = blake3(state)
                self._rounds.append(round)
            if known != blake3(state):
                raise self.violated(node.number, f"behind round {round} its proposals and votes are others: {state!r}")
            if last >= 0 and self._before(round) > last:
                raise self.violated(
                    node.number, f"it counted nothing in round {self._before(round)}, where others did, but in {round}"
                )
            last = round
        self._at[node.number] = node.host.starts, last

    def _before(self, round: int) -> int:
        """The round before, of those with a state; 0 if there is none."""
        if self._rounds[-1] == round:
            return self._rounds[-2] if len(self._rounds) > 1 else 0
        return max((each for each in reversed(self._rounds) if each < round), default=0)

    def _closed(self, node: Node, id: bytes, outcome: Outcome) -> None:
        self._open.get(node.number, {}).pop(id, None)
        start, told = self._told.get(node.number, (0, set()))
        if start != node.host.starts:
            self._told[node.number] = node.host.starts, (told := set())
        if id in told:
            raise self.violated(node.number, f"proposal {id.hex()} is {outcome.name}, and it was decided before")
        told.add(id)
        if id not in self._outcomes:
            self.counts[f"proposals {outcome.name.lower().replace('_', ' ')}"] += 1
        known = self._outcomes.setdefault(id, outcome)
        # A peer that starts again may say again what it asked for in vain, and now it may be open.
        if outcome is not known and known not in (Outcome.TOO_MANY, Outcome.INVALID):
            raise self.violated(node.number, f"proposal {id.hex()} is {outcome.name} here, and was {known.name} before")

    def _certified(self, node: Node, output: Certified) -> None:
        certificate, order = output.certificate, self.history.order
        if not certificate.signatures:
            self.counts["checkpoints unknown"] += 1
            return
        self.counts["certificates"] += 1
        if certificate.signers.bit_count() < self.observed.q:
            raise self.violated(node.number, f"a certificate of too few: {certificate}")
        if certificate.index < len(order) and order[certificate.index].order_hash != certificate.order_hash:
            raise self.violated(node.number, f"a certificate of another order: {certificate}")

    # -- what applications receive --------------------------------------------------------------------

    def pointed(self, stream: Stream, point: SyncPoint, place: Place) -> None:
        """The same as the first one saw there, in everything."""
        if point != place.point:
            raise self.violated(stream.node.number, f"at index {point.index} it has {point}, others have {place.point}")

    def ordered(self, place: Place) -> None:
        """Something that may stand there."""
        end = self.history.end
        if end is not None and place.index > end:
            raise self.violated(place.node, f"index {place.index} comes after the end of the session at {end}")
        point = place.point
        if point is None:
            return
        last, self._last = self._last, point
        if point.epoch_index != (0 if last is None else last.epoch_index) + 1:
            raise self.violated(place.node, f"{point} has not the number behind {last}")
        session = self._epoch_id if last is None else last.session_id
        if (point.session_id != session) != (point.kind == SyncPointKind.SESSION):
            raise self.violated(place.node, f"{point} has a wrong session: before it is {session.hex()}")
        self.counts["sync points"] += 1
        self.counts[f"sync points {point.kind.name}"] += 1
        if point.proposer is None:
            self._beat(place, point)
        else:
            self._agreed(place, point)
        if point.kind == SyncPointKind.EPOCH:
            self._beat_at = point.timestamp

    def _beat(self, place: Place, point: SyncPoint) -> None:
        self.counts["beats"] += 1
        epoch_ns = self.cluster.network.epoch_ms * 1_000_000
        if point.kind != SyncPointKind.EPOCH or point.approvals or not epoch_ns:
            raise self.violated(place.node, f"nobody asked for {point}")
        if point.timestamp < self._beat_at + epoch_ns:
            raise self.violated(place.node, f"{point} comes too soon: the last beat was at {self._beat_at}")

    def _agreed(self, place: Place, point: SyncPoint) -> None:
        keys = [secret.public() for secret in self.cluster.secrets]
        creators = {keys.index(key) for key in point.approvals}
        assert point.proposer is not None
        if len(creators) < self.observed.q or keys.index(point.proposer) not in creators:
            raise self.violated(place.node, f"{point} has too few approvals: {sorted(creators)}")
        id = self._proposals.get(place.index)
        approved = self._approved.get(id, set()) if id is not None else creators
        for creator in creators & self.observed.honest:
            if creator not in approved:
                raise self.violated(place.node, f"{point} has an approval of {creator}, which has given none")

    # -- the end --------------------------------------------------------------------------------------

    def pending(self, within_ns: int) -> list[str]:
        """What is still open at peers that run though its deadline is near, and who waits for what is decided."""
        waits: list[str] = []
        statuses = {node.number: (node, node.status()) for node in self.observed.members() if node.up}
        now = max((status.consensus_at for _, status in statuses.values() if status is not None), default=0)
        for number, (node, status) in statuses.items():
            if status is None or node.deaf or node.host.process.stopped or status.halted is not None:
                continue
            for id, opened in self._open.get(number, {}).items():
                if opened.deadline < now + within_ns and opened.proposer in self.observed.honest:
                    waits.append(f"proposal {id.hex()[:16]} of peer {opened.proposer} is open at peer {number}")
        for asked in self.history.asked.values():
            if asked.node not in statuses or asked.outcome is not None:
                continue
            node, status = statuses[asked.node]
            if status is None or node.host.starts != asked.incarnation:
                continue
            if asked.deadline_ns < now + within_ns and status.halted is None and not node.host.process.stopped:
                waits.append(f"{asked} has no outcome")
        return waits

    def answered(self, asked: Asked) -> None:
        """Its proposer learned the truth."""
        outcome, key = asked.outcome, self.cluster.secrets[self.cluster.nodes[asked.node].creator].public()
        if isinstance(outcome, SyncPoint):
            order = self.history.order
            if outcome.index < len(order) and order[outcome.index].point != outcome:
                raise self.violated(asked.node, f"{asked} became {outcome}, but there is {order[outcome.index]}")
            if outcome.metadata != asked.metadata or outcome.proposer != key:
                raise self.violated(asked.node, f"{asked} became {outcome}")
        elif isinstance(outcome, ProposalRejected):
            for place in self._points():
                if place.point is not None and (place.point.metadata, place.point.proposer) == (asked.metadata, key):
                    raise self.violated(asked.node, f"{asked} was rejected ({outcome}), but there is {place.point}")

    def finish(self) -> None:
        """All that was learned is true."""
        for asked in self.history.asked.values():
            self.answered(asked)
        for first, second in itertools.pairwise(self._points()):
            if first.order_hash == second.order_hash:
                raise self.violated(first.node, f"{first} and {second} have one order hash")

    def _points(self) -> list[Place]:
        return [self.history.order[index] for index in self.history.points]
