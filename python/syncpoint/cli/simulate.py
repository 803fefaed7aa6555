"""`syncpoint simulate`: whole networks on virtual time, with faults and liars, and every promise checked."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from ..backend import core_info
from ..errors import ArgumentError
from ..testing.campaign import Campaign, Settings, missing, repeat
from ..testing.draw import PROFILES
from ..testing.scenario import Scenario
from ..testing.shrink import shrink
from ..testing.simulation import Outcome, simulate
from .guard import FAILED, note, one_line, plain_errors
from .simulate_view import failure_of, laboratory_of, outcome_of, summary_of

__all__ = ["simulate_command"]

CORES = ("auto", "native", "python", "mixed")
LABORATORY = "lockstep"
DEFAULT_SEEDS = 100
SHOWN = 3  # failures that are shrunk and shown; the rest is counted


def simulate_command(
    profile: Annotated[
        str, typer.Option("--profile", help=f"What is drawn: {', '.join(PROFILES)}; or {LABORATORY}: latencies only.")
    ] = "chaos",
    seed: Annotated[int | None, typer.Option("--seed", help="Run the scenario of one seed, and tell of it.")] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", metavar="A:B", help="Run those of A to B - 1.")] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", help="Run seeds, from A on, for so long.")] = None,
    peers: Annotated[int | None, typer.Option("--peers", help="How many peers; default: drawn.")] = None,
    faults: Annotated[
        list[str] | None, typer.Option("--faults", help="Only these faults and liars; can be given several times.")
    ] = None,
    core: Annotated[str, typer.Option("--core", help=f"The core that runs: {', '.join(CORES)}.")] = "auto",
    size: Annotated[float, typer.Option("--size", help="How long scenarios are, 1 is usual.")] = 1.0,
    file: Annotated[Path | None, typer.Option("--file", help="Run the scenario in this file again.")] = None,
    save: Annotated[Path, typer.Option("--save", metavar="FOLDER", help="Where scenarios that fail are kept.")] = Path(
        "."
    ),
    processes: Annotated[int | None, typer.Option("--processes", help="At once; default: one per processor.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Run one seed in a hundred a second time, in a fresh process.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Latencies by n, rule and order, as PNG or SVG.")
    ] = None,
) -> None:
    """Run networks on virtual time, break what can break, and check that every promise holds.

    Every scenario follows from its seed. One that fails is made as small as it gets, and stored in a file that
    `--file` runs again. Exit code 0 if all promises held, 1 if not.
    """
    with plain_errors():
        if core not in CORES:
            raise ArgumentError(f"--core is {core!r}: give one of {', '.join(CORES)}")
        if processes is not None and processes < 1:
            raise ArgumentError(f"--processes is {processes}: give 1 or more, or leave it out")
        if minutes is not None and not 0 < minutes < float("inf"):
            raise ArgumentError(f"--minutes is {minutes:g}: give more than 0")
        if core != "mixed":
            core = core_info(core).name
        if profile == LABORATORY or (plot is not None and profile == "wan"):
            laboratory_of(profile, (4, 10) if peers is None else (peers,), core, seed or 0, plot)
            raise typer.Exit
        if plot is not None:
            raise ArgumentError(f"--plot: latencies are drawn for --profile {LABORATORY} and wan")
        if file is not None:
            code = _one(Scenario.from_json(file.read_text(encoding="utf-8")), save)
        else:
            settings = Settings(profile=profile, peers=peers, core=core, kinds=tuple(faults or ()), size=size)
            settings.check()
            if seed is not None:
                code = _one(settings.scenario(seed), save)
            else:
                code = _many(settings, _seeds(seeds, minutes), minutes, processes, again, save)
    raise typer.Exit(code)


def _seeds(text: str | None, minutes: float | None) -> Iterable[int]:
    if text is None:
        return itertools.count() if minutes is not None else range(DEFAULT_SEEDS)
    first, colon, last = text.partition(":")
    try:
        begin, end = int(first or "0"), int(last) if last else None
    except ValueError:
        begin, end, colon = 0, 0, ""
    if not colon or (end is None and minutes is None) or (end is not None and end <= begin):
        raise ArgumentError(f"--seeds is {text!r}: give A:B with A below B (or A: with --minutes), for instance 0:1000")
    return itertools.count(begin) if end is None else range(begin, end)


def _one(scenario: Scenario, save: Path) -> int:
    """One scenario, told in full."""
    begin = time.process_time()
    outcome = simulate(scenario)
    outcome_of(outcome, time.process_time() - begin)
    if outcome.ok:
        return 0
    _tell(outcome, save)
    return FAILED


def _many(
    settings: Settings, seeds: Iterable[int], minutes: float | None, processes: int | None, again: bool, save: Path
) -> int:
    """Many scenarios, summed up."""
    campaign = Campaign(settings)
    begin = time.monotonic()
    until = None if minutes is None else begin + 60 * minutes
    columns = (TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("starting")
        for _ in campaign.run(seeds, processes=processes, until=until):
            progress.update(
                task,
                description=f"{campaign.done:,} scenarios, {campaign.deliveries:,} deliveries, "
                f"{len(campaign.failures)} failures",
            )
    lacking = missing(campaign)
    differ = repeat(campaign) if again and campaign.done else None
    summary_of(campaign, time.monotonic() - begin, lacking, differ)
    campaign.failures.sort(key=lambda outcome: outcome.scenario.seed)
    for outcome in campaign.failures[:SHOWN]:
        _tell(outcome, save)
    return FAILED if campaign.failures or lacking or differ else 0


def _tell(outcome: Outcome, save: Path) -> None:
    """Make a failure small, keep it, and say how to run it again."""
    what = _checker(outcome)
    note(f"seed {outcome.scenario.seed} failed; looking for a smaller scenario that fails alike")
    small = shrink(outcome.scenario, lambda candidate: _checker(simulate(candidate)) == what)
    path = save / f"failure-{outcome.scenario.seed}.json"
    try:
        save.mkdir(parents=True, exist_ok=True)
        path.write_text(small.to_json() + "\n", encoding="utf-8")
    except OSError as error:  # what was found must not be lost with it
        note(f"{one_line(error)}: keep this as {path.name}, or give another folder with --save")
        typer.echo(small.to_json())
    failure_of(outcome, simulate(small), path)


def _checker(outcome: Outcome) -> str | None:
    """What was violated, without when, by whom and how: that differs from run to run."""
    return None if outcome.problem is None else outcome.problem.partition(" at ")[0]
