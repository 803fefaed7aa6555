"""A peer that starts again: with its store as it was (R1), with less than that (R2, R3), or beside a copy (R5)."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Sequence

import pytest

from syncpoint.core import wire
from syncpoint.core.committee import Committee
from syncpoint.core.config import Local, Network
from syncpoint.core.dag import Node
from syncpoint.core.epoch import Epoch, Outcome
from syncpoint.core.input import Connected, Received, Start
from syncpoint.core.items import proposal_id
from syncpoint.core.machine import Machine
from syncpoint.core.output import Closed, Deliver, Opened
from syncpoint.core.recover import Recovery
from syncpoint.core.retain import Retention
from syncpoint.core.values import Event, ItemType, Parent, SyncPointKind
from syncpoint.core.wire import FrameType
from syncpoint.runtime.storage import is_event

from .shelf import Shelf
from .virtual import EPOCH, MS, Cluster, jitter, members_of

SHORT = Network(gc_depth=6)
STORES = Local(stores=True, retain_events=4 * 20)
LONG = Local(stores=True)  # everything is retained


def has(cluster: Cluster, i: int, transaction: bytes) -> bool:
    return any(transaction in done.event.transactions for done in cluster.stores[i].delivered)


def shelved(cluster: Cluster, i: int, shelf: Shelf | None = None) -> list[bytes]:
    """The records that a start gets."""
    network = cluster.network
    epoch_id = Committee.genesis(network, members_of(cluster.n)).epoch_id
    return (shelf or cluster.stores[i]).load(epoch_id, network, Retention(network, cluster.local, cluster.n))


def busy(
    seed: int,
    rounds: int = 60,
    *,
    core: str | Sequence[str] = "python",
    n: int = 4,
    local: Local = STORES,
    **settings: object,
) -> Cluster:
    """Peers with transactions at random times."""
    rng = random.Random(seed)
    network = Network(gc_depth=6, **settings)  # type: ignore[arg-type]
    cluster = Cluster(n, network=network, local=local, delay=jitter(rng, MS // 2, 3 * MS), core=core)
    sent = 0
    while min(machine.status().closed_round for machine in cluster.machines) < rounds:
        cluster.submit(rng.randrange(n), b"%d" % sent)
        sent += 1
        cluster.run(rng.randint(MS, 3 * MS))
    return cluster


@pytest.mark.parametrize("order", ["fair", "fast"])
@pytest.mark.parametrize("rule", ["two_step", "three_step"])
def test_the_same_state_comes_of_the_store(core: str, order: str, rule: str) -> None:  # R1
    cluster = busy(1, core=core, order=order, rule=rule)
    cluster.run(3_000 * MS)  # until it rests
    for i in range(4):
        before = cluster.machines[i]
        again = cluster._machine(i)
        again.step(cluster.now, [Start(shelved(cluster, i))])
        one, two = before.status(), again.status()
        assert (one.delivered, one.order_hash, one.consensus_at) == (two.delivered, two.order_hash, two.consensus_at)
        assert (one.closed_round, one.own_round) == (two.closed_round, two.own_round)
        third = cluster._machine(i)
        third.step(cluster.now, [Start(shelved(cluster, i))])
        assert third.digest() == again.digest()
        if one.floor_round == two.floor_round:
            assert before.digest() == again.digest()


@pytest.mark.parametrize("order", ["fair", "fast"])
def test_it_goes_on_from_any_place_in_the_store(order: str) -> None:  # R1, J2
    """Wherever the store ends, what is delivered from there on is what was delivered before."""
    cluster = busy(2, rounds=50, order=order)
    whole = cluster.stores[1]
    checked = 0
    for end in range(0, len(whole.delivered), 7):
        shelf = Shelf()
        shelf.records, shelf.delivered = list(whole.records), whole.delivered[:end]
        machine = cluster._machine(1)
        outputs = machine.step(cluster.now, [Start(shelved(cluster, 1, shelf))])
        delivered = [done for output in outputs if isinstance(output, Deliver) for done in output.messages]
        place = shelf.place()
        first = place.next_index if place is not None else 0
        assert [done.index for done in delivered] == list(range(first, len(whole.delivered)))
        for done in delivered:
            then = whole.delivered[done.index]
            assert (done.order_hash, done.parents) == (then.order_hash, then.parents)
            assert done.whitened_signature == then.whitened_signature
        checked += place is not None
    assert checked > 10


@pytest.mark.parametrize("seed", range(6))
def test_restarts_under_load_lose_and_double_nothing(seed: int) -> None:  # R1, J1, O11
    rng = random.Random(seed)
    local = Local(stores=True, retain_events=4 * 12)
    cluster = Cluster(4, network=SHORT, local=local, delay=jitter(rng, MS // 2, 4 * MS))
    sent: list[bytes] = []
    for _ in range(12):
        for _ in range(rng.randrange(20)):
            sent.append(b"%d" % len(sent))
            cluster.submit(rng.randrange(4), sent[-1])
            cluster.run(rng.randint(0, 2 * MS))
        victim = rng.randrange(4)
        cluster.run_until(functools.partial(is_sent, cluster, victim))
        cluster.run(rng.randint(0, 5 * MS))
        cluster.crash(victim)
        cluster.run(rng.randint(0, 15 * MS))
        cluster.restart(victim, records=shelved(cluster, victim))
    cluster.run_until(lambda: all(len(received(store)) >= len(sent) for store in cluster.stores), within=20_000 * MS)
    for store in cluster.stores:
        assert sorted(received(store)) == sorted(sent)
    assert not cluster.halted
    assert len({store.delivered[100].order_hash for store in cluster.stores}) == 1
    assert all(not machine.status().equivocators for machine in cluster.machines)


def is_sent(cluster: Cluster, i: int) -> bool:
    return not cluster.machines[i].status().queued_transactions


def received(shelf: Shelf) -> list[bytes]:
    return [transaction for done in shelf.delivered for transaction in done.event.transactions]


def test_everybody_can_crash_at_once() -> None:  # R1
    cluster = busy(4, rounds=100)
    for i in range(4):
        cluster.crash(i)
    for i in range(4):
        cluster.restart(i, records=shelved(cluster, i))
    cluster.submit(2, b"after")
    cluster.run_until(lambda: all(has(cluster, i, b"after") for i in range(4)))
    assert not cluster.halted


def test_a_lost_store_is_answered_for_by_the_others() -> None:  # R2, R3
    for whole in (True, False):
        cluster = busy(5, local=LONG, rounds=20)
        cluster.crash(3)
        cluster.submit(0, b"meanwhile")
        cluster.run(30 * MS)
        newest = max(machine.status().frontier[3] for machine in cluster.machines[:3])
        top = max(machine.status().top_round for machine in cluster.machines[:3])
        cluster.restart(3, records=(), whole=whole)
        cluster.submit(3, b"new life")
        cluster.run_until(functools.partial(has, cluster, 0, b"new life"))
        assert cluster.machines[3].status().own_round >= max(newest + 2, top)
        assert not cluster.halted
        cluster.run(200 * MS)
        assert all(not machine.status().equivocators for machine in cluster.machines)


def test_an_own_event_that_comes_late_is_not_another_process() -> None:  # R2, R5
    """What the others showed goes up to M: then there may be one of ours of M + 1, on its way or nowhere."""
    cluster = busy(5, local=LONG, rounds=20)
    cluster.crash(3)
    cluster.run(30 * MS)
    late = max((event for event in events_of(cluster.machines[0]) if event.creator == 3), key=lambda event: event.round)
    dag = cluster.machines[0].replica.dag
    recovery = Recovery(cluster.machines[0].committee, 3, dag, cluster.network.gc_depth)
    recovery.start(whole=False)
    for peer in range(3):
        recovery.frontier(peer, dag.frontier)
    assert recovery.settle() is None
    assert not recovery.is_lost
    between = dataclasses.replace(late, round=dag.top + 1)
    assert not recovery.is_copied(between)
    assert recovery.is_copied(dataclasses.replace(late, round=dag.top + 2))


def test_nothing_is_signed_until_q_others_have_answered() -> None:  # R2
    cluster = busy(6, local=LONG, rounds=20)
    cluster.crash(3)
    cluster.crash(2)
    cluster.restart(3, records=(), whole=False)
    cluster.run(5_000 * MS)
    assert cluster.machines[3].status().own_events == 0
    assert not cluster.halted
    cluster.restart(2, records=shelved(cluster, 2))
    cluster.run_until(lambda: cluster.machines[3].status().own_events > 0)


def test_an_answer_counts_when_what_it_names_is_here() -> None:  # R2
    cluster = Cluster(4, linked=False)
    machine = cluster._machine(0)
    machine.step(EPOCH, [Start((), whole=False), *map(Connected, (1, 2, 3))])
    for peer, frontier in ((1, [0, 0, 0, 0]), (2, [0, 0, 0, 0]), (3, [0, 0, 0, 9])):
        machine.step(EPOCH, [Received(peer, (wire.encode_frontier(FrameType.FRONTIER, frontier),))])
    machine.step(EPOCH + 5_000 * MS, [])
    assert machine.status().own_events == 0  # the third says to have made 9 events, and shows none


def test_a_network_that_tolerates_nothing_cannot_bring_back_a_lost_store() -> None:  # R2
    cluster = busy(7, local=LONG, rounds=10, n=3)
    cluster.crash(0)
    cluster.restart(0, records=(), whole=False)
    cluster.run(1_000 * MS)
    assert "tolerates no fault" in cluster.halted[0]


def test_an_old_store_is_noticed() -> None:  # R2
    cluster = busy(8, local=LONG, rounds=20)
    old = shelved(cluster, 3)
    for number in range(30):
        cluster.submit(number % 4, b"later %d" % number)
        cluster.run(3 * MS)
    cluster.crash(3)
    cluster.run(20 * MS)
    cluster.restart(3, records=old)  # it is said to be whole
    cluster.submit(3, b"new life")
    cluster.run_until(functools.partial(has, cluster, 0, b"new life"))
    assert not cluster.halted
    assert all(not machine.status().equivocators for machine in cluster.machines)
    again = shelved(cluster, 3)  # with the gap in it (R3)
    cluster.crash(3)
    cluster.restart(3, records=again)
    cluster.submit(3, b"third life")
    cluster.run_until(functools.partial(has, cluster, 0, b"third life"))
    assert not cluster.halted


def test_two_live_copies_stop_and_say_so() -> None:  # R5
    """A spare that starts with a copy of the store waits; whoever then sees an event of the other one stops."""
    cluster = busy(9, local=LONG, rounds=20)
    copied = shelved(cluster, 3)
    cluster.submit(0, b"goes on")
    cluster.run(30 * MS)
    spare = cluster._machine(3)
    now = cluster.now
    spare.step(now, [Start(copied), *map(Connected, (0, 1, 2))])
    frontier = wire.encode_frontier(FrameType.FRONTIER, cluster.machines[0].status().frontier)
    spare.step(now, [Received(peer, (frontier,)) for peer in range(3)])
    assert spare.status().own_events == 0
    frames = [wire.encode_event(event) for event in events_of(cluster.machines[0])]
    spare.step(now, [Received(0, frames)])  # events of its own key among them
    assert spare.status().halted is None
    for at in range(now, now + 10_000 * MS, 100 * MS):
        spare.step(at, [])
    assert spare.status().own_events == 0  # it may not go on below the round that the others have not reached
    cluster.now = now + 10_000 * MS
    for number in range(20):
        cluster.submit(number % 4, b"later %d" % number)
        cluster.run(3 * MS)
    frames = [wire.encode_event(event) for event in events_of(cluster.machines[0])]
    spare.step(cluster.now, [Received(0, frames)])
    assert "another process" in str(spare.status().halted)


def test_who_refers_to_something_old_does_not_make_us_unheard() -> None:  # V4, 0015
    """Else what we make next would leave out our own events, which the others have in their histories."""
    machine = busy(10, local=LONG, rounds=20).machines[0]
    proposer, dag = machine.replica.proposer, machine.replica.dag
    before = proposer._heard_round
    old = next(variants[0] for round in range(1, before) if (variants := dag.row(round).variants[0]))
    event = dag.row(before).variants[1][0].event
    proposer.accept(Node(dataclasses.replace(event, round=dag.top + 2), (old,), 0))
    assert proposer._heard_round == before > old.round


def agreeing(seed: int, core: str = "python", **settings: object) -> Cluster:
    """A network whose peers propose and vote at random times, under load."""
    cluster = busy(seed, 6, core=core, local=LONG, **settings)
    rng = random.Random(seed)
    ids: list[bytes] = []
    for number in range(60):
        if number % 5 == 0:
            ids.append(cluster.propose(rng.randrange(4), rng.choice(KINDS), b"%d" % number))
        for id in ids[-3:]:
            cluster.vote(rng.randrange(4), id, rng.random() < 0.8)
        cluster.submit(rng.randrange(4), b"load %d" % number)
        cluster.run(rng.randint(MS, 3 * MS))
    cluster.run(300 * MS)
    return cluster


KINDS = (SyncPointKind.SESSION, SyncPointKind.SNAPSHOT, SyncPointKind.EPOCH, SyncPointKind.CUSTOM)


@pytest.mark.parametrize("order", ["fair", "fast"])
def test_it_decides_the_same_from_any_place_in_the_store(core: str, order: str) -> None:  # R1, S1, S2
    """Wherever the store ends: open proposals stay open with their votes, and what is decided stays so."""
    cluster = agreeing(3, core, order=order, epoch_ms=20)
    assert {len(cluster.points(i)) for i in range(4)} == {len(cluster.points(1))}
    assert len(cluster.points(1)) > 8
    assert set(cluster.closed[1].values()) == {Outcome.ADOPTED, Outcome.REFUSED}
    whole, then = cluster.stores[1], cluster.machines[1].status()
    begun_with_open = 0
    for end in range(0, len(whole.delivered) + 1, 3):
        shelf = Shelf()
        shelf.records, shelf.delivered = list(whole.records), whole.delivered[:end]
        shelf.states = whole.states
        machine = cluster._machine(1)
        place = shelf.place()
        outputs = machine.step(cluster.now, [Start(shelved(cluster, 1, shelf))])
        delivered = [done for output in outputs if isinstance(output, Deliver) for done in output.messages]
        states = [each for output in outputs if isinstance(output, Deliver) for each in output.states]
        first, round = (place.next_index, place.round) if place is not None else (0, 0)
        assert [(done.digest, done.order_hash) for done in delivered] == [
            (done.digest, done.order_hash) for done in whole.delivered[first:]
        ]
        assert states == [each for each in whole.states if each[0] > round]
        closed = {output.proposal: output.outcome for output in outputs if isinstance(output, Closed)}
        opened = [output.proposal for output in outputs if isinstance(output, Opened)]
        assert len(opened) == len(set(opened)), "opened twice"
        adopted = {done.proposal for done in whole.delivered[:first] if not is_event(done)}
        assert not adopted.intersection(opened), "decided before, and opened again"
        assert not adopted.intersection(closed)
        assert all(cluster.closed[1][id] == outcome for id, outcome in closed.items())
        status = machine.status()
        assert (status.delivered, status.order_hash, status.epoch_index, status.proposals) == (
            then.delivered, then.order_hash, then.epoch_index, then.proposals,
        )  # fmt: skip
        begun_with_open += bool(opened and set(opened) - proposed(cluster, whole, first))
    assert begun_with_open > 3


def proposed(cluster: Cluster, shelf: Shelf, first: int) -> set[bytes]:
    """The proposals in events that were delivered from an index on."""
    events = [done.event for done in shelf.delivered[first:] if is_event(done)]
    return {
        proposal_id(cluster.epoch_id, event.creator, item.body)
        for event in events
        for item in event.items
        if item.type == ItemType.PROPOSE
    }


@pytest.mark.parametrize("seed", range(4))
def test_peers_restart_while_the_network_decides(core: str, seed: int) -> None:  # R1, S2
    """A proposal is made, peers die and come back at every stage of its votes, and all end with one sync point."""
    rng = random.Random(seed)
    cluster = busy(seed, 6, core=core, local=LONG)
    for number in range(8):
        proposer, second, third, victim = rng.sample(range(4), 4)
        id = cluster.propose(proposer, KINDS[number % 4], b"%d" % number)
        cluster.run_until(lambda id=id: all(is_open(store, id) for store in cluster.stores))  # type: ignore[misc]
        again(cluster, rng, victim)
        cluster.vote(second, id)
        cluster.run_until(lambda id=id: all(votes(store, id) == 2 for store in cluster.stores))  # type: ignore[misc]
        again(cluster, rng, rng.choice((proposer, second, victim)))
        cluster.vote(third, id)
        cluster.run(rng.randint(0, 10 * MS))
        again(cluster, rng, rng.randrange(4))
        cluster.run_until(lambda id=id: all(adopted(store, id) for store in cluster.stores))  # type: ignore[misc]
    cluster.run(1_000 * MS)
    streams = [[(done.digest, done.order_hash) for done in store.delivered] for store in cluster.stores]
    assert all(stream == max(streams, key=len)[: len(stream)] for stream in streams)
    for store in cluster.stores:
        points = [done for done in store.delivered if not is_event(done)]
        assert [point.metadata for point in points] == [b"%d" % number for number in range(8)]
        assert [point.epoch_index for point in points] == list(range(1, 9))
    assert not cluster.halted
    assert not cluster.diverged


def again(cluster: Cluster, rng: random.Random, i: int) -> None:
    """A peer dies between two rounds, or in one, and comes back with its store."""
    cluster.run_until(functools.partial(is_sent, cluster, i))
    cluster.crash(i)
    cluster.run(rng.randint(0, 15 * MS))
    cluster.restart(i, records=shelved(cluster, i))


def is_open(shelf: Shelf, id: bytes) -> bool:
    return votes(shelf, id) > 0


def votes(shelf: Shelf, id: bytes) -> int:
    """How many have approved a proposal that is open, as the newest state says."""
    epoch = Epoch(Committee.genesis(SHORT, members_of(4)), 0)
    if shelf.states:
        epoch.restore(shelf.states[-1][1])
    return epoch.open[id].approvals.bit_count() if id in epoch.open else 0


def adopted(shelf: Shelf, id: bytes) -> bool:
    return any(done.proposal == id for done in shelf.delivered if not is_event(done))


def events_of(machine: Machine) -> list[Event]:
    """All that are in its DAG, parents first."""
    rows = sorted(machine.replica.dag.rows.items())
    return [
        dataclasses.replace(node.event, parents=tuple(map(reference, node.parents)))
        for _, row in rows
        for node in row.nodes
    ]


def reference(node: Node) -> Parent:
    return Parent(node.creator, node.round, node.digest)
