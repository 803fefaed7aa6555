"""A short flood of each kind against one of four real peers: its memory holds, and the order goes on.

`python -m tests.links.flood` floods in earnest, and says what it costs; docs/campaigns.md has what came of it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

import pytest

from .flood import VICTIM, measure

MEMORY_BYTES = 32 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of processes from /proc")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["silent", "unpunished"])
def test_a_flood_costs_little_memory_and_stops_nobody(kind: str) -> None:
    arguments = argparse.Namespace(connections=300, frames=30_000, seconds=1.0, loop="asyncio")
    done = asyncio.run(measure(kind, arguments))  # ends only when the order went on and a broken link was back
    assert done["memory"] < MEMORY_BYTES
    assert (done["rejects"] > 0) == (kind in ("frames", "unpunished")), f"peer {VICTIM}"
