"""What a checker is: something that looks on while a simulation runs, and says when a promise is broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ..core.input import Input
from ..core.output import Output
from ..core.status import Status
from ..message import Event, Message, SyncPoint
from .cluster import Cluster, Node
from .history import History, Place, Sent, Stream

__all__ = ["Checker", "Observed", "Points", "Violation"]


class Violation(Exception):
    """A promise was broken: which one, when (virtual ns), at which peer (None: at all), and all that explains it."""

    def __init__(self, checker: str, at_ns: int, node: int | None, text: str) -> None:
        where = "" if node is None else f", peer {node}"
        super().__init__(f"{checker} at {at_ns / 1e9:.9f} s{where}: {text}")
        self.checker = checker
        self.at_ns = at_ns
        self.node = node
        self.text = text


class Observed:
    """What all checkers of one simulation look at."""

    def __init__(
        self,
        cluster: Cluster,
        history: History,
        honest: frozenset[int],
        forgetful: frozenset[int],
        excusable: frozenset[str] = frozenset(),
        unsure: frozenset[int] = frozenset(),
    ) -> None:
        assert unsure <= forgetful, "who is unsure may have forgotten something"
        self.excusable = excusable  # checkers whose violations are not the end
        self.stopping: set[int] = set()  # hosts whose engine somebody stops on purpose
        self.cluster = cluster
        self.history = history
        self.honest = honest  # creators, and observers by their numbers, whose peers run the engine as it is
        self.forgetful = forgetful  # of these, who may lose what it signed ...
        self.unsure = unsure  # ... and of these, who knows that; all others may sign again
        n = cluster.n
        self.liars = frozenset(range(n)) - honest
        self.faithful = (honest - forgetful) & frozenset(range(n))  # creators whose events are what they must be
        self.single = (honest - (forgetful - unsure)) & frozenset(range(n))  # who sign no slot twice
        # Who is unsure signs when q others have answered, and liars may keep silent.
        self.able = self.faithful if self.liars else self.single
        self.orderers = frozenset(range(n))  # creators that may make events
        self.q = n - ((n - 1) // 3 if cluster.network.f is None else cluster.network.f)

    def nodes(self) -> list[Node]:
        """The honest peers."""
        return [node for node in self.cluster.nodes if node.creator in self.honest]

    def members(self) -> list[Node]:
        """Those of them that order."""
        return [node for node in self.nodes() if node.creator < self.cluster.n]


class Checker:
    """One promise. All callbacks but `sample` and `finish` are called only if they are overridden.

    They may raise Violation (`violated`); everything of them is about honest peers.
    """

    def __init__(self, observed: Observed) -> None:
        self.observed = observed
        self.cluster = observed.cluster
        self.history = observed.history

    @property
    def name(self) -> str:
        """By which violations are known."""
        return type(self).__name__.lstrip("_")

    def violated(self, node: int | None, text: str) -> Violation:
        """To be raised."""
        return Violation(self.name, self.cluster.now_ns, node, text)

    def message(self, stream: Stream, message: Event, place: Place) -> None:
        """An application received an index that is in the order already: `place`. Called often."""

    def pointed(self, stream: Stream, point: SyncPoint, place: Place) -> None:
        """An application received a sync point whose index is in the order already: `place`."""

    def stepped(self, node: Node, inputs: Sequence[Input], outputs: Sequence[Output]) -> None:
        """A machine made a step. Called often."""

    def out_of_turn(self, stream: Stream, message: Message) -> None:
        """An application received a message that is not the next one, or comes after the end."""

    def ordered(self, place: Place) -> None:
        """An application received the next index of the order before all others."""

    def changed(self, sent: Sent) -> None:
        """An application got a receipt for something that it sent, or an exception."""

    def confirmed(self, sent: Sent, place: Place | None) -> None:
        """Something has a receipt, and the index that it names is known; at the end: None if it is not."""

    def ended(self, node: Node) -> None:
        """The application of a peer is over, or there is nothing more for it, though nobody has closed the cluster."""

    def made(self, node: Node, creator: int, round: int, created_at: int, frame: bytes) -> None:
        """A peer broadcasts an event, which says of itself that it is of this creator."""

    def handed(self, node: Node, frame: bytes) -> None:
        """A peer sends a frame to one other: an answer, or a question."""

    def sample(self, statuses: Mapping[int, Status]) -> None:
        """A look at what the running peers say of themselves, by number of the host."""

    def finish(self) -> None:
        """It is over."""


class Points(Checker):
    """The one checker that is told of sync points."""

    def __init__(self, observed: Observed) -> None:
        super().__init__(observed)
        self.counts: Counter[str] = Counter()

    def pending(self, within_ns: int) -> list[str]:
        """What is still open, in words; of proposals those with a deadline so near."""
        raise NotImplementedError
