"""One peer in one epoch: routes inputs to the steps that obey the rules, and holds no rules itself."""

from __future__ import annotations

import struct
from dataclasses import replace

from ..errors import CorruptError
from . import items, wire
from .checkpoint import Certificate, Checkpoints
from .committee import Committee
from .config import MachineConfig
from .crypto import Signer, blake3
from .dag import Dag
from .decide import Decider
from .epoch import Epoch
from .error import Reject
from .exchange import Exchange
from .input import Attest, Certify, Connected, Disconnected, Input, Propose, Received, Submit, Vote
from .items import encode_vote
from .journal import EpochStart, Place, encode_peer_event
from .order import Orderer
from .output import Broadcast, Certified, Closed, Deliver, Diverged, Halted, Opened, Output, Queue, Rejected, Write
from .propose import Made, Proposer
from .recover import COPIED, NOT_OURS, Past
from .retain import Retention
from .roster import NO_SEAT, Places, Roster
from .timer import Timer
from .values import Delivered, Event, Item, ItemType, SyncPoint
from .verify import check_ancestors, check_event
from .wire import FrameType

__all__ = ["Replica"]

DOMAIN_EPOCH_ENTROPY = b"syncpoint/epoch-entropy/v1"
PULL_GAP = 3  # rounds above the top: beyond, whole rounds are pulled rather than single parents


class Replica:
    """All that depends on a committee, for as long as it decides; `Machine` leads from one to the next.

    Inside, peers are indices in the order of keys: creators, then observers, then whoever is no member in this epoch.
    """

    def __init__(
        self,
        config: MachineConfig,
        roster: Roster,
        committee: Committee,
        network_id: bytes,
        number: int,
        signer: Signer,
    ) -> None:
        """`number` is that of the epoch; `network_id` the id of the first one."""
        network = roster.network
        self.config = config
        self.network = network
        self.roster = roster
        self.committee = committee
        self.number = number
        self.peers = Places(roster, committee)
        own = committee.number(signer.public)
        self.is_member = own is not None
        self.own = self.peers.index_of(NO_SEAT) if own is None else own
        self.outputs: list[Output] = []
        self.observes = self.own >= committee.n  # we follow and serve, and make no events (Q4)
        self._now = 0
        self.dag = Dag(committee.n)
        self.decider = Decider(committee, self.dag, network.rule)
        self.orderer = Orderer(committee, network.order, network.gc_depth, number)
        self.timer = Timer(committee, self.own)
        parts = self.dag, self.decider, self.orderer, self.timer
        entropy = config.entropy if not number else blake3(DOMAIN_EPOCH_ENTROPY + committee.epoch_id + config.entropy)
        self.proposer = Proposer(network, committee, config.local, self.own, signer, entropy, number, *parts)
        self.epoch = Epoch(committee, network.epoch_ms * 1_000_000, roster, number, network_id)
        self.checkpoints = Checkpoints(committee, self.own, signer, number)
        self.exchange = Exchange(network, committee, config.local, self.own, self.dag, number, self.outputs)
        self.fetcher = self.exchange.fetcher
        self.recovery = self.exchange.recovery
        self.retention = Retention(network, config.local, committee.n)
        self._accepted: list[bytes] = []  # records of what others sent
        self.rejects: dict[Reject, int] = {}
        self.equivocators = 0  # bit set over creators
        self.halted: str | None = None
        self.is_waiting = False  # for an own event to be durable (J1)
        self._queued = (0, 0)
        self._submitted = False  # since the queue was reported last
        self._propose_at: int | None = None  # ns, when to ask the proposer again

    # -- beginnings ---------------------------------------------------------------------------------

    def start(self, past: Past, whole: bool, start: EpochStart | None, now: int) -> None:
        """Take up the store: what was in the DAG is in it again, and nothing is delivered twice (R1).

        `start` is how this epoch began, None of the first one.
        """
        self._now = now
        self.exchange.rest(now)
        self.recovery.start(whole)
        state = past.state
        if start is not None:
            self.orderer.follow(start.next_index, start.consensus_at, start.order_hash)
            self.checkpoints.follow(start.next_index, start.order_hash)
            state = start.state if state is None else state
        if past.place is not None:
            self._begin(past.place)
        if state is not None:
            self.epoch.restore(state)
        for event, epoch, taken_over in past.events:
            if taken_over is not None:
                if epoch == self.number and event.creator != self.own:
                    raise CorruptError(NOT_OURS)
                self.proposer.restore(event, epoch, taken_over)
            if epoch == self.number:
                if taken_over is not None:
                    self.recovery.journaled(event)
                self._restore(event)
        for height in past.delivered:
            self.proposer.was_delivered(height)
        self.proposer.expire(0)  # what lies in epochs that are over

    def follow(self, before: Replica, whole: bool, now: int) -> None:
        """Go on where the epoch before ended (S4); `whole` says that our journal has all that we ever signed."""
        orderer, decider = before.orderer, before.decider
        self._now = now
        self.exchange.rest(now)
        self.recovery.start(whole)
        if whole:
            self.recovery.believe()  # what the journal does not have of this epoch we have not signed
        self.orderer.follow(orderer.index, orderer.consensus_at, orderer.order_hash)
        self.checkpoints.follow(orderer.index, orderer.order_hash)
        self.epoch = before.epoch.next_epoch(self.committee, self.network.epoch_ms * 1_000_000)
        self.proposer.follow(before.proposer)
        self.decider.follow(decider)
        numbers = map(self.peers.number_of, range(self.committee.n))
        self.timer.follow(before.timer, [before.peers.index_of(number) for number in numbers])
        self.rejects, self.halted = before.rejects, before.halted
        self._queued = before._queued
        for peer in before.fetcher.linked:
            self.input(Connected(self.peers.index_of(before.peers.number_of(peer))), now)

    def transition(self) -> tuple[SyncPoint, Certificate] | None:
        """The sync point that ends the epoch, once q have signed it (S4); None before, and while we are needed."""
        fence = self.epoch.fence
        certificate = None if fence is None else self.checkpoints.certificate(fence.index)
        return None if fence is None or certificate is None or self._is_needed() else (fence, certificate)

    def _is_needed(self) -> bool:
        """Whether it removes us, and f + 1 who stay have not gone on yet: they may need what we have signed (S6)."""
        roster, number = self.epoch.next_roster, self.peers.number_of(self.own)
        assert roster is not None, "a fence leads somewhere"
        stays = any(seat.number == number for seat in roster.seats)
        return not stays and self._orders(self.own) and not self.exchange.is_over

    # -- what a machine asks for --------------------------------------------------------------------

    def close(self, now: int) -> None:
        """Order what closed, after what follows from the inputs of a step is written (J2)."""
        self._now = now
        if self._accepted:
            self.outputs.append(Write(tuple(self._accepted)))
            self._accepted = []
        self._close_rounds()
        self._tell()

    def digest(self) -> bytes:
        """A hash of all that the peers must come to agree on, and of what it will be computed from."""
        counts = struct.pack("<QQ", self.orderer.index, self.decider.closed)
        return blake3(self.orderer.order_hash + counts + self.epoch.encode() + self.decider.snapshot())

    # -- inputs -------------------------------------------------------------------------------------

    def input(self, input: Input, now: int) -> None:
        """Take what happened; its peer is an index."""
        self._now = now
        match input:
            case Received():
                for frame in input.frames:
                    self._frame(input.peer, frame)
            case Submit():
                assert not self.is_member or not self.observes, "the engine of an observer takes no transactions"
                self.proposer.submit(input.transactions)
                self._submitted = True
            case Propose():
                self.proposer.say(Item(ItemType.PROPOSE, input.body), is_urgent=True)
            case Vote():
                body = encode_vote(items.Vote(input.proposal, input.approves))
                self.proposer.say(Item(ItemType.VOTE, body), is_urgent=True)
            case Attest():
                for vote in self.checkpoints.attest(input.index, input.state_hash):
                    self.proposer.say(vote, is_urgent=True)
            case Certify():
                self.checkpoints.certify(input.index)
            case Connected():
                self.exchange.connected(input.peer)
                if self._orders(input.peer):
                    self.timer.linked |= 1 << input.peer
            case Disconnected():
                self.fetcher.disconnected(input.peer)
                self.timer.linked &= ~(1 << input.peer)
            case _:
                raise AssertionError("an input for the machine itself")

    def _begin(self, place: Place) -> None:
        """Rounds up to a place will close once more, and nothing comes of it."""
        floor = max(0, place.round - self.retention.rounds)
        self.dag.begin(floor)
        self.decider.begin(floor)
        self.orderer.begin(floor, place)
        self.checkpoints.begin(place.next_index)

    def _restore(self, event: Event) -> None:
        """Put an event of the store where it was; it was checked before it was stored."""
        floor = self.dag.floor
        if event.round <= floor or event.digest in self.dag or event.digest in self.fetcher:
            return
        if any(parent.round > floor and parent.digest not in self.dag for parent in event.parents):
            self._take(event, self.own)  # what it builds on is to be fetched
            return
        if event.round > self.dag.top + 1:
            raise CorruptError(f"the journal holds an event of round {event.round} that builds on nothing")
        self._enter(event)

    def _frame(self, peer: int, frame: bytes) -> None:
        kind = frame[0] if frame else None
        if kind == FrameType.EVENT:
            reject = self._event_frame(peer, frame)
        elif kind in (FrameType.REQUEST, FrameType.FRONTIER, FrameType.PULL):
            reject = self.exchange.frame(peer, kind, frame, self._now)
        else:
            reject = Reject.FRAME_EMPTY if kind is None else Reject.FRAME_TYPE
        if reject is not None:
            self.reject(peer, reject)

    def _event_frame(self, peer: int, frame: bytes) -> Reject | None:
        event = wire.decode_event(frame, self.committee.epoch_id, self.network)
        if isinstance(event, Reject):
            if event is Reject.EPOCH:  # it may be ahead of us by an epoch, or behind
                self.exchange.pull(peer, self._now)
            return event
        if event.digest in self.dag or event.digest in self.fetcher:
            return None
        if self.fetcher.is_refused(event.digest):
            return Reject.INVALID_ANCESTOR
        if self._too_old(event):
            return Reject.TOO_OLD
        if event.round > self.dag.top + self.network.max_ahead:
            self.recovery.claims(peer, event.round)
            self.exchange.pull(peer, self._now)
            return Reject.AHEAD  # V7
        is_through = self.exchange.is_through(peer)
        spare = self.proposer.is_spare(event) and not is_through and not self.fetcher.wants(event.digest)  # F2
        reject = Reject.EQUIVOCATION if spare else check_event(event, self.committee, self.network.gc_depth)
        if reject is not None:
            return reject
        if is_through and self.dag.row(event.round).variants[event.creator]:
            self.fetcher.admit(event, peer)
        if event.creator == self.own and self.recovery.is_copied(event):
            self.halt(f"an event of round {event.round} carries our signature, and not by us: {COPIED}")
            self.reject(peer, Reject.NOT_OURS)  # R5; taken all the same, as others build on it
        if event.round > self.dag.top + PULL_GAP:
            self.exchange.pull(peer, self._now)
        return self._take(event, peer)

    # -- events on their way into the DAG -------------------------------------------------------------

    def _take(self, event: Event, sender: int) -> Reject | None:
        """Accept an event whose parents are here, and what waited for it; let it wait else (F1)."""
        missing = {parent.digest for parent in event.parents if parent.digest not in self.dag}
        reject = self._one_variant(event, sender if missing else None)
        if reject is not None:
            return reject
        if missing:
            return self.fetcher.hold(event, sender, missing, self._now)
        ready = [(event, sender)]
        while ready:
            event, sender = ready.pop()
            reject = self._accept(event)
            if reject is None:
                if sender != self.own and self.config.local.stores:
                    self._accepted.append(encode_peer_event(wire.encode_event(event)))
                ready += self.fetcher.accepted(event.digest, sender)
            else:
                if reject not in (Reject.EQUIVOCATION, Reject.TOO_OLD):
                    for child_sender in self.fetcher.refuse(event.digest):
                        self.reject(child_sender, Reject.INVALID_ANCESTOR)
                self.reject(sender, reject)
        return None

    def _too_old(self, event: Event) -> bool:
        """Whether so little lies below it that its validity can no longer be checked (F4, V4)."""
        return self.dag.floor > 0 and event.round <= self.dag.floor + self.network.gc_depth

    def _accept(self, event: Event) -> Reject | None:
        if self._too_old(event):
            return Reject.TOO_OLD
        reject = self._one_variant(event, None)
        if reject is not None:
            return reject
        parents = [node for parent in event.parents if (node := self.dag.get(parent.digest)) is not None]
        if len(parents) < len(event.parents):  # it was here, and is dropped: older than the reference says
            return Reject.PARENT_MISMATCH
        reject = check_ancestors(event, parents, self.dag, self.network.gc_depth)
        if reject is not None:
            return reject
        self._enter(event)
        return None

    def _enter(self, event: Event) -> None:
        """Put an event into the DAG, and tell everybody whom it concerns."""
        node = self.dag.insert(event)
        if not self.observes:  # else nobody waits for anything
            self.timer.accepted(node.round, node.creator, self._now)
        if not self.proposer.exposed >> node.creator & 1:  # else nobody refers to it (P7), and nobody waits for it
            self.orderer.accept(node)
        self.proposer.accept(node)
        self.decider.insert(node)
        self.checkpoints.accept(event)
        if self.proposer.is_copied:
            self.halt(f"there is evidence that our key signed two events for one slot: {COPIED}")

    def _one_variant(self, event: Event, sender: int | None) -> Reject | None:
        """A second variant of a slot is stored only when another event refers to it (F2)."""
        variants = self.dag.row(event.round).variants[event.creator]
        if variants:
            self.equivocators |= 1 << event.creator
            self.proposer.accuse(event.creator, variants[0].event, event)
        elif sender is None or not self.fetcher.waits_in(event.round, event.creator, sender):
            return None
        return None if self.fetcher.wants(event.digest) else Reject.EQUIVOCATION

    def halt(self, reason: str | None) -> None:
        """Make no more events, if there is a reason and none was given before."""
        if reason is not None and self.halted is None:
            self.halted = reason
            self.outputs.append(Halted(reason))

    # -- what follows from the inputs -----------------------------------------------------------------

    def _close_rounds(self) -> None:
        """Order what closed, and let go of what is too old to matter."""
        closing = self.decider.closing()
        messages: list[Delivered | SyncPoint] = []
        states: list[tuple[int, bytes]] = []
        for round, committed in closing:
            if self.epoch.is_closed:  # nothing is delivered any more (S4)
                break
            for done in self.orderer.close(round, committed):
                self.epoch.count(done)
                if done.event.creator == self.own:
                    done = replace(done, submissions=self.proposer.delivered(done))
                messages.append(done)
            if not self.orderer.replays:
                messages += self._agree(round)
                state = self.epoch.take_changes()
                if state is not None:
                    states.append((round, state))
                self.proposer.expire(self.orderer.floor)  # O11
        if messages or states:
            self.outputs.append(Deliver(tuple(messages), tuple(states)))
        if closing:
            self.exchange.closed = self.decider.closed
            if self.recovery.is_certain:  # else it is quiet while we cannot take part, whatever the others do
                self.exchange.rest(self._now)
            self.decider.prune(self.decider.closed)
            self._forget()

    def _agree(self, round: int) -> list[SyncPoint]:
        """The sync points at the end of a batch, and what we say of the order there (S2, C1)."""
        points = self.epoch.close(round, self.orderer)
        for vote in self.checkpoints.close(round, points, self.orderer):
            self.proposer.say(vote, is_urgent=bool(points))
        self.proposer.is_closing = self.epoch.is_closed
        return points

    def _tell(self) -> None:
        """Tell the runtime what became of proposals, and of checkpoints."""
        for at, how in self.epoch.take_news():
            opened = Opened(at.id, at.proposer, *at.proposal, self.observes or at.voted(self.own))
            self.outputs.append(opened if how is None else Closed(at.id, how))
        self.outputs += map(Certified, self.checkpoints.take_certificates())
        divergence = self.checkpoints.take_divergence()
        if divergence is not None:
            self.outputs.append(Diverged(divergence))

    def _forget(self) -> None:
        """Drop rounds that neither we nor any peer that keeps up still need (F4)."""
        floor = self.retention.floor(self.decider.closed, self.dag.bytes)
        if floor > self.dag.floor:
            self.proposer.prune(self.dag.prune(floor), floor)
            self.fetcher.forget_below(floor + self.network.gc_depth)
            self.timer.prune(floor)

    def propose(self) -> Made | None:
        """The next event when it is time; it is sent once it is durable (J1)."""
        self._propose_at = None
        if self._may_propose():
            next_event = self.proposer.poll(self._now)
            if isinstance(next_event, Made):
                self.recovery.signed()
                self.is_waiting = True
                return next_event
            self._propose_at = next_event
        return None

    def report(self) -> None:
        """Say how much is queued, if that changed."""
        queued = (self.proposer.queued, self.proposer.queued_bytes)
        if self._submitted or queued != self._queued:
            self._submitted, self._queued = False, queued
            self.outputs.append(Queue(*queued))

    def _may_propose(self) -> bool:
        if self.observes or self.halted is not None or self.is_waiting:
            return False
        self.halt(self.recovery.settle())
        closed = self.epoch.is_closed
        self.proposer.is_certifying = closed and not self.checkpoints.is_voted(self.orderer.index - 1)
        self.recovery.catch_up(self.proposer.base_round, self.retention.reach(self.dag.bytes))
        self.proposer.keeps_up = self.recovery.keeps_up(self.proposer.base_round)
        self.proposer.resume_round, self.proposer.late.line = self.recovery.resume_round, self.recovery.late_round
        self.proposer.unknown_round = self.recovery.unknown_round
        is_back = not self.orderer.replays and self.proposer.base_round >= self.recovery.journaled_round
        return is_back and self.recovery.is_certain and not self.recovery.is_behind

    def persisted(self, event: Event, now: int) -> None:
        """An own event is durable: it goes into the DAG, and out."""
        self._now, self.is_waiting = now, False
        if self.halted is not None:  # R5: another copy of us may have signed this slot as well
            return
        self.recovery.journaled(event)
        self._take(event, self.own)
        assert event.digest in self.dag, "our own event was refused"
        self.outputs.append(Broadcast(wire.encode_event(event)))

    def fetch(self) -> int | None:
        """Ask for what is missing; when to look again, and whether it is time for an event."""
        busy = not self.epoch.is_ended and (self.orderer.has_undelivered or self.proposer.queued > 0)
        certain = self.recovery.is_certain or self.halted is not None
        due = [self.exchange.poll(self._now, busy=busy, certain=certain), self._propose_at]
        return min((at for at in due if at is not None), default=None)

    def _orders(self, peer: int) -> bool:
        return peer < self.committee.n  # observers count for nothing (Q4)

    def reject(self, peer: int, code: Reject) -> None:
        """Count that a frame of a peer was not taken, and say so."""
        self.rejects[code] = self.rejects.get(code, 0) + 1
        if peer != self.own:
            self.outputs.append(Rejected(peer, code))
