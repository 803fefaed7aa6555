"""DAGs as documents: random ones, valid or not, orders of arrival, and what the model says of them."""

from __future__ import annotations

import functools
import heapq
import os
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from model.generate import digest, document, random_dag
from model.model import ORDERS, Committee, Event, View, view_of

Document = dict[str, Any]

DATA = Path(__file__).parent.parent / "data" / "dags"
SIZES = (1, 2, 3, 4, 4, 4, 5, 6, 7, 7, 10)
DAGS = int(os.environ.get("SYNCPOINT_DAGS", "500"))  # how many random ones a test takes; some take a part


def randomness(seed: int, *parts: object) -> random.Random:
    """A generator of its own for each DAG, so that one can be had without those before it."""
    return random.Random("/".join(map(str, (seed, *parts))))


def valid_document(rng: random.Random) -> Document:
    """A DAG that obeys V1 to V8, with at most f liars among its creators."""
    n, events = rng.choice(SIZES), []
    while not events:
        events, _ = random_dag(rng, n, rng.randint(5, 14), idle=rng.choice((0, 0, 0.3)))
    return document(n, events, rng.randbytes(32).hex(), rng.choice((50, 50, 5, 4)), "")


def wild_document(rng: random.Random, *, anyone_forks: bool) -> Document:
    """A DAG of which nothing holds but that parents exist, are of lower rounds and have distinct creators.

    Quorums are missed, rounds and strong parents are missing, times run backwards; creators fork, at most
    f of them unless `anyone_forks`.
    """
    n, rounds = rng.choice(SIZES), rng.randint(1, 12)
    f = rng.choice((None, rng.randint(0, (n - 1) // 3)))
    liars = range(n) if anyone_forks else rng.sample(range(n), Committee.of(n, f).f)
    absent = rng.choice((0.0, 0.1, 0.4))
    forks = rng.choice((0.0, 0.0, 0.05, 0.4))
    empty = rng.choice((0.0, 0.0, 0.15))
    orphans = rng.choice((0.0, 0.05, 0.3))
    reach = rng.choice((1.0, 0.95, 0.8, 0.5))
    by_slot: dict[tuple[int, int], list[Event]] = {}
    events: list[Event] = []
    for round in range(1, rounds + 1):
        if rng.random() < empty:
            continue
        below = [r for r in range(1, round) if any((r, c) in by_slot for c in range(n))]
        for creator in range(n):
            if rng.random() < absent:
                continue
            more = (rng.random() < forks) + (rng.random() < forks) if creator in liars else 0
            for variant in range(1 + more):
                parents = () if rng.random() < orphans else _any_parents(rng, n, round, below, by_slot, reach)
                name = digest("wild", rng.getrandbits(64), round, creator, variant)
                event = Event(name, creator, round, rng.randint(1, 10) * rng.choice((1, 100)), parents)
                by_slot.setdefault((round, creator), []).append(event)
                events.append(event)
    rng.shuffle(events)
    made = document(n, events, rng.randbytes(32).hex(), rng.choice((50, 50, 5, 2, 1)), "")
    return made if f is None else {**made, "f": f}


def arrival(rng: random.Random, events: Iterable[Event]) -> Iterator[Event]:
    """The events in a random causal order: from round by round to one creator far ahead of others."""
    entries = {event.id: event for event in events}
    pull = rng.choice((0.0, 0.3, 1.0, 3.0))
    late = {event.creator: rng.choice((0.0, 0.0, 0.0, 2.0, 6.0)) for event in entries.values()}
    missing = {event.id: len(event.parents) for event in entries.values()}
    children: dict[str, list[Event]] = {}
    for event in entries.values():
        for parent in event.parents:
            children.setdefault(parent, []).append(event)
    ready: list[tuple[float, str]] = []

    def push(event: Event) -> None:
        heapq.heappush(ready, (event.round * pull + late[event.creator] + rng.random() * 4, event.id))

    for event in sorted(entries.values(), key=lambda event: event.id):
        if not event.parents:
            push(event)
    while ready:
        _, id = heapq.heappop(ready)
        yield entries[id]
        for child in children.get(id, ()):
            missing[child.id] -= 1
            if not missing[child.id]:
                push(child)


class Model:
    """What the specification says of a document; each rule is decided once."""

    def __init__(self, made: Document) -> None:
        self.view: View = view_of(made)
        self.gc_depth = made["gc_depth"]
        self.view.decide = functools.cache(self.view.decide)  # type: ignore[method-assign]

    @property
    def events(self) -> list[Event]:
        return list(self.view.by_id.values())

    def slots(self, rule: str) -> dict[str, str]:
        """Every slot and its status, as in the outcome of a document."""
        return {f"{round}/{c}": status_name(s) for (round, c), s in sorted(self.view.decide(rule).items())}

    def batches(self, rule: str, order: str) -> list[tuple[int, list[tuple[str, int]]]]:
        """The delivered events of each round, by id, with their consensus time."""
        batches = self.view.batches(rule, order, self.gc_depth)
        return [(round, [(event.id, at) for event, at in batch]) for round, batch in batches]

    def outcome(self, rules: Iterable[str]) -> Document:
        """The outcome of the document, in the form of `order_dag`."""
        return {
            rule: {"slots": self.slots(rule)}
            | {
                order: [{"round": r, "events": [list(e) for e in batch]} for r, batch in self.batches(rule, order)]
                for order in ORDERS
            }
            for rule in rules
        }


def status_name(status: Event | bool | None) -> str:
    """A slot's status as documents have it."""
    if isinstance(status, Event):
        return status.id
    return "undecided" if status is None else "skip"


def committee_of(made: Document) -> Committee:
    """The thresholds of a document's committee, by the model."""
    return Committee.of(made["n"], made.get("f"))


def _any_parents(
    rng: random.Random,
    n: int,
    round: int,
    below: list[int],
    by_slot: dict[tuple[int, int], list[Event]],
    reach: float,
) -> tuple[str, ...]:
    chosen = []
    for creator in rng.sample(range(n), n):
        from_round = round - 1 if rng.random() < reach else rng.choice([*below, 0])
        if (from_round, creator) in by_slot:
            chosen.append(rng.choice(by_slot[from_round, creator]).id)
    return tuple(chosen)
