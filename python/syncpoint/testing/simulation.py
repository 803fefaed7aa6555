"""One scenario from its beginning to its end, with every checker looking on."""

from __future__ import annotations

import functools
import random
import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..core.config import Network
from ..engine import Engine
from ..errors import EngineStopped, QueueFull
from ..message import Message
from ..options import Options
from .changing import Changing
from .check_epochs import EpochCheckers
from .checkers import Checkers, Violation
from .cluster import Cluster, Node
from .deciding import Deciding
from .features import Features
from .history import History
from .liars import LIARS, Liar
from .scenario import Scenario

__all__ = ["Outcome", "Simulation", "simulate"]

SAMPLES = 16  # looks at every peer, in the course of a scenario
# What more liars than the network is made for may do: split it or stop it, but not break it.
EXCUSABLE = frozenset({"Agreement", "Causality", "ConsensusTime", "NoDuplicates", "NoLoss", "Progress", "SyncPoints"})
APP_AHEAD = "what lies between is ordered again"  # as it may be after a crash
STANDS_STILL = "messages are unread: the engine stands still"  # as it should, with a limit that is low
REMOVED = "this key is no member any more"  # as was asked for
SETTLE_NS = 200_000_000  # between two looks whether everything has come to its end


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a scenario."""

    scenario: Scenario
    problem: str | None
    """What was violated, None when all held."""
    digest: str
    """Hex, 32 bytes: of all that happened; the same whenever the scenario is run."""
    deliveries: int
    """Events taken into DAGs, by all peers together."""
    ordered: int
    """Events in the agreed order."""
    virtual_ns: int
    features: Mapping[str, int] = field(default_factory=dict)
    latencies_ns: tuple[int, ...] = ()
    """A sample of the times from making an event to its delivery."""

    @property
    def ok(self) -> bool:
        """Whether all held."""
        return self.problem is None


class Simulation:
    """A scenario that runs."""

    def __init__(self, scenario: Scenario) -> None:
        scenario.check()
        self.scenario = scenario
        self.rng = random.Random(f"simulation/{scenario.seed}")
        self.cluster = Cluster(
            scenario.peers,
            seed=scenario.seed,
            core=scenario.core,
            network=Network(
                rule=scenario.rule,
                order=scenario.order,
                f=scenario.f,
                gc_depth=scenario.gc_depth,
                epoch_ms=scenario.epoch_ms,
            ),
            options=Options(base_min_event_interval_us=scenario.min_interval_us, heartbeat_us=scenario.heartbeat_us),
            local={"retain_events": scenario.retain_events, "pool_bytes_per_sender": scenario.pool_bytes},
            delays=scenario.delays,
            sync_ns=scenario.sync_ns,
            durability=scenario.durability,
            retain_rounds=scenario.retain_rounds,
            unread=scenario.unread,
            signatures=scenario.signatures,
            newcomers=scenario.newcomers,
        )
        self.honest = [peer for peer in range(scenario.peers) if peer not in scenario.liar_creators]
        self.newcomers = range(scenario.peers, scenario.peers + scenario.newcomers)
        self.history = History(self.cluster)
        self.checkers = (EpochCheckers if scenario.changes else Checkers)(
            self.cluster,
            self.history,
            {*self.honest, *self.newcomers},
            set(scenario.forgetful),
            expected_logs=_expected_logs(scenario),
            excusable=EXCUSABLE if scenario.is_beyond else (),
            unsure=scenario.unsure,
        )
        self.deciding: Deciding | None = None
        if scenario.agenda.proposals or scenario.epoch_ms:
            self.deciding = Deciding(self.cluster, self.history, self.checkers, scenario)
            self.cluster.received = self._received
        self.changing: Changing | None = None
        if isinstance(self.checkers, EpochCheckers):
            self.changing = Changing(self.cluster, self.history, self.checkers, scenario)
        self.features = Features(self.cluster, scenario)
        self.liars: list[Liar] = [
            LIARS[spec.kind](self.cluster, spec, random.Random(f"liar/{scenario.seed}/{spec.creator}"))
            for spec in scenario.liars
        ]

    def run(self) -> Outcome:
        """From beginning to end; never raises for what a checker finds, nor for what anything else raises."""
        problem, counts, deliveries = None, Counter[str](), 0
        try:
            try:
                problem = self._problem()
                counts, deliveries = self._counts(), self.cluster.deliveries()
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # a panic of the native core is no Exception
                problem = problem or self._crash(error)
            return Outcome(
                scenario=self.scenario,
                problem=problem,
                digest=self.history.digest().hex(),
                deliveries=deliveries,
                ordered=self.history.ordered,
                virtual_ns=self.cluster.now_ns,
                features=counts,
                latencies_ns=self.history.latencies_ns(),
            )
        finally:
            self.checkers.quiet_logs.close()
            self.cluster.close()

    def _problem(self) -> str | None:
        """Run; what is wrong."""
        try:
            self._run()
        except Violation as violation:
            return str(violation)
        unexcused = [each for each in self.checkers.violations if not self._is_excused(each)]
        return str(unexcused[0]) if unexcused else None

    def _crash(self, error: BaseException) -> str:
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "nowhere"
        return f"Crashed at {self.cluster.now_ns / 1e9:.9f} s: {error!r} in {where} (seed {self.scenario.seed})"

    def _counts(self) -> Counter[str]:
        counts, checkers = self.features.finish(self.liars, self.history.receipts), self.checkers
        counts["peers left behind"] += len(checkers.progress.left_behind)
        counts["progress not asked for"] += checkers.progress.not_asked
        counts["probes"] += len(checkers.progress.probes)
        counts.update(checkers.points.counts)
        counts["sessions ended"] += self.history.end is not None
        counts["proposals in flight together"] += self.deciding is not None and self.deciding.most_open > 1
        counts["exceptions not counted"] += len(checkers.quiet_logs.not_counted) + len(self.cluster.loop.last_words)
        return counts

    def _is_excused(self, violation: Violation) -> bool:
        """Whether so many liars may do this. Where they split the network, somebody must have evidence of it."""
        if not self.scenario.is_beyond or violation.checker not in EXCUSABLE:
            return False
        statuses = [status for peer in self.honest for status in self.cluster.nodes[peer].statuses()]
        seen = any(status.equivocators or status.halted is not None for status in statuses)
        return seen or violation.checker == "Progress"

    def _run(self) -> None:
        scenario, cluster = self.scenario, self.cluster
        for fault in scenario.faults:
            if fault.at_ns == 0:
                fault.begin(cluster)
            else:
                cluster.at(fault.at_ns, functools.partial(fault.begin, cluster))
            if fault.until_ns is not None:
                cluster.at(fault.until_ns, self._look)
                cluster.at(fault.until_ns, functools.partial(fault.end, cluster))
        for liar in self.liars:
            liar.start()
        if self.honest:
            cluster.start(*self.honest)
        self._send()
        if self.deciding is not None and self.honest:
            self.deciding.start(self.honest)
        if self.changing is not None:
            self.changing.start()
        for sample in range(1, SAMPLES + 1):
            cluster.run((scenario.duration_ns * sample // SAMPLES - cluster.now_ns) / 1e9)
            self.features.sample(self.checkers.sample())
        last = max((fault.until_ns or 0 for fault in scenario.faults), default=0)
        if last >= cluster.now_ns:  # what was drawn ends with the load; what was written by hand may last longer
            cluster.run((last + 1 - cluster.now_ns) / 1e9)
        cluster.heal()
        self.checkers.healed(probe=not scenario.is_beyond)
        deadline = cluster.now_ns + scenario.patience_ns
        cluster.run(SETTLE_NS / 1e9)
        while not self.checkers.settled() and cluster.now_ns < deadline:
            cluster.run(SETTLE_NS / 1e9)
        self.features.sample(self.checkers.sample())
        self.checkers.finish()

    def _received(self, node: Node, message: Message) -> None:
        """Let the checkers see a message, and the applications decide what to say to it."""
        self.checkers.received(node, message)
        assert self.deciding is not None
        self.deciding.received(node, message)

    def _look(self) -> None:
        """See what a fault has done while it lasts."""
        statuses = {node.number: node.status() for node in self.cluster.running}
        self.features.sample({number: status for number, status in statuses.items() if status is not None})

    def _send(self) -> None:
        """Let applications send at random times."""
        load, rng, scenario = self.scenario.load, self.rng, self.scenario
        if not self.honest:
            return
        for number in range(0, load.transactions, load.burst):
            peer = rng.choice((*self.honest, *self.newcomers))
            at = rng.randrange(scenario.duration_ns)
            awaited = rng.random() < load.awaited
            batch = [self._transaction(each) for each in range(number, min(number + load.burst, load.transactions))]
            self.cluster.at(at, functools.partial(self._give, peer, batch, awaited))

    def _transaction(self, number: int) -> bytes:
        return (b"transaction %d of %d " % (number, self.scenario.seed)).ljust(self.scenario.load.bytes, b".")

    def _give(self, peer: int, batch: list[bytes], awaited: bool) -> None:
        node = self.cluster.nodes[peer]
        engine = node.engine
        if not node.up or engine is None or node.host.process.stopped:
            return  # there is no application that could send
        if engine.status().consensus.creator is None:
            return  # it has not been let in, and may never be
        for transaction in batch:
            self.history.sent(node, transaction, awaited)
            if awaited:
                self.cluster.spawn(peer, functools.partial(self._submit, node, engine, transaction))
                continue
            try:
                self.cluster.send(peer, transaction)
            except (QueueFull, EngineStopped) as error:
                self.history.refused(node, transaction, error)

    async def _submit(self, node: Node, engine: Engine, transaction: bytes) -> None:
        try:
            receipt = await engine.submit(transaction)
        except EngineStopped as error:
            self.history.refused(node, transaction, error)
        else:
            self.history.acknowledged(node, transaction, receipt)


def _expected_logs(scenario: Scenario) -> list[str]:
    """Warnings that are all right: a peer may doubt its store only where it has reason to."""
    doubts = [rf"^the store of host {peer}: own events may be missing" for peer in sorted(scenario.forgetful)]
    doubts += [REMOVED] * bool(scenario.changes)
    split = ["DivergenceError", "the engine failed and stops"] if scenario.is_beyond else []  # C4: they notice it
    return [*doubts, *split, APP_AHEAD, *([STANDS_STILL] if scenario.unread is not None else [])]


def simulate(scenario: Scenario) -> Outcome:
    """Run a scenario; what came of it."""
    return Simulation(scenario).run()
