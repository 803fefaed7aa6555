"""What a sync point changes in the network: its members, their keys, its settings; bytes to values and back (S4)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from .config import Member, Network
from .crypto import PEER_RECORD_BYTES, PUBLIC_BYTES, check_peer_record
from .values import SyncPointKind

__all__ = [
    "CHANGING",
    "MAX_CHANGE_BYTES",
    "MAX_CONTACT_BYTES",
    "Add",
    "Change",
    "Configure",
    "Remove",
    "Rotate",
    "decode_change",
    "encode_change",
]

CHANGING = (
    SyncPointKind.MEMBERSHIP,
    SyncPointKind.KEY_ROTATION,
    SyncPointKind.CONFIG,
)  # they end the epoch (S4); others do not (S3)
MAX_CHANGE_BYTES = 512
MAX_CONTACT_BYTES = 255  # of where a new member is to be found

_ADD, _REMOVE = 1, 2
_MEMBER = struct.Struct(f"<B{PEER_RECORD_BYTES}sBB")
_PUBLIC = struct.Struct(f"<B{PUBLIC_BYTES}s")
_ROTATION = struct.Struct(f"<{PUBLIC_BYTES}s{PEER_RECORD_BYTES}s")


class Add(NamedTuple):
    """A new member (MEMBERSHIP)."""

    record: bytes  # its peer record: the key, and the proof that somebody holds it
    flags: int  # its capabilities, as in `Member.flags`
    contact: bytes  # where it is to be found, in words of the runtime

    @property
    def member(self) -> Member:
        """The member as the committee will know it."""
        return Member(self.record[:PUBLIC_BYTES], self.flags)


class Remove(NamedTuple):
    """A member less (MEMBERSHIP)."""

    public: bytes  # its key


class Rotate(NamedTuple):
    """A new key for a member, which asks for it itself (KEY_ROTATION)."""

    old: bytes
    record: bytes  # the peer record of the new key

    @property
    def new(self) -> bytes:
        """The new key."""
        return self.record[:PUBLIC_BYTES]


class Configure(NamedTuple):
    """Other settings (CONFIG)."""

    network: Network


Change = Add | Remove | Rotate | Configure


def encode_change(change: Change) -> bytes:
    """The bytes of a change."""
    if isinstance(change, Add):
        return _MEMBER.pack(_ADD, change.record, change.flags, len(change.contact)) + change.contact
    if isinstance(change, Remove):
        return _PUBLIC.pack(_REMOVE, change.public)
    if isinstance(change, Rotate):
        return _ROTATION.pack(*change)
    return change.network.encode()


def decode_change(kind: int, body: bytes) -> Change | None:
    """The change of a sync point of this kind, None when it is none; new keys are good ones."""
    if kind == SyncPointKind.KEY_ROTATION:
        if len(body) != _ROTATION.size:
            return None
        rotate = Rotate(*_ROTATION.unpack(body))
        return rotate if check_peer_record(rotate.record) is not None else None
    if kind == SyncPointKind.CONFIG:
        network = Network.decode(body)
        return None if network is None else Configure(network)
    if kind != SyncPointKind.MEMBERSHIP:
        return None
    if len(body) == _PUBLIC.size and body[0] == _REMOVE:
        return Remove(body[1:])
    if len(body) < _MEMBER.size or body[0] != _ADD or len(body) != _MEMBER.size + body[_MEMBER.size - 1]:
        return None
    _, record, flags, _ = _MEMBER.unpack_from(body)
    return Add(record, flags, body[_MEMBER.size :]) if check_peer_record(record) is not None else None
