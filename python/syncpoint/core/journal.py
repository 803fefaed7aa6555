"""The records that make a restart safe: what must be durable before it is acted upon (J1)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

__all__ = ["OwnEvent", "Position", "RecordType", "decode_record", "encode_own_event"]

_COUNT = struct.Struct("<I")
_POSITION = struct.Struct("<QI")


class RecordType(IntEnum):
    """The first byte of every record."""

    OWN_EVENT = 1


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


def encode_own_event(frame: bytes, taken_over: Sequence[Position]) -> bytes:
    """The record of an event that we have signed and will send."""
    parts = [bytes((RecordType.OWN_EVENT,)), _COUNT.pack(len(taken_over))]
    parts += [_POSITION.pack(*position) for position in taken_over]
    return b"".join((*parts, frame))


def decode_record(record: bytes) -> OwnEvent | None:
    """What a record says, None when it is none: our own store contradicts itself."""
    if len(record) < 1 + _COUNT.size or record[0] != RecordType.OWN_EVENT:
        return None
    (count,) = _COUNT.unpack_from(record, 1)
    start = 1 + _COUNT.size
    end = start + count * _POSITION.size
    if len(record) < end:
        return None
    positions = tuple(map(Position._make, _POSITION.iter_unpack(record[start:end])))
    return OwnEvent(positions, record[end:])
