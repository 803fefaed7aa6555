"""A liar that makes invalid events: each breaks one rule, and all else about it is right."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from ...core import wire
from ...core.crypto import DOMAIN_EVENT
from ...core.dag import Node
from ...core.values import Event, Item, ItemType, Parent
from ..cluster import Cluster
from .base import LiarSpec
from .forger import MS, Forger
from .noise import MAX_PROOF

__all__ = ["RuleBreaker"]

SHARE = 0.2  # of rounds in which it breaks a rule, at strength 1
FEW = 2  # peers that get an invalid event from us; the others, if at all, from those
ASK_NS = (30 * MS, 200 * MS)  # after an invalid event was sent: whoever serves it has accepted it
MAX_INVALID = 1_000  # invalid events; from then on it behaves
MAX_LATE = 4  # kept back at once
MAX_GAP = 30  # rounds that are left out for one that is kept back


@dataclass(frozen=True, slots=True)
class _Late:
    """An event that is kept back until what makes it invalid is dropped, and the peers that have it by now."""

    event: Event
    last: int  # round of our last event before it, which it does not name (V4)
    shown: set[int]


class RuleBreaker(Forger):
    """Behaves for most of the time, so that it is believed; now and then it shows a few peers an invalid event.

    It breaks the rules by how it makes an event, and asks none of the checks of the core whether it did. What it made
    is noted in `cluster.invalid`, so that the checkers know. Its slot in that round stays empty otherwise.
    """

    kind = "rule_breaker"

    def __init__(self, cluster: Cluster, spec: LiarSpec, rng: random.Random) -> None:
        super().__init__(cluster, spec, rng)
        self._spent = 0  # the last round that we have an event for, right or wrong, or leave out
        self._late: list[_Late] = []
        self._gap_after = 0  # our last round before those that we leave out, 0 while we leave out none
        self._ways: dict[str, Callable[[int, list[Node]], Event | None]] = {
            "V2: too few strong parents": self._too_few,
            "V3: a parent that is too old": self._old_parent,
            "V3: two parents of one creator": self._two_parents,
            "V3: a parent of another round": self._wrong_round,
            "V4: no self-parent": self._no_self_parent,
            "V4: a self-parent that is not the latest": self._older_self_parent,
            "V5: no later than its self-parent": self._no_later,
        }

    # -- when -----------------------------------------------------------------------------------------

    def next_round(self) -> int | None:
        """Not one in which there is an invalid event already: that would be a fork."""
        round = super().next_round()
        if round is None or round > self._spent:
            return round
        is_full = self.dag.row(self._spent).creators.bit_count() >= self.committee.q
        return self._spent + 1 if is_full else None

    def act(self, round: int) -> None:
        """See whether it is time for what was kept back."""
        for late in self._late if self.lying else ():
            self._show_late(late)
        super().act(round)

    def lie(self, round: int) -> None:
        """An invalid event, or false evidence in a valid one; in most rounds neither."""
        rng = self.rng
        if self._gap_after:
            self._end_gap(round)
        elif rng.random() >= SHARE or self.round == 0 or self.counters.get("lies", 0) >= MAX_INVALID:
            self.behave(round)
        else:
            match rng.choice((*self._ways, "false evidence", "late")):
                case "false evidence":
                    self._accuse(round)
                case "late":
                    self._begin_gap(round)
                case how:
                    self._break(round, how)

    # -- invalid events -------------------------------------------------------------------------------

    def _break(self, round: int, how: str) -> None:
        strong = self.known.strong(round, self.tip())
        event = self._ways[how](round, strong) if strong is not None else None
        if event is None:
            self.behave(round)
            return
        self._note(event, how)
        for peer in self.rng.sample(list(self.linked), min(FEW, len(self.linked))):
            self._show_invalid(peer, event)

    def _note(self, event: Event, how: str) -> None:
        """Our event of this round is an invalid one."""
        self._spent = event.round
        self.count("lies")
        self.count(how)
        self.aside[event.digest] = event
        self.cluster.invalid[event.digest] = (
            f"an event of round {event.round} by creator {self.creator}, invalid ({how})"
        )

    def _show_invalid(self, peer: int, event: Event) -> None:
        self.show(event, [peer])
        self.later(self.rng.randint(*ASK_NS), self.send, peer, wire.encode_request([event.digest]))

    def _lowest(self, round: int) -> int:
        """The lowest round of which an event of `round` may have a parent (V3)."""
        return max(1, round - self.network.gc_depth)

    def _others(self, strong: list[Node]) -> list[Node]:
        return [node for node in strong if node.creator != self.creator]

    def _signed(self, round: int, references: list[Parent]) -> Event:
        """An event with these parents whose time is right."""
        tip = self.tip()
        assert tip is not None, "a rule is broken after the first round"
        return self.sign(round, [tip], references=sorted(references))

    def _too_few(self, round: int, strong: list[Node]) -> Event | None:
        fewer = self.rng.sample(self._others(strong), self.committee.q - 1)
        return self.sign(round, self.with_self(round, fewer, self.tip())) if fewer else None

    def _old_parent(self, round: int, strong: list[Node]) -> Event | None:
        old = self._one_of(round - self.network.gc_depth - 1)
        others = [] if old is None else [node for node in strong if node.creator != old.creator]
        if old is None or len(others) < self.committee.q:
            return None
        return self.sign(round, [*self.with_self(round, others, self.tip()), old])

    def _two_parents(self, round: int, strong: list[Node]) -> Event | None:
        old = self._one_of(round - 2)
        if old is None or all(node.creator != old.creator for node in strong):
            return None
        return self.sign(round, [*self.with_self(round, strong, self.tip()), old])

    def _wrong_round(self, round: int, strong: list[Node]) -> Event | None:
        old = self._one_of(round - 2)
        if old is None:
            return None
        parents = self.with_self(round, [node for node in strong if node.creator != old.creator], self.tip())
        references = [_reference_to(node) for node in parents]
        return self._signed(round, [*references, _reference_to(old)._replace(round=round - 1)])

    def _no_self_parent(self, round: int, strong: list[Node]) -> Event | None:
        others = self._others(strong)
        if len(others) < self.committee.q or self.known.latest(others, self.creator, self._lowest(round)) is None:
            return None
        return self._signed(round, [_reference_to(node) for node in others])

    def _older_self_parent(self, round: int, strong: list[Node]) -> Event | None:
        others, lowest = self._others(strong), self._lowest(round)
        latest = self.known.latest(others, self.creator, lowest)
        if len(others) < self.committee.q or latest is None:
            return None
        for older in range(latest.round - 1, lowest - 1, -1):
            for node in self.dag.row(older).variants[self.creator]:
                return self.sign(round, [*others, node])
        return None

    def _no_later(self, round: int, strong: list[Node]) -> Event | None:
        parents = self.with_self(round, strong, self.tip())
        for node in parents:
            if node.creator == self.creator:
                return self.sign(round, parents, at=node.created_at - self.rng.randint(0, 1))
        return None

    def _one_of(self, round: int) -> Node | None:
        """An event of somebody else of a round, if there still is one."""
        nodes = self._others(self.dag.row(round).nodes) if round > self.dag.floor else []
        return self.rng.choice(nodes) if nodes else None

    # -- an event that cannot be checked any more (F4) ------------------------------------------------

    def _begin_gap(self, round: int) -> None:
        """Leave out rounds, as many as V4 still looks back over."""
        tip = self.tip()
        gap = min(self.network.gc_depth, MAX_GAP)
        if tip is None or tip.round != round - 1 or gap < 3 or len(self._late) >= MAX_LATE:
            self.behave(round)
            return
        self._gap_after = tip.round
        self._spent = tip.round + gap - 1

    def _end_gap(self, round: int) -> None:
        """Sign an event that does not name our last one; whoever has dropped that could not tell."""
        last, self._gap_after = self._gap_after, 0
        strong = self.known.strong(round, None)
        others = self._others(strong or [])
        latest = self.known.latest(others, self.creator, self._lowest(round))
        if len(others) < self.committee.q or latest is None or latest.round != last:
            self.behave(round)
            return
        event = self._signed(round, [_reference_to(node) for node in others])
        self._note(event, "V4: no self-parent, and kept back until that is dropped")
        self._late.append(_Late(event, last, set()))

    def _show_late(self, late: _Late) -> None:
        """Send it to those that have dropped our last event before it, and still have its parents."""
        for peer in list(self.linked):
            status = self.cluster.nodes[self.host_of(peer)].status()
            if status is None or peer in late.shown or not late.last <= status.floor_round < late.event.round - 1:
                continue
            late.shown.add(peer)
            self.count("late events")
            self._show_invalid(peer, late.event)

    # -- evidence that proves nothing (E5) ------------------------------------------------------------

    def _accuse(self, round: int) -> None:
        """A valid event that says somebody else forked: two variants of a slot, with our signatures."""
        node = self._one_of(round - 1)
        if node is None:
            self.behave(round)
            return
        true = node.event
        salt = self.rng.getrandbits(64)
        parents = [_reference_to(parent) for parent in node.parents]
        header = wire.encode_header(
            self.committee.epoch_id, true.creator, true.round, true.created_at, salt, parents, (), ()
        )
        digest = wire.event_digest(header)
        signature = self.signer.sign(DOMAIN_EVENT + digest)
        other = Event(true.creator, true.round, true.created_at, tuple(parents), (), (), header, digest, signature)
        body = wire.encode_evidence(true, other)
        event = self.make(round, self.tip(), items=(Item(ItemType.EVIDENCE, body),)) if len(body) <= MAX_PROOF else None
        if event is None:
            self.behave(round)
            return
        self.count("lies")
        self.count("false evidence")
        self.keep(event)
        self.show(event)


def _reference_to(node: Node) -> Parent:
    """The parent that an event names."""
    return Parent(node.creator, node.round, node.digest)
