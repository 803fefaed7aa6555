"""Four processes, one of which kills itself in the moment in which its transaction is final: nobody else stalls.

It is the worst moment: the others may or may not have what made the transaction final. `SYNCPOINT_KILLS=100` is the
campaign; a run says how long the survivors took for their next transactions, and asserts only that they went on.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import syncpoint

KILLS = int(os.environ.get("SYNCPOINT_KILLS", "3"))
PEERS = 4
AFTER = 20  # transactions of each survivor after the kill
DEADLINE_S = 60.0  # of one run: whoever needs it has stalled
PACKAGE = Path(syncpoint.__file__).parents[1]


async def peer(core: str, victim: int) -> None:
    """One process: told of the others on standard input; says what it received on standard output."""
    async with syncpoint.Context(core=core) as context:
        socket = await syncpoint.Socket.bind(context, "127.0.0.1:0")
        secret = syncpoint.KeySecret.generate()
        say(address=socket.address, public=str(secret.public()))
        told = json.loads(await asyncio.to_thread(sys.stdin.readline))
        peers = syncpoint.Peers()
        for address, public in told["peers"]:
            peers.insert(address, syncpoint.KeyPublic.parse(public))
        options = syncpoint.Options()
        async with await syncpoint.Engine.start(context, socket, options, secret, peers) as engine:
            await play(engine, told["own"], victim)


async def play(engine: syncpoint.Engine, own: int, victim: int) -> None:
    """Send, receive; the victim dies when it knows that its transaction is final, and the others have to go on."""
    wanted = {b"%d/%d" % (number, count) for number in range(PEERS) if number != victim for count in range(AFTER)}
    wanted.add(b"last words")
    order: list[list[object]] = []

    async def read() -> None:
        missing = set(wanted)
        async for message in engine:
            missing -= set(message.transactions)
            order.append([message.index, message.hash.hex(), message.order_hash.hex()])
            if not missing:
                return

    reader = asyncio.ensure_future(read())
    if own == victim:
        await engine.submit(b"last words")
        os.kill(os.getpid(), 9)
    for count in range(AFTER):
        await engine.submit(b"%d/%d" % (own, count))
    await reader
    say(order=order)
    await asyncio.to_thread(sys.stdin.readline)  # stay until all have what they wait for


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


async def run(core: str, victim: int) -> list[Any]:
    """One network from start to kill to the survivors' end; the streams of the survivors."""
    script = f"import asyncio; from tests.sim.test_real_kill import peer; asyncio.run(peer({core!r}, {victim}))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(PACKAGE), str(Path(__file__).parents[2])))}
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", script, env=environment, limit=1 << 24, **pipes)
        for _ in range(PEERS)
    ]
    try:
        hellos = [json.loads(await process.stdout.readline()) for process in processes]  # type: ignore[union-attr]
        peers = [(hello["address"], hello["public"]) for hello in hellos]
        for own, process in enumerate(processes):
            process.stdin.write((json.dumps({"peers": peers, "own": own}) + "\n").encode())  # type: ignore[union-attr]
        assert await processes[victim].wait() == -9
        survivors = [process for own, process in enumerate(processes) if own != victim]
        return [json.loads(await process.stdout.readline())["order"] for process in survivors]  # type: ignore[union-attr]
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@pytest.mark.timeout(KILLS * DEADLINE_S)
async def test_survivors_go_on_when_a_peer_is_killed_as_its_transaction_becomes_final(core: str) -> None:
    for number in range(KILLS):
        streams = await asyncio.wait_for(run(core, number % PEERS), DEADLINE_S)
        shortest = min(map(len, streams))
        assert shortest > 0
        assert all(stream[:shortest] == streams[0][:shortest] for stream in streams)
