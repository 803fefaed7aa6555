"""Keys of which a network has let go a moment ago: others may not know it yet, and are to hear of it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from contextvars import Context

from .links import LinkPeer, LinkSettings

__all__ = ["Leaving"]

LEAVING_S = 60.0  # that a link with an old key stays, and that a new one may be made with it


class Leaving:
    """Whose old keys still count, and under which number; ours among them.

    A peer that left, or whose key was replaced, keeps its old key for `LEAVING_S`: it may be behind, and has to hear
    from somebody how its epoch ended. The same goes for a key of our own: whoever is behind knows us by no other.
    An old key ends sooner when it comes back, when `forget` says so, or when its number is given to somebody else, as
    one number is one link. Numbers are given in turn, so that takes as many newcomers as there are free numbers.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ended: Callable[[], None], context: Context | None = None):
        """`ended` is called, in `context`, when the time of a key is over."""
        self.peers: dict[bytes, LinkPeer] = {}
        """Other peers by their old keys, as they were."""

        self.seeds: dict[bytes, bytes] = {}
        """Our old public keys, and the secret ones."""

        self._loop = loop
        self._ended = ended
        self._context = context
        self._timers: dict[bytes, asyncio.TimerHandle] = {}

    def change(self, old: LinkSettings, new: LinkSettings) -> None:
        """The peers, or our key, change in one step from `old` to `new`."""
        keys = {new.key, *(peer.key for peer in new.peers)}
        before = {old.own, *(peer.creator for peer in old.peers)}
        newcomers = {new.own, *(peer.creator for peer in new.peers)} - before
        for peer in list(self.peers.values()):
            if peer.key in keys or peer.creator in newcomers:  # it came back, or its number has gone to another
                self._drop(peer.key)
        for key in keys & self.seeds.keys():
            self._drop(key)
        for peer in old.peers:
            if peer.key not in keys:
                self.peers[peer.key] = peer
                self._begin(peer.key)
        if old.key not in keys:
            self.seeds[old.key] = old.seed
            self._begin(old.key)

    def forget(self, number: int) -> bool:
        """Let the old keys of another peer count no more; whether it had any."""
        keys = [peer.key for peer in self.peers.values() if peer.creator == number]
        for key in keys:
            self._drop(key)
        return bool(keys)

    def everybody(self, settings: LinkSettings) -> LinkSettings:
        """The same settings, with those old keys of others that still count behind the current ones."""
        return dataclasses.replace(settings, peers=(*settings.peers, *self.peers.values())) if self.peers else settings

    def faces(self, settings: LinkSettings) -> list[LinkSettings]:
        """As whom we may link: with our current key first, then with what others may know us by."""
        now = self.everybody(settings)
        keys = (*settings.coming, *self.seeds.items())
        return [now, *(dataclasses.replace(now, key=key, seed=seed) for key, seed in keys)]

    def dialled(self, settings: LinkSettings) -> list[LinkPeer]:
        """Whom we dial: by any of our keys and theirs, as the other side may know only the old ones."""
        faces = self.faces(settings)
        latest = {peer.creator: peer for peer in reversed(faces[0].peers)}
        dialled = (peer.creator for peer in faces[0].peers if any(face.dials(peer) for face in faces))
        return [latest[number] for number in dict.fromkeys(dialled)]

    def close(self) -> None:
        """Wait for nothing more."""
        for key in list(self._timers):
            self._drop(key)

    def _begin(self, key: bytes) -> None:
        if key in self._timers:
            self._timers[key].cancel()
        self._timers[key] = self._loop.call_later(LEAVING_S, self._over, key, context=self._context)

    def _over(self, key: bytes) -> None:
        self._drop(key)
        self._ended()

    def _drop(self, key: bytes) -> None:
        self._timers.pop(key).cancel()
        self.peers.pop(key, None)
        self.seeds.pop(key, None)
