"""Crash at every write: peers die in each of the moments in which something changes on one of their disks.

A small network runs once to find these moments: a commit begins, is written, is synced, its tip is written. Then it
runs once more for each of them and does the same up to there, when the peers die, to come back 5 ms later with all that
was written, with no more than was synced, or with some of what was not. All checkers of the simulator look on: nothing
that was acknowledged may be lost or doubled, nobody may sign twice, and everything must go on.

    python -m tests.sim.crash_points
    python -m tests.sim.crash_points --durability normal --group one --core python
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from syncpoint.runtime.tip import DURABILITIES
from syncpoint.testing.delays import Delays
from syncpoint.testing.faults import Crash
from syncpoint.testing.loop import BEGIN_NS
from syncpoint.testing.scenario import Load, Scenario
from syncpoint.testing.simulation import Simulation, simulate
from syncpoint.testing.storage import Store

__all__ = ["GROUPS", "STORES", "Point", "is_promised", "points", "scenario_at"]

MS = 1_000_000
DOWN_NS = 5 * MS
GROUPS = {"one": (1,), "f + 1": (1, 2), "all": (0, 1, 2, 3)}
STORES = (Store.KEPT, Store.UNSYNCED_LOST, Store.TORN)
SMALL = Scenario(
    sync_ns=MS,
    delays=Delays(kind="uniform", low_ns=MS, high_ns=3 * MS),
    duration_ns=60 * MS,
    load=Load(transactions=24, awaited=1.0),
)
# Where nothing waits for the store it is written every 50 ms, not with each own event.
LONG = dataclasses.replace(SMALL, duration_ns=800 * MS, load=Load(transactions=320, awaited=1.0))
LEAST = 40  # moments


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A moment in which something changes on a disk."""

    core: str
    durability: str
    group: str
    at_ns: int
    what: str


def points(core: str, durability: str, group: str) -> list[Point]:
    """All moments of the disks of a group; several at one time are one."""
    scenario = _small(core, durability)
    simulation = Simulation(scenario)
    disks = [simulation.cluster.nodes[peer].host.disk for peer in GROUPS[group]]
    for disk in disks:
        disk.moments = []
    outcome = simulation.run()
    assert outcome.ok, outcome.problem
    found: dict[int, str] = {}
    for disk in disks:
        for moment in disk.moments or ():
            at_ns = moment.at_ns - BEGIN_NS
            if 0 < at_ns < scenario.duration_ns:
                found[at_ns] = moment.what
    assert len(found) >= LEAST, f"{durability}, {group}: {len(found)} moments are too few to show anything"
    return [
        Point(core=core, durability=durability, group=group, at_ns=at_ns, what=what)
        for at_ns, what in sorted(found.items())
    ]


def scenario_at(point: Point, store: Store) -> Scenario:
    """The same network, in which the group dies at this moment; every other time its applications go on."""
    resumes = 1.0 if point.at_ns % 2 else None
    faults = tuple(
        Crash(at_ns=point.at_ns, until_ns=point.at_ns + DOWN_NS, peer=peer, store=store.value, resumes=resumes)
        for peer in GROUPS[point.group]
    )
    return dataclasses.replace(_small(point.core, point.durability), faults=faults)


def is_promised(durability: str, group: str, store: Store) -> bool:
    """Whether nothing may be lost, and everything must go on.

    With "normal" and "memory", what f + 1 peers lose at once nobody may have any more, acknowledged or not; and while
    so many ask the others where they were (R2), there are too few to make the rounds above which they go on.
    """
    loses = durability == "memory" or (durability == "normal" and store is not Store.KEPT)
    return group == "one" or not loses


def main() -> int:
    """Run all of them; a line for each group and store, and how many went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--core", default="native", choices=("native", "python", "mixed"))
    parser.add_argument("--durability", choices=DURABILITIES)
    parser.add_argument("--group", choices=GROUPS)
    parser.add_argument("--processes", type=int)
    arguments = parser.parse_args()
    wrong = 0
    with ProcessPoolExecutor(arguments.processes) as pool:
        for durability in (arguments.durability,) if arguments.durability else DURABILITIES:
            for group in (arguments.group,) if arguments.group else GROUPS:
                wrong += _run(pool, points(arguments.core, durability, group))
    print(f"{wrong} wrong")
    return 1 if wrong else 0


def _run(pool: ProcessPoolExecutor, found: list[Point]) -> int:
    point, wrong = found[0], 0
    kinds = {what: sum(each.what == what for each in found) for what in sorted({each.what for each in found})}
    told = ", ".join(f"{count} {what}" for what, count in kinds.items())
    for store in STORES:
        if not is_promised(point.durability, point.group, store):
            continue
        begin = time.monotonic()
        problems = list(pool.map(_problem, found, [store] * len(found), chunksize=4))
        bad = [(each, problem) for each, problem in zip(found, problems, strict=True) if problem is not None]
        wrong += len(bad)
        print(
            f"| {point.core}, {point.durability}, {point.group}, {store} | {len(found)} ({told}) "
            f"| {len(bad)} | {time.monotonic() - begin:.0f} s |",
            flush=True,
        )
        for each, problem in bad[:3]:
            print(f"  at {each.at_ns} ns ({each.what}): {problem}")
    return wrong


def _problem(point: Point, store: Store) -> str | None:
    return simulate(scenario_at(point, store)).problem


def _small(core: str, durability: str) -> Scenario:
    shape = LONG if durability == "memory" else SMALL
    return dataclasses.replace(shape, core=core, durability=durability)


if __name__ == "__main__":
    sys.exit(main())
