"""What happened in a simulation, counted: a campaign in which something never happened has not tested it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ..core.status import Status
from .cluster import Cluster
from .faults import FAULTS
from .liars import LIARS, ONLY_BY_NAME, Liar
from .scenario import Scenario
from .storage import Store

__all__ = ["MINIMUMS", "WANTED", "Features"]

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
    "restarts": 1,
    "restarts of all peers": 1,
    "stores unsynced": 1,
    "packets lost": 1,
    "packets doubled": 1,
    "packets overtaken": 1,
    "packets held": 1,
    "packets cut": 1,
    "driver pauses": 1,
    "receipts": 1,
    "signatures checked for real": 1,
} | {f"restarts {store}": 1 for store in Store}
"""Least counts in a campaign of 1,000 chaos scenarios; each kind of fault and liar must have an effect as well."""

WANTED: dict[str, dict[str, int]] = {
    "chaos": MINIMUMS
    | {f"fault {kind}": 1 for kind in FAULTS}
    | {f"liar {kind}": 1 for kind in LIARS if kind not in ONLY_BY_NAME},
    "kills": {"fault crash_when_final": 490},  # of 500
    "twins": {"forks seen": 1, "liar twin": 1, "fault partition": 1},
    "beyond": {"forks seen": 1},
    "sync": {
        f"proposals {outcome}": least
        for outcome, least in (("adopted", 500), ("refused", 50), ("expired", 50), ("invalid", 1), ("ended", 1))
    }
    | {
        "proposals in flight together": 100,
        "sync points": 1_000,
        "beats": 100,
        "certificates": 100,
        "sessions ended": 20,
        "restarts": 20,
        "liar false_voter": 50,
    },
    "epochs": {
        "epochs entered": 500,
        "joined": 100,
        "left": 100,
        "rotated": 50,
        "configured": 50,
        "restarts": 100,
        "liar false_changer": 50,
        "liar replayer": 50,
    },
    "rejoin": {"restarts of all peers": 1, "stores unsynced": 1, "stores torn": 1, "probes": 1}
    | {f"restarts {store}": 1 for store in Store},
}
"""Least counts by profile; of others nothing is asked."""

LAG_ROUNDS = 4  # a peer more rounds than that behind the first is catching up


class Features:
    """The counts of one simulation."""

    def __init__(self, cluster: Cluster, scenario: Scenario) -> None:
        self.counts: Counter[str] = Counter()
        self._cluster = cluster
        self._scenario = scenario
        self._floors: dict[int, int] = {}  # of each peer: what was dropped anywhere when it kept up last

    def sample(self, statuses: Mapping[int, Status]) -> None:
        """Look at what the peers say while it goes on, by number of the host."""
        best = max((status.closed_round for status in statuses.values()), default=0)
        floor = max((status.floor_round for status in statuses.values()), default=0)
        for number, status in statuses.items():
            if best - status.closed_round <= min(LAG_ROUNDS, self._scenario.gc_depth):
                self._floors[number] = floor
            elif floor > self._floors.get(number, 0):  # others dropped rounds since it kept up
                self.counts["pruned while catching up"] += 1
                self._floors[number] = floor

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
        counts["packets held"] += cluster.internet.held
        counts["packets cut"] += cluster.internet.cut_off
        counts["driver pauses"] += cluster.internet.pauses
        counts["signatures checked for real"] += scenario.signatures == "ed25519"
        counts.update(cluster.happened)
        for liar in liars:
            counts[f"liar {liar.kind}"] += liar.counters.get("lies", 0) > 0
        return counts
