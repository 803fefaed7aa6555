"""What engines of one application share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from .backend import CoreInfo, core_info, load_core, make_machine
from .core.config import Local, MachineConfig
from .core.retain import Retention
from .core.wire import epoch_id_of
from .errors import ArgumentError, ArgumentTypeError, ContextError
from .proposal import Approve, Proposal, approve_by_default
from .runtime.driver import Machine
from .runtime.rows import Identity
from .runtime.storage import StorageSettings
from .runtime.tip import DURABILITIES
from .runtime.world import RealWorld, World

if TYPE_CHECKING:
    from .engine import Engine
    from .socket import Socket

__all__ = ["Context"]

MIN_RETAIN_BYTES = 1024 * 1024  # a lower limit would be below what a store takes anyway


class Context:
    """The choice of the core and of the store, and the owner of sockets and engines: leaving it stops them all.

    `core` is "auto", "native" or "python". Use it as `async with Context() as context:`; without `async with`, call
    `close` yourself. Any number of contexts, and of engines in one context, can live in one process and one event loop.

    `storage` is the path of a folder, which is made if need be; each engine has a file there, named by its key. None:
    nothing outlives the process. What `durability` promises of our own events, and so of our transactions in them,
    which are on disk before anybody else sees them:

    - "full": nothing is lost when the process dies or the computer loses its power.
    - "normal": nothing is lost when the process dies. When the computer does, the newest ones may be, so no more than
      f computers may at once (docs/storage.md).
    - "memory": they are written soon after they were sent. The newest ones are lost with the process unless it stops
      the engine.

    Where own events may be lost, and when the disk is, the peer notices at its start and signs nothing until the
    others have told it how far it was; so it never contradicts itself. What others have made is fetched again.

    The store keeps the stream for `retain_rounds` rounds (0 or more), or about as much as fits into `retain_bytes`
    (1 MiB or more); None sets no limit. What a start needs it always keeps (docs/storage.md).

    `approve` is the policy by which its engines vote on what others propose: a function of a `Proposal` that returns
    True (approve), False (refuse) or None (`Engine.vote` will). It is called in the event loop and must not block. An
    exception in it is logged and counts as None. After a restart it is asked again about what is still open and where
    our vote is not counted. The default approves SESSION, SNAPSHOT, EPOCH, CUSTOM and KEY_ROTATION.
    Raises ArgumentError, ArgumentTypeError or CoreUnavailable at construction.
    """

    def __init__(
        self,
        core: str = "auto",
        storage: str | os.PathLike[str] | None = None,
        *,
        durability: str = "full",
        retain_rounds: int | None = None,
        retain_bytes: int | None = None,
        approve: Approve | None = None,
    ) -> None:
        self.core: CoreInfo = core_info(core)
        if storage is not None and not isinstance(storage, str | os.PathLike):
            raise ArgumentTypeError(f"Context(storage={storage!r}): give the path of a folder, or None")
        if durability not in DURABILITIES:
            raise ArgumentError(f"Context(durability={durability!r}): give one of {', '.join(DURABILITIES)}")
        _check_limit("retain_rounds", retain_rounds, 0)
        _check_limit("retain_bytes", retain_bytes, MIN_RETAIN_BYTES)
        if approve is not None and not callable(approve):
            raise ArgumentTypeError(f"Context(approve={approve!r}): give a function of a Proposal, or None")
        self._durability = durability
        self._approve: Approve = approve_by_default if approve is None else approve
        self._left_open: Callable[[Proposal], None] = lambda proposal: None  # where a program tells a person of it
        self._retain_rounds = retain_rounds
        self._retain_bytes = retain_bytes
        self._world: World = RealWorld(None if storage is None else Path(storage))
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

    def _storage_settings(self, identity: Identity, local: Local, joining: bool) -> StorageSettings:
        """What the store of one of our engines is told."""
        core = load_core(self.core.name)
        return StorageSettings(
            identity=identity,
            decode=lambda frame: core.decode_event(frame, epoch_id_of(frame[1:]), identity.network),
            locate=core.event_key,
            keep_rounds=lambda network, n: Retention(network, local, n).rounds,
            durability=self._durability,
            retain_rounds=self._retain_rounds,
            retain_bytes=self._retain_bytes,
            joining=joining,
        )

    def _own(self, thing: Engine | Socket) -> None:
        self._owned[thing] = None

    def _disown(self, thing: Engine | Socket) -> None:
        self._owned.pop(thing, None)


def _check_limit(name: str, value: object, low: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentTypeError(f"Context({name}={value!r}): give an integer, or None for no limit")
    if value < low:
        raise ArgumentError(f"Context({name}={value}): give {low} or more, or None for no limit")
