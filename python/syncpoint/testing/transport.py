"""The links of one simulated process, with all that networks do to them."""

from __future__ import annotations

from contextvars import Context

from ..core.error import Reject
from ..runtime.hello import Refusal
from ..runtime.links import LinkSettings, LinkUser
from ..runtime.penalties import Penalties
from ..runtime.transport import FIRST_REDIAL_S, MAX_REDIAL_S, MAX_SEND_BYTES
from .internet import Internet, Packet, SimulatedListener, Wire
from .loop import Process

__all__ = ["SimulatedLinks"]

SHORTER_PENALTIES = 1000.0  # times: else a liar would be seen with one lie in a scenario, and never again


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
        self._penalties = Penalties(SHORTER_PENALTIES)
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
        if self._internet.watch_sent is not None:
            self._internet.watch_sent(self.host, frame)
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
