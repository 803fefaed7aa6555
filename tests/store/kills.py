"""Four processes under load, one of which is killed again and again and goes on with its store.

`python -m tests.store --kills 10000` is a campaign; `test_kills` runs a few. What must hold: every transaction
that was acknowledged is delivered at every peer, once; all streams are one; nobody forks or halts.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from syncpoint import Context, Engine, Options, Socket

from .group import Group, Member, book, prepare
from .processes import preload, say, told

N = 4
WINDOW = 4  # transactions on their way at each peer


class Life(NamedTuple):
    """What a peer is told when it starts; as for `work`."""

    number: int
    folder: Path
    core: str
    durability: str
    life: int
    after: int


@dataclass
class Peer(Member):
    """One peer, and what it said."""

    acknowledged: set[str] = field(default_factory=set)
    delivered: Counter[str] = field(default_factory=Counter)
    last: int = -1  # index
    spawned_at: float = 0.0
    working: asyncio.Event = field(default_factory=asyncio.Event)
    says: dict[str, Any] = field(default_factory=dict)


class Run(Group[Peer]):
    """All of them."""

    def __init__(self, folder: Path, core: str, durability: str, seed: int) -> None:
        super().__init__([Peer(number) for number in range(N)])
        self.folder, self.core, self.durability = folder, core, durability
        self.rng = random.Random(seed)
        self.order: dict[int, str] = {}  # index -> order hash
        self.start_s: list[float] = []  # until an engine runs
        self.work_s: list[float] = []  # until something new is final

    async def go(self, kills: int) -> None:
        """Kill so many times, then let them finish; AssertionError for what does not hold."""
        try:
            await asyncio.gather(*(self.spawn(peer) for peer in self.peers))
            for _ in range(kills):
                victim = self.rng.choice(self.peers)
                await self.until(victim.working.is_set)
                await asyncio.sleep(self.rng.random() * 0.2)
                await self.kill(victim)
                await self.spawn(victim)
            await self.until(lambda: all(peer.working.is_set() for peer in self.peers))
            for peer in self.peers:
                peer.tell("quiet")
            await self.until(lambda: all("quiet" in peer.says for peer in self.peers))
            acknowledged = set().union(*(peer.acknowledged for peer in self.peers))
            await self.until(lambda: all(acknowledged <= peer.delivered.keys() for peer in self.peers))
            for peer in self.peers:
                peer.tell("stop")
            await self.ended()
        finally:
            self.end()
        assert self.failure is None, self.failure
        for peer in self.peers:
            twice = [name for name, times in peer.delivered.items() if times > 1]
            assert not twice, f"peer {peer.number} has twice: {twice[:5]}"
            assert peer.says["status"] == {"halted": None, "equivocators": []}, (peer.number, peer.says["status"])

    async def spawn(self, peer: Peer) -> None:
        """Start a peer, behind the last message that we have of it."""
        peer.life += 1
        peer.working.clear()
        peer.spawned_at = time.monotonic()
        life = Life(peer.number, self.folder, self.core, self.durability, peer.life, peer.last)
        await self.live(peer, work, *life)

    def take(self, peer: Peer, said: list[Any]) -> None:
        """Note what a peer says."""
        match said:
            case ["ready"]:
                self.start_s.append(time.monotonic() - peer.spawned_at)
            case ["final", name]:
                peer.acknowledged.add(name)
                if not peer.working.is_set():
                    peer.working.set()
                    self.work_s.append(time.monotonic() - peer.spawned_at)
            case ["event", index, order_hash, *names]:
                if index != peer.last + 1:
                    self.fail(f"peer {peer.number} has index {index} after {peer.last} in life {peer.life}")
                if self.order.setdefault(index, order_hash) != order_hash:
                    self.fail(f"peer {peer.number} has another order at index {index}")
                peer.last = index
                peer.delivered.update(names)
            case [kind, value]:
                peer.says[kind] = value


async def work(number: int, folder: Path, core: str, durability: str, life: int, after: int) -> None:
    """One life of a peer."""
    peers, secret, address = book(folder, number)
    async with Context(core, folder / "stores", durability=durability) as context:
        tcp = await Socket.bind(context, address)
        engine = await Engine.start(context, tcp, Options(), secret, peers, resume_after=after)
        say("ready")
        quiet, stop = asyncio.Event(), asyncio.Event()

        async def receive() -> None:
            async for event in engine:
                say("event", event.index, event.order_hash.hex(), *(each.decode() for each in event.transactions))

        async def send(lane: int) -> None:
            count = 0
            while not quiet.is_set():
                name = f"{number}/{life}/{lane}/{count}"
                await engine.submit(name.encode())
                say("final", name)
                count += 1

        async def obey() -> None:
            async for what in told():
                {"quiet": quiet, "stop": stop}[what].set()
            stop.set()

        receiving, obeying = asyncio.ensure_future(receive()), asyncio.ensure_future(obey())
        sending = asyncio.gather(*(send(lane) for lane in range(WINDOW)))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait((sending, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            await sending
            say("quiet", True)
            await stop.wait()
        status = engine.status().consensus
        say("status", {"halted": status.halted, "equivocators": list(status.equivocators)})
        for task in (receiving, obeying, sending):
            task.cancel()
        await asyncio.gather(receiving, obeying, sending, return_exceptions=True)


async def campaign(kills: int, core: str, durability: str, seed: int, folder: Path) -> str:
    """Run, and say what was seen."""
    preload("tests.store.kills")
    prepare(folder, N)
    run = Run(folder, core, durability, seed)
    await run.go(kills)
    size = sum(path.stat().st_size for path in (folder / "stores").iterdir())
    return (
        f"{kills} kills, {sum(len(peer.acknowledged) for peer in run.peers)} acknowledged transactions, "
        f"{len(run.order)} events, none lost, doubled or forked; median from the start of the process to a running "
        f"engine {statistics.median(run.start_s):.2f} s, to a transaction of its own that is final "
        f"{statistics.median(run.work_s):.2f} s (worst {max(run.work_s):.2f} s); stores {size} bytes"
    )


def main() -> None:
    """The campaign, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--core", default="native")
    parser.add_argument("--durability", default="full")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(asyncio.run(campaign(given.kills, given.core, given.durability, given.seed, Path(folder))))
