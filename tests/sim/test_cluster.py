"""Simulated clusters of real engines: they agree, and what happens to them is what was asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from syncpoint import Engine, Event, Network
from syncpoint.errors import ArgumentError, QueueFull, SocketBindError
from syncpoint.options import Options
from syncpoint.testing.cluster import Cluster, Node
from syncpoint.testing.delays import Delays
from syncpoint.testing.storage import Store

FIXED = Delays(kind="fixed", low_ns=2_000_000)


class Streams:
    """What the applications received."""

    def __init__(self, cluster: Cluster) -> None:
        self.of: dict[tuple[int, int], list[Event]] = {}
        cluster.received = self.received

    def received(self, node: Node, event: Event) -> None:
        self.of.setdefault((node.number, node.host.starts), []).append(event)

    def transactions(self, number: int, start: int = 1) -> list[bytes]:
        return [each for event in self.of.get((number, start), []) for each in event.transactions]

    def hashes(self, number: int, start: int = 1) -> list[bytes]:
        return [event.order_hash for event in self.of.get((number, start), [])]


def own_round(cluster: Cluster, number: int) -> int:
    status = cluster.nodes[number].status()
    return 0 if status is None else status.own_round


@pytest.fixture
def cluster(core: str) -> Iterator[Cluster]:
    with Cluster(4, seed=3, core=core, delays=FIXED) as made:
        yield made


def test_peers_link_up_and_agree(cluster: Cluster) -> None:
    streams = Streams(cluster)
    cluster.start()
    assert cluster.run_until(lambda: all(len(node.status().linked) == 3 for node in cluster.nodes if node.status()), 1)
    for number in range(40):
        cluster.send(number % 4, b"%d" % number)
        cluster.run(0.003)
    assert cluster.run_until(lambda: all(len(streams.transactions(number)) == 40 for number in range(4)), 5)
    shortest = min(len(streams.hashes(number)) for number in range(4))
    assert len({tuple(streams.hashes(number)[:shortest]) for number in range(4)}) == 1
    assert sorted(streams.transactions(0)) == sorted(b"%d" % number for number in range(40))
    assert cluster.deliveries() == sum(sum(node.status().frontier) for node in cluster.nodes)  # type: ignore[union-attr]


def test_peers_that_start_together_are_linked_after_a_round_trip(cluster: Cluster) -> None:
    """Whoever dials finds who listens when its call arrives; else short scenarios would be over before they begin."""
    cluster.start()
    cluster.run(2 * FIXED.low_ns / 1e9)
    statuses = [node.status() for node in cluster.nodes]
    assert all(status is not None and len(status.linked) == 3 for status in statuses)


def test_an_application_of_ones_own_runs_in_every_peer(core: str) -> None:
    final: dict[bytes, int] = {}

    async def application(engine: Engine) -> None:
        receipt = await engine.submit(bytes(engine.public))
        final[bytes(engine.public)] = receipt.index
        async for _ in engine:
            pass

    with Cluster(4, seed=1, core=core, app=application) as cluster:
        cluster.start()
        assert cluster.run_until(lambda: len(final) == 4, 5)


def test_a_crashed_peer_starts_again_with_its_journal_and_gets_the_same_stream(cluster: Cluster) -> None:
    streams = Streams(cluster)
    cluster.start()
    cluster.run(0.1)
    cluster.send(2, b"before")
    cluster.run(0.1)
    cluster.crash(2)
    assert not cluster.nodes[2].up
    cluster.send(0, b"meanwhile")
    cluster.run(0.2)
    assert b"meanwhile" in streams.transactions(1), "three of four go on"
    cluster.restart(2)
    assert cluster.run_until(lambda: b"meanwhile" in streams.transactions(2, start=2), 10)
    again, before = streams.hashes(2, start=2), streams.hashes(2)
    assert again[: len(before)] == before
    cluster.send(2, b"after")
    assert cluster.run_until(lambda: b"after" in streams.transactions(3), 10)
    assert not any(status.halted for node in cluster.nodes for status in node.statuses())


def test_a_peer_whose_store_is_lost_asks_the_others_and_goes_on_above(cluster: Cluster) -> None:  # R2
    cluster.start()
    cluster.run(0.5)
    before = own_round(cluster, 1)
    cluster.crash(1, silent=True)
    cluster.run(0.1)
    cluster.restart(1, Store.LOST)
    assert cluster.run_until(lambda: own_round(cluster, 1) > before, 10)
    assert not any(status.halted for node in cluster.nodes for status in node.statuses())


def test_an_application_goes_on_where_it_was(cluster: Cluster) -> None:
    streams = Streams(cluster)
    cluster.start()
    cluster.run(0.05)
    for number in range(20):
        cluster.send(number % 4, b"%d" % number)
        cluster.run(0.01)
    before = streams.hashes(2)
    for resume_after in (-1, 3, len(before) - 1, len(before) + 1):  # one that is ahead of its store as well
        cluster.crash(2)
        cluster.restart(2, resume_after=resume_after)
        start = cluster.nodes[2].host.starts
        cluster.send(0, b"after %d" % resume_after)
        assert cluster.run_until(lambda start=start: bool(streams.of.get((2, start))), 5)  # type: ignore[misc]
        cluster.run(0.5)
        whole = streams.hashes(0)
        assert streams.hashes(2, start) == whole[resume_after + 1 : resume_after + 1 + len(streams.hashes(2, start))]
        assert len(whole) - len(before) >= 4


def test_a_store_keeps_no_more_than_it_is_told(core: str) -> None:
    network, local = Network(gc_depth=10), {"retain_events": 0}
    with Cluster(4, seed=3, core=core, delays=FIXED, network=network, local=local, retain_rounds=30) as cluster:
        streams = Streams(cluster)
        cluster.start()
        cluster.run(0.05)
        for number in range(400):
            cluster.send(number % 4, b"%d" % number)
            cluster.run(0.005)
        disk = cluster.nodes[1].host.disk
        assert disk.now.first_event > 256
        first = disk.now.first_index
        assert first > 256
        cluster.crash(1)
        cluster.restart(1, resume_after=first - 1)
        cluster.run(0.2)
        assert streams.hashes(1, 2)[0] == streams.hashes(0)[first]


@pytest.mark.parametrize("how", ["reset", "hold", "drop"])
def test_nothing_is_final_while_the_network_is_cut_in_half(cluster: Cluster, how: str) -> None:
    streams = Streams(cluster)
    cluster.start()
    cluster.run(0.1)
    cluster.partition((0, 1), (2, 3), how=how)
    cluster.run(0.05)
    cluster.send(0, b"one side")
    cluster.send(3, b"other side")
    cluster.run(3)
    assert not any(streams.transactions(number) for number in range(4))
    cluster.heal()
    assert cluster.run_until(lambda: all(len(streams.transactions(number)) == 2 for number in range(4)), 10)
    assert len({tuple(streams.transactions(number)) for number in range(4)}) == 1


def test_a_suspended_peer_catches_up(cluster: Cluster) -> None:
    streams = Streams(cluster)
    cluster.start()
    cluster.run(0.1)
    cluster.suspend(3)
    cluster.send(0, b"while it sleeps")
    cluster.run(0.5)
    assert not streams.transactions(3)
    assert streams.transactions(1)
    cluster.resume(3)
    assert cluster.run_until(lambda: bool(streams.transactions(3)), 5)


def test_a_deaf_application_is_heard_of_again(cluster: Cluster) -> None:
    streams = Streams(cluster)
    cluster.start()
    cluster.run(0.1)
    cluster.nodes[1].deaf = True
    for number in range(10):
        cluster.send(0, b"%d" % number)
        cluster.run(0.05)
    assert len(streams.hashes(1)) == 1, "the one that it had in hand"
    assert len(streams.transactions(2)) == 10
    cluster.hear(1)
    cluster.run(0.05)
    assert len(streams.transactions(1)) == 10


def test_a_full_queue_is_an_error_at_the_call(core: str) -> None:
    with Cluster(4, core=core, options=Options(transaction_channel_size=5)) as cluster:
        cluster.start(0)
        cluster.run(0.1)
        with pytest.raises(QueueFull):
            cluster.send(0, *(b"%d" % number for number in range(6)))


def test_the_same_seed_does_the_same(core: str) -> None:
    def once(seed: int) -> list[bytes]:
        with Cluster(4, seed=seed, core=core) as cluster:
            streams = Streams(cluster)
            cluster.start()
            cluster.run(0.05)
            for number in range(20):
                cluster.send(number % 4, b"%d" % number)
                cluster.run(0.002)
            cluster.run(0.2)
            return streams.hashes(0)

    first = once(5)
    assert first
    assert once(5) == first
    assert once(6) != first


@pytest.mark.native
def test_a_mixed_cluster_agrees() -> None:
    with Cluster(4, seed=2, core="mixed", network=Network(order="fast")) as cluster:
        streams = Streams(cluster)
        cluster.start()
        cluster.run(0.1)
        cluster.send(0, b"from the native one")
        cluster.send(1, b"from the other")
        cluster.run(0.5)
        assert {node.engine.status().core.name for node in cluster.nodes if node.engine} == {"native", "python"}
        shortest = min(len(streams.hashes(number)) for number in range(4))
        assert shortest > 0
        assert len({tuple(streams.hashes(number)[:shortest]) for number in range(4)}) == 1


def test_what_cannot_be_is_refused_where_it_is_asked_for() -> None:
    with pytest.raises(ArgumentError, match="at least one peer"):
        Cluster(0)
    with Cluster(2) as cluster:
        cluster.internet.bind("host0", 7000, "host0:7000")
        with pytest.raises(SocketBindError, match="taken"):
            cluster.internet.bind("host0", 7000, "host0:7000")
