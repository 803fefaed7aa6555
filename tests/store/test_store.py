"""What is given is written in that order, and found again (J1, J2, R1)."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from syncpoint.core.journal import OwnDelivered, OwnEvent, PeerEvent, Place, decode_record
from syncpoint.core.retain import RETAIN_GC_DEPTHS
from syncpoint.errors import ArgumentError, CorruptError, StorageError
from syncpoint.runtime import forget as forget_module

from .history import OWN, History, User, feed, filled, give, history, names, read_all, store_at


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "peer.syncpoint"


async def test_a_new_store_is_empty_and_whole(path: Path) -> None:
    store = store_at(path, history(3))
    loaded = await store.load(User())
    assert (list(loaded.records), loaded.whole, loaded.first, loaded.end) == ([], True, 0, 0)
    await store.close()


async def test_everything_is_found_again(path: Path) -> None:  # J2
    made = history(12)
    await filled(path, made)
    store = store_at(path, made)
    loaded = await store.load(User())
    assert loaded.whole
    assert loaded.end == len(made.delivered) > 20
    assert names(await read_all(store, loaded)) == names(made.delivered)
    await store.close()


async def test_what_was_given_a_moment_ago_is_waited_for_and_read(path: Path) -> None:
    made = history(12)
    store = store_at(path, made)
    await store.load(User())
    await store.written()  # nothing was given: at once
    give(store, made.accepted)
    await store.written()
    assert names(await store.read(0, len(made.delivered))) == names(made.delivered)
    await store.written()
    await store.close()
    await store.written()  # nothing will be any more


async def test_what_is_forgotten_is_said_and_not_taken_for_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forget_module, "STEP_ROWS", 8)
    made = history(60)
    await filled(path, made)
    store = store_at(path, made)
    await store.load(User())
    await store.forget(made.delivered[-1].index - 1)
    first = store._batches.state.first_index
    assert first > 10
    for index in (0, first - 1):
        with pytest.raises(ArgumentError, match=f"^the store begins with index {first}: what was before is forgotten$"):
            await store.read(index, len(made.delivered))
    assert (await store.read(first, len(made.delivered)))[0].index == first
    await store.close()


async def test_the_start_gets_place_events_and_what_was_delivered_of_ours(path: Path) -> None:  # R1
    made = history(30)
    await filled(path, made)
    store = store_at(path, made)
    loaded = await store.load(User())
    await store.close()
    place, *rest = map(decode_record, loaded.records)
    assert isinstance(place, Place)
    newest = made.delivered[-1].closed_by
    before = [done for done in made.delivered if done.closed_by < newest]
    assert place == Place(newest - 1, len(before), before[-1].consensus_at, before[-1].order_hash)
    floor = place.round - RETAIN_GC_DEPTHS * made.peers.network.gc_depth
    events = [record for record in loaded.records[1:] if isinstance(decode_record(record), OwnEvent | PeerEvent)]
    assert events == [each.record for each in made.accepted if each.event.round > floor]
    told = {record.of_height for record in rest if isinstance(record, OwnDelivered)}
    assert told == {done.event.round for done in before if done.event.creator == OWN and done.event.round > floor}
    assert isinstance(rest[-1], OwnDelivered), "after the events"


async def test_before_a_round_has_closed_there_is_no_place(path: Path) -> None:
    made = history(2)
    await filled(path, made)
    store = store_at(path, made)
    loaded = await store.load(User())
    assert list(loaded.records) == [each.record for each in made.accepted]
    await store.close()


async def test_own_events_that_nobody_delivered_are_found_however_old_they_are(path: Path) -> None:  # O11
    made = History(30, absent=[(2, OWN)])
    lost = made.peers.event(OWN, 2, [each.event for each in made.accepted[:4]], transactions=(b"lost",))
    made.accept(lost)
    await filled(path, made)
    store = store_at(path, made)
    loaded = await store.load(User())
    await store.close()
    own = [record for record in map(decode_record, loaded.records) if isinstance(record, OwnEvent)]
    assert made.accepted[-1].record in loaded.records
    assert len(own) >= 9
    made.accept(
        made.peers.event(OWN, 31, [each.event for each in made.accepted[-5:-1]], transactions=(b"lost",)), [(2, 0)]
    )
    store = store_at(path, made)
    await store.load(User())
    await feed(store, made.accepted[-1:])
    await store.close()
    store = store_at(path, made)
    loaded = await store.load(User())
    await store.close()
    assert made.accepted[-2].record in loaded.records, "it came late, so it lies among the newest"


async def test_what_is_delivered_again_must_be_the_same(path: Path) -> None:
    made = history(12)
    await filled(path, made)
    newest = made.delivered[-1].closed_by
    again = [done for done in made.delivered if done.closed_by == newest]
    store = store_at(path, made)
    loaded = await store.load(User())
    store.deliver(again, ())
    assert not store._waiting, "nothing new"
    await store.close()
    store = store_at(path, made)
    await store.load(User())
    with pytest.raises(CorruptError, match=f"index {again[0].index}"):
        store.deliver([dataclasses.replace(again[0], order_hash=bytes(32))], ())
    await store.close()
    assert loaded.end == len(made.delivered)


async def test_another_network_is_refused_by_name(path: Path) -> None:
    await filled(path, history(3))
    other = History(3, gc_depth=5)
    store = store_at(path, other)
    with pytest.raises(StorageError, match=r"belongs to another network, 'syncpoint'.*move it away") as caught:
        await store.load(User())
    assert str(path) in str(caught.value)
    await store.close()


async def test_two_openers_are_told_who_is_first(path: Path) -> None:
    store = store_at(path, history(3))
    await store.load(User())
    second = store_at(path, history(3))
    with pytest.raises(StorageError, match=f"in use by process {os.getpid()}"):
        await second.load(User())
    await second.close()
    await store.close()
    third = store_at(path, history(3))
    await third.load(User())
    await third.close()


@pytest.fixture
def foreign(path: Path) -> Path:
    path.write_bytes(b"something else" * 100)
    return path


async def test_what_is_no_store_is_refused(foreign: Path) -> None:
    path = foreign
    store = store_at(path, history(3))
    with pytest.raises(CorruptError, match="not a database"):
        await store.load(User())
    await store.close()


async def test_a_file_is_no_folder_for_stores(path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        store = store_at(folder / path.name, history(3))
        with pytest.raises(StorageError, match="is no folder: give one for the stores"):
            await store.load(User())
        await store.close()
