"""What the network agrees about itself: proposals and votes, counted in the delivered order, become sync points (S)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from ..errors import CorruptError
from .committee import Committee
from .crypto import HASH_BYTES, blake3
from .items import Proposal, Vote, decode_proposal, decode_vote, proposal_id
from .order import Orderer
from .values import Delivered, ItemType, SyncPoint, SyncPointKind

__all__ = ["DOMAIN_SESSION", "DOMAIN_SYNC_POINT", "Ballot", "Epoch", "Outcome", "sync_point_digest"]

DOMAIN_SYNC_POINT = b"syncpoint/syncpoint/v1"
DOMAIN_SESSION = b"syncpoint/session/v1"
MAX_PROPOSALS = 16  # of one creator that are open, or were and are not past their deadline; more are refused
MAX_DEADLINE_NS = 3_600_000_000_000  # after the proposal's place in the order; a later one is refused

NO_PROPOSAL = bytes(HASH_BYTES)  # in the place of an id: nobody had to ask

PROPOSABLE = (  # S3, and END, after which nothing is delivered (S4)
    SyncPointKind.SESSION,
    SyncPointKind.SNAPSHOT,
    SyncPointKind.EPOCH,
    SyncPointKind.CUSTOM,
    SyncPointKind.END,
)

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


class Ballot:
    """An open proposal and the votes on it, as far as they are delivered."""

    __slots__ = ("approvals", "id", "proposal", "proposer", "refusals")

    def __init__(self, id: bytes, proposer: int, proposal: Proposal, approvals: int, refusals: int) -> None:
        self.id = id
        self.proposer = proposer  # creator
        self.proposal = proposal
        self.approvals = approvals  # bit set over creators
        self.refusals = refusals  # the same

    def voted(self, creator: int) -> bool:
        """Whether a vote of this creator is counted; of several the first one is."""
        return bool((self.approvals | self.refusals) >> creator & 1)


class _Closed(NamedTuple):
    """A proposal that is decided, remembered until its deadline is over, so that nobody opens it again."""

    proposer: int
    deadline: int


class Epoch:
    """Counts proposals and votes where they are delivered; a function of the agreed order alone."""

    def __init__(self, committee: Committee, epoch_ns: int) -> None:
        self.committee = committee
        self.epoch_index = 0  # of the newest sync point
        self.session_id = committee.epoch_id
        self.is_ended = False  # nothing is delivered any more (S4)
        self.open: dict[bytes, Ballot] = {}  # by id, in the order of delivery
        self._epoch_ns = epoch_ns
        self._beat_from = 0  # consensus time of the first transaction since the last beat, 0 without (S5)
        self._opened: list[Ballot] = []  # since they were taken last
        self._closed: list[tuple[bytes, Outcome]] = []  # the same
        self._remembered: dict[bytes, _Closed] = {}
        self._adopted: list[Ballot] = []  # in the order in which they reached q
        self._changed = False

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
            self._close(ballot, Outcome.ADOPTED)
            points.append(self._emit(round, orderer, ballot))
        if self._beat_from and orderer.consensus_at >= self._beat_from + self._epoch_ns and not self.is_ended:  # S5
            points.append(self._emit(round, orderer, None))
        if self.is_ended:
            for ballot in list(self.open.values()):
                self._close(ballot, Outcome.ENDED)
        return points

    def take_opened(self) -> list[Ballot]:
        """Proposals that were opened, since they were taken last."""
        taken, self._opened = self._opened, []
        return taken

    def take_closed(self) -> list[tuple[bytes, Outcome]]:
        """Ids of proposals that were decided and how, since they were taken last."""
        taken, self._closed = self._closed, []
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
            proposal, approvals, refusals = ballot.proposal, _bits(ballot.approvals), _bits(ballot.refusals)
            kind, deadline, salt, metadata = proposal
            parts += (
                _BALLOT.pack(ballot.id, ballot.proposer, approvals, refusals, kind, deadline, salt, len(metadata)),
                metadata,
            )
        parts += [_CLOSED.pack(id, *closed) for id, closed in self._remembered.items()]
        return b"".join(parts)

    def restore(self, state: bytes) -> None:
        """Take up the state of before a restart; CorruptError for what is none."""
        try:
            self._decode(state)
        except struct.error:
            raise CorruptError("the state of proposals and votes is cut off") from None
        self._opened = list(self.open.values())

    # -- private --------------------------------------------------------------------------------------

    def _propose(self, creator: int, body: bytes, now: int) -> None:
        proposal = decode_proposal(body)
        id = proposal_id(self.committee.epoch_id, creator, body)
        if proposal is None or id in self.open or id in self._remembered:
            return
        ballot = Ballot(id, creator, proposal, 0, 0)
        if proposal.deadline <= now:
            self._closed.append((id, Outcome.EXPIRED))
        elif proposal.kind not in PROPOSABLE or proposal.deadline > now + MAX_DEADLINE_NS:
            self._closed.append((id, Outcome.INVALID))
        elif self._count_of(creator, now) >= MAX_PROPOSALS:
            self._closed.append((id, Outcome.TOO_MANY))
        else:
            self._changed = True
            self.open[id] = ballot
            self._opened.append(ballot)
            self._vote(creator, Vote(id, approves=True))  # who asks, agrees

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
        self._closed.append((ballot.id, outcome))
        self._changed = True

    def _count_of(self, creator: int, now: int) -> int:
        """How many proposals of a creator are open or remembered; what is past its deadline is forgotten."""
        kept = {id: closed for id, closed in self._remembered.items() if now <= closed.deadline}
        if len(kept) < len(self._remembered):  # else a restart would remember what all others have forgotten
            self._remembered, self._changed = kept, True
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
        digest = sync_point_digest(kind, self.epoch_index, id, proposer, approvals, metadata)
        index = orderer.place(digest, 0)
        if kind == SyncPointKind.SESSION:
            self.session_id = blake3(DOMAIN_SESSION + orderer.order_hash)
        elif kind == SyncPointKind.EPOCH:
            self._beat_from = 0
        elif kind == SyncPointKind.END:
            self.is_ended = True
        return SyncPoint(
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
        )

    def _decode(self, state: bytes) -> None:
        fixed = _STATE.unpack_from(state)
        self.epoch_index, self.session_id, self.is_ended, self._beat_from, opened, closed = fixed
        at = _STATE.size
        for _ in range(opened):
            id, proposer, approvals, refusals, kind, deadline, salt, length = _BALLOT.unpack_from(state, at)
            at += _BALLOT.size
            metadata = struct.unpack_from(f"<{length}s", state, at)[0]
            at += length
            proposal = Proposal(kind, deadline, salt, metadata)
            self.open[id] = Ballot(id, proposer, proposal, _number(approvals), _number(refusals))
        for _ in range(closed):
            id, proposer, deadline = _CLOSED.unpack_from(state, at)
            at += _CLOSED.size
            self._remembered[id] = _Closed(proposer, deadline)
        if at != len(state):
            raise CorruptError("the state of proposals and votes is longer than it says")


def sync_point_digest(
    kind: int, epoch_index: int, proposal: bytes, proposer: int | None, approvals: int, metadata: bytes
) -> bytes:
    """What stands for a sync point in the order hash, 32 bytes (O9)."""
    by = _NOBODY if proposer is None else proposer
    return blake3(DOMAIN_SYNC_POINT + _CONTENT.pack(kind, epoch_index, proposal, by, _bits(approvals)) + metadata)


def _bits(creators: int) -> bytes:
    return creators.to_bytes(16, "little")


def _number(bits: bytes) -> int:
    return int.from_bytes(bits, "little")
