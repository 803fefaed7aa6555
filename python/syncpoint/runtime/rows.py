"""What a store file holds, row by row, each with a checksum over all of it: damage is noticed, never believed."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple, Protocol

from ..core.config import Member, Network
from ..core.crypto import blake3

__all__ = [
    "PROPOSALS",
    "STATE",
    "Batch",
    "DeliveredRow",
    "EventRow",
    "Identity",
    "MetaRow",
    "State",
    "StoreFile",
    "chain",
    "chain_begin",
    "chain_of",
]

DOMAIN_ORDER = b"syncpoint/order/v1"  # as in core/order.py (O9)

STATE = "state"  # the name of its row
PROPOSALS = "proposals"  # the same of the state of proposals and votes

_EVENT = struct.Struct("<cQQQ32s")
_DELIVERED = struct.Struct("<cQQ32sQ32s64sQ")
_PLACE = struct.Struct("<Q32sQ")
_STATE = struct.Struct("<7Q")
_MEMBER = struct.Struct("<32sB")


class EventRow(NamedTuple):
    """An accepted event, or a sync point, in the order in which they were written."""

    id: int  # from 1, without gaps
    round: int  # of the event; of a sync point that whose closing made it; as a height (`journal.height`)
    top: int  # the highest round up to here, as a height: it never falls, so a round is found by halving
    digest: bytes
    record: bytes  # of the journal: OWN_EVENT, PEER_EVENT or SYNC_POINT
    checksum: int

    @classmethod
    def of(cls, id: int, round: int, top: int, digest: bytes, record: bytes) -> EventRow:
        """A row with its checksum."""
        return cls(id, round, top, digest, record, _event_checksum(id, round, top, digest, record))

    @property
    def is_intact(self) -> bool:
        """Whether it is as it was written."""
        return _holds(_event_checksum, self[:-1], self.checksum)


class DeliveredRow(NamedTuple):
    """The place of an event or a sync point in the agreed order (O7 to O10, S2)."""

    id: int  # its index in the stream: from 0, without gaps
    round: int  # as in its EventRow
    digest: bytes
    consensus_at: int
    order_hash: bytes
    whitened_signature: bytes  # of a sync point zeros
    closed_by: int  # as a height
    checksum: int

    @classmethod
    def of(
        cls,
        id: int,
        round: int,
        digest: bytes,
        consensus_at: int,
        order_hash: bytes,
        whitened_signature: bytes,
        closed_by: int,
    ) -> DeliveredRow:
        """A row with its checksum."""
        fields = (id, round, digest, consensus_at, order_hash, whitened_signature, closed_by)
        return cls(*fields, _delivered_checksum(*fields))

    @property
    def is_intact(self) -> bool:
        """Whether it is as it was written."""
        return _holds(_delivered_checksum, self[:-1], self.checksum)

    def says_the_same(self, other: DeliveredRow) -> bool:
        """Whether both give the same one place; its signature, and what follows from that, may differ (O10)."""
        return (self.id, self.digest, self.consensus_at, self.order_hash, self.closed_by) == (
            other.id, other.digest, other.consensus_at, other.order_hash, other.closed_by,
        )  # fmt: skip


class MetaRow(NamedTuple):
    """Something about the file as a whole."""

    name: str
    value: bytes
    checksum: int

    @classmethod
    def of(cls, name: str, value: bytes) -> MetaRow:
        """A row with its checksum."""
        return cls(name, value, _meta_checksum(name, value))

    @property
    def is_intact(self) -> bool:
        """Whether it is as it was written."""
        return _holds(_meta_checksum, self[:-1], self.checksum)


class State(NamedTuple):
    """Where the rows begin and end, written with every commit: rows that are gone without a trace are missed."""

    sequence: int = 0  # of the commit
    first_event: int = 1
    end_event: int = 1  # the next event's id
    first_index: int = 0
    end_index: int = 0  # the next delivered event's index
    own_from: int = 0  # id of the oldest own event with something that may still have to be sent again (O11), 0: none
    epochs: int = 0  # that began after the first (S4)

    def row(self) -> MetaRow:
        """As it is stored."""
        return MetaRow.of(STATE, _STATE.pack(*self))

    @classmethod
    def read(cls, value: bytes) -> State | None:
        """What was stored; None when it cannot be."""
        if len(value) != _STATE.size:
            return None
        state = cls._make(_STATE.unpack(value))
        orderly = 1 <= state.first_event <= state.end_event and state.first_index <= state.end_index
        return state if orderly else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose store it is, and what it takes to read its events."""

    network_id: bytes
    """The id of the network's first epoch, 32 bytes."""

    public: bytes
    """Our key, 32 bytes."""

    network: Network
    """The network's settings."""

    members: tuple[Member, ...]
    """All peers, observers among them."""

    def rows(self) -> list[MetaRow]:
        """As it is stored."""
        network = json.dumps(asdict(self.network), sort_keys=True).encode()
        members = b"".join(_MEMBER.pack(member.public, member.flags) for member in self.members)
        values = {"network_id": self.network_id, "public": self.public, "network": network, "members": members}
        return [MetaRow.of(name, value) for name, value in values.items()]

    @classmethod
    def read(cls, meta: dict[str, bytes]) -> Identity:
        """What was stored; KeyError or ValueError where something is missing or no setting."""
        return cls(
            network_id=meta["network_id"],
            public=meta["public"],
            network=Network(**json.loads(meta["network"])),
            members=tuple(Member(*fields) for fields in _MEMBER.iter_unpack(meta["members"])),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one commit changes, all of it or nothing."""

    events: Sequence[EventRow] = ()
    delivered: Sequence[DeliveredRow] = ()
    meta: Sequence[MetaRow] = ()
    """Rows that are put in the place of those of the same name."""

    forget_events: int = 0
    """Events and sync points with lower ids are deleted."""

    forget_delivered: int = 0
    """Places with lower indices are deleted."""


class StoreFile(Protocol):
    """A file that takes batches and gives rows: real, or simulated (L3). It is used by one thread at a time.

    Its methods wait for the disk. They raise StorageError when it is in trouble, after which the same may be tried
    again, and CorruptError when the file contradicts itself. Rows come as they are, damaged ones too.
    """

    @property
    def name(self) -> str:
        """What to call it in messages."""
        ...

    def open(self) -> bool:
        """Take it, as the only one who does; whether it was there before."""
        ...

    def commit(self, batch: Batch, sync: bool) -> None:
        """Write a batch; with `sync` it is durable, and with it all that was written before."""
        ...

    def meta(self) -> list[MetaRow]:
        """All of these rows."""
        ...

    def events(self, first: int, end: int) -> list[EventRow]:
        """The rows with `first` <= id < `end` that are there, by id."""
        ...

    def event(self, round: int, digest: bytes) -> EventRow | None:
        """The event, or sync point, of a round with this id."""
        ...

    def events_from(self, round: int) -> Iterator[EventRow]:
        """The rows of this round and of later ones, in ascending rounds, read as they are taken."""
        ...

    def delivered(self, first: int, end: int) -> list[DeliveredRow]:
        """The rows with `first` <= index < `end` that are there, by index."""
        ...

    def size(self) -> int:
        """Bytes that rows take in it, about."""
        ...

    def inode(self) -> int:
        """What tells it from a copy of it."""
        ...

    def boot(self) -> bytes:
        """What tells one start of this computer from another, 16 bytes; empty where nothing does."""
        ...

    def read_tip(self) -> bytes | None:
        """What `write_tip` wrote last, None without."""
        ...

    def write_tip(self, tip: bytes, sync: bool) -> None:
        """Write a few bytes beside it, in one piece."""
        ...

    def close(self) -> None:
        """Let go of it; closing twice, or what was never opened, is fine."""
        ...


def chain_begin(network_id: bytes) -> bytes:
    """The order hash before the first event (O9)."""
    return blake3(DOMAIN_ORDER + network_id)


def chain(before: bytes, row: DeliveredRow) -> bytes:
    """The order hash that follows from the one before and a place (O9)."""
    return chain_of(before, row.id, row.digest, row.consensus_at)


def chain_of(before: bytes, index: int, digest: bytes, consensus_at: int) -> bytes:
    """The same of a place that is in no row."""
    return blake3(before + _PLACE.pack(index, digest, consensus_at))


def _event_checksum(id: int, round: int, top: int, digest: bytes, record: bytes) -> int:
    return zlib.crc32(record, zlib.crc32(_EVENT.pack(b"E", id, round, top, digest)))


def _delivered_checksum(*fields: int | bytes) -> int:
    return zlib.crc32(_DELIVERED.pack(b"D", *fields))


def _meta_checksum(name: str, value: bytes) -> int:
    return zlib.crc32(value, zlib.crc32(b"M" + name.encode()))


def _holds(checksum: object, fields: tuple[object, ...], stored: object) -> bool:
    """Whether fields have a checksum; where the file is damaged they may be of any type and size."""
    try:
        return checksum(*fields) == stored  # type: ignore[operator, no-any-return]
    except (struct.error, TypeError, AttributeError, ValueError):
        return False
