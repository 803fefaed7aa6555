"""`syncpoint dump`, `verify-store` and `replay`, as processes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from syncpoint.core.values import SyncPoint, SyncPointKind
from syncpoint.runtime.sqlite import SqliteFile

from .history import OWN, filled, history, rewrite_point, store_at, with_points

ROUNDS = 12


def syncpoint(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "syncpoint", *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "peer.syncpoint"
    asyncio.run(filled(made, history(ROUNDS)))
    return made


@pytest.fixture
def pointed(tmp_path: Path) -> Path:
    """A store with sync points, and with a proposal that is open."""
    made = tmp_path / "pointed.syncpoint"
    asyncio.run(filled(made, with_points()))
    return made


def change(path: Path, statement: str) -> None:
    """Damage a store as no disk would."""
    file = SqliteFile(path)
    file.open()
    file._db.execute(statement)
    file.close()


def test_dump_shows_all_that_is_there(path: Path) -> None:
    made = history(ROUNDS)
    shown = syncpoint("dump", path, "--json")
    assert shown.returncode == 0, shown.stderr
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    (store,) = [line for line in lines if line["kind"] == "store"]
    assert store["network_id"] == made.peers.epoch_id.hex()
    assert (store["rows"], store["end_index"]) == (len(made.accepted), len(made.delivered))
    events = [line for line in lines if line["kind"] in ("event", "own")]
    assert [line["hash"] for line in events] == [each.event.digest.hex() for each in made.accepted]
    assert {line["kind"] == "own" for line in events if line["creator"] == OWN} == {True}
    order = [line for line in lines if line["kind"] == "order"]
    assert [line["order_hash"] for line in order] == [done.order_hash.hex() for done in made.delivered]
    text = syncpoint("dump", path)
    assert len(text.stdout.splitlines()) == len(lines)


def test_dump_shows_sync_points_at_their_places(pointed: Path) -> None:
    made = with_points()
    shown = syncpoint("dump", pointed, "--json")
    assert shown.returncode == 0, shown.stderr
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    order = [line for line in lines if line["kind"] in ("order", "sync")]
    assert [line["index"] for line in order] == list(range(len(made.delivered)))
    for line, done in zip(order, made.delivered, strict=True):
        assert (line["hash"], line["order_hash"]) == (done.digest.hex(), done.order_hash.hex())
        assert (line["kind"] == "sync") == isinstance(done, SyncPoint)
        if isinstance(done, SyncPoint):
            assert line["sync_point"] == SyncPointKind(done.kind).name
            assert (line["epoch_index"], line["proposer"]) == (done.epoch_index, done.proposer)
            assert sum(1 << creator for creator in line["approvals"]) == done.approvals
            metadata = bytes.fromhex(line["metadata_hex"]) if "metadata_hex" in line else line["metadata"].encode()
            assert metadata == done.metadata
    assert {"metadata", "metadata_hex"} <= {name for line in order for name in line}
    assert len([line for line in lines if line["kind"] in ("event", "own")]) == len(made.accepted)


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("", ""),
        ("DELETE FROM event WHERE substr(hex(record), 1, 2) = '06'", "its event is missing"),
        ("UPDATE event SET record = x'06' WHERE substr(hex(record), 1, 2) = '06'", ": wrong checksum"),
        ("UPDATE meta SET value = x'' WHERE name = 'proposals'", "its proposals is not what was written"),
    ],
)
def test_sync_points_are_looked_at(pointed: Path, statement: str, complaint: str) -> None:
    made = with_points()
    points = sum(isinstance(done, SyncPoint) for done in made.delivered)
    if statement:
        change(pointed, statement)
    found = syncpoint("verify-store", pointed)
    assert complaint in found.stderr
    if statement:
        assert found.returncode != 0
    else:
        counts = f"{len(made.accepted)} events, {points} sync points, {len(made.delivered)} delivered"
        assert found.stdout.endswith(f"{counts}; all is as it was written\n"), found.stderr


@pytest.mark.parametrize("changed", [{"metadata": b"other"}, {"approvals": 15}, {"proposer": None}, {"epoch_index": 9}])
def test_a_sync_point_that_says_something_else_is_named(pointed: Path, changed: dict[str, Any]) -> None:
    row = rewrite_point(pointed, **changed)
    found = syncpoint("verify-store", pointed)
    assert (found.returncode, f"event {row.id}: another event than its row says" in found.stderr) == (1, True)


def test_a_whole_store_is_found_whole(path: Path) -> None:
    found = syncpoint("verify-store", path)
    assert (found.returncode, found.stderr) == (0, "")
    made = history(ROUNDS)
    counts = f"{len(made.accepted)} events, 0 sync points, {len(made.delivered)} delivered"
    assert found.stdout.endswith(f"{counts}; all is as it was written\n")


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("UPDATE event SET record = x'02' WHERE id = 5", "event 5: wrong checksum"),
        ("DELETE FROM event WHERE id = 7", "event 7: missing"),
        ("UPDATE delivered SET consensus_at = consensus_at + 1 WHERE id = 3", "index 3: wrong checksum"),
        ("DELETE FROM delivered WHERE id = 35", "index 35: missing"),
        ("UPDATE meta SET checksum = 1 WHERE name = 'state'", "its state is not what was written"),
        ("UPDATE meta SET value = x'00' WHERE name = 'members'", "does not say whose it is"),
    ],
)
def test_what_is_wrong_is_named(path: Path, statement: str, complaint: str) -> None:
    change(path, statement)
    found = syncpoint("verify-store", path)
    assert found.returncode != 0
    assert complaint in found.stderr
    assert "all is as" not in found.stdout


@pytest.mark.parametrize("name", ["python", pytest.param("native", marks=pytest.mark.native)])
def test_the_order_comes_out_again(path: Path, pointed: Path, name: str) -> None:
    if name == "native":
        pytest.importorskip("syncpoint._native")
    for store, made in ((path, history(ROUNDS)), (pointed, with_points())):
        found = syncpoint("replay", store, "--core", name)
        assert found.returncode == 0, found.stderr
        assert f"{len(made.delivered)} order hashes compared, all the same ({name} core)" in found.stdout


def test_another_order_is_noticed(path: Path) -> None:
    change(path, "UPDATE delivered SET consensus_at = consensus_at + 1, order_hash = zeroblob(32) WHERE id = 9")
    found = syncpoint("replay", path)
    assert found.returncode == 1
    assert "at index 9 the store has" in found.stderr


def test_a_store_in_use_or_absent_is_refused(path: Path, tmp_path: Path) -> None:
    absent = syncpoint("dump", tmp_path / "nothing.syncpoint")
    assert (absent.returncode, "no such file" in absent.stderr) == (2, True)

    async def use() -> subprocess.CompletedProcess[str]:
        store = store_at(path, history(ROUNDS))
        from .history import User

        await store.load(User())
        found = syncpoint("verify-store", path)
        await store.close()
        return found

    found = asyncio.run(use())
    assert (found.returncode, "is in use by process" in found.stderr) == (2, True)
