"""The time that a machine is told, whatever is done to the wall clock."""

from __future__ import annotations

import random

import pytest

from syncpoint.runtime import clock as clock_module
from syncpoint.runtime.clock import SLEW, Clock

SECOND = 1_000_000_000


class World:
    """Stands for the module `time`: a steady clock, and a wall clock that can be set."""

    def __init__(self) -> None:
        self.steady = 5_000 * SECOND
        self.wall = 1_700_000_000 * SECOND

    def monotonic_ns(self) -> int:
        return self.steady

    def time_ns(self) -> int:
        return self.wall

    def pass_(self, duration: int) -> None:
        """Time goes by on both."""
        self.steady += duration
        self.wall += duration


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(clock_module, "time", made)
    return made


def test_it_is_the_wall_clock(world: World) -> None:
    clock = Clock()
    for _ in range(10):
        assert clock.now() == world.wall
        world.pass_(SECOND)


def test_it_follows_the_wall_clock_forward_at_once(world: World) -> None:
    clock = Clock()
    world.wall += 3600 * SECOND
    assert clock.now() == world.wall


def test_set_back_it_goes_on_a_little_slower_until_the_wall_clock_has_caught_up(world: World) -> None:
    clock = Clock()
    before = clock.now()
    world.wall -= SECOND
    assert clock.now() == before, "time passed though none did"
    world.pass_(100 * SECOND)
    assert clock.now() == before + 100 * SECOND - 100 * SECOND // SLEW
    world.pass_((SLEW - 200) * SECOND)
    assert clock.now() > world.wall, "caught up too soon"
    world.pass_(101 * SECOND)
    assert clock.now() == world.wall, "SLEW seconds make up for one"


def test_no_time_passes_while_both_clocks_stand(world: World) -> None:
    clock = Clock()
    assert {clock.now() for _ in range(5)} == {world.wall}


def test_it_never_goes_back_and_never_lags_behind_the_wall_clock(world: World, seed: int) -> None:
    rng = random.Random(seed)
    clock = Clock()
    last = clock.now()
    for _ in range(5000):
        steady = world.steady
        match rng.randrange(4):
            case 0:
                world.wall += rng.randrange(-10_000 * SECOND, 10_000 * SECOND)
            case _:
                world.pass_(rng.randrange(SECOND))
        now = clock.now()
        passed = world.steady - steady
        assert now >= last + passed - passed // SLEW, "timers would stand still"
        assert now >= world.wall
        last = now


def test_the_real_one_is_about_right() -> None:
    import time

    clock = Clock()
    before = time.time_ns()
    now = clock.now()
    assert before - SECOND <= now <= time.time_ns() + SECOND
    assert clock.now() >= now
