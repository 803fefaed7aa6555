"""Floods: f of ten peers sign forks, or send junk events, by the million; what that costs the seven others.

    python -m tests.sim.flood forks --each 100000
    python -m tests.sim.flood junk --events 10000000

Each peer's processor is modelled: a frame takes it 100 us, about what a signature takes, so that floods stand in line
with honest frames; also one that is refused before its signature is checked.

The same network runs first for as long without a flood, each time in a fresh process. Whoever forks is excluded, and
then nobody has events of the liars in any slot, with a flood or without: so forks are compared with a network whose
three liars are dead from the beginning. Junk proves nothing against who sends it, and is compared with a network in
which all are honest. Printed are the latencies of the honest peers' transactions, in virtual time, and how much memory
the process, which holds all peers and what the checkers know, gained from the end of the warm-up on; the last line
compares both.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from syncpoint.core import wire
from syncpoint.core.values import Event, Parent
from syncpoint.options import Options
from syncpoint.testing.checkers import Checkers
from syncpoint.testing.cluster import Cluster
from syncpoint.testing.delays import Delays
from syncpoint.testing.history import History
from syncpoint.testing.liars import LiarSpec
from syncpoint.testing.liars.forger import MS, Forger

PEERS, LIARS = 10, (7, 8, 9)
HONEST = tuple(range(7))
FRAME_NS = 100_000  # of a peer's processor, for each frame
RATE = 2_000  # frames a second, from each liar to each honest peer
BEAT_NS = 10 * MS  # between two bursts
WARM_UP_S = 20.0  # until what is retained is full
LONGEST_S = 120.0  # without a flood: its latencies do not change, and what its memory gains is known by then
MIB = 2**20
KINDS = ("forks", "junk")
ALL_WELL, DEAD = "no flood", "liars dead"
FAIR = {"forks": DEAD, "junk": ALL_WELL}  # what a flood is compared with


class Result(NamedTuple):
    """What came of one run."""

    took_s: float
    p50_ms: float
    p99_ms: float
    before_mib: float
    gained_mib: float


class Flooder(Forger):
    """Takes part, and besides sends valid events that nobody needs, at a steady rate."""

    kind = "flooder"

    def __init__(self, cluster: Cluster, creator: int, what: str, most: int) -> None:
        super().__init__(cluster, LiarSpec(kind=self.kind, creator=creator), random.Random(creator))
        self.what = what
        self.most = most
        self.sent = 0  # frames
        self.signed = 0

    def flood(self) -> None:
        """One burst to each honest peer."""
        self.later(BEAT_NS, self.flood)
        if self.round == 0:
            return
        for _ in range(RATE * BEAT_NS // (1_000 * MS)):
            if self.signed >= self.most:
                return
            frame = wire.encode_event(self._fork() if self.what == "forks" else self._junk())
            self.signed += 1
            for peer in HONEST:
                self.send(peer, frame)
                self.sent += 1

    def _fork(self) -> Event:
        """Another variant of our newest slot, with the same parents."""
        tip = self.tips[0]
        return self.sign(tip.round, tip.parents, transactions=(b"%d" % self.signed,))

    def _junk(self) -> Event:
        """An event of a round within reach, whose parents do not exist."""
        rng, round = self.rng, self.dag.top + self.rng.randint(1, self.network.max_ahead)
        parents = [Parent(creator, round - 1, rng.randbytes(32)) for creator in range(PEERS)]
        return self.sign(round, (), references=parents)


def rss_bytes() -> int:
    """The memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def run(what: str, most: int, seconds: float) -> Result:
    """A network with or without a flood, which lasts until the liars have signed all, or for so many seconds."""
    begun = time.process_time()
    options = Options(base_min_event_interval_us=20_000)
    delays = Delays(kind="uniform", low_ns=MS, high_ns=3 * MS, grain_ns=MS // 2)
    local = {"retain_events": 4_000}
    with Cluster(PEERS, seed=1, core="native", options=options, delays=delays, local=local) as cluster:
        history = History(cluster)
        checkers = Checkers(cluster, history, set(HONEST))
        liars = [Flooder(cluster, creator, what, most) for creator in LIARS]
        for liar in liars if what != DEAD else ():
            liar.start()
        cluster.start(*HONEST)
        for host in HONEST:
            cluster.internet.slow_ns[host] = FRAME_NS
        sent = [0]

        def load() -> None:
            for peer in HONEST:
                if cluster.nodes[peer].engine is not None:
                    sent[0] += 1
                    transaction = b"transaction %d" % sent[0]
                    history.sent(cluster.nodes[peer], transaction)
                    cluster.send(peer, transaction)
            cluster.loop.call_later(0.05, load)

        cluster.at(500 * MS, load)
        cluster.run(WARM_UP_S)
        gc.collect()
        before = most_bytes = rss_bytes()
        known = len(history.latencies_ns(sys.maxsize))
        if what in KINDS:
            for liar in liars:
                liar._do(liar.flood, ())
        done: Callable[[], bool] = lambda: what in KINDS and all(liar.signed >= most for liar in liars)  # noqa: E731
        begin = cluster.now_ns
        while not done() and (what in KINDS or cluster.now_ns - begin < seconds * 1e9):
            cluster.run(1.0)
            checkers.sample()
            most_bytes = max(most_bytes, rss_bytes())
        took = (cluster.now_ns - begin) / 1e9
        latencies = sorted(history.latencies_ns(sys.maxsize)[known:])
        if what in KINDS:
            frames = sum(liar.sent for liar in liars)
            print(
                f"{frames:,} frames of {sum(liar.signed for liar in liars):,} events in {took:,.0f} s of virtual time"
            )
        p50, p99 = (latencies[int(share * len(latencies))] / 1e6 for share in (0.5, 0.99))
        result = Result(took, p50, p99, before / MIB, (most_bytes - before) / MIB)
        print(
            f"{what}: {took:,.0f} s of virtual time, p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
            f"memory {result.before_mib:.0f} MiB, at most {result.gained_mib:+.1f} MiB; "
            f"{time.process_time() - begun:,.0f} s of processor time",
            flush=True,
        )
        return result


def main() -> None:
    """The runs, and how they compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=KINDS)
    parser.add_argument("--each", type=int, help="events that each liar signs; each goes to all seven honest peers")
    parser.add_argument("--events", type=int, help="events that honest peers receive, together")
    arguments = parser.parse_args()
    most = arguments.each or -(-(arguments.events or 10_000_000) // (len(LIARS) * len(HONEST)))
    seconds = most / RATE
    results = {}
    for what in (FAIR[arguments.what], arguments.what):
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # memory that one gave back, the next would not gain
            results[what] = pool.apply(run, (what, most, min(seconds, LONGEST_S)))
    plain, flood = results.values()
    usual_mib = plain.gained_mib * flood.took_s / plain.took_s
    print(
        f"p99 {flood.p99_ms / plain.p99_ms - 1:+.0%}; memory {flood.gained_mib - usual_mib:+.1f} MiB "
        f"besides what the run gains anyway"
    )


if __name__ == "__main__":
    main()
