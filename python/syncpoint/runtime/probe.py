"""Asking a peer, as another peer, whether there could be a link; nothing comes of it."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from ..core.crypto import derive
from .dial import connect, explain
from .hello import MAX_HELLO_BYTES, Purpose, Refusal
from .link import prefixed
from .links import LinkPeer, LinkSettings
from .session import Session
from .tls import Tls

__all__ = ["Probe", "probe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What came of asking one peer."""

    refusal: Refusal | None = None
    """Why the other side takes no link; None when it would."""

    error: str | None = None
    """Why there was no answer, and what to do about it; None when there was one."""

    round_trip_ns: int = 0
    """From a HELLO to its answer; 0 when there was none."""

    clock_offset_ns: int = 0
    """The other's clock minus ours, to within half of `round_trip_ns`; 0 when there was no answer."""

    address: str = ""
    """The IP address and port that was reached, "" when none was."""


async def probe(
    seed: bytes,
    network_id: bytes,
    keys: Sequence[bytes],
    peer: LinkPeer,
    max_frame_bytes: int,
    timeout_s: float = 3.0,
) -> Probe:
    """Ask a peer with our key (`seed`, 32 bytes) as a member of a network; our own links stay as they are.

    `keys` are those of its members. It never raises for what the other side or the network does.
    """
    key = derive(seed)
    settings = LinkSettings(
        own=-1,
        seed=seed,
        key=key,
        network_id=network_id,
        epoch_id=network_id,  # nothing depends on it
        max_frame_bytes=max_frame_bytes,
        peers=[peer],
    )
    link: _Question | None = None
    try:
        async with asyncio.timeout(timeout_s):
            tls = Tls(seed, [other for other in keys if other != key])
            link = await connect(lambda: _Question(settings, peer, tls.session(server=False)), peer, 0, timeout_s)
            return await link.answer
    except (OSError, TimeoutError) as error:
        return Probe(error=explain(error), address=link.address if link is not None else "")
    finally:
        if link is not None:
            link.close()


class _Question(asyncio.Protocol):
    """One connection: our HELLO, its answer."""

    def __init__(self, settings: LinkSettings, peer: LinkPeer, session: Session) -> None:
        self.answer: asyncio.Future[Probe] = asyncio.get_running_loop().create_future()
        self.address = ""
        self._settings = settings
        self._peer = peer
        self._session = session
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._asked_at = 0  # ns of the wall clock ...
        self._asked = 0  # ... and of the one that goes on evenly

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is none by its classes
        self._transport = transport
        host, port = transport.get_extra_info("peername")[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.data_received(b"")

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        now = time.monotonic_ns()
        try:
            self._buffer += self._session.take(data)
        except ssl.SSLError as error:
            self._end(Probe(error=explain(error), address=self.address))
            return
        finally:
            self._transport.write(self._session.words())
        if not self._session.established:
            return
        if not self._asked:
            self._ask()
        length = int.from_bytes(self._buffer[:4], "little")
        if len(self._buffer) >= 4 and not 0 < length <= MAX_HELLO_BYTES:
            self._end(Probe(refusal=Refusal.MALFORMED, address=self.address))
        elif len(self._buffer) >= 4 + length:
            answer = self._settings.judge_answer(bytes(self._buffer[4 : 4 + length]), self._peer, self._peer.key)
            took = now - self._asked
            if isinstance(answer, Refusal):
                self._end(Probe(refusal=answer, round_trip_ns=took, address=self.address))
            else:
                offset = answer.time - (self._asked_at + took // 2)
                self._end(Probe(round_trip_ns=took, clock_offset_ns=offset, address=self.address))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._end(Probe(error=explain(exc), address=self.address))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _ask(self) -> None:
        """Whoever answers holds a key: say HELLO, if it is the right one."""
        assert self._transport is not None
        if self._session.key != self._peer.key:
            self._end(Probe(refusal=Refusal.WRONG_PEER, address=self.address))
            return
        self._asked_at, self._asked = self._settings.now(), time.monotonic_ns()
        self._transport.write(self._session.seal(prefixed(self._settings.hello(self._peer, Purpose.PROBE))))

    def _end(self, result: Probe) -> None:
        if not self.answer.done():
            self.answer.set_result(result)
