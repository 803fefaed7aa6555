"""A hot spare: one key in two processes at once, among three other peers (R5).

What must hold: whoever signed and learns of the other stops, and says so; the others go on, in one order.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from syncpoint.runtime.tip import Tip

from .spare import COPIED, Party, Runner, store_of

STOPPED = "this key signs in another process, too"
LATER = 5  # rounds of transactions after the copies have stopped


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", ["new", "cloned"])
async def test_two_copies_that_both_sign_both_stop(tmp_path: Path, core: str, store: str) -> None:
    """Each starts where the other does: with nothing, or with the disk of a machine that was cloned."""
    async with Party(tmp_path, core) as party:
        others = await party.start_others()
        if store == "cloned":
            await make_clone(party, others)
        # Each is linked with two peers, which tell it that it may sign (R1). It does, and its disk takes its time.
        first, cables = await party.start_copy("first", (0, 1), waits=True)
        cables[1].cut()
        second, _ = await party.start_copy("second", (1, 2), waits=True)
        copies = (first, second)
        await party.until(lambda: all(runner.status["own_events"] == 1 for runner in copies))
        slot = first.status["own_round"] + 1
        lost = party.submit(copies, "lost")
        for runner in others:
            runner.freeze()
        for runner in copies:
            runner.child.tell("publish")
        await party.until(lambda: all(runner.status["own_round"] >= slot for runner in copies))
        for runner in others:
            runner.thaw()
        sent = party.submit(others, "meanwhile")
        await party.until(lambda: all(runner.status["halted"] for runner in copies))
        for runner in copies:
            await check_stopped(party, runner)
        await check_others(party, others, sent)
        for runner, name in zip(copies, lost, strict=True):  # one of them may still have been ordered
            await party.until(lambda runner=runner, name=name: name in runner.final | runner.refused.keys())  # type: ignore[misc]
            assert name in runner.refused or name in others[0].transactions


@pytest.mark.timeout(300)
async def test_an_original_that_comes_back_after_its_spare_took_over_stops(tmp_path: Path, core: str) -> None:
    """A copy of the store is known to be one, so the spare goes on above all that the others have (R2)."""
    async with Party(tmp_path, core) as party:
        others = await party.start_others()
        original, cables = await party.start_copy("original")
        sent = party.submit([*others, original], "before")
        await party.until_everywhere(sent)
        await until_idle(party)
        for cable in cables:
            cable.cut()
        copy_store(tmp_path, "original", "spare")
        (late,) = party.submit((original,), "cut off")
        await party.until(lambda: original.status["own_round"] > others[0].status["own_round"])
        spare, _ = await party.start_copy("spare")
        await party.until(lambda: not spare.status["recovering"])
        sent += party.submit([*others, spare], "after")
        await party.until(lambda: set(sent) <= set(spare.transactions))
        for cable in cables:
            cable.mend()
        await party.until(lambda: bool(original.status["halted"]))
        await check_stopped(party, original)
        assert late in original.refused, "it was told that what nobody has is final"
        await check_others(party, others, sent)


# -- what both do ---------------------------------------------------------------------------------------


async def make_clone(party: Party, others: list[Runner]) -> None:
    """Let the peer run and stop, and clone the disk with its store: file for file, inodes too."""
    runner, _ = await party.start_copy("first")
    await party.until_everywhere(party.submit([*others, runner], "before"))
    await until_idle(party)
    await party.stop(runner)
    copy_store(party.folder, "first", "second")
    path = store_of(party.folder, "second")
    tip_path = path.with_name(path.name + ".tip")
    tip = Tip.decode(tip_path.read_bytes())
    assert tip is not None
    tip_path.write_bytes(tip._replace(inode=path.stat().st_ino).encode())


def copy_store(folder: Path, store: str, to: str) -> None:
    shutil.copytree(folder / store, folder / to, ignore=shutil.ignore_patterns("*.lock"))


async def until_idle(party: Party) -> None:
    """Wait until all have stored the same round, and nothing is left that anybody would make another one for."""

    def is_idle() -> bool:
        statuses = [runner.status for runner in party.runners]
        made = {status[which] for status in statuses for which in ("own_round", "own_events")}
        return len(made) == 1 and not any(status["undelivered"] for status in statuses)

    await party.until(is_idle)


async def check_stopped(party: Party, runner: Runner) -> None:
    """It has said why, takes no transactions, and makes no events."""
    assert STOPPED in runner.status["halted"]
    await party.until(lambda: bool(runner.log))
    (line,) = runner.log
    assert line.startswith("this peer makes no more events: ")
    assert STOPPED in line
    made = runner.status["own_events"]
    (refused,) = party.submit((runner,), "refused")
    await party.until(lambda: refused in runner.refused)
    assert "this peer has halted" in runner.refused[refused]
    assert STOPPED in runner.refused[refused]
    assert runner.status["own_events"] == made


async def check_others(party: Party, others: list[Runner], sent: list[str]) -> None:
    """They order what they send, and even the copies that have stopped follow."""
    made = {runner.name: runner.status["own_events"] for runner in party.runners if runner.status["halted"]}
    for count in range(LATER):
        later = party.submit(others, f"later {count}")
        await party.until(lambda later=later: set(later) <= set().union(*(runner.final for runner in others)))  # type: ignore[misc]
        sent = sent + later
    await party.until_everywhere(sent)
    party.check_order()
    for runner in others:
        assert runner.status["halted"] is None
        assert set(runner.status["equivocators"]) <= {COPIED}
        assert not runner.log
    for runner in party.runners:
        if runner.name in made:
            assert runner.status["own_events"] == made[runner.name], "it makes events after it said that it does not"
