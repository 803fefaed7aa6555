"""Who calls for the changes of a simulated network, and when."""

from __future__ import annotations

import functools
import random
from collections.abc import Awaitable, Callable
from contextvars import copy_context

from ..core.values import SyncPointKind
from ..engine import Engine
from ..errors import ArgumentError, EngineStopped, NotAMember, ProposalRejected
from ..message import SyncPoint
from ..record import PeerRecord
from .changes import ChangeSpec
from .check_epochs import EpochCheckers, Wish
from .cluster import PORT, Cluster, Node, spare_secret
from .draw_changes import FEWEST_MEMBERS
from .faults import Crash
from .history import Asked, History
from .scenario import Scenario
from .storage import Store

__all__ = ["Changing"]

MS = 1_000_000
TIMEOUT_S = 0.6  # of consensus time
SPREAD_NS = 30 * MS  # between the first that calls for a change and the last
STUMBLE_NS = 8 * MS  # after which the beginning of an epoch is durable
AWAY_NS = 40 * MS
SECOND_KEYS = 100  # from which number on spare keys take the place of others

Call = Callable[[Engine], Awaitable[SyncPoint]]


class Changing:
    """Lets members call for the changes of a scenario, and those start that are to join."""

    def __init__(self, cluster: Cluster, history: History, checkers: EpochCheckers, scenario: Scenario) -> None:
        self.cluster = cluster
        self.history = history
        self.points = checkers.points
        self.scenario = scenario
        self._rng = random.Random(f"changing/{scenario.seed}")
        self._outside = copy_context()  # what happens in it outlives the process that it happens to
        if scenario.stumbles:
            self.points.entering = self._entering
        self._leaving: set[int] = set()  # whose removal was called for

    def start(self) -> None:
        """Plan it all."""
        for number, spec in enumerate(self.scenario.changes):
            if spec.kind == "join":
                self.cluster.at(spec.started_ns, functools.partial(self.cluster.start, spec.peer))
            self.cluster.at(spec.at_ns, functools.partial(self._call_for, number, spec))

    # -- private --------------------------------------------------------------------------------------

    def _call_for(self, number: int, spec: ChangeSpec) -> None:
        """Let a quorum call for it, or more than that; one calls for its own key."""
        members = sorted(self.points.observed.able)
        found = self._found(spec)
        if found is None:
            return
        wish, call, callers = *found, [spec.peer]
        if spec.kind != "rotate":
            callers = self._rng.sample(
                members, self._rng.randint(min(self.points.observed.q, len(members)), len(members))
            )
        self.points.called.setdefault(wish, set())
        for host in callers:
            at = self.cluster.now_ns + self._rng.randrange(SPREAD_NS)
            self.cluster.at(at, functools.partial(self._ask, host, number, wish, call))

    def _entering(self, node: Node) -> None:
        """Let it die, sometimes, at once or a moment later, when the beginning of the epoch may not be durable."""
        now, end = self.cluster.now_ns, self.scenario.duration_ns
        if now < end - STUMBLE_NS and self._rng.random() < self.scenario.stumbles:
            at = now + self._rng.choice((0, self._rng.randrange(STUMBLE_NS)))
            fall = Crash(
                at_ns=at,
                until_ns=min(at + self._rng.randrange(AWAY_NS), end),
                peer=node.number,
                store=Store.UNSYNCED_LOST.value,
                silent=True,
            )
            self._outside.run(self.cluster.at, at, functools.partial(fall.begin, self.cluster))
            self._outside.run(self.cluster.at, fall.until_ns or end, functools.partial(fall.end, self.cluster))

    def _found(self, spec: ChangeSpec) -> tuple[Wish, Call] | None:
        """What it is today, None if it is nothing."""
        points, public = self.points, self.points.key_of(spec.peer)
        if spec.kind == "join":
            secret = self.cluster.secrets[spec.peer]
            address, record = f"host{spec.peer}:{PORT}", PeerRecord.of(secret)
            return ("joined", secret.public()), lambda engine: engine.vote_add_node(address, record, timeout=TIMEOUT_S)
        if spec.kind == "configure":
            network = spec.network(points.networks[-1])
            return ("configured", network), lambda engine: engine.change_options(network, TIMEOUT_S)
        if public is None or (spec.kind == "rotate" and spec.peer not in self.points.observed.honest):
            return None
        if spec.kind == "leave":
            self._leaving.add(spec.peer)
            if len(set(points.members.values()) - self._leaving) < FEWEST_MEMBERS:
                self._leaving.discard(spec.peer)
                return None
            return ("left", public), lambda engine: engine.vote_remove_node(public, TIMEOUT_S)
        secret = spare_secret(SECOND_KEYS + spec.peer)
        return ("rotated", secret.public()), lambda engine: engine.rotate_key(secret, TIMEOUT_S)

    def _ask(self, host: int, number: int, wish: Wish, call: Call) -> None:
        node = self.cluster.nodes[host]
        if not node.up or node.engine is None or node.host.process.stopped:
            return  # there is no application that could ask
        if wish[0] == "rotated":
            node.next_secret = spare_secret(SECOND_KEYS + host)
            public = node.next_secret.public()
            self.cluster.hosts[bytes(public)] = host
            self.history.rotates(host, public)
        deadline = node.host.hardware_clock.wall() + int(TIMEOUT_S * 1e9)
        metadata = b"change %d, %s, peer %d" % (number, wish[0].encode(), host)
        asked = Asked(host, node.host.starts, SyncPointKind.MEMBERSHIP, metadata, self.cluster.now_ns, deadline)
        self.history.asks(asked)
        self.points.called[wish].add(host)
        self.cluster.spawn(host, functools.partial(self._wait, node.engine, asked, call))

    async def _wait(self, engine: Engine, asked: Asked, call: Call) -> None:
        try:
            point = await call(engine)
        except (ArgumentError, NotAMember, ProposalRejected, EngineStopped) as error:
            self.history.answered(asked, error)
        else:
            self.history.answered(asked, point)
