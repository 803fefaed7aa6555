"""The outcome of `syncpoint demo`, for people and for programs."""

from __future__ import annotations

import dataclasses
import platform
from typing import Any

from .demo_run import DemoRun
from .points import find_point_faults
from .streams import Latency, find_faults, latencies, latency

__all__ = ["result_of", "summary_of"]

Json = dict[str, Any]


def result_of(run: DemoRun, problem: str | None = None) -> Json:
    """Everything about a run as one JSON object; `problem` is what broke it off, if anything did."""
    settings, cluster = run.settings, run.cluster
    streams = {peer.number: peer.deliveries for peer in cluster.peers}
    # A run that was broken off has lost lines of course; that is no news, contradictions would be.
    faults = find_faults(settings.text, streams, run.dead if problem is None else streams)
    points, point_faults = _sync_points(run, problem)
    faults += point_faults
    own, everywhere = latencies(cluster.sent, streams, run.dead)
    seconds = run.elapsed_s
    return {
        "ok": not faults and problem is None,
        "problems": ([] if problem is None else [problem]) + faults,
        "peers": settings.peers,
        "rule": settings.rule,
        "order": settings.order,
        "core": dataclasses.asdict(cluster.core),
        "python": platform.python_version(),
        "text": settings.title,
        "lines": len(settings.text),
        "rate": settings.rate,
        "seconds": round(seconds, 3),
        "transactions_per_second": round(run.everywhere / seconds, 1) if seconds else 0.0,
        "latency_ms": {"submitter": _as_json(latency(own)), "everywhere": _as_json(latency(everywhere))},
        "kill": None if run.kill is None else {**dataclasses.asdict(run.kill), "seed": settings.seed},
        "sync_points": points,
        "results": [
            {
                "peer": peer.number,
                "public": peer.public,
                "survived": not peer.killed,
                "transactions": peer.lines,
                "index": peer.deliveries[-1].index if peer.deliveries else None,
                "order_hash": peer.deliveries[-1].order_hash if peer.deliveries else None,
                "rounds": peer.closed_round,
                "cpu_s": round(peer.cpu_ns / 1e9, 3),
            }
            for peer in cluster.peers
        ],
    }


def summary_of(result: Json) -> list[str]:
    """The outcome in lines for people."""
    width = len(str(result["lines"]))
    lines = []
    for each in result["results"]:
        end = "" if each["survived"] else "  killed"
        if each["index"] is None:
            lines.append(f"peer {each['peer']:<2}  nothing received{end}")
            continue
        lines.append(
            f"peer {each['peer']:<2}  {each['transactions']:>{width}} transactions, order hash {each['order_hash']} "
            f"after event {each['index']}{end}"
        )
    if (kill := result["kill"]) is not None and kill["at_s"] is not None:
        lines.append(
            f"killed:          peer {kill['peer']} at {kill['at_s']:.2f} s, when {kill['at_lines']} lines were final "
            f"everywhere; {kill['taken_over'] or 0} of its lines taken over; again with --seed {kill['seed']}"
        )
    if (points := result["sync_points"]) is not None:
        newest = points["last"]
        where = "" if newest is None else f", the last at index {newest['index']}, order hash {newest['order_hash']}"
        lines.append(
            f"sync points:     {points['alike']} at the same index with the same order hash on all peers{where}"
        )
        lines += [f"not adopted:     {each}" for each in points["not_adopted"]]
    for name, where in (("submitter", "at the submitter:"), ("everywhere", "at all peers:    ")):
        times = result["latency_ms"][name]
        if times is not None:
            lines.append(
                f"submit to final, {where}  p50 {times['p50']:.1f} ms   p95 {times['p95']:.1f} ms   "
                f"p99 {times['p99']:.1f} ms"
            )
    core = result["core"]
    lines.append(
        f"{result['lines']} lines in {result['seconds']:.2f} s, "
        f"{result['transactions_per_second']:.0f} transactions/s; {core['name']} core ({core['reason']}), "
        f"BLAKE3 of {core['hash']}, Python {result['python']}"
    )
    return lines


def _sync_points(run: DemoRun, problem: str | None) -> tuple[Json | None, list[str]]:
    """What came of the proposals, and what is wrong with it; None where none were to be made."""
    sessions, peers = run.sessions, run.cluster.peers
    if sessions is None:
        return None, []
    faults, alike = find_point_faults({each.number: each.points for each in peers}, sessions.last, run.dead)
    alive = run.cluster.alive
    newest = alive[0].points[alike - 1] if alive and alike else None
    said: Json = {
        "proposed": sessions.proposed,
        "alike": alike,
        "last": None if newest is None else dataclasses.asdict(newest),
        "not_adopted": [reason for each in peers for reason in each.outcomes],
    }
    # A run that was broken off has no last one of course; a difference is news all the same.
    return said, [each for each in faults if problem is None or "differ" in each]


def _as_json(times: Latency | None) -> Json | None:
    return None if times is None else dataclasses.asdict(times)
