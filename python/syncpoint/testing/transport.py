"""A simulated network: links between processes on virtual time, with all that networks do to them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from contextvars import Context
from dataclasses import dataclass, field

from ..core.error import Reject
from ..errors import SocketBindError
from ..runtime.hello import Refusal
from ..runtime.links import LinkSettings, LinkUser
from ..runtime.penalties import Penalties
from ..runtime.transport import FIRST_REDIAL_S, MAX_REDIAL_S, MAX_SEND_BYTES
from .delays import Delays
from .loop import Process, VirtualLoop

__all__ = ["Internet", "SimulatedLinks", "SimulatedListener", "Wire"]


Packet = tuple[list[bytes], bool]
"""Frames, and whether they count as in flight: the second copy of a packet does not."""


@dataclass(slots=True, eq=False)
class Wire:
    """One connection between two processes."""

    ends: tuple[SimulatedLinks, SimulatedLinks]
    open: bool = True
    arrives: list[int] = field(default_factory=lambda: [0, 0])  # ns: when the last packet to each end arrives
    in_flight: list[int] = field(default_factory=lambda: [0, 0])  # bytes to each end that it has not read
    held: list[list[Packet]] = field(default_factory=lambda: [[], []])  # what does not get through, and waits behind it
    released: list[bool] = field(default_factory=lambda: [False, False])  # whether that is on its way

    def other(self, links: SimulatedLinks) -> SimulatedLinks:
        """The other end."""
        return self.ends[1] if self.ends[0] is links else self.ends[0]


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
        self.cut: dict[tuple[int, int], str] = {}  # (from host, to host) -> "hold" or "drop": nothing gets through
        self._cuts: dict[tuple[int, int], dict[object, str]] = {}  # the same, by who cut it
        self.extra_ns: dict[int, int] = {}  # host -> ns that all takes longer from and to it
        self.slow_ns: dict[int, int] = {}  # host -> ns that it needs for each frame
        self._busy: dict[int, int] = {}  # host -> until when it is at work
        self._listeners: dict[tuple[str, int], list[SimulatedListener]] = {}
        self._next_port = 49_152

    # -- addresses ----------------------------------------------------------------------------------

    def bind(self, host: str, port: int, address: str, *, shared: bool = False) -> SimulatedListener:
        """Listen; `shared` lets several processes claim one address, as twins do."""
        if port == 0:
            port, self._next_port = self._next_port, self._next_port + 1
        there = self._listeners.setdefault((host, port), [])
        if there and not shared:
            raise SocketBindError(f"cannot listen at {address}: it is taken in this simulation; choose another port")
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


class SimulatedLinks:
    """The links of one process, in place of TCP; the same rules of who dials whom."""

    def __init__(
        self,
        internet: Internet,
        listener: SimulatedListener,
        process: Process,
        host: int,
        settings: LinkSettings,
        user: LinkUser,
    ) -> None:
        self.listener = listener
        self.process = process
        self.host = host
        self.settings = settings
        self.own = settings.own
        self.dropped_frames = 0
        self.refusals: dict[int, str] = {}
        self.rejects: dict[Reject, int] = {}  # frames are whole here, so there are none
        self.context: Context = internet.loop.context_of(process)
        self.dead = False
        self._internet = internet
        self._peers = {peer.creator: peer for peer in settings.peers}
        self._user = user
        self._penalties = Penalties()
        self._wires: dict[int, Wire] = {}  # by creator
        self._outbox: dict[Wire, list[bytes]] = {}
        self._pause: dict[int, float] = {}  # creator -> s before dialling again
        self._paused = False
        self._unread: list[tuple[Wire, int, Packet]] = []

    # -- Links --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take links, and dial."""
        self.listener.links = self
        for creator, peer in self._peers.items():
            if self.settings.dials(peer):
                self.dial(creator)

    def send(self, peer: int, frame: bytes) -> None:
        """Queue a frame."""
        wire = self._wires.get(peer)
        if wire is not None:
            self._queue(wire, frame)

    def broadcast(self, frame: bytes) -> None:
        """Queue a frame for everybody."""
        if self._internet.watch is not None:
            self._internet.watch(self.host, frame)
        for wire in self._wires.values():
            self._queue(wire, frame)

    def flush(self) -> None:
        """Send what was queued, one packet per wire."""
        outbox, self._outbox = self._outbox, {}
        for wire, frames in outbox.items():
            if wire.open:
                self._internet.send(wire, self, frames)

    def pause(self) -> None:
        """Keep what arrives unread."""
        self._paused = True
        self._internet.pauses += 1

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        unread, self._unread = self._unread, []
        for wire, side, packet in unread:
            self._take(wire, side, packet)

    def drop(self, peer: int) -> None:
        """Close the link to a peer that sent junk, and keep it out for a while."""
        wire = self._wires.get(peer)
        if wire is not None:
            self._penalties.punish(peer, self._internet.loop.time())
            self._internet.break_wire(wire, self)

    async def close(self) -> None:
        """Send what is queued, and end all."""
        self.flush()
        self.dead = True
        for wire in self.wires():
            self._internet.break_wire(wire, self)
        self.listener.close()

    # -- called by the network ----------------------------------------------------------------------

    def wires(self) -> list[Wire]:
        """All of them."""
        return list(self._wires.values())

    def break_wires(self, source: int, target: int) -> None:
        """Break the wires from one host to another, if we are one of their ends."""
        for wire in self.wires():
            if {end.host for end in wire.ends} == {source, target}:
                self._internet.break_wire(wire, None)

    def dial(self, creator: int) -> None:
        """Try to get a link to a peer, and try again later."""
        if self.dead or not self.process.alive or creator in self._wires:
            return
        at = self._internet.loop.now_ns + self._internet.delay(self.host, creator)
        self._internet.loop.call_at_ns(at, self._knock, creator, context=self.context)
        self._dial_later(creator)

    def keeps_out(self, creator: int) -> bool:
        """Whether a peer sent junk a moment ago."""
        return self._penalties.left(creator, self._internet.loop.time()) > 0

    def up(self, wire: Wire) -> None:
        """A link is up; it replaces an older one to the same peer."""
        creator = wire.other(self).own
        old = self._wires.get(creator)
        if old is not None:
            self._internet.break_wire(old, self)
        self._wires[creator] = wire
        self._pause.pop(creator, None)
        self.refusals.pop(creator, None)
        self._user.connected(creator)

    def gone(self, wire: Wire) -> None:
        """A link has ended."""
        creator = wire.other(self).own
        if self._wires.get(creator) is not wire:
            return
        del self._wires[creator]
        self._outbox.pop(wire, None)
        if self.dead:
            return
        self._user.disconnected(creator)
        if self.settings.dials(self._peers[creator]):
            self._dial_later(creator)

    def arrived(self, wire: Wire, side: int, frames: list[bytes], counted: bool) -> None:
        """A packet is here, if nothing keeps it."""
        internet = self._internet
        source = wire.other(self)
        if not wire.open or self.dead:
            return
        how = internet.cut.get((source.host, self.host))
        if how is not None:
            if how == "hold":
                internet.held += 1
                wire.held[side].append((frames, counted))
            else:
                internet.cut_off += 1
                self._read(wire, side, (frames, counted))
            return
        if wire.held[side] and not internet.delays.reordering:
            wire.held[side].append((frames, counted))  # as with TCP, behind what is to come before
            return
        self._process(wire, side, (frames, counted))

    def release(self) -> None:
        """Let what was held back on the way come, where nothing stands in its way any more."""
        internet = self._internet
        for wire in self.wires():
            side, source = 0 if wire.ends[0] is self else 1, wire.other(self).host
            if wire.held[side] and not wire.released[side] and (source, self.host) not in internet.cut:
                wire.released[side] = True
                at = internet.loop.now_ns + internet.delay(source, self.host)
                if internet.delays.grain_ns:
                    at += -at % internet.delays.grain_ns
                internet.loop.put(at, self.context, self._come, wire, side)

    # -- private ------------------------------------------------------------------------------------

    def _come(self, wire: Wire, side: int) -> None:
        """What was held back is here, unless it is held back again."""
        wire.released[side] = False
        if not wire.open or self.dead or (wire.other(self).host, self.host) in self._internet.cut:
            return
        held, wire.held[side] = wire.held[side], []
        for packet in held:
            self._process(wire, side, packet)

    def _process(self, wire: Wire, side: int, packet: Packet) -> None:
        """Take a packet as soon as there is time for it."""
        internet = self._internet
        cost = internet.slow_ns.get(self.host, 0)
        if cost or internet._busy.get(self.host, 0) > internet.loop.now_ns:
            now = internet.loop.now_ns
            at = internet._busy[self.host] = max(now, internet._busy.get(self.host, 0)) + cost * len(packet[0])
            internet.loop.put(at, self.context, self._take, wire, side, packet)
        else:
            self._take(wire, side, packet)

    def _take(self, wire: Wire, side: int, packet: Packet) -> None:
        if not wire.open:
            return
        if self._paused:
            self._unread.append((wire, side, packet))
            return
        self._read(wire, side, packet)
        self._user.received(wire.other(self).own, packet[0])

    def _read(self, wire: Wire, side: int, packet: Packet) -> None:
        """A packet is not in flight any more."""
        if packet[1]:
            wire.in_flight[side] -= sum(map(len, packet[0]))

    def _queue(self, wire: Wire, frame: bytes) -> None:
        target = 0 if wire.ends[1] is self else 1
        if wire.in_flight[target] + len(frame) > MAX_SEND_BYTES:
            self.dropped_frames += 1
            return
        queued = self._outbox.get(wire)
        if queued is None:
            self._outbox[wire] = [frame]
        else:
            queued.append(frame)

    def _knock(self, creator: int) -> None:
        """What we dialled by is there: whoever listens by now answers, as with peers that start at the same time."""
        internet, peer = self._internet, self._peers[creator]
        reachable = []
        for target in internet.listening((peer.host, peer.port)):
            if (self.host, target.host) in internet.cut or (target.host, self.host) in internet.cut:
                continue
            if target.settings.epoch_id != self.settings.epoch_id:
                self.refusals[creator] = Refusal.NETWORK.advice
            elif target.settings.key != peer.key:
                self.refusals[creator] = Refusal.WRONG_PEER.advice
            elif self.keeps_out(creator) or target.keeps_out(self.own):
                self.refusals[creator] = Refusal.BACK_OFF.advice
            else:
                reachable.append(target)
        if reachable:  # of several with one key and one address, any
            target = reachable[0] if len(reachable) == 1 else internet.rng.choice(reachable)
            at = internet.loop.now_ns + internet.delay(target.host, self.host)
            internet.loop.call_at_ns(at, self._linked, target, context=self.context)

    def _linked(self, target: SimulatedLinks) -> None:
        """The other side has answered."""
        if self.dead or target.dead or not target.process.alive:
            return
        if (self.host, target.host) in self._internet.cut or (target.host, self.host) in self._internet.cut:
            self._dial_later(target.own)
            return
        if target.own in self._wires:
            return
        wire = Wire((self, target))
        target.context.run(target.up, wire)
        self.up(wire)

    def _dial_later(self, creator: int) -> None:
        pause = self._pause.get(creator, FIRST_REDIAL_S)
        self._pause[creator] = min(2 * pause, MAX_REDIAL_S)
        loop = self._internet.loop
        loop.call_later(pause * (0.5 + self._internet.rng.random()), self.dial, creator, context=self.context)
