"""Sync points in the store: found again as they were, and decided once, wherever a peer starts again (S1, S2, J2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from syncpoint.backend import make_machine
from syncpoint.core.config import Local, MachineConfig
from syncpoint.core.crypto import blake3, derive
from syncpoint.core.input import Received, Start
from syncpoint.core.journal import Place, State, StoredSyncPoint, decode_record
from syncpoint.core.output import Closed, Deliver, Opened, Output, Write
from syncpoint.core.values import SyncPoint
from syncpoint.core.wire import encode_event
from syncpoint.errors import CorruptError
from syncpoint.runtime.proposals import Proposals
from syncpoint.runtime.rows import PROPOSALS
from syncpoint.runtime.sqlite import SqliteFile
from syncpoint.runtime.store import Store

from .history import (
    Accepted,
    History,
    User,
    feed,
    filled,
    names,
    old_events,
    read_all,
    rewrite_point,
    store_at,
    with_points,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "peer.syncpoint"


def points_of(made: History) -> list[SyncPoint]:
    return [done for done in made.delivered if isinstance(done, SyncPoint)]


def machine_of(core: str, made: History) -> Any:
    """A machine of the peer whose store it is."""
    (seed,) = [seed for seed in (blake3(b"store/%d" % n) for n in range(4)) if derive(seed) == made.identity.public]
    config = MachineConfig(
        network=made.identity.network,
        members=made.identity.members,
        seed=seed,
        entropy=bytes(32),
        local=Local(stores=True, retain_events=1),
    )
    return make_machine(config, core)


def goes_on(machine: Any, records: Sequence[bytes], rest: Sequence[Accepted]) -> list[Output]:
    """What a machine makes of its store, and of what the others send then."""
    outputs: list[Output] = list(machine.step(10**9, [Start(tuple(records))]))
    for each in rest:
        sender = each.event.creator or 1  # what we made after the crash, as a liar would have it, another one has
        outputs += machine.step(10**9, [Received(sender, (encode_event(each.event),))])
    return outputs


async def started(path: Path, made: History) -> tuple[Store, Any]:
    store = store_at(path, made)
    return store, await store.load(User())


def test_the_history_has_all_that_there_is_to_see() -> None:
    made = with_points()
    adopted = {point.proposal for point in points_of(made)}
    assert len(points_of(made)) == 6
    assert len(adopted) == 5, "four proposals, and the regular beat"
    assert {outcome.name for each in made.accepted for _, outcome in each.decided} == {"ADOPTED", "REFUSED"}
    assert sum(len(each.opened) for each in made.accepted) == 6
    assert len(made.run.epoch.open) == 1


async def test_they_are_found_again_from_every_index(path: Path) -> None:  # J2
    made = with_points()
    await filled(path, made)
    store, loaded = await started(path, made)
    assert loaded.end == len(made.delivered)
    for first in range(loaded.end):
        assert names(await read_all(store, loaded, first)) == names(made.delivered[first:])
    await store.close()


async def test_they_are_none_of_the_old_events_for_others_and_no_records_of_a_start(path: Path) -> None:  # F3, R1
    made = with_points()
    await filled(path, made)
    store, loaded = await started(path, made)
    frames = await old_events(store, 0, (0, 0, 0, 0), 1, 2**30)
    assert sorted(frames) == sorted(encode_event(each.event) for each in made.accepted)
    assert not any(isinstance(decode_record(record), StoredSyncPoint) for record in loaded.records)
    assert loaded.whole
    await store.close()


async def test_the_state_stands_behind_the_place(path: Path) -> None:  # R1
    """Wherever the store ends, and in which round: what a start gets is the newest state up to its place."""
    made = with_points()
    states = [(0, None), *[each for accepted in made.accepted for each in accepted.states]]
    seen = set()
    for end in range(len(made.accepted) + 1):
        target = path.with_name(f"{end}.syncpoint")
        store, _ = await started(target, made)
        await feed(store, made.accepted[:end])
        await store.close()
        store, loaded = await started(target, made)
        await store.close()
        found = [decode_record(record) for record in loaded.records]
        place = found[0] if found and isinstance(found[0], Place) else None
        given = [record.state for record in found if isinstance(record, State)]
        expected = None if place is None else [state for round, state in states if round <= place.round][-1]
        assert given == ([] if expected is None else [expected])
        if given:
            assert isinstance(found[1], State), "right after the place"
        assert len(list(store._proposals)) <= 2
        seen.add(expected)
    assert len(seen) > 10


@pytest.mark.parametrize("between", [False, True])
async def test_wherever_it_starts_again_all_is_decided_once(path: Path, core: str, between: bool) -> None:  # R1, S1
    """Proposals that were open are open, with their votes; and what was decided is not opened again.

    `between` is a crash between the commit with the newest event and the one with what that delivered.
    """
    made = with_points()
    open_at_start, decided_later = 0, 0
    for end in range(len(made.accepted) + 1):
        target = path.with_name(f"{end}.syncpoint")
        store, _ = await started(target, made)
        written = list(made.accepted[:end])
        if between and written:
            written[-1] = dataclasses.replace(written[-1], messages=(), states=())
        await feed(store, written)
        await store.close()
        store, loaded = await started(target, made)
        machine = machine_of(core, made)
        outputs = goes_on(machine, loaded.records, made.accepted[end:])
        place = decode_record(loaded.records[0]) if loaded.records else None
        first = place.next_index if isinstance(place, Place) else 0
        round = place.round if isinstance(place, Place) else 0
        delivered = [done for output in outputs if isinstance(output, Deliver) for done in output.messages]
        assert names(delivered) == names(made.delivered[first:])
        # What a start opens is what was open behind the place; all else is opened and closed as it was before.
        then, before = open_and_closed(made, round)
        opened = [output.proposal for output in outputs if isinstance(output, Opened)]
        closed = [(output.proposal, output.outcome) for output in outputs if isinstance(output, Closed)]
        assert opened == then + [ballot.id for each in made.accepted for ballot in each.opened][len(before[0]) :]
        assert closed == [one for each in made.accepted for one in each.decided][before[1] :]
        open_at_start += len(then)
        decided_later += len({id for id, _ in closed}.intersection(then))
        # And the store takes it all.
        for output in outputs:
            if isinstance(output, Write):
                store.write(output.records)
            elif isinstance(output, Deliver):
                store.deliver(output.messages, output.states)
        await feed(store, [])
        again = await read_all(store, dataclasses.replace(loaded, end=len(made.delivered)))
        assert names(again) == names(made.delivered)
        state = machine.status()
        assert (state.epoch_index, state.proposals) == (len(points_of(made)), 1)
        await store.close()
    assert open_at_start > 100
    assert decided_later > 30


def open_and_closed(made: History, until: int) -> tuple[list[bytes], tuple[list[bytes], int]]:
    """What is open behind the closing of a round; what was opened until then, and how many decisions there were."""
    opened: list[bytes] = []
    decided: list[bytes] = []
    for each in made.accepted:
        if each.messages and each.messages[-1].closed_by <= until:
            opened += [ballot.id for ballot in each.opened]
            decided += [id for id, _ in each.decided]
    return [id for id in opened if id not in decided], (opened, len(decided))


async def test_what_is_made_again_must_be_the_same(path: Path) -> None:
    made = with_points()
    (at,) = [number for number, each in enumerate(made.accepted, 1) if each.event.round == 10 and each.states]
    newest = made.accepted[at - 1]
    store, _ = await started(path, made)
    await feed(store, made.accepted[:at])
    await store.close()
    point = newest.messages[-1]
    assert isinstance(point, SyncPoint)
    store, _ = await started(path, made)
    store.deliver(newest.messages, newest.states)
    assert not store._waiting, "nothing new"
    await store.close()
    store, _ = await started(path, made)
    with pytest.raises(CorruptError, match=f"{path}: what stands at index {point.index} is another one"):
        store.deliver([*newest.messages[:-1], dataclasses.replace(point, digest=bytes(32))], newest.states)
    await store.close()
    store, _ = await started(path, made)
    ((round, state),) = newest.states
    with pytest.raises(CorruptError, match=f"{path}: the state of proposals and votes behind round {round} is another"):
        store.deliver(newest.messages, [(round, state + b"more")])
    await store.close()


async def test_a_state_is_written_with_its_messages_or_not_at_all(path: Path) -> None:
    """No commit has one without the other, however the disk cuts them."""
    made = with_points()
    commits: list[tuple[int, int]] = []  # the highest round of a place, and of a state
    store, _ = await started(path, made)
    plain = store._file.commit

    def commit(batch: Any, sync: bool) -> None:
        plain(batch, sync)
        rows = [row for row in batch.meta if row.name == PROPOSALS]
        assert len(rows) <= 1
        if rows:
            kept = Proposals.read(rows[0].value)
            assert kept is not None
            commits.append((batch.delivered[-1].closed_by, list(kept)[-1][0]))

    store._file.commit = commit  # type: ignore[method-assign]
    for each in made.accepted:
        await feed(store, [each])
    await store.close()
    states = [round for each in made.accepted for round, _ in each.states]
    assert commits == [(round, round) for round in states]


@pytest.mark.parametrize("value", [b"\0" * 11, bytes(8) + b"\x05\0\0\0abc", (bytes(12)) * 2])
def test_a_row_that_contradicts_itself_is_none(value: bytes) -> None:
    assert Proposals.read(value) is None


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE meta SET value = x'00' WHERE name = '{PROPOSALS}'",
        f"UPDATE meta SET checksum = checksum + 1 WHERE name = '{PROPOSALS}'",
        f"DELETE FROM meta WHERE name = '{PROPOSALS}'",
        f"UPDATE meta SET name = 'other' WHERE name = '{PROPOSALS}'",
    ],
)
async def test_a_damaged_state_is_noticed(path: Path, statement: str) -> None:
    made = with_points()
    await filled(path, made)
    change(path, statement)
    store = store_at(path, made)
    with pytest.raises(CorruptError, match=f"{path} is damaged .its proposals is not what was written.*move it away"):
        await store.load(User())
    await store.close()


async def test_a_damaged_sync_point_ends_the_stream_there(path: Path) -> None:
    made = with_points()
    await filled(path, made)
    point = points_of(made)[2]
    change(path, f"UPDATE event SET record = x'06' WHERE digest = x'{point.digest.hex()}'")
    store, loaded = await started(path, made)
    assert names(await store.read(0, loaded.end)) == names(made.delivered[: point.index])
    with pytest.raises(CorruptError, match=f"what stands at index {point.index} is damaged; start with resume_after="):
        await store.read(point.index, loaded.end)
    assert names(await read_all(store, loaded, point.index + 1)) == names(made.delivered[point.index + 1 :])
    await store.close()


@pytest.mark.parametrize("changed", [{"metadata": b"other"}, {"approvals": 15}, {"proposer": None}, {"epoch_index": 9}])
async def test_a_sync_point_that_is_not_the_one_of_its_place_is_refused(path: Path, changed: dict[str, Any]) -> None:
    made = with_points()
    await filled(path, made)
    rewrite_point(path, **changed)
    store, loaded = await started(path, made)
    with pytest.raises(CorruptError, match=f"what stands at index {points_of(made)[0].index} is damaged"):
        await read_all(store, loaded)
    await store.close()


async def test_what_is_forgotten_takes_its_sync_points_with_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncpoint.runtime.forget.STEP_ROWS", 4)
    made = with_points(60)
    await filled(path, made)
    store, loaded = await started(path, made)
    await store.forget(len(made.delivered) - 1)
    state = store._batches.state
    assert state.first_event > points_of(made)[1].index
    await store.close()
    store, loaded = await started(path, made)
    assert loaded.first == state.first_index > points_of(made)[2].index
    assert names(await read_all(store, loaded, loaded.first)) == names(made.delivered[loaded.first :])
    assert any(isinstance(decode_record(record), State) for record in loaded.records), "6 is open, however long ago"
    await store.close()


def change(path: Path, statement: str) -> None:
    """Damage a store as no disk would."""
    file = SqliteFile(path)
    file.open()
    file._db.execute(statement)
    file.close()
