"""Events that came so late that others may refuse them (docs/decisions/0015-far-behind.md)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .committee import Committee
from .dag import Node

__all__ = ["Late"]


class _Entry:
    """A late event, or one that builds on such: whoever refers to it brings them to others."""

    __slots__ = ("checked", "creators", "deepest", "is_late")

    def __init__(self, deepest: int, is_late: bool, creators: int, checked: int) -> None:
        self.deepest = deepest  # the round of the deepest late event in its history that was not common ...
        self.checked = checked  # ... when so many were
        self.is_late = is_late
        self.creators = creators  # bit set: who has an event that has it in its history


class Late:
    """Late events that are not common yet, and what builds on them.

    An event is common once f + 1 creators have it in the history of an event of theirs: one of them is honest, and all
    can take from it what it has taken. It does not matter then how late it came; nor where we have built on it already.
    """

    def __init__(self, committee: Committee, own: int, gc_depth: int) -> None:
        self.line = 0  # what comes from such a round, or an older one, is late
        self._f = committee.f
        self._own = own
        self._gc_depth = gc_depth
        self._entries: dict[Node, _Entry] = {}
        self._common = 0  # entries that became common

    def accept(self, node: Node) -> None:
        """Note an event that entered the DAG."""
        is_late = node.round <= self.line
        if not self._f or (not is_late and not self._entries):
            return
        self._share(node)
        if node.creator == self._own:
            return
        rounds = [round for parent in node.parents if (round := self.round_of(parent)) is not None]
        if is_late:
            rounds.append(node.round)
        if rounds:
            self._entries[node] = _Entry(min(rounds), is_late, 1 << node.creator, self._common)

    def round_of(self, node: Node) -> int | None:
        """The round of the deepest late event in its history that is not common; None without one."""
        entry = self._entries.get(node)
        if entry is None:
            return None
        if entry.checked < self._common:
            deepest = self._deepest(node)
            if deepest is None:
                del self._entries[node]
                return None
            entry.deepest, entry.checked = deepest, self._common
        return entry.deepest

    def depths(self, nodes: Iterable[Node]) -> dict[int, int]:
        """Of the creators of such events, among those of a round: the lowest `round_of` any of theirs."""
        depths: dict[int, int] = {}
        for node in nodes:
            depth = self.round_of(node)
            if depth is not None:
                depths[node.creator] = min(depth, depths.get(node.creator, depth))
        return depths

    def prune(self, dropped: Sequence[Node], floor: int) -> None:
        """Forget events that left the DAG, those of the rounds up to `floor`; what builds on late ones stays late."""
        gone = {node for node in dropped if self._entries.pop(node, None) is not None}
        if gone:
            for node, entry in self._entries.items():
                if node.round <= floor + self._gc_depth and not gone.isdisjoint(node.parents):
                    entry.is_late = True

    def _share(self, node: Node) -> None:
        """What is in the history of an event is in that of one more creator."""
        by = 1 << node.creator
        todo = list(node.parents)
        while todo:
            below = todo.pop()
            entry = self._entries.get(below)
            if entry is None or entry.creators & by:
                continue
            entry.creators |= by
            if entry.creators.bit_count() > self._f or node.creator == self._own:
                del self._entries[below]
                self._common += 1
            todo += below.parents

    def _deepest(self, node: Node) -> int | None:
        """The lowest round of a late event in a history, as far as it is not common."""
        rounds: list[int] = []
        todo, seen = [node], {node}
        while todo:
            below = todo.pop()
            if self._entries[below].is_late:
                rounds.append(below.round)
            for parent in below.parents:
                if parent in self._entries and parent not in seen:
                    seen.add(parent)
                    todo.append(parent)
        return min(rounds, default=None)
