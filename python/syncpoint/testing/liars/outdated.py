"""A liar that does not let go of epochs that are over, nor of a network that has let go of it."""

from __future__ import annotations

import random
from collections import deque

from ...core import wire
from ...core.crypto import DOMAIN_EVENT
from ...core.dag import Node
from ...core.values import Event
from ...core.wire import FrameType
from ..cluster import Cluster
from .base import LiarSpec
from .forger import Forger
from .knowledge import Knowledge

__all__ = ["Replayer"]

KEPT = 512  # frames of events, of all epochs
MOST = 4  # lies in one tick
WAYS = ("again", "again", "another variant", "another variant", "far frontier", "old pull", "as a member", "old index")
EARLY_WAYS = ("far frontier", "old pull")  # while the first epoch lasts


class Replayer(Forger):
    """Makes right events, and besides sends again what was said in epochs that are over.

    For slots of the epoch before, it signs other variants, which whoever lags there may take. It claims to be in
    epochs that nobody has entered. Once it is removed it goes on, and signs for epochs in which it is no member.
    """

    kind = "replayer"

    def __init__(self, cluster: Cluster, spec: LiarSpec, rng: random.Random) -> None:
        super().__init__(cluster, spec, rng)
        self._frames: deque[tuple[int, bytes]] = deque(maxlen=KEPT)  # epoch, frame
        self._before: Knowledge | None = None
        self._own_before = 0  # our index there

    def heard(self, peer: int, event: Event, frame: bytes) -> None:
        """Keep it."""
        super().heard(peer, event, frame)
        self._frames.append((self.epoch, frame))

    def leave(self) -> None:
        """Remember the epoch that is over."""
        self._before, self._own_before = self.known, self.creator

    def tick(self) -> None:
        """Some lies, to some of those who listen."""
        if not self.linked or not self.lies():
            return
        for way in self.rng.choices(WAYS if self.cluster.starts else EARLY_WAYS, k=self.rng.randint(1, MOST)):
            frame = self._frame(way)
            if frame is not None:
                self.count("lies")
                self.count(way)
                self.send(self.rng.choice(list(self.linked)), frame)

    # -- private --------------------------------------------------------------------------------------

    def _frame(self, way: str) -> bytes | None:
        rng = self.rng
        newest = self.cluster.starts[-1].number if self.cluster.starts else 0
        match way:
            case "again":
                old = [frame for epoch, frame in self._frames if epoch < newest]
                return rng.choice(old) if old else None
            case "another variant":
                return self._variant()
            case "far frontier":
                claim = [rng.choice((0, self.dag.top, 2**40)) for _ in range(self.committee.n)]
                type = rng.choice((FrameType.FRONTIER, FrameType.PULL))
                return wire.encode_frontier(type, claim, newest + rng.choice((0, 1, 2, 2**20)))
            case "old pull":
                size = rng.choice((self.committee.n, rng.randint(1, 10)))
                return wire.encode_frontier(FrameType.PULL, [0] * size, rng.randrange(newest + 1))
            case "as a member":
                return self._signed_for(rng.randrange(len(self.cluster.starts[-1].roster.seats) + 1))
            case _:
                return self._signed_for(self._own_before)

    def _variant(self) -> bytes | None:
        """Another event for one of our last slots in the epoch before."""
        known = self._before
        if known is None:
            return None
        rounds = range(max(1, known.dag.top - 10), known.dag.top + 1)
        own = [node for round in rounds for node in known.dag.row(round).variants[self._own_before]]
        if not own:
            return None
        node: Node = self.rng.choice(own)
        return self._sealed(known.committee.epoch_id, node.creator, node.round, node.event)

    def _signed_for(self, creator: int) -> bytes:
        """An event of the newest epoch with our signature, whoever it says it is by."""
        return self._sealed(
            self.cluster.starts[-1].epoch_id, creator, self.rng.choice((1, 1, max(1, self.dag.top))), None
        )

    def _sealed(self, epoch_id: bytes, creator: int, round: int, like: Event | None) -> bytes:
        at = self.node.host.hardware_clock.wall() if like is None else like.created_at
        parents = () if like is None else like.parents
        transactions = (self.transaction(),)
        header = wire.encode_header(epoch_id, creator, round, at, self.rng.getrandbits(64), parents, (), transactions)
        digest = wire.event_digest(header)
        signature = self.signer.sign(DOMAIN_EVENT + digest)
        return wire.encode_event(Event(creator, round, at, parents, (), transactions, header, digest, signature))
