"""What `syncpoint demo` calls the same stream, tried with doctored results."""

from __future__ import annotations

from dataclasses import replace

import pytest

from syncpoint.cli.streams import Delivery, agreed_length, find_faults, latencies, latency
from syncpoint.cli.worker import line_checksum, line_transaction

TEXT = ["one", "two", "two", "four", "five"]


def delivery(index: int, *lines: int, at_ns: int = 0) -> Delivery:
    known = [line_transaction(line, TEXT[line]) for line in lines if line < len(TEXT)]
    return Delivery(index, f"hash{index}", lines, line_checksum(known), at_ns)


GOOD = [delivery(3, 1, 0), delivery(7, 2), delivery(8, 4, 3)]


def test_equal_streams_have_no_fault() -> None:
    assert find_faults(TEXT, {0: GOOD, 1: list(GOOD), 2: list(GOOD)}) == []
    assert find_faults(TEXT, {0: GOOD}) == []


@pytest.mark.parametrize(
    ("stream", "says"),
    [
        (GOOD[:2], "peer 1 never received lines 4, 5"),
        ([], "peer 1 never received lines 1, 2, 3, 4, 5"),
        ([*GOOD, delivery(9, 0)], "peer 1 received line 1 more than once"),
        ([GOOD[0], delivery(7, 2, 2), GOOD[2]], "peer 1 received line 3 more than once"),
        ([*GOOD, delivery(9, 77)], "peer 1 received line 78, which nobody sent"),
        ([delivery(3, 0, 1), *GOOD[1:]], "peers 0 and 1 differ in event 3"),
        ([GOOD[0], delivery(7, 4), delivery(8, 2, 3)], "peers 0 and 1 differ in event 7"),
        ([GOOD[0], delivery(6, 2), GOOD[2]], "peers 0 and 1 differ: one has its next lines in event 7"),
        ([*GOOD[:2], replace(GOOD[2], order_hash="other")], "peers 0 and 1 differ at event 8: the order hash"),
        ([*GOOD[:2], replace(GOOD[2], checksum=1)], "in event 8 with another text"),
    ],
)
def test_every_difference_is_found(stream: list[Delivery], says: str) -> None:
    faults = find_faults(TEXT, {0: GOOD, 1: stream})
    assert any(says in fault for fault in faults), faults


def test_all_peers_wrong_alike_is_wrong() -> None:
    assert find_faults(TEXT, {0: GOOD[:2], 1: GOOD[:2]}) == [
        "peer 0 never received lines 4, 5",
        "peer 1 never received lines 4, 5",
    ]


def test_a_killed_peer_needs_only_have_the_beginning() -> None:
    assert find_faults(TEXT, {0: GOOD, 1: GOOD[:1], 2: GOOD}, dead=[1]) == []
    assert find_faults(TEXT, {0: [], 1: GOOD, 2: GOOD}, dead=[0]) == []
    assert find_faults(TEXT, {0: GOOD, 1: [delivery(3, 0, 1)]}, dead=[1])
    assert find_faults(TEXT, {0: GOOD, 1: [*GOOD, delivery(9, 0)]}, dead=[1])


def test_a_run_that_was_broken_off_can_still_contradict_itself() -> None:
    assert find_faults(TEXT, {0: GOOD[:1], 1: GOOD, 2: []}, dead=[0, 1, 2]) == []
    assert find_faults(TEXT, {0: GOOD[:1], 1: [delivery(3, 0, 1)]}, dead=[0, 1])
    assert find_faults(TEXT, {}) == []


def test_how_far_all_agree() -> None:
    assert agreed_length([GOOD, GOOD[:2], GOOD]) == 2
    assert agreed_length([GOOD, []]) == 0
    assert agreed_length([]) == 0
    assert agreed_length([GOOD, [GOOD[0], replace(GOOD[1], order_hash="other")]]) is None


def test_latencies_are_taken_at_the_sender_and_at_the_last_living_peer() -> None:
    sent = {0: (0, 100), 1: (1, 100), 2: (1, 100), 3: (0, 100)}
    streams = {
        0: [delivery(1, 0, at_ns=110), delivery(2, 1, at_ns=120)],
        1: [delivery(1, 0, at_ns=130), delivery(2, 1, at_ns=125)],
        2: [delivery(1, 0, at_ns=900)],
    }
    own, everywhere = latencies(sent, streams, dead=[2])
    assert own == [10, 25]
    assert everywhere == [30, 25]


def test_percentiles_are_measured_times() -> None:
    times = latency([number * 1_000_000 for number in range(1, 101)])
    assert times is not None
    assert (times.count, times.p50, times.p95, times.p99, times.max) == (100, 50, 95, 99, 100)
    alone = latency([2_000_000])
    assert alone is not None
    assert alone.p50 == alone.p99 == 2
    assert latency([]) is None
