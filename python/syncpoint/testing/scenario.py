"""One simulation as data: a network, its faults, its liars and its load; drawn from a seed, stored in a file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.config import ORDERS, RULES
from ..errors import ArgumentError
from ..runtime.tip import DURABILITIES
from .changes import ChangeSpec, change_from
from .cluster import CORES
from .delays import Delays
from .faults import FAULTS, Fault, fault_from
from .liars import LIARS, LiarSpec, liar_from

__all__ = ["Agenda", "Load", "Scenario"]

VERSION = 1  # of the data; a scenario of another version is refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the applications send: at random times from the beginning of the run to its end, from random peers."""

    transactions: int = 60
    bytes: int = 32
    """Of each transaction, its number included."""
    awaited: float = 0.5
    """Share that is sent by `submit` and waits for its receipt."""
    burst: int = 1
    """Transactions sent at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agenda:
    """What the applications propose, at random times, and how the others vote on it."""

    proposals: int = 0
    burst: int = 1
    """Proposals at once, each by another peer."""
    refused: float = 0.0
    """Share that all others refuse."""
    open: float = 0.0
    """Share on which each decides for itself: approves, refuses, votes late, or never."""
    hasty: float = 0.0
    """Share with a deadline so near that it may be missed."""
    ends: bool = False
    """Whether somebody proposes the end of the session when most of the run is over."""


UNEVEN = Delays()
USUAL = Load()
NOTHING = Agenda()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """All that a run depends on; equal scenarios do the same to the last bit."""

    seed: int = 0
    """Where all that is random within the run comes from."""
    peers: int = 4
    core: str = "auto"
    rule: str = "two_step"
    order: str = "fair"
    f: int | None = None
    gc_depth: int = 200
    retain_events: int = 40_000
    pool_bytes: int = 4 * 1024 * 1024
    min_interval_us: int = 1_000
    heartbeat_us: int = 500_000
    delays: Delays = UNEVEN
    sync_ns: int = 0
    durability: str = "full"
    retain_rounds: int | None = None
    """What stores keep, as in `Context`."""
    unread: int | None = None
    """Messages that an engine delivers unread before it stands still; None is the limit of production."""
    signatures: str = "simulated"
    duration_ns: int = 1_000_000_000
    """How long the load and the faults last; after that everything must come to an end."""
    patience_ns: int = 60_000_000_000
    """How long that may take."""
    load: Load = USUAL
    agenda: Agenda = NOTHING
    epoch_ms: int = 0
    """As in `Network`."""
    faults: tuple[Fault, ...] = ()
    liars: tuple[LiarSpec, ...] = ()
    changes: tuple[ChangeSpec, ...] = ()
    """Of members, keys and settings."""
    newcomers: int = 0
    """Peers that may join; their numbers are `peers` and above."""
    stumbles: float = 0.0
    """Share of the times that a peer enters an epoch at which it dies, and starts again with what was synced."""

    @property
    def tolerated(self) -> int:
        """How many liars the network is made for."""
        return (self.peers - 1) // 3 if self.f is None else self.f

    @property
    def liar_creators(self) -> frozenset[int]:
        """Who lies."""
        return frozenset(liar.creator for liar in self.liars)

    @property
    def forgetful(self) -> frozenset[int]:
        """Who starts again without knowing all that it signed."""
        return frozenset(peer for fault in self.faults for peer in fault.forgets(self.durability))

    @property
    def unsure(self) -> frozenset[int]:
        """Of these, who know it each time: they ask the others, and never sign twice (R2)."""
        unaware = (fault.forgets(self.durability) for fault in self.faults if not fault.is_noticed)
        return self.forgetful.difference(*unaware)

    @property
    def is_beyond(self) -> bool:
        """Whether more peers lie, or may sign again, than the network is made for."""
        return len(self.liar_creators | (self.forgetful - self.unsure)) > self.tolerated

    def to_data(self) -> dict[str, Any]:
        """As plain values; what has its default is left out."""
        data: dict[str, Any] = {"version": VERSION}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value == field.default:
                continue
            if field.name in ("delays", "load", "agenda"):
                plain = type(value)()
                value = {
                    each.name: getattr(value, each.name)
                    for each in dataclasses.fields(value)
                    if getattr(value, each.name) != getattr(plain, each.name)
                }
            elif field.name in ("faults", "liars", "changes"):
                value = [each.to_data() for each in value]
            data[field.name] = value
        return data

    def to_json(self) -> str:
        """As text, for a file."""
        return json.dumps(self.to_data(), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Scenario:
        """What `to_json` wrote; ArgumentError for what it could not have written."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ArgumentError(f"a scenario must be JSON: {error}") from error
        if not isinstance(data, dict):
            raise ArgumentError(f"a scenario must be an object, not {type(data).__name__}")
        return cls.from_data(data)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Scenario:
        """What `to_data` gave; ArgumentError for what it could not have given."""
        try:
            scenario = cls._from_data(dict(data))
            scenario.check()
        except (AttributeError, TypeError) as error:  # a text where a number belongs, and the like
            raise ArgumentError(f"a scenario with a field of the wrong type: {error}") from error
        return scenario

    @classmethod
    def _from_data(cls, fields: dict[str, Any]) -> Scenario:
        version = fields.pop("version", None)
        if version != VERSION:
            raise ArgumentError(f"a scenario of version {version!r}: this is version {VERSION}")
        if "delays" in fields:
            delays = dict(fields["delays"])
            if "matrix" in delays:
                delays["matrix"] = tuple(map(tuple, delays["matrix"]))
            fields["delays"] = _made(Delays, delays)
        if "load" in fields:
            fields["load"] = _made(Load, fields["load"])
        if "agenda" in fields:
            fields["agenda"] = _made(Agenda, fields["agenda"])
        fields["faults"] = tuple(map(fault_from, fields.get("faults", ())))
        fields["liars"] = tuple(map(liar_from, fields.get("liars", ())))
        fields["changes"] = tuple(map(change_from, fields.get("changes", ())))
        scenario: Scenario = _made(cls, fields)
        return scenario

    def check(self) -> None:
        """Raise ArgumentError for a scenario that cannot be run."""
        if not 1 <= self.peers <= 128:
            raise ArgumentError(f"a scenario with {self.peers} peers: give 1 to 128")
        if self.rule not in RULES or self.order not in ORDERS:
            raise ArgumentError(f"a scenario with rule {self.rule!r} and order {self.order!r}: not known")
        if self.core != "auto" and self.core not in CORES:
            raise ArgumentError(f"a scenario with core {self.core!r}: give one of auto, {', '.join(CORES)}")
        if self.duration_ns < 1 or (self.unread is not None and self.unread < 1):
            raise ArgumentError(
                f"a scenario with duration_ns {self.duration_ns} and unread {self.unread}: give 1 or more"
            )
        if self.durability not in DURABILITIES or (self.retain_rounds or 0) < 0:
            raise ArgumentError(
                f"a scenario with durability {self.durability!r} and retain_rounds {self.retain_rounds}: give one of "
                f"{', '.join(DURABILITIES)}, and 0 or more, or None"
            )
        creators = sorted(self.liar_creators)
        if len(creators) < len(self.liars) or any(not 0 <= creator < self.peers for creator in creators):
            raise ArgumentError(
                f"a scenario with liars {creators} of {self.peers} peers: each once, below {self.peers}"
            )
        for fault in self.faults:
            fault.check(self.peers + self.newcomers)
        if self.newcomers < 0 or (self.changes and (self.agenda != NOTHING or self.forgetful)):
            raise ArgumentError("a scenario with changes of its members has no agenda, and loses no store")
        for change in self.changes:
            change.check(self.peers + self.newcomers)

    def __str__(self) -> str:
        """What it is, in a few lines."""
        lines = [
            f"{self.peers} peers, {self.rule}/{self.order}, core {self.core}, seed {self.seed}, "
            f"{self.duration_ns / 1e9:.2f} s, {self.load.transactions} transactions, {self.agenda.proposals} proposals"
        ]
        lines += [f"  liar {liar.creator}: {liar.kind} (strength {liar.strength:g})" for liar in self.liars]
        for fault in sorted(self.faults, key=lambda fault: fault.at_ns):
            end = "" if fault.until_ns is None else f" to {fault.until_ns / 1e6:.1f}"
            what = {key: value for key, value in fault.to_data().items() if key not in ("kind", "at_ns", "until_ns")}
            told = ", ".join(f"{key} {value}" for key, value in what.items())
            lines.append(f"  {fault.at_ns / 1e6:.1f}{end} ms: {fault.kind} {told}".rstrip())
        for change in self.changes:
            told = "".join(f", {name} {value}" for name, value in change.settings)
            lines.append(f"  {change.at_ns / 1e6:.1f} ms: {change.kind} {change.peer}{told}")
        return "\n".join(lines)


def _made(kind: Any, fields: Mapping[str, Any]) -> Any:
    try:
        return kind(**fields)
    except TypeError as error:
        raise ArgumentError(f"{kind.__name__}: {error}") from error


KINDS: Sequence[str] = (*FAULTS, *LIARS)
"""What can be asked for by name."""
