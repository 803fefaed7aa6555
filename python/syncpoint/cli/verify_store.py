"""`syncpoint verify-store`: whether a store is as it was written."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator

import typer

from ..core.epoch import Epoch
from ..core.journal import EpochStart, OwnEvent, PeerEvent, StoredSyncPoint
from ..core.transition import check_transition, decode_transition
from ..core.values import Event
from ..errors import CorruptError
from ..runtime.epochs import epoch_and_round
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
        count += f", {state.epochs + 1} epochs" if state.epochs else ""
        if problems:
            note(f"{file}: {count}; {len(problems)} things are wrong")
            raise typer.Exit(FAILED)
        typer.echo(f"{file}: {count}; all is as it was written")


def _problems(store: OpenStore, counts: Counter[str]) -> Iterator[str]:
    yield from (f"SQLite: {problem}" for problem in store.file.problems())
    yield from (f"meta {row.name!r}: wrong checksum" for row in store.file.meta() if not row.is_intact)
    yield from _in_proposals(store)
    yield from _in_epochs(store)
    yield from _in_events(store, counts)
    yield from _in_order(store)


def _in_proposals(store: OpenStore) -> Iterator[str]:
    for at, state in store.proposals:
        number, what = epoch_and_round(at)[0], f"proposals behind round {_said(at)}"
        if number > store.epochs.newest:
            yield f"{what}: that has not begun"
        else:
            yield from _in_state(store, number, state, what)


def _in_state(store: OpenStore, number: int, state: bytes, what: str) -> Iterator[str]:
    try:
        Epoch(store.epochs.committee_of(number), 0).restore(state)
    except CorruptError as error:
        yield f"{what}: {error}"


def _in_epochs(store: OpenStore) -> Iterator[str]:
    """What is wrong with the beginnings of epochs; each has to follow from the one before, as q of that have signed."""
    epochs, ids = store.epochs, {store.identity.network_id}
    for start in epochs.starts:
        before, what = start.number - 1, f"epoch {start.number}"
        if start.epoch_id in ids:
            yield f"{what}: its id is that of another one"
        ids.add(start.epoch_id)
        if len(start.reached) != epochs.creators_of(before):
            yield f"{what}: the epoch before has {epochs.creators_of(before)} creators, not {len(start.reached)}"
        yield from _in_state(store, start.number, start.state, what)
        if not _follows(store, start):
            yield f"{what}: it does not follow from what the members before it have signed"


def _follows(store: OpenStore, start: EpochStart) -> bool:
    """Whether a sync point with q signatures leads to an epoch (S4, C2)."""
    epochs, before = store.epochs, start.number - 1
    found = decode_transition(start.transition)
    if found is None or found[1] != len(start.transition):
        return False
    transition, _ = found
    led = check_transition(transition, epochs.roster_of(before), epochs.committee_of(before))
    if led != (start.roster, start.epoch_id):
        return False
    if (transition.index + 1, transition.consensus_at) != (start.next_index, start.consensus_at):
        return False
    return all(  # none where that is forgotten
        (place.order_hash, epoch_and_round(place.closed_by)[0]) == (start.order_hash, before)
        for place in store.file.delivered(transition.index, transition.index + 1)
        if place.is_intact
    )


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
        elif _digest_and_height(store, decoded, row) != (row.digest, row.round):
            yield f"event {id}: another event than its row says"
        elif row.top < max(top, row.round):
            yield f"event {id}: the highest round falls from {_said(top)} to {_said(row.top)}"
        else:
            top = row.top
            if isinstance(decoded, StoredSyncPoint):
                if points is not None and decoded.epoch_index != points + 1:
                    yield f"event {id}: sync point {decoded.epoch_index} comes after sync point {points}"
                points = decoded.epoch_index
                counts["sync points"] += 1


def _digest_and_height(
    store: OpenStore, decoded: tuple[OwnEvent | PeerEvent, Event] | StoredSyncPoint, row: EventRow
) -> tuple[bytes, int | None]:
    if isinstance(decoded, StoredSyncPoint):  # in which round it was made stands in its row alone
        return point_digest(decoded), row.round
    record, event = decoded
    return event.digest, store.epochs.height_of(record.frame)


def _said(at: int) -> str:
    epoch, round = epoch_and_round(at)
    return f"{round} of epoch {epoch}" if epoch else f"{round}"


def _in_order(store: OpenStore) -> Iterator[str]:
    before = chain_begin(store.identity.network_id) if store.state.first_index == 0 else None
    begins = [start.next_index for start in store.epochs.starts]
    for index, row in store.delivered():
        if row is None:
            yield f"index {index}: missing"
        elif not row.is_intact:
            yield f"index {index}: wrong checksum"
        elif before is not None and chain(before, row) != row.order_hash:
            yield f"index {index}: its order hash does not follow from those before it"
        elif {epoch_and_round(at)[0] for at in (row.round, row.closed_by)} != {bisect_right(begins, index)}:
            yield f"index {index}: it is of another epoch than its place"
        elif (found := store.file.event(row.round, row.digest)) is None:
            yield f"index {index}: its event is missing"
        elif isinstance(store.decode(found), StoredSyncPoint) and row.closed_by != row.round:
            yield f"index {index}: its sync point was made by another round"
        before = row.order_hash if row is not None and row.is_intact else None
