"""Connections that were accepted and have not said anything that is worth an answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Any

from .dial import HELLO_TIMEOUT_S
from .gate import Gate, origin_of

__all__ = ["Strangers"]

log = logging.getLogger("syncpoint.transport")

MAX_STRANGERS = 64  # that have not greeted; beyond, one of them has to go
MAX_GREETING_BYTES = 4096  # of the first words of TLS; ours have about 300
GREETING_PAUSE_S = 0.05  # before the beginning of a greeting is looked at again
BACKLOG = 1024  # connections that wait to be accepted; a flood must not fill it at once
ACCEPT_PAUSE_S = 0.1  # after the system could not accept: mostly it is out of descriptors
_HANDSHAKE, _MAJOR_VERSION, _RECORD_HEADER_BYTES = 22, 3, 5


class Strangers:
    """Accepts connections, one in each turn of the loop, and hands on those that greet as TLS does.

    What TLS needs for a connection is some twenty kilobytes and a millisecond, far more than an open socket. Whoever
    is silent, or lets the greeting trickle in, is not worth it. The greeting is only looked at, not taken.
    """

    def __init__(self, listener: socket.socket, greeted: Callable[[socket.socket, Any], None]) -> None:
        """`greeted` gets each connection, and the address that it comes from."""
        self.gate = Gate(MAX_STRANGERS)
        self.greet = True  # whether a greeting is waited for
        self._listener = listener
        self._greeted = greeted
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._closed = False

    def start(self) -> None:
        """Accept."""
        self._listener.setblocking(False)
        self._listener.listen(BACKLOG)
        self._wait()

    def close(self) -> None:
        """Accept no more, and send all away."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
        elif self._listener.fileno() >= 0:
            with contextlib.suppress(NotImplementedError):
                self._loop.remove_reader(self._listener)
        if self._pause is not None:
            self._pause.cancel()
        self._listener.close()
        self.gate.close()

    def _wait(self) -> None:
        """Be told of connections. (`sock_accept` loses the one that comes while it is cancelled.)"""
        try:
            self._loop.add_reader(self._listener, self._accept)
        except NotImplementedError:  # a loop of Windows
            self._task = self._loop.create_task(self._accept_all(), name="syncpoint accept")

    def _accept(self) -> None:
        """Take one connection; the loop has other things to do before the next."""
        try:
            sock, where = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # it was here, and is gone
        except OSError as error:
            self._loop.remove_reader(self._listener)
            self._cannot(error)
            self._pause = self._loop.call_later(ACCEPT_PAUSE_S, self._wait)
            return
        self._take(sock, where)

    async def _accept_all(self) -> None:
        while not self._closed:
            try:
                sock, where = await self._loop.sock_accept(self._listener)
            except OSError as error:
                self._cannot(error)
                await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            self._take(sock, where)

    def _cannot(self, error: OSError) -> None:
        log.warning("no link can be taken now: %s", error.strerror)

    def _take(self, sock: socket.socket, where: Any) -> None:
        sock.setblocking(False)
        if not self.greet:
            self._greeted(sock, where)
            return
        stranger = _Stranger(self, sock, where)
        self.gate.enter(stranger, origin_of(where), stranger.close)
        stranger.wait()

    def _look(self, stranger: _Stranger) -> None:
        """See what a stranger has said so far."""
        try:
            words = stranger.sock.recv(MAX_GREETING_BYTES, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            stranger.wait()
            return
        except OSError:
            words = b""
        if len(words) < _RECORD_HEADER_BYTES:
            size = MAX_GREETING_BYTES if words else 0
        elif words[0] == _HANDSHAKE and words[1] == _MAJOR_VERSION:
            size = _RECORD_HEADER_BYTES + int.from_bytes(words[3:5], "big")
        else:
            size = 0
        if not 0 < size <= MAX_GREETING_BYTES:  # gone, or of another protocol
            self.gate.leave(stranger)
            stranger.close()
            log.info("refused a link from %s: it does not speak TLS", stranger.where)
        elif len(words) < size:
            stranger.wait(GREETING_PAUSE_S)  # the loop would tell us without end of what is there already
        else:
            self.gate.leave(stranger)
            stranger.let_go()
            self._greeted(stranger.sock, stranger.where)


class _Stranger:
    """One of them."""

    def __init__(self, owner: Strangers, sock: socket.socket, where: Any) -> None:
        self.sock = sock
        self.where = where
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._limit = self._loop.call_later(HELLO_TIMEOUT_S, self._too_late)
        self._pause: asyncio.TimerHandle | None = None

    def wait(self, pause_s: float = 0.0) -> None:
        """Look as soon as there is something to see, after a pause."""
        if pause_s:
            self._pause = self._loop.call_later(pause_s, self.wait)
            return
        try:
            self._loop.add_reader(self.sock, self._readable)
        except NotImplementedError:  # a loop of Windows: TLS is waited for at once
            self._owner.gate.leave(self)
            self.let_go()
            self._owner._greeted(self.sock, self.where)

    def let_go(self) -> None:
        """Wait for nothing more."""
        self._limit.cancel()
        if self._pause is not None:
            self._pause.cancel()
        with contextlib.suppress(NotImplementedError):
            self._loop.remove_reader(self.sock)

    def close(self) -> None:
        """End the connection."""
        self.let_go()
        self.sock.close()

    def _readable(self) -> None:
        self._loop.remove_reader(self.sock)
        self._owner._look(self)

    def _too_late(self) -> None:
        self._owner.gate.leave(self)
        self.close()
