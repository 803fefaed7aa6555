"""What `syncpoint demo` shows while it runs: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import deque

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .cluster import WorkerPeer
from .demo_run import DemoRun
from .streams import agreed_length, latency

__all__ = ["View"]

ROUNDS_SHOWN = 48
RECENT = 200  # lines that a peer's latency is taken of
RATE_OVER_S = 2.0
STYLES = ("cyan", "magenta", "yellow", "green", "blue", "bright_red", "bright_cyan", "bright_magenta")


class View:
    """Draws a run; keeps only what it needs to tell the present speed."""

    def __init__(self, run: DemoRun) -> None:
        self._run = run
        self._past: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def line(self) -> str:
        """One line for a log."""
        run = self._run
        times = [time for peer in run.cluster.alive for time in _recent(run, peer)]
        recent = latency(times)
        total = str(len(run.settings.text))
        return (
            f"{run.elapsed_s:6.1f} s  round {_round(run):>5}  final everywhere {run.everywhere:>{len(total)}}/{total}"
            f"  {self._rate():5.0f}/s  p50 {recent.p50 if recent else 0.0:6.1f} ms  {run.state}"
            + ("" if run.sessions is None else f"  {run.sessions.line()}")
        )

    def picture(self) -> RenderableType:
        """The whole picture for a terminal."""
        gap = Text()
        sessions = [] if self._run.sessions is None else [gap, *self._run.sessions.picture()]
        return Group(
            self._heading(), self._progress(), gap, self._table(), gap, *self._rounds(), *sessions, gap, self._news()
        )

    def _heading(self) -> Text:
        settings = self._run.settings
        text = Text.assemble(("syncpoint", "bold"), f"  {settings.peers} peers, one process each: {settings.title}\n")
        text.append(f"{settings.rule} rule, {settings.order} order, {self._run.cluster.core.name} core", "dim")
        return text

    def _progress(self) -> Table:
        run = self._run
        grid = Table.grid(padding=(0, 1))
        grid.add_row(
            ProgressBar(total=len(run.settings.text), completed=run.everywhere, width=40),
            f"{run.everywhere}/{len(run.settings.text)} lines final everywhere",
            Text(f"{self._rate():.0f}/s  {run.elapsed_s:.1f} s", "dim"),
        )
        return grid

    def _table(self) -> Table:
        run = self._run
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("peer", "key", "round", "sent", "final", "order hash", "p50"):
            table.add_column(name, justify="left" if name in ("peer", "key", "order hash") else "right", no_wrap=True)
        table.add_column("state", no_wrap=True)
        for peer in run.cluster.peers:
            recent = latency(_recent(run, peer))
            last = peer.deliveries[-1] if peer.deliveries else None
            table.add_row(
                Text(str(peer.number), _style(peer.number)),
                peer.public[:8],
                str(peer.closed_round),
                str(peer.sent),
                str(peer.lines),
                Text(last.order_hash[:12], "dim" if peer.killed else "") if last else "",
                f"{recent.p50:.1f} ms" if recent and not peer.killed else "",
                Text("killed", "bold red") if peer.killed else Text(_state(run, peer), "green" if peer.linked else ""),
                style="dim" if peer.killed else "",
            )
        return table

    def _rounds(self) -> list[RenderableType]:
        """The newest rounds as one peer sees them: a mark per event."""
        run = self._run
        watcher = next(iter(run.cluster.alive), None)
        if watcher is None or not watcher.frontier:
            return [Text("no rounds yet", "dim")]
        final = set(watcher.final)
        first = max(1, watcher.top_round - ROUNDS_SHOWN + 1)
        lines: list[RenderableType] = []
        for peer in run.cluster.peers:
            text = Text()
            text.append(f"{peer.number:>4} ", _style(peer.number))
            for round in range(first, first + ROUNDS_SHOWN):
                if (round, peer.number) in final:
                    text.append("●", _style(peer.number))
                else:
                    text.append("○" if round <= watcher.frontier[peer.number] else "·", "dim")
            lines.append(text)
        legend = f"     rounds {first} to {watcher.top_round} at peer {watcher.number}:  ● final  ○ seen  · no event"
        return [*lines, Text(legend, "dim")]

    def _news(self) -> Text:
        """How far all agree, and the line that is final there."""
        run = self._run
        streams = [peer.deliveries for peer in run.cluster.alive]
        length = agreed_length(streams)
        text = Text(no_wrap=True, overflow="ellipsis")
        if length is None:
            return text.append("the peers' order hashes differ", "bold red")
        if length == 0:
            return text.append(run.state, "dim")
        newest = streams[0][length - 1]
        text.append("✓ ", "bold green")
        text.append(f"all agree up to event {newest.index}, order hash {newest.order_hash[:12]}; {run.state}\n")
        return text.append(f"  {newest.lines[-1] + 1:>5}  {_shown(run.settings.text[newest.lines[-1]])}", "italic dim")

    def _rate(self) -> float:
        """Lines per second over the last moments."""
        now = time.monotonic()
        self._past.append((now, self._run.everywhere))
        while len(self._past) > 2 and self._past[1][0] <= now - RATE_OVER_S:
            self._past.popleft()
        (then, before), (_, after) = self._past[0], self._past[-1]
        return (after - before) / (now - then) if now > then else 0.0


def _recent(run: DemoRun, peer: WorkerPeer) -> list[int]:
    """Times from sending, anywhere, to final at one peer, of the newest lines."""
    times: list[int] = []
    for each in reversed(peer.deliveries):
        times += [each.at_ns - run.cluster.sent[line][1] for line in each.lines if line in run.cluster.sent]
        if len(times) >= RECENT:
            break
    return times


def _shown(line: str) -> str:
    """A line of anybody's text, without what would steer the terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in line.strip())


def _state(run: DemoRun, peer: WorkerPeer) -> str:
    if peer.lines >= len(run.settings.text):
        return "has everything"
    others = len(run.cluster.alive) - 1
    return "running" if peer.linked >= others else f"{peer.linked} of {others} links"


def _round(run: DemoRun) -> int:
    return max((peer.closed_round for peer in run.cluster.alive), default=0)


def _style(peer: int) -> str:
    return STYLES[peer % len(STYLES)]
