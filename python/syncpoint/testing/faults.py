"""What can go wrong in a simulation, as data: each fault begins at a time, most end at another.

Faults are drawn, printed, stored, replayed and shrunk; all that they do goes through `Cluster`. Times are ns since
the beginning of the simulation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from ..errors import ArgumentError
from .cluster import HOWS, Cluster
from .delays import Delays
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
        """Make it happen; others of its kind may be going on."""
        raise NotImplementedError

    def end(self, cluster: Cluster) -> None:
        """Undo it, and nothing that another one does."""

    def check(self, peers: int) -> None:
        """Raise ArgumentError for what cannot happen in a network of so many peers."""
        if self.at_ns < 0 or (self.until_ns is not None and self.until_ns < self.at_ns):
            raise ArgumentError(f"{self} begins before 0, or ends before it begins")
        strangers = sorted(peer for peer in self.whom if not 0 <= peer < peers)
        if strangers:
            raise ArgumentError(f"{self} names peers {strangers}: give 0 to {peers - 1}")

    @property
    def whom(self) -> frozenset[int]:
        """The peers that it names."""
        return frozenset()

    def forgets(self, durability: str = "full") -> frozenset[int]:
        """Peers that may lose what they have signed."""
        return frozenset()

    @property
    def is_noticed(self) -> bool:
        """Whether a peer that lost something knows it; else it may sign again, as liars do (docs/decisions/0001)."""
        return True

    def to_data(self) -> dict[str, Any]:
        """As plain values, for a file."""
        data: dict[str, Any] = {"kind": self.kind}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                data[field.name] = value
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerFault(Fault):
    """What happens to one peer."""

    peer: int

    @property
    def whom(self) -> frozenset[int]:
        """It."""
        return frozenset({self.peer})


@dataclass(frozen=True, slots=True, kw_only=True)
class Lasting(Fault):
    """A fault of which several can go on at once: what holds follows from all of them, whichever begins or ends."""

    def begin(self, cluster: Cluster) -> None:
        """One more."""
        cluster.happened[f"fault {self.kind}"] += 1
        cluster.faults.append(self)
        self.apply(cluster)

    def end(self, cluster: Cluster) -> None:
        """One less."""
        cluster.faults.remove(self)
        self.apply(cluster)

    def apply(self, cluster: Cluster) -> None:
        """Let that be which follows from all that go on."""
        raise NotImplementedError

    def alike(self, cluster: Cluster) -> list[Self]:
        """Those of its kind that go on, at the same peers."""
        return [each for each in cluster.faults if isinstance(each, type(self)) and each.whom == self.whom]


@dataclass(frozen=True, slots=True, kw_only=True)
class LastingPeerFault(Lasting, PeerFault):
    """What goes on at one peer for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash(PeerFault):
    """A peer's process is killed, and starts again at the end with what is left of its store."""

    kind: ClassVar[str] = "crash"

    store: str = Store.KEPT.value
    silent: bool = False
    """Whether its whole computer goes, so that nobody is told."""
    backup_ns: int = 0
    """For the store "old": how long before the crash it was copied."""
    traces: bool = False
    """For "old" and "lost": whether it shows, as the tip stays or the file is another one."""
    joining: bool = False
    """Whether the peer is told so: `joining_running_session`."""
    alone: bool = False
    """Whether it happens only while nobody else has yet to sign again after a loss: f + 1 such peers stop a network."""
    resumes: float | None = None
    """How much its application has kept of what it received, 0 to 1, and goes on behind; None: it begins anew."""

    def begin(self, cluster: Cluster) -> None:
        """Kill it, unless it is dead already, or a liar."""
        node = cluster.nodes[self.peer]
        if self.alone and any(other is not node and other.lacks_own for other in cluster.nodes):
            return
        if node.up and not node.shares:
            cluster.happened[f"fault {self.kind}"] += 1
            cluster.crash(self.peer, silent=self.silent, by=self)

    def end(self, cluster: Cluster) -> None:
        """Start it again, if it was this that killed it."""
        node = cluster.nodes[self.peer]
        if node.killed_by == self:
            resume_after = None if self.resumes is None else int(node.received * self.resumes) - 1
            cluster.restart(
                self.peer,
                Store(self.store),
                self.backup_ns,
                traces=self.traces,
                joining=self.joining,
                resume_after=resume_after,
            )

    def check(self, peers: int) -> None:
        """The store is one that there is."""
        super(Crash, self).check(peers)
        if self.resumes is not None and not 0 <= self.resumes <= 1:
            raise ArgumentError(f"{self}: give as resumes 0 to 1")
        if self.store not in list(Store) or self.backup_ns < 0:
            raise ArgumentError(f"{self}: give as store one of {', '.join(Store)}, and as backup_ns 0 or more")

    def forgets(self, durability: str = "full") -> frozenset[int]:
        """It, if it comes back with an old store or none, or without what the durability does not promise."""
        power = self.silent or self.store != Store.KEPT
        lost = self.store in (Store.OLD, Store.LOST) or (durability == "normal" and power) or durability == "memory"
        return frozenset({self.peer} if lost and self.until_ns is not None else ())

    @property
    def is_noticed(self) -> bool:
        """What was not synced is missed; an old store or none only if it shows, or if somebody says so."""
        return self.store not in (Store.OLD, Store.LOST) or self.traces or self.joining


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashWhenFinal(PeerFault):
    """A peer is killed in the very moment in which it learns that a transaction of its own is final."""

    kind: ClassVar[str] = "crash_when_final"

    def begin(self, cluster: Cluster) -> None:
        """Lie in wait, unless it is a liar."""
        if not cluster.nodes[self.peer].shares:
            cluster.crash_when_final.setdefault(self.peer, []).append(self)

    def end(self, cluster: Cluster) -> None:
        """Start it again, if it came to that."""
        waiting = cluster.crash_when_final.get(self.peer, [])
        if self in waiting:
            waiting.remove(self)
        if cluster.nodes[self.peer].killed_by == self:
            cluster.restart(self.peer)

    def forgets(self, durability: str = "full") -> frozenset[int]:
        """It, if its store does not wait for what is written."""
        return frozenset({self.peer} if durability == "memory" and self.until_ns is not None else ())


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
        cluster.happened[f"fault {self.kind}"] += 1
        cluster.partition(*self.groups, how=self.how, one_way=self.one_way, by=self)

    def end(self, cluster: Cluster) -> None:
        """Join the groups again."""
        cluster.join(*self.groups, by=self)

    def check(self, peers: int) -> None:
        """A link cannot break for one side only."""
        super(Partition, self).check(peers)
        hows = HOWS[1:] if self.one_way else HOWS
        if self.how not in hows:
            raise ArgumentError(f"{self}: give as how one of {', '.join(hows)}")

    @property
    def whom(self) -> frozenset[int]:
        """All in groups."""
        return frozenset(peer for group in self.groups for peer in group)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut(Fault):
    """Nothing gets from one peer to another; the way back stays open."""

    kind: ClassVar[str] = "cut"

    source: int
    target: int
    how: str = "hold"
    """"hold" or "drop"; links do not break for one side only."""

    def begin(self, cluster: Cluster) -> None:
        """Cut it."""
        cluster.happened[f"fault {self.kind}"] += 1
        cluster.partition((self.source,), (self.target,), how=self.how, one_way=True, by=self)

    def end(self, cluster: Cluster) -> None:
        """Mend it."""
        cluster.join((self.source,), (self.target,), by=self)

    def check(self, peers: int) -> None:
        """A link cannot break for one side only."""
        super(Cut, self).check(peers)
        if self.how not in HOWS[1:]:
            raise ArgumentError(f"{self}: give as how one of {', '.join(HOWS[1:])}")

    @property
    def whom(self) -> frozenset[int]:
        """Both ends."""
        return frozenset({self.source, self.target})


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise(Lasting):
    """Packets are lost, come twice or overtake each other, everywhere, at least as much as they do anyway."""

    kind: ClassVar[str] = "noise"

    loss: float = 0.0
    duplicates: float = 0.0
    reordering: float = 0.0

    def apply(self, cluster: Cluster) -> None:
        """Change all links."""
        internet = cluster.internet
        sources: list[Delays | Noise] = [internet.usual, *self.alike(cluster)]
        internet.delays = dataclasses.replace(
            internet.usual,
            loss=max(each.loss for each in sources),
            duplicates=max(each.duplicates for each in sources),
            reordering=max(each.reordering for each in sources),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Far(LastingPeerFault):
    """All that a peer sends and receives takes longer."""

    kind: ClassVar[str] = "far"

    extra_ns: int

    def apply(self, cluster: Cluster) -> None:
        """Move it away, or back."""
        cluster.internet.extra_ns[self.peer] = max((each.extra_ns for each in self.alike(cluster)), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowPeer(LastingPeerFault):
    """A peer needs time for each frame."""

    kind: ClassVar[str] = "slow_peer"

    ns_per_frame: int

    def apply(self, cluster: Cluster) -> None:
        """Slow it down, or not any more."""
        cluster.internet.slow_ns[self.peer] = max((each.ns_per_frame for each in self.alike(cluster)), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(LastingPeerFault):
    """A peer's process is stopped and goes on later, as a computer that sleeps."""

    kind: ClassVar[str] = "pause"

    def apply(self, cluster: Cluster) -> None:
        """Stop it, or let it go on."""
        (cluster.suspend if self.alike(cluster) else cluster.resume)(self.peer)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSkew(PeerFault):
    """A peer's clock is wrong from the beginning, and goes at another pace."""

    kind: ClassVar[str] = "clock_skew"

    skew_ns: int = 0
    drift_ppm: int = 0

    def begin(self, cluster: Cluster) -> None:
        """Set it."""
        cluster.happened[f"fault {self.kind}"] += 1
        cluster.nodes[self.peer].host.hardware_clock.set(self.skew_ns, self.drift_ppm)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockJump(PeerFault):
    """Somebody sets a peer's clock."""

    kind: ClassVar[str] = "clock_jump"

    jump_ns: int

    def begin(self, cluster: Cluster) -> None:
        """Set it."""
        cluster.happened[f"fault {self.kind}"] += 1
        cluster.nodes[self.peer].host.hardware_clock.jump(self.jump_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockStop(LastingPeerFault):
    """A peer's wall clock stands still, and goes on from where it stood."""

    kind: ClassVar[str] = "clock_stop"

    def apply(self, cluster: Cluster) -> None:
        """Stop it, or let it go on."""
        clock = cluster.nodes[self.peer].host.hardware_clock
        (clock.stop if self.alike(cluster) else clock.start)()


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowDisk(LastingPeerFault):
    """A peer's disk takes long to make anything durable."""

    kind: ClassVar[str] = "slow_disk"

    sync_ns: int

    def apply(self, cluster: Cluster) -> None:
        """Slow it down, or not any more."""
        slowest = max((each.sync_ns for each in self.alike(cluster)), default=0)
        cluster.nodes[self.peer].host.disk.sync_ns = max(cluster.sync_ns, slowest)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeafReader(LastingPeerFault):
    """A peer's application does not read what its engine delivers."""

    kind: ClassVar[str] = "deaf_reader"

    def apply(self, cluster: Cluster) -> None:
        """Stop reading, or read on."""
        if self.alike(cluster):
            cluster.nodes[self.peer].deaf = True
        else:
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
