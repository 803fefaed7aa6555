"""One peer of a simulated cluster: its computer, its engine and its machine, and what became of those before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ..core.input import Input
from ..core.output import Output
from ..core.status import Status
from ..engine import Engine
from ..keys import KeySecret
from ..runtime import driver
from ..runtime.tip import Tip
from .world import Host

__all__ = ["Node", "Watched"]


class Node:
    """One peer: its computer, and what is known of the engine on it."""

    def __init__(self, number: int, creator: int, core: str, host: Host) -> None:
        self.number = number  # of the host; twins have one creator and different numbers
        self.creator = creator  # of an observer its number, which is n or more (Q4)
        self.core = core
        self.host = host
        self.engine: Engine | None = None
        self.machine: Watched | None = None
        self.up = False
        self.deaf = False  # its application does not read
        self.hearing: asyncio.Future[None] | None = None
        self.failed: BaseException | None = None
        self.past: list[Status] = []  # what its machines said last, before they died
        self.killed_by: object = None  # who did it, if it is not up
        self.killed_at_ns = 0
        self.killed_computer = False  # and not its process alone
        self.received = 0  # messages that its applications had in the end, from index 0 on
        self.joining = False  # what its next start is told
        self.resume_after: int | None = None  # the same
        self.next_secret: KeySecret | None = None  # once it has asked for another key: its next starts know it

    @property
    def shares(self) -> bool:
        """Whether it is one of several with the same key."""
        return self.host._shared

    @property
    def lacks_own(self) -> bool:
        """Whether own events may be missing in its store, and none was made since (R2)."""
        tip = self.host.disk.read_tip()
        decoded = None if tip is None else Tip.decode(tip)
        return self.host.stores and self.host.starts > 1 and (decoded is None or not decoded.whole)

    def status(self) -> Status | None:
        """What its machine says; None while there is none."""
        return None if self.machine is None else self.machine.status()

    def deliveries(self) -> int:
        """Events that its machines took into their DAGs, ours included."""
        return sum(sum(status.frontier) for status in self.statuses())

    def statuses(self) -> list[Status]:
        """What its machines said last, one for each start."""
        status = self.status()
        return self.past if status is None else [*self.past, status]


class Watched:
    """A machine whose inputs and outputs somebody else sees as well."""

    __slots__ = ("_look", "_machine", "_step")

    def __init__(self, machine: driver.Machine, look: Callable[[Sequence[Input], list[Output]], None] | None) -> None:
        self._machine = machine
        self._step = machine.step
        self._look = look

    def step(self, now: int, inputs: Sequence[Input]) -> list[Output]:
        """As the machine does it."""
        outputs = self._step(now, inputs)
        if self._look is not None:
            self._look(inputs, outputs)
        return outputs

    def status(self) -> Status:
        """As the machine tells it."""
        return self._machine.status()

    def digest(self) -> bytes:
        """As the machine tells it."""
        return self._machine.digest()
