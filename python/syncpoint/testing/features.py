"""What happened in a simulation, counted: a campaign in which something never happened has not tested it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ..core.status import Status
from .cluster import Cluster
from .liars import Liar
from .scenario import Scenario

__all__ = ["MINIMUMS", "Features"]

MINIMUMS: dict[str, int] = {
    "commits fast": 1,
    "commits certified": 1,
    "commits indirect": 1,
    "skips direct": 1,
    "skips indirect": 1,
    "timeouts": 1,
    "transactions resubmitted": 1,
    "forks seen": 1,
    "peers halted": 1,
    "peers pruned": 1,
    "pruned while catching up": 1,
    "restarts": 1,
    "restarts of all peers": 1,
    "stores unsynced": 1,
    "stores torn": 1,
    "packets lost": 1,
    "packets doubled": 1,
    "packets overtaken": 1,
    "receipts": 1,
    "signatures checked for real": 1,
}
"""Least counts in a campaign of 1,000 chaos scenarios; each kind of fault and liar must occur as well."""


LAG_ROUNDS = 8  # a peer that many rounds behind the first is catching up


class Features:
    """The counts of one simulation."""

    def __init__(self, cluster: Cluster, scenario: Scenario) -> None:
        self.counts: Counter[str] = Counter()
        self._cluster = cluster
        self._scenario = scenario
        self._floors: dict[int, int] = {}  # of the peers that were behind when they were looked at last

    def sample(self, statuses: Mapping[int, Status]) -> None:
        """Look at what the peers say while it goes on, by number of the host."""
        best = max((status.closed_round for status in statuses.values()), default=0)
        for number, status in statuses.items():
            if number in self._floors and status.floor_round > self._floors.pop(number):
                self.counts["pruned while catching up"] += 1
            if best - status.closed_round > min(LAG_ROUNDS, self._scenario.gc_depth):
                self._floors[number] = status.floor_round

    def finish(self, liars: list[Liar], receipts: int) -> Counter[str]:
        """All counts, once it is over."""
        counts, cluster, scenario = self.counts, self._cluster, self._scenario
        counts["scenarios"] += 1
        counts["receipts"] += receipts
        counts["deliveries"] += cluster.deliveries()
        for node in cluster.nodes:
            statuses = node.statuses()
            for status in statuses:
                fast, certified, indirect = status.commits
                counts["commits fast"] += fast
                counts["commits certified"] += certified
                counts["commits indirect"] += indirect
                counts["skips direct"] += status.skips[0]
                counts["skips indirect"] += status.skips[1]
                counts["timeouts"] += status.timeouts
                counts["transactions resubmitted"] += status.resubmitted
                counts["forks seen"] += len(status.equivocators)
                counts["peers halted"] += status.halted is not None
                counts["peers pruned"] += status.floor_round > 0
                for code, count in status.rejects.items():
                    counts[f"rejects {code.name}"] += count
            counts["restarts"] += max(0, node.host.starts - 1)
            counts["stores unsynced"] += node.host.disk.unsynced_lost > 0
            counts["stores torn"] += node.host.disk.torn
        counts["restarts of all peers"] += min(node.host.starts for node in cluster.nodes) > 1
        counts["packets lost"] += cluster.internet.lost
        counts["packets doubled"] += cluster.internet.duplicated
        counts["packets overtaken"] += cluster.internet.overtaken
        counts["signatures checked for real"] += scenario.signatures == "ed25519"
        for fault in scenario.faults:
            counts[f"fault {fault.kind}"] += 1
        for liar in liars:
            counts[f"liar {liar.kind}"] += 1
        return counts
