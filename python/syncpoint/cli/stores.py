"""A store file as the commands for operators read it, whole or damaged."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from ..core.error import Reject
from ..core.journal import OwnEvent, PeerEvent, StoredSyncPoint, decode_record
from ..core.values import Event
from ..core.wire import decode_event
from ..errors import CorruptError
from ..runtime.epochs import Epochs
from ..runtime.meta import read_meta
from ..runtime.reload import MOVE_AWAY
from ..runtime.rows import DeliveredRow, EventRow, Identity
from ..runtime.sqlite import SqliteFile

__all__ = ["OpenStore", "StoreArgument", "opened"]

StoreArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A store: KEY.syncpoint in the folder of a peer.")]
ROWS_AT_ONCE = 256

Row = TypeVar("Row", EventRow, DeliveredRow)


class OpenStore:
    """What can be read of a store that no process uses."""

    def __init__(self, file: SqliteFile) -> None:
        self.file = file
        self.state, self.proposals, starts = read_meta(file, {row.name: row for row in file.meta()})
        meta = {row.name: row for row in file.meta() if row.is_intact}
        try:
            self.identity = Identity.read({name: row.value for name, row in meta.items()})
        except (KeyError, ValueError, TypeError):
            raise CorruptError(f"{file.name} is damaged (it does not say whose it is); {MOVE_AWAY}") from None
        self.epochs = Epochs(self.identity, starts)

    def events(self) -> Iterator[tuple[int, EventRow | None]]:
        """The number of every event and sync point with its row, None where that is missing."""
        return _numbered(self.file.events, self.state.first_event, self.state.end_event)

    def delivered(self) -> Iterator[tuple[int, DeliveredRow | None]]:
        """Every index with its row, None where that is missing."""
        return _numbered(self.file.delivered, self.state.first_index, self.state.end_index)

    def decode(self, row: EventRow) -> tuple[OwnEvent | PeerEvent, Event] | StoredSyncPoint | None:
        """The record and the event of a row, or its sync point; None when they are none."""
        record = decode_record(row.record) if isinstance(row.record, bytes) else None
        if isinstance(record, StoredSyncPoint):
            return record
        number = self.epochs.number_of(record.frame) if isinstance(record, OwnEvent | PeerEvent) else None
        if number is None or not isinstance(record, OwnEvent | PeerEvent):
            return None
        event = decode_event(record.frame, self.epochs.id_of(number), self.identity.network)
        return None if isinstance(event, Reject) else (record, event)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[OpenStore]:
    """The store in a file; StorageError when a process uses it, or when it is none."""
    file = SqliteFile(path, must_exist=True)
    file.open()
    try:
        yield OpenStore(file)
    finally:
        file.close()


def _numbered(read: Callable[[int, int], Sequence[Row]], first: int, end: int) -> Iterator[tuple[int, Row | None]]:
    """Every number from `first` to `end` with its row, None where that is missing."""
    for begin in range(first, end, ROWS_AT_ONCE):
        until = min(end, begin + ROWS_AT_ONCE)
        rows = {row.id: row for row in read(begin, until)}
        yield from ((number, rows.get(number)) for number in range(begin, until))
