"""From epoch to epoch: members come and go, keys and settings change, and the one order goes on (S4, S6, S7)."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from syncpoint.core import wire
from syncpoint.core.change import Change, Configure, Remove
from syncpoint.core.config import MAX_PEERS, Local, Network
from syncpoint.core.crypto import DOMAIN_EVENT, Signer, derive
from syncpoint.core.epoch import MAX_PROPOSALS, Outcome
from syncpoint.core.error import Reject
from syncpoint.core.fetch import MAX_ADMITTED
from syncpoint.core.input import NextKey, Propose, Received
from syncpoint.core.items import Proposal, encode_proposal, proposal_id
from syncpoint.core.output import Rejected
from syncpoint.core.retain import Retention
from syncpoint.core.values import Event, SyncPointKind
from syncpoint.core.wire import FrameType

from .epochs import Changing
from .virtual import MS

SHORT = Network(gc_depth=6)
NEW = [bytes([100 + i]) * 32 for i in range(8)]


def load(cluster: Changing, rng: random.Random, count: int, members: list[int], tag: str) -> list[bytes]:
    """Transactions at random times from some peers."""
    sent = []
    for number in range(count):
        sent.append(b"%s %d" % (tag.encode(), number))
        cluster.submit(rng.choice(members), sent[-1])
        cluster.run(rng.randint(0, 2 * MS))
    return sent


def settled(cluster: Changing, sent: list[bytes], peers: list[int]) -> None:
    """All of it is delivered once, everywhere, in one order."""
    cluster.run_until(lambda: all(cluster.counts[i] >= len(sent) for i in peers))
    cluster.check_agreement(peers)
    for i in peers:
        assert sorted(cluster.transactions(i)) == sorted(sent)


@pytest.mark.parametrize("order", ["fair", "fast"])
def test_a_fifth_peer_joins_under_load(core: str, order: str) -> None:  # S4, S6
    cluster = Changing(4, network=Network(gc_depth=6, order=order), core=core)
    rng = random.Random(1)
    sent = load(cluster, rng, 20, [0, 1, 2, 3], "before")
    new = cluster.make(NEW[0], core)
    id = cluster.change(0, cluster.addition(new))
    cluster.agree(id)
    sent += load(cluster, rng, 20, [0, 1, 2, 3], "while")
    cluster.run_until(lambda: all(cluster.epoch_of(i) == 1 for i in range(5)))
    sent += load(cluster, rng, 20, [0, 1, 2, 3, 4], "after")
    settled(cluster, sent, [0, 1, 2, 3, 4])
    assert all(machine.status().peers == 5 for machine in cluster.machines)
    assert any(done.event.transactions and done.epoch == 1 for done in cluster.events(new))
    points = [cluster.points(i) for i in range(5)]
    assert [point.kind for point in points[0]] == [SyncPointKind.MEMBERSHIP]
    assert len({(point[0].index, point[0].order_hash, point[0].change) for point in points}) == 1
    assert cluster.closed[0][id] is Outcome.ADOPTED
    assert not cluster.halted


def test_a_removed_peer_can_do_nothing_more(core: str) -> None:  # S4, S6
    cluster = Changing(5, network=SHORT, core=core)
    rng = random.Random(2)
    sent = load(cluster, rng, 10, [0, 1, 2, 3, 4], "before")
    cluster.agree(cluster.change(1, cluster.removal(4)))
    cluster.run_until(lambda: all(cluster.epoch_of(i) == 1 for i in range(5)))
    assert "no member" in cluster.halted[4]
    cluster.submit(4, b"never")
    sent += load(cluster, rng, 10, [0, 1, 2, 3], "after")
    settled(cluster, sent, [0, 1, 2, 3])
    assert all(cluster.machines[i].status().peers == 4 for i in range(4))


def test_a_removed_peer_stays_until_it_is_needed_no_more(core: str) -> None:  # S4, S6
    """With one dead of four, who is removed is one of the three that have to sign what removes it."""
    lost: set[int] = set()
    cluster = Changing(4, network=SHORT, core=core, delay=lambda by, to, frame: None if by in lost else MS)
    sent = load(cluster, random.Random(8), 10, [0, 1, 2, 3], "before")
    cluster.run_until(lambda: all(count == len(sent) for count in cluster.counts))
    cluster.crash(3)
    cluster.agree(cluster.change(0, cluster.removal(2)))
    cluster.run_until(lambda: bool(cluster.points(2)))
    lost.add(2)  # its signature as well
    cluster.run(300 * MS)
    assert [cluster.epoch_of(i) for i in (0, 1, 2)] == [0, 0, 0]
    assert not cluster.halted
    lost.clear()
    cluster.run_until(lambda: 2 in cluster.halted)
    cluster.crash(2)  # its application is over
    cluster.run_until(lambda: [cluster.epoch_of(i) for i in (0, 1)] == [1, 1])
    cluster.restart(3)
    sent += load(cluster, random.Random(9), 5, [0, 1], "after")
    settled(cluster, sent, [0, 1, 3])


def test_nobody_says_that_it_is_in_an_epoch_before_its_beginning_is_durable(core: str) -> None:  # S4, J1
    cluster = Changing(4, network=SHORT, core=core, persist_ns=5 * MS)
    cluster.agree(cluster.change(0, Configure(Network(gc_depth=8))))
    cluster.run_until(lambda: cluster.epoch_of(0) == 1)

    def told() -> bool:
        frames = [frame for _, by, _, frame in cluster.frames if by == 0]
        said = (wire.epoch_of_frontier(frame) for frame in frames if frame[0] in (FrameType.FRONTIER, FrameType.PULL))
        return any(epoch == 1 for epoch in said)

    cluster.run(4 * MS)
    assert not told()
    cluster.run(2 * MS)
    assert told()


def test_a_key_is_replaced(core: str) -> None:  # S4
    cluster = Changing(4, network=SHORT, core=core)
    rng = random.Random(3)
    sent = load(cluster, rng, 10, [0, 1, 2, 3], "before")
    cluster.agree(cluster.rotate(2, NEW[0]))
    sent += load(cluster, rng, 10, [0, 1, 2, 3], "while")
    cluster.run_until(lambda: all(cluster.epoch_of(i) == 1 for i in range(4)))
    sent += load(cluster, rng, 10, [0, 1, 2, 3], "after")
    settled(cluster, sent, [0, 1, 2, 3])
    assert not cluster.halted


def test_settings_change(core: str) -> None:  # S4
    cluster = Changing(4, network=SHORT, core=core)
    rng = random.Random(4)
    sent = load(cluster, rng, 10, [0, 1, 2, 3], "before")
    cluster.agree(cluster.change(3, Configure(Network(gc_depth=8, order="fast", rule="three_step"))))
    cluster.run_until(lambda: all(cluster.epoch_of(i) == 1 for i in range(4)))
    sent += load(cluster, rng, 10, [0, 1, 2, 3], "after")
    settled(cluster, sent, [0, 1, 2, 3])
    assert cluster.rosters[0].network.gc_depth == 8


def test_of_two_equal_changes_the_second_is_a_conflict(core: str) -> None:  # S7
    cluster = Changing(5, network=SHORT, core=core)
    first, second = cluster.change(0, cluster.removal(4)), cluster.change(1, cluster.removal(4))
    for id in (first, second):
        cluster.agree(id)
    cluster.run_until(lambda: all(cluster.epoch_of(i) == 1 for i in range(4)))
    cluster.submit(0, b"later")
    cluster.run_until(lambda: all(cluster.counts[i] == 1 for i in range(4)))
    outcomes = [sorted((cluster.closed[i][first], cluster.closed[i][second])) for i in range(4)]
    assert outcomes == [[Outcome.ADOPTED, Outcome.CONFLICT]] * 4
    assert cluster.epoch_of(0) == 1


def test_what_does_not_apply_any_more_ends_at_the_fence(core: str) -> None:  # S7
    """All asked for the same: whoever was not first learns it at once, everywhere, and has room for something else."""
    cluster = Changing(5, network=SHORT, core=core, local=Local(stores=True))
    first, *equal = [cluster.change(i, cluster.removal(4)) for i in range(4)]
    other = cluster.change(1, Configure(Network(gc_depth=9)))
    cluster.run_until(lambda: all(len(cluster.opened[i]) == 5 for i in range(4)))
    cluster.agree(first)
    cluster.run_until(lambda: all(cluster.epoch_of(i) == 1 for i in range(4)))
    outcomes = {first: Outcome.ADOPTED} | dict.fromkeys(equal, Outcome.CONFLICT)
    assert [cluster.closed[i] for i in range(4)] == [outcomes] * 4
    assert [cluster.machines[i].status().proposals for i in range(4)] == [1] * 4
    assert len({cluster.entered[i][-1].start.state for i in range(4)}) == 1

    cluster.entered[2] = []
    cluster.crash(2)
    cluster.restart(2, records=shelved(cluster, 2))
    assert (cluster.epoch_of(2), cluster.closed[2]) == (1, {})
    assert [opened.proposal for opened in cluster.opened[2]] == [other]
    more = [cluster.propose(1, salt=salt) for salt in range(MAX_PROPOSALS)]
    cluster.run_until(lambda: more[-1] in cluster.closed[1])
    assert cluster.closed[1] == outcomes | {more[-1]: Outcome.TOO_MANY}
    cluster.run_until(lambda: all(cluster.machines[i].status().proposals == MAX_PROPOSALS for i in range(4)))


def test_a_proposal_goes_over_a_fence_with_its_votes(core: str) -> None:  # S4
    cluster = Changing(4, network=SHORT, core=core)
    id = cluster.propose(0, metadata=b"open")
    cluster.run_until(lambda: all(cluster.opened[i] for i in range(4)))
    cluster.agree(cluster.change(3, Configure(Network(gc_depth=8))))
    cluster.run_until(lambda: all(cluster.epoch_of(i) == 1 for i in range(4)))
    assert cluster.machines[0].status().proposals == 1
    cluster.vote(1, id)
    cluster.vote(2, id)
    cluster.run_until(lambda: all(len(cluster.points(i)) == 2 for i in range(4)), within=2_000 * MS)
    assert [(point.kind, point.epoch, point.metadata, point.approvals) for point in cluster.points(3)[1:]] == [
        (SyncPointKind.CUSTOM, 1, b"open", 0b0111)
    ]


def test_who_gets_the_number_of_another_one_opens_nothing_of_it(core: str) -> None:  # S1, S4
    """The id of a proposal has the number of its proposer, and in a full network the only free one goes to somebody."""
    cluster = Changing(5, idle=MAX_PEERS - 5, network=SHORT, core=core, local=Local(stores=True))
    bodies = [encode_proposal(Proposal(7, cluster.now + 60_000 * MS, salt, b"once")) for salt in range(2)]
    cluster.step(4, *map(Propose, bodies))
    still_open, decided = (proposal_id(cluster.epoch_id, 4, body) for body in bodies)
    cluster.agree(decided)
    cluster.run_until(lambda: all(cluster.points(i) for i in range(5)))
    cluster.agree(cluster.change(0, cluster.removal(4)))
    cluster.run_until(lambda: all(cluster.epoch_of(i) == 1 for i in range(4)))
    new = cluster.make(bytes([200]) * 32, core)  # a key that nobody idle has
    cluster.agree(cluster.change(0, cluster.addition(new)))
    cluster.run_until(lambda: all(cluster.epoch_of(i) == 2 for i in (0, 1, 2, 3, new)))
    cluster.step(new, *map(Propose, bodies))
    cluster.submit(new, b"behind them")
    cluster.run_until(lambda: all(cluster.counts[i] for i in (0, 1, 2, 3, new)))
    for i in range(4):
        told = [opened.proposal for opened in cluster.opened[i]]
        assert [told.count(id) for id in (still_open, decided)] == [1, 1]
        assert [cluster.closed[i][id] for id in (still_open, decided)] == [Outcome.LEFT, Outcome.ADOPTED]


@pytest.mark.parametrize("seed", range(4))
def test_from_four_to_seven_to_four(core: str, seed: int) -> None:  # S6
    cluster = Changing(4, network=SHORT, core=core, local=Local(stores=True))  # who joins late comes through all epochs
    rng = random.Random(seed)
    members, sent = [0, 1, 2, 3], load(cluster, rng, 5, [0, 1, 2, 3], "start")
    for step in range(6):
        if step < 3:
            change, after = cluster.addition(new := cluster.make(NEW[step], core)), [*members, new]
        else:
            gone = rng.choice(members)
            change, after = cluster.removal(gone), [i for i in members if i != gone]
        epoch = cluster.epoch_of(after[0])
        cluster.agree(cluster.change(rng.choice([i for i in members if i in after]), change))
        sent += load(cluster, rng, 5, [i for i in members if i in after], f"step {step}")
        members = after
        cluster.run_until(lambda: all(cluster.epoch_of(i) == epoch + 1 for i in members))  # noqa: B023
        sent += load(cluster, rng, 5, members, f"then {step}")
    settled(cluster, sent, members)


@pytest.mark.parametrize("stores", [False, True])
def test_who_lags_by_epochs_is_helped_through(core: str, stores: bool) -> None:  # S4, F3
    cluster = Changing(5, network=SHORT, core=core, local=Local(stores=stores))
    rng = random.Random(6)
    cluster.crash(3)
    sent = load(cluster, rng, 10, [0, 1, 2, 4], "one")
    epochs = 3 if stores else 1
    for epoch in range(epochs):
        change = Configure(Network(gc_depth=7 + epoch))
        cluster.agree(cluster.change(0, change))
        cluster.run_until(lambda: all(cluster.epoch_of(i) == epoch + 1 for i in (0, 1, 2, 4)))  # noqa: B023
        sent += load(cluster, rng, 10, [0, 1, 2, 4], f"then {epoch}")
    cluster.restart(3)
    cluster.run_until(lambda: cluster.epoch_of(3) == epochs)
    cluster.submit(3, b"back")
    settled(cluster, [*sent, b"back"], [0, 1, 2, 3, 4])
    assert not cluster.halted


@pytest.mark.parametrize("n", [4, 7])
def test_the_dead_are_removed_and_come_back(core: str, n: int) -> None:  # S6, Q1
    """The others remove f dead peers; what is left survives as many crashes as it can; the dead are let in again."""
    cluster = Changing(n, network=SHORT, core=core, local=Local(stores=True))
    rng = random.Random(n)
    dead = list(range(n - (n - 1) // 3, n))
    alive = [i for i in range(n) if i not in dead]
    sent = load(cluster, rng, 10, list(range(n)), "before")
    cluster.run_until(lambda: not any(machine.status().queued_transactions for machine in cluster.machines))
    cluster.run(20 * MS)
    for i in dead:
        cluster.crash(i)
    for number, i in enumerate(dead, 1):
        cluster.agree(cluster.change(0, cluster.removal(i)))
        cluster.run_until(lambda: all(cluster.epoch_of(j) == number for j in alive))  # noqa: B023
    assert cluster.machines[0].status().peers == len(alive)
    further = alive[-((len(alive) - 1) // 3) :] if (len(alive) - 1) // 3 else []
    for i in further:
        cluster.crash(i)
    sent += load(cluster, rng, 10, [i for i in alive if i not in further], "without them")
    cluster.run_until(lambda: cluster.counts[0] == len(sent))
    for i in further:
        cluster.restart(i, records=shelved(cluster, i))
    for number, i in enumerate(dead, len(dead) + 1):
        cluster.returning.add(i)
        cluster.agree(cluster.change(1, cluster.addition(i)))
        cluster.run_until(lambda: all(cluster.epoch_of(j) == number for j in alive))  # noqa: B023
        cluster.restart(i, records=shelved(cluster, i))
        cluster.run_until(lambda: cluster.machines[i].status().creator is not None)  # noqa: B023
    sent += load(cluster, rng, 10, list(range(n)), "together")
    streams = [cluster.stores[i] for i in range(n)]
    cluster.run_until(lambda: len({len(store.delivered) for store in streams}) == 1 and cluster.counts[0] == len(sent))
    assert all(store.delivered[-1].order_hash == streams[0].delivered[-1].order_hash for store in streams)
    assert sorted(cluster.transactions(0)) == sorted(sent)
    assert not cluster.halted


def shelved(cluster: Changing, i: int) -> list[bytes]:
    """What a peer finds in its store when it starts again."""
    roster = cluster.rosters[i]
    orders = sum(seat.member.orders for seat in roster.seats)
    return cluster.stores[i].load(cluster.epoch_id, SHORT, Retention(roster.network, cluster.local, orders))


def test_a_removed_peer_that_was_down_hears_of_it_though_others_have_joined_since(core: str) -> None:  # S4
    cluster = Changing(5, network=SHORT, core=core, local=Local(stores=True))
    rng = random.Random(7)
    sent = load(cluster, rng, 10, [0, 1, 2, 3, 4], "before")
    cluster.run_until(lambda: not cluster.machines[4].status().queued_transactions)
    cluster.run(20 * MS)
    cluster.crash(4)
    cluster.agree(cluster.change(0, cluster.removal(4)))
    cluster.run_until(lambda: all(cluster.epoch_of(i) == 1 for i in range(4)))
    for epoch in (2, 3):
        cluster.agree(cluster.change(1, cluster.addition(cluster.make(NEW[epoch], core))))
        cluster.run_until(lambda: all(cluster.epoch_of(i) == epoch for i in range(4)))  # noqa: B023
    sent += load(cluster, rng, 10, [0, 1, 2, 3, 5, 6], "after")
    cluster.restart(4)
    cluster.run_until(lambda: 4 in cluster.halted, within=2_000 * MS)
    assert "no member" in cluster.halted[4]
    settled(cluster, sent, [0, 1, 2, 3, 5, 6])
    assert [numbers(cluster, i) for i in (0, 3, 5, 6)] == [[0, 1, 2, 3, 5, 6]] * 4


def test_numbers_are_given_in_turn_and_a_restart_knows_whose_turn_it_is(core: str) -> None:  # S4
    cluster = Changing(4, idle=MAX_PEERS - 5, network=SHORT, core=core, local=Local(stores=True))
    members, sent = [0, 1, 2, 3], [b"before"]
    cluster.submit(0, b"before")

    def change(what: Change, after: list[int]) -> None:
        epoch = cluster.epoch_of(0) + 1
        cluster.agree(cluster.change(0, what))
        cluster.run_until(lambda: all(cluster.epoch_of(i) == epoch for i in after))

    def add(number: int) -> int:
        """Let a peer in that gets this number, at itself as well, and is heard."""
        new = cluster.make(bytes([200 + cluster.size]) * 32, core)
        change(cluster.addition(new), [*members, new])
        public = derive(cluster.keys[new][-1])
        for i in (*members, new):
            seat = cluster.rosters[i].seat_of(public)
            assert seat is not None
            assert seat.number == number
        sent.append(b"from number %d" % number)
        cluster.submit(new, sent[-1])
        cluster.run_until(lambda: all(sent[-1] in cluster.transactions(i) for i in (0, new)))
        return new

    def restart() -> None:
        for i in members:
            cluster.run_until(lambda: not cluster.machines[i].status().queued_transactions)  # noqa: B023
            cluster.crash(i)
            cluster.restart(i, records=shelved(cluster, i))

    members.append(add(MAX_PEERS - 1))
    assert numbers(cluster, 0) == list(range(MAX_PEERS)), "nobody else has room"
    for number in (50, 60):
        change(Remove(cluster.rosters[0].seats[numbers(cluster, 0).index(number)].member.public), members)
    restart()
    fifty = add(50)
    change(cluster.removal(fifty), members)
    restart()
    members.append(add(60))
    assert sorted(cluster.transactions(members[-1])) == sorted(sent)


def numbers(cluster: Changing, i: int) -> list[int]:
    """Those of the members as one peer has it."""
    return [seat.number for seat in cluster.rosters[i].seats]


@pytest.mark.parametrize("how", ["removed", "rotated"])
def test_an_old_key_is_worth_nothing(core: str, how: str) -> None:  # S4, S6, V1
    cluster = Changing(5, network=SHORT, core=core)
    rng = random.Random(9)
    load(cluster, rng, 5, [0, 1, 2, 3, 4], "before")
    old = [frame for _, by, _, frame in cluster.frames if by == 4 and frame[0] == FrameType.EVENT][-1]
    cluster.agree(cluster.change(0, cluster.removal(4)) if how == "removed" else cluster.rotate(4, NEW[0]))
    cluster.run_until(lambda: all(cluster.epoch_of(i) == 1 for i in range(4)))
    epoch_id = cluster.entered[0][-1].start.epoch_id
    signer = Signer(cluster.keys[4][0])
    rejects = []
    for creator in range(6):
        header = wire.encode_header(epoch_id, creator, 1, cluster.now, 1, (), (), (b"from yesterday",))
        digest = wire.event_digest(header)
        event = Event(creator, 1, cluster.now, (), (), (b"from yesterday",), header, digest, b"")
        forged = replace(event, signature=signer.sign(DOMAIN_EVENT + digest))
        outputs = cluster.machines[0].step(cluster.now, [Received(1, (wire.encode_event(forged),))])
        rejects += [output.code for output in outputs if isinstance(output, Rejected)]
    n = cluster.machines[0].status().peers
    assert rejects == [Reject.SIGNATURE] * n + [Reject.CREATOR] * (6 - n)
    outputs = cluster.machines[0].step(cluster.now, [Received(1, (old,))])
    assert [output.code for output in outputs if isinstance(output, Rejected)] == [Reject.EPOCH]
    cluster.run(100 * MS)
    assert all(b"from yesterday" not in cluster.transactions(i) for i in range(4))


def test_a_secret_is_not_shown() -> None:
    assert repr(NextKey(NEW[0])) == "NextKey(...)"


def test_the_variant_that_the_others_built_on_is_found_behind_a_fence(core: str) -> None:  # F3, S4
    """Who has another event of a liar than everybody else gets theirs, though that epoch is over for them."""
    cluster = Changing(4, network=SHORT, core=core)
    sent = load(cluster, random.Random(5), 5, [0, 1, 2, 3], "before")
    cluster.run_until(lambda: all(count == len(sent) for count in cluster.counts))
    cluster.run(100 * MS)
    assert not any(input is not None for *_, input in cluster._queue), "all have heard everything"
    for peer in (0, 1, 2):
        cluster.cut(peer, 3)
    before = len(cluster.frames)
    sent.append(b"what the others have")
    cluster.submit(2, sent[-1])
    cluster.run_until(lambda: all(cluster.counts[i] == len(sent) for i in range(3)))
    frame = next(frame for _, by, _, frame in cluster.frames[before:] if by == 2 and frame[0] == FrameType.EVENT)
    event = wire.decode_event(frame, cluster.epoch_id, SHORT)
    assert isinstance(event, Event)
    header = wire.encode_header(cluster.epoch_id, 2, event.round, event.created_at, 7, event.parents, (), ())
    digest = wire.event_digest(header)
    signature = Signer(cluster.keys[2][0]).sign(DOMAIN_EVENT + digest)
    other = replace(event, header=header, digest=digest, signature=signature, transactions=())
    cluster.step(3, Received(2, (wire.encode_event(other),)))
    assert not cluster.rejects
    cluster.agree(cluster.change(0, Configure(Network(gc_depth=8))))
    cluster.run_until(lambda: all(cluster.epoch_of(i) == 1 for i in range(3)))
    for peer in (0, 1, 2):
        cluster.link(peer, 3)
    cluster.run_until(lambda: cluster.epoch_of(3) == 1)
    settled(cluster, sent, [0, 1, 2, 3])


def test_who_is_through_brings_so_many_variants_of_a_slot() -> None:  # F2, F4
    fetcher = Changing(4).machines[0].replica.fetcher
    variants = [Event(2, 5, 0, (), (), (), b"", bytes([number]) * 32, b"") for number in range(MAX_ADMITTED + 1)]
    for event in (*variants, *variants):
        fetcher.admit(event, 1)
    assert [fetcher.wants(event.digest) for event in variants] == [True] * MAX_ADMITTED + [False]
    fetcher.forget_below(5)
    assert not any(fetcher.wants(event.digest) for event in variants)
