"""One running instance of the core: routes inputs to the steps that obey the rules, and holds no rules itself."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace

from ..errors import ArgumentError, CorruptError
from . import items, wire
from .checkpoint import Checkpoints
from .committee import Committee
from .config import MachineConfig
from .crypto import Signer, blake3
from .dag import Dag
from .decide import Decider
from .epoch import Epoch
from .error import Reject
from .exchange import Exchange
from .input import Attest, Certify, Connected, Disconnected, Input, Persisted, Propose, Received, Start, Submit, Vote
from .items import encode_vote
from .journal import encode_own_event, encode_peer_event
from .order import Orderer
from .output import (
    Broadcast,
    Certified,
    Closed,
    Deliver,
    Diverged,
    Halted,
    Opened,
    Output,
    Persist,
    Queue,
    Rejected,
    Wake,
    Write,
)
from .propose import Made, Proposer
from .recover import COPIED, read_store
from .retain import Retention
from .status import Status
from .timer import Timer
from .values import Delivered, Event, Item, ItemType, SyncPoint
from .verify import check_ancestors, check_event
from .wire import FrameType

__all__ = ["Machine"]

PULL_GAP = 3  # rounds above the top: beyond, whole rounds are pulled rather than single parents


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
        self._epoch = Epoch(self.committee, config.network.epoch_ms * 1_000_000)
        self._checkpoints = Checkpoints(self.committee, own, signer)
        self._outputs: list[Output] = []
        self._exchange = Exchange(config.network, self.committee, config.local, own, self._dag, self._outputs)
        self._fetcher = self._exchange.fetcher
        self._recovery = self._exchange.recovery
        self._retention = Retention(config.network, config.local, self.committee.n)
        self._accepted: list[bytes] = []  # records of what others sent
        self._rejects: dict[Reject, int] = {}
        self._equivocators = 0  # bit set over creators
        self._started = False
        self._halted: str | None = None
        self._persisting: tuple[int, Event] | None = None
        self._token = 0
        self._submitted = False  # since the queue was reported last
        self._queued = (0, 0)
        self._propose_at: int | None = None  # ns, when to ask the proposer again

    # -- the seam -----------------------------------------------------------------------------------

    def step(self, now: int, inputs: Sequence[Input]) -> list[Output]:
        """Take in what happened until `now` (ns since the Unix epoch, never decreasing); what to do about it."""
        assert now >= self._now, "time went back"
        self._now = now
        for input in inputs:
            self._route(input)
        if self._accepted:  # to be written before anything that follows from it (J2)
            self._outputs.append(Write(tuple(self._accepted)))
            self._accepted = []
        self._close_rounds()
        self._tell()
        self._propose()
        due = [at for at in (self._fetch(), self._propose_at) if at is not None]
        if due:
            self._outputs.append(Wake(max(min(due), now)))
        outputs = list(self._outputs)
        self._outputs.clear()
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
            recovering=self._recovery.is_lost,
            catching_up=self._recovery.is_behind,
            stranded=fetcher.is_stranded,
            own_round=proposer.own_round,
            top_round=self._dag.top,
            peers_round=self._recovery.peers_round,
            closed_round=decider.closed,
            floor_round=self._dag.floor,
            frontier=tuple(self._dag.frontier),
            events=len(self._dag),
            delivered=orderer.index,
            epoch_index=self._epoch.epoch_index,
            proposals=len(self._epoch.open),
            ended=self._epoch.is_ended,
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
        counts = struct.pack("<QQ", self._orderer.index, self._decider.closed)
        return blake3(self._orderer.order_hash + counts + self._epoch.encode() + self._decider.snapshot())

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
            case Propose():
                self._proposer.say(Item(ItemType.PROPOSE, input.body), is_urgent=True)
            case Vote():
                body = encode_vote(items.Vote(input.proposal, input.approves))
                self._proposer.say(Item(ItemType.VOTE, body), is_urgent=True)
            case Attest():
                for vote in self._checkpoints.attest(input.index, input.state_hash):
                    self._proposer.say(vote, is_urgent=True)
            case Certify():
                self._checkpoints.certify(input.index)
            case Persisted():
                self._persisted(input.token)
            case Connected():
                self._exchange.connected(input.peer)
                if self._is_member(input.peer):
                    self._timer.linked |= 1 << input.peer
            case Disconnected():
                self._fetcher.disconnected(input.peer)
                self._timer.linked &= ~(1 << input.peer)
            case Start():
                self._start(input)

    def _start(self, start: Start) -> None:
        """Take up the store: what was in the DAG is in it again, and nothing is delivered twice (R1)."""
        assert not self._started, "started twice"
        self._started = True
        self._exchange.rest(self._now)
        past = read_store(start.records, self.own, self.committee, self.config.network)
        self._recovery.start(start.whole)
        if past.place is not None:  # rounds up to there will close once more, and nothing comes of it
            floor = max(0, past.place.round - self._retention.rounds)
            self._dag.begin(floor)
            self._decider.begin(floor)
            self._orderer.begin(floor, past.place)
            self._checkpoints.begin(past.place.next_index)
        if past.state is not None:
            self._epoch.restore(past.state)
        for event, taken_over in past.events:
            if taken_over is not None:
                self._recovery.journaled(event)
                self._proposer.restore(event, taken_over)
            self._restore(event)
        for round in past.delivered:
            self._proposer.was_delivered(round)

    def _restore(self, event: Event) -> None:
        """Put an event of the store where it was; it was checked before it was stored."""
        floor = self._dag.floor
        if event.round <= floor or event.digest in self._dag or event.digest in self._fetcher:
            return
        if any(parent.round > floor and parent.digest not in self._dag for parent in event.parents):
            self._take(event, self.own)  # what it builds on is to be fetched
            return
        if event.round > self._dag.top + 1:
            raise CorruptError(f"the journal holds an event of round {event.round} that builds on nothing")
        self._enter(event)

    def _frame(self, peer: int, frame: bytes) -> None:
        kind = frame[0] if frame else None
        if kind == FrameType.EVENT:
            reject = self._event_frame(peer, frame)
        elif kind in (FrameType.REQUEST, FrameType.FRONTIER, FrameType.PULL):
            reject = self._exchange.frame(peer, kind, frame, self._now)
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
        if self._fetcher.is_refused(event.digest):
            return Reject.INVALID_ANCESTOR
        if self._too_old(event):
            return Reject.TOO_OLD
        if event.round > self._dag.top + self.config.network.max_ahead:
            self._recovery.claims(peer, event.round)
            self._exchange.pull(peer, self._now)
            return Reject.AHEAD  # V7
        spare = self._proposer.is_spare(event) and not self._fetcher.wants(event.digest)  # F2
        reject = Reject.EQUIVOCATION if spare else check_event(event, self.committee, self.config.network.gc_depth)
        if reject is not None:
            return reject
        if event.creator == self.own and self._recovery.is_copied(event):
            self._halt(f"an event of round {event.round} carries our signature, and not by us: {COPIED}")
            self._reject(peer, Reject.NOT_OURS)  # R5; taken all the same, as others build on it
        if event.round > self._dag.top + PULL_GAP:
            self._exchange.pull(peer, self._now)
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
                if sender != self.own and self.config.local.stores:
                    self._accepted.append(encode_peer_event(wire.encode_event(event)))
                ready += self._fetcher.accepted(event.digest)
            else:
                if reject not in (Reject.EQUIVOCATION, Reject.TOO_OLD):
                    for child_sender in self._fetcher.refuse(event.digest):
                        self._reject(child_sender, Reject.INVALID_ANCESTOR)
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
        self._enter(event)
        return None

    def _enter(self, event: Event) -> None:
        """Put an event into the DAG, and tell everybody whom it concerns."""
        node = self._dag.insert(event)
        if not self._observes:  # else nobody waits for anything
            self._timer.accepted(node.round, node.creator, self._now)
        if not self._proposer.exposed >> node.creator & 1:  # else nobody refers to it (P7), and nobody waits for it
            self._orderer.accept(node)
        self._proposer.accept(node)
        self._decider.insert(node)
        self._checkpoints.accept(event)
        if self._proposer.is_copied:
            self._halt(f"there is evidence that our key signed two events for one slot: {COPIED}")

    def _one_variant(self, event: Event, sender: int | None) -> Reject | None:
        """A second variant of a slot is stored only when another event refers to it (F2)."""
        variants = self._dag.row(event.round).variants[event.creator]
        if variants:
            self._equivocators |= 1 << event.creator
            self._proposer.accuse(event.creator, variants[0].event, event)
        elif sender is None or not self._fetcher.waits_in(event.round, event.creator, sender):
            return None
        return None if self._fetcher.wants(event.digest) else Reject.EQUIVOCATION

    def _halt(self, reason: str | None) -> None:
        """Make no more events, if there is a reason and none was given before."""
        if reason is not None and self._halted is None:
            self._halted = reason
            self._outputs.append(Halted(reason))

    # -- what follows from the inputs -----------------------------------------------------------------

    def _close_rounds(self) -> None:
        """Order what closed, and let go of what is too old to matter."""
        closing = self._decider.closing()
        messages: list[Delivered | SyncPoint] = []
        states: list[tuple[int, bytes]] = []
        for round, committed in closing:
            if self._epoch.is_ended:  # nothing is delivered any more (S4)
                break
            for done in self._orderer.close(round, committed):
                self._epoch.count(done)
                if done.event.creator == self.own:
                    done = replace(done, submissions=self._proposer.delivered(done))
                messages.append(done)
            if not self._orderer.replays:
                messages += self._agree(round)
                state = self._epoch.take_changes()
                if state is not None:
                    states.append((round, state))
                self._proposer.expire(self._orderer.floor)  # O11
        if messages or states:
            self._outputs.append(Deliver(tuple(messages), tuple(states)))
        if closing:
            if self._recovery.is_certain:  # else it is quiet while we cannot take part, whatever the others do
                self._exchange.rest(self._now)
            self._decider.prune(self._decider.closed)
            self._forget()

    def _agree(self, round: int) -> list[SyncPoint]:
        """The sync points at the end of a batch, and what we say of the order there (S2, C1)."""
        points = self._epoch.close(round, self._orderer)
        for vote in self._checkpoints.close(round, points, self._orderer):
            self._proposer.say(vote, is_urgent=bool(points))
        self._proposer.is_closing = self._epoch.is_ended
        return points

    def _tell(self) -> None:
        """Tell the runtime what became of proposals, and of checkpoints."""
        for at in self._epoch.take_opened():
            self._outputs.append(Opened(at.id, at.proposer, *at.proposal, self._observes or at.voted(self.own)))
        self._outputs += [Closed(id, outcome) for id, outcome in self._epoch.take_closed()]
        self._outputs += map(Certified, self._checkpoints.take_certificates())
        divergence = self._checkpoints.take_divergence()
        if divergence is not None:
            self._outputs.append(Diverged(divergence))

    def _forget(self) -> None:
        """Drop rounds that neither we nor any peer that keeps up still need (F4)."""
        floor = self._retention.floor(self._decider.closed, self._dag.bytes)
        if floor > self._dag.floor:
            self._proposer.prune(self._dag.prune(floor), floor)
            self._fetcher.forget_below(floor + self.config.network.gc_depth)
            self._timer.prune(floor)

    def _propose(self) -> None:
        """Make the next event when it is time; it is sent once it is durable (J1)."""
        self._propose_at = None
        if self._may_propose():
            next_event = self._proposer.poll(self._now)
            if isinstance(next_event, Made):
                self._token += 1
                self._recovery.signed()
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
        if not self._started or self._observes or self._halted is not None or self._persisting is not None:
            return False
        self._halt(self._recovery.settle())
        self._proposer.is_certifying = self._epoch.is_ended and not self._checkpoints.is_voted(self._orderer.index - 1)
        self._recovery.catch_up(self._proposer.base_round, self._retention.reach(self._dag.bytes))
        self._proposer.keeps_up = self._recovery.keeps_up(self._proposer.base_round)
        self._proposer.resume_round, self._proposer.late.line = self._recovery.resume_round, self._recovery.late_round
        is_back = not self._orderer.replays and self._proposer.base_round >= self._recovery.journaled_round
        return is_back and self._recovery.is_certain and not self._recovery.is_behind

    def _persisted(self, token: int) -> None:
        assert self._persisting is not None, "nothing was being persisted"
        assert self._persisting[0] == token, "another token was being persisted"
        event, self._persisting = self._persisting[1], None
        if self._halted is not None:  # R5: another copy of us may have signed this slot as well
            return
        self._recovery.journaled(event)
        self._take(event, self.own)
        assert event.digest in self._dag, "our own event was refused"
        self._outputs.append(Broadcast(wire.encode_event(event)))

    def _fetch(self) -> int | None:
        """Ask for what is missing; when to look again."""
        if not self._started:
            return None
        busy = not self._epoch.is_ended and (self._orderer.has_undelivered or self._proposer.queued > 0)
        certain = self._recovery.is_certain or self._halted is not None
        return self._exchange.poll(self._now, busy=busy, certain=certain)

    def _is_member(self, peer: int) -> bool:
        return peer < self.committee.n  # observers count for nothing (Q4)

    def _reject(self, peer: int, code: Reject) -> None:
        self._rejects[code] = self._rejects.get(code, 0) + 1
        if peer != self.own:
            self._outputs.append(Rejected(peer, code))


def _creators(bits: int) -> tuple[int, ...]:
    return tuple(creator for creator in range(bits.bit_length()) if bits >> creator & 1)
