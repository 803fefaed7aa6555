"""The graph of accepted events: rows by round, votes read off as events come in.

Sets of events of one round are integers used as bit sets: bit i is the event with index i in its row.
Indices follow arrival and so differ between peers; they never leave this peer and never order anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .values import Event

__all__ = ["Dag", "Node", "Row"]


class Node:
    """An accepted event and its place in the graph."""

    __slots__ = (
        "created_at", "creator", "digest", "event", "index", "parents", "round", "size", "strong", "voters", "voting",
    )  # fmt: skip

    def __init__(self, event: Event, parents: tuple[Node, ...], index: int) -> None:
        self.event = event.linked()
        self.digest = event.digest
        self.creator = event.creator
        self.round = event.round
        self.created_at = event.created_at
        self.size = event.size  # which takes time to count
        self.parents = parents
        self.index = index  # in its row
        self.strong = 0  # bit set over the row below: strong parents
        self.voters = 0  # bit set over the row above: events that vote for it (D1)
        self.voting = 0  # bit set over creators: whose events vote for it (D1, Q3)

    def strong_parents(self) -> list[Node]:
        """The parents of the round before."""
        return [parent for parent in self.parents if parent.round == self.round - 1]

    def __repr__(self) -> str:
        return f"Node({self.round}/{self.creator} {self.digest.hex()[:8]})"


class Row:
    """The events of one round."""

    __slots__ = ("creators", "forked", "nodes", "variants")

    def __init__(self, n: int) -> None:
        self.nodes: list[Node] = []  # in order of arrival
        self.variants: list[list[Node]] = [[] for _ in range(n)]  # per creator, in digest order
        self.creators = 0  # bit set: who has an event here
        self.forked = 0  # bit set: who has more than one (equivocators)


class Dag:
    """All accepted events that are still retained; causally complete down to `floor`."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.top = 0  # the highest round with an event
        self.floor = 0  # rounds up to here were dropped
        self.bytes = 0  # of all events held
        self.frontier = [0] * n  # the highest round of each creator
        self.rows: dict[int, Row] = {}
        self._by_digest: dict[bytes, Node] = {}
        self._empty = Row(n)

    def begin(self, floor: int) -> None:
        """Begin above a round, as if all up to it had been dropped; nothing may be here yet."""
        assert not self._by_digest, "began twice"
        self.floor = self.top = floor

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._by_digest

    def __len__(self) -> int:
        return len(self._by_digest)

    def get(self, digest: bytes) -> Node | None:
        """The node of an event, None when it is not here."""
        return self._by_digest.get(digest)

    def row(self, round: int) -> Row:
        """The events of a round; an empty row where there are none."""
        return self.rows.get(round, self._empty)

    def full_round(self, creators: int) -> int:
        """The highest round with events of so many creators; the floor where there is none."""
        round = self.top
        while round > self.floor and self.row(round).creators.bit_count() < creators:
            round -= 1
        return round

    def insert(self, event: Event) -> Node:
        """Add an event whose parents above the floor are all here; it must be neither here already nor below it."""
        assert event.digest not in self._by_digest, "inserted twice"
        assert event.round > self.floor, "inserted below the floor"
        row = self.rows.get(event.round)
        if row is None:
            row = self.rows[event.round] = Row(self.n)
        parents = tuple(self._by_digest[at.digest] for at in event.parents if at.round > self.floor)
        node = Node(event, parents, len(row.nodes))
        for parent in parents:
            if parent.round == node.round - 1:  # D1: a strong parent is a vote
                node.strong |= 1 << parent.index
                parent.voters |= 1 << node.index
                parent.voting |= 1 << node.creator
        row.nodes.append(node)
        variants = row.variants[node.creator]
        if variants:
            row.forked |= 1 << node.creator
            variants.append(node)
            variants.sort(key=lambda variant: variant.digest)
        else:
            row.creators |= 1 << node.creator
            variants.append(node)
        self._by_digest[node.digest] = node
        self.bytes += node.size
        self.top = max(self.top, node.round)
        self.frontier[node.creator] = max(self.frontier[node.creator], node.round)
        return node

    def history_at(self, node: Node, round: int) -> int:
        """Bit set over a row: the events of `round` in the history of an event, itself included."""
        if node.round <= round:
            return 1 << node.index if node.round == round else 0
        reached: dict[int, int] = {node.round: 1 << node.index}
        for level in range(node.round, round, -1):
            for below in nodes_of(self.rows.get(level, self._empty), reached.get(level, 0)):
                for parent in below.parents:
                    if parent.round >= round:
                        reached[parent.round] = reached.get(parent.round, 0) | 1 << parent.index
        return reached.get(round, 0)

    def prune(self, floor: int) -> list[Node]:
        """Drop all rounds up to `floor`. What was dropped."""
        dropped: list[Node] = []
        for round in range(self.floor + 1, floor + 1):
            row = self.rows.pop(round, None)
            if row is None:
                continue
            for node in row.nodes:
                del self._by_digest[node.digest]
                self.bytes -= node.size
                node.parents = ()  # else the row above would keep all that is below alive
            dropped += row.nodes
        self.floor = max(self.floor, floor)
        return dropped


def nodes_of(row: Row, bits: int) -> Iterator[Node]:
    """The events of a row that a bit set names, in index order."""
    while bits:
        low = bits & -bits
        yield row.nodes[low.bit_length() - 1]
        bits ^= low


def creators_of(nodes: Iterable[Node]) -> int:
    """Bit set over creators: whose events these are (Q3)."""
    bits = 0
    for node in nodes:
        bits |= 1 << node.creator
    return bits
