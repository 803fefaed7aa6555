"""A peer whose disk of 1 MiB is full at another point each time, among three that have room.

`python -m tests.store full --points 1000` is a campaign, `test_full` does a few. Root, or `unshare -rm` before the
command, may mount what it needs.

A point is an amount of free bytes and the sizes of the transactions that fill it. What must hold at each: the peer says
what is wrong, makes no events, follows, and answers; the others go on. With room again it goes on by itself, and all is
in its store that was ordered. Where there is not even room to begin, the start says so, and the next one needs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import logging
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.api.cluster import DEADLINE_S

from syncpoint import Context, Engine, Event, KeySecret, Options, Peers, Socket, StorageError
from syncpoint.cli.stores import opened
from syncpoint.cli.verify_store import verify_store
from syncpoint.runtime import store as store_module
from syncpoint.runtime.tip import doubt

__all__ = ["RETRY_S", "Point", "campaign", "main", "small_disk"]

N = 4
DISK_BYTES = 1 << 20
MAX_FREE_BYTES = 400_000  # what a full log holds is written into the file as well before there is room again
SIZES = (10, 300, 3_000, 20_000)  # bytes of a transaction
ROUNDS = 3  # of transactions of the others while the disk is full
MAX_RELIEFS = 50  # times that the log, moved into the file, left room once more
DISKS = 4  # that fill at once, as most of the time is waiting
RETRY_S = 0.01  # between two attempts to write, instead of seconds


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A folder with a file system of 1 MiB of its own; OSError where none can be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True)
    if done.returncode != 0:
        raise OSError(done.stderr.decode().strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Ears(logging.Handler):
    """Hears when a store is in trouble, and when that is over."""

    def __init__(self, file: str) -> None:
        super().__init__(logging.WARNING)
        self._file = file
        self.lines: list[str] = []
        self.troubles = self.reliefs = 0
        self.changed = asyncio.Event()

    @property
    def in_trouble(self) -> bool:
        """Whether it is now."""
        return self.troubles > self.reliefs

    def emit(self, record: logging.LogRecord) -> None:
        """A line of the log."""
        line = record.getMessage()
        if self._file not in line:
            return
        self.lines.append(line)
        self.troubles += "cannot be written" in line
        self.reliefs += "can be written again" in line
        self.changed.set()

    async def until(self, holds: bool) -> None:
        """Wait until it is in trouble, or is not."""
        async with asyncio.timeout(DEADLINE_S):
            while self.in_trouble is not holds:
                self.changed.clear()
                await self.changed.wait()


class Point:
    """A network of four, of which the first has the small disk."""

    def __init__(self, disk: Path, core: str, seed: str) -> None:
        self._rng = random.Random(seed)
        self.disk = disk
        self.core = core
        self.free = self._rng.randrange(MAX_FREE_BYTES)
        self.durability = self._rng.choice(("full", "normal"))
        self.counts: Counter[str] = Counter()
        self.secrets = [KeySecret.generate() for _ in range(N)]
        self.streams: list[list[Event]] = [[] for _ in range(N)]
        self.ears = Ears(str(self.path))
        self._sent = 0
        self._acknowledged: set[bytes] = set()
        self._delivered: list[set[bytes]] = [set() for _ in range(N)]
        self._received = asyncio.Event()

    def __str__(self) -> str:
        return f"{self.free} bytes free, core {self.core}, durability {self.durability}"

    @property
    def path(self) -> Path:
        """The store."""
        return self.disk / "stores" / f"{self.secrets[0].public()}.syncpoint"

    async def run(self) -> Counter[str]:
        """Everything that must hold; what happened."""
        log = logging.getLogger("syncpoint.store")
        log.addHandler(self.ears)
        try:
            self._fill()
            async with (
                Context(self.core, self.disk / "stores", durability=self.durability) as small,
                Context(self.core) as others,
            ):
                engines = await self._start(small, others)
                reading = [asyncio.ensure_future(self._read(at, engine)) for at, engine in enumerate(engines)]
                await self._until_full(engines)
                await self._after(engines)
                for engine in engines:  # at once they would wait for each other's links
                    await engine.stop()
                await asyncio.gather(*reading)
            self._check_store()
            return self.counts
        finally:
            log.removeHandler(self.ears)
            for path in self.disk.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    async def _start(self, small: Context, others: Context) -> list[Engine]:
        """All engines; where there is no room for the store to begin, once more with room."""
        for attempt in range(2):
            sockets = [await Socket.bind(small if at == 0 else others, "127.0.0.1:0") for at in range(N)]
            peers = Peers()
            for socket, secret in zip(sockets, self.secrets, strict=True):
                peers.insert(socket.address, secret.public())
            try:
                first = await Engine.start(small, sockets[0], Options(), self.secrets[0], peers)
            except StorageError as error:
                if attempt > 0 or str(self.path) not in str(error):
                    raise
                self.counts["refused at the start"] += 1
                self._make_room()
                await asyncio.gather(*(socket.close() for socket in sockets))
                continue
            started = [
                await Engine.start(others, socket, Options(), secret, peers)
                for socket, secret in zip(sockets[1:], self.secrets[1:], strict=True)
            ]
            return [first, *started]
        raise AssertionError

    async def _until_full(self, engines: list[Engine]) -> None:
        """Fill the disk, and look at the peer while it is full, once that lasts."""
        poor, *rich = engines
        if "refused at the start" in self.counts:
            self._fill()
        for _ in range(MAX_RELIEFS):
            waiting = asyncio.ensure_future(self._send(poor))
            while not self.ears.in_trouble:
                await asyncio.gather(*(self._send(engine) for engine in rich))
                if waiting.done():
                    waiting = asyncio.ensure_future(self._send(poor))
            reliefs, made = self.ears.reliefs, poor.status().consensus.own_round
            late = asyncio.ensure_future(self._send(poor))
            for _ in range(ROUNDS):
                sent = await asyncio.gather(*(self._send(engine) for engine in rich))
                await self._until_received(0, set(sent))
            status = poor.status()
            if self.ears.reliefs == reliefs:
                break
            self.counts["room by itself"] += 1
            async with asyncio.timeout(DEADLINE_S):
                await asyncio.gather(waiting, late)
        else:
            raise AssertionError("the disk is never full")
        assert not late.done(), "it is final, and in no store"
        assert status.storage is not None
        assert str(self.path) in status.storage
        assert "full" in status.storage or "No space left" in status.storage, status.storage
        assert status.consensus.own_round <= made + 1, "it makes events that it cannot store"
        assert len(status.linked) == N - 1
        self.counts[status.storage.rpartition(": ")[2]] += 1
        self._make_room()
        await self.ears.until(False)
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(waiting, late)

    async def _after(self, engines: list[Engine]) -> None:
        """All is well again: it makes events, and all have one order."""
        poor = engines[0]
        assert poor.status().storage is None
        made = poor.status().consensus.own_round
        await asyncio.gather(*(self._send(engine) for engine in engines))
        assert poor.status().consensus.own_round > made
        for peer, stream in enumerate(self.streams):
            await self._until_received(peer, self._acknowledged)
            transactions = [each for event in stream for each in event.transactions]
            assert len(transactions) == len(set(transactions)), "something was delivered twice"
            for event, same in zip(stream, self.streams[0], strict=False):
                assert event.order_hash == same.order_hash
        for engine in engines:
            status = engine.status().consensus
            assert (status.halted, status.equivocators) == (None, ())

    async def _send(self, engine: Engine) -> bytes:
        number = self._sent
        self._sent += 1
        transaction = b"%d/" % number + bytes(self._rng.choice(SIZES))
        await engine.submit(transaction)
        self._acknowledged.add(transaction)
        return transaction

    async def _read(self, peer: int, engine: Engine) -> None:
        async for event in engine:
            self.streams[peer].append(event)
            self._delivered[peer].update(event.transactions)
            self._received.set()

    async def _until_received(self, peer: int, transactions: set[bytes]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not transactions <= self._delivered[peer]:
                self._received.clear()
                await self._received.wait()

    # -- the disk ---------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Leave so many bytes."""
        free = os.statvfs(self.disk)
        (self.disk / "filler").write_bytes(bytes(max(0, free.f_bavail * free.f_bsize - self.free)))

    def _make_room(self) -> None:
        (self.disk / "filler").unlink()

    def _check_store(self) -> None:
        """It is whole, and has the order."""
        with contextlib.redirect_stdout(io.StringIO()):
            verify_store(self.path)
        with opened(self.path) as store:
            file, state = store.file, store.state
            assert doubt(file.read_tip(), True, state.sequence, file.inode(), file.boot()) is None
            rows = [row for _, row in store.delivered() if row is not None]
        assert [row.order_hash for row in rows] == [event.order_hash for event in self.streams[0]]


async def campaign(points: int, core: str, seed: int, folder: Path) -> str:
    """All points, each on an empty disk, as many at once as there are disks; what was seen."""
    counts: Counter[str] = Counter()
    begin = time.monotonic()
    numbers = iter(range(points))

    async def lane(disk: Path) -> None:
        for number in numbers:
            point = Point(disk, core, f"{seed}/{number}")
            try:
                counts.update(await point.run())
            except BaseException:
                print(f"point {number} of seed {seed}: {point}", *point.ears.lines, sep="\n")
                raise

    with contextlib.ExitStack() as disks:
        async with asyncio.TaskGroup() as lanes:
            for number in range(DISKS):
                lanes.create_task(lane(disks.enter_context(small_disk(folder / str(number)))))
    told = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
    return f"{points} points, {told}; all went on, nothing lost; {time.monotonic() - begin:.0f} s"


def main(words: Sequence[str]) -> None:
    """The campaign, from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.store full", description=__doc__)
    parser.add_argument("--points", type=int, default=25)
    parser.add_argument("--core", default="native")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(words)
    store_module.FIRST_RETRY_S = store_module.MAX_RETRY_S = RETRY_S
    with tempfile.TemporaryDirectory() as folder:
        print(asyncio.run(campaign(given.points, given.core, given.seed, Path(folder))))
