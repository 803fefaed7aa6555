"""Liars that sign several events for one slot."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ...core.dag import Node
from ...core.values import Item
from ..cluster import Cluster
from .base import LiarSpec
from .forger import MS, PADDING_TYPE, Forger

__all__ = ["Equivocator", "Fork", "ForkBomb"]

STRETCH_ROUNDS = 8  # so long one way of showing is kept
WAYS = ("halves", "halves", "swapped", "uneven", "late", "mixed")
HEAVY = 9_000  # bytes in a header: of two such nobody makes a proof
MAX_TIPS = 8  # variants that a fork bomb builds on


class Fork(Forger):
    """Signs several events for one slot, perhaps with headers so long that nobody proves it."""

    def __init__(self, cluster: Cluster, spec: LiarSpec, rng: random.Random) -> None:
        super().__init__(cluster, spec, rng)
        padding = rng.choice((0, 0, HEAVY)) if spec.padding is None else spec.padding
        self.items = (Item(PADDING_TYPE, bytes(padding)),) if padding else ()

    def variants(self, round: int, tips: Sequence[Node | None]) -> list[tuple[Node | None, bytes]]:
        """One variant of our slot for each of these to build on: its node, if it is valid, and its digest."""
        made = []
        for own in tips:
            heed_v8 = self.rng.random() < 0.9
            event = self.make(round, own, heed_v8=heed_v8, transactions=(self.transaction(),), items=self.items)
            if event is not None:
                made.append((self.keep(event), event.digest))
        if len(made) > 1:
            self.count("lies")
            self.count("forks", len(made) - 1)
        return made


class Equivocator(Fork):
    """Shows each part of the peers another event: two or three for one slot, round after round."""

    kind = "equivocator"

    def __init__(self, cluster: Cluster, spec: LiarSpec, rng: random.Random) -> None:
        super().__init__(cluster, spec, rng)
        self._until = 0
        self._way = WAYS[0]
        self._cut = 1

    def lie(self, round: int) -> None:
        """Two variants, each built on one of the last ones, for two parts of the peers."""
        rng = self.rng
        if round >= self._until:
            self._until = round + STRETCH_ROUNDS
            self._way = rng.choice(WAYS)
            self._cut = rng.randrange(1, max(2, len(self.peers)))
        tips: list[Node | None] = [*self.tips[:2]] or [None]
        tips = [tips[0], tips[-1]]
        if rng.random() < 0.1:
            tips[1] = tips[0]
        if rng.random() < 0.2:
            tips.append(rng.choice(tips))
        for at, (_, digest) in enumerate(self.variants(round, tips)):
            after_ns = rng.randrange(1, 50 * MS) if self._way == "late" and at else 0
            for peer in self._part(at, round):
                self.later(after_ns, self.show_again, peer, digest) if after_ns else self.show_again(peer, digest)

    def _part(self, at: int, round: int) -> list[int]:
        """The peers that are shown variant number `at`: the same for all who lie alike, so that they lie together."""
        peers = self.peers
        if self._way == "mixed" or at > 1:
            return [peer for peer in peers if self.rng.random() < 0.5]
        if self._way == "uneven":
            return peers[self._cut :] if at else peers[: self._cut]
        side = at ^ (round & 1 if self._way == "swapped" else 0)
        return [peer for peer in peers if (2 * peer < self.cluster.n) == (side == 0)]


class ForkBomb(Fork):
    """Signs very many events for one slot, and shows each to a few peers."""

    kind = "fork_bomb"

    def lie(self, round: int) -> None:
        """As many variants as it may; a child may come before its parent, so that it is asked for."""
        rng = self.rng
        count = max(2, int(self.spec.forks * self.spec.strength))
        tips: list[Node | None] = [*rng.sample(self.tips, min(MAX_TIPS, len(self.tips)))] or [None]
        for _, digest in self.variants(round, [tips[at % len(tips)] for at in range(count)]):
            for peer in rng.sample(self.peers, rng.randint(1, min(2, len(self.peers)))):
                self.show_again(peer, digest)
