"""The address at which a peer listens."""

from __future__ import annotations

from types import TracebackType

from .address import parse_address
from .context import Context
from .errors import ArgumentError, ArgumentTypeError
from .runtime.links import Listener

__all__ = ["Socket"]


class Socket:
    """A bound, listening TCP socket; made by `Socket.bind`, used up by `Engine.start`."""

    def __init__(self, context: Context, listener: Listener) -> None:
        self._context = context
        self._listener: Listener | None = listener
        host, port = listener.getsockname()[:2]
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        context._own(self)

    @classmethod
    async def bind(cls, context: Context, address: str) -> Socket:
        """Listen at `address`, "host:port" with a name, an IPv4 or a bracketed IPv6 address; port 0 takes a free one.

        It may differ from the address that the other peers know, as behind a forwarded port: 0.0.0.0 and [::]
        stand for all addresses of this machine. Raises ArgumentError for what is no address, SocketBindError
        when it cannot be bound: taken, not ours, or unknown.
        """
        if not isinstance(context, Context):
            raise ArgumentTypeError(f"Socket.bind: context is a {type(context).__name__}: give a Context")
        context._check()
        host, port = parse_address(address, allow_zero_port=True)
        listener = await context._world.bind(host, port, address)
        try:
            context._check()  # once more: it may have been closed while the name was looked up
        except BaseException:
            listener.close()
            raise
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

    def _take(self) -> Listener:
        """Hand the listener over to an engine."""
        if self._listener is None:
            raise ArgumentError(f"the socket {self._address} is closed or used by an engine: bind another one")
        listener, self._listener = self._listener, None
        self._context._disown(self)
        return listener
