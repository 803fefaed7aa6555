"""`syncpoint verify-store`: whether a store is as it was written."""

from __future__ import annotations

from collections.abc import Iterator

import typer

from ..runtime.rows import chain, chain_begin
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
        problems = list(_problems(store))
        for problem in problems[:MAX_SHOWN]:
            note(problem)
        if len(problems) > MAX_SHOWN:
            note(f"and {len(problems) - MAX_SHOWN} more")
        state = store.state
        found = store.file
        why = doubt(found.read_tip(), True, state.sequence, found.inode(), found.boot())
        if why is not None:
            note(f"own events may be missing: {why}. The peer will ask the others when it starts")
        count = f"{state.end_event - state.first_event} events, {state.end_index - state.first_index} delivered"
        if problems:
            note(f"{file}: {count}; {len(problems)} things are wrong")
            raise typer.Exit(FAILED)
        typer.echo(f"{file}: {count}; all is as it was written")


def _problems(store: OpenStore) -> Iterator[str]:
    yield from (f"SQLite: {problem}" for problem in store.file.problems())
    yield from (f"meta {row.name!r}: wrong checksum" for row in store.file.meta() if not row.is_intact)
    yield from _in_events(store)
    yield from _in_order(store)


def _in_events(store: OpenStore) -> Iterator[str]:
    top = 0
    for id, row in store.events():
        if row is None:
            yield f"event {id}: missing"
        elif not row.is_intact:
            yield f"event {id}: wrong checksum"
        elif (decoded := store.decode(row)) is None:
            yield f"event {id}: no event of this network"
        elif (decoded[1].digest, decoded[1].round) != (row.digest, row.round):
            yield f"event {id}: another event than its row says"
        elif row.top < max(top, row.round):
            yield f"event {id}: the highest round falls from {top} to {row.top}"
        else:
            top = row.top


def _in_order(store: OpenStore) -> Iterator[str]:
    before = chain_begin(store.identity.network_id) if store.state.first_index == 0 else None
    for index, row in store.delivered():
        if row is None:
            yield f"index {index}: missing"
        elif not row.is_intact:
            yield f"index {index}: wrong checksum"
        elif before is not None and chain(before, row) != row.order_hash:
            yield f"index {index}: its order hash does not follow from those before it"
        elif store.file.event(row.round, row.digest) is None:
            yield f"index {index}: its event is missing"
        before = row.order_hash if row is not None and row.is_intact else None
