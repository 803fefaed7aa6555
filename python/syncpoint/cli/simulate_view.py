"""What `syncpoint simulate` shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.columns import Columns
from rich.console import Console
from rich.table import Table

from ..testing.campaign import Campaign
from ..testing.simulation import Outcome

__all__ = ["failure_of", "laboratory_of", "outcome_of", "summary_of"]

QUANTILES = (0.5, 0.9, 0.99, 1.0)


def outcome_of(outcome: Outcome, cpu_s: float) -> None:
    """One scenario."""
    console = Console(soft_wrap=True)
    console.print(str(outcome.scenario), markup=False)
    console.print(
        f"{outcome.deliveries:,} deliveries, {outcome.ordered:,} events ordered, {outcome.virtual_ns / 1e9:.2f} s of "
        f"virtual time, {cpu_s:.2f} s of processor time"
    )
    console.print(f"digest {outcome.digest}")
    console.print("all promises held" if outcome.ok else f"VIOLATED {outcome.problem}", markup=False)


def summary_of(campaign: Campaign, took_s: float, lacking: Sequence[str], differ: Sequence[int] | None) -> None:
    """Many scenarios."""
    console = Console()
    settings = campaign.settings
    table = Table(title=f"{settings.profile}, core {settings.core}", show_header=False, box=None, title_justify="left")
    table.add_column(justify="left")
    table.add_column(justify="right")
    for name, value in (
        ("scenarios", f"{campaign.done:,}"),
        ("failures", f"{len(campaign.failures):,}"),
        ("deliveries", f"{campaign.deliveries:,}"),
        ("events ordered", f"{campaign.ordered:,}"),
        ("virtual time", f"{campaign.virtual_ns / 1e9:,.0f} s"),
        ("processor time", f"{campaign.cpu_s:,.0f} s"),
        ("deliveries per s of it", f"{campaign.deliveries / max(campaign.cpu_s, 1e-9):,.0f}"),
        ("elapsed", f"{took_s:,.0f} s"),
    ):
        table.add_row(name, value)
    console.print(table)
    console.print(Columns([_latencies(campaign), _counts(campaign)], padding=(1, 4)))
    console.print(f"digest {campaign.digest()}", soft_wrap=True)
    if differ is not None:
        text = f"DIFFERENT when run again: seeds {list(differ)}" if differ else "seeds that were run again: same bytes"
        console.print(text, soft_wrap=True)
    for line in lacking:
        console.print(f"NEVER TESTED {line}", soft_wrap=True)


def failure_of(outcome: Outcome, small: Outcome, path: Path) -> None:
    """A scenario that failed, and what is left of it when it is made small."""
    console = Console(soft_wrap=True)
    console.print(f"\nseed {outcome.scenario.seed}: {outcome.problem}", markup=False)
    console.print("the smallest scenario found that fails alike:", markup=False)
    console.print(str(small.scenario), markup=False)
    console.print(f"{small.problem}", markup=False)
    console.print(f"to run it again: syncpoint simulate --file {path}", markup=False)


def laboratory_of(profile: str, peers: Sequence[int], core: str, seed: int, plot: Path | None) -> None:
    """Latencies by n, rule, order and faults."""
    from ..testing.laboratory import run_laboratory

    rows = run_laboratory(profile, peers, core, seed)
    table = Table(title=f"from making an event to its delivery at every peer; {profile}, core {core}")
    for heading in ("n", "rule", "order", "faults", "mean", "p50", "p99", "mean, ms", "p50, ms", "p99, ms"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*row.cells())
    Console().print(table)
    if plot is not None:
        from ..testing.plot import plot as draw

        draw(rows, plot)


def _latencies(campaign: Campaign) -> Table:
    table = Table(title="from making an event to its delivery", box=None)
    for heading in ("", "ms", "message delays"):
        table.add_column(heading, justify="right")
    ms, delays = (
        (sorted(column) for column in zip(*campaign.latencies, strict=True)) if campaign.latencies else ([], [])
    )
    for quantile in QUANTILES if ms else ():
        at = min(len(ms) - 1, int(quantile * len(ms)))
        name = "longest" if quantile == 1.0 else f"p{quantile * 100:g}"
        table.add_row(name, f"{ms[at]:.1f}", f"{delays[at]:.1f}")
    return table


def _counts(campaign: Campaign) -> Table:
    table = Table(title="what happened", box=None, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, count in sorted(campaign.counts.items()):
        if name not in ("scenarios", "deliveries"):
            table.add_row(name, f"{count:,}")
    return table
