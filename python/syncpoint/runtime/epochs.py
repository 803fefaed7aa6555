"""The epochs that a store knows: how each began, and which one a row is of (S4).

All epochs are in one file. Its rows keep heights, which rise from epoch to epoch (`journal.height`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from ..core.committee import Committee
from ..core.config import Network
from ..core.journal import EPOCH_ROUNDS, EpochStart, decode_record, encode_epoch_start, height
from ..core.roster import Roster
from ..core.wire import epoch_id_of, slot_of
from .rows import Identity, MetaRow

__all__ = ["Epochs", "epoch_and_round", "epoch_row", "read_epochs"]

_HEADER = slice(1, 129)  # of a frame, without copies of what it carries: where epoch, creator and round stand


class Epochs:
    """All that began, in their order; the first one has no record, and is known from whose store it is."""

    def __init__(self, identity: Identity, starts: Iterable[EpochStart] = ()) -> None:
        self.starts: list[EpochStart] = []  # of those after the first
        self._first_id = identity.network_id
        self._roster = Roster.first(identity.network, identity.members)  # of the first epoch
        self._numbers = {identity.network_id: 0}
        for start in starts:
            self.add(start)

    def add(self, start: EpochStart) -> None:
        """Another one has begun."""
        assert start.number == self.newest + 1, "epochs begin one after the other"
        self.starts.append(start)
        self._numbers[start.epoch_id] = start.number

    @property
    def newest(self) -> int:
        """The number of the one that began last."""
        return len(self.starts)

    @property
    def last(self) -> EpochStart | None:
        """How the newest one began, None of the first."""
        return self.starts[-1] if self.starts else None

    def number_of(self, frame: bytes) -> int | None:
        """The epoch of an EVENT frame, None when it is none of these."""
        return self._numbers.get(epoch_id_of(frame[_HEADER]))

    def height_in(self, epoch_id: bytes, round: int) -> int | None:
        """The height of a round of the epoch with this id, None when it is none of these."""
        number = self._numbers.get(epoch_id)
        return None if number is None else height(number, round)

    def height_of(self, frame: bytes) -> int | None:
        """The height of the event in an EVENT frame, None when its epoch is none of these."""
        number = self.number_of(frame)
        try:
            return None if number is None else height(number, slot_of(frame[_HEADER])[1])
        except struct.error:  # it is cut off
            return None

    def id_of(self, number: int) -> bytes:
        """The id of an epoch."""
        return self.starts[number - 1].epoch_id if number else self._first_id

    def network_of(self, number: int) -> Network:
        """The settings of an epoch."""
        return self.roster_of(number).network

    def creators_of(self, number: int) -> int:
        """How many make events in an epoch."""
        return sum(seat.member.orders for seat in self.roster_of(number).seats)

    def committee_of(self, number: int) -> Committee:
        """The committee of an epoch."""
        return self.roster_of(number).committee(self.id_of(number))

    def roster_of(self, number: int) -> Roster:
        """The members and settings of an epoch."""
        return self.starts[number - 1].roster if number else self._roster

    @property
    def gc_depth(self) -> int:
        """The largest of all: no event is delivered so many rounds after its own (O2)."""
        return max(self.network_of(number).gc_depth for number in range(self.newest + 1))

    def below(self, at: int, rounds: int) -> int:
        """The height so many rounds below another, 0 where there is none.

        Below the first round of an epoch lies the highest that was there of the epoch before.
        """
        number, round = epoch_and_round(at)
        while number and rounds >= round:
            rounds -= round
            number -= 1
            round = max(self.starts[number].reached)
        return height(number, max(0, round - rounds))


def epoch_and_round(at: int) -> tuple[int, int]:
    """The number of the epoch and the round of a height."""
    return divmod(at, EPOCH_ROUNDS)


def epoch_row(start: EpochStart) -> MetaRow:
    """The beginning of an epoch as it is stored."""
    return MetaRow.of(_name(start.number), encode_epoch_start(start))


def read_epochs(meta: Mapping[str, MetaRow], count: int) -> list[EpochStart] | str:
    """The beginnings of so many epochs after the first, or the name of the first row that is not what was written."""
    starts: list[EpochStart] = []
    for number in range(1, count + 1):
        row = meta.get(_name(number))
        start = decode_record(row.value) if row is not None and row.is_intact else None
        if not isinstance(start, EpochStart) or start.number != number:
            return _name(number)
        starts.append(start)
    return starts


def _name(number: int) -> str:
    return f"epoch:{number:05}"
