"""`syncpoint verify-store`: whether a store is as it was written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import typer

from ..core.epoch import Epoch
from ..core.journal import StoredSyncPoint
from ..core.values import Event
from ..errors import CorruptError
from ..runtime.page import point_digest
from ..runtime.rows import EventRow, chain, chain_begin
from ..runtime.tip import doubt
from .guard import FAILED, note, plain_errors
from .stores import OpenStore, StoreArgument, opened

__all__ = ["verify_store"]

MAX_SHOWN = 20  # things that are wrong; of more only the number is told


def verify_store(file: StoreArgument) -> None:
    """Check every checksum, every number, the order hashes and the file's own structure; exit code 1 if any is wrong.

    The peer must not be running.
    """
    with plain_errors(), opened(file) as store:
        counts: Counter[str] = Counter()
        problems = list(_problems(store, counts))
        for problem in problems[:MAX_SHOWN]:
            note(problem)
        if len(problems) > MAX_SHOWN:
            note(f"and {len(problems) - MAX_SHOWN} more")
        state = store.state
        found = store.file
        why = doubt(found.read_tip(), True, state.sequence, found.inode(), found.boot())
        if why is not None:
            note(f"own events may be missing: {why}. The peer will ask the others when it starts")
        points, rows = counts["sync points"], state.end_event - state.first_event
        count = f"{rows - points} events, {points} sync points, {state.end_index - state.first_index} delivered"
        if problems:
            note(f"{file}: {count}; {len(problems)} things are wrong")
            raise typer.Exit(FAILED)
        typer.echo(f"{file}: {count}; all is as it was written")


def _problems(store: OpenStore, counts: Counter[str]) -> Iterator[str]:
    yield from (f"SQLite: {problem}" for problem in store.file.problems())
    yield from (f"meta {row.name!r}: wrong checksum" for row in store.file.meta() if not row.is_intact)
    yield from _in_proposals(store)
    yield from _in_events(store, counts)
    yield from _in_order(store)


def _in_proposals(store: OpenStore) -> Iterator[str]:
    for round, state in store.proposals:
        try:
            Epoch(store.committee, 0).restore(state)
        except CorruptError as error:
            yield f"proposals behind round {round}: {error}"


def _in_events(store: OpenStore, counts: Counter[str]) -> Iterator[str]:
    top = 0
    points: int | None = None if store.state.first_event > 1 else 0  # of the sync points so far; None: not known
    for id, row in store.events():
        if row is None:
            yield f"event {id}: missing"
        elif not row.is_intact:
            yield f"event {id}: wrong checksum"
        elif (decoded := store.decode(row)) is None:
            yield f"event {id}: no event of this network"
        elif _digest_and_round(decoded, row) != (row.digest, row.round):
            yield f"event {id}: another event than its row says"
        elif row.top < max(top, row.round):
            yield f"event {id}: the highest round falls from {top} to {row.top}"
        else:
            top = row.top
            if isinstance(decoded, StoredSyncPoint):
                if points is not None and decoded.epoch_index != points + 1:
                    yield f"event {id}: sync point {decoded.epoch_index} comes after sync point {points}"
                points = decoded.epoch_index
                counts["sync points"] += 1


def _digest_and_round(decoded: tuple[object, Event] | StoredSyncPoint, row: EventRow) -> tuple[bytes, int]:
    if isinstance(decoded, StoredSyncPoint):  # in which round it was made stands in its row alone
        return point_digest(decoded), row.round
    return decoded[1].digest, decoded[1].round


def _in_order(store: OpenStore) -> Iterator[str]:
    before = chain_begin(store.identity.network_id) if store.state.first_index == 0 else None
    for index, row in store.delivered():
        if row is None:
            yield f"index {index}: missing"
        elif not row.is_intact:
            yield f"index {index}: wrong checksum"
        elif before is not None and chain(before, row) != row.order_hash:
            yield f"index {index}: its order hash does not follow from those before it"
        elif (found := store.file.event(row.round, row.digest)) is None:
            yield f"index {index}: its event is missing"
        elif isinstance(store.decode(found), StoredSyncPoint) and row.closed_by != row.round:
            yield f"index {index}: its sync point was made by another round"
        before = row.order_hash if row is not None and row.is_intact else None
