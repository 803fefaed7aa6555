"""What can go wrong in a simulation, as data: each fault begins at a time, most end at another.

Faults are drawn, printed, stored, replayed and shrunk; all that they do goes through `Cluster`. Times are ns since
the beginning of the simulation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import ArgumentError
from .cluster import Cluster
from .storage import Store

__all__ = [
    "FAULTS",
    "ClockJump",
    "ClockSkew",
    "ClockStop",
    "Crash",
    "CrashWhenFinal",
    "Cut",
    "DeafReader",
    "Far",
    "Fault",
    "Noise",
    "Partition",
    "Pause",
    "SlowDisk",
    "SlowPeer",
    "fault_from",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong from `at_ns` until `until_ns`; without an end it lasts."""

    kind: ClassVar[str]

    at_ns: int = 0
    until_ns: int | None = None

    def begin(self, cluster: Cluster) -> None:
        """Make it happen."""
        raise NotImplementedError

    def end(self, cluster: Cluster) -> None:
        """Undo it."""

    @property
    def forgets(self) -> frozenset[int]:
        """Peers that lose what they have signed: they may sign again, as liars do."""
        return frozenset()

    def to_data(self) -> dict[str, Any]:
        """As plain values, for a file."""
        data: dict[str, Any] = {"kind": self.kind}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                data[field.name] = value
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash(Fault):
    """A peer's process is killed, and starts again at the end with what is left of its store."""

    kind: ClassVar[str] = "crash"

    peer: int
    store: str = Store.KEPT.value
    silent: bool = False
    """Whether its whole computer goes, so that nobody is told."""

    def begin(self, cluster: Cluster) -> None:
        """Kill it, unless it is dead already."""
        if cluster.nodes[self.peer].up:
            cluster.crash(self.peer, silent=self.silent)

    def end(self, cluster: Cluster) -> None:
        """Start it again."""
        if not cluster.nodes[self.peer].up:
            cluster.restart(self.peer, Store(self.store))

    @property
    def forgets(self) -> frozenset[int]:
        """It, if it comes back with an old store or none."""
        return frozenset({self.peer} if self.store in (Store.OLD, Store.LOST) and self.until_ns is not None else ())


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashWhenFinal(Fault):
    """A peer is killed in the very moment in which it learns that a transaction of its own is final."""

    kind: ClassVar[str] = "crash_when_final"

    peer: int

    def begin(self, cluster: Cluster) -> None:
        """Lie in wait."""
        cluster.crash_when_final.add(self.peer)

    def end(self, cluster: Cluster) -> None:
        """Start it again, if it came to that."""
        cluster.crash_when_final.discard(self.peer)
        if not cluster.nodes[self.peer].up:
            cluster.restart(self.peer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition(Fault):
    """The network falls into groups of peers; whoever is in none can reach everybody (a bridge)."""

    kind: ClassVar[str] = "partition"

    groups: tuple[tuple[int, ...], ...]
    how: str = "reset"
    """"reset", "hold" or "drop", as in `Cluster.partition`."""
    one_way: bool = False

    def begin(self, cluster: Cluster) -> None:
        """Cut it."""
        cluster.partition(*self.groups, how=self.how, one_way=self.one_way)

    def end(self, cluster: Cluster) -> None:
        """Join the groups again."""
        cluster.join(*self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut(Fault):
    """Nothing gets from one peer to another; the way back stays open."""

    kind: ClassVar[str] = "cut"

    source: int
    target: int
    how: str = "hold"

    def begin(self, cluster: Cluster) -> None:
        """Cut it."""
        cluster.cut(self.source, self.target, self.how)

    def end(self, cluster: Cluster) -> None:
        """Mend it."""
        cluster.join((self.source,), (self.target,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise(Fault):
    """Packets are lost, come twice or overtake each other, everywhere."""

    kind: ClassVar[str] = "noise"

    loss: float = 0.0
    duplicates: float = 0.0
    reordering: float = 0.0

    def begin(self, cluster: Cluster) -> None:
        """Change all links."""
        internet = cluster.internet
        internet.delays = dataclasses.replace(
            internet.delays, loss=self.loss, duplicates=self.duplicates, reordering=self.reordering
        )

    def end(self, cluster: Cluster) -> None:
        """Links are good again."""
        internet = cluster.internet
        internet.delays = dataclasses.replace(internet.delays, loss=0.0, duplicates=0.0, reordering=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Far(Fault):
    """All that a peer sends and receives takes longer."""

    kind: ClassVar[str] = "far"

    peer: int
    extra_ns: int

    def begin(self, cluster: Cluster) -> None:
        """Move it away."""
        cluster.internet.extra_ns[self.peer] = self.extra_ns

    def end(self, cluster: Cluster) -> None:
        """Bring it back."""
        cluster.internet.extra_ns.pop(self.peer, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowPeer(Fault):
    """A peer needs time for each frame."""

    kind: ClassVar[str] = "slow_peer"

    peer: int
    ns_per_frame: int

    def begin(self, cluster: Cluster) -> None:
        """Slow it down."""
        cluster.internet.slow_ns[self.peer] = self.ns_per_frame

    def end(self, cluster: Cluster) -> None:
        """At full speed again."""
        cluster.internet.slow_ns.pop(self.peer, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(Fault):
    """A peer's process is stopped and goes on later, as a computer that sleeps."""

    kind: ClassVar[str] = "pause"

    peer: int

    def begin(self, cluster: Cluster) -> None:
        """Stop it."""
        cluster.suspend(self.peer)

    def end(self, cluster: Cluster) -> None:
        """Let it go on."""
        cluster.resume(self.peer)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSkew(Fault):
    """A peer's clock is wrong from the beginning, and goes at another pace."""

    kind: ClassVar[str] = "clock_skew"

    peer: int
    skew_ns: int = 0
    drift_ppm: int = 0

    def begin(self, cluster: Cluster) -> None:
        """Set it."""
        cluster.nodes[self.peer].host.hardware_clock.set(self.skew_ns, self.drift_ppm)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockJump(Fault):
    """Somebody sets a peer's clock."""

    kind: ClassVar[str] = "clock_jump"

    peer: int
    jump_ns: int

    def begin(self, cluster: Cluster) -> None:
        """Set it."""
        cluster.nodes[self.peer].host.hardware_clock.jump(self.jump_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockStop(Fault):
    """A peer's wall clock stands still."""

    kind: ClassVar[str] = "clock_stop"

    peer: int

    def begin(self, cluster: Cluster) -> None:
        """Stop it."""
        cluster.nodes[self.peer].host.hardware_clock.stop()

    def end(self, cluster: Cluster) -> None:
        """It goes on from where it stood."""
        cluster.nodes[self.peer].host.hardware_clock.start()


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowDisk(Fault):
    """A peer's disk takes long to make anything durable."""

    kind: ClassVar[str] = "slow_disk"

    peer: int
    sync_ns: int

    def begin(self, cluster: Cluster) -> None:
        """Slow it down."""
        cluster.nodes[self.peer].host.disk.sync_ns = self.sync_ns

    def end(self, cluster: Cluster) -> None:
        """As fast as before."""
        cluster.nodes[self.peer].host.disk.sync_ns = cluster.sync_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class DeafReader(Fault):
    """A peer's application does not read what its engine delivers."""

    kind: ClassVar[str] = "deaf_reader"

    peer: int

    def begin(self, cluster: Cluster) -> None:
        """Stop reading."""
        cluster.nodes[self.peer].deaf = True

    def end(self, cluster: Cluster) -> None:
        """Read on."""
        cluster.hear(self.peer)


FAULTS: dict[str, type[Fault]] = {
    each.kind: each
    for each in (
        Crash, CrashWhenFinal, Partition, Cut, Noise, Far, SlowPeer, Pause, ClockSkew, ClockJump, ClockStop, SlowDisk,
        DeafReader,
    )
}  # fmt: skip
"""Every kind of fault by its name."""


def fault_from(data: Mapping[str, Any]) -> Fault:
    """The fault that `to_data` wrote; ArgumentError for what is none."""
    fields = dict(data)
    kind = FAULTS.get(fields.pop("kind", None))
    if kind is None:
        raise ArgumentError(f"a fault of kind {data.get('kind')!r}: give one of {', '.join(FAULTS)}")
    if "groups" in fields:
        fields["groups"] = tuple(map(tuple, fields["groups"]))
    try:
        return kind(**fields)
    except TypeError as error:
        raise ArgumentError(f"a fault of kind {kind.kind!r}: {error}") from error
