"""What storing costs: peers on loopback, one process each, with each durability in turn.

    python benches/stores.py                            nothing stored, memory, normal and full, three rounds of each
    python benches/stores.py --folder /mnt/disk --rounds 5
    python benches/stores.py --quick --durability memory,full

A round is a new network for each durability, one right after the other, so that whatever else the machine does meets
all of them. Each is given an open loop of --rate transactions/s, then a closed one; see cluster.py for what is taken.
The medians of all rounds are shown.

Syncs are commits that wait for the disk: SQLite calls fsync once in each of them, and twice more whenever its log goes
into the file, which is not counted. Bytes are what a process has had written to a disk (`write_bytes` in /proc/PID/io),
for a byte of the transactions that were ordered meanwhile; none are on a file system in memory, or outside Linux. Both
are of one peer, over the whole of a loop, with its beginning and end.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cluster
from surroundings import describe
from syncpoint import Context, Options
from syncpoint.cli import worker
from syncpoint.cli.cluster import Cluster, ClusterFailed, ClusterStalled
from syncpoint.runtime.rows import Batch
from syncpoint.runtime.sqlite import SqliteFile
from syncpoint.runtime.tip import DURABILITIES

Json = dict[str, Any]

NOTHING = "none"  # instead of a durability: there is no store
KINDS = (NOTHING, *reversed(DURABILITIES))
PATIENCE_S = 30.0
NAME_WIDTH = 14
LOOPS = {"latency": cluster.open_loop, "peak": cluster.peak}
FIGURES = {  # as they are shown: measure, name, heading, format
    ("latency", "p50"): ("p50 ms", "8.1f"),
    ("latency", "p99"): ("p99 ms", "8.1f"),
    ("latency", "syncs"): ("syncs/s", "9.1f"),
    ("latency", "written"): ("bytes", "8.1f"),
    ("latency", "cores"): ("busy cores", "12.2f"),
    ("peak", "rate"): ("peak/s", "10,.0f"),
    ("peak", "syncs"): ("syncs/s", "9.1f"),
    ("peak", "written"): ("bytes", "8.1f"),
}


def main() -> None:
    arguments = _arguments()
    results: list[Json] = []
    try:
        for _ in range(arguments.rounds):
            for kind in arguments.durability:
                results.append(asyncio.run(_round(arguments, kind)))
                if not arguments.json:
                    print(".", end="", flush=True)
    except (ClusterFailed, ClusterStalled) as error:
        sys.exit(f"stores: {error} {json.dumps(getattr(error, 'diagnosis', None))}")
    except KeyboardInterrupt:
        sys.exit(130)
    if arguments.json:
        print(json.dumps({"setup": _setup(arguments), "results": results}))
    else:
        print("\n" + "\n".join(_setup(arguments)) + "\n")
        _show(arguments.durability, results)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--core", default="native", choices=("native", "python"))
    parser.add_argument("--order", default="fair", choices=("fair", "fast"))
    parser.add_argument("--durability", type=cluster.some_of(KINDS), default=list(KINDS), help=",".join(KINDS))
    parser.add_argument("--folder", type=Path, help="for the stores, on the disk to be measured (a temporary one)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=int, default=4)
    parser.add_argument("--rate", type=float, default=100.0, help="transactions per second of all peers (100)")
    parser.add_argument("--window", type=int, default=2048, help="on their way per peer, for the peak (2048)")
    parser.add_argument("--bytes", type=int, default=128, help="of a transaction (128, at least 16)")
    parser.add_argument("--seconds", type=float, default=8.0, help="measured, of each loop (8)")
    parser.add_argument("--json", action="store_true", help="one JSON object, with each round")
    parser.add_argument("--quick", action="store_true", help="--seconds 1 --window 512 --rounds 1")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds, arguments.window, arguments.rounds = 1.0, 512, 1
    if arguments.bytes < 16 or min(arguments.seconds, arguments.rate, arguments.rounds, arguments.window) <= 0:
        parser.error("--bytes from 16; --seconds, --rate, --rounds and --window above 0")
    if not 1 <= arguments.peers <= 128:
        parser.error("--peers 1 to 128")
    arguments.windows = [arguments.window]
    return arguments


# -- measuring ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Moment:
    """What all peers had done by then."""

    at_s: float
    syncs: int
    written: int | None  # bytes
    received: int  # transactions, of the slowest peer

    @classmethod
    async def now(cls, running: Cluster) -> _Moment:
        for peer in running.peers:
            peer.status = None
            running.tell(peer, {"do": "status"})
        await running.wait(
            lambda: all(peer.status is not None for peer in running.peers), PATIENCE_S, "answers are outstanding"
        )
        written = [_written(peer.process.pid) for peer in running.peers]
        return cls(
            at_s=time.monotonic(),
            syncs=sum((peer.status or {})["syncs"] for peer in running.peers),
            written=None if None in written else sum(filter(None, written)),
            received=min(peer.lines + peer.load_received for peer in running.peers),
        )


async def _round(arguments: argparse.Namespace, kind: str) -> Json:
    """One network with one durability, on an empty folder."""
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        command = [sys.executable, __file__, "worker", kind, folder]
        options = {"base_min_event_interval_us": Options().base_min_event_interval_us}
        network = {"name": "bench", "order": arguments.order}
        async with Cluster(
            arguments.peers, network=network, options=options, core=arguments.core, worker=command
        ) as running:
            await running.start(report_s=cluster.REPORT_S)
            measured = {name: await _measure(arguments, running, name) for name in LOOPS}
            await running.stop()
    return {"durability": kind, **measured}


async def _measure(arguments: argparse.Namespace, running: Cluster, name: str) -> Json:
    before = await _Moment.now(running)
    found = await LOOPS[name](running, arguments)
    after = await _Moment.now(running)
    if found["problems"]:
        raise ClusterFailed("; ".join(found["problems"]))
    seconds, count = after.at_s - before.at_s, after.received - before.received
    written = None if after.written is None or before.written is None else after.written - before.written
    return {
        "p50": found["latency_ms"]["submitter"]["p50"],
        "p99": found["latency_ms"]["submitter"]["p99"],
        "rate": found["transactions_per_second"],
        "cores": found["cpu_cores"],
        "syncs": (after.syncs - before.syncs) / seconds / arguments.peers,
        "written": None if written is None else written / arguments.peers / (count * arguments.bytes),
        "transactions": count,
    }


def _written(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/io").read_text(encoding="ascii")
    except OSError:
        return None
    return int(dict(line.split(": ") for line in text.splitlines())["write_bytes"])


# -- showing --------------------------------------------------------------------------------------------


def _setup(arguments: argparse.Namespace) -> list[str]:
    folder = str(arguments.folder or tempfile.gettempdir())
    return [
        *describe(),
        f"disk     {_file_system(folder)}; a sync of 4096 bytes takes {_sync_ms(arguments.folder):.2f} ms",
        f"{arguments.peers} peers, one process each, {arguments.core} core, {arguments.order} order, "
        f"{arguments.bytes} bytes per transaction",
        f"{arguments.rate:g} transactions/s, then {arguments.window:,} of each on their way; "
        f"medians of {arguments.rounds} rounds of {arguments.seconds:g} s",
    ]


def _file_system(folder: str) -> str:
    try:
        done = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True)
    except OSError:
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def _sync_ms(folder: Path | None, count: int = 50) -> float:
    """The median of what the disk alone takes."""
    times = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(count):
            begin = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            times.append(1000 * (time.perf_counter() - begin))
    return statistics.median(times)


def _show(kinds: list[str], results: list[Json]) -> None:
    rows = {
        kind: {
            (measure, name): _median([each[measure][name] for each in results if each["durability"] == kind])
            for measure, name in FIGURES
        }
        for kind in kinds
    }
    print(" " * NAME_WIDTH + "".join(f"{heading:>{_width(form)}}" for heading, form in FIGURES.values()))
    for kind, row in rows.items():
        print(kind.ljust(NAME_WIDTH) + "".join(_cell(row[key], form) for key, (_, form) in FIGURES.items()))
    first, *others = kinds
    for kind in others:
        ratios = {key: _ratio(rows[kind][key], rows[first][key]) for key in FIGURES}
        cells = "".join(_cell(ratios[key], f"{_width(form)}.2f") for key, (_, form) in FIGURES.items())
        print(f"{kind}:{first}".ljust(NAME_WIDTH) + cells)


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None


def _width(form: str) -> int:
    return int(form.partition(".")[0].rstrip(","))


def _cell(value: float | None, form: str) -> str:
    return f"{'':>{_width(form)}}" if value is None else f"{value:>{form}}"


# -- one peer -------------------------------------------------------------------------------------------


def _work(kind: str, folder: str, core: str, address: str) -> None:
    """A peer of `syncpoint.cli.cluster` that stores, and counts its commits."""
    counts: Counter[str] = Counter()
    plain = SqliteFile.commit

    def commit(file: SqliteFile, batch: Batch, sync: bool) -> None:
        plain(file, batch, sync)
        counts["syncs"] += sync

    SqliteFile.commit = commit
    if kind != NOTHING:
        worker.Context = functools.partial(Context, storage=folder, durability=kind)
    worker._Peer._status = lambda self: {"syncs": counts["syncs"]}
    worker.main(core, address)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        _work(*sys.argv[2:])
    else:
        main()
