"""Several such processes, as the test that started them sees them: told things, listened to, killed, waited for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from syncpoint import KeySecret, Peers

from .processes import DEADLINE_S, Child, free_ports, spawn

__all__ = ["Group", "Member", "book", "prepare"]


@dataclass
class Member:
    """One peer, over all its lives."""

    number: int
    life: int = 0
    child: Child | None = None
    reader: asyncio.Task[None] | None = None
    killed: bool = False

    def tell(self, what: str) -> None:
        """Give it a line."""
        assert self.child is not None
        self.child.tell(what)


Each = TypeVar("Each", bound=Member)


class Group(Generic[Each]):
    """All of them. What holds at all times is looked at in `take`, which says with `fail` what does not."""

    def __init__(self, peers: Sequence[Each]) -> None:
        self.peers = peers
        self.failure: str | None = None
        self._changed = asyncio.Event()

    def take(self, peer: Each, said: list[Any]) -> None:
        """Note what a peer says."""
        raise NotImplementedError

    async def live(self, peer: Each, work: Callable[..., Coroutine[Any, Any, None]], *given: object) -> None:
        """Begin a life of a peer."""
        peer.killed = False
        peer.child = await spawn(work, *given)
        peer.reader = asyncio.ensure_future(self._read(peer, peer.child))

    async def kill(self, peer: Each) -> None:
        """End it with SIGKILL, and take what it still said."""
        assert peer.child is not None
        assert peer.reader is not None
        peer.killed = True
        peer.child.process.kill()
        await asyncio.wait_for(peer.reader, DEADLINE_S)

    async def ended(self) -> None:
        """Wait until all have ended by themselves."""
        readers = [peer.reader for peer in self.peers if peer.reader is not None]
        await asyncio.wait_for(asyncio.gather(*readers), DEADLINE_S)

    def end(self) -> None:
        """End all of them, whatever they do."""
        for peer in self.peers:
            if peer.child is not None:
                peer.child.end()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something that a message of a peer brings about."""
        async with asyncio.timeout(DEADLINE_S):
            while not holds():
                assert self.failure is None, self.failure
                self._changed.clear()
                await self._changed.wait()
        assert self.failure is None, self.failure

    def fail(self, why: str) -> None:
        """Say what does not hold; the first counts."""
        self.failure = self.failure or why
        self._changed.set()

    async def _read(self, peer: Each, child: Child) -> None:
        async for said in child.said():
            self.take(peer, said)
            self._changed.set()
        if not peer.killed and child.process.exitcode != 0:
            self.fail(f"peer {peer.number} ended with code {child.process.exitcode} in life {peer.life}")


def prepare(folder: Path, count: int) -> None:
    """Ports that are free now; keys are made anew."""
    (folder / "ports.json").write_text(json.dumps(free_ports(count)))
    for number in range(count):
        KeySecret.generate().save(folder / f"{number}.key")


def book(folder: Path, number: int) -> tuple[Peers, KeySecret, str]:
    """The address book, and the key and the address of one peer."""
    ports = json.loads((folder / "ports.json").read_text())
    secrets = [KeySecret.load(folder / f"{each}.key") for each in range(len(ports))]
    peers = Peers()
    for port, secret in zip(ports, secrets, strict=True):
        peers.insert(f"127.0.0.1:{port}", secret.public())
    return peers, secrets[number], f"127.0.0.1:{ports[number]}"
