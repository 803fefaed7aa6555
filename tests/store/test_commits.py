"""When things are committed and synced, and what happens while they cannot be (J1)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from syncpoint.errors import CorruptError, StorageError
from syncpoint.runtime import store as store_module
from syncpoint.runtime.rows import Batch
from syncpoint.runtime.sqlite import SqliteFile
from syncpoint.runtime.store import Store
from syncpoint.runtime.tip import Tip

from .full import small_disk
from .history import PAGE_BYTES, Accepted, History, User, feed, filled, history, names, read_all, store_at

Result = TypeVar("Result")


class Gate:
    """A worker that waits for the test before each commit."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()

    async def run(self, work: Callable[[], Result]) -> Result:
        await self.open.wait()
        return work()

    def close(self) -> None:
        pass


class Watched(SqliteFile):
    """Notes its commits, and fails where it is told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, page_bytes=PAGE_BYTES)
        self.commits: list[tuple[int, int, bool]] = []
        self.tips: list[int] = []
        self.error: StorageError | None = None

    def commit(self, batch: Batch, sync: bool) -> None:
        if self.error is not None:
            raise self.error
        super().commit(batch, sync)
        self.commits.append((len(batch.events), len(batch.delivered), sync))

    def write_tip(self, tip: bytes, sync: bool) -> None:
        super().write_tip(tip, sync)
        decoded = Tip.decode(tip)
        assert decoded is not None
        self.tips.append(decoded.sequence)


class Bench:
    """A store whose file and whose disk the test holds."""

    def __init__(self, folder: Path, made: History, durability: str = "full") -> None:
        self.made = made
        self.file = Watched(folder / "peer.syncpoint")
        self.gate = Gate()
        self.user = User()
        self.store = Store(self.file, self.gate, made.settings(durability=durability))
        self.durable: list[int] = []

    async def start(self) -> None:
        await self.store.load(self.user)
        self.file.commits.clear()
        self.file.tips.clear()

    def give(self, accepted: list[Accepted]) -> None:
        for each in accepted:
            if each.is_own:
                round = each.event.round
                self.store.persist([each.record], lambda round=round: self.durable.append(round))  # type: ignore[misc]
            else:
                self.store.write([each.record])
            if each.messages:
                self.store.deliver(each.messages, each.states)

    async def trouble(self) -> None:
        while self.store.trouble is None:  # noqa: ASYNC110 - nobody is told, it is for people
            await asyncio.sleep(0)

    async def written(self) -> None:
        await self.store.written()


async def test_a_tip_never_says_more_than_what_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was killed may have left commits that the next power failure takes."""
    made = history(6)
    await filled(tmp_path / "peer.syncpoint", made)
    bench = Bench(tmp_path, made)
    before: list[list[tuple[int, int, bool]]] = []
    monkeypatch.setattr(bench.file, "write_tip", lambda tip, sync: before.append(list(bench.file.commits)))
    assert (await bench.store.load(bench.user)).whole
    assert before == [[(0, 0, True)]]


async def test_what_comes_during_a_commit_goes_into_the_next_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path, history(6))
    await bench.start()
    accepted = bench.made.accepted
    first, second, *_ = (number for number, each in enumerate(accepted, 1) if each.is_own)
    bench.give(accepted[:first])
    await asyncio.sleep(0)
    bench.gate.open.clear()
    bench.give(accepted[first:second])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    bench.give(accepted[second:])
    bench.gate.open.set()
    await bench.written()
    assert sum(events for events, _, _ in bench.file.commits) == len(accepted)
    assert sum(rows for _, rows, _ in bench.file.commits) == len(bench.made.delivered)
    assert len(bench.file.commits) == 3
    assert bench.durable == [1, 2, 3, 4, 5, 6]
    await bench.store.close()


def of_others(made: History) -> list[Accepted]:
    """What comes first that nobody waits for."""
    return list(itertools.takewhile(lambda each: not each.is_own, made.accepted[1:]))


async def test_what_nobody_waits_for_goes_with_what_somebody_does(tmp_path: Path) -> None:
    """A commit for each event that comes in would keep those from the disk that are waited for."""
    bench = Bench(tmp_path, history(6))
    await bench.start()
    others = of_others(bench.made)
    bench.give(bench.made.accepted[:1])
    await bench.written()
    assert len(others) > 1
    for each in others:
        bench.give([each])
        await asyncio.sleep(0)
    assert [events for events, _, _ in bench.file.commits] == [1], "they wait"
    bench.give(bench.made.accepted[len(others) + 1 : len(others) + 2])
    await bench.written()
    assert [events for events, _, _ in bench.file.commits] == [1, len(others) + 1]
    assert bench.durable == [1, 2]
    await bench.store.close()


@pytest.mark.parametrize("why", ["time", "bytes", "end"])
async def test_what_nobody_waits_for_is_written_before_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    made = history(6)
    bench = Bench(tmp_path, made)
    await bench.start()
    others = of_others(made)
    monkeypatch.setattr(store_module, "LINGER_S", 0.0 if why == "time" else 3600.0)
    monkeypatch.setattr(store_module, "MAX_LINGER_BYTES", 0 if why == "bytes" else 2**30)
    bench.give([made.accepted[0], *others])
    await bench.written()
    bench.file.commits.clear()
    late = made.accepted[len(others) + 2]
    assert not late.is_own
    bench.give([late])
    if why == "end":
        await bench.store.close()
    else:
        while not bench.file.commits:  # noqa: ASYNC110 - the file is the worker's, and tells nobody
            await asyncio.sleep(0)
    assert bench.file.commits[0][0] == 1
    if why != "end":
        await bench.store.close()


async def test_an_end_during_a_commit_leaves_nothing_out(tmp_path: Path) -> None:
    bench = Bench(tmp_path, history(6))
    await bench.start()
    others = of_others(bench.made)
    bench.gate.open.clear()
    bench.give(bench.made.accepted[:1])
    await asyncio.sleep(0)
    bench.give(others)
    closing = asyncio.ensure_future(bench.store.close())
    await asyncio.sleep(0)
    bench.gate.open.set()
    await closing
    assert [events for events, _, _ in bench.file.commits] == [1, len(others), 0], "the last one says that it ends"


@pytest.mark.parametrize(("durability", "synced"), [("full", True), ("normal", False), ("memory", False)])
async def test_only_own_events_wait_for_the_disk(tmp_path: Path, durability: str, synced: bool) -> None:  # J1
    bench = Bench(tmp_path, history(6), durability)
    await bench.start()
    for each in bench.made.accepted:
        commits = len(bench.file.commits)
        bench.give([each])
        if each.is_own:
            assert (each.event.round in bench.durable) == (durability == "memory"), "before it was written"
        await bench.written()
        assert [sync for _, _, sync in bench.file.commits[commits:]] == [each.is_own and synced]
    assert bench.durable == [1, 2, 3, 4, 5, 6]
    own = [number for number, each in enumerate(bench.made.accepted, 1) if each.is_own]
    assert bench.file.tips == own, "a tip that is ahead of what is synced would doubt what is whole"
    await bench.store.close()


async def test_a_disk_in_trouble_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "FIRST_RETRY_S", 0.0)
    caplog.set_level(logging.WARNING, logger="syncpoint.store")
    bench = Bench(tmp_path, history(6))
    await bench.start()
    bench.file.error = StorageError(28, "peer.syncpoint: database or disk is full")
    bench.give(bench.made.accepted[:9])
    await bench.trouble()
    assert bench.store.trouble == "the store cannot be written: peer.syncpoint: database or disk is full"
    assert bench.durable == []
    bench.give(bench.made.accepted[9:])
    bench.file.error = None
    await bench.written()
    assert bench.store.trouble is None
    assert bench.durable == [1, 2, 3, 4, 5, 6]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "makes no events until it can" in caplog.records[0].message
    assert "can be written again" in caplog.records[1].message
    await bench.store.close()
    again = store_at(bench.file.path, bench.made)
    loaded = await again.load(User())
    assert names(await read_all(again, loaded)) == names(bench.made.delivered)
    await again.close()
    assert not bench.user.errors


async def test_who_waits_for_no_writing_goes_on_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(tmp_path, history(6), "memory")
    await bench.start()
    bench.file.error = StorageError(28, "full")
    bench.give(bench.made.accepted)
    await bench.trouble()
    assert bench.durable == [1, 2, 3, 4, 5, 6]
    assert "cannot be written: full; it goes on, and loses it all if it dies" in caplog.text
    bench.file.error = None
    await bench.store.close()


async def test_a_tip_that_cannot_be_written_does_not_commit_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "FIRST_RETRY_S", 0.0)
    bench = Bench(tmp_path, history(3))
    await bench.start()
    plain, failures = bench.file.write_tip, iter([StorageError(5, "no"), StorageError(5, "no")])

    def write_tip(tip: bytes, sync: bool) -> None:
        for error in failures:
            raise error
        plain(tip, sync)

    monkeypatch.setattr(bench.file, "write_tip", write_tip)
    bench.give(bench.made.accepted)
    await bench.written()
    assert bench.durable == [1, 2, 3]
    assert not bench.user.errors
    await bench.store.close()


async def test_too_much_that_is_not_written_makes_the_engine_stand_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "FIRST_RETRY_S", 0.0)
    monkeypatch.setattr(store_module, "MAX_UNWRITTEN_BYTES", 5000)
    bench = Bench(tmp_path, history(6))
    await bench.start()
    bench.file.error = StorageError(28, "full")
    bench.give(bench.made.accepted)
    assert bench.user.full == [True]
    bench.file.error = None
    await bench.written()
    assert bench.user.full == [True, False]
    await bench.store.close()


async def test_a_store_that_is_closed_in_trouble_says_what_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path, history(3))
    await bench.start()
    bench.give(bench.made.accepted[:4])
    await bench.written()
    bench.file.error = StorageError(5, "Input/output error")
    bench.give(bench.made.accepted[4:])
    await bench.store.close()
    assert "not everything could be written: Input/output error" in caplog.text
    again = store_at(bench.file.path, bench.made)
    loaded = await again.load(User())
    assert [each.record for each in bench.made.accepted[:4]] == list(loaded.records)
    assert loaded.whole, "what was not durable was not sent"
    await again.close()


async def test_a_disk_that_fails_only_for_the_last_commit_leaves_what_was_there_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written at the end must not tell of rows that it has not."""
    bench = Bench(tmp_path, history(3))
    await bench.start()
    bench.give(bench.made.accepted[:4])
    await bench.written()
    commit = bench.file.commit

    def fail_once(batch: Batch, sync: bool) -> None:
        monkeypatch.setattr(bench.file, "commit", commit)
        raise StorageError(28, "full")

    monkeypatch.setattr(bench.file, "commit", fail_once)
    bench.give(bench.made.accepted[4:])
    await bench.store.close()
    again = store_at(bench.file.path, bench.made)
    loaded = await again.load(User())
    assert [each.record for each in bench.made.accepted[:4]] == list(loaded.records)
    await again.close()


async def test_what_contradicts_itself_ends_the_engine(tmp_path: Path) -> None:
    bench = Bench(tmp_path, history(3))
    await bench.start()
    bench.file.error = CorruptError("it is damaged")
    bench.give(bench.made.accepted)
    await bench.written()
    assert bench.user.errors == [bench.file.error]
    assert bench.durable == []
    bench.file.error = None
    await bench.store.close()


async def test_a_file_that_may_not_grow_is_full_until_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store_module, "FIRST_RETRY_S", 0.0)
    made = history(20)
    bench = Bench(tmp_path, made)
    await bench.start()
    pages = bench.file._pragma("page_count")
    bench.file._db.execute(f"PRAGMA max_page_count = {pages + 10}")
    for each in made.accepted:
        bench.give([each])
        for _ in range(4):
            await asyncio.sleep(0)
    await bench.trouble()
    assert bench.store.trouble == (
        f"the store cannot be written: {bench.file.name}: database or disk is full (SQLITE_FULL)"
    )
    (line,) = [record.message for record in caplog.records]
    assert line == (
        f"{bench.file.name} cannot be written: database or disk is full (SQLITE_FULL); "
        "this peer makes no events until it can"
    )
    assert len(bench.durable) < 20
    bench.file._db.execute("PRAGMA max_page_count = 1000000")
    await bench.written()
    assert bench.durable == list(range(1, 21))
    assert bench.store.trouble is None
    await bench.store.close()
    again = store_at(bench.file.path, made)
    loaded = await again.load(User())
    assert names(await read_all(again, loaded)) == names(made.delivered)
    await again.close()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(small_disk(tmp_path / "small"))
        except OSError as error:
            pytest.skip(f"no file system can be mounted here: {error}")
        yield folder


async def test_a_full_disk_costs_nothing_but_time(full_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "FIRST_RETRY_S", 0.0)
    made = history(80)
    bench = Bench(full_disk, made)
    await bench.start()
    filler = full_disk / "filler"
    fill(filler, 850_000)
    for each in made.accepted:
        bench.give([each])
        for _ in range(4):
            await asyncio.sleep(0)
    await bench.trouble()
    assert "full" in str(bench.store.trouble)
    durable = len(bench.durable)
    assert durable < 80
    fill(filler, 0)
    await bench.written()
    assert bench.durable == list(range(1, 81))
    await bench.store.close()
    again = store_at(bench.file.path, made)
    loaded = await again.load(User())
    assert loaded.whole
    assert names(await read_all(again, loaded)) == names(made.delivered)
    await again.close()


def fill(path: Path, size: int) -> None:
    path.write_bytes(bytes(size))


async def test_a_thread_of_its_own_waits_for_the_disk(tmp_path: Path) -> None:
    import threading

    from syncpoint.runtime.worker import ThreadWorker

    made = history(6)
    file = Watched(tmp_path / "peer.syncpoint")
    threads: set[threading.Thread] = set()
    plain = file.commit

    def commit(batch: Batch, sync: bool) -> None:
        threads.add(threading.current_thread())
        plain(batch, sync)

    file.commit = commit  # type: ignore[method-assign]
    store = Store(file, ThreadWorker(), made.settings())
    await store.load(User())
    await feed(store, made.accepted)
    await store.close()
    (thread,) = threads
    assert thread is not threading.current_thread()
