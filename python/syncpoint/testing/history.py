"""What the applications of a simulated cluster did and saw, in the order of virtual time."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable
from dataclasses import dataclass

from ..core.crypto import blake3
from ..core.journal import height
from ..keys import KeyPublic
from ..message import Event, Message, Receipt, SyncPoint
from .cluster import Cluster, Node
from .loop import BEGIN_NS

__all__ = ["Asked", "History", "Place", "Sent", "Stream"]

_pack_message = struct.Struct("<QQHI").pack
_CALL = struct.Struct("<cQHII")
_FLUSH_BYTES = 1 << 16  # of the log, hashed at once
_KEEP_MADE = 1 << 13  # events whose making is remembered, before those that are too old are let go


@dataclass(slots=True, eq=False)
class Place:
    """One index of the agreed order, as the first application that got there saw it."""

    index: int
    hash: bytes
    consensus_at: int
    order_hash: bytes
    creator: int  # index in the first committee, or number of the host of who joined later
    round: int  # its height: in the first epoch the round
    created_at: int
    closed_by: int  # the round whose closing delivered it, 0 if unknown
    transactions: tuple[bytes, ...]
    parents: tuple[bytes, ...]
    node: int  # who saw it first ...
    at_ns: int  # ... and when, in virtual time
    made_ns: int  # when its creator sent it first, in virtual time; -1 if that is unknown, or without transactions
    point: SyncPoint | None = None  # what stands there if it is no event; then nobody made it (creator -1, round 0)


@dataclass(slots=True, eq=False)
class Sent:
    """A transaction that an application sent, and what came of it."""

    node: int  # number of the host
    incarnation: int  # the start of that host
    number: int  # of all that the cluster sent
    transaction: bytes
    at_ns: int
    awaited: bool  # by `submit`
    signed: bool = False  # it is in an event that its creator sent, so that it is in its journal
    receipt: Receipt | None = None
    error: BaseException | None = None  # what it was refused with; CancelledError if nobody waited any more
    outcomes: int = 0

    def __str__(self) -> str:
        """For a report."""
        what = self.transaction if len(self.transaction) <= 80 else self.transaction[:80] + b"..."
        how = "submitted" if self.awaited else "sent"
        return f"{what!r}, {how} by peer {self.node} (start {self.incarnation}) at {self.at_ns / 1e9:.6f} s"


@dataclass(slots=True, eq=False)
class Asked:
    """A sync point that an application asked for, and what came of it."""

    node: int  # number of the host
    incarnation: int  # the start of that host
    kind: int
    metadata: bytes  # by which it is known
    at_ns: int  # virtual time
    deadline_ns: int  # consensus time, about
    outcome: SyncPoint | BaseException | None = None

    def __str__(self) -> str:
        """For a report."""
        return f"proposal {self.metadata!r} of peer {self.node} (start {self.incarnation}) at {self.at_ns / 1e9:.6f} s"


@dataclass(slots=True, eq=False)
class Stream:
    """How far the application of one peer has come."""

    node: Node
    incarnation: int = 0  # of which it is the stream; each begins where its application wants
    count: int = 0  # messages, and what its application has had before
    last: int = -1  # the index of the last one
    place: Place | None = None  # the place with that index, if it is not beyond the end of the order
    first: bool = False  # whether nobody was there before
    in_turn: bool = True  # whether it was the next one
    highest: int = -1  # index, of all incarnations
    ended: bool = False  # there will be no more


class History:
    """The calls and results of all applications, and the one order that they received."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.order: list[Place] = []
        self.index_of: dict[bytes, int] = {}  # hash -> the first index that it has
        self.slots: dict[tuple[int, int], int] = {}  # (creator, round) -> the same
        self.where: list[dict[bytes, tuple[int, int]]] = [{} for _ in cluster.secrets]
        """Of each creator: transaction -> (index, position), where it stands first."""
        self.sends: dict[bytes, Sent] = {}
        self.open: dict[bytes, Sent] = {}  # of these, neither refused nor, as far as promised, at their end
        self.streams: dict[int, Stream] = {}  # number of the host -> its application's
        self.asked: dict[bytes, Asked] = {}  # by metadata
        self.points: list[int] = []  # indices of sync points
        self.digests: dict[int, bytes] = {}  # index of a sync point -> what stands for it in the order hash
        self.end: int | None = None  # index of the sync point that ended the session
        self.last_carrying = -1  # the highest index with transactions
        self.receipts = 0
        self.changed: Callable[[Sent], None] | None = None  # called for each outcome of something sent
        self._loop = cluster.loop
        self._creators = {
            public: creator for creator, public in enumerate(secret.public() for secret in cluster.secrets)
        }
        self._made: dict[tuple[int, int], int] = {}  # (creator, round) -> virtual ns
        self._most_made = _KEEP_MADE + 4 * cluster.n * cluster.network.gc_depth
        self._latencies = array("q")
        self._log = bytearray()
        self._state = bytes(32)

    @property
    def ordered(self) -> int:
        """How many events and sync points are in the agreed order."""
        return len(self.order)

    # -- what the applications do -------------------------------------------------------------------

    def sent(self, node: Node, transaction: bytes, awaited: bool = False) -> Sent:
        """An application sends a transaction now (`awaited`: by `submit`). All of a simulation are different."""
        assert transaction not in self.sends, (
            f"{transaction!r} is sent twice: simulations tell them apart by their bytes"
        )
        now = self._loop.now_ns - BEGIN_NS
        sent = Sent(node.number, node.host.starts, len(self.sends), transaction, now, awaited)
        self.sends[transaction] = self.open[transaction] = sent
        self._note(b"a" if awaited else b"s", sent, transaction)
        return sent

    def acknowledged(self, node: Node, transaction: bytes, receipt: Receipt) -> None:
        """Its application got a receipt."""
        sent = self._outcome(node, transaction)
        sent.receipt = receipt
        self.receipts += 1
        self._note(b"r", sent, struct.pack("<QIQ", receipt.index, receipt.position, receipt.consensus_at), receipt.hash)
        if transaction in self.where[node.creator]:
            self.open.pop(transaction, None)
        self._tell(sent)

    def refused(self, node: Node, transaction: bytes, error: BaseException) -> None:
        """It got an exception instead: QueueFull, EngineStopped, CancelledError."""
        sent = self._outcome(node, transaction)
        sent.error = error
        self.open.pop(transaction, None)
        self._note(b"x", sent, type(error).__name__.encode())
        self._tell(sent)

    def asks(self, asked: Asked) -> None:
        """An application proposes a sync point now. All of a simulation have other metadata."""
        assert asked.metadata not in self.asked, f"{asked.metadata!r} is proposed twice"
        self.asked[asked.metadata] = asked
        self._log += _CALL.pack(b"p", asked.at_ns, asked.node, len(self.asked), asked.kind)

    def answered(self, asked: Asked, outcome: SyncPoint | BaseException) -> None:
        """It learned what came of it."""
        asked.outcome = outcome
        what = str(outcome.index) if isinstance(outcome, SyncPoint) else type(outcome).__name__
        self._log += _CALL.pack(b"o", self._loop.now_ns - BEGIN_NS, asked.node, 0, len(what)) + what.encode()

    def ended(self, node: Node) -> None:
        """The application got None: no more messages."""
        self._stream(node).ended = True

    def received(self, node: Node, message: Message) -> Stream:
        """An application received a message; how its stream stands now. Called for each message of each peer."""
        stream = self.streams.get(node.number)
        if stream is None or stream.incarnation != node.host.starts:
            stream = self._stream(node)
        # The property of an event would cost more than all that is done with it.
        index: int = message.index if isinstance(message, SyncPoint) else message._done.index
        order, now = self.order, self._loop.now_ns
        place: Place | None = None
        if index < len(order):
            place = order[index]
            stream.first = False
        elif index == len(order):
            make = self._point if isinstance(message, SyncPoint) else self._place
            place = make(node.number, message, now - BEGIN_NS)  # type: ignore[arg-type]
            order.append(place)
            stream.first = True
        stream.last, stream.place = index, place
        stream.in_turn = index == stream.count and not stream.ended
        stream.count += 1
        if index > stream.highest and place is not None:
            stream.highest = index
            if place.made_ns >= 0:
                self._latencies.append(now - BEGIN_NS - place.made_ns)
        log = self._log
        log += _pack_message(now, index, node.number, stream.incarnation)
        if len(log) > _FLUSH_BYTES:
            self._flush()
        return stream

    def made(self, creator: int, round: int) -> None:
        """An event was sent by its creator for the first time."""
        made = self._made
        made.setdefault((creator, round), self._loop.now_ns - BEGIN_NS)
        if len(made) > self._most_made:
            lowest = round - 2 * self.cluster.network.gc_depth
            self._made = {slot: at_ns for slot, at_ns in made.items() if slot[1] >= lowest}

    def rotates(self, creator: int, public: KeyPublic) -> None:
        """A creator may get another key."""
        self._creators[public] = creator

    def creator_of(self, message: Event) -> int:
        """The index of a message's creator in the committee."""
        return self._creators[message.creator]

    # -- what came of it ----------------------------------------------------------------------------

    def digest(self) -> bytes:
        """BLAKE3 over all that happened, in canonical form: equal for two runs of one seed."""
        return blake3(self._state + self._log)  # asking changes nothing

    def latencies_ns(self, most: int = 1000) -> tuple[int, ...]:
        """Times from the making of an event with transactions to its receipt by each peer: so many of them, evenly."""
        step = max(1, -(-len(self._latencies) // most))
        return tuple(self._latencies[::step])

    # -- private ------------------------------------------------------------------------------------

    def _place(self, number: int, message: Event, now: int) -> Place:
        done = message._done
        event = done.event
        index, hash, transactions = done.index, event.digest, event.transactions
        creator, round = self._creators[message.creator], height(message.epoch, event.round)
        made_ns = self._made.pop((creator, round), -1)
        place = Place(
            index,
            hash,
            done.consensus_at,
            done.order_hash,
            creator,
            round,
            event.created_at,
            done.closed_by,
            transactions,
            done.parents,
            number,
            now,
            made_ns if transactions else -1,
        )
        self._log += place.order_hash  # for all who come later; whether they have the same is for checkers to see
        self.index_of.setdefault(hash, index)
        self.slots.setdefault((creator, round), index)
        if transactions:
            self.last_carrying = index
            where, sends = self.where[creator], self.sends
            for position, transaction in enumerate(transactions):
                where.setdefault(transaction, (index, position))
                sent = sends.get(transaction)
                if sent is None or self.cluster.nodes[sent.node].creator != creator:
                    continue
                if not sent.awaited or sent.receipt is not None:
                    self.open.pop(transaction, None)
        return place

    def _point(self, number: int, point: SyncPoint, now: int) -> Place:
        digest = self.digests.get(point.index, b"")  # unknown only where nobody looks at machines
        place = Place(
            point.index, digest, point.timestamp, point.order_hash, -1, 0, 0, 0, (), (), number, now, -1, point
        )  # fmt: skip
        self._log += place.order_hash
        self.index_of.setdefault(digest or point.order_hash, point.index)
        self.points.append(point.index)
        if point.is_session_ended and self.end is None:
            self.end = point.index
        return place

    def _stream(self, node: Node) -> Stream:
        stream = self.streams.get(node.number)
        if stream is None:
            stream = self.streams[node.number] = Stream(node)
        if stream.incarnation != node.host.starts:
            stream.incarnation = node.host.starts
            after = -1 if node.resume_after is None else node.resume_after
            stream.count, stream.last, stream.ended = after + 1, after, False
        return stream

    def _outcome(self, node: Node, transaction: bytes) -> Sent:
        sent = self.sends.get(transaction)
        assert sent is not None, f"{transaction!r} has an outcome, but was never sent"
        assert sent.node == node.number, f"{transaction!r} was sent by peer {sent.node}, not by peer {node.number}"
        sent.outcomes += 1
        return sent

    def _tell(self, sent: Sent) -> None:
        if self.changed is not None:
            self.changed(sent)

    def _note(self, kind: bytes, sent: Sent, *data: bytes) -> None:
        now = self._loop.now_ns - BEGIN_NS
        body = b"".join(data)
        self._log += _CALL.pack(kind, now, sent.node, sent.number, len(body))
        self._log += body

        if len(self._log) > _FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._state = blake3(self._state + self._log)
        self._log.clear()
