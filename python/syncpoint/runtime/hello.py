"""The first words on a link: both sides say who they are and what network they are of (T1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from ..core.config import PROTOCOL_VERSION
from ..core.wire import FrameType

__all__ = ["Hello", "Purpose", "Refusal", "decode_refusal", "encode_refusal"]

MAGIC = b"syncpt"
MAX_HELLO_BYTES = 256  # of any frame before the link is up
_HELLO = struct.Struct("<B6sH32s32s32s32sIBQ")
_REFUSE = struct.Struct("<BH")


class Purpose(IntEnum):
    """What a link is wanted for."""

    LINK = 0  # events
    PROBE = 1  # only to know whether there could be one


class Refusal(IntEnum):
    """Why a link is not taken."""

    MALFORMED = 1
    VERSION = 2
    NETWORK = 3
    NOT_A_MEMBER = 4
    WRONG_PEER = 5
    EPOCH = 6  # kept: links are of a network, whatever epochs their ends are in
    LIMITS = 7
    CERTIFICATE = 8
    BACK_OFF = 9

    @property
    def advice(self) -> str:
        """What to do about it, in words."""
        return _ADVICE[self]


_ADVICE = {
    Refusal.MALFORMED: "something other than a syncpoint peer answers at this address",
    Refusal.VERSION: "the two peers run different protocol versions: install the same syncpoint on both",
    Refusal.NETWORK: "the two peers differ in their network settings, peers or capabilities: give both the same",
    Refusal.NOT_A_MEMBER: "the key is not among the other side's peers: add it there",
    Refusal.WRONG_PEER: "another peer answers at this address: check which address belongs to which key",
    Refusal.EPOCH: "the two peers are in different epochs: wait until whoever is behind has caught up",
    Refusal.LIMITS: "the two peers allow frames of different sizes: install the same syncpoint on both",
    Refusal.CERTIFICATE: "the certificate is not that of the key: something stands between the two peers, or one lies",
    Refusal.BACK_OFF: "the other side was sent junk from this key and waits: look for a second program with this key",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Who speaks, to whom, in which network."""

    network_id: bytes  # 32 bytes: the id of its first epoch
    epoch_id: bytes  # 32 bytes: of the epoch that the speaker is in; nothing depends on it
    key: bytes  # 32 bytes: the speaker's
    expected: bytes  # 32 bytes: whom it believes to speak to
    max_frame_bytes: int  # the largest frame that it takes
    purpose: Purpose = Purpose.LINK
    time: int = 0  # ns since the Unix epoch, by the speaker's clock; for people, nothing depends on it

    def encode(self) -> bytes:
        """A HELLO frame."""
        return _HELLO.pack(
            FrameType.HELLO,
            MAGIC,
            PROTOCOL_VERSION,
            self.network_id,
            self.epoch_id,
            self.key,
            self.expected,
            self.max_frame_bytes,
            self.purpose,
            self.time,
        )

    @classmethod
    def decode(cls, frame: bytes) -> Hello | Refusal:
        """The words of a HELLO frame, if they are of our protocol."""
        if len(frame) < 9:
            return Refusal.MALFORMED
        kind, magic, version = struct.unpack_from("<B6sH", frame)
        if kind != FrameType.HELLO or magic != MAGIC:
            return Refusal.MALFORMED
        if version != PROTOCOL_VERSION:
            return Refusal.VERSION
        if len(frame) != _HELLO.size:
            return Refusal.MALFORMED
        _, _, _, network_id, epoch_id, key, expected, max_frame_bytes, purpose, time = _HELLO.unpack(frame)
        if purpose not in Purpose.__members__.values():
            return Refusal.MALFORMED
        return cls(
            network_id=network_id,
            epoch_id=epoch_id,
            key=key,
            expected=expected,
            max_frame_bytes=max_frame_bytes,
            purpose=Purpose(purpose),
            time=time,
        )


def encode_refusal(refusal: Refusal) -> bytes:
    """A REFUSE frame."""
    return _REFUSE.pack(FrameType.REFUSE, refusal)


def decode_refusal(frame: bytes) -> Refusal | None:
    """The reason in a REFUSE frame, None when it is no such frame."""
    if len(frame) != _REFUSE.size or frame[0] != FrameType.REFUSE:
        return None
    code = _REFUSE.unpack(frame)[1]
    return Refusal(code) if code in Refusal.__members__.values() else Refusal.MALFORMED
