"""What the network agrees about itself: proposals and votes, counted in the delivered order, become sync points (S)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from ..errors import CorruptError
from .change import CHANGING, Change, Rotate, decode_change
from .committee import Committee
from .crypto import HASH_BYTES, blake3
from .items import Proposal, Vote, decode_content, decode_proposal, decode_vote, encode_content, proposal_id
from .order import Orderer
from .roster import Roster
from .values import Delivered, ItemType, SyncPoint, SyncPointKind

__all__ = ["DOMAIN_SESSION", "DOMAIN_SYNC_POINT", "Ballot", "Epoch", "Outcome", "sync_point_digest"]

DOMAIN_SYNC_POINT = b"syncpoint/syncpoint/v1"
DOMAIN_SESSION = b"syncpoint/session/v1"
MAX_PROPOSALS = 16  # of one creator that are open, or were and are not past their deadline; more are refused
MAX_DEADLINE_NS = 3_600_000_000_000  # after the proposal's place in the order; a later one is refused
MAX_UNCLAIMED = 2_048  # decided ones that count for nobody and are remembered; of more the oldest are forgotten

NO_PROPOSAL = bytes(HASH_BYTES)  # in the place of an id: nobody had to ask

_STATE = struct.Struct("<Q32s?QHH")
_BALLOT = struct.Struct("<32sH16s16sBQQI")
_CLOSED = struct.Struct("<32sHQ")
_CONTENT = struct.Struct("<BQ32sH16s")
_NOBODY = 0xFFFF


class Outcome(IntEnum):
    """What became of a proposal."""

    ADOPTED = 1  # q approved: there is a sync point (S2)
    REFUSED = 2  # more than f refused (S2)
    EXPIRED = 3  # its deadline passed (S2)
    INVALID = 4  # of a kind that cannot be proposed, or with a deadline that is over or too far away
    TOO_MANY = 5  # its proposer has MAX_PROPOSALS others
    ENDED = 6  # the session ended first
    CONFLICT = 7  # what it changes is not so, or not any more: another change came first (S7)
    LEFT = 8  # its proposer is no member any more


class Ballot:
    """An open proposal and the votes on it, as far as they are delivered."""

    __slots__ = ("approvals", "change", "id", "proposal", "proposer", "refusals")

    def __init__(self, id: bytes, proposer: int, proposal: Proposal, approvals: int, refusals: int) -> None:
        self.id = id
        self.proposer = proposer  # creator
        self.proposal = proposal
        self.approvals = approvals  # bit set over creators
        self.refusals = refusals  # the same
        self.change = decode_change(proposal.kind, proposal.change)  # None of one that changes nothing, or is none

    def voted(self, creator: int) -> bool:
        """Whether a vote of this creator is counted; of several the first one is."""
        return bool((self.approvals | self.refusals) >> creator & 1)


class _Closed(NamedTuple):
    """A proposal that is decided, remembered until its deadline is over, so that nobody opens it again."""

    proposer: int
    deadline: int


class Epoch:
    """Counts proposals and votes where they are delivered; a function of the agreed order alone."""

    def __init__(
        self,
        committee: Committee,
        epoch_ns: int,
        roster: Roster | None = None,
        number: int = 0,
        network_id: bytes | None = None,
    ) -> None:
        """`number` is that of the epoch, `network_id` the id of the first one; without a roster nothing can change."""
        self.committee = committee
        self.roster = roster
        self.number = number
        self.epoch_index = 0  # of the newest sync point
        self.session_id = committee.epoch_id
        self.is_ended = False  # nothing is delivered any more (S4)
        self.fence: SyncPoint | None = None  # ends the epoch: nothing is delivered behind it in this one (S4)
        self.before_fence = b""  # the order hash before that
        self.next_roster = roster  # that of the epoch behind the fence
        self.open: dict[bytes, Ballot] = {}  # by id, in the order of delivery
        self._network_id = committee.epoch_id if network_id is None else network_id
        self._epoch_ns = epoch_ns
        self._beat_from = 0  # consensus time of the first transaction since the last beat, 0 without (S5)
        self._news: list[tuple[Ballot, Outcome | None]] = []  # since they were taken last
        self._remembered: dict[bytes, _Closed] = {}
        self._adopted: list[Ballot] = []  # in the order in which they reached q
        self._changed = False

    @property
    def is_closed(self) -> bool:
        """Whether nothing is delivered any more in this epoch (S4)."""
        return self.is_ended or self.fence is not None

    def count(self, done: Delivered) -> None:
        """Count what a delivered event says (S1)."""
        event, now = done.event, done.consensus_at
        if self._epoch_ns and not self._beat_from and event.transaction_count:
            self._beat_from, self._changed = now, True
        if self.open:
            self._expire(now)
        for item in event.items:
            if item.type == ItemType.PROPOSE:
                self._propose(event.creator, item.body, now)
            elif item.type == ItemType.VOTE:
                vote = decode_vote(item.body)
                if vote is not None:
                    self._vote(event.creator, vote)

    def close(self, round: int, orderer: Orderer) -> list[SyncPoint]:
        """The sync points at the end of the batch that the closing of a round delivered (S2)."""
        points: list[SyncPoint] = []
        adopted, self._adopted = self._adopted, []
        for ballot in adopted:
            if self.is_ended:
                self._close(ballot, Outcome.ENDED)
                continue
            if self.fence is not None:  # in the next epoch, if it applies there
                self._adopted.append(ballot)
                continue
            self._close(ballot, Outcome.ADOPTED)
            points.append(self._emit(round, orderer, ballot))
        if self._beat_from and orderer.consensus_at >= self._beat_from + self._epoch_ns and not self.is_closed:  # S5
            points.append(self._emit(round, orderer, None))
        if self.is_ended:
            for ballot in list(self.open.values()):
                self._close(ballot, Outcome.ENDED)
        return points

    def next_epoch(self, committee: Committee, epoch_ns: int) -> Epoch:
        """What goes on behind the fence, in an epoch with the next roster and its committee (S4).

        Open proposals go over with their votes, by members; those of a member that left end, and those whose change
        does not apply any more.
        """
        fence, roster = self.fence, self.next_roster
        assert fence is not None, "nothing ends this epoch"
        after = Epoch(committee, epoch_ns, roster, self.number + 1, self._network_id)
        after.epoch_index, after.session_id, after._beat_from = self.epoch_index, self.session_id, self._beat_from
        places = self._places(after)
        for id, closed in self._remembered.items():
            # Not even those of who left are forgotten: whoever gets its number could open them again.
            after._remembered[id] = _Closed(places.get(closed.proposer, _NOBODY), closed.deadline)
        for ballot in self.open.values():
            proposer = places.get(ballot.proposer)
            if proposer is None:
                after._leave_behind(ballot, Outcome.LEFT)
                continue
            if ballot.change is not None and not after._applies(ballot.change):  # S7
                after._leave_behind(ballot, Outcome.CONFLICT)
                continue
            votes = _moved(ballot.approvals, places), _moved(ballot.refusals, places)
            after.open[ballot.id] = Ballot(ballot.id, proposer, ballot.proposal, *votes)
        after._forget(fence.consensus_at)
        after._recount()
        after._changed = True
        return after

    def take_news(self) -> list[tuple[Ballot, Outcome | None]]:
        """Proposals that were opened (None), or decided and how, since they were taken last."""
        taken, self._news = self._news, []
        return taken

    def take_changes(self) -> bytes | None:
        """The state if it changed since it was taken last: what a restart needs beside the order (R1)."""
        if not self._changed:
            return None
        self._changed = False
        return self.encode()

    def encode(self) -> bytes:
        """The state as bytes."""
        parts = [
            _STATE.pack(
                self.epoch_index,
                self.session_id,
                self.is_ended,
                self._beat_from,
                len(self.open),
                len(self._remembered),
            )
        ]
        for ballot in self.open.values():
            approvals, refusals = _bits(ballot.approvals), _bits(ballot.refusals)
            kind, deadline, salt, metadata, change = ballot.proposal
            content = encode_content(kind, change, metadata)
            parts += (
                _BALLOT.pack(ballot.id, ballot.proposer, approvals, refusals, kind, deadline, salt, len(content)),
                content,
            )
        parts += [_CLOSED.pack(id, *closed) for id, closed in self._remembered.items()]
        return b"".join(parts)

    def restore(self, state: bytes) -> None:
        """Take up the state of before a restart; CorruptError for what is none."""
        try:
            self._decode(state)
        except struct.error:
            raise CorruptError("the state of proposals and votes is cut off") from None
        self._news = [(ballot, None) for ballot in self.open.values()]
        self._recount()

    # -- private --------------------------------------------------------------------------------------

    def _propose(self, creator: int, body: bytes, now: int) -> None:
        proposal = decode_proposal(body)
        id = proposal_id(self._network_id, self._number_of(creator), body)
        if proposal is None or id in self.open or id in self._remembered:
            return
        ballot = Ballot(id, creator, proposal, 0, 0)
        if proposal.deadline <= now:
            self._news.append((ballot, Outcome.EXPIRED))
        elif not self._is_valid(ballot) or proposal.deadline > now + MAX_DEADLINE_NS:
            self._news.append((ballot, Outcome.INVALID))
        elif self._count_of(creator, now) >= MAX_PROPOSALS:
            self._news.append((ballot, Outcome.TOO_MANY))
        elif ballot.change is not None and not self._applies(ballot.change):
            # Remembered, or the same item once more could open what its proposer was told is rejected.
            self._remembered[id], self._changed = _Closed(creator, proposal.deadline), True
            self._news.append((ballot, Outcome.CONFLICT))
        else:
            self._changed = True
            self.open[id] = ballot
            self._news.append((ballot, None))
            self._vote(creator, Vote(id, approves=True))  # who asks, agrees

    def _is_valid(self, ballot: Ballot) -> bool:
        """Whether there can be a sync point like this, asked for by this peer."""
        kind, change = ballot.proposal.kind, ballot.change
        if kind not in CHANGING:
            return SyncPointKind.SESSION <= kind <= SyncPointKind.END
        if change is None or self.roster is None:
            return False
        # Nobody gives another one a key.
        return not isinstance(change, Rotate) or change.old == self.committee.members[ballot.proposer].public

    def _applies(self, change: Change) -> bool:
        """Whether a change is one, of the members and settings that hold (S7)."""
        return self.roster is not None and self.roster.change(change) is not None

    def _number_of(self, creator: int) -> int:
        """The number at the seam of a creator."""
        seat = None if self.roster is None else self.roster.seat_of(self.committee.members[creator].public)
        return creator if seat is None else seat.number

    def _places(self, after: Epoch) -> dict[int, int]:
        """The creators of this epoch that are some in the next one, and which ones."""
        numbers = {after._number_of(creator): creator for creator in range(after.committee.n)}
        places = {creator: numbers.get(self._number_of(creator)) for creator in range(self.committee.n)}
        return {creator: place for creator, place in places.items() if place is not None}

    def _recount(self) -> None:
        """Decide what is decided by the thresholds of this epoch already, in the order of delivery.

        A restart knows no other order: so what was adopted behind a fence goes by it as well.
        """
        for ballot in list(self.open.values()):
            if ballot.refusals.bit_count() > self.committee.f and ballot.approvals.bit_count() < self.committee.q:
                self._close(ballot, Outcome.REFUSED)
        self._adopted = [each for each in self.open.values() if each.approvals.bit_count() >= self.committee.q]

    def _vote(self, creator: int, vote: Vote) -> None:
        ballot = self.open.get(vote.proposal)
        if ballot is None or ballot.voted(creator):
            return
        self._changed = True
        if vote.approves:
            ballot.approvals |= 1 << creator
            if ballot.approvals.bit_count() == self.committee.q:
                self._adopted.append(ballot)
        else:
            ballot.refusals |= 1 << creator
            if ballot.refusals.bit_count() == self.committee.f + 1:
                self._close(ballot, Outcome.REFUSED)

    def _expire(self, now: int) -> None:
        """Give up what is past its deadline in consensus time, unless q have approved it (S2)."""
        late = [ballot for ballot in self.open.values() if now > ballot.proposal.deadline]
        for ballot in late:
            if ballot not in self._adopted:
                self._close(ballot, Outcome.EXPIRED)

    def _close(self, ballot: Ballot, outcome: Outcome) -> None:
        del self.open[ballot.id]
        self._remembered[ballot.id] = _Closed(ballot.proposer, ballot.proposal.deadline)
        self._news.append((ballot, outcome))
        self._changed = True

    def _leave_behind(self, ballot: Ballot, outcome: Outcome) -> None:
        """Close at a fence what does not get into this epoch.

        It counts for nobody from here on, so that whoever was not the first to ask may ask for something else.
        """
        self._remembered[ballot.id] = _Closed(_NOBODY, ballot.proposal.deadline)
        self._news.append((ballot, outcome))

    def _forget(self, now: int) -> None:
        """Forget what is past its deadline, and the oldest of too many that count for nobody."""
        kept = {id: closed for id, closed in self._remembered.items() if now <= closed.deadline}
        unclaimed = [id for id, closed in kept.items() if closed.proposer == _NOBODY]
        for id in unclaimed[:-MAX_UNCLAIMED]:
            del kept[id]
        if len(kept) < len(self._remembered):  # else a restart would remember what all others have forgotten
            self._remembered, self._changed = kept, True

    def _count_of(self, creator: int, now: int) -> int:
        """How many proposals of a creator are open or remembered; what is past its deadline is forgotten."""
        self._forget(now)
        proposers = [ballot.proposer for ballot in self.open.values()]
        proposers += [closed.proposer for closed in self._remembered.values()]
        return proposers.count(creator)

    def _emit(self, round: int, orderer: Orderer, ballot: Ballot | None) -> SyncPoint:
        """The sync point of a proposal, or the regular beat, at the next place in the order."""
        self._changed = True
        self.epoch_index += 1
        kind = SyncPointKind.EPOCH if ballot is None else SyncPointKind(ballot.proposal.kind)
        id, proposer = (NO_PROPOSAL, None) if ballot is None else (ballot.id, ballot.proposer)
        metadata, approvals = (b"", 0) if ballot is None else (ballot.proposal.metadata, ballot.approvals)
        change = b"" if ballot is None else ballot.proposal.change
        digest = sync_point_digest(kind, self.epoch_index, id, proposer, approvals, metadata, change)
        before = orderer.order_hash
        index = orderer.place(digest, 0)
        if kind == SyncPointKind.SESSION:
            self.session_id = blake3(DOMAIN_SESSION + orderer.order_hash)
        elif kind == SyncPointKind.EPOCH:
            self._beat_from = 0
        elif kind == SyncPointKind.END:
            self.is_ended = True
        point = SyncPoint(
            kind=kind,
            metadata=metadata,
            proposal=id,
            proposer=proposer,
            approvals=approvals,
            epoch_index=self.epoch_index,
            session_id=self.session_id,
            digest=digest,
            index=index,
            consensus_at=orderer.consensus_at,
            order_hash=orderer.order_hash,
            closed_by=round,
            change=change,
            epoch=self.number,
        )
        if ballot is not None and ballot.change is not None:
            assert self.roster is not None, "nothing can change without a roster"
            self.fence, self.before_fence, self.next_roster = point, before, self.roster.change(ballot.change)
            assert self.next_roster is not None, "what is open applies"  # S7
        return point

    def _decode(self, state: bytes) -> None:
        fixed = _STATE.unpack_from(state)
        self.epoch_index, self.session_id, self.is_ended, self._beat_from, opened, closed = fixed
        at = _STATE.size
        for _ in range(opened):
            id, proposer, approvals, refusals, kind, deadline, salt, length = _BALLOT.unpack_from(state, at)
            at += _BALLOT.size
            content = decode_content(kind, struct.unpack_from(f"<{length}s", state, at)[0])
            if content is None:
                raise CorruptError("the state of proposals and votes holds a proposal that is none")
            at += length
            proposal = Proposal(kind, deadline, salt, content[1], content[0])
            self.open[id] = Ballot(id, proposer, proposal, _number(approvals), _number(refusals))
        for _ in range(closed):
            id, proposer, deadline = _CLOSED.unpack_from(state, at)
            at += _CLOSED.size
            self._remembered[id] = _Closed(proposer, deadline)
        if at != len(state):
            raise CorruptError("the state of proposals and votes is longer than it says")


def sync_point_digest(
    kind: int,
    epoch_index: int,
    proposal: bytes,
    proposer: int | None,
    approvals: int,
    metadata: bytes,
    change: bytes = b"",
) -> bytes:
    """What stands for a sync point in the order hash, 32 bytes (O9)."""
    by = _NOBODY if proposer is None else proposer
    fixed = _CONTENT.pack(kind, epoch_index, proposal, by, _bits(approvals))
    return blake3(DOMAIN_SYNC_POINT + fixed + encode_content(kind, change, metadata))


def _moved(creators: int, places: dict[int, int]) -> int:
    """The same members as creators of the next epoch."""
    return sum(1 << place for creator, place in places.items() if creators >> creator & 1)


def _bits(creators: int) -> bytes:
    return creators.to_bytes(16, "little")


def _number(bits: bytes) -> int:
    return int.from_bytes(bits, "little")
