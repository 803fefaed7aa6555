"""What most liars have in common: links of their own, a graph of their own, and a pen."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from ...core import wire
from ...core.committee import Committee
from ...core.config import MAX_PEERS, Member, Network
from ...core.crypto import DOMAIN_EVENT, Signer
from ...core.dag import Node
from ...core.error import Reject
from ...core.roster import Places, Roster
from ...core.values import Event, Item, Parent
from ...core.wire import FrameType
from ...runtime.links import LinkPeer, LinkSettings
from ..cluster import PORT, Cluster
from ..transport import SimulatedLinks
from .base import Liar, LiarSpec
from .knowledge import Knowledge

__all__ = ["Forger", "committee_of"]

T = TypeVar("T")

MS = 1_000_000
TICK_NS = 20 * MS
IDLE_NS = 25 * MS  # after a round, when nobody else is in the next one: about as often as a network at work
HASTE_NS = 2 * MS  # at most so long after somebody else
STALL_NS = 500 * MS  # nothing new: frontiers are exchanged
PULL_PAUSE_NS = 100 * MS
JUMP_ROUNDS = 10  # so far behind, rounds are left out
MAX_PULLED = 256  # events in the answer to a pull
MAX_ANSWERS = 512  # events sent to others on request, in one tick; two liars that flood each other need an end
MAX_ASIDE = 1_024  # own invalid events that are kept; the oldest is forgotten
TRANSACTION_SHARE = 0.2  # of own events
PADDING_TYPE = 999  # of items: unknown, so they are signed, kept and ignored (E5)


@functools.lru_cache(maxsize=16)
def committee_of(network: Network, members: tuple[Member, ...], signatures: str) -> Committee:
    """The committee, once for all liars of a network."""
    return Committee.genesis(network, members, signatures)


class Forger(Liar):
    """Keeps pace with the others and makes one right event in each round; what it does else its kinds say.

    They override `lie`, which makes the events of a round when it is time to lie, `asked` and `pulled`, which answer
    peers, `tick`, and `leave`.
    """

    def __init__(self, cluster: Cluster, spec: LiarSpec, rng: random.Random) -> None:
        super().__init__(cluster, spec, rng)
        self.node = cluster.nodes[spec.creator]
        self.signer = Signer(cluster.secrets[spec.creator]._seed, self.node.host.signatures)
        members = tuple(Member(bytes(peer.public), peer.capabilities.flags) for peer in cluster.peers)
        self.epoch = 0  # the number of the one that we are in
        self.roster = Roster.first(cluster.network, members)
        committee = committee_of(cluster.network, members, self.node.host.signatures)
        self.network_id = committee.epoch_id
        self._begin(committee)
        self.linked: dict[int, None] = {}
        self._links: SimulatedLinks | None = None
        self._next: asyncio.TimerHandle | None = None
        self._next_at = 0  # ns, absolute
        self._pull_at: dict[int, int] = {}  # peer -> not before
        self._answers = MAX_ANSWERS  # left in this tick

    def _begin(self, committee: Committee) -> None:
        """Know nothing, in the epoch of `roster`."""
        self.committee = committee
        self.network = self.roster.network
        self.places = Places(self.roster, committee)
        own = self.roster.seat_of(self.signer.public)
        assert own is not None, "it is a member"
        self.creator = self.places.index_of(own.number)
        self.peers = [seat.number for seat in self.roster.seats if seat.member.orders and seat is not own]
        self.known = Knowledge(committee, self.network)
        self.dag = self.known.dag
        self.tips: list[Node] = []  # our events of the newest round that has any
        self.round = 0  # of these
        self.aside: dict[bytes, Event] = {}  # our events that are in no graph
        self._stuck = (0, 0)  # a round that could not be made, and the events that were known
        self._moved = (0, 0)  # events accepted, and when that changed last

    # -- what kinds of liars override -----------------------------------------------------------------

    def act(self, round: int) -> None:
        """Make the events of the next round; its parents are there."""
        if self.lies():
            self.lie(round)
        else:
            self.behave(round)

    def lie(self, round: int) -> None:
        """Make the events of a round as this kind does."""
        self.behave(round)

    def asked(self, peer: int, digests: list[bytes]) -> None:
        """Answer a request."""
        for digest in self.allowed(digests):
            self.show_again(peer, digest)

    def pulled(self, peer: int, frontier: Sequence[int]) -> None:
        """Answer a pull."""
        for event in self.allowed(self.known.above(frontier, MAX_PULLED)):
            self.send(peer, wire.encode_event(event))
        self.send(peer, self.frontier())

    def allowed(self, answers: Iterable[T]) -> Iterator[T]:
        """As many of these as may still be sent in this tick."""
        for answer in answers:
            if self._answers == 0:
                return
            self._answers -= 1
            yield answer

    def tick(self) -> None:
        """Do what does not depend on rounds; every 20 ms."""

    def leave(self) -> None:
        """Another epoch begins for us: what is known of this one will be forgotten."""

    @property
    def mute(self) -> bool:
        """Whether to make no events now, and answer nobody."""
        return False

    # -- making ---------------------------------------------------------------------------------------

    def behave(self, round: int) -> None:
        """Make one event as an honest peer would, and send it to all."""
        event = self.make(round, self.tip())
        if event is not None:
            self.keep(event)
            self.show(event)

    def tip(self) -> Node | None:
        """One of our newest events."""
        return self.rng.choice(self.tips) if len(self.tips) > 1 else self.tips[0] if self.tips else None

    def make(self, round: int, own: Node | None, *, heed_v8: bool = True, **fields: Any) -> Event | None:
        """An event of a round that builds on `own`, as far as it may; None when there are too few parents."""
        if round == 1:
            return self.sign(round, [], **fields)
        strong = self.known.strong(round, own, heed_v8=heed_v8)
        if strong is None:
            return None
        return self.sign(round, self.with_self(round, strong, own), **fields)

    def with_self(self, round: int, strong: list[Node], own: Node | None) -> list[Node]:
        """These parents and our self-parent, if they are without one (V4)."""
        if any(node.creator == self.creator for node in strong):
            return strong
        lowest = max(1, round - self.network.gc_depth)
        latest = self.known.latest(strong, self.creator, lowest)
        if own is not None and lowest <= own.round < round - 1 and (latest is None or own.round > latest.round):
            latest = own
        return [*strong, latest] if latest is not None else strong

    def sign(
        self,
        round: int,
        parents: Sequence[Node],
        *,
        at: int | None = None,
        transactions: tuple[bytes, ...] | None = None,
        items: tuple[Item, ...] = (),
        references: Sequence[Parent] | None = None,
        epoch_id: bytes | None = None,
    ) -> Event:
        """A signed event with these parents, right or wrong; `at` is its created_at."""
        if at is None:
            own = max((node.created_at for node in parents if node.creator == self.creator), default=0)
            at = max(self.node.host.hardware_clock.wall(), own + 1)  # V5
        if transactions is None:
            transactions = (self.transaction(),) if self.rng.random() < TRANSACTION_SHARE else ()
        if references is None:
            references = sorted(Parent(node.creator, node.round, node.digest) for node in parents)
        salt = self.rng.getrandbits(64)
        epoch_id = epoch_id or self.committee.epoch_id
        header = wire.encode_header(epoch_id, self.creator, round, at, salt, references, items, transactions)
        digest = wire.event_digest(header)
        signature = self.signer.sign(DOMAIN_EVENT + digest)
        return Event(self.creator, round, at, tuple(references), items, transactions, header, digest, signature)

    def transaction(self) -> bytes:
        """One that nobody else sends."""
        return b"lie of %d: %d" % (self.creator, self.rng.getrandbits(64))

    def keep(self, event: Event) -> Node | None:
        """Take an own event into the graph, to build on it; None when it is invalid, so that nobody will."""
        self.count("events")
        if self.known.enter(event) is not None:
            self.count("invalid events")
            if len(self.aside) >= MAX_ASIDE:
                del self.aside[next(iter(self.aside))]
            self.aside[event.digest] = event
            return None
        node = self.dag.get(event.digest)
        assert node is not None, "an event that was taken in is there"
        if node.round > self.round:
            self.round, self.tips = node.round, []
        if node.round == self.round:
            self.tips.append(node)
        return node

    # -- sending --------------------------------------------------------------------------------------

    def send(self, peer: int, frame: bytes) -> None:
        """Queue a frame for a peer."""
        if self._links is not None:
            self._links.send(peer, frame)
            self.count("frames")

    def frontier(self, type: FrameType = FrameType.FRONTIER) -> bytes:
        """A frame that says how far we are."""
        return wire.encode_frontier(type, self.dag.frontier, self.epoch)

    def show(self, event: Event, peers: Sequence[int] | None = None, after_ns: int = 0) -> None:
        """Send an event to all peers, or some; now, or later."""
        if after_ns:
            self.later(after_ns, self.show, event, peers)
            return
        frame = wire.encode_event(event)
        for peer in self.peers if peers is None else peers:
            self.send(peer, frame)

    def show_again(self, peer: int, digest: bytes) -> None:
        """Send an event that was asked for, if we have it."""
        node = self.dag.get(digest)
        event = node.event if node is not None else self.aside.get(digest)
        if event is not None:
            self.send(peer, wire.encode_event(event))

    def later(self, ns: int, action: Callable[..., None], *args: Any) -> asyncio.TimerHandle:
        """Do something after so many ns, unless it is all over by then."""
        assert self._links is not None
        loop = self.cluster.loop
        return loop.call_at_ns(loop.now_ns + ns, self._do, action, args, context=self._links.context)

    # -- running --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen, dial, and take part from when enough peers are linked."""
        cluster, host = self.cluster, self.node.host
        process = host.boot()
        name = f"host{self.spec.creator}"
        listener = cluster.internet.bind(name, PORT, f"{name}:{PORT}")
        host.links(listener, self._settings(), self)
        self._links = host.open_links
        assert self._links is not None
        cluster.loop.spawn(process, self._links.start)
        self.later(TICK_NS, self._tick)

    def host_of(self, number: int) -> int:
        """The number of the host of a peer that has a number at the seam."""
        key = next(seat.member.public for seat in self.roster.seats if seat.number == number)
        return self.cluster.hosts[key]

    def _settings(self) -> LinkSettings:
        """Links with all that are in the roster."""
        own = self.roster.seat_of(self.signer.public)
        assert own is not None, "it is a member"
        others = [
            LinkPeer(seat.number, seat.member.public, f"host{self.host_of(seat.number)}", PORT)
            for seat in self.roster.seats
            if seat is not own
        ]
        return LinkSettings(
            own=own.number,
            seed=b"",  # nothing is encrypted here
            key=self.signer.public,
            network_id=self.network_id,
            epoch_id=self.committee.epoch_id,
            max_frame_bytes=wire.max_frame_bytes(MAX_PEERS, self.network),
            peers=others,
        )

    def _follow(self) -> None:
        """Enter the newest epoch that anybody has entered; where we are no member we stay in the one before."""
        start = self.cluster.starts[-1] if self.cluster.starts else None
        if start is None or start.number == self.epoch or start.roster.seat_of(self.signer.public) is None:
            return
        assert self._links is not None
        self.leave()
        self.epoch, self.roster = start.number, start.roster
        self._begin(start.roster.committee(start.epoch_id, self.node.host.signatures))
        self._links.change(self._settings())

    def _do(self, action: Callable[..., None], args: tuple[Any, ...]) -> None:
        if self.over:
            return
        self._follow()
        action(*args)
        self._consider()
        if self._links is not None:
            self._links.flush()

    def connected(self, peer: int) -> None:
        """A link is up."""
        self.linked[peer] = None
        if not self.mute:
            self._do(self.send, (peer, self.frontier()))

    def disconnected(self, peer: int) -> None:
        """A link is gone."""
        self.linked.pop(peer, None)

    def received(self, peer: int, frames: list[bytes]) -> None:
        """Frames came in."""
        self._do(self._take, (peer, frames))

    def _take(self, peer: int, frames: list[bytes]) -> None:
        for frame in frames:
            kind = frame[0] if frame else None
            if kind == FrameType.EVENT:
                event = wire.decode_event(frame, self.committee.epoch_id, self.network)
                if isinstance(event, Event):
                    self.heard(peer, event, frame)
            elif self.mute:
                continue
            elif kind == FrameType.REQUEST:
                digests = wire.decode_request(frame)
                if not isinstance(digests, Reject):
                    self.asked(peer, digests)
            elif kind in (FrameType.FRONTIER, FrameType.PULL) and wire.epoch_of_frontier(frame) == self.epoch:
                frontier = wire.decode_frontier(frame, self.committee.n)
                if not isinstance(frontier, Reject):
                    if kind == FrameType.PULL:
                        self.pulled(peer, frontier)
                    elif any(theirs > ours for theirs, ours in zip(frontier, self.dag.frontier, strict=True)):
                        self._pull(peer)

    def heard(self, peer: int, event: Event, frame: bytes) -> None:
        """An event came, which may be anything."""
        self.known.learn(event, self.places.index_of(peer), self.cluster.loop.now_ns)
        if event.round > self.dag.top + JUMP_ROUNDS:
            self._pull(peer)

    def _pull(self, peer: int) -> None:
        now = self.cluster.loop.now_ns
        if now >= self._pull_at.get(peer, 0):
            self._pull_at[peer] = now + PULL_PAUSE_NS
            self.send(peer, self.frontier(FrameType.PULL))

    def _tick(self) -> None:
        self.later(TICK_NS, self._tick)
        self._answers = MAX_ANSWERS
        now = self.cluster.loop.now_ns
        for creator, digests in self.known.due(now):
            if creator != self.creator:
                self.send(self.places.number_of(creator), wire.encode_request(digests))
        if self.known.accepted != self._moved[0]:
            self._moved = (self.known.accepted, now)
        elif now >= self._moved[1] + STALL_NS:
            self._moved = (self.known.accepted, now)
            for peer in self.linked:
                self.send(peer, self.frontier())
        if not self.mute:
            self.tick()

    # -- pace -----------------------------------------------------------------------------------------

    def next_round(self) -> int | None:
        """The round whose events to make next; None while its parents are missing."""
        if self.round == 0 and self.dag.top == 0:
            return 1 if len(self.linked) + 1 >= self.committee.q else None
        q = self.committee.q
        if self.dag.top > self.round + JUMP_ROUNDS:
            for round in range(self.dag.top, self.round, -1):
                if self.dag.row(round).creators.bit_count() >= q:
                    return round + 1
        if self.round == 0 or self.dag.row(self.round).creators.bit_count() >= q:
            return self.round + 1
        return None

    def _consider(self) -> None:
        """See to it that the next round is made when it is time: soon after others, or after a while."""
        if self.mute:
            return
        round = self.next_round()
        if round is None or self._stuck == (round, self.known.accepted):
            return
        followed = self.dag.row(round).creators != 0
        now = self.cluster.loop.now_ns
        if self._next is not None:
            if not followed or self._next_at <= now + HASTE_NS:
                return
            self._next.cancel()
        self._next_at = now + (self.rng.randrange(HASTE_NS) if followed else IDLE_NS)
        self._next = self.later(self._next_at - now, self._act)

    def _act(self) -> None:
        self._next = None
        round = None if self.mute else self.next_round()
        if round is not None:
            self.act(round)
            self._stuck = (round, self.known.accepted)
