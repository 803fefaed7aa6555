"""Events that only the store still has, for peers that are far behind (F3)."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.journal import OwnEvent, PeerEvent, Record, StoredSyncPoint, decode_record, height
from ..core.wire import header_of, slot_of
from .rows import StoreFile

__all__ = ["PAGE_ROWS", "OldEvents"]

PAGE_ROWS = 256  # read at once, and the rest of their round; sync points, which are left out, count


class OldEvents:
    """Reads events of an epoch above a frontier in ascending rounds, a page at a time.

    It ends where `most` bytes are read, though not before the first event, and where a round is missing, as behind the
    last one of an epoch: nobody can take what lies beyond.
    """

    def __init__(self, file: StoreFile, epoch: int, frontier: Sequence[int], first: int, most: int) -> None:
        self.is_complete = False
        self._is_empty = True
        self._file = file
        self._frontier = frontier
        self._next = height(epoch, first)  # of the next page
        self._reached = height(epoch, first) - 1  # the height of the last event
        self._left = most  # bytes

    def read_page(self) -> list[bytes]:
        """Read some more of them."""
        page: list[bytes] = []
        rows, at = 0, self._next
        for row in self._file.events_from(self._next):
            if not row.is_intact:
                continue  # another peer has it
            if row.round > at and rows >= PAGE_ROWS:
                self._next = row.round
                return page
            rows, at = rows + 1, row.round
            record = decode_record(row.record)
            if isinstance(record, StoredSyncPoint):  # whoever has the events makes it
                continue
            if row.round > self._reached + 1 or not self._take(record, page):
                break
            self._reached = row.round
        self.is_complete = True
        return page

    def _take(self, record: Record | None, page: list[bytes]) -> bool:
        """Put it on the page if it is asked for; whether there was room for it."""
        assert isinstance(record, OwnEvent | PeerEvent), "an intact row holds no event"
        creator, round = slot_of(header_of(record.frame))
        if round <= self._frontier[creator]:
            return True
        if not self._is_empty and len(record.frame) > self._left:
            return False
        self._is_empty = False
        self._left -= len(record.frame)
        page.append(record.frame)
        return True
