"""Tasks in line: first come, first served, no turn lost to a cancelled task."""

from __future__ import annotations

import asyncio
import random
from collections import deque

from syncpoint.runtime.line import Line

from .nodes import cycles


class Shelf:
    """Goods that tasks wait for."""

    def __init__(self) -> None:
        self.goods: deque[int] = deque()
        self.line = Line()
        self.taken: list[tuple[str, int]] = []

    async def take(self, name: str, count: int = 1) -> None:
        """Take so many goods at once."""
        await self.line.turn(lambda: len(self.goods) >= count)
        for _ in range(count):
            self.taken.append((name, self.goods.popleft()))

    def put(self, *goods: int) -> None:
        self.goods += goods
        self.line.call()


async def test_who_finds_what_it_wants_does_not_wait() -> None:
    shelf = Shelf()
    shelf.put(1)
    turn = shelf.take("a")
    try:
        turn.send(None)
    except StopIteration:
        assert shelf.taken == [("a", 1)]
    else:
        raise AssertionError("it waited")


async def test_the_first_comes_first_and_nobody_passes() -> None:
    shelf = Shelf()
    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(shelf.take(name))
        await cycles(2)
        shelf.put(1, 2, 3, 4)
        # The first is called but has not run yet: who comes now is behind the others.
        await shelf.take("d")
    assert shelf.taken == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]
    assert not shelf.line


async def test_small_ones_do_not_pass_a_large_one() -> None:
    shelf = Shelf()
    async with asyncio.TaskGroup() as group:
        group.create_task(shelf.take("large", 3))
        await cycles(2)
        group.create_task(shelf.take("small"))
        for good in range(4):
            await cycles(2)
            assert bool(shelf.taken) == (good >= 3)
            shelf.put(good)
    assert [name for name, _ in shelf.taken] == ["large"] * 3 + ["small"]


async def test_the_next_one_moves_up_when_the_first_gives_up() -> None:
    shelf = Shelf()
    large = asyncio.ensure_future(shelf.take("large", 3))
    await cycles(2)
    small = asyncio.ensure_future(shelf.take("small"))
    await cycles(2)
    shelf.put(1)
    await cycles(2)
    assert not small.done()
    large.cancel()
    await small
    assert shelf.taken == [("small", 1)]


async def test_cancelled_at_any_moment_no_turn_is_lost(seed: int) -> None:
    rng = random.Random(seed)
    shelf = Shelf()
    tasks: list[asyncio.Task[None]] = []
    for number in range(3000):
        match rng.randrange(4):
            case 0:
                tasks.append(asyncio.ensure_future(shelf.take("t")))
            case 1 if tasks:
                tasks.pop(rng.randrange(len(tasks))).cancel()
            case 2:
                shelf.put(number)
            case _:
                await cycles(rng.randrange(3))
    await cycles(len(tasks) + 2)
    waiting = [task for task in tasks if not task.done()]
    assert not (waiting and shelf.goods), "somebody waits for what is there"
    goods = [good for _, good in shelf.taken]
    assert goods == sorted(set(goods))
    for task in waiting:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not shelf.line
