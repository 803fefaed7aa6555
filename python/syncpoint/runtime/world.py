"""What surrounds an engine: where it gets time, chance, a store and links from."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import socket
from pathlib import Path
from typing import Protocol

from .. import base58
from ..errors import SocketBindError
from .clock import Clock
from .links import Links, LinkSettings, LinkUser, Listener
from .sqlite import SqliteFile
from .storage import MemoryStorage, Storage, StorageSettings
from .store import Store
from .strangers import BACKLOG
from .transport import Transport
from .worker import ThreadWorker

__all__ = ["RealWorld", "World"]


class World(Protocol):
    """All that an engine takes from outside; what is simulated is another one of these (L3)."""

    signatures: str
    """How events are signed: "ed25519", or "simulated" where nothing is real."""

    threads: int
    """How many threads checking signatures may take."""

    async def bind(self, host: str, port: int, address: str) -> Listener:
        """Listen at an address; SocketBindError when that cannot be."""
        ...

    def clock(self) -> Clock:
        """The time of this machine."""
        ...

    def entropy(self) -> bytes:
        """32 bytes that nobody can foresee."""
        ...

    @property
    def stores(self) -> bool:
        """Whether `storage` keeps what it is given."""
        ...

    def storage(self, settings: StorageSettings) -> Storage:
        """The store of the engine that is about to start."""
        ...

    def links(self, listener: Listener, settings: LinkSettings, user: LinkUser) -> Links:
        """The links to the other peers, not started."""
        ...


class RealWorld:
    """This computer: its clocks, its randomness, its network, and a folder of it for stores."""

    signatures = "ed25519"
    threads = os.cpu_count() or 1

    def __init__(self, folder: Path | None = None) -> None:
        """Without a folder nothing outlives the process."""
        self._folder = folder

    async def bind(self, host: str, port: int, address: str) -> Listener:
        """Listen with a TCP socket."""
        family, where = await _look_up(host, port, address)
        tcp = socket.socket(family, socket.SOCK_STREAM)
        try:
            if os.name == "posix":  # elsewhere the option would let two sockets share a port
                tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.setblocking(False)
            tcp.bind(where)
            tcp.listen(BACKLOG)
        except OSError as error:
            tcp.close()
            advice = "choose another port, or port 0 for a free one"
            if error.errno == errno.EADDRNOTAVAIL:
                advice = "this machine has no such address: 0.0.0.0 or [::] stands for all that it has"
            raise SocketBindError(error.errno, f"cannot listen at {address}: {error.strerror}; {advice}") from error
        return tcp

    def clock(self) -> Clock:
        """The system's clocks."""
        return Clock()

    def entropy(self) -> bytes:
        """The system's randomness."""
        return secrets.token_bytes(32)

    @property
    def stores(self) -> bool:
        """Whether there is a folder for stores."""
        return self._folder is not None

    def storage(self, settings: StorageSettings) -> Storage:
        """A file of its own for every key; without a folder a store that forgets."""
        if self._folder is None:
            return MemoryStorage(settings)
        name = f"{base58.encode(settings.identity.public)}.syncpoint"
        return Store(SqliteFile(self._folder / name), ThreadWorker(), settings)

    def links(self, listener: Listener, settings: LinkSettings, user: LinkUser) -> Links:
        """Links over TCP and TLS."""
        assert isinstance(listener, socket.socket)
        return Transport(listener, settings, user)


async def _look_up(host: str, port: int, address: str) -> tuple[socket.AddressFamily, tuple[str, int]]:
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
