"""A simulated computer: the clock, the disk and the network that an engine on it gets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ..context import Context
from ..core.config import Local, MachineConfig
from ..core.crypto import blake3
from ..proposal import Approve
from ..runtime.clock import Clock
from ..runtime.driver import Machine
from ..runtime.links import Links, LinkSettings, LinkUser, Listener
from ..runtime.rows import Identity
from ..runtime.storage import MemoryStorage, Storage, StorageSettings
from ..runtime.store import Store
from .clock import HostClock
from .internet import Internet, SimulatedListener
from .loop import Process, VirtualLoop
from .storage import Disk, SimulatedFile, SimulatedWorker
from .transport import SimulatedLinks

__all__ = ["Host", "SimulatedContext"]


class Host:
    """One simulated computer and the process that runs on it; it is a `World` to that process."""

    threads = 1

    def __init__(
        self,
        loop: VirtualLoop,
        internet: Internet,
        number: int,
        clock: HostClock,
        disk: Disk,
        *,
        signatures: str = "simulated",
        shared: bool = False,
    ) -> None:
        """`shared` lets another host have the same address, as twins do."""
        self.number = number
        self.hardware_clock = clock
        self.disk = disk
        self.signatures = signatures
        self.process = Process(f"host {number}")
        self.starts = 0
        self.open_links: SimulatedLinks | None = None
        self.make: Callable[[MachineConfig], Machine] | None = None  # instead of a core's machine, for liars
        self._loop = loop
        self._internet = internet
        self._shared = shared

    def boot(self) -> Process:
        """A new process; the one before must be dead."""
        self.starts += 1
        self.process = Process(f"host {self.number}, start {self.starts}")
        return self.process

    # -- World --------------------------------------------------------------------------------------

    async def bind(self, host: str, port: int, address: str) -> Listener:
        """Listen in the simulated network."""
        return self._internet.bind(host, port, address, number=self.number, shared=self._shared)

    def clock(self) -> Clock:
        """The clock of this computer."""
        return self.hardware_clock.clock()

    def entropy(self) -> bytes:
        """Foreseeable, so that a run can be repeated; and never the same."""
        return blake3(b"entropy of host %d at start %d" % (self.number, self.starts))

    @property
    def stores(self) -> bool:
        """Whether it has a store; not so a liar with a machine of its own, which is never killed."""
        return self.make is None

    def storage(self, settings: StorageSettings) -> Storage:
        """The store on this computer's disk."""
        if not self.stores:
            return MemoryStorage(settings)
        file = SimulatedFile(self.disk, f"the store of host {self.number}")
        return Store(file, SimulatedWorker(self.disk, self.process), settings)

    def links(self, listener: Listener, settings: LinkSettings, user: LinkUser) -> Links:
        """Links in the simulated network."""
        assert isinstance(listener, SimulatedListener)
        self.open_links = SimulatedLinks(self._internet, listener, self.process, self.number, settings, user)
        return self.open_links


class SimulatedContext(Context):
    """A context whose engines live on a simulated computer; all else is as in `Context`."""

    def __init__(
        self,
        host: Host,
        core: str,
        local: Mapping[str, Any],
        watch: Callable[[Machine], Machine],
        *,
        durability: str = "full",
        retain_rounds: int | None = None,
        approve: Approve | None = None,
    ) -> None:
        """`local` replaces fields of `Local`; `watch` gets each machine that is made, and gives the one that runs."""
        super().__init__(core, durability=durability, retain_rounds=retain_rounds, approve=approve)
        self._world = host
        self._make = host.make or super()._machine
        self._local = local
        self._watch = watch

    def _machine(self, config: MachineConfig) -> Machine:
        config = dataclasses.replace(config, local=dataclasses.replace(config.local, **self._local))
        return self._watch(self._make(config))

    def _storage_settings(self, identity: Identity, local: Local, joining: bool) -> StorageSettings:
        return super()._storage_settings(identity, dataclasses.replace(local, **self._local), joining)
