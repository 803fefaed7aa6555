"""How long packets take, and how many never arrive, as data."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

__all__ = ["Delays"]

MS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """How long frames take, and what becomes of them; a packet is all that is written to a link at once."""

    kind: str = "uniform"
    """"fixed" (low_ns), "uniform" (low_ns to high_ns), "lognormal" (median low_ns, or `matrix`, spread `sigma`)."""

    low_ns: int = MS
    """ns, one way."""

    high_ns: int = 3 * MS
    """ns, one way; for "uniform"."""

    sigma: float = 0.1
    """Of the logarithm; for "lognormal"."""

    matrix: tuple[tuple[int, ...], ...] = ()
    """ns, one way, from host to host, taken in a circle; instead of low_ns."""

    grain_ns: int = 0
    """Packets arrive at multiples of it, those of one moment together, as from a computer that is busy else."""

    loss: float = 0.0
    """Share of packets that never arrive."""

    duplicates: float = 0.0
    """Share of packets that arrive twice."""

    reordering: float = 0.0
    """Share of packets that those after them may overtake."""

    @property
    def typical_ns(self) -> int:
        """About the mean of all delays: what one message delay is, where they differ."""
        if self.kind == "uniform":
            return (self.low_ns + self.high_ns) // 2
        low = self.low_ns
        if self.matrix:
            apart = [ns for source, row in enumerate(self.matrix) for target, ns in enumerate(row) if source != target]
            low = sum(apart) // len(apart) if apart else self.matrix[0][0]
        return low if self.kind == "fixed" else int(low * math.exp(self.sigma**2 / 2))

    def draw(self, rng: random.Random, source: int, target: int) -> int:
        """The delay of one packet, ns."""
        low = self.low_ns
        if self.matrix:
            size = len(self.matrix)
            low = self.matrix[source % size][target % size]
        if self.kind == "fixed":
            return low
        if self.kind == "uniform":
            return low + int(rng.random() * (self.high_ns - self.low_ns))
        return int(low * math.exp(rng.gauss(0.0, self.sigma)))
