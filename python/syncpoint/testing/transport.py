"""The links of one simulated process, with all that networks do to them."""

from __future__ import annotations

from contextvars import Context

from ..core.error import Reject
from ..runtime.hello import Refusal
from ..runtime.leaving import Leaving
from ..runtime.links import LinkPeer, LinkSettings, LinkUser
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
        self.dropped_frames = 0
        self.refusals: dict[int, str] = {}
        self.rejects: dict[Reject, int] = {}  # frames are whole here, so there are none
        self.context: Context = internet.loop.context_of(process)
        self.dead = False
        self._internet = internet
        self._leaving = Leaving(internet.loop, self._renew, self.context)
        self._keys: list[bytes] = []  # ours: the current one first
        self._peers: dict[bytes, LinkPeer] = {}  # by all keys of theirs
        self._dialled: dict[int, LinkPeer] = {}
        self._user = user
        self._started = False
        self._penalties = Penalties(SHORTER_PENALTIES)
        self._wires: dict[int, Wire] = {}  # by number
        self._outbox: dict[Wire, list[bytes]] = {}
        self._pause: dict[int, float] = {}  # number -> s before dialling again
        self._paused = False
        self._unread: list[tuple[Wire, int, Packet]] = []
        self._renew()

    # -- Links --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take links, and dial."""
        self._started = True
        self.listener.links = self
        for number in self._dialled:
            self.dial(number)

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
            self._penalties.punish(wire.key(self), self._internet.loop.time())
            self._internet.break_wire(wire, self)

    def begin(self, settings: LinkSettings) -> None:
        """Begin with others; see `Links.begin`."""
        self.settings = settings
        self._renew()

    def change(self, settings: LinkSettings) -> None:
        """Go on with other peers, or another key of ours; see `Links.change`."""
        if self.dead:
            return
        before, self.settings = self.settings, settings
        stay = {peer.creator: peer.key for peer in settings.peers}
        for peer in before.peers:
            if stay.get(peer.creator) != peer.key:
                self.refusals.pop(peer.creator, None)
        self._leaving.change(before, settings)
        self._renew()

    async def close(self) -> None:
        """Send what is queued, and end all."""
        self.flush()
        self.dead = True
        self._leaving.close()
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

    def dial(self, number: int) -> None:
        """Try to get a link to a peer, and try again later."""
        peer = self._dialled.get(number)
        if self.dead or not self.process.alive or peer is None or number in self._wires:
            return
        at = self._internet.loop.now_ns + self._internet.delay(self.host, self._internet.host_at(peer.host, number))
        self._internet.loop.call_at_ns(at, self._knock, number, context=self.context)
        self._dial_later(number)

    def keeps_out(self, key: bytes) -> bool:
        """Whether junk came from a key a moment ago."""
        return self._penalties.left(key, self._internet.loop.time()) > 0

    def number_of(self, key: bytes) -> int | None:
        """The number of the peer with a key, which may be an old one; None for a stranger's key."""
        peer = self._peers.get(key)
        return None if peer is None else peer.creator

    def up(self, wire: Wire) -> None:
        """A link is up; it replaces an older one to the same peer."""
        number = wire.number(self)
        old = self._wires.get(number)
        if old is not None:
            self._internet.break_wire(old, self)
        self._wires[number] = wire
        self._pause.pop(number, None)
        self.refusals.pop(number, None)
        self._user.connected(number)
        if any(peer.key == wire.key(self) for peer in self.settings.peers) and self._leaving.forget(number):
            self._renew()  # it has shown its new key, so its old ones are worth nothing any more

    def gone(self, wire: Wire) -> None:
        """A link has ended."""
        number = wire.number(self)
        if self._wires.get(number) is not wire:
            return
        del self._wires[number]
        self._outbox.pop(wire, None)
        if self.dead:
            return
        self._user.disconnected(number)
        if number in self._dialled:
            self._dial_later(number)

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
        self._user.received(wire.number(self), packet[0])

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

    def _renew(self) -> None:
        """Let go of whom neither the settings nor `Leaving` know, and look for the others."""
        if self.dead or not self.process.alive:
            return
        faces = self._leaving.faces(self.settings)
        self._keys = [face.key for face in faces]
        self._peers = {peer.key: peer for peer in faces[0].peers}
        before, self._dialled = self._dialled, {peer.creator: peer for peer in self._leaving.dialled(self.settings)}
        for wire in self.wires():
            if self.number_of(wire.key(self)) != wire.number(self) or wire.key(wire.other(self)) not in self._keys:
                self._internet.break_wire(wire, self)
        if self._started:
            for number in self._dialled:
                if number not in before:  # else that is going on, or the link is up, or `gone` has seen to it
                    self.dial(number)

    def _knock(self, number: int) -> None:
        """What we dialled by is there: whoever listens by now answers, as with peers that start at the same time."""
        internet, peer = self._internet, self._dialled.get(number)
        if peer is None:
            return
        reachable = []
        for target in internet.listening((peer.host, peer.port)):
            if (self.host, target.host) in internet.cut or (target.host, self.host) in internet.cut:
                continue
            found = self._keys_with(target, number)
            if isinstance(found, Refusal):
                self.refusals[number] = found.advice
            elif self.keeps_out(found[1]) or target.keeps_out(found[0]):
                self.refusals[number] = Refusal.BACK_OFF.advice
            else:
                reachable.append(target)
        if reachable:  # of several with one key and one address, any
            target = reachable[0] if len(reachable) == 1 else internet.rng.choice(reachable)
            at = internet.loop.now_ns + internet.delay(target.host, self.host)
            internet.loop.call_at_ns(at, self._linked, target, number, context=self.context)

    def _keys_with(self, target: SimulatedLinks, number: int) -> tuple[bytes, bytes] | Refusal:
        """Our key and that of whom we dialled, with which both know each other.

        Over TLS one pair of keys is tried in each attempt; here all of them at once.
        """
        if target.settings.network_id != self.settings.network_id:
            return Refusal.NETWORK
        theirs = [key for key in target._keys if self.number_of(key) == number]
        if not theirs:
            return Refusal.WRONG_PEER
        ours = [key for key in self._keys if target.number_of(key) is not None]
        if not ours:
            return Refusal.NOT_A_MEMBER
        return ours[0], theirs[0]

    def _linked(self, target: SimulatedLinks, number: int) -> None:
        """The other side has answered."""
        if self.dead or target.dead or not target.process.alive:
            return
        if (self.host, target.host) in self._internet.cut or (target.host, self.host) in self._internet.cut:
            self._dial_later(number)
            return
        keys = self._keys_with(target, number)
        if number in self._wires or isinstance(keys, Refusal):  # one of the two has changed its peers meanwhile
            return
        own = target.number_of(keys[0])
        assert own is not None, "it knows this key of ours"
        wire = Wire((self, target), keys, (own, number))
        target.context.run(target.up, wire)
        self.up(wire)

    def _dial_later(self, number: int) -> None:
        pause = self._pause.get(number, FIRST_REDIAL_S)
        self._pause[number] = min(2 * pause, MAX_REDIAL_S)
        loop = self._internet.loop
        loop.call_later(pause * (0.5 + self._internet.rng.random()), self.dial, number, context=self.context)
