"""When a store says that its own events may be missing, and when it does not (R2)."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest

from syncpoint.runtime.sqlite import SqliteFile
from syncpoint.runtime.store import Store

from .history import PAGE_BYTES, Inline, User, feed, filled, history, store_at

ROUNDS = 6


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stores" / "peer.syncpoint"


async def is_whole(path: Path, **settings: object) -> bool:
    """What a start makes of it; and it can always be used."""
    store = store_at(path, history(ROUNDS), **settings)
    loaded = await store.load(User())
    await store.close()
    return loaded.whole


async def abandon(store: Store) -> None:
    """Let go of the files as a process does that is killed."""
    assert isinstance(store._file, SqliteFile)
    store._file._lock.release()


async def test_a_store_that_was_closed_is_whole(path: Path) -> None:
    for durability in ("full", "normal", "memory"):
        target = path.with_name(durability)
        await filled(target, history(ROUNDS), durability=durability)
        assert await is_whole(target, durability=durability)


async def test_a_lost_store_is_missed_while_its_tip_is_there(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await filled(path, history(ROUNDS))
    os.unlink(path)
    assert not await is_whole(path)
    assert "it is gone, and its tip is still there" in caplog.text
    caplog.clear()
    assert not await is_whole(path), "nothing was signed since"
    assert "none was made since" in caplog.text


async def test_after_an_own_event_all_is_well_again(path: Path) -> None:
    made = history(ROUNDS)
    await filled(path, made)
    os.unlink(path)
    store = store_at(path, made)
    assert not (await store.load(User())).whole
    await feed(store, made.accepted[:1])
    await store.close()
    assert await is_whole(path)


async def test_that_all_is_well_again_is_synced_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power failure must not make it doubt again what the others have answered already."""
    made = history(ROUNDS)
    store = store_at(path, made, joining=True)
    assert not (await store.load(User())).whole
    synced: list[bool] = []
    write_tip = SqliteFile.write_tip

    def noted(file: SqliteFile, tip: bytes, sync: bool) -> None:
        write_tip(file, tip, sync)
        synced.append(sync)

    monkeypatch.setattr(SqliteFile, "write_tip", noted)
    for each in made.accepted[:16]:
        await feed(store, [each])
    assert synced[0], "of the first own event"
    assert synced[1:]
    assert not any(synced[1:]), "the others are told without waiting"
    await store.close()


async def test_a_store_that_was_killed_while_it_was_made_lacks_nothing(path: Path) -> None:
    file = SqliteFile(path, page_bytes=PAGE_BYTES)
    assert not file.open()
    file.close()
    assert await is_whole(path)
    os.unlink(path.with_name(path.name + ".tip"))
    assert await is_whole(path), "there was no commit yet"


@pytest.mark.parametrize("damage", [b"", b"SPT1", bytes(43)])
async def test_a_tip_that_is_damaged_or_gone_is_no_witness(path: Path, damage: bytes) -> None:
    await filled(path, history(ROUNDS))
    tip = path.with_name(path.name + ".tip")
    if damage:
        tip.write_bytes(damage)
    else:
        os.unlink(tip)
    assert not await is_whole(path)


async def test_a_backup_in_its_place_is_noticed(path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = history(ROUNDS)
    store = store_at(path, made)
    await store.load(User())
    await feed(store, made.accepted[:12])
    await store.close()
    backup = tmp_path / "backup"
    shutil.copy(path, backup)
    store = store_at(path, made)
    await store.load(User())
    await feed(store, made.accepted[12:])
    await store.close()
    with path.open("r+b") as file:  # in place, so that it is the same inode
        file.write(backup.read_bytes())
        file.truncate()
    assert not await is_whole(path)
    assert "it is a backup, or was cut off" in caplog.text


async def test_a_copy_is_another_file(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await filled(path, history(ROUNDS))
    other = path.with_name("other")
    shutil.copy(path, other)
    os.replace(other, path)
    assert not await is_whole(path)
    assert "a backup was put in its place" in caplog.text


@pytest.mark.parametrize(
    ("durability", "boots", "whole"),
    [
        ("full", (b"one start", b"one start"), True),
        ("full", (b"one start", b"another start"), True),
        ("full", (b"", b""), True),
        ("normal", (b"one start", b"one start"), True),
        ("normal", (b"one start", b"another start"), False),
        ("normal", (b"", b""), False),  # a system that does not tell its starts apart
        ("memory", (b"one start", b"one start"), False),
        ("memory", (b"one start", b"another start"), False),
    ],
)
async def test_a_crash_costs_what_was_not_promised(
    path: Path, durability: str, boots: tuple[bytes, bytes], whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqliteFile, "boot", lambda self: boots[0])
    made = history(ROUNDS)
    store = store_at(path, made, durability=durability)
    await store.load(User())
    await feed(store, made.accepted)
    await abandon(store)
    monkeypatch.setattr(SqliteFile, "boot", lambda self: boots[1])
    crashed = Store(SqliteFile(path, page_bytes=PAGE_BYTES), Inline(), made.settings(durability=durability))
    store._file.close()  # what SQLite holds of the file is gone with the process
    assert (await crashed.load(User())).whole is whole
    await crashed.close()


async def test_joining_says_that_something_may_be_missing(path: Path) -> None:
    assert not await is_whole(path, joining=True)
    assert not await is_whole(path), "and that stays until something is signed"


async def test_a_damaged_own_event_is_missed_and_another_is_left_out(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="syncpoint.store")
    made = history(ROUNDS)
    numbered = list(enumerate(made.accepted, 1))
    others = [id for id, each in numbered if not each.is_own and 1 < each.event.round < ROUNDS]
    own = [id for id, each in numbered if each.is_own]
    for damaged, whole in [(others[3], True), (own[2], False), (own[-1], False), (len(made.accepted), False)]:
        target = path.with_name(f"{damaged}.syncpoint")
        await filled(target, made)
        file = SqliteFile(target)
        file.open()
        file._db.execute("UPDATE event SET record = x'02' WHERE id = ?", (damaged,))
        file.close()
        store = store_at(target, made)
        loaded = await store.load(User())
        assert loaded.whole is whole, damaged
        assert made.accepted[damaged - 1].record not in loaded.records
        assert f"1 events are damaged, the first with number {damaged}" in caplog.text
        await store.close()
