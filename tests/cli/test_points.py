"""What `syncpoint demo --sync-points` calls the same sync points, tried with doctored results."""

from __future__ import annotations

from dataclasses import replace

import pytest

from syncpoint.cli.points import Point, find_point_faults, is_same_session


def point(number: int) -> Point:
    return Point(10 * number, number, "SESSION", f"session{number}", f"hash{number}", number - 1)


GOOD = [point(1), point(2), point(3)]
LAST = 2


def test_equal_sync_points_have_no_fault() -> None:
    assert find_point_faults({0: GOOD, 1: list(GOOD)}, LAST) == ([], 3)
    assert find_point_faults({0: GOOD}, LAST) == ([], 3)


def test_what_lies_behind_the_last_one_is_not_compared() -> None:
    assert find_point_faults({0: [*GOOD, point(4)], 1: GOOD}, LAST) == ([], 3)


@pytest.mark.parametrize(
    ("stream", "says", "alike"),
    [
        (GOOD[:2], "peer 1 never received the last sync point", 2),
        ([], "peer 1 never received the last sync point", 0),
        ([GOOD[0], GOOD[2]], "peers 0 and 1 differ in their sync point 2: session session2 at index 20", 1),
        ([GOOD[0], replace(GOOD[1], index=21), GOOD[2]], "with order hash hash2 and session session2 at index 21", 1),
        ([replace(GOOD[0], order_hash="other"), *GOOD[1:]], "with order hash other", 0),
        ([*GOOD[:2], replace(GOOD[2], session_id="other")], "session other", 2),
    ],
)
def test_every_difference_is_found(stream: list[Point], says: str, alike: int) -> None:
    faults, found = find_point_faults({0: GOOD, 1: stream}, LAST)
    assert any(says in fault for fault in faults), faults
    assert found == alike


def test_a_killed_peer_may_have_fewer_but_no_others() -> None:
    assert find_point_faults({0: GOOD, 1: GOOD[:1]}, LAST, dead=[1]) == ([], 3)
    faults, alike = find_point_faults({0: GOOD, 1: [replace(GOOD[0], index=11)]}, LAST, dead=[1])
    assert len(faults) == 1
    assert "differ in their sync point 1" in faults[0]
    assert alike == 3


def test_peers_light_up_when_their_newest_sync_point_is_the_same() -> None:
    assert is_same_session([GOOD, GOOD])
    assert not is_same_session([GOOD, GOOD[:2]])
    assert not is_same_session([GOOD, []])
    assert not is_same_session([[], []])
