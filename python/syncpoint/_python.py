"""The Python core by the names of the native one, as in `_native.pyi`: one test can ask either of the same."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ._version import __version__
from .core import machine
from .core.committee import Committee
from .core.config import MAX_PEERS, SIGNATURES, MachineConfig, Member, Network
from .core.crypto import HASH_BACKEND as HASH
from .core.crypto import (
    SEED_BYTES,
    Signer,
    admit,
    blake3,
    check_peer_record,
    derive,
    merkle_check,
    merkle_path,
    merkle_root,
    simulated_signature,
    verify,
)
from .core.crypto import peer_record as _peer_record
from .core.dag import Dag, Node
from .core.decide import Decider
from .core.epoch import Epoch
from .core.error import Reject
from .core.input import (
    Attest,
    Certify,
    Connected,
    Disconnected,
    Input,
    NextKey,
    Persisted,
    Propose,
    Received,
    Start,
    Submit,
    Vote,
)
from .core.items import decode_proposal
from .core.journal import EpochStart, decode_record
from .core.order import Orderer
from .core.output import Output
from .core.proof import Flaw, Proved
from .core.proof import check_proof as _check_proof
from .core.roster import Roster
from .core.status import Status
from .core.values import Delivered, Event, Item, Parent, SyncPoint
from .core.verify import check_event as _check_event
from .core.verify import check_evidence as _check_evidence
from .core.wire import (
    MAX_TIME,
    decode_event,
    decode_evidence,
    decode_frontier,
    decode_header,
    decode_request,
    encode_event,
    encode_frontier,
    encode_request,
    event_key,
)
from .errors import ArgumentError, ArgumentTypeError

__all__ = [
    "HASH",
    "SEAM",
    "DagRun",
    "Delivered",
    "Event",
    "Machine",
    "SyncPoint",
    "__version__",
    "admit",
    "blake3",
    "check_event",
    "check_evidence",
    "check_peer_record",
    "check_proof",
    "committee",
    "decode_event",
    "decode_evidence",
    "decode_frontier",
    "decode_header",
    "decode_record",
    "decode_request",
    "derive",
    "encode_event",
    "encode_frontier",
    "encode_network",
    "encode_request",
    "epoch_id",
    "event_key",
    "merkle_check",
    "merkle_path",
    "merkle_root",
    "peer_record",
    "sign",
    "simulated_signature",
    "slot_order",
    "verify",
]

SEAM = 8

U64 = 2**64 - 1  # the highest number that crosses to either core
MAX_GAP = 100_000  # rounds above the highest that an event of a DagRun may be; each takes memory


class Machine(machine.Machine):
    """One running instance of the core: takes inputs, returns outputs.

    What is no input is refused before anything happens; one thread steps at a time; and a machine that failed is
    of no more use, as it may be half changed.
    """

    def __init__(self, config: MachineConfig) -> None:
        for member in config.members:
            _check_digest("Member.public", member.public)
        if len(config.seed) == SEED_BYTES:  # else the signer says so
            _check_digest("MachineConfig.entropy", config.entropy)
        super().__init__(config)
        self._lock = threading.Lock()
        self._failure: str | None = None

    def step(self, now: int, inputs: Sequence[Input]) -> list[Output]:
        """Take in what happened until `now` (ns since the Unix epoch, never decreasing); what to do about it."""
        _check_number("now", now, MAX_TIME)
        _check_lasting("an input", inputs)
        for input in inputs:
            _check_input(input)
        with self._lock:
            self._require_whole()
            try:
                return super().step(now, inputs)
            except BaseException as error:
                self._failure = f"{type(error).__name__}: {error}"
                raise

    def status(self) -> Status:
        """A snapshot for people and metrics; of a machine that failed the last one, which says so."""
        with self._lock:
            status = super().status()
            return status if self._failure is None else replace(status, halted=self._poisoned())

    def digest(self) -> bytes:
        """A hash of all that the peers must come to agree on, and of what it will be computed from."""
        with self._lock:
            self._require_whole()
            return super().digest()

    def _require_whole(self) -> None:
        if self._failure is not None:
            raise AssertionError(self._poisoned())

    def _poisoned(self) -> str:
        return f"this machine failed before and is of no more use: {self._failure}"


class DagRun:
    """One DAG as it goes through dag, decide and order, event by event."""

    def __init__(
        self, n: int, f: int | None, epoch_id: bytes, gc_depth: int, rule: str, order: str, epoch_ms: int = 0
    ) -> None:
        self.committee = Committee(n, f, epoch_id)
        self.dag = Dag(self.committee.n)
        self.decider = Decider(self.committee, self.dag, rule)
        self.orderer = Orderer(self.committee, order, gc_depth)
        self.epoch = Epoch(self.committee, epoch_ms * 1_000_000)
        self._forgotten = 0  # rounds up to here have no slots any more

    @classmethod
    def begin(cls, record: bytes, network_id: bytes) -> DagRun:
        """One that goes on where an epoch begins, as its EPOCH record says, to the sync point that ends it (S4).

        A record with the number 0 and without a state begins the first epoch, whose id is `network_id`.
        """
        start = decode_record(record)
        if not isinstance(start, EpochStart):
            raise ArgumentError(f"a record of {len(record)} bytes begins no epoch: give what encode_epoch_start gives")
        _check_digest("network_id", network_id)
        network, run = start.roster.network, cls.__new__(cls)
        run.committee = committee = start.roster.committee(start.epoch_id)
        run.dag = Dag(committee.n)
        run.decider = Decider(committee, run.dag, network.rule)
        run.orderer = Orderer(committee, network.order, network.gc_depth, start.number)
        run.orderer.follow(start.next_index, start.consensus_at, start.order_hash)
        run.epoch = Epoch(committee, network.epoch_ms * 1_000_000, start.roster, start.number, network_id)
        if start.state:
            run.epoch.restore(start.state)
        run._forgotten = 0
        return run

    def insert(
        self,
        digest: bytes,
        creator: int,
        round: int,
        created_at: int,
        parents: Sequence[bytes],
        items: Sequence[tuple[int, bytes]] = (),
        transactions: Sequence[bytes] = (),
    ) -> None:
        """Insert an event, and decide what it makes decidable; `parents` are digests of events that are here."""
        self.decider.insert(self._node(digest, creator, round, created_at, parents, items, transactions))

    def count(self, digest: bytes, creator: int, round: int, created_at: int, parents: Sequence[bytes]) -> None:
        """Insert an event like `insert`, but decide nothing yet."""
        self.decider.count(self._node(digest, creator, round, created_at, parents))

    def insert_all(self, events: Iterable[tuple[bytes, int, int, int, Sequence[bytes]]]) -> None:
        """`insert` for many (digest, creator, round, created_at, parents) at once; those before a wrong one are in."""
        for event in events:
            self.insert(*event)

    def decide(self) -> None:
        """Decide all that can be, for whoever counted a whole DAG before."""
        self.decider.decide()

    def close(self) -> list[tuple[int, list[tuple[bytes, int]]]]:
        """Order all rounds that have closed since the last call: (round, [(digest, consensus_at), ...]) of each.

        Sync points are among what is ordered.
        """
        return [(round, [(done.digest, done.consensus_at) for done in batch]) for round, batch in self._batches()]

    def slots(self) -> dict[str, str]:
        """Every slot as "round/creator" and its status: an event's digest in hex, "skip" or "undecided"."""
        slots = {}
        for round in range(self._forgotten + 1, self.dag.top + 1):
            for creator in range(self.committee.n):
                status = self.decider.status(round, creator)
                if isinstance(status, Node):
                    slots[f"{round}/{creator}"] = status.digest.hex()
                else:
                    slots[f"{round}/{creator}"] = "undecided" if status is None else "skip"
        return slots

    def forget(self, keep_rounds: int) -> None:
        """Drop rounds as a machine does that retains `keep_rounds`, at least `gc_depth`, below the last closed one."""
        _check_number("keep_rounds", keep_rounds)
        if keep_rounds < self.orderer.gc_depth:
            raise ArgumentError(f"keep_rounds is {keep_rounds}: give at least gc_depth, {self.orderer.gc_depth}")
        self._forgotten = self.decider.closed
        self.decider.prune(self.decider.closed)
        self.dag.prune(max(0, self.decider.closed - keep_rounds))

    @property
    def order_hash(self) -> bytes:
        """Rolling hash of the order so far."""
        return self.orderer.order_hash

    def __len__(self) -> int:
        return len(self.dag)

    def _batches(self) -> list[tuple[int, list[Delivered | SyncPoint]]]:
        batches: list[tuple[int, list[Delivered | SyncPoint]]] = []
        for round, committed in self.decider.closing():
            if self.epoch.is_closed:
                break
            events = self.orderer.close(round, committed)
            for done in events:
                self.epoch.count(done)
            batch: list[Delivered | SyncPoint] = [*events, *self.epoch.close(round, self.orderer)]
            if batch:
                batches.append((round, batch))
        return batches

    def _node(
        self,
        digest: bytes,
        creator: int,
        round: int,
        created_at: int,
        parents: Sequence[bytes],
        items: Sequence[tuple[int, bytes]] = (),
        transactions: Sequence[bytes] = (),
    ) -> Node:
        _check_digest("digest", digest)
        for what, value in (("creator", creator), ("round", round), ("created_at", created_at)):
            _check_number(what, value)
        for parent in parents:
            _check_digest("a parent", parent)
        attached = tuple(Item(type, body) for type, body in items)
        return self._accepted(self._event(digest, creator, round, created_at, parents, attached, tuple(transactions)))

    def _accepted(self, event: Event) -> Node:
        node = self.dag.insert(event)
        self.orderer.accept(node)
        return node

    def _event(
        self,
        digest: bytes,
        creator: int,
        round: int,
        created_at: int,
        parents: Sequence[bytes],
        items: tuple[Item, ...],
        transactions: tuple[bytes, ...],
    ) -> Event:
        """The event, if it can stand where it says."""
        id, n, lowest, highest = digest.hex(), self.committee.n, self.dag.floor + 1, self.dag.top + MAX_GAP
        if creator >= n:
            raise ArgumentError(f"event {id} is of creator {creator}: give 0 to {n - 1}")
        if not lowest <= round <= highest:
            raise ArgumentError(f"event {id} is of round {round}: give {lowest} to {highest}")
        if digest in self.dag:
            raise ArgumentError(f"event {id} is here already")
        references = []
        for parent in parents:
            node = self.dag.get(parent)
            if node is None or node.round >= round:
                raise ArgumentError(f"event {id} has parent {parent.hex()}, which is not an earlier event")
            references.append(Parent(node.creator, node.round, parent))
        return Event(creator, round, created_at, tuple(references), items, transactions, b"", digest, bytes(64))


def sign(seed: bytes, message: bytes) -> bytes:
    """The 64-byte signature of `message` by the key of `seed`."""
    return Signer(seed).sign(message)


def peer_record(seed: bytes) -> bytes:
    """The 96-byte record by which the key of `seed` proves that someone holds it."""
    return _peer_record(Signer(seed))


def encode_network(network: Network) -> bytes:
    """The canonical bytes of a network's settings."""
    return network.encode()


def epoch_id(network: Network, members: Sequence[Member]) -> bytes:
    """The id of the first epoch of a network."""
    return Committee.genesis(network, members).epoch_id


def committee(n: int, f: int | None) -> dict[str, int]:
    """All thresholds of a committee of n with f liars, by name; f None takes the most."""
    made = Committee(n, f, bytes(32))
    names = ("n", "f", "q", "p", "fast", "qc", "t_plain", "t_exposed")
    return {name: getattr(made, name) for name in names}


def slot_order(n: int, f: int | None, epoch_id: bytes, round: int) -> list[int]:
    """The creators of a round, primary first (D4)."""
    return Committee(n, f, epoch_id).slot_order(round)


def check_event(
    event: Event, network: Network, members: Sequence[Member], signatures: str = "ed25519"
) -> Reject | None:
    """What is wrong with an event as far as it alone tells (V1, V2, V3), None when nothing is."""
    return _check_event(event, _genesis(network, members, signatures), network.gc_depth)


def check_evidence(body: bytes, network: Network, members: Sequence[Member], signatures: str = "ed25519") -> int | None:
    """The creator that an EVIDENCE item proves to have signed two events for one slot, None if it proves nothing."""
    return _check_evidence(body, _genesis(network, members, signatures))


def check_proof(
    proof: bytes, network: Network, members: Sequence[Member], signatures: str = "ed25519"
) -> Proved | Flaw:
    """What a proof proves by the first members of its network, or why it proves nothing."""
    _check_bytes("the proof", (proof,))
    committee = _genesis(network, members, signatures)
    return _check_proof(proof, Roster.first(network, members), committee)


def _genesis(network: Network, members: Sequence[Member], signatures: str) -> Committee:
    if signatures not in SIGNATURES:
        raise ArgumentError(f"signatures is {signatures!r}: give one of {', '.join(SIGNATURES)}")
    return Committee.genesis(network, members, signatures)


def _check_input(input: Input) -> None:
    kind = type(input)
    if kind is Received:
        assert isinstance(input, Received)
        _check_number("Received.peer", input.peer, MAX_PEERS - 1)
        _check_bytes("a frame", input.frames)
    elif kind is Submit:
        assert isinstance(input, Submit)
        _check_bytes("a transaction", input.transactions)
    elif kind is Propose:
        assert isinstance(input, Propose)
        _check_bytes("Propose.body", (input.body,))
        if decode_proposal(input.body) is None:
            raise ArgumentError(f"Propose.body has {len(input.body)} bytes: give what encode_proposal gives")
    elif kind is Vote:
        assert isinstance(input, Vote)
        _check_digest("Vote.proposal", input.proposal)
    elif kind is Attest:
        assert isinstance(input, Attest)
        _check_number("Attest.index", input.index)
        _check_digest("Attest.state_hash", input.state_hash)
    elif kind is Certify:
        assert isinstance(input, Certify)
        _check_number("Certify.index", input.index)
    elif kind is NextKey:
        assert isinstance(input, NextKey)
        _check_digest("NextKey.seed", input.seed)
    elif kind is Persisted:
        assert isinstance(input, Persisted)
        _check_number("Persisted.token", input.token)
    elif kind is Connected or kind is Disconnected:
        assert isinstance(input, Connected | Disconnected)
        _check_number(f"{kind.__name__}.peer", input.peer, MAX_PEERS - 1)
    elif kind is Start:
        assert isinstance(input, Start)
        _check_bytes("a record", input.records)
    else:
        raise ArgumentTypeError(f"an input is a {kind.__name__}: give those of syncpoint.core.input")


def _check_number(what: str, value: int, high: int = U64) -> None:
    if not isinstance(value, int):
        raise ArgumentTypeError(f"{what} is {value!r}: give an integer")
    if not 0 <= value <= high:
        raise ArgumentError(f"{what} is {value}: give 0 to {high}")


def _check_lasting(what: str, values: Iterable[object]) -> None:
    """What goes over the values only once would leave nothing for the machine."""
    if iter(values) is values:
        raise ArgumentTypeError(f"{what} is in a {type(values).__name__}: give a list or a tuple")


def _check_bytes(what: str, values: Iterable[bytes]) -> None:
    _check_lasting(what, values)
    for value in values:
        if type(value) is not bytes:
            raise ArgumentTypeError(f"{what} is a {type(value).__name__}: give bytes")


def _check_digest(what: str, value: bytes) -> None:
    _check_bytes(what, (value,))
    if len(value) != 32:
        raise ArgumentError(f"{what} has {len(value)} bytes: give 32")
