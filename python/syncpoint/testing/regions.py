"""Ten regions of the world, and how long a packet takes from one to another.

The figures are round trips between regions of Amazon's cloud in ms, as cloudping.io measured them and as they are
kept in `data/cloudPing/cloudping.csv` of github.com/bft-smart/library (commit 0a0c8cd77c38, 21 regions, about 2021).
Of the two directions of a pair, which differ by at most 2.5 ms, the mean is taken. That a packet takes half a round
trip is an assumption.
"""

from __future__ import annotations

from ..errors import ArgumentError
from .delays import Delays

__all__ = ["REGIONS", "ROUND_TRIP_MS", "one_way_ns", "wan"]

REGIONS = (
    "us-east-1",  # Northern Virginia
    "us-west-2",  # Oregon
    "ca-central-1",  # Montreal
    "eu-west-1",  # Ireland
    "eu-central-1",  # Frankfurt
    "ap-northeast-1",  # Tokyo
    "ap-southeast-1",  # Singapore
    "ap-southeast-2",  # Sydney
    "ap-south-1",  # Mumbai
    "sa-east-1",  # Sao Paulo
)

ROUND_TRIP_MS = (
    (5.1, 72.1, 18.9, 69.9, 92.0, 155.9, 226.8, 200.9, 189.6, 117.7),
    (72.1, 3.1, 63.7, 123.2, 143.7, 100.8, 176.8, 141.6, 232.5, 178.4),
    (18.9, 63.7, 3.8, 75.8, 94.7, 145.3, 224.6, 198.9, 192.9, 129.8),
    (69.9, 123.2, 75.8, 2.7, 26.6, 203.8, 181.6, 258.1, 124.9, 181.4),
    (92.0, 143.7, 94.7, 26.6, 3.0, 232.5, 163.7, 283.2, 119.2, 205.5),
    (155.9, 100.8, 145.3, 203.8, 232.5, 3.7, 78.4, 113.8, 134.9, 259.3),
    (226.8, 176.8, 224.6, 181.6, 163.7, 78.4, 2.5, 94.2, 59.8, 333.9),
    (200.9, 141.6, 198.9, 258.1, 283.2, 113.8, 94.2, 3.5, 149.1, 313.0),
    (189.6, 232.5, 192.9, 124.9, 119.2, 134.9, 59.8, 149.1, 2.6, 303.1),
    (117.7, 178.4, 129.8, 181.4, 205.5, 259.3, 333.9, 313.0, 303.1, 3.9),
)
"""ms there and back, in the order of `REGIONS`; the diagonal is within a region, where two peers share one."""

NS_PER_MS = 1_000_000


def one_way_ns() -> tuple[tuple[int, ...], ...]:
    """Half a round trip, ns, from region to region."""
    return tuple(tuple(round(ms * NS_PER_MS / 2) for ms in row) for row in ROUND_TRIP_MS)


def wan(sigma: float = 0.05) -> Delays:
    """Delays of a network over these regions, one peer in each, and further ones again from the first on.

    Each packet takes the region's time, times a factor drawn from a log-normal distribution with median 1 and
    `sigma`; 0 draws nothing. A link keeps the order of its packets.
    """
    if not 0.0 <= sigma <= 2.0:
        raise ArgumentError(f"wan(sigma={sigma}): give 0 to 2")
    return Delays(kind="lognormal" if sigma else "fixed", sigma=sigma, matrix=one_way_ns())
