"""Proofs that stand by themselves: a sync point or a transaction, its place in the order, and who vouches for it (C3).

Whoever checks one needs the bytes and what the network file says, nothing else; the bytes are in docs/proofs.md. Of a
network whose members, keys or settings changed, a proof has the links from epoch to epoch, up to those who signed (C2).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from .change import CHANGING, MAX_CHANGE_BYTES, decode_change
from .checkpoint import Certificate
from .committee import Committee
from .config import MAX_PAYLOAD_BYTES
from .crypto import HASH_BYTES, SIGNATURE_BYTES, merkle_check, merkle_path
from .epoch import sync_point_digest
from .error import Reject
from .items import MAX_METADATA_BYTES, checkpoint_message, decode_content, encode_content
from .order import next_order_hash
from .roster import Roster
from .transition import check_transition, decode_transition, hashes_of
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
MAX_TRANSITIONS = 4_096  # from the first epoch to the one of the checkpoint
MAX_TRANSITION_BYTES = 32 * 1024

_BEGIN = struct.Struct("<HB32sHH")
_CERTIFICATE = struct.Struct("<Q32s32s16s")
_PLACE = struct.Struct("<QQ32s")
_SYNC_POINT = struct.Struct("<BQ32sH16sI")
_TURNS = struct.Struct("<BH")
_LENGTH = struct.Struct("<I")
_LATER = struct.Struct("<32sQ")
_NOBODY = 0xFFFF
_ENDLESS = 2**64  # no index is as high


class Flaw(IntEnum):
    """The reason why bytes prove nothing."""

    TRUNCATED = 1  # the bytes end before the proof does
    TRAILING = 2  # the proof ends before the bytes do
    LIMIT = 3  # longer than a proof may be, or a length or a count in it above its limit
    VERSION = 4  # of a version that this one does not know
    KIND = 5  # of neither a sync point nor a transaction
    NETWORK = 6  # of another network
    COMMITTEE = 7  # a change of members, keys or settings in it is none, or not signed by q of those before it
    SIGNERS = 8  # signed by more or fewer than q creators, or by others
    PLACE = 9  # what is proved lies behind the checkpoint, or either one in another epoch
    SYNC_POINT = 10  # of an unknown kind, with a change that is none, or proposed or approved by others than creators
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
    change: bytes  # of a kind in `change.CHANGING`: what it changes from the next epoch on
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
    signers: int  # bit set over those who could sign
    epoch: int  # the number of the epoch that it stands in
    creators: tuple[bytes, ...]  # keys of the creators of that epoch
    checkpoint_epoch: int  # the number of the epoch whose creators signed
    voters: tuple[bytes, ...]  # keys of the creators of that one


def check_proof(proof: bytes, roster: Roster, committee: Committee) -> Proved | Flaw:
    """What a proof proves by the first members of its network, and their committee, or why it proves nothing.

    That the creator of an event signed it is not looked at: q peers vouch for the order hash, which comes from the
    digest of the header. Those of them that do not lie have checked that signature, and that the payload fits (V1, V6).
    """
    try:
        return _check(_Reader(proof), roster, committee)
    except _Flawed as flawed:
        return flawed.flaw


def prove_sync_point(
    network_id: bytes,
    transitions: Sequence[bytes],
    certificate: Certificate,
    before: bytes,
    point: SyncPoint,
    later: Sequence[Delivered | SyncPoint],
) -> bytes:
    """The proof of a sync point.

    `transitions` are those to all epochs up to that of the certificate. `before` is the order hash before the sync
    point, `later` what comes after it up to the index of the certificate.
    """
    changed = encode_content(point.kind, point.change, point.metadata)
    content = _SYNC_POINT.pack(
        point.kind,
        point.epoch_index,
        point.proposal,
        _NOBODY if point.proposer is None else point.proposer,
        point.approvals.to_bytes(16, "little"),
        len(changed),
    )
    reached = transitions, certificate
    return _encode(ProofKind.SYNC_POINT, network_id, reached, before, point, content + changed, later)


def prove_transaction(
    network_id: bytes,
    transitions: Sequence[bytes],
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
    reached = transitions, certificate
    return _encode(ProofKind.TRANSACTION, network_id, reached, before, done, content, later)


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


class _Epochs:
    """The committees of a network from the first one to that of the checkpoint, and what led from each to the next."""

    def __init__(self, reader: _Reader, count: int, roster: Roster, committee: Committee) -> None:
        self.committees = [committee]
        self.fences: dict[int, bytes] = {}  # index -> the order hash there, ascending
        self._last = -1  # the last of these indices
        for _ in range(count):
            roster, committee = self._enter(reader.sized(MAX_TRANSITION_BYTES), roster, committee)
            self.committees.append(committee)

    def _enter(self, data: bytes, roster: Roster, committee: Committee) -> tuple[Roster, Committee]:
        """Those of the next epoch."""
        transition, end = decode_transition(data) or (None, 0)
        if transition is None or end != len(data) or transition.index <= self._last:
            raise _Flawed(Flaw.COMMITTEE)
        entered = check_transition(transition, roster, committee)
        if entered is None:
            raise _Flawed(Flaw.COMMITTEE)
        self._last = transition.index
        self.fences[self._last] = hashes_of(transition)[1]
        return entered[0], entered[0].committee(entered[1], committee.signatures)

    def has(self, index: int, epoch: int) -> bool:
        """Whether an index is one of an epoch: behind what began it, and not behind what ended it."""
        edges = [-1, *self.fences, _ENDLESS]
        return edges[epoch] < index <= edges[epoch + 1]

    def can_sign(self, checkpoint: int) -> bool:
        """Whether the last committee can have signed at an index.

        It may be that of the sync point that began its epoch: what applications attest there comes that late.
        """
        return checkpoint >= self._last


def _check(reader: _Reader, roster: Roster, committee: Committee) -> Proved:
    version, kind, network_id, transitions, epoch = reader.fields(_BEGIN)
    _require(version == PROOF_VERSION, Flaw.VERSION)
    _require(kind in (ProofKind.SYNC_POINT, ProofKind.TRANSACTION), Flaw.KIND)
    _require(network_id == committee.epoch_id, Flaw.NETWORK)
    _require(transitions <= MAX_TRANSITIONS, Flaw.LIMIT)
    _require(epoch <= transitions, Flaw.PLACE)
    epochs = _Epochs(reader, transitions, roster, committee)
    there, signing = epochs.committees[epoch], epochs.committees[-1]
    checkpoint, checkpoint_hash, state_hash, bits = reader.fields(_CERTIFICATE)
    signers = int.from_bytes(bits, "little")
    _require(signers.bit_count() == signing.q and signers >> signing.n == 0, Flaw.SIGNERS)  # Q3
    signatures = reader.take(signing.q * SIGNATURE_BYTES)
    index, consensus_at, before = reader.fields(_PLACE)
    _require(index <= checkpoint and epochs.has(index, epoch) and epochs.can_sign(checkpoint), Flaw.PLACE)
    _require(checkpoint - index <= MAX_PLACES, Flaw.LIMIT)
    read = _read_sync_point if kind == ProofKind.SYNC_POINT else _read_transaction
    what = read(reader, there)
    later = reader.take((checkpoint - index) * _LATER.size)
    reader.end()
    order_hash = reached = next_order_hash(before, index, what.digest, consensus_at)
    _require(epochs.fences.get(index, reached) == reached, Flaw.CHAIN)
    for at, (digest, time) in enumerate(_LATER.iter_unpack(later), index + 1):
        reached = next_order_hash(reached, at, digest, time)
        _require(epochs.fences.get(at, reached) == reached, Flaw.CHAIN)
    _require(reached == checkpoint_hash, Flaw.CHAIN)  # O9
    message = checkpoint_message(signing.epoch_id, checkpoint, checkpoint_hash, state_hash)
    creators = (creator for creator in range(signing.n) if signers >> creator & 1)
    for number, creator in enumerate(creators):
        signature = signatures[number * SIGNATURE_BYTES : (number + 1) * SIGNATURE_BYTES]
        _require(signing.verify(creator, message, signature), Flaw.SIGNATURE)  # C2
    return Proved(
        what,
        index,
        consensus_at,
        order_hash,
        checkpoint,
        checkpoint_hash,
        state_hash,
        signers,
        epoch,
        tuple(member.public for member in there.members),
        transitions,
        tuple(member.public for member in signing.members),
    )


def _read_sync_point(reader: _Reader, committee: Committee) -> ProvedSyncPoint:
    kind, epoch_index, proposal, by, bits, size = reader.fields(_SYNC_POINT)
    _require(size <= MAX_METADATA_BYTES + (2 + MAX_CHANGE_BYTES if kind in CHANGING else 0), Flaw.LIMIT)
    content = decode_content(kind, reader.take(size))
    proposer, approvals = None if by == _NOBODY else by, int.from_bytes(bits, "little")
    known = SyncPointKind.SESSION <= kind <= SyncPointKind.END
    among = (proposer is None or proposer < committee.n) and approvals >> committee.n == 0
    if content is None or not known or not among:
        raise _Flawed(Flaw.SYNC_POINT)
    change, metadata = content
    _require(kind not in CHANGING or decode_change(kind, change) is not None, Flaw.SYNC_POINT)
    digest = sync_point_digest(kind, epoch_index, proposal, proposer, approvals, metadata, change)
    return ProvedSyncPoint(kind, epoch_index, proposal, proposer, approvals, change, metadata, digest)


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
    network_id: bytes,
    reached: tuple[Sequence[bytes], Certificate],
    before: bytes,
    what: Delivered | SyncPoint,
    content: bytes,
    later: Sequence[Delivered | SyncPoint],
) -> bytes:
    transitions, certificate = reached
    assert len(later) == certificate.index - what.index <= MAX_PLACES, "all places up to the checkpoint"
    assert what.epoch <= certificate.epoch == len(transitions) <= MAX_TRANSITIONS, "all transitions up to it"
    return b"".join(
        (
            _BEGIN.pack(PROOF_VERSION, kind, network_id, len(transitions), what.epoch),
            *(_LENGTH.pack(len(transition)) + transition for transition in transitions),
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
