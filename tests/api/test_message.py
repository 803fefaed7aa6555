"""What an application receives: events of either core, by value."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from syncpoint import Context, Event, KeySecret

from .cluster import cluster, read_transactions

FIELDS: dict[str, Any] = {
    "index": 7,
    "creator": KeySecret.generate().public(),
    "round": 3,
    "created_at": 1_700_000_000_000_000_000,
    "consensus_at": 1_700_000_000_000_000_001,
    "hash": b"h" * 32,
    "parents": (b"p" * 32, b"q" * 32),
    "order_hash": b"o" * 32,
    "whitened_signature": b"w" * 64,
    "transactions": (b"one", b""),
}
OTHERS: dict[str, Any] = {
    "index": 8,
    "creator": KeySecret.generate().public(),
    "round": 4,
    "created_at": 1,
    "consensus_at": 2,
    "hash": bytes(32),
    "parents": (),
    "order_hash": bytes(32),
    "whitened_signature": bytes(64),
    "transactions": (b"one",),
}


def test_an_event_can_be_made_by_hand() -> None:
    event = Event(**FIELDS)
    assert {name: getattr(event, name) for name in FIELDS} == FIELDS
    assert event.transaction_count == 2
    assert event.transaction(0) == b"one"
    with pytest.raises(IndexError):
        event.transaction(2)
    with pytest.raises(TypeError):
        Event(7)  # type: ignore[misc, call-arg]
    with pytest.raises(TypeError):
        Event(**{**FIELDS, "payload": b""})


@pytest.mark.parametrize("name", FIELDS)
def test_events_are_equal_by_value(name: str) -> None:
    event = Event(**FIELDS)
    assert event == Event(**FIELDS)
    assert hash(event) == hash(Event(**FIELDS))
    assert event != Event(**{**FIELDS, name: OTHERS[name]})
    assert event != FIELDS


@pytest.mark.parametrize("name", [*FIELDS, "transaction_count", "another"])
def test_nothing_of_an_event_can_be_changed(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(Event(**FIELDS), name, 1)


def test_a_message_is_matched_by_its_attributes() -> None:
    match Event(**FIELDS):
        case Event(index=7, transactions=(b"one", *rest)):
            assert rest == [b""]
        case _:
            pytest.fail("not matched")


async def test_events_of_either_core_travel(core: str) -> None:
    async with Context(core=core) as context, cluster(1, context=context) as net:
        (engine,) = net.engines
        await engine.submit(b"x")
        await engine.submit(b"y" * 1000)
        events = await read_transactions(engine, 2)
    for event in events:
        fields = {name: getattr(event, name) for name in FIELDS}
        for other in (pickle.loads(pickle.dumps(event)), copy.copy(event), copy.deepcopy(event), Event(**fields)):
            assert other is not event
            assert other == event
            assert hash(other) == hash(event)
            assert repr(other) == repr(event)
        assert repr(event).startswith(f"Event(index={event.index}, creator={str(engine.public)[:8]}..., round=")
        assert repr(event).endswith(f"hash={event.hash.hex()[:16]}..., {len(event.transactions)} transactions)")
    assert len(set(events)) == len(events) >= 2
