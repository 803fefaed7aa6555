"""Deciding and ordering a DAG that is given as a document, without keys, bytes or networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..backend import core_info
from ..core.committee import Committee
from ..core.config import ORDERS, RULES
from ..core.dag import Dag, Node
from ..core.decide import Decider
from ..core.order import Orderer
from ..core.values import Delivered, Event, Parent
from ..errors import ArgumentError

__all__ = ["DagRun", "order_dag"]


class DagRun:
    """One DAG as it goes through dag, decide and order, event by event."""

    def __init__(self, document: Mapping[str, Any], rule: str, order: str) -> None:
        epoch_id = bytes.fromhex(document["epoch_id"])
        self.committee = Committee(document["n"], document.get("f"), epoch_id)
        self.dag = Dag(self.committee.n)
        self.decider = Decider(self.committee, self.dag, rule)
        self.orderer = Orderer(self.committee, order, document["gc_depth"])
        self.batches: list[tuple[int, list[Delivered]]] = []

    def insert(self, event: Event) -> None:
        """Insert one event; its parents must have been inserted before."""
        node = self.dag.insert(event)
        self.orderer.accept(node)
        self.decider.insert(node)

    def close(self) -> None:
        """Order all rounds that have closed so far."""
        for round, committed in self.decider.closing():
            batch = self.orderer.close(round, committed)
            if batch:
                self.batches.append((round, batch))

    def slots(self) -> Iterator[tuple[str, str]]:
        """Every slot as "round/creator" and its status: an event's digest, "skip" or "undecided"."""
        for round in range(1, self.dag.top + 1):
            for creator in range(self.committee.n):
                status = self.decider.status(round, creator)
                if isinstance(status, Node):
                    yield f"{round}/{creator}", status.digest.hex()
                else:
                    yield f"{round}/{creator}", "undecided" if status is None else "skip"


def order_dag(document: Mapping[str, Any], core: str = "python") -> dict[str, Any]:
    """Decide and order a DAG under each rule and each order, with the modules that the engine runs.

    `document` has `n`, optionally `f`, `epoch_id` (64 hex digits), `gc_depth` (rounds) and `events`, each with
    `id` (64 hex digits), `creator`, `round`, `created_at` (ns) and `parents` (ids). Events need not obey the
    validity rules; parents must be among the events and of lower rounds. Returns for each rule the status of
    every slot and, for each order, the batches: `{"two_step": {"slots": {"1/0": id | "skip" | "undecided"},
    "fair": [{"round": r, "events": [[id, consensus_at], ...]}, ...], "fast": [...]}, "three_step": ...}`.
    `core` is as for `Context`. Raises ArgumentError for a parent that is not there or not of a lower round, and
    ArgumentError or CoreUnavailable for a core that cannot run.
    """
    core_info(core)
    events = events_of(document)
    outcome: dict[str, Any] = {}
    for rule in RULES:
        for order in ORDERS:
            run = DagRun(document, rule, order)
            for event in events:
                node = run.dag.insert(event)
                run.orderer.accept(node)
                run.decider.count(node)
            run.decider.decide()
            run.close()
            by_rule = outcome.setdefault(rule, {"slots": dict(run.slots())})
            by_rule[order] = [
                {"round": round, "events": [[done.event.digest.hex(), done.consensus_at] for done in batch]}
                for round, batch in run.batches
            ]
    return outcome


def events_of(document: Mapping[str, Any]) -> list[Event]:
    """The events of a document in a causal order (by round, else as given)."""
    entries = {entry["id"]: entry for entry in document["events"]}
    return [_event(entries[id], entries) for id in _by_round(entries)]


def _by_round(entries: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    return sorted(entries, key=lambda id: entries[id]["round"])


def _event(entry: Mapping[str, Any], entries: Mapping[str, Mapping[str, Any]]) -> Event:
    parents = []
    for id in entry["parents"]:
        if id not in entries or entries[id]["round"] >= entry["round"]:
            raise ArgumentError(f"event {entry['id']} has parent {id}, which is not an earlier event of the document")
        parents.append(Parent(entries[id]["creator"], entries[id]["round"], bytes.fromhex(id)))
    return Event(
        creator=entry["creator"],
        round=entry["round"],
        created_at=entry["created_at"],
        parents=tuple(parents),
        items=(),
        transactions=(),
        header=b"",
        digest=bytes.fromhex(entry["id"]),
        signature=bytes(64),
    )
