"""A few machines on virtual time: enough to test one core; the links are what a test makes of them."""

from __future__ import annotations

import functools
import heapq
import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

from syncpoint.backend import make_machine
from syncpoint.core.checkpoint import Certificate, Divergence
from syncpoint.core.committee import Committee
from syncpoint.core.config import NO_ORDER, Local, MachineConfig, Member, Network
from syncpoint.core.crypto import derive
from syncpoint.core.epoch import Outcome
from syncpoint.core.error import Reject
from syncpoint.core.input import Connected, Disconnected, Input, Persisted, Propose, Received, Start, Submit, Vote
from syncpoint.core.items import Proposal, encode_proposal, proposal_id
from syncpoint.core.machine import Machine
from syncpoint.core.output import (
    Broadcast,
    Certified,
    Closed,
    Deliver,
    Diverged,
    Halted,
    Opened,
    Persist,
    Queue,
    Rejected,
    Send,
    SendStored,
    Wake,
    Write,
)
from syncpoint.core.values import Delivered, SyncPoint, SyncPointKind
from syncpoint.runtime.storage import is_event

from .shelf import Shelf

MS = 1_000_000
EPOCH = 1_700_000_000_000_000_000

Delay = Callable[[int, int, bytes], int | None]  # (from, to, frame) -> ns, None: lost
Factory = Callable[[int, MachineConfig], Machine]  # (creator, config) -> a machine that was not started


@functools.cache
def seeds(n: int, observers: int = 0) -> tuple[bytes, ...]:
    """Secret keys such that peer i has the i-th: n that order, then observers."""
    made = [bytes([i + 1]) * 32 for i in range(n + observers)]
    return (*sorted(made[:n], key=derive), *sorted(made[n:], key=derive))


@functools.cache
def members_of(n: int, observers: int = 0) -> tuple[Member, ...]:
    """The committee of these keys, and its observers."""
    return tuple(Member(derive(seed), NO_ORDER * (i >= n)) for i, seed in enumerate(seeds(n, observers)))


def machine_of(core: str, config: MachineConfig) -> Machine:
    """A machine of a core; the Python one as it is, for tests that look into it."""
    return Machine(config) if core == "python" else make_machine(config, core)  # type: ignore[return-value]


class Cluster:
    """n machines, virtual time, and everything that they put out; observers are those from n on.

    `core` is one for all or one per peer; `factory` makes the machines where no core alone does.
    """

    def __init__(
        self,
        n: int,
        *,
        observers: int = 0,
        network: Network | None = None,
        local: Local | None = None,
        delay: Delay | int = MS,
        linked: bool = True,
        persist_ns: int = 0,
        core: str | Sequence[str] = "python",
        factory: Factory | None = None,
    ) -> None:
        size = n + observers
        cores = [core] * size if isinstance(core, str) else core
        assert len(cores) == size, "one core per peer"
        self.factory: Factory = factory or (lambda i, config: machine_of(cores[i], config))
        self.n = n
        self.observers = observers
        self.size = size
        self.now = EPOCH
        self.network = network or Network()
        self.local = local or Local()
        self.persist_ns = persist_ns
        self.delay: Delay = delay if callable(delay) else (lambda _from, _to, _frame, ns=delay: ns)
        self.journals: list[list[bytes]] = [[] for _ in range(size)]
        self.stores = [Shelf() for _ in range(size)]
        # What each machine has told since it was started; tests without sync points take what is delivered for events.
        self.delivered: list[list[Any]] = [[] for _ in range(size)]  # Delivered and SyncPoint
        self.opened: list[list[Opened]] = [[] for _ in range(size)]
        self.closed: list[dict[bytes, Outcome]] = [{} for _ in range(size)]  # by id of the proposal
        self.certified: list[list[Certificate]] = [[] for _ in range(size)]
        self.diverged: dict[int, Divergence] = {}
        self.counts = [0] * size  # transactions delivered
        self.delivered_at: list[dict[bytes, int]] = [{} for _ in range(size)]
        self.rejects: list[tuple[int, int, Reject]] = []
        self.halted: dict[int, str] = {}
        self.queues: dict[int, Queue] = {}
        self.frames: list[tuple[int, int, int, bytes]] = []  # (at, from, to, frame)
        self.answers = 0  # that stores have given
        self.down: set[int] = set()
        self.links: set[tuple[int, int]] = set()  # (lower, higher)
        self._wake: list[int | None] = [None] * size
        self._generation = [0] * size
        self._queue: list[tuple[int, int, int, int, Input | None]] = []
        self._arrives: dict[tuple[int, int], int] = {}  # when the last frame on a link arrives
        self._count = 0
        self.machines = [self._machine(i) for i in range(size)]
        for i in range(size):
            self.step(i, Start(()))
        if linked:
            for i in range(size):
                for j in range(i + 1, size):
                    self.link(i, j)

    def add_peer(self) -> None:
        """Room for what one more peer tells."""
        for each in (self.journals, self.delivered, self.opened, self.certified):
            each.append([])  # type: ignore[attr-defined]
        self.stores.append(Shelf())
        self.closed.append({})
        self.delivered_at.append({})
        for numbers in (self.counts, self._generation):
            numbers.append(0)
        self._wake.append(None)

    def _machine(self, i: int) -> Machine:
        config = MachineConfig(
            network=self.network,
            members=members_of(self.n, self.observers),
            seed=seeds(self.n, self.observers)[i],
            entropy=bytes([i]) * 32,
            local=self.local_of(i),
        )
        return self.factory(i, config)

    def local_of(self, i: int) -> Local:
        """What a peer sets for itself."""
        return self.local

    # -- what a test does ---------------------------------------------------------------------------

    def link(self, i: int, j: int) -> None:
        self.links.add((min(i, j), max(i, j)))
        self.step(i, Connected(j))
        self.step(j, Connected(i))

    def cut(self, i: int, j: int) -> None:
        self.links.discard((min(i, j), max(i, j)))
        self.step(i, Disconnected(j))
        self.step(j, Disconnected(i))

    def crash(self, i: int) -> None:
        self.down.add(i)
        for j in range(self.size):
            if j != i and (min(i, j), max(i, j)) in self.links:
                self.cut(i, j)

    def restart(
        self, i: int, *, keep_journal: bool = True, records: Sequence[bytes] | None = None, whole: bool = True
    ) -> None:
        """Start a peer again, with its journal or with these records of its store."""
        self.down.discard(i)
        self._generation[i] += 1
        self._wake[i] = None
        self.delivered[i], self.opened[i], self.closed[i], self.certified[i] = [], [], {}, []
        self.diverged.pop(i, None)
        self.counts[i] = 0
        if not keep_journal:
            self.journals[i] = []
        self.machines[i] = self._machine(i)
        self.step(i, Start(tuple(self.journals[i]) if records is None else tuple(records), whole))
        for j in range(self.size):
            if j != i and j not in self.down:
                self.link(i, j)

    def submit(self, i: int, *transactions: bytes) -> None:
        self.step(i, Submit(transactions))

    def propose(
        self,
        i: int,
        kind: int = SyncPointKind.CUSTOM,
        metadata: bytes = b"",
        *,
        within: int = 60_000 * MS,
        salt: int | None = None,
    ) -> bytes:
        """Have a peer ask for a sync point; the id of its proposal. Without a salt no two are alike."""
        self._count += 1
        body = encode_proposal(Proposal(kind, self.now + within, self._count if salt is None else salt, metadata))
        self.step(i, Propose(body))
        return proposal_id(self.epoch_id, i, body)

    def vote(self, i: int, proposal: bytes, approves: bool = True) -> None:
        """Have a peer vote for a proposal, or against it."""
        self.step(i, Vote(proposal, approves))

    def step(self, i: int, *inputs: Input) -> None:
        if i in self.down:
            return
        for output in self.machines[i].step(self.now, inputs):
            self._carry_out(i, output)

    def run(self, ns: int) -> None:
        """Let so much time pass."""
        until = self.now + ns
        while self._queue and self._queue[0][0] <= until:
            self._next()
        self.now = until

    def run_until(self, done: Callable[[], bool], *, within: int = 60_000 * MS) -> int:
        """Let time pass until something holds; how long it took."""
        start = self.now
        while not done():
            assert self._queue, "nothing is going to happen any more"
            assert self._queue[0][0] <= start + within, f"not within {within // MS} ms of virtual time"
            self._next()
        return self.now - start

    def exchange(self, rng: random.Random, count: int) -> None:
        """Transactions at random times from random peers: all are delivered once, everywhere, in the same order."""
        sent = []
        for number in range(count):
            self.run(rng.randint(0, 3 * MS))
            sent.append(b"transaction %d" % number)
            self.submit(rng.randrange(self.n), sent[-1])
        self.run_until(lambda: self.all_have(count))
        self.check_agreement()
        for i in self.live:
            assert sorted(self.transactions(i)) == sorted(sent)

    # -- what a test looks at -----------------------------------------------------------------------

    @property
    def live(self) -> list[int]:
        return [i for i in range(self.size) if i not in self.down]

    @property
    def epoch_id(self) -> bytes:
        return Committee.genesis(self.network, members_of(self.n, self.observers)).epoch_id

    def transactions(self, i: int) -> list[bytes]:
        return [transaction for done in self.events(i) for transaction in done.event.transactions]

    def events(self, i: int) -> list[Delivered]:
        """The events that a peer delivered."""
        return [done for done in self.delivered[i] if is_event(done)]

    def points(self, i: int) -> list[SyncPoint]:
        """The sync points that a peer delivered; the native core has a class of its own for them."""
        return [done for done in self.delivered[i] if not is_event(done)]

    def all_have(self, count: int) -> bool:
        return all(self.counts[i] >= count for i in self.live)

    def check_agreement(self, peers: Sequence[int] | None = None) -> int:
        """All streams are prefixes of the longest one, and times rise along it; its length."""
        streams = [
            [(d.index, d.digest, d.consensus_at, d.order_hash, *_besides(d)) for d in self.delivered[i]]
            for i in (range(self.size) if peers is None else peers)
        ]
        longest = max(streams, key=len)
        for stream in streams:
            assert stream == longest[: len(stream)]
        assert [entry[0] for entry in longest] == list(range(len(longest)))
        times = [entry[2] for entry in longest]
        assert all(a < b for a, b in itertools.pairwise(times))
        return len(longest)

    # -- how it works -------------------------------------------------------------------------------

    def _carry_out(self, i: int, output: object) -> None:
        match output:
            case Write():
                self.stores[i].records += output.records
            case Persist():
                self.journals[i] += output.records
                self.stores[i].records += output.records
                self._put(self.now + self.persist_ns, i, Persisted(output.token))
            case Send():
                self.send(i, output.peer, output.frame)
            case SendStored():
                self.answers += 1
                asked = output.frontier, output.first, output.most, self.epoch_id, self.network, output.epoch
                for frame in self.stores[i].above(*asked):
                    self.send(i, output.peer, frame)
                self.send(i, output.peer, output.last)
            case Broadcast():
                for j in range(self.size):
                    self.send(i, j, output.frame)
            case Deliver():
                for done in output.messages:
                    self.delivered_at[i][done.digest] = self.now
                    if is_event(done):
                        self.counts[i] += len(done.event.transactions)
                self.delivered[i] += output.messages
                self.stores[i].deliver(output.messages, output.states)
            case Opened():
                self.opened[i].append(output)
            case Closed():
                assert output.proposal not in self.closed[i], "decided twice"
                self.closed[i][output.proposal] = output.outcome
            case Certified():
                self.certified[i].append(output.certificate)
            case Diverged():
                self.diverged[i] = output.divergence
            case Wake():
                self._wake[i] = output.at
                self._put(output.at, i, None)
            case Rejected():
                self.rejects.append((i, output.peer, output.code))
            case Halted():
                self.halted[i] = output.reason
            case Queue():
                self.queues[i] = output

    def send(self, i: int, j: int, frame: bytes) -> None:
        if (min(i, j), max(i, j)) not in self.links:
            return
        self.frames.append((self.now, i, j, frame))
        delay = self.delay(i, j, frame)
        if delay is not None:  # links keep the order of frames, as TCP does
            self._arrives[i, j] = max(self.now + delay, self._arrives.get((i, j), 0))
            self._put(self._arrives[i, j], j, Received(i, (frame,)))

    def _put(self, at: int, i: int, input: Input | None) -> None:
        self._count += 1
        heapq.heappush(self._queue, (at, self._count, i, self._generation[i], input))

    def _next(self) -> None:
        at, _, i, generation, input = heapq.heappop(self._queue)
        self.now = max(self.now, at)
        if generation != self._generation[i]:
            return
        if isinstance(input, Received) and (min(i, input.peer), max(i, input.peer)) not in self.links:
            return
        if input is not None:
            self.step(i, input)
        elif self._wake[i] == at:
            self.step(i)


def _besides(done: Any) -> tuple[object, ...]:
    """What two peers must have alike of something that was delivered, besides its place."""
    if not is_event(done):
        return done.metadata, done.approvals, done.epoch_index, done.session_id
    return (done.whitened_signature,)


def jitter(rng: random.Random, low: int, high: int, *, loss: float = 0.0) -> Delay:
    """Delays between low and high ns; some frames are lost."""
    return lambda _from, _to, _frame: None if rng.random() < loss else rng.randint(low, high)
