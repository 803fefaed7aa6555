"""Peers on loopback, one process each: how long a transaction takes to be final, and how many can be.

    python benches/cluster.py                    open loop: --rate transactions/s, spread evenly
    python benches/cluster.py --peak             closed loop: more and more on their way, until no more get through

Latency is taken from just before `send_transaction` to the moment the application has the event, on one
clock of the machine (CLOCK_MONOTONIC). "at all peers" is the last peer to have it. All peers share this machine's
cores, so with more peers than cores these are not the numbers of a real network. Nothing is stored.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import platform
import sys
import time
from typing import Any

from syncpoint import Options
from syncpoint.backend import CORES
from syncpoint.cli.check import find_faults, latencies, latency
from syncpoint.cli.cluster import Cluster, ClusterFailed, ClusterStalled, WorkerPeer
from syncpoint.core.config import ORDERS, RULES

Json = dict[str, Any]

WARM_UP_S = 1.0  # sent as the rest, not counted
PATIENCE_S = 30.0
STEP_WARM_UP_S = 1.0  # of each step of --peak
FIRST_WINDOW, LAST_WINDOW = 1, 4096  # transactions on their way per peer
GAIN = 1.05  # a step that brings less than this
POOR_STEPS = 2  # so many times in a row is the end
REPORT_S = 0.25


def main() -> None:
    arguments = _arguments()
    try:
        result = asyncio.run(_measure(arguments))
    except (ClusterFailed, ClusterStalled) as error:
        sys.exit(f"cluster: {error} {json.dumps(getattr(error, 'diagnosis', None))}")
    except KeyboardInterrupt:
        sys.exit(130)
    if arguments.json:
        print(json.dumps(result))
    else:
        _show(result)
    if result["problems"]:
        sys.exit("cluster: " + "; ".join(result["problems"]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peers", type=int, default=4)
    parser.add_argument("--rate", type=float, default=100.0, help="transactions per second of all peers (100)")
    parser.add_argument("--bytes", type=int, default=128, help="of a transaction (128, at least 16)")
    parser.add_argument("--seconds", type=float, default=10.0, help="measured, of each step with --peak (10)")
    parser.add_argument("--interval-us", type=int, default=Options().base_min_event_interval_us)
    parser.add_argument("--rule", choices=RULES, default=RULES[0])
    parser.add_argument("--order", choices=ORDERS, default=ORDERS[0])
    parser.add_argument("--core", choices=CORES, default=CORES[0])
    parser.add_argument("--peak", action="store_true", help="find the highest rate")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    if arguments.bytes < 16 or arguments.seconds <= 0 or arguments.rate <= 0 or not 1 <= arguments.peers <= 128:
        parser.error("--bytes from 16, --seconds and --rate above 0, --peers 1 to 128")
    return arguments


async def _measure(arguments: argparse.Namespace) -> Json:
    network = {"name": "bench", "rule": arguments.rule, "order": arguments.order}
    options = {"base_min_event_interval_us": arguments.interval_us}
    async with Cluster(arguments.peers, network=network, options=options, core=arguments.core) as cluster:
        await cluster.start(report_s=REPORT_S)
        setup: Json = {
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "load_average": [round(each, 2) for each in os.getloadavg()] if hasattr(os, "getloadavg") else None,
            "core": dataclasses.asdict(cluster.core),
            "peers": arguments.peers,
            "bytes": arguments.bytes,
            "interval_us": arguments.interval_us,
            "rule": arguments.rule,
            "order": arguments.order,
            "storage": None,
        }
        measured = await (_peak if arguments.peak else _open_loop)(cluster, arguments)
        await cluster.stop()
    return {"setup": setup, **measured}


# -- open loop ----------------------------------------------------------------------------------------


async def _open_loop(cluster: Cluster, arguments: argparse.Namespace) -> Json:
    """Latency at a rate that does not wait for anything."""
    skipped = int(WARM_UP_S * arguments.rate)
    count = skipped + max(1, int(arguments.seconds * arguments.rate))
    filler = "x" * arguments.bytes
    text = [filler[: arguments.bytes - len(f"{number}\t")] for number in range(count)]
    begin_ns = time.monotonic_ns() + 200_000_000
    step_ns = 1e9 / arguments.rate
    for peer in cluster.peers:
        lines = [(number, begin_ns + int(number * step_ns), text[number]) for number in range(count)]
        cluster.send(peer, lines[peer.number :: arguments.peers])
    await _from(cluster, begin_ns + int(skipped * step_ns))
    before = _snapshot(cluster)
    await _from(cluster, begin_ns + int(count * step_ns))
    after = _snapshot(cluster)
    await cluster.wait(
        lambda: all(peer.lines == count for peer in cluster.peers), PATIENCE_S, "transactions are outstanding"
    )
    streams = {peer.number: peer.deliveries for peer in cluster.peers}
    sent = {line: when for line, when in cluster.sent.items() if line >= skipped}
    own, everywhere = latencies(sent, streams)
    return {
        "problems": find_faults(text, streams),
        "rate": arguments.rate,
        "transactions": count - skipped,
        "latency_ms": {"submitter": _latency(own), "everywhere": _latency(everywhere)},
        **_between(before, after, arguments.peers),
    }


# -- closed loop --------------------------------------------------------------------------------------


async def _peak(cluster: Cluster, arguments: argparse.Namespace) -> Json:
    """The highest rate: more transactions on their way in each step, until that brings nothing."""
    steps: list[Json] = []
    best, poor, window = 0.0, 0, FIRST_WINDOW
    while window <= LAST_WINDOW and poor < POOR_STEPS:
        step = await _step(cluster, window, arguments)
        steps.append(step)
        if not arguments.json:
            print(_step_line(step), flush=True)
        poor = poor + 1 if step["transactions_per_second"] < best * GAIN else 0
        best = max(best, step["transactions_per_second"])
        window *= 2
    top = max(steps, key=lambda step: float(step["transactions_per_second"]))
    return {"problems": [], "peak_transactions_per_second": best, "peak": top, "steps": steps}


async def _step(cluster: Cluster, window: int, arguments: argparse.Namespace) -> Json:
    begin_ns = time.monotonic_ns()
    until_ns = begin_ns + int((STEP_WARM_UP_S + arguments.seconds) * 1e9)
    for peer in cluster.peers:
        cluster.tell(peer, {"do": "load", "window": window, "bytes": arguments.bytes, "until_ns": until_ns})
    await _from(cluster, begin_ns + int(STEP_WARM_UP_S * 1e9))
    before = _snapshot(cluster)
    for peer in cluster.peers:
        peer.load_ns.clear()
    await _from(cluster, until_ns)
    after = _snapshot(cluster)
    times = [each for peer in cluster.peers for each in peer.load_ns]
    seen = -1

    def all_received() -> bool:
        # Twice the same in two rounds of reports: nothing is on its way any more.
        nonlocal seen
        total = sum(peer.load_sent for peer in cluster.peers)
        done = all(peer.load_received == total for peer in cluster.peers) and total == seen
        seen = total
        return done

    await cluster.wait(all_received, PATIENCE_S, "transactions are outstanding")
    return {"window": window, "latency_ms": {"submitter": _latency(times)}, **_between(before, after, arguments.peers)}


# -- both ---------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Moment:
    """What one peer had done by its newest report."""

    now_ns: int
    cpu_ns: int
    closed_round: int
    timeouts: int
    received: int

    @classmethod
    def of(cls, peer: WorkerPeer) -> _Moment:
        return cls(peer.now_ns, peer.cpu_ns, peer.closed_round, peer.timeouts, peer.lines + peer.load_received)


def _snapshot(cluster: Cluster) -> list[_Moment]:
    return [_Moment.of(peer) for peer in cluster.peers]


async def _from(cluster: Cluster, when_ns: int) -> None:
    """Wait for every peer's first report after a moment."""
    await cluster.wait(
        lambda: all(peer.now_ns >= when_ns for peer in cluster.peers),
        PATIENCE_S + max(0, when_ns - time.monotonic_ns()) / 1e9,
        "reports are outstanding",
    )


def _between(before: list[_Moment], after: list[_Moment], peers: int) -> Json:
    """Rates from one report to a later one, each peer by its own times; the slowest peer counts."""
    seconds = [(late.now_ns - early.now_ns) / 1e9 for early, late in zip(before, after, strict=True)]
    received = [late.received - early.received for early, late in zip(before, after, strict=True)]
    rounds = [late.closed_round - early.closed_round for early, late in zip(before, after, strict=True)]
    timeouts = sum(late.timeouts - early.timeouts for early, late in zip(before, after, strict=True))
    cpu_ns = sum(late.cpu_ns - early.cpu_ns for early, late in zip(before, after, strict=True))
    transactions = max(1, sum(received) / peers)
    return {
        "seconds": round(max(seconds), 3),
        "transactions_per_second": round(min(map(_per, received, seconds)), 1),
        "rounds_per_second": round(min(map(_per, rounds, seconds)), 1),
        "timeouts_per_round": round(timeouts / max(1, sum(rounds)), 4),  # own rounds that ended by the timeout (P3)
        "cpu_us_per_transaction": round(cpu_ns / 1000 / transactions, 1),  # of all peers together
        "cpu_cores": round(sum(map(_per, [cpu_ns], [1e9 * max(seconds)])), 2),  # busy, of all peers together
    }


def _per(count: float, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0


def _latency(times_ns: list[int]) -> Json | None:
    times = latency(times_ns)
    return None if times is None else dataclasses.asdict(times)


def _show(result: Json) -> None:
    setup = result["setup"]
    print(
        f"{setup['peers']} peers, one process each, on {setup['cores']} cores ({setup['machine']}, "
        f"load {setup['load_average']}); Python {setup['python']}, {setup['core']['name']} core, "
        f"BLAKE3 of {setup['core']['hash']}"
    )
    print(
        f"{setup['rule']} rule, {setup['order']} order, {setup['interval_us']} us between a peer's events, "
        f"{setup['bytes']} bytes per transaction, nothing stored"
    )
    if "peak" in result:
        print(f"peak {result['peak_transactions_per_second']:.0f} transactions/s")
        print(_step_line(result["peak"]))
        return
    for name, where in (("submitter", "at the submitter"), ("everywhere", "at all peers")):
        times = result["latency_ms"][name]
        print(
            f"submit to final {where:<17} p50 {times['p50']:.2f} ms   p95 {times['p95']:.2f} ms   "
            f"p99 {times['p99']:.2f} ms   max {times['max']:.2f} ms   of {times['count']}"
        )
    print(
        f"{result['transactions_per_second']:.1f} transactions/s, {result['rounds_per_second']:.1f} rounds/s, "
        f"{result['timeouts_per_round']:.1%} of them ended by the timeout, "
        f"CPU {result['cpu_us_per_transaction']:.0f} us per transaction, {result['cpu_cores']:.2f} cores busy"
    )


def _step_line(step: Json) -> str:
    times = step["latency_ms"]["submitter"] or {"p50": 0.0, "p99": 0.0}
    return (
        f"{step['window']:>5} on their way per peer: {step['transactions_per_second']:8.0f} transactions/s   "
        f"p50 {times['p50']:7.1f} ms   p99 {times['p99']:7.1f} ms   {step['rounds_per_second']:6.1f} rounds/s   "
        f"CPU {step['cpu_us_per_transaction']:7.1f} us per transaction"
    )


if __name__ == "__main__":
    main()
