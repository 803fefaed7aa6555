"""A full disk costs a peer nothing but time, at whichever byte it is full."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from syncpoint.runtime import store as store_module

from .full import RETRY_S, campaign, small_disk

POINTS = int(os.environ.get("SYNCPOINT_FULL", "6"))


@pytest.mark.timeout(60 + 10 * POINTS)
async def test_a_peer_whose_disk_is_full_waits_for_room(
    tmp_path: Path, core: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        with small_disk(tmp_path / "try"):
            pass
    except OSError as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    monkeypatch.setattr(store_module, "FIRST_RETRY_S", RETRY_S)
    monkeypatch.setattr(store_module, "MAX_RETRY_S", RETRY_S)
    print(await campaign(POINTS, core, seed, tmp_path))
