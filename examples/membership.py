"""A fifth peer joins, a key is replaced, settings change, a peer leaves: four epochs later the order is still one.

Each step is a sync point, at the same index on all peers. What was under way goes into the next epoch: everybody
sends all the time, and in the end every transaction stands in the order once.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from four_peers import four_peers
from syncpoint import Context, Engine, Event, KeySecret, PeerRecord, Socket, SyncPoint


async def read(engine: Engine, stream: list[tuple[int, bytes]], points: list[SyncPoint], end: int) -> None:
    """Take what one peer receives, until so many transactions are there."""
    async for message in engine:
        match message:
            case Event():
                stream += [(message.index, transaction) for transaction in message.transactions]
            case SyncPoint():
                points.append(message)
        if len(stream) == end:
            return


async def send(engine: Engine, name: str, count: int) -> None:
    """Send one transaction after the other."""
    for number in range(count):
        await engine.submit(b"%s %d" % (name.encode(), number))


async def quorum(engines: list[Engine], call: str, *arguments: object) -> SyncPoint:
    """Have all of these call for a change; the sync point at which it was made."""
    points: list[SyncPoint] = await asyncio.gather(*(getattr(engine, call)(*arguments) for engine in engines))
    assert len({point.index for point in points}) == 1
    return points[0]


async def main() -> None:
    """Go through four changes under load."""
    async with four_peers() as (genesis, engines):
        first = engines[0]
        count = 4 * 20 + 10
        streams: list[list[tuple[int, bytes]]] = [[] for _ in range(5)]
        points: list[list[SyncPoint]] = [[] for _ in range(5)]
        readers = [asyncio.create_task(read(engine, streams[i], points[i], count)) for i, engine in enumerate(engines)]
        senders = [asyncio.create_task(send(engine, f"peer {i}", 20)) for i, engine in enumerate(engines)]

        secret = KeySecret.generate()
        async with Context() as context:
            socket = await Socket.bind(context, "127.0.0.1:0")
            fifth = await Engine.start(
                context, socket, genesis.options, secret, genesis.peers(), network=genesis.network, joins=True
            )
            readers.append(asyncio.create_task(read(fifth, streams[4], points[4], count)))
            point = await quorum(engines, "vote_add_node", socket.address, PeerRecord.of(secret))
            print(f"a fifth peer joins: {len(point.peers)} peers, joined is its key: {point.joined == (fifth.public,)}")
            await send(fifth, "peer 4", 10)  # without stores the others help it through one epoch, not through several

            old = first.public
            point = await first.rotate_key(KeySecret.generate())
            print(f"a peer has another key: the old one was its own: {point.rotated[0][0] == old}")

            point = await quorum(engines, "change_options", replace(first.network, gc_depth=100))
            print(f"settings change: gc_depth is {point.network.gc_depth}")

            await asyncio.gather(*senders)
            point = await quorum(engines, "vote_remove_node", fifth.public)
            print(f"the fifth peer leaves: {len(point.peers)} peers")
            await asyncio.gather(*readers)
    assert all(stream == streams[0] for stream in streams)
    assert len(set(streams[0])) == count
    print(f"all five peers have the same {count} transactions, each once, over {len(points[0])} changes before them")


if __name__ == "__main__":
    asyncio.run(main())
