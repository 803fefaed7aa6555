"""What an application receives: the agreed stream of messages, and the receipts of what it submitted."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import ArgumentError
from .keys import KeyPublic

__all__ = ["Event", "Message", "Receipt", "Transaction"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event at its place in the agreed order; equal on every peer, but for `whitened_signature` (see there).

    Times are ns since the Unix epoch.
    """

    index: int
    """Its place in the total order, from 0."""

    creator: KeyPublic
    """The peer that made it."""

    round: int
    """The round of the DAG it belongs to, from 1."""

    created_at: int
    """When its creator says it made it: ns, not to be trusted."""

    consensus_at: int
    """When the network says it came: ns, strictly increasing along the stream, between honest peers' times (O4, O8)."""

    hash: bytes
    """Its id, 32 bytes (E2)."""

    parents: tuple[bytes, ...]
    """The ids of the events it builds on (E1)."""

    order_hash: bytes
    """Rolling hash of the order up to and with this event, 32 bytes: equal on all peers at every index (O9)."""

    whitened_signature: bytes
    """64 bytes that nobody can predict before the event is final, though its last signer can bias them (O10).

    In fast order, and alone in a network, an event is among those that whiten it, and its own part cancels out.
    A creator that lies can sign the same event twice, validly and differently; peers that hold different
    signatures then see different values here. Do not decide anything by it that all peers must agree on.
    """

    transactions: tuple[bytes, ...]
    """What was sent with it, in order."""

    @property
    def transaction_count(self) -> int:
        """How many transactions it has."""
        return len(self.transactions)

    def transaction(self, index: int) -> bytes:
        """The transaction at `index`, from 0; IndexError beyond the last one."""
        return self.transactions[index]

    def __repr__(self) -> str:
        return (
            f"Event(index={self.index}, creator={str(self.creator)[:8]}..., round={self.round}, "
            f"consensus_at={self.consensus_at}, hash={self.hash.hex()[:16]}..., {len(self.transactions)} transactions)"
        )


Message = Event
"""What `Engine.recv_message` returns; sync points join it in a later version, so write `match` with `case Event()`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Where a submitted transaction stands in the agreed order: final, the same on every peer."""

    index: int
    """The `Event.index` of the event that carries it."""

    position: int
    """Its place in `Event.transactions`, from 0."""

    consensus_at: int
    """The event's consensus time, ns since the Unix epoch."""

    hash: bytes
    """The event's id, 32 bytes."""


class Transaction(bytearray):
    """A buffer to fill in place and send; any other bytes-like object can be sent as well.

    >>> transaction = Transaction.allocate(5)
    >>> transaction[:] = b"hello"
    """

    @classmethod
    def allocate(cls, size: int) -> Transaction:
        """A buffer of `size` zero bytes, `size` from 0; larger than the network allows raises when it is sent."""
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise ArgumentError(f"Transaction.allocate({size!r}): give a number of bytes, 0 or more")
        return cls(size)
