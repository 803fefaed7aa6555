"""What an application receives: the agreed stream of messages, and the receipts of what it submitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Protocol

from .core import values
from .core.config import Network
from .core.values import Delivered, SyncPointKind
from .errors import ArgumentError, ArgumentTypeError
from .keys import KeyPublic
from .peers import Peers

if TYPE_CHECKING:
    from .proof import Proof

__all__ = ["Attester", "Event", "Message", "Receipt", "SyncPoint", "Transaction"]


class Event:
    """One event at its place in the agreed order; equal on every peer, but for `whitened_signature` (see there).

    Times are ns since the Unix epoch. Nothing of it can be changed. An engine makes them; with all its fields by
    name it can be made by hand, for tests.
    """

    __slots__ = ("_creator", "_done")

    _creator: KeyPublic
    _done: Delivered  # of either core: the native one makes Python objects only of what is asked for

    def __init__(
        self,
        *,
        index: int,
        creator: KeyPublic,
        round: int,
        created_at: int,
        consensus_at: int,
        hash: bytes,
        parents: tuple[bytes, ...],
        order_hash: bytes,
        whitened_signature: bytes,
        transactions: tuple[bytes, ...],
        epoch: int = 0,
    ) -> None:
        self._creator = creator
        self._done = Delivered(
            event=values.Event(
                creator=0,
                round=round,
                created_at=created_at,
                parents=(),
                items=(),
                transactions=transactions,
                header=b"",
                digest=hash,
                signature=b"",
            ),
            parents=parents,
            index=index,
            consensus_at=consensus_at,
            order_hash=order_hash,
            whitened_signature=whitened_signature,
            closed_by=0,
            submissions=(),
            epoch=epoch,
        )

    @classmethod
    def _of(cls, done: Delivered, creator: KeyPublic) -> Event:
        """What a core delivered, as its application sees it."""
        event = cls.__new__(cls)
        event._creator = creator
        event._done = done
        return event

    @property
    def index(self) -> int:
        """Its place in the total order, from 0."""
        return self._done.index

    @property
    def creator(self) -> KeyPublic:
        """The peer that made it."""
        return self._creator

    @property
    def round(self) -> int:
        """The round of the DAG it belongs to, from 1; rounds begin anew in each epoch."""
        return self._done.event.round

    @property
    def epoch(self) -> int:
        """How often members, keys or settings had changed before it: the number of its epoch, from 0 (S4)."""
        return self._done.epoch

    @property
    def created_at(self) -> int:
        """When its creator says it made it: ns, not to be trusted."""
        return self._done.event.created_at

    @property
    def consensus_at(self) -> int:
        """When the network says it came: ns, strictly increasing, between honest peers' times (O4, O8)."""
        return self._done.consensus_at

    @property
    def hash(self) -> bytes:
        """Its id, 32 bytes (E2)."""
        return self._done.event.digest

    @property
    def parents(self) -> tuple[bytes, ...]:
        """The ids of the events it builds on (E1)."""
        return self._done.parents

    @property
    def order_hash(self) -> bytes:
        """Rolling hash of the order up to and with this event, 32 bytes: equal on all peers at every index (O9)."""
        return self._done.order_hash

    @property
    def whitened_signature(self) -> bytes:
        """64 bytes that nobody can predict before the event is final, though its last signer can bias them (O10).

        In fast order, and alone in a network, an event is among those that whiten it, and its own part cancels out.
        A creator that lies can sign the same event twice, validly and differently; peers that hold different
        signatures then see different values here. Do not decide anything by it that all peers must agree on.
        """
        return self._done.whitened_signature

    @property
    def transactions(self) -> tuple[bytes, ...]:
        """What was sent with it, in order.

        An event that is kept holds all of its bytes, and once more those of its transactions when they were asked
        for; a transaction that is kept holds its own only.
        """
        return self._done.event.transactions

    @property
    def transaction_count(self) -> int:
        """How many transactions it has."""
        return self._done.event.transaction_count

    def transaction(self, index: int) -> bytes:
        """The transaction at `index`, from 0; IndexError beyond the last one."""
        return self.transactions[index]

    @property
    def _payload_bytes(self) -> int:
        return self._done.event.payload_bytes

    def __eq__(self, other: object) -> bool:
        if self.__class__ is not other.__class__:
            return NotImplemented
        return self is other or all(getattr(self, name) == getattr(other, name) for name in _FIELDS)

    def __hash__(self) -> int:
        return hash((self.index, self.hash, self.order_hash))

    def __reduce__(self) -> tuple[Callable[..., Event], tuple[object, ...]]:
        return _event, tuple(getattr(self, name) for name in _FIELDS)

    def __repr__(self) -> str:
        return (
            f"Event(index={self.index}, creator={str(self.creator)[:8]}..., round={self.round}, "
            f"consensus_at={self.consensus_at}, hash={self.hash.hex()[:16]}..., {self.transaction_count} transactions)"
        )


_FIELDS = (
    "index", "creator", "round", "created_at", "consensus_at", "hash", "parents", "order_hash", "whitened_signature",
    "transactions", "epoch",
)  # fmt: skip


def _event(*fields: Any) -> Event:
    return Event(**dict(zip(_FIELDS, fields, strict=True)))


class Attester(Protocol):
    """The engine behind a sync point that came from one."""

    def attest(self, index: int, state_hash: bytes) -> None:
        """Tell the others the hash of our state at an index."""
        ...

    async def proof(self, index: int) -> Proof:
        """Prove the sync point at an index."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncPoint:
    """A decision of the network about itself, at the same place between the same two events on every peer (S2).

    All of it is equal everywhere, but for `is_just_synced` and the addresses in `peers`. An engine makes them; with
    all its fields by name it can be made by hand, for tests.
    """

    kind: SyncPointKind
    """What it is about."""

    metadata: bytes
    """What its proposer attached, up to 8,192 bytes; empty for the regular beat."""

    index: int
    """Its place in the numbering of `Event.index`."""

    timestamp: int
    """Consensus time, ns since the Unix epoch: later than every event before it (O8)."""

    epoch_index: int
    """Its number among the sync points of the network, from 1."""

    session_id: bytes
    """32 bytes: names the session that starts here (SESSION) or goes on."""

    proposer: KeyPublic | None
    """Who asked for it; None for the regular beat, which nobody has to ask for (S5)."""

    approvals: tuple[KeyPublic, ...]
    """Who had agreed by then, in the order of the peers' numbers: a quorum at least; nobody for the regular beat."""

    joined: tuple[KeyPublic, ...] = ()
    """Peers that are members from here on (MEMBERSHIP)."""

    left: tuple[KeyPublic, ...] = ()
    """Members until here, which somebody asked to remove, they themselves perhaps (MEMBERSHIP)."""

    kicked: tuple[KeyPublic, ...] = ()
    """Members until here, whose removal an engine asked for by itself (`Options.fallen_behind_kick_s`), as they were
    silent for too long or had signed two events for one slot (MEMBERSHIP)."""

    fallen_behind: tuple[KeyPublic, ...] = ()
    """Those of `kicked` that were silent for too long."""

    rotated: tuple[tuple[KeyPublic, KeyPublic], ...] = ()
    """Members with another key from here on: the old key, the new one (KEY_ROTATION)."""

    peers: Peers = field(hash=False)
    """The address book from here on: a copy, which is the receiver's own."""

    network: Network = field(default_factory=Network)
    """The settings from here on, which differ from those before in a sync point of the kind CONFIG only."""

    is_just_synced: bool = False
    """Whether it is the first one after this peer was started with `joining_running_session`, or after it was let in
    (`joins`)."""

    order_hash: bytes
    """Rolling hash of the order up to and with this sync point, 32 bytes: equal on all peers (O9)."""

    _engine: Attester | None = field(default=None, repr=False, compare=False)

    @property
    def is_session_ended(self) -> bool:
        """Whether the session ends here (END): this is the last message of the stream."""
        return self.kind == SyncPointKind.END

    def attest(self, state_hash: bytes) -> None:
        """Tell the others the hash of our application's state behind this sync point: 32 bytes, not all zero (C1).

        All peers that attest have to come to the same hash. One that a quorum contradicts ends with DivergenceError;
        nothing waits for it, and the others go on. A sync point of before the last start, or behind which there were
        128 checkpoints, is too old: nothing follows then. Raises ArgumentError or ArgumentTypeError for another hash
        and for a second one that is not the first, EngineStopped, and ArgumentError where there is no engine behind
        this object: it was made by hand, copied or unpickled.
        """
        if not isinstance(state_hash, bytes | bytearray | memoryview):
            raise ArgumentTypeError(f"SyncPoint.attest was given a {type(state_hash).__name__}: give 32 bytes, a hash")
        self._bound("attest").attest(self.index, bytes(state_hash))

    async def proof(self) -> Proof:
        """A proof that this sync point is one, and stands where it does, for whoever has the network file (C3).

        It waits until a quorum has signed the order up to here, which takes a round or two. The newest 128 sync points
        since the start need no store; an older one needs `Context(storage=...)`, and that the store still has it and
        the place before it. Raises ProofUnavailable where it cannot be made, EngineStopped, and ArgumentError where
        there is no engine behind this object: it was made by hand, copied or unpickled.
        """
        return await self._bound("proof").proof(self.index)

    def _bound(self, method: str) -> Attester:
        """The engine that this came from."""
        if self._engine is None:
            raise ArgumentError(
                f"SyncPoint.{method}: there is no engine behind a sync point that was made by hand, copied or "
                "unpickled; take the one that Engine.recv_message returned"
            )
        return self._engine

    @property
    def _payload_bytes(self) -> int:
        return len(self.metadata)

    def __reduce__(self) -> tuple[Callable[..., SyncPoint], tuple[object, ...]]:
        return _sync_point, tuple(getattr(self, name) for name in _SYNC_POINT_FIELDS)


_SYNC_POINT_FIELDS = tuple(each.name for each in fields(SyncPoint) if each.name != "_engine")


def _sync_point(*values: Any) -> SyncPoint:
    return SyncPoint(**dict(zip(_SYNC_POINT_FIELDS, values, strict=True)))


Message = Event | SyncPoint
"""What `Engine.recv_message` returns: write `match message` with `case Event()` and `case SyncPoint()`."""


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
