"""How many per second."""

from __future__ import annotations

from collections import deque

__all__ = ["RATE_S", "Rate"]

RATE_S = 5.0  # over so long
_STEP_S = RATE_S / 20  # what comes within it is counted together


class Rate:
    """Counts over a window that moves along; seconds are of any clock that goes evenly."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, int]] = deque()  # begin, count
        self._count = 0

    def add(self, count: int, now: float) -> None:
        """So many more."""
        self._forget(now)
        self._count += count
        if self._steps and now < self._steps[-1][0] + _STEP_S:
            begin, before = self._steps.pop()
            self._steps.append((begin, before + count))
        else:
            self._steps.append((now, count))

    def per_s(self, now: float) -> float:
        """The mean over the last `RATE_S`."""
        self._forget(now)
        return self._count / RATE_S

    def _forget(self, now: float) -> None:
        while self._steps and self._steps[0][0] <= now - RATE_S:
            self._count -= self._steps.popleft()[1]
