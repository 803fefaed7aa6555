"""The time that a machine is told."""

from __future__ import annotations

import time

__all__ = ["Clock"]

SLEW = 2000  # while the wall clock is behind us, we go slower by one part in this


class Clock:
    """Nanoseconds since the Unix epoch that never go back, whatever is done to the wall clock.

    It follows the wall clock forward at once. When the wall clock is set back it keeps running, a
    little slower, until the wall clock has caught up: timers go on, and no timestamp repeats.
    """

    def __init__(self) -> None:
        self._steady = time.monotonic_ns()
        self._now = time.time_ns()

    def now(self) -> int:
        """Nanoseconds since the Unix epoch, at least what was returned before."""
        steady, wall = time.monotonic_ns(), time.time_ns()
        passed = steady - self._steady
        self._steady = steady
        self._now = max(wall, self._now + passed - passed // SLEW)
        return self._now
