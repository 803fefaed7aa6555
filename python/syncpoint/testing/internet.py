"""The simulated internet: who can reach whom, how long that takes, and what gets lost on the way."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import SocketBindError
from .delays import Delays
from .loop import VirtualLoop

if TYPE_CHECKING:
    from .transport import SimulatedLinks

__all__ = ["Internet", "Packet", "SimulatedListener", "Wire"]


Packet = tuple[list[bytes], bool]
"""Frames, and whether they count as in flight: the second copy of a packet does not."""


@dataclass(slots=True, eq=False)
class Wire:
    """One connection between two processes."""

    ends: tuple[SimulatedLinks, SimulatedLinks]
    keys: tuple[bytes, bytes]  # that the ends have shown
    numbers: tuple[int, int]  # of the ends: under which the other end knows each
    open: bool = True
    arrives: list[int] = field(default_factory=lambda: [0, 0])  # ns: when the last packet to each end arrives
    in_flight: list[int] = field(default_factory=lambda: [0, 0])  # bytes to each end that it has not read
    held: list[list[Packet]] = field(default_factory=lambda: [[], []])  # what does not get through, and waits behind it
    released: list[bool] = field(default_factory=lambda: [False, False])  # whether that is on its way

    def other(self, links: SimulatedLinks) -> SimulatedLinks:
        """The other end."""
        return self.ends[1] if self.ends[0] is links else self.ends[0]

    def number(self, links: SimulatedLinks) -> int:
        """The number under which one end knows the other one."""
        return self.numbers[1 if self.ends[0] is links else 0]

    def key(self, links: SimulatedLinks) -> bytes:
        """The key that the other end has shown to one end."""
        return self.keys[1 if self.ends[0] is links else 0]


class SimulatedListener:
    """A place where a process takes links."""

    def __init__(self, internet: Internet, host: str, port: int) -> None:
        self.links: SimulatedLinks | None = None  # once there is an engine
        self._internet = internet
        self._where = (host, port)

    def getsockname(self) -> tuple[str, int]:
        """Host and port."""
        return self._where

    def close(self) -> None:
        """Listen no more."""
        self._internet.unbind(self)


class Internet:
    """All wires of one simulation, and who can reach whom."""

    def __init__(self, loop: VirtualLoop, rng: random.Random, delays: Delays) -> None:
        self.loop = loop
        self.rng = rng
        self.delays = delays
        self.usual = delays  # without faults
        self.frames = 0
        self.lost = 0
        self.duplicated = 0
        self.overtaken = 0
        self.held = 0  # packets that waited for the end of a cut
        self.cut_off = 0  # packets that a cut swallowed
        self.pauses = 0  # times that a process stopped to read, as its application did
        self.watch: Callable[[int, bytes], None] | None = None  # sees every frame that a host broadcasts
        self.watch_sent: Callable[[int, bytes], None] | None = None  # sees every other one that a host sends
        self.cut: dict[tuple[int, int], str] = {}  # (from host, to host) -> "hold" or "drop": nothing gets through
        self._cuts: dict[tuple[int, int], dict[object, str]] = {}  # the same, by who cut it
        self.extra_ns: dict[int, int] = {}  # host -> ns that all takes longer from and to it
        self.slow_ns: dict[int, int] = {}  # host -> ns that it needs for each frame
        self._busy: dict[int, int] = {}  # host -> until when it is at work
        self._listeners: dict[tuple[str, int], list[SimulatedListener]] = {}
        self._hosts: dict[str, int] = {}  # by name
        self._next_port = 49_152

    # -- addresses ----------------------------------------------------------------------------------

    def bind(
        self, host: str, port: int, address: str, *, number: int | None = None, shared: bool = False
    ) -> SimulatedListener:
        """Listen; `number` is that of the computer. `shared` lets several processes claim one address, as twins do."""
        if port == 0:
            port, self._next_port = self._next_port, self._next_port + 1
        there = self._listeners.setdefault((host, port), [])
        if there and not shared:
            raise SocketBindError(f"cannot listen at {address}: it is taken in this simulation; choose another port")
        if number is not None:
            self._hosts.setdefault(host, number)
        listener = SimulatedListener(self, host, port)
        there.append(listener)
        return listener

    def unbind(self, listener: SimulatedListener) -> None:
        """Listen no more."""
        there = self._listeners.get(listener.getsockname(), [])
        if listener in there:
            there.remove(listener)

    def listening(self, where: tuple[str, int]) -> list[SimulatedLinks]:
        """Who takes links at an address."""
        return [listener.links for listener in self._listeners.get(where, ()) if listener.links is not None]

    def host_at(self, name: str, number: int) -> int:
        """The number of the computer with a name; `number` while nobody has listened there."""
        return self._hosts.get(name, number)

    # -- faults -------------------------------------------------------------------------------------

    def block(self, source: int, target: int, how: str, by: object = None) -> None:
        """Let nothing through from one host to another: "hold" keeps packets for later, "drop" loses them.

        What several have cut, each for a reason of its own, stays cut until all have mended it.
        """
        self._cuts.setdefault((source, target), {})[by] = how
        self._recut(source, target)

    def unblock(self, source: int, target: int, by: object = None) -> None:
        """Let packets through again, those first that were held, if nobody else stands in their way."""
        self._cuts.get((source, target), {}).pop(by, None)
        self._recut(source, target)

    def unblock_all(self) -> None:
        """End all cuts, whoever made them."""
        self._cuts.clear()
        self.cut.clear()

    def _recut(self, source: int, target: int) -> None:
        hows = self._cuts.get((source, target), {}).values()
        if hows:
            self.cut[source, target] = "drop" if "drop" in hows else "hold"
        else:
            self.cut.pop((source, target), None)

    def reset(self, source: int, target: int) -> None:
        """Break all wires between two hosts."""
        for listeners in list(self._listeners.values()):
            for listener in listeners:
                if listener.links is not None:
                    listener.links.break_wires(source, target)

    def release(self, links: Iterable[SimulatedLinks]) -> None:
        """Deliver what was held and need not be any more."""
        for each in links:
            each.release()

    def ruined(self, links: SimulatedLinks, *, silent: bool) -> None:
        """The process is dead; its system tells the others, unless the whole computer is gone (`silent`)."""
        links.dead = True
        for wire in links.wires():
            if silent:
                continue
            self.break_wire(wire, links)
        self.unbind(links.listener)

    # -- wires --------------------------------------------------------------------------------------

    def delay(self, source: int, target: int) -> int:
        """The delay of one packet, ns."""
        delay = self.delays.draw(self.rng, source, target)
        if self.extra_ns:
            delay += self.extra_ns.get(source, 0) + self.extra_ns.get(target, 0)
        return delay

    def break_wire(self, wire: Wire, by: SimulatedLinks | None) -> None:
        """End a connection; who did it knows at once, the other side after a delay."""
        if not wire.open:
            return
        wire.open = False
        for end in wire.ends:
            if end is by:
                end.gone(wire)
            else:
                delay = 0 if by is None else self.delay(by.host, end.host)
                self.loop.call_at_ns(self.loop.now_ns + delay, end.gone, wire, context=end.context)

    def send(self, wire: Wire, source: SimulatedLinks, frames: list[bytes]) -> None:
        """Put one packet on its way."""
        target = wire.other(source)
        self.frames += len(frames)
        delays, rng = self.delays, self.rng
        side = 0 if wire.ends[0] is target else 1
        at = self.loop.now_ns + self.delay(source.host, target.host)
        if delays.loss and rng.random() < delays.loss:
            self.lost += 1
            return
        if delays.reordering and rng.random() < delays.reordering:
            self.overtaken += 1
        else:
            at = wire.arrives[side] = max(at, wire.arrives[side])
        wire.in_flight[side] += sum(map(len, frames))
        if delays.grain_ns:
            at += -at % delays.grain_ns
        put = self.loop.put
        put(at, target.context, target.arrived, wire, side, frames, True)
        if delays.duplicates and rng.random() < delays.duplicates:
            self.duplicated += 1
            put(at + delays.low_ns, target.context, target.arrived, wire, side, frames, False)
