"""The agreed stream as a store keeps it: places, and the events and sync points that stand there (J2)."""

from __future__ import annotations

from ..core.epoch import sync_point_digest
from ..core.error import Reject
from ..core.journal import OwnEvent, PeerEvent, StoredSyncPoint, decode_record, height
from ..core.values import Delivered, Event, SyncPoint
from ..errors import ArgumentError, CorruptError
from .epochs import epoch_and_round
from .reload import MOVE_AWAY, check_chain, read_delivered
from .rows import DeliveredRow, StoreFile, chain_begin
from .storage import Agreed, StorageSettings, is_event

__all__ = ["point_digest", "read_page", "row_of"]

MAX_PAGE_BYTES = 4 * 1024 * 1024  # of events in one page of the stream, after which it ends
PAGE_ROWS = 256  # of the stream that are read at once

NOT_SIGNED = bytes(64)  # in the place of a sync point's whitened signature


def row_of(done: Agreed) -> DeliveredRow:
    """The place of something that was delivered, as it is stored."""
    if is_event(done):
        round, signature = done.event.round, done.whitened_signature
    else:
        round, signature = done.closed_by, NOT_SIGNED
    first = height(done.epoch, 0)
    at, closed = first + round, first + done.closed_by
    return DeliveredRow.of(done.index, at, done.digest, done.consensus_at, done.order_hash, signature, closed)


def read_page(file: StoreFile, settings: StorageSettings, lowest: int, first: int, end: int) -> list[Agreed]:
    """What stands at the indices from `first` on: at least one, and as many below `end` as make a page.

    `lowest` is the first index that the file has. Raises ArgumentError below it, and CorruptError where the first one
    is damaged.
    """
    if first < lowest:
        raise ArgumentError(f"the store begins with index {lowest}: what was before is forgotten")
    advice = f"start with resume_after={first} or higher to go on behind it, or {MOVE_AWAY}"
    before = max(lowest, first - 1)
    rows = read_delivered(file, before, min(end, first + PAGE_ROWS), advice)
    check_chain(file.name, chain_begin(settings.identity.network_id) if first == 0 else None, rows, advice)
    page: list[Agreed] = []
    size = 0
    for row in rows[first - before :]:
        found = _agreed(file, settings, row)
        if found is None:
            if page:  # what comes before it is good
                break
            raise CorruptError(
                f"{file.name}: what stands at index {row.id} is damaged; "
                f"start with resume_after={row.id} to go on behind it, or {MOVE_AWAY}"
            )
        page.append(found)
        size += len(found.metadata) if isinstance(found, SyncPoint) else found.event.size
        if size > MAX_PAGE_BYTES:
            break
    return page


def point_digest(point: StoredSyncPoint) -> bytes:
    """What stands for a stored sync point in the order hash, 32 bytes (O9)."""
    by = point.proposer, point.approvals
    return sync_point_digest(point.kind, point.epoch_index, point.proposal, *by, point.metadata, point.change)


def _agreed(file: StoreFile, settings: StorageSettings, row: DeliveredRow) -> Agreed | None:
    """What stands at a place; None when it is damaged or missing."""
    stored = file.event(row.round, row.digest)
    record = None if stored is None or not stored.is_intact else decode_record(stored.record)
    if isinstance(record, StoredSyncPoint):
        return _point(row, record) if point_digest(record) == row.digest else None
    event = settings.decode(record.frame) if isinstance(record, OwnEvent | PeerEvent) else None
    if event is None or isinstance(event, Reject) or event.digest != row.digest:
        return None
    return _delivered(row, event)


def _delivered(row: DeliveredRow, event: Event) -> Delivered:
    epoch, closed_by = epoch_and_round(row.closed_by)
    return Delivered(
        event=event,
        parents=tuple(parent.digest for parent in event.parents),
        index=row.id,
        consensus_at=row.consensus_at,
        order_hash=row.order_hash,
        whitened_signature=row.whitened_signature,
        closed_by=closed_by,
        submissions=(),
        epoch=epoch,
    )


def _point(row: DeliveredRow, record: StoredSyncPoint) -> SyncPoint:
    epoch, closed_by = epoch_and_round(row.closed_by)
    return SyncPoint(
        kind=record.kind,
        metadata=record.metadata,
        proposal=record.proposal,
        proposer=record.proposer,
        approvals=record.approvals,
        epoch_index=record.epoch_index,
        session_id=record.session_id,
        digest=row.digest,
        index=row.id,
        consensus_at=row.consensus_at,
        order_hash=row.order_hash,
        closed_by=closed_by,
        change=record.change,
        epoch=epoch,
    )
