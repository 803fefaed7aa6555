"""What a store gives to a peer that is far behind (F3)."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from syncpoint.core.values import Event
from syncpoint.runtime.old import PAGE_ROWS
from syncpoint.runtime.store import Store

from .history import OWN, History, User, filled, history, old_events, store_at

ROUNDS = 40
ALL = 2**30  # bytes


@pytest.fixture
def made() -> History:
    return history(ROUNDS)


@pytest.fixture
async def path(tmp_path: Path, made: History) -> Path:
    await filled(tmp_path / "peer.syncpoint", made)
    return tmp_path / "peer.syncpoint"


@pytest.fixture
async def store(path: Path, made: History) -> AsyncIterator[Store]:
    store = store_at(path, made)
    await store.load(User())
    yield store
    await store.close()


Slot = tuple[int, bytes]  # round, digest


async def found(store: Store, made: History, frontier: Sequence[int], first: int, most: int = ALL) -> list[Slot]:
    events = [made.peers.decode(frame) for frame in await old_events(store, 0, frontier, first, most)]
    return [(event.round, event.digest) for event in events if isinstance(event, Event)]


def above(made: History, frontier: Sequence[int], first: int) -> list[Slot]:
    """The same from the events themselves."""
    events = (each.event for each in made.accepted)
    wanted = [event for event in events if event.round >= first and event.round > frontier[event.creator]]
    return sorted((event.round, event.digest) for event in wanted)


@pytest.mark.parametrize("first", [1, 2, 7, ROUNDS])
async def test_it_gives_all_above_a_frontier_ours_among_them(store: Store, made: History, first: int) -> None:
    for frontier in ((0,) * 4, (7, 7, 7, 5), (3, 30, 3, 3), (ROUNDS,) * 4):
        events = await found(store, made, frontier, first)
        assert events == above(made, frontier, first)
    ours = {each.event.digest for each in made.accepted if each.event.creator == OWN}
    assert ours.intersection(digest for _, digest in await found(store, made, (0,) * 4, first))


async def test_it_ends_where_there_is_no_more_room_but_gives_one_event(store: Store, made: History) -> None:
    everything = above(made, (0,) * 4, 1)
    sizes = [len(frame) for frame in await old_events(store, 0, (0,) * 4, 1, ALL)]
    for count in (1, 2, 9, 100):
        assert await found(store, made, (0,) * 4, 1, sum(sizes[:count])) == everything[:count]
        assert await found(store, made, (0,) * 4, 1, sum(sizes[:count]) - 1) == everything[: max(1, count - 1)]


async def test_pages_do_not_show(tmp_path: Path) -> None:
    long = history(PAGE_ROWS)  # rounds of three or four events
    await filled(tmp_path / "long.syncpoint", long)
    store = store_at(tmp_path / "long.syncpoint", long)
    await store.load(User())
    assert await found(store, long, (0,) * 4, 1) == above(long, (0,) * 4, 1)
    pages = [len(page) async for page in store.above(0, (0,) * 4, 1, ALL)]
    assert len(pages) > 2, "the first ones are on their way while the next are read"
    assert all(PAGE_ROWS <= size < PAGE_ROWS + 4 for size in pages[:-1]), "whole rounds"
    await store.close()


@pytest.mark.parametrize("first", [1, 9])
async def test_nothing_comes_after_a_round_that_is_missing(path: Path, made: History, first: int) -> None:
    """Nobody could take it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM event WHERE round = 10")
    store = store_at(path, made)
    await store.load(User())
    assert await found(store, made, (0,) * 4, first) == [
        (round, digest) for round, digest in above(made, (0,) * 4, first) if round < 10
    ]
    assert await found(store, made, (0,) * 4, 10) == []
    await store.close()


async def test_damaged_rows_are_left_out(path: Path, made: History) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE event SET checksum = checksum + 1 WHERE round = 10 AND id % 2 = 0")
        (damaged,) = connection.execute("SELECT count(*) FROM event WHERE round = 10 AND id % 2 = 0").fetchone()
    assert damaged
    store = store_at(path, made)
    await store.load(User())
    events = await found(store, made, (0,) * 4, 1)
    assert len(events) == len(made.accepted) - damaged
    assert set(events) < set(above(made, (0,) * 4, 1))
    await store.close()
