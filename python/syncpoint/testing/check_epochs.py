"""Whether members, keys and settings change as they must, and everything else stays what it was meanwhile (S4, S6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from ..core.input import Input
from ..core.journal import EpochStart, height
from ..core.output import Deliver, Diverged, Entered, Output
from ..core.status import Status
from ..keys import KeyPublic
from ..message import Message, SyncPoint
from ..peers import Peer
from ..runtime.storage import is_event
from .check_order import Agreement, NoDuplicates, NoLoss, TotalOrder, epoch_id_of
from .check_peers import ApiHistory, NoSelfFork, Progress
from .checker import Checker, Observed, Points
from .checkers import Checkers
from .cluster import Node
from .history import Asked, Place, Sent, Stream

__all__ = ["EpochCheckers", "Epochs"]

_ID = slice(3, 35)  # of the epoch, in an EVENT frame
_COUNTED = ("joined", "left", "rotated", "configured")

Wish = tuple[str, object]
"""What is called for: a kind, and whose key or which settings."""


class Epochs(Points):
    """Each adopted change was called for by a quorum, and all members enter the same epoch behind it.

    Nothing is delivered in an epoch of a key that is no member's there. Who was removed receives that as its last
    message, whoever joins meanwhile. Whoever called for a change learns what came of it.
    """

    def __init__(self, observed: Observed) -> None:
        super().__init__(observed)
        cluster = self.cluster
        self.rosters: list[dict[KeyPublic, int]] = [{key: self._host(key) for key in map(_key, cluster.peers)}]
        self.networks = [cluster.network]
        self.called: dict[Wish, set[int]] = {}  # hosts that called for it
        self.removed: dict[int, int] = {}  # host -> index of the sync point that removed it last
        self.numbers = {epoch_id_of(cluster): 0}  # of epochs, by their ids
        self._begins = [0]  # index of the first message of each epoch
        self._starts: dict[int, tuple[object, ...]] = {}  # epoch -> how it begins
        self.entering: Callable[[Node], None] | None = None  # called when a machine enters an epoch
        self._count()

    @property
    def members(self) -> dict[KeyPublic, int]:
        """The hosts of today's members, by their keys."""
        return self.rosters[-1]

    def key_of(self, host: int) -> KeyPublic | None:
        """The key of a host today, None of who is no member."""
        return next((key for key, number in self.members.items() if number == host), None)

    def _host(self, key: KeyPublic) -> int:
        return self.cluster.hosts[bytes(key)]

    # -- what machines say ----------------------------------------------------------------------------

    def stepped(self, node: Node, inputs: Sequence[Input], outputs: Sequence[Output]) -> None:
        """All enter an epoch alike."""
        for output in outputs:
            if isinstance(output, Deliver):
                for done in output.messages:
                    if not is_event(done):
                        self.history.digests[done.index] = done.digest
            elif isinstance(output, Entered):
                self._entered(node, output.start)
            elif isinstance(output, Diverged):
                raise self.violated(node.number, f"others contradict it: {output.divergence}")

    def _entered(self, node: Node, start: EpochStart) -> None:
        self.numbers[start.epoch_id] = start.number
        if self.entering is not None:
            self.entering(node)
        here = (start.epoch_id, start.next_index, start.consensus_at, start.order_hash, start.roster, start.state)
        if start.number not in self._starts:
            self.cluster.starts.append(start)
        known = self._starts.setdefault(start.number, here)
        if here != known:
            raise self.violated(node.number, f"epoch {start.number} begins with {here}, elsewhere with {known}")

    # -- what applications receive --------------------------------------------------------------------

    def received(self, node: Node, message: Message) -> None:
        """It is of a member of its epoch, and its epoch is the one at this index."""
        if isinstance(message, SyncPoint):
            return
        epoch, last = message.epoch, len(self.rosters) - 1
        if epoch > last or message.index < self._begins[epoch]:
            raise self.violated(node.number, f"{message!r} is of epoch {epoch}, which has not begun there")
        if epoch < last and message.index >= self._begins[epoch + 1]:
            raise self.violated(node.number, f"{message!r} is of epoch {epoch}, which is over there")
        if message.creator not in self.rosters[epoch]:
            raise self.violated(node.number, f"{message!r} is of a key that is no member's in epoch {epoch}")

    def pointed(self, stream: Stream, point: SyncPoint, place: Place) -> None:
        """The same as the first one saw there."""
        assert place.point is not None
        if not _alike(point, place.point):
            raise self.violated(stream.node.number, f"at index {point.index} it has {point}, others have {place.point}")

    def ordered(self, place: Place) -> None:
        """A change that enough called for; what it makes of the members is what the others say."""
        before = self.history.order[place.index - 1].consensus_at if place.index else -1
        if place.consensus_at <= before:
            raise self.violated(place.node, f"index {place.index} has the time {place.consensus_at}, behind {before}")
        point = place.point
        if point is None:
            return
        self.counts["sync points"] += 1
        wish = self._wish(point)
        if wish is None:
            return
        approved = {self.members.get(key, -1) for key in point.approvals}
        if len(approved) < self.observed.q or -1 in approved:
            raise self.violated(place.node, f"{point} has too few approvals: {sorted(approved)}")
        approved &= self.observed.honest
        # The default policy approves other keys.
        if wish not in self.called or (wish[0] != "rotated" and not approved <= self.called[wish]):
            raise self.violated(place.node, f"{point} was called for by {self.called.get(wish)}")
        self._apply(place, point)

    def _wish(self, point: SyncPoint) -> Wish | None:
        for kind, keys in (("joined", point.joined), ("left", point.left)):
            if keys:
                return kind, keys[0]
        if point.rotated:
            return "rotated", point.rotated[0][1]
        return None if point.network == self.networks[-1] else ("configured", point.network)

    def _apply(self, place: Place, point: SyncPoint) -> None:
        roster = dict(self.members)
        for key in point.joined:
            roster[key] = self._host(key)
            self.removed.pop(self._host(key), None)
        for key in point.left:
            host = roster.pop(key)
            self.removed[host] = point.index
            if host < self.cluster.n:  # others were started to join, and follow as they did before
                self.observed.stopping.add(host)
        for old, new in point.rotated:
            roster[new] = roster.pop(old)
        if set(map(_key, point.peers)) != set(roster):
            raise self.violated(place.node, f"{point} has other members than {sorted(roster.values())}")
        changed = (point.joined, point.left, point.rotated, point.network != self.networks[-1])
        for what, value in zip(_COUNTED, changed, strict=True):
            self.counts[what] += bool(value)
        self.counts["epochs entered"] += 1
        self.rosters.append(roster)
        self.networks.append(point.network)
        self._begins.append(point.index + 1)
        self._count()

    def _count(self) -> None:
        """Say how many have to agree from here on."""
        n, f = len(self.members), self.networks[-1].f
        self.observed.q = n - ((n - 1) // 3 if f is None else f)
        self.observed.able = frozenset(self.members.values()) & self.observed.honest

    # -- the end --------------------------------------------------------------------------------------

    def pending(self, within_ns: int) -> list[str]:
        """Who has not entered the last epoch, who does not know that it was removed, who waits for an outcome."""
        waits, last = [], len(self.rosters) - 1
        for host in self.observed.able:
            status = self._status(host)
            if status is None or status.epoch != last:
                waits.append(f"peer {host} is in epoch {'?' if status is None else status.epoch}, the last is {last}")
        for host in self.removed.keys() & self.observed.stopping & self.observed.honest:
            index = self.removed[host]
            stream = self.history.streams.get(host)
            if self.cluster.nodes[host].up and (stream is None or stream.last != index or not stream.ended):
                waits.append(f"peer {host} was removed at {index}, and has received up to {stream and stream.last}")
        for asked in self.history.asked.values():
            node = self.cluster.nodes[asked.node]
            if asked.outcome is None and node.up and node.host.starts == asked.incarnation:
                waits.append(f"{asked} has no outcome")
        return waits

    def _status(self, host: int) -> Status | None:
        node = self.cluster.nodes[host]
        return node.status() if node.up else None

    def finish(self) -> None:
        """All that was learned is true, and all members have the same address book, settings and their own keys."""
        for asked in self.history.asked.values():
            self._answered(asked)
        for key, host in self.members.items():
            node, status = self.cluster.nodes[host], self._status(host)
            if node.engine is None or status is None or status.epoch != len(self.rosters) - 1:
                continue  # if it is late, that is for `Progress` to say
            engine = node.engine
            if set(map(_key, engine.peers)) != set(self.members) or engine.network != self.networks[-1]:
                raise self.violated(host, f"it has other members or settings: {engine.peers}, {engine.network}")
            if engine.public != key:
                raise self.violated(host, f"its key is {engine.public}, and must be {key}")

    def _answered(self, asked: Asked) -> None:
        point, order = asked.outcome, self.history.order
        if not isinstance(point, SyncPoint) or point.index >= len(order):
            return
        known = order[point.index].point
        if known is None or not _alike(known, point):
            raise self.violated(asked.node, f"{asked} became {point}, but there is {order[point.index]}")


class _NoLoss(NoLoss):
    """As everywhere, for those that are members today: what a removed one has on its way may be left."""

    def pending(self) -> list[tuple[Sent, Status]]:
        return [(sent, status) for sent, status in super().pending() if sent.node in self.observed.able]


class _Progress(Progress):
    """As everywhere, for those that are members today."""

    def _live(self) -> list[tuple[Node, Status]]:
        members = self.observed.able  # rounds begin anew in each epoch, so nobody is left behind by them
        found = ((node, node.status()) for node in self.observed.nodes() if node.up and node.creator in members)
        return [(node, status) for node, status in found if status is not None and not node.host.process.stopped]


class EpochCheckers(Checkers):
    """Every promise that there is when members change."""

    points: Epochs

    def _observe(self) -> None:
        observed = self.observed
        everybody = frozenset(range(len(self.cluster.secrets)))
        observed.orderers = observed.faithful = observed.single = everybody & observed.honest

    def _promises(self) -> tuple[Checker, ...]:
        observed = self.observed
        no_loss = _NoLoss(observed)
        self.points = Epochs(observed)
        self.progress = _Progress(observed, no_loss, self.points)
        return (
            TotalOrder(observed),
            Agreement(observed),
            self.points,  # before what follows, so that a stranger's event is called that
            NoDuplicates(observed),
            no_loss,
            NoSelfFork(observed),
            ApiHistory(observed),
            self.quiet_logs,
            self.progress,
        )

    def received(self, node: Node, message: Message) -> None:
        """As everywhere; besides, it must fit its epoch."""
        super().received(node, message)
        self._try(self.points.received, node, message)

    def _event(self, node: Node, creator: int, round: int, frame: bytes) -> tuple[int, int]:
        """Creators have other indices, and rounds begin anew, in each epoch: whose event it is, and its height."""
        return node.creator, height(self.points.numbers[frame[_ID]], round)


def _alike(one: SyncPoint, other: SyncPoint) -> bool:
    """In all that is equal everywhere."""
    return dataclasses.replace(one, is_just_synced=other.is_just_synced) == other


def _key(peer: Peer) -> KeyPublic:
    return peer.public
