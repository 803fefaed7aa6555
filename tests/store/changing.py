"""Processes under load that change who they are: members, keys and settings, one after the other.

The last peer is no first member. All of them approve of everything.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import pickle
import random
from collections.abc import Collection
from pathlib import Path
from typing import Any

from syncpoint import (
    Context,
    Engine,
    KeySecret,
    Message,
    Network,
    Options,
    PeerRecord,
    Peers,
    Socket,
    SyncPoint,
    SyncPointKind,
)

from .deciding import LOAD, WINDOW, Application, Peer, Streams, decided, receive, send
from .group import prepare
from .processes import preload, say, told

__all__ = ["FIRST", "Changing"]

FIRST = 4  # members at first


class Changing(Streams):
    """All of them, with the one stream that they must have; all are gone when it is left."""

    def __init__(self, folder: Path, core: str, seed: int) -> None:
        super().__init__([Peer(number) for number in range(FIRST + 1)])
        print(f"seed {seed}")
        self.rng = random.Random(seed)
        self.stream: list[Message] = []
        self.decided: list[SyncPoint] = []  # what those who called for something were told
        self._folder, self._core = folder, core

    async def __aenter__(self) -> Changing:
        preload("tests.store.changing")
        prepare(self._folder, FIRST + 1)
        for peer in self.peers:
            peer.public = str(KeySecret.load(self._folder / f"{peer.number}.key").public())
            await self.live(peer, work, peer.number, self._folder, self._core)
        await self.until(lambda: all(peer.ready for peer in self.peers))
        return self

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
                self.decided.append(pickle.loads(bytes.fromhex(pickled)))
            case ["end"]:
                peer.has_end = True
            case other:
                raise AssertionError(other)

    async def decide(self, who: Peer, what: str, members: Collection[Peer]) -> SyncPoint:
        """Under load, have a peer call for something, and wait until these peers are behind it; what it was told."""
        before, final = len(self.decided), {peer.number: len(peer.final) for peer in members}
        who.tell(what)
        await self.until(lambda: len(self.decided) > before)
        point = self.decided[before]
        await self.until(lambda: all(peer.received > point.index for peer in members))
        await self.until(lambda: all(len(peer.final) >= final[peer.number] + LOAD for peer in members))
        return point

    async def finish(self, members: Collection[Peer], metadata: str) -> None:
        """End the session, and see that all have one stream, which is as it must be."""
        for peer in members:  # one alone cannot end it
            peer.tell(f"end {metadata}")
        await self.until(lambda: all(peer.has_end for peer in members))
        for peer in self.peers:
            peer.tell("stop")
        await self.ended()
        assert self.failure is None, self.failure
        assert {peer.received for peer in members} == {len(self.stream)}
        assert {same(point) for point in self.decided} <= set(map(same, self.points))
        self.check_times()
        self.check_transactions()

    def _take_message(self, peer: Peer, message: Message, state: str) -> None:
        if message.index != peer.received:
            self.fail(f"peer {peer.number} receives index {message.index} as number {peer.received}")
        if message.index == len(self.stream):
            self.stream.append(message)
        elif same(self.stream[message.index]) != same(message):
            self.fail(f"peer {peer.number} receives {message}, another {self.stream[message.index]}")
        peer.states[message.index] = state
        if state != self.peers[0].states.get(message.index, state):
            self.fail(f"peer {peer.number} computes another state at index {message.index} than peer 0")
        peer.received += 1


def same(message: Message) -> object:
    """What must be equal on all peers: all of an event, and of a sync point all but what it says of its receiver."""
    return dataclasses.replace(message, is_just_synced=False) if isinstance(message, SyncPoint) else message


# -- in the process -------------------------------------------------------------------------------------


async def work(number: int, folder: Path, core: str) -> None:
    """One peer: it sends without a pause as long as it may, and calls for what it is told to."""
    secrets = [KeySecret.load(folder / f"{each}.key") for each in range(FIRST + 1)]
    addresses = [f"127.0.0.1:{port}" for port in json.loads((folder / "ports.json").read_text())]
    peers = Peers()
    for address, secret in zip(addresses[:FIRST], secrets, strict=False):
        peers.insert(address, secret.public())
    application = Application()
    async with Context(core, folder / "stores", durability="normal", approve=lambda proposal: True) as context:
        socket = await Socket.bind(context, addresses[number])
        engine = await Engine.start(context, socket, Options(), secrets[number], peers, joins=number >= FIRST)
        say("ready")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(receive(engine, application))
            for lane in range(WINDOW):
                tasks.create_task(send(engine, f"{number}/{lane}"))
            async for line in told():
                match line.split(" ", 2):
                    case ["add", other]:
                        record = PeerRecord.of(secrets[int(other)])
                        tasks.create_task(decided(engine.vote_add_node(addresses[int(other)], record)))
                    case ["remove", other]:
                        tasks.create_task(decided(engine.vote_remove_node(secrets[int(other)].public())))
                    case ["rotate"]:
                        tasks.create_task(decided(engine.rotate_key(KeySecret.generate())))
                    case ["configure", order]:
                        network: Network = dataclasses.replace(engine.network, order=order)
                        tasks.create_task(decided(engine.change_options(network)))
                    case ["propose", kind, metadata]:
                        tasks.create_task(decided(engine.propose(SyncPointKind[kind], metadata.encode())))
                    case ["end", metadata]:
                        tasks.create_task(decided(engine.vote_end_session(metadata.encode())))
                    case ["stop"]:
                        break
