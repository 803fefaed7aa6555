"""A peer dies in moments in which something changes on its disk, where epochs begin (J1, R1, S4)."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from syncpoint.core.journal import OwnEvent, decode_record
from syncpoint.core.output import Entered, Persist
from syncpoint.runtime.store import Store
from syncpoint.testing.loop import Process, VirtualLoop
from syncpoint.testing.storage import Disk, SimulatedFile, SimulatedWorker, WrittenAt
from syncpoint.testing.storage import Store as Left

from .epochs import Life, give, life, settings_of
from .history import User, names, read_all

SYNC_NS = 1_000_000
POINTS = 6  # of each kind of moment


class Computer:
    """A disk that outlives the processes of one peer, which does what a machine has said."""

    def __init__(self, made: Life, seed: int) -> None:
        self.made = made
        self.loop = VirtualLoop()
        self.disk = Disk(self.loop, SYNC_NS, random.Random(f"disk/{seed}"))
        self.process = Process("peer")
        self.durable = 0  # epochs whose beginning was said to be durable
        self.moments: list[
            int
        ] = []  # ns, when the last record of an epoch before, and the first of the next, was given

    def store(self) -> Store:
        file = SimulatedFile(self.disk, "the store")
        return Store(file, SimulatedWorker(self.disk, self.process), settings_of(self.made.identity))

    def live(self, until_ns: int) -> None:
        """Be a peer until it dies."""
        self.loop.spawn(self.process, self._live)
        self.loop.run_until(lambda: False, until_ns)

    async def _live(self) -> None:
        store = self.store()
        await store.load(User())
        for output in self.made.outputs:
            if isinstance(output, Persist):  # nothing follows from it before it is durable
                durable = asyncio.Event()
                store.persist(output.records, durable.set)
                await durable.wait()
            elif isinstance(output, Entered):
                self.durable += 1
                self.moments.append(self.loop.now_ns)
            else:
                give(store, [output])
                await asyncio.sleep(0.0003)  # several come while a commit is synced
        await store.close()

    def again(self) -> tuple[Any, list[tuple[object, ...]]]:
        """What a second start finds."""
        found: list[Any] = []

        async def main() -> None:
            store = self.store()
            loaded = await store.load(User())
            found.extend((loaded, names(await read_all(store, loaded))))
            await store.close()

        self.process = Process("peer again")
        self.loop.spawn(self.process, main)
        self.loop.run_until(lambda: len(found) == 2, self.loop.now_ns + 10**10)
        return found[0], found[1]


def moments(made: Life) -> list[WrittenAt]:
    """When something changes on the disk, around the beginnings of epochs."""
    computer = Computer(made, 0)
    computer.disk.moments = []
    computer.live(computer.loop.now_ns + 10**12)
    assert len(computer.moments) == 3
    near = [
        at for at in computer.disk.moments if min(abs(at.at_ns - begin) for begin in computer.moments) < 4 * SYNC_NS
    ]
    computer.loop.close()
    return near


@pytest.mark.parametrize("left", [Left.KEPT, Left.UNSYNCED_LOST, Left.TORN])
def test_an_epoch_begins_wholly_or_not_at_all(left: Left, seed: int) -> None:
    made = life()
    rng = random.Random(f"{seed}/{left}")
    near = moments(made)
    begun = set()
    for kind in sorted({moment.what for moment in near}):
        found = [moment for moment in near if moment.what == kind]
        for moment in rng.sample(found, min(POINTS, len(found))):
            computer = Computer(made, seed)
            computer.live(moment.at_ns)
            computer.loop.kill(computer.process)
            computer.disk.crashed(left, power=left is not Left.KEPT)
            loaded, stored = computer.again()
            where = f"{moment}, {left}, seed {seed}"
            assert loaded.whole, where
            assert stored == names(made.delivered)[: loaded.end], where
            assert list(loaded.epochs) == made.starts[: len(loaded.epochs)], where
            assert computer.durable <= len(loaded.epochs) <= computer.durable + 1, where
            if loaded.epochs:  # all of the epoch before is there
                assert loaded.end >= loaded.epochs[-1].next_index, where
            known = {made.identity.network_id, *(start.epoch_id for start in loaded.epochs)}
            frames = [each.frame for each in map(decode_record, loaded.records) if isinstance(each, OwnEvent)]
            assert {frame[3:35] for frame in frames} <= known, where
            begun.add(len(loaded.epochs))
            computer.loop.close()
    assert len(begun) > 1
