"""What peers tell each other so that nobody lacks anything for long: frontiers, requests and answers (F1, F3)."""

from __future__ import annotations

from collections.abc import Sequence

from . import wire
from .committee import Committee
from .config import Local, Network
from .dag import Dag
from .error import Reject
from .fetch import Fetcher, Server
from .output import Broadcast, Output, Send, SendStored
from .recover import Recovery
from .values import Event
from .wire import FrameType

__all__ = ["Exchange"]

STALL_NS = 500_000_000  # without a closed round while something waits, before frontiers are exchanged again
STALL_HEARTBEATS = 2  # the same while nothing waits


class Exchange:
    """Compares how far we are with how far the others are, and fills whichever side is behind."""

    def __init__(
        self,
        network: Network,
        committee: Committee,
        local: Local,
        own: int,
        dag: Dag,
        epoch: int,
        outputs: list[Output],
    ) -> None:
        """`epoch` is the number of the epoch; what is to be sent goes to `outputs`."""
        self.fetcher = Fetcher(committee, own, local.pool_bytes_per_sender)
        self.server = Server(dag, committee, network.gc_depth)
        self.recovery = Recovery(committee, own, dag, network.gc_depth)
        self._committee = committee
        self._local = local
        self._dag = dag
        self._epoch = epoch
        self._outputs = outputs
        self._gc_depth = network.gc_depth
        self._observes = own >= committee.n
        self.beyond = 0  # bit set over creators: who says that it is in a later epoch
        self.closed = 0  # the highest round that has closed here
        self.is_begun = True  # the beginning of the epoch is durable: before it is, nobody may count on our being in it
        self._quiet_since = 0  # ns, when a round closed last, or frontiers were exchanged again

    @property
    def is_over(self) -> bool:
        """Whether an honest member has gone on to a later epoch: so many say so of themselves."""
        return self.beyond.bit_count() > self._committee.f

    def is_through(self, peer: int) -> bool:
        """Whether a peer is one of these."""
        return self.is_over and bool(self.beyond >> peer & 1)

    def connected(self, peer: int) -> None:
        """A link is up: say how far we are."""
        self.fetcher.connected(peer)
        self.tell(peer)

    def begin(self) -> None:
        """Say to all that we are in this epoch, and how far (S4)."""
        self.is_begun = True
        for peer in self.fetcher.linked:
            self.tell(peer)

    def tell(self, peer: int) -> None:
        """Say how far we are."""
        self._send_frontier(FrameType.FRONTIER, peer)

    def frame(self, peer: int, kind: int, frame: bytes, now: int) -> Reject | None:
        """Take a REQUEST, FRONTIER or PULL frame."""
        if kind == FrameType.REQUEST:
            digests = wire.decode_request(frame)
            if isinstance(digests, Reject):
                return digests
            return self._send_events(peer, self.server.requested(peer, digests, now))
        epoch = wire.epoch_of_frontier(frame)
        if isinstance(epoch, Reject):
            return epoch
        if epoch > self._epoch:  # it is through with this epoch: what it has of that leads there
            self.beyond |= (peer < self._committee.n) << peer
            self.pull(peer, now)
            return None
        theirs = wire.decode_frontier(frame, self._committee.n)
        if isinstance(theirs, Reject):
            return theirs
        return self._frontier(peer, theirs, pull=kind == FrameType.PULL, now=now)

    def answer(self, peer: int, frame: bytes, now: int) -> Reject | None:
        """Answer a pull for this epoch, which is over (S4)."""
        theirs = wire.decode_frontier(frame, self._committee.n)
        return theirs if isinstance(theirs, Reject) else self._answer(peer, theirs, now)

    def pull(self, peer: int, now: int) -> None:
        """Ask a peer for all that it has above our frontier, unless it is asked already."""
        if not self.is_begun:
            return
        # What closed an epoch that is over may be events that nobody refers to, in slots of which we have others.
        most = self.closed if self.is_over else wire.MAX_ROUND
        above = self.fetcher.pull(peer, self._dag.frontier, most, now)
        if above is not None:
            self._outputs.append(Send(peer, wire.encode_frontier(FrameType.PULL, above, self._epoch)))

    def rest(self, now: int) -> None:
        """Note that all is well: a round closed."""
        self._quiet_since = now

    def poll(self, now: int, *, busy: bool, certain: bool) -> int | None:
        """Ask for what is missing, and for how far the others are when nothing closes; when to look again.

        `busy` says that something waits to be delivered, `certain` that we need nothing from the others to sign.
        """
        requests, due = self.fetcher.poll(now)
        self._outputs += [Send(peer, wire.encode_request(digests)) for peer, digests in requests]
        if not self.fetcher.linked:
            return due
        stall = STALL_NS if busy else STALL_HEARTBEATS * self._local.heartbeat_ns
        if now >= self._quiet_since + stall:  # frames were lost, or too few peers are linked
            self._quiet_since = now
            if certain and self.is_begun:
                self._outputs.append(Broadcast(self._encoded(FrameType.FRONTIER)))
            else:
                for peer in sorted(self.fetcher.linked):
                    if peer < self._committee.n and not self.recovery.is_heard(peer):
                        self._send_frontier(FrameType.PULL, peer)  # whoever is pulled from says how far it is
        return min(at for at in (due, self._quiet_since + stall) if at is not None)

    # -- private --------------------------------------------------------------------------------------

    def _frontier(self, peer: int, theirs: tuple[int, ...], *, pull: bool, now: int) -> Reject | None:
        """Learn how far a peer is; fill whichever side is behind (F3)."""
        if peer < self._committee.n and not self._observes:  # what observers say of us counts for nothing (Q4)
            self.recovery.frontier(peer, theirs)
        floor = self._dag.floor  # what lies so low can no longer be taken (F4)
        ours = [max(round, floor + self._gc_depth if floor else 0) for round in self._dag.frontier]
        behind = any(their > our for their, our in zip(theirs, ours, strict=True))
        if not pull:
            self.fetcher.pulled(peer, is_ahead=behind)
        if behind:
            self.pull(peer, now)
        if pull:
            return self._answer(peer, theirs, now)
        if not behind and any(their < our for their, our in zip(theirs, ours, strict=True)):
            self._send_frontier(FrameType.FRONTIER, peer)
        return None

    def _answer(self, peer: int, theirs: tuple[int, ...], now: int) -> Reject | None:
        """Answer a pull, from the store where we have dropped what comes next."""
        first = self.server.stored_from(theirs) if self._local.stores else None
        last = self._encoded(FrameType.FRONTIER)
        if first is None:
            return self._send_events(peer, self.server.above(peer, theirs, now), last)
        reject = self.server.budget.charge(peer, now)
        if reject is None:
            self._outputs.append(SendStored(peer, self._epoch, first, theirs, Server.BYTES_PER_PULL, last))
        return reject

    def _send_events(self, peer: int, events: Sequence[Event] | Reject, *last: bytes) -> Reject | None:
        if isinstance(events, Reject):
            return events
        self._outputs += [Send(peer, frame) for frame in (*map(wire.encode_event, events), *last)]
        return None

    def _send_frontier(self, type: FrameType, peer: int) -> None:
        if self.is_begun:
            self._outputs.append(Send(peer, self._encoded(type)))

    def _encoded(self, type: FrameType) -> bytes:
        return wire.encode_frontier(type, self._dag.frontier, self._epoch)
