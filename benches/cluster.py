"""Peers on loopback, one process each: how long a transaction takes to be final, and how many can be.

    python benches/cluster.py                                both cores, both orders: latency, then the peak
    python benches/cluster.py --core native --order fair     one of each
    python benches/cluster.py --measure peak --windows 1,2,4,8,16,32,64,128,256,512,1024,2048,4096
    python benches/cluster.py --core native --order fast --links plain,tls --loop asyncio,uvloop

Latency: an open loop of --rate transactions/s, spread evenly. Taken from just before `send_transaction` to the moment
the application has the event, on one clock of the machine (CLOCK_MONOTONIC); "all" is the last peer to have it.
Peak: a closed loop, with so many transactions of each peer on their way at once; the best window counts.

All peers share this machine's cores, so with more peers than cores these are not the numbers of a real network.
Nothing is stored.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import itertools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from surroundings import cores, describe
from syncpoint import Options
from syncpoint.cli.cluster import Cluster, ClusterFailed, ClusterStalled, WorkerPeer
from syncpoint.cli.loop import Loop
from syncpoint.cli.streams import find_faults, latencies, latency
from syncpoint.core.config import ORDERS, RULES
from worker import LINKS

Json = dict[str, Any]

WARM_UP_S = 1.0  # sent as the rest, not counted
PATIENCE_S = 30.0
STEP_WARM_UP_S = 1.0  # of each window of the peak
WINDOWS = (64, 512, 2048)
REPORT_S = 0.25
MEASURES = ("latency", "peak")


def main() -> None:
    arguments = _arguments()
    results: list[Json] = []
    if not arguments.json:
        _show_setup(arguments)
    try:
        for measure in arguments.measure:
            # The cores right after each other: what else the machine does meets both.
            orders = arguments.order if measure == "latency" else arguments.order[:1]
            for order, loop, core, links in itertools.product(orders, arguments.loop, arguments.core, arguments.links):
                results.append(asyncio.run(_measure(arguments, measure, core, order, loop, links)))
                if not arguments.json:
                    _show(results[-1])
    except (ClusterFailed, ClusterStalled) as error:
        sys.exit(f"cluster: {error} {json.dumps(getattr(error, 'diagnosis', None))}")
    except KeyboardInterrupt:
        sys.exit(130)
    if arguments.json:
        print(json.dumps({"setup": describe(), "results": results}))
    problems = [problem for result in results for problem in result["problems"]]
    if problems:
        sys.exit("cluster: " + "; ".join(problems))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--core", type=some_of(["python", "native"]), default=cores(), help="python,native")
    parser.add_argument("--order", type=some_of(ORDERS), default=list(ORDERS), help="fair,fast; the peak of the first")
    parser.add_argument("--measure", type=some_of(MEASURES), default=list(MEASURES), help="latency,peak")
    parser.add_argument("--links", type=some_of(LINKS), default=["tls"], help="tls,plain; plain is for comparison only")
    parser.add_argument("--loop", type=some_of(list(Loop)), default=["asyncio"], help="asyncio,uvloop")
    parser.add_argument("--peers", type=int, default=4)
    parser.add_argument("--rate", type=float, default=100.0, help="transactions per second of all peers (100)")
    parser.add_argument("--windows", type=_numbers, default=WINDOWS, help="on their way per peer, for the peak")
    parser.add_argument("--bytes", type=int, default=128, help="of a transaction (128, at least 16)")
    parser.add_argument("--seconds", type=float, default=8.0, help="measured, of each run and window (8)")
    parser.add_argument("--interval-us", type=int, default=Options().base_min_event_interval_us)
    parser.add_argument("--rule", choices=RULES, default=RULES[0])
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--quick", action="store_true", help="--seconds 2 --windows 512")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds, arguments.windows = 2.0, [512]
    if arguments.bytes < 16 or arguments.seconds <= 0 or arguments.rate <= 0 or not 1 <= arguments.peers <= 128:
        parser.error("--bytes from 16, --seconds and --rate above 0, --peers 1 to 128")
    return arguments


def some_of(choices: Sequence[str]) -> Any:
    def some(text: str) -> list[str]:
        words = text.split(",")
        if not set(words) <= set(choices):
            raise argparse.ArgumentTypeError(f"{text!r}: give some of {','.join(choices)}")
        return words

    return some


def _numbers(text: str) -> list[int]:
    numbers = [int(word) for word in text.split(",")]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give numbers from 1")
    return numbers


async def _measure(arguments: argparse.Namespace, measure: str, core: str, order: str, loop: str, links: str) -> Json:
    network = {"name": "bench", "rule": arguments.rule, "order": order}
    options = {"base_min_event_interval_us": arguments.interval_us}
    worker = [sys.executable, str(Path(__file__).with_name("worker.py")), links, loop]
    async with Cluster(arguments.peers, network=network, options=options, core=core, worker=worker) as cluster:
        await cluster.start(report_s=REPORT_S)
        measured = await (open_loop if measure == "latency" else peak)(cluster, arguments)
        await cluster.stop()
    return {"measure": measure, "core": core, "order": order, "loop": loop, "links": links, **measured}


# -- open loop ----------------------------------------------------------------------------------------


async def open_loop(cluster: Cluster, arguments: argparse.Namespace) -> Json:
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


async def peak(cluster: Cluster, arguments: argparse.Namespace) -> Json:
    """The highest rate of all windows."""
    steps = [await _step(cluster, window, arguments) for window in arguments.windows]
    best = max(steps, key=lambda step: float(step["transactions_per_second"]))
    return {"problems": [], "steps": steps, **best}


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


def _show_setup(arguments: argparse.Namespace) -> None:
    for line in describe():
        print(line)
    print(
        f"{arguments.peers} peers, one process each, {arguments.rule} rule, "
        f"{arguments.interval_us} us between a peer's events, {arguments.bytes} bytes per transaction, nothing stored"
    )
    print()
    print(
        f"{'':<16}{'core':<8}{'order':<6}{'loop':<9}{'links':<6}"
        f"{'p50 ms':>8}{'p95 ms':>8}{'p99 ms':>8}{'p50 all':>9}{'p99 all':>9}"
        f"{'transactions/s':>16}{'rounds/s':>10}{'timeouts':>10}{'busy cores':>12}",
        flush=True,
    )


def _show(result: Json) -> None:
    own, everywhere = (result["latency_ms"].get(name) for name in ("submitter", "everywhere"))
    what = f"{result['rate']:g}/s" if result["measure"] == "latency" else f"peak, {result['window']:,}"
    print(
        f"{what:<16}{result['core']:<8}{result['order']:<6}{result['loop']:<9}{result['links']:<6}"
        + "".join(f"{own[name]:>8.1f}" if own else f"{'':>8}" for name in ("p50", "p95", "p99"))
        + "".join(f"{everywhere[name]:>9.1f}" if everywhere else f"{'':>9}" for name in ("p50", "p99"))
        + f"{result['transactions_per_second']:>16,.0f}{result['rounds_per_second']:>10.0f}"
        f"{result['timeouts_per_round']:>10.2%}{result['cpu_cores']:>12.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
