"""What the rest of a peer knows of its links: whom they lead to, what they carry, who is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..core.error import Reject
from .hello import Hello, Purpose, Refusal, decode_refusal

__all__ = ["LinkPeer", "LinkSettings", "LinkUser", "Links", "Listener"]


@dataclass(frozen=True, slots=True)
class LinkPeer:
    """Another peer of the network, as a transport knows it."""

    creator: int
    """Its number at the seam."""

    key: bytes
    """Its public key, 32 bytes."""

    host: str
    """A name, which is looked up anew for each dial, or an IP address."""

    port: int

    public: bool = False
    """Whether others dial it, so that it need not dial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """Who we are, who the others are, and what is said in a HELLO."""

    own: int
    """Our number at the seam; others may know us by another one, or by none."""

    seed: bytes = field(repr=False)
    """Our secret key, 32 bytes."""

    key: bytes
    """Our public key, 32 bytes."""

    coming: Sequence[tuple[bytes, bytes]] = field(default=(), repr=False)
    """Keys that may be ours for the others already, as we are behind: each public and secret."""

    public: bool = False
    """Whether others dial us."""

    network_id: bytes
    """The id of the network's first epoch, 32 bytes."""

    epoch_id: bytes
    """The id of the epoch that we are in, 32 bytes; it is told in HELLOs, and nothing depends on it."""

    max_frame_bytes: int
    """The largest frame that anybody may send; the same in all epochs, as peers are not in one at a time."""

    peers: Sequence[LinkPeer]
    """All others."""

    now: Callable[[], int] = time.time_ns
    """The time of day in ns; it is told in HELLOs, for people who compare clocks."""

    def dials(self, peer: LinkPeer) -> bool:
        """Whether the link to a peer is ours to make: who can be reached is dialled, else the lower key dials.

        Keys, as two peers in different epochs need not have the same numbers.
        """
        return self.key < peer.key if self.public == peer.public else peer.public

    def hello(self, peer: LinkPeer, purpose: Purpose = Purpose.LINK) -> bytes:
        """Our HELLO frame to a peer."""
        return Hello(
            network_id=self.network_id,
            epoch_id=self.epoch_id,
            key=self.key,
            expected=peer.key,
            max_frame_bytes=self.max_frame_bytes,
            purpose=purpose,
            time=self.now(),
        ).encode()

    def judge(self, hello: Hello, proved: bytes) -> Refusal | None:
        """What a HELLO is worth on a link whose other end holds the key `proved`; None when all is well."""
        if hello.network_id != self.network_id:
            return Refusal.NETWORK
        if hello.key != proved:
            return Refusal.CERTIFICATE
        if hello.key not in {peer.key for peer in self.peers}:
            return Refusal.NOT_A_MEMBER
        if hello.expected != self.key:
            return Refusal.WRONG_PEER
        if hello.max_frame_bytes != self.max_frame_bytes:
            return Refusal.LIMITS
        return None

    def judge_answer(self, frame: bytes, peer: LinkPeer, proved: bytes) -> Hello | Refusal:
        """What the answer to our HELLO is worth: the other's HELLO when it is the peer that we dialled."""
        refusal = decode_refusal(frame)
        if refusal is not None:
            return refusal
        hello = Hello.decode(frame)
        if isinstance(hello, Refusal):
            return hello
        if hello.key != peer.key:
            return Refusal.WRONG_PEER
        return self.judge(hello, proved) or hello


class LinkUser(Protocol):
    """Who is told what happens on the links; peers go by their numbers."""

    def received(self, peer: int, frames: list[bytes], /) -> None:
        """Frames came in."""
        ...

    def connected(self, peer: int, /) -> None:
        """A link is up."""
        ...

    def disconnected(self, peer: int, /) -> None:
        """A link is gone."""
        ...


class Listener(Protocol):
    """A place where links can be taken, bound and listening."""

    def getsockname(self) -> Any:
        """Host, port, and whatever else the kind of address has."""
        ...

    def close(self) -> None:
        """Listen no more."""
        ...


class Links(Protocol):
    """What a driver and an engine have of the links to the other peers."""

    dropped_frames: int
    """Frames that were not sent because a peer's queue was full; it fetches what it lacks (F1)."""

    refusals: dict[int, str]
    """Why there is no link to a peer, and what to do about it, in words."""

    rejects: dict[Reject, int]
    """Frames that were refused before any machine saw them, by code."""

    async def start(self) -> None:
        """Accept and dial."""
        ...

    def send(self, peer: int, frame: bytes) -> None:
        """Queue a frame for a peer; dropped when there is no link or its queue is full."""
        ...

    def broadcast(self, frame: bytes) -> None:
        """Queue a frame for every linked peer."""
        ...

    def flush(self) -> None:
        """Send what was queued."""
        ...

    def pause(self) -> None:
        """Take nothing more from any link until `resume`."""
        ...

    def resume(self) -> None:
        """Take again."""
        ...

    def drop(self, peer: int) -> None:
        """Close the link to a peer that sent junk, and keep it out for a while."""
        ...

    def begin(self, settings: LinkSettings) -> None:
        """Begin with others than those that it was made with; before `start`, and before the first change."""
        ...

    def change(self, settings: LinkSettings) -> None:
        """Go on with other peers, or another key of ours, as one epoch follows the other; one change at a time.

        Peers are who they were as long as they have the same number and key; a new key under an old number is the same
        peer, too. Whoever is not in `settings.peers` any more, or has a new key there, keeps its link for a while, and
        may make new ones with the old key; so may we, if our own key changed (`runtime/leaving.py`). A link with the
        new key replaces one with the old key at once. A number that is given to somebody else, when all other free
        ones had their turn, ends the link of whoever had it. Before `start` it is about what a store remembers.
        """
        ...

    async def close(self) -> None:
        """Close all links and the listener."""
        ...
