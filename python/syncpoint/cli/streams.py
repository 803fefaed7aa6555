"""What came out of a run: whether all peers received the same stream, whole, and how long it took. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from .worker import line_checksum, line_transaction

__all__ = ["Delivery", "Latency", "agreed_length", "find_faults", "latencies", "latency"]

SHOWN = 5  # line numbers in one message


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event with lines in it, as one peer received it."""

    index: int
    """Its place in the total order."""

    order_hash: str
    """The rolling hash there, in hex."""

    lines: tuple[int, ...]
    """The numbers of the lines in it, in order."""

    checksum: int
    """Over the lines' transactions."""

    at_ns: int
    """When the peer received it, monotonic ns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Percentiles of a set of times, in ms; the nearest rank, so each is a time that was measured."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float


def find_faults(
    text: Sequence[str], streams: Mapping[int, Sequence[Delivery]], dead: Collection[int] = ()
) -> list[str]:
    """What is wrong with the streams of lines that the peers received; empty when nothing is.

    All streams must be the same, event by event: index, rolling hash and lines. Each must hold every line of
    the text once, as it was sent. The stream of a peer that was killed needs only be the beginning of the
    others'.
    """
    faults = []
    for peer, stream in streams.items():
        faults += _unlike_text(text, peer, stream, whole=peer not in dead)
    alive = [peer for peer in streams if peer not in dead]
    one = max(alive or streams, key=lambda peer: len(streams[peer]), default=0)
    for peer in streams:
        if peer != one:
            faults += _unlike_each_other(one, streams[one], peer, streams[peer], whole=peer not in dead)
    return faults


def agreed_length(streams: Collection[Sequence[Delivery]]) -> int | None:
    """How many deliveries all streams have in common by now; None when they differ in the last of these."""
    length = min(map(len, streams), default=0)
    if length == 0:
        return 0
    last = {(stream[length - 1].index, stream[length - 1].order_hash) for stream in streams}
    return length if len(last) == 1 else None


def latencies(
    sent: Mapping[int, tuple[int, int]], streams: Mapping[int, Sequence[Delivery]], dead: Collection[int] = ()
) -> tuple[list[int], list[int]]:
    """Times from sending to final, in ns, where each line was sent, and at the last living peer to get it.

    `sent` gives for each line who sent it and when. Lines of which that is not known are left out.
    """
    received = {peer: {line: each.at_ns for each in stream for line in each.lines} for peer, stream in streams.items()}
    alive = [peer for peer in streams if peer not in dead]
    own, everywhere = [], []
    for line, (sender, sent_ns) in sent.items():
        at_sender = received[sender].get(line)
        if at_sender is not None:
            own.append(at_sender - sent_ns)
        times = [received[peer][line] for peer in alive if line in received[peer]]
        if alive and len(times) == len(alive):
            everywhere.append(max(times) - sent_ns)
    return own, everywhere


def latency(times_ns: Sequence[int]) -> Latency | None:
    """The percentiles of some times; None of none."""
    if not times_ns:
        return None
    ordered = sorted(times_ns)

    def percentile(percent: int) -> float:
        rank = -(-len(ordered) * percent // 100)  # rounded up
        return round(ordered[rank - 1] / 1e6, 3)

    return Latency(count=len(ordered), p50=percentile(50), p95=percentile(95), p99=percentile(99), max=percentile(100))


def _unlike_text(text: Sequence[str], peer: int, stream: Sequence[Delivery], *, whole: bool) -> list[str]:
    counts = Counter(line for each in stream for line in each.lines)
    faults = []
    doubled = [line for line, count in counts.items() if count > 1]
    if doubled:
        faults.append(f"peer {peer} received {_lines(doubled)} more than once")
    unknown = [line for line in counts if not 0 <= line < len(text)]
    if unknown:
        faults.append(f"peer {peer} received {_lines(unknown)}, which nobody sent")
    lost = [line for line in range(len(text)) if line not in counts] if whole else []
    if lost:
        faults.append(f"peer {peer} never received {_lines(lost)}")
    for each in stream:
        known = [line_transaction(line, text[line]) for line in each.lines if 0 <= line < len(text)]
        if len(known) == len(each.lines) and line_checksum(known) != each.checksum:
            faults.append(f"peer {peer} received {_lines(each.lines)} in event {each.index} with another text")
            break
    return faults


def _unlike_each_other(
    one: int, first: Sequence[Delivery], other: int, second: Sequence[Delivery], *, whole: bool
) -> list[str]:
    for mine, theirs in zip(first, second, strict=False):
        where = f"peers {one} and {other} differ"
        if mine.index != theirs.index:
            return [f"{where}: one has its next lines in event {mine.index}, the other in event {theirs.index}"]
        if mine.lines != theirs.lines:
            return [f"{where} in event {mine.index}: one has {_lines(mine.lines)}, the other {_lines(theirs.lines)}"]
        if mine.order_hash != theirs.order_hash:
            return [f"{where} at event {mine.index}: the order hash is {mine.order_hash} and {theirs.order_hash}"]
    if len(second) > len(first) or (whole and len(first) != len(second)):
        return [f"peers {one} and {other} differ: one has {len(first)} events with lines, the other {len(second)}"]
    return []


def _lines(numbers: Collection[int]) -> str:
    """Some line numbers for a message, counted from 1 as people do."""
    shown = ", ".join(str(number + 1) for number in sorted(numbers)[:SHOWN])
    more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
    return f"{'line' if len(numbers) == 1 else 'lines'} {shown}{more}"
