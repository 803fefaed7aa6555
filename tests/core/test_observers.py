"""Observers (Q4): they follow, deliver and serve; they never count, and a lying one costs no more than a liar."""

from __future__ import annotations

import random

import pytest

from core import virtual
from syncpoint.core import wire
from syncpoint.core.config import Local, MachineConfig, Network
from syncpoint.core.crypto import DOMAIN_EVENT, Signer
from syncpoint.core.error import Reject
from syncpoint.core.input import Connected, Input, Received, Start, Submit
from syncpoint.core.journal import encode_own_event
from syncpoint.core.machine import Machine
from syncpoint.core.output import Output, Rejected, Send
from syncpoint.core.values import Event, Parent
from syncpoint.core.wire import FrameType
from syncpoint.errors import CorruptError

from .virtual import EPOCH, MS, Cluster, jitter, members_of, seeds

pytestmark = pytest.mark.usefixtures("machines")

N = 4


def machine_of(own: int, observers: int, local: Local | None = None) -> Machine:
    """One started machine of four members and some observers, with a link to everybody else."""
    config = MachineConfig(
        network=Network(),
        members=members_of(N, observers),
        seed=seeds(N, observers)[own],
        entropy=bytes(32),
        local=local or Local(),
    )
    machine = virtual.machine_of("python", config)
    machine.step(EPOCH, [Start(()), *(Connected(peer) for peer in range(N + observers) if peer != own)])
    return machine


def signed(
    machine: Machine,
    creator: int,
    round: int,
    parents: tuple[Parent, ...] = (),
    *,
    key: int | None = None,
    salt: int = 0,
    transactions: tuple[bytes, ...] = (),
) -> bytes:
    """An EVENT frame that says to be by a creator, signed by the peer `key`, or by that creator."""
    epoch_id = machine.committee.epoch_id
    header = wire.encode_header(epoch_id, creator, round, EPOCH + round, salt, parents, (), transactions)
    digest = wire.event_digest(header)
    signature = Signer(seeds(N, len(machine.committee.observers))[creator if key is None else key]).sign(
        DOMAIN_EVENT + digest
    )
    return wire.encode_event(Event(creator, round, 0, parents, (), transactions, header, digest, signature))


def ghosts(round: int, rng: random.Random) -> tuple[Parent, ...]:
    """Parents that nobody has ever made."""
    return tuple(Parent(creator, round, rng.randbytes(32)) for creator in range(N))


def sent(outputs: list[Output], kind: FrameType) -> list[int]:
    """To whom frames of a kind go."""
    return [output.peer for output in outputs if isinstance(output, Send) and output.frame[0] == kind]


# -- following --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("order", ["fair", "fast"])
def test_observers_deliver_what_the_members_do_and_make_nothing(n: int, order: str, seed: int) -> None:
    rng = random.Random(seed)
    cluster = Cluster(n, observers=2, network=Network(order=order), delay=jitter(rng, MS, 5 * MS, loss=0.02))
    cluster.exchange(rng, 60)
    for i in (n, n + 1):
        status = cluster.machines[i].status()
        assert (status.creator, status.peers, status.halted) == (None, n, None)
        assert (status.own_round, status.own_events, status.timely) == (0, 0, ())
        assert len(status.frontier) == n
        assert cluster.journals[i] == []
    for _, _, _, frame in cluster.frames:
        if frame[0] in (FrameType.FRONTIER, FrameType.PULL):
            assert len(frame) == 5 + 8 * n, "frontiers have an entry for each member and no other"


def test_the_members_go_on_when_all_observers_are_dead_and_those_come_back(seed: int) -> None:
    rng = random.Random(seed)
    cluster = Cluster(N, observers=2, delay=jitter(rng, MS, 3 * MS))
    cluster.run(50 * MS)
    for i in (4, 5):
        cluster.crash(i)
    cluster.exchange(rng, 40)
    assert all(cluster.machines[i].status().has_quorum for i in range(N))
    for i in (4, 5):
        cluster.restart(i)
    cluster.run_until(lambda: cluster.all_have(40))
    cluster.check_agreement()


def test_observers_do_not_make_a_quorum() -> None:
    cluster = Cluster(N, observers=3)
    cluster.run(50 * MS)
    assert all(machine.status().has_quorum for machine in cluster.machines)
    cluster.crash(3)
    cluster.run(50 * MS)
    assert all(cluster.machines[i].status().has_quorum for i in cluster.live), "three of four are one"
    cluster.crash(2)
    cluster.run(1_000 * MS)
    before = cluster.check_agreement()
    cluster.submit(0, b"not final")
    cluster.run(5_000 * MS)
    assert cluster.check_agreement() == before
    assert cluster.counts == [0] * 7
    assert not any(cluster.machines[i].status().has_quorum for i in cluster.live), "two of four and three observers"


def test_an_observer_has_a_quorum_where_q_members_are_linked() -> None:
    machine = machine_of(4, 2)
    assert machine.status().has_quorum
    assert machine.status().linked == (0, 1, 2, 3, 5)
    linked = [virtual.machine_of("python", machine.config) for _ in range(2)]
    linked[0].step(EPOCH, [Start(()), *map(Connected, (0, 1, 2))])
    linked[1].step(EPOCH, [Start(()), *map(Connected, (0, 1, 5))])
    assert [each.status().has_quorum for each in linked] == [True, False]


def test_what_observers_say_does_not_confirm_a_journal() -> None:  # R2
    cluster = Cluster(N, observers=3, linked=False)
    for j in (1, 4, 5, 6):
        cluster.link(0, j)
    cluster.run(3_000 * MS)
    assert cluster.machines[0].status().own_events == 0, "only one other member has said what it has of us"
    pulls = [j for _, i, j, frame in cluster.frames if i == 0 and frame[0] == FrameType.PULL]
    assert not [j for j in pulls if j >= N], "nobody asks observers for it"
    cluster.link(0, 2)
    cluster.run(100 * MS)
    assert cluster.machines[0].status().own_events == 1


def test_an_observer_prunes_with_the_rounds_that_it_closed() -> None:  # F4
    cluster = Cluster(N, observers=1, network=Network(gc_depth=5), local=Local(retain_events=100))
    for number in range(200):
        cluster.submit(number % N, b"%d" % number)
        cluster.run(3 * MS)
    cluster.run_until(lambda: cluster.all_have(200))
    status, theirs = cluster.machines[4].status(), cluster.machines[0].status()
    assert status.closed_round - status.floor_round == 100 // N
    assert status.events <= theirs.events + 2 * N


# -- fetching and serving ---------------------------------------------------------------------------------


def cut_off(cluster: Cluster, i: int) -> None:
    for j in cluster.live:
        if j != i:
            cluster.cut(i, j)


def link_up(cluster: Cluster, i: int, *peers: int) -> None:
    for j in peers:
        cluster.link(i, j)


def test_an_observer_that_was_cut_off_for_a_while_catches_up() -> None:
    cluster = Cluster(N, observers=1)
    cluster.run(50 * MS)
    cut_off(cluster, 4)
    for number in range(100):
        cluster.submit(number % N, b"%d" % number)
        cluster.run(2 * MS)
    assert cluster.counts[4] < 100
    link_up(cluster, 4, *range(N))
    cluster.run_until(lambda: cluster.all_have(100), within=1_000 * MS)
    cluster.check_agreement()


def test_an_observer_that_was_cut_off_for_longer_than_anybody_retains_stands_still() -> None:  # F4, R4
    local = Local(retain_events=100, pool_bytes_per_sender=10_000)
    cluster = Cluster(N, observers=1, network=Network(gc_depth=5), local=local)
    for number in range(20):
        cluster.submit(number % N, b"%d" % number)
        cluster.run(3 * MS)
    cut_off(cluster, 4)
    before = cluster.machines[4].status()
    for number in range(20, 300):
        cluster.submit(number % N, b"%d" % number)
        cluster.run(3 * MS)
    assert min(cluster.machines[i].status().floor_round for i in range(N)) > before.closed_round + 5
    link_up(cluster, 4, *range(N))
    for number in range(300, 400):
        cluster.submit(number % N, b"%d" % number)
        cluster.run(3 * MS)
    assert [cluster.counts[i] >= 390 for i in range(N)] == [True] * N, "the others do not care"
    after = cluster.machines[4].status()
    assert (after.delivered, after.order_hash) == (before.delivered, before.order_hash)
    assert after.halted is None
    assert after.waiting_bytes <= N * local.pool_bytes_per_sender
    cluster.check_agreement()


def test_an_observer_gets_the_order_from_another_observer() -> None:
    cluster = Cluster(N, observers=2, linked=False)
    for i in range(N):
        link_up(cluster, i, *range(i + 1, 5))
    cluster.link(4, 5)
    for number in range(30):
        cluster.submit(number % N, b"%d" % number)
        cluster.run(2 * MS)
    cluster.run_until(lambda: cluster.all_have(30))
    cluster.check_agreement()


def test_a_member_that_reaches_observers_only_follows_through_them() -> None:
    cluster = Cluster(N, observers=2, local=Local(heartbeat_ns=50 * MS))
    cluster.run(50 * MS)
    for j in range(3):
        cluster.cut(3, j)
    for number in range(30):
        cluster.submit(number % 3, b"%d" % number)
        cluster.run(2 * MS)
    cluster.run_until(lambda: cluster.all_have(30))
    cluster.check_agreement()


def test_members_are_asked_before_observers_and_of_those_one_in_a_turn() -> None:  # F1
    machine = machine_of(0, 3)
    frame = signed(machine, 1, 2, ghosts(1, random.Random(1)))
    machine.step(EPOCH, [Received(5, (frame,))])  # an observer has it, and is asked after the members all the same
    asked = []
    for ms in range(3_000):
        for peer in dict.fromkeys(sent(machine.step(EPOCH + ms * MS, []), FrameType.REQUEST)):
            asked.append(peer)
    assert asked[:12] == [1, 2, 3, 5, 1, 2, 3, 4, 1, 2, 3, 6]


@pytest.mark.parametrize("own", [0, 4])
def test_observers_that_promise_much_do_not_keep_us_from_pulling_from_members(own: int) -> None:  # F3
    machine = machine_of(own, 4)
    ahead = wire.encode_frontier(FrameType.FRONTIER, (9,) * N)
    outputs = machine.step(EPOCH, [Received(peer, (ahead,)) for peer in (5, 6, 7)])
    assert sent(outputs, FrameType.PULL) == [5], "one of them at a time"
    # f + 1 members, the second of them after a while, though the observer has not answered.
    assert sent(machine.step(EPOCH, [Received(1, (ahead,)), Received(2, (ahead,))]), FrameType.PULL) == [1]
    later = EPOCH + 100 * MS
    assert sent(machine.step(later, [Received(peer, (ahead,)) for peer in (6, 2, 3)]), FrameType.PULL) == [2]
    assert sent(machine.step(later + 100 * MS, [Received(6, (ahead,))]), FrameType.PULL) == []


# -- lying ------------------------------------------------------------------------------------------------


def test_an_observer_cannot_vote() -> None:  # V1
    machine = machine_of(0, 2)
    for creator, key, code in ((4, 4, Reject.CREATOR), (5, 4, Reject.CREATOR), (1, 4, Reject.SIGNATURE)):
        outputs = machine.step(EPOCH, [Received(4, (signed(machine, creator, 1, key=key),))])
        assert Rejected(4, code) in outputs
    assert machine.status().events == 0
    observer = machine_of(5, 2)
    assert Rejected(4, Reject.CREATOR) in observer.step(EPOCH, [Received(4, (signed(observer, 5, 1),))])
    assert observer.status().halted is None, "there is nothing of ours that another could have signed"


def test_what_an_observer_sends_is_counted_and_bounded_like_that_of_a_member() -> None:  # V7, F1
    local = Local(pool_bytes_per_sender=5_000)
    machine, rng = machine_of(0, 2, local), random.Random(2)
    junk = [b"", b"\x63", bytes((FrameType.FRONTIER,)) + bytes(8 * (N + 2)), signed(machine, 9, 1, key=4)]
    outputs = machine.step(EPOCH, [Received(4, junk)])
    assert [output.code for output in outputs if isinstance(output, Rejected)] == [
        Reject.FRAME_EMPTY, Reject.FRAME_TYPE, Reject.TRUNCATED, Reject.CREATOR,
    ]  # fmt: skip
    # A member lends its key, so that the events pass; they fill the share of who sent them and no other.
    flood = [signed(machine, 1, 2, ghosts(1, rng), salt=salt) for salt in range(100)]
    outputs = machine.step(EPOCH, [Received(4, flood)])
    codes = {output.code for output in outputs if isinstance(output, Rejected) and output.peer == 4}
    assert codes <= {Reject.POOL_FULL, Reject.EQUIVOCATION}
    flood = [signed(machine, 1, round, ghosts(round - 1, rng)) for round in range(3, 60)]
    outputs = machine.step(EPOCH, [Received(4, flood)])
    assert Rejected(4, Reject.POOL_FULL) in outputs
    assert machine.status().waiting_bytes <= local.pool_bytes_per_sender
    outputs = machine.step(
        EPOCH, [Received(3, [signed(machine, 2, round, ghosts(round - 1, rng)) for round in (3, 4)])]
    )
    assert not [output for output in outputs if isinstance(output, Rejected)], "others have room"


def test_an_observer_is_served_within_its_own_budget() -> None:  # F1
    cluster = Cluster(N, observers=2, network=Network(max_payload_bytes=2_000_000))
    cluster.submit(1, bytes(1_500_000))
    cluster.run_until(lambda: cluster.all_have(1))
    machine = cluster.machines[0]
    large = next(done.event.digest for done in cluster.delivered[0] if done.event.transactions)
    request = wire.encode_request([large] * 30)
    outputs = machine.step(cluster.now, [Received(4, (request, request))])
    assert len(sent(outputs, FrameType.EVENT)) <= 16 * 1024 * 1024 // 1_500_000
    assert Rejected(4, Reject.BUSY) in outputs
    assert sent(machine.step(cluster.now, [Received(5, (request,))]), FrameType.EVENT), "another has its own"
    # The same of an observer, which serves as well.
    assert sent(cluster.machines[4].step(cluster.now, [Received(5, (request,))]), FrameType.EVENT)


def test_an_observer_does_not_wait_for_what_a_proved_liar_made() -> None:  # P7
    cluster = Cluster(N, observers=1)
    cluster.crash(3)
    cluster.run(30 * MS)
    machine = cluster.machines[4]
    variants = [signed(machine, 3, 1, salt=salt) for salt in range(2)]
    for i in (0, 1, 2, 4):
        cluster.step(i, Received(3, variants))
    cluster.run(2_000 * MS)
    assert [item for done in cluster.delivered[4] for item in done.event.items], "the members have told each other"
    before = machine.status()
    assert not before.undelivered
    roots = [variants[0] for variants in machine.replica.dag.row(1).variants]
    parents = tuple(Parent(root.creator, 1, root.digest) for root in roots)
    machine.step(cluster.now, [Received(3, (signed(machine, 3, 2, parents, transactions=(b"too late",)),))])
    assert machine.status().events == before.events + 1
    assert not machine.status().undelivered, "nobody refers to it any more"


# -- misuse and a broken store ----------------------------------------------------------------------------


def test_an_observer_has_no_journal() -> None:  # J1
    machine = machine_of(4, 1)
    again = virtual.machine_of("python", machine.config)
    record = encode_own_event(signed(machine, 4, 1), ())
    with pytest.raises(CorruptError, match="not ours"):
        again.step(EPOCH, [Start((record,))])


def test_a_transaction_for_an_observer_is_a_bug_of_who_runs_it(core: str) -> None:
    members = members_of(N, 1)
    config = MachineConfig(network=Network(), members=members, seed=seeds(N, 1)[4], entropy=bytes(32))
    machine = virtual.make_machine(config, core)
    inputs: list[Input] = [Start(()), Submit((b"a",))]
    with pytest.raises(AssertionError, match="an observer takes no transactions"):
        machine.step(EPOCH, inputs)
