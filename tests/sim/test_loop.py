"""An event loop on virtual time: order, processes that die, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from syncpoint.testing.loop import BEGIN_NS, Process, VirtualLoop

SECOND = 1_000_000_000


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.close()


def run(loop: VirtualLoop, seconds: float) -> None:
    loop.run_until(lambda: False, loop.now_ns + round(seconds * SECOND))


def test_waiting_takes_no_time_and_passes_virtual_time(loop: VirtualLoop) -> None:
    seen: list[tuple[str, float]] = []

    async def main() -> None:
        await asyncio.sleep(3600)
        seen.append(("woke", loop.time()))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.Event().wait()
        seen.append(("gave up", loop.time()))

    loop.spawn(Process("p"), main)
    run(loop, 4000)
    assert seen == [("woke", 3600.0), ("gave up", 3605.0)]
    assert loop.now_ns == BEGIN_NS + 4000 * SECOND


def test_what_is_due_at_once_runs_in_the_order_in_which_it_was_asked_for(loop: VirtualLoop) -> None:
    seen: list[int] = []
    for number in range(20):
        loop.call_later(1.0, seen.append, number)
    loop.put(loop.now_ns + SECOND, loop.context_of(Process("p")), seen.append, 20)
    loop.call_later(0.5, seen.append, -1)
    run(loop, 2)
    assert seen == [-1, *range(21)]


def test_run_until_stops_at_the_instant_in_which_something_holds(loop: VirtualLoop) -> None:
    seen: list[int] = []
    loop.call_later(1.0, seen.append, 1)
    loop.call_later(2.0, seen.append, 2)
    assert loop.run_until(lambda: bool(seen), loop.now_ns + 10 * SECOND)
    assert (seen, loop.time()) == ([1], 1.0)
    assert not loop.run_until(lambda: len(seen) == 3, loop.now_ns + 10 * SECOND)
    assert loop.time() == 11.0


def test_nothing_of_a_dead_process_runs_any_more(loop: VirtualLoop) -> None:
    seen: list[str] = []
    process = Process("victim")

    async def main() -> None:
        asyncio.get_running_loop().create_task(child())
        try:
            await asyncio.sleep(10)
        finally:
            seen.append("cleaned up")

    async def child() -> None:
        while True:
            await asyncio.sleep(1)
            seen.append("beat")

    loop.spawn(process, main)
    run(loop, 2.5)
    loop.kill(process)
    run(loop, 100)
    assert seen == ["beat", "beat"]
    assert not loop.problems


def test_a_stopped_process_goes_on_with_all_that_would_have_happened(loop: VirtualLoop) -> None:
    seen: list[float] = []
    process = Process("sleeper")

    async def main() -> None:
        await asyncio.sleep(1)
        seen.append(loop.time())

    loop.spawn(process, main)
    run(loop, 0.5)
    loop.suspend(process)
    run(loop, 5)
    assert not seen
    loop.resume(process)
    run(loop, 0)
    assert seen == [5.5]


def test_what_nobody_catches_is_kept(loop: VirtualLoop) -> None:
    def fail() -> None:
        raise ValueError("nobody looks")

    loop.call_soon(fail)
    run(loop, 1)
    assert len(loop.problems) == 1
    assert "nobody looks" in loop.problems[0]


def test_an_exception_is_of_the_process_whose_it_is(loop: VirtualLoop) -> None:
    process, dying = Process("p"), Process("q")

    def fail() -> None:
        raise ValueError("nobody looks")

    def die() -> None:
        loop.kill(dying)
        raise ValueError("last words")

    loop.call_soon(fail, context=loop.context_of(process))
    loop.call_soon(die, context=loop.context_of(dying))
    run(loop, 1)
    assert [problem.partition(":")[0] for problem in loop.problems] == ["p"]
    assert [problem.partition(":")[0] for problem in loop.last_words] == ["q"]
    assert "ValueError('last words')" in loop.last_words[0]


def test_what_a_task_raised_and_nobody_asked_for_is_kept(loop: VirtualLoop) -> None:
    async def fail(what: str) -> None:
        await asyncio.sleep(1)
        raise KeyError(what)

    async def main() -> None:
        background = asyncio.get_running_loop().create_task(fail("nobody waits"))
        awaited = asyncio.get_running_loop().create_task(fail("somebody waits"))
        late = asyncio.get_running_loop().create_task(fail("somebody asks later"))
        cancelled = asyncio.get_running_loop().create_task(fail("cancelled"))
        cancelled.cancel()
        with pytest.raises(KeyError):
            await awaited
        await asyncio.sleep(5)
        assert background.done()
        with pytest.raises(KeyError):
            await late

    for name in ("p", "q"):
        loop.spawn(Process(name), main)
    run(loop, 10)
    assert not loop.problems
    loop.collect()
    loop.collect()
    assert len(loop.problems) == 2
    for name, problem in zip("pq", loop.problems, strict=True):
        assert problem.startswith(f"{name}: nobody looked at what a task raised at 1.000000 s (")
        assert problem.endswith("fail): KeyError('nobody waits')")


def test_what_a_task_raised_before_its_process_died_is_kept(loop: VirtualLoop) -> None:
    async def fail() -> None:
        await asyncio.sleep(1)
        raise KeyError("nobody waits")

    early, late = Process("early"), Process("late")
    for process in (early, late):
        loop.spawn(process, fail)
    loop.run_until(lambda: loop.time() == 1, loop.now_ns + 10 * SECOND)
    loop.kill(late)  # in the instant in which it fails: what would have looked at it does not any more
    run(loop, 1)
    loop.kill(early)
    loop.collect()
    assert [problem.partition(":")[0] for problem in loop.problems] == ["early"]


def test_time_that_stands_still_is_noticed(loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncpoint.testing.loop.MAX_HANDLES_AT_ONCE", 1000)

    def again() -> None:
        loop.call_soon(again)

    loop.call_soon(again)
    with pytest.raises(AssertionError, match="time stands still"):
        run(loop, 1)


async def _look_up() -> object:
    return await asyncio.get_running_loop().getaddrinfo("localhost", 1)


async def _thread() -> None:
    await asyncio.to_thread(print)


@pytest.mark.parametrize("real", [_look_up, _thread])
def test_what_is_real_is_refused_with_advice(loop: VirtualLoop, real: object) -> None:
    task = loop.spawn(Process("p"), real)  # type: ignore[arg-type]
    run(loop, 1)
    error = task.exception()
    assert isinstance(error, RuntimeError)
    assert "simulation" in str(error)


def test_a_task_that_died_on_the_point_of_waking_ends_with_the_loop(loop: VirtualLoop) -> None:
    process = Process("victim")
    gate = loop.create_future()

    async def main() -> None:
        await gate

    task = loop.spawn(process, main)
    run(loop, 1)
    gate.set_result(None)  # the task is going to be woken ...
    loop.kill(process)  # ... and is dead before that
    run(loop, 1)
    assert not task.done()
    loop.end()
    assert task.done()
