"""Four peers in processes, and one of them a second time: its key in two processes at once (R5).

Both copies reach the others over cables that the test can cut, and may have to wait for their disks until the test lets
go of them. So it decides who signs before it knows of whom. An idle network stands still here: nobody makes an event
but a first one, before there is something to send.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syncpoint import Context, Engine, EngineStopped, KeySecret, Options, PeerCapabilities, Peers, Socket
from syncpoint.core.input import Persisted, Received
from syncpoint.core.output import Output

from .processes import DEADLINE_S, Child, free_ports, preload, say, spawn, told

__all__ = ["COPIED", "OTHERS", "Cable", "Party", "Runner", "store_of"]

OTHERS = (0, 1, 2)  # peers that run once; they can be dialled
COPIED = 3  # dials the others, and is not dialled: each copy has the links that its cables let it have
READ_BYTES = 1 << 16
IDLE = Options(heartbeat_us=60_000_000)


class Cable:
    """A way to a port that can be cut and mended."""

    def __init__(self, port: int, is_whole: bool) -> None:
        self._to = port
        self._is_whole = is_whole
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> int:
        """The port of its near end."""
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """Nothing comes through, and both ends notice."""
        self._is_whole = False
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """New connections come through."""
        self._is_whole = True

    def close(self) -> None:
        """Take it away."""
        self.cut()
        assert self._server is not None
        self._server.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._is_whole:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
                self._writers.add(far_writer)
                if not self._is_whole:
                    far_writer.transport.abort()
                await asyncio.gather(_carry(reader, far_writer), _carry(far_reader, writer))
                self._writers.discard(far_writer)
        except OSError:
            pass
        finally:
            writer.transport.abort()
            self._writers.discard(writer)


@dataclass
class Runner:
    """One process, as the test sees it."""

    name: str
    number: int
    child: Child
    reading: asyncio.Task[None]
    heard: set[int] = field(default_factory=set)  # creators that have said how far they are
    status: dict[str, Any] = field(default_factory=dict)  # the newest
    final: set[str] = field(default_factory=set)  # its own transactions
    refused: dict[str, str] = field(default_factory=dict)  # its own transactions, and why
    order: dict[int, str] = field(default_factory=dict)  # index -> order hash
    transactions: list[str] = field(default_factory=list)  # delivered
    log: list[str] = field(default_factory=list)  # errors
    ended: bool = False

    def take(self, said: list[Any]) -> None:
        """Note what it says."""
        match said:
            case ["heard", creator]:
                self.heard.add(creator)
            case ["status", status]:
                self.status = status
            case ["final", name]:
                self.final.add(name)
            case ["refused", name, why]:
                self.refused[name] = why
            case ["event", index, order_hash, *names]:
                assert index not in self.order
                self.order[index] = order_hash
                self.transactions += names
            case ["log", text]:
                self.log.append(text)
            case other:
                raise AssertionError(other)

    def freeze(self) -> None:
        """Stop its time."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self.child.process.pid is not None
        os.kill(self.child.process.pid, number)


class Party:
    """The processes of a test; all are gone when it is left."""

    def __init__(self, folder: Path, core: str) -> None:
        self.folder, self.core = folder, core
        self.runners: list[Runner] = []
        self._cables: list[Cable] = []
        self._ports = free_ports(len(OTHERS))
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Party:
        preload("tests.store.spare")
        for number in (*OTHERS, COPIED):
            KeySecret.generate().save(self.folder / f"{number}.key")
        return self

    async def __aexit__(self, *_: object) -> None:
        for runner in self.runners:
            runner.child.end()
            await runner.reading
        for cable in self._cables:
            cable.close()

    async def start_others(self) -> list[Runner]:
        """The three that run once, when they listen: before, a cable could be given one of their ports."""
        others = [await self._spawn(f"peer {number}", number, "stores", self._ports) for number in OTHERS]
        await self.until(lambda: all(runner.status for runner in others))
        return others

    async def start_copy(
        self, store: str, linked: Collection[int] = OTHERS, *, waits: bool = False
    ) -> tuple[Runner, list[Cable]]:
        """A copy with a folder for its store, once it has heard how far those are whom it reaches; and its cables.

        With `waits` no event of its own is durable for it before it is told to "publish".
        """
        cables = [Cable(port, number in linked) for number, port in enumerate(self._ports)]
        self._cables += cables
        runner = await self._spawn(store, COPIED, store, [await cable.start() for cable in cables], waits)
        await self.until(lambda: runner.heard == set(linked))
        return runner, cables

    async def stop(self, runner: Runner) -> None:
        """End it in good order."""
        runner.child.tell("stop")
        await asyncio.wait_for(runner.reading, DEADLINE_S)
        assert runner.child.process.exitcode == 0
        self.runners.remove(runner)

    def submit(self, runners: Sequence[Runner], text: str) -> list[str]:
        """Have each submit a transaction; their names."""
        names = [f"{text} by {runner.name}" for runner in runners]
        for runner, name in zip(runners, names, strict=True):
            runner.child.tell(f"submit {name}")
        return names

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something that a process says; what they said last is shown when it does not come."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not holds():
                    self._changed.clear()
                    assert not any(runner.ended for runner in self.runners), "a process ended"
                    await self._changed.wait()
        except BaseException:
            for runner in self.runners:
                print(runner.name, runner.status, runner.heard, runner.final, runner.refused, runner.transactions)
            raise

    async def until_everywhere(self, names: Iterable[str]) -> None:
        """Wait until every process has delivered these."""
        wanted = set(names)
        await self.until(lambda: all(wanted <= set(runner.transactions) for runner in self.runners))

    def check_order(self) -> None:
        """One order hash at each index, wherever it was delivered, and nothing twice."""
        order: dict[int, str] = {}
        for runner in self.runners:
            for index, order_hash in runner.order.items():
                assert order.setdefault(index, order_hash) == order_hash, (runner.name, index)
            assert list(runner.order) == list(range(len(runner.order))), runner.name
            assert len(set(runner.transactions)) == len(runner.transactions), runner.name

    async def _spawn(self, name: str, number: int, store: str, ports: list[int], waits: bool = False) -> Runner:
        child = await spawn(work, self.folder, self.core, number, store, ports, waits)
        runner = Runner(name, number, child, asyncio.ensure_future(asyncio.sleep(0)))
        runner.reading = asyncio.ensure_future(self._read(runner))
        self.runners.append(runner)
        return runner

    async def _read(self, runner: Runner) -> None:
        async for said in runner.child.said():
            runner.take(said)
            self._changed.set()
        runner.ended = True
        self._changed.set()


def store_of(folder: Path, store: str) -> Path:
    """The file in which a copy keeps what it has."""
    return folder / store / f"{KeySecret.load(folder / f'{COPIED}.key').public()}.syncpoint"


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(READ_BYTES):
            writer.write(data)
            await writer.drain()
    finally:
        writer.transport.abort()


# -- in a process ---------------------------------------------------------------------------------------


class Told:
    """A machine that says what the test waits for: whom it has heard, and how it stands."""

    def __init__(self, machine: Any, creators: Sequence[int], waits: bool) -> None:
        self.held: list[Persisted] | None = [] if waits else None  # what it is not told yet
        self._machine = machine
        self._creators = creators  # the number of a peer in the test by that in the committee
        self._said: object = None
        self._heard: set[int] = set()
        self.status, self.digest = machine.status, machine.digest

    def step(self, now: int, inputs: Sequence[Any]) -> list[Output]:
        """A step, and what has come of it."""
        if self.held is not None:
            self.held += [input for input in inputs if isinstance(input, Persisted)]
            inputs = [input for input in inputs if not isinstance(input, Persisted)]
        outputs: list[Output] = self._machine.step(now, inputs)
        for input in inputs:
            if isinstance(input, Received) and input.peer not in self._heard:
                self._heard.add(input.peer)
                say("heard", self._creators[input.peer])
        status = self.status()
        shown = {
            "halted": status.halted,
            "recovering": status.recovering,
            "own_round": status.own_round,
            "own_events": status.own_events,
            "undelivered": status.undelivered,
            "equivocators": [self._creators[creator] for creator in status.equivocators],
        }
        if shown != self._said:
            self._said = shown
            say("status", shown)
        return outputs


class Errors(logging.Handler):
    """Says what the peer logs as an error."""

    def emit(self, record: logging.LogRecord) -> None:
        """A line of the log."""
        say("log", record.getMessage())


async def work(folder: Path, core: str, number: int, store: str, ports: Sequence[int], waits: bool) -> None:
    """One process."""
    logging.getLogger("syncpoint").addHandler(Errors(logging.ERROR))
    secrets = [KeySecret.load(folder / f"{each}.key") for each in (*OTHERS, COPIED)]
    publics = [secret.public() for secret in secrets]
    peers = Peers()
    for public, port in zip(publics, ports, strict=False):
        peers.insert(f"127.0.0.1:{port}", public, PeerCapabilities(public=True))
    peers.insert("copied.invalid:1", publics[COPIED])
    async with Context(core, folder / store) as context:
        listen = f"127.0.0.1:{0 if number == COPIED else ports[number]}"
        make = context._machine
        creators = [publics.index(peer.public) for peer in peers]
        context._machine = lambda config: Told(make(config), creators, waits)  # type: ignore[method-assign]
        engine = await Engine.start(context, await Socket.bind(context, listen), IDLE, secrets[number], peers)
        tasks = {asyncio.ensure_future(_receive(engine))}
        async for what in told():
            command, _, name = what.partition(" ")
            match command:
                case "stop":
                    break
                case "publish":
                    _publish(engine)
                case "submit":
                    tasks.add(asyncio.ensure_future(_submit(engine, name)))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _publish(engine: Engine) -> None:
    machine = engine._driver.machine
    assert isinstance(machine, Told)
    held, machine.held = machine.held, None
    for input in held or ():
        engine._driver.post(input)


async def _receive(engine: Engine) -> None:
    async for event in engine:
        say("event", event.index, event.order_hash.hex(), *(each.decode() for each in event.transactions))


async def _submit(engine: Engine, name: str) -> None:
    try:
        await engine.submit(name.encode())
    except EngineStopped as error:
        say("refused", name, str(error))
    else:
        say("final", name)
