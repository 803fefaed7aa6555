"""The records that make a restart safe: what must be durable before it is acted upon (J1)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from .config import Member, Network
from .items import decode_content, encode_content
from .roster import Roster, Seat
from .values import SyncPoint

__all__ = [
    "EPOCH_ROUNDS",
    "EpochStart",
    "OwnDelivered",
    "OwnEvent",
    "PeerEvent",
    "Place",
    "Position",
    "Record",
    "RecordType",
    "State",
    "StoredSyncPoint",
    "decode_record",
    "encode_epoch_start",
    "encode_own_delivered",
    "encode_own_event",
    "encode_peer_event",
    "encode_place",
    "encode_state",
    "encode_sync_point",
    "height",
]

EPOCH_ROUNDS = 2**40  # so many heights an epoch has: more rounds than one ever makes
_COUNT = struct.Struct("<I")
_POSITION = struct.Struct("<QI")
_PLACE = struct.Struct("<QQQ32s")
_ROUND = struct.Struct("<Q")
_SYNC_POINT = struct.Struct("<BQ32sH16s32s")
_NOBODY = 0xFFFF
_EPOCH = struct.Struct("<I32sQQ32sHHHHIH")
_SEAT = struct.Struct("<H32sBB")


class RecordType(IntEnum):
    """The first byte of every record."""

    OWN_EVENT = 1
    PEER_EVENT = 2
    PLACE = 3
    OWN_DELIVERED = 4
    STATE = 5
    SYNC_POINT = 6
    EPOCH = 7


class Position(NamedTuple):
    """A transaction in an own event."""

    height: int
    place: int  # among the event's transactions, from 0


class OwnEvent(NamedTuple):
    """An event of ours that was signed, and what it took over from own events that will not be delivered (O11).

    Both are one record: with one and without the other a restart would lose transactions, or send them twice.
    """

    taken_over: tuple[Position, ...]
    frame: bytes  # its EVENT frame


class PeerEvent(NamedTuple):
    """An event that was accepted from another peer (J2); one of ours among them was made before a recovery (R2)."""

    frame: bytes  # its EVENT frame


class Place(NamedTuple):
    """Where the order stood when a round of the newest epoch had closed (R1)."""

    round: int
    next_index: int  # of the next delivered event
    consensus_at: int  # ns, of the last one
    order_hash: bytes  # 32 bytes, after the last one


class OwnDelivered(NamedTuple):
    """Our event of this height was delivered before the place: what it carries is not to be queued again (O11)."""

    of_height: int


class State(NamedTuple):
    """The state of proposals and votes at the place (S1, R1)."""

    state: bytes  # `Epoch.encode`


class StoredSyncPoint(NamedTuple):
    """A sync point as a store keeps it, without its place in the order (J2)."""

    kind: int
    epoch_index: int
    proposal: bytes
    proposer: int | None
    approvals: int
    session_id: bytes
    metadata: bytes
    change: bytes


class EpochStart(NamedTuple):
    """Where an epoch after the first begins, and what it takes over (S4); nothing is signed in it before that is kept.

    Rounds begin at 1 in every epoch. What has to rise for ever, in stores and in own events that take over
    transactions, are heights (`height`).
    """

    number: int  # of the epoch, from 1: the first one has number 0, and no record
    epoch_id: bytes  # 32 bytes
    next_index: int  # of what is delivered next
    consensus_at: int  # ns, of the last that was delivered
    order_hash: bytes  # 32 bytes, after that
    roster: Roster  # members and settings
    reached: tuple[int, ...]  # in the epoch before: the highest round of each creator that we had
    state: bytes  # of proposals and votes, `Epoch.encode`
    transition: bytes  # how the committee before it vouches for it, `transition.encode_transition`


Record = OwnEvent | PeerEvent | Place | OwnDelivered | State | StoredSyncPoint | EpochStart


def height(epoch: int, round: int) -> int:
    """What rises from epoch to epoch, as rounds do within one; in the first epoch it is the round."""
    return epoch * EPOCH_ROUNDS + round


def encode_own_event(frame: bytes, taken_over: Sequence[Position]) -> bytes:
    """The record of an event that we have signed and will send."""
    parts = [bytes((RecordType.OWN_EVENT,)), _COUNT.pack(len(taken_over))]
    parts += [_POSITION.pack(*position) for position in taken_over]
    return b"".join((*parts, frame))


def encode_peer_event(frame: bytes) -> bytes:
    """The record of an event that we have accepted."""
    return bytes((RecordType.PEER_EVENT,)) + frame


def encode_place(place: Place) -> bytes:
    """The record of a place in the order."""
    return bytes((RecordType.PLACE,)) + _PLACE.pack(*place)


def encode_own_delivered(height: int) -> bytes:
    """The record of an own event's delivery."""
    return bytes((RecordType.OWN_DELIVERED,)) + _ROUND.pack(height)


def encode_state(state: bytes) -> bytes:
    """The record of the state of proposals and votes."""
    return bytes((RecordType.STATE,)) + state


def encode_sync_point(point: SyncPoint) -> bytes:
    """The record of a sync point."""
    proposer = _NOBODY if point.proposer is None else point.proposer
    approvals = point.approvals.to_bytes(16, "little")
    fixed = _SYNC_POINT.pack(point.kind, point.epoch_index, point.proposal, proposer, approvals, point.session_id)
    return bytes((RecordType.SYNC_POINT,)) + fixed + encode_content(point.kind, point.change, point.metadata)


def encode_epoch_start(start: EpochStart) -> bytes:
    """The record of an epoch's beginning."""
    network, seats = start.roster.network.encode(), start.roster.seats
    fixed = _EPOCH.pack(
        start.number,
        start.epoch_id,
        start.next_index,
        start.consensus_at,
        start.order_hash,
        start.roster.last_number,
        len(network),
        len(seats),
        len(start.reached),
        len(start.state),
        len(start.transition),
    )
    parts = [bytes((RecordType.EPOCH,)), fixed, network]
    for number, member, contact in seats:
        parts += (_SEAT.pack(number, member.public, member.flags, len(contact)), contact)
    parts += [_ROUND.pack(round) for round in start.reached]
    return b"".join((*parts, start.state, start.transition))


def decode_record(record: bytes) -> Record | None:
    """What a record says, None when it is none: our own store contradicts itself."""
    if not record:
        return None
    kind, body = record[0], record[1:]
    if kind == RecordType.PEER_EVENT:  # most of them
        return PeerEvent(body)
    if kind == RecordType.OWN_EVENT:
        return _decode_own_event(body)
    if kind == RecordType.PLACE and len(body) == _PLACE.size:
        return Place._make(_PLACE.unpack(body))
    if kind == RecordType.OWN_DELIVERED and len(body) == _ROUND.size:
        return OwnDelivered(*_ROUND.unpack(body))
    if kind == RecordType.STATE:
        return State(body)
    if kind == RecordType.SYNC_POINT and len(body) >= _SYNC_POINT.size:
        return _decode_sync_point(body)
    if kind == RecordType.EPOCH:
        return _decode_epoch_start(body)
    return None


def _decode_sync_point(body: bytes) -> StoredSyncPoint | None:
    kind, epoch_index, proposal, proposer, approvals, session_id = _SYNC_POINT.unpack_from(body)
    content = decode_content(kind, body[_SYNC_POINT.size :])
    if content is None:
        return None
    by, agreed = None if proposer == _NOBODY else proposer, int.from_bytes(approvals, "little")
    return StoredSyncPoint(kind, epoch_index, proposal, by, agreed, session_id, content[1], content[0])


def _decode_epoch_start(body: bytes) -> EpochStart | None:
    if len(body) < _EPOCH.size:
        return None
    number, epoch_id, next_index, consensus_at, order_hash, last, *sizes = _EPOCH.unpack_from(body)
    settings, members, creators, state, transition = sizes
    at = _EPOCH.size + settings
    network = Network.decode(body[_EPOCH.size : at])
    seats: list[Seat] = []
    for _ in range(members):
        if len(body) < at + _SEAT.size:
            return None
        seat, public, flags, size = _SEAT.unpack_from(body, at)
        at += _SEAT.size + size
        seats.append(Seat(seat, Member(public, flags), body[at - size : at]))
    state_at = at + creators * _ROUND.size
    end = state_at + state
    if network is None or len(body) != end + transition:
        return None
    reached = tuple(round for (round,) in _ROUND.iter_unpack(body[at:state_at]))
    roster = Roster(network, tuple(seats), last)
    return EpochStart(
        number, epoch_id, next_index, consensus_at, order_hash, roster, reached, body[state_at:end], body[end:]
    )


def _decode_own_event(body: bytes) -> OwnEvent | None:
    if len(body) < _COUNT.size:
        return None
    (count,) = _COUNT.unpack_from(body)
    end = _COUNT.size + count * _POSITION.size
    if len(body) < end:
        return None
    positions = tuple(map(Position._make, _POSITION.iter_unpack(body[_COUNT.size : end])))
    return OwnEvent(positions, body[end:])
