"""Bytes to values and back: one encoding per value, little-endian, fixed widths (E4; docs/wire.md).

Decoders take any bytes, never raise, and accept exactly what the encoders produce.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum

from .config import MAX_ITEM_BYTES, MAX_ITEMS, MAX_PEERS, MAX_TRANSACTIONS, PROTOCOL_VERSION, Network
from .crypto import DOMAIN_EVENT, blake3, merkle_root
from .error import Reject
from .values import Event, Item, Parent

__all__ = [
    "FrameType",
    "created_at_of",
    "decode_event",
    "decode_evidence",
    "decode_frontier",
    "decode_header",
    "decode_request",
    "encode_event",
    "encode_evidence",
    "encode_frontier",
    "encode_header",
    "encode_request",
    "epoch_id_of",
    "epoch_of_frontier",
    "event_digest",
    "event_key",
    "header_of",
    "max_frame_bytes",
    "payload_root_of",
    "slot_of",
]

MAX_REQUEST = 256  # digests in one request
MAX_ROUND = 2**62
MAX_TIME = 2**62  # ns since the Unix epoch: the year 2116, and room above it for consensus_at


class FrameType(IntEnum):
    """The first byte of every frame; 1 to 15 belong to the link, the others to the core."""

    HELLO = 1
    REFUSE = 2
    EVENT = 16  # an event
    REQUEST = 17  # digests of events that the sender wants
    FRONTIER = 18  # the sender's highest round per creator
    PULL = 19  # the same, and: send me what lies above it


_FIXED = struct.Struct("<H32sHQQQ32sIHH")
_COUNTS = struct.Struct("<HH")  # the end of it: parents, items
_PARENT = struct.Struct("<HQ32s")
_ITEM = struct.Struct("<HI")
_LENGTH = struct.Struct("<I")
_COUNT = struct.Struct("<H")
_FRONTIER = struct.Struct("<BI")  # type, epoch
_SIGNATURE_BYTES = 64


def encode_header(
    epoch_id: bytes,
    creator: int,
    round: int,
    created_at: int,
    salt: int,
    parents: Sequence[Parent],
    items: Sequence[Item],
    transactions: Sequence[bytes],
) -> bytes:
    """The bytes of a header (E1), which are what is hashed and signed (E2)."""
    fixed = _FIXED.pack(
        PROTOCOL_VERSION,
        epoch_id,
        creator,
        round,
        created_at,
        salt,
        merkle_root(transactions),
        payload_length(transactions),
        len(parents),
        len(items),
    )
    parts = [fixed]
    parts += [_PARENT.pack(*parent) for parent in parents]
    for item in items:
        parts += (_ITEM.pack(item.type, len(item.body)), item.body)
    return b"".join(parts)


def encode_event(event: Event) -> bytes:
    """An EVENT frame."""
    parts = [bytes((FrameType.EVENT,)), event.header, event.signature]
    for transaction in event.transactions:
        parts += (_LENGTH.pack(len(transaction)), transaction)
    return b"".join(parts)


def decode_event(frame: bytes, epoch_id: bytes, network: Network) -> Event | Reject:
    """The event in an EVENT frame, if its bytes, version, epoch and payload are right (E4, V1, V6)."""
    parsed = _parse_header(frame, 1, epoch_id)
    if isinstance(parsed, Reject):
        return parsed
    creator, round, created_at, payload_root, length, parents, items, end = parsed
    if length > network.max_payload_bytes:
        return Reject.LIMIT
    body = end + _SIGNATURE_BYTES
    if len(frame) != body + length:
        return Reject.TRUNCATED if len(frame) < body + length else Reject.TRAILING
    transactions = _parse_payload(frame, body)
    if isinstance(transactions, Reject):
        return transactions
    if merkle_root(transactions) != payload_root:
        return Reject.PAYLOAD  # V6
    header = frame[1:end]
    return Event(
        creator=creator,
        round=round,
        created_at=created_at,
        parents=parents,
        items=items,
        transactions=transactions,
        header=header,
        digest=event_digest(header),
        signature=frame[end:body],
    )


def decode_header(header: bytes, epoch_id: bytes) -> tuple[int, int] | Reject:
    """Creator and round of a header that stands alone, as in evidence."""
    parsed = _parse_header(header, 0, epoch_id)
    if isinstance(parsed, Reject):
        return parsed
    if parsed[-1] != len(header):
        return Reject.TRAILING
    return parsed[0], parsed[1]


def header_of(frame: bytes) -> bytes:
    """The header in an EVENT frame that was found right before."""
    return frame[1 : _header_end(frame)]


def event_key(frame: bytes) -> tuple[bytes, int, bytes] | None:
    """By what a store finds the event of an EVENT frame: epoch id, round, digest; None when its header is cut off."""
    try:
        end = _header_end(frame)
    except struct.error:
        return None
    if len(frame) < end:
        return None
    header = frame[1:end]
    return epoch_id_of(header), slot_of(header)[1], event_digest(header)


def slot_of(header: bytes) -> tuple[int, int]:
    """Creator and round of such a header."""
    creator, round = _FIXED.unpack_from(header)[2:4]
    return creator, round


def epoch_id_of(header: bytes) -> bytes:
    """The id of the epoch of a header, whatever it is worth."""
    return header[2:34]


def created_at_of(header: bytes) -> int:
    """When its creator says that it made the event of such a header, in ns."""
    return int(_FIXED.unpack_from(header)[4])


def payload_root_of(header: bytes) -> bytes:
    """The payload root in such a header, 32 bytes (E3)."""
    return bytes(_FIXED.unpack_from(header)[6])


def event_digest(header: bytes) -> bytes:
    """The id of an event (E2)."""
    return blake3(DOMAIN_EVENT + header)


def payload_length(transactions: Sequence[bytes]) -> int:
    """Bytes that transactions take in an event."""
    return sum(map(len, transactions)) + _LENGTH.size * len(transactions)


def encode_request(digests: Sequence[bytes]) -> bytes:
    """A REQUEST frame for at most MAX_REQUEST events."""
    assert 0 < len(digests) <= MAX_REQUEST, "requests are split before"
    return bytes((FrameType.REQUEST,)) + _COUNT.pack(len(digests)) + b"".join(digests)


def decode_request(frame: bytes) -> list[bytes] | Reject:
    """The digests in a REQUEST frame."""
    if len(frame) < 3:
        return Reject.TRUNCATED
    (count,) = _COUNT.unpack_from(frame, 1)
    if not 0 < count <= MAX_REQUEST:
        return Reject.LIMIT
    if len(frame) != 3 + 32 * count:
        return Reject.TRUNCATED if len(frame) < 3 + 32 * count else Reject.TRAILING
    return [frame[at : at + 32] for at in range(3, len(frame), 32)]


def encode_frontier(type: FrameType, frontier: Sequence[int], epoch: int = 0) -> bytes:
    """A FRONTIER or PULL frame of the epoch with a number (F3)."""
    return _FRONTIER.pack(type, epoch) + struct.pack(f"<{len(frontier)}Q", *frontier)


def decode_frontier(frame: bytes, n: int) -> tuple[int, ...] | Reject:
    """The rounds in a FRONTIER or PULL frame of an epoch with n creators."""
    size = _FRONTIER.size + 8 * n
    if len(frame) != size:
        return Reject.TRUNCATED if len(frame) < size else Reject.TRAILING
    return struct.unpack_from(f"<{n}Q", frame, _FRONTIER.size)


def epoch_of_frontier(frame: bytes) -> int | Reject:
    """The number of the epoch that a FRONTIER or PULL frame is about."""
    if len(frame) <= _FRONTIER.size or (len(frame) - _FRONTIER.size) % 8:
        return Reject.TRUNCATED
    return int(_FRONTIER.unpack_from(frame)[1])


def encode_evidence(first: Event, second: Event) -> bytes:
    """The body of an EVIDENCE item: two signed headers of one slot (E5), the lower digest first."""
    one, two = sorted((first, second), key=lambda event: event.digest)
    parts: list[bytes] = []
    for event in (one, two):
        parts += (_LENGTH.pack(len(event.header)), event.header, event.signature)
    return b"".join(parts)


def decode_evidence(body: bytes) -> list[tuple[bytes, bytes]] | Reject:
    """The two (header, signature) pairs of an EVIDENCE item."""
    pairs, at = [], 0
    for _ in range(2):
        if len(body) < at + _LENGTH.size:
            return Reject.TRUNCATED
        (length,) = _LENGTH.unpack_from(body, at)
        at += _LENGTH.size
        end = at + length + _SIGNATURE_BYTES
        if len(body) < end:
            return Reject.TRUNCATED
        pairs.append((body[at : at + length], body[at + length : end]))
        at = end
    return Reject.TRAILING if at != len(body) else pairs


def max_frame_bytes(n: int, network: Network) -> int:
    """The longest frame that peers of a committee of n may send each other (T2)."""
    header = _FIXED.size + n * _PARENT.size + MAX_ITEMS * _ITEM.size + MAX_ITEM_BYTES
    return 1 + header + _SIGNATURE_BYTES + network.max_payload_bytes


def _header_end(frame: bytes) -> int:
    """Where the header in an EVENT frame ends by its counts; struct.error when it is cut off within these."""
    end: int = 1 + _FIXED.size
    parents, items = _COUNTS.unpack_from(frame, end - _COUNTS.size)
    end += parents * _PARENT.size
    for _ in range(items):
        end += _ITEM.size + _ITEM.unpack_from(frame, end)[1]
    return end


Parsed = tuple[int, int, int, bytes, int, tuple[Parent, ...], tuple[Item, ...], int]


def _parse_header(data: bytes, start: int, epoch_id: bytes) -> Parsed | Reject:
    """The fields of the header at `start`, and where it ends."""
    at = start + _FIXED.size
    if len(data) < at:
        return Reject.TRUNCATED
    version, epoch, creator, round, created_at, _salt, root, length, parent_count, item_count = _FIXED.unpack_from(
        data, start
    )
    if version != PROTOCOL_VERSION:
        return Reject.VERSION
    if epoch != epoch_id:
        return Reject.EPOCH
    if not 0 < round <= MAX_ROUND:
        return Reject.ROUND
    if created_at > MAX_TIME:
        return Reject.TIME
    if parent_count > MAX_PEERS or item_count > MAX_ITEMS:
        return Reject.LIMIT
    end = at + parent_count * _PARENT.size
    if len(data) < end:
        return Reject.TRUNCATED
    parents = tuple(map(Parent._make, _PARENT.iter_unpack(memoryview(data)[at:end])))
    items, room = [], MAX_ITEM_BYTES
    for _ in range(item_count):
        if len(data) < end + _ITEM.size:
            return Reject.TRUNCATED
        type, size = _ITEM.unpack_from(data, end)
        end += _ITEM.size
        room -= size
        if room < 0:
            return Reject.LIMIT
        if len(data) < end + size:
            return Reject.TRUNCATED
        items.append(Item(type, data[end : end + size]))
        end += size
    return creator, round, created_at, root, length, parents, tuple(items), end


def _parse_payload(data: bytes, at: int) -> tuple[bytes, ...] | Reject:
    """The transactions from `at` to the end, if lengths and bytes fit."""
    transactions: list[bytes] = []
    while at < len(data):
        if len(transactions) == MAX_TRANSACTIONS:
            return Reject.LIMIT
        if len(data) < at + _LENGTH.size:
            return Reject.PAYLOAD
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if len(data) < at + length:
            return Reject.PAYLOAD
        transactions.append(data[at : at + length])
        at += length
    return tuple(transactions)
