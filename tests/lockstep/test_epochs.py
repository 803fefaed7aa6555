"""Both cores in lockstep from epoch to epoch: members, keys and settings change, peers crash and come back (S4)."""

from __future__ import annotations

import contextlib
import os
import random
from typing import Any

import pytest

from core import epochs
from core.test_epochs_faults import Story
from core.virtual import MS
from syncpoint.core.config import MachineConfig

from .pair import Pair, Stopped

STORIES = int(os.environ.get("SYNCPOINT_LOCKSTEP", "300")) // 30

pytestmark = pytest.mark.native


class Noting(Pair):
    """A pair that counts what it went through."""

    epochs = 0
    stored = 0

    def step(self, now: int, inputs: Any) -> Any:
        outputs = super().step(now, inputs)
        names = [type(output).__name__ for output in outputs]
        Noting.epochs += names.count("Entered")
        Noting.stored += names.count("SendStored")
        return outputs


def test_no_story_tells_them_apart(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "machine_of", _paired)
    Noting.epochs = Noting.stored = 0
    for number in range(STORIES):
        with contextlib.suppress(Stopped):  # both refuse to go on, for one reason
            story = Story(random.Random(f"{seed} {number}").getrandbits(32), "python", steps=20)
            story.cluster.run(2_000 * MS)
    assert STORIES < 10 or (Noting.epochs > STORIES * 10 and Noting.stored > STORIES // 10), "tests too little"


def _paired(core: str, config: MachineConfig) -> Pair:
    return Noting(config, ("python", "native"))
