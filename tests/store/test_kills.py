"""Peers that are killed under load go on with their stores (J1, J2, R1)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .kills import campaign

RESTARTS = int(os.environ.get("SYNCPOINT_RESTARTS", "25"))


@pytest.mark.native
@pytest.mark.timeout(60 + 20 * RESTARTS)
async def test_a_killed_peer_loses_nothing_and_repeats_nothing(tmp_path: Path, seed: int) -> None:
    pytest.importorskip("syncpoint._native")
    print(await campaign(RESTARTS, "native", "full", seed, tmp_path))
