"""The loop around a machine: one step per wake-up, outputs in order, nothing before it is durable (J1)."""

from __future__ import annotations

import asyncio
import random
from typing import Any, cast

import pytest

from syncpoint.core.checkpoint import Certificate, Divergence
from syncpoint.core.config import Member, Network
from syncpoint.core.epoch import Outcome
from syncpoint.core.error import Reject
from syncpoint.core.input import Connected, Disconnected, Input, Persisted, Received, Start, Submit
from syncpoint.core.journal import EpochStart
from syncpoint.core.output import (
    Broadcast,
    Certified,
    Closed,
    Deliver,
    Diverged,
    Entered,
    Halted,
    Opened,
    Output,
    Persist,
    Queue,
    Rejected,
    Send,
    SendStored,
    Wake,
    Write,
)
from syncpoint.core.roster import Roster
from syncpoint.core.values import Delivered
from syncpoint.errors import StorageError
from syncpoint.runtime import clock as clock_module
from syncpoint.runtime.clock import SLEW, Clock
from syncpoint.runtime.driver import JUNK
from syncpoint.runtime.transport import Transport

from .fakes import Bench
from .test_clock import World

MS = 1_000_000
SECOND = 1000 * MS


def delivered(name: str) -> Delivered:
    """Something to deliver; the driver does not look into it."""
    return cast(Delivered, name)


async def test_it_starts_with_the_journal_and_then_opens_the_links() -> None:
    bench = Bench()
    bench.storage.records = (b"one", b"two")
    bench.machine.script.append([Send(1, b"early")])
    await bench.driver.start(cast(Transport, bench.transport))
    assert bench.machine.inputs == [[Start((b"one", b"two"))]]
    assert bench.log == [("send", 1, b"early"), "flush", "start"]
    assert bench.loop.run() == 0, "a second, empty step"


async def test_inputs_of_one_wake_up_are_one_step() -> None:
    bench = Bench()
    await bench.start()
    bench.driver.connected(1)
    bench.driver.received(1, [b"a", b"b"])
    bench.driver.post(Submit((b"tx",)))
    bench.driver.disconnected(1)
    assert bench.machine.steps == [], "stepped inside of post"
    bench.loop.run()
    assert bench.machine.inputs == [[Connected(1), Received(1, [b"a", b"b"]), Submit((b"tx",)), Disconnected(1)]]
    assert bench.log == ["flush"]
    bench.driver.received(2, [b"c"])
    bench.loop.run()
    assert bench.machine.inputs[1:] == [[Received(2, [b"c"])]]


async def test_what_was_posted_is_taken_by_a_timer_that_comes_first_and_only_once() -> None:
    bench = Bench()
    await bench.start()
    bench.machine.script.append(lambda now, inputs: [Wake(now + SECOND)])
    bench.driver.connected(1)
    bench.loop.run()
    bench.driver.connected(2)
    bench.driver._timer.callback()  # type: ignore[union-attr]
    bench.loop.run()
    assert bench.machine.inputs == [[Connected(1)], [Connected(2)]]


async def test_outputs_are_carried_out_in_order_and_written_once() -> None:
    bench = Bench()
    await bench.start()
    bench.machine.script.append(
        [
            Broadcast(b"1"),
            Send(2, b"2"),
            Deliver((delivered("3"), delivered("4")), ((7, b"state"),)),
            Closed(bytes(32), Outcome.REFUSED),
            Rejected(1, Reject.FRAME_TYPE),
            Queue(5, 55),
            Halted("6"),
            Broadcast(b"7"),
        ]
    )
    bench.driver.connected(1)
    bench.loop.run()
    assert bench.log == [
        ("broadcast", b"1"),
        ("send", 2, b"2"),
        ("store", "3", "4", (7, b"state")),
        ("deliver", "3", "4"),
        Closed(bytes(32), Outcome.REFUSED),
        ("drop", 1),
        Queue(5, 55),
        ("halted", "6"),
        ("broadcast", b"7"),
        "flush",
    ]


async def test_what_becomes_of_proposals_and_checkpoints_goes_to_one_place() -> None:
    bench = Bench()
    await bench.start()
    outputs = [
        Opened(bytes(32), 1, 7, 10**9, 5, b"metadata", b"", True),
        Closed(bytes(32), Outcome.ADOPTED),
        Certified(Certificate(3, 4, bytes(32), bytes(32), 7, bytes(192))),
        Diverged(Divergence(4, bytes(32), b"\1" * 32, False)),
    ]
    bench.machine.script.append(outputs)
    bench.driver.connected(1)
    bench.loop.run()
    assert bench.log == [*outputs, "flush"]


@pytest.mark.parametrize("code", Reject)
async def test_only_junk_costs_the_link(code: Reject) -> None:
    bench = Bench()
    await bench.start()
    bench.machine.script.append([Rejected(3, code)])
    bench.driver.received(3, [b"x"])
    bench.loop.run()
    assert bench.log == ([("drop", 3)] if code in JUNK else []) + ["flush"]
    alone = code < Reject.PARENT_MISMATCH and code is not Reject.EPOCH
    assert (code in JUNK) == alone, "frames, and events that are wrong whatever lies below them"


# J1


def sends_when_persisted(now: int, inputs: Any) -> list[Output]:
    """What an honest machine does: send what is durable."""
    return [Broadcast(b"event %d" % input.token) for input in inputs if isinstance(input, Persisted)]


async def test_nothing_is_sent_before_it_is_durable() -> None:
    bench = Bench()
    await bench.start()
    bench.machine.script.append([Persist(1, (b"record",))])
    bench.machine.otherwise = sends_when_persisted
    bench.driver.post(Submit((b"tx",)))
    bench.loop.advance(10 * SECOND)
    bench.driver.received(1, [b"x"])
    bench.loop.advance(10 * SECOND)
    assert bench.log == [("persist", b"record"), "flush", "flush"]
    assert not any(isinstance(input, Persisted) for inputs in bench.machine.inputs for input in inputs)
    bench.storage.waiting.popleft()()
    bench.loop.run()
    assert bench.machine.inputs[-1] == [Persisted(1)]
    assert bench.log[3:] == [("broadcast", b"event 1"), "flush"]


async def test_what_is_durable_at_once_is_sent_in_the_same_write() -> None:
    bench = Bench()
    await bench.start()
    bench.storage.at_once = True
    bench.machine.script.append([Send(1, b"before"), Persist(7, (b"record",)), Send(1, b"after")])
    bench.machine.otherwise = sends_when_persisted
    bench.driver.post(Submit((b"tx",)))
    bench.loop.run()
    assert bench.machine.inputs == [[Submit((b"tx",))], [Persisted(7)]]
    assert bench.log == [
        ("send", 1, b"before"),
        ("persist", b"record"),
        ("send", 1, b"after"),
        ("broadcast", b"event 7"),
        "flush",
    ]


async def test_what_was_accepted_and_delivered_is_stored_in_order() -> None:  # J2
    bench = Bench()
    await bench.start()
    bench.machine.script.append([Write((b"a", b"b")), Deliver((delivered("c"),)), Persist(1, (b"d",)), Write((b"e",))])
    bench.driver.connected(1)
    bench.loop.run()
    order = [("write", b"a", b"b"), ("store", "c"), ("deliver", "c"), ("persist", b"d"), ("write", b"e"), "flush"]
    assert bench.log == order


async def test_epochs_are_told_in_order_with_what_is_delivered() -> None:  # S4
    bench = Bench()
    await bench.start()
    bench.storage.at_once = True
    roster = Roster.first(Network(), [Member(bytes([i]) * 32) for i in range(4)])
    start = EpochStart(1, bytes(32), 9, 10**9, bytes(32), roster, (5, 5, 5, 5), b"state", b"transition")
    before, behind = cast(Any, "before"), cast(Any, "behind")
    bench.machine.script.append([Deliver((before,)), Persist(1, (b"record",)), Entered(start), Deliver((behind,))])
    bench.driver.connected(2)
    bench.loop.run()
    assert [each for each in bench.log if each != "flush"] == [
        ("store", "before"),
        ("deliver", "before"),
        ("persist", b"record"),
        ("entered", start),
        ("store", "behind"),
        ("deliver", "behind"),
    ]


async def test_the_store_answers_a_peer_that_is_far_behind_once_at_a_time(
    caplog: pytest.LogCaptureFixture,
) -> None:  # F3
    bench = Bench()
    await bench.start()
    bench.storage.old = [[b"old 1", b"old 2"], [b"old 3"]]
    answer = SendStored(2, 3, 5, (4, 4, 4, 4), 1000, b"frontier")
    bench.machine.script.append([answer, answer, Send(1, b"now")])
    bench.driver.connected(2)
    bench.loop.run()
    await asyncio.gather(*bench.driver._answers.values())
    pages = ["old 1", "old 2", "flush"], ["old 3", "flush"], ["frontier", "flush"]
    sent = [each if each == "flush" else ("send", 2, each.encode()) for page in pages for each in page]
    assert bench.log == [("send", 1, b"now"), "flush", ("above", 3, (4, 4, 4, 4), 5, 1000), *sent]
    bench.log.clear()
    bench.storage.old = [[b"old 4"], StorageError("the disk is gone"), [b"old 5"]]
    bench.machine.script.append([answer])
    bench.driver.connected(1)
    bench.loop.run()
    await asyncio.gather(*bench.driver._answers.values())
    sent = [("send", 2, b"old 4"), "flush", ("send", 2, b"frontier"), "flush"]
    assert bench.log[-4:] == sent, "it is told that there is no more"
    bench.machine.script.append([answer])
    bench.driver.connected(3)
    bench.loop.run()
    await asyncio.gather(*bench.driver._answers.values())
    assert [record.getMessage() for record in caplog.records] == [
        "peer 2 is behind, and what it needs cannot be read: the disk is gone"
    ], "once, however often it asks"


async def test_half_of_an_answer_does_not_go_on_over_the_next_link() -> None:  # F3
    bench = Bench()
    await bench.start()
    reading = asyncio.Event()
    bench.storage.old = [[b"old 1"], reading, [b"old 2"]]
    answer = SendStored(2, 3, 5, (4, 4, 4, 4), 1000, b"frontier")
    bench.machine.script.append([answer])
    bench.driver.connected(2)
    bench.loop.run()
    (first,) = bench.driver._answers.values()
    await asyncio.sleep(0)
    bench.driver.disconnected(2)
    bench.machine.script.append([answer])
    bench.driver.connected(2)
    bench.loop.run()
    (second,) = bench.driver._answers.values()
    reading.set()
    await asyncio.gather(first, second, return_exceptions=True)
    assert first.cancelled()
    sent = [each[2] for each in bench.log if each[0] == "send"]
    assert sent == [b"old 1", b"old 1", b"old 2", b"frontier"], "the second one begins anew, and is whole"
    assert not bench.driver._answers


@pytest.mark.parametrize("whole", [True, False])
async def test_the_machine_is_told_whether_its_journal_is_whole(whole: bool) -> None:  # R2
    bench = Bench()
    bench.storage.whole = whole
    await bench.driver.start(cast(Transport, bench.transport))
    assert bench.machine.inputs == [[Start((), whole)]]


async def test_each_record_is_answered_with_its_own_token() -> None:
    bench = Bench()
    await bench.start()
    bench.machine.script.append([Persist(1, (b"a",)), Persist(2, (b"b", b"c"))])
    bench.driver.post(Submit(()))
    bench.loop.run()
    assert bench.log == [("persist", b"a"), ("persist", b"b", b"c"), "flush"]
    second, first = bench.storage.waiting.pop(), bench.storage.waiting.pop()
    second()
    first()
    bench.loop.run()
    assert bench.machine.inputs[1:] == [[Persisted(2), Persisted(1)]]


# Time


async def test_a_wake_comes_when_it_was_asked_for_and_once() -> None:
    bench = Bench()
    await bench.start()
    asked: list[int] = []

    def wake(now: int, inputs: Any) -> list[Output]:
        asked.append(now + 30 * MS + 1)
        return [Wake(asked[-1])]

    bench.machine.script.append(wake)
    bench.driver.connected(1)
    bench.loop.advance(30 * MS)
    assert len(bench.machine.steps) == 1
    bench.loop.advance(10 * SECOND)
    assert bench.machine.steps[1:] == [(asked[0], [])]


@pytest.mark.parametrize("second", [5 * MS, 500 * MS], ids=["sooner", "later"])
async def test_a_wake_replaces_the_earlier_one(second: int) -> None:
    bench = Bench()
    await bench.start()
    start = bench.loop.now
    bench.machine.script += [[Wake(start + 50 * MS)], [Wake(start + second)]]
    bench.driver.connected(1)
    bench.loop.run()
    bench.driver.connected(2)
    bench.loop.run()
    assert bench.loop.due == [start + second]
    bench.loop.advance(SECOND)
    assert bench.machine.steps[2:] == [(start + second, [])]


async def test_a_wake_in_the_past_comes_at_once_but_not_inside_of_the_step() -> None:
    bench = Bench()
    await bench.start()
    bench.machine.script.append([Wake(bench.loop.now - SECOND)])
    bench.driver.connected(1)
    bench.loop.run()
    assert len(bench.machine.steps) == 1
    bench.loop.advance(0)
    assert len(bench.machine.steps) == 2


async def test_timers_go_on_when_the_wall_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    monkeypatch.setattr(clock_module, "time", world)
    bench = Bench(Clock())
    await bench.start()
    start = world.wall
    reached: list[int] = []

    def until_then(now: int, inputs: Any) -> list[Output]:
        if now >= start + SECOND:
            reached.append(bench.loop.now)
            return []
        return [Wake(start + SECOND)]

    bench.machine.otherwise = until_then
    bench.driver.connected(1)
    bench.loop.run()
    began = bench.loop.now
    world.wall -= 3600 * SECOND
    while not reached and bench.loop.now < began + 10 * SECOND:
        world.pass_(MS)
        bench.loop.advance(MS)
    assert SECOND <= reached[0] - began <= SECOND + 2 * SECOND // SLEW + 2 * MS
    assert [now for now, _ in bench.machine.steps] == sorted(now for now, _ in bench.machine.steps)


async def test_now_never_decreases_whatever_happens(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    world = World()
    monkeypatch.setattr(clock_module, "time", world)
    bench = Bench(Clock())
    await bench.start()
    bench.machine.otherwise = lambda now, inputs: [Wake(now + rng.randrange(-MS, 20 * MS))]
    for _ in range(500):
        world.wall += rng.choice([0, 0, 0, rng.randrange(-100 * SECOND, 100 * SECOND)])
        passed = rng.randrange(3 * MS)
        world.pass_(passed)
        bench.driver.connected(1)
        bench.loop.advance(passed)
    times = [now for now, _ in bench.machine.steps]
    assert len(times) >= 500
    assert times == sorted(times)


# Standing still


async def test_a_pause_in_a_step_lets_the_step_end_and_loses_nothing() -> None:
    bench = Bench()
    await bench.start()
    bench.storage.at_once = True

    def pause(now: int, inputs: Any) -> list[Output]:
        bench.driver.pause("unread")
        return [Deliver((delivered("a"),)), Persist(1, (b"record",)), Send(1, b"b"), Wake(now + MS)]

    bench.machine.script.append(pause)
    bench.driver.connected(1)
    bench.loop.run()
    assert bench.log == ["pause", ("store", "a"), ("deliver", "a"), ("persist", b"record"), ("send", 1, b"b"), "flush"]
    bench.driver.post(Submit((b"1",)))
    bench.loop.advance(SECOND)
    bench.driver.received(1, [b"2"])
    bench.loop.advance(SECOND)
    assert len(bench.machine.steps) == 1, "stepped while it stood still"
    bench.driver.resume("unread")
    assert len(bench.machine.steps) == 1, "stepped inside of resume"
    bench.loop.run()
    assert bench.machine.inputs[1:] == [[Persisted(1), Submit((b"1",)), Received(1, [b"2"])]]
    assert bench.log[6:] == ["resume", "flush"]


async def test_a_wake_that_came_in_a_pause_is_made_up_for() -> None:
    bench = Bench()
    await bench.start()
    bench.machine.script.append([Wake(bench.loop.now + MS)])
    bench.driver.connected(1)
    bench.loop.run()
    bench.driver.pause("unread")
    bench.loop.advance(SECOND)
    assert len(bench.machine.steps) == 1
    bench.driver.resume("unread")
    bench.loop.run()
    assert len(bench.machine.steps) == 2


async def test_pausing_and_resuming_twice_is_once() -> None:
    bench = Bench()
    await bench.start()
    for _ in range(2):
        bench.driver.resume("unread")
        bench.driver.pause("unread")
        bench.driver.pause("unread")
        bench.driver.resume("unread")
        bench.driver.resume("unread")
        bench.loop.run()
    assert bench.log == ["pause", "resume", "flush"] * 2
    assert len(bench.machine.steps) == 2


async def test_it_goes_on_when_no_reason_is_left_to_stand_still() -> None:
    bench = Bench()
    await bench.start()
    bench.driver.storage_full(True)
    bench.driver.pause("unread")
    bench.driver.connected(1)
    bench.driver.storage_full(False)
    bench.loop.run()
    assert bench.log == ["pause"]
    bench.driver.resume("unread")
    bench.loop.run()
    assert bench.log == ["pause", "resume", "flush"]
    assert len(bench.machine.steps) == 1


async def test_a_store_that_fails_ends_everything() -> None:
    bench = Bench()
    await bench.start()
    error = StorageError("it is damaged")
    bench.driver.storage_failed(error)
    bench.driver.storage_failed(error)
    bench.driver.connected(1)
    bench.loop.advance(SECOND)
    assert bench.errors == [error]
    assert not bench.machine.steps


# The end


def fails(error: Exception) -> Any:
    def step(now: int, inputs: Any) -> list[Output]:
        raise error

    return step


async def test_a_machine_that_raises_is_stepped_no_more_and_says_why() -> None:
    bench = Bench()
    await bench.start()
    error = AssertionError("a bug")
    bench.machine.script += [[Wake(bench.loop.now + MS)], fails(error)]
    bench.driver.connected(1)
    bench.loop.run()
    bench.driver.connected(2)
    bench.driver.connected(3)
    bench.loop.run()
    bench.driver.connected(4)
    bench.loop.advance(SECOND)
    assert bench.errors == [error]
    assert len(bench.machine.steps) == 2
    await bench.driver.stop()
    assert bench.log[-2:] == ["close", "closed"]


async def test_outputs_after_a_failing_one_are_not_carried_out() -> None:
    bench = Bench()
    await bench.start()
    error = StorageError("the disk is full")

    def persist(*args: object) -> None:
        raise error

    bench.storage.persist = persist  # type: ignore[assignment,method-assign]
    bench.machine.script.append([Send(1, b"a"), Persist(1, (b"r",)), Send(1, b"b"), Deliver(())])
    bench.driver.connected(1)
    bench.loop.run()
    assert bench.errors == [error]
    assert bench.log == [("send", 1, b"a")]


async def test_a_machine_that_fails_on_its_journal_opens_no_links() -> None:
    bench = Bench()
    error = StorageError("not a record")
    bench.machine.script.append(fails(error))
    await bench.driver.start(cast(Transport, bench.transport))
    assert bench.errors == [error]
    assert "start" not in bench.log


async def test_stop_steps_no_more_and_closes_links_before_the_store() -> None:
    bench = Bench()
    await bench.start()
    bench.machine.script.append([Persist(1, (b"r",)), Wake(bench.loop.now + MS)])
    bench.driver.connected(1)
    bench.loop.run()
    bench.driver.connected(2)
    await bench.driver.stop()
    bench.storage.waiting.popleft()()  # the disk was slower than the end
    bench.driver.connected(3)
    bench.driver.pause("unread")
    bench.driver.resume("unread")
    bench.loop.advance(SECOND)
    assert len(bench.machine.steps) == 1
    assert bench.log == [("persist", b"r"), "flush", "close", "closed"]


async def test_the_store_is_closed_even_if_the_links_do_not_close() -> None:
    bench = Bench()
    await bench.start()

    async def close() -> None:
        raise OSError("no")

    bench.transport.close = close  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no"):
        await bench.driver.stop()
    assert bench.log == ["closed"]


async def test_every_input_arrives_once_and_in_order_through_random_pauses(seed: int) -> None:
    rng = random.Random(seed)
    bench = Bench()
    await bench.start()
    sent: list[Input] = []
    for number in range(2000):
        match rng.randrange(5):
            case 0:
                bench.driver.pause("unread")
            case 1:
                bench.driver.resume("unread")
            case 2:
                bench.loop.run()
            case _:
                sent.append(Received(1, [b"%d" % number]))
                bench.driver.post(sent[-1])
    bench.driver.resume("unread")
    bench.loop.run()
    assert [input for inputs in bench.machine.inputs for input in inputs] == sent
