"""Whole networks of engines in one process and one event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from syncpoint import (
    Context,
    Engine,
    Event,
    KeySecret,
    Message,
    Network,
    Options,
    PeerCapabilities,
    Peers,
    Socket,
)

DEADLINE_S = 30.0  # of any wait: a test that needs it has failed


@dataclass
class Cluster:
    """Peers of one network, of which some run."""

    context: Context
    network: Network
    options: Options
    secrets: list[KeySecret]
    addresses: list[str]
    peers: Peers
    sockets: list[Socket]
    engines: list[Engine] = field(default_factory=list)

    async def start(self, number: int, *, joining: bool = False) -> Engine:
        """Start the next peer."""
        assert number == len(self.engines)
        engine = await Engine.start(
            self.context,
            self.sockets[number],
            self.options,
            self.secrets[number],
            self.peers,
            joining,
            network=self.network,
        )
        self.engines.append(engine)
        return engine


@contextlib.asynccontextmanager
async def cluster(
    n: int,
    started: int | None = None,
    *,
    options: Options | None = None,
    network: Network | None = None,
    context: Context | None = None,
    capabilities: Sequence[PeerCapabilities] | None = None,
) -> AsyncIterator[Cluster]:
    """A network of n peers; the first `started` of them (default all) run, and all are stopped in the end."""
    async with contextlib.AsyncExitStack() as stack:
        if context is None:
            context = await stack.enter_async_context(Context())
        secrets = [KeySecret.generate() for _ in range(n)]
        sockets = [await Socket.bind(context, "127.0.0.1:0") for _ in range(n)]
        peers = Peers()
        for number, (socket, secret) in enumerate(zip(sockets, secrets, strict=True)):
            flags = PeerCapabilities() if capabilities is None else capabilities[number]
            peers.insert(socket.address, secret.public(), flags)
        made = Cluster(
            context,
            network or Network(),
            options or Options(),
            secrets,
            [socket.address for socket in sockets],
            peers,
            sockets,
        )
        for number in range(n if started is None else started):
            await made.start(number)
        yield made


async def read_all(engine: Engine, enough: Callable[[list[Message]], bool]) -> list[Message]:
    """The engine's stream until there is enough of it."""
    messages: list[Message] = []
    async with asyncio.timeout(DEADLINE_S):
        while not enough(messages):
            message = await engine.recv_message()
            assert message is not None, "the stream ended"
            messages.append(message)
    return messages


async def read(engine: Engine, enough: Callable[[list[Event]], bool]) -> list[Event]:
    """The same where there are no sync points."""

    def are_enough(messages: list[Message]) -> bool:
        return enough([message for message in messages if isinstance(message, Event)])

    events = [message for message in await read_all(engine, are_enough) if isinstance(message, Event)]
    assert [event.index for event in events] == list(range(events[0].index, events[0].index + len(events)))
    return events


async def read_transactions(engine: Engine, count: int) -> list[Event]:
    """The engine's stream until so many transactions have come."""
    return await read(engine, lambda events: sum(event.transaction_count for event in events) >= count)


async def until(engine: Engine, holds: Callable[[], bool]) -> None:
    """Wait until something holds that only a step of this engine's machine can bring about."""
    driver = engine._driver
    stepped = asyncio.Event()
    plain = driver._step

    def step() -> None:
        plain()
        stepped.set()

    driver._step = step  # type: ignore[method-assign]
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not holds():
                stepped.clear()
                await stepped.wait()
    finally:
        driver._step = plain  # type: ignore[method-assign]


async def cycles(count: int = 10) -> None:
    """Let the event loop go round so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


def transactions(events: list[Event]) -> list[bytes]:
    """All transactions of a stream."""
    return [transaction for event in events for transaction in event.transactions]
