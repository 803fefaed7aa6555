"""The records that make a restart safe: what must be durable before it is acted upon (J1)."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["RecordType", "decode_record", "encode_own_event"]


class RecordType(IntEnum):
    """The first byte of every record."""

    OWN_EVENT = 1  # an event of ours; its EVENT frame follows


def encode_own_event(frame: bytes) -> bytes:
    """The record of an event that we have signed and will send."""
    return bytes((RecordType.OWN_EVENT,)) + frame


def decode_record(record: bytes) -> tuple[RecordType, bytes] | None:
    """Type and body of a record, None when it is none: our own store contradicts itself."""
    if not record or record[0] not in RecordType.__members__.values():
        return None
    return RecordType(record[0]), record[1:]
