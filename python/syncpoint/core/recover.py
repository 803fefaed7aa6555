"""What a peer knows of its own past after a restart, and from where it goes on (R1 to R3, R5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..errors import CorruptError
from . import wire
from .committee import Committee
from .config import Network
from .dag import Dag
from .error import Reject
from .journal import (
    EpochStart,
    OwnDelivered,
    OwnEvent,
    PeerEvent,
    Place,
    Position,
    State,
    StoredSyncPoint,
    decode_record,
)
from .values import Event

__all__ = ["COPIED", "NOT_OURS", "Past", "Recovery", "Stored", "read_store"]

COPIED = "this key signs in another process, too"
NOT_OURS = "the journal holds an event that is not ours: another key or network"


class Stored(NamedTuple):
    """An event of the store."""

    event: Event
    epoch: int  # its number
    taken_over: tuple[Position, ...] | None  # of one that we signed, as the journal says (O11); None of any other


class Past(NamedTuple):
    """What the records of a store say, each kind in the order of the records."""

    epochs: list[EpochStart]  # all that began, from the second on
    place: Place | None
    state: bytes | None  # of proposals and votes
    events: list[Stored]
    delivered: list[int]  # heights of own events


def read_store(records: Iterable[bytes], committee: Committee, network: Network) -> Past:
    """Decode the records of a start; CorruptError for those that no store can hold.

    `committee` is the first one, `network` has the first settings.
    """
    epochs: list[EpochStart] = []
    known = {committee.epoch_id: (0, committee.n)}  # id -> number, creators
    place: Place | None = None
    state: bytes | None = None
    events: list[Stored] = []
    delivered: list[int] = []
    own = 0, 0  # epoch and round of the last own event
    for record in records:
        decoded = decode_record(record)
        if decoded is None:
            raise CorruptError(f"the journal holds a record that is none: {record[:16].hex()}...")
        if isinstance(decoded, EpochStart):
            if decoded.number != len(epochs) + 1:
                raise CorruptError(
                    f"the journal holds the beginning of epoch {decoded.number} behind {len(epochs)} others"
                )
            epochs.append(decoded)
            orders = sum(seat.member.orders for seat in decoded.roster.seats)
            known[decoded.epoch_id] = decoded.number, orders
        elif isinstance(decoded, Place):
            place = decoded
        elif isinstance(decoded, OwnDelivered):
            delivered.append(decoded.of_height)
        elif isinstance(decoded, State):
            state = decoded.state
        elif isinstance(decoded, StoredSyncPoint):
            raise CorruptError("the journal holds a sync point among what a start takes")
        else:
            stored = _stored(decoded, known, network)
            if stored.taken_over is not None:
                if own == (stored.epoch, stored.event.round):
                    raise CorruptError(f"the journal holds two events of ours for round {stored.event.round}")
                own = stored.epoch, stored.event.round
            events.append(stored)
    return Past(epochs, place, state, events, delivered)


def _stored(record: OwnEvent | PeerEvent, known: dict[bytes, tuple[int, int]], network: Network) -> Stored:
    epoch_id = wire.epoch_id_of(record.frame[1:])
    epoch, n = known.get(epoch_id, (0, 0))
    event = wire.decode_event(record.frame, epoch_id, network)
    if isinstance(event, Reject) or event.creator >= n:
        raise CorruptError(NOT_OURS)
    return Stored(event, epoch, record.taken_over if isinstance(record, OwnEvent) else None)


class Recovery:
    """Whether we may sign: our journal has all that we ever signed, or the others have told how far that went.

    A whole journal needs q peers, ourselves among them, that know no more of us than it does. One that is lost, old or
    damaged needs the answers of q others. Any event that we may have sent builds on those of q creators of the round
    before, and among q others is an honest one of these: what it shows to have reaches up to that round. An answer is
    the first frontier on a link, so nobody can have made it before we asked, and it counts when we have what it names.

    A peer whose next event would come too late for the others to refer to it makes none, and goes on where they are
    once it has what they have (docs/decisions/0015-far-behind.md).
    """

    def __init__(self, committee: Committee, own: int, dag: Dag, gc_depth: int) -> None:
        self.journaled_round = 0  # of our newest journaled event: nothing new before it is in the DAG
        self.resume_round = 0  # what our next event builds on is not below it (R2, 0015)
        self.late_round = 0  # what comes from such a round others may refuse by the time our next event is there (0015)
        self.unknown_round = 0  # up to here the journal may lack events of ours: we made them before a recovery (R3)
        self.is_lost = False  # the journal may lack events of ours, and we have not gone on yet
        self.is_behind = False  # what we would make next comes too late for the others, and we have not gone on yet
        self._committee = committee
        self._own = own
        self._dag = dag
        self._gc_depth = gc_depth
        self._observes = own >= committee.n  # it has no journal (Q4)
        self._signs = False  # we have made an event since the start
        self._settled = False  # the others have told how far we were (R2)
        self._heard = 0  # bit set over creators: members that claim no event of ours that we do not have
        self._tops: dict[int, int] = {}  # member -> the highest round that it says it has
        self._answers: dict[int, tuple[int, int]] = {}  # member -> the newest round of its own, and of ours, it has

    @property
    def is_certain(self) -> bool:
        """Whether we may sign, as far as our past is concerned (R1, R2); an observer has none."""
        if self._observes:
            return True
        return not self.is_lost and self._heard.bit_count() + 1 >= self._committee.q

    @property
    def peers_round(self) -> int:
        """The highest round that f + 1 members say they have: one of them at least does not lie."""
        tops = sorted(self._tops.values(), reverse=True)
        return tops[self._committee.f] if len(tops) > self._committee.f else 0

    def start(self, whole: bool) -> None:
        """Begin with a journal that is whole as far as the store can tell, or is not."""
        self.is_lost = not whole and not self._observes

    def journaled(self, event: Event) -> None:
        """Note an own event of the journal, or a new one that is durable."""
        self.journaled_round = max(self.journaled_round, event.round)
        builds_on = max((parent.round for parent in event.parents if parent.creator == self._own), default=0)
        if builds_on < event.round - 1:  # R3: it was made after a recovery
            self.unknown_round = max(self.unknown_round, event.round - 1)

    def frontier(self, peer: int, theirs: Sequence[int]) -> None:
        """Note how far a member is, and how far we are as it knows."""
        self.claims(peer, max(theirs))
        self._answers.setdefault(peer, (theirs[peer], theirs[self._own]))
        if theirs[self._own] <= max(self._dag.frontier[self._own], self.journaled_round):
            self._heard |= 1 << peer  # else it knows more of us than we do, or lies; the pull will tell

    def claims(self, peer: int, round: int) -> None:
        """Note that a peer says it has an event of a round; what observers say counts for nothing (Q4)."""
        if peer < self._committee.n:
            self._tops[peer] = max(round, self._tops.get(peer, 0))

    def is_heard(self, peer: int) -> bool:
        """Whether a member has said what we need to hear from it, and we have what it named."""
        if not self.is_lost:
            return bool(self._heard >> peer & 1)
        its, ours = self._answers.get(peer, (wire.MAX_ROUND, 0))
        return self._dag.frontier[peer] >= its and self._dag.frontier[self._own] >= ours

    def signed(self) -> None:
        """Note that an event was made: from now on an unknown one of ours comes from another process (R5)."""
        self._signs = True

    def is_copied(self, event: Event) -> bool:
        """Whether an event of ours that the journal lacks can only come from another process (R5)."""
        if event.round <= self.unknown_round:
            return False
        if self._signs or self._settled:
            return True
        self.is_lost = True  # R2: the store was put back, or lost, without anybody noticing
        return False

    def catch_up(self, base_round: int, reach: int) -> None:
        """Compare the round that our next event builds on with those of the others; go on there once we can (0015)."""
        self.late_round = max(self.peers_round, self._dag.top) - reach + self._gc_depth // 2
        if not self.keeps_up(base_round):
            self.is_behind = True
        if self.is_behind and not self.is_lost:
            full = self._dag.full_round(self._committee.q)
            if self.keeps_up(full):
                self.is_behind = False
                self.resume_round = max(self.resume_round, full)

    def keeps_up(self, base_round: int) -> bool:
        """Whether what we make next is near the highest round of the others, as far as they have told."""
        return base_round + self._gc_depth // 2 >= max(self.peers_round, self._dag.top)

    def believe(self) -> None:
        """Take what we have for all that there is."""
        self.is_lost = False
        self._heard = (1 << self._committee.n) - 1

    def settle(self) -> str | None:
        """Go on where nothing of ours can be once q others have answered (R2); why that can never be, if so."""
        committee, top = self._committee, self._dag.top
        if not self.is_lost:
            return None
        if sum(map(self.is_heard, self._answers)) < min(committee.q, committee.n - 1):
            return None
        if committee.n > 1 and committee.f == 0 and top > 0:
            return "our journal is not whole, and this network tolerates no fault: nobody can go on without us (R2)"
        self.believe()
        if committee.n > 1 and top > 0:  # else nobody has anything: the network begins
            self.unknown_round, self.resume_round, self._settled = top + 1, top + 1, True
        return None
