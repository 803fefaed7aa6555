"""What each fault does to a cluster, and what it leaves as it was; faults that meet do not end each other."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import random
from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner

from syncpoint.cli.app import app
from syncpoint.cli.simulate import _checker
from syncpoint.errors import ArgumentError
from syncpoint.runtime.rows import Batch, EventRow, MetaRow
from syncpoint.testing.campaign import Campaign, Settings, missing
from syncpoint.testing.cluster import Cluster
from syncpoint.testing.delays import Delays
from syncpoint.testing.draw import draw
from syncpoint.testing.faults import (
    ClockStop,
    Crash,
    CrashWhenFinal,
    Cut,
    DeafReader,
    Far,
    Fault,
    Noise,
    Partition,
    Pause,
    SlowDisk,
    SlowPeer,
)
from syncpoint.testing.liars import LiarSpec
from syncpoint.testing.scenario import Load, Scenario
from syncpoint.testing.simulation import Outcome, Simulation, simulate
from syncpoint.testing.storage import Disk, SimulatedFile, SimulatedWorker, Store

MS = 1_000_000
FIXED = Delays(kind="fixed", low_ns=2 * MS)
PLAIN = Scenario(core="python", duration_ns=200 * MS, delays=FIXED, load=Load(transactions=30))


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(4, seed=3, core="python", delays=FIXED) as made:
        made.start()
        made.run(0.05)
        yield made


def records(cluster: Cluster, number: int) -> int:
    return len(cluster.nodes[number].host.disk.events)


# -- those that meet -------------------------------------------------------------------------------------


def test_a_crash_restarts_only_what_it_killed(cluster: Cluster) -> None:
    long, short = Crash(peer=1, until_ns=9, store="lost"), Crash(peer=1, until_ns=5)
    final = CrashWhenFinal(peer=1)
    for fault in (long, short, final):
        fault.begin(cluster)
    for fault in (short, final):
        fault.end(cluster)
        assert not cluster.nodes[1].up
    long.end(cluster)
    assert cluster.nodes[1].up
    assert not records(cluster, 1), "with the store of the crash that killed it"
    assert cluster.happened == {"fault crash": 1, "restarts lost": 1}


def test_a_crash_when_final_is_undone_by_itself_alone(cluster: Cluster) -> None:
    waiting, other = CrashWhenFinal(peer=2, until_ns=9), Crash(peer=2, until_ns=5)
    waiting.begin(cluster)
    cluster.send(2, b"its own")
    assert cluster.run_until(lambda: not cluster.nodes[2].up, 1)
    other.begin(cluster)
    other.end(cluster)
    assert not cluster.nodes[2].up
    waiting.end(cluster)
    assert cluster.nodes[2].up
    assert cluster.happened["fault crash_when_final"] == 1


@pytest.mark.parametrize("kind", ["junk", "hot_spare", "twin"])
def test_a_liar_is_neither_killed_nor_replaced(kind: str) -> None:
    scenario = dataclasses.replace(
        PLAIN,
        liars=(LiarSpec(kind=kind, creator=3),),
        faults=(Crash(peer=3, at_ns=50 * MS, until_ns=90 * MS), CrashWhenFinal(peer=3, at_ns=MS, until_ns=90 * MS)),
    )
    simulation = Simulation(scenario)
    outcome = simulation.run()
    assert outcome.ok, outcome.problem
    assert simulation.cluster.nodes[3].host.starts == 1
    assert not outcome.features.get("fault crash")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Pause(peer=1), Pause(peer=1, at_ns=1)),
        (Far(peer=1, extra_ns=5), Far(peer=1, extra_ns=5, at_ns=1)),
        (SlowPeer(peer=1, ns_per_frame=5), SlowPeer(peer=1, ns_per_frame=5, at_ns=1)),
        (SlowDisk(peer=1, sync_ns=5), SlowDisk(peer=1, sync_ns=5, at_ns=1)),
        (ClockStop(peer=1), ClockStop(peer=1, at_ns=1)),
        (DeafReader(peer=1), DeafReader(peer=1, at_ns=1)),
        (Noise(loss=0.5), Noise(loss=0.5, at_ns=1)),
        (Cut(source=0, target=1), Cut(source=0, target=1, at_ns=1)),
        (Cut(source=0, target=1), Partition(groups=((0,), (1,)), how="hold")),
        (Partition(groups=((0, 2), (1, 3)), how="drop"), Partition(groups=((0, 3), (1, 2)), how="drop")),
    ],
)
def test_the_end_of_one_does_not_end_another(cluster: Cluster, first: Fault, second: Fault) -> None:
    def state() -> list[object]:
        node, internet = cluster.nodes[1], cluster.internet
        stopped = node.host.hardware_clock._stopped_at is not None
        slow = (internet.extra_ns.get(1, 0), internet.slow_ns.get(1, 0), node.host.disk.sync_ns)
        return [node.host.process.stopped, node.deaf, stopped, slow, internet.delays.loss, (0, 1) in internet.cut]

    good = state()
    first.begin(cluster)
    bad = state()
    assert bad != good
    second.begin(cluster)
    first.end(cluster)
    assert state() == bad
    second.end(cluster)
    assert state() == good


def test_noise_adds_to_what_links_do_anyway() -> None:
    with Cluster(4, core="python", delays=dataclasses.replace(FIXED, loss=0.1, duplicates=0.2)) as cluster:
        weak, strong = Noise(), Noise(loss=0.3, reordering=0.4)
        weak.begin(cluster)
        assert (cluster.internet.delays.loss, cluster.internet.delays.duplicates) == (0.1, 0.2)
        strong.begin(cluster)
        weak.end(cluster)
        assert cluster.internet.delays == dataclasses.replace(FIXED, loss=0.3, duplicates=0.2, reordering=0.4)
        strong.end(cluster)
        assert cluster.internet.delays == cluster.internet.usual


# -- stores ----------------------------------------------------------------------------------------------


class Written:
    """A disk with commits 10 ms apart, each of one event and followed by its tip; the odd ones are synced."""

    def __init__(self, cluster: Cluster, sync_ns: int = 0) -> None:
        self.cluster = cluster
        self.disk = Disk(cluster.loop, sync_ns, random.Random(1))
        self.file = SimulatedFile(self.disk, "a file")
        self.begin = cluster.loop.now_ns
        self.file.open()
        self.inode = self.file.inode()
        for _ in range(6):
            self.commit()
            cluster.run(0.01)

    def commit(self) -> None:
        id = self.disk.now.end_event
        row = EventRow.of(id, id, id, bytes([id]) * 32, b"record %d" % id)
        self.file.commit(Batch(events=[row], meta=[MetaRow.of("state", b"%d" % id)]), id % 2 == 1)
        self.file.write_tip(b"tip %d" % id, False)

    def what(self) -> tuple[int, bytes | None]:
        """Events, of which each must be found again, and the tip."""
        rows = self.file.events(0, 100)
        assert [row.id for row in rows] == list(range(1, len(rows) + 1))
        assert all(self.file.event(row.round, row.digest) == row for row in rows)
        assert self.file.event(len(rows) + 1, bytes([len(rows) + 1]) * 32) is None
        assert [row.value for row in self.file.meta()] == [b"%d" % len(rows)] * bool(rows)
        return len(rows), self.file.read_tip()


def test_an_old_store_is_a_backup_from_before_the_crash(cluster: Cluster) -> None:
    made = Written(cluster)
    now = made.disk._loop.now_ns
    made.disk.crashed(Store.OLD, backup_ns=now - made.begin - 25 * MS)
    assert made.what() == (3, b"tip 3")
    assert made.file.inode() == made.inode, "nothing shows it"
    made.commit()
    made.disk.crashed(Store.OLD)
    assert made.what() == (4, b"tip 4")
    made.disk.crashed(Store.OLD, backup_ns=now)
    assert made.what() == (0, None)
    assert not made.file.open()


def test_an_old_or_lost_store_can_show_that_it_is(cluster: Cluster) -> None:
    seen = set()
    for seed in range(20):
        made = Written(cluster)
        made.disk._rng.seed(seed)
        made.disk.crashed(Store.OLD, backup_ns=35 * MS, traces=True)
        count, tip = made.what()
        assert count == 3
        seen.add((tip, made.file.inode() == made.inode))
    assert seen == {(b"tip 6", True), (b"tip 3", False)}
    made = Written(cluster)
    made.disk.crashed(Store.LOST, traces=True)
    assert made.what() == (0, b"tip 6")
    assert not made.file.open()


def test_a_process_that_is_killed_leaves_all_that_was_written(cluster: Cluster) -> None:
    made = Written(cluster, 10 * MS)
    boot = made.file.boot()
    made.commit()  # synced after 10 ms, and written after one
    cluster.run(0.001)
    made.disk.crashed(Store.KEPT)
    assert made.what() == (7, b"tip 6")
    made.commit()
    cluster.run(0.0009)
    made.disk.crashed(Store.KEPT)
    assert made.what() == (7, b"tip 6"), "a commit that was not finished is gone"
    assert made.file.boot() == boot
    made.disk.crashed(Store.UNSYNCED_LOST)
    assert made.what()[0] == 5, "what was written is not synced"
    assert made.file.boot() != boot


def test_a_power_failure_leaves_what_was_synced_and_any_tip(cluster: Cluster) -> None:
    left: set[tuple[int, bytes | None]] = set()
    torn: set[tuple[int, bytes | None]] = set()
    for seed in range(40):
        for store, found in ((Store.UNSYNCED_LOST, left), (Store.TORN, torn)):
            made = Written(cluster)
            made.disk._rng.seed(seed)
            made.disk.crashed(store)
            found.add(made.what())
            assert made.disk.unsynced_lost == 6 - made.what()[0]
            assert made.disk.torn == (store is Store.TORN and made.what()[0] == 5)
    assert {count for count, _ in left} == {5}
    assert {count for count, _ in torn} == {5, 6}
    assert len({tip for _, tip in left}) == 6


def test_a_disk_does_one_thing_after_the_other(cluster: Cluster) -> None:
    made = Written(cluster, 10 * MS)
    worker = SimulatedWorker(made.disk, cluster.nodes[0].host.process)
    done: list[tuple[int, str]] = []
    begin = cluster.now_ns

    async def job(name: str, work: Callable[[], object]) -> None:
        try:
            await worker.run(work)
        except ZeroDivisionError:
            name += " failed"
        done.append((cluster.now_ns - begin, name))

    for name, work in (("first", made.commit), ("second", made.commit), ("wrong", lambda: 1 / 0), ("last", int)):
        cluster.spawn(0, functools.partial(job, name, work))
    cluster.run(0.03)
    assert done == [
        (10 * MS + 1, "first"),  # synced, and its tip
        (11 * MS + 2, "second"),
        (11 * MS + 2, "wrong failed"),
        (11 * MS + 2, "last"),
    ]


def test_a_peer_comes_back_with_its_backup(cluster: Cluster) -> None:
    for _ in range(10):
        cluster.send(1, b"something")
        cluster.run(0.02)
    crash = Crash(peer=1, until_ns=1, store="old", backup_ns=100 * MS)
    crash.begin(cluster)
    before = records(cluster, 1)
    crash.end(cluster)
    assert 0 < records(cluster, 1) < before


# -- links -----------------------------------------------------------------------------------------------


def test_what_is_held_comes_before_what_is_sent_later(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    links = [node.host.open_links for node in cluster.nodes]
    sender, receiver = links[0], links[1]
    assert sender is not None
    assert receiver is not None
    wire = sender._wires[1]
    got: list[bytes] = []
    plain = receiver._user.received

    def received(creator: int, frames: list[bytes]) -> None:
        if creator == 0:
            got.extend(frames)
        else:
            plain(creator, frames)

    monkeypatch.setattr(receiver._user, "received", received)
    cut = Cut(source=0, target=1)
    cluster.run(0.01)
    got.clear()
    cut.begin(cluster)
    sender._internet.send(wire, sender, [b"first"])
    cluster.run(0.01)
    assert b"first" not in got
    assert wire.in_flight[wire.ends.index(receiver)] >= len(b"first"), "it has not been read"
    sender._internet.send(wire, sender, [b"second"])
    cluster.run(0.001)
    cut.end(cluster)
    sender._internet.send(wire, sender, [b"third"])
    cluster.run(0.02)
    assert [frame for frame in got if frame in (b"first", b"second", b"third")] == [b"first", b"second", b"third"]
    assert cluster.internet.held >= 1


def test_what_is_not_read_counts_as_in_flight(cluster: Cluster) -> None:
    receiver = cluster.nodes[1].host.open_links
    assert receiver is not None
    receiver.pause()
    cluster.run(1.2)
    waiting = sum(wire.in_flight[wire.ends.index(receiver)] for wire in receiver.wires())
    assert waiting >= sum(len(frame) for _, _, packet in receiver._unread for frame in packet[0]) > 0
    receiver.resume()
    assert not receiver._unread
    assert sum(wire.in_flight[wire.ends.index(receiver)] for wire in receiver.wires()) < waiting


def test_a_join_leaves_what_others_cut(cluster: Cluster) -> None:
    cluster.partition((0,), (1,), how="hold", by="somebody")
    cluster.cut(2, 3, "drop")
    cluster.join((0, 2), (1,))
    assert set(cluster.internet.cut) == {(0, 1), (1, 0), (2, 3)}
    cluster.join((1,), (0,), by="somebody")
    assert set(cluster.internet.cut) == {(2, 3)}
    cluster.heal()
    assert not cluster.internet.cut


# -- unread messages -------------------------------------------------------------------------------------


def test_an_engine_stands_still_when_nobody_reads(core: str) -> None:
    scenario = dataclasses.replace(
        PLAIN,
        core=core,
        unread=16,
        heartbeat_us=50_000,
        faults=(DeafReader(peer=1, at_ns=20 * MS, until_ns=180 * MS),),
        load=Load(transactions=150),
    )
    outcome = simulate(scenario)
    assert outcome.ok, outcome.problem
    assert outcome.features["driver pauses"] > 0
    usual = simulate(dataclasses.replace(scenario, unread=None))
    assert usual.ok, usual.problem
    assert not usual.features["driver pauses"]


# -- what is drawn, and what is refused ------------------------------------------------------------------


def test_what_is_drawn_fits_together() -> None:
    backups = set()
    for number in range(300):
        scenario = draw(number, "beyond")
        for fault in scenario.faults:
            assert isinstance(fault, Cut | Partition) or not fault.whom & scenario.liar_creators
        twins = draw(number, "twins")
        assert twins.liars
        assert not twins.is_beyond
        for fault in draw(number, "chaos").faults:
            fault.check(13)
            if isinstance(fault, Crash) and fault.store == "old":
                assert 0 <= fault.backup_ns <= fault.at_ns
                backups.add(fault.backup_ns)
    assert len(backups) > 3
    assert not draw(1, "twins", kinds=("twin",)).faults
    assert draw(1, "twins", kinds=("twin", "partition")).faults


def test_nobody_else_loses_anything_before_a_peer_signs_again(cluster: Cluster) -> None:
    first = Crash(peer=1, until_ns=1, store="lost", joining=True, alone=True)
    second, any_time = dataclasses.replace(first, peer=2), Crash(peer=2, until_ns=1)
    cluster.send(0, b"something")
    cluster.run(0.05)
    first.begin(cluster)
    first.end(cluster)
    cluster.run(0.001)
    assert cluster.nodes[1].lacks_own
    second.begin(cluster)
    assert cluster.nodes[2].up
    any_time.begin(cluster)
    any_time.end(cluster)
    assert cluster.happened["fault crash"] == 2
    assert not cluster.nodes[2].lacks_own
    assert cluster.run_until(lambda: not cluster.nodes[1].lacks_own, 10)
    second.begin(cluster)
    assert not cluster.nodes[2].up


def test_who_rejoins_knows_what_it_lost_and_loses_it_alone() -> None:
    seen = set()
    for number in range(300):
        scenario = draw(number, "rejoin")
        scenario.check()
        assert Scenario.from_json(scenario.to_json()) == scenario
        assert scenario.unsure == scenario.forgetful
        assert not scenario.is_beyond
        losses = [fault for fault in scenario.faults if fault.forgets(scenario.durability)]
        for one, other in itertools.pairwise(losses):
            assert one.until_ns is not None
            assert other.at_ns - one.until_ns >= 60 * MS
        for fault in scenario.faults:
            if isinstance(fault, Cut):
                continue
            assert isinstance(fault, Crash)
            seen.add((fault.store, fault.traces, fault.joining))
        seen.add((scenario.durability, scenario.retain_rounds is None, bool(scenario.liars)))
    assert len(seen) == 3 + 2 * 3 + 2 + 6
    aged = Crash(peer=0, until_ns=1, store="old")
    unaware = Scenario(faults=(dataclasses.replace(aged, joining=True), aged))
    assert (unaware.forgetful, unaware.unsure) == ({0}, frozenset())


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"faults": (Crash(peer=4),)}, r"peers \[4\]"),
        ({"faults": (Partition(groups=((0,), (-1, 7))),)}, r"peers \[-1, 7\]"),
        ({"faults": (Crash(peer=0, store="burnt"),)}, "burnt"),
        ({"faults": (Crash(peer=0, at_ns=-1),)}, "before 0"),
        ({"faults": (Cut(source=0, target=1, how="reset"),)}, "hold, drop"),
        ({"faults": (Partition(groups=((0,), (1,)), one_way=True),)}, "hold, drop"),
        ({"faults": (Partition(groups=((0,), (1,)), how="burn"),)}, "reset, hold, drop"),
        ({"faults": (Crash(peer=0, resumes=1.5),)}, "resumes"),
        ({"core": "steel"}, "steel"),
        ({"durability": "stone"}, "stone"),
        ({"retain_rounds": -1}, "retain_rounds -1"),
        ({"unread": 0}, "unread 0"),
        ({"duration_ns": 0}, "duration_ns 0"),
    ],
)
def test_a_scenario_that_cannot_be_is_refused(changes: dict[str, object], what: str) -> None:
    with pytest.raises(ArgumentError, match=what):
        dataclasses.replace(PLAIN, **changes).check()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--profile", "twins", "--peers", "3"], "give 4 to 128"),
        (["--profile", "beyond", "--peers", "1"], "give 2 to 128"),
        (["--peers", "0"], "give 1 to 128"),
        (["--peers", "-1"], "give 1 to 128"),
        (["--size", "0"], "size 0"),
        (["--size", "nan"], "size nan"),
        (["--profile", "crowd", "--size", "0.001"], "size 0.001"),
    ],
)
def test_misuse_is_told(arguments: list[str], what: str) -> None:
    result = CliRunner().invoke(app, ["simulate", "--core", "python", *arguments])
    assert result.exit_code == 2
    assert what in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("profile", "peers"),
    [("lan", 1), ("crowd", 1), ("wan", 1), ("chaos", 1), ("beyond", 2), ("kills", 4), ("rejoin", 4)],
)
def test_the_smallest_can_be_drawn(profile: str, peers: int) -> None:
    for number in range(20):
        draw(number, profile, peers=peers, size=0.01).check()


def test_a_cluster_refuses_what_cannot_be(cluster: Cluster) -> None:
    cluster.crash(1)
    with pytest.raises(ArgumentError, match="peer 1 is not running"):
        cluster.send(1, b"to the dead")
    with pytest.raises(ArgumentError, match="peer 1 is not running"):
        cluster.crash(1)
    with pytest.raises(ArgumentError, match="peer 0 is running"):
        cluster.restart(0)
    with pytest.raises(ArgumentError, match="running already"):
        cluster.start(0)
    with pytest.raises(ArgumentError, match="both sides"):
        cluster.partition((0,), (2,), one_way=True)
    with pytest.raises(ArgumentError, match="how='burn'"):
        cluster.cut(0, 2, "burn")
    with pytest.raises(ArgumentError, match="core='steel'"):
        Cluster(1, core="steel")


def test_nobody_honest_is_nobody_started() -> None:
    liars = tuple(LiarSpec(kind="junk", creator=creator) for creator in range(2))
    simulation = Simulation(dataclasses.replace(PLAIN, peers=2, liars=liars, patience_ns=MS))
    simulation.run()
    assert not any(node.up for node in simulation.cluster.nodes)


# -- what counts -----------------------------------------------------------------------------------------


def test_what_had_no_effect_does_not_count() -> None:
    late = 190 * MS
    scenario = dataclasses.replace(
        PLAIN,
        load=Load(transactions=0),
        faults=(
            CrashWhenFinal(peer=0, at_ns=MS, until_ns=late),
            Cut(source=1, target=2, how="drop", at_ns=50 * MS, until_ns=late),
        ),
        liars=(LiarSpec(kind="junk", creator=3, begin_ns=3_600_000 * MS),),
    )
    counts = simulate(scenario).features
    assert not counts.get("fault crash_when_final")
    assert not counts["liar junk"]
    assert counts["fault cut"] == 1
    assert counts["packets cut"] > 0


@pytest.mark.parametrize(
    ("profile", "wanted"),
    [
        ("twins", ["forks seen", "liar twin", "fault partition"]),
        ("beyond", ["forks seen"]),
        ("lan", []),
        ("kills", ["fault crash_when_final"]),
        (
            "rejoin",
            ["restarts of all peers", "stores unsynced", "stores torn", "probes"]
            + [f"restarts {store}" for store in Store],
        ),
    ],
)
def test_other_profiles_have_minimums_of_their_own(profile: str, wanted: list[str]) -> None:
    campaign = Campaign(Settings(profile=profile), done=1_000)
    assert [line.partition(":")[0] for line in missing(campaign)] == wanted


def test_failures_are_alike_whenever_they_happen() -> None:
    told = Outcome(scenario=PLAIN, problem=None, digest="", deliveries=0, ordered=0, virtual_ns=0)
    assert _checker(told) is None
    early = dataclasses.replace(told, problem="Agreement at 0.012 s, peer 1: index 3 differs")
    late = dataclasses.replace(told, problem="Agreement at 1.345 s, peer 2: index 99 differs")
    assert _checker(early) == _checker(late) == "Agreement"
