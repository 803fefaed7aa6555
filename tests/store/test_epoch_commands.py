"""`syncpoint dump`, `verify-store` and `replay` of a store over several epochs (S4)."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from syncpoint.core.journal import EpochStart, height
from syncpoint.core.values import SyncPoint
from syncpoint.runtime.epochs import epoch_row
from syncpoint.runtime.rows import DeliveredRow, EventRow
from syncpoint.runtime.sqlite import SqliteFile

from .epochs import life, reloaded
from .test_commands import syncpoint


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "peer.syncpoint"

    async def fill() -> None:
        store, _ = await reloaded(life(), made, life().outputs)
        await store.close()

    asyncio.run(fill())
    return made


def test_dump_shows_epochs_and_what_is_of_which(path: Path) -> None:
    made = life()
    shown = syncpoint("dump", path, "--json")
    assert shown.returncode == 0, shown.stderr
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    begun = [line for line in lines if line["kind"] == "epoch"]
    assert [line["epoch_id"] for line in begun] == [start.epoch_id.hex() for start in made.starts]
    assert [(line["epoch"], line["first_index"]) for line in begun] == [
        (start.number, start.next_index) for start in made.starts
    ]
    assert {(line["creators"], len(line["members"])) for line in begun} == {(4, 4)}
    shown_events = [line for line in lines if line["kind"] in ("event", "own")]
    assert [height(line["epoch"], line["round"]) for line in shown_events] == list(made.heights.values())
    assert any(epoch < line["epoch"] for line in shown_events for epoch, _, _ in line.get("taken_over", ()))
    order = [line for line in lines if line["kind"] in ("order", "sync")]
    assert [(line["epoch"], line["closed_by"]) for line in order] == [
        (done.epoch, done.closed_by) for done in made.delivered
    ]
    rounds = [done.closed_by if isinstance(done, SyncPoint) else done.event.round for done in made.delivered]
    assert [line["round"] for line in order] == rounds


def test_a_whole_store_is_found_whole(path: Path) -> None:
    made = life()
    found = syncpoint("verify-store", path)
    assert (found.returncode, found.stderr) == (0, "")
    counts = f"{len(made.heights)} events, 4 sync points, {len(made.delivered)} delivered, 4 epochs"
    assert found.stdout == f"{path}: {counts}; all is as it was written\n"


def replaced(path: Path, change: Callable[[EpochStart], EpochStart]) -> None:
    """Let the second epoch begin otherwise, with a checksum that fits."""
    row = epoch_row(change(life().starts[1]))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", row)


def other_member(start: EpochStart) -> EpochStart:
    seat = start.roster.seats[0]
    other = seat._replace(contact=b"elsewhere")
    return start._replace(roster=replace(start.roster, seats=(other, *start.roster.seats[1:])))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda start: start._replace(next_index=start.next_index + 1), "epoch 2: it does not follow from what the"),
        (lambda start: start._replace(consensus_at=1), "epoch 2: it does not follow"),
        (lambda start: start._replace(order_hash=bytes(32)), "epoch 2: it does not follow"),
        (lambda start: start._replace(transition=start.transition[:-1] + b"\0"), "epoch 2: it does not follow"),
        (lambda start: start._replace(transition=start.transition + b"\0"), "epoch 2: it does not follow"),
        (lambda start: start._replace(epoch_id=life().starts[0].epoch_id), "epoch 2: its id is that of another one"),
        (lambda start: start._replace(reached=(1, 2, 3)), "epoch 2: the epoch before has 4 creators, not 3"),
        (
            lambda start: start._replace(state=start.state + b"\0"),
            "epoch 2: the state of proposals and votes is longer",
        ),
        (other_member, "epoch 2: it does not follow"),
    ],
)
def test_a_beginning_that_is_none_is_named(
    path: Path, change: Callable[[EpochStart], EpochStart], complaint: str
) -> None:
    replaced(path, change)
    found = syncpoint("verify-store", path)
    assert (found.returncode, complaint in found.stderr) == (1, True), found.stderr


def test_what_is_of_another_epoch_is_named(path: Path) -> None:
    made = life()
    index = made.starts[0].next_index + 3
    file = SqliteFile(path)
    file.open()
    (row,) = file.delivered(index, index + 1)
    at = next(row for row in file.events(1, 1000) if row.round > height(1, 0) and row.record[0] != 6)
    moved_place = DeliveredRow.of(*row[:-2], row.closed_by + height(1, 0))
    moved_event = EventRow.of(at.id, at.round + height(1, 0), at.top + height(1, 0), at.digest, at.record)
    file._db.execute("INSERT OR REPLACE INTO delivered VALUES (?, ?, ?, ?, ?, ?, ?, ?)", moved_place)
    file._db.execute("INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?, ?, ?)", moved_event)
    file.close()
    found = syncpoint("verify-store", path)
    assert found.returncode == 1
    assert f"index {index}: it is of another epoch than its place" in found.stderr
    assert f"event {at.id}: another event than its row says" in found.stderr


def test_the_order_comes_out_again_over_all_epochs(path: Path) -> None:
    made = life()
    found = syncpoint("replay", path, "--core", "python")
    assert found.returncode == 0, found.stderr
    assert found.stdout == f"{path}: {len(made.delivered)} order hashes compared, all the same (python core)\n"


@pytest.mark.parametrize("where", ["the sync point", "behind it"])
def test_another_order_is_noticed_in_every_epoch(path: Path, where: str) -> None:
    made = life()
    index = made.starts[1].next_index - (where == "the sync point")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE delivered SET order_hash = ? WHERE id = ?", (bytes(32), index))
    found = syncpoint("replay", path, "--core", "python")
    assert found.returncode == 1
    assert f"at index {index} the store has" in found.stderr
