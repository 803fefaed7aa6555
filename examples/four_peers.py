"""Four peers in one process, for the examples; in a real application each has a process and a machine of its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from syncpoint import Context, Engine, Genesis, GenesisPeer, KeySecret, PeerRecord, Socket

__all__ = ["four_peers"]


@contextlib.asynccontextmanager
async def four_peers(storage: Path | None = None) -> AsyncIterator[tuple[Genesis, list[Engine]]]:
    """The network that they have in common, and their engines, which stop when this is left."""
    async with Context(storage=storage) as context:
        sockets = [await Socket.bind(context, "127.0.0.1:0") for _ in range(4)]
        secrets = [KeySecret.generate() for _ in sockets]
        genesis = Genesis(
            entries=tuple(
                GenesisPeer(record=PeerRecord.of(secret), address=socket.address)
                for socket, secret in zip(sockets, secrets, strict=True)
            )
        )
        yield (
            genesis,
            [
                await Engine.start(context, socket, genesis.options, secret, genesis.peers(), network=genesis.network)
                for socket, secret in zip(sockets, secrets, strict=True)
            ],
        )
