"""A few bytes beside a store that tell whether it still has every own event that was signed (R2)."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

__all__ = ["DURABILITIES", "Tip", "doubt"]

DURABILITIES = ("full", "normal", "memory")
MAGIC = b"SPT1"
BOOT_BYTES = 16

_TIP = struct.Struct("<4sBBBQQ16s")
_CHECKSUM = struct.Struct("<I")


class Tip(NamedTuple):
    """What the store was like when an own event was committed last."""

    durability: int  # the place in DURABILITIES of what the last process promised
    clean: bool  # that process has ended, with everything synced
    whole: bool  # own events are all there, or one was made since they were found missing
    sequence: int  # of the commit
    inode: int  # of the store file
    boot: bytes  # which start of the computer it was, 16 bytes; zeros where that cannot be told

    def encode(self) -> bytes:
        """The bytes of the file."""
        packed = _TIP.pack(MAGIC, *self)
        return packed + _CHECKSUM.pack(zlib.crc32(packed))

    @classmethod
    def decode(cls, data: bytes) -> Tip | None:
        """What the bytes say, None when they are damaged."""
        if len(data) != _TIP.size + _CHECKSUM.size:
            return None
        packed = data[: _TIP.size]
        magic, durability, clean, whole, sequence, inode, boot = _TIP.unpack(packed)
        if _CHECKSUM.pack(zlib.crc32(packed)) != data[_TIP.size :] or magic != MAGIC or durability >= len(DURABILITIES):
            return None
        return cls(durability, bool(clean), bool(whole), sequence, inode, boot)


def doubt(data: bytes | None, existed: bool, sequence: int, inode: int, boot: bytes) -> str | None:
    """Why own events may be missing in a store, None when they are all there (R2).

    `data` is what lies beside it; `existed` says whether there was a store, `sequence` which commit was its last, 0 if
    it has none.
    """
    if data is None:  # without a commit it was killed while it made the file, before it could sign anything
        return "the file with its tip is not there" if existed and sequence else None
    tip = Tip.decode(data)
    if tip is None:
        return "the file with its tip is damaged"
    if not existed:
        return "it is gone, and its tip is still there"
    if sequence < tip.sequence:
        return f"it ends with commit {sequence}, and there was a commit {tip.sequence}: it is a backup, or was cut off"
    if inode != tip.inode:
        return "it is not the file that it was: a backup was put in its place"
    if not tip.whole:
        return "they were missing when it was opened before, and none was made since"
    if tip.clean:
        return None
    durability = DURABILITIES[tip.durability]
    if durability == "memory":
        return "the last process promised nothing (durability memory), and did not end by itself"
    if durability == "normal" and not boot:
        return "the last process did not sync (durability normal), nor end by itself; here nobody can tell what of"
    if durability == "normal" and boot.ljust(BOOT_BYTES, b"\0") != tip.boot:
        return "the computer was started anew under a peer that did not sync (durability normal)"
    return None
