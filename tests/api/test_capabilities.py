"""What the capabilities of a peer do to its engine."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

import pytest

from syncpoint import (
    ArgumentError,
    Context,
    Engine,
    KeySecret,
    Network,
    ObserverError,
    Options,
    PeerCapabilities,
    Peers,
    QueueFull,
    Socket,
)
from syncpoint import stream as stream_module

from .cluster import DEADLINE_S, cycles, read_transactions, transactions, until

OBSERVER = PeerCapabilities(no_order=True)
SILENT = PeerCapabilities(no_logic=True)


@contextlib.asynccontextmanager
async def network(*capabilities: PeerCapabilities, cores: tuple[str, ...] = ("python",)) -> AsyncIterator[list[Engine]]:
    """Engines with these capabilities, in this order, on loopback; cores in turn."""
    async with contextlib.AsyncExitStack() as stack:
        contexts = [await stack.enter_async_context(Context(core=core)) for core in cores]
        context_of = [context for context, _ in zip(itertools.cycle(contexts), capabilities, strict=False)]
        secrets = [KeySecret.generate() for _ in capabilities]
        sockets = [await Socket.bind(context, "127.0.0.1:0") for context in context_of]
        peers = Peers()
        for socket, secret, of_peer in zip(sockets, secrets, capabilities, strict=True):
            peers.insert(socket.address, secret.public(), of_peer)
        engines = [
            await Engine.start(context, socket, Options(), secret, peers)
            for context, socket, secret in zip(context_of, sockets, secrets, strict=True)
        ]
        yield engines


# -- no_order ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cores", [("python",), pytest.param(("native", "python"), marks=pytest.mark.native)])
async def test_an_observer_receives_what_four_members_agree_on(cores: tuple[str, ...]) -> None:  # Q4
    # The observer is the third, so that its number is not its place.
    members = [PeerCapabilities()] * 2
    async with network(*members, OBSERVER, *members, cores=cores) as engines:
        observer = engines[2]
        sent = [b"%d of %d" % (number, peer) for peer in (0, 1, 3, 4) for number in range(20)]
        for number, transaction in enumerate(sent):
            await engines[(0, 1, 3, 4)[number // 20]].send_transaction(transaction)
        streams = [await read_transactions(engine, len(sent)) for engine in engines]
        shortest = min(map(len, streams))
        assert len({tuple(event.order_hash for event in stream[:shortest]) for stream in streams}) == 1
        assert sorted(transactions(streams[2])) == sorted(sent)
        keys = {engine.public for engine in engines} - {observer.public}
        assert {event.creator for stream in streams for event in stream} == keys
        for engine in engines:
            await until(engine, lambda engine=engine: len(engine.status().linked) == 4)  # type: ignore[misc]
            status = engine.status()
            assert set(status.linked) == {each.public for each in engines} - {engine.public}
            assert status.consensus.peers == 4
            assert status.consensus.has_quorum
            assert set(engine.active_creators()) == keys
        assert observer.status().consensus.creator is None
        assert observer.status().consensus.own_events == 0


async def test_an_observer_sends_nothing_and_says_so() -> None:
    async with network(PeerCapabilities(), OBSERVER) as engines:
        with pytest.raises(ObserverError, match=r"is an observer \(no_order\), and sends nothing: use a peer that"):
            await engines[1].send_transaction(b"a")
        with pytest.raises(ObserverError, match="observer"):
            engines[1].try_send_transaction(b"a")
        with pytest.raises(ObserverError, match="observer"):
            await engines[1].submit(b"a")
        await engines[0].submit(b"b")
        assert transactions(await read_transactions(engines[1], 1)) == [b"b"]


async def test_the_network_goes_on_without_its_observers() -> None:
    members = [PeerCapabilities()] * 4
    async with network(*members, OBSERVER, OBSERVER) as engines:
        for engine in engines[4:]:
            await engine.stop()
        async with asyncio.timeout(DEADLINE_S):
            await engines[0].submit(b"without them")


@pytest.mark.parametrize(
    ("capabilities", "f", "text"),
    [
        ([OBSERVER] * 2, None, "none of 2 peers takes part in ordering"),
        ([PeerCapabilities()] * 3 + [OBSERVER] * 2, 1, "f = 1 liars among 3 peers that order: 0 to 0 can be tolerated"),
    ],
)
async def test_a_network_that_cannot_order_is_an_error_at_the_start(
    capabilities: list[PeerCapabilities], f: int | None, text: str
) -> None:
    peers, secrets = Peers(), [KeySecret.generate() for _ in capabilities]
    async with Context(core="python") as context:
        socket = await Socket.bind(context, "127.0.0.1:0")
        for number, (secret, of_peer) in enumerate(zip(secrets, capabilities, strict=True)):
            peers.insert(f"127.0.0.1:{number + 1}", secret.public(), of_peer)
        with pytest.raises(ArgumentError, match=text):
            await Engine.start(context, socket, Options(), secrets[0], peers, network=Network(f=f))


# -- no_logic ---------------------------------------------------------------------------------------------


async def test_a_peer_without_logic_never_stands_still_and_gets_receipts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "MAX_UNREAD_MESSAGES", 5)
    async with network(SILENT) as engines:
        engine = engines[0]
        waiting = asyncio.create_task(engine.recv_message())
        async with asyncio.timeout(DEADLINE_S):
            receipts = [await engine.submit(b"%d" % number) for number in range(30)]
        indices = [receipt.index for receipt in receipts]
        assert indices == sorted(set(indices))
        status = engine.status()
        assert status.unread_messages == 0
        assert status.unacknowledged_bytes == 0
        assert status.consensus.delivered > 30
        await cycles()
        assert not waiting.done()
        await engine.stop()
        assert await waiting is None
        assert await engine.recv_message() is None


async def test_a_peer_without_logic_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "MAX_UNREAD_MESSAGES", 5)
    async with network(PeerCapabilities(), SILENT, SILENT, PeerCapabilities()) as engines:
        await engines[1].send_transaction(b"from one without")
        with contextlib.suppress(QueueFull):
            engines[0].try_send_transaction(b"from one with")
        ours, theirs = [await read_transactions(engines[number], 2) for number in (0, 3)]
        assert transactions(ours) == transactions(theirs)
