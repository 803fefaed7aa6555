"""A peer dies in each of the moments in which something changes on its disk, while the network decides (J1, J2, R1)."""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any

import pytest

from syncpoint.core.journal import Place, State, decode_record
from syncpoint.core.output import Closed, Deliver, Opened, Write
from syncpoint.runtime.storage import Loaded
from syncpoint.runtime.store import Store
from syncpoint.testing.loop import Process, VirtualLoop
from syncpoint.testing.storage import Disk, SimulatedFile, SimulatedWorker, WrittenAt
from syncpoint.testing.storage import Store as Left

from .history import Accepted, History, User, feed, names, read_all, with_points
from .test_sync_points import goes_on, machine_of

MS = 1_000_000
SYNC_NS = MS
PAUSE_S = 0.0003  # between events: several come while a commit is synced
POINTS = int(os.environ.get("SYNCPOINT_POINTS", "8"))  # of each kind of moment and of what is left
LEFT = (Left.KEPT, Left.UNSYNCED_LOST, Left.TORN)


class Computer:
    """A disk that outlives the processes of one peer."""

    def __init__(self, made: History, seed: object = 0) -> None:
        self.made = made
        self.loop = VirtualLoop()
        self.disk = Disk(self.loop, SYNC_NS, random.Random(f"disk/{seed}"))
        self.process = Process("peer")

    def store(self) -> Store:
        file = SimulatedFile(self.disk, "the store")
        return Store(file, SimulatedWorker(self.disk, self.process), self.made.settings())

    def live(self, until_ns: int) -> None:
        """Be a peer until it dies."""
        self.loop.spawn(self.process, self._live)
        self.loop.run_until(lambda: False, until_ns)

    async def _live(self) -> None:
        store = self.store()
        await store.load(User())
        for each in self.made.accepted:
            await self._take(store, each)
            await asyncio.sleep(PAUSE_S)
        await store.close()

    async def _take(self, store: Store, each: Accepted) -> None:
        """As a machine would: nothing follows from an own event before it is durable."""
        if each.is_own:
            durable = asyncio.Event()
            store.persist([each.record], durable.set)
            await durable.wait()
        else:
            store.write([each.record])
        if each.messages:
            store.deliver(each.messages, each.states)

    def dies(self, left: Left) -> None:
        self.loop.kill(self.process)
        self.disk.crashed(left, power=left is not Left.KEPT)
        self.process = Process("peer again")

    def again(self, core: str) -> Again:
        """Start once more, and take up all that was made since."""
        found = Again()

        async def main() -> None:
            store = self.store()
            found.loaded = await store.load(User())
            found.stored = names(await read_all(store, found.loaded))
            found.outputs = goes_on(machine_of(core, self.made), found.loaded.records, self.made.accepted)
            for output in found.outputs:
                if isinstance(output, Write):
                    store.write(output.records)
                elif isinstance(output, Deliver):
                    store.deliver(output.messages, output.states)
            await feed(store, [])
            end = Loaded(end=len(self.made.delivered))
            found.stream = names(await read_all(store, end))
            await store.close()
            found.is_over = True

        self.loop.spawn(self.process, main)
        self.loop.run_until(lambda: found.is_over, self.loop.now_ns + 10**10)
        return found


class Again:
    """What came of a second start."""

    loaded: Loaded
    stored: list[tuple[object, ...]]
    outputs: list[Any]
    stream: list[tuple[object, ...]]
    is_over = False


def moments(made: History) -> list[WrittenAt]:
    computer = Computer(made)
    computer.disk.moments = []
    computer.live(computer.loop.now_ns + 10**12)
    computer.loop.close()
    return computer.disk.moments


@pytest.mark.parametrize("left", LEFT)
def test_whenever_it_dies_the_same_is_decided(left: Left, core: str, seed: int) -> None:
    made = with_points()
    found = moments(made)
    kinds = sorted({moment.what for moment in found})
    assert kinds == ["begun", "synced", "tip", "written"]
    rng = random.Random(f"{seed}/{left}")
    began_open = 0
    for kind in kinds:
        for moment in rng.sample([each for each in found if each.what == kind], POINTS):
            computer = Computer(made, seed)
            computer.live(moment.at_ns)
            computer.dies(left)
            again = computer.again(core)
            where = f"{moment}, {left}, seed {seed}"
            assert again.is_over, where
            assert again.loaded.whole, where
            assert again.stored == names(made.delivered)[: again.loaded.end], where
            records = [decode_record(record) for record in again.loaded.records]
            first = records[0].next_index if records and isinstance(records[0], Place) else 0
            messages = [done for each in again.outputs if isinstance(each, Deliver) for done in each.messages]
            assert names(messages) == names(made.delivered[first:]), where
            assert again.stream == names(made.delivered), where
            opened = [each.proposal for each in again.outputs if isinstance(each, Opened)]
            closed = [each.proposal for each in again.outputs if isinstance(each, Closed)]
            assert len(set(opened)) == len(opened), where
            assert len(set(closed)) == len(closed), where
            assert set(closed) | set(made.run.epoch.open) == set(opened), where
            began_open += any(isinstance(record, State) for record in records) and bool(opened)
            computer.loop.close()
    assert began_open > POINTS
