"""Each checker notices what it is there for, and none of them complains of a healthy network."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import struct
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from syncpoint import Event, Network, Receipt
from syncpoint.core import order as core_order
from syncpoint.core.committee import Committee
from syncpoint.core.config import Member
from syncpoint.core.crypto import blake3
from syncpoint.core.epoch import Outcome
from syncpoint.core.input import Vote
from syncpoint.core.output import Broadcast, Closed, Deliver, Send
from syncpoint.core.status import Status
from syncpoint.core.values import Item, Parent, SyncPointKind
from syncpoint.core.wire import encode_header, event_digest
from syncpoint.engine import Engine
from syncpoint.errors import EngineStopped, QueueFull
from syncpoint.message import SyncPoint
from syncpoint.stream import MAX_UNREAD_MESSAGES
from syncpoint.testing.checkers import Checkers, Violation
from syncpoint.testing.cluster import Cluster, Node
from syncpoint.testing.history import History
from syncpoint.testing.loop import BEGIN_NS
from syncpoint.testing.storage import Store

MS = 1_000_000
EVERYBODY = frozenset(range(4))
EPOCH_ID = Committee.genesis(
    Network(), [Member(bytes(each.public)) for each in Cluster(4, core="python").peers]
).epoch_id


class Bench:
    """Checkers at a cluster that does not run; what happens there is made up."""

    def __init__(
        self,
        cluster: Cluster,
        forgetful: frozenset[int] = frozenset(),
        excusable: tuple[str, ...] = (),
        unsure: frozenset[int] = frozenset(),
    ) -> None:
        self.cluster = cluster
        self.history = History(cluster)
        self.checkers = Checkers(cluster, self.history, EVERYBODY, forgetful, excusable=excusable, unsure=unsure)
        self.order_hashes = [blake3(core_order.DOMAIN_ORDER + EPOCH_ID)]

    @property
    def caught(self) -> list[str]:
        """Which checkers have complained."""
        return [violation.checker for violation in self.checkers.violations]

    @property
    def nodes(self) -> list[Node]:
        return self.cluster.nodes

    def event(self, index: int, **fields: Any) -> Event:
        """The event at an index of an order that is as it should be, but for what is given."""
        given: dict[str, Any] = {
            "creator": index % 4,
            "round": index // 4 + 1,
            "created_at": BEGIN_NS,
            "consensus_at": BEGIN_NS + index,
            "hash": blake3(b"event %d" % index),
            "parents": (),
            "whitened_signature": bytes(64),
            "transactions": (),
        } | fields
        if "order_hash" not in given:
            place = struct.pack("<Q32sQ", index, given["hash"], given["consensus_at"])
            given["order_hash"] = blake3(self.order_hashes[min(index, len(self.order_hashes) - 1)] + place)
        given["creator"] = self.cluster.secrets[given["creator"]].public()
        return Event(index=index, **given)

    def receive(self, number: int, event: Event) -> None:
        """A peer's application receives it."""
        if event.index + 1 == len(self.order_hashes):
            self.order_hashes.append(event.order_hash)
        self.checkers.received(self.nodes[number], event)

    def receive_all(self, number: int, count: int) -> None:
        """It receives an order without anything special."""
        for index in range(count):
            self.receive(number, self.event(index))

    def start(self, number: int, status: Status | None = None) -> None:
        """A peer runs, or seems to; its machine says that all is well, or what is given."""
        node = self.nodes[number]
        node.host.starts += 1
        node.up = True
        node.host.hardware_clock.clock().now()
        node.machine = SimpleNamespace(status=lambda: status or status_of(number))  # type: ignore[assignment]

    def start_all(self) -> None:
        """All peers run."""
        for number in range(4):
            self.start(number)


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A cluster of four that does not run."""
    made = Bench(Cluster(4, core="python"))
    yield made
    made.checkers.quiet_logs.close()
    made.cluster.close()


def status_of(creator: int, **fields: Any) -> Status:
    """What a machine of four says that has nothing to do, but for what is given."""
    return Status(
        epoch=0,
        **{
            "creator": creator, "peers": 4, "linked": tuple({0, 1, 2, 3} - {creator}), "has_quorum": True,
            "halted": None, "recovering": False, "catching_up": False, "stranded": False,
            "own_round": 100, "top_round": 100, "peers_round": 100,
            "closed_round": 99, "floor_round": 0, "frontier": (100,) * 4, "events": 400, "delivered": 0,
            "order_hash": b"", "consensus_at": 0,
            "queued_transactions": 0, "queued_bytes": 0, "undelivered": False, "waiting_events": 0,
            "waiting_bytes": 0, "wanted_events": 0, "timely": (0, 1, 2, 3), "equivocators": (),
            "soft_wait_ns": 0, "round_timeout_ns": 0, "timeouts": 0, "own_events": 100, "resubmitted": 0,
            "commits": (0, 0, 0), "skips": (0, 0), "rejects": {}, "epoch_index": 0, "proposals": 0, "ended": False,
        }
        | fields
    )  # fmt: skip


def frame_of(creator: int, round: int, *, created_at: int = BEGIN_NS, salt: int = 0, **parts: Any) -> bytes:
    """An EVENT frame, with a signature that nobody checks."""
    transactions = parts.get("transactions", ())
    header = encode_header(
        EPOCH_ID, creator, round, created_at, salt, parts.get("parents", ()), parts.get("items", ()), transactions
    )
    return b"\x10" + header + bytes(64) + b"".join(struct.pack("<I", len(each)) + each for each in transactions)


async def submit(history: History, node: Node, engine: Engine, transaction: bytes) -> None:
    """What an application does that wants to know."""
    try:
        receipt = await engine.submit(transaction)
    except EngineStopped as error:
        history.refused(node, transaction, error)
    else:
        history.acknowledged(node, transaction, receipt)


class Run:
    """A cluster that runs, its checkers, and applications that send."""

    def __init__(self, cluster: Cluster, honest: frozenset[int] = EVERYBODY) -> None:
        self.cluster = cluster
        self.history = History(cluster)
        self.checkers = Checkers(cluster, self.history, honest)
        self.sent = 0

    def send(self, number: int) -> None:
        """Send something, every second time by `submit`."""
        node, transaction = self.cluster.nodes[number], b"transaction %d" % self.sent
        self.sent += 1
        assert node.engine is not None
        engine = node.engine
        if self.sent % 2:
            self.history.sent(node, transaction)
            self.cluster.send(number, transaction)
        else:
            self.history.sent(node, transaction, awaited=True)
            self.cluster.spawn(number, lambda: submit(self.history, node, engine, transaction))

    def load(self, count: int, numbers: tuple[int, ...] = (0, 1, 2, 3)) -> None:
        """Let these peers send in turn, every 5 ms."""
        for each in range(count):
            self.send(numbers[each % len(numbers)])
            self.cluster.run(0.005)
        self.checkers.sample()

    def end(self, within: float = 5.0) -> None:
        """Nothing goes wrong any more, and everything comes to its end."""
        self.checkers.healed()
        self.cluster.run_until(self.checkers.settled, within)
        self.checkers.sample()
        self.checkers.finish()


# -- nothing is wrong -----------------------------------------------------------------------------------


def healthy(core: str, seed: int = 5, **settings: Any) -> History:
    """A second of four peers of which one crashes and comes back with its journal."""
    with Cluster(4, seed=seed, core=core, sync_ns=MS, **settings) as cluster:
        run = Run(cluster)
        cluster.start()
        cluster.run(0.05)
        run.load(60)
        cluster.crash(2)
        run.load(40, (0, 1, 3))
        cluster.restart(2)
        cluster.run(0.05)
        run.load(50)
        run.end()
        assert cluster.now_ns >= 800 * MS
        assert run.history.receipts > 60
        assert not run.checkers.violations
        return run.history


@pytest.mark.parametrize("order", ["fair", "fast"])
def test_nobody_complains_of_a_healthy_network(core: str, order: str) -> None:
    history = healthy(core, network=Network(order=order))
    assert history.ordered > 300
    assert len(history.sends) == 154  # each peer was probed in the end
    assert len(history.latencies_ns()) > 300
    assert all(MS < latency < 1000 * MS for latency in history.latencies_ns())
    assert len(history.latencies_ns(10)) <= 10


@pytest.mark.native
def test_the_history_of_a_seed_is_always_the_same() -> None:
    digest = healthy("native").digest()
    assert digest == healthy("native").digest() == healthy("python").digest()
    assert digest != healthy("native", seed=6).digest()


def test_a_digest_can_be_asked_for_at_any_time(bench: Bench) -> None:
    digests = []
    for index in range(3):
        bench.receive(0, bench.event(index))
        digests += [bench.history.digest(), bench.history.digest()]
    assert digests[0::2] == digests[1::2]
    assert len(set(digests)) == 3


def test_clocks_may_be_wrong(core: str) -> None:
    with Cluster(4, seed=9, core=core) as cluster:
        run = Run(cluster)
        clocks = [node.host.hardware_clock for node in cluster.nodes]
        clocks[0].set(-3_000_000_000, -400)
        clocks[1].set(5_000_000_000, 300)
        cluster.start()
        cluster.run(0.05)
        run.load(20)
        clocks[0].jump(-1_000_000_000)
        clocks[1].stop()
        run.load(20)
        cluster.crash(0)
        clocks[0].jump(-20_000_000_000)
        run.load(20, (1, 2, 3))
        cluster.restart(0)
        clocks[1].start()
        clocks[2].jump(7_000_000_000)
        cluster.run(0.05)
        run.load(20)
        run.end()


# -- order ----------------------------------------------------------------------------------------------


def test_a_healthy_made_up_stream_is_fine(bench: Bench) -> None:
    bench.start_all()
    for number in range(4):
        bench.receive_all(number, 40)
    assert bench.caught == []
    assert bench.history.ordered == 40


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("order_hash", bytes(32)),
        ("consensus_at", BEGIN_NS + 12),
        ("hash", bytes(32)),
        ("transactions", (b"another",)),
        ("parents", (bytes(32),)),
        ("round", 77),
        ("created_at", 1),
        ("creator", 0),
    ],
)
def test_agreement(bench: Bench, field: str, value: object) -> None:
    bench.start_all()
    bench.receive_all(0, 16)
    bench.receive_all(1, 15)
    genuine = bench.event(15)
    bench.receive(1, bench.event(15, **{"order_hash": genuine.order_hash, field: value}))
    assert bench.caught == ["Agreement"]
    assert "at index 15" in str(bench.checkers.violations[0])
    with pytest.raises(Violation, match="peer 1: at index 15"):
        bench.checkers.check()


def test_agreement_holds_across_restarts(bench: Bench) -> None:
    bench.start_all()
    bench.receive_all(0, 10)
    bench.receive_all(1, 10)
    bench.start(1)
    bench.receive_all(1, 3)
    assert bench.caught == []
    bench.receive(1, bench.event(3, hash=bytes(32)))
    assert bench.caught == ["Agreement"]
    assert "start 2" in str(bench.checkers.violations[0])


def test_the_order_hash_stands_for_the_order(bench: Bench) -> None:
    bench.start_all()
    bench.receive_all(0, 3)
    bench.receive(0, bench.event(3, order_hash=bytes(32)))
    assert bench.caught == ["Agreement"]


def test_a_machine_says_of_its_order_what_it_is(bench: Bench) -> None:
    bench.start_all()
    bench.receive_all(0, 3)
    place = bench.history.order[2]
    bench.start(2, status_of(2, delivered=3, order_hash=place.order_hash, consensus_at=place.consensus_at))
    bench.checkers.sample()
    bench.start(2, status_of(2, delivered=3, order_hash=bytes(32), consensus_at=place.consensus_at))
    with pytest.raises(Violation, match=r"Agreement .* peer 2"):
        bench.checkers.sample()


def test_a_tampered_stream_is_noticed_in_a_run(core: str) -> None:
    with Cluster(4, seed=1, core=core) as cluster:
        run = Run(cluster)
        receive = run.checkers.received
        names = {"creator", "round", "created_at", "hash", "parents", "order_hash", "whitened_signature"}

        def tampered(node: Node, event: Event) -> None:
            if node.number == 3 and event.index == 20:
                fields = {name: getattr(event, name) for name in names | {"transactions"}}
                event = Event(index=20, consensus_at=event.consensus_at + 1, **fields)
            receive(node, event)

        cluster.received = tampered
        cluster.start()
        cluster.run(0.05)
        with pytest.raises(Violation, match=r"Agreement .* peer 3: .*at index 20"):
            run.load(40)


@pytest.mark.parametrize("indices", [(0, 2), (1,), (0, 1, 1), (0, 1, 0), (0, 1, 2, 4)])
def test_total_order(bench: Bench, indices: tuple[int, ...]) -> None:
    bench.start_all()
    bench.receive_all(0, 5)
    for index in indices:
        bench.receive(1, bench.event(index, order_hash=bench.order_hashes[index + 1]))
    assert bench.caught == ["TotalOrder"]


def test_a_gap_before_everybody_else_is_noticed(bench: Bench) -> None:
    bench.start_all()
    bench.receive(0, bench.event(0))
    bench.receive(0, bench.event(5))
    assert bench.caught == ["TotalOrder"]


def test_no_event_twice(bench: Bench) -> None:
    bench.start_all()
    bench.receive_all(0, 3)
    bench.receive(0, bench.event(3, hash=bench.event(1).hash))
    assert bench.caught == ["NoDuplicates"]


def test_no_slot_twice(bench: Bench) -> None:
    bench.start_all()
    bench.receive_all(0, 4)
    bench.receive(0, bench.event(4, creator=1, round=1))
    assert bench.caught == ["NoDuplicates", "NoSelfFork"]


def test_no_transaction_twice(bench: Bench) -> None:
    bench.start_all()
    bench.receive(0, bench.event(0, creator=1, round=1, transactions=(b"a", b"b")))
    bench.receive(0, bench.event(1, creator=2, round=1, transactions=(b"a",)))  # of another, who copied it
    assert bench.caught == []
    bench.receive(0, bench.event(2, creator=1, round=2, transactions=(b"c", b"a")))
    assert bench.caught == ["NoDuplicates"]


def test_not_in_one_event_either(bench: Bench) -> None:
    bench.start_all()
    bench.receive(0, bench.event(0, transactions=(b"a", b"a")))
    assert bench.caught == ["NoDuplicates"]


def test_who_forgot_may_repeat_itself() -> None:
    with Cluster(4, core="python") as cluster:
        bench = Bench(cluster, forgetful=frozenset({1}))
        bench.start_all()
        bench.receive(0, bench.event(0, creator=1, round=1, transactions=(b"a",)))
        bench.receive(0, bench.event(1, creator=1, round=2, transactions=(b"a",)))
        assert bench.caught == []


@pytest.mark.parametrize(("unsure", "caught"), [(frozenset(), []), (frozenset({1}), ["NoSelfFork"])])
def test_who_knows_that_it_forgot_signs_no_slot_twice(unsure: frozenset[int], caught: list[str]) -> None:
    with Cluster(4, core="python") as cluster:
        bench = Bench(cluster, forgetful=frozenset({1}), unsure=unsure)
        for number in (0, 2, 3):
            bench.start(number)
        bench.start(1, status_of(1, own_round=100))
        bench.receive(0, bench.event(0, creator=1, round=1, transactions=(b"a",)))
        bench.receive(0, bench.event(1, creator=1, round=1, transactions=(b"b",)))
        assert [each for each in bench.caught if each == "NoSelfFork"] == caught


def test_a_stream_begins_where_its_application_was(bench: Bench) -> None:
    bench.start_all()
    bench.receive_all(0, 10)
    bench.start(1)
    bench.nodes[1].resume_after = 6
    for index in range(7, 10):
        bench.receive(1, bench.event(index))
    assert bench.caught == []
    bench.start(1)
    bench.nodes[1].resume_after = 6
    bench.receive(1, bench.event(6))
    assert bench.caught == ["TotalOrder"]


def test_parents_come_before_children(bench: Bench) -> None:
    bench.start_all()
    bench.receive(0, bench.event(0))
    bench.receive(0, bench.event(1, parents=(bench.event(0).hash,)))
    assert bench.caught == []
    bench.receive(0, bench.event(2, parents=(bench.event(3).hash, bytes(32))))
    assert bench.caught == []
    bench.receive(0, bench.event(3))
    assert bench.caught == ["Causality"]


def test_transactions_come_in_the_order_in_which_they_were_sent(bench: Bench) -> None:
    bench.start_all()
    for transaction in (b"a", b"b", b"c", b"d"):
        bench.history.sent(bench.nodes[1], transaction)
    bench.receive(0, bench.event(0, creator=1, round=1, transactions=(b"a", b"c")))
    assert bench.caught == []
    bench.receive(0, bench.event(1, creator=1, round=2, transactions=(b"b",)))
    assert bench.caught == ["Causality"]


def test_not_so_those_of_a_sender_that_started_again_or_put_them_into_a_new_event(bench: Bench) -> None:
    bench.start_all()
    bench.start(2, status_of(2, resubmitted=1))
    bench.nodes[2].host.starts = 1
    for number in (1, 2):
        for letter in b"ab":
            bench.history.sent(bench.nodes[number], b"%d %c" % (number, letter))
    bench.start(1)
    bench.receive(0, bench.event(0, creator=1, round=1, transactions=(b"1 b", b"1 a")))
    bench.receive(0, bench.event(1, creator=2, round=1, transactions=(b"2 b", b"2 a")))
    assert bench.caught == []


# -- nothing is lost ------------------------------------------------------------------------------------


def receipt_of(event: Event, **fields: Any) -> Receipt:
    """The receipt of an event's first transaction, but for what is given."""
    given = {"index": event.index, "position": 0, "consensus_at": event.consensus_at, "hash": event.hash}
    return Receipt(**given | fields)


@pytest.mark.parametrize("before", [True, False], ids=["receipt first", "message first"])
@pytest.mark.parametrize(
    ("fields", "checker"),
    [
        ({}, None),
        ({"position": 1}, "NoLoss"),
        ({"position": 2}, "NoLoss"),
        ({"index": 0}, "NoLoss"),
        ({"consensus_at": 1}, "ApiHistory"),
        ({"hash": bytes(32)}, "ApiHistory"),
    ],
)
def test_a_receipt_says_where_it_is(bench: Bench, fields: dict[str, Any], checker: str | None, before: bool) -> None:
    bench.start_all()
    node = bench.nodes[1]
    bench.history.sent(node, b"a", awaited=True)
    bench.receive(0, bench.event(0))
    event = bench.event(1, creator=1, round=1, transactions=(b"a", b"b"))
    if not before:
        bench.receive(0, event)
    bench.history.acknowledged(node, b"a", receipt_of(event, **fields))
    if before:
        bench.receive(0, event)
    if checker is None:
        assert bench.caught == []
        assert not bench.history.open
    else:
        assert checker in bench.caught


def test_a_receipt_is_for_ones_own_event(bench: Bench) -> None:
    bench.start_all()
    bench.history.sent(bench.nodes[1], b"a", awaited=True)
    event = bench.event(0, creator=2, transactions=(b"a",))
    bench.receive(0, event)
    bench.history.acknowledged(bench.nodes[1], b"a", receipt_of(event))
    assert bench.caught == ["NoLoss"]


def test_what_has_a_receipt_is_in_the_order_in_the_end(bench: Bench) -> None:
    bench.start_all()
    bench.receive_all(0, 3)
    bench.history.sent(bench.nodes[1], b"a", awaited=True)
    bench.history.acknowledged(bench.nodes[1], b"a", receipt_of(bench.event(7)))
    assert bench.caught == []
    with pytest.raises(Violation, match=r"NoLoss .* the order ends at 3"):
        bench.checkers.finish()


def test_what_was_taken_is_in_the_order_in_the_end(bench: Bench) -> None:
    bench.start_all()
    bench.history.sent(bench.nodes[1], b"a")
    with pytest.raises(Violation, match=r"NoLoss .* peer 1: b'a', sent by peer 1"):
        bench.checkers.finish()


def test_what_died_with_its_sender_is_not(bench: Bench) -> None:
    bench.start_all()
    bench.history.sent(bench.nodes[1], b"a")
    bench.start(1)
    bench.checkers.finish()


def test_what_was_in_an_event_does_not_die_with_its_sender(bench: Bench) -> None:
    bench.start_all()
    bench.history.sent(bench.nodes[1], b"a")
    bench.checkers.broadcast(1, frame_of(1, 1, transactions=(b"x", b"a")))
    bench.start(1)
    with pytest.raises(Violation, match=r"NoLoss .* peer 1: b'a'"):
        bench.checkers.finish()


def test_what_was_refused_is_not_in_the_order(bench: Bench) -> None:
    bench.start_all()
    bench.history.sent(bench.nodes[1], b"a")
    bench.history.refused(bench.nodes[1], b"a", QueueFull("no room"))
    for number in range(4):
        bench.receive(number, bench.event(0, creator=1, transactions=(b"a",)))
    with pytest.raises(Violation, match=r"NoLoss .* was refused"):
        bench.checkers.finish()


def test_a_transaction_that_never_reached_its_engine_is_missed(core: str) -> None:
    with Cluster(4, seed=2, core=core) as cluster:
        run = Run(cluster)
        cluster.start()
        cluster.run(0.05)
        run.load(8)
        run.history.sent(cluster.nodes[0], b"said to be sent")
        with pytest.raises(Violation, match=r"NoLoss .*said to be sent"):
            run.end(within=1)


# -- time -----------------------------------------------------------------------------------------------


def test_consensus_time_rises(bench: Bench) -> None:
    bench.start_all()
    bench.receive_all(0, 3)
    bench.receive(0, bench.event(3, consensus_at=BEGIN_NS + 2))
    assert bench.caught == ["ConsensusTime"]


def test_consensus_time_is_not_above_all_clocks(bench: Bench) -> None:
    bench.nodes[2].host.hardware_clock.set(500, 0)
    bench.start_all()
    # Four starts: 4 ns for what was signed, but not sent, before them.
    bench.receive(0, bench.event(0, consensus_at=BEGIN_NS + 504))
    bench.receive(0, bench.event(1, consensus_at=BEGIN_NS + 505))
    assert bench.caught == []
    bench.receive(0, bench.event(2, consensus_at=BEGIN_NS + 507))
    assert bench.caught == ["ConsensusTime"]


def announced(bench: Bench, creator: int, created_at: int) -> bytes:
    """A peer sends an event of round 1; its hash."""
    frame = frame_of(creator, 1, created_at=created_at)
    bench.checkers.broadcast(creator, frame)
    return event_digest(frame[1:-64])


def test_consensus_time_is_not_below_all_clocks(bench: Bench) -> None:
    bench.nodes[2].host.hardware_clock.set(-500, 0)
    bench.start_all()
    hashes = [announced(bench, creator, BEGIN_NS - 500 * (creator == 2)) for creator in (1, 2, 3)]
    bench.receive(0, bench.event(0, creator=1, round=1, hash=hashes[0], consensus_at=BEGIN_NS - 500))
    bench.receive(0, bench.event(1, creator=2, round=1, hash=hashes[1], consensus_at=BEGIN_NS - 499))
    assert bench.caught == []
    bench.cluster.run(0.001)  # all clocks go on, but that of peer 2 not so far
    frame = frame_of(2, 2, created_at=BEGIN_NS + MS - 500)
    bench.nodes[2].host.hardware_clock.clock().now()
    bench.checkers.broadcast(2, frame)
    low = BEGIN_NS + MS - 500 - MS // 2000
    bench.receive(0, bench.event(2, creator=2, round=2, hash=event_digest(frame[1:-64]), consensus_at=low - 1))
    assert bench.caught == ["ConsensusTime"]


def test_a_clock_that_was_set_back_before_a_restart_counts(bench: Bench) -> None:
    bench.start_all()
    bench.cluster.run(0.001)
    bench.nodes[3].host.hardware_clock.clock().now()
    hash = announced(bench, 3, BEGIN_NS + MS)
    bench.nodes[0].host.hardware_clock.jump(-100 * MS)
    bench.start(0)
    bench.receive(1, bench.event(0, creator=3, round=1, hash=hash, consensus_at=BEGIN_NS - 99 * MS))
    assert bench.caught == []


@pytest.mark.parametrize(("created_at", "fine"), [(0, True), (1, True), (2, False), (-1, False)])
def test_an_honest_event_has_the_time_of_its_creator(bench: Bench, created_at: int, fine: bool) -> None:
    bench.start_all()
    if created_at != 0:
        bench.checkers.broadcast(1, frame_of(1, 1, created_at=BEGIN_NS))
    bench.checkers.broadcast(1, frame_of(1, 2, created_at=BEGIN_NS + created_at))
    assert bench.caught == ([] if fine else ["ConsensusTime"])


@pytest.mark.parametrize("order", ["fair", "fast"])
@pytest.mark.parametrize(("choose", "skew_ns", "what"), [(max, 10_000 * MS, "above"), (min, -10_000 * MS, "below")])
def test_a_median_that_is_none_is_noticed(
    monkeypatch: pytest.MonkeyPatch, choose: Callable[..., int], skew_ns: int, what: str, order: str
) -> None:
    def run_with_a_wrong_clock() -> None:
        with Cluster(4, seed=3, core="python", network=Network(order=order)) as cluster:
            run = Run(cluster, honest=frozenset({0, 1, 2}))
            cluster.nodes[3].host.hardware_clock.set(skew_ns, 0)
            cluster.start()
            cluster.run(0.05)
            run.load(30, (0, 1, 2))
            run.end()

    run_with_a_wrong_clock()
    monkeypatch.setattr(core_order, "lower_median", choose)
    with pytest.raises(Violation, match=f"ConsensusTime .* {what} "):
        run_with_a_wrong_clock()


# -- each peer ------------------------------------------------------------------------------------------


def test_one_event_per_round(bench: Bench) -> None:
    bench.start_all()
    bench.checkers.broadcast(1, frame_of(1, 1))
    bench.checkers.broadcast(1, frame_of(1, 2, created_at=BEGIN_NS + 1))
    assert bench.caught == []
    bench.start(1)
    bench.checkers.broadcast(1, frame_of(1, 1, salt=1, created_at=BEGIN_NS + 2))
    assert bench.caught == ["NoSelfFork"]


def test_parents_and_items_belong_to_what_was_signed(bench: Bench) -> None:
    bench.start_all()
    parts: dict[str, Any] = {"parents": (Parent(2, 1, bytes(32)),), "items": (Item(9, b"one"), Item(9, b"two"))}
    frame = frame_of(1, 2, **parts)
    checker = next(each for each in bench.checkers.all if each.name == "NoSelfFork")
    checker.made(bench.nodes[1], 1, 2, BEGIN_NS, frame)
    checker.made(bench.nodes[1], 1, 2, BEGIN_NS, frame[:-1] + b"\xff")  # another signature of the same
    parts["items"] = (Item(9, b"one"), Item(9, b"too"))
    with pytest.raises(Violation, match="two events for round 2"):
        checker.made(bench.nodes[1], 1, 2, BEGIN_NS, frame_of(1, 2, **parts))


def test_nobody_builds_on_an_invalid_event(bench: Bench) -> None:
    bench.start_all()
    parents = tuple(Parent(creator, 1, bytes((creator,)) * 32) for creator in range(3))
    bench.checkers.broadcast(1, frame_of(1, 2, parents=parents))
    bench.cluster.invalid[bytes(31)] = "too short"
    bench.checkers.broadcast(2, frame_of(2, 2, parents=parents))
    assert bench.caught == []
    bench.cluster.invalid[parents[2].digest] = "an event with a flaw"
    bench.checkers.broadcast(3, frame_of(3, 2, parents=parents))
    with pytest.raises(Violation, match=r"NoInvalid .* peer 3: its event of round 2 has as a parent an event with a f"):
        bench.checkers.check()


def test_nobody_hands_on_an_invalid_event(bench: Bench) -> None:
    bench.start_all()
    frame = frame_of(3, 2, parents=(Parent(2, 1, bytes(32)),), items=(Item(9, b"one"),))
    bench.checkers.handed(0, frame)
    bench.cluster.invalid[event_digest(frame[1:-64])] = "an event with a flaw"
    bench.checkers.handed(1, b"\x11" + frame[1:])
    assert bench.caught == []
    bench.cluster.internet.watch_sent(2, frame)  # type: ignore[misc]
    with pytest.raises(Violation, match=r"NoInvalid .* peer 2: it hands on an event with a flaw"):
        bench.checkers.check()


def test_nobody_orders_an_invalid_event(bench: Bench) -> None:
    bench.start_all()
    bench.receive_all(0, 2)
    bench.cluster.invalid[bench.event(2).hash] = "an event with a flaw"
    bench.receive(0, bench.event(2))
    assert bench.caught == ["NoInvalid"]


def test_what_a_peer_sends_to_one_other_is_seen(core: str) -> None:
    with Cluster(4, seed=2, core=core) as cluster:
        seen: list[tuple[int, bytes]] = []
        cluster.internet.watch_sent = lambda host, frame: seen.append((host, frame))
        cluster.start()
        cluster.run(0.1)
        assert {host for host, _ in seen} == set(range(4))


def test_nobody_broadcasts_what_is_of_others(bench: Bench) -> None:
    bench.start_all()
    bench.checkers.broadcast(1, frame_of(2, 1))
    assert "NoSelfFork" in bench.caught


def test_what_is_ordered_is_what_was_sent(bench: Bench) -> None:
    bench.start_all()
    bench.checkers.broadcast(1, frame_of(1, 1))
    bench.receive(0, bench.event(0, creator=1, round=1))
    assert bench.caught == ["NoSelfFork"]


def test_twins_are_noticed(core: str) -> None:
    with Cluster(4, seed=7, core=core) as cluster:
        cluster.add_twin(2)
        run = Run(cluster)
        cluster.start()
        cluster.run(0.05)
        cluster.run(0.5)
        assert any(violation.checker == "NoSelfFork" for violation in run.checkers.violations)


def test_peers_that_cannot_reach_each_other_make_no_progress(core: str) -> None:
    with Cluster(4, seed=5, core=core) as cluster:
        run = Run(cluster)
        cluster.start()
        cluster.run(0.05)
        run.load(8)
        cluster.partition((0, 1), (2, 3), how="drop")
        run.load(8)
        with pytest.raises(Violation, match="Progress") as caught:
            run.end(within=1)
        text = str(caught.value)
        assert "is not in the order" in text
        assert "3 (honest, start 1): " in text


def test_a_peer_that_does_not_come_along_makes_no_progress(core: str) -> None:
    with Cluster(4, seed=6, core=core) as cluster:
        run = Run(cluster)
        cluster.start()
        cluster.run(0.05)
        cluster.partition((0, 1, 2), (3,), how="drop")
        run.load(12, (0, 1, 2))
        with pytest.raises(Violation, match=r"Progress (.*\n)+.*peer 3 has received"):
            run.end(within=1)
        cluster.heal()
        run.checkers.violations.clear()
        run.end()


def test_who_waits_for_a_receipt_gets_it(bench: Bench) -> None:
    bench.start_all()
    bench.history.sent(bench.nodes[1], b"a", awaited=True)
    for number in range(4):
        bench.receive(number, bench.event(0, creator=1, transactions=(b"a",)))
    with pytest.raises(Violation, match=r"Progress .*\n.*b'a', submitted by peer 1 .* has neither receipt nor error"):
        bench.checkers.finish()


@pytest.mark.parametrize("probe", [True, False])
def test_a_peer_that_only_listens_from_now_on_is_noticed(core: str, probe: bool) -> None:
    with Cluster(4, seed=6, core=core) as cluster:
        run = Run(cluster)
        cluster.start()
        cluster.run(0.05)
        run.load(8)
        assert cluster.run_until(run.checkers.settled, 1)
        machine = cluster.nodes[3].machine
        assert machine is not None
        step = machine._machine.step
        machine._step = lambda now, inputs: [
            each for each in step(now, inputs) if not isinstance(each, Broadcast | Send)
        ]
        run.checkers.healed(probe=probe)
        assert cluster.run_until(run.checkers.settled, 1) == (not probe)
        if not probe:
            run.checkers.finish()
            return
        with pytest.raises(
            Violation, match=r"Progress .*\n  b'probe \d+, of peer 3', submitted .* is not in the order"
        ):
            run.checkers.finish()
        for number in range(3):
            assert b"probe %d, of peer %d" % (8 + number, number) in run.history.where[number]


def test_a_peer_that_refuses_what_it_is_given_is_noticed(core: str) -> None:
    with Cluster(4, seed=6, core=core) as cluster:
        run = Run(cluster)
        cluster.start()
        cluster.run(0.05)
        run.checkers.healed()
        sent = run.checkers.progress.probes[3]
        run.history.refused(cluster.nodes[3], sent.transaction, EngineStopped("why not"))
        assert run.checkers.progress.waits()[-1].endswith("was refused: EngineStopped('why not')")


def test_a_peer_that_runs_without_a_machine_is_waited_for(bench: Bench) -> None:
    bench.start_all()
    bench.nodes[1].machine = None
    bench.nodes[2].up = False
    with pytest.raises(Violation, match=r"Progress .*\n  peer 1 runs \(start 1\), but has no machine"):
        bench.checkers.finish()
    assert bench.checkers.progress.not_asked


def test_nothing_is_asked_of_too_few(core: str) -> None:
    with Cluster(4, seed=7, core=core) as cluster:
        run = Run(cluster)
        cluster.start()
        cluster.run(0.05)
        run.load(8)
        cluster.crash(0)
        cluster.crash(1)
        run.load(4, (2, 3))
        run.end(within=0.1)


def test_who_lost_its_store_may_halt(core: str) -> None:
    with Cluster(4, seed=8, core=core) as cluster:
        history = History(cluster)
        checkers = Checkers(cluster, history, EVERYBODY, {1})
        cluster.start()
        cluster.run(0.3)
        cluster.crash(1)
        cluster.restart(1, Store.LOST)
        cluster.run(1)
        checkers.healed()
        assert cluster.run_until(checkers.settled, 5)
        checkers.sample()
        checkers.finish()


LIMITS: list[dict[str, Any]] = [
    {"waiting_events": 3 * 4096 + 1},
    {"wanted_events": 3 * 4096 + 1},
    {"waiting_bytes": 3 * 4 * 1024 * 1024 + 1},
    {"queued_transactions": 4097},
    {"events": 401},
    {"closed_round": 10_500, "top_round": 10_501, "own_round": 10_501, "events": 1},
    {"closed_round": 10_500, "top_round": 10_501, "own_round": 10_501, "events": 1, "floor_round": 10_101},
    {"closed_round": 20_000, "top_round": 20_001, "own_round": 5_000, "events": 1, "floor_round": 9_999},
]


@pytest.mark.parametrize("fields", LIMITS, ids=lambda fields: next(iter(fields)))
def test_memory_is_bounded(bench: Bench, fields: dict[str, Any]) -> None:
    bench.start_all()
    bench.checkers.sample()
    bench.nodes[1].machine = SimpleNamespace(status=lambda: status_of(1, **fields))  # type: ignore[assignment]
    with pytest.raises(Violation, match=r"BoundedMemory .* peer 1"):
        bench.checkers.sample()


def test_who_is_behind_keeps_as_much(bench: Bench) -> None:
    bench.start_all()
    behind = {"closed_round": 20_000, "top_round": 20_001, "own_round": 5_000, "events": 1, "floor_round": 10_000}
    bench.nodes[1].machine = SimpleNamespace(status=lambda: status_of(1, **behind))  # type: ignore[assignment]
    bench.checkers.sample()


def test_what_an_engine_keeps_is_bounded(core: str) -> None:
    with Cluster(4, seed=1, core=core) as cluster:
        run = Run(cluster)
        cluster.start()
        cluster.run(0.1)
        engine = cluster.nodes[2].engine
        assert engine is not None
        engine._outbox.unacknowledged_bytes = cluster.options.max_unacknowledged_bytes + 1
        with pytest.raises(Violation, match=r"BoundedMemory .* peer 2: unacknowledged_bytes"):
            run.checkers.sample()


def test_unread_messages_are_bounded_by_the_limit_of_the_cluster(core: str) -> None:
    with Cluster(4, seed=1, core=core, unread=16) as cluster:
        run = Run(cluster)
        cluster.start()
        cluster.run(0.1)
        engine = cluster.nodes[2].engine
        assert engine is not None
        told = dataclasses.replace(engine.status(), unread_messages=16)
        engine.status = lambda: told  # type: ignore[method-assign]
        run.checkers.sample()
        told = dataclasses.replace(told, unread_messages=MAX_UNREAD_MESSAGES)
        with pytest.raises(Violation, match=r"BoundedMemory .* peer 2: unread_messages"):
            run.checkers.sample()


# -- complaints -----------------------------------------------------------------------------------------

log = logging.getLogger("syncpoint.engine")


def say(cluster: Cluster, number: int, text: str) -> None:
    """Let a peer's process log a warning."""
    process = cluster.nodes[number].host.boot()
    cluster.loop.call_soon(log.warning, text, context=cluster.loop.context_of(process))
    cluster.run(0.001)


def test_warnings_are_noticed(bench: Bench) -> None:
    say(bench.cluster, 2, "this is odd")
    with pytest.raises(Violation, match=r"QuietLogs .*\n.*host 2, start 1: WARNING syncpoint.engine: this is odd"):
        bench.checkers.sample()


def test_expected_warnings_are_all_right() -> None:
    with Cluster(4, core="python") as cluster, Cluster(4, core="python") as other:
        checkers = Checkers(cluster, History(cluster), {0, 1, 2}, {2}, expected_logs=["is o[a-z]d"])
        say(cluster, 1, "this is odd")
        say(cluster, 3, "liars complain of whatever they like")
        say(cluster, 2, "this peer makes no more events: it forgot")
        say(other, 1, "another simulation's")
        checkers.sample()
        say(cluster, 1, "this peer makes no more events: why?")
        with pytest.raises(Violation, match="why"):
            checkers.finish()
        say(cluster, 1, "nobody listens any more")
        assert len(checkers.violations) == 1


def test_given_up_simulations_do_not_listen() -> None:
    def listening() -> int:
        return len(logging.getLogger("syncpoint").handlers)

    before = listening()
    for _ in range(3):
        with Cluster(4, core="python") as cluster:
            checkers = Checkers(cluster, History(cluster), EVERYBODY)
            assert listening() <= before + 1
    checkers.quiet_logs.close()
    assert listening() <= before


def test_exceptions_that_nobody_catches_are_noticed(core: str) -> None:
    async def fail() -> None:
        raise ValueError("nobody catches this")

    with Cluster(4, seed=1, core=core) as cluster:
        run = Run(cluster)
        cluster.start()
        cluster.run(0.05)
        cluster.loop.call_soon(lambda: 1 // 0)
        cluster.run(0.05)
        with pytest.raises(Violation, match=r"QuietLogs .*\n.*ZeroDivisionError"):
            run.checkers.sample()


def test_a_task_that_fails_behind_everybodys_back_is_noticed(core: str) -> None:
    async def fail() -> None:
        await asyncio.sleep(0.01)
        raise KeyError("nobody waits for this")

    with Cluster(4, seed=1, core=core) as cluster:
        run = Run(cluster, honest=frozenset({0, 1, 2}))
        cluster.start()
        cluster.run(0.05)
        for number in (2, 3):
            cluster.spawn(number, fail)
        cluster.run(0.05)
        run.checkers.sample()
        with pytest.raises(Violation, match="QuietLogs") as caught:
            run.end()
        first, second = str(caught.value).splitlines()[1:]
        assert first.startswith("  host 2, start 1: nobody looked")
        assert first.endswith("KeyError('nobody waits for this')")
        assert second.startswith("  not counted, of a liar or of the dead: host 3, start 1: nobody looked")


def test_a_peer_that_failed_is_noticed(bench: Bench) -> None:
    bench.nodes[3].failed = ValueError("it broke")
    with pytest.raises(Violation, match=r"QuietLogs .*\n  peer 3 failed: ValueError\('it broke'\)"):
        bench.checkers.finish()


# -- calls and their results ----------------------------------------------------------------------------


def test_one_outcome_each(bench: Bench) -> None:
    bench.start_all()
    node = bench.nodes[1]
    bench.history.sent(node, b"a", awaited=True)
    event = bench.event(0, creator=1, transactions=(b"a",))
    bench.receive(0, event)
    bench.history.acknowledged(node, b"a", receipt_of(event))
    bench.history.acknowledged(node, b"a", receipt_of(event))
    assert bench.caught == ["ApiHistory"]


def test_a_receipt_is_for_who_waits(bench: Bench) -> None:
    bench.start_all()
    node = bench.nodes[1]
    bench.history.sent(node, b"a")
    event = bench.event(0, creator=1, transactions=(b"a",))
    bench.receive(0, event)
    bench.history.acknowledged(node, b"a", receipt_of(event))
    assert bench.caught == ["ApiHistory"]


def test_a_receipt_does_not_outlive_its_engine(bench: Bench) -> None:
    bench.start_all()
    node = bench.nodes[1]
    bench.history.sent(node, b"a", awaited=True)
    event = bench.event(0, creator=1, transactions=(b"a",))
    bench.receive(0, event)
    bench.start(1)
    bench.history.acknowledged(node, b"a", receipt_of(event))
    assert bench.caught == ["ApiHistory"]


def test_who_waits_for_room_does_not_hear_that_there_is_none(bench: Bench) -> None:
    bench.start_all()
    bench.history.sent(bench.nodes[1], b"a", awaited=True)
    bench.history.refused(bench.nodes[1], b"a", QueueFull("no room"))
    assert bench.caught == ["ApiHistory"]


def test_after_the_end_there_is_nothing_but_the_end(bench: Bench) -> None:
    bench.start_all()
    node, history = bench.nodes[1], bench.history
    for transaction in (b"a", b"b", b"c", b"d"):
        history.sent(node, transaction, awaited=True)
    history.refused(node, b"a", EngineStopped("it stopped"))
    history.refused(node, b"b", EngineStopped("it stopped"))
    history.refused(node, b"c", asyncio.CancelledError())
    assert bench.caught == []
    event = bench.event(0, creator=1, transactions=(b"d",))
    bench.receive(0, event)
    history.acknowledged(node, b"d", receipt_of(event))
    assert bench.caught == ["ApiHistory"]


def test_a_stopped_engine_takes_nothing(bench: Bench) -> None:
    bench.start_all()
    node, history = bench.nodes[1], bench.history
    bench.nodes[1].machine = SimpleNamespace(status=lambda: status_of(1, halted="why not"))  # type: ignore[assignment]
    history.sent(node, b"a", awaited=True)
    history.refused(node, b"a", EngineStopped("it stopped"))
    bench.cluster.run(0.001)
    history.sent(node, b"b")
    with pytest.raises(Violation, match=r"ApiHistory .* was taken, but EngineStopped came before"):
        bench.checkers.finish()


def test_no_message_comes_after_the_last(bench: Bench) -> None:
    bench.start_all()
    bench.receive_all(0, 2)
    bench.history.ended(bench.nodes[0])
    bench.receive(0, bench.event(2))
    assert bench.caught == ["ApiHistory"]


def test_no_stream_ends_by_itself(core: str) -> None:
    with Cluster(4, seed=3, core=core) as cluster:
        run = Run(cluster, honest=frozenset({0, 1, 2}))
        cluster.start()
        cluster.run(0.05)
        for number in (1, 3):
            engine = cluster.nodes[number].engine
            assert engine is not None
            cluster.spawn(number, engine.stop)
        cluster.run(0.1)
        with pytest.raises(Violation, match=r"ApiHistory .* peer 1: its stream has ended in start 1"):
            run.checkers.sample()
        assert len(run.checkers.violations) == 1


def test_no_application_fails(core: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Cluster(4, seed=3, core=core) as cluster:
        run = Run(cluster)
        cluster.start()
        cluster.run(0.05)

        async def fail(engine: Engine) -> None:
            raise ValueError("it broke")

        monkeypatch.setattr(Engine, "recv_message", fail)
        cluster.crash(2)
        cluster.restart(2)
        cluster.run(0.05)
        assert all(each.checker == "ApiHistory" for each in run.checkers.violations)
        told = next(str(each) for each in run.checkers.violations if each.node == 2)
        assert "its application failed with ValueError('it broke') in start 2" in told


def test_engines_that_stop_keep_the_grammar(core: str) -> None:
    with Cluster(4, seed=3, core=core) as cluster:
        run = Run(cluster)
        cluster.start()
        cluster.run(0.05)
        for _ in range(6):
            run.send(1)
        engine = cluster.nodes[1].engine
        assert engine is not None
        run.checkers.observed.stopping.add(1)
        cluster.spawn(1, engine.stop)
        cluster.run(0.1)
        assert sum(isinstance(sent.error, EngineStopped) for sent in run.history.sends.values()) == 3
        assert not run.checkers.violations


# -- what is fed wrongly --------------------------------------------------------------------------------


def test_transactions_are_told_apart_by_their_bytes(bench: Bench) -> None:
    bench.history.sent(bench.nodes[1], b"a")
    with pytest.raises(AssertionError, match="sent twice"):
        bench.history.sent(bench.nodes[2], b"a")
    with pytest.raises(AssertionError, match="never sent"):
        bench.history.refused(bench.nodes[1], b"b", QueueFull("no room"))
    with pytest.raises(AssertionError, match="by peer 1, not by peer 2"):
        bench.history.refused(bench.nodes[2], b"a", QueueFull("no room"))


def test_checkers_are_made_before_a_cluster_starts() -> None:
    with Cluster(4, core="python") as cluster:
        cluster.start()
        cluster.run(0.01)
        with pytest.raises(AssertionError, match="before a cluster starts"):
            Checkers(cluster, History(cluster), EVERYBODY)


def test_what_is_excusable_hides_nothing() -> None:
    with Cluster(4, core="python") as cluster:
        bench = Bench(cluster, excusable=("Agreement",))
        checkers = bench.checkers
        bench.start_all()
        bench.receive_all(0, 3)
        bench.receive(1, bench.event(0, hash=bytes(32)))
        bench.history.sent(bench.nodes[1], b"a", awaited=True)
        place = bench.history.order[2]
        receipt = Receipt(index=2, position=0, consensus_at=place.consensus_at, hash=bytes(32))
        bench.history.acknowledged(bench.nodes[1], b"a", receipt)
        assert bench.caught == ["Agreement", "NoLoss", "Agreement"]
        with pytest.raises(Violation, match="NoLoss"):
            checkers.check()
        bench.checkers.violations = [each for each in checkers.violations if each.checker == "Agreement"]
        checkers.check()
        bench.receive(1, bench.event(2, order_hash=bench.order_hashes[3]))
        with pytest.raises(Violation, match="TotalOrder"):
            checkers.check()


def test_one_checker_does_not_hide_another(bench: Bench) -> None:
    bench.start_all()
    bench.receive_all(0, 30)
    for index in range(30):
        bench.receive(1, bench.event(index, hash=bytes(32)))
    bench.receive(2, bench.event(1, order_hash=bench.order_hashes[2]))
    assert bench.caught == ["Agreement"] * 5 + ["TotalOrder"]


def test_a_violation_tells_everything(bench: Bench) -> None:
    bench.start_all()
    bench.cluster.run(1.5)
    bench.receive(2, bench.event(1))
    violation = bench.checkers.violations[0]
    assert (violation.checker, violation.at_ns, violation.node) == ("TotalOrder", 1_500 * MS, 2)
    assert str(violation).startswith("TotalOrder at 1.500000000 s, peer 2: message 1 of start 1 has index 1: Event(")
    assert dataclasses.is_dataclass(bench.history.streams[2])


# -- sync points ----------------------------------------------------------------------------------------


def point_of(bench: Bench, index: int, **fields: Any) -> SyncPoint:
    """The sync point at an index of such an order, but for what is given."""
    keys = [secret.public() for secret in bench.cluster.secrets]
    given: dict[str, Any] = {
        "kind": SyncPointKind.CUSTOM,
        "metadata": b"",
        "timestamp": BEGIN_NS + index,
        "epoch_index": 1,
        "session_id": EPOCH_ID,
        "proposer": keys[0],
        "approvals": tuple(keys[:3]),
        "peers": bench.cluster.peers,
        "order_hash": blake3(b"sync point %d" % index),
    } | fields
    return SyncPoint(index=index, **given)


def receive_point(bench: Bench, number: int, point: SyncPoint) -> None:
    bench.checkers.received(bench.nodes[number], point)


def test_a_sync_point_is_the_same_everywhere(bench: Bench) -> None:
    bench.start_all()
    for number in range(2):
        bench.receive_all(number, 3)
    receive_point(bench, 0, point_of(bench, 3))
    receive_point(bench, 1, point_of(bench, 3))
    assert bench.caught == []
    bench.receive_all(2, 3)
    receive_point(bench, 2, point_of(bench, 3, metadata=b"other"))
    assert bench.caught == ["SyncPoints"]


@pytest.mark.parametrize("fields", [
    {"epoch_index": 2}, {"session_id": bytes(32)}, {"kind": SyncPointKind.SESSION}, {"approvals": ()},
    {"proposer": None, "approvals": ()}, {"timestamp": BEGIN_NS + 5},
])  # fmt: skip
def test_a_sync_point_fits_what_comes_before_it(bench: Bench, fields: dict[str, Any]) -> None:
    bench.start_all()
    bench.receive_all(0, 3)
    receive_point(bench, 0, point_of(bench, 3, **fields))
    assert bench.caught == ["ConsensusTime" if "timestamp" in fields else "SyncPoints"]


def test_who_has_not_approved_is_not_named(bench: Bench) -> None:
    bench.start_all()
    bench.receive_all(0, 3)
    id = bytes(32)
    bench.checkers.points._proposals[3] = id
    for creator in (0, 1):
        bench.checkers.stepped(bench.nodes[creator], [Vote(id, True)], [])
    bench.checkers.stepped(bench.nodes[2], [Vote(id, False)], [])
    receive_point(bench, 0, point_of(bench, 3))
    assert bench.caught == ["SyncPoints"]


def test_nothing_comes_after_the_end(bench: Bench) -> None:
    bench.start_all()
    bench.receive_all(0, 3)
    receive_point(bench, 0, point_of(bench, 3, kind=SyncPointKind.END))
    assert bench.caught == []
    bench.receive(0, bench.event(4))
    assert "SyncPoints" in bench.caught


def test_the_state_behind_a_round_is_one(bench: Bench) -> None:
    bench.start_all()
    bench.checkers.stepped(bench.nodes[0], [], [Deliver((), ((3, b"a"), (5, b"b"), (7, b"c")))])
    bench.checkers.stepped(bench.nodes[1], [], [Deliver((), ((3, b"a"), (5, b"b")))])
    assert bench.caught == []
    bench.checkers.stepped(bench.nodes[1], [], [Deliver((), ((7, b"d"),))])
    assert "are others" in str(bench.checkers.violations[-1])
    bench.checkers.stepped(bench.nodes[2], [], [Deliver((), ((3, b"a"), (7, b"c")))])
    assert "counted nothing in round 5" in str(bench.checkers.violations[-1])
    bench.checkers.stepped(bench.nodes[3], [], [Deliver((), ((4, b"a"),))])
    assert "where others did not" in str(bench.checkers.violations[-1])


def test_an_outcome_is_the_same_everywhere(bench: Bench) -> None:
    bench.start_all()
    id = bytes(32)
    bench.checkers.stepped(bench.nodes[0], [], [Closed(id, Outcome.ADOPTED)])
    bench.checkers.stepped(bench.nodes[1], [], [Closed(id, Outcome.ADOPTED), Closed(bytes(31), Outcome.TOO_MANY)])
    bench.checkers.stepped(bench.nodes[0], [], [Closed(bytes(31), Outcome.ADOPTED)])
    assert bench.caught == []
    bench.checkers.stepped(bench.nodes[2], [], [Closed(id, Outcome.REFUSED)])
    assert bench.caught == ["SyncPoints"]


def test_an_outcome_is_told_once_in_a_start(bench: Bench) -> None:
    bench.start_all()
    id = bytes(32)
    bench.checkers.stepped(bench.nodes[0], [], [Closed(id, Outcome.ADOPTED)])
    bench.nodes[0].host.starts += 1
    bench.checkers.stepped(bench.nodes[0], [], [Closed(id, Outcome.ADOPTED)])
    assert bench.caught == []
    bench.checkers.stepped(bench.nodes[0], [], [Closed(id, Outcome.ADOPTED)])
    assert bench.caught == ["SyncPoints"]
