"""Members, keys and settings that change where peers keep what they have, and start again in later epochs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from syncpoint import (
    Context,
    Engine,
    EngineStopped,
    Event,
    KeySecret,
    ProvedSyncPoint,
    ProvedTransaction,
    Socket,
    SyncPoint,
)

from .cluster import Cluster, cluster, read_all
from .test_membership import CORE, OPTIONS, Joiner, add, agreed, genesis_of, in_epoch
from .test_sync_points import in_time, points, rest


@contextlib.asynccontextmanager
async def keeping(folder: Path) -> AsyncIterator[Cluster]:
    """Four peers with stores."""
    async with (
        Context(core=CORE, storage=folder) as context,
        cluster(4, options=OPTIONS, context=context) as net,
    ):
        await in_time(*(engine.submit(b"in the first epoch") for engine in net.engines))
        yield net


async def restarted(net: Cluster, number: int, **more: Any) -> Engine:
    """The same peer once more, on its store."""
    await net.engines[number].stop()
    socket = await Socket.bind(net.context, net.addresses[number])
    net.engines[number] = await Engine.start(
        net.context, socket, OPTIONS, net.secrets[number], net.peers, network=net.network, **more
    )
    return net.engines[number]


async def two_epochs_on(net: Cluster) -> KeySecret:
    """Other settings, then another key for the first peer, which this is."""
    settings = dataclasses.replace(net.network, gc_depth=50)
    await agreed(net.engines, lambda engine: engine.change_options(settings))
    await in_epoch(1, *net.engines)
    secret = KeySecret.generate()
    await in_time(net.engines[0].rotate_key(secret))
    await in_epoch(2, *net.engines)
    return secret


async def test_a_start_is_in_the_newest_epoch(tmp_path: Path) -> None:
    async with keeping(tmp_path) as net:
        secret = await two_epochs_on(net)
        another = await restarted(net, 2)
        assert another.status().consensus.epoch == 2
        assert (another.peers, another.network) == (net.engines[1].peers, net.engines[1].network)
        rotated = await restarted(net, 0, next_secret=secret)
        assert rotated.public == secret.public()
        receipts = await in_time(*(engine.submit(b"again") for engine in net.engines))
        last = max(receipt.index for receipt in receipts)
        streams = await in_time(*(read_all(engine, lambda got: len(got) > last) for engine in net.engines))
        assert all(stream[: last + 1] == streams[0][: last + 1] for stream in streams)  # creators, too
        assert {event.epoch for event in streams[0] if isinstance(event, Event)} == {0, 1, 2}


async def test_transactions_of_all_epochs_are_proved_also_after_a_start(tmp_path: Path) -> None:  # C2, C3
    async with keeping(tmp_path) as net:
        genesis = genesis_of(net)
        secret = await two_epochs_on(net)
        await in_time(net.engines[0].submit(b"in the last epoch"))
        for engine in (net.engines[1], await restarted(net, 2)):
            (receipt,) = await in_time(engine.submit(b"later"))
            (stream,) = await in_time(read_all(engine, lambda got: len(got) > receipt.index))  # noqa: B023
            seen = set()
            for message in stream[: receipt.index + 1]:
                if isinstance(message, SyncPoint):
                    (proof,) = await in_time(message.proof())
                elif message.transactions:
                    (proof,) = await in_time(engine.prove(message.index, 0))
                else:
                    continue
                proved = proof.verify(genesis, CORE)
                assert (proved.index, proved.order_hash) == (message.index, message.order_hash)
                if isinstance(proved, ProvedTransaction):
                    assert isinstance(message, Event)
                    assert (proved.creator, proved.epoch) == (message.creator, message.epoch)
                seen.add((proved.epoch, type(proved)))
            assert {(0, ProvedTransaction), (2, ProvedTransaction), (0, ProvedSyncPoint), (1, ProvedSyncPoint)} <= seen
            creators = {message.creator for message in stream if isinstance(message, Event) and message.transactions}
            assert secret.public() in creators


async def test_a_joiner_comes_through_all_epochs(tmp_path: Path) -> None:
    async with keeping(tmp_path) as net:
        await two_epochs_on(net)
        joiner = await Joiner.of(net)
        await agreed(net.engines, add(joiner))
        await in_epoch(3, *net.engines)
        fifth = await joiner.start()
        (receipt,) = await in_time(fifth.submit(b"after three epochs"))
        everybody = [*net.engines, fifth]
        streams = await in_time(*(read_all(engine, lambda got: len(got) > receipt.index) for engine in everybody))
        for stream in streams:
            assert stream[: receipt.index + 1] == streams[0][: receipt.index + 1]
        await fifth.stop()
        socket = await Socket.bind(net.context, joiner.address)
        again = await Engine.start(
            net.context, socket, OPTIONS, joiner.secret, net.peers, network=net.network, joins=True
        )
        await in_time(again.submit(b"once more"))


async def test_a_removed_peer_that_starts_again_has_the_stream_up_to_there(tmp_path: Path) -> None:
    async with keeping(tmp_path) as net:
        *staying, gone = net.engines
        point = await agreed(staying, lambda engine: engine.vote_remove_node(gone.public))
        await in_epoch(1, *net.engines)
        await in_time(*(engine.submit(b"goes on") for engine in staying))
        again = await restarted(net, 3)
        with pytest.raises(EngineStopped, match="has removed it"):
            await again.submit(b"x")
        (stream,) = await in_time(rest(again))
        assert points(stream) == [point]
        assert stream[-1] == point
