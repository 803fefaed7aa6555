"""Proofs that stand by themselves: a sync point or a transaction, its place in the order, and who vouches for it (C3).

Whoever checks one needs the bytes and what the network file says, nothing else; the bytes are in docs/proofs.md.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from .checkpoint import Certificate
from .committee import Committee
from .config import MAX_PAYLOAD_BYTES
from .crypto import HASH_BYTES, SIGNATURE_BYTES, merkle_check, merkle_path
from .epoch import sync_point_digest
from .error import Reject
from .items import MAX_METADATA_BYTES, checkpoint_message
from .order import next_order_hash
from .values import Delivered, SyncPoint, SyncPointKind
from .wire import created_at_of, decode_header, event_digest, payload_root_of

__all__ = [
    "Flaw",
    "ProofKind",
    "Proved",
    "ProvedSyncPoint",
    "ProvedTransaction",
    "check_proof",
    "prove_sync_point",
    "prove_transaction",
]

PROOF_VERSION = 1
MAX_PROOF_BYTES = 16 * 1024 * 1024
MAX_PLACES = 65_536  # from what is proved to its checkpoint
MAX_HEADER_BYTES = 128 * 1024  # of the event that a transaction is in
MAX_DEPTH = 14  # of a transaction in the tree of its event: MAX_TRANSACTIONS have no more

_BEGIN = struct.Struct("<HB32sH")
_CERTIFICATE = struct.Struct("<Q32s32s16s")
_PLACE = struct.Struct("<QQ32s")
_SYNC_POINT = struct.Struct("<BQ32sH16sI")
_TURNS = struct.Struct("<BH")
_LENGTH = struct.Struct("<I")
_LATER = struct.Struct("<32sQ")
_NOBODY = 0xFFFF


class Flaw(IntEnum):
    """The reason why bytes prove nothing."""

    TRUNCATED = 1  # the bytes end before the proof does
    TRAILING = 2  # the proof ends before the bytes do
    LIMIT = 3  # longer than a proof may be, or a length or a count in it above its limit
    VERSION = 4  # of a version that this one does not know
    KIND = 5  # of neither a sync point nor a transaction
    NETWORK = 6  # of another network
    COMMITTEE = 7  # with changes of the committee, which this version does not know
    SIGNERS = 8  # signed by more or fewer than q creators, or by others
    PLACE = 9  # what is proved lies behind the checkpoint
    SYNC_POINT = 10  # of an unknown kind, or proposed or approved by others than creators
    EVENT = 11  # no event of this network
    PAYLOAD = 12  # the event does not hold the transaction
    CHAIN = 13  # what is proved does not lead to the order hash that was signed
    SIGNATURE = 14  # a signer did not sign the checkpoint


class ProofKind(IntEnum):
    """What a proof is of."""

    SYNC_POINT = 1
    TRANSACTION = 2


@dataclass(frozen=True, slots=True)
class ProvedSyncPoint:
    """A sync point as a proof shows it; which session goes on is not in its digest, so it is not here."""

    kind: int  # one of SyncPointKind
    epoch_index: int
    proposal: bytes  # 32 bytes; zeros: nobody had to ask
    proposer: int | None  # creator; None: nobody had to ask
    approvals: int  # bit set over creators
    metadata: bytes
    digest: bytes  # 32 bytes


@dataclass(frozen=True, slots=True)
class ProvedTransaction:
    """A transaction as a proof shows it, and the event that it is in."""

    transaction: bytes
    depth: int  # in the tree of its event's payload
    turns: int  # on the way there, the lowest bit at the transaction: 0 left, 1 right
    creator: int
    round: int
    created_at: int  # ns, as the creator claims
    digest: bytes  # 32 bytes, of the event


@dataclass(frozen=True, slots=True)
class Proved:
    """What a proof proves."""

    what: ProvedSyncPoint | ProvedTransaction
    index: int  # its place in the order, of the event for a transaction
    consensus_at: int  # ns
    order_hash: bytes  # 32 bytes, after it
    checkpoint: int  # the index up to which the order was signed
    checkpoint_hash: bytes  # 32 bytes, the order hash that was signed
    state_hash: bytes  # 32 bytes, of the application there; zeros: not attested
    signers: int  # bit set over creators


def check_proof(proof: bytes, committee: Committee) -> Proved | Flaw:
    """What a proof proves by the first committee of its network, or why it proves nothing.

    That the creator of an event signed it is not looked at: q peers vouch for the order hash, which comes from the
    digest of the header. Those of them that do not lie have checked that signature, and that the payload fits (V1, V6).
    """
    try:
        return _check(_Reader(proof), committee)
    except _Flawed as flawed:
        return flawed.flaw


def prove_sync_point(
    epoch_id: bytes, certificate: Certificate, before: bytes, point: SyncPoint, later: Sequence[Delivered | SyncPoint]
) -> bytes:
    """The proof of a sync point.

    `before` is the order hash before it, `later` what comes after it up to the index of the certificate.
    """
    content = _SYNC_POINT.pack(
        point.kind,
        point.epoch_index,
        point.proposal,
        _NOBODY if point.proposer is None else point.proposer,
        point.approvals.to_bytes(16, "little"),
        len(point.metadata),
    )
    return _encode(ProofKind.SYNC_POINT, epoch_id, certificate, before, point, content + point.metadata, later)


def prove_transaction(
    epoch_id: bytes,
    certificate: Certificate,
    before: bytes,
    done: Delivered,
    position: int,
    later: Sequence[Delivered | SyncPoint],
) -> bytes:
    """The proof of a delivered event's transaction; arguments as for a sync point."""
    header, transactions = done.event.header, done.event.transactions
    path, turns = merkle_path(transactions, position), _turns(position, len(transactions))
    content = b"".join(
        (
            _LENGTH.pack(len(header)),
            header,
            _TURNS.pack(len(path), turns),
            *path,
            _LENGTH.pack(len(transactions[position])),
            transactions[position],
        )
    )
    return _encode(ProofKind.TRANSACTION, epoch_id, certificate, before, done, content, later)


# -- private: checking ------------------------------------------------------------------------------


class _Flawed(Exception):
    """Ends the check of a proof."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw)
        self.flaw = flaw


class _Reader:
    """Takes a proof apart from front to back."""

    def __init__(self, data: bytes) -> None:
        _require(len(data) <= MAX_PROOF_BYTES, Flaw.LIMIT)
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next so many bytes."""
        at, self._at = self._at, self._at + size
        _require(self._at <= len(self._data), Flaw.TRUNCATED)
        return self._data[at : self._at]

    def fields(self, form: struct.Struct) -> tuple[Any, ...]:
        """The next fields of fixed width."""
        return form.unpack(self.take(form.size))

    def sized(self, limit: int) -> bytes:
        """A length, and so many bytes."""
        (size,) = _LENGTH.unpack(self.take(_LENGTH.size))
        _require(size <= limit, Flaw.LIMIT)
        return self.take(size)

    def end(self) -> None:
        """There is nothing more."""
        _require(self._at == len(self._data), Flaw.TRAILING)


def _check(reader: _Reader, committee: Committee) -> Proved:
    version, kind, network_id, transitions = reader.fields(_BEGIN)
    _require(version == PROOF_VERSION, Flaw.VERSION)
    _require(kind in (ProofKind.SYNC_POINT, ProofKind.TRANSACTION), Flaw.KIND)
    _require(network_id == committee.epoch_id, Flaw.NETWORK)
    _require(transitions == 0, Flaw.COMMITTEE)
    checkpoint, checkpoint_hash, state_hash, bits = reader.fields(_CERTIFICATE)
    signers = int.from_bytes(bits, "little")
    _require(signers.bit_count() == committee.q and signers >> committee.n == 0, Flaw.SIGNERS)  # Q3
    signatures = reader.take(committee.q * SIGNATURE_BYTES)
    index, consensus_at, before = reader.fields(_PLACE)
    _require(index <= checkpoint, Flaw.PLACE)
    _require(checkpoint - index <= MAX_PLACES, Flaw.LIMIT)
    read = _read_sync_point if kind == ProofKind.SYNC_POINT else _read_transaction
    what = read(reader, committee)
    later = reader.take((checkpoint - index) * _LATER.size)
    reader.end()
    order_hash = reached = next_order_hash(before, index, what.digest, consensus_at)
    for at, (digest, time) in enumerate(_LATER.iter_unpack(later), index + 1):
        reached = next_order_hash(reached, at, digest, time)
    _require(reached == checkpoint_hash, Flaw.CHAIN)  # O9
    message = checkpoint_message(committee.epoch_id, checkpoint, checkpoint_hash, state_hash)
    creators = (creator for creator in range(committee.n) if signers >> creator & 1)
    for number, creator in enumerate(creators):
        signature = signatures[number * SIGNATURE_BYTES : (number + 1) * SIGNATURE_BYTES]
        _require(committee.verify(creator, message, signature), Flaw.SIGNATURE)  # C2
    return Proved(what, index, consensus_at, order_hash, checkpoint, checkpoint_hash, state_hash, signers)


def _read_sync_point(reader: _Reader, committee: Committee) -> ProvedSyncPoint:
    kind, epoch_index, proposal, by, bits, size = reader.fields(_SYNC_POINT)
    _require(size <= MAX_METADATA_BYTES, Flaw.LIMIT)
    metadata = reader.take(size)
    proposer, approvals = None if by == _NOBODY else by, int.from_bytes(bits, "little")
    known = SyncPointKind.SESSION <= kind <= SyncPointKind.END
    among = (proposer is None or proposer < committee.n) and approvals >> committee.n == 0
    _require(known and among, Flaw.SYNC_POINT)
    digest = sync_point_digest(kind, epoch_index, proposal, proposer, approvals, metadata)
    return ProvedSyncPoint(kind, epoch_index, proposal, proposer, approvals, metadata, digest)


def _read_transaction(reader: _Reader, committee: Committee) -> ProvedTransaction:
    header = reader.sized(MAX_HEADER_BYTES)
    slot = decode_header(header, committee.epoch_id)
    if isinstance(slot, Reject) or slot[0] >= committee.n:
        raise _Flawed(Flaw.EVENT)
    depth, turns = reader.fields(_TURNS)
    _require(depth <= MAX_DEPTH, Flaw.LIMIT)
    hashes = reader.take(depth * HASH_BYTES)
    path = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
    transaction = reader.sized(MAX_PAYLOAD_BYTES)
    # A root tells neither how many transactions there are nor which number one has: trees of different counts can have
    # the same way to a leaf (E3). So a proof claims the way alone, checked as in a tree that is full at this depth.
    _require(merkle_check(payload_root_of(header), transaction, turns, 1 << depth, path), Flaw.PAYLOAD)
    created_at, digest = created_at_of(header), event_digest(header)
    return ProvedTransaction(transaction, depth, turns, *slot, created_at, digest)


def _require(holds: bool, flaw: Flaw) -> None:
    if not holds:
        raise _Flawed(flaw)


# -- private: making --------------------------------------------------------------------------------


def _encode(
    kind: ProofKind,
    epoch_id: bytes,
    certificate: Certificate,
    before: bytes,
    what: Delivered | SyncPoint,
    content: bytes,
    later: Sequence[Delivered | SyncPoint],
) -> bytes:
    assert len(later) == certificate.index - what.index <= MAX_PLACES, "all places up to the checkpoint"
    return b"".join(
        (
            _BEGIN.pack(PROOF_VERSION, kind, epoch_id, 0),
            _CERTIFICATE.pack(
                certificate.index,
                certificate.order_hash,
                certificate.state_hash,
                certificate.signers.to_bytes(16, "little"),
            ),
            certificate.signatures,
            _PLACE.pack(what.index, what.consensus_at, before),
            content,
            *(_LATER.pack(place.digest, place.consensus_at) for place in later),
        )
    )


def _turns(position: int, count: int) -> int:
    """Where the way to a leaf turns right, as bits, the lowest at the leaf; a leaf that moves up makes none."""
    turns = depth = 0
    while count > 1:
        if position ^ 1 < count:
            turns |= (position & 1) << depth
            depth += 1
        position >>= 1
        count = (count + 1) >> 1
    return turns
