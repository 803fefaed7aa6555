"""`syncpoint dump`: what a store holds, for people and programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from ..core.journal import OwnEvent
from ..keys import KeyPublic
from .guard import plain_errors
from .stores import OpenStore, StoreArgument, opened

__all__ = ["dump"]


def dump(
    file: StoreArgument,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Show a store: whose it is, the events in the order in which they came, our own ones, and the agreed order."""
    with plain_errors(), opened(file) as store:
        for line in _lines(store):
            typer.echo(json.dumps(line, ensure_ascii=False) if as_json else _as_text(line))


def _lines(store: OpenStore) -> Iterator[dict[str, Any]]:
    identity, state, network = store.identity, store.state, store.identity.network
    yield {
        "kind": "store",
        "network": network.name,
        "network_id": identity.network_id.hex(),
        "key": str(KeyPublic.from_bytes(identity.public)),
        "peers": len(identity.members),
        "commit": state.sequence,
        "events": state.end_event - state.first_event,
        "first_index": state.first_index,
        "end_index": state.end_index,
    }
    for id, row in store.events():
        decoded = store.decode(row) if row is not None and row.is_intact else None
        if row is None or decoded is None:
            yield {"kind": "damaged", "event": id}
            continue
        record, event = decoded
        line: dict[str, Any] = {
            "kind": "own" if isinstance(record, OwnEvent) else "event",
            "number": id,
            "round": event.round,
            "creator": event.creator,
            "hash": event.digest.hex(),
            "created_at": event.created_at,
            "parents": len(event.parents),
            "transactions": event.transaction_count,
            "bytes": event.payload_bytes,
        }
        if isinstance(record, OwnEvent):
            line["taken_over"] = [list(position) for position in record.taken_over]
        yield line
    for index, place in store.delivered():
        if place is None or not place.is_intact:
            yield {"kind": "damaged", "index": index}
            continue
        yield {
            "kind": "order",
            "index": index,
            "hash": place.digest.hex(),
            "round": place.round,
            "closed_by": place.closed_by,
            "consensus_at": place.consensus_at,
            "order_hash": place.order_hash.hex(),
        }


def _as_text(line: dict[str, Any]) -> str:
    return f"{line['kind']:<8}" + " ".join(f"{name}={value}" for name, value in line.items() if name != "kind")
