"""Graphs in which everybody sees everything, as in a healthy network, and their way through the stages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any

from syncpoint.backend import load_core
from syncpoint.core.config import Local, Network
from syncpoint.core.retain import RETAIN_GC_DEPTHS

GC_DEPTH = Network().gc_depth

Entry = tuple[bytes, int, int, int, tuple[bytes, ...]]  # digest, creator, round, created_at, parents


def rounds_of(n: int, rounds: int) -> Iterator[list[Entry]]:
    """One row of n events per round, each with the whole row below it as parents."""
    parents: tuple[bytes, ...] = ()
    for round in range(1, rounds + 1):
        digests = tuple(blake2b(b"%d/%d" % (round, creator), digest_size=32).digest() for creator in range(n))
        yield [(digest, creator, round, round * 1000 + creator, parents) for creator, digest in enumerate(digests)]
        parents = digests


def empty(core: str, n: int, order: str) -> Any:
    """A graph of a core with nothing in it."""
    face: Any = load_core(core)
    return face.DagRun(n, None, bytes(32), GC_DEPTH, Network().rule, order)


def insert_decide_order(run: Any, rounds: Iterable[list[Entry]], n: int) -> None:
    """Take everything in and order it, and forget what is old as a machine does."""
    keep = max(Local().retain_events // n, RETAIN_GC_DEPTHS * GC_DEPTH)
    for row in rounds:
        run.insert_all(row)
        run.close()
        run.forget(keep)
