"""The address at which a peer listens."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from types import TracebackType

from .address import parse_address
from .context import Context
from .errors import ArgumentError, ArgumentTypeError, SocketBindError

__all__ = ["Socket"]

BACKLOG = 128


class Socket:
    """A bound, listening TCP socket; made by `Socket.bind`, used up by `Engine.start`."""

    def __init__(self, context: Context, listener: socket.socket) -> None:
        self._context = context
        self._listener: socket.socket | None = listener
        host, port = listener.getsockname()[:2]
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        context._own(self)

    @classmethod
    async def bind(cls, context: Context, address: str) -> Socket:
        """Listen at `address`, "host:port" with a name, an IPv4 or a bracketed IPv6 address; port 0 takes a free one.

        Raises ArgumentError for what is no address, SocketBindError when it cannot be bound: taken, not
        ours, unknown, or not a loopback address. Links are not authenticated yet in this version, so
        nothing but loopback may be bound.
        """
        if not isinstance(context, Context):
            raise ArgumentTypeError(f"Socket.bind: context is a {type(context).__name__}: give a Context")
        context._check()
        host, port = parse_address(address, allow_zero_port=True)
        family, where = await resolve(host, port, address)
        require_loopback(where[0], address)
        context._check()  # once more: it may have been closed while the name was looked up
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            if os.name == "posix":  # elsewhere the option would let two sockets share a port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setblocking(False)
            listener.bind(where)
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            raise SocketBindError(
                error.errno,
                f"cannot listen at {address}: {error.strerror}; choose another port, or port 0 for a free one",
            ) from error
        return cls(context, listener)

    @property
    def address(self) -> str:
        """The address bound, "host:port", with the real port where port 0 was asked for."""
        return self._address

    async def close(self) -> None:
        """Stop listening, if no engine has taken the socket; closing twice is fine."""
        self._context._disown(self)
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def __aenter__(self) -> Socket:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"Socket({self._address})"

    async def _shut_down(self) -> None:
        await self.close()

    def _take(self) -> socket.socket:
        """Hand the listener over to an engine."""
        if self._listener is None:
            raise ArgumentError(f"the socket {self._address} is closed or used by an engine: bind another one")
        listener, self._listener = self._listener, None
        self._context._disown(self)
        return listener


async def resolve(host: str, port: int, address: str) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """The first address that a host name stands for."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise SocketBindError(
            error.errno, f"the host of {address} is unknown: {error.strerror}; check its spelling"
        ) from error
    family, _, _, _, where = found[0]
    return family, (str(where[0]), int(where[1]))


def require_loopback(ip: str, address: str) -> None:
    """Refuse all but loopback as long as links are not authenticated."""
    if not ipaddress.ip_address(ip.partition("%")[0]).is_loopback:
        raise SocketBindError(
            f"{address} is not a loopback address: links between peers are not authenticated in this version, "
            "so it takes only 127.0.0.0/8, [::1] and localhost"
        )
