"""The face of the native core, which is built from rust/py; `_python.py` gives the same face to the Python core.

The functions are for tests that run on both cores, and for benches. A function that decodes returns the Reject that
says why the bytes are none; values of the wrong type raise TypeError, values out of range ArgumentError.
"""

from collections.abc import Iterable, Sequence
from typing import Final, final

from .core.config import MachineConfig, Member, Network
from .core.error import Reject
from .core.input import Input
from .core.journal import Record
from .core.output import Output
from .core.proof import Flaw, Proved
from .core.status import Status
from .core.values import Item, Parent

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

SEAM: Final[int]
"""The number of the seam: what crosses it and how. A module with another number than the package is not used."""

HASH: Final[str]
"""Where BLAKE3 comes from: "native"."""

__version__: Final[str]
"""As Cargo writes it."""

@final
class Machine:
    """One running instance of the core: takes inputs, returns outputs.

    What is no input is refused before anything happens; one thread steps at a time, without the interpreter's lock;
    and a machine that failed is of no more use, as it may be half changed: `step` and `digest` raise AssertionError,
    `Status.halted` says why. An assertion of the core that does not hold is an AssertionError as well.
    """

    def __new__(cls, config: MachineConfig) -> Machine: ...
    def step(self, now: int, inputs: Sequence[Input]) -> list[Output]:
        """Take in what happened until `now` (ns since the Unix epoch, never decreasing); what to do about it.

        `Deliver.messages` are objects of `Delivered` and `SyncPoint` below.
        """

    def status(self) -> Status:
        """A snapshot for people and metrics; of a machine that failed the last one, which says so."""

    def digest(self) -> bytes:
        """A hash of all that the peers must come to agree on, and of what it will be computed from."""

@final
class Event:
    """One signed vertex of the DAG (E1): the bytes that it came in, and Python objects only of what is asked for.

    Unlike the Python core's, it has its parents also after it was delivered.
    """

    @property
    def creator(self) -> int:
        """Index in the committee."""

    @property
    def round(self) -> int:
        """From 1."""

    @property
    def created_at(self) -> int:
        """ns since the Unix epoch, as its creator claims."""

    @property
    def parents(self) -> tuple[Parent, ...]:
        """In creator order."""

    @property
    def items(self) -> tuple[Item, ...]:
        """The attachments (E5)."""

    @property
    def transactions(self) -> tuple[bytes, ...]:
        """The payload (E3); made when it is asked for, and then kept."""

    @property
    def header(self) -> bytes:
        """The encoded, signed header."""

    @property
    def digest(self) -> bytes:
        """32 bytes (E2)."""

    @property
    def signature(self) -> bytes:
        """64 bytes (E2)."""

    @property
    def size(self) -> int:
        """About what it takes in memory and on the wire, in bytes."""

    @property
    def carries(self) -> bool:
        """Whether anything in it waits to be delivered; an idle network makes events that carry nothing."""

    @property
    def transaction_count(self) -> int:
        """How many transactions it has."""

    @property
    def payload_bytes(self) -> int:
        """Bytes of all its transactions."""

@final
class Delivered:
    """An event at its place in the agreed order (O7 to O10)."""

    @property
    def event(self) -> Event:
        """The event; always the same object."""

    @property
    def digest(self) -> bytes:
        """The event's id: what stands for it in the order hash."""

    @property
    def parents(self) -> tuple[bytes, ...]:
        """The parents' digests, in creator order."""

    @property
    def index(self) -> int:
        """From 0."""

    @property
    def consensus_at(self) -> int:
        """ns, strictly increasing (O8)."""

    @property
    def order_hash(self) -> bytes:
        """32 bytes (O9)."""

    @property
    def whitened_signature(self) -> bytes:
        """64 bytes (O10)."""

    @property
    def closed_by(self) -> int:
        """The round whose closing delivered it."""

    @property
    def submissions(self) -> tuple[int | None, ...]:
        """Of our own events: the number of each transaction, None from before a restart."""

    @property
    def epoch(self) -> int:
        """The number of the epoch: whose committee `event.creator` is an index in."""

@final
class SyncPoint:
    """A decision of the network about itself, at its place in the agreed order (S2)."""

    @property
    def kind(self) -> int:
        """One of SyncPointKind."""

    @property
    def metadata(self) -> bytes:
        """What its proposer attached."""

    @property
    def proposal(self) -> bytes:
        """The id of the proposal, 32 bytes; zeros: nobody had to ask."""

    @property
    def proposer(self) -> int | None:
        """Creator; None: nobody had to ask."""

    @property
    def approvals(self) -> int:
        """Bit set over creators: who agreed."""

    @property
    def epoch_index(self) -> int:
        """Its number among the sync points, from 1."""

    @property
    def session_id(self) -> bytes:
        """32 bytes: names the session that goes on or starts here."""

    @property
    def digest(self) -> bytes:
        """32 bytes, in the place of an event's (O9)."""

    @property
    def index(self) -> int:
        """In the same numbering as events."""

    @property
    def consensus_at(self) -> int:
        """ns, strictly increasing (O8)."""

    @property
    def order_hash(self) -> bytes:
        """32 bytes (O9)."""

    @property
    def closed_by(self) -> int:
        """The round whose closing delivered it."""

    @property
    def change(self) -> bytes:
        """Of a kind in `change.CHANGING`: what it changes from the next epoch on (S4)."""

    @property
    def epoch(self) -> int:
        """The number of the epoch: whose committee `proposer` and `approvals` are indices in."""

@final
class DagRun:
    """One DAG as it goes through dag, decide and order, event by event."""

    def __new__(
        cls, n: int, f: int | None, epoch_id: bytes, gc_depth: int, rule: str, order: str, epoch_ms: int = 0
    ) -> DagRun: ...
    @classmethod
    def begin(cls, record: bytes, network_id: bytes) -> DagRun:
        """One that goes on where an epoch begins, as its EPOCH record says, to the sync point that ends it (S4).

        A record with the number 0 and without a state begins the first epoch, whose id is `network_id`.
        """

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

    def count(self, digest: bytes, creator: int, round: int, created_at: int, parents: Sequence[bytes]) -> None:
        """Insert an event like `insert`, but decide nothing yet."""

    def insert_all(self, events: Iterable[tuple[bytes, int, int, int, Sequence[bytes]]]) -> None:
        """`insert` for many (digest, creator, round, created_at, parents) at once; those before a wrong one are in."""

    def decide(self) -> None:
        """Decide all that can be, for whoever counted a whole DAG before."""

    def close(self) -> list[tuple[int, list[tuple[bytes, int]]]]:
        """Order all rounds that have closed since the last call: (round, [(digest, consensus_at), ...]) of each.

        Sync points are among what is ordered.
        """

    def slots(self) -> dict[str, str]:
        """Every slot as "round/creator" and its status: an event's digest in hex, "skip" or "undecided"."""

    def forget(self, keep_rounds: int) -> None:
        """Drop rounds as a machine does that retains `keep_rounds`, at least `gc_depth`, below the last closed one."""

    @property
    def order_hash(self) -> bytes:
        """Rolling hash of the order so far."""

    def __len__(self) -> int: ...

def blake3(data: bytes) -> bytes:
    """The 32-byte BLAKE3 hash of `data`."""

def derive(seed: bytes) -> bytes:
    """The 32-byte public key of a 32-byte Ed25519 seed."""

def sign(seed: bytes, message: bytes) -> bytes:
    """The 64-byte signature of `message` by the key of `seed`."""

def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is one of `message` by `public`, an admitted key."""

def simulated_signature(public: bytes, message: bytes) -> bytes:
    """The 64 bytes that stand for a signature of `message` by `public` in a simulation; anyone can compute them."""

def admit(public: bytes) -> bool:
    """Whether `public` may be a peer's key."""

def peer_record(seed: bytes) -> bytes:
    """The 96-byte record by which the key of `seed` proves that someone holds it."""

def check_peer_record(record: bytes) -> bytes | None:
    """The public key of a peer record, None if the record does not hold."""

def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The 32-byte root of the Merkle tree over `leaves`."""

def merkle_path(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The hashes that lead from leaf `index` to the root, lowest first."""

def merkle_check(root: bytes, leaf: bytes, index: int, count: int, path: Sequence[bytes]) -> bool:
    """Whether `path` proves that `leaf` is number `index` of the `count` leaves under `root`."""

def decode_event(frame: bytes, epoch_id: bytes, network: Network) -> Event | Reject:
    """The event in an EVENT frame (E4, V1, V6)."""

def decode_header(header: bytes, epoch_id: bytes) -> tuple[int, int] | Reject:
    """Creator and round of a header that stands alone."""

def decode_request(frame: bytes) -> list[bytes] | Reject:
    """The digests in a REQUEST frame."""

def decode_frontier(frame: bytes, n: int) -> tuple[int, ...] | Reject:
    """The rounds in a FRONTIER or PULL frame of an epoch with n creators."""

def decode_evidence(body: bytes) -> list[tuple[bytes, bytes]] | Reject:
    """The two (header, signature) pairs of an EVIDENCE item."""

def event_key(frame: bytes) -> tuple[bytes, int, bytes] | None:
    """By what a store finds the event of an EVENT frame: epoch id, round, digest; None when its header is cut off."""

def decode_record(record: bytes) -> Record | None:
    """What a record of the journal says, None when it is none."""

def encode_event(event: Event) -> bytes:
    """An EVENT frame."""

def encode_request(digests: Sequence[bytes]) -> bytes:
    """A REQUEST frame for 1 to 256 events."""

def encode_frontier(type: int, frontier: Sequence[int], epoch: int = 0) -> bytes:
    """A FRONTIER or PULL frame of the epoch with a number (F3)."""

def encode_network(network: Network) -> bytes:
    """The canonical bytes of a network's settings."""

def epoch_id(network: Network, members: Sequence[Member]) -> bytes:
    """The id of the first epoch of a network."""

def committee(n: int, f: int | None) -> dict[str, int]:
    """All thresholds of a committee of n with f liars, by name; f None takes the most."""

def slot_order(n: int, f: int | None, epoch_id: bytes, round: int) -> list[int]:
    """The creators of a round, primary first (D4)."""

def check_event(
    event: Event, network: Network, members: Sequence[Member], signatures: str = "ed25519"
) -> Reject | None:
    """What is wrong with an event as far as it alone tells (V1, V2, V3), None when nothing is."""

def check_evidence(body: bytes, network: Network, members: Sequence[Member], signatures: str = "ed25519") -> int | None:
    """The creator that an EVIDENCE item proves to have signed two events for one slot, None if it proves nothing."""

def check_proof(
    proof: bytes, network: Network, members: Sequence[Member], signatures: str = "ed25519"
) -> Proved | Flaw:
    """What a proof proves by the first members of its network, or why it proves nothing."""
