"""Counts over a window that moves along."""

from __future__ import annotations

import random

from syncpoint.runtime.rate import RATE_S, Rate


def test_what_is_older_than_the_window_does_not_count() -> None:
    rate = Rate()
    rate.add(10, 100.0)
    assert rate.per_s(100.0) == 10 / RATE_S
    rate.add(5, 101.0)
    assert rate.per_s(100.0 + RATE_S - 0.001) == 15 / RATE_S
    assert rate.per_s(100.0 + RATE_S) == 5 / RATE_S
    assert rate.per_s(101.0 + RATE_S) == 0


def test_an_even_flow_shows_its_rate_and_costs_little_memory(seed: int) -> None:
    rng, rate, now = random.Random(seed), Rate(), 50.0
    for _ in range(20_000):
        rate.add(1, now)
        now += rng.uniform(0.0005, 0.0015)
    assert 900 < rate.per_s(now) < 1_100
    assert len(rate._steps) <= 22
