"""A model of another protocol, to compare with on the same graph; no part of what syncpoint does.

Decisions by one leader a round, as in Mysticeti-C (arXiv 2310.14821) with one leader slot per round: a leader's event
is committed by certificates of q creators two rounds above it, its slot is skipped where q events of the next round do
not vote for it, and what that leaves open is decided by the first later leader, from three rounds above on, whose slot
is not skipped. All other events wait for a committed leader that has them in its history. Leaders are delivered in the
order of their rounds, each with what of its history is not delivered yet.

`one_leader` reads any graph. On that of a run of syncpoint (the same events, arrivals and primaries) it compares rules
only: a protocol with leaders would have made other events at other times. `led` makes the graph of such a protocol's
own pace. Nobody lies in either.
"""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from collections.abc import Container, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from ..core.committee import Committee
from .delays import Delays

__all__ = ["Graph", "Vertex", "led", "one_leader"]

NEVER = 1 << 62  # ns


@dataclass(slots=True, eq=False)
class Vertex:
    """One event of a run."""

    creator: int
    round: int
    created_ns: int
    strong: tuple[Vertex, ...]
    weak: tuple[Vertex, ...]
    arrived: dict[int, int] = field(default_factory=dict)  # peer -> ns, its creator among them


@dataclass(slots=True)
class Graph:
    """All events of a run, parents first, and who was there to the end."""

    n: int
    vertices: list[Vertex]
    living: tuple[int, ...] = ()
    epoch_id: bytes = b""


class _Leader:
    """The slot of one round's leader, and what speaks for and against its event."""

    def __init__(self, event: Vertex | None, above: list[Vertex], top: list[Vertex], q: int) -> None:
        """`above` and `top` are the events of the two rounds after it."""
        votes = {vertex for vertex in above if event is not None and event in vertex.strong}
        self.event = event
        self.against = [vertex for vertex in above if vertex not in votes]
        self.certificates = [vertex for vertex in top if sum(each in votes for each in vertex.strong) >= q]


def one_leader(graph: Graph, window: range) -> list[int]:
    """The ns from creation to delivery that the model needs, for each event of these rounds and each living peer.

    AssertionError where the graph ends before the model has delivered all of them.
    """
    committee = Committee(graph.n, None, graph.epoch_id)
    rows: dict[int, dict[int, Vertex]] = defaultdict(dict)
    for vertex in graph.vertices:
        rows[vertex.round][vertex.creator] = vertex
    above = {round: list(row.values()) for round, row in rows.items()}
    leaders = [
        _Leader(rows[round].get(committee.primary(round)), above[round + 1], above[round + 2], committee.q)
        for round in range(1, max(rows) - 1)
    ]
    decisions = {peer: _decisions(leaders, committee.q, _accepted(graph, peer)) for peer in graph.living}
    batches = _batches(leaders, [any(committed) for committed in zip(*map(_commits, decisions.values()), strict=True)])
    samples = []
    for decided in decisions.values():
        now = 0
        for batch, (at, committed) in zip(batches, decided, strict=True):
            now = max(now, at)
            if now == NEVER:
                break
            assert committed == bool(batch), "two peers decide differently: the model is wrong"
            samples += [now - vertex.created_ns for vertex in batch if vertex.round in window]
    expected = sum(len(rows[round]) for round in window) * len(graph.living)
    assert len(samples) == expected, f"the graph ends too soon: {len(samples)} of {expected} deliveries"
    return samples


def led(n: int, delays: Delays, seed: int, rounds: int, dead: Container[int] = ()) -> Graph:
    """The graph of peers that go on as soon as the leader's event and a quorum of a round are here.

    They make so many rounds each, and also go on when a quorum is a round ahead. For dead leaders they do not wait at
    all, which is more than a timeout would give them. Links keep the order of what is sent.
    """
    rng = random.Random(f"led/{seed}")
    committee = Committee(n, None, bytes(32))
    living = tuple(number for number in range(n) if number not in dead)
    peers = {number: _LedPeer(number, committee, dead) for number in living}
    graph = Graph(n, [], living, committee.epoch_id)
    flying: list[tuple[int, int, int, Vertex]] = []  # heap: (ns, number, to, event)
    free: dict[tuple[int, int], int] = {}  # (from, to) -> ns, before which nothing more arrives
    count = 0

    def make(peer: _LedPeer, now: int) -> None:
        nonlocal count
        vertex = peer.make(now)
        graph.vertices.append(vertex)
        for other in living:
            if other != peer.own:
                at = now + delays.draw(rng, peer.own, other)
                at = free[peer.own, other] = max(at, free.get((peer.own, other), 0))
                vertex.arrived[other] = at
                count += 1
                heapq.heappush(flying, (at, count, other, vertex))

    for peer in peers.values():
        make(peer, 0)
    while min(peer.made for peer in peers.values()) < rounds:
        now, reached = flying[0][0], set()
        while flying and flying[0][0] == now:  # what arrives at once is looked at together
            _, _, to, vertex = heapq.heappop(flying)
            peers[to].take(vertex)
            reached.add(to)
        for to in sorted(reached):
            while peers[to].ready():
                make(peers[to], now)
    return graph


class _LedPeer:
    """What one peer of `led` has, and when it goes on."""

    def __init__(self, own: int, committee: Committee, dead: Container[int]) -> None:
        self.own = own
        self.made = 0  # its highest round
        self._committee = committee
        self._dead = dead
        self._rows: dict[int, dict[int, Vertex]] = defaultdict(dict)  # round -> creator -> event
        self._accepted: set[Vertex] = set()
        self._waiting: list[Vertex] = []  # parents are missing
        self._uncovered: dict[Vertex, None] = {}  # in no history of an event of its own

    def take(self, vertex: Vertex) -> None:
        """An event arrives; it counts when all that it builds on is here."""
        self._waiting.append(vertex)
        before = -1
        while len(self._waiting) != before:
            before = len(self._waiting)
            for each in [each for each in self._waiting if self._accepted.issuperset((*each.strong, *each.weak))]:
                self._waiting.remove(each)
                self._accept(each)

    def ready(self) -> bool:
        """Whether it goes on to the next round."""
        row, q = self._rows[self.made], self._committee.q
        leader = self._committee.primary(self.made)
        return len(self._rows[self.made + 1]) >= q or (len(row) >= q and (leader in row or leader in self._dead))

    def make(self, now: int) -> Vertex:
        """Its next event."""
        strong = tuple(self._rows[self.made].values())
        newest: dict[int, Vertex] = {}
        named = {vertex.creator for vertex in strong}
        for vertex in self._uncovered:
            known = newest.get(vertex.creator)
            if vertex.round < self.made and vertex.creator not in named and (not known or known.round < vertex.round):
                newest[vertex.creator] = vertex
        self.made += 1
        made = Vertex(self.own, self.made, now, strong, tuple(newest.values()), {self.own: now})
        todo = [*strong, *newest.values()]
        while todo:
            vertex = todo.pop()
            if vertex in self._uncovered:
                del self._uncovered[vertex]
                todo += (*vertex.strong, *vertex.weak)
        self._accept(made)
        return made

    def _accept(self, vertex: Vertex) -> None:
        self._accepted.add(vertex)
        self._uncovered[vertex] = None
        self._rows[vertex.round][vertex.creator] = vertex


def _accepted(graph: Graph, peer: int) -> dict[Vertex, int]:
    """When each event, and all that lies behind it, was at a peer."""
    accepted: dict[Vertex, int] = {}
    for vertex in graph.vertices:
        at = vertex.arrived.get(peer, NEVER)
        for parent in (*vertex.strong, *vertex.weak):
            at = max(at, accepted[parent])
        accepted[vertex] = at
    return accepted


def _decisions(leaders: list[_Leader], q: int, accepted: dict[Vertex, int]) -> list[tuple[int, bool]]:
    """When a peer can decide each leader's slot, and whether it is committed; NEVER while it cannot."""

    def reached(vertices: Iterable[Vertex]) -> int:
        """When the q-th of them was here."""
        times = sorted(accepted[vertex] for vertex in vertices)
        return times[q - 1] if len(times) >= q else NEVER

    decided: list[tuple[int, bool]] = [(NEVER, False)] * len(leaders)
    for place in reversed(range(len(leaders))):
        leader = leaders[place]
        at, skipped_at = reached(leader.certificates), reached(leader.against)
        committed = at <= skipped_at
        at = min(at, skipped_at)
        known = 0  # when all slots up to the anchor were decided
        for later, (later_at, later_committed) in zip(leaders[place + 3 :], decided[place + 3 :], strict=True):
            known = max(known, later_at)
            if known >= at:
                break
            if later_committed:
                assert later.event is not None
                behind = _history(later.event, place + 3)  # places count from 0, rounds from 1
                committed, at = any(each in behind for each in leader.certificates), known
                break
        decided[place] = (at, committed and at < NEVER)
    return decided


def _commits(decided: list[tuple[int, bool]]) -> list[bool]:
    return [committed for _, committed in decided]


def _batches(leaders: list[_Leader], committed: list[bool]) -> list[set[Vertex]]:
    """What each committed leader delivers."""
    delivered: set[Vertex] = set()
    batches = []
    for leader, is_committed in zip(leaders, committed, strict=True):
        batch = _history(leader.event, 1, delivered) if is_committed and leader.event is not None else set()
        delivered |= batch
        batches.append(batch)
    return batches


def _history(event: Vertex, lowest: int, without: AbstractSet[Vertex] = frozenset()) -> set[Vertex]:
    """An event and what lies behind it down to a round, but not what lies behind a vertex of `without`."""
    found = {event}
    todo = [event]
    while todo:
        vertex = todo.pop()
        for parent in (*vertex.strong, *vertex.weak):
            if parent.round >= lowest and parent not in found and parent not in without:
                found.add(parent)
                todo.append(parent)
    return found
