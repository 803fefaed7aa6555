"""Engines that go on where they were: the same stream from any index, nothing twice and nothing lost (J2, R1)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.api.cluster import DEADLINE_S, read, read_transactions, transactions

from syncpoint import (
    ArgumentError,
    ArgumentTypeError,
    Context,
    CorruptError,
    Engine,
    EngineStopped,
    Event,
    KeySecret,
    Network,
    Options,
    Peers,
    Socket,
    StorageError,
)
from syncpoint import starting as starting_module
from syncpoint import stream as stream_module
from syncpoint.core.config import Local
from syncpoint.runtime import forget as forget_module
from syncpoint.runtime import page as page_module
from syncpoint.runtime import store as store_module
from syncpoint.runtime.rows import Batch
from syncpoint.runtime.sqlite import SqliteFile
from syncpoint.runtime.store import Store

SECRETS = [KeySecret.from_seed(bytes([number]) * 32) for number in range(1, 5)]
NETWORK = Network(gc_depth=4)


@contextlib.asynccontextmanager
async def engines(
    folder: Path | None, n: int, *numbers: int, core: str = "auto", context: dict[str, Any] | None = None, **start: Any
) -> AsyncIterator[list[Engine]]:
    """Some peers of a network of n whose stores are in a folder, on ports that are new each time."""
    async with Context(core, folder, **(context or {})) as made:
        sockets = [await Socket.bind(made, "127.0.0.1:0") for _ in range(n)]
        peers = Peers()
        for socket, secret in zip(sockets, SECRETS[:n], strict=True):
            peers.insert(socket.address, secret.public())
        fields = {"network": NETWORK} | start
        yield [
            await Engine.start(made, sockets[number], Options(), SECRETS[number], peers, **fields)
            for number in numbers or range(n)
        ]


def keep_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let machines keep, and need, no more than the network's `gc_depth` makes them; and forget in small steps."""
    monkeypatch.setattr(starting_module, "Local", functools.partial(Local, retain_events=1))
    monkeypatch.setattr(forget_module, "STEP_ROWS", 8)


async def run_alone(folder: Path, count: int, core: str) -> list[Event]:
    """The stream of a peer that is alone in its network, of so many transactions."""
    async with engines(folder, 1, core=core) as (engine,):
        for number in range(count):
            await engine.submit(b"%d" % number)
        return await read_transactions(engine, count)


async def test_the_stream_comes_again_from_every_index(tmp_path: Path, core: str) -> None:  # J2
    before = await run_alone(tmp_path, 12, core)
    for first in range(len(before) + 1):
        async with engines(tmp_path, 1, core=core, resume_after=first - 1) as (engine,):
            await engine.submit(b"after %d" % first)
            events = await read(engine, lambda events: b"after %d" % first in transactions(events))  # noqa: B023
            assert [event.index for event in events] == list(range(first, first + len(events)))
            assert events[: len(before) - first] == before[first:]
            assert (
                transactions(events)[-1 - first :]
                == [b"after %d" % number for number in range(first + 1)][-len(transactions(events)) :]
            )


async def test_pages_are_read_as_they_are_received(tmp_path: Path, core: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = await run_alone(tmp_path, 40, core)
    monkeypatch.setattr(page_module, "PAGE_ROWS", 5)
    monkeypatch.setattr(stream_module, "MAX_READ_AHEAD", 10)
    async with engines(tmp_path, 1, core=core) as (engine,):
        await engine.submit(b"live")
        assert len(engine._stream._stored) <= 10
        assert engine.status().unread_messages >= len(before) + 1
        events = await read_transactions(engine, 41)
        assert events[: len(before)] == before
        assert transactions(events)[-1] == b"live"


async def test_four_peers_restart_one_after_the_other_and_together(tmp_path: Path) -> None:  # R1
    sent: list[bytes] = []
    streams: list[list[Event]] = []

    async def life(net: list[Engine], name: bytes) -> None:
        work = [(engine, b"%s/%d/%d" % (name, at, k)) for at, engine in enumerate(net) for k in range(5)]
        await asyncio.gather(*(engine.submit(transaction) for engine, transaction in work))
        sent.extend(transaction for _, transaction in work)
        streams[:] = [await read_transactions(engine, len(sent)) for engine in net]

    for name in (b"first", b"second", b"third"):
        async with engines(tmp_path, 4) as net:
            await life(net, name)
    for stream in streams:
        assert sorted(transactions(stream)) == sorted(sent)
        shortest = min(len(stream), len(streams[0]))
        assert stream[:shortest] == streams[0][:shortest]


async def test_an_engine_is_told_from_where_it_can_resume(tmp_path: Path, core: str) -> None:
    wrong: list[tuple[object, type[Exception], str]] = [
        ("5", ArgumentTypeError, "give an index, or None"),
        (-2, ArgumentError, "-1 .the beginning. or an index"),
    ]
    for value, kind, message in wrong:
        with pytest.raises(kind, match=message):
            async with engines(tmp_path, 1, core=core, resume_after=value):
                pass
    with pytest.raises(ArgumentError, match=r"nothing is stored: give Context\(storage=...\) a folder"):
        async with engines(None, 1, core=core, resume_after=0):
            pass


async def test_an_application_that_is_ahead_of_the_store_gets_what_follows(
    tmp_path: Path, core: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = await run_alone(tmp_path, 3, core)
    ahead = before[-1].index + 10
    async with engines(tmp_path, 1, core=core, resume_after=ahead) as (engine,):
        assert f"resume_after={ahead}, and the store ends with index" in caplog.text
        for number in range(20):
            await engine.submit(b"more %d" % number)
        events = await read(engine, lambda events: b"more 19" in transactions(events))
        assert events[0].index == ahead + 1


async def test_what_is_forgotten_is_gone_and_the_rest_is_not(
    tmp_path: Path, core: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_little(monkeypatch)
    async with engines(tmp_path, 1, core=core) as (engine,):
        with pytest.raises(ArgumentError, match="received so far"):
            await engine.forget(0)
        for number in range(60):
            await engine.submit(b"%d" % number)
        before = await read_transactions(engine, 60)
        await asyncio.wait_for(engine.forget(before[-1].index), DEADLINE_S)
        store = engine._driver.storage
        assert isinstance(store, Store)
        first = store._batches.state.first_index
        assert 16 <= first < before[-1].index
        assert store._batches.state.first_event > 8
    with pytest.raises(EngineStopped, match="forgets nothing more"):
        await engine.forget(0)
    with pytest.raises(ArgumentError, match=f"the store begins with index {first}; give resume_after={first - 1}"):
        async with engines(tmp_path, 1, core=core):
            pass
    async with engines(tmp_path, 1, core=core, resume_after=first - 1) as (engine,):
        events = await read(engine, lambda events: events[-1:] and events[-1].index >= before[-1].index)  # type: ignore[arg-type, return-value]
        assert [event.hash for event in events[:10]] == [event.hash for event in before[first:][:10]]
        await engine.submit(b"it goes on")


@pytest.mark.parametrize("limit", [{"retain_rounds": 20}, {"retain_bytes": 1024 * 1024}])
async def test_old_rounds_go_by_themselves(
    tmp_path: Path, core: str, limit: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_little(monkeypatch)
    async with engines(tmp_path, 1, core=core, context=limit) as (engine,):
        for number in range(100):
            await engine.submit(b"%d" % number + bytes(30_000))
        store = engine._driver.storage
        assert isinstance(store, Store)
        state, size = store._batches.state, store._file.size()
        assert state.first_index > 8
        assert state.end_index - state.first_index >= 20
        if "retain_bytes" in limit:
            assert size < 2 * limit["retain_bytes"]
    async with engines(tmp_path, 1, core=core, resume_after=state.end_index - 2) as (engine,):
        await engine.submit(b"it goes on")


async def test_without_a_limit_everything_stays(tmp_path: Path, core: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_little(monkeypatch)
    async with engines(tmp_path, 1, core=core) as (engine,):
        for number in range(60):
            await engine.submit(b"%d" % number)
        store = engine._driver.storage
        assert isinstance(store, Store)
        assert (store._batches.state.first_event, store._batches.state.first_index) == (1, 0)


async def test_a_damaged_event_stops_the_stream_and_says_how_to_go_on(tmp_path: Path, core: str) -> None:
    before = await run_alone(tmp_path, 12, core)
    file = SqliteFile(tmp_path / f"{SECRETS[0].public()}.syncpoint", must_exist=True)
    file.open()
    file._db.execute("UPDATE event SET record = x'00' WHERE digest = ?", (before[5].hash,))
    file.close()
    async with engines(tmp_path, 1, core=core, resume_after=-1) as (engine,):
        events = [await engine.recv_message() for _ in range(5)]
        assert events == before[:5]
        with pytest.raises(EngineStopped, match=r"index 5 is damaged; start with resume_after=5") as caught:
            await engine.recv_message()
        assert isinstance(caught.value.__cause__, CorruptError)


async def test_one_key_runs_once(tmp_path: Path, core: str) -> None:
    async with engines(tmp_path, 1, core=core):
        with pytest.raises(StorageError, match="is in use by process"):
            async with engines(tmp_path, 1, core=core):
                pass


async def test_another_network_does_not_get_the_store(tmp_path: Path, core: str) -> None:
    await run_alone(tmp_path, 1, core)
    with pytest.raises(StorageError, match="belongs to another network, 'syncpoint'"):
        async with engines(tmp_path, 1, core=core, network=Network(name="another")):
            pass


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, core: str) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(StorageError, match=str(blocked)):
        async with engines(blocked / "below", 1, core=core):
            pass


async def test_a_peer_whose_store_is_gone_asks_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:  # R2
    async with engines(tmp_path, 4) as net:
        await asyncio.gather(*(engine.submit(b"before") for engine in net))
        signed = net[0].status().consensus.own_round
    path = tmp_path / f"{SECRETS[0].public()}.syncpoint"
    os.unlink(path)
    async with engines(tmp_path, 4) as net:
        assert "it is gone, and its tip is still there" in caplog.text
        await asyncio.wait_for(asyncio.gather(*(engine.submit(b"after") for engine in net)), DEADLINE_S)
        streams = [await read_transactions(engine, 8) for engine in net]
        for engine, stream in zip(net, streams, strict=True):
            status = engine.status().consensus
            assert (status.halted, status.equivocators, status.recovering) == (None, (), False)
            assert transactions(stream).count(b"before") == transactions(stream).count(b"after") == 4
            shortest = min(len(stream), len(streams[0]))
            assert stream[:shortest] == streams[0][:shortest]
        assert net[0].status().consensus.own_round > signed


async def test_a_peer_whose_disk_is_full_follows_and_makes_no_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(store_module, "MAX_RETRY_S", 0.01)
    full = False
    plain = SqliteFile.commit

    def commit(file: SqliteFile, batch: Batch, sync: bool) -> None:
        if full and file.name.endswith(f"{SECRETS[0].public()}.syncpoint"):
            raise StorageError(errno.ENOSPC, "database or disk is full")
        plain(file, batch, sync)

    monkeypatch.setattr(SqliteFile, "commit", commit)
    async with engines(tmp_path, 4) as net:
        poor, *others = net
        await asyncio.gather(*(engine.submit(b"before") for engine in net))
        full = True
        waiting = asyncio.ensure_future(poor.submit(b"poor"))
        await asyncio.gather(*(engine.submit(b"meanwhile") for engine in others))
        followed = await read_transactions(poor, 7)
        assert transactions(followed).count(b"meanwhile") == 3
        made = poor.status().consensus.own_round
        for number in range(5):
            await asyncio.gather(*(engine.submit(b"%d" % number) for engine in others))
        assert poor.status().consensus.own_round <= made + 1
        assert poor.status().storage == "the store cannot be written: database or disk is full"
        assert not waiting.done()
        full = False
        await asyncio.wait_for(waiting, DEADLINE_S)
        assert poor.status().storage is None
        assert poor.status().consensus.halted is None
