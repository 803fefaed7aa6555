"""Whatever happens to the bytes of a store: it is noticed, or it does no harm.

What a start finds in a damaged store is compared with what was written. Never may it find another order, or believe
that its own events are all there when one is missing (R2).
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from pathlib import Path

import pytest

from syncpoint.core.journal import Place, State, decode_record
from syncpoint.errors import StorageError
from syncpoint.runtime.sqlite import SqliteFile
from syncpoint.runtime.store import Store

from .history import History, Inline, User, feed, history, names, read_all, store_at, with_points

STRIDE = int(os.environ.get("SYNCPOINT_FLIPS", "61"))  # every so many bytes is flipped; 1 is all
ROUNDS = 6
POINT_ROUNDS = 10  # three sync points, one proposal that was refused, and one that is open
pytestmark = pytest.mark.timeout(240 + 3600 // STRIDE)  # seconds; a start takes 10 ms or so


class Unsynced(SqliteFile):
    """Nobody pulls a plug here, and thousands of syncs take their time."""

    def _set_sync(self, sync: bool) -> None:
        self._db.execute("PRAGMA synchronous = OFF")


@pytest.fixture(autouse=True)
def quick_and_quiet(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of warnings help nobody either."""
    caplog.set_level(logging.CRITICAL, logger="syncpoint.store")
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class Crashed:
    """The files of a store whose process died."""

    def __init__(self, folder: Path, made: History, durability: str = "full") -> None:
        self.made = made
        self.path = folder / "peer.syncpoint"
        self.files: dict[str, bytes] = {}
        asyncio.run(self._crash(folder, durability))

    async def _crash(self, folder: Path, durability: str) -> None:
        """Write half, close; write the rest, so that both the file and its log are full; and take a copy."""
        half = len(self.made.accepted) // 2
        store = store_at(self.path, self.made, durability=durability)
        await store.load(User())
        await feed(store, self.made.accepted[:half])
        await store.close()
        store = store_at(self.path, self.made, durability=durability)
        await store.load(User())
        for each in self.made.accepted[half:]:
            await feed(store, [each])
        self._copy()
        await store.close()

    def _copy(self) -> None:
        for path in self.path.parent.iterdir():
            if not path.name.endswith(".lock"):
                self.files[path.name] = path.read_bytes()

    def put(self, changed: dict[str, bytes | None]) -> None:
        """Lay the files out as they were, but for some."""
        for path in self.path.parent.iterdir():
            if path != self.path:  # which is the same file, or it would be a copy
                path.unlink()
        for name, data in (self.files | changed).items():
            target = self.path.with_name(name)
            if data is None:
                target.unlink(missing_ok=True)
            else:
                with target.open("r+b" if target.exists() else "wb") as file:
                    file.write(data)
                    file.truncate()

    def check(self) -> str:
        """Start with what is there: what came of it, after making sure that it is no lie."""
        return asyncio.run(self._check())

    async def _check(self) -> str:
        made = self.made
        store = Store(Unsynced(self.path), Inline(), made.settings())
        try:
            try:
                loaded = await store.load(User())
            except StorageError as error:
                return "refused" if str(self.path) in str(error) else "without the name of the file"
            written = {each.record for each in made.accepted}
            records = [decode_record(record) for record in loaded.records]
            events = [record for record in loaded.records if record in written]
            floor = 0
            for record, after in zip(records, [*records[1:], None], strict=True):
                if isinstance(record, Place):
                    known = [state for each in made.accepted for round, state in each.states if round <= record.round]
                    assert (after == State(known[-1])) if known else not isinstance(after, State), "another state"
                    done = made.delivered[record.next_index - 1]
                    assert (record.consensus_at, record.order_hash) == (done.consensus_at, done.order_hash)
                    assert made.delivered[record.next_index].closed_by == record.round + 1
                    floor = record.round - 8
            expected = [each.record for each in made.accepted if each.is_own and each.event.round > floor]
            missing = set(expected) - set(loaded.records)
            assert not (loaded.whole and missing), "an own event is missing, and the journal claims to be whole"
            try:
                stream = await read_all(store, loaded)
            except StorageError:
                return "refused in the stream"
            assert names(stream) == names(made.delivered)[: len(stream)], "another order"
            if not loaded.whole:
                return "not whole"
            whole = len(stream) == len(made.delivered) and len(events) >= len(made.accepted)
            return "harmless" if whole else "incomplete"
        finally:
            try:
                await store.close()
            except StorageError:
                pass


@pytest.fixture(scope="module", params=["events", "sync points"])
def crashed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Crashed:
    made = history(ROUNDS) if request.param == "events" else with_points(POINT_ROUNDS)
    return Crashed(tmp_path_factory.mktemp("crashed"), made)


def test_after_a_crash_all_is_there(crashed: Crashed) -> None:
    crashed.put({})
    assert crashed.check() == "harmless"


@pytest.mark.parametrize("name", ["peer.syncpoint", "peer.syncpoint-wal", "peer.syncpoint.tip"])
def test_a_flipped_byte_is_noticed_or_does_no_harm(crashed: Crashed, name: str, seed: int) -> None:
    data = crashed.files[name]
    stride = 1 if name.endswith("tip") else STRIDE
    counts: dict[str, int] = {}
    rng = random.Random(seed)
    for at in range(rng.randrange(stride), len(data), stride):
        flipped = bytearray(data)
        flipped[at] ^= rng.choice((1, 0x80, 0xFF, rng.randrange(1, 256)))
        crashed.put({name: bytes(flipped)})
        try:
            result = crashed.check()
        except BaseException:
            print(f"byte {at} of {name} was {data[at]:#x}, is {flipped[at]:#x}")
            raise
        counts[result] = counts.get(result, 0) + 1
    assert "without the name of the file" not in counts
    print(name, len(data), counts)
    if name.endswith("tip"):
        assert set(counts) == {"not whole"}
    else:
        assert set(counts) - {"harmless"}, "no damage was noticed at all"


def test_a_log_that_is_cut_off_leaves_a_prefix_and_that_is_noticed(crashed: Crashed, seed: int) -> None:
    name = "peer.syncpoint-wal"
    data = crashed.files[name]
    counts: dict[str, int] = {}
    for length in range(random.Random(seed).randrange(STRIDE), len(data), STRIDE):
        crashed.put({name: data[:length]})
        result = crashed.check()
        counts[result] = counts.get(result, 0) + 1
    print(counts)
    assert counts["not whole"] > 0
    assert not counts.keys() & {"refused", "refused in the stream"}
    # Only what came after the last own event may go without being missed.
    assert counts.get("harmless", 0) + counts.get("incomplete", 0) < len(data) // STRIDE // 2
