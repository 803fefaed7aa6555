"""What a store has for a machine that starts again, and whether its journal is whole (R1, R2)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

from ..core.change import CHANGING
from ..core.error import Reject
from ..core.journal import (
    EpochStart,
    OwnEvent,
    PeerEvent,
    Place,
    StoredSyncPoint,
    decode_record,
    encode_epoch_start,
    encode_own_delivered,
    encode_place,
    encode_state,
    height,
)
from ..core.values import Event
from ..errors import CorruptError
from .epochs import Epochs, epoch_and_round
from .proposals import Proposals
from .rows import DeliveredRow, EventRow, State, StoreFile, chain, chain_begin
from .storage import StorageSettings

__all__ = ["MOVE_AWAY", "OpenOwn", "Reload", "check_chain", "read_delivered"]

log = logging.getLogger("syncpoint.store")

MOVE_AWAY = "move it away, and start with joining_running_session=True"
ROWS_AT_ONCE = 256  # that are read from a file in one piece

Row = TypeVar("Row", EventRow, DeliveredRow)
Decode = Callable[[bytes], Event | Reject]


class OpenOwn:
    """Own events whose transactions may still have to be sent again: neither delivered nor taken over (O11)."""

    def __init__(self) -> None:
        self._places: dict[int, tuple[int, bytes, set[int]]] = {}  # height -> id, digest, places that are not settled

    def add(self, row: EventRow, record: OwnEvent, transactions: int) -> None:
        """An own event was made, and took over some transactions of earlier ones."""
        for at, place in record.taken_over:
            found = self._places.get(at)
            if found is not None:
                found[2].discard(place)
                if not found[2]:
                    del self._places[at]
        if transactions:
            self._places[row.round] = (row.id, row.digest, set(range(transactions)))

    def delivered(self, at: int, digest: bytes) -> None:
        """The event of a height was delivered, ours or not."""
        found = self._places.get(at)
        if found is not None and found[1] == digest:
            del self._places[at]

    @property
    def lowest(self) -> tuple[int, int]:
        """Height and id of the oldest, 0 and 0 without any."""
        return min(((at, id) for at, (id, _, _) in self._places.items()), default=(0, 0))


class Reload:
    """Reads what a start needs: `records`, the open own events, and rows that will be delivered again.

    `doubt` says why own events may be missing, None when none is.
    """

    def __init__(
        self, file: StoreFile, state: State, proposals: Proposals, settings: StorageSettings, epochs: Epochs
    ) -> None:
        self.records: list[bytes] = []
        self.open = OpenOwn()
        self.again: dict[int, DeliveredRow] = {}
        self.top = 0  # the highest height of an event that was read; what comes is not below the newest epoch
        self.is_fenced = False  # nothing more is delivered in the newest epoch (S4)
        self.closed = 0  # the height of the round whose closing delivered the last event
        self.doubt: str | None = None
        self._file = file
        self._state = state
        self._network_id = settings.identity.network_id
        self._decode = settings.decode
        self._epochs = epochs
        self.records += map(encode_epoch_start, epochs.starts)
        newest = epochs.newest
        floor = 0  # in the newest epoch
        place = self._place()
        if place is not None:
            self.records.append(encode_place(place))
            found = proposals.at(height(newest, place.round))
            if found is not None:
                self.records.append(encode_state(found))
            floor = max(0, place.round - settings.keep_rounds(epochs.network_of(newest), epochs.creators_of(newest)))
        begin = 0 if epochs.last is None else epochs.last.next_index
        self._events(begin if place is None else place.next_index, height(newest, floor))

    # -- where the order stood --------------------------------------------------------------------------

    def _place(self) -> Place | None:
        """Where the order stood when the last round of the newest epoch that is surely here as a whole had closed."""
        state, last = self._state, self._epochs.last
        begin = 0 if last is None else last.next_index  # the first index of the newest epoch
        if state.end_index < begin:
            raise CorruptError(f"{self._file.name}: places below index {begin}, where an epoch begins, are missing")
        if state.end_index == state.first_index:
            return None
        (newest,) = read_delivered(self._file, state.end_index - 1, state.end_index)
        self.closed = newest.closed_by
        if last is not None and state.first_index < begin:
            self._check_border(last)
        self.is_fenced = state.end_index > begin and self._is_fence(newest)
        if state.end_index == begin:  # nothing of the epoch before comes again
            return None
        _, round = epoch_and_round(newest.closed_by - 1)  # rows of the newest round may be incomplete
        first = self._first_delivered(newest.closed_by)
        before = max(state.first_index, first - 1)
        rows = read_delivered(self._file, before, state.end_index)
        if state.first_index == 0 and before == first:
            check_chain(self._file.name, chain_begin(self._network_id), rows)
        else:
            check_chain(self._file.name, None, rows)
        self.again = {row.id: row for row in rows if row.id >= first}
        if first in (state.first_index, begin):
            return None  # nothing is below it in this epoch: all of it comes again
        return Place(round, first, rows[0].consensus_at, rows[0].order_hash)

    def _is_fence(self, place: DeliveredRow) -> bool:
        """Whether an epoch ends with what stands at a place."""
        row = self._file.event(place.round, place.digest)
        record = None if row is None or not row.is_intact else decode_record(row.record)
        return isinstance(record, StoredSyncPoint) and record.kind in CHANGING

    def _check_border(self, start: EpochStart) -> None:
        """An epoch goes on where the one before ended (S4)."""
        (fence,) = read_delivered(self._file, start.next_index - 1, start.next_index)
        if (fence.order_hash, epoch_and_round(fence.closed_by)[0]) != (start.order_hash, start.number - 1):
            raise CorruptError(
                f"{self._file.name}: epoch {start.number} does not go on where index {fence.id} stands; {MOVE_AWAY}"
            )

    def _first_delivered(self, closed_by: int) -> int:
        """The lowest index whose row was delivered by the closing of the round of this height or of a later one."""
        low, high = self._state.first_index, self._state.end_index
        while low < high:
            middle = (low + high) // 2
            (row,) = read_delivered(self._file, middle, middle + 1)
            low, high = (low, middle) if row.closed_by >= closed_by else (middle + 1, high)
        return low

    # -- events -----------------------------------------------------------------------------------------

    def _events(self, index: int, floor: int) -> None:
        """The records of events above the floor, a height, and own ones from the oldest open one on.

        `index` is that of the place.
        """
        state = self._state
        first = self._first_event(floor)
        start = min(first, state.own_from or first)
        own: dict[bytes, int] = {}  # digest -> height
        damaged: list[int] = []
        own_rounds: list[tuple[int, int]] = []  # id, height
        for id, row in self._rows(start, state.end_event):
            event = None if row is None else self._event(row)
            if row is None or event is None:
                damaged.append(id)
                continue
            self.top = row.top
            if isinstance(event, StoredSyncPoint):  # the machine makes it again
                continue
            record, transactions = event
            is_own = isinstance(record, OwnEvent)
            if isinstance(record, OwnEvent):
                own[row.digest] = row.round
                own_rounds.append((id, row.round))
                self.open.add(row, record, transactions)
            if is_own or row.round > floor:
                self.records.append(row.record)
        self._delivered_own(own, index)
        self._judge(damaged, own_rounds)

    def _first_event(self, floor: int) -> int:
        """The lowest id from which on the highest round is above the floor; where rows are damaged, one below it."""
        low, high = self._state.first_event, self._state.end_event
        while low < high:
            middle = (low + high) // 2
            found = self._intact(middle, high)
            if found is None or found.top > floor:
                high = middle
            else:
                low = found.id + 1
        return low

    def _intact(self, first: int, end: int) -> EventRow | None:
        """The lowest row of a range that is not damaged; one by one, as each may be large."""
        for id in range(first, end):
            for row in self._file.events(id, id + 1):
                if row.is_intact:
                    return row
        return None

    def _rows(self, first: int, end: int) -> Iterator[tuple[int, EventRow | None]]:
        """Every id with its row, None where that is damaged or missing."""
        for begin in range(first, end, ROWS_AT_ONCE):
            until = min(end, begin + ROWS_AT_ONCE)
            there = {row.id: row for row in self._file.events(begin, until) if row.is_intact}
            yield from ((id, there.get(id)) for id in range(begin, until))

    def _event(self, row: EventRow) -> tuple[OwnEvent | PeerEvent, int] | StoredSyncPoint | None:
        """The record of a row, and how many transactions its event has; None when it is none."""
        record = decode_record(row.record)
        if isinstance(record, StoredSyncPoint):
            return record
        if not isinstance(record, OwnEvent | PeerEvent) or self._epochs.height_of(record.frame) != row.round:
            return None
        if isinstance(record, PeerEvent):
            return record, 0
        event = self._decode(record.frame)
        return None if isinstance(event, Reject) else (record, event.transaction_count)

    def _delivered_own(self, own: dict[bytes, int], index: int) -> None:
        """Tell which own events were delivered before the place, after all of them."""
        if not own:
            return
        first = self._first_delivered(min(own.values()))  # nothing is delivered before its own round closes
        for begin in range(first, self._state.end_index, ROWS_AT_ONCE):
            for row in read_delivered(self._file, begin, min(self._state.end_index, begin + ROWS_AT_ONCE)):
                if row.digest in own:
                    self.open.delivered(row.round, row.digest)
                    if row.id < index:
                        self.records.append(encode_own_delivered(own[row.digest]))

    def _judge(self, damaged: list[int], own: list[tuple[int, int]]) -> None:
        """Whether a damaged row can have been an own event; between own ones of neighbouring rounds none was (P1)."""
        for id in damaged:
            before = max(((at, round) for at, round in own if at < id), default=None)
            after = min(((at, round) for at, round in own if at > id), default=None)
            if before is None or after is None or after[1] != before[1] + 1:
                self.doubt = f"the event with number {id} is damaged, and may be our own"
                break
        if damaged:
            log.warning(
                "%s: %d events are damaged, the first with number %d; they are fetched again",
                self._file.name,
                len(damaged),
                damaged[0],
            )


def read_delivered(file: StoreFile, first: int, end: int, advice: str = MOVE_AWAY) -> list[DeliveredRow]:
    """All delivered rows of a range; CorruptError at the first that is damaged or missing."""
    rows = file.delivered(first, end)
    for index, row in zip(range(first, end), [*rows, *[None] * (end - first - len(rows))], strict=True):
        if row is None or row.id != index or not row.is_intact:
            raise CorruptError(f"{file.name}: the place with index {index} is damaged; {advice}")
    return rows


def check_chain(file: str, before: bytes | None, rows: list[DeliveredRow], advice: str = MOVE_AWAY) -> None:
    """Raise CorruptError where an order hash does not follow from the one before (O9); None: that is not known."""
    for row in rows:
        if before is not None and chain(before, row) != row.order_hash:
            raise CorruptError(
                f"{file}: the order hash at index {row.id} does not follow from those before it; {advice}"
            )
        before = row.order_hash
