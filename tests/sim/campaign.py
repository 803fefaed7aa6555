"""The campaigns: what the gate runs, and what is run by hand and written into docs/ledger.md.

    python -m tests.sim.campaign gate
    python -m tests.sim.campaign chaos --seeds 0:100000

Every promise of every scenario must hold, each kind of fault must have occurred, and one seed in a hundred must do the
same in a fresh process with another hash seed. The last line counts.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from syncpoint.backend import core_info
from syncpoint.cli.simulate_view import summary_of
from syncpoint.testing.campaign import Campaign, Settings, missing, repeat
from syncpoint.testing.liars import ONLY_BY_NAME
from syncpoint.testing.shrink import shrink
from syncpoint.testing.simulation import simulate

ROOT = Path(__file__).parents[2]


class Part(NamedTuple):
    """Seeds of one kind."""

    settings: Settings
    seeds: int


def parts(core: str) -> dict[str, tuple[Part, ...]]:
    """All campaigns by name, with the number of seeds that each part has by default."""

    def settings(
        profile: str, size: float, core: str = core, peers: int | None = None, kinds: tuple[str, ...] = ()
    ) -> Settings:
        return Settings(profile=profile, core=core, size=size, peers=peers, kinds=kinds)

    gate = (
        Part(settings("chaos", 0.3), 1_250),
        Part(settings("crowd", 1.5), 216),
        Part(settings("twins", 0.3), 200),
        Part(settings("wan", 0.3), 100),
        Part(settings("lan", 0.3), 100),
        Part(settings("beyond", 0.3), 100),
        Part(settings("rejoin", 0.3), 150),
        Part(settings("sync", 0.15), 120),
        Part(settings("epochs", 0.15), 60),
        Part(settings("chaos", 0.3, "mixed"), 60),
        Part(settings("chaos", 0.3, kinds=tuple(ONLY_BY_NAME)), 40),
    )
    plain = tuple(
        Part(settings(profile, 0.2), 30) for profile in ("chaos", "twins", "wan", "lan", "beyond", "sync", "epochs")
    )
    return {
        "gate": gate,
        "plain": plain,  # without a native core
        "chaos": (Part(settings("chaos", 0.05, peers=4), 90_000), Part(settings("chaos", 0.1), 10_000)),
        "kills": (Part(settings("kills", 0.3, peers=4), 1_000),),
        "epochs": (
            Part(settings("epochs", 0.05), 180_000),
            Part(settings("epochs", 0.15), 19_000),
            Part(settings("epochs", 0.3, "mixed"), 1_000),
        ),
        "sync": (Part(settings("sync", 0.1), 19_000), Part(settings("sync", 0.3, "mixed"), 1_000)),
        "rejoin": (Part(settings("rejoin", 0.05), 95_000), Part(settings("rejoin", 0.3, "mixed"), 5_000)),
        "twins": (Part(settings("twins", 0.05, peers=4), 95_000), Part(settings("twins", 0.05, peers=7), 5_000)),
    }


GATE_SCENARIOS, GATE_DELIVERIES = 2_000, 10_000_000


def main() -> int:
    """Run one campaign, tell of it, and say how many scenarios passed and failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", choices=parts("native"))
    parser.add_argument("--seeds", metavar="A:B", help="instead of the first ones")
    parser.add_argument("--part", type=int, help="one of the parts only, from 0")
    parser.add_argument("--processes", type=int)
    arguments = parser.parse_args()
    core = core_info().name
    name = "plain" if arguments.name == "gate" and core != "native" else arguments.name
    chosen = parts(core)[name] if arguments.part is None else (parts(core)[name][arguments.part],)
    done = [_run(part, arguments.seeds, arguments.processes) for part in chosen]
    scenarios, deliveries = sum(each.done for each in done), sum(each.deliveries for each in done)
    faults = sum(len(each.failures) for each in done)
    print(f"{name}: {scenarios:,} scenarios, {deliveries:,} deliveries, {sum(each.cpu_s for each in done):,.0f} s")
    problems = [line for each in done for line in missing(each)]
    problems += [f"seed {seed} differs when run again" for each in done for seed in repeat(each)]
    if name == "gate" and (scenarios < GATE_SCENARIOS or deliveries < GATE_DELIVERIES):
        problems.append(f"too little: {GATE_SCENARIOS:,} scenarios and {GATE_DELIVERIES:,} deliveries are the least")
    for problem in problems:
        print(f"PROBLEM {problem}")
    if name not in ("gate", "plain"):
        for each in done:
            print(_row(each, len(problems)))
    print(f"{scenarios - faults} passed, {faults + len(problems)} failed")
    return 1 if faults or problems else 0


def _run(part: Part, seeds: str | None, processes: int | None) -> Campaign:
    campaign, begin = Campaign(part.settings), time.monotonic()
    first, last = map(int, seeds.split(":")) if seeds else (0, part.seeds)
    for outcome in campaign.run(range(first, last), processes=processes):
        if not outcome.ok:
            what = str(outcome.problem).partition(" at ")[0]
            small = shrink(outcome.scenario, lambda one, what=what: str(simulate(one).problem).startswith(what), 60)
            print(f"FAILED {part.settings.profile} {outcome.scenario.seed}: {outcome.problem}\n{small.to_json()}")
        if campaign.done % 5_000 == 0:
            print(f"{campaign.done:,} scenarios, {campaign.deliveries:,} deliveries", flush=True)
    summary_of(campaign, time.monotonic() - begin, missing(campaign), None)
    Console().print()
    return campaign


def _row(campaign: Campaign, problems: int) -> str:
    """A line of the ledger."""
    settings, counts = campaign.settings, campaign.counts
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    told = ", ".join(f"{counts[name]:,} {name}" for name in (
        "forks seen", "commits fast", "commits certified", "commits indirect", "skips indirect", "restarts",
        "transactions resubmitted", "pruned while catching up",
    ))  # fmt: skip
    return (
        f"| {time.strftime('%Y-%m-%d')} | {settings.profile}, size {settings.size:g}, n = {settings.peers or 'drawn'}, "
        f"{settings.core} | {commit} "
        f"| {min(campaign.digests)}:{max(campaign.digests) + 1} | {campaign.done:,} | {campaign.deliveries:,} "
        f"| {campaign.cpu_s:,.0f} s | {len(campaign.failures)} + {problems} | {told} |"
    )


if __name__ == "__main__":
    sys.exit(main())
