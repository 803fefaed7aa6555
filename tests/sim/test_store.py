"""Peers that die at the very moment in which something changes on their disks, and come back."""

from __future__ import annotations

import os
import random

import pytest

from syncpoint.testing.simulation import simulate
from syncpoint.testing.storage import Store

from .crash_points import GROUPS, STORES, is_promised, points, scenario_at

POINTS = int(
    os.environ.get("SYNCPOINT_POINTS", "4")
)  # of each kind of run; all of them: python -m tests.sim.crash_points
PROMISED = [
    pytest.param(durability, group, store, id=f"{durability}-{group}-{store}")
    for durability in ("full", "normal", "memory")
    for group in GROUPS
    for store in STORES
    if is_promised(durability, group, store)
]


@pytest.mark.parametrize(("durability", "group", "store"), PROMISED)
def test_whenever_peers_die_nothing_is_lost(durability: str, group: str, store: Store, core: str, seed: int) -> None:
    found = points(core, durability, group)
    chosen = random.Random(f"{seed}/{durability}/{group}/{store}").sample(found, POINTS)
    for point in chosen:
        outcome = simulate(scenario_at(point, store))
        assert outcome.ok, f"{point}, {store}, seed {seed}: {outcome.problem}"
        assert outcome.features[f"restarts {store}"] == len(GROUPS[group])


def test_every_kind_of_moment_is_a_point() -> None:
    assert {point.what for point in points("python", "full", "all")} == {"begun", "written", "synced", "tip"}
