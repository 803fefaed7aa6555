"""Deciding and ordering a DAG that is given as a document, without keys, bytes or networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import _python
from ..backend import load_core
from ..core.config import ORDERS, RULES
from ..core.values import Delivered, Event, Parent, SyncPoint
from ..errors import ArgumentError

__all__ = ["DagRun", "order_dag"]


class DagRun(_python.DagRun):
    """One DAG as it goes through dag, decide and order of the Python core, to be looked into on the way."""

    def __init__(self, document: Mapping[str, Any], rule: str, order: str) -> None:
        epoch_id = bytes.fromhex(document["epoch_id"])
        super().__init__(document["n"], document.get("f"), epoch_id, document["gc_depth"], rule, order)
        self.batches: list[tuple[int, list[Delivered | SyncPoint]]] = []  # all so far

    def accept(self, event: Event) -> None:
        """Insert one event; its parents must have been inserted before."""
        self.decider.insert(self._accepted(event))

    def _batches(self) -> list[tuple[int, list[Delivered | SyncPoint]]]:
        batches = super()._batches()
        self.batches += batches
        return batches


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
    face = load_core(core)
    epoch_id, entries = bytes.fromhex(document["epoch_id"]), _by_round(document)
    outcome: dict[str, Any] = {}
    for rule in RULES:
        for order in ORDERS:
            run = face.DagRun(document["n"], document.get("f"), epoch_id, document["gc_depth"], rule, order)
            for entry in entries:
                parents = [bytes.fromhex(id) for id in entry["parents"]]
                run.count(bytes.fromhex(entry["id"]), entry["creator"], entry["round"], entry["created_at"], parents)
            run.decide()
            batches = run.close()
            by_rule = outcome.setdefault(rule, {"slots": run.slots()})
            by_rule[order] = [
                {"round": round, "events": [[digest.hex(), at] for digest, at in batch]} for round, batch in batches
            ]
    return outcome


def events_of(document: Mapping[str, Any]) -> list[Event]:
    """The events of a document in a causal order (by round, else as given)."""
    entries = {entry["id"]: entry for entry in document["events"]}
    return [_event(entry, entries) for entry in _by_round(document)]


def _by_round(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return sorted(document["events"], key=lambda entry: int(entry["round"]))


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
