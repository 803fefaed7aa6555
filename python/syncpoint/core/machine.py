"""One running instance of the core: routes inputs to the steps that obey the rules, and holds no rules itself."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..errors import ArgumentError, CorruptError
from . import wire
from .committee import Committee
from .config import MachineConfig
from .crypto import Signer, blake3
from .dag import Dag, Node
from .decide import Decider
from .error import Reject
from .fetch import Fetcher, Server
from .input import Connected, Disconnected, Input, Persisted, Received, Start, Submit
from .journal import decode_record, encode_own_event
from .order import Orderer
from .output import Broadcast, Deliver, Halted, Output, Persist, Queue, Rejected, Send, Wake
from .propose import Made, Proposer
from .status import Status
from .timer import Timer
from .values import Delivered, Event
from .verify import check_ancestors, check_event
from .wire import FrameType

__all__ = ["Machine"]

MAX_INVALID = 4096  # digests of refused events that are remembered, oldest forgotten first
PULL_GAP = 3  # rounds above the top: beyond, whole rounds are pulled rather than single parents
RETAIN_GC_DEPTHS = 2  # rounds retained whatever their events take, in gc_depths
HOPELESS = 4  # times what is retained: so far behind, or so much held, a peer gives up making events
STALL_NS = 500_000_000  # without a closed round while something waits, before frontiers are exchanged again
STALL_HEARTBEATS = 2  # the same while nothing waits


class Machine:
    """Takes inputs, returns outputs; does no IO and reads no clock (L1)."""

    def __init__(self, config: MachineConfig) -> None:
        signer = Signer(config.seed, config.signatures)
        self.config = config
        self.committee = Committee.genesis(config.network, config.members, config.signatures)
        own = self.committee.number(signer.public)
        if own is None:
            raise ArgumentError("our own key is not in the committee")
        self.own = own
        self._observes = own >= self.committee.n  # we follow and serve, and make no events (Q4)
        self._now = 0
        self._dag = Dag(self.committee.n)
        self._decider = Decider(self.committee, self._dag, config.network.rule)
        self._orderer = Orderer(self.committee, config.network.order, config.network.gc_depth)
        self._timer = Timer(self.committee, own)
        parts = self._dag, self._decider, self._orderer, self._timer
        self._proposer = Proposer(config.network, self.committee, config.local, own, signer, config.entropy, *parts)
        self._fetcher = Fetcher(self.committee, own, config.local.pool_bytes_per_sender)
        self._server = Server(self._dag, self.committee.n + len(self.committee.observers))
        retain = config.local.retain_events // self.committee.n
        self._retain_rounds = max(retain, RETAIN_GC_DEPTHS * config.network.gc_depth)
        self._outputs: list[Output] = []
        self._delivered: list[Delivered] = []
        self._rejects: dict[Reject, int] = {}
        self._invalid: dict[bytes, None] = {}
        self._equivocators = 0  # bit set over creators
        self._started = False
        self._halted: str | None = None
        self._heard: set[int] = set()  # members that claim no event of ours that we do not have
        self._journaled_round = 0  # of our newest journaled event: nothing new before it is in the DAG
        self._persisting: tuple[int, Event] | None = None
        self._token = 0
        self._submitted = False  # since the queue was reported last
        self._queued = (0, 0)
        self._propose_at: int | None = None  # ns, when to ask the proposer again
        self._quiet_since = 0  # ns, when a round closed last, or frontiers were exchanged again

    # -- the seam -----------------------------------------------------------------------------------

    def step(self, now: int, inputs: Sequence[Input]) -> list[Output]:
        """Take in what happened until `now` (ns since the Unix epoch, never decreasing); what to do about it."""
        assert now >= self._now, "time went back"
        self._now = now
        for input in inputs:
            self._route(input)
        self._close_rounds()
        self._propose()
        self._wake(self._fetch())
        outputs, self._outputs = self._outputs, []
        return outputs

    def status(self) -> Status:
        """A snapshot for people and metrics."""
        proposer, fetcher, orderer, decider = self._proposer, self._fetcher, self._orderer, self._decider
        linked = tuple(sorted(fetcher.linked))
        return Status(
            creator=None if self._observes else self.own,
            peers=self.committee.n,
            linked=linked,
            has_quorum=sum(map(self._is_member, (*linked, self.own))) >= self.committee.q,
            halted=self._halted,
            own_round=proposer.own_round,
            top_round=self._dag.top,
            closed_round=decider.closed,
            floor_round=self._dag.floor,
            frontier=tuple(self._dag.frontier),
            events=len(self._dag),
            delivered=orderer.index,
            order_hash=orderer.order_hash,
            consensus_at=orderer.consensus_at,
            queued_transactions=proposer.queued,
            queued_bytes=proposer.queued_bytes,
            undelivered=orderer.has_undelivered,
            waiting_events=fetcher.waiting,
            waiting_bytes=fetcher.waiting_bytes,
            wanted_events=fetcher.wanted,
            timely=_creators(self._timer.timely),
            equivocators=_creators(self._equivocators),
            soft_wait_ns=self._timer.soft_ns,
            round_timeout_ns=self._timer.timeout_ns,
            timeouts=self._timer.timeouts,
            own_events=proposer.made,
            resubmitted=proposer.resubmitted,
            commits=(decider.fast_commits, decider.certified_commits, decider.indirect_commits),
            skips=(decider.direct_skips, decider.indirect_skips),
            rejects=dict(self._rejects),
        )

    def digest(self) -> bytes:
        """A hash of all that the peers must come to agree on, and of what it will be computed from."""
        parts = [self._orderer.order_hash, struct.pack("<QQ", self._orderer.index, self._decider.closed)]
        for round in range(self._dag.floor + 1, self._dag.top + 1):
            for creator, variants in enumerate(self._dag.row(round).variants):
                parts += [variant.digest for variant in variants]
                status = self._decider.status(round, creator)
                parts.append(status.digest if isinstance(status, Node) else b"?" if status is None else b"-")
        return blake3(b"".join(parts))

    # -- inputs -------------------------------------------------------------------------------------

    def _route(self, input: Input) -> None:
        match input:
            case Received():
                for frame in input.frames:
                    self._frame(input.peer, frame)
            case Submit():
                assert not self._observes, "the engine of an observer takes no transactions"
                self._proposer.submit(input.transactions)
                self._submitted = True
            case Persisted():
                self._persisted(input.token)
            case Connected():
                self._fetcher.connected(input.peer)
                if self._is_member(input.peer):
                    self._timer.linked |= 1 << input.peer
                self._send_frontier(FrameType.FRONTIER, input.peer)
            case Disconnected():
                self._fetcher.disconnected(input.peer)
                self._timer.linked &= ~(1 << input.peer)
            case Start():
                self._start(input.records)

    def _start(self, records: Iterable[bytes]) -> None:
        """Take up the journal: our own events are in the DAG again as soon as their parents are (R1)."""
        assert not self._started, "started twice"
        self._started = True
        self._quiet_since = self._now
        for record in records:
            decoded = decode_record(record)
            if decoded is None:
                raise CorruptError(f"the journal holds a record that is none: {record[:16].hex()}...")
            event = wire.decode_event(decoded.frame, self.committee.epoch_id, self.config.network)
            if isinstance(event, Reject) or event.creator != self.own or self._observes:
                raise CorruptError("the journal holds an event that is not ours: another key or network")
            self._journaled_round = max(self._journaled_round, event.round)
            self._proposer.restore(event, decoded.taken_over)
            reject = self._take(event, self.own)
            if reject is not None:
                raise CorruptError(f"the journal holds two events of ours for round {event.round}")

    def _frame(self, peer: int, frame: bytes) -> None:
        kind = frame[0] if frame else None
        reject: Reject | None
        if kind == FrameType.EVENT:
            reject = self._event_frame(peer, frame)
        elif kind == FrameType.REQUEST:
            digests = wire.decode_request(frame)
            reject = digests if isinstance(digests, Reject) else self._serve(peer, digests)
        elif kind in (FrameType.FRONTIER, FrameType.PULL):
            frontier = wire.decode_frontier(frame, self.committee.n)
            if isinstance(frontier, Reject):
                reject = frontier
            else:
                reject = self._frontier(peer, frontier, pull=kind == FrameType.PULL)
        else:
            reject = Reject.FRAME_EMPTY if kind is None else Reject.FRAME_TYPE
        if reject is not None:
            self._reject(peer, reject)

    def _event_frame(self, peer: int, frame: bytes) -> Reject | None:
        event = wire.decode_event(frame, self.committee.epoch_id, self.config.network)
        if isinstance(event, Reject):
            return event
        if event.digest in self._dag or event.digest in self._fetcher:
            return None
        if event.digest in self._invalid:
            return Reject.INVALID_ANCESTOR
        if self._too_old(event):
            return Reject.TOO_OLD
        if event.round > self._dag.top + self.config.network.max_ahead:
            self._pull(peer)
            return Reject.AHEAD  # V7
        spare = self._proposer.is_spare(event) and not self._fetcher.wants(event.digest)  # F2
        reject = Reject.EQUIVOCATION if spare else check_event(event, self.committee, self.config.network.gc_depth)
        if reject is not None:
            return reject
        if event.creator == self.own:
            self._halt(
                f"an event of round {event.round} carries our signature, but is not in our journal: "
                "this key signed in another process, or its journal was lost"
            )
            self._reject(peer, Reject.NOT_OURS)  # R5; taken all the same, as others build on it
        if event.round > self._dag.top + PULL_GAP:
            self._pull(peer)
        return self._take(event, peer)

    # -- events on their way into the DAG -------------------------------------------------------------

    def _take(self, event: Event, sender: int) -> Reject | None:
        """Accept an event whose parents are here, and what waited for it; let it wait else (F1)."""
        missing = {parent.digest for parent in event.parents if parent.digest not in self._dag}
        reject = self._one_variant(event, sender if missing else None)
        if reject is not None:
            return reject
        if missing:
            return self._fetcher.hold(event, sender, missing, self._now)
        ready = [(event, sender)]
        while ready:
            event, sender = ready.pop()
            reject = self._accept(event)
            if reject is None:
                ready += self._fetcher.accepted(event.digest)
            else:
                if reject not in (Reject.EQUIVOCATION, Reject.TOO_OLD):
                    self._refuse(event)
                self._reject(sender, reject)
        return None

    def _too_old(self, event: Event) -> bool:
        """Whether so little lies below it that its validity can no longer be checked (F4, V4)."""
        return self._dag.floor > 0 and event.round <= self._dag.floor + self.config.network.gc_depth

    def _accept(self, event: Event) -> Reject | None:
        if self._too_old(event):
            return Reject.TOO_OLD
        reject = self._one_variant(event, None)
        if reject is not None:
            return reject
        parents = [node for parent in event.parents if (node := self._dag.get(parent.digest)) is not None]
        if len(parents) < len(event.parents):  # it was here, and is dropped: older than the reference says
            return Reject.PARENT_MISMATCH
        reject = check_ancestors(event, parents, self._dag, self.config.network.gc_depth)
        if reject is not None:
            return reject
        node = self._dag.insert(event)
        if not self._observes:  # else nobody waits for anything
            self._timer.accepted(node.round, node.creator, self._now)
        if not self._proposer.exposed >> node.creator & 1:  # else nobody refers to it (P7), and nobody waits for it
            self._orderer.accept(node)
        self._proposer.accept(node)
        self._decider.insert(node)
        if self._proposer.is_copied:
            self._halt("there is evidence that our key signed two events for one slot: it signs in another process too")
        return None

    def _one_variant(self, event: Event, sender: int | None) -> Reject | None:
        """A second variant of a slot is stored only when another event refers to it (F2)."""
        variants = self._dag.row(event.round).variants[event.creator]
        if variants:
            self._equivocators |= 1 << event.creator
            self._proposer.accuse(event.creator, variants[0].event, event)
        elif sender is None or not self._fetcher.waits_in(event.round, event.creator, sender):
            return None
        return None if self._fetcher.wants(event.digest) else Reject.EQUIVOCATION

    def _refuse(self, event: Event) -> None:
        """Remember an invalid event, and refuse all that builds on it."""
        todo = [event]
        while todo:
            digest = todo.pop().digest
            if len(self._invalid) >= MAX_INVALID:
                del self._invalid[next(iter(self._invalid))]
            self._invalid[digest] = None
            for child, sender in self._fetcher.refused(digest):
                self._reject(sender, Reject.INVALID_ANCESTOR)
                todo.append(child)

    def _halt(self, reason: str) -> None:
        if self._halted is None:
            self._halted = reason
            self._outputs.append(Halted(reason))

    # -- frontiers, requests, pulls -------------------------------------------------------------------

    def _frontier(self, peer: int, theirs: tuple[int, ...], *, pull: bool) -> Reject | None:
        """Learn how far a peer is; fill whichever side is behind (F3)."""
        ours = self._dag.frontier
        counts = self._is_member(peer) and not self._observes  # what observers say of us counts for nothing (Q4)
        if counts and theirs[self.own] <= max(ours[self.own], self._journaled_round):
            self._heard.add(peer)  # else it knows more of us than we do, or lies; the pull will tell
        if not pull:
            self._fetcher.pulled(peer)
        behind = any(their > our for their, our in zip(theirs, ours, strict=True))
        if behind:
            self._pull(peer)
        if pull:
            events = self._server.above(peer, theirs, self._now)
            if isinstance(events, Reject):
                return events
            self._outputs += [Send(peer, wire.encode_event(event)) for event in events]
            self._send_frontier(FrameType.FRONTIER, peer)
        elif not behind and any(their < our for their, our in zip(theirs, ours, strict=True)):
            self._send_frontier(FrameType.FRONTIER, peer)
        return None

    def _serve(self, peer: int, digests: list[bytes]) -> Reject | None:
        events = self._server.requested(peer, digests, self._now)
        if isinstance(events, Reject):
            return events
        self._outputs += [Send(peer, wire.encode_event(event)) for event in events]
        return None

    def _pull(self, peer: int) -> None:
        if self._fetcher.pull(peer, self._now):
            self._send_frontier(FrameType.PULL, peer)

    def _send_frontier(self, type: FrameType, peer: int) -> None:
        self._outputs.append(Send(peer, wire.encode_frontier(type, self._dag.frontier)))

    # -- what follows from the inputs -----------------------------------------------------------------

    def _close_rounds(self) -> None:
        """Order what closed, and let go of what is too old to matter."""
        closing = self._decider.closing()
        for round, committed in closing:
            for done in self._orderer.close(round, committed):
                if done.event.creator == self.own:
                    done = replace(done, submissions=self._proposer.delivered(done))
                self._delivered.append(done)
            self._proposer.expire(self._orderer.floor)  # O11
        if self._delivered:
            self._outputs.append(Deliver(tuple(self._delivered)))
            self._delivered = []
        if closing:
            if self._is_confirmed:  # else it is quiet while we cannot take part, whatever the others do
                self._quiet_since = self._now
            self._decider.prune(self._decider.closed)
            self._forget()

    def _forget(self) -> None:
        """Drop rounds that neither we nor any peer that keeps up still need (F4)."""
        depth = self.config.network.gc_depth
        held, limit = self._dag.bytes, self.config.local.retain_bytes
        # An observer makes nothing that would have to build on a round of its own (Q4).
        own_round = self._decider.closed if self._observes else self._proposer.own_round
        behind = self._decider.closed - own_round
        if behind > HOPELESS * self._retain_rounds or (held > HOPELESS * limit and behind > RETAIN_GC_DEPTHS * depth):
            self._halt(
                f"our newest event is of round {own_round}, and round {self._decider.closed} has closed: "
                "what the next one would have to build on is too long ago"
            )
        floor = self._decider.closed - (RETAIN_GC_DEPTHS * depth if held > limit else self._retain_rounds)
        if self._halted is None:  # our own rounds have no gaps (P1): the next one builds on the last
            floor = min(floor, own_round - RETAIN_GC_DEPTHS * depth)
        if floor > self._dag.floor:
            self._proposer.prune(self._dag.prune(floor))
            self._fetcher.forget_below(floor + depth)
            self._timer.prune(floor)

    def _propose(self) -> None:
        """Make the next event when it is time; it is sent once it is durable (J1)."""
        self._propose_at = None
        if self._may_propose():
            next_event = self._proposer.poll(self._now)
            if isinstance(next_event, Made):
                self._token += 1
                self._persisting = (self._token, next_event.event)
                record = encode_own_event(wire.encode_event(next_event.event), next_event.taken_over)
                self._outputs.append(Persist(self._token, (record,)))
            else:
                self._propose_at = next_event
        queued = (self._proposer.queued, self._proposer.queued_bytes)
        if self._submitted or queued != self._queued:
            self._submitted, self._queued = False, queued
            self._outputs.append(Queue(*queued))

    def _may_propose(self) -> bool:
        may = self._started and not self._observes and self._halted is None and self._persisting is None
        return may and self._is_confirmed and self._proposer.own_round >= self._journaled_round

    @property
    def _is_confirmed(self) -> bool:
        """Whether q peers, ourselves among them, say that our journal is complete (R2, R5); an observer has none."""
        return self._observes or len(self._heard) + 1 >= self.committee.q

    def _persisted(self, token: int) -> None:
        assert self._persisting is not None, "nothing was being persisted"
        assert self._persisting[0] == token, "another token was being persisted"
        event, self._persisting = self._persisting[1], None
        if self._halted is not None:  # R5: another copy of us may have signed this slot as well
            return
        self._journaled_round = event.round
        self._take(event, self.own)
        assert event.digest in self._dag, "our own event was refused"
        self._outputs.append(Broadcast(wire.encode_event(event)))

    def _fetch(self) -> int | None:
        """Ask for what is missing; when to look again."""
        requests, due = self._fetcher.poll(self._now)
        self._outputs += [Send(peer, wire.encode_request(digests)) for peer, digests in requests]
        if not self._started or not self._fetcher.linked:
            return due
        busy = self._orderer.has_undelivered or self._proposer.queued
        stall = STALL_NS if busy else STALL_HEARTBEATS * self.config.local.heartbeat_ns
        if self._now >= self._quiet_since + stall:  # frames were lost, or too few peers are linked
            self._quiet_since = self._now
            if self._is_confirmed or self._halted is not None:
                self._outputs.append(Broadcast(wire.encode_frontier(FrameType.FRONTIER, self._dag.frontier)))
            else:
                for peer in sorted(filter(self._is_member, self._fetcher.linked.keys() - self._heard)):
                    self._send_frontier(FrameType.PULL, peer)  # whoever is pulled from says how far it is
        return min(at for at in (due, self._quiet_since + stall) if at is not None)

    def _wake(self, fetch_at: int | None) -> None:
        times = [at for at in (self._propose_at, fetch_at) if at is not None]
        if times:
            self._outputs.append(Wake(max(min(times), self._now)))

    def _is_member(self, peer: int) -> bool:
        """Whether a peer takes part in ordering; observers count for nothing (Q4)."""
        return peer < self.committee.n

    def _reject(self, peer: int, code: Reject) -> None:
        self._rejects[code] = self._rejects.get(code, 0) + 1
        if peer != self.own:
            self._outputs.append(Rejected(peer, code))


def _creators(bits: int) -> tuple[int, ...]:
    return tuple(creator for creator in range(bits.bit_length()) if bits >> creator & 1)
