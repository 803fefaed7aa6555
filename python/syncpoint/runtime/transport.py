"""Links between peers over TCP and TLS: who is let in, who is called, what is kept for whom (T1, T2)."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Callable
from typing import Any

from ..core.error import Reject
from ..core.roster import NO_SEAT
from .dial import connect, explain
from .gate import Gate, origin_of
from .leaving import Leaving
from .link import READ_BYTES, Face, Link, prefixed
from .links import LinkPeer, LinkSettings, LinkUser
from .penalties import Penalties
from .pulse import LOOK_S, SILENCE_S
from .strangers import Strangers
from .tls import Tls

__all__ = ["Transport"]

log = logging.getLogger("syncpoint.transport")

FIRST_REDIAL_S, MAX_REDIAL_S = 0.05, 2.0
MAX_SEND_BYTES = 16 * 1024 * 1024  # queued for one peer; beyond, frames are dropped: they can be fetched (F1)
CLOSE_TIMEOUT_S = 1.0
MAX_HANDSHAKES = 32  # that have begun with TLS and have not said HELLO; beyond, one of them has to go


class Transport:
    """One link to each other peer; `LinkSettings.dials` says which of two peers calls the other."""

    def __init__(
        self,
        listener: socket.socket,
        settings: LinkSettings,
        user: LinkUser,
        make_tls: Callable[[LinkSettings], Tls] | None = None,
    ) -> None:
        """`make_tls` gives something else than our certificates; only benchmarks and tests have a reason to."""
        self.settings = settings
        self.user = user
        self.dropped_frames = 0
        self.refusals: dict[int, str] = {}  # by peer: why there is no link, as last heard
        self.rejects: dict[Reject, int] = {}
        self.links: set[Link] = set()  # all, from their making to their end
        self.gate = Gate(MAX_HANDSHAKES)
        self.closed = False
        self.faces: dict[bytes, Face] = {}  # by our keys: the current one first
        self._make_tls = make_tls or _tls
        self._strangers = Strangers(listener, self._greeted)
        self.room = memoryview(bytearray(READ_BYTES))  # of all links: what is read is taken out at once
        self._leaving = Leaving(asyncio.get_running_loop(), self._renew)
        self._peers: dict[bytes, LinkPeer] = {}
        self._links: dict[int, Link] = {}
        self._dirty: dict[Link, None] = {}  # with frames that are not written yet
        self._penalties = Penalties()
        self._dialers: dict[LinkPeer, asyncio.Task[None]] = {}
        self._calls = 0  # that we have answered
        self._started = False
        self._watching: asyncio.TimerHandle | None = None
        self._paused = False
        self._renew()

    async def start(self) -> None:
        """Accept and dial."""
        self._started = True
        self._strangers.greet = self.faces[self.settings.key].tls.server is not None
        self._strangers.start()
        self._watching = asyncio.get_running_loop().call_later(LOOK_S, self._watch)
        self._start_dialers()

    def send(self, peer: int, frame: bytes) -> None:
        """Queue a frame for a peer; dropped when there is no link or its queue is full."""
        link = self._links.get(peer)
        if link is not None:
            self._queue(link, prefixed(frame))

    def broadcast(self, frame: bytes) -> None:
        """Queue a frame for every linked peer."""
        data = prefixed(frame)
        for link in self._links.values():
            self._queue(link, data)

    def flush(self) -> None:
        """Write what was queued, in as few writes as can be."""
        for link in self._dirty:
            link.flush()
        self._dirty.clear()

    def pause(self) -> None:
        """Read nothing more from any link until `resume`."""
        self._paused = True
        for link in self._links.values():
            link.pause()

    def resume(self) -> None:
        """Read again."""
        self._paused = False
        for link in self._links.values():
            link.resume()

    def drop(self, peer: int) -> None:
        """Close the link to a peer that sent junk, and keep it out for a while."""
        link = self._links.get(peer)
        if link is not None:
            link.abort()
            assert link.key is not None
            if self._penalties.punish(link.key, asyncio.get_running_loop().time()):
                log.warning("closed the link with peer %d (%s): it sent what no honest peer sends", peer, link.where)

    def begin(self, settings: LinkSettings) -> None:
        """Begin with others; see `Links.begin`."""
        self.settings = settings
        self._renew()

    def change(self, settings: LinkSettings) -> None:
        """Go on with other peers, or another key of ours; see `Links.change`."""
        if self.closed:
            return
        before, self.settings = self.settings, settings
        stay = {peer.creator: peer.key for peer in settings.peers}
        for peer in before.peers:
            if stay.get(peer.creator) != peer.key:
                self.refusals.pop(peer.creator, None)
        self._leaving.change(before, settings)
        self._renew()

    async def close(self) -> None:
        """Write out what is queued, close all links and the listener."""
        self.closed = True
        if self._watching is not None:
            self._watching.cancel()
        self._leaving.close()
        tasks = list(self._dialers.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._strangers.close()
        self.gate.close()
        links = list(self.links)
        for end in (Link.close, Link.abort):
            for link in links:
                end(link)
            if links:
                await asyncio.wait([link.gone for link in links], timeout=CLOSE_TIMEOUT_S)

    # -- called by links ----------------------------------------------------------------------------

    def peer_of(self, key: bytes) -> LinkPeer | None:
        """The peer with a key, which may be an old one; None for a stranger's key."""
        return self._peers.get(key)

    def is_linked(self, peer: int) -> bool:
        """Whether a link to a peer is up."""
        return peer in self._links

    def keeps_out(self, key: bytes) -> bool:
        """Whether junk came from a key a moment ago."""
        return self._penalties.left(key, asyncio.get_running_loop().time()) > 0

    def up(self, link: Link, peer: int) -> None:
        """A link is up; it replaces an older one to the same peer."""
        self.gate.leave(link)
        old = self._links.get(peer)
        if old is not None:
            link.crossed = True
            self._lost(old, peer)
            old.abort()
        self.refusals.pop(peer, None)
        self._links[peer] = link
        if self._paused:
            link.pause()
        self.user.connected(peer)
        if any(each.key == link.key for each in self.settings.peers) and self._leaving.forget(peer):
            self._renew()  # it has shown its new key, so its old ones are worth nothing any more

    def down(self, link: Link) -> None:
        """A link is gone."""
        self.links.discard(link)
        self.gate.leave(link)
        if link.creator is not None and self._links.get(link.creator) is link:
            self._lost(link, link.creator)

    def refused(self, peer: int | None, why: str, where: str) -> None:
        """Note and say, once per reason, why a link did not come about."""
        if peer is None:
            log.info("refused a link from %s: %s", where, why)
        elif self.refusals.get(peer) != why and not self.closed:
            self.refusals[peer] = why
            is_waiting = self.settings.own == NO_SEAT  # to be let in: until then nobody takes us
            level = logging.INFO if is_waiting else logging.WARNING
            log.log(level, "no link with peer %d (%s): %s", peer, where, why)

    def reject(self, link: Link, code: Reject) -> None:
        """A link carried what cannot be a frame."""
        self.rejects[code] = self.rejects.get(code, 0) + 1
        if link.creator is not None and self._links.get(link.creator) is link:
            self.drop(link.creator)
        else:
            link.abort()

    # -- private ------------------------------------------------------------------------------------

    def _queue(self, link: Link, data: bytes) -> None:
        if link.queued_bytes() + len(data) > MAX_SEND_BYTES:
            self.dropped_frames += 1
            return
        link.queue(data)
        self._dirty[link] = None

    def _lost(self, link: Link, peer: int) -> None:
        del self._links[peer]
        self._dirty.pop(link, None)
        if not self.closed:
            self.user.disconnected(peer)

    def _renew(self) -> None:
        """Let go of whom neither the settings nor `Leaving` know, and look for the others."""
        faces = self._leaving.faces(self.settings)
        # What an old TLS context trusts can only grow.
        self.faces = {settings.key: Face(settings, self._make_tls(settings)) for settings in faces}
        self._peers = {peer.key: peer for peer in faces[0].peers}
        for link in [link for link in self.links if link.creator is not None]:  # others are judged by their HELLO
            peer = None if link.key is None else self._peers.get(link.key)
            if peer is None or peer.creator != link.creator or link.face not in self.faces:
                link.abort()
        if self._started and not self.closed:
            self._start_dialers()

    def _watch(self) -> None:
        """Give up links whose other end is gone without a word: then the dialler can try again."""
        loop = asyncio.get_running_loop()
        self._watching = loop.call_later(LOOK_S, self._watch)
        for link in [link for link in self.links if link.is_dead(loop.time())]:
            self.refused(link.creator, f"no answer for {SILENCE_S:g} s: is that machine still connected?", link.where)
            link.abort()

    # -- private: being called ----------------------------------------------------------------------

    def _greeted(self, sock: socket.socket, where: Any) -> None:
        """Somebody calls, and begins to speak TLS."""
        # TLS shows our key before it hears whose key the caller expects: with several, each has its turn.
        face = list(self.faces)[self._calls % len(self.faces)]
        self._calls += 1
        link = Link(self, None, face)
        link.where = str(where)
        task = asyncio.get_running_loop().create_task(self._take(sock, link), name="syncpoint take")
        task.add_done_callback(lambda task: self._taken(task, sock, link))

        def end() -> None:
            link.abort()
            task.cancel()

        self.gate.enter(link, origin_of(where), end)

    async def _take(self, sock: socket.socket, link: Link) -> None:
        """Answer the call; the link finds out who it is."""
        # asyncio leaves accepted sockets to Nagle's algorithm, which costs 40 ms at times.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: link, sock)

    def _taken(self, task: asyncio.Task[None], sock: socket.socket, link: Link) -> None:
        """The call was answered, or was not: then nothing may be left of it."""
        if link.made:
            return
        sock.close()
        if not task.cancelled() and (error := task.exception()) is not None:
            link.tell(explain(error))
        self.down(link)
        if not link.gone.done():
            link.gone.set_result(None)

    # -- private: calling ---------------------------------------------------------------------------

    def _start_dialers(self) -> None:
        loop = asyncio.get_running_loop()
        wanted = self._leaving.dialled(self.settings)
        for peer in self._dialers.keys() - set(wanted):
            self._dialers.pop(peer).cancel()
        for peer in wanted:
            if peer not in self._dialers:
                self._dialers[peer] = loop.create_task(self._dial(peer), name=f"syncpoint dial {peer.creator}")

    async def _dial(self, peer: LinkPeer) -> None:
        """Keep a link to a peer, dialling again with a growing, jittered pause, with each of our keys in turn.

        While one side knows of a new key and the other does not, both may believe that they have to dial.
        """
        loop = asyncio.get_running_loop()
        pause, attempt = FIRST_REDIAL_S, 0
        while True:
            await asyncio.sleep(self._penalties.left(peer.key, loop.time()))
            while (there := self._links.get(peer.creator)) is not None:  # it has called us, or stays with an old key
                await asyncio.shield(there.gone)
            faces = list(self.faces)
            made: list[Link] = []

            def make(made: list[Link] = made, face: bytes = faces[attempt % len(faces)]) -> Link:
                made.append(Link(self, peer, face))
                return made[-1]

            try:
                link = await connect(make, peer, attempt // len(faces))
            except (OSError, TimeoutError) as error:
                self._unreachable(peer, error)
            else:
                await asyncio.shield(link.gone)  # `close` waits for it, too
                if link.creator is not None and not link.crossed:  # it was up: the peer is there, so do not wait long
                    pause, attempt = FIRST_REDIAL_S, -1
            finally:
                self.links.difference_update(link for link in made if not link.made)
            attempt += 1
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
            pause = min(2 * pause, MAX_REDIAL_S)

    def _unreachable(self, peer: LinkPeer, error: BaseException) -> None:
        """Not a warning: peers start one after the other, and some are down."""
        why = explain(error)
        if self.refusals.get(peer.creator) != why:
            self.refusals[peer.creator] = why
            log.info("no link with peer %d (%s:%d): %s", peer.creator, peer.host, peer.port, why)


def _tls(settings: LinkSettings) -> Tls:
    return Tls(settings.seed, [peer.key for peer in settings.peers])
