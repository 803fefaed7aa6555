"""Transports on loopback that note what happens to them, and clients that speak to them byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from syncpoint.core.crypto import derive
from syncpoint.runtime.hello import Hello
from syncpoint.runtime.links import LinkPeer, LinkSettings
from syncpoint.runtime.session import Session
from syncpoint.runtime.tls import Tls
from syncpoint.runtime.transport import Transport

NETWORK = b"N" * 32
EPOCH = b"E" * 32
MAX_FRAME = 100_000
DEADLINE_S = 20.0  # of any wait: a test that needs it has failed


@functools.cache
def _seeds() -> list[bytes]:
    return sorted((bytes([number]) * 32 for number in range(100)), key=derive)


def seed(creator: int) -> bytes:
    """The secret key of a creator; their public keys are in the order of creators, so the lower one dials."""
    return _seeds()[creator]


@functools.cache
def key(creator: int) -> bytes:
    """The public key of a creator."""
    return derive(seed(creator))


class _Anyone(bytes):
    """Equal to every key."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, bytes)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = bytes.__hash__


class Bare(Session):
    """No TLS: what is said is what is on the wire, and whoever claims a key has it."""

    established = True
    key = _Anyone()

    def __init__(self) -> None:
        """There is nothing to prepare."""

    def take(self, data: bytes | memoryview) -> bytes:
        return bytes(data)

    def words(self) -> bytes:
        return b""

    def seal(self, data: bytes) -> bytes:
        return data

    farewell = words


class Plain(Tls):
    """No TLS: so that tests of frames and limits can speak byte by byte."""

    def __init__(self) -> None:
        self.client = self.server = None  # type: ignore[assignment]

    def session(self, *, server: bool) -> Session:
        return Bare()


def settings_of(
    own: int, others: Mapping[int, int], *, epoch_id: bytes = EPOCH, max_frame_bytes: int = MAX_FRAME, **more: Any
) -> LinkSettings:
    """The settings of a peer whose `others` (creator: port) are on this machine."""
    return LinkSettings(
        own=own,
        seed=seed(own),
        key=key(own),
        network_id=NETWORK,
        epoch_id=epoch_id,
        max_frame_bytes=max_frame_bytes,
        peers=[LinkPeer(creator, key(creator), "127.0.0.1", port) for creator, port in others.items()],
        **more,
    )


def hello_with(own: int = 0, to: int = 1, **fields: Any) -> bytes:
    """A HELLO frame that is right but for what is given."""
    said = {
        "network_id": NETWORK, "epoch_id": EPOCH, "key": key(own), "expected": key(to), "max_frame_bytes": MAX_FRAME,
    }  # fmt: skip
    return Hello(**said | fields).encode()


def prefixed(*frames: bytes) -> bytes:
    """Frames as they are on the wire."""
    return b"".join(struct.pack("<I", len(frame)) + frame for frame in frames)


def listener(*, listening: bool = True, port: int = 0) -> socket.socket:
    """A socket with a port of its own; one that does not listen yet refuses whoever dials."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", port))
    if listening:
        sock.listen()
    return sock


def port_of(sock: socket.socket) -> int:
    """Where it listens."""
    return int(sock.getsockname()[1])


class Node:
    """One transport, and all that it reported."""

    def __init__(
        self,
        own: int,
        sock: socket.socket,
        others: dict[int, int],
        *,
        epoch_id: bytes = EPOCH,
        max_frame_bytes: int = MAX_FRAME,
        tls: bool = False,
    ) -> None:
        self.history: list[tuple[str, int]] = []
        self.frames: dict[int, list[bytes]] = {}
        self.port = port_of(sock)
        self._changed = asyncio.Event()
        settings = settings_of(own, others, epoch_id=epoch_id, max_frame_bytes=max_frame_bytes)
        self.transport = Transport(sock, settings, self, None if tls else lambda settings: Plain())

    @property
    def linked(self) -> list[int]:
        """The peers with a link."""
        return sorted(self.transport._links)

    def got(self, peer: int) -> list[bytes]:
        """The frames of a peer so far."""
        return self.frames.get(peer, [])

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds that only the transport's reports can change."""
        async with asyncio.timeout(DEADLINE_S):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    async def until_linked(self, *peers: int) -> None:
        """Wait until links to exactly these peers are up."""
        await self.until(lambda: self.linked == sorted(peers))

    def connected(self, peer: int) -> None:
        self._note("up", peer)

    def disconnected(self, peer: int) -> None:
        self._note("down", peer)

    def received(self, peer: int, frames: list[bytes]) -> None:
        assert frames, "told of nothing"
        self.frames.setdefault(peer, []).extend(frames)
        self._changed.set()

    def _note(self, what: str, peer: int) -> None:
        self.history.append((what, peer))
        self._changed.set()


@contextlib.asynccontextmanager
async def running(*nodes: Node) -> AsyncIterator[None]:
    """Start nodes in the given order, and close them in the end."""
    try:
        for node in nodes:
            await node.transport.start()
        yield
    finally:
        for node in nodes:
            await node.transport.close()


def pair(*, listening: bool = True, **more: Any) -> tuple[Node, Node]:
    """Two nodes that know each other; node 0 dials."""
    socks = [listener(listening=listening) for _ in range(2)]
    ports = [port_of(sock) for sock in socks]
    return Node(0, socks[0], {1: ports[1]}, **more), Node(1, socks[1], {0: ports[0]}, **more)


def acceptor() -> Node:
    """Node 1, which dials nobody and knows node 0."""
    return Node(1, listener(), {0: 1})


class Raw:
    """A connection without a transport of ours at this end."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        """Hand bytes to the kernel, which on loopback hands them to the other side at once."""
        await asyncio.wait_for(self._loop.sock_sendall(self.sock, data), DEADLINE_S)

    async def hello(self, own: int, to: int, **fields: Any) -> bytes:
        """Say who we are, as one who dials; the answer's frame."""
        await self.send(prefixed(hello_with(own, to, **fields)))
        return await self.frame()

    async def frame(self) -> bytes:
        """The next frame."""
        (length,) = struct.unpack("<I", await self.exactly(4))
        return await self.exactly(length)

    async def exactly(self, count: int) -> bytes:
        """So many bytes."""
        data = b""
        while len(data) < count:
            data += await self.some(count - len(data))
        return data

    async def some(self, most: int = 65536) -> bytes:
        """What comes next."""
        data = await asyncio.wait_for(self._loop.sock_recv(self.sock, most), DEADLINE_S)
        assert data, "the other side closed"
        return data

    async def closed_after(self) -> bytes:
        """What still comes until the other side closes or resets the connection."""
        data = b""
        with contextlib.suppress(ConnectionError):
            while more := await asyncio.wait_for(self._loop.sock_recv(self.sock, 65536), DEADLINE_S):
                data += more
        return data


@contextlib.asynccontextmanager
async def raw_client(port: int, *, receive_buffer: int | None = None) -> AsyncIterator[Raw]:
    """Connect to a node."""
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        yield Raw(sock)


@contextlib.asynccontextmanager
async def raw_accept(sock: socket.socket) -> AsyncIterator[Raw]:
    """Take the next connection that a node makes."""
    loop = asyncio.get_running_loop()
    accepted, _ = await asyncio.wait_for(loop.sock_accept(sock), DEADLINE_S)
    with accepted:
        accepted.setblocking(False)
        yield Raw(accepted)


async def cycles(count: int = 20) -> None:
    """Let the event loop look at its sockets so many times; what lies in the kernel is read by then."""
    for _ in range(count):
        await asyncio.sleep(0)
