"""The engine as an application sees it: the stream, sending, cancelling, stopping, standing still, failing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from syncpoint import (
    Context,
    ContextError,
    CorruptError,
    Engine,
    EngineStopped,
    Event,
    Network,
    Options,
    QueueFull,
    Receipt,
    Socket,
    StorageError,
    Transaction,
    TransactionTooLarge,
)
from syncpoint import stream as stream_module
from syncpoint.core.crypto import blake3
from syncpoint.core.input import Persisted
from syncpoint.core.output import Halted
from syncpoint.core.wire import FrameType
from syncpoint.runtime import world as world_module
from syncpoint.runtime.storage import Loaded, MemoryStorage, StorageUser

from .cluster import DEADLINE_S, cluster, cycles, read, read_transactions, transactions, until

# The stream


def check_stream(events: list[Event]) -> None:
    """What holds of every stream that is read from its beginning."""
    assert [event.index for event in events] == list(range(len(events)))
    assert all(one.consensus_at < two.consensus_at for one, two in itertools.pairwise(events))  # O8
    for one, two in itertools.pairwise(events):  # O9
        place = struct.pack("<Q32sQ", two.index, two.hash, two.consensus_at)
        assert two.order_hash == blake3(one.order_hash + place)
    assert len({event.hash for event in events}) == len(events)
    assert len({event.order_hash for event in events}) == len(events)
    seen: set[bytes] = set()
    for event in events:
        assert seen.issuperset(event.parents), "delivered before its parents"
        assert bool(event.parents) == (event.round > 1)
        seen.add(event.hash)
        assert (len(event.hash), len(event.order_hash), len(event.whitened_signature)) == (32, 32, 64)
        assert event.transaction_count == len(event.transactions)
        assert [event.transaction(index) for index in range(event.transaction_count)] == list(event.transactions)
        with pytest.raises(IndexError):
            event.transaction(event.transaction_count)
    by_creator: dict[Any, Event] = {}
    for event in events:
        last = by_creator.get(event.creator)
        assert event.round == (last.round if last is not None else 0) + 1, "a creator jumped a round"  # P1
        assert last is None or last.created_at < event.created_at  # V5
        by_creator[event.creator] = event


@pytest.mark.parametrize("order", ["fair", "fast"])
@pytest.mark.parametrize("n", [1, 2, 4])
async def test_all_peers_receive_the_same_stream(n: int, order: str) -> None:
    sent = [[b"%d/%d" % (peer, number) for number in range(25)] for peer in range(n)]
    async with cluster(n, network=Network(order=order)) as net:
        for number in range(25):
            for engine, mine in zip(net.engines, sent, strict=True):
                await engine.send_transaction(mine[number])
            await cycles(3)
        streams = await asyncio.gather(*(read_transactions(engine, 25 * n) for engine in net.engines))
        for events in streams:
            check_stream(events)
            assert sorted(transactions(events)) == sorted(tx for mine in sent for tx in mine)
            for peer, mine in enumerate(sent):
                own = [event for event in events if event.creator == net.engines[peer].public]
                assert transactions(own) == mine, "a peer's transactions out of their order"
        shortest = min(map(len, streams))
        for events in streams:
            # Equal in every field: messages compare all of them.
            assert events[:shortest] == streams[0][:shortest]
        assert {event.creator for event in streams[0]} <= {peer.public for peer in net.peers}


async def test_the_consensus_time_is_about_now() -> None:
    import time

    async with cluster(4) as net:
        before = time.time_ns()
        receipt = await net.engines[0].submit(b"x")
        assert before - 1e9 < receipt.consensus_at < time.time_ns() + 1e9


@pytest.mark.parametrize("n", [1, 2, 4])
async def test_receipts_point_at_the_right_place(n: int) -> None:
    async with cluster(n) as net:
        sent = [
            (engine, b"%d of %d" % (number, peer)) for peer, engine in enumerate(net.engines) for number in range(20)
        ]
        receipts: list[Receipt] = await asyncio.gather(*(engine.submit(tx) for engine, tx in sent))
        assert len({(receipt.index, receipt.position) for receipt in receipts}) == len(sent)
        last = max(receipt.index for receipt in receipts)
        for reader in net.engines:
            events = await read(reader, lambda events: len(events) > last)
            for (sender, tx), receipt in zip(sent, receipts, strict=True):
                event = events[receipt.index]
                assert event.transaction(receipt.position) == tx
                assert (event.creator, event.hash, event.consensus_at) == (
                    sender.public,
                    receipt.hash,
                    receipt.consensus_at,
                )


async def test_every_kind_of_bytes_is_sent_as_it_was_at_the_call() -> None:
    async with cluster(1) as net:
        (engine,) = net.engines
        filled = Transaction.allocate(3)
        filled[:] = b"abc"
        await engine.send_transaction(filled)
        filled[:] = b"xyz"
        await engine.send_transaction(bytearray(b"array"))
        await engine.send_transaction(memoryview(b"-view-")[1:5])
        await engine.send_transaction(b"")
        engine.try_send_transaction(b"tried")
        events = await read_transactions(engine, 5)
        assert transactions(events) == [b"abc", b"array", b"view", b"", b"tried"]
        assert all(type(tx) is bytes for tx in transactions(events))


async def test_the_largest_transaction_and_one_more() -> None:
    network = Network(max_payload_bytes=2048)
    async with cluster(1, network=network) as net:
        (engine,) = net.engines
        largest = bytes(network.max_transaction_bytes)
        assert len(largest) == 2044
        receipt = await engine.submit(largest)
        events = await read(engine, lambda events: len(events) > receipt.index)
        assert events[-1].transactions == (largest,)
        for send in (engine.send_transaction, engine.submit):
            with pytest.raises(TransactionTooLarge, match=r"2045 bytes.*up to 2044.*split it"):
                await send(bytes(2045))
        with pytest.raises(TransactionTooLarge):
            engine.try_send_transaction(bytes(2045))
        assert engine.status().unacknowledged_bytes == 0


# Sending while there is no room


@pytest.fixture
def alone() -> Callable[[Options], Any]:
    """A network of two of which only one runs yet: nothing that it sends can go into an event."""
    return lambda options: cluster(2, 1, options=options)


async def test_send_waits_while_the_queue_is_full_and_goes_on(alone: Callable[[Options], Any]) -> None:
    async with alone(Options(transaction_channel_size=4)) as net:
        engine = net.engines[0]
        for number in range(4):
            await engine.send_transaction(b"%d" % number)
        fifth = asyncio.ensure_future(engine.send_transaction(b"4"))
        sixth = asyncio.ensure_future(engine.submit(b"5"))
        await cycles()
        assert not fifth.done()
        assert not sixth.done()
        assert engine.status().consensus.queued_transactions == 4
        with pytest.raises(QueueFull, match=r"4 transactions are queued \(limit 4\).*await send_transaction"):
            engine.try_send_transaction(b"no")
        await net.start(1)
        await asyncio.wait_for(fifth, DEADLINE_S)
        await asyncio.wait_for(sixth, DEADLINE_S)
        assert transactions(await read_transactions(engine, 6)) == [b"%d" % number for number in range(6)]


async def test_send_waits_while_too_much_is_not_final(alone: Callable[[Options], Any]) -> None:
    async with alone(Options(max_unacknowledged_bytes=1000)) as net:
        engine = net.engines[0]
        await engine.send_transaction(bytes(900))
        assert engine.status().unacknowledged_bytes == 900
        large = asyncio.ensure_future(engine.send_transaction(b"L" * 1000))
        await cycles()
        small = asyncio.ensure_future(engine.send_transaction(b"small"))
        await cycles()
        assert not large.done()
        assert not small.done(), "a small one passed a large one"
        with pytest.raises(QueueFull, match=r"900 bytes are not final \(limit 1000\)"):
            engine.try_send_transaction(b"")
        with pytest.raises(TransactionTooLarge, match=r"1001 bytes: Options.max_unacknowledged_bytes is 1000"):
            await engine.send_transaction(bytes(1001))
        await net.start(1)
        await asyncio.wait_for(asyncio.gather(large, small), DEADLINE_S)
        events = await read_transactions(engine, 3)
        assert transactions(events) == [bytes(900), b"L" * 1000, b"small"]
        assert engine.status().unacknowledged_bytes == 0


async def test_a_thousand_waiting_senders_all_get_through_in_order() -> None:
    async with cluster(2, options=Options(transaction_channel_size=7)) as net:
        engine = net.engines[0]
        sent = [b"%04d" % number for number in range(1000)]
        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
            for tx in sent:
                group.create_task(engine.send_transaction(tx))
            events = await read_transactions(engine, len(sent))
        assert transactions(events) == sent


# Cancelling


async def test_a_cancelled_send_has_not_sent(alone: Callable[[Options], Any]) -> None:
    async with alone(Options(transaction_channel_size=1)) as net:
        engine = net.engines[0]
        await engine.send_transaction(b"first")
        waiting = [
            asyncio.ensure_future(make)
            for make in (
                engine.send_transaction(b"cancelled"),
                engine.submit(b"cancelled, too"),
                engine.send_transaction(b"last"),
            )
        ]
        await cycles()
        for task in waiting[:2]:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await net.start(1)
        await asyncio.wait_for(waiting[2], DEADLINE_S)
        await engine.submit(b"end")
        assert transactions(await read_transactions(engine, 3)) == [b"first", b"last", b"end"]


async def test_a_submit_that_was_cancelled_after_it_sent_was_sent_all_the_same(
    alone: Callable[[Options], Any],
) -> None:
    async with alone(Options()) as net:
        engine = net.engines[0]
        task = asyncio.ensure_future(engine.submit(b"sent"))
        await cycles()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await net.start(1)
        assert transactions(await read_transactions(engine, 1)) == [b"sent"]
        assert not engine._outbox.receipts


async def test_a_cancelled_recv_loses_no_message(seed: int) -> None:
    rng = random.Random(seed)
    async with cluster(2) as net:
        sender, receiver = net.engines
        got: list[Event] = []
        count = 400
        finished = False

        async def receive() -> None:
            while True:
                message = await receiver.recv_message()
                assert message is not None
                got.append(message)

        async def receive_in_a_hurry() -> None:
            # On Python 3.11 wait_for swallows a cancellation that comes together with its result.
            while not finished:
                with contextlib.suppress(TimeoutError):
                    # Whatever wait_for returns was received; whatever it cancels must have taken nothing.
                    message = await asyncio.wait_for(receiver.recv_message(), rng.choice([0, 1e-5, 1e-4, 1e-3]))
                    assert message is not None
                    got.append(message)
                await asyncio.sleep(0)

        async def send() -> None:
            for number in range(count):
                await sender.send_transaction(b"%d" % number)
                await cycles(rng.randrange(4))

        sending = asyncio.ensure_future(send())
        hurry = [asyncio.ensure_future(receive_in_a_hurry()) for _ in range(2)]
        readers: list[asyncio.Task[None]] = []
        async with asyncio.timeout(DEADLINE_S):
            while sum(event.transaction_count for event in got) < count:
                if len(readers) < 3:
                    readers.append(asyncio.ensure_future(receive()))
                await cycles(rng.randrange(3))
                if readers and rng.random() < 0.5:
                    readers.pop(rng.randrange(len(readers))).cancel()
        await sending
        finished = True
        for task in (*readers, *hurry):
            task.cancel()
        await asyncio.gather(*readers, *hurry, return_exceptions=True)
        check_stream(sorted(got, key=lambda event: event.index))
        assert len(transactions(got)) == count


async def test_several_readers_share_the_messages() -> None:
    async with cluster(1) as net:
        (engine,) = net.engines
        readers = [asyncio.ensure_future(engine.recv_message()) for _ in range(3)]
        await cycles()
        for number in range(3):
            await engine.submit(b"%d" % number)
        async with asyncio.timeout(DEADLINE_S):
            messages = [await reader for reader in readers]
        assert [message.index for message in messages if message is not None] == [0, 1, 2]


async def test_async_for_can_be_left_and_taken_up_again() -> None:
    async with cluster(1) as net:
        (engine,) = net.engines
        indices = []
        for number in range(3):
            await engine.submit(b"%d" % number)
            async for message in engine:
                indices.append(message.index)
                break
        assert indices == [0, 1, 2]


# Stopping


async def test_what_was_delivered_before_the_end_can_still_be_received() -> None:
    async with cluster(1) as net:
        (engine,) = net.engines
        for number in range(5):
            await engine.submit(b"%d" % number)
        await engine.stop()
        assert engine.status().unread_messages >= 5
        first = await engine.recv_message()
        assert first is not None
        rest = [message async for message in engine]
        assert transactions([first, *rest]) == [b"0", b"1", b"2", b"3", b"4"]
        assert await engine.recv_message() is None
        assert await engine.recv_message() is None
        assert [message async for message in engine] == []


async def test_readers_end_when_the_engine_stops() -> None:
    async with cluster(2, 1) as net:
        (engine,) = net.engines

        async def loop() -> str:
            async for _ in engine:
                raise AssertionError("nothing can be final")
            return "ended"

        readers = [asyncio.ensure_future(engine.recv_message()) for _ in range(3)]
        loops = [asyncio.ensure_future(loop()) for _ in range(2)]
        await cycles()
        await engine.stop()
        async with asyncio.timeout(DEADLINE_S):
            assert await asyncio.gather(*readers) == [None] * 3
            assert await asyncio.gather(*loops) == ["ended"] * 2


async def test_stop_twice_at_once_and_again() -> None:
    async with cluster(2) as net:
        engine = net.engines[0]
        await asyncio.gather(engine.stop(), engine.stop(), engine.stop())
        await engine.stop()
        assert engine.status().stopped
        assert "stopped" in repr(engine)
        assert not net.engines[1].status().stopped
        assert "running" in repr(net.engines[1])


async def test_stop_from_inside_of_the_message_loop() -> None:
    async with cluster(2) as net:
        engine = net.engines[0]
        await engine.send_transaction(b"stop")
        seen: list[bytes] = []
        async with asyncio.timeout(DEADLINE_S):
            async for message in engine:
                seen += message.transactions
                if b"stop" in message.transactions:
                    await engine.stop()
        assert b"stop" in seen


async def test_a_cancelled_stop_stops_all_the_same() -> None:
    before = asyncio.all_tasks()
    async with Context() as context, cluster(1, context=context) as net:
        slow_down(net.engines[0])
        stop = asyncio.ensure_future(net.engines[0].stop())
        await asyncio.sleep(0)
        stop.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stop
    # The context has waited for the stop that nobody waited for.
    assert asyncio.all_tasks() == before


def slow_down(engine: Engine) -> None:
    """Make it take its time to stop."""
    plain = engine._driver.stop

    async def stop() -> None:
        await cycles(200)
        await plain()

    engine._driver.stop = stop  # type: ignore[method-assign]


async def test_an_engine_is_a_context_manager() -> None:
    async with cluster(1) as net:
        async with net.engines[0] as engine:
            await engine.submit(b"x")
        assert engine.status().stopped


async def test_sending_after_the_end_says_so(alone: Callable[[Options], Any]) -> None:
    async with alone(Options(transaction_channel_size=2)) as net:
        engine = net.engines[0]
        pending = asyncio.ensure_future(engine.submit(b"never final"))
        await cycles()
        await engine.send_transaction(b"fills the queue")
        waiting = asyncio.ensure_future(engine.send_transaction(b"waits"))
        also = asyncio.ensure_future(engine.submit(b"waits, too"))
        await cycles()
        await engine.stop()
        with pytest.raises(EngineStopped, match="was stopped before the transaction was final"):
            await pending
        for task in (waiting, also):
            with pytest.raises(EngineStopped, match="start another one"):
                await task
        for send in (engine.send_transaction, engine.submit):
            with pytest.raises(EngineStopped, match=r"the engine was stopped and takes no more.*start another one"):
                await send(b"x")
        with pytest.raises(EngineStopped):
            engine.try_send_transaction(b"x")


async def test_a_context_stops_all_that_is_in_it() -> None:
    before = asyncio.all_tasks()
    async with cluster(4) as net:
        await net.engines[0].submit(b"x")
        spare = await Socket.bind(net.context, "127.0.0.1:0")
    assert all(engine.status().stopped for engine in net.engines)
    assert asyncio.all_tasks() == before
    async with Context() as context:
        for address in (*net.addresses, spare.address):  # all are free again
            await Socket.bind(context, address)
        with pytest.raises(ContextError, match="closed: make a new one"):
            await Socket.bind(net.context, "127.0.0.1:0")
    await context.close()


async def test_a_context_belongs_to_one_loop() -> None:
    async with Context() as context:
        await Socket.bind(context, "127.0.0.1:0")

        async def elsewhere() -> None:
            with pytest.raises(ContextError, match="another event loop: make one context per loop"):
                await Socket.bind(context, "127.0.0.1:0")
            with pytest.raises(ContextError):
                await context.__aenter__()

        await asyncio.to_thread(asyncio.run, elsewhere())


async def test_contexts_are_independent() -> None:
    async with (
        Context() as one,
        Context(core="python") as two,
        cluster(2, context=one) as left,
        cluster(2, context=two) as right,
    ):
        await left.engines[0].submit(b"left")
        await right.engines[1].submit(b"right")
        await one.close()
        assert left.engines[0].status().stopped
        await right.engines[0].submit(b"goes on")
        assert b"left" not in transactions(await read_transactions(right.engines[0], 2))


async def test_a_context_that_closes_during_a_bind_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = world_module._look_up

    async def slowly(*args: Any) -> Any:
        await context.close()
        return await plain(*args)

    monkeypatch.setattr(world_module, "_look_up", slowly)
    context = Context()
    with pytest.raises(ContextError, match="closed"):
        await Socket.bind(context, "127.0.0.1:0")


async def test_a_cancelled_start_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = asyncio.all_tasks()
    async with cluster(2, 0) as net:
        for waits in range(1, 6):
            socket = await Socket.bind(net.context, "127.0.0.1:0")
            task = asyncio.ensure_future(Engine.start(net.context, socket, Options(), net.secrets[0], net.peers))
            await cycles(waits)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                engine = await task
                await engine.stop()
            await socket.close()
            async with Context() as other:
                await Socket.bind(other, socket.address)
    assert asyncio.all_tasks() == before


# Looking


async def test_status_and_active_creators() -> None:
    async with cluster(4, 3, options=Options(heartbeat_us=50_000)) as net:
        engine = net.engines[0]
        assert engine.status().consensus.own_round == 0
        assert engine.active_creators() == ()
        await engine.submit(b"four bytes")
        await until(engine, lambda: len(engine.status().linked) == 2)
        status = engine.status()
        assert not status.stopped
        assert set(status.linked) == {other.public for other in net.engines[1:]}
        assert status.refusals == {}
        assert (status.unacknowledged_bytes, status.dropped_frames) == (0, 0)
        assert status.unread_messages > 0
        assert status.core == net.context.core
        assert status.core.hash in ("native", "blake3", "python")
        consensus = status.consensus
        assert consensus.peers == 4
        assert consensus.has_quorum
        assert consensus.halted is None
        assert consensus.delivered == status.unread_messages
        assert consensus.creator == net.peers.index(engine.public)
        assert consensus.rejects == {}
        events = await read(engine, lambda events: len(events) == status.unread_messages)
        assert (events[-1].order_hash, events[-1].consensus_at) == (consensus.order_hash, consensus.consensus_at)
        assert engine.status().unread_messages == 0
        assert set(engine.active_creators()) == {other.public for other in net.engines}
        assert engine.network == net.network
        assert engine.public == net.secrets[0].public()


async def test_whoever_falls_behind_is_active_no_more() -> None:
    async with cluster(4) as net:
        readers = [asyncio.ensure_future(read(engine, lambda _: False)) for engine in net.engines]
        try:
            await net.engines[0].submit(b"x")
            gone = net.engines[3].public
            await until(net.engines[0], lambda: gone in net.engines[0].active_creators())
            await net.engines[3].stop()
            for number in range(40):
                await net.engines[number % 3].submit(b"%d" % number)
            assert gone not in net.engines[0].active_creators()
            assert len(net.engines[0].active_creators()) == 3
            assert gone not in net.engines[0].status().linked
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)


async def test_peers_of_different_networks_say_what_is_wrong(caplog: pytest.LogCaptureFixture) -> None:
    async with cluster(2, 0) as net:
        await net.start(0)
        net.network = Network(name="another")
        await net.start(1)
        dialler = min(net.engines, key=lambda engine: engine.public)
        other = next(engine for engine in net.engines if engine is not dialler)
        transport = dialler._driver.transport
        assert transport is not None
        refused = asyncio.Event()
        plain = transport.refused

        def note(*args: Any) -> None:
            plain(*args)
            refused.set()

        transport.refused = note  # type: ignore[assignment,method-assign]
        await asyncio.wait_for(refused.wait(), DEADLINE_S)
        advice = dialler.status().refusals
        assert list(advice) == [other.public]
        assert "network settings" in advice[other.public]
        assert advice[other.public] in caplog.text
        assert not dialler.status().consensus.has_quorum


@pytest.mark.parametrize("n", [2, 3])
async def test_so_few_peers_tolerate_no_fault_and_say_so(n: int, caplog: pytest.LogCaptureFixture) -> None:
    async with cluster(n, 1):  # Q2
        assert f"{n} peers with f = 0 tolerate no fault at all; 4 tolerate one" in caplog.text


@pytest.mark.parametrize("n", [1, 4])
async def test_one_peer_and_four_need_no_such_warning(n: int, caplog: pytest.LogCaptureFixture) -> None:
    async with cluster(n, 1):  # Q2
        assert "tolerate" not in caplog.text


# Losing peers


async def test_three_of_four_go_on_without_the_fourth() -> None:
    async with cluster(4) as net:
        await asyncio.gather(*(engine.submit(b"before") for engine in net.engines))
        await net.engines[2].stop()
        left = [net.engines[number] for number in (0, 1, 3)]
        await asyncio.gather(*(engine.submit(b"after") for engine in left))
        streams = await asyncio.gather(*(read_transactions(engine, 7) for engine in left))
        shortest = min(map(len, streams))
        assert all(events[:shortest] == streams[0][:shortest] for events in streams)
        check_stream(streams[0])


async def test_who_comes_late_receives_the_whole_stream() -> None:  # F3
    async with cluster(4, 3) as net:
        for number in range(20):
            await net.engines[number % 3].submit(b"%d" % number)
        late = await net.start(3)
        streams = [await read_transactions(engine, 20) for engine in net.engines]
        assert streams[3] == streams[0]
        await late.submit(b"late")


async def test_a_key_that_starts_again_without_its_journal_asks_the_others() -> None:  # R2
    async with cluster(4) as net:
        await asyncio.gather(*(engine.submit(b"before") for engine in net.engines))
        signed = net.engines[0].status().consensus.own_round
        await net.engines[0].stop()
        socket = await Socket.bind(net.context, net.addresses[0])
        again = await Engine.start(net.context, socket, Options(), net.secrets[0], net.peers)
        await asyncio.wait_for(again.submit(b"again"), DEADLINE_S)
        status = again.status().consensus
        assert (status.halted, status.recovering) == (None, False)
        assert status.own_round > signed
        others = net.engines[1:]
        await asyncio.gather(*(engine.submit(b"after") for engine in others))
        streams = [await read_transactions(engine, 8) for engine in (again, *others)]
        for engine, stream in zip((again, *others), streams, strict=True):
            assert engine.status().consensus.equivocators == (), "it signed a second event for a slot"
            assert [event.index for event in stream] == list(range(len(stream)))  # its rounds have a gap, though (R3)
            assert transactions(stream).count(b"again") == 1
            shortest = min(len(stream), len(streams[0]))
            assert stream[:shortest] == streams[0][:shortest]


async def test_an_event_that_was_not_sent_to_a_peer_is_fetched_from_others() -> None:  # F1
    async with cluster(4) as net:
        dumb, deaf = net.engines[0], net.engines[3]
        links, other = dumb._driver.transport, deaf._driver.transport
        assert links is not None
        assert other is not None
        shunned = net.peers.index(deaf.public)
        own = net.peers.index(dumb.public)
        requests: list[int] = []
        send = other.send

        def broadcast(frame: bytes) -> None:
            for peer in range(4):
                if peer not in (own, shunned):
                    links.send(peer, frame)

        def note(peer: int, frame: bytes) -> None:
            if frame[0] == FrameType.REQUEST:
                requests.append(peer)
            send(peer, frame)

        links.broadcast = broadcast  # type: ignore[method-assign]
        other.send = note  # type: ignore[method-assign]
        for number in range(10):
            await dumb.submit(b"%d" % number)
        streams = [await read_transactions(engine, 10) for engine in (dumb, deaf)]
        shortest = min(map(len, streams))
        assert streams[0][:shortest] == streams[1][:shortest]
        assert requests, "it asked nobody"


async def test_an_event_is_sent_when_it_is_durable_and_no_sooner(monkeypatch: pytest.MonkeyPatch) -> None:  # P7, J1
    waiting: list[Callable[[], None]] = []

    class Slow(MemoryStorage):
        def persist(self, records: Sequence[bytes], durable: Callable[[], None]) -> None:
            waiting.append(durable)

    async with cluster(4, 3) as net:
        monkeypatch.setattr(world_module, "MemoryStorage", Slow)
        slow = await net.start(3)
        pending = asyncio.ensure_future(slow.submit(b"slow"))
        for number in range(20):
            await net.engines[number % 3].submit(b"%d" % number)
        assert len(waiting) == 1, "a second event while the first is not durable"
        for engine in net.engines[:3]:
            assert slow.public not in {event.creator for event in await read_transactions(engine, 20)}
            assert engine.status().consensus.frontier[net.peers.index(slow.public)] == 0
        assert slow.status().consensus.own_round == 0
        monkeypatch.setattr(Slow, "persist", lambda self, records, durable: durable())
        waiting.pop()()
        await asyncio.wait_for(pending, DEADLINE_S)


# Standing still


async def test_who_does_not_read_stands_still_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "MAX_UNREAD_MESSAGES", 10)
    async with cluster(4) as net:
        lazy, *diligent = net.engines
        total = 60
        await lazy.submit(b"it takes part")

        async def send() -> None:
            for number in range(total):
                await diligent[number % 3].submit(b"%d" % number)

        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
            group.create_task(send())
            reads = [group.create_task(read_transactions(engine, total + 1)) for engine in diligent]
        streams = [task.result() for task in reads]
        unread = lazy.status().unread_messages
        assert lazy._driver._paused
        assert 10 < unread < 10 + 60, "one more delivery at most"
        assert unread < len(streams[0])
        # The others must be read on: with this limit they would soon stand still as well, and no quorum be left.
        readers = [asyncio.ensure_future(read(engine, lambda _: False)) for engine in diligent]
        late = await read_transactions(lazy, total + 1)
        shortest = min(len(late), len(streams[0]))
        assert late[:shortest] == streams[0][:shortest]
        check_stream(late)
        await read_while(lazy, lazy.submit(b"it takes part again"))
        for reader in readers:
            reader.cancel()


async def read_while(engine: Engine, wait: Any) -> None:
    """Read and drop messages while something else is awaited."""
    reader = asyncio.ensure_future(read(engine, lambda _: False))
    try:
        await asyncio.wait_for(wait, DEADLINE_S)
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


async def test_large_messages_count_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "MAX_UNREAD_BYTES", 10_000)
    async with cluster(1) as net:
        (engine,) = net.engines
        sent = [bytes([number]) * 3000 for number in range(20)]
        for tx in sent:
            await engine.send_transaction(tx)
            await cycles()
        await until(engine, lambda: engine._driver._paused)
        assert engine.status().unread_messages > 0
        assert transactions(await read_transactions(engine, 20)) == sent
        assert engine._stream._live_bytes == 0
        await engine.submit(b"goes on")


# Failing


class Failing(MemoryStorage):
    """A store that fails where it is told to."""

    def __init__(self, where: str, error: Exception, after: int = 0) -> None:
        self.where, self.error, self.after = where, error, after
        self.persists = 0

    async def load(self, user: StorageUser) -> Loaded:
        if self.where == "load":
            raise self.error
        return Loaded(records=[b"no record"] if self.where == "record" else ())

    def persist(self, records: Sequence[bytes], durable: Callable[[], None]) -> None:
        self.persists += 1
        if self.where == "persist" and self.persists > self.after:
            raise self.error
        durable()

    async def close(self) -> None:
        if self.where == "close":
            raise self.error


def with_store(monkeypatch: pytest.MonkeyPatch, store: Failing) -> None:
    monkeypatch.setattr(world_module, "MemoryStorage", lambda settings: store)


async def test_a_store_that_fails_stops_the_engine_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    error = StorageError("the disk is full")
    async with cluster(4, 0) as net:
        for number in range(3):
            await net.start(number)
        with_store(monkeypatch, Failing("persist", error, after=5))
        engine = await net.start(3)
        reader = asyncio.ensure_future(read(engine, lambda _: False))

        async def submit() -> None:
            while True:
                await engine.submit(b"x")

        with pytest.raises(EngineStopped, match=r"failed \(the disk is full\)") as raised:
            await asyncio.wait_for(submit(), DEADLINE_S)
        assert raised.value.__cause__ is error
        with pytest.raises(EngineStopped, match="the disk is full") as raised:
            await reader
        assert raised.value.__cause__ is error
        for call in (engine.recv_message(), engine.send_transaction(b"x")):
            with pytest.raises(EngineStopped, match="the disk is full"):
                await call
        assert engine.status().stopped
        await engine.stop()
        await asyncio.gather(*(other.submit(b"others go on") for other in net.engines[:3]))


async def test_messages_before_a_failure_can_still_be_received(monkeypatch: pytest.MonkeyPatch) -> None:
    with_store(monkeypatch, Failing("persist", StorageError("full"), after=20))
    async with cluster(1) as net:
        (engine,) = net.engines
        got: list[bytes] = []

        async def submit() -> None:
            for number in range(100):
                await engine.submit(b"%d" % number)

        async def receive() -> None:
            async for message in engine:
                got.extend(message.transactions)

        with pytest.raises(EngineStopped):
            await submit()
        with pytest.raises(EngineStopped):
            await receive()
        assert got == [b"%d" % number for number in range(len(got))]
        assert got


@pytest.mark.parametrize(
    ("where", "error", "kind"),
    [
        ("load", StorageError("cannot be read"), StorageError),
        ("record", StorageError("not raised"), CorruptError),
    ],
)
async def test_a_store_that_cannot_be_read_fails_the_start(
    where: str, error: Exception, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_store(monkeypatch, Failing(where, error))
    before = asyncio.all_tasks()
    async with cluster(2, 0) as net:
        with pytest.raises(kind):
            await net.start(0)
        assert asyncio.all_tasks() == before
        await Socket.bind(net.context, net.addresses[0])  # it is free again


async def test_a_store_that_cannot_be_closed_is_reported_and_the_rest_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = asyncio.all_tasks()
    context = Context()
    async with cluster(2, 0, context=context) as net:
        with_store(monkeypatch, Failing("close", StorageError("cannot be closed")))
        await net.start(0)
        monkeypatch.undo()
        other = await net.start(1)
        slow_down(other)
        with pytest.raises(StorageError, match="cannot be closed"):
            await context.close()
        assert other.status().stopped
        assert asyncio.all_tasks() == before
        async with Context() as again:
            for address in net.addresses:
                await Socket.bind(again, address)


async def test_a_machine_with_a_bug_stops_the_engine(core: str) -> None:
    async with Context(core=core) as context, cluster(1, context=context) as net:
        (engine,) = net.engines
        await engine.submit(b"x")
        rounds = engine.status().consensus.closed_round
        with pytest.raises(AssertionError, match="nothing was being persisted"):
            engine._driver.machine.step(engine._driver._clock.now(), [Persisted(10**9)])
        with pytest.raises(EngineStopped, match="nothing was being persisted") as raised:
            await asyncio.wait_for(engine.submit(b"y"), DEADLINE_S)
        assert isinstance(raised.value.__cause__, AssertionError)
        # It can still be looked at.
        consensus = engine.status().consensus
        assert "nothing was being persisted" in str(consensus.halted)
        assert consensus.closed_round >= rounds


async def test_a_halt_ends_the_waits_of_senders_not_the_stream(alone: Callable[[Options], Any]) -> None:
    async with alone(Options(transaction_channel_size=1)) as net:
        engine = net.engines[0]
        pending = asyncio.ensure_future(engine.submit(b"a"))
        await cycles()
        waiting = asyncio.ensure_future(engine.send_transaction(b"b"))
        reader = asyncio.ensure_future(engine.recv_message())
        await cycles()
        engine._driver._carry_out(Halted("a reason"), 0)
        for task in (pending, waiting):
            with pytest.raises(EngineStopped, match="this peer has halted \\(a reason\\)"):
                await asyncio.wait_for(task, DEADLINE_S)
        await cycles()
        assert not reader.done()
        await engine.stop()
        assert await reader is None


FORGETFUL = """
import asyncio
from syncpoint import Context, Engine, KeySecret, Options, Peers, Socket

async def main():
    context = Context()
    secrets = [KeySecret.generate() for _ in range(3)]
    sockets = [await Socket.bind(context, "127.0.0.1:0") for _ in secrets]
    peers = Peers()
    for socket, secret in zip(sockets, secrets):
        peers.insert(socket.address, secret.public())
    engines = [await Engine.start(context, s, Options(), k, peers) for s, k in zip(sockets, secrets)]
    await engines[0].submit(b"x")
    waits = [asyncio.ensure_future(engines[1].recv_message()), asyncio.ensure_future(engines[2].submit(b"y"))]
    async for message in engines[0]:
        break
    print(message.index)

asyncio.run(main())
"""


def test_who_forgets_to_stop_gets_no_surprise() -> None:
    done = subprocess.run([sys.executable, "-c", FORGETFUL], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "0\n")
    lines = [line for line in done.stderr.splitlines() if "tolerate no fault" not in line]
    assert lines == []


async def test_a_dropped_engine_keeps_nothing_alive_once_it_is_stopped() -> None:
    import weakref

    async with cluster(1) as net:
        engine = net.engines.pop()
        await engine.submit(b"x")
        await engine.stop()
        gone = weakref.ref(engine)
        del engine
        await cycles()
        gc.collect()
        assert gone() is None
