"""The latency laboratory measures what the rules promise, and no schedule of delays stops what they promise."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from syncpoint.core import wire
from syncpoint.core.committee import Committee
from syncpoint.core.config import Network
from syncpoint.core.values import Event
from syncpoint.errors import ArgumentError
from syncpoint.testing import laboratory, order_dag
from syncpoint.testing.baseline import led, one_leader
from syncpoint.testing.cluster import Cluster, Node
from syncpoint.testing.delays import Delays
from syncpoint.testing.internet import Wire
from syncpoint.testing.laboratory import (
    HEADINGS,
    LOCKSTEP,
    OWN_PACE,
    SAME_GRAPH,
    SYNCPOINT,
    Latency,
    led_latency,
    measure,
    observe,
    run_laboratory,
    spread,
    table,
)
from syncpoint.testing.plot import plot
from syncpoint.testing.regions import REGIONS, one_way_ns, wan
from syncpoint.testing.transport import SimulatedLinks

MS = 1_000_000
PROMISES = [("two_step", "fast", 2), ("two_step", "fair", 3), ("three_step", "fast", 3), ("three_step", "fair", 4)]


# -- lockstep -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "order", "delays"), PROMISES)
def test_an_event_is_final_after_the_delays_that_the_rules_promise(
    core: str, rule: str, order: str, delays: int
) -> None:
    latency = measure(4, rule, order, core=core)
    assert latency.mean_delays == pytest.approx(delays, abs=0.1)
    assert latency.in_delays(latency.max_ns) == pytest.approx(delays, abs=0.1)
    assert latency.round_ns == pytest.approx(LOCKSTEP.low_ns, rel=0.01)  # sent at the pace of the rounds
    assert latency.samples == 4 * latency.events == 4 * 4 * 20  # every event at every peer, none left out


@pytest.mark.parametrize(("rule", "order", "delays"), PROMISES)
def test_ten_peers_need_no_more_delays_than_four(rule: str, order: str, delays: int) -> None:
    latency = measure(10, rule, order)
    assert latency.mean_delays == pytest.approx(delays, abs=0.1)
    assert latency.in_delays(latency.max_ns) == pytest.approx(delays, abs=0.1)


@pytest.mark.parametrize("death", ["never started", "crash", "power"])
@pytest.mark.parametrize(("rule", "order", "delays"), PROMISES)
def test_dead_peers_cost_the_two_step_rule_a_delay_and_the_three_step_rule_none(
    rule: str, order: str, delays: int, death: str
) -> None:
    latency = measure(4, rule, order, dead=1, death=death)
    assert latency.mean_delays == pytest.approx(delays + (rule == "two_step"), abs=0.1)
    assert latency.samples == 3 * latency.events == 3 * 3 * 20


def test_the_fast_path_takes_one_missing_peer_and_no_more() -> None:
    """With p = 1 (n = 4, 10) one may be missing; what is waited for then is to see that its slot is empty (D8)."""
    one, three = (observe(10, "two_step", "fast", dead=dead).status for dead in (1, 3))
    assert one.commits[1:] == (0, 0)
    assert three.commits[1] > 7 * 80  # 7 peers, all rounds since the others died


def test_a_seed_says_it_all() -> None:
    first, same, other = (measure(4, delays=wan(0.2), seed=seed) for seed in (1, 1, 2))
    assert first == same != other


# -- a wide area ----------------------------------------------------------------------------------------


def test_the_matrix_is_whole() -> None:
    matrix = one_way_ns()
    assert len(matrix) == len(REGIONS) == len(set(REGIONS)) == 10
    assert all(matrix[i][j] == matrix[j][i] for i in range(10) for j in range(10))
    pairs = sorted(matrix[i][j] for i, j in itertools.combinations(range(10), 2))
    assert (pairs[0], pairs[-1]) == (9_450_000, 166_950_000)
    assert all(matrix[i][i] < pairs[0] for i in range(10))
    assert wan(0.0).draw(random.Random(0), 0, 19) == matrix[0][9]  # further peers begin again


def test_over_ten_regions_the_same_holds_in_milliseconds() -> None:
    fast, fair = (
        observe(10, "two_step", order, delays=wan(), rounds=10, graph=order == "fast") for order in ("fast", "fair")
    )
    widest = 333.9 / 2
    assert widest < fast.latency.mean_ns / MS < 2 * widest < fast.latency.p99_ns / MS < 3 * widest
    assert fast.latency.round_ns / MS == pytest.approx(widest, rel=0.05)  # everybody is waited for (P4)
    assert fair.latency.mean_ns - fast.latency.mean_ns == pytest.approx(fast.latency.round_ns, rel=0.1)
    assert fast.latency.mean_ns < fast.one_leader().mean_ns
    with pytest.raises(ArgumentError, match="not all equal"):
        _ = fast.latency.mean_delays


# -- the model of one leader a round ----------------------------------------------------------------------


@pytest.mark.parametrize("dead", [(), (1, 5, 8)])
def test_the_model_delivers_with_the_next_leader_that_lives(dead: tuple[int, ...]) -> None:
    seen = observe(10, "three_step", "fast", dead=dead, graph=True)
    assert seen.graph is not None
    committee = Committee(10, None, seen.graph.epoch_id)
    expected = []
    for round, creator in itertools.product(seen.window, seen.living):
        leading = round if committee.primary(round) == creator else round + 1
        leading = next(later for later in itertools.count(leading) if committee.primary(later) not in dead)
        expected += [(leading - round + 3) * LOCKSTEP.low_ns] * len(seen.living)
    assert sorted(one_leader(seen.graph, seen.window)) == pytest.approx(sorted(expected), abs=1000)
    if not dead:
        assert seen.one_leader().mean_delays == pytest.approx(3.9, abs=0.05)  # (3 + 9 * 4) / 10


def test_at_its_own_pace_the_model_makes_the_same_graph_where_all_delays_are_equal() -> None:
    graph = led(4, LOCKSTEP, 0, 30)
    assert all(vertex.created_ns == (vertex.round - 1) * LOCKSTEP.low_ns for vertex in graph.vertices)
    assert all(len(vertex.strong) == 4 for vertex in graph.vertices if vertex.round > 1)
    assert led_latency(4, delays=LOCKSTEP).mean_delays == pytest.approx(3.75, abs=0.25)  # leaders are drawn
    assert led_latency(10, delays=wan(), rounds=10).round_ns < one_way_ns()[6][9]


def test_a_graph_that_ends_too_soon_is_refused() -> None:
    with pytest.raises(AssertionError, match="too soon"):
        one_leader(led(4, LOCKSTEP, 0, 30), range(5, 31))


# -- schedules that stop protocols which leave rounds out (LiDO-DAG) ----------------------------------------

DELTA, EPS = 100 * MS, 5 * MS
Slow = Callable[[int, int], bool]  # (round, to): whether an event of this round takes DELTA to a peer


class Scheduled:
    """A cluster under load in which whoever designs the schedule says how long each event takes to whom."""

    def __init__(self, n: int, rule: str, liars: int, *, ordered: bool) -> None:
        """The last `liars` peers never name the primary's event; `ordered` links keep the order of frames."""
        delays = Delays(kind="fixed", low_ns=EPS)
        # How many rounds a schedule hits follows from the row of primaries, and so from the name: for others 14 to 32.
        self.cluster = Cluster(n, seed=1, network=Network(rule=rule, name="net9"), delays=delays)
        self.honest = range(n - liars)
        self.slow: Slow = lambda round, to: False
        self.made: dict[int, dict[int, int]] = defaultdict(dict)  # round -> creator -> ns
        self.arrives: dict[tuple[int, int], list[int]] = defaultdict(list)  # (round, to) -> ns
        self.final: dict[int, list[int]] = defaultdict(list)  # round -> ns from creation to a peer
        self.closed: list[dict[int, int]] = [{} for _ in range(n)]  # peer -> rounds closed -> ns, since when
        self.ordered = ordered
        self._events: dict[bytes, Event] = {}
        self._committee: Committee | None = None
        cluster = self.cluster
        cluster.internet.send = self._send  # type: ignore[method-assign]
        cluster.internet.watch = self._watch
        cluster.received = lambda _, message: self.final[message.round].append(self.now - message.created_at)
        cluster.stepped = self._stepped
        wrap = cluster._watch
        cluster._watch = lambda node, machine: wrap(node, self._lying(node, machine))  # type: ignore
        for node in cluster.nodes[n - liars :]:
            node.core = "python"

    @property
    def now(self) -> int:
        return self.cluster.loop.now_ns

    @property
    def committee(self) -> Committee:
        if self._committee is None:
            links = self.cluster.nodes[0].host.open_links
            assert links is not None
            self._committee = Committee(self.cluster.n, None, links.settings.epoch_id)
        return self._committee

    def begin(self, slow: Slow) -> int:
        """Link up, make 20 rounds in peace, and begin with the schedule; the round at which it begins."""
        cluster = self.cluster
        cluster.start()
        assert cluster.run_until(lambda: all(self._linked(node) for node in cluster.nodes))
        for number in range(cluster.n):
            cluster.send(number, b"load")
        self.run_to(20)
        self.slow = slow
        return max(self.made) + 1

    def run_to(self, round: int) -> None:
        assert self.cluster.run_until(lambda: len(self.made[round]) == self.cluster.n, 600), "it stands still"

    def overtaken(self, first: int, last: int) -> int:
        """How many events were made after a quorum of their round was here: whoever may would have jumped."""
        q = self.committee.q
        return sum(
            len(times := sorted(self.arrives[round, creator])) >= q and times[q - 1] <= at
            for round in range(first, last)
            for creator, at in self.made[round].items()
        )

    def withheld(self, first: int, last: int) -> int:
        """How many events of liars do not vote for the primary."""
        return sum(
            event.creator not in self.honest
            and all(
                parent[:2] != (self.committee.primary(event.round - 1), event.round - 1) for parent in event.parents
            )
            for event in self._events.values()
            if first < event.round <= last
        )

    def longest_wait(self, since: int) -> int:
        """The longest time in which an honest peer closed no round."""
        return max(
            after - before
            for peer in self.honest
            for before, after in itertools.pairwise(at for at in self.closed[peer].values() if at >= since)
        )

    def _linked(self, node: Node) -> bool:
        status = node.status()
        return status is not None and len(status.linked) == self.cluster.n - 1

    def _event(self, frame: bytes) -> Event | None:
        if frame[0] != wire.FrameType.EVENT:
            return None
        if frame not in self._events:
            event = wire.decode_event(frame, self.committee.epoch_id, self.cluster.network)
            assert isinstance(event, Event)
            self._events[frame] = event
        return self._events[frame]

    def _send(self, connection: Wire, source: SimulatedLinks, frames: list[bytes]) -> None:
        target = connection.other(source)
        side = 0 if connection.ends[0] is target else 1
        for frame in frames:
            event = self._event(frame)
            late = event is not None and self.slow(event.round, target.host)
            at = self.now + (DELTA if late else EPS)
            if self.ordered:
                at = connection.arrives[side] = max(at, connection.arrives[side])
            if event is not None:
                self.arrives[event.round, target.host].append(at)
            connection.in_flight[side] += len(frame)
            self.cluster.loop.put(at, target.context, target.arrived, connection, side, [frame], True)

    def _watch(self, host: int, frame: bytes) -> None:
        event = self._event(frame)
        if event is not None:
            self.made[event.round][event.creator] = self.now
            self.cluster.send(host, b"load")

    def _stepped(self, node: Node, *_: object) -> None:
        status = node.status()
        assert status is not None
        self.closed[node.number].setdefault(status.closed_round, self.now)

    def _lying(self, node: Node, machine: object) -> object:
        """The same machine, but one that leaves the primary out of the parents wherever a quorum is left."""
        if node.number in self.honest:
            return machine
        proposer = machine.replica.proposer  # type: ignore[attr-defined]
        choose = proposer._strong

        def strong(round: int, left_out: int) -> object:
            chosen = choose(round, left_out)
            primary = self.committee.primary(round) if round else node.number
            others = [each for each in chosen or () if each.creator != primary]
            return others if primary != node.number and len(others) >= self.committee.q else chosen

        proposer._strong = strong
        return machine


# A round closes at least so often, and an event is final after so long. With nothing against it that takes four delays
# (three_step, fair); here a round waits now and then until its timeout, two or three delays. The longest seen was 14.
LONGEST = 24 * DELTA
ROUNDS = 40


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("rule", ["two_step", "three_step"])
@pytest.mark.parametrize("n", [4, 7])
def test_delays_that_make_every_primary_late_do_not_stop_decisions(n: int, rule: str, ordered: bool) -> None:
    """Schedule A: what the primary of a round needs for its event comes so late that the others are ahead."""
    run = Scheduled(n, rule, 0, ordered=ordered)
    with run.cluster:
        first = run.begin(lambda round, to: to == run.committee.primary(round + 1))
        since = run.now
        run.run_to(first + ROUNDS)
        assert run.overtaken(first, first + ROUNDS) >= ROUNDS // 2  # the schedule does what it is to do
        _went_on(run, first, since)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("rule", ["two_step", "three_step"])
def test_liars_that_leave_primaries_out_and_one_late_voter_do_not_stop_decisions(rule: str, ordered: bool) -> None:
    """Schedule B: f liars do not vote for the primary, and the last vote that it needs comes late each time."""
    run = Scheduled(7, rule, 2, ordered=ordered)
    with run.cluster:
        first = run.begin(lambda round, to: to == late_voter(run.committee, run.honest, round + 1))
        since = run.now
        run.run_to(first + ROUNDS)
        assert run.overtaken(first, first + ROUNDS) >= ROUNDS // 2
        assert run.withheld(first, first + ROUNDS) >= ROUNDS
        _went_on(run, first, since)


def late_voter(committee: Committee, honest: range, round: int) -> int:
    others = [number for number in honest if number != committee.primary(round)]
    return others[round % len(others)]


def _went_on(run: Scheduled, first: int, since: int) -> None:
    n = run.cluster.n
    assert run.longest_wait(since) <= LONGEST
    for round in range(first, first + ROUNDS):
        assert len(run.made[round]) == n, "somebody left a round out"
    for round in range(first, first + ROUNDS - 10):
        assert len(run.final[round]) == n * n, f"round {round} is not final everywhere"
        assert max(run.final[round]) <= LONGEST


@pytest.mark.parametrize("n", [7, 10])
def test_the_same_schedule_would_stop_peers_that_leave_rounds_out(n: int) -> None:
    """Schedule B as a graph: the late voter jumps over its round, and no primary is ever decided (why there is P1)."""
    f, epoch = (n - 1) // 3, bytes(32)
    committee = Committee(n, None, epoch)
    honest = range(n - f)
    newest: dict[int, str] = {}
    row: dict[int, str] = {}
    events = []
    for round in range(1, 41):
        below, row = row, {}
        primary, jumper = committee.primary(round - 1), late_voter(committee, honest, round)
        # Liars do not vote for the primary. One that is the primary itself votes for itself (V4), but has sent its
        # event too late to one of the honest.
        missed = {creator: primary for creator in range(n - f, n) if creator != primary}
        if primary not in honest:
            missed[next(creator for creator in honest if creator != jumper)] = primary
        for creator in range(n):
            if creator == jumper:
                continue
            parents = [id for other, id in below.items() if other != missed.get(creator)]
            assert round == 1 or len(parents) >= committee.q  # V2
            if creator not in below and creator in newest:
                parents.append(newest[creator])
            row[creator] = f"{round:032x}{creator:032x}"
            events.append(
                {"id": row[creator], "creator": creator, "round": round, "created_at": round, "parents": parents}
            )
        newest |= row
    outcome = order_dag({"n": n, "epoch_id": epoch.hex(), "gc_depth": 200, "events": events})
    for rule in ("two_step", "three_step"):
        slots = outcome[rule]["slots"]
        assert {slots[f"{round}/{committee.primary(round)}"] for round in range(1, 39)} == {"undecided"}
        assert not outcome[rule]["fast"]


# -- rows, table, plot, arguments -----------------------------------------------------------------------


def test_the_laboratory_gives_rows_a_table_and_a_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = run_laboratory("lockstep", [4], seed=3)
    assert [(row.protocol, row.dead) for row in rows] == [(SYNCPOINT, 0)] * 4 + [(SAME_GRAPH, 0)] + [
        (SYNCPOINT, 1)
    ] * 4 + [(SAME_GRAPH, 1)]
    assert all(len(row.cells()) == len(HEADINGS) for row in rows)
    lines = table(rows).splitlines()
    assert lines[2] == "| 4 | two_step | fast | none | 2.00 | 2.00 | 2.00 | 100 | 100 | 100 |"
    assert len(lines) == 2 + len(rows)
    with monkeypatch.context() as without:
        without.setitem(__import__("sys").modules, "matplotlib", None)
        with pytest.raises(ArgumentError, match=r"syncpoint\[plots\]"):
            plot(rows, tmp_path / "a.png")
    with pytest.raises(ArgumentError, match=r"\.svg"):
        plot(rows, tmp_path / "a.pdf")
    with pytest.raises(ArgumentError, match="no rows"):
        plot([], tmp_path / "a.svg")
    pytest.importorskip("matplotlib")
    plot(rows, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    for name in ("a.svg", "b.svg"):
        plot(rows, tmp_path / name)
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_the_wide_area_has_all_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laboratory, "WAN_ROUNDS", 5)
    rows = run_laboratory("wan", [4])
    assert [row.faults for row in rows] == ["jitter 0.05"] * 6 + ["jitter 0.2"] * 6 + ["jitter 0.05, 1 dead"] * 6
    assert [row.protocol for row in rows[:6]] == [SYNCPOINT] * 4 + [SAME_GRAPH, OWN_PACE]
    assert rows[0].cells()[4:7] == ("", "", "")


def test_percentiles_are_samples() -> None:
    latency = Latency.of(range(1, 101), 10)
    assert (latency.p50_ns, latency.p90_ns, latency.p99_ns, latency.max_ns) == (50, 90, 99, 100)
    assert Latency.of([7], 1).p50_ns == Latency.of([7], 1).max_ns == 7


def test_the_dead_are_spread() -> None:
    assert spread(10, 3) == (1, 5, 8)
    assert spread(4, 1) == (2,)
    assert spread(10, 0) == ()


@pytest.mark.parametrize(("call", "what"), [
    (lambda: measure(4, dead=2), "dead=2"),
    (lambda: measure(4, dead=[9]), "dead="),
    (lambda: measure(1), "1 peers"),
    (lambda: led_latency(4, delays=LOCKSTEP, dead=2), "dead=2"),
    (lambda: measure(4, death="gentle"), "death="),
    (lambda: observe(4, rounds=1).one_leader(), "graph=True"),
    (lambda: measure(4, rounds=0), "rounds=0"),
    (lambda: run_laboratory("moon", [4]), "profile"),
    (lambda: wan(-1.0), "sigma"),
])  # fmt: skip
def test_what_cannot_be_measured_is_misuse(call: Callable[[], object], what: str) -> None:
    with pytest.raises(ArgumentError, match=what):
        call()
