"""A peer that was away for longer than anybody keeps in memory (R1, R4, F3, docs/decisions/0015-far-behind.md)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from syncpoint.core import wire
from syncpoint.core.committee import Committee
from syncpoint.core.config import Local, Network
from syncpoint.core.crypto import DOMAIN_EVENT, Signer
from syncpoint.core.dag import Dag
from syncpoint.core.error import Reject
from syncpoint.core.fetch import Budget, Server
from syncpoint.core.input import Received
from syncpoint.core.output import Rejected
from syncpoint.core.retain import RETAIN_GC_DEPTHS, Retention
from syncpoint.core.values import Event, Parent, SyncPointKind
from syncpoint.core.wire import FrameType

from .virtual import EPOCH, MS, Cluster, members_of, seeds

pytestmark = pytest.mark.usefixtures("machines")

GC_DEPTH = 5
NETWORK = Network(gc_depth=GC_DEPTH)
STORES = Local(stores=True, retain_events=4 * 20)  # rounds that stay in memory: 20
AWAY = 40  # transactions that are sent meanwhile; some three rounds each


def network(local: Local = STORES, away: int = 3) -> Cluster:
    """Four peers, one of whom goes away soon while the others go on."""
    cluster = Cluster(4, network=NETWORK, local=local)
    cluster.submit(away, b"before")
    cluster.run_until(lambda: cluster.all_have(1))
    cluster.crash(away)
    for number in range(AWAY):
        cluster.submit((number % 3 + away + 1) % 4, b"%d" % number)
        cluster.run(3 * MS)
    cluster.run_until(lambda: cluster.all_have(1 + AWAY))
    assert min(cluster.machines[i].status().floor_round for i in cluster.live) > 60
    return cluster


def comes_back(cluster: Cluster, peer: int, *, whole: bool = True) -> None:
    """It starts with its store, or without one."""
    epoch_id = cluster.machines[peer].committee.epoch_id
    retention = Retention(NETWORK, cluster.local, cluster.n)
    records = cluster.stores[peer].load(epoch_id, NETWORK, retention) if whole else ()
    cluster.stores[peer].strict = whole
    cluster.restart(peer, records=records, whole=whole)


def same_order(cluster: Cluster) -> None:
    """What each peer delivered is a piece of the same stream, and ends less than a few rounds before its end."""
    longest = max((cluster.delivered[i] for i in cluster.live), key=lambda stream: stream[-1].index)
    for i in cluster.live:
        for done in cluster.delivered[i]:
            at = done.index - longest[0].index
            assert at < 0 or (longest[at].index, longest[at].order_hash) == (done.index, done.order_hash)
        assert cluster.delivered[i][-1].index > longest[-1].index - 20


@pytest.mark.parametrize("whole", [True, False])
def test_it_gets_what_it_missed_from_the_stores_and_goes_on(whole: bool) -> None:  # R1, R2
    cluster = network()
    comes_back(cluster, 3, whole=whole)
    before = cluster.machines[3].status()
    cluster.submit(3, b"back again")
    cluster.run_until(lambda: all(b"back again" in cluster.transactions(i) for i in range(4)), within=5_000 * MS)
    same_order(cluster)
    assert cluster.answers > 0
    status = cluster.machines[3].status()
    assert (status.halted, status.catching_up, status.stranded, status.recovering) == (None, False, False, False)
    assert status.own_round > 60
    assert status.own_events - before.own_events < 30, "it makes none for the rounds that it missed"
    assert cluster.transactions(0).count(b"back again") == 1
    codes = {code for i, _, code in cluster.rejects if i != 3}
    assert not codes, "it sends nothing that is too old for the others"


@pytest.mark.parametrize("whole", [True, False])
def test_it_makes_the_sync_points_itself_that_it_missed(whole: bool) -> None:  # S2, R1
    """Nobody sends it any: it orders what it gets, from a proposal that was open when it went away on."""
    cluster = Cluster(4, network=Network(gc_depth=GC_DEPTH, epoch_ms=50), local=STORES)
    ids = [cluster.propose(3, SyncPointKind.SESSION, b"before")]
    cluster.vote(1, ids[0])
    cluster.run_until(lambda: len(cluster.opened[3]) == 1)
    cluster.run(30 * MS)
    cluster.crash(3)
    for number in range(AWAY):
        if number % 10 == 5:
            ids.append(cluster.propose(number % 3, SyncPointKind.CUSTOM, b"%d" % number))
        for id in ids[-2:]:
            cluster.vote((number + 1) % 3, id)
        cluster.submit(number % 3, b"%d" % number)
        cluster.run(3 * MS)
    cluster.run_until(lambda: all(id in cluster.closed[0] for id in ids))
    assert min(cluster.machines[i].status().floor_round for i in cluster.live) > 60
    comes_back(cluster, 3, whole=whole)
    if whole:
        assert [(output.proposal, output.voted) for output in cluster.opened[3]] == [(ids[0], True)]
    cluster.submit(3, b"back again")
    cluster.run_until(lambda: all(b"back again" in cluster.transactions(i) for i in range(4)), within=5_000 * MS)
    same_order(cluster)
    told = [[(point.index, point.digest, point.metadata) for point in cluster.points(i)] for i in (0, 3)]
    assert told[1][: len(told[0])] == told[0][: len(told[1])]
    assert {metadata for _, _, metadata in told[1]} == {b"before", b"5", b"15", b"25", b"35", b""}
    assert cluster.answers > 0
    assert not cluster.diverged


def test_its_event_closes_the_gap_when_another_one_dies_meanwhile() -> None:
    """It goes on at the rounds at which the others wait for a third one, not above them (P1)."""
    cluster = network()
    comes_back(cluster, 3)
    cluster.crash(0)
    cluster.submit(1, b"three of four")
    cluster.run_until(lambda: all(b"three of four" in cluster.transactions(i) for i in (1, 2, 3)), within=1_000 * MS)
    same_order(cluster)


def test_it_says_so_when_nobody_has_what_it_needs() -> None:  # R4
    cluster = network(Local(retain_events=4 * 20))
    cluster.restart(3)
    cluster.run(20_000 * MS)
    status = cluster.machines[3].status()
    assert status.stranded
    assert status.peers_round > status.top_round + 60
    assert cluster.answers == 0
    assert not any(cluster.machines[i].status().stranded for i in range(3))


def test_a_peer_that_is_cut_off_goes_on_where_the_others_are() -> None:
    """The same without a restart, and with transactions of its own that wait."""
    cluster = network(away=0)  # another one, so that the cut one is not the only one behind
    comes_back(cluster, 0)
    cluster.submit(0, b"back again")
    cluster.run_until(lambda: all(b"back again" in cluster.transactions(i) for i in range(4)), within=5_000 * MS)
    for other in (0, 1, 2):
        cluster.cut(other, 3)
    cluster.submit(3, b"from the island")
    for number in range(AWAY):
        cluster.submit(number % 3, b"again %d" % number)
        cluster.run(3 * MS)
    for other in (0, 1, 2):
        cluster.link(other, 3)
    cluster.run_until(lambda: all(b"from the island" in cluster.transactions(i) for i in range(4)), within=5_000 * MS)
    same_order(cluster)
    assert cluster.transactions(0).count(b"from the island") == 1


def hidden(cluster: Cluster, liar: int, first: int) -> list[bytes]:
    """Valid events of a liar for all rounds from the first on, of which nobody has heard: as EVENT frames."""
    signer, rows, frames = Signer(seeds(cluster.n)[liar]), dict[int, dict[int, Event]](), []
    for _, _, _, frame in cluster.frames:
        event = wire.decode_event(frame, cluster.epoch_id, NETWORK) if frame[0] == FrameType.EVENT else None
        if isinstance(event, Event):
            rows.setdefault(event.round, {})[event.creator] = event
    quorum = Committee.genesis(NETWORK, members_of(cluster.n)).q
    last = max(round for round, row in rows.items() if len(row) >= quorum)
    before: list[Parent] = []
    for round in range(first, last + 2):
        strong = [Parent(event.creator, event.round, event.digest) for event in rows[round - 1].values()]
        parents = sorted([*strong, *before], key=lambda parent: parent.creator)
        header = wire.encode_header(cluster.epoch_id, liar, round, EPOCH + round, round, parents, (), ())
        digest = wire.event_digest(header)
        before = [Parent(liar, round, digest)]
        signature = signer.sign(DOMAIN_EVENT + digest)
        frames.append(
            wire.encode_event(
                Event(
                    creator=liar,
                    round=round,
                    created_at=EPOCH + round,
                    parents=tuple(parents),
                    items=(),
                    transactions=(),
                    header=header,
                    digest=digest,
                    signature=signature,
                )
            )
        )
    return frames


@pytest.mark.parametrize("n", [4, 7])
@pytest.mark.parametrize("depth", range(2, RETAIN_GC_DEPTHS * GC_DEPTH + 1))
def test_a_liar_that_shows_its_old_events_to_one_peer_first_stops_nobody(n: int, depth: int) -> None:  # P6, 0015
    """At the edge of what is retained one takes them when others no longer can, nor what it builds on them then."""
    cluster = Cluster(n, network=NETWORK, local=Local(retain_events=0))
    liar, honest = n - 1, range(cluster.machines[0].committee.q)
    for creator in range(len(honest), n):
        cluster.crash(creator)
    numbers = itertools.count()

    def send(count: int) -> None:
        for number in itertools.islice(numbers, count):
            cluster.submit(number % len(honest), b"%d" % number)
            cluster.run(MS // 2)

    send(60)
    first = min(cluster.machines[i].status().closed_round for i in honest) - depth
    frames = hidden(cluster, liar, first)
    cluster.step(0, Received(liar, frames))
    send(4)
    for i in honest[1:]:
        cluster.step(i, Received(liar, frames))
    for i in honest:
        cluster.link(i, liar)  # who has gone away again, but would be asked for what is missing
    send(40)
    sent = next(numbers)
    cluster.run_until(lambda: all(cluster.counts[i] == sent for i in honest), within=1_000 * MS)
    cluster.check_agreement(honest)


def test_answers_of_the_store_are_paid_for() -> None:  # F1
    cluster = network()
    machine, times = cluster.machines[0], Budget.BYTES // Server.STORED_BYTES
    pull = wire.encode_frontier(FrameType.PULL, (0, 0, 0, 0))
    outputs = machine.step(cluster.now, [Received(3, [pull] * (times + 5))])
    assert [type(output).__name__ for output in outputs].count("SendStored") == times
    assert outputs.count(Rejected(3, Reject.BUSY)) == 5


@pytest.mark.parametrize(
    ("frontier", "first"),
    [
        ((0, 0, 0, 0), 1),
        ((30, 30, 30, 30), 31),
        ((30, 30, 30, 0), 30 - GC_DEPTH + 1),  # nothing lower can be a parent any more
        ((30, 30, 30, 28), 29),  # it lacks this, which is above that
        ((0, 0, 0, 2**64 - 1), 1),  # one creator alone shows nothing
        ((41, 41, 41, 0), 41 - GC_DEPTH + 1),
        ((40, 40, 40, 40), None),  # what is in memory begins above
        ((45, 45, 45, 0), None),
        ((44, 44, 44, 0), 44 - GC_DEPTH + 1),
        ((60, 60, 60, 60), None),
    ],
)
def test_where_the_answer_of_a_store_begins(frontier: Sequence[int], first: int | None) -> None:
    dag = Dag(4)
    dag.floor, dag.top, dag.frontier = 40, 60, [60, 60, 60, 60]
    server = Server(dag, Committee.genesis(NETWORK, members_of(4)), GC_DEPTH)
    assert server.stored_from(frontier) == first
