"""The values that travel through the core: events, their parts, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

__all__ = [
    "Delivered",
    "Event",
    "Item",
    "ItemType",
    "Parent",
    "SyncPoint",
    "SyncPointKind",
    "lower_median",
]


class ItemType(IntEnum):
    """What an item in an event is for; unknown types are signed, kept and ignored (E5)."""

    PROPOSE = 1
    VOTE = 2
    CHECKPOINT_VOTE = 3
    EVIDENCE = 4


class SyncPointKind(IntEnum):
    """What a sync point is about."""

    SESSION = 1
    MEMBERSHIP = 2
    KEY_ROTATION = 3
    CONFIG = 4
    SNAPSHOT = 5
    EPOCH = 6
    CUSTOM = 7
    END = 8


class Item(NamedTuple):
    """A typed attachment of an event (E5)."""

    type: int
    body: bytes


class Parent(NamedTuple):
    """A reference to an earlier event; what it says of that event is checked when the event is here (V3)."""

    creator: int
    round: int
    digest: bytes


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """One signed vertex of the DAG (E1)."""

    creator: int  # index in the committee
    round: int  # from 1
    created_at: int  # ns since the Unix epoch, as its creator claims
    parents: tuple[Parent, ...]  # in creator order; empty once the DAG holds them as links
    items: tuple[Item, ...]
    transactions: tuple[bytes, ...]  # the payload (E3)
    header: bytes  # the encoded, signed header
    digest: bytes  # 32 bytes (E2)
    signature: bytes  # 64 bytes (E2)

    def linked(self) -> Event:
        """The same event without its references, for when the DAG has them as links.

        They are most of what an event leaves to the garbage collector to look at, again and again.
        """
        return replace(self, parents=())

    @property
    def size(self) -> int:
        """About what it takes in memory and on the wire, in bytes."""
        return len(self.header) + len(self.signature) + sum(map(len, self.transactions)) + 4 * len(self.transactions)

    @property
    def carries(self) -> bool:
        """Whether anything in it waits to be delivered; an idle network makes events that carry nothing.

        A vote for a checkpoint counts where it is, in the DAG (C1): rounds for its sake would never end.
        """
        return bool(self.transactions) or any(item.type != ItemType.CHECKPOINT_VOTE for item in self.items)

    @property
    def transaction_count(self) -> int:
        """How many transactions it has."""
        return len(self.transactions)

    @property
    def payload_bytes(self) -> int:
        """Bytes of all its transactions."""
        return sum(map(len, self.transactions))


@dataclass(frozen=True, slots=True, eq=False)
class Delivered:
    """An event at its place in the agreed order (O7 to O10)."""

    event: Event
    parents: tuple[bytes, ...]  # their digests, in creator order
    index: int  # from 0
    consensus_at: int  # ns, strictly increasing (O8)
    order_hash: bytes  # 32 bytes (O9)
    whitened_signature: bytes  # 64 bytes (O10)
    closed_by: int  # the round whose closing delivered it
    submissions: tuple[int | None, ...]  # of our own events: the number of each transaction, None from before a restart
    epoch: int = 0  # the number of the epoch: whose committee `event.creator` is an index in

    @property
    def digest(self) -> bytes:
        """The event's id: what stands for it in the order hash."""
        return self.event.digest


@dataclass(frozen=True, slots=True, eq=False)
class SyncPoint:
    """A decision of the network about itself, at its place in the agreed order (S2)."""

    kind: int  # one of SyncPointKind
    metadata: bytes  # what its proposer attached
    proposal: bytes  # the id of the proposal, 32 bytes; zeros: nobody had to ask
    proposer: int | None  # creator; None: nobody had to ask
    approvals: int  # bit set over creators: who agreed
    epoch_index: int  # its number among the sync points, from 1
    session_id: bytes  # 32 bytes: names the session that goes on or starts here
    digest: bytes  # 32 bytes, in the place of an event's (O9)
    index: int  # in the same numbering as events
    consensus_at: int  # ns, strictly increasing (O8)
    order_hash: bytes  # 32 bytes (O9)
    closed_by: int  # the round whose closing delivered it
    change: bytes = b""  # of a kind in `change.CHANGING`: what it changes from the next epoch on (S4)
    epoch: int = 0  # the number of the epoch: whose committee `proposer` and `approvals` are indices in


def lower_median(values: Sequence[int]) -> int:
    """The middle value, the lower one of two; `values` is not empty."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2]
