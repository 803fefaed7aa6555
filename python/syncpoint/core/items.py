"""What events say about the network itself, as items: bytes to values and back (E5, S1, C1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from .change import CHANGING, MAX_CHANGE_BYTES
from .crypto import HASH_BYTES, SIGNATURE_BYTES, blake3
from .values import Item, ItemType

__all__ = [
    "DOMAIN_CHECKPOINT",
    "DOMAIN_PROPOSAL",
    "MAX_METADATA_BYTES",
    "CheckpointVote",
    "Proposal",
    "Vote",
    "checkpoint_message",
    "decode_checkpoint_vote",
    "decode_content",
    "decode_proposal",
    "decode_vote",
    "encode_checkpoint_vote",
    "encode_content",
    "encode_proposal",
    "encode_vote",
    "is_counted",
    "proposal_id",
]

DOMAIN_PROPOSAL = b"syncpoint/proposal/v1"
DOMAIN_CHECKPOINT = b"syncpoint/checkpoint/v1"
MAX_METADATA_BYTES = 8_192  # of a proposal

_PROPOSAL = struct.Struct("<BQQ")
_CHANGE = struct.Struct("<H")
_VOTE = struct.Struct("<32s?")
_CHECKPOINT = struct.Struct("<Q32s32s64s")


class Proposal(NamedTuple):
    """A sync point that a peer asks for (S1)."""

    kind: int
    deadline: int  # ns of consensus time: later it is refused
    salt: int  # random, so that two alike have different ids
    metadata: bytes
    change: bytes = b""  # of a kind in CHANGING: what it changes (`change.encode_change`)


class Vote(NamedTuple):
    """What a peer says to a proposal (S1)."""

    proposal: bytes  # its id
    approves: bool


@dataclass(frozen=True, slots=True)
class CheckpointVote:
    """What a peer says of the order at a checkpoint, signed apart from the event that brings it (C1, C2)."""

    index: int  # of the last event or sync point before it
    order_hash: bytes  # after that
    state_hash: bytes  # of the application; 32 zero bytes: not attested
    signature: bytes  # of `checkpoint_message`


def encode_proposal(proposal: Proposal) -> bytes:
    """The body of a PROPOSE item."""
    fixed = _PROPOSAL.pack(proposal.kind, proposal.deadline, proposal.salt)
    return fixed + encode_content(proposal.kind, proposal.change, proposal.metadata)


def decode_proposal(body: bytes) -> Proposal | None:
    """What a PROPOSE item asks for, None when it is none."""
    if len(body) < _PROPOSAL.size:
        return None
    kind, deadline, salt = _PROPOSAL.unpack_from(body)
    content = decode_content(kind, body[_PROPOSAL.size :])
    return None if content is None else Proposal(kind, deadline, salt, content[1], content[0])


def encode_content(kind: int, change: bytes, metadata: bytes) -> bytes:
    """What a sync point changes, if it is of a kind that changes something, and the metadata behind it."""
    return _CHANGE.pack(len(change)) + change + metadata if kind in CHANGING else metadata


def decode_content(kind: int, data: bytes) -> tuple[bytes, bytes] | None:
    """Change and metadata of a sync point, None when they are none."""
    change = b""
    if kind in CHANGING:
        if len(data) < _CHANGE.size:
            return None
        (size,) = _CHANGE.unpack_from(data)
        change, data = data[_CHANGE.size : _CHANGE.size + size], data[_CHANGE.size + size :]
        if len(change) < size or size > MAX_CHANGE_BYTES:
            return None
    return (change, data) if len(data) <= MAX_METADATA_BYTES else None


def proposal_id(network_id: bytes, number: int, body: bytes) -> bytes:
    """The id of the proposal of the member with a number, 32 bytes; the same in all epochs of a network."""
    return blake3(DOMAIN_PROPOSAL + network_id + struct.pack("<H", number) + body)


def encode_vote(vote: Vote) -> bytes:
    """The body of a VOTE item."""
    return _VOTE.pack(*vote)


def decode_vote(body: bytes) -> Vote | None:
    """What a VOTE item says, None when it is none."""
    if len(body) != _VOTE.size or body[HASH_BYTES] > 1:
        return None
    return Vote._make(_VOTE.unpack(body))


def checkpoint_message(epoch_id: bytes, index: int, order_hash: bytes, state_hash: bytes) -> bytes:
    """What is signed for a checkpoint: the committee is in the epoch id (C2)."""
    return DOMAIN_CHECKPOINT + epoch_id + struct.pack("<Q", index) + order_hash + state_hash


def encode_checkpoint_vote(vote: CheckpointVote) -> bytes:
    """The body of a CHECKPOINT_VOTE item."""
    return _CHECKPOINT.pack(vote.index, vote.order_hash, vote.state_hash, vote.signature)


def decode_checkpoint_vote(body: bytes) -> CheckpointVote | None:
    """What a CHECKPOINT_VOTE item says, None when it is none; its signature is not checked."""
    if len(body) != _CHECKPOINT.size:
        return None
    return CheckpointVote(*_CHECKPOINT.unpack(body))


def is_counted(item: Item) -> bool:
    """Whether an item counts only once it is delivered (S1); what else is said has its effect before."""
    return item.type in (ItemType.PROPOSE, ItemType.VOTE)


assert _VOTE.size == HASH_BYTES + 1
assert _CHECKPOINT.size == 8 + 2 * HASH_BYTES + SIGNATURE_BYTES
