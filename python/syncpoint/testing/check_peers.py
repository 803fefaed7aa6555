"""Whether each peer behaves: signs once, comes on, stays small, is quiet, and keeps its word to its application."""

from __future__ import annotations

import logging
import re
from asyncio import CancelledError
from collections.abc import Iterable, Mapping

from ..core.config import Local
from ..core.fetch import MAX_MISSING
from ..core.retain import RETAIN_GC_DEPTHS
from ..core.status import Status
from ..core.wire import event_digest, header_of, max_frame_bytes
from ..errors import DivergenceError, EngineStopped, QueueFull
from ..message import Message
from ..stream import MAX_UNREAD_MESSAGES
from .check_order import Agreement, NoLoss
from .checker import Checker, Observed, Points
from .cluster import Node
from .history import Place, Sent, Stream
from .loop import Process, _running

__all__ = ["ApiHistory", "BoundedMemory", "NoSelfFork", "Progress", "QuietLogs"]

_SeenEvent = tuple[bytes, int, int]  # digest, which start broadcast it (0: it was ordered), virtual ns
_NEAR_NS = 10_000_000_000  # proposals with a deadline in so much consensus time are waited for
_HOST = re.compile(r"host (\d+)")  # how a process is called


class NoSelfFork(Checker):
    """An honest peer sends one event per round, ever, however often it starts again (J1, R5).

    Not so one whose store was lost or old without anything that shows it: it cannot know. What is ordered must be what
    was sent.
    """

    def __init__(self, observed: Observed) -> None:
        super().__init__(observed)
        self._seen: dict[tuple[int, int], _SeenEvent] = {}  # (creator, round)

    def made(self, node: Node, creator: int, round: int, created_at: int, frame: bytes) -> None:
        """Its events are its own, and new."""
        if creator != node.creator or creator not in self.observed.orderers:  # an observer makes none (Q4)
            raise self.violated(node.number, f"it broadcasts an event of round {round} by creator {creator}")
        if creator not in self.observed.single:
            return
        self._compare(creator, round, (event_digest(header_of(frame)), node.host.starts, self.cluster.now_ns))

    def ordered(self, place: Place) -> None:
        """An event that was never broadcast is taken note of: its creator died before, and had it in its journal."""
        if place.creator in self.observed.single:
            self._compare(place.creator, place.round, (place.hash, 0, place.at_ns))

    def _compare(self, creator: int, round: int, event: _SeenEvent) -> None:
        known = self._seen.setdefault((creator, round), event)
        if known[0] != event[0]:
            both = " and ".join(
                f"{digest.hex()}, {f'broadcast by start {start}' if start else 'ordered'} at {at_ns / 1e9:.6f} s"
                for digest, start, at_ns in (known, event)
            )
            raise self.violated(creator, f"two events for round {round}: {both}")


class Progress(Checker):
    """Once nothing is wrong any more, everything that is on its way arrives everywhere.

    That is asked for only while q honest peers, none of them forgetful, run and make events. A peer whose process or
    reader stands still is not asked to come along, nor one for which nobody retains enough any more
    (`left_behind`; F4, R4). What was in order before healing is little to ask for: see `Checkers.healed` for `probes`.
    """

    def __init__(self, observed: Observed, no_loss: NoLoss, points: Points) -> None:
        super().__init__(observed)
        self.left_behind: set[int] = set()
        self.not_asked = False  # whether there were too few to ask for anything, when it was looked at last
        self.probes: dict[int, Sent] = {}  # what each host was given to send, after all was well again
        self.healed_at = 0  # virtual ns
        self._no_loss = no_loss
        self._points = points
        self._ordered = 0  # events, when all was well again

    def healed(self) -> None:
        """Nothing goes wrong from now on."""
        self.healed_at = self.cluster.now_ns
        self._ordered = len(self.history.order)

    def finish(self) -> None:
        """All has arrived."""
        waits = self.waits()
        if waits:
            since = (self.cluster.now_ns - self.healed_at) / 1e9
            more = [f"... and {len(waits) - 8} more"] if len(waits) > 8 else []
            lines = [f"not everything has arrived {since:.3f} s after all faults ended:", *waits[:8], *more]
            raise self.violated(None, "\n  ".join([*lines, "the peers:", *self.diagnosis()]))

    def waits(self) -> list[str]:
        """What has not arrived, in words; empty when all has, or when nothing can be asked for."""
        live = self._live()
        waits = [
            f"peer {node.number} runs (start {node.host.starts}), but has no machine"
            for node in self.observed.nodes()
            if node.up and not node.host.process.stopped and node.status() is None
        ]
        able = {node.creator for node, status in live if status.halted is None} & self.observed.able
        self.not_asked = len(able) < self.observed.q
        if self.not_asked:
            return waits
        history = self.history
        for sent, _ in self._no_loss.pending():
            if sent.node not in self.left_behind or self.probes.get(sent.node) is not sent:
                waits.append(f"{sent} is not in the order")
        halted = {node.number: status.halted is not None for node, status in live}
        for sent in history.open.values():
            node = self.cluster.nodes[sent.node]
            if not sent.awaited or sent.node not in halted or sent.incarnation != node.host.starts:
                continue
            if (
                halted[sent.node] or history.end is not None or sent.transaction in history.where[node.creator]
            ):  # else it is among those above
                waits.append(f"{sent} has neither receipt nor error")
        waits += self._points.pending(_NEAR_NS)
        needed = max(history.last_carrying + 1, self._ordered) if history.end is None else history.end + 1
        for node, _ in live:
            stream = history.streams.get(node.number)
            if node.deaf or node.number in self.left_behind:
                continue
            if stream is not None and stream.incarnation == node.host.starts:
                count = stream.count
            else:
                count = 0 if node.resume_after is None else node.resume_after + 1
            if count < needed:
                waits.append(f"peer {node.number} has received {count} events, of at least {needed}")
        for number, sent in self.probes.items():
            if sent.error is not None and halted.get(number) is False and history.end is None:
                waits.append(f"{sent} was refused: {sent.error!r}")
        return waits

    def may_be_probed(self, node: Node) -> bool:
        """Whether it must be able to have something of its own ordered."""
        if not node.up or node.host.process.stopped or node.deaf or node.engine is None:
            return False
        if node.creator not in self.observed.able or node.number in self.observed.stopping | self.left_behind:
            return False
        status = node.status()
        return status is not None and status.halted is None

    def diagnosis(self) -> list[str]:
        """A line about each peer."""
        lines = []
        for node in self.cluster.nodes:
            status = node.status()
            stream = self.history.streams.get(node.number)
            what = ["honest" if node.creator in self.observed.honest else "liar"]
            what += ["forgetful"] * (node.creator in self.observed.forgetful)
            what += ["stopped"] * node.host.process.stopped + ["deaf"] * node.deaf
            what += ["left behind"] * (node.number in self.left_behind)
            told = "down" if not node.up else "no machine" if status is None else _in_words(status)
            received = stream.count if stream is not None else 0
            lines.append(f"{node.number} ({', '.join(what)}, start {node.host.starts}): {received} received; {told}")
        return lines

    def _live(self) -> list[tuple[Node, Status]]:
        """The honest peers that run, but for those that nobody can help any more."""
        live = []
        for node in self.observed.nodes():
            status = node.status()
            if node.up and not node.host.process.stopped and status is not None:
                live.append((node, status))
        for node, status in live:
            floors = [other.floor_round for each, other in live if each is not node]
            if floors and min(floors) > status.closed_round:
                self.left_behind.add(node.number)
            else:
                self.left_behind.discard(node.number)
        return [(node, status) for node, status in live if node.number not in self.left_behind]


class BoundedMemory(Checker):
    """What a peer keeps stays within its limits (V7, F4).

    Waiting events: each sender has its share of bytes, or one event, and of missing parents; those from the store have
    what the store had at the start. The DAG: below the last closed round no more rounds are kept than are retained, and
    never fewer than three gc_depths. In a round an honest creator has one event; of a liar as many are taken as others
    refer to, which can be so many peers, and so many rounds.
    """

    def __init__(self, observed: Observed) -> None:
        super().__init__(observed)
        cluster, n = observed.cluster, observed.cluster.n
        network, default = cluster.network, Local()
        self._depth = RETAIN_GC_DEPTHS * network.gc_depth
        self._retain = max(cluster.local.get("retain_events", default.retain_events) // n, self._depth)
        share = cluster.local.get("pool_bytes_per_sender", default.pool_bytes_per_sender)
        senders = n + cluster.observers - 1
        self._pool = senders * max(share, max_frame_bytes(n, network))
        self._missing = senders * MAX_MISSING
        faithful = len(observed.faithful)
        self._per_round = faithful + (n - faithful) * (n + network.gc_depth)

    def sample(self, statuses: Mapping[int, Status]) -> None:
        """Compare each number with its limit."""
        for number, status in statuses.items():
            node = self.cluster.nodes[number]
            self._waiting(node, status)
            self._kept(node, status)
            self._queued(node, status)

    def _waiting(self, node: Node, status: Status) -> None:
        disk = node.host.disk
        self._within(node, "waiting_events", status.waiting_events, self._missing + disk.found_events)
        wanted = self._missing + disk.found_events * self.cluster.n
        self._within(node, "wanted_events", status.wanted_events, wanted)
        self._within(node, "waiting_bytes", status.waiting_bytes, self._pool + disk.found_bytes)

    def _kept(self, node: Node, status: Status) -> None:
        closed, floor = status.closed_round, status.floor_round
        self._within(node, "rounds that are closed and kept", closed - floor, self._retain)
        if floor > max(0, closed - self._depth):
            raise self.violated(node.number, f"rounds up to {floor} are dropped, when {closed} has closed; {status}")
        self._within(node, "events", status.events, self._per_round * (status.top_round - floor))

    def _queued(self, node: Node, status: Status) -> None:
        options, engine = self.cluster.options, node.engine
        room = options.transaction_channel_size + status.resubmitted
        self._within(node, "queued_transactions", status.queued_transactions, room)
        if engine is not None:
            told = engine.status()
            self._within(node, "unacknowledged_bytes", told.unacknowledged_bytes, options.max_unacknowledged_bytes)
            # A step is carried out to its end: what one delivers, at most what was in the DAG, comes on top.
            batch = self._per_round * (status.top_round - status.floor_round + self._retain)
            unread = self.cluster.unread or MAX_UNREAD_MESSAGES
            stored = node.host.disk.found_places  # they wait in the store
            self._within(node, "unread_messages", told.unread_messages, unread + batch + stored)

    def _within(self, node: Node, what: str, value: int, limit: int) -> None:
        if value > limit:
            raise self.violated(node.number, f"{what}: {value}, at most {limit} are allowed; {node.status()}")


class QuietLogs(Checker):
    """Nobody has anything to complain of: no warnings, no uncaught exceptions, no engine that failed.

    `expected` are patterns (regular expressions) of messages that are all right. That a peer halts is expected of one
    that is forgetful, and nothing of liars counts.
    """

    def __init__(self, observed: Observed, expected: Iterable[str] = ()) -> None:
        super().__init__(observed)
        self._expected = [re.compile(pattern) for pattern in expected]
        if observed.q == observed.cluster.n:
            self._expected.append(re.compile("tolerate no fault"))  # Q2
        self._problems = 0  # of the loop's, looked at
        self.not_counted: list[str] = []  # of these, what liars raised
        self._failed: set[int] = set()
        self.records: list[str] = []  # warnings that were not expected
        _Tap.attach(self)

    def logged(self, record: logging.LogRecord, process: Process | None) -> None:
        """Somebody complains."""
        text = record.getMessage()
        node = None if process is None else self._node_of(process.name)
        if node is not None and node.creator not in self.observed.honest:
            return
        if (
            node is not None
            and node.creator in self.observed.forgetful - self.observed.unsure
            and "makes no more events" in text
        ):
            return
        if any(pattern.search(text) for pattern in self._expected):
            return
        if record.exc_info is not None and record.exc_info[1] is not None:
            text += f": {record.exc_info[1]!r}"
        who = "" if process is None else f"{process.name}: "
        self.records.append(f"{self.cluster.now_ns / 1e9:.6f} s, {who}{record.levelname} {record.name}: {text}")

    def sample(self, statuses: Mapping[int, Status]) -> None:
        """What has come up since the last time."""
        self._look()

    def finish(self) -> None:
        """The same; and listen no more."""
        self.close()
        self._look()

    def close(self) -> None:
        """Listen no more."""
        _Tap.detach(self)

    def _look(self) -> None:
        lines, self.records = self.records, []
        problems = self.cluster.loop.problems
        for problem in problems[self._problems :]:
            node = self._node_of(problem)
            if node is not None and node.creator not in self.observed.honest:
                self.not_counted.append(problem)
                continue
            if not any(pattern.search(problem) for pattern in self._expected):
                lines.append(problem)
        self._problems = len(problems)
        for node in self.observed.nodes():
            if node.failed is not None and node.number not in self._failed:
                self._failed.add(node.number)
                if not any(pattern.search(repr(node.failed)) for pattern in self._expected):
                    lines.append(f"peer {node.number} failed: {node.failed!r}")
        if lines:
            others = [*self.not_counted, *self.cluster.loop.last_words]
            lines += [f"not counted, of a liar or of the dead: {each}" for each in others]
            raise self.violated(None, "\n  ".join(["something complains:", *lines]))

    def _node_of(self, text: str) -> Node | None:
        found = _HOST.match(text)
        number = int(found[1]) if found is not None else -1
        return self.cluster.nodes[number] if 0 <= number < len(self.cluster.nodes) else None


class ApiHistory(Checker):
    """What one engine answers to its application makes sense, call by call.

    A receipt comes only for what was submitted to this start of the engine, once, and says what the message says. A
    call has one outcome. QueueFull comes only from those who do not wait. Who was told EngineStopped once hears
    nothing else from this engine. No message comes after the end of the stream, and no stream ends by itself.
    """

    def __init__(self, observed: Observed) -> None:
        super().__init__(observed)
        self._stopped: dict[tuple[int, int], int] = {}  # (host, start) -> when it was told so first, virtual ns
        self._over: set[tuple[int, int]] = set()  # (host, start) whose stream has ended

    def out_of_turn(self, stream: Stream, message: Message) -> None:
        """Not after the end."""
        if stream.ended:
            raise self.violated(stream.node.number, f"after the end of its stream comes {message!r}")

    def ended(self, node: Node) -> None:
        """Only where somebody stopped the engine, or where the session ended (S4)."""
        key = (node.number, node.host.starts)
        stream = self.history.streams.get(node.number)
        if stream is not None and self.history.end is not None and stream.last == self.history.end:
            return
        if isinstance(node.failed, DivergenceError) and Agreement.__name__ in self.observed.excusable:  # C4
            return
        if node.number not in self.observed.stopping and key not in self._over:
            self._over.add(key)
            why = "its stream has ended" if node.failed is None else f"its application failed with {node.failed!r}"
            raise self.violated(node.number, f"{why} in start {node.host.starts}, but nobody has stopped it")

    def changed(self, sent: Sent) -> None:
        """One outcome, of a kind that can be."""
        node = self.cluster.nodes[sent.node]
        if sent.outcomes > 1:
            raise self.violated(sent.node, f"{sent} has {sent.outcomes} outcomes: {sent.receipt}, {sent.error!r}")
        if sent.incarnation != node.host.starts:
            raise self.violated(sent.node, f"{sent} has an outcome in start {node.host.starts}")
        if sent.receipt is not None and not sent.awaited:
            raise self.violated(sent.node, f"{sent} has {sent.receipt}, but was not submitted")
        if isinstance(sent.error, QueueFull) and sent.awaited:
            raise self.violated(sent.node, f"{sent} got QueueFull, but was to wait for room")
        key = (sent.node, sent.incarnation)
        if isinstance(sent.error, EngineStopped):
            self._stopped.setdefault(key, self.cluster.now_ns)
        elif key in self._stopped and not isinstance(sent.error, CancelledError):
            told = f"a receipt: {sent.receipt}" if sent.receipt is not None else repr(sent.error)
            raise self.violated(sent.node, f"{sent} got {told}, but EngineStopped came before, {self._when(key)}")

    def confirmed(self, sent: Sent, place: Place | None) -> None:
        """The receipt says what the message says."""
        receipt = sent.receipt
        assert receipt is not None
        if place is not None and (receipt.hash != place.hash or receipt.consensus_at != place.consensus_at):
            violation = self.violated(
                sent.node,
                f"{sent} has {receipt}, but the event there has hash {place.hash.hex()} and consensus_at "
                f"{place.consensus_at}",
            )
            if Agreement.__name__ in self.observed.excusable:  # then its sender may well have another event there
                violation.checker = Agreement.__name__
            raise violation

    def finish(self) -> None:
        """What was sent to an engine after it had said that it is stopped was refused."""
        for sent in self.history.sends.values() if self._stopped else ():
            key = (sent.node, sent.incarnation)
            if not sent.awaited and sent.error is None and self._stopped.get(key, sent.at_ns) < sent.at_ns:
                raise self.violated(sent.node, f"{sent} was taken, but EngineStopped came before, {self._when(key)}")

    def _when(self, key: tuple[int, int]) -> str:
        return f"at {self._stopped[key] / 1e9:.6f} s"


class _Tap(logging.Handler):
    """Hands on what is logged while one simulation's loop runs."""

    def __init__(self, checker: QuietLogs) -> None:
        super().__init__(logging.WARNING)
        self._checker = checker

    @classmethod
    def attach(cls, checker: QuietLogs) -> None:
        """Listen; simulations that were given up are forgotten."""
        logger = logging.getLogger("syncpoint")
        for handler in list(logger.handlers):
            if isinstance(handler, cls) and handler._checker.cluster.loop.is_closed():
                logger.removeHandler(handler)
        logger.addHandler(cls(checker))

    @classmethod
    def detach(cls, checker: QuietLogs) -> None:
        """Listen no more."""
        logger = logging.getLogger("syncpoint")
        for handler in list(logger.handlers):
            if isinstance(handler, cls) and handler._checker is checker:
                logger.removeHandler(handler)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        loop = self._checker.cluster.loop
        if loop.is_running() and not loop.is_closed():
            self._checker.logged(record, _running.get())


def _in_words(status: Status) -> str:
    linked = len(status.linked) + 1
    return (
        f"rounds own {status.own_round} closed {status.closed_round} top {status.top_round} floor {status.floor_round} "
        f"frontier {status.frontier}, {linked} linked, delivered {status.delivered}, queued "
        f"{status.queued_transactions}, undelivered {status.undelivered}, waiting {status.waiting_events}, wanted "
        f"{status.wanted_events}, timeout {status.round_timeout_ns / 1e6:.1f} ms, {status.timeouts} timeouts, "
        f"resubmitted {status.resubmitted}, equivocators {status.equivocators}, "
        f"rejects { {code.name: count for code, count in status.rejects.items()} }, halted {status.halted!r}"
    )
