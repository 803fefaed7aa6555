"""What engines of one application share."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING

from .backend import CoreInfo, core_info, make_machine
from .core.config import MachineConfig
from .errors import ArgumentError, ContextError
from .runtime.driver import Machine
from .runtime.world import RealWorld, World

if TYPE_CHECKING:
    from .engine import Engine
    from .socket import Socket

__all__ = ["Context"]


class Context:
    """The choice of the core, and the owner of sockets and engines: leaving it stops them all.

    `core` is "auto", "native" or "python"; `storage` is None (nothing outlives the process), for now the
    only choice. Use it as `async with Context() as context:`; without `async with`, call `close` yourself.
    Any number of contexts, and of engines in one context, can live in one process and one event loop.
    Raises ArgumentError or CoreUnavailable at construction.
    """

    def __init__(self, core: str = "auto", storage: None = None) -> None:
        self.core: CoreInfo = core_info(core)
        if storage is not None:
            raise ArgumentError(
                f"Context(storage={storage!r}): durable storage is not part of this version: leave storage out"
            )
        self._world: World = RealWorld()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._owned: dict[Engine | Socket, None] = {}

    async def close(self) -> None:
        """Stop all engines and close all sockets of this context; closing twice is fine."""
        self._closed = True
        # All at once, and all of them also when one fails: its error is raised when the others are down.
        endings = await asyncio.gather(*(owned._shut_down() for owned in list(self._owned)), return_exceptions=True)
        self._owned.clear()
        for ending in endings:
            if ending is not None:
                raise ending

    async def __aenter__(self) -> Context:
        self._check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _check(self) -> None:
        """Refuse use after the end, and in two event loops."""
        if self._closed:
            raise ContextError("this context is closed: make a new one")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ContextError("this context is in use in another event loop: make one context per loop")

    def _machine(self, config: MachineConfig) -> Machine:
        """A machine of the core that was chosen."""
        return make_machine(config, self.core.name)

    def _own(self, thing: Engine | Socket) -> None:
        self._owned[thing] = None

    def _disown(self, thing: Engine | Socket) -> None:
        self._owned.pop(thing, None)
