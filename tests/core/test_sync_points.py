"""Sync points of whole machines: the same everywhere, whatever the links and the peers do (S)."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

import pytest

from syncpoint.core.config import Local, Network
from syncpoint.core.epoch import MAX_PROPOSALS, MAX_UNCLAIMED, Epoch, Outcome, _Closed
from syncpoint.core.input import Propose, Vote
from syncpoint.core.items import Proposal, decode_vote, encode_proposal, proposal_id
from syncpoint.core.journal import encode_state
from syncpoint.core.propose import MAX_SAID
from syncpoint.core.values import ItemType, SyncPointKind

from .virtual import MS, Cluster, jitter

pytestmark = pytest.mark.usefixtures("machines")

RULES_AND_ORDERS = [(rule, order) for rule in ("two_step", "three_step") for order in ("fair", "fast")]
SIZES = [1, 2, 4, 7]
KINDS = [SyncPointKind.SESSION, SyncPointKind.SNAPSHOT, SyncPointKind.EPOCH, SyncPointKind.CUSTOM]


def propose(
    cluster: Cluster, i: int, kind: int = SyncPointKind.CUSTOM, *, salt: int = 0, within: int = 1_000 * MS
) -> bytes:
    """A peer asks for a sync point now; the id."""
    body = encode_proposal(Proposal(kind, cluster.now + within, salt, b"proposal %d" % salt))
    cluster.step(i, Propose(body))
    return proposal_id(cluster.machines[i].committee.epoch_id, i, body)


def vote(cluster: Cluster, id: bytes, peers: Iterable[int], approves: bool = True) -> None:
    """As soon as the proposal is open everywhere these peers vote."""
    cluster.run_until(lambda: all(id in (opened.proposal for opened in cluster.opened[i]) for i in cluster.live))
    for i in peers:
        cluster.step(i, Vote(id, approves))


def decided(cluster: Cluster, *proposals: bytes) -> None:
    """Wait until these are decided everywhere."""
    cluster.run_until(lambda: all(id in cluster.closed[i] for i in cluster.live for id in proposals))


def check_points(cluster: Cluster) -> int:
    """The same sync points everywhere, in the same places, and the same outcomes in the same order; how many."""
    cluster.check_agreement()
    told = [
        [
            (p.index, p.kind, p.metadata, p.proposal, p.proposer, p.approvals, p.epoch_index, p.session_id, p.closed_by)
            for p in cluster.points(i)
        ]
        for i in cluster.live
    ]
    outcomes = [list(cluster.closed[i].items()) for i in cluster.live]
    assert all(each == told[0] for each in told)
    assert all(each == outcomes[0] for each in outcomes)
    assert [point[6] for point in told[0]] == list(range(1, len(told[0]) + 1))
    q = cluster.machines[0].committee.q
    assert all(point[4] is None or point[5].bit_count() >= q for point in told[0])
    return len(told[0])


@pytest.mark.parametrize(("rule", "order"), RULES_AND_ORDERS)
@pytest.mark.parametrize("n", SIZES)
def test_a_sync_point_stands_at_the_same_index_everywhere(n: int, rule: str, order: str, seed: int) -> None:  # S2
    rng = random.Random(seed)
    cluster = Cluster(n, observers=1, network=Network(rule=rule, order=order), delay=jitter(rng, MS, 5 * MS))
    for number in range(3):
        cluster.submit(rng.randrange(n), b"before %d" % number)
    id = propose(cluster, n - 1)
    vote(cluster, id, range(n - 1))
    for number in range(3):
        cluster.submit(rng.randrange(n), b"after %d" % number)
    decided(cluster, id)
    cluster.run_until(lambda: cluster.all_have(6))
    assert check_points(cluster) == 1
    (point,) = cluster.points(0)
    assert (point.proposal, point.proposer) == (id, n - 1)
    status = {(machine.status().epoch_index, machine.status().proposals) for machine in cluster.machines}
    assert status == {(1, 0)}


def test_who_proposes_has_voted() -> None:  # S1
    cluster = Cluster(4, observers=1)
    id = propose(cluster, 2)
    cluster.run_until(lambda: all(cluster.opened))
    assert [opened.voted for (opened,) in cluster.opened] == [False, False, True, False, True]
    assert {(opened.proposal, opened.proposer, opened.metadata) for (opened,) in cluster.opened} == {
        (id, 2, b"proposal 0")
    }
    assert all(machine.status().proposals == 1 for machine in cluster.machines)
    vote(cluster, id, [0, 1])
    decided(cluster, id)
    assert check_points(cluster) == 1


@pytest.mark.parametrize("order", ["fair", "fast"])
def test_many_at_once_have_the_same_outcome_everywhere(order: str, seed: int) -> None:  # S2, S7
    rng = random.Random(seed)
    cluster = Cluster(4, network=Network(order=order), delay=jitter(rng, MS, 5 * MS))
    proposals: list[bytes] = []
    asked: list[set[bytes]] = [set() for _ in range(4)]
    while len(proposals) < 40 or not all(id in closed for closed in cluster.closed for id in proposals):
        if len(proposals) < 40 and rng.random() < 0.5:
            within = rng.choice((15 * MS, 200 * MS, 1_000 * MS))
            proposals.append(propose(cluster, rng.randrange(4), rng.choice(KINDS), salt=len(proposals), within=within))
        for i, known in enumerate(asked):
            for opened in cluster.opened[i]:
                if opened.proposal not in known and rng.random() < 0.5:
                    known.add(opened.proposal)
                    cluster.step(i, Vote(opened.proposal, opened.salt % 3 > 0))
        cluster.submit(rng.randrange(4), b"%d" % len(cluster.frames))
        cluster.run(rng.randint(MS, 10 * MS))
    cluster.run(100 * MS)
    check_points(cluster)
    outcomes = set(cluster.closed[0].values())
    assert outcomes >= {Outcome.ADOPTED, Outcome.REFUSED, Outcome.EXPIRED}


@pytest.mark.parametrize(("n", "dead"), [(4, 1), (7, 2)])
def test_with_f_dead_it_is_decided_all_the_same(n: int, dead: int) -> None:
    cluster = Cluster(n)
    cluster.submit(0, b"t")
    cluster.run_until(lambda: cluster.all_have(1))
    for i in range(n - dead, n):
        cluster.crash(i)
    id, other = propose(cluster, 0), propose(cluster, 1, salt=1)
    vote(cluster, id, range(1, n - dead))
    vote(cluster, other, range(2, n - dead - 1))
    decided(cluster, id, other)
    assert check_points(cluster) == 1
    assert cluster.closed[0] == {id: Outcome.ADOPTED, other: Outcome.EXPIRED}
    for i in range(n - dead, n):
        cluster.restart(i)
    decided(cluster, id, other)
    cluster.run_until(lambda: len({machine.status().delivered for machine in cluster.machines}) == 1)
    assert check_points(cluster) == 1, "who comes back hears of it as well"


def test_nothing_comes_after_the_end_and_rounds_rest() -> None:  # S4
    cluster = Cluster(4, network=Network(epoch_ms=100))
    end = propose(cluster, 0, SyncPointKind.END)
    late = propose(cluster, 1, salt=1)
    vote(cluster, end, [1, 2, 3])
    for number in range(200):  # what is on its way is not delivered any more
        cluster.submit(number % 4, b"%d" % number)
        cluster.run(MS)
    decided(cluster, end, late)
    assert check_points(cluster) == 1
    assert cluster.closed[0] == {end: Outcome.ADOPTED, late: Outcome.ENDED}
    assert all(machine.status().ended for machine in cluster.machines)
    index = cluster.points(0)[0].index
    before = [machine.status().own_round for machine in cluster.machines]
    cluster.run(1_000 * MS)
    after = [machine.status().own_round for machine in cluster.machines]
    assert max(after) - min(before) <= 1_000 // 500 + 1, "a round for each heartbeat, and no more"
    assert all(cluster.machines[i].replica.checkpoints.is_voted(index) for i in range(4))
    assert all(cluster.delivered[i][-1].index == index for i in range(4))
    assert cluster.queues[0].transactions > 0, "nothing is taken out of the queue for events that are not made"


@pytest.mark.parametrize("epoch_ms", [100, 1_000])
def test_beats_come_under_load_and_not_while_it_idles(epoch_ms: int) -> None:  # S5
    cluster = Cluster(4, network=Network(epoch_ms=epoch_ms))
    cluster.run(5_000 * MS)
    assert not any(cluster.points(i) for i in cluster.live)
    start = cluster.now
    for number in range(6 * epoch_ms // 10):
        cluster.submit(number % 4, b"%d" % number)
        cluster.run(10 * MS)
    cluster.run(3_000 * MS)
    count = check_points(cluster)
    assert 3 <= count <= 6
    assert {point.kind for point in cluster.points(0)} == {SyncPointKind.EPOCH}
    times = [start, *(point.consensus_at for point in cluster.points(0))]
    assert all(later >= earlier + epoch_ms * MS for earlier, later in itertools.pairwise(times))
    cluster.run(10_000 * MS)
    assert check_points(cluster) == count


def test_a_proposal_and_votes_in_events_that_are_too_old_are_said_again() -> None:  # O11, S1
    cluster = Cluster(4, network=Network(gc_depth=6))
    id = propose(cluster, 0, within=60_000 * MS)
    vote(cluster, id, [])
    for i in range(3):
        cluster.cut(i, 3)
    cluster.step(3, Vote(id, True))
    lost = propose(cluster, 3, salt=1, within=60_000 * MS)
    at = cluster.machines[3].status().own_round
    for number in range(100):
        cluster.submit(number % 3, b"%d" % number)
        cluster.run(5 * MS)
    assert cluster.machines[0].status().closed_round > at + 2 * 6
    for i in range(3):
        cluster.link(i, 3)
    cluster.run_until(lambda: all(lost in {opened.proposal for opened in cluster.opened[i]} for i in range(4)))
    vote(cluster, id, [0, 1])
    vote(cluster, lost, [1, 2])
    decided(cluster, id, lost)
    assert check_points(cluster) == 2
    assert cluster.points(0)[0].approvals >> 3 & 1, "the vote of before the partition counts"
    assert not any(done.event.creator == 3 and done.event.round == at for done in cluster.events(0))


def test_what_is_said_once_more_is_decided_no_second_time() -> None:  # S1
    """A liar may repeat a proposal when its deadline is over, or one that never was open: nobody is told again."""
    cluster = Cluster(4)
    late, far = (
        encode_proposal(Proposal(SyncPointKind.CUSTOM, cluster.now + within, 0, b"again"))
        for within in (100 * MS, 7_200_000 * MS)
    )
    cluster.step(0, Propose(late), Propose(far))
    opened, never = (proposal_id(cluster.epoch_id, 0, body) for body in (late, far))
    cluster.run(200 * MS)
    cluster.submit(1, b"consensus time goes on")
    cluster.run_until(lambda: cluster.all_have(1))
    decided(cluster, opened)
    outcomes = [{opened: Outcome.EXPIRED}] * 3
    assert cluster.closed == [{opened: Outcome.EXPIRED, never: Outcome.INVALID}, *outcomes], "who asked hears why"
    other = propose(cluster, 1, salt=1, within=60_000 * MS)  # now the others forget what is past its deadline
    cluster.run_until(lambda: all(other in {told.proposal for told in cluster.opened[i]} for i in range(4)))
    cluster.restart(0)
    cluster.step(0, Propose(late), Propose(far))
    cluster.submit(0, b"behind both")
    cluster.run_until(lambda: cluster.all_have(2))
    assert sum(item.body in (late, far) for done in cluster.events(2) for item in done.event.items) == 4
    assert cluster.closed[1:] == outcomes
    assert cluster.closed[0] == {opened: Outcome.EXPIRED, never: Outcome.INVALID}, "it started anew"


def test_what_is_open_at_the_second_attempt_is_not_decided_by_the_first() -> None:  # S1
    """Who comes to both in one step is told that it is open, and not that there were too many before."""
    cluster = Cluster(4, local=Local(stores=True))
    for salt in range(MAX_PROPOSALS):
        propose(cluster, 0, salt=salt, within=200 * MS)
    asked = Propose(encode_proposal(Proposal(SyncPointKind.CUSTOM, cluster.now + 60_000 * MS, 99, b"one more")))
    id = proposal_id(cluster.epoch_id, 0, asked.body)
    cluster.step(0, asked)
    decided_by_0 = cluster.closed[0]
    cluster.run_until(lambda: id in decided_by_0)
    assert decided_by_0 == {id: Outcome.TOO_MANY}
    cluster.run(300 * MS)
    cluster.restart(0)
    cluster.step(0, asked)
    cluster.run_until(lambda: all(id in {told.proposal for told in cluster.opened[i]} for i in range(1, 4)))
    cluster.restart(1, records=cluster.stores[1].records)
    assert cluster.machines[1].status().proposals == 1
    assert cluster.opened[1][-1].proposal == id
    assert set(cluster.closed[1].values()) == {Outcome.EXPIRED}
    assert id not in cluster.closed[1]


def test_of_too_many_that_count_for_nobody_the_oldest_are_forgotten() -> None:  # S1
    """Nor is what is past its deadline kept; what counts for its proposer stays."""
    cluster = Cluster(1)
    epoch = Epoch(cluster.machines[0].committee, 0)
    ids = [number.to_bytes(32) for number in range(MAX_UNCLAIMED + 5)]
    later, sooner = cluster.now + 1_000 * MS, cluster.now - 1
    epoch._remembered = {id: _Closed(0 if id == ids[0] else 0xFFFF, later) for id in ids}
    epoch._remembered |= {ids[1]: _Closed(0xFFFF, sooner), ids[2]: _Closed(0, sooner)}
    cluster.restart(0, records=[encode_state(epoch.encode())])
    id = propose(cluster, 0)
    decided(cluster, id)
    again = Epoch(cluster.machines[0].committee, 0)
    again.restore(cluster.stores[0].states[-1][1])
    assert list(again._remembered) == [ids[0], *ids[5:], id]


def test_an_idle_network_makes_no_rounds_for_the_sake_of_votes() -> None:  # P2, C1
    cluster = Cluster(4)
    id = propose(cluster, 0)
    vote(cluster, id, [1, 2, 3])
    decided(cluster, id)
    cluster.run(100 * MS)
    before = [machine.status().own_round for machine in cluster.machines]
    cluster.run(3_000 * MS)
    after = [machine.status().own_round for machine in cluster.machines]
    assert max(after) - min(before) <= 3_000 // 500 + 1, "a round for each heartbeat, and no more"


def test_who_starts_anew_hears_the_same() -> None:  # R1
    cluster = Cluster(4)
    for salt in range(3):
        id = propose(cluster, salt, SyncPointKind.SESSION, salt=salt)
        vote(cluster, id, range(4))
        decided(cluster, id)
    session = cluster.points(0)[-1].session_id
    cluster.restart(1)
    cluster.run_until(lambda: len(cluster.points(1)) == 3)
    assert cluster.points(1)[-1].session_id == session
    assert check_points(cluster) == 3


def test_what_a_peer_cannot_say_does_not_pile_up() -> None:  # S1, C1
    """Alone it cannot sign behind round 1; what it is to say beyond the limit takes the place of its oldest votes."""
    cluster = Cluster(4, linked=False)
    cluster.run(1_000 * MS)
    first = propose(cluster, 0, within=60_000 * MS)
    for number in range(MAX_SAID + 100):
        cluster.step(0, Vote(number.to_bytes(32), True))
    for i, j in itertools.combinations(range(4), 2):
        cluster.link(i, j)
    vote(cluster, first, [1, 2])
    decided(cluster, first)
    cluster.run_until(lambda: len(said(cluster)) == MAX_SAID - 1)
    assert said(cluster) == list(range(101, MAX_SAID + 100))


def said(cluster: Cluster) -> list[int]:
    """The numbers in the votes of the first peer, in their order, as far as they are delivered."""
    items = [item for done in cluster.events(1) if done.event.creator == 0 for item in done.event.items]
    votes = [decode_vote(item.body) for item in items if item.type == ItemType.VOTE]
    return [int.from_bytes(each.proposal) for each in votes if each is not None]
