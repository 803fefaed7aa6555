"""`syncpoint dump`: what a store holds, for people and programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from ..core.journal import EpochStart, OwnEvent, StoredSyncPoint
from ..core.values import SyncPointKind
from ..keys import KeyPublic
from ..runtime.epochs import epoch_and_round
from ..runtime.rows import DeliveredRow
from .guard import plain_errors
from .stores import OpenStore, StoreArgument, opened

__all__ = ["dump"]


def dump(
    file: StoreArgument,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
) -> None:
    """Show a store: whose it is, epochs, events in the order in which they came, the agreed order with sync points."""
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
        "rows": state.end_event - state.first_event,
        "first_index": state.first_index,
        "end_index": state.end_index,
    }
    for start in store.epochs.starts:
        yield _begun(store, start)
    for id, row in store.events():
        decoded = store.decode(row) if row is not None and row.is_intact else None
        if row is None or decoded is None:
            yield {"kind": "damaged", "event": id}
            continue
        if isinstance(decoded, StoredSyncPoint):  # it is shown at its place
            continue
        record, event = decoded
        line: dict[str, Any] = {
            "kind": "own" if isinstance(record, OwnEvent) else "event",
            "number": id,
            "epoch": epoch_and_round(row.round)[0],
            "round": event.round,
            "creator": event.creator,
            "hash": event.digest.hex(),
            "created_at": event.created_at,
            "parents": len(event.parents),
            "transactions": event.transaction_count,
            "bytes": event.payload_bytes,
        }
        if isinstance(record, OwnEvent):
            line["taken_over"] = [[*epoch_and_round(at), place] for at, place in record.taken_over]
        yield line
    for index, place in store.delivered():
        if place is None or not place.is_intact:
            yield {"kind": "damaged", "index": index}
            continue
        point = _point(store, place)
        yield {
            "kind": "order" if point is None else "sync",
            "index": index,
            **(_told(point) if point is not None else {}),
            "hash": place.digest.hex(),
            "epoch": epoch_and_round(place.closed_by)[0],
            "round": epoch_and_round(place.round)[1],
            "closed_by": epoch_and_round(place.closed_by)[1],
            "consensus_at": place.consensus_at,
            "order_hash": place.order_hash.hex(),
        }


def _begun(store: OpenStore, start: EpochStart) -> dict[str, Any]:
    """How an epoch began, and who is a member in it."""
    committee = store.epochs.committee_of(start.number)
    members = [*committee.members, *committee.observers]
    return {
        "kind": "epoch",
        "epoch": start.number,
        "epoch_id": start.epoch_id.hex(),
        "first_index": start.next_index,
        "consensus_at": start.consensus_at,
        "order_hash": start.order_hash.hex(),
        "creators": committee.n,
        "members": [str(KeyPublic.from_bytes(member.public)) for member in members],
        "reached": list(start.reached),
    }


def _point(store: OpenStore, place: DeliveredRow) -> StoredSyncPoint | None:
    """The sync point at a place, None where an event stands or nothing that can be read."""
    row = store.file.event(place.round, place.digest) if place.round == place.closed_by else None
    decoded = store.decode(row) if row is not None and row.is_intact else None
    return decoded if isinstance(decoded, StoredSyncPoint) else None


def _told(point: StoredSyncPoint) -> dict[str, Any]:
    kinds = {kind.value: kind.name for kind in SyncPointKind}
    return {
        "sync_point": kinds.get(point.kind, str(point.kind)),
        "epoch_index": point.epoch_index,
        **_metadata(point.metadata),
        "proposer": point.proposer,
        "approvals": [creator for creator in range(point.approvals.bit_length()) if point.approvals >> creator & 1],
        "proposal": point.proposal.hex(),
        "session_id": point.session_id.hex(),
    }


def _metadata(metadata: bytes) -> dict[str, str]:
    """As text where it is some, else in hex."""
    try:
        text = metadata.decode()
    except UnicodeDecodeError:
        text = "\0"
    return {"metadata": text} if text.isprintable() else {"metadata_hex": metadata.hex()}


def _as_text(line: dict[str, Any]) -> str:
    return f"{line['kind']:<8}" + " ".join(f"{name}={value}" for name, value in line.items() if name != "kind")
