"""Four processes under load that decide: what each proposes, receives and attests, and what must hold of it.

Messages travel to the test as they are, so that it compares all that they say.
"""

from __future__ import annotations

import asyncio
import itertools
import pickle
import random
from collections import Counter
from collections.abc import Awaitable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syncpoint import (
    Context,
    DivergenceError,
    Engine,
    EngineStopped,
    Event,
    KeySecret,
    Message,
    Options,
    Socket,
    SyncPoint,
    SyncPointKind,
)
from syncpoint.core.crypto import blake3

from .group import Group, Member, book, prepare
from .processes import preload, say, told

__all__ = ["Application", "N", "Peer", "Processes", "Streams", "decided", "receive", "send"]

N = 4
QUORUM = 3
WINDOW = 2  # transactions on their way at each peer
LOAD = 3  # transactions that become final at each peer before anything is proposed


@dataclass
class Peer(Member):
    """One peer, and what it said in its newest life; its transactions are of all lives."""

    public: str = ""
    ready: bool = False
    received: int = 0  # messages
    states: dict[int, str] = field(default_factory=dict)  # index of a sync point -> what it attests there
    final: list[str] = field(default_factory=list)  # transactions
    has_end: bool = False  # its stream gave None
    diverged: tuple[int, str, str, bool] | None = None


class Streams(Group[Peer]):
    """Peers whose applications say all that they receive; all are gone when it is left."""

    stream: list[Message]  # the one that they must have

    async def __aexit__(self, *_: object) -> None:
        self.end()

    @property
    def points(self) -> list[SyncPoint]:
        """The sync points of the stream."""
        return [message for message in self.stream if isinstance(message, SyncPoint)]

    def check_times(self) -> None:
        """Times and order hashes are all different, and times rise."""
        times = [each.consensus_at if isinstance(each, Event) else each.timestamp for each in self.stream]
        assert all(earlier < later for earlier, later in itertools.pairwise(times))
        assert len({message.order_hash for message in self.stream}) == len(self.stream)

    def check_transactions(self) -> None:
        """Each transaction is there once, also those that are final by what their senders were told."""
        events = [message for message in self.stream if isinstance(message, Event)]
        times = Counter(transaction.decode() for event in events for transaction in event.transactions)
        assert set(times.values()) == {1}, [name for name, count in times.items() if count > 1][:5]
        lost = {name for peer in self.peers for name in peer.final} - times.keys()
        assert not lost, sorted(lost)[:5]


class Processes(Streams):
    """All of them, with the one stream that they must have; all are gone when it is left."""

    def __init__(self, folder: Path, core: str, seed: int) -> None:
        super().__init__([Peer(number) for number in range(N)])
        print(f"seed {seed}")
        self.rng = random.Random(seed)
        self.stream: list[Message] = []
        self._folder, self._core = folder, core
        self._proposed: dict[bytes, tuple[SyncPointKind, set[str]]] = {}  # metadata -> what, and who of them
        self._decided: dict[bytes, SyncPoint] = {}  # what its proposer was told
        self._alone: set[bytes] = set()  # what was proposed while nothing else was

    async def __aenter__(self) -> Processes:
        preload("tests.store.deciding")
        prepare(self._folder, N)
        for peer in self.peers:
            peer.public = str(KeySecret.load(self._folder / f"{peer.number}.key").public())
        await asyncio.gather(*(self.spawn(peer) for peer in self.peers))
        await self.until(lambda: all(peer.ready for peer in self.peers))
        return self

    async def spawn(self, peer: Peer) -> None:
        """Begin a life of a peer, which receives the whole stream once more."""
        peer.life += 1
        peer.ready, peer.received, peer.states = False, 0, {}
        await self.live(peer, work, peer.number, self._folder, self._core, peer.life)

    def take(self, peer: Peer, said: list[Any]) -> None:
        """Note what a peer says, and compare what it received."""
        match said:
            case ["ready"]:
                peer.ready = True
            case ["final", name]:
                peer.final.append(name)
            case ["message", pickled, state]:
                self._take_message(peer, pickle.loads(bytes.fromhex(pickled)), state)
            case ["decided", pickled]:
                point = pickle.loads(bytes.fromhex(pickled))
                self._decided[point.metadata] = point
            case ["end"]:
                peer.has_end = True
            case ["diverged", *what]:
                peer.diverged = tuple(what)
            case other:
                raise AssertionError(other)

    async def load(self, peers: Collection[Peer]) -> None:
        """Wait until some transactions of each of some peers have become final."""
        before = {peer.number: len(peer.final) for peer in peers}
        await self.until(lambda: all(len(peer.final) >= before[peer.number] + LOAD for peer in peers))

    async def decide(self, peers: Collection[Peer], *kinds: SyncPointKind) -> list[SyncPoint]:
        """Under load, have peers propose something each, all at once, and wait until some peers have all of it.

        What they received, in the order of the kinds.
        """
        await self.load(peers)
        names = []
        for kind, proposer in zip(kinds, itertools.cycle(self.rng.sample(list(peers), len(peers))), strict=False):
            names.append(b"%d: %s" % (len(self._proposed), kind.name.encode()))
            self._proposed[names[-1]] = (kind, {proposer.public})
            proposer.tell(f"propose {kind.name} {names[-1].decode()}")
        self._alone |= set(names if len(names) == 1 else ())
        await self.until(lambda: all(name in self._decided for name in names))
        last = max(self._decided[name].index for name in names)
        await self.until(lambda: all(peer.received > last for peer in peers))
        points = {point.metadata: point for point in self.points}
        assert set(names) <= points.keys(), "a proposer was told of what is in no stream"
        return [points[name] for name in names]

    async def finish(self, peers: Collection[Peer]) -> None:
        """End the session, and see that these peers have one stream, which is as it must be."""
        await self.load(peers)
        name = b"the end"
        self._proposed[name] = (SyncPointKind.END, {peer.public for peer in peers})
        self._alone.add(name)
        for peer in peers:  # one alone cannot end it
            peer.tell(f"end {name.decode()}")
        await self.until(lambda: all(peer.has_end for peer in peers) and name in self._decided)
        end = self._decided[name]
        for peer in self.peers:
            peer.tell("stop")
        await self.ended()
        assert self.failure is None, self.failure
        assert self.stream[-1] == end
        assert {peer.received for peer in peers} == {len(self.stream)}
        assert len({tuple(peer.states.items()) for peer in peers}) == 1, "they computed different states"
        self.check_times()
        self._check_points()
        self.check_transactions()

    def _take_message(self, peer: Peer, message: Message, state: str) -> None:
        if peer.has_end:
            self.fail(f"peer {peer.number} receives {message} behind the end")
        if message.index != peer.received:
            self.fail(f"peer {peer.number} receives index {message.index} as number {peer.received}")
        if message.index == len(self.stream):
            self.stream.append(message)
        elif self.stream[message.index] != message:
            self.fail(f"peer {peer.number} receives {message}, another {self.stream[message.index]}")
        if isinstance(message, SyncPoint):
            peer.states[message.index] = state
        peer.received += 1

    def _check_points(self) -> None:
        keys = sorted(peer.public for peer in self.peers)
        points = self.points
        assert len(points) == len(self._proposed)
        for point in points:
            kind, proposers = self._proposed[point.metadata]
            assert point.kind is kind
            assert str(point.proposer) in proposers
        assert self._decided.items() <= {point.metadata: point for point in points}.items()
        assert [point.epoch_index for point in points] == list(range(1, len(points) + 1))
        for point in points:
            approvals = {str(key) for key in point.approvals}
            assert len(approvals) == len(point.approvals) >= QUORUM
            assert str(point.proposer) in approvals <= set(keys)
            assert sorted(str(peer.public) for peer in point.peers) == keys
            assert point.is_session_ended == (point is self.stream[-1])
            assert not any((point.joined, point.left, point.kicked, point.fallen_behind, point.rotated))
        for before, point in itertools.pairwise(points):
            is_other = before.session_id != point.session_id
            assert is_other == (point.kind is SyncPointKind.SESSION)
            between = self.stream[before.index : point.index]
            if point.metadata in self._alone:
                assert any(isinstance(each, Event) and each.transactions for each in between), "there was no load"


# -- in the process -------------------------------------------------------------------------------------


class Application:
    """What a peer computes from the stream: one hash over all of it."""

    def __init__(self) -> None:
        self.state = blake3(b"the beginning")
        self.is_right = True

    def take(self, message: Message) -> None:
        """Go on by a message."""
        self.state = blake3(self.state + message.order_hash + (b"" if self.is_right else b"a planted fault"))


async def work(number: int, folder: Path, core: str, life: int) -> None:
    """One life of a peer: it sends without a pause until the session has ended, and does what it is told."""
    peers, secret, address = book(folder, number)
    application = Application()
    async with Context(core, folder / "stores", durability="normal") as context:  # a kill costs nothing
        socket = await Socket.bind(context, address)
        engine = await Engine.start(context, socket, Options(), secret, peers)
        say("ready")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(receive(engine, application))
            for lane in range(WINDOW):
                tasks.create_task(send(engine, f"{number}/{life}/{lane}"))
            async for line in told():
                match line.split(" ", 2 if line.startswith("propose") else 1):
                    case ["propose", kind, metadata]:
                        tasks.create_task(decided(engine.propose(SyncPointKind[kind], metadata.encode())))
                    case ["end", metadata]:
                        tasks.create_task(decided(engine.vote_end_session(metadata.encode())))
                    case ["err"]:
                        application.is_right = False
                    case ["stop"]:
                        break


async def receive(engine: Engine, application: Application) -> None:
    """Say what comes, and attest what it computes, until there is nothing more."""
    try:
        async for message in engine:
            application.take(message)
            say("message", pickle.dumps(message).hex(), application.state.hex())
            if isinstance(message, SyncPoint):
                message.attest(application.state)
    except DivergenceError as error:
        say("diverged", error.index, error.ours.hex(), error.theirs.hex(), error.is_state)
    else:
        say("end")


async def send(engine: Engine, prefix: str) -> None:
    """One transaction after the other, until nothing is taken any more."""
    for count in itertools.count():
        try:
            await engine.submit(f"{prefix}/{count}".encode())
        except EngineStopped:
            return
        say("final", f"{prefix}/{count}")


async def decided(point: Awaitable[SyncPoint]) -> None:
    """Say what becomes of a proposal."""
    say("decided", pickle.dumps(await point).hex())
