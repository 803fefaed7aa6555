"""The values that travel through the core: events, their parts, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

__all__ = ["Delivered", "Event", "Item", "ItemType", "Parent", "lower_median"]


class ItemType(IntEnum):
    """What an item in an event is for; unknown types are signed, kept and ignored (E5)."""

    PROPOSE = 1
    VOTE = 2
    CHECKPOINT_VOTE = 3
    EVIDENCE = 4


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
        """Whether anything in it waits to be delivered; an idle network makes events that carry nothing."""
        return bool(self.transactions or self.items)

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


def lower_median(values: Sequence[int]) -> int:
    """The middle value, the lower one of two; `values` is not empty."""
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2]
