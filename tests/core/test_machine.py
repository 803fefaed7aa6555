"""Whole machines on virtual time: agreement, pace, faults, fetching, restarts."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence

import pytest

from syncpoint.core import wire
from syncpoint.core.config import Local, Network
from syncpoint.core.crypto import DOMAIN_EVENT, Signer
from syncpoint.core.error import Reject
from syncpoint.core.fetch import MAX_MISSING
from syncpoint.core.input import Connected, Input, Received, Start
from syncpoint.core.journal import encode_own_event
from syncpoint.core.output import Output, Rejected, Send, Wake
from syncpoint.core.values import Event, Item, ItemType, Parent
from syncpoint.core.wire import FrameType
from syncpoint.errors import CorruptError

from .virtual import EPOCH, MS, Cluster, jitter, seeds

pytestmark = pytest.mark.usefixtures("machines")

RULES_AND_ORDERS = [(rule, order) for rule in ("two_step", "three_step") for order in ("fair", "fast")]


def event_frames(cluster: Cluster, since: int) -> list[tuple[int, int, bytes]]:
    """EVENT frames sent from index `since` on: (at, from, frame)."""
    return [(at, i, frame) for at, i, _, frame in cluster.frames[since:] if frame[0] == FrameType.EVENT]


def forge(
    cluster: Cluster,
    creator: int,
    round: int,
    parents: list[Event],
    *,
    created_at: int | None = None,
    transactions: tuple[bytes, ...] = (),
    items: tuple[Item, ...] = (),
    salt: int = 0,
) -> bytes:
    """An EVENT frame that `creator` really signed, whatever is in it."""
    signer = Signer(seeds(cluster.n)[creator])
    references = sorted(Parent(parent.creator, parent.round, parent.digest) for parent in parents)
    at = cluster.now + round if created_at is None else created_at
    epoch_id = cluster.machines[0].committee.epoch_id
    header = wire.encode_header(epoch_id, creator, round, at, salt, references, items, transactions)
    digest = wire.event_digest(header)
    event = Event(creator, round, at, (), items, transactions, header, digest, signer.sign(DOMAIN_EVENT + digest))
    return wire.encode_event(event)


def decode(cluster: Cluster, frame: bytes) -> Event:
    event = wire.decode_event(frame, cluster.machines[0].committee.epoch_id, cluster.network)
    assert isinstance(event, Event)
    return event


# -- agreement ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "order"), RULES_AND_ORDERS)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_all_transactions_are_delivered_once_in_the_same_order(n: int, rule: str, order: str, seed: int) -> None:
    rng = random.Random(seed)
    cluster = Cluster(n, network=Network(rule=rule, order=order), delay=jitter(rng, MS, 5 * MS))
    cluster.exchange(rng, 100)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 10, 16])
def test_ten_thousand_transactions(n: int) -> None:
    cluster = Cluster(n, delay=MS)
    per_peer = -(-10_000 // n)
    for at in range(0, per_peer, 50):
        for i in range(n):
            cluster.submit(i, *(b"%d/%d" % (i, number) for number in range(at, min(at + 50, per_peer))))
        cluster.run(MS)
    cluster.run_until(lambda: cluster.all_have(n * per_peer))
    cluster.check_agreement()
    assert len(set(cluster.transactions(0))) == n * per_peer


def test_an_event_has_its_creators_transactions_in_the_order_of_submission() -> None:
    cluster = Cluster(4)
    cluster.submit(2, *(b"%03d" % number for number in range(500)))
    cluster.run_until(lambda: cluster.all_have(500))
    assert cluster.transactions(0) == [b"%03d" % number for number in range(500)]
    own = [number for done in cluster.delivered[2] if done.event.creator == 2 for number in done.submissions]
    assert own == list(range(500))
    assert not any(done.submissions for done in cluster.delivered[1])


# -- pace -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "order", "delays"), [
    ("two_step", "fast", 2), ("two_step", "fair", 3), ("three_step", "fast", 3), ("three_step", "fair", 4),
])  # fmt: skip
@pytest.mark.parametrize("n", [4, 7])
def test_message_delays_until_an_event_is_final(n: int, rule: str, order: str, delays: int) -> None:
    delta = 50 * MS
    cluster = Cluster(n, network=Network(rule=rule, order=order), delay=delta)
    for number in range(40):
        cluster.submit(number % n, b"load %d" % number)
        cluster.run(20 * MS)
    cluster.run_until(lambda: cluster.all_have(40))
    late = [
        (at - done.event.created_at) / delta
        for done in cluster.delivered[0][-n * 5 :]
        if done.event.transactions and (at := cluster.delivered_at[done.event.creator][done.event.digest])
    ]
    assert late
    # The last rounds are not in step with each other any more; none may take longer than one delay more.
    assert sorted(late)[len(late) // 2] == pytest.approx(delays, abs=0.1)
    assert max(late) < delays + 1.1


def test_an_idle_network_beats_at_the_heartbeat_only() -> None:
    cluster = Cluster(4, delay=5 * MS)
    cluster.submit(0, b"last")
    cluster.run_until(lambda: cluster.all_have(1))
    cluster.run(1_000 * MS)
    since, made = len(cluster.frames), cluster.machines[0].status().own_events
    cluster.run(10_000 * MS)
    assert cluster.machines[0].status().own_events - made == pytest.approx(20, abs=1)
    assert len(cluster.frames) - since == pytest.approx(20 * 4 * 3, abs=12), "one event to each, and nothing else"
    assert not any(machine.status().undelivered for machine in cluster.machines)


def test_the_first_transaction_after_idling_is_final_within_five_delays(seed: int) -> None:
    rng = random.Random(seed)
    delta = 10 * MS
    cluster = Cluster(4, delay=delta)
    for number in range(1, 30):
        cluster.run(rng.randint(600 * MS, 1_700 * MS))
        cluster.submit(number % 4, b"%d" % number)
        took = cluster.run_until(lambda number=number: len(cluster.transactions(number % 4)) == number)
        assert took <= 5.2 * delta


def test_nobody_has_to_wait_for_the_own_event_to_be_durable() -> None:
    cluster = Cluster(4, delay=MS, persist_ns=3 * MS)
    cluster.submit(0, b"slow disk")
    assert not event_frames(cluster, 0), "sent before it was durable (J1)"
    cluster.run_until(lambda: cluster.all_have(1))
    cluster.check_agreement()


def test_a_queue_larger_than_one_event_goes_into_several() -> None:
    cluster = Cluster(4, network=Network(max_payload_bytes=1024))
    cluster.submit(0, *(bytes([number]) * 500 for number in range(10)))
    assert cluster.queues[0].transactions >= 8
    cluster.run_until(lambda: cluster.all_have(10))
    assert cluster.queues[0] == type(cluster.queues[0])(0, 0)
    assert max(len(done.event.transactions) for done in cluster.delivered[0]) == 2


# -- faults ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "order"), RULES_AND_ORDERS)
@pytest.mark.parametrize("n", [4, 7, 10])
def test_f_peers_crash_and_the_others_go_on(n: int, rule: str, order: str, seed: int) -> None:
    rng = random.Random(seed)
    cluster = Cluster(n, network=Network(rule=rule, order=order), delay=jitter(rng, MS, 3 * MS))
    dead = rng.sample(range(n), (n - 1) // 3)
    sent = []
    for number in range(60):
        cluster.run(MS)
        if number == 30:
            for i in dead:
                cluster.crash(i)
        i = rng.choice(cluster.live if number >= 30 else [i for i in range(n) if i not in dead])
        sent.append(b"%d" % number)
        cluster.submit(i, sent[-1])
    cluster.run_until(lambda: cluster.all_have(60), within=3_000 * MS)
    cluster.check_agreement()
    assert sorted(cluster.transactions(cluster.live[0])) == sorted(sent)


@pytest.mark.parametrize("how", ["crashed", "silent"])
def test_a_dead_peer_costs_nothing_after_a_moment(how: str) -> None:
    """One delay more than with all peers (D8 skips its slots a round later), and no timeouts."""
    delta = 10 * MS
    cluster = Cluster(4, delay=delta)
    if how == "crashed":
        cluster.crash(3)
    else:
        cluster.down.add(3)  # its links look alive
    for number in range(150):
        cluster.submit(number % 3, b"%d" % number)
        cluster.run(delta)
    cluster.run_until(lambda: cluster.all_have(150))
    recent = [done for done in cluster.delivered[0] if done.event.round > 20 and done.event.transactions]
    late = [cluster.delivered_at[0][done.event.digest] - done.event.created_at for done in recent]
    assert len(late) > 60
    assert max(late) <= 4.2 * delta
    assert cluster.machines[0].status().timely == (0, 1, 2)


def test_a_slow_peer_is_not_waited_for_and_loses_nothing() -> None:
    delta = 5 * MS
    cluster = Cluster(4, delay=lambda i, j, _: 40 * delta if 3 in (i, j) else delta)
    for number in range(200):
        cluster.submit(number % 4, b"%d" % number)
        cluster.run(delta)
    cluster.run_until(lambda: cluster.all_have(200))
    cluster.check_agreement()
    recent = [done for done in cluster.delivered[0] if done.event.round > 60 and done.event.creator != 3]
    late = sorted(cluster.delivered_at[0][done.event.digest] - done.event.created_at for done in recent)
    assert late[len(late) // 2] <= 6 * delta


def test_lost_frames_are_fetched(seed: int) -> None:
    """F1: from whoever has them, as soon as something builds on them."""
    rng = random.Random(seed)
    cluster = Cluster(4, delay=jitter(rng, MS, 10 * MS, loss=0.2))
    for number in range(100):
        cluster.run(5 * MS)
        cluster.submit(number % 4, b"%d" % number)
    cluster.run_until(lambda: cluster.all_have(100))
    cluster.check_agreement()
    assert not cluster.rejects, "duplicates and late answers are nobody's fault"


def test_a_halved_network_stands_still_and_heals(seed: int) -> None:
    rng = random.Random(seed)
    cluster = Cluster(4, delay=jitter(rng, MS, 3 * MS))
    cluster.submit(0, b"before")
    cluster.run_until(lambda: cluster.all_have(1))
    for i in (0, 1):
        for j in (2, 3):
            cluster.cut(i, j)
    for i in range(4):
        cluster.submit(i, b"cut off %d" % i)
    cluster.run(20_000 * MS)
    assert not cluster.all_have(2)
    assert not cluster.machines[0].status().has_quorum
    for i in (0, 1):
        for j in (2, 3):
            cluster.link(i, j)
    cluster.run_until(lambda: cluster.all_have(5), within=3_000 * MS)
    cluster.check_agreement()


def test_a_peer_that_was_away_catches_up(seed: int) -> None:
    rng = random.Random(seed)
    cluster = Cluster(4, delay=jitter(rng, MS, 3 * MS))
    for j in (0, 1, 2):
        cluster.cut(3, j)
    for number in range(400):
        cluster.run(3 * MS)
        cluster.submit(number % 3, b"%d" % number)
    cluster.submit(3, b"from afar")
    assert not cluster.delivered[3]
    behind = cluster.machines[0].status().top_round
    assert behind > 100
    since = len(cluster.frames)
    for j in (0, 1, 2):
        cluster.link(3, j)
    cluster.run_until(lambda: cluster.all_have(401), within=5_000 * MS)
    cluster.check_agreement()
    pushed = [i for _, i, frame in event_frames(cluster, since) if frame[0] == FrameType.EVENT and i != 3]
    assert len(pushed) < 3 * 5 * behind, "the missing rounds were not sent several times over"


def test_more_than_f_crashes_stop_the_network_without_an_error() -> None:
    cluster = Cluster(4)
    cluster.crash(0)
    cluster.crash(1)
    cluster.submit(2, b"never")
    cluster.run(30_000 * MS)
    assert not cluster.transactions(2)
    assert not cluster.halted


def test_an_equivocator_is_found_and_no_longer_referenced() -> None:
    """P7: evidence goes round in events, and ends its creator's part."""
    cluster = Cluster(4)
    cluster.crash(3)  # its machine; its key goes on
    cluster.down.discard(3)
    for j in range(3):
        cluster.links.add((j, 3))
    one = forge(cluster, 3, 1, [], transactions=(b"one",), salt=1)
    two = forge(cluster, 3, 1, [], transactions=(b"two",), salt=2)
    cluster.down.add(3)
    for j, frame in ((0, one), (1, two), (2, one)):
        cluster.step(j, Connected(3), Received(3, (frame,)))
    for number in range(30):
        cluster.submit(number % 3, b"%d" % number)
        cluster.run(5 * MS)
    cluster.run_until(lambda: all(len(cluster.transactions(i)) >= 30 for i in range(3)))
    cluster.check_agreement(range(3))
    streams = [cluster.transactions(i) for i in range(3)]
    assert not (b"one" in streams[0] and b"two" in streams[0]), "two variants of one slot were delivered (O7)"
    for i in range(3):
        assert cluster.machines[i].status().equivocators == (3,)
    # From now on nobody builds on it, though its event is valid.
    row = cluster.machines[0].replica.dag.row(1)
    parents = [node.event for variants in row.variants for node in variants[:1]]
    late = forge(cluster, 3, 2, parents, transactions=(b"late",))
    for j in range(3):
        cluster.step(j, Received(3, (late,)))
    for number in range(30, 40):
        cluster.submit(number % 3, b"%d" % number)
        cluster.run(20 * MS)
    cluster.check_agreement(range(3))
    assert b"late" not in cluster.transactions(0)


def test_ten_thousand_forks_are_not_kept() -> None:
    cluster = Cluster(4)
    cluster.run(5 * MS)
    before = cluster.machines[0].status().events
    for salt in range(500):
        cluster.step(0, Received(3, (forge(cluster, 3, 1, [], salt=1000 + salt),)))
    status = cluster.machines[0].status()
    assert status.events == before
    assert status.waiting_events == 0
    assert status.rejects[Reject.EQUIVOCATION] == 500


def test_more_forks_of_a_known_forker_are_refused_whoever_signed_them() -> None:
    """F2: they prove nothing new, so that a flood of them costs no signatures; what is referred to is looked at."""
    cluster = Cluster(4)
    cluster.run(5 * MS)

    def badly_signed(salt: int) -> bytes:
        frame = forge(cluster, 3, 1, [], salt=salt)
        return frame[:-1] + bytes((frame[-1] ^ 1,))

    machine = cluster.machines[0]
    cluster.step(0, Received(2, (badly_signed(1),)))
    assert machine.status().rejects == {Reject.SIGNATURE: 1}
    cluster.step(0, Received(2, (forge(cluster, 3, 1, [], salt=2), badly_signed(3))))
    assert machine.status().rejects == {Reject.SIGNATURE: 1, Reject.EQUIVOCATION: 2}
    wanted = badly_signed(4)
    own = [variants[0].event for variants in machine.replica.dag.row(1).variants[:2]]
    cluster.step(0, Received(1, (forge(cluster, 1, 2, [*own, decode(cluster, wanted)]),)))
    cluster.step(0, Received(2, (wanted,)))
    assert machine.status().rejects == {Reject.SIGNATURE: 2, Reject.EQUIVOCATION: 2}


def test_a_stranger_to_the_slot_is_fetched_when_an_event_refers_to_it() -> None:
    """F2: the other variant comes in as soon as somebody's event builds on it."""
    cluster = Cluster(4, linked=False)
    for j in (1, 2, 3):
        cluster.step(0, Connected(j), Received(j, (wire.encode_frontier(FrameType.FRONTIER, [0] * 4),)))
    first = [decode(cluster, forge(cluster, i, 1, [], salt=i)) for i in range(1, 4)]
    other = decode(cluster, forge(cluster, 3, 1, [], salt=99))
    for event in first:
        cluster.step(0, Received(event.creator, (wire.encode_event(event),)))
    child = forge(cluster, 2, 2, [first[0], first[1], other])
    cluster.frames.clear()
    cluster.links |= {(0, 2)}
    cluster.step(0, Received(2, (child,)))
    cluster.run(5 * MS)
    asked = [frame for _, i, _, frame in cluster.frames if i == 0 and frame[0] == FrameType.REQUEST]
    assert asked == [wire.encode_request([other.digest])]
    cluster.step(0, Received(2, (wire.encode_event(other),)))
    status = cluster.machines[0].status()
    assert status.waiting_events == 0
    assert status.wanted_events == 0
    assert len(cluster.machines[0].replica.dag.row(1).variants[3]) == 2
    assert cluster.machines[0].replica.dag.get(decode(cluster, child).digest) is not None


# -- restarts -------------------------------------------------------------------------------------------


def test_a_restart_with_the_journal_goes_on_without_a_fork(seed: int) -> None:
    rng = random.Random(seed)
    cluster = Cluster(4, delay=jitter(rng, MS, 3 * MS))
    for number in range(30):
        cluster.run(2 * MS)
        cluster.submit(number % 4, b"%d" % number)
    cluster.run_until(lambda: cluster.all_have(30))
    before = [d.order_hash for d in cluster.delivered[3]]
    cluster.crash(3)
    cluster.run(50 * MS)
    cluster.restart(3)
    cluster.submit(3, b"back again")
    cluster.run_until(lambda: cluster.all_have(31))
    cluster.check_agreement()
    assert [d.order_hash for d in cluster.delivered[3]][: len(before)] == before
    assert not cluster.halted
    assert all(not machine.status().equivocators for machine in cluster.machines)


def test_a_lost_journal_halts_nobody() -> None:  # R2
    cluster = Cluster(4)
    cluster.submit(3, b"before")
    cluster.run_until(lambda: cluster.all_have(1))
    cluster.crash(3)
    cluster.restart(3, keep_journal=False)
    cluster.submit(3, b"in another life")
    cluster.run_until(lambda: cluster.all_have(2))
    assert not cluster.halted
    cluster.check_agreement()
    assert all(not machine.status().equivocators for machine in cluster.machines)


def test_a_false_claim_does_not_halt_anybody() -> None:
    cluster = Cluster(4, linked=False)
    for j in (1, 2):
        cluster.step(0, Connected(j), Received(j, (wire.encode_frontier(FrameType.FRONTIER, [0] * 4),)))
    cluster.step(0, Connected(3), Received(3, (wire.encode_frontier(FrameType.FRONTIER, [10**6] * 4),)))
    assert not cluster.halted
    assert cluster.machines[0].status().own_events == 1


def test_nothing_is_signed_before_q_peers_confirmed_the_journal() -> None:
    cluster = Cluster(4, linked=False)
    cluster.submit(0, b"early")
    cluster.link(0, 1)
    cluster.run(2_000 * MS)
    assert cluster.machines[0].status().own_events == 0
    cluster.link(0, 2)
    cluster.run(2_000 * MS)
    assert cluster.machines[0].status().own_events == 1


def test_a_damaged_journal_is_refused() -> None:
    cluster = Cluster(4)
    cluster.run(20 * MS)
    record = cluster.journals[0][0]
    other = Cluster(4, network=Network(name="another"))
    for bad in (b"", b"\x63" + record[1:], record[:-1], record[:4], record + b"x", cluster.journals[1][0]):
        machine = other._machine(0) if bad is record else cluster._machine(0)
        with pytest.raises(CorruptError, match="journal"):
            machine.step(cluster.now, [Start((bad,))])


# -- garbage collection -----------------------------------------------------------------------------------


def test_memory_is_bounded_by_what_is_retained() -> None:
    cluster = Cluster(4, network=Network(gc_depth=5), local=Local(retain_events=100))
    for number in range(300):
        cluster.submit(number % 4, b"%d" % number)
        cluster.run(3 * MS)
    machine = cluster.machines[0]
    assert machine.status().events <= 4 * (25 + 10)
    replica = machine.replica
    for table in (
        replica.decider.slots, replica.orderer._held, replica.orderer._taken, replica.timer._rounds,
        replica.proposer._placed, replica.proposer._uncovered,
    ):  # fmt: skip
        assert len(table) <= 40
    cluster.run_until(lambda: cluster.all_have(300))
    cluster.check_agreement()


@pytest.mark.parametrize("order", ["fair", "fast"])
def test_what_falls_below_the_floor_is_sent_again(order: str) -> None:
    """O11: an event that nobody referred to in time is never delivered; its transactions are, once."""
    hidden = [True]

    def delay(i: int, j: int, frame: bytes) -> int | None:
        return None if hidden[0] and i == 3 and frame[0] == FrameType.EVENT else MS

    cluster = Cluster(4, network=Network(gc_depth=5, order=order), delay=delay)
    cluster.run(20 * MS)
    cluster.submit(3, b"lost at first")
    for number in range(100):
        cluster.submit(number % 3, b"%d" % number)
        cluster.run(10 * MS)
    hidden[0] = False
    cluster.run_until(lambda: cluster.all_have(101), within=20_000 * MS)
    cluster.check_agreement()
    assert cluster.transactions(0).count(b"lost at first") == 1
    assert cluster.machines[3].status().resubmitted >= 1
    numbers = [number for done in cluster.delivered[3] for number in done.submissions]
    assert numbers == [0]


# -- junk -----------------------------------------------------------------------------------------------


def test_junk_frames_are_numbered_and_change_nothing(seed: int) -> None:
    rng = random.Random(seed)
    cluster = Cluster(4)
    cluster.run(20 * MS)
    digest = cluster.machines[0].digest()
    for type in (0, 1, 2, 16, 17, 18, 19, 20, 255):
        for size in (0, 1, 2, 31, 301, 1001):
            outputs = cluster.machines[0].step(cluster.now, [Received(1, (bytes([type]) + rng.randbytes(size),))])
            assert any(isinstance(output, Rejected) for output in outputs), (type, size)
    assert cluster.machines[0].digest() == digest
    codes = set(cluster.machines[0].status().rejects)
    assert {Reject.FRAME_TYPE, Reject.TRUNCATED, Reject.VERSION, Reject.LIMIT} <= codes
    outputs = cluster.machines[0].step(cluster.now, [Received(1, (b"",))])
    assert any(isinstance(output, Rejected) and output.code is Reject.FRAME_EMPTY for output in outputs)


def test_an_event_far_ahead_is_not_kept() -> None:
    cluster = Cluster(4, linked=False)
    fake = [decode(cluster, forge(cluster, i, 500, [])) for i in range(3)]
    cluster.step(0, Received(1, (forge(cluster, 1, 501, fake),)))
    assert cluster.machines[0].status().rejects == {Reject.AHEAD: 1}
    assert cluster.machines[0].status().waiting_events == 0


def test_the_pool_is_bounded_per_sender_and_keeps_the_nearest_rounds() -> None:
    cluster = Cluster(4, linked=False, local=Local(pool_bytes_per_sender=20_000))
    for round in range(100, 1, -1):
        fake = [decode(cluster, forge(cluster, i, round - 1, [], salt=7)) for i in range(3)]
        cluster.step(0, Received(1, (forge(cluster, 1, round, fake),)))
    status = cluster.machines[0].status()
    assert status.waiting_bytes <= 20_000
    waiting = sorted(waiting.event.round for waiting in cluster.machines[0].replica.fetcher._waiting.values())
    assert waiting == list(range(2, 2 + len(waiting))), "the farthest rounds go first (V7)"
    assert len(waiting) > 30
    # Another sender's share is untouched.
    fake = [decode(cluster, forge(cluster, i, 4, [], salt=8)) for i in range(3)]
    cluster.step(0, Received(2, (forge(cluster, 2, 5, fake),)))
    assert cluster.machines[0].status().waiting_events == len(waiting) + 1


def test_what_builds_on_an_invalid_event_is_refused() -> None:
    cluster = Cluster(4, linked=False)
    roots = [decode(cluster, forge(cluster, i, 1, [], salt=i)) for i in range(1, 4)]
    bad = decode(cluster, forge(cluster, 1, 2, roots, created_at=1))  # V5: before its self-parent
    others = [decode(cluster, forge(cluster, i, 2, roots)) for i in (2, 3)]
    child = forge(cluster, 2, 3, [bad, *others])
    for frame in (child, *map(wire.encode_event, [*others, bad, *roots])):
        cluster.step(0, Received(1, (frame,)))
    status = cluster.machines[0].status()
    assert status.rejects == {Reject.TIME: 1, Reject.INVALID_ANCESTOR: 1}
    assert status.waiting_events == 0
    cluster.step(0, Received(1, (child, wire.encode_event(bad))))
    assert cluster.machines[0].status().rejects[Reject.INVALID_ANCESTOR] >= 2


def test_requests_beyond_the_budget_are_not_answered() -> None:
    cluster = Cluster(4)
    cluster.submit(0, *(bytes(100_000) for _ in range(60)))
    cluster.run_until(lambda: cluster.all_have(60))
    pull = wire.encode_frontier(FrameType.PULL, [0] * 4)
    answered = busy = 0
    for _ in range(100):
        outputs = cluster.machines[0].step(cluster.now, [Received(1, (pull,))])
        answered += sum(len(o.frame) for o in outputs if isinstance(o, Send))
        busy += sum(isinstance(o, Rejected) and o.code is Reject.BUSY for o in outputs)
    assert busy > 50
    assert answered < 20 * 1024 * 1024
    cluster.run(1_000 * MS)
    outputs = cluster.machines[0].step(cluster.now, [Received(1, (pull,))])
    assert not any(isinstance(o, Rejected) for o in outputs), "the budget grows again with time"


def test_two_machines_with_the_same_inputs_do_the_same() -> None:
    cluster = Cluster(4)
    machine, steps = cluster._machine(0), []
    original = cluster.machines[0].step

    def recorded(now: int, inputs: Sequence[Input]) -> list[Output]:
        steps.append((now, inputs))
        return original(now, inputs)

    cluster.machines[0].step = recorded  # type: ignore[method-assign]
    for number in range(20):
        cluster.submit(number % 4, b"%d" % number)
        cluster.run(3 * MS)
    machine.step(EPOCH, [Start(())])
    for j in (1, 2, 3):
        machine.step(EPOCH, [Connected(j)])
    for now, inputs in steps:
        machine.step(now, inputs)
    assert machine.digest() == cluster.machines[0].digest()
    assert machine.status() == cluster.machines[0].status()


def test_no_round_is_jumped_and_every_own_event_builds_on_the_last(seed: int) -> None:
    """P1, V4: who was away makes one event for every round that it missed."""
    rng = random.Random(seed)
    cluster = Cluster(4, delay=jitter(rng, MS, 3 * MS))
    for j in (0, 1, 2):
        cluster.cut(3, j)
    for number in range(50):
        cluster.run(3 * MS)
        cluster.submit(number % 3, b"%d" % number)
    for j in (0, 1, 2):
        cluster.link(3, j)
    cluster.run_until(lambda: cluster.all_have(50))
    cluster.run(200 * MS)
    dag = cluster.machines[3].replica.dag
    own = [dag.row(round).variants[3] for round in range(1, dag.frontier[3] + 1)]
    assert all(len(variants) == 1 for variants in own)
    for (below,), (above,) in itertools.pairwise(own):
        assert below in above.parents


def test_a_halted_peer_does_not_send_what_it_was_persisting() -> None:
    """R5, P7: the other copy may have signed the same slot."""
    cluster = Cluster(4, persist_ns=50 * MS)
    cluster.run(20 * MS)
    assert cluster.machines[0].status().own_events == 1
    twin = forge(cluster, 0, 1, [], salt=12345)
    cluster.step(0, Received(1, (twin,)))
    assert 0 in cluster.halted
    since = len(cluster.frames)
    cluster.run(500 * MS)
    assert not [frame for _, i, frame in event_frames(cluster, since) if i == 0]


def test_many_missing_parents_make_room_for_nearer_rounds() -> None:
    """V7: the limit on missing parents evicts like the limit on bytes."""
    cluster = Cluster(4, linked=False)
    rounds = range(180, 2, -1)
    for count, round in enumerate(itertools.cycle(rounds)):
        fake = [decode(cluster, forge(cluster, i, round - 1, [], salt=count)) for i in range(3)]
        event = decode(cluster, forge(cluster, 2, round, fake, salt=count))
        machine = cluster.machines[0]
        machine.replica.fetcher.hold(event, 1, {parent.digest for parent in event.parents}, cluster.now)
        if machine.status().wanted_events >= MAX_MISSING - 3:
            break
    fake = [decode(cluster, forge(cluster, i, 1, [], salt=9)) for i in range(3)]
    near = forge(cluster, 2, 2, fake)
    cluster.step(0, Received(1, (near,)))
    assert Reject.POOL_FULL not in cluster.machines[0].status().rejects
    assert decode(cluster, near).digest in cluster.machines[0].replica.fetcher
    assert cluster.machines[0].status().wanted_events <= MAX_MISSING


def test_however_much_is_missing_requests_are_due_a_thousand_times_a_second_at_most() -> None:
    """F1: each missing parent has a time of its own, and yet the machine wakes up once for all of a millisecond."""
    cluster = Cluster(4, linked=False)
    machine, now = cluster.machines[0], cluster.now
    machine.step(now, [Connected(peer) for peer in (1, 2, 3)])
    events = [
        forge(cluster, 3, round, [Parent(creator, round - 1, bytes((creator, round)) * 16) for creator in range(1, 4)])
        for round in range(2, 150)
    ]
    due: set[int] = set()
    for frame in events:
        now += 37_000
        due |= {output.at for output in machine.step(now, [Received(3, (frame,))]) if isinstance(output, Wake)}
    assert machine.status().wanted_events == 3 * len(events)
    until = now + 100 * MS
    while (now := min(at for at in due if at > now)) < until:
        due |= {output.at for output in machine.step(now, []) if isinstance(output, Wake)}
    assert 20 < len(due) < (until - cluster.now) // MS + 3


def test_large_events_are_retained_for_fewer_rounds() -> None:
    """F4: memory is bounded in bytes as well as in events."""
    local = Local(retain_events=40_000, retain_bytes=200_000)
    cluster = Cluster(4, network=Network(gc_depth=5), local=local)
    for number in range(100):
        cluster.submit(number % 4, bytes(10_000))
        cluster.run(3 * MS)
    machine = cluster.machines[0]
    assert machine.replica.dag.bytes == sum(
        node.event.size for row in machine.replica.dag.rows.values() for node in row.nodes
    )
    assert machine.replica.dag.bytes <= 200_000 + 4 * 10_000
    assert machine.replica.dag.floor > 200
    cluster.run_until(lambda: cluster.all_have(100))
    cluster.check_agreement()


def test_what_was_in_the_journal_and_never_delivered_is_sent_again() -> None:
    """O11, R1: a restart does not lose what our last events carried."""
    hidden = [True]

    def delay(i: int, j: int, frame: bytes) -> int | None:
        return None if hidden[0] and i == 3 and frame[0] == FrameType.EVENT else MS

    cluster = Cluster(4, network=Network(gc_depth=5), delay=delay)
    cluster.run(20 * MS)
    cluster.submit(3, b"in the journal only")
    cluster.run(20 * MS)
    cluster.crash(3)
    for number in range(60):
        cluster.submit(number % 3, b"%d" % number)
        cluster.run(5 * MS)
    hidden[0] = False
    cluster.restart(3)
    cluster.run_until(lambda: cluster.all_have(61), within=20_000 * MS)
    cluster.check_agreement()
    assert cluster.transactions(0).count(b"in the journal only") == 1


def test_two_journaled_events_of_one_round_are_refused() -> None:
    cluster = Cluster(4)
    records = tuple(encode_own_event(forge(cluster, 0, 1, [], salt=salt), ()) for salt in (1, 2))
    with pytest.raises(CorruptError, match="two events of ours for round 1"):
        cluster._machine(0).step(cluster.now, [Start(records)])


def test_a_long_journal_is_taken_up_whole() -> None:
    """R1: more own events than any sender's share of the pool may wait for the others'."""
    cluster = Cluster(4)
    for number in range(1100):
        cluster.submit(number % 4, b"%d" % number)
        cluster.run(MS)
    cluster.run_until(lambda: cluster.all_have(1100))
    assert len(cluster.journals[3]) * 4 > MAX_MISSING
    cluster.crash(3)
    cluster.restart(3)
    cluster.submit(3, b"back")
    cluster.run_until(lambda: cluster.all_have(1101))
    assert not cluster.halted
    cluster.check_agreement()


def test_what_was_sent_again_is_not_sent_once_more_after_a_restart() -> None:
    """O11, J1: the journal knows which transactions a later event took over."""
    hidden = [True]

    def delay(i: int, j: int, frame: bytes) -> int | None:
        return None if hidden[0] and i == 3 and frame[0] == FrameType.EVENT else MS

    cluster = Cluster(4, network=Network(gc_depth=5), delay=delay)
    cluster.run(20 * MS)
    cluster.submit(3, b"pay 100")
    sent = 1
    for _ in range(3):  # hidden from the others until it is too old, time and again
        hidden[0] = True
        for _ in range(80):
            cluster.submit(sent % 3, b"%d" % sent)
            sent += 1
            cluster.run(5 * MS)
        hidden[0] = False
        cluster.run(300 * MS)
    assert cluster.machines[3].status().resubmitted >= 1
    for _ in range(2):
        cluster.crash(3)
        cluster.restart(3)
        cluster.run_until(lambda: cluster.all_have(sent), within=20_000 * MS)
        cluster.run(2_000 * MS)
    cluster.check_agreement()
    assert cluster.transactions(0).count(b"pay 100") == 1


# -- what one liar may not do -----------------------------------------------------------------------------


def honest_parents(cluster: Cluster, round: int, *creators: int) -> list[Event]:
    """Events of a round as peer 0 has them."""
    row = cluster.machines[0].replica.dag.row(round)
    return [row.variants[creator][0].event for creator in creators]


def test_a_reference_to_a_dropped_event_is_a_reject_and_no_error() -> None:
    """L7: the parent was here when the event came, and is dropped when its turn comes."""
    cluster = Cluster(4, network=Network(gc_depth=4), local=Local(retain_events=60))
    cluster.crash(2)  # its key is the liar's
    for number in range(40):
        cluster.submit(number % 2, b"%d" % number)
        cluster.run(3 * MS)
    cluster.run(20 * MS)
    machine = cluster.machines[0]
    oldest = machine.replica.dag.floor + 1
    assert oldest > 1
    top = machine.status().top_round
    old = machine.replica.dag.row(oldest).variants[3][0]
    withheld = decode(cluster, forge(cluster, 2, top, honest_parents(cluster, top - 1, 0, 1, 3)))
    lying = Parent(3, top, old.digest)
    signer = Signer(seeds(4)[2])
    references = [Parent(i, top, honest_parents(cluster, top, i)[0].digest) for i in (0, 1)]
    references += [Parent(2, top, withheld.digest), lying]  # what is last is missed last
    header = wire.encode_header(machine.committee.epoch_id, 2, top + 1, cluster.now + 10**9, 0, references, (), ())
    digest = wire.event_digest(header)
    event = Event(2, top + 1, cluster.now + 10**9, (), (), (), header, digest, signer.sign(DOMAIN_EVENT + digest))
    cluster.step(0, Received(2, (wire.encode_event(event),)))
    while machine.replica.dag.floor < oldest:
        assert digest in machine.replica.fetcher
        cluster.submit(1, b"go on")
        cluster.run(3 * MS)
    cluster.step(0, Received(2, (wire.encode_event(withheld),)))
    cluster.submit(1, b"still alive")
    assert machine.status().rejects == {Reject.PARENT_MISMATCH: 1}
    cluster.run_until(lambda: b"still alive" in cluster.transactions(0))


def test_a_full_share_of_a_liar_does_not_keep_out_what_others_send() -> None:
    """V7: shares are the senders'; the one event of a liar that the others build on comes from them."""
    cluster = Cluster(4, linked=False, local=Local(pool_bytes_per_sender=20_000))
    roots = [decode(cluster, forge(cluster, i, 1, [], salt=i)) for i in range(4)]
    ghosts = [decode(cluster, forge(cluster, i, 1, [], salt=50 + i)) for i in range(3)]
    junk = forge(cluster, 3, 2, [*ghosts, roots[3]], transactions=(bytes(19_000),))
    cluster.step(0, Received(3, (junk,)))
    assert cluster.machines[0].status().waiting_events == 1
    real = forge(cluster, 3, 2, roots, transactions=(bytes(30_000),))
    child = forge(
        cluster, 1, 3, [decode(cluster, forge(cluster, i, 2, roots)) for i in (0, 1)] + [decode(cluster, real)]
    )
    cluster.step(0, Received(1, (real, child)))
    machine = cluster.machines[0]
    assert decode(cluster, real).digest in machine.replica.fetcher, "larger than a share, and yet it may wait"
    for event in roots[1:]:
        cluster.step(0, Received(event.creator, (wire.encode_event(event),)))
    cluster.step(0, Received(1, (wire.encode_event(roots[0]),)))
    assert Reject.EQUIVOCATION not in machine.status().rejects


def one_behind(n: int = 4, transactions: int = 300) -> tuple[Cluster, list[Event]]:
    """Peers, of which peer 0 died early; and what the others have made, in ascending rounds."""
    cluster = Cluster(n, network=Network(max_ahead=50))
    cluster.run(20 * MS)
    cluster.crash(0)
    for number in range(transactions):
        cluster.submit(1 + number % 3, b"%d" % number)
        cluster.run(MS)
    cluster.run_until(lambda: cluster.all_have(transactions))
    dag = cluster.machines[1].replica.dag
    return cluster, [node.event for round in range(1, dag.top) for node in dag.row(round).nodes]


def test_a_peer_that_does_not_answer_pulls_does_not_stand_in_the_way() -> None:
    """F3: it claims to be far ahead, sends one event now and then to look busy, and answers nothing."""
    cluster, drip = one_behind()
    cluster.run(100 * MS)
    cluster.crash(3)
    cluster.down.discard(0)
    claim = wire.encode_frontier(FrameType.PULL, [2**40] * 4)  # a claim that does not end our pull
    cluster.step(0, Connected(3), Received(3, (claim,)))
    cluster.link(0, 1)
    cluster.link(0, 2)
    drip = [event for event in drip if event.digest not in cluster.machines[0].replica.dag]
    for ms in range(2_000):
        frames = (claim,) if ms % 300 else (claim, wire.encode_event(drip[ms // 300]))
        cluster.step(0, Received(3, frames))
        cluster.run(MS)
    assert cluster.counts[0] == 300


def test_nobody_else_is_pulled_from_while_one_brings_events() -> None:
    """F3: two answers to one question would be the same events twice."""
    cluster, events = one_behind()
    claim, brought, pulled = dripping(cluster, events[:250])
    assert brought > 200
    assert pulled() == [1]
    for _ in range(brought + 100 - 250 - 1):
        cluster.step(0, Received(2, (claim,)))
        cluster.run(MS)
    assert pulled() == [1], "it has brought much, and may fall silent for a while"
    for _ in range(2):
        cluster.step(0, Received(2, (claim,)))
        cluster.run(MS)
    assert pulled() == [1, 2]


def test_who_brings_fewer_rounds_than_a_network_makes_is_not_waited_for() -> None:
    """F3: a liar that brings an event now and then must not keep us as far behind as we are."""
    cluster, events = one_behind(10, 120)
    _, brought, pulled = dripping(cluster, events[:250])
    assert brought > 200
    assert pulled() == [1, 2]


def dripping(cluster: Cluster, events: Sequence[Event]) -> tuple[bytes, int, Callable[[], list[int]]]:
    """Peer 1 brings an event in a millisecond, while peer 2 says that it has more.

    What peer 2 says, how many of the events were new, and who was pulled from so far.
    """
    n = len(cluster.machines)
    cluster.down = set(range(1, n))  # they say only what follows
    cluster.links = {(0, 1), (0, 2)}
    cluster.step(0, Connected(1), Connected(2))
    claim = wire.encode_frontier(FrameType.PULL, [2**40] * n)
    since = len(cluster.frames)
    cluster.step(0, Received(1, (claim,)))
    brought = 0
    for event in events:
        brought += event.digest not in cluster.machines[0].replica.dag
        cluster.step(0, Received(1, (wire.encode_event(event),)), Received(2, (claim,)))
        cluster.run(MS)
    frames = cluster.frames
    return claim, brought, lambda: [to for _, by, to, frame in frames[since:] if by == 0 and frame[0] == FrameType.PULL]


def test_a_drip_of_old_events_does_not_prevent_healing() -> None:
    """F1: what counts as progress is a round that closes, not an event that comes in."""
    lost = [False]
    cluster = Cluster(4, delay=lambda i, j, frame: None if lost[0] and frame[0] == FrameType.EVENT else MS)
    cluster.down.add(3)  # a liar with many old slots of its own
    for number in range(60):
        cluster.submit(number % 3, b"%d" % number)
        cluster.run(5 * MS)
    lost[0] = True  # all that is sent in one round gets lost
    for i in range(3):
        cluster.submit(i, b"lost %d" % i)
    cluster.run(10 * MS)
    lost[0] = False
    mine: list[Event] = []
    for drip in range(20):
        parents = [] if drip == 0 else honest_parents(cluster, drip, 0, 1, 2)
        event = decode(cluster, forge(cluster, 3, drip + 1, [*parents, *mine[-1:]]))
        mine.append(event)
        for i in range(3):
            cluster.step(i, Received(3, (wire.encode_event(event),)))
        cluster.run(200 * MS)
    assert all(cluster.counts[i] == 63 for i in range(3))


def test_an_exposed_liar_cannot_keep_an_idle_network_busy() -> None:
    """P2, P7: nobody waits for events that nobody refers to."""
    cluster = Cluster(4)
    cluster.down.add(3)
    for j, salt in ((0, 1), (1, 2), (2, 1)):
        cluster.step(j, Received(3, (forge(cluster, 3, 1, [], salt=salt),)))
    for number in range(30):
        cluster.submit(number % 3, b"%d" % number)
        cluster.run(5 * MS)
    cluster.run(2_000 * MS)
    assert all(cluster.machines[i].replica.proposer.exposed == 1 << 3 for i in range(3))
    own = cluster.machines[0].replica.dag.row(1).variants[3][0].event
    made = cluster.machines[0].status().own_events
    parents = [*honest_parents(cluster, 1, 0, 1, 2), own]
    late = forge(cluster, 3, 2, parents, transactions=(b"busy",))
    for j in range(3):
        cluster.step(j, Received(3, (late,)))
    cluster.run(1_000 * MS)
    assert cluster.machines[0].status().own_events - made <= 3


def test_a_request_larger_than_the_budget_is_answered_in_part() -> None:
    cluster = Cluster(4)
    for number in range(20):
        cluster.submit(0, bytes([number]) * 1_000_000)
        cluster.run(20 * MS)
    cluster.run_until(lambda: cluster.all_have(20))
    large = [done.event.digest for done in cluster.delivered[0] if done.event.transactions]
    outputs = cluster.machines[0].step(cluster.now, [Received(1, (wire.encode_request(large),))])
    assert 0 < sum(isinstance(output, Send) for output in outputs) < 20


def test_a_peer_that_only_follows_keeps_its_memory_and_goes_on_where_the_others_are() -> None:  # F4, 0015
    cluster = Cluster(4, network=Network(gc_depth=5), local=Local(retain_events=80), linked=False)
    for i, j in ((0, 1), (0, 2), (1, 2), (0, 3)):  # peer 3 hears of one other only, and so may not sign
        cluster.link(i, j)
    for number in range(300):
        cluster.submit(number % 3, b"%d" % number)
        cluster.run(3 * MS)
    before = cluster.machines[3].status()
    assert before.events <= 4 * 40
    assert cluster.counts[3] > 250, "it follows"
    assert before.own_round <= 1
    cluster.link(1, 3)
    cluster.submit(3, b"at last")
    cluster.run_until(lambda: cluster.all_have(301), within=2_000 * MS)
    after = cluster.machines[3].status()
    assert (after.halted, after.catching_up) == (None, False)
    assert after.own_events < before.own_events + 20, "it makes none for the rounds that it missed"
    cluster.check_agreement()


def test_numbers_stand_where_their_transactions_do_after_a_restart() -> None:
    """What the journal brought back and what was sent since go into one event: each keeps its place in it."""
    hidden = [True]
    cluster = Cluster(
        4,
        network=Network(gc_depth=5),
        delay=lambda source, _target, _frame: None if hidden[0] and source == 3 else MS,
    )
    cluster.run(20 * MS)
    cluster.submit(3, b"before, 1", b"before, 2")
    for number in range(8):  # it is in an event of its journal, which nobody gets before it is too old (O11)
        cluster.submit(number % 3, b"%d" % number)
        cluster.run(10 * MS)
    cluster.crash(3)
    cluster.restart(3)
    hidden[0] = False
    for number in range(100):
        cluster.submit(3, b"after, %d" % number)
        cluster.run(MS // 4)
    cluster.run_until(lambda: cluster.all_have(110), within=20_000 * MS)
    own = [done for done in cluster.delivered[3] if done.event.creator == 3 and done.event.transactions]
    told = {
        transaction: number
        for done in own
        for transaction, number in zip(done.event.transactions, done.submissions, strict=True)
    }
    after = {b"after, %d" % number: number for number in range(100)}
    assert told == {b"before, 1": None, b"before, 2": None} | after


def test_a_peer_whose_first_words_were_lost_asks_again() -> None:
    """What links say when they come up can be lost while they stay up: it must not be silent for ever (R2, F3)."""
    deaf = [True]
    cluster = Cluster(4, delay=lambda _source, target, _frame: None if deaf[0] and target == 3 else MS)
    deaf[0] = False  # what the three others said to it first is lost; they never pause, so nobody says it again
    for number in range(300):
        cluster.submit(number % 3, b"%d" % number)
        cluster.run(5 * MS)
    cluster.submit(3, b"from the silent one")
    cluster.run_until(lambda: cluster.all_have(301), within=2_000 * MS)
    assert cluster.machines[3].status().own_round > 0


def test_evidence_against_ourselves_halts_us_though_we_never_saw_the_other_event() -> None:  # R5
    """Nobody passes on what nobody refers to; a copy of us may only ever hear that it was seen."""
    cluster = Cluster(4)
    cluster.crash(2)
    ours, theirs = (decode(cluster, forge(cluster, 3, 1, [], salt=salt)) for salt in (1, 2))
    proof = Item(ItemType.EVIDENCE, wire.encode_evidence(ours, theirs))
    cluster.step(3, Received(2, (forge(cluster, 2, 1, [], items=(proof,)),)))
    cluster.submit(0, b"so that there is something to do")
    cluster.run(100 * MS)
    assert "evidence that our key signed two events" in cluster.halted[3]
    made = cluster.machines[3].status().own_round
    cluster.run(2_000 * MS)
    assert cluster.machines[3].status().own_round == made
    assert not set(cluster.halted) - {3}
