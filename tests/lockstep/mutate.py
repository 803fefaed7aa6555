"""Frames that are nearly right: flipped, cut, lengthened, spliced, and edited field by field."""

from __future__ import annotations

import random
from collections.abc import Sequence

from syncpoint.core.wire import FrameType

TYPES = (FrameType.EVENT, FrameType.REQUEST, FrameType.FRONTIER, FrameType.PULL)
WILD = (
    0,
    1,
    2,
    63,
    64,
    65,
    127,
    128,
    129,
    255,
    256,
    257,
    2**16 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**62 + 1,
    2**63,
    2**64 - 1,
)
# Of a header within its EVENT frame: where a field starts, and how long it is.
FIELDS = {
    "version": (1, 2), "epoch": (3, 32), "creator": (35, 2), "round": (37, 8), "created_at": (45, 8), "salt": (53, 8),
    "root": (61, 32), "payload length": (93, 4), "parents": (97, 2), "items": (99, 2),
}  # fmt: skip
PARENTS_AT = 101


def number(rng: random.Random, width: int) -> bytes:
    """A number of so many bytes, mostly one at the edge of something."""
    value = rng.choice(WILD) if rng.random() < 0.8 else rng.getrandbits(8 * width)
    return (value % 2 ** (8 * width)).to_bytes(width, "little")


def junk(rng: random.Random) -> bytes:
    """Bytes that nobody made, mostly with a known type in front."""
    size = rng.choice((0, 1, 2, 3, 31, 32, 100, 165, 400))
    if rng.random() < 0.1:
        return rng.randbytes(size)
    return bytes((rng.choice((*TYPES, 0, 1, 2, 15, 20, 255)),)) + rng.randbytes(size)


def mutated(rng: random.Random, frame: bytes, others: Sequence[bytes] = ()) -> bytes:
    """The frame with one to three things wrong with it."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        frame = _once(rng, frame, others)
    return frame


def _once(rng: random.Random, frame: bytes, others: Sequence[bytes]) -> bytes:
    if not frame:
        return junk(rng)
    at = rng.randrange(len(frame))
    match rng.choice(("flip", "byte", "cut", "cut front", "more", "insert", "splice", "field", "field", "number")):
        case "flip":
            return frame[:at] + bytes((frame[at] ^ 1 << rng.randrange(8),)) + frame[at + 1 :]
        case "byte":
            return frame[:at] + bytes((rng.choice((0, 1, 127, 128, 255)),)) + frame[at + 1 :]
        case "cut":
            return frame[: rng.choice((at, len(frame) - 1, min(len(frame), PARENTS_AT)))]
        case "cut front":
            return frame[rng.choice((1, min(at, 40))) :]
        case "more":
            return frame + rng.randbytes(rng.choice((1, 4, 32)))
        case "insert":
            return frame[:at] + rng.randbytes(rng.choice((1, 4, 42))) + frame[at:]
        case "splice" if others:
            other = rng.choice(others)
            return frame[:at] + other[min(at, len(other)) :]
        case "field" if frame[0] == FrameType.EVENT:
            start, width = rng.choice(tuple(FIELDS.values()))
            return frame[:start] + number(rng, width) + frame[start + width :]
        case "field" if frame[0] == FrameType.REQUEST:
            return frame[:1] + number(rng, 2) + frame[3:]
        case _:
            width = rng.choice((2, 4, 8))
            return frame[:at] + number(rng, width) + frame[at + width :]
