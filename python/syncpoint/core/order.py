"""Where committed events stand in the one order, and at what time: a function of the committed events alone."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from .committee import Committee
from .crypto import blake3
from .dag import Node
from .journal import Place
from .values import Delivered, lower_median

__all__ = ["DOMAIN_ORDER", "Orderer", "Sightings", "first_order_hash", "next_order_hash"]

DOMAIN_ORDER = b"syncpoint/order/v1"

_PLACE = struct.Struct("<Q32sQ")


class Sightings:
    """Who has seen an event that waits to be delivered, and when (O3)."""

    __slots__ = ("creators", "times")

    def __init__(self) -> None:
        self.creators = 0  # bit set
        self.times: list[int] = []  # ns, one per creator


class Orderer:
    """Turns closed rounds into batches of delivered events."""

    def __init__(self, committee: Committee, order: str, gc_depth: int, epoch: int = 0) -> None:
        self.committee = committee
        self._epoch = epoch  # its number
        self.fair = order == "fair"
        self.gc_depth = gc_depth
        self.floor = 0  # what lies in rounds up to here and is not delivered never will be (O2)
        self.index = 0  # of the next delivered event
        self.consensus_at = 0  # ns, of the last one
        self.order_hash = first_order_hash(committee.epoch_id)
        self._place: Place | None = None  # up to which what closes was delivered before the start
        self._waiting: dict[Node, Sightings] = {}  # held, not delivered
        self._held: dict[int, set[Node]] = {}  # round -> held events, delivered or not
        self._taken: dict[int, int] = {}  # round -> bit set of creators with a delivered variant (O7)
        self._carrying: dict[int, set[Node]] = {}  # round -> accepted, undelivered, not empty (P2)

    @property
    def replays(self) -> bool:
        """Whether what closes was delivered before the start."""
        return self._place is not None

    @property
    def has_undelivered(self) -> bool:
        """Whether an accepted event that carries something still waits for its place (P2)."""
        return bool(self._carrying)

    def begin(self, floor: int, place: Place) -> None:
        """Begin above a round, with what comes up to a place delivered before (R1).

        What the closing of a round delivers depends on nothing that lies `gc_depth` rounds below it (O2), nor on what
        closed before that. Whoever closes 2 `gc_depth` rounds up to the place again stands there as it stood before.
        """
        self.floor, self._place = floor, place

    def follow(self, index: int, consensus_at: int, order_hash: bytes) -> None:
        """Begin behind the last place of the epoch before (S4)."""
        self.index, self.consensus_at, self.order_hash = index, consensus_at, order_hash

    def accept(self, node: Node) -> None:
        """Note an accepted event; it counts as undelivered until it is delivered or falls below the floor."""
        if node.event.carries and node.round > self.floor:
            self._carrying.setdefault(node.round, set()).add(node)

    def close(self, round: int, committed: list[Node]) -> list[Delivered]:
        """The events that the closing of a round delivers, in order (O1); rounds come ascending, each once."""
        self._drop_below(round - self.gc_depth)
        new = self._hold(committed)
        if self.fair:
            ready = self._see(new)
            stamps = {node: lower_median(self._waiting[node].times) for node in ready}  # O4
        else:
            ready, beat = new, self._beat(committed)  # O5
            stamps = dict.fromkeys(ready, beat)
        self._raise_to_parents(ready, stamps)
        salt = signatures = 0
        for node in committed:
            salt ^= int.from_bytes(node.digest, "big")
            signatures ^= int.from_bytes(node.event.signature, "big")
        ready.sort(key=lambda node: (stamps[node], node.round, int.from_bytes(node.digest, "big") ^ salt))  # O7
        batch = []
        for node in ready:
            self._waiting.pop(node, None)
            self._forget_carrying(node)
            taken = self._taken.get(node.round, 0)
            if taken >> node.creator & 1:  # O7: another variant of its slot was delivered
                continue
            self._taken[node.round] = taken | 1 << node.creator
            batch.append(self._deliver(node, stamps[node], round, signatures))
        if self._place is None:
            return batch
        if round == self._place.round:
            _, self.index, self.consensus_at, self.order_hash = self._place
            self._place = None
        return []

    def place(self, digest: bytes, stamp: int) -> int:
        """Give what has this digest the next place in the order, at a time not before the stamp (ns); its index."""
        index = self.index
        self.consensus_at = max(self.consensus_at + 1, stamp)  # O8
        self.order_hash = next_order_hash(self.order_hash, index, digest, self.consensus_at)
        self.index += 1
        return index

    # -- holding and seeing -------------------------------------------------------------------------

    def _drop_below(self, floor: int) -> None:
        """What lies at or below the floor can no longer be delivered (O2, O4)."""
        for round in range(self.floor + 1, floor + 1):
            for node in self._held.pop(round, ()):
                self._waiting.pop(node, None)
            self._taken.pop(round, None)
            self._carrying.pop(round, None)
        self.floor = max(self.floor, floor)

    def _hold(self, committed: Iterable[Node]) -> list[Node]:
        """The events that become held by these commits (O2).

        The walk stops at what is held already: all above the floor that lies behind it is held too.
        """
        new: list[Node] = []
        todo = list(committed)
        while todo:
            node = todo.pop()
            if node.round <= self.floor:
                continue
            held = self._held.setdefault(node.round, set())
            if node in held:
                continue
            held.add(node)
            new.append(node)
            todo += node.parents
        new.sort(key=lambda node: (node.round, node.creator, node.digest))
        return new

    def _see(self, new: list[Node]) -> list[Node]:
        """Record who sees what first through the new events (O3); what q creators have seen now (O4).

        The walk from each stops at what its creator has seen already, and at what is delivered: whoever
        has seen an event has seen all that lies behind it.
        """
        q, ready = self.committee.q, []
        for node in new:
            self._waiting[node] = Sightings()
        for node in new:
            creator, seen_at = 1 << node.creator, node.created_at
            todo = [node]
            while todo:
                ancestor = todo.pop()
                sightings = self._waiting.get(ancestor)
                if sightings is None or sightings.creators & creator:
                    continue
                sightings.creators |= creator
                sightings.times.append(seen_at)
                if len(sightings.times) == q:
                    ready.append(ancestor)
                todo += ancestor.parents
        return ready

    # -- stamping and delivering --------------------------------------------------------------------

    def _beat(self, committed: list[Node]) -> int:
        """The one time that all of a batch in fast order gets (O5)."""
        if not committed:
            return 0
        return lower_median(
            [
                lower_median([parent.created_at for parent in node.strong_parents()] or [node.created_at])
                for node in committed
            ]
        )

    def _raise_to_parents(self, ready: list[Node], stamps: dict[Node, int]) -> None:
        """No event is stamped before a parent of the same batch (O6)."""
        for node in sorted(ready, key=lambda node: node.round):
            for parent in node.parents:
                if stamps.get(parent, 0) > stamps[node]:
                    stamps[node] = stamps[parent]

    def _deliver(self, node: Node, stamp: int, round: int, signatures: int) -> Delivered:
        index = self.place(node.digest, stamp)
        whitened = int.from_bytes(node.event.signature, "big") ^ signatures  # O10
        return Delivered(
            event=node.event,
            parents=tuple(parent.digest for parent in node.parents),
            index=index,
            consensus_at=self.consensus_at,
            order_hash=self.order_hash,
            whitened_signature=whitened.to_bytes(64, "big"),
            closed_by=round,
            submissions=(),
            epoch=self._epoch,
        )

    def _forget_carrying(self, node: Node) -> None:
        carrying = self._carrying.get(node.round)
        if carrying is not None:
            carrying.discard(node)
            if not carrying:
                del self._carrying[node.round]


def first_order_hash(epoch_id: bytes) -> bytes:
    """The order hash before anything is delivered (O9)."""
    return blake3(DOMAIN_ORDER + epoch_id)


def next_order_hash(order_hash: bytes, index: int, digest: bytes, consensus_at: int) -> bytes:
    """The order hash behind the place of an event or a sync point, from the one before it (O9)."""
    return blake3(order_hash + _PLACE.pack(index, digest, consensus_at))
