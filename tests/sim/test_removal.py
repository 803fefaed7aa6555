"""Members that are silent, or sign twice, are removed by themselves where that is asked for (S6)."""

from __future__ import annotations

import dataclasses

import pytest

from syncpoint import Message, Options, PeerCapabilities, Peers, Proposal, SyncPoint
from syncpoint.backend import make_machine
from syncpoint.core.status import Status
from syncpoint.removal import EQUIVOCATOR, FALLEN_BEHIND, LOOKS
from syncpoint.testing.cluster import Cluster, Node
from syncpoint.testing.delays import Delays
from syncpoint.testing.node import Watched

LIMIT_S = 10


class Kicking:
    """A cluster whose peers keep nothing, and the sync points that they receive."""

    def __init__(self, n: int, limit_s: int = LIMIT_S, unkickable: tuple[int, ...] = ()) -> None:
        options = Options(fallen_behind_kick_s=limit_s)
        delays = Delays(kind="fixed", low_ns=2_000_000)
        self.cluster = Cluster(n, seed=1, core="python", options=options, delays=delays)
        self.points: dict[int, list[tuple[float, SyncPoint]]] = {number: [] for number in range(n + 1)}
        self.cluster.received = self._received
        for node in self.cluster.nodes:
            self.without_store(node)
        if unkickable:
            peers = Peers()
            for number, peer in enumerate(self.cluster.peers):
                peers.insert(peer.address, peer.public, PeerCapabilities(unkickable=number in unkickable))
            self.cluster.peers = peers

    def without_store(self, node: Node) -> None:
        node.host.make = lambda config: make_machine(config, "python")

    def _received(self, node: Node, message: Message) -> None:
        if isinstance(message, SyncPoint):
            self.points[node.number].append((self.cluster.now_ns / 1e9, message))

    def epochs(self, *numbers: int) -> list[int]:
        statuses = [self.cluster.nodes[number].status() for number in numbers]
        return [status.epoch for status in statuses if status is not None]

    def __enter__(self) -> Kicking:
        return self

    def __exit__(self, *_: object) -> None:
        self.cluster.close()


def test_a_silent_peer_is_removed_after_its_time_and_once() -> None:
    with Kicking(5) as net:
        cluster = net.cluster
        cluster.start()
        cluster.run(5)
        cluster.crash(4, silent=True)
        cluster.run(LIMIT_S - 1)
        assert net.epochs(0, 1, 2, 3) == [0] * 4
        cluster.run(LIMIT_S / LOOKS + 2)
        assert net.epochs(0, 1, 2, 3) == [1] * 4
        cluster.run(60)
        gone = cluster.secrets[4].public()
        for number in range(4):
            ((at, point),) = net.points[number]
            assert LIMIT_S + 5 - 1 <= at <= LIMIT_S + 5 + LIMIT_S / LOOKS + 2
            assert (point.kicked, point.fallen_behind, point.left) == ((gone,), (gone,), ())
            assert point.metadata == FALLEN_BEHIND
            assert gone not in point.peers
            assert point == net.points[0][0][1]
        cluster.send(0, b"goes on")
        cluster.run(1)
        assert net.epochs(0, 1, 2, 3) == [1] * 4
        # Each asked once at most, as all see about the same at about the same time.
        assert all(len(node.engine.proposals) <= 4 for node in cluster.running if node.engine is not None)


@pytest.mark.parametrize(("limit_s", "unkickable"), [(-1, ()), (LIMIT_S, (4,))])
def test_nobody_is_removed_where_nobody_is_to_be(limit_s: int, unkickable: tuple[int, ...]) -> None:
    with Kicking(5, limit_s, unkickable) as net:
        net.cluster.start()
        net.cluster.run(1)
        net.cluster.crash(4, silent=True)
        net.cluster.run(2 * LIMIT_S)
        assert net.epochs(0, 1, 2, 3) == [0] * 4
        assert all(node.status().proposals == 0 for node in net.cluster.running)  # type: ignore[union-attr]


def test_a_network_that_stood_still_finds_nobody_silent() -> None:
    with Kicking(5) as net:
        net.cluster.start()
        net.cluster.run(1)
        net.cluster.partition([0, 1, 2], [3, 4])
        net.cluster.run(2.5 * LIMIT_S)  # so that what was asked for meanwhile could still be approved
        net.cluster.heal()
        net.cluster.run(5 * LIMIT_S)
        assert net.epochs(0, 1, 2, 3, 4) == [0] * 5
        assert not any(net.points.values())


def test_who_is_back_in_time_stays() -> None:
    with Kicking(5) as net:
        net.cluster.start()
        for _ in range(3):
            net.cluster.run(1)
            net.cluster.partition([0, 1, 2, 3], [4])
            net.cluster.run(LIMIT_S - 3)
            net.cluster.heal()
        net.cluster.run(LIMIT_S)
        assert net.epochs(0, 1, 2, 3, 4) == [0] * 5


class Seeing(Watched):
    """A machine that has seen somebody sign two events for one slot."""

    def status(self) -> Status:
        status = super().status()
        return status if status.epoch else dataclasses.replace(status, equivocators=(4,))


@pytest.mark.parametrize("seen_by", [(0, 1, 2, 3), (0, 1, 2)])
def test_who_signs_twice_is_removed_at_once(seen_by: tuple[int, ...]) -> None:
    with Kicking(5) as net:
        cluster = net.cluster
        for number in seen_by:
            cluster.nodes[number].host.make = lambda config: Seeing(make_machine(config, "python"), None)
        cluster.start()
        cluster.run(LIMIT_S)
        assert all(len(net.points[number]) == (len(seen_by) == 4) for number in range(5))
        if len(seen_by) == 4:
            ((at, point),) = net.points[0]
            assert at <= LIMIT_S / LOOKS + 1
            assert (point.kicked, point.fallen_behind, point.left) == ((cluster.secrets[4].public(),), (), ())
            assert point.metadata == EQUIVOCATOR


def test_by_default_a_peer_approves_what_it_sees_itself_alone() -> None:
    """One peer asks for the removal of another that is well: the others leave that to their applications."""
    with Kicking(5) as net:
        cluster = net.cluster
        cluster.start()
        cluster.run(1)
        engine = cluster.nodes[0].engine
        assert engine is not None
        removal = engine._removal
        well = cluster.secrets[4].public()

        async def ask() -> None:
            removal._ask(well, FALLEN_BEHIND)
            removal._ask(well, FALLEN_BEHIND)  # it has asked

        cluster.spawn(0, ask)
        cluster.run(1)
        found: list[tuple[Proposal, ...]] = [node.engine.proposals for node in cluster.nodes if node.engine]
        assert [[each.leaves for each in proposals] for proposals in found] == [[well]] * 5
        cluster.run(60)
        assert net.epochs(0, 1, 2, 3, 4) == [0] * 5
        assert not any(net.points.values())
