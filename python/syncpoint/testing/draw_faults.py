"""Faults from a seed, such that a network comes through them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

from .cluster import HOWS
from .faults import (
    FAULTS,
    ClockJump,
    ClockSkew,
    ClockStop,
    Crash,
    CrashWhenFinal,
    Cut,
    DeafReader,
    Far,
    Fault,
    Noise,
    Partition,
    Pause,
    SlowDisk,
    SlowPeer,
)
from .scenario import Scenario
from .storage import Store

__all__ = ["FaultDraw", "groups_of"]

MS = 1_000_000
SECOND = 1_000 * MS


class FaultDraw:
    """Faults that a network comes through."""

    def __init__(self, rng: random.Random, wants: Callable[[str], bool], scenario: Scenario, restarts: bool) -> None:
        """`wants` tells whether a kind of fault is to be drawn, `restarts` whether who dies may come back."""
        self.rng = rng
        self.wants = wants
        self.scenario = scenario
        self.restarts = restarts
        self.honest = [peer for peer in range(scenario.peers) if peer not in scenario.liar_creators]
        self.budget = scenario.tolerated - len(scenario.liars)  # peers that may still forget or stay dead
        self.spent: set[int] = set()
        self.restarted: set[int] = set()  # with all that they signed
        self.forgetful: set[int] = set()  # or without
        # How long a peer may be away without falling below what the others retain.
        rounds = max(scenario.retain_events // scenario.peers, 2 * scenario.gc_depth)
        self.longest = min(scenario.duration_ns, rounds * MS // 2)
        self.makers: dict[str, Callable[[int, int], Fault | None]] = {
            "crash": self._crash,
            "crash_when_final": self._crash_when_final,
            "partition": self._partition,
            "cut": self._cut,
            "noise": lambda at, until: Noise(
                at_ns=at,
                until_ns=until,
                loss=self.rng.choice((0.0, 0.05, 0.2)),
                duplicates=self.rng.choice((0.0, 0.1)),
                reordering=self.rng.choice((0.0, 0.2)),
            ),
            "far": lambda at, until: Far(
                at_ns=at, until_ns=until, peer=self._peer(), extra_ns=self.rng.choice((2, 10, 30)) * MS
            ),
            "slow_peer": lambda at, until: SlowPeer(
                at_ns=at, until_ns=until, peer=self._peer(), ns_per_frame=self.rng.choice((20_000, 200_000))
            ),
            "pause": lambda at, until: Pause(at_ns=at, until_ns=until, peer=self._peer()),
            "clock_skew": lambda at, until: ClockSkew(
                peer=self._peer(),
                skew_ns=self.rng.randint(-3_600, 3_600) * SECOND,
                drift_ppm=self.rng.choice((-200, 0, 200)),
            ),
            "clock_jump": lambda at, until: ClockJump(
                at_ns=at, peer=self._peer(), jump_ns=self.rng.choice((-3_600, -1, 1, 3_600)) * SECOND
            ),
            "clock_stop": lambda at, until: ClockStop(at_ns=at, until_ns=until, peer=self._peer()),
            "slow_disk": lambda at, until: SlowDisk(
                at_ns=at, until_ns=until, peer=self._peer(), sync_ns=self.rng.choice((5, 30)) * MS
            ),
            "deaf_reader": lambda at, until: DeafReader(at_ns=at, until_ns=until, peer=self._peer()),
        }
        assert set(self.makers) == set(FAULTS), "a kind of fault is never drawn"

    def draw(self, count: int) -> tuple[Fault, ...]:
        """So many, at most: what does not fit is left out."""
        kinds = [kind for kind in self.makers if self.wants(kind)]
        faults: list[Fault] = []
        for _ in range(count if kinds else 0):
            at = self.rng.randrange(self.scenario.duration_ns - 2 * MS)
            until = min(at + self.rng.randint(MS, max(2 * MS, self.longest)), self.scenario.duration_ns)
            fault = self.makers[self.rng.choice(kinds)](at, max(until, at + MS))
            if fault is not None:
                faults.append(fault)
        return tuple(sorted(faults, key=lambda fault: (fault.at_ns, fault.kind)))

    def _peer(self) -> int:
        return self.rng.choice(self.honest)

    def _spend(self, peer: int) -> bool:
        """Whether this peer may be as good as a liar."""
        if peer not in self.spent and len(self.spent) >= self.budget:
            return False
        self.spent.add(peer)
        return True

    def _crash(self, at: int, until: int) -> Fault | None:
        peer, silent = self._peer(), self.rng.random() < 0.3
        if not self.restarts or self.rng.random() < 0.2:
            return Crash(at_ns=at, peer=peer, silent=silent) if self._spend(peer) else None
        store = self.rng.choice((Store.KEPT, Store.KEPT, Store.UNSYNCED_LOST, Store.TORN, Store.OLD, Store.LOST))
        # Who starts again may need others for what was not synced; of what somebody forgot, all of them.
        if self.forgetful - {peer}:
            return None
        if store in (Store.OLD, Store.LOST) and (self.restarted - {peer} or not self._spend(peer)):
            store = Store.UNSYNCED_LOST
        (self.forgetful if store in (Store.OLD, Store.LOST) else self.restarted).add(peer)
        if self.scenario.liars and store is not Store.LOST and not self._spend(peer):
            return None  # liars need not serve what only those had who crashed
        backup = self.rng.randint(0, at) if store is Store.OLD else 0
        return Crash(at_ns=at, until_ns=until, peer=peer, store=store.value, silent=silent, backup_ns=backup)

    def _crash_when_final(self, at: int, until: int) -> Fault | None:
        peer = self._peer()
        if not self._spend(peer):
            return None
        restarts = self.restarts and not self.forgetful - {peer}
        if restarts:
            self.restarted.add(peer)
        return CrashWhenFinal(at_ns=at, until_ns=until if restarts else None, peer=peer)

    def _partition(self, at: int, until: int) -> Fault | None:
        if self.scenario.peers < 2:
            return None
        groups = groups_of(self.rng, self.scenario.peers)
        one_way = self.rng.random() < 0.2
        how = self.rng.choice(HOWS[1:] if one_way else HOWS)
        return Partition(at_ns=at, until_ns=until, groups=groups, how=how, one_way=one_way)

    def _cut(self, at: int, until: int) -> Fault | None:
        if self.scenario.peers < 2:
            return None
        source, target = self.rng.sample(range(self.scenario.peers), 2)
        how = self.rng.choice(HOWS[1:])
        return Cut(at_ns=at, until_ns=until, source=source, target=target, how=how)


def groups_of(rng: random.Random, n: int) -> tuple[tuple[int, ...], ...]:
    """Two or three groups of peers, and sometimes one that is in none: a bridge."""
    order = rng.sample(range(n), n)
    if n > 3 and rng.random() < 0.2:
        order.pop()
    cuts = sorted(rng.sample(range(1, len(order)), min(rng.choice((1, 1, 2)), len(order) - 1)))
    ends = [0, *cuts, len(order)]
    return tuple(tuple(sorted(order[a:b])) for a, b in itertools.pairwise(ends))
