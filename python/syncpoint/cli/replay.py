"""`syncpoint replay`: the order of a store, computed again from its events."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ..backend import CORES, core_info, load_core
from ..core.config import Local
from ..core.journal import EpochStart, StoredSyncPoint, encode_epoch_start
from ..core.retain import Retention
from ..errors import ArgumentError, CorruptError
from ..runtime.rows import DeliveredRow, chain_begin, chain_of
from .guard import FAILED, note, plain_errors
from .stores import OpenStore, StoreArgument, opened

if TYPE_CHECKING:
    from .._python import DagRun

__all__ = ["replay"]

CLOSE_EVERY = 256  # events


def replay(
    file: StoreArgument,
    core: Annotated[str, typer.Option("--core", help=f"The core that computes: {', '.join(CORES)}.")] = "auto",
) -> None:
    """Compute the order again from the events alone, and compare every order hash; no key is needed.

    The peer must not be running, and nothing be forgotten. Exit code 1 where the order is another one.
    """
    with plain_errors(), opened(file) as store:
        state = store.state
        if state.first_event > 1 or state.first_index > 0:
            raise ArgumentError(
                f"{file}: it begins with event {state.first_event} and index {state.first_index}: "
                "an order can only be computed again from its beginning; replay the store of a peer that forgot nothing"
            )
        rows = (row for _, row in store.delivered() if row is not None)
        compared = 0
        before = chain_begin(store.identity.network_id)
        for (digest, consensus_at), row in zip(_order(store, core), rows, strict=False):
            before = chain_of(before, compared, digest, consensus_at)
            if row.id != compared or before != row.order_hash:
                note(f"{file}: at index {compared} the store has {_name(row)}, and {digest.hex()[:16]}... comes out")
                raise typer.Exit(FAILED)
            compared += 1
        if compared < state.end_index:
            note(f"{file}: only {compared} of {state.end_index} indices come out of the events")
            raise typer.Exit(FAILED)
        typer.echo(f"{file}: {compared} order hashes compared, all the same ({core_info(core).name} core)")


def _order(store: OpenStore, core: str) -> Iterator[tuple[bytes, int]]:
    """What a core makes of the events: the digest and the consensus time of all that is delivered."""
    epochs = store.epochs
    number = 0  # of the epoch
    run, keep = _begin(store, core, number)
    out: deque[tuple[bytes, int]] = deque()
    for id, row in store.events():
        decoded = store.decode(row) if row is not None and row.is_intact else None
        if decoded is None:
            raise CorruptError(f"{store.file.name}: event {id} is damaged: see syncpoint verify-store")
        if not isinstance(decoded, StoredSyncPoint):  # they come out again
            record, event = decoded
            of = epochs.number_of(record.frame) or 0
            while number < of:  # nothing more comes of the epoch before (S4)
                yield from _closed(run)
                number += 1
                run, keep = _begin(store, core, number)
            if number == of:
                parents = [parent.digest for parent in event.parents]
                slot = event.creator, event.round, event.created_at
                run.insert(event.digest, *slot, parents, event.items, event.transactions)
        if id % CLOSE_EVERY == 0:
            out += _closed(run)
            run.forget(keep)
            while out:
                yield out.popleft()
    yield from _closed(run)


def _begin(store: OpenStore, core: str, number: int) -> tuple[DagRun, int]:
    """What computes an epoch, and how many rounds it keeps."""
    epochs, network_id = store.epochs, store.identity.network_id
    start = epochs.starts[number - 1] if number else None
    if start is None:
        nothing = 0, 0, chain_begin(network_id), epochs.roster_of(0), (), b"", b""
        start = EpochStart(0, network_id, *nothing)
    run = load_core(core).DagRun.begin(encode_epoch_start(start), network_id)
    return run, Retention(start.roster.network, Local(), epochs.creators_of(number)).rounds


def _closed(run: DagRun) -> list[tuple[bytes, int]]:
    """What all rounds that have closed deliver."""
    return [done for _, batch in run.close() for done in batch]


def _name(row: DeliveredRow) -> str:
    return f"{row.digest.hex()[:16]}..."
