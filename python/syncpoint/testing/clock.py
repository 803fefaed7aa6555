"""The clocks of a simulated computer: right, skewed, drifting, set forward or back, or stopped."""

from __future__ import annotations

from collections.abc import Callable

from ..runtime.clock import Clock

__all__ = ["HostClock"]


class HostClock:
    """What a computer believes about time; a process reads it through the same `Clock` as a real one."""

    def __init__(self, true_ns: Callable[[], int], skew_ns: int = 0, drift_ppm: int = 0) -> None:
        """`skew_ns` is how far the wall clock is ahead, `drift_ppm` how much faster both clocks go than they should."""
        self._true_ns = true_ns
        self._begin = true_ns()
        self._skew_ns = skew_ns
        self._drift_ppm = drift_ppm
        self._stopped_at: int | None = None

    def wall(self) -> int:
        """The wall clock, ns since the Unix epoch."""
        return self._stopped_at if self._stopped_at is not None else self.steady() + self._skew_ns

    def steady(self) -> int:
        """The clock that nobody can set, ns."""
        true = self._true_ns()
        return true + (true - self._begin) * self._drift_ppm // 1_000_000 if self._drift_ppm else true

    def set(self, skew_ns: int, drift_ppm: int) -> None:
        """Be wrong by so much from now on, and go faster by so much."""
        self._begin = self._true_ns()
        self._skew_ns, self._drift_ppm = skew_ns, drift_ppm

    def jump(self, ns: int) -> None:
        """Set the wall clock forward, or back."""
        self._skew_ns += ns
        if self._stopped_at is not None:
            self._stopped_at += ns

    def stop(self) -> None:
        """The wall clock stands still."""
        self._stopped_at = self.wall()

    def start(self) -> None:
        """The wall clock goes on from where it stood."""
        if self._stopped_at is not None:
            self._skew_ns = self._stopped_at - self.steady()
            self._stopped_at = None

    def clock(self) -> Clock:
        """The clock of a process that starts now."""
        return Clock(self.steady, self.wall)
