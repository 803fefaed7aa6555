"""How fast a peer that was away comes back, on real processes with real stores on loopback.

    python benches/catching_up.py                            100,000 events behind, native core
    python benches/catching_up.py --events 1000000           a million
    python benches/catching_up.py --core python --events 20000
    python benches/catching_up.py --quiet            the others send nothing meanwhile

Three of four peers order transactions until so many events are delivered; the fourth then starts for the first time,
with an empty store, while the three go on under the same load. It is current when its own events are new. Printed: how
long that took from the start of its process, events per second, and that beside the live rate of the others, before
and meanwhile.

All four share this machine's cores, and the others keep their pace while it catches up, unless they are told not to.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from surroundings import cores, describe
from syncpoint import Context, Engine, KeySecret, Options, Peers, Socket
from syncpoint.errors import QueueFull

Json = dict[str, Any]

N = 4
LATE = 3  # the number of the one that was away
REPORT_S = 0.25
STALL_S = 60.0  # without progress
NEAR = 20  # rounds below the highest: a peer that keeps up
QUIET = "quiet"  # a file in the folder that tells peers to send nothing more


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--events", type=int, default=100_000, help="to be behind")
    parser.add_argument("--rate", type=int, default=100, help="transactions/s of each of the three")
    parser.add_argument("--bytes", type=int, default=128, help="of a transaction")
    parser.add_argument("--quiet", action="store_true", help="the three send nothing while the fourth catches up")
    parser.add_argument("--core", choices=cores(), default=cores()[-1])
    parser.add_argument("--durability", choices=["full", "normal"], default="normal")
    parser.add_argument("--folder", type=Path, help="where the stores go; else a temporary folder")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peer is not None:
        asyncio.run(_peer(json.loads(given.peer)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        result = asyncio.run(_measure(given, given.folder or Path(temporary)))
    if given.json:
        print(json.dumps({"setup": describe(), "result": result}))
        return
    print("\n".join(describe()))
    print(
        f"load     {given.rate} tx/s of {given.bytes} B at each of three peers, durability {given.durability}\n"
        f"live     {result['live_per_s']:,.0f} events/s before, {result['meanwhile_per_s']:,.0f} meanwhile\n"
        f"behind   {result['behind']:,} events at its start\n"
        f"current  after {result['seconds']:.1f} s: {result['per_s']:,.0f} events/s, "
        f"{result['per_s'] / result['live_per_s']:.1f} times the live rate before"
    )


async def _measure(given: argparse.Namespace, folder: Path) -> Json:
    keys = [KeySecret.generate() for _ in range(N)]
    for number, key in enumerate(keys):
        key.save(folder / f"{number}.key")
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(N)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    common = {"folder": str(folder), "addresses": addresses, "core": given.core, "durability": given.durability}

    def start(number: int, rate: int) -> _Process:
        return _Process({**common, "number": number, "rate": rate, "bytes": given.bytes})

    processes = [start(number, given.rate) for number in range(N) if number != LATE]
    first = processes[0]
    try:
        live = await _until(first, lambda said: said["delivered"] >= given.events)
        if given.quiet:
            (folder / QUIET).touch()
            await _until(first, lambda said: said["delivered"] == first.said[-2]["delivered"])
        begin = time.monotonic()
        late = start(LATE, 0)
        processes.append(late)
        done = await _until(
            late, lambda said: said["own_round"] + NEAR > max(said["top_round"], said["peers_round"]) > NEAR
        )
        seconds = time.monotonic() - begin
        after = first.said[-1]
        window = [said for said in first.said if live["at"] - 20 < said["at"] <= live["at"]]
        span = window[-1]["at"] - window[0]["at"]
        return {
            "behind": live["delivered"],
            "seconds": seconds,
            "per_s": done["delivered"] / seconds,
            "live_per_s": (window[-1]["delivered"] - window[0]["delivered"]) / span,
            "meanwhile_per_s": (after["delivered"] - live["delivered"]) / (after["at"] - live["at"]),
        }
    finally:
        for process in processes:
            await process.end()


class _Process:
    """A peer, and what it said of itself."""

    def __init__(self, what: Json) -> None:
        self.said: list[Json] = []
        self.changed = asyncio.Event()
        self._task = asyncio.ensure_future(self._read(what))
        self._process: asyncio.subprocess.Process | None = None

    async def _read(self, what: Json) -> None:
        command = (sys.executable, __file__, "--peer", json.dumps(what))
        self._process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.said.append(json.loads(line))
            self.changed.set()

    async def end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await asyncio.wait((self._task,))


async def _until(process: _Process, holds: Any) -> Json:
    """What it said when something held first; it must get on meanwhile."""
    progress = None
    while True:
        process.changed.clear()
        if process.said:
            said = process.said[-1]
            if holds(said):
                return said
            if progress is None or said["delivered"] > progress["delivered"]:
                progress = said
            elif said["at"] > progress["at"] + STALL_S:
                sys.exit(f"catching_up: no progress for {STALL_S:.0f} s: {said}")
        await asyncio.wait_for(process.changed.wait(), STALL_S)


async def _peer(what: Json) -> None:
    """One peer, until it is killed."""
    folder, number = Path(what["folder"]), what["number"]
    secrets = [KeySecret.load(folder / f"{each}.key") for each in range(N)]
    peers = Peers()
    for address, secret in zip(what["addresses"], secrets, strict=True):
        peers.insert(address, secret.public())
    async with Context(what["core"], folder / "stores", durability=what["durability"]) as context:
        tcp = await Socket.bind(context, what["addresses"][number])
        engine = await Engine.start(context, tcp, Options(), secrets[number], peers)
        async with asyncio.TaskGroup() as group:
            group.create_task(_receive(engine))
            group.create_task(_send(engine, what["rate"], what["bytes"], folder / QUIET))
            while True:
                status = engine.status()
                consensus = status.consensus
                said = {
                    "at": time.monotonic(),
                    "delivered": consensus.delivered,
                    "own_round": consensus.own_round,
                    "top_round": consensus.top_round,
                    "peers_round": consensus.peers_round,
                    "delivered_per_s": status.delivered_per_s,
                }
                print(json.dumps(said), flush=True)
                await asyncio.sleep(REPORT_S)


async def _receive(engine: Engine) -> None:
    async for _ in engine:
        pass


async def _send(engine: Engine, rate: int, size: int, quiet: Path) -> None:
    if not rate:
        return
    count, begin = 0, time.monotonic()
    while True:
        await asyncio.sleep(max(0.0, begin + count / rate - time.monotonic()))
        if quiet.exists():  # noqa: ASYNC240 - it takes no time
            return
        count += 1
        try:
            engine.try_send_transaction(b"%d" % count + bytes(size))
        except QueueFull:
            await asyncio.sleep(REPORT_S)


if __name__ == "__main__":
    main()
