"""Epochs that are over: what peers that lag behind still need of them (S4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from . import wire
from .committee import Committee
from .config import Local
from .error import Reject
from .fetch import Budget, Server, first_needed
from .output import Output, SendStored
from .wire import FrameType

__all__ = ["EndedEpochs"]


class _Ended(NamedTuple):
    """An epoch that is over."""

    committee: Committee
    gc_depth: int
    reached: Sequence[int]  # the highest round of each creator that we had


class EndedEpochs:
    """Answers pulls for epochs before the newest one from the store; peers go by their numbers at the seam."""

    def __init__(self, local: Local) -> None:
        self._ended: list[_Ended] = []  # by number, from 0
        self._stores = local.stores
        self._budget = Budget()

    def add(self, committee: Committee, gc_depth: int, reached: Sequence[int]) -> None:
        """The next epoch has ended."""
        self._ended.append(_Ended(committee, gc_depth, reached))

    def answer(self, peer: int, number: int, frame: bytes, now: int, outputs: list[Output]) -> Reject | None:
        """Answer a pull for the epoch with a number; what is to be sent goes to `outputs`."""
        committee, gc_depth, reached = self._ended[number]
        theirs = wire.decode_frontier(frame, committee.n)
        if isinstance(theirs, Reject):
            return theirs
        if not self._stores:
            return None  # nobody can help it here
        reject = self._budget.charge(peer, now)
        if reject is None:
            first = first_needed(theirs, reached, max(reached), committee.q, gc_depth)
            last = wire.encode_frontier(FrameType.FRONTIER, reached, number)
            outputs.append(SendStored(peer, number, first, theirs, Server.BYTES_PER_PULL, last))
        return reject
