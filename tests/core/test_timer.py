"""The waits: who is timely, how long for, and what time does to them (P3 to P5)."""

from __future__ import annotations

import pytest

from syncpoint.core.committee import Committee
from syncpoint.core.timer import (
    FIRST_SOFT_NS,
    FIRST_TIMEOUT_NS,
    MAX_SOFT_NS,
    MAX_TIMEOUT_NS,
    MIN_SOFT_NS,
    MIN_TIMEOUT_NS,
    Advance,
    Timer,
)

from .virtual import MS, Cluster

OWN = 0


class Rounds:
    """Feeds a timer of four peers round by round."""

    def __init__(self) -> None:
        self.timer = Timer(Committee(4, None, bytes(32)), OWN)
        self.timer.linked = 0b1111
        self.round = 0
        self.now = 0

    def pass_one(self, late: dict[int, int | None], by: Advance = Advance.SETTLED, *, waited: bool = False) -> None:
        """A round: ours at once, the others so much later (ns, None: never); then we go on."""
        self.round += 1
        start = self.now
        for creator, ns in sorted({OWN: 0, **late}.items(), key=lambda entry: entry[1] or 0):
            if ns is not None:
                self.now = max(self.now, start + ns)
                self.timer.accepted(self.round, creator, start + ns)
        if waited:
            self.timer.unsettled(self.round)
        self.timer.advanced(self.round, by, self.now)


def test_all_are_waited_for_until_they_were_late_four_times() -> None:
    rounds = Rounds()
    for count in range(1, 8):
        rounds.pass_one({1: MS, 2: MS, 3: None})
        # A round is judged when the next one ends.
        assert rounds.timer.expects(3) == (count - 1 <= 3), count
    assert rounds.timer.timely == 0b0111
    for _ in range(14):
        rounds.pass_one({1: MS, 2: MS, 3: MS + MIN_SOFT_NS // 2})
    assert rounds.timer.expects(3), "in time again, and so waited for again"


def test_who_is_not_linked_is_not_waited_for() -> None:
    rounds = Rounds()
    rounds.timer.accepted(1, OWN, 0)
    rounds.timer.accepted(1, 1, MS)
    assert rounds.timer.soft_until(1) == 0, "no quorum, no deadline"
    rounds.timer.accepted(1, 2, 2 * MS)
    assert rounds.timer.soft_until(1) == 2 * MS + FIRST_SOFT_NS
    rounds.timer.linked = 0b0111
    assert rounds.timer.soft_until(1) == 0
    rounds.timer.linked = 0b1111
    rounds.timer.accepted(1, 3, 3 * MS)
    assert rounds.timer.soft_until(1) == 0, "all are here"


def test_the_soft_wait_follows_what_is_measured() -> None:
    rounds = Rounds()
    for _ in range(60):
        rounds.pass_one({1: 10 * MS, 2: 10 * MS, 3: 15 * MS})
    assert rounds.timer.soft_ns == pytest.approx(4 * 5 * MS, rel=0.2)
    for _ in range(60):
        rounds.pass_one({1: MS, 2: MS, 3: MS})
    assert rounds.timer.soft_ns == MIN_SOFT_NS


def test_a_peer_far_slower_than_the_network_does_not_stretch_the_wait() -> None:
    rounds = Rounds()
    for _ in range(60):
        rounds.pass_one({1: MS, 2: MS, 3: 500 * MS})
    assert rounds.timer.soft_ns <= 9 * MS
    assert not rounds.timer.expects(3)


def test_the_soft_wait_is_clamped() -> None:
    rounds = Rounds()
    for _ in range(100):
        rounds.pass_one({1: 1_000 * MS, 2: 1_000 * MS, 3: 1_400 * MS})
        assert MIN_SOFT_NS <= rounds.timer.soft_ns <= MAX_SOFT_NS


def test_the_timeout_doubles_when_it_was_waited_for_and_decays_otherwise() -> None:
    rounds = Rounds()
    waits = [rounds.timer.timeout_ns]
    for _ in range(10):
        rounds.pass_one({1: MS, 2: MS, 3: MS}, Advance.TIMEOUT, waited=True)
        waits.append(rounds.timer.timeout_ns)
    assert waits[:4] == [FIRST_TIMEOUT_NS * 2**k for k in range(4)]
    assert waits[-1] == MAX_TIMEOUT_NS
    assert rounds.timer.timeouts == 10
    for _ in range(100):
        rounds.pass_one({1: MS, 2: MS, 3: MS})
    assert MIN_TIMEOUT_NS < rounds.timer.timeout_ns < 4 * MIN_TIMEOUT_NS


def test_a_timeout_that_nobody_waited_for_does_not_count() -> None:
    rounds = Rounds()
    rounds.pass_one({1: MS, 2: MS, 3: MS}, Advance.TIMEOUT)
    assert rounds.timer.timeout_ns == FIRST_TIMEOUT_NS
    assert rounds.timer.timeouts == 0


def test_catching_up_teaches_nothing() -> None:
    rounds = Rounds()
    for _ in range(50):
        rounds.pass_one({1: MS, 2: MS, 3: None}, Advance.OVERTAKEN)
    assert rounds.timer.timely == 0b1111
    assert rounds.timer.timeout_ns == FIRST_TIMEOUT_NS
    assert rounds.timer.soft_ns == FIRST_SOFT_NS


def test_an_idle_network_does_not_lengthen_its_waits() -> None:
    cluster = Cluster(4, delay=2 * MS)
    cluster.submit(0, b"one")
    cluster.run(60_000 * MS)
    for machine in cluster.machines:
        status = machine.status()
        assert status.own_events > 100
        assert status.timeouts == 0
        assert status.round_timeout_ns <= FIRST_TIMEOUT_NS
        assert status.timely == (0, 1, 2, 3)


def test_the_next_epoch_goes_on_with_what_was_measured() -> None:  # P4, P5, S4
    rounds = Rounds()
    for _ in range(20):
        rounds.pass_one({1: MS, 2: MS, 3: None})
    before = rounds.timer
    assert (before.timely, before.timeout_ns) != (0b1111, FIRST_TIMEOUT_NS), "it has measured something"
    after = Timer(Committee(5, None, bytes(32)), 1)
    after.follow(before, [3, OWN, 4 + 7, 1, 2])
    after.linked = 0b11111
    assert [after.expects(creator) for creator in range(5)] == [False, True, False, True, True]
    assert (after.soft_ns, after.timeout_ns, after.timeouts) == (before.soft_ns, before.timeout_ns, before.timeouts)


def test_who_observed_before_has_measured_nothing() -> None:
    before = Timer(Committee(4, None, bytes(32)), 4)
    before.timeouts = 3
    after = Timer(Committee(5, None, bytes(32)), 4)
    after.follow(before, [0, 1, 2, 3, 4])
    assert (after.timely, after.timeout_ns, after.timeouts) == (0b11111, FIRST_TIMEOUT_NS, 3)
