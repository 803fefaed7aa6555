"""The store over epochs: one order, one journal, and a start in the newest one, wherever a peer ends (S4, R1, J2)."""

from __future__ import annotations

import dataclasses
import os
import random
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.core.virtual import MS, seeds

from syncpoint.backend import make_machine
from syncpoint.core.config import MachineConfig
from syncpoint.core.input import Received, Start
from syncpoint.core.journal import (
    EpochStart,
    OwnEvent,
    PeerEvent,
    Place,
    State,
    decode_record,
    encode_epoch_start,
    height,
)
from syncpoint.core.output import Deliver, Entered, Persist
from syncpoint.core.retain import Retention
from syncpoint.core.values import SyncPoint
from syncpoint.errors import ArgumentError, CorruptError
from syncpoint.runtime import forget as forget_module
from syncpoint.runtime.epochs import Epochs
from syncpoint.runtime.proposals import Proposals

from .epochs import LOCAL, NETWORK, OWN, Life, N, Watched, decode, feed, kept, life, reloaded, shelved
from .history import User, names, old_events, read_all

pytestmark = pytest.mark.skipif(os.environ.get("SYNCPOINT_CORE") == "native", reason="machines of the Python core")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "peer.syncpoint"


def entered(outputs: Sequence[Any]) -> list[int]:
    """Where in these epochs begin."""
    return [at for at, output in enumerate(outputs) if isinstance(output, Entered)]


def places(made: Life) -> list[int]:
    """Numbers of outputs behind which a life is ended: some everywhere, and all around the borders of epochs."""
    some = set(range(0, len(made.outputs) + 1, 61)) | {len(made.outputs)}
    for at in entered(made.outputs):
        some |= {at - 5, at - 2, at - 1, at, at + 1, at + 9}
        given = (end for end in range(at + 1, len(made.outputs)) if _delivers(made.outputs[end - 1]))
        some.add(next(given))  # one round of the epoch, at most
    return sorted(some)


def _delivers(output: object) -> bool:
    return isinstance(output, Deliver) and bool(output.messages)


def machine_of(made: Life) -> Any:
    """A machine of the peer whose store it is."""
    config = MachineConfig(
        network=NETWORK, members=made.identity.members, seed=seeds(N)[OWN], entropy=bytes(32), local=LOCAL
    )
    return make_machine(config, "python")


async def test_wherever_it_ends_a_start_goes_on_in_the_newest_epoch(path: Path) -> None:  # R1
    made = life()
    heights, now = made.heights, made.delivered[-1].consensus_at + 1000 * MS
    seen: Counter[str] = Counter()
    for end in places(made):
        store, loaded = await reloaded(made, path.with_name(f"{end}.syncpoint"), made.outputs[:end])
        await store.close()
        shelf = shelved(made.outputs[:end])
        newest = shelf.newest
        network = made.starts[newest - 1].roster.network if newest else NETWORK
        retention = Retention(network, LOCAL, N - (newest > 0))
        expected = shelf.load(made.identity.network_id, NETWORK, retention)
        assert loaded.whole
        assert loaded.end == len(shelf.delivered)
        assert list(loaded.epochs) == shelf.starts
        kinds = [type(record).__name__ for record in map(decode_record, loaded.records)]
        assert kinds[:newest] == ["EpochStart"] * newest
        seen.update(
            {f"{newest}: {' '.join(kind for kind in kinds[newest : newest + 2] if kind in ('Place', 'State'))}"}
        )
        fixed = EpochStart, Place, State
        begins, wanted = (
            [record for record in given if isinstance(decode_record(record), fixed)]
            for given in (loaded.records, expected)
        )
        assert begins == wanted
        # The plain store may give more own events of before: those that were taken over since.
        floor = height(newest, max(0, shelf_place.round - retention.rounds) if (shelf_place := shelf.place()) else 0)
        given, more = events(loaded.records), events(expected)
        assert [frame for frame in given if heights[frame] > floor] == [
            frame for frame in more if heights[frame] > floor
        ]
        machines = [machine_of(made), machine_of(made)]
        for machine, records in zip(machines, (loaded.records, expected), strict=True):
            machine.step(now, [Start(tuple(records))])
        assert machines[0].digest() == machines[1].digest()
        assert machines[0].status() == machines[1].status()
    for epoch in range(4):
        assert seen[f"{epoch}: "]
        assert seen[f"{epoch}: Place State"]


def told(messages: Sequence[Any]) -> list[tuple[object, ...]]:
    """All that an application sees of these, and of which epoch they are."""
    changes = [(done.epoch, done.change if isinstance(done, SyncPoint) else b"") for done in messages]
    return [(*name, *change) for name, change in zip(names(messages), changes, strict=True)]


def events(records: Sequence[bytes]) -> list[bytes]:
    """The frames of events among records."""
    decoded = map(decode_record, records)
    return [record.frame for record in decoded if isinstance(record, OwnEvent | PeerEvent)]


async def test_wherever_it_ends_the_same_comes_of_what_the_others_have(path: Path) -> None:  # J2, S4
    """The rest of the order is the same, and what comes again is the same as it stands in the store."""
    made = life()
    now = made.delivered[-1].consensus_at + 1000 * MS
    for end in places(made):
        store, loaded = await reloaded(made, path.with_name(f"{end}.syncpoint"), made.outputs[:end])
        machine = machine_of(made)
        outputs = list(machine.step(now, [Start(tuple(loaded.records))]))
        for frame in events(made.records):
            outputs += machine.step(now, [Received(1, (frame,))])
        assert machine.digest() == made.digest
        own = [output for output in outputs if isinstance(output, Persist) and output.records[0][0] != 7]
        await feed(store, [output for output in outputs if output not in own])  # what is halted signs nothing
        assert told(await read_all(store, dataclasses.replace(loaded, end=len(made.delivered)))) == told(made.delivered)
        assert [(start.number, start.epoch_id) for start in store._batches.epochs.starts] == [
            (start.number, start.epoch_id) for start in made.starts
        ]
        await store.close()


async def test_pages_go_over_the_borders_of_epochs(path: Path) -> None:  # J2
    made = life()
    store, loaded = await reloaded(made, path, made.outputs)
    assert {done.epoch for done in made.delivered} == {0, 1, 2, 3}
    assert sum(bool(done.change) for done in made.delivered if isinstance(done, SyncPoint)) == 3
    for first in range(0, loaded.end, 7):
        assert told(await read_all(store, loaded, first)) == told(made.delivered[first:])
    await store.close()


async def test_old_events_are_those_of_one_epoch(path: Path) -> None:  # F3
    made = life()
    store, _ = await reloaded(made, path, made.outputs)
    for epoch in range(4):
        n = N - (epoch > 0)
        ours = [(at, decode(frame)) for frame, at in made.heights.items() if at // height(1, 0) == epoch]
        top = max(event.round for _, event in ours)
        assert top > 9
        for frontier in ((0,) * n, (7, 5, 7, 7, 7)[:n], (top,) * n):
            for first in (1, 6, top):
                frames = await old_events(store, epoch, frontier, first, 2**30)
                found = [(event.round, event.digest) for event in map(decode, frames)]
                wanted = [event for _, event in ours if event.round >= first and event.round > frontier[event.creator]]
                assert found == sorted((event.round, event.digest) for event in wanted)
        assert len(await old_events(store, epoch, (0,) * n, 1, 1)) == 1
    assert await old_events(store, 4, (0,) * 4, 1, 2**30) == []
    await store.close()


# -- forgetting ---------------------------------------------------------------------------------------------


def test_rounds_are_counted_on_into_the_epochs_before() -> None:
    made = life()
    epochs = Epochs(made.identity, made.starts)
    tops = [max(start.reached) for start in made.starts]
    first, second, third = tops
    assert third < 20 < first
    below = [
        ((3, 20), 5, (3, 15)),
        ((3, 20), 19, (3, 1)),
        ((3, 20), 20, (2, third)),
        ((3, 20), 20 + third - 1, (2, 1)),
        ((3, 20), 20 + third, (1, second)),
        ((3, 20), 20 + third + second, (0, first)),
        ((3, 20), 20 + third + second + first - 1, (0, 1)),
        ((3, 20), 20 + third + second + first, (0, 0)),
        ((3, 20), 10_000, (0, 0)),
        ((0, 5), 3, (0, 2)),
        ((0, 5), 5, (0, 0)),
    ]
    for at, rounds, found in below:
        assert epochs.below(height(*at), rounds) == height(*found)


@pytest.mark.parametrize("end", [0, 5, 20, None])
async def test_what_is_forgotten_leaves_what_a_start_needs(
    path: Path, end: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever in the newest epoch it happens, and whatever is kept."""
    monkeypatch.setattr(forget_module, "STEP_ROWS", 4)
    made = life()
    outputs = made.outputs if end is None else made.outputs[: entered(made.outputs)[2] + end]
    heights = [height(done.epoch, done.closed_by) for done in made.delivered]
    store, whole = await reloaded(made, path.with_name("whole"), outputs)
    await store.close()
    for settings in ({}, {"retain_rounds": 3}, {"retain_bytes": 0}):
        target = path.with_name(f"{len(settings)} {settings}")
        store, loaded = await reloaded(made, target, outputs, **settings)
        await store.forget(loaded.end - 1)
        await store.close()
        store, loaded = await reloaded(made, target, **settings)
        assert list(loaded.records) == list(whole.records)
        assert list(loaded.epochs) == made.starts
        state = store._batches.state
        assert state.first_event > 100
        assert loaded.first > 100
        keep = kept(made.starts[2].roster.network, 4)
        floor = store._batches.epochs.below(heights[loaded.end - 1], keep + 1)
        assert heights[loaded.first - 1] <= floor < heights[loaded.first + forget_module.STEP_ROWS]
        assert told(await read_all(store, loaded, loaded.first)) == told(made.delivered[loaded.first : loaded.end])
        with pytest.raises(ArgumentError, match=f"the store begins with index {loaded.first}"):
            await store.read(0, loaded.end)
        await store.close()


# -- the beginnings of epochs ---------------------------------------------------------------------------------


def change(path: Path, statement: str, *values: object) -> None:
    """Damage a store as no disk would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(statement, values).rowcount == 1


async def refuses(made: Life, path: Path) -> str:
    """Why a start does not take a store."""
    store = made.at(path)
    with pytest.raises(CorruptError) as caught:
        await store.load(User())
    await store.close()
    return str(caught.value)


async def test_an_epoch_begins_with_what_a_machine_says(path: Path) -> None:  # S4
    """Before the record is durable there is no epoch, and behind it there is no way back."""
    made = life()
    for number, at in enumerate(entered(made.outputs)):
        assert isinstance(made.outputs[at - 1], Persist)
        store, loaded = await reloaded(made, path.with_name(f"{number} before"), made.outputs[: at - 1])
        await store.close()
        assert len(loaded.epochs) == number
        assert isinstance(made.delivered[loaded.end - 1], SyncPoint)
        store, loaded = await reloaded(made, path.with_name(f"{number} behind"), made.outputs[:at])
        assert len(loaded.epochs) == number + 1
        assert loaded.epochs[-1] == made.starts[number]
        assert not any(isinstance(record, Place | State) for record in map(decode_record, loaded.records))
        assert not store._again, "nothing of the epoch before comes again"
        await store.close()


async def test_every_byte_of_a_beginning_counts(path: Path) -> None:
    made = life()
    store, _ = await reloaded(made, path, made.outputs)
    await store.close()
    for start in made.starts:
        name, value = f"epoch:{start.number:05}", encode_epoch_start(start)
        step = 1 if start.number == 2 else 97
        for at in range(0, len(value), step):
            flipped = value[:at] + bytes((value[at] ^ 0x10,)) + value[at + 1 :]
            change(path, "UPDATE meta SET value = ? WHERE name = ?", flipped, name)
            assert f"its {name} is not what was written" in await refuses(made, path)
        change(path, "UPDATE meta SET value = ? WHERE name = ?", value, name)
        change(path, "UPDATE meta SET checksum = checksum + 1 WHERE name = ?", name)
        assert f"its {name} is not what was written" in await refuses(made, path)
        change(path, "UPDATE meta SET checksum = checksum - 1 WHERE name = ?", name)
        change(path, "UPDATE meta SET name = 'epoch:00009' WHERE name = ?", name)
        assert f"its {name} is not what was written" in await refuses(made, path)
        change(path, "UPDATE meta SET name = ? WHERE name = 'epoch:00009'", name)
    store, _ = await reloaded(made, path)
    await store.close()
    change(path, "DELETE FROM meta WHERE name = 'epoch:00003'")
    assert "its epoch:00003 is not what was written" in await refuses(made, path)


async def test_an_epoch_goes_on_where_the_one_before_ended(path: Path) -> None:
    """A record that is another one than that of this order is damage, even with a checksum that fits."""
    made = life()
    outputs = made.outputs[: entered(made.outputs)[0]]
    at = made.starts[0].next_index
    for number, changed in enumerate(({"next_index": at - 1}, {"next_index": at + 1}, {"order_hash": bytes(32)})):
        target = path.with_name(f"{number}")
        store = made.at(target)
        await store.load(User())
        await feed(store, outputs[:-1])
        await feed(store, [Persist(1, (encode_epoch_start(made.starts[0]._replace(**changed)),))])
        await store.close()
        said = await refuses(made, target)
        assert "does not go on where index" in said or f"below index {at + 1}, where an epoch begins" in said


def test_a_state_of_an_epoch_before_is_none_of_a_later_one() -> None:
    proposals = Proposals([(height(0, 7), b"before"), (height(1, 4), b"behind")])
    assert proposals.at(height(0, 9)) == b"before"
    assert proposals.at(height(1, 3)) is None, "the beginning of the epoch has it"
    assert proposals.at(height(1, 4)) == b"behind"
    assert proposals.at(height(2, 9)) is None


async def test_a_state_without_messages_is_of_the_epoch_that_began(path: Path) -> None:
    made = life()
    at = entered(made.outputs)[0]
    store, _ = await reloaded(made, path, [*made.outputs[: at + 1], Deliver((), ((1, b"state"),))])
    assert list(store._proposals)[-1] == (height(1, 1), b"state")
    store.deliver((), ((1, b"state"),))
    with pytest.raises(CorruptError, match="behind round 1 is another one than before"):
        store.deliver((), ((1, b"other"),))
    await store.close()
    store, _ = await reloaded(made, path.with_name("other"), made.outputs[: at - 2])
    store.deliver((), ((1000, b"state"),))
    assert list(store._proposals)[-1] == (height(0, 1000), b"state")
    await store.close()


# -- a lost journal -------------------------------------------------------------------------------------------


async def is_whole(made: Life, path: Path) -> bool:
    store, loaded = await reloaded(made, path)
    await store.close()
    return loaded.whole


async def test_what_is_lost_stays_so_until_an_own_event_of_an_epoch_that_goes_on(path: Path) -> None:  # R2
    """Later epochs may have been signed in before, for all that a lost journal knows."""
    made = life()
    ends = [at for at, output in enumerate(made.outputs) if isinstance(output, Deliver) and _ends(output)]
    begin, end = entered(made.outputs)[0], ends[0]
    own = [at for at, output in enumerate(made.outputs) if isinstance(output, Persist) and output.records[0][0] == 1]
    assert any(end < at < begin for at in own), "an own event certifies the end of the epoch"
    first = next(at for at in own if at > begin)

    async def lost(outputs: Sequence[Any]) -> Path:
        """A store whose journal was lost, and what was written since."""
        target = path.with_name(f"{len(list(path.parent.iterdir()))}.syncpoint")
        store = made.at(target, joining=True)
        await store.load(User())
        await feed(store, outputs)
        await store.close()
        return target

    nothing = [output for at, output in enumerate(made.outputs[: end + 1]) if at not in own]
    last, behind = made.outputs[end + 1 : begin - 1], made.outputs[begin - 1 : first]
    assert not await is_whole(made, await lost(nothing))
    assert await is_whole(made, await lost(made.outputs[: own[0] + 1]))
    assert not await is_whole(made, await lost([*nothing, *last])), "all of the epoch was delivered"
    assert not await is_whole(made, await lost([*nothing, *last, *behind])), "it is asked for anew"
    assert not await is_whole(made, await lost(made.outputs[:first])), "the machine asks again in the next epoch"
    assert await is_whole(made, await lost(made.outputs[: first + 1]))
    target = await lost(nothing)
    store, loaded = await reloaded(made, target)  # a second life, in an epoch that is over
    assert not loaded.whole
    await feed(store, last)
    await store.close()
    assert not await is_whole(made, target)


def _ends(output: Deliver) -> bool:
    last = output.messages[-1] if output.messages else None
    return isinstance(last, SyncPoint) and bool(last.change)


async def test_no_crash_leaves_the_beginning_of_an_epoch_without_the_doubt(path: Path) -> None:  # R2
    made = life()
    begin = entered(made.outputs)[0]
    store = made.at(path, joining=True)
    await store.load(User())
    await feed(store, made.outputs[: begin - 1])
    assert store._is_whole
    said: list[bool] = []
    commit = store._file.commit

    def looked_at(batch: Any, sync: bool) -> None:
        tip = store._file.read_tip()
        assert tip is not None
        said.append(bool(tip[6]))
        assert sync
        commit(batch, sync)

    store._file.commit = looked_at  # type: ignore[method-assign]
    await feed(store, made.outputs[begin - 1 : begin])
    assert said[0] is False, "the tip says so before"
    assert not store._is_whole
    store._file.commit = commit  # type: ignore[method-assign]
    await store.close()


# -- own transactions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("late_ms", [0, 1, 4, 20])
async def test_own_transactions_of_the_epoch_before_come_once(path: Path, seed: int, late_ms: int) -> None:  # O11
    """A peer ends shortly after it entered an epoch, with transactions in events that the one before never delivers."""
    cluster = Watched()
    rng = random.Random(f"own/{seed}")
    peers = [0, 1, 2, 3]
    sent = cluster.load(rng, 10, peers)
    cluster.agree(cluster.change(1, cluster.removal(4)))
    ours: set[bytes] = set()
    while cluster.epoch_of(OWN) == 0:
        ours |= set(cluster.load(rng, 1, [OWN]))
    cluster.run(late_ms * MS)
    given = [record for output in cluster.outputs if isinstance(output, Persist) for record in output.records]
    events_of_ours = [decode(frame) for frame in events(given)]
    written = {transaction for event in events_of_ours for transaction in event.transactions}
    assert written - set(cluster.transactions(OWN)) or late_ms, "something is under way"
    cluster.crash(OWN)
    store, _ = await reloaded(made := Life(cluster.outputs, cluster.identity, b""), path, cluster.outputs)
    await store.close()
    store, loaded = await reloaded(made, path)
    assert len(loaded.epochs) == 1
    assert loaded.whole
    cluster.outputs.clear()
    cluster.restart(OWN, records=loaded.records)
    sent += [*(ours & written), *cluster.load(rng, 10, peers)]
    cluster.run_until(lambda: cluster.counts[1] >= len(sent) and _last(cluster, OWN) == _last(cluster, 1))
    assert sorted(cluster.transactions(1)) == sorted(sent)
    assert cluster.halted.keys() == {4}
    await feed(store, cluster.outputs)
    stream = await read_all(store, dataclasses.replace(loaded, end=_last(cluster, 1) + 1))
    assert [done.order_hash for done in stream] == [done.order_hash for done in cluster.delivered[1]]
    await store.close()


def _last(cluster: Watched, i: int) -> int:
    return cluster.delivered[i][-1].index if cluster.delivered[i] else -1
