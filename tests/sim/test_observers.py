"""Observers (Q4) in simulated clusters: the same order, whatever happens, and nothing depends on them."""

from __future__ import annotations

import dataclasses
import random
from types import SimpleNamespace
from typing import Any

import pytest

from syncpoint import Network, ObserverError
from syncpoint.core.journal import OwnEvent, decode_record
from syncpoint.errors import ArgumentError
from syncpoint.testing.checkers import Violation
from syncpoint.testing.cluster import Cluster
from syncpoint.testing.delays import Delays

from .test_checkers import Run, status_of

CORES = ["python", pytest.param("mixed", marks=pytest.mark.native)]
EVERYBODY = frozenset(range(6))  # four members and two observers


@pytest.mark.parametrize("cores", CORES)
@pytest.mark.parametrize("order", ["fair", "fast"])
def test_observers_have_the_same_order_under_loss_crashes_and_partitions(cores: str, order: str, seed: int) -> None:
    rng = random.Random(seed)
    delays = Delays(loss=0.02, duplicates=0.02, reordering=0.02)
    with Cluster(4, observers=2, seed=seed, core=cores, network=Network(order=order), delays=delays) as cluster:
        run = Run(cluster, EVERYBODY)
        cluster.start()
        cluster.run(0.1)
        run.load(20)
        for _ in range(4):
            crashed, silent = rng.choice((0, 4, 5)), rng.random() < 0.5
            cluster.crash(crashed, silent=silent)
            run.load(10, (1, 2, 3))
            cluster.partition([4, 5], [0, 1, 2, 3], how=rng.choice(("reset", "hold", "drop")))
            run.load(10, (1, 2, 3))
            cluster.heal()
            cluster.restart(crashed)
            cluster.partition([4, rng.randrange(4)], [5], how=rng.choice(("reset", "hold", "drop")))
            run.load(10, (1, 2, 3))
            cluster.heal()
        run.end(within=20.0)
        for node in cluster.nodes:
            status = node.status()
            assert status is not None
            assert (status.peers, len(status.frontier), status.halted) == (4, 4, None)
            assert status.delivered > 100
            assert status.creator == (node.number if node.number < 4 else None)
        for number in (4, 5):
            records = [decode_record(row.record) for row in cluster.nodes[number].host.disk.events]
            assert records, "an observer stores what it follows ..."
            assert not any(isinstance(record, OwnEvent) for record in records), "... and makes nothing"
        assert set(run.checkers.progress.probes) == set(range(4))


@pytest.mark.parametrize("cores", CORES)
def test_the_network_goes_on_when_all_observers_are_dead(cores: str) -> None:
    with Cluster(4, observers=2, seed=11, core=cores) as cluster:
        run = Run(cluster, EVERYBODY)
        cluster.start()
        cluster.run(0.1)
        for number in (4, 5):
            cluster.crash(number, silent=True)
        run.load(40)
        cluster.crash(3)  # with one member more it is still a quorum
        run.load(20, (0, 1, 2))
        cluster.restart(3)
        run.end()
        assert run.history.last_carrying > 0


def test_two_members_and_all_observers_are_no_quorum(core: str) -> None:
    with Cluster(4, observers=4, seed=12, core=core) as cluster:
        run = Run(cluster, frozenset(range(8)))
        cluster.start()
        cluster.run(0.1)
        cluster.crash(2)
        cluster.crash(3)
        cluster.run(1)
        ordered = run.history.ordered
        run.load(8, (0, 1))
        cluster.run(5)
        assert run.history.ordered == ordered
        assert not any(node.status().has_quorum for node in cluster.running)  # type: ignore[union-attr]
        cluster.restart(2)
        run.end()
        assert run.history.last_carrying > ordered


def test_an_observer_sends_nothing(core: str) -> None:
    with Cluster(1, observers=1, core=core) as cluster:
        cluster.start()
        cluster.run(0.1)
        with pytest.raises(ObserverError):
            cluster.send(1, b"a")
    with pytest.raises(ArgumentError, match="0 or more"):
        Cluster(4, observers=-1)


def test_a_cluster_without_observers_has_the_keys_that_it_always_had() -> None:
    with Cluster(4, core="python") as four, Cluster(4, observers=2, core="python") as more, Cluster(6) as six:
        assert more.secrets[:4] == four.secrets
        assert {secret.public() for secret in more.secrets} == {secret.public() for secret in six.secrets}
        assert [peer.public for peer in more.peers] == [secret.public() for secret in more.secrets]


# -- the checkers see what is wrong with an observer ------------------------------------------------------


def observed(**fields: Any) -> tuple[Cluster, Run]:
    """A cluster whose observer says this of itself."""
    cluster = Cluster(4, observers=1, core="python")
    run = Run(cluster, frozenset(range(5)))
    node = cluster.nodes[4]
    node.host.starts, node.up = 1, True
    status = dataclasses.replace(status_of(4), creator=None, own_round=0, **fields)
    node.machine = SimpleNamespace(status=lambda: status)  # type: ignore[assignment]
    return cluster, run


def test_an_event_of_an_observer_is_a_self_fork() -> None:
    cluster, run = observed()
    with cluster:
        frame = bytes((16,)) + bytes(34) + (4).to_bytes(2, "little") + (1).to_bytes(8, "little") + bytes(100)
        run.checkers.broadcast(4, frame)
        assert [violation.checker for violation in run.checkers.violations] == ["NoSelfFork"]
        run.checkers.quiet_logs.close()


@pytest.mark.parametrize(("floor", "bounded"), [(9_999, True), (9_900, False)])
def test_an_observer_may_keep_no_more_than_what_is_retained(floor: int, bounded: bool) -> None:
    cluster, run = observed(closed_round=19_999, top_round=20_000, floor_round=floor, events=1)
    with cluster:
        if bounded:
            run.checkers.sample()
        else:
            with pytest.raises(Violation, match="rounds that are closed and kept: 10099, at most 10000 are allowed"):
                run.checkers.sample()
        run.checkers.quiet_logs.close()
