"""What `syncpoint check` found, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..keys import KeyPublic
from ..peers import Peer
from ..runtime.probe import Probe

__all__ = ["CLOCK_NOTE_NS", "Finding", "Known", "OtherPeer", "Verdict", "show"]

CLOCK_NOTE_NS = 100_000_000  # a clock that differs by more is worth a note; NTP keeps them within a few ms


class Verdict(StrEnum):
    """What a line of a table is worth."""

    OK = "ok"
    NOTE = "note"
    FAILED = "failed"


STYLES = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.FAILED: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing of our own that was looked at."""

    what: str
    verdict: Verdict
    words: str
    """What was seen, and what to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The members, and what makes a quorum of them."""

    peers: tuple[Peer, ...]
    """By their numbers: those that order, then observers."""

    n: int
    q: int

    def number_of(self, public: KeyPublic) -> int | None:
        """The number of the member with a key."""
        return next((number for number, peer in enumerate(self.peers) if peer.public == public), None)


@dataclass(frozen=True, slots=True)
class OtherPeer:
    """What came of asking one of the others."""

    number: int
    address: str
    probe: Probe
    verdict: Verdict
    words: str
    """What to do."""

    @classmethod
    def of(cls, number: int, address: str, probe: Probe) -> OtherPeer:
        """Judge an answer."""
        if probe.error is not None:
            return cls(number, address, probe, Verdict.FAILED, probe.error)
        if probe.refusal is not None:
            return cls(number, address, probe, Verdict.FAILED, f"{probe.refusal.name}: {probe.refusal.advice}")
        if abs(probe.clock_offset_ns) - probe.round_trip_ns // 2 > CLOCK_NOTE_NS:
            return cls(number, address, probe, Verdict.NOTE, "its clock and ours differ: let NTP set both")
        return cls(number, address, probe, Verdict.OK, "nothing to do")

    @property
    def is_reached(self) -> bool:
        """Whether it would take a link; then its time was told as well."""
        return self.probe.error is None and self.probe.refusal is None


def show(findings: Sequence[Finding], others: Sequence[OtherPeer], known: Known | None, number: int | None) -> None:
    """Print what was found: about ourselves, about the others, and what it comes to.

    `number` is ours among the known members, None without one.
    """
    console = Console()
    own = Table(title="this peer", title_justify="left")
    for name in ("what", "", "seen, and what to do"):
        own.add_column(name, overflow="fold")
    for finding in findings:
        own.add_row(finding.what, _word(finding.verdict), Text(finding.words))
    console.print(own)
    if others:
        console.print(_table_of(others))
    if known is not None and number is not None:
        # An observer is reached or not like any other, but counts in no quorum (Q4).
        reached = [other.number for other in others if other.is_reached]
        ordering = sum(each < known.n for each in [*reached, number])
        console.print(
            f"{len(reached)} of {len(others)} others would take a link. Within reach, with us: {ordering} of "
            f"{known.n} that order; a quorum is {known.q}.",
            soft_wrap=True,
        )


def _table_of(others: Sequence[OtherPeer]) -> Table:
    table = Table(title="the other peers", title_justify="left")
    table.add_column("peer", justify="right")
    table.add_column("address, as dialled", overflow="fold")
    table.add_column("")
    table.add_column("round trip", justify="right")
    table.add_column("its clock", justify="right")
    table.add_column("what to do", overflow="fold")
    for other in others:
        dialled = other.probe.address
        address = other.address if dialled in ("", other.address) else f"{other.address}\n{dialled}"
        trip = f"{other.probe.round_trip_ns / 1e6:.1f} ms" if other.probe.round_trip_ns else ""
        clock = f"{other.probe.clock_offset_ns / 1e6:+.1f} ms" if other.is_reached else ""
        table.add_row(str(other.number), Text(address), _word(other.verdict), trip, clock, Text(other.words))
    return table


def _word(verdict: Verdict) -> Text:
    return Text(verdict.value, STYLES[verdict])
