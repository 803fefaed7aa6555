"""One connection to another peer: HELLO first, then frames, many of them per write (T2)."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, cast

from ..core.error import Reject
from .dial import HELLO_TIMEOUT_S, explain
from .hello import MAX_HELLO_BYTES, Hello, Purpose, Refusal, encode_refusal
from .links import LinkPeer, LinkSettings
from .pulse import Pulse
from .session import Session
from .tls import Tls

if TYPE_CHECKING:
    from .transport import Transport

__all__ = ["Face", "Link", "prefixed"]

READ_BYTES = 64 * 1024  # taken from a link before the other links have their turn
SHUTDOWN_TIMEOUT_S = 1.0  # from our last words until the other side has closed
WRITE_BYTES = 256 * 1024  # given to the system at once; it takes about as much more before it says that it is enough
_PREFIX = struct.Struct("<I")


def prefixed(frame: bytes) -> bytes:
    """A frame as it is on the wire."""
    return _PREFIX.pack(len(frame)) + frame


class Face(NamedTuple):
    """As whom we appear on a link: with one of our keys."""

    settings: LinkSettings
    tls: Tls


class Link(asyncio.BufferedProtocol):
    """One connection.

    It reads into memory that is there: asyncio would take 256 KiB anew for every read, which costs more than the read.
    """

    def __init__(self, owner: Transport, dialled: LinkPeer | None, face: bytes) -> None:
        """`dialled` is whom we called; None for a connection that was accepted. `face` is the key of ours to show."""
        self.creator: int | None = None  # once it is up
        self.key: bytes | None = None  # that the other end has shown to hold
        self.face = face
        self.crossed = False  # whether there was another link when it came up
        self.made = False
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.where = "?"
        self._owner = owner
        self._dialled = dialled
        self._transport: asyncio.Transport | None = None
        self._session: Session
        self._buffer = bytearray()  # the beginning of a frame whose end is still to come
        self._outbox: deque[bytes] = deque()
        self._outbox_bytes = 0
        self._full = False  # the system wants no more for now
        self._reading = True
        self._closing = False  # nothing is heard any more, and nothing queued
        self._ended = False  # nothing is said any more either
        self._told = False  # why there is no link
        self._limit: asyncio.TimerHandle | None = None
        self._pulse: Pulse | None = None
        owner.links.add(self)

    # -- asyncio ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to find out whose key the other end holds, which may not take for ever."""
        transport = cast(asyncio.Transport, transport)  # uvloop's is none by its classes
        self.made = True
        self._transport = transport
        self.where = str(transport.get_extra_info("peername"))
        face = self._owner.faces.get(self.face)
        if self._owner.closed or face is None:
            self.abort()
            return
        self._session = face.tls.session(server=self._dialled is None)
        transport.set_write_buffer_limits(high=WRITE_BYTES)
        loop = asyncio.get_running_loop()
        self._pulse = Pulse(transport.get_extra_info("socket"), loop.time())
        self._limit = loop.call_later(HELLO_TIMEOUT_S, self._too_late)
        self.data_received(b"")  # who dialled speaks first

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where asyncio puts what it reads."""
        return self._owner.room

    def buffer_updated(self, nbytes: int) -> None:
        """So much was read."""
        self.data_received(self._owner.room[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        """Hear what TLS makes of it."""
        if self._transport is None or self._closing:
            return  # the rest of what came before we closed it
        try:
            said = self._session.take(data)
        except ssl.SSLError as error:
            self.tell(explain(error))
            self._end(self._session.words())
            return
        if words := self._session.words():
            self._transport.write(words)
        if self.key is None and self._session.established:
            self._identify()
        if said and not self._closing:
            self._hear(said)
        if self._session.ended:
            self.abort()

    def eof_received(self) -> None:
        """The other side has closed."""
        self.abort()

    def pause_writing(self) -> None:
        """The system has enough."""
        self._full = True

    def resume_writing(self) -> None:
        """The system takes more."""
        self._full = False
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits for this."""
        if self._limit is not None:
            self._limit.cancel()
        self._closing = self._ended = True
        self._transport = None  # asyncio's must not be aborted after its end
        if self._dialled is not None and self.creator is None:
            self.tell(explain(exc))
        self._owner.down(self)
        if not self.gone.done():
            self.gone.set_result(None)

    # -- for the transport --------------------------------------------------------------------------

    def queue(self, data: bytes) -> None:
        """Keep prefixed frames for the next flush."""
        if not self._closing:
            self._outbox.append(data)
            self._outbox_bytes += len(data)

    def queued_bytes(self) -> int:
        """Bytes that the peer has not taken yet, but for what has left for the system already."""
        waiting = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return self._outbox_bytes + waiting

    def is_dead(self, now: float) -> bool:
        """Whether the machine at the other end has not answered for too long; `now` is the event loop's."""
        return self.creator is not None and self._pulse is not None and self._pulse.is_gone(now)

    def flush(self) -> None:
        """Write the queue, as far as the system takes it; one write for many frames costs a twentieth of many."""
        while self._outbox and not self._full and not self._ended and self._transport is not None:
            self._write(self._some())
        if self._closing and not self._ended and not self._outbox:
            self._end(self._session.farewell())

    def pause(self) -> None:
        """Stop reading."""
        if self._transport is not None and self._reading:
            self._reading = False
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None and not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def close(self) -> None:
        """Close when everything is written."""
        if self._transport is not None and not self._closing:
            self._closing = True
            self.resume()  # to see that the other side has closed, too
            self.flush()

    def abort(self) -> None:
        """Close now."""
        self._closing = self._ended = True
        if self._transport is not None:
            self._transport.abort()

    def tell(self, why: str) -> None:
        """Say why there is no link, if it was not said."""
        if not self._told:
            self._told = True
            self._owner.refused(None if self._dialled is None else self._dialled.creator, why, self.where)

    # -- private ------------------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(self._session.seal(data))

    def _end(self, words: bytes) -> None:
        """Say these last words of TLS, if there are any, and close.

        To close while there is something to read would make the system forget what it has not sent; so the other side
        closes first, but soon.
        """
        assert self._transport is not None
        self._closing = self._ended = True
        if not words:
            self._transport.close()
            return
        self._transport.write(words)
        if self._limit is not None:
            self._limit.cancel()
        self._limit = asyncio.get_running_loop().call_later(SHUTDOWN_TIMEOUT_S, self.abort)

    def _some(self) -> bytes:
        """What comes next from the queue, about as much as may be written at once."""
        if self._outbox_bytes <= WRITE_BYTES:
            some = b"".join(self._outbox)
            self._outbox.clear()
        else:
            parts, size = [], 0
            while self._outbox and size < WRITE_BYTES:
                parts.append(self._outbox.popleft())
                size += len(parts[-1])
            some = b"".join(parts)
        self._outbox_bytes -= len(some)
        return some

    def _identify(self) -> None:
        """See whose key the other end holds; speak first when we dialled."""
        self.key = self._session.key
        if self.key is None:
            self._refuse(Refusal.CERTIFICATE)
        elif self._dialled is not None:
            # One whose key was replaced may still show the old one.
            peer = self._dialled if self.key == self._dialled.key else self._owner.peer_of(self.key)
            face = self._owner.faces.get(self.face)
            if peer is None or peer.creator != self._dialled.creator:
                self._refuse(Refusal.WRONG_PEER)
            elif face is None or self._owner.is_linked(peer.creator):  # it has called us meanwhile
                self.abort()
            else:
                self._dialled = peer
                self._write(prefixed(face.settings.hello(peer)))

    def _hear(self, said: bytes) -> None:
        """Take frames out of the stream."""
        self._buffer += said
        frames: list[bytes] = []
        at, end = 0, len(self._buffer)
        while end - at >= _PREFIX.size:
            (length,) = _PREFIX.unpack_from(self._buffer, at)
            most = MAX_HELLO_BYTES if self.creator is None else self._owner.settings.max_frame_bytes
            if not 0 < length <= most:
                self._junk(length, frames)
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
            self._owner.user.received(self.creator, frames)

    def _greet(self, frame: bytes) -> bool:
        """Judge the other side's first frame; whether the link is up."""
        assert self.key is not None
        face = self._owner.faces.get(self.face)
        if face is None:  # the time of this key of ours is over
            self.abort()
            return False
        settings = face.settings
        if self._dialled is not None:
            answer = settings.judge_answer(frame, self._dialled, self.key)
        else:
            hello = Hello.decode(frame)
            answer = hello if isinstance(hello, Refusal) else settings.judge(hello, self.key) or hello
            if isinstance(answer, Hello) and self._owner.keeps_out(answer.key):
                answer = Refusal.BACK_OFF
        if isinstance(answer, Refusal):
            self._refuse(answer)
            return False
        peer = self._owner.peer_of(answer.key)
        assert peer is not None, "it was judged by the same peers"
        if self._dialled is not None and peer.creator != self._dialled.creator:  # its number has changed meanwhile
            self.abort()
            return False
        if self._dialled is None:
            self._write(prefixed(settings.hello(peer)))
            if answer.purpose is Purpose.PROBE:
                self.close()
                return False
        if self._limit is not None:
            self._limit.cancel()
        self.key, self.creator = answer.key, peer.creator
        self._owner.up(self, peer.creator)
        return True

    def _refuse(self, refusal: Refusal) -> None:
        """No link comes about; whoever called us is told why."""
        self.tell(refusal.advice)
        self._buffer.clear()
        if self._dialled is None:
            self._write(prefixed(encode_refusal(refusal)))
            self.close()
        else:
            self.abort()

    def _junk(self, length: int, frames: list[bytes]) -> None:
        """A length that is not allowed: nothing after it can be understood."""
        self._buffer.clear()
        if self.creator is None:
            self.tell(Refusal.MALFORMED.advice)
            self.abort()
            return
        if frames:  # those before it are good, for all we know
            self._owner.user.received(self.creator, frames)
        self._owner.reject(self, Reject.LIMIT if length else Reject.FRAME_EMPTY)

    def _too_late(self) -> None:
        self.tell(explain(TimeoutError()))
        self.abort()
