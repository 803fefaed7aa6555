"""What a start needs of proposals and votes: their state behind the newest rounds that changed it (S1, R1)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from ..errors import CorruptError
from .epochs import epoch_and_round
from .rows import PROPOSALS, MetaRow

__all__ = ["Proposals"]

_HEAD = struct.Struct("<QI")


class Proposals:
    """States by height (`journal.height`): the newest one that a start can begin with, and all later ones.

    A start begins behind the round before that of the newest row, as rows of the newest round may be incomplete. So
    there are two of them, seldom more.
    """

    def __init__(self, states: Sequence[tuple[int, bytes]] = ()) -> None:
        """`states` are heights, ascending, with the state behind the closing of each."""
        self._states = list(states)

    @classmethod
    def read(cls, value: bytes) -> Proposals | None:
        """What a row holds; None when it cannot be."""
        states: list[tuple[int, bytes]] = []
        at = 0
        while at < len(value):
            if len(value) - at < _HEAD.size:
                return None
            round, size = _HEAD.unpack_from(value, at)
            at += _HEAD.size
            if size > len(value) - at or (states and round <= states[-1][0]):
                return None
            states.append((round, value[at : at + size]))
            at += size
        return cls(states)

    def row(self) -> MetaRow:
        """As they are stored."""
        parts = [_HEAD.pack(round, len(state)) + state for round, state in self._states]
        return MetaRow.of(PROPOSALS, b"".join(parts))

    def at(self, height: int) -> bytes | None:
        """The state behind the closing of a round, None while nothing changed since its epoch began."""
        epoch, _ = epoch_and_round(height)
        known = (state for at, state in reversed(self._states) if at <= height and epoch_and_round(at)[0] == epoch)
        return next(known, None)

    def take(self, states: Sequence[tuple[int, bytes]], closed: int) -> MetaRow | None:
        """Take in what changed; the row to be written, None where all of it is known.

        `closed` is the height of the round that delivered something last. What a machine says again after a start must
        be the same again: else it is a CorruptError.
        """
        newest = self._states[-1][0] if self._states else 0
        new = [(at, state) for at, state in states if at > newest]
        for at, state in states:
            if at <= newest and (at, state) not in self._states:
                _, round = epoch_and_round(at)
                raise CorruptError(
                    f"the state of proposals and votes behind round {round} is another one than before the start"
                )
        if not new:
            return None
        self._states += new
        while len(self._states) > 1 and self._states[1][0] < closed:
            del self._states[0]
        return self.row()

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        return iter(self._states)
