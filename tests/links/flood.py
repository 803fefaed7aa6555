"""Floods against one of four peers on loopback: what they cost it in memory, and the others in latency.

    python -m tests.links.flood                                    every kind
    python -m tests.links.flood silent half --connections 4000 --loop uvloop
    python -m tests.links.flood frames --frames 1000000

Strangers: `silent` says nothing, `half` sends half of a TLS greeting, `drip` one byte of it after the other; `again`
connects anew whenever it is cut off. A member with a good key: `slow` never reads; `frames` sends malformed frames,
link after link, as fast as it can; so does `unpunished`, while the pause that junk costs is switched off. And `busy` is
no flood: it only takes a processor that nobody else wants, as the attackers do.

The other three peers order a transaction each every 20 ms: first undisturbed, then during the flood, in which one of
them loses its links and has to get in again. All three are needed for a quorum.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import resource
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.runtime.nodes import key, listener, port_of, prefixed, seed

from syncpoint.core.committee import Committee
from syncpoint.core.config import MAX_PEERS, Member, Network
from syncpoint.core.wire import max_frame_bytes
from syncpoint.runtime.hello import Hello
from syncpoint.runtime.tls import Tls

ROOT = Path(__file__).parents[2]
KINDS = ("silent", "half", "drip", "again", "slow", "frames", "unpunished", "busy")
ORDER = sorted(range(4), key=key)  # who comes earlier dials who comes later
FIRST, LIAR, OTHER, VICTIM = ORDER
DEADLINE_S = 60.0
BURST = 10_000  # malformed frames in one write
DRIP_S = 0.02


@dataclass
class Peer:
    """One process, and what it said last."""

    process: asyncio.subprocess.Process
    said: dict[str, Any] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    relinked: list[float] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    most_rss: int = 0

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            said = json.loads(line)
            if "relinked_s" in said:
                self.relinked.append(said["relinked_s"])
            else:
                self.said = said
                self.latencies += said["latencies"]
                self.most_rss = max(self.most_rss, said["rss"])
            self.changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    async def lines(self, count: int) -> None:
        """Wait for so many reports."""
        for _ in range(count):
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), DEADLINE_S)


@contextlib.asynccontextmanager
async def network(loop: str, *, penalties: bool = True) -> AsyncIterator[tuple[dict[int, Peer], list[int]]]:
    """Three of four peers, linked; the fourth is the liar's."""
    socks = [listener() for _ in range(4)]
    ports = [port_of(sock) for sock in socks]
    for sock in socks:
        sock.close()
    peers = {}
    try:
        for own in (VICTIM, OTHER, FIRST):
            given = {"own": own, "ports": ports, "every_ms": 20, "penalties": penalties, "loop": loop}
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.links.peer", json.dumps(given), cwd=ROOT, limit=2**26,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            peers[own] = Peer(process)
        readers = [asyncio.ensure_future(peer.read()) for peer in peers.values()]
        for peer in peers.values():
            await peer.until(lambda peer=peer: peer.said.get("linked") == 2)  # type: ignore[misc]
        await peers[FIRST].until(lambda: peers[FIRST].said["delivered"] > 100)
        yield peers, ports
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    finally:
        for peer in peers.values():
            with contextlib.suppress(ProcessLookupError):
                peer.process.kill()
            await peer.process.wait()


class Stranger(asyncio.Protocol):
    """A connection that never says who it is."""

    def __init__(self, flood: Strangers) -> None:
        self.flood = flood

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.flood.open[self] = transport
        if self.flood.kind in ("half", "again"):
            transport.write(GREETING[: len(GREETING) // 2])

    def connection_lost(self, exc: Exception | None) -> None:
        self.flood.open.pop(self, None)
        self.flood.cut += 1


class Strangers:
    """Very many of them."""

    def __init__(self, kind: str, port: int, count: int) -> None:
        self.kind, self.port, self.count = kind, port, count
        self.open: dict[Stranger, asyncio.Transport] = {}
        self.cut = 0
        self.made = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        sent = 0
        while True:
            while self.made < self.count or (self.kind == "again" and len(self.open) < 64):
                self.made += 1
                with contextlib.suppress(OSError):
                    await loop.create_connection(lambda: Stranger(self), "127.0.0.1", self.port)
            await asyncio.sleep(DRIP_S if self.kind != "again" else 0)
            if self.kind == "drip":
                for transport in list(self.open.values()):
                    transport.write(GREETING[sent % len(GREETING) : sent % len(GREETING) + 1])
                sent += 1

    def end(self) -> None:
        for transport in list(self.open.values()):
            transport.abort()

    @property
    def told(self) -> str:
        return f"{self.made:,} connections, {self.cut:,} cut off, {len(self.open):,} open"


class Liar:
    """Links with the key of the liar."""

    def __init__(self, kind: str, ports: list[int], frames: int) -> None:
        self.kind, self.port, self.most = kind, ports[VICTIM], frames
        self.frames = 0
        self.links = 0
        self.tls = Tls(seed(LIAR), [key(VICTIM)]).client
        members = [Member(key(number)) for number in range(4)]
        epoch_id = Committee.genesis(Network(), members).epoch_id
        self.hello = prefixed(
            Hello(
                network_id=epoch_id,
                epoch_id=epoch_id,
                key=key(LIAR),
                expected=key(VICTIM),
                max_frame_bytes=max_frame_bytes(MAX_PEERS, Network()),
            ).encode()
        )
        self.open: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        rng = random.Random(1)
        while self.frames < self.most:
            try:
                _, self.open = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls, server_hostname="")
                self.links += 1
                self.open.write(self.hello)
                if self.kind == "slow":
                    self.open.transport.pause_reading()  # type: ignore[attr-defined]
                    await asyncio.Event().wait()
                burst = b"".join(_malformed(rng) for _ in range(BURST))
                self.frames += BURST
                self.open.write(burst)
                await self.open.drain()
            except (OSError, ssl.SSLError):
                await asyncio.sleep(0)
            finally:
                self.end()

    def end(self) -> None:
        if self.open is not None:
            self.open.transport.abort()
            self.open = None

    @property
    def told(self) -> str:
        return f"{self.links:,} links, {self.frames:,} frames"


class Busy:
    """A processor that is at work on something else."""

    told = "nothing is sent"

    async def run(self) -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass")
        try:
            await process.wait()
        finally:
            process.kill()
            await process.wait()

    def end(self) -> None:
        """It has."""


def _malformed(rng: random.Random) -> bytes:
    """A frame that no honest peer sends: most have a good length and type, so that they are looked at."""
    kind = rng.choice((16, 16, 17, 18, 19, 1, 99))
    return prefixed(bytes([kind]) + rng.randbytes(rng.choice((0, 1, 20, 99, 300))))


def _greeting() -> bytes:
    """What a TLS client says first."""
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        Tls(seed(LIAR), [key(VICTIM)]).client.wrap_bio(coming, going, server_side=False).do_handshake()
    return going.read()


GREETING = _greeting()


@contextlib.contextmanager
def standing_back() -> Iterator[None]:
    """Take only what the peers leave of this machine's processors, as an attacker with a machine of its own would."""
    if not hasattr(os, "SCHED_IDLE"):
        yield
        return
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def p(latencies: list[float], share: float) -> float:
    return sorted(latencies)[int(share * len(latencies))] * 1000 if latencies else float("nan")


async def measure(kind: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One flood."""
    seconds = arguments.seconds
    async with network(arguments.loop, penalties=kind != "unpunished") as (peers, ports):
        victim, first, other = peers[VICTIM], peers[FIRST], peers[OTHER]
        await victim.lines(8)
        for peer in peers.values():
            peer.latencies.clear()
        at_rest, since = victim.said["rss"], time.monotonic()
        await victim.lines(int(seconds * 4))
        # It retains what it orders, and so grows anyway, by so many bytes a second.
        gain = max(0, victim.said["rss"] - at_rest) / (time.monotonic() - since)
        calm = [*first.latencies, *other.latencies]
        for peer in peers.values():
            peer.latencies.clear()
        before, victim.most_rss = victim.said["rss"], 0
        flood: Strangers | Liar | Busy
        if kind in ("slow", "frames", "unpunished"):
            flood = Liar(kind, ports, arguments.frames)
        elif kind == "busy":
            flood = Busy()
        else:
            flood = Strangers(kind, ports[VICTIM], arguments.connections)
        with standing_back():
            begin = time.monotonic()
            job = asyncio.ensure_future(flood.run())
            if kind in ("frames", "unpunished"):
                await job
                await victim.until(lambda: victim.said["rejects"] > 0)
            else:
                await victim.lines(int(seconds * 4) // 2)
            assert first.process.stdin is not None
            flooded = [*first.latencies, *other.latencies]
            first.process.stdin.write(b"break\n")
            await first.until(lambda: bool(first.relinked))
            delivered = victim.said["delivered"]
            await victim.until(lambda: victim.said["delivered"] > delivered + 100)
            took = time.monotonic() - begin
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)
        told = flood.told
        flood.end()
        return {
            "kind": kind, "loop": arguments.loop, "told": told, "seconds": took,
            "memory": victim.most_rss - before - int(gain * took), "relinked_s": first.relinked[0],
            "calm": (p(calm, 0.5), p(calm, 0.99)), "flooded": (p(flooded, 0.5), p(flooded, 0.99)),
            "rejects": victim.said["rejects"],
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], default=[])
    parser.add_argument("--connections", type=int, default=4_000)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=8.0, help="undisturbed, and then flooded")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    arguments = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, arguments.connections + 500)), hard))
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}, {ssl.OPENSSL_VERSION}, {arguments.loop}")
    for kind in arguments.kinds or KINDS:
        done = asyncio.run(measure(kind, arguments))
        print(
            f"{kind:7} {done['told']}: memory {done['memory'] / 2**20:+.1f} MiB, linked again after "
            f"{done['relinked_s']:.2f} s, p50 {done['calm'][0]:.1f} -> {done['flooded'][0]:.1f} ms, "
            f"p99 {done['calm'][1]:.1f} -> {done['flooded'][1]:.1f} ms, {done['rejects']:,} rejects",
            flush=True,
        )


if __name__ == "__main__":
    main()
