"""Peers that are killed under load go on with their stores (J1, J2, R1)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .kills import campaign

RESTARTS = int(os.environ.get("SYNCPOINT_RESTARTS", "25"))
A_NETWORK = 25  # of them: a start reads what is retained, so an older network takes longer to come back


@pytest.mark.native
@pytest.mark.timeout(60 + 20 * RESTARTS)
async def test_a_killed_peer_loses_nothing_and_repeats_nothing(tmp_path: Path, seed: int) -> None:
    pytest.importorskip("syncpoint._native")
    for done in range(0, RESTARTS, A_NETWORK):
        folder = tmp_path / str(done)
        folder.mkdir()
        print(await campaign(min(A_NETWORK, RESTARTS - done), "native", "full", seed + done, folder))
