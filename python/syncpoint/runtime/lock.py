"""A file that one process holds, so that no other one uses what lies beside it."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path

from ..errors import StorageError

__all__ = ["FileLock"]


class FileLock:
    """Held from `take` to `release`, or to the end of the process; the file stays."""

    def __init__(self, path: Path, protects: Path) -> None:
        self._path = path
        self._protects = protects
        self._descriptor: int | None = None

    def take(self) -> None:
        """Hold it; StorageError when another process does, or another engine of this one."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _lock(descriptor)
        except OSError as error:
            holder = _number_in(descriptor)
            os.close(descriptor)
            raise StorageError(
                error.errno or errno.EAGAIN,
                f"{self._protects} is in use by process {holder}: stop that one first, or give this peer its own key",
            ) from None
        self._descriptor = descriptor
        with contextlib.suppress(OSError):  # the number is for people; a full disk must not keep a peer from starting
            os.ftruncate(descriptor, 0)
            os.write(descriptor, b"%d\n" % os.getpid())

    def release(self) -> None:
        """Let go of it; twice is fine."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _number_in(descriptor: int) -> str:
    with contextlib.suppress(OSError):
        return os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
    return "unknown"


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # beyond the number, which stays readable
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
