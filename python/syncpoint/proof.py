"""Proofs that hold without the network: bytes that a peer made, checked by the network file alone (C3)."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from .backend import load_core
from .core import proof as core_proof
from .core.change import Add, Configure, Remove, Rotate, decode_change
from .core.checkpoint import NOT_ATTESTED
from .core.config import Member, Network
from .core.proof import MAX_PROOF_BYTES, Flaw
from .core.values import SyncPointKind
from .errors import ArgumentTypeError, ProofError
from .genesis import Genesis
from .keys import KeyPublic

__all__ = ["Proof", "Proved", "ProvedSyncPoint", "ProvedTransaction"]

SHOWN_BYTES = 64  # of a transaction or metadata, in words

BytesLike = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved(ABC):
    """What a proof proves: that something stands at a place in the order of a network, and who vouches for it.

    It is a `ProvedSyncPoint` or a `ProvedTransaction`; `str` of it says all of it in words. Times are ns since the
    Unix epoch.
    """

    network: str
    """The name of the network."""

    index: int
    """The place in the order: `SyncPoint.index`, or `Event.index` of the event that holds the transaction."""

    consensus_at: int
    """The time that the network gave it."""

    order_hash: bytes
    """The order hash up to and with it, 32 bytes: `SyncPoint.order_hash` or `Event.order_hash` there."""

    checkpoint: int
    """The index up to which the signers signed the order: that of what is proved, or a later one."""

    state_hash: bytes | None
    """What the signers attested as the state of the application behind the checkpoint; None: nothing."""

    signers: tuple[KeyPublic, ...]
    """Who signed: a quorum, in the order of the peers' numbers."""

    peers: int
    """How many peers could have signed: those that take part in ordering."""

    epoch: int
    """The number of the epoch that it stands in: how many sync points before it changed members, keys or settings."""

    checkpoint_epoch: int
    """The number of the epoch whose peers signed: that one, or a later one."""

    def __str__(self) -> str:
        state = "" if self.state_hash is None else f" and the state of the application there, {self.state_hash.hex()}"
        epoch = f", in its epoch {self.epoch}" if self.epoch else ""
        return (
            f"{self._what()}\n"
            f"It stands at index {self.index} in the order of the network {self.network!r}{epoch}, "
            f"at {_time(self.consensus_at)}; the order hash there is {self.order_hash.hex()}.\n"
            f"{len(self.signers)} of {self.peers} peers{self._of()} signed the order up to index "
            f"{self.checkpoint}{state}: {', '.join(map(str, self.signers))}."
        )

    def _of(self) -> str:
        """Whose peers they are, where the network file alone does not say it."""
        count = self.checkpoint_epoch
        if not count:
            return ""
        changes = "1 change" if count == 1 else f"{count} changes"
        return f" of epoch {count}, which {changes} made of those in the network file, each signed by those before it,"

    @abstractmethod
    def _what(self) -> str:
        """The thing itself, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedSyncPoint(Proved):
    """A sync point, as all peers received it; which session went on there is not in what was signed."""

    kind: SyncPointKind
    """What it is about."""

    metadata: bytes
    """What its proposer attached."""

    epoch_index: int
    """Its number among the sync points of the network, from 1."""

    proposer: KeyPublic | None
    """Who asked for it; None for the regular beat."""

    approvals: tuple[KeyPublic, ...]
    """Who had agreed, in the order of the peers' numbers."""

    joined: KeyPublic | None
    """The peer that it let in."""

    left: KeyPublic | None
    """The peer that it removed."""

    rotated: tuple[KeyPublic, KeyPublic] | None
    """The key that it replaced, and the one that came in its place."""

    settings: Network | None
    """The settings that hold from the next epoch on, where it changed any."""

    def _what(self) -> str:
        if self.proposer is None:
            by = "that came by itself"
        else:
            by = f"proposed by {self.proposer}, approved by {', '.join(map(str, self.approvals))}"
        point = f"Sync point {self.epoch_index}, {self.kind.name}, {by}, with the metadata {_bytes(self.metadata)}."
        return point + self._changed()

    def _changed(self) -> str:
        """What it changed, in words."""
        if self.joined is not None:
            return f" It let in the peer {self.joined}."
        if self.left is not None:
            return f" It removed the peer {self.left}."
        if self.rotated is not None:
            return f" It replaced the key {self.rotated[0]} by {self.rotated[1]}."
        if self.settings is not None:
            values = ", ".join(f"{name} {value!r}" for name, value in asdict(self.settings).items())
            return f" From then on the settings are: {values}."
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedTransaction(Proved):
    """A transaction, in an event that all peers received."""

    transaction: bytes
    """What was sent."""

    creator: KeyPublic
    """The peer that sent it."""

    round: int
    """The round of the event."""

    created_at: int
    """When the creator says that it made the event, which nobody can check."""

    hash: bytes
    """The id of the event, 32 bytes: `Event.hash`."""

    branch: str
    """Where the event holds it: the way through the tree of its transactions, 0 is left and 1 is right.

    Of two transactions of one event the one with the lower text comes first. Its number among them is not proved.
    """

    def _what(self) -> str:
        return (
            f"The transaction {_bytes(self.transaction)}, sent by {self.creator} in its event {self.hash.hex()} "
            f"of round {self.round}."
        )


class Proof:
    """A proof as bytes, whatever they are: only `verify` tells whether they prove anything.

    `Engine.prove` and `SyncPoint.proof` make them. Two with the same bytes are equal. Raises ArgumentTypeError for
    anything but bytes.
    """

    __slots__ = ("_data",)

    def __init__(self, data: BytesLike) -> None:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise ArgumentTypeError(
                f"a Proof is made of {type(data).__name__}: give bytes, or use Proof.read for a file"
            )
        self._data = bytes(data)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Proof:
        """Read a file that `write` made; OSError where it cannot be read, ProofError where it is far too long."""
        with open(path, "rb") as file:
            data = file.read(MAX_PROOF_BYTES + 1)
        if len(data) > MAX_PROOF_BYTES:
            raise ProofError(Flaw.LIMIT, f"{os.fspath(path)} is no proof: {_WORDS[Flaw.LIMIT]}")
        return cls(data)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the bytes to a file, over what is there; OSError where that cannot be."""
        with open(path, "wb") as file:
            file.write(self._data)

    def verify(self, genesis: Genesis, core: str = "auto") -> Proved:
        """What is proved in the network that began so; nothing but the genesis is trusted.

        `core` is "auto", "native" or "python". Raises ProofError, whose `flaw` is the reason and which says it in
        words, where anything is wrong, if only by one bit; ArgumentTypeError for another genesis than a `Genesis`.
        """
        if not isinstance(genesis, Genesis):
            raise ArgumentTypeError(
                f"Proof.verify was given a {type(genesis).__name__}: give the Genesis of the network, "
                "as Genesis.from_toml reads it from the network file"
            )
        members = [Member(bytes(entry.public), entry.capabilities.flags) for entry in genesis.entries]
        found = load_core(core).check_proof(self._data, genesis.network, members)
        if isinstance(found, Flaw):
            words = _WORDS[found]
            if found is Flaw.NETWORK:
                words += (
                    f": give the network file that its maker has; the fingerprint of this one is {genesis.fingerprint}"
                )
            raise ProofError(found, f"it proves nothing: {words}")
        return _proved(found, genesis)

    def __bytes__(self) -> bytes:
        return self._data

    def __len__(self) -> int:
        return len(self._data)

    def __eq__(self, other: object) -> bool:
        if self.__class__ is not other.__class__:
            return NotImplemented
        assert isinstance(other, Proof)
        return self._data == other._data

    def __hash__(self) -> int:
        return hash(self._data)

    def __repr__(self) -> str:
        return f"Proof({len(self._data)} bytes)"


def _proved(found: core_proof.Proved, genesis: Genesis) -> Proved:
    """What a core found, with names for numbers."""
    what, keys = found.what, found.creators
    state_hash = None if found.state_hash == NOT_ATTESTED else found.state_hash
    if isinstance(what, core_proof.ProvedSyncPoint):
        change = decode_change(what.kind, what.change)
        return ProvedSyncPoint(
            network=genesis.network.name,
            index=found.index,
            consensus_at=found.consensus_at,
            order_hash=found.order_hash,
            checkpoint=found.checkpoint,
            state_hash=state_hash,
            signers=_among(found.voters, found.signers),
            peers=len(found.voters),
            epoch=found.epoch,
            checkpoint_epoch=found.checkpoint_epoch,
            kind=SyncPointKind(what.kind),
            metadata=what.metadata,
            epoch_index=what.epoch_index,
            proposer=None if what.proposer is None else KeyPublic(keys[what.proposer]),
            approvals=_among(keys, what.approvals),
            joined=KeyPublic(change.member.public) if isinstance(change, Add) else None,
            left=KeyPublic(change.public) if isinstance(change, Remove) else None,
            rotated=(KeyPublic(change.old), KeyPublic(change.new)) if isinstance(change, Rotate) else None,
            settings=change.network if isinstance(change, Configure) else None,
        )
    return ProvedTransaction(
        network=genesis.network.name,
        index=found.index,
        consensus_at=found.consensus_at,
        order_hash=found.order_hash,
        checkpoint=found.checkpoint,
        state_hash=state_hash,
        signers=_among(found.voters, found.signers),
        peers=len(found.voters),
        epoch=found.epoch,
        checkpoint_epoch=found.checkpoint_epoch,
        transaction=what.transaction,
        creator=KeyPublic(keys[what.creator]),
        round=what.round,
        created_at=what.created_at,
        hash=what.digest,
        branch=f"{what.turns:0{what.depth}b}" if what.depth else "",
    )


def _among(keys: Sequence[bytes], creators: int) -> tuple[KeyPublic, ...]:
    """Those whose bits are set."""
    return tuple(KeyPublic(key) for creator, key in enumerate(keys) if creators >> creator & 1)


def _bytes(data: bytes) -> str:
    """Bytes in words: all of a few, the beginning of many."""
    if len(data) <= SHOWN_BYTES:
        return f"{data!r} ({len(data)} bytes)"
    return f"{data[:SHOWN_BYTES]!r}... ({len(data)} bytes)"


def _time(at_ns: int) -> str:
    """A time to the ns."""
    seconds, ns = divmod(at_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{ns:09} UTC"


_WORDS = {
    Flaw.TRUNCATED: "the bytes end too soon, or are no proof at all: they were cut or changed on their way",
    Flaw.TRAILING: "there are more bytes than the proof takes: something was added to them, or they were changed",
    Flaw.LIMIT: "it is longer, or says that a part of it is longer, than a proof can be",
    Flaw.VERSION: "it is of a version that this one does not know, or no proof at all: take the syncpoint that made it",
    Flaw.KIND: "it is neither of a sync point nor of a transaction",
    Flaw.NETWORK: "it is of another network",
    Flaw.COMMITTEE: "it goes through a change of peers, keys or settings that the peers before it did not sign",
    Flaw.SIGNERS: "it is not signed by exactly as many peers of the network as make a quorum",
    Flaw.PLACE: "what it shows stands behind the place up to which the order was signed, or in another epoch",
    Flaw.SYNC_POINT: "it shows a sync point that there cannot be in this network",
    Flaw.EVENT: "it shows something that is no event of this network",
    Flaw.PAYLOAD: "the event does not hold the transaction",
    Flaw.CHAIN: "what it shows does not lead to the order hash that was signed: it is not what stands at that place",
    Flaw.SIGNATURE: "a signature is wrong: that peer did not sign this",
}
