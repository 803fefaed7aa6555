"""Links between peers: length-prefixed frames over TCP, many of them per write (T2)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .hello import MAX_HELLO_BYTES, Hello, Refusal, decode_refusal, encode_refusal

__all__ = ["LinkPeer", "Links", "Listener", "Transport"]

log = logging.getLogger("syncpoint.transport")

HELLO_TIMEOUT_S = 3.0
FIRST_REDIAL_S, MAX_REDIAL_S = 0.05, 2.0
MAX_PENDING_LINKS = 64  # accepted, no HELLO yet; beyond, new ones are closed at once
READ_BYTES = 64 * 1024  # read at once from a link; the rest waits in the system
MAX_SEND_BYTES = 16 * 1024 * 1024  # queued for one peer; beyond, frames are dropped: they can be fetched (F1)
CLOSE_TIMEOUT_S = 1.0
_PREFIX = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class LinkPeer:
    """Another member of the committee, as the transport knows it."""

    creator: int
    key: bytes
    host: str
    port: int


class Listener(Protocol):
    """A place where links can be taken, bound and listening."""

    def getsockname(self) -> Any:
        """Host, port, and whatever else the kind of address has."""
        ...

    def close(self) -> None:
        """Listen no more."""
        ...


class Links(Protocol):
    """What a driver and an engine have of the links to the other peers."""

    dropped_frames: int
    refusals: dict[int, Refusal]

    async def start(self) -> None:
        """Accept and dial."""
        ...

    def send(self, peer: int, frame: bytes) -> None:
        """Queue a frame for a peer; dropped when there is no link or its queue is full."""
        ...

    def broadcast(self, frame: bytes) -> None:
        """Queue a frame for every linked peer."""
        ...

    def flush(self) -> None:
        """Send what was queued."""
        ...

    def pause(self) -> None:
        """Take nothing more from any link until `resume`."""
        ...

    def resume(self) -> None:
        """Take again."""
        ...

    def drop(self, peer: int) -> None:
        """Close the link to a peer that sends junk; it may come back."""
        ...

    async def close(self) -> None:
        """Close all links and the listener."""
        ...


class Transport:
    """One link to each other peer; of two peers the one with the lower creator index dials."""

    def __init__(
        self,
        listener: socket.socket,
        own: int,
        key: bytes,
        epoch_id: bytes,
        peers: Sequence[LinkPeer],
        max_frame_bytes: int,
        received: Callable[[int, list[bytes]], None],
        connected: Callable[[int], None],
        disconnected: Callable[[int], None],
    ) -> None:
        self.own = own
        self.key = key
        self.epoch_id = epoch_id
        self.max_frame_bytes = max_frame_bytes
        self.received = received
        self.connected = connected
        self.disconnected = disconnected
        self.dropped_frames = 0
        self.refusals: dict[int, Refusal] = {}  # by creator: why there is no link, as last heard
        self.links: set[Link] = set()  # all, from their making to their end
        self.pending: set[Link] = set()  # of these, accepted, no HELLO yet
        self.closed = False
        self._listener = listener
        self._peers = {peer.creator: peer for peer in peers}
        self._by_key = {peer.key: peer.creator for peer in peers}
        self._links: dict[int, Link] = {}
        self._dirty: dict[Link, None] = {}  # with frames that are not written yet
        self._dialers: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None
        self._paused = False

    async def start(self) -> None:
        """Accept and dial."""
        loop = asyncio.get_running_loop()
        # Not serving yet, so that there is a server for `close` to close whenever it is called.
        self._server = await loop.create_server(lambda: Link(self, None), sock=self._listener, start_serving=False)
        for peer in self._peers.values():
            if peer.creator > self.own:
                self._dialers.append(loop.create_task(self._dial(peer), name=f"syncpoint dial {peer.creator}"))
        await self._server.start_serving()

    def send(self, peer: int, frame: bytes) -> None:
        """Queue a frame for a peer; dropped when there is no link or its queue is full."""
        link = self._links.get(peer)
        if link is not None:
            self._queue(link, _PREFIX.pack(len(frame)) + frame)

    def broadcast(self, frame: bytes) -> None:
        """Queue a frame for every linked peer."""
        data = _PREFIX.pack(len(frame)) + frame
        for link in self._links.values():
            self._queue(link, data)

    def flush(self) -> None:
        """Write what was queued, in one write per link."""
        for link in self._dirty:
            link.flush()
        self._dirty.clear()

    def pause(self) -> None:
        """Read nothing more from any link until `resume`."""
        self._paused = True
        for link in self._links.values():
            link.pause()

    def resume(self) -> None:
        """Read again."""
        self._paused = False
        for link in self._links.values():
            link.resume()

    def drop(self, peer: int) -> None:
        """Close the link to a peer that sends junk; it may come back."""
        link = self._links.get(peer)
        if link is not None:
            link.abort()

    async def close(self) -> None:
        """Write out what is queued, close all links and the listener."""
        self.closed = True
        for task in self._dialers:
            task.cancel()
        await asyncio.gather(*self._dialers, return_exceptions=True)
        if self._server is not None:
            # A server that closes breaks what it is just accepting: first no more of that, then the end.
            with contextlib.suppress(NotImplementedError):
                asyncio.get_running_loop().remove_reader(self._listener)
            await asyncio.sleep(0)
            self._server.close()
        links = list(self.links)
        for end in (Link.close, Link.abort):
            for link in links:
                end(link)
            if links:
                await asyncio.wait([link.gone for link in links], timeout=CLOSE_TIMEOUT_S)
        self._listener.close()

    # -- called by links ----------------------------------------------------------------------------

    def hello_to(self, peer: LinkPeer) -> bytes:
        """Our HELLO to a peer that we dial."""
        return Hello(self.epoch_id, self.key, peer.key).encode()

    def answer(self, frame: bytes) -> tuple[int, bytes] | Refusal:
        """What an accepted link's HELLO is worth: its creator and our HELLO, or why it is refused."""
        hello = Hello.decode(frame)
        if isinstance(hello, Refusal):
            return hello
        if hello.epoch_id != self.epoch_id:
            return Refusal.NETWORK
        creator = self._by_key.get(hello.key)
        if creator is None:
            return Refusal.NOT_A_MEMBER
        if hello.expected != self.key:
            return Refusal.WRONG_PEER
        return creator, Hello(self.epoch_id, self.key, hello.key).encode()

    def check_answer(self, frame: bytes, peer: LinkPeer) -> Refusal | None:
        """What the answer to our HELLO is worth: None when it is the peer that we dialled."""
        refusal = decode_refusal(frame)
        if refusal is not None:
            return refusal
        hello = Hello.decode(frame)
        if isinstance(hello, Refusal):
            return hello
        if hello.epoch_id != self.epoch_id:
            return Refusal.NETWORK
        if hello.key != peer.key or hello.expected != self.key:
            return Refusal.WRONG_PEER
        return None

    def up(self, link: Link, creator: int) -> None:
        """A link is up; it replaces an older one to the same peer."""
        old = self._links.get(creator)
        if old is not None:
            self._lost(old, creator)
            old.abort()
        self.refusals.pop(creator, None)
        self._links[creator] = link
        if self._paused:
            link.pause()
        self.connected(creator)

    def down(self, link: Link) -> None:
        """A link is gone."""
        self.links.discard(link)
        self.pending.discard(link)
        if link.creator is not None and self._links.get(link.creator) is link:
            self._lost(link, link.creator)

    def refused(self, creator: int | None, refusal: Refusal, where: str) -> None:
        """Note and say, once per reason, why a link did not come about."""
        if creator is not None and self.refusals.get(creator) is not refusal:
            self.refusals[creator] = refusal
            log.warning("no link with peer %d (%s): %s", creator, where, refusal.advice)
        elif creator is None:
            log.info("refused a link from %s: %s", where, refusal.advice)

    # -- private ------------------------------------------------------------------------------------

    def _queue(self, link: Link, data: bytes) -> None:
        if link.queued_bytes() + len(data) > MAX_SEND_BYTES:
            self.dropped_frames += 1
            return
        link.queue(data)
        self._dirty[link] = None

    def _lost(self, link: Link, creator: int) -> None:
        del self._links[creator]
        self._dirty.pop(link, None)
        if not self.closed:
            self.disconnected(creator)

    async def _dial(self, peer: LinkPeer) -> None:
        """Keep a link to a peer, dialling again with a growing, jittered pause."""
        loop = asyncio.get_running_loop()
        pause = FIRST_REDIAL_S
        while True:
            link: Link | None = None
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(HELLO_TIMEOUT_S):
                    _, link = await loop.create_connection(lambda: Link(self, peer), peer.host, peer.port)
            if link is not None:
                await asyncio.shield(link.gone)  # `close` waits for it, too
                if link.creator is not None:  # it was up: the peer is there, so do not wait long
                    pause = FIRST_REDIAL_S
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
            pause = min(2 * pause, MAX_REDIAL_S)


class Link(asyncio.BufferedProtocol):
    """One TCP connection: HELLO first, then frames.

    It reads into memory of its own: asyncio would take 256 KiB anew for every read, which costs more than the read.
    """

    def __init__(self, owner: Transport, dialled: LinkPeer | None) -> None:
        self.creator: int | None = None  # once it is up
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owner = owner
        self._dialled = dialled
        self._transport: asyncio.Transport | None = None
        self._room = memoryview(bytearray(READ_BYTES))
        self._buffer = bytearray()  # the beginning of a frame whose end is still to come
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._where = "?"
        self._limit: asyncio.TimerHandle | None = None
        owner.links.add(self)

    # -- asyncio ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Speak first when we dialled; else wait for the other's HELLO, but not for ever."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._where = str(transport.get_extra_info("peername"))
        tcp = transport.get_extra_info("socket")
        if tcp is not None:  # asyncio leaves accepted sockets to Nagle's algorithm, which costs 40 ms at times
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        flooded = self._dialled is None and len(self._owner.pending) >= MAX_PENDING_LINKS
        if flooded or self._owner.closed:
            transport.abort()
            return
        self._limit = asyncio.get_running_loop().call_later(HELLO_TIMEOUT_S, self.abort)
        if self._dialled is None:
            self._owner.pending.add(self)
        else:
            self._write(self._owner.hello_to(self._dialled))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where asyncio puts what it reads."""
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        """So much was read."""
        self.data_received(self._room[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        """Take frames out of the stream."""
        self._buffer += data
        frames, at, end = [], 0, len(self._buffer)
        while end - at >= _PREFIX.size:
            (length,) = _PREFIX.unpack_from(self._buffer, at)
            if not 0 < length <= (MAX_HELLO_BYTES if self.creator is None else self._owner.max_frame_bytes):
                self._junk(length)
                return
            if end - at - _PREFIX.size < length:
                break
            at += _PREFIX.size
            frame = bytes(self._buffer[at : at + length])
            at += length
            if self.creator is not None:
                frames.append(frame)
            elif not self._greet(frame):
                return
        del self._buffer[:at]
        if frames and self.creator is not None:
            self._owner.received(self.creator, frames)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits for this."""
        if self._limit is not None:
            self._limit.cancel()
        self._transport = None  # asyncio's must not be aborted after its end
        self._owner.down(self)
        if not self.gone.done():
            self.gone.set_result(None)

    # -- for the transport --------------------------------------------------------------------------

    def queue(self, data: bytes) -> None:
        """Keep prefixed frames for the next flush."""
        self._outbox.append(data)
        self._outbox_bytes += len(data)

    def queued_bytes(self) -> int:
        """Bytes that the peer has not taken yet."""
        waiting = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return self._outbox_bytes + waiting

    def flush(self) -> None:
        """Write the queue at once: one write for many frames costs a twentieth of one write for each."""
        if self._outbox and self._transport is not None:
            self._transport.write(b"".join(self._outbox))
        self._outbox.clear()
        self._outbox_bytes = 0

    def pause(self) -> None:
        """Stop reading."""
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None and not self._transport.is_reading():
            self._transport.resume_reading()

    def close(self) -> None:
        """Close when everything is written."""
        if self._transport is not None:
            self.flush()
            self._transport.close()

    def abort(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    # -- private ------------------------------------------------------------------------------------

    def _write(self, frame: bytes) -> None:
        assert self._transport is not None
        self._transport.write(_PREFIX.pack(len(frame)) + frame)

    def _greet(self, frame: bytes) -> bool:
        """Judge the other side's first frame; whether the link is up."""
        if self._dialled is None:
            answer = self._owner.answer(frame)
            if isinstance(answer, Refusal):
                self._owner.refused(None, answer, self._where)
                self._write(encode_refusal(answer))
                self.close()
                return False
            creator, reply = answer
            self._write(reply)
        else:
            refusal = self._owner.check_answer(frame, self._dialled)
            creator = self._dialled.creator
            if refusal is not None:
                self._owner.refused(creator, refusal, self._where)
                self.abort()
                return False
        if self._limit is not None:
            self._limit.cancel()
        self._owner.pending.discard(self)
        self.creator = creator
        self._owner.up(self, creator)
        return True

    def _junk(self, length: int) -> None:
        if self.creator is None:
            dialled = None if self._dialled is None else self._dialled.creator
            self._owner.refused(dialled, Refusal.MALFORMED, self._where)
        else:
            log.warning("closed a link from %s: a frame of %d bytes is not allowed", self._where, length)
        self._buffer.clear()
        self.abort()
