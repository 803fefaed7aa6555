"""Ten thousand transactions through real sockets, for every size of network."""

from __future__ import annotations

import asyncio

import pytest

from syncpoint import Engine

from .cluster import cluster

TRANSACTIONS = 10_000


async def feed(engine: Engine, transactions: list[bytes]) -> None:
    for transaction in transactions:
        await engine.send_transaction(transaction)


async def read(engine: Engine) -> tuple[list[bytes], int, bytes]:
    """The transactions of the stream, and where the last of them stands in it."""
    stream: list[bytes] = []
    async for message in engine:
        stream += message.transactions
        if len(stream) >= TRANSACTIONS:
            return stream, message.index, message.order_hash
    raise AssertionError("the stream ended early")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 10, 16])
async def test_ten_thousand_transactions_are_equal_everywhere(n: int) -> None:
    sent = [b"%05d" % number for number in range(TRANSACTIONS)]
    async with cluster(n) as network:
        feeders = [asyncio.create_task(feed(engine, sent[i::n])) for i, engine in enumerate(network.engines)]
        streams = await asyncio.gather(*(read(engine) for engine in network.engines))
        await asyncio.gather(*feeders)
    assert sorted(streams[0][0]) == sent, "lost or doubled"
    assert all(stream == streams[0] for stream in streams), "two peers differ"
    for i in range(n):
        own = sent[i::n]
        mine = set(own)
        assert [transaction for transaction in streams[0][0] if transaction in mine] == own, "order of submission"
