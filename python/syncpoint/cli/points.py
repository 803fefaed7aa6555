"""The sync points of a run as each peer received them, and whether they are the same. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Point", "find_point_faults", "is_same_session"]


@dataclass(frozen=True, slots=True)
class Point:
    """A sync point as one peer received it."""

    index: int
    """Its place in the total order."""

    epoch_index: int
    """Its number among the sync points, from 1."""

    kind: str
    """What it is about."""

    session_id: str
    """The session from here on, in hex."""

    order_hash: str
    """The rolling hash there, in hex."""

    proposal: int
    """The number of its proposal in the run, as its metadata says."""


def find_point_faults(
    streams: Mapping[int, Sequence[Point]], last: int, dead: Collection[int] = ()
) -> tuple[list[str], int]:
    """What is wrong with the sync points that the peers received, and how many all living ones have alike.

    Those up to the one with the proposal `last` count, which was made when all else was decided: a peer may have
    reported more than others of what came behind it. The stream of a peer that was killed needs only be a beginning.
    """
    faults = []
    counted: dict[int, Sequence[Point]] = {}
    for peer, points in streams.items():
        end = next((place for place, point in enumerate(points, start=1) if point.proposal == last), None)
        if end is None and peer not in dead:
            faults.append(f"peer {peer} never received the last sync point")
        counted[peer] = points[:end]
    alive = [peer for peer in counted if peer not in dead]
    one = max(alive or counted, key=lambda peer: len(counted[peer]), default=0)
    alike = len(counted.get(one, ()))
    for peer, points in counted.items():
        shared = 0
        for mine, theirs in zip(counted[one], points, strict=False):
            if mine != theirs:
                faults.append(f"peers {one} and {peer} differ in their sync point {shared + 1}: {_words(mine, theirs)}")
                break
            shared += 1
        else:
            if peer not in dead and len(points) != len(counted[one]):
                faults.append(f"peer {one} has {len(counted[one])} sync points, peer {peer} has {len(points)}")
        if peer not in dead:
            alike = min(alike, shared)
    return faults, alike


def is_same_session(streams: Collection[Sequence[Point]]) -> bool:
    """Whether the newest sync point of all streams is the same one."""
    newest = {stream[-1] if stream else None for stream in streams}
    return len(newest) == 1 and None not in newest


def _words(mine: Point, theirs: Point) -> str:
    return " and ".join(
        f"session {each.session_id[:8]} at index {each.index} with order hash {each.order_hash[:12]}"
        for each in (mine, theirs)
    )
