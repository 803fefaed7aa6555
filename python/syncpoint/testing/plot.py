"""Latencies as a picture: finality by the number of peers, for each rule and order, with and without faults."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from .laboratory import OWN_PACE, SAME_GRAPH, SYNCPOINT, Row

__all__ = ["plot"]

SUFFIXES = (".png", ".svg")
MS = 1_000_000
WIDTH, HEIGHT = 10.0, 5.0  # inches, of one panel
GAP = 0.8  # of the room of one n, what its series fill
# Told apart by everybody, and on paper: Okabe and Ito's colours, and a shape for each order.
COLOURS = {"two_step": "#0072b2", "three_step": "#d55e00"}
SHAPES = {"fast": "o", "fair": "s"}
MODELS = {SAME_GRAPH: ("#777777", "^"), OWN_PACE: ("#777777", "v")}


def plot(rows: Sequence[Row], path: str | Path) -> None:
    """Draw rows of `run_laboratory` into a file, PNG or SVG by its suffix: a panel for each kind of network.

    A mark is a mean, the line above it ends at p99. ArgumentError without rows, for another suffix, or without
    matplotlib, which is in the extra `plots`.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ArgumentError(f"a plot in {path.name!r}: give a file that ends in {' or '.join(SUFFIXES)}")
    if not rows:
        raise ArgumentError("a plot of no rows: give at least one")
    try:
        matplotlib = importlib.import_module("matplotlib")
        figures = importlib.import_module("matplotlib.figure")
    except ModuleNotFoundError as error:
        raise ArgumentError(
            f"a plot needs matplotlib ({error}): pip install 'syncpoint[plots]', or leave the plot out"
        ) from error
    panels = list(dict.fromkeys(map(_panel_of, rows)))
    # The same rows make the same bytes: no date, and names that do not change.
    with matplotlib.rc_context({"svg.hashsalt": "syncpoint"}):
        figure = figures.Figure(figsize=(WIDTH, HEIGHT * len(panels)), layout="constrained")
        for axes, panel in zip(figure.subplots(len(panels), squeeze=False).flat, panels, strict=True):
            _draw(axes, panel, [row for row in rows if _panel_of(row) == panel])
        figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def _panel_of(row: Row) -> str:
    """The title of the panel that a row belongs to."""
    jitter = f"jitter {row.sigma:g}" if row.sigma else "the same delay for all"
    return f"{row.profile}, {jitter}, {'some peers dead' if row.dead else 'all peers alive'}"


def _draw(axes: Any, title: str, rows: Sequence[Row]) -> None:
    """One kind of network: the numbers of peers side by side, and for each its series."""
    sizes = sorted({row.n for row in rows})
    series = list(dict.fromkeys((row.protocol, row.rule, row.order) for row in rows))
    in_delays = all(row.latency.delta_ns for row in rows)
    for number, (protocol, rule, order) in enumerate(series):
        shown = [row for row in rows if (row.protocol, row.rule, row.order) == (protocol, rule, order)]
        places = [sizes.index(row.n) + GAP * ((number + 0.5) / len(series) - 0.5) for row in shown]
        units = [row.latency.delta_ns if in_delays and row.latency.delta_ns else MS for row in shown]
        means = [row.latency.mean_ns / unit for row, unit in zip(shown, units, strict=True)]
        above = [
            max(0.0, row.latency.p99_ns / unit - mean) for row, unit, mean in zip(shown, units, means, strict=True)
        ]
        ours = protocol == SYNCPOINT
        colour, shape = (COLOURS.get(rule, "black"), SHAPES.get(order, "d")) if ours else MODELS[protocol]
        axes.errorbar(
            places, means, yerr=([0.0] * len(above), above), fmt=shape, color=colour, capsize=3,
            label=f"{rule}, {order}" if ours else f"model: {protocol}",
        )  # fmt: skip
        for place, mean in zip(places, means, strict=True):
            text = f"{mean:.2f}" if in_delays else f"{mean:.0f}"
            axes.annotate(text, (place, mean), (0, -5), textcoords="offset points", ha="center", va="top", fontsize=8)
    dead = {row.n: f", {row.dead} dead" if row.dead else "" for row in rows}
    axes.set_title(title)
    axes.set_xticks(range(len(sizes)), [f"{n}{dead[n]}" for n in sizes])
    axes.set_xlim(-0.5, len(sizes) - 0.5)
    axes.set_xlabel("peers")
    axes.set_ylabel("creation to final everywhere, " + ("message delays" if in_delays else "ms"))
    axes.set_ylim(0, 1.1 * axes.dataLim.y1)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))
