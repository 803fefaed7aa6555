"""The link from one epoch to the next: the sync point between them, signed by the committee before it (C2)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .change import MAX_CHANGE_BYTES, decode_change
from .checkpoint import NOT_ATTESTED, Certificate
from .committee import Committee
from .crypto import SIGNATURE_BYTES
from .epoch import sync_point_digest
from .items import MAX_METADATA_BYTES, checkpoint_message
from .order import next_order_hash
from .roster import Roster, next_epoch_id
from .values import SyncPoint

__all__ = ["Transition", "check_transition", "decode_transition", "encode_transition", "hashes_of", "transition_of"]

_FIXED = struct.Struct("<BQ32sH16sHHQQ32s16s")
_NOBODY = 0xFFFF


@dataclass(frozen=True, slots=True)
class Transition:
    """A sync point that changed members, keys or settings, and q signatures for the order behind it."""

    kind: int
    epoch_index: int
    proposal: bytes
    proposer: int | None  # creator
    approvals: int  # bit set over creators
    change: bytes
    metadata: bytes
    index: int
    consensus_at: int
    before: bytes  # the order hash before it
    signers: int  # bit set over creators
    signatures: bytes  # 64 bytes each, in creator order


def transition_of(point: SyncPoint, before: bytes, certificate: Certificate) -> Transition:
    """The transition of a sync point with the order hash before it, and its certificate."""
    return Transition(
        point.kind,
        point.epoch_index,
        point.proposal,
        point.proposer,
        point.approvals,
        point.change,
        point.metadata,
        point.index,
        point.consensus_at,
        before,
        certificate.signers,
        certificate.signatures,
    )


def encode_transition(transition: Transition) -> bytes:
    """The bytes of a transition."""
    fixed = _FIXED.pack(
        transition.kind,
        transition.epoch_index,
        transition.proposal,
        _NOBODY if transition.proposer is None else transition.proposer,
        transition.approvals.to_bytes(16, "little"),
        len(transition.change),
        len(transition.metadata),
        transition.index,
        transition.consensus_at,
        transition.before,
        transition.signers.to_bytes(16, "little"),
    )
    return b"".join((fixed, transition.change, transition.metadata, transition.signatures))


def decode_transition(data: bytes, at: int = 0) -> tuple[Transition, int] | None:
    """A transition in bytes from a place on, and where it ends; None when there is none."""
    if len(data) < at + _FIXED.size:
        return None
    fields = _FIXED.unpack_from(data, at)
    kind, epoch_index, proposal, by, approvals, changed, size, index, consensus_at, before, bits = fields
    if changed > MAX_CHANGE_BYTES or size > MAX_METADATA_BYTES:
        return None
    signers = int.from_bytes(bits, "little")
    change_at = at + _FIXED.size
    metadata_at = change_at + changed
    signatures_at = metadata_at + size
    end = signatures_at + signers.bit_count() * SIGNATURE_BYTES
    if len(data) < end:
        return None
    transition = Transition(
        kind,
        epoch_index,
        proposal,
        None if by == _NOBODY else by,
        int.from_bytes(approvals, "little"),
        data[change_at:metadata_at],
        data[metadata_at:signatures_at],
        index,
        consensus_at,
        before,
        signers,
        data[signatures_at:end],
    )
    return transition, end


def hashes_of(transition: Transition) -> tuple[bytes, bytes]:
    """The digest of a transition's sync point, and the order hash after it."""
    digest = sync_point_digest(
        transition.kind,
        transition.epoch_index,
        transition.proposal,
        transition.proposer,
        transition.approvals,
        transition.metadata,
        transition.change,
    )
    return digest, next_order_hash(transition.before, transition.index, digest, transition.consensus_at)


def check_transition(transition: Transition, roster: Roster, committee: Committee) -> tuple[Roster, bytes] | None:
    """The roster and the id of the epoch that a transition leads to; None when it proves nothing (C2).

    `roster` and `committee` are those of the epoch before it, whose members have to have signed.
    """
    if transition.signers.bit_count() != committee.q or transition.signers >> committee.n:
        return None
    change = decode_change(transition.kind, transition.change)
    after = None if change is None else roster.change(change)
    if after is None:
        return None
    digest, order_hash = hashes_of(transition)
    message = checkpoint_message(committee.epoch_id, transition.index, order_hash, NOT_ATTESTED)
    creators = (creator for creator in range(committee.n) if transition.signers >> creator & 1)
    for number, creator in enumerate(creators):
        signature = transition.signatures[number * SIGNATURE_BYTES : (number + 1) * SIGNATURE_BYTES]
        if not committee.verify(creator, message, signature):
            return None
    return after, next_epoch_id(committee.epoch_id, digest, order_hash)
