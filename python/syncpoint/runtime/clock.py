"""The time that a machine is told."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Clock"]

SLEW = 2000  # while the wall clock is behind us, we go slower by one part in this


class Clock:
    """Nanoseconds since the Unix epoch that never go back, whatever is done to the wall clock.

    It follows the wall clock forward at once. When the wall clock is set back it keeps running, a
    little slower, until the wall clock has caught up: timers go on, and no timestamp repeats.
    """

    def __init__(self, steady: Callable[[], int] | None = None, wall: Callable[[], int] | None = None) -> None:
        """Both give ns; by default they are the system's clocks."""
        self._read_steady = steady or time.monotonic_ns
        self._read_wall = wall or time.time_ns
        self._steady = self._read_steady()
        self._now = self._read_wall()

    def now(self) -> int:
        """Nanoseconds since the Unix epoch, at least what was returned before."""
        steady, wall = self._read_steady(), self._read_wall()
        passed = steady - self._steady
        self._steady = steady
        self._now = max(wall, self._now + passed - passed // SLEW)
        return self._now
