"""The records that make a restart safe: what must be durable before it is acted upon (J1)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from .values import SyncPoint

__all__ = [
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
    "encode_own_delivered",
    "encode_own_event",
    "encode_peer_event",
    "encode_place",
    "encode_state",
    "encode_sync_point",
]

_COUNT = struct.Struct("<I")
_POSITION = struct.Struct("<QI")
_PLACE = struct.Struct("<QQQ32s")
_ROUND = struct.Struct("<Q")
_SYNC_POINT = struct.Struct("<BQ32sH16s32s")
_NOBODY = 0xFFFF


class RecordType(IntEnum):
    """The first byte of every record."""

    OWN_EVENT = 1
    PEER_EVENT = 2
    PLACE = 3
    OWN_DELIVERED = 4
    STATE = 5
    SYNC_POINT = 6


class Position(NamedTuple):
    """A transaction in an own event."""

    round: int
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
    """Where the order stood when a round had closed (R1)."""

    round: int
    next_index: int  # of the next delivered event
    consensus_at: int  # ns, of the last one
    order_hash: bytes  # 32 bytes, after the last one


class OwnDelivered(NamedTuple):
    """Our event of this round was delivered before the place: what it carries is not to be queued again (O11)."""

    of_round: int


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


Record = OwnEvent | PeerEvent | Place | OwnDelivered | State | StoredSyncPoint


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


def encode_own_delivered(round: int) -> bytes:
    """The record of an own event's delivery."""
    return bytes((RecordType.OWN_DELIVERED,)) + _ROUND.pack(round)


def encode_state(state: bytes) -> bytes:
    """The record of the state of proposals and votes."""
    return bytes((RecordType.STATE,)) + state


def encode_sync_point(point: SyncPoint) -> bytes:
    """The record of a sync point."""
    proposer = _NOBODY if point.proposer is None else point.proposer
    approvals = point.approvals.to_bytes(16, "little")
    fixed = _SYNC_POINT.pack(point.kind, point.epoch_index, point.proposal, proposer, approvals, point.session_id)
    return bytes((RecordType.SYNC_POINT,)) + fixed + point.metadata


def decode_record(record: bytes) -> Record | None:
    """What a record says, None when it is none: our own store contradicts itself."""
    kind, body = record[:1], record[1:]
    if kind == bytes((RecordType.OWN_EVENT,)):
        return _decode_own_event(body)
    if kind == bytes((RecordType.PEER_EVENT,)):
        return PeerEvent(body)
    if kind == bytes((RecordType.PLACE,)) and len(body) == _PLACE.size:
        return Place._make(_PLACE.unpack(body))
    if kind == bytes((RecordType.OWN_DELIVERED,)) and len(body) == _ROUND.size:
        return OwnDelivered(*_ROUND.unpack(body))
    if kind == bytes((RecordType.STATE,)):
        return State(body)
    if kind == bytes((RecordType.SYNC_POINT,)) and len(body) >= _SYNC_POINT.size:
        point, epoch_index, proposal, proposer, approvals, session_id = _SYNC_POINT.unpack_from(body)
        by = None if proposer == _NOBODY else proposer
        agreed = int.from_bytes(approvals, "little")
        return StoredSyncPoint(point, epoch_index, proposal, by, agreed, session_id, body[_SYNC_POINT.size :])
    return None


def _decode_own_event(body: bytes) -> OwnEvent | None:
    if len(body) < _COUNT.size:
        return None
    (count,) = _COUNT.unpack_from(body)
    end = _COUNT.size + count * _POSITION.size
    if len(body) < end:
        return None
    positions = tuple(map(Position._make, _POSITION.iter_unpack(body[_COUNT.size : end])))
    return OwnEvent(positions, body[end:])
