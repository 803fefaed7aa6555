"""What a liar knows of the graph: the valid events whose whole history it has, and those that still miss some of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...core.committee import Committee
from ...core.config import Network
from ...core.dag import Dag, Node
from ...core.error import Reject
from ...core.values import Event
from ...core.verify import check_ancestors, check_event, exposed
from ...core.wire import MAX_TIME

__all__ = ["Knowledge", "Want"]

SPARE_ROUNDS = 64  # kept beyond those that events may still refer to
MAX_AHEAD = 64  # rounds above the top: what is farther is not kept, others will send it again
MAX_WAITING = 512  # events; the one that has waited longest is forgotten
MAX_VARIANTS = 16  # of one slot; beyond, only those that others refer to
MAX_TRIES = 8  # before a missing event is held to be made up
MAX_ASKED = 64  # events in one request
RETRY_NS = 60_000_000


class Want:
    """A missing event: who refers to it, and when to ask again."""

    __slots__ = ("due", "hint", "tries")

    def __init__(self, hint: int, due: int) -> None:
        self.hint = hint  # the peer that sent what refers to it
        self.due = due
        self.tries = 0


class Knowledge:
    """Takes in events in any order; holds a bounded number of rounds."""

    def __init__(self, committee: Committee, network: Network) -> None:
        self.committee = committee
        self.network = network
        self.dag = Dag(committee.n)
        self.accepted = 0
        self._waiting: dict[bytes, Event] = {}
        self._children: dict[bytes, list[bytes]] = {}  # missing event -> those that wait for it
        self._wants: dict[bytes, Want] = {}
        self._keep = network.gc_depth + SPARE_ROUNDS

    # -- taking in ----------------------------------------------------------------------------------

    def learn(self, event: Event, sender: int, now: int) -> None:
        """Take in an event of a peer, if it is valid, as soon as its history is here."""
        dag = self.dag
        if event.digest in dag or event.digest in self._waiting:
            return
        if not dag.floor < event.round <= dag.top + MAX_AHEAD:
            return
        if check_event(event, self.committee, self.network.gc_depth) is not None:
            return
        wanted = event.digest in self._wants
        if not wanted and len(dag.row(event.round).variants[event.creator]) >= MAX_VARIANTS:
            return
        ready = [event]
        while ready:
            event = ready.pop()
            missing = [parent.digest for parent in event.parents if parent.digest not in dag]
            if missing:
                self._hold(event, missing, sender, now)
            elif self.enter(event) is None:
                self._wants.pop(event.digest, None)
                for child in self._children.pop(event.digest, ()):
                    waiting = self._waiting.get(child)
                    if waiting is not None and all(parent.digest in dag for parent in waiting.parents):
                        del self._waiting[child]
                        ready.append(waiting)
        self._forget()

    def enter(self, event: Event) -> Reject | None:
        """Take in an event whose parents are here, unless it is invalid or here already."""
        dag = self.dag
        if event.created_at > MAX_TIME:
            return Reject.TIME
        parents = [node for parent in event.parents if (node := dag.get(parent.digest)) is not None]
        if len(parents) < len(event.parents) or event.digest in dag or event.round <= dag.floor:
            return Reject.TOO_OLD
        reject = check_ancestors(event, parents, dag, self.network.gc_depth)
        if reject is None:
            dag.insert(event)
            self.accepted += 1
        return reject

    def due(self, now: int) -> Iterator[tuple[int, list[bytes]]]:
        """Whom to ask for what now: the peer that referred to it, and those after it in a circle."""
        n = self.committee.n
        asks: dict[int, list[bytes]] = {}
        for digest, want in list(self._wants.items()):
            if want.due > now:
                continue
            if want.tries == MAX_TRIES:
                self._give_up(digest)
                continue
            asks.setdefault((want.hint + want.tries) % n, []).append(digest)
            want.tries += 1
            want.due = now + RETRY_NS * want.tries
        for peer, digests in asks.items():
            for at in range(0, len(digests), MAX_ASKED):
                yield peer, digests[at : at + MAX_ASKED]

    # -- what is there ------------------------------------------------------------------------------

    def above(self, frontier: Sequence[int], most: int) -> Iterator[Event]:
        """The first events above a frontier, in ascending rounds."""
        dag = self.dag
        lowest = min(
            (theirs for theirs, ours in zip(frontier, dag.frontier, strict=True) if theirs < ours), default=dag.top
        )
        for round in range(max(lowest, dag.floor) + 1, dag.top + 1):
            for node in dag.row(round).nodes:
                if round > frontier[node.creator]:
                    if most == 0:
                        return
                    most -= 1
                    yield node.event

    def strong(self, round: int, own: Node | None, *, heed_v8: bool = True) -> list[Node] | None:
        """Strong parents for an event of `round`, `own` among them if that can be; None when there are too few.

        Of several variants of somebody else the first is taken that came. With our own forks in the way, those go that
        voted for another variant, or else our own event does (V8).
        """
        dag, q = self.dag, self.committee.q
        chosen = []
        for creator, variants in enumerate(dag.row(round - 1).variants):
            if own is not None and creator == own.creator:
                if own.round == round - 1:
                    chosen.append(own)
            elif variants:
                chosen.append(min(variants, key=lambda node: node.index))
        if heed_v8:
            if own in chosen and own is not None and exposed(chosen, dag) >> own.creator & 1:
                chosen = _without_rivals(chosen, own, q)
            while liars := exposed(chosen, dag):
                kept = [node for node in chosen if not liars >> node.creator & 1]
                if len(kept) == len(chosen):
                    break
                chosen = kept
        return chosen if len(chosen) >= q else None

    def latest(self, parents: Sequence[Node], creator: int, lowest: int) -> Node | None:
        """The latest event of a creator in the histories of these, not below a round (V4)."""
        by_round: dict[int, dict[Node, None]] = {}
        for node in parents:
            by_round.setdefault(node.round, {})[node] = None
        for round in range(max(by_round, default=0), lowest - 1, -1):
            for node in by_round.pop(round, ()):
                if node.creator == creator:
                    return node
                for parent in node.parents:
                    by_round.setdefault(parent.round, {})[parent] = None
        return None

    # -- private ------------------------------------------------------------------------------------

    def _hold(self, event: Event, missing: list[bytes], sender: int, now: int) -> None:
        while len(self._waiting) >= MAX_WAITING:
            oldest = next(iter(self._waiting))
            self._drop(oldest)
            self._give_up(oldest)
        self._waiting[event.digest] = event
        for digest in missing:
            self._children.setdefault(digest, []).append(event.digest)
            if digest not in self._waiting and digest not in self._wants:
                self._wants[digest] = Want(sender, now)
        self._wants.pop(event.digest, None)

    def _drop(self, digest: bytes) -> None:
        """Forget a waiting event, and what is missed for its sake only."""
        event = self._waiting.pop(digest)
        for parent in event.parents:
            children = self._children.get(parent.digest)
            if children is not None and digest in children:
                children.remove(digest)
                if not children:
                    del self._children[parent.digest]
                    self._wants.pop(parent.digest, None)

    def _give_up(self, digest: bytes) -> None:
        """Nobody has it: forget all that waits for it."""
        todo = [digest]
        while todo:
            missing = todo.pop()
            self._wants.pop(missing, None)
            for child in list(self._children.get(missing, ())):
                if child in self._waiting:
                    self._drop(child)
                    todo.append(child)

    def _forget(self) -> None:
        floor = self.dag.top - self._keep
        if floor >= self.dag.floor + SPARE_ROUNDS:
            self.dag.prune(floor)
            for digest in [digest for digest, event in self._waiting.items() if event.round <= floor]:
                self._drop(digest)


def _without_rivals(chosen: list[Node], own: Node, q: int) -> list[Node]:
    """Without those that voted for another variant than our own event builds on; all of them where that is too few."""
    ours = next((node for node in own.strong_parents() if node.creator == own.creator), None)
    kept = []
    for node in chosen:
        votes = [parent for parent in node.strong_parents() if parent.creator == own.creator]
        if not votes or votes == [ours]:
            kept.append(node)
    return kept if len(kept) >= q else chosen
