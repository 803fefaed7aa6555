"""The latency laboratory: how long it takes from an event's creation until it is final at every peer.

Whole clusters run on virtual time (`Cluster`): engines and cores of production, and a network whose delays are known
exactly. Computing takes no time, links have no limit of bytes per second, and disks are durable at once. What is left
is what the rules and the pace cost in message delays.

**What is measured.** For each event of a window of rounds, and for each living peer: the time from the event's
`created_at` to the moment when that peer's application receives it. The window begins after a warm-up, and the run goes
on until all of its events have been received everywhere; so no slow one is left out. The network is never idle: each
peer gets a transaction right after each of its events. How long a transaction waits for its event is not part of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..core import wire
from ..core.config import MAX_PEERS, ORDERS, RULES, Network
from ..core.error import Reject
from ..core.input import Input, Received
from ..core.output import Output
from ..core.status import Status
from ..errors import ArgumentError
from ..message import Event, Message
from .baseline import Graph, Vertex, led, one_leader
from .cluster import Cluster, Node
from .delays import Delays
from .loop import BEGIN_NS
from .regions import wan

__all__ = [
    "HEADINGS", "LOCKSTEP", "OWN_PACE", "PROFILES", "SAME_GRAPH", "SYNCPOINT", "Latency", "Observation", "Row",
    "led_latency", "measure", "observe", "run_laboratory", "spread", "table",
]  # fmt: skip

MS = 1_000_000
DELTA_NS = 50 * MS
PROFILES = ("lockstep", "wan")
SYNCPOINT, SAME_GRAPH, OWN_PACE = "syncpoint", "one leader, same graph", "one leader, own pace"
HEADINGS = ("n", "rule", "order", "faults", "mean, δ", "p50, δ", "p99, δ", "mean, ms", "p50, ms", "p99, ms")
LOCKSTEP = Delays(kind="fixed", low_ns=DELTA_NS)
"""Every packet takes 50 ms: 50 times the least interval between two events of a peer, so that delays set the pace."""

DEATHS = ("never started", "crash", "power")
LINKS_S = 120.0  # until all links are up
ROUND_S = 20.0  # for each round, until we give up
PATIENCE = 100  # rounds after the window, in which all must be final
SETTLING = 60  # rounds between the deaths and the window: four times what timers look back
MODELLED = ("three_step", "fast")  # the rule and order that come nearest to the model's
LOCKSTEP_ROUNDS, WAN_ROUNDS = 20, 100  # measured by `run_laboratory`
MARGIN = 24  # rounds made after the window, for what another protocol decides later than we do
TRANSACTION = bytes(64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """The distribution of times to finality; all in ns."""

    events: int
    """Events in the window."""

    samples: int
    """Pairs of an event and a peer, its creator among them."""

    mean_ns: float
    p50_ns: int
    p90_ns: int
    p99_ns: int
    max_ns: int

    delta_ns: int | None = None
    """One message delay, where all are equal."""

    round_ns: float = 0.0
    """From one round to the next, in the mean."""

    @classmethod
    def of(cls, samples: Sequence[int], events: int, delta_ns: int | None = None, round_ns: float = 0.0) -> Latency:
        """The distribution of samples, of which there is one at least."""
        ordered = sorted(samples)

        def percentile(percent: int) -> int:
            """The least sample that at least so many percent are not above."""
            return ordered[math.ceil(len(ordered) * percent / 100) - 1]

        return cls(
            events=events,
            samples=len(ordered),
            mean_ns=sum(ordered) / len(ordered),
            p50_ns=percentile(50),
            p90_ns=percentile(90),
            p99_ns=percentile(99),
            max_ns=ordered[-1],
            delta_ns=delta_ns,
            round_ns=round_ns,
        )

    def in_delays(self, ns: float) -> float:
        """A time in message delays; ArgumentError where they are not all equal."""
        if self.delta_ns is None:
            raise ArgumentError("these delays are not all equal: there is no one message delay to count in")
        return ns / self.delta_ns

    @property
    def mean_delays(self) -> float:
        """The mean in message delays."""
        return self.in_delays(self.mean_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was seen of one run."""

    latency: Latency
    graph: Graph | None
    """All events and when they arrived where, if that was asked for."""
    window: range
    """The rounds whose events were measured."""
    living: tuple[int, ...]
    status: Status
    """Of the first living peer, at the end: by what slots were decided, and how long it waits."""

    def one_leader(self) -> Latency:
        """What a decision by one leader a round would have made of the same graph: a model; see `baseline`."""
        if self.graph is None:
            raise ArgumentError("the graph of this run was not recorded: observe(..., graph=True)")
        samples = one_leader(self.graph, self.window)
        return Latency.of(samples, self.latency.events, self.latency.delta_ns, self.latency.round_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the laboratory's table."""

    profile: str
    protocol: str  # SYNCPOINT, or one of the models SAME_GRAPH and OWN_PACE
    n: int
    dead: int
    rule: str  # of the run, also where a model looks at it
    order: str
    sigma: float  # of the jitter; 0.0: the same delay for every packet of a link
    core: str
    seed: int
    latency: Latency

    @property
    def faults(self) -> str:
        """What is wrong with the network."""
        jitter = f"jitter {self.sigma:g}" if self.sigma else ""
        return ", ".join(filter(None, (jitter, f"{self.dead} dead" if self.dead else ""))) or "none"

    def cells(self) -> tuple[str, ...]:
        """As text, one for each of `HEADINGS`; message delays only where they are all equal."""
        latency = self.latency
        times = (latency.mean_ns, latency.p50_ns, latency.p99_ns)
        delays = [f"{latency.in_delays(ns):.2f}" if latency.delta_ns else "" for ns in times]
        names = (self.rule, self.order) if self.protocol == SYNCPOINT else self.protocol.split(", ")
        return (str(self.n), *names, self.faults, *delays, *(f"{ns / MS:.0f}" for ns in times))


def spread(n: int, count: int) -> tuple[int, ...]:
    """So many of n peers, spread evenly, so that no part of the world dies as a whole."""
    return tuple((2 * number + 1) * n // (2 * count) for number in range(count))


def measure(
    n: int,
    rule: str = "two_step",
    order: str = "fair",
    *,
    delays: Delays = LOCKSTEP,
    seed: int = 0,
    core: str = "auto",
    dead: int | Sequence[int] = 0,
    death: str = "crash",
    warm_up: int = 30,
    rounds: int = 20,
) -> Latency:
    """Times to finality of n peers under a rule and an order; see `observe`."""
    return observe(
        n, rule, order, delays=delays, seed=seed, core=core, dead=dead, death=death, warm_up=warm_up, rounds=rounds
    ).latency  # fmt: skip


def observe(
    n: int,
    rule: str = "two_step",
    order: str = "fair",
    *,
    delays: Delays = LOCKSTEP,
    seed: int = 0,
    core: str = "auto",
    dead: int | Sequence[int] = 0,
    death: str = "crash",
    warm_up: int = 30,
    rounds: int = 20,
    graph: bool = False,
) -> Observation:
    """Run n peers, and measure the events of `rounds` rounds.

    `dead` are peers that do not live, or how many, spread evenly; at most f. `death` is "never started", "crash" (the
    process dies during the warm-up, and its links break) or "power" (nobody is told). `warm_up` is in rounds; with dead
    peers it is followed by 60 more, in which the others forget them. `graph` records all events.
    """
    numbers = _numbers(n, dead)
    if death not in DEATHS:
        raise ArgumentError(f"death={death!r}: give one of {', '.join(DEATHS)}")
    if warm_up < 1 or rounds < 1:
        raise ArgumentError(f"warm_up={warm_up}, rounds={rounds}: give at least one round of each")
    with Cluster(n, seed=seed, core=core, network=Network(rule=rule, order=order), delays=delays) as cluster:
        return _Run(cluster, numbers, graph).run(death, warm_up, rounds)


def led_latency(
    n: int, *, delays: Delays, seed: int = 0, dead: int | Sequence[int] = 0, warm_up: int = 30, rounds: int = 20
) -> Latency:
    """What one leader a round would need at its own pace: a model, no engine; see `baseline.led`."""
    graph = led(n, delays, seed, warm_up + rounds + MARGIN, _numbers(n, dead))
    window = range(warm_up + 1, warm_up + rounds + 1)
    return _latency(one_leader(graph, window), graph.vertices, window, delays)


def run_laboratory(profile: str, peers: Sequence[int], core: str = "auto", seed: int = 0) -> list[Row]:
    """All that a profile measures, for each number of peers; what the command line and the documents show.

    "lockstep": every packet takes the same time; all peers alive, and f of them dead. "wan": one peer in each of ten
    regions and so on in a circle, with jitter; all peers alive, and f of them dead. Both rules, both orders, and the
    model of one leader a round: on the graph of the run with three_step and fast, and at its own pace.
    """
    if profile not in PROFILES:
        raise ArgumentError(f"profile {profile!r}: give one of {', '.join(PROFILES)}")
    return [row for n in peers for row in _rows(profile, n, core, seed)]


def table(rows: Sequence[Row]) -> str:
    """Rows as a table in Markdown."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *(row.cells() for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _numbers(n: int, dead: int | Sequence[int]) -> tuple[int, ...]:
    """The peers that do not live, when n and they are what can be measured."""
    if not 2 <= n <= MAX_PEERS:
        raise ArgumentError(f"a laboratory of {n} peers: give 2 to {MAX_PEERS}; one alone sends nothing")
    numbers = spread(n, dead) if isinstance(dead, int) else tuple(sorted(set(dead)))
    most = (n - 1) // 3
    if len(numbers) > most or not all(0 <= number < n for number in numbers):
        raise ArgumentError(f"dead={dead!r}: give at most {most} of the peers 0 to {n - 1}")
    return numbers


def _rows(profile: str, n: int, core: str, seed: int) -> Iterator[Row]:
    f = (n - 1) // 3
    lockstep = profile == "lockstep"
    cases = [(0.0, 0)] if lockstep else [(0.05, 0), (0.2, 0)]
    if f:
        cases.append((cases[0][0], f))
    for sigma, dead in cases:
        delays, rounds = (LOCKSTEP, LOCKSTEP_ROUNDS) if lockstep else (wan(sigma), WAN_ROUNDS)

        def row(protocol: str, rule: str, order: str, latency: Latency, sigma: float = sigma, dead: int = dead) -> Row:
            return Row(
                profile=profile, protocol=protocol, n=n, dead=dead, rule=rule, order=order, sigma=sigma, core=core,
                seed=seed, latency=latency,
            )  # fmt: skip

        for rule in RULES:
            for order in reversed(ORDERS):
                modelled = (rule, order) == MODELLED
                seen = observe(
                    n, rule, order, delays=delays, seed=seed, core=core, dead=dead, rounds=rounds, graph=modelled
                )  # fmt: skip
                yield row(SYNCPOINT, rule, order, seen.latency)
                if modelled:
                    same_graph = row(SAME_GRAPH, rule, order, seen.one_leader())
        yield same_graph
        if not lockstep:  # where all delays are equal, its graph is ours
            yield row(OWN_PACE, *MODELLED, led_latency(n, delays=delays, seed=seed, dead=dead, rounds=rounds))


class _Run:
    """One cluster under load, and what is written down of it."""

    def __init__(self, cluster: Cluster, dead: tuple[int, ...], graph: bool) -> None:
        self.cluster = cluster
        self.dead = dead
        self.living = tuple(number for number in range(cluster.n) if number not in dead)
        self.made: dict[int, dict[int, Vertex]] = {}  # round -> creator -> event
        self.times: dict[tuple[int, int], list[int]] = {}  # (round, creator) -> ns, one for each living peer
        self.window = range(0)
        self.complete = 0  # events of the window that are received everywhere
        self.loaded = False
        self.graph = Graph(cluster.n, []) if graph else None
        self._creators = {peer.public: creator for creator, peer in enumerate(cluster.peers)}
        self._vertices: dict[bytes, Vertex] = {}
        self._frames: dict[bytes, Vertex] = {}
        self._epoch_id = b""
        cluster.received = self._received
        cluster.internet.watch = self._broadcast
        if graph:
            cluster.stepped = self._stepped

    def run(self, death: str, warm_up: int, rounds: int) -> Observation:
        """Warm up, let die who is to, and measure."""
        cluster, unborn = self.cluster, self.dead if death == "never started" else ()
        started = [number for number in range(cluster.n) if number not in unborn]
        cluster.start(*started)
        linked = len(started) - 1
        up = cluster.run_until(lambda: all(self._linked(number) >= linked for number in started), LINKS_S)
        assert up, "the links are not all up"
        self.loaded = True
        for number in started:
            cluster.send(number, TRANSACTION)
        self._until_round(warm_up, started)
        if self.dead:
            if not unborn:
                for number in self.dead:
                    cluster.crash(number, silent=death == "power")
            self._until_round(max(self.made) + SETTLING, self.living)
        first = max(self.made) + 1
        self.window = range(first, first + rounds)
        self._until_final()
        if self.graph is not None:
            self._until_round(first + rounds + MARGIN, self.living)
        return self._observation()

    # -- waiting ------------------------------------------------------------------------------------

    def _linked(self, number: int) -> int:
        status = self.cluster.nodes[number].status()
        return -1 if status is None else len(status.linked)

    def _until_round(self, round: int, peers: Sequence[int]) -> None:
        """Run until all of these have made their event of a round."""
        before = len(self.made)
        done = self.cluster.run_until(lambda: self._all_made(round, peers), ROUND_S * (round - before + 1))
        assert done, f"round {round} is not there: rounds take longer than {ROUND_S} s"

    def _until_final(self) -> None:
        """Run until all events of the window are received everywhere."""
        expected = len(self.window) * len(self.living)
        self.cluster.run_until(
            lambda: self.complete == expected or max(self.made) > self.window.stop + PATIENCE,
            ROUND_S * (len(self.window) + 1),
        )
        events = [(round, creator) for round in self.window for creator in self.made.get(round, ())]
        assert self.complete == expected, f"only {self.complete} of {expected} events are final everywhere"
        assert all(creator in self.living for _, creator in events), "a dead peer made an event"
        assert len(events) == expected, "somebody left a round out"

    def _all_made(self, round: int, peers: Sequence[int]) -> bool:
        made = self.made.get(round, {})
        return len(made) >= len(peers) and all(number in made for number in peers)

    # -- what the cluster shows -----------------------------------------------------------------------

    def _broadcast(self, host: int, frame: bytes) -> None:
        """A peer sends an event of its own; the next one gets something to carry."""
        if frame[0] != wire.FrameType.EVENT:
            return
        cluster = self.cluster
        if not self._epoch_id:
            links = cluster.nodes[host].host.open_links
            assert links is not None
            self._epoch_id = links.settings.epoch_id
        event = wire.decode_event(frame, self._epoch_id, cluster.network)
        assert not isinstance(event, Reject), "an engine sends an event that is none"
        assert event.creator == host, "an engine sends an event as its own that is not"
        now = cluster.now_ns
        strong = [parent.digest for parent in event.parents if parent.round == event.round - 1]
        weak = [parent.digest for parent in event.parents if parent.round < event.round - 1]
        vertices = self._vertices
        if self.graph is not None:
            vertex = Vertex(
                event.creator,
                event.round,
                event.created_at - BEGIN_NS,
                tuple(vertices[digest] for digest in strong),
                tuple(vertices[digest] for digest in weak),
                {host: now},
            )
            vertices[event.digest] = self._frames[bytes(frame)] = vertex
            self.graph.vertices.append(vertex)
        else:
            vertex = Vertex(event.creator, event.round, event.created_at - BEGIN_NS, (), (), {})
        self.made.setdefault(event.round, {})[event.creator] = vertex
        if self.loaded:
            cluster.send(host, TRANSACTION)

    def _stepped(self, node: Node, inputs: Sequence[Input], outputs: list[Output]) -> None:
        """Frames come in at a peer."""
        for input in inputs:
            if isinstance(input, Received):
                for frame in input.frames:
                    vertex = self._frames.get(frame)
                    if vertex is not None:
                        vertex.arrived.setdefault(node.number, self.cluster.now_ns)

    def _received(self, node: Node, message: Message) -> None:
        """An application receives an event; there is nobody here who asks for sync points."""
        if not self.loaded or node.number in self.dead or not isinstance(message, Event):
            return
        creator = self._creators[message.creator]
        ours = self.times.setdefault((message.round, creator), [])
        ours.append(self.cluster.loop.now_ns - message.created_at)
        if len(ours) == len(self.living) and message.round in self.window:
            self.complete += 1

    def _observation(self) -> Observation:
        window, made = self.window, [vertex for row in self.made.values() for vertex in row.values()]
        samples = [ns for round in window for creator in self.made[round] for ns in self.times[round, creator]]
        latency = _latency(samples, made, window, self.cluster.internet.delays)
        if self.graph is not None:
            self.graph.living = self.living
            self.graph.epoch_id = self._epoch_id
        status = self.cluster.nodes[self.living[0]].status()
        assert status is not None
        return Observation(latency=latency, graph=self.graph, window=window, living=self.living, status=status)


def _latency(samples: Sequence[int], made: Iterable[Vertex], window: range, delays: Delays) -> Latency:
    """The distribution of samples, and the pace of the rounds in which they were taken."""
    created: dict[int, list[int]] = {}
    for vertex in made:
        created.setdefault(vertex.round, []).append(vertex.created_ns)
    begin, end = (sum(times) / len(times) for times in (created[window[0] - 1], created[window[-1]]))
    equal = delays.kind == "fixed" and not delays.matrix
    return Latency.of(
        samples,
        sum(len(created[round]) for round in window),
        delays.low_ns if equal else None,
        (end - begin) / len(window),
    )
