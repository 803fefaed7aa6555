"""Liars that keep things to themselves: events, answers, votes, or all of it for a while."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ...core.dag import Node
from ..cluster import Cluster
from .base import LiarSpec
from .forger import MS, Forger

__all__ = ["Silent", "Stale", "Withholder"]

LATE_NS = (MS, 800 * MS)  # least and most
SHOWN_TO_ALL = 0.25  # share of a withholder's events: others can only take them with those that they do not have
SILENCE_NS = (50 * MS, 1_500 * MS)
SILENCES = 0.05  # share of rounds after which it falls silent
CAUGHT_UP_ROUNDS = 64  # rounds that it makes up for after a silence, at most
STALE_NS = (MS, 300 * MS)


class Withholder(Forger):
    """Sends events to fewer peers than it takes, builds on them, and answers late or not at all when it is asked."""

    kind = "withholder"

    def lie(self, round: int) -> None:
        """One event, for a few."""
        rng = self.rng
        event = self.make(round, self.tip())
        if event is None:
            return
        self.keep(event)
        if rng.random() < SHOWN_TO_ALL:
            self.show(event)
            return
        few = rng.randint(0, max(1, self.committee.f))
        self.count("lies")
        self.count("withheld")
        self.show(event, rng.sample(self.peers, min(few, len(self.peers))))

    def asked(self, peer: int, digests: list[bytes]) -> None:
        """Not at all, late, or in part."""
        rng = self.rng
        if not self.lies():
            super().asked(peer, digests)
            return
        for digest in self.allowed(digests):
            way = rng.choice(("not", "not", "late", "now"))
            if way == "late":
                self.count("late answers")
                self.later(rng.randint(*LATE_NS), self.show_again, peer, digest)
            elif way == "now":
                self.show_again(peer, digest)
            else:
                self.count("refused answers")

    def pulled(self, peer: int, frontier: Sequence[int]) -> None:
        """Not at all, or with nothing of our own."""
        if not self.lies():
            super().pulled(peer, frontier)
        elif self.rng.random() < 0.5:
            without = list(frontier)
            without[self.creator] = max(frontier[self.creator], self.round)
            super().pulled(peer, without)
        else:
            self.count("refused answers")


class Silent(Forger):
    """Takes part, then is not to be heard for a while although its links stay up, and comes back."""

    kind = "silent"

    def __init__(self, cluster: Cluster, spec: LiarSpec, rng: random.Random) -> None:
        super().__init__(cluster, spec, rng)
        self._mute = False
        self._makes_up = False

    @property
    def mute(self) -> bool:
        """Whether it is silent now."""
        return self._mute

    def next_round(self) -> int | None:
        """After a silence sometimes all rounds that it missed, else the one that the others are in."""
        if self._makes_up and self.round and self.dag.top <= self.round + CAUGHT_UP_ROUNDS:
            return self.round + 1 if self.dag.row(self.round).creators.bit_count() >= self.committee.q else None
        return super().next_round()

    def lie(self, round: int) -> None:
        """One event; sometimes it is the last one for a while."""
        self.behave(round)
        if self.rng.random() < SILENCES:
            self.count("lies")
            self._mute = True
            self.later(self.rng.randint(*SILENCE_NS), self._speak)

    def _speak(self) -> None:
        self._mute = False
        self._makes_up = self.rng.random() < 0.5


class Stale(Forger):
    """Builds on as little as is allowed, never on its victim's events, and on the oldest where it can; sends late."""

    kind = "stale"

    def __init__(self, cluster: Cluster, spec: LiarSpec, rng: random.Random) -> None:
        super().__init__(cluster, spec, rng)
        self.victim = rng.choice(self.peers) if spec.victim is None else spec.victim

    def lie(self, round: int) -> None:
        """One event, with q strong parents, the victim's not among them, and old ones of the others."""
        rng = self.rng
        strong = self.known.strong(round, self.tip()) if round > 1 else []
        if strong is None:
            return
        without = [node for node in strong if node.creator != self.victim]
        if round > 1 and len(without) >= self.committee.q:
            others = [node for node in without if node.creator != self.creator]
            own = [node for node in without if node.creator == self.creator]
            strong = own + rng.sample(others, self.committee.q - len(own))
            self.count("lies")
        parents = self.with_self(round, strong, self.tip()) if round > 1 else []
        taken = {node.creator for node in parents} | {self.creator}
        parents = parents + [
            node for by in range(self.committee.n) if by not in taken and (node := self._oldest(round, by))
        ]
        event = self.sign(round, parents)
        self.keep(event)
        self.show(event, after_ns=rng.choice((0, rng.randint(*STALE_NS))))

    def _oldest(self, round: int, creator: int) -> Node | None:
        """The oldest event of a creator that an event of `round` may have as a weak parent (V3)."""
        for below in range(max(1, round - self.network.gc_depth, self.dag.floor + 1), round - 1):
            variants = self.dag.row(below).variants[creator]
            if variants:
                return variants[0]
        return None
