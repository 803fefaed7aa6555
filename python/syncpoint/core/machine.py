"""One running instance of the core: leads from epoch to epoch, and knows peers by numbers that outlast them (S4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..errors import ArgumentError, CorruptError
from . import wire
from .committee import Committee
from .config import MachineConfig
from .crypto import Signer
from .ended import EndedEpochs
from .error import Reject
from .input import Certify, Connected, Disconnected, Input, NextKey, Persisted, Propose, Received, Start
from .items import proposal_id
from .journal import EpochStart, encode_epoch_start, encode_own_event
from .output import Closed, Entered, Opened, Output, Persist, Rejected, Send, SendStored, Wake
from .recover import read_store
from .replica import Replica
from .roster import Roster, next_epoch_id
from .status import Status, status_of
from .transition import encode_transition, transition_of
from .values import Event
from .wire import FrameType

__all__ = ["Machine"]

MAX_AWAITED = 8_192  # proposals that are open, or that we have asked for; of more the oldest one's end is not told
REMOVED = "this key is no member any more: a sync point has removed it, and vote_add_node can let it in again"


class Machine:
    """Takes inputs, returns outputs; does no IO and reads no clock (L1)."""

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        seeds = [config.seed] if config.next_seed is None else [config.seed, config.next_seed]
        self._signers = [Signer(seed, config.signatures) for seed in seeds]  # that we may be, the newest last
        roster = Roster.first(config.network, config.members)
        # A caller's mistakes are said in its words, those of the committee.
        committee = Committee.genesis(config.network, config.members, config.signatures)
        self._network_id = committee.epoch_id
        self._ended = EndedEpochs(config.local)
        self._now = 0
        self._started = False
        self._whole = True  # our journal has all that we ever signed (R2)
        self._token = 0
        self._persisting: dict[int, tuple[Replica, Event | None]] = {}  # by token; None: the beginning of an epoch
        self._before: Replica | None = None  # that of the epoch before, for peers that are not through with it
        self._awaited: dict[bytes, None] = {}  # ids of proposals whose end is to be told
        self._starts_at = 0  # the index of what was delivered first in this epoch
        self.replica = self.make_replica(roster, committee, 0)
        if not self.replica.is_member and not config.joins:
            raise ArgumentError("our own key is not in the committee")
        self.own = self.replica.peers.number_of(self.replica.own)

    # -- the seam -----------------------------------------------------------------------------------

    def step(self, now: int, inputs: Sequence[Input]) -> list[Output]:
        """Take in what happened until `now` (ns since the Unix epoch, never decreasing); what to do about it."""
        assert now >= self._now, "time went back"
        self._now = now
        outputs: list[Output] = []
        for input in inputs:
            self._route(input, outputs)
        self.replica.close(now)
        self._drain(self.replica, outputs)
        self._follow(outputs)
        made = self.replica.propose() if self._started else None
        if made is not None:
            record = encode_own_event(wire.encode_event(made.event), made.taken_over)
            outputs.append(self._persist(record, made.event))
        self.replica.report()
        due = self.replica.fetch() if self._started else None
        self._drain(self.replica, outputs)
        if due is not None:
            outputs.append(Wake(max(due, now)))
        return [output for output in outputs if not isinstance(output, Opened | Closed) or self._is_told(output)]

    def status(self) -> Status:
        """A snapshot for people and metrics."""
        return status_of(self.replica)

    def digest(self) -> bytes:
        """A hash of all that the peers must come to agree on, and of what it will be computed from."""
        return self.replica.digest()

    @property
    def committee(self) -> Committee:
        """That of the epoch that we are in."""
        return self.replica.committee

    def make_replica(self, roster: Roster, committee: Committee, number: int) -> Replica:
        """What we are in the epoch with a number; tests have others."""
        return Replica(self.config, roster, committee, self._network_id, number, self._signer_in(roster))

    # -- inputs -------------------------------------------------------------------------------------

    def _route(self, input: Input, outputs: list[Output]) -> None:
        replica, now = self.replica, self._now
        match input:
            case Start():
                self._start(input)
            case Persisted():
                self._persisted(input.token, outputs)
            case NextKey():
                self._signers.append(Signer(input.seed, self.config.signatures))
            case Propose():
                self._waits_for(proposal_id(self._network_id, self.own, input.body))
                replica.input(input, now)
            case Certify() if self._before is not None and input.index < self._starts_at:
                self._before.input(input, now)  # the votes of its checkpoints are there
                self._before.close(now)
                self._drain(self._before, outputs)
            case Received():
                frames = [frame for frame in input.frames if not self._is_over(input.peer, frame, outputs)]
                replica.input(Received(replica.peers.index_of(input.peer), frames), now)
            case Connected() | Disconnected():
                replica.input(replace(input, peer=replica.peers.index_of(input.peer)), now)
            case _:
                replica.input(input, now)
        self._drain(replica, outputs)

    def _start(self, input: Start) -> None:
        """Take up the store, in the newest epoch that it has."""
        assert not self._started, "started twice"
        self._started, self._whole = True, input.whole
        past = read_store(input.records, self.replica.committee, self.config.network)
        for start in past.epochs:
            replica = self.replica
            if len(start.reached) != replica.committee.n:
                raise CorruptError(f"the journal holds the beginning of epoch {start.number} behind another one")
            self._ended.add(replica.committee, replica.network.gc_depth, start.reached)
            self.replica = self._replica_of(start.roster, start.epoch_id, start.number)
            self._starts_at = start.next_index
        last = past.epochs[-1] if past.epochs else None
        self.replica.start(past, input.whole, last, self._now)
        self._look_for_us()

    def _is_over(self, peer: int, frame: bytes, outputs: list[Output]) -> bool:
        """Whether a frame speaks of an epoch that is over; who sends it has to get on (S4)."""
        replica = self.replica
        if not replica.number or frame[:1] not in (_FRONTIER, _PULL):
            return False
        number = wire.epoch_of_frontier(frame)
        if isinstance(number, Reject) or number >= replica.number:
            return False
        reject: Reject | None = None
        if frame[:1] == _FRONTIER:
            replica.exchange.tell(replica.peers.index_of(peer))  # it pulls from whoever is ahead
        elif self._before is not None and number == self._before.number:
            reject = self._before.exchange.answer(self._before.peers.index_of(peer), frame, self._now)
            self._drain(self._before, outputs)
        else:
            reject = self._ended.answer(peer, number, frame, self._now, outputs)
        if reject is not None:
            replica.reject(replica.peers.index_of(peer), reject)
        return True

    def _persisted(self, token: int, outputs: list[Output]) -> None:
        assert self._persisting, "nothing was being persisted"
        assert token in self._persisting, "another token was being persisted"
        replica, event = self._persisting.pop(token)
        if event is not None:
            replica.persisted(event, self._now)
        elif replica is self.replica:
            replica.exchange.begin()
        self._drain(replica, outputs)

    # -- epochs -------------------------------------------------------------------------------------

    def _follow(self, outputs: list[Output]) -> None:
        """Begin the next epoch when the committee of this one has signed what ends it (S4)."""
        before = self.replica
        found = before.transition()
        if found is None:
            return
        fence, certificate = found
        roster = before.epoch.next_roster
        assert roster is not None, "a fence leads somewhere"
        epoch_id = next_epoch_id(before.committee.epoch_id, fence.digest, fence.order_hash)
        replica = self._replica_of(roster, epoch_id, before.number + 1)
        replica.exchange.is_begun = False
        replica.follow(before, self._whole, self._now)
        start = EpochStart(
            replica.number,
            epoch_id,
            fence.index + 1,
            fence.consensus_at,
            fence.order_hash,
            roster,
            tuple(before.dag.frontier),
            replica.epoch.encode(),
            encode_transition(transition_of(fence, before.epoch.before_fence, certificate)),
        )
        # What is persisted first is durable first, so nothing of this epoch is sent before its beginning is durable.
        outputs.append(self._persist(encode_epoch_start(start), None, replica))
        outputs.append(Entered(start))
        self._ended.add(before.committee, before.network.gc_depth, tuple(before.dag.frontier))
        self._before, self.replica, self._starts_at = before, replica, fence.index + 1
        self._look_for_us()
        replica.close(self._now)
        self._drain(replica, outputs)

    def _replica_of(self, roster: Roster, epoch_id: bytes, number: int) -> Replica:
        committee = roster.committee(epoch_id, self.config.signatures)
        return self.make_replica(roster, committee, number)

    def _signer_in(self, roster: Roster) -> Signer:
        """Who we are among these members: the newest of our keys that is a member's; the first one while none is."""
        known = (signer for signer in reversed(self._signers) if roster.seat_of(signer.public) is not None)
        return next(known, self._signers[0])

    def _look_for_us(self) -> None:
        """A peer that was removed makes nothing more; one that joins waits until it is let in."""
        replica = self.replica
        self.own = replica.peers.number_of(replica.own)
        if not replica.is_member and not self.config.joins:
            replica.halt(REMOVED)

    # -- outputs ------------------------------------------------------------------------------------

    def _waits_for(self, proposal: bytes) -> None:
        self._awaited[proposal] = None
        if len(self._awaited) > MAX_AWAITED:
            del self._awaited[next(iter(self._awaited))]

    def _is_told(self, output: Opened | Closed) -> bool:
        """Whether the runtime is told that a proposal is open, or decided: the latter once, and if it knows of it.

        What never was open, or was forgotten since, comes as often as its proposer repeats it.
        """
        if isinstance(output, Opened):
            self._waits_for(output.proposal)
            return True
        if output.proposal not in self._awaited:
            return False
        del self._awaited[output.proposal]
        return True

    def _persist(self, record: bytes, event: Event | None, replica: Replica | None = None) -> Persist:
        self._token += 1
        self._persisting[self._token] = (replica or self.replica, event)
        return Persist(self._token, (record,))

    def _drain(self, replica: Replica, outputs: list[Output]) -> None:
        """Take what a replica has to say, with its indices turned into numbers."""
        for output in replica.outputs:
            if isinstance(output, Send | SendStored | Rejected):
                output = replace(output, peer=replica.peers.number_of(output.peer))
            outputs.append(output)
        replica.outputs.clear()


_FRONTIER, _PULL = bytes((FrameType.FRONTIER,)), bytes((FrameType.PULL,))
