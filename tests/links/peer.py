"""One engine as a process, for floods: its key is known to the test, and it says regularly how it is.

    python -m tests.links.peer '{"own": 0, "ports": [...], "every_ms": 20, "penalties": true, "loop": "asyncio"}'

Peer i has the seed of creator i in `tests.runtime.nodes`. It sends a transaction every so often and prints a JSON line
a quarter of a second: memory, links, deliveries, and the latencies of its own transactions. Each line of its input
makes it break its links and say how long it takes until they are back; it ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from pathlib import Path
from typing import Any

from tests.runtime.nodes import seed

from syncpoint import Context, Engine, KeySecret, Options, Peers, Socket
from syncpoint.runtime import penalties
from syncpoint.runtime.transport import Transport

REPORT_S = 0.25


def peers_of(ports: list[int]) -> Peers:
    peers = Peers()
    for number, port in enumerate(ports):
        peers.insert(f"127.0.0.1:{port}", KeySecret.from_seed(seed(number)).public())
    return peers


async def main(settings: dict[str, Any]) -> None:
    own, ports = settings["own"], settings["ports"]
    if not settings["penalties"]:
        penalties.FIRST_PENALTY_S = penalties.MAX_PENALTY_S = 1e-9
    latencies: list[float] = []
    delivered = 0
    async with Context() as context:
        socket = await Socket.bind(context, f"127.0.0.1:{ports[own]}")
        engine = await Engine.start(context, socket, Options(), KeySecret.from_seed(seed(own)), peers_of(ports))

        async def send() -> None:
            while True:
                await engine.send_transaction(struct.pack("<Bd", own, time.monotonic()))
                await asyncio.sleep(settings["every_ms"] / 1000)

        async def receive() -> None:
            nonlocal delivered
            async for event in engine:
                now = time.monotonic()
                for transaction in event.transactions:
                    creator, sent = struct.unpack("<Bd", transaction)
                    delivered += 1
                    if creator == own:
                        latencies.append(now - sent)

        async def report() -> None:
            while True:
                status = engine.status()
                print(
                    json.dumps(
                        {
                            "rss": rss_bytes(),
                            "linked": len(status.linked),
                            "delivered": delivered,
                            "latencies": latencies,
                            "rejects": sum(status.rejects.values()),
                            "order": status.consensus.order_hash.hex(),
                        }
                    ),
                    flush=True,
                )
                latencies.clear()
                await asyncio.sleep(REPORT_S)

        async def break_links() -> None:
            transport = engine._driver.transport
            assert isinstance(transport, Transport)
            begin, before = time.monotonic(), len(transport._links)
            for link in list(transport._links.values()):
                link.abort()
            await asyncio.sleep(0)
            while len(transport._links) >= before:  # noqa: ASYNC110 - they are still to go
                await asyncio.sleep(0)
            while len(transport._links) < before:  # noqa: ASYNC110 - a tool, not a test
                await asyncio.sleep(0.005)
            print(json.dumps({"relinked_s": time.monotonic() - begin}), flush=True)

        jobs = [asyncio.ensure_future(job) for job in (send(), receive(), report())]
        while await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
            await break_links()
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


def rss_bytes() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    if given["loop"] == "uvloop":
        import uvloop

        uvloop.run(main(given))
    else:
        asyncio.run(main(given))
