"""All checkers of a simulation, at work."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterable, Sequence

from ..core.input import Input
from ..core.output import Output
from ..core.status import Status
from ..core.wire import FrameType
from ..engine import Engine
from ..errors import EngineStopped
from ..message import Message, SyncPoint
from .check_events import NoInvalid
from .check_order import Agreement, Causality, NoDuplicates, NoLoss, TotalOrder
from .check_peers import ApiHistory, BoundedMemory, NoSelfFork, Progress, QuietLogs
from .check_points import SyncPoints
from .check_time import ConsensusTime
from .checker import Checker, Observed, Points, Violation
from .cluster import Cluster, Node
from .history import History, Place, Sent

__all__ = ["Checkers", "Violation"]

_ENOUGH = 5  # violations that are kept of each checker: one that is broken stays so, and must not hide others
_EVENT = int(FrameType.EVENT)
_SLOT = struct.Struct("<HQQ")  # creator, round and created_at ...
_SLOT_AT = 35  # ... in an EVENT frame


class Checkers:
    """Every promise at once, looked at while a cluster runs. To be made before it starts.

    What is violated is noticed at once and kept in `violations`, as nothing that is raised inside of a peer would get
    out; `sample`, `settled`, `finish` and `check` raise the first.
    """

    def __init__(
        self,
        cluster: Cluster,
        history: History,
        honest: set[int] | frozenset[int],
        forgetful: set[int] | frozenset[int] = frozenset(),
        *,
        expected_logs: Iterable[str] = (),
        excusable: Iterable[str] = (),
        unsure: set[int] | frozenset[int] = frozenset(),
    ) -> None:
        """`honest` are the creators, and numbers of observers, whose peers run the engine as it is, all in the end.

        `forgetful` are those of them that come back without knowing all that they signed; `unsure` those of these that
        know it. `expected_logs` are patterns of warnings that are all right. Violations of `excusable` checkers are
        kept, but nothing raises them.
        """
        assert all(not node.host.starts for node in cluster.nodes), "make its checkers before a cluster starts"
        self.cluster = cluster
        self.history = history
        self.observed = Observed(
            cluster, history, frozenset(honest), frozenset(forgetful), frozenset(excusable), frozenset(unsure)
        )
        self._observe()
        self.violations: list[Violation] = []
        self.quiet_logs = QuietLogs(self.observed, expected_logs)
        self.points: Points
        self.progress: Progress
        self.all = self._promises()
        self._message = [each.message for each in self.all if _has(each, "message")]
        self._out_of_turn = [each.out_of_turn for each in self.all if _has(each, "out_of_turn")]
        self._ordered = [each.ordered for each in self.all if _has(each, "ordered")]
        self._changed = [each.changed for each in self.all if _has(each, "changed")]
        self._confirmed = [each.confirmed for each in self.all if _has(each, "confirmed")]
        self._over = [each.ended for each in self.all if _has(each, "ended")]
        self._made = [each.made for each in self.all if _has(each, "made")]
        self._handed = [each.handed for each in self.all if _has(each, "handed")]
        self._unconfirmed: dict[int, list[Sent]] = {}  # index -> what has a receipt for it
        self._honest = {node.number for node in self.observed.nodes()}
        self._probes = False  # whether peers are given something to send
        history.changed = self._on_outcome
        cluster.received = self.received
        cluster.ended = self.ended
        cluster.stepped = self.stepped
        cluster.internet.watch = self.broadcast
        cluster.internet.watch_sent = self.handed

    # -- what happens -------------------------------------------------------------------------------

    def received(self, node: Node, message: Message) -> None:
        """An application received a message: what `cluster.received` calls."""
        if node.number not in self._honest:
            return
        stream = self.history.received(node, message)
        place = stream.place
        try:
            if not stream.in_turn:
                for check in self._out_of_turn:
                    check(stream, message)
            if place is not None and not stream.first:
                if isinstance(message, SyncPoint):
                    self.points.pointed(stream, message, place)
                else:
                    for compare in self._message:
                        compare(stream, message, place)
        except Violation as violation:
            self._keep(violation)
        if place is not None and stream.first:
            self._on_order(place)

    def stepped(self, node: Node, inputs: Sequence[Input], outputs: list[Output]) -> None:
        """A machine made a step: what `cluster.stepped` calls."""
        if node.number in self._honest:
            self._try(self.points.stepped, node, inputs, outputs)

    def ended(self, node: Node) -> None:
        """An application got its last message, or is over: what `cluster.ended` calls."""
        if node.number not in self._honest or self.cluster.loop.is_closed():
            return
        self.history.ended(node)
        for check in self._over:
            self._try(check, node)

    def broadcast(self, host: int, frame: bytes) -> None:
        """A host broadcasts a frame: what `cluster.internet.watch` calls."""
        if host not in self._honest or frame[0] != _EVENT:
            return
        node = self.cluster.nodes[host]
        index, number, created_at = _SLOT.unpack_from(frame, _SLOT_AT)
        creator, round = self._event(node, index, number, frame)
        self.history.made(creator, round)
        for check in self._made:
            try:
                check(node, creator, round, created_at, frame)
            except Violation as violation:
                self._keep(violation)

    def handed(self, host: int, frame: bytes) -> None:
        """A host sends a frame to one peer: what `cluster.internet.watch_sent` calls."""
        if host in self._honest:
            for check in self._handed:
                self._try(check, self.cluster.nodes[host], frame)

    # -- looking ------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise the first violation that is not excusable, if there is one."""
        for violation in self.violations:
            if violation.checker not in self.observed.excusable:
                raise violation

    def sample(self) -> dict[int, Status]:
        """Look at all peers; to be called now and then. What those that run say of themselves."""
        statuses = {}
        for node in self.observed.nodes():
            status = node.status()
            if node.up and status is not None:
                statuses[node.number] = status
        for each in self.all:
            self._try(each.sample, statuses)
        self.check()
        return statuses

    def healed(self, *, probe: bool = True) -> None:
        """Say that nothing goes wrong any more.

        With `probe` each peer that runs, or does so soon, gets one more transaction to send. That has to arrive as
        well, so that a peer is noticed that only listens from now on.
        """
        self.progress.healed()
        self.progress.probes.clear()
        self._probes = probe
        self.progress.waits()  # it finds out who is left behind
        self._probe()

    def settled(self) -> bool:
        """Whether everything that is on its way has arrived everywhere."""
        self.check()
        self._probe()
        return not self.progress.waits()

    def finish(self) -> None:
        """It is over: look at all that is to be looked at in the end."""
        for index in sorted(self._unconfirmed):
            for sent in self._unconfirmed[index]:
                for check in self._confirmed:
                    self._try(check, sent, None)
        self.cluster.loop.collect()
        for each in self.all:
            self._try(each.finish)
        self.check()

    # -- private ------------------------------------------------------------------------------------

    def _observe(self) -> None:
        """Say more of what is looked at."""

    def _event(self, node: Node, creator: int, round: int, frame: bytes) -> tuple[int, int]:
        """Whose event a frame says it is, and its round, as the history knows them."""
        return creator, round

    def _promises(self) -> tuple[Checker, ...]:
        """All checkers, `points` and `progress` among them."""
        observed = self.observed
        no_loss = NoLoss(observed)
        self.points = SyncPoints(observed)
        self.progress = Progress(observed, no_loss, self.points)
        return (
            TotalOrder(observed),
            Agreement(observed),
            NoDuplicates(observed),
            Causality(observed),
            ConsensusTime(observed),
            self.points,
            no_loss,
            NoSelfFork(observed),
            NoInvalid(observed),
            ApiHistory(observed),
            BoundedMemory(observed),
            self.quiet_logs,
            self.progress,
        )

    def _probe(self) -> None:
        """Let those send something who have not yet, since all is well."""
        probes = self.progress.probes
        for node in self.observed.nodes() if self._probes and self.history.end is None else ():
            if node.number not in probes and self.progress.may_be_probed(node):
                assert node.engine is not None
                transaction = b"probe %d, of peer %d" % (len(self.history.sends), node.number)
                probes[node.number] = self.history.sent(node, transaction, awaited=True)
                self.cluster.spawn(node.number, functools.partial(self._submit, node, node.engine, transaction))

    async def _submit(self, node: Node, engine: Engine, transaction: bytes) -> None:
        try:
            receipt = await engine.submit(transaction)
        except EngineStopped as error:
            self.history.refused(node, transaction, error)
        else:
            self.history.acknowledged(node, transaction, receipt)

    def _on_order(self, place: Place) -> None:
        for check in self._ordered:
            try:
                check(place)
            except Violation as violation:
                self._keep(violation)
        if place.index in self._unconfirmed:
            for sent in self._unconfirmed.pop(place.index):
                for confirm in self._confirmed:
                    self._try(confirm, sent, place)

    def _on_outcome(self, sent: Sent) -> None:
        if self.cluster.nodes[sent.node].creator not in self.observed.honest:
            return
        for check in self._changed:
            self._try(check, sent)
        if sent.receipt is None:
            return
        index, order = sent.receipt.index, self.history.order
        if index >= len(order):  # it is acknowledged before it is received
            self._unconfirmed.setdefault(index, []).append(sent)
            return
        for confirm in self._confirmed:
            self._try(confirm, sent, order[index])

    def _try(self, check: Callable[..., None], *arguments: object) -> None:
        try:
            check(*arguments)
        except Violation as violation:
            self._keep(violation)

    def _keep(self, violation: Violation) -> None:
        if sum(each.checker == violation.checker for each in self.violations) < _ENOUGH:
            self.violations.append(violation)


def _has(checker: Checker, callback: str) -> bool:
    return getattr(type(checker), callback) is not getattr(Checker, callback)
