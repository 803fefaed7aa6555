"""`syncpoint demo`: peers on this machine agree on the order of the lines of a text, and show it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from ..backend import CORES
from ..core.config import Network
from ..errors import ArgumentError
from .choices import Order, Rule
from .cluster import Cluster, ClusterFailed, ClusterStalled
from .demo_result import result_of, summary_of
from .demo_run import DemoRun, Settings
from .demo_view import View
from .guard import FAILED, STALLED, note, plain_errors

__all__ = ["demo"]

MAX_DEMO_PEERS = 16
FEWEST_TO_KILL = 4
TYPICAL_S = 7.0  # how long a run lasts at the default rate
LOWEST_RATE, HIGHEST_RATE = 50.0, 1000.0  # of the default rate
NUMBER_BYTES = 24  # of a transaction, for the line's number
PICTURE_S, LINE_S = 0.1, 0.5  # between two pictures, two lines
OWN_TEXT, OWN_TITLE = "alice.txt", "Alice's Adventures in Wonderland, Lewis Carroll, 1865"


def demo(
    peers: Annotated[int, typer.Option("--peers", help=f"How many peers, 1 to {MAX_DEMO_PEERS}.")] = 4,
    kill: Annotated[bool, typer.Option("--kill", help="Kill a random peer in the middle (SIGKILL).")] = False,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Which peer is killed, and when; default: at random.")
    ] = None,
    sync_points: Annotated[
        bool, typer.Option("--sync-points", help="Have the peers begin a new session every second, in turn.")
    ] = False,
    source: Annotated[
        str | None, typer.Option("--input", metavar="FILE", help="The text, - for standard input; default: Alice.")
    ] = None,
    order: Annotated[Order, typer.Option("--order", help="The delivery order.")] = Order.FAIR,
    rule: Annotated[Rule, typer.Option("--rule", help="The decision rule.")] = Rule.TWO_STEP,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", help="Lines per second of all peers, 0 for as fast as possible; default: some 7 s in total."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object with all results, nothing else.")
    ] = False,
    patience: Annotated[
        float,
        typer.Option("--patience", metavar="SECONDS", help="It is a stall when nothing is delivered for so long."),
    ] = 30.0,
    core: Annotated[str, typer.Option("--core", help=f"The core that runs: {', '.join(CORES)}.")] = "auto",
) -> None:
    """Start peers on this machine, one process each, and watch them agree on one order of the lines of a text.

    Each line is a transaction, sent by one of the peers. In the end all peers must have received the same
    stream, with no line lost or doubled. Exit code 0 if so, 1 if not, 3 if nothing moved any more.
    """
    with plain_errors():
        if not 1 <= peers <= MAX_DEMO_PEERS:
            raise ArgumentError(f"--peers is {peers}: give 1 to {MAX_DEMO_PEERS}")
        if kill and peers < FEWEST_TO_KILL:
            raise ArgumentError(
                f"--kill with --peers {peers}: {peers} peers tolerate no fault, so the others could not go on; "
                f"it takes {FEWEST_TO_KILL} or more to lose one"
            )
        if rate is not None and not 0 <= rate < float("inf"):
            raise ArgumentError(f"--rate is {rate}: give lines per second, 0 for as fast as possible")
        if not 0 < patience < float("inf"):
            raise ArgumentError(f"--patience is {patience}: give seconds, more than 0")
        text, title = _read(source)
        settings = Settings(
            text=text,
            title=title,
            peers=peers,
            rule=rule.value,
            order=order.value,
            rate=min(HIGHEST_RATE, max(LOWEST_RATE, len(text) / TYPICAL_S)) if rate is None else rate,
            kill=kill,
            seed=random.SystemRandom().getrandbits(32) if seed is None else seed,
            patience_s=patience,
            core=core,
            sync_points=sync_points,
        )
        with _terminable():
            code = asyncio.run(_demo(settings, as_json))
    raise typer.Exit(code)


async def _demo(settings: Settings, as_json: bool) -> int:
    """Run, show, and say how it went; the exit code."""
    code, problem = 0, None
    diagnosis: dict[int, dict[str, Any]] = {}
    network = {"name": "demo", "rule": settings.rule, "order": settings.order}
    async with Cluster(settings.peers, network=network, options={}, core=settings.core) as cluster:
        run = DemoRun(settings, cluster)
        try:
            async with _shown(run, as_json):
                await run.play()
        except ClusterFailed as error:
            code, problem = FAILED, str(error)
        except ClusterStalled as error:
            code, problem, diagnosis = STALLED, f"stalled: {error}", error.diagnosis
        result = result_of(run, problem)
    if not result["ok"]:
        code = code or FAILED
        for each in result["problems"]:
            note(each)
        for number, said in diagnosis.items():
            note(f"peer {number} says: {json.dumps(said)}")
    if as_json:
        typer.echo(json.dumps({**result, "diagnosis": diagnosis} if diagnosis else result))
    else:
        for line in summary_of(result):
            typer.echo(line)
        typer.echo(_verdict(run, result))
    return code


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the block in the same orderly way as Ctrl-C, which a shell's background job ignores else."""
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    terminate = signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, terminate)


def _verdict(run: DemoRun, result: dict[str, Any]) -> str:
    if not result["ok"]:
        return f"FAILED: {result['problems'][0]}"
    survivors = len(run.cluster.alive)
    who = "The peer has" if survivors == 1 else f"All {survivors} {'surviving ' if run.dead else ''}peers have"
    same = f"{who} the same stream: no line lost, none doubled."
    points = result["sync_points"]
    return same if points is None else f"{same} {points['alike']} sync points, each at the same index everywhere."


@contextlib.asynccontextmanager
async def _shown(run: DemoRun, as_json: bool) -> AsyncIterator[None]:
    """Show the run while the block lasts."""
    if as_json:
        yield
        return
    view = View(run)
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        task = asyncio.create_task(_print_lines(run, view))
        try:
            yield
        finally:
            await _end(task)
            typer.echo(view.line())
        return
    with Live(view.picture(), console=Console(), auto_refresh=False, transient=False) as live:
        task = asyncio.create_task(_draw(view, live))
        try:
            yield
        finally:
            await _end(task)
            live.update(view.picture(), refresh=True)


async def _print_lines(run: DemoRun, view: View) -> None:
    while True:
        if run.begin_ns:
            typer.echo(view.line())
        await asyncio.sleep(LINE_S)


async def _draw(view: View, live: Live) -> None:
    while True:
        live.update(view.picture(), refresh=True)
        await asyncio.sleep(PICTURE_S)


async def _end(task: asyncio.Task[None]) -> None:
    """Stop showing; a failure to show (a closed pipe) comes out here."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _read(source: str | None) -> tuple[list[str], str]:
    """The lines of the text, and what to call it."""
    if source is None:
        data, title = importlib.resources.files(__package__).joinpath(OWN_TEXT).read_bytes(), OWN_TITLE
    elif source == "-":
        if sys.stdin is None:
            raise ArgumentError("--input -: there is no standard input: give a file")
        data, title = sys.stdin.buffer.read(), "standard input"
    else:
        data, title = Path(source).read_bytes(), source
    # Not all that looks like text is UTF-8; surrogates carry the other bytes through unharmed.
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise ArgumentError(f"{title} holds no line: give a text of at least one")
    limit = Network().max_transaction_bytes - NUMBER_BYTES
    for number, line in enumerate(lines, start=1):
        if len(line.encode("utf-8", "surrogateescape")) > limit:
            raise ArgumentError(f"{title}, line {number} has more than {limit} bytes, the most that one can have")
    return lines, title
