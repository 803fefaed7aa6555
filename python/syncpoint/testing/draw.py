"""Scenarios drawn from a seed: which network, which faults, which liars, how they meet.

A scenario is drawn so that its network can come through it: at most f peers lie, forget or stay dead; whatever else
goes wrong ends; and nobody falls behind what the others retain, as long as there is no way back from there (F4, R4).
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Collection

from ..core.config import ORDERS, RULES
from ..errors import ArgumentError
from .delays import Delays
from .draw_changes import FEWEST_MEMBERS, MOST_NEWCOMERS, draw_changes, draw_interruptions
from .draw_faults import FaultDraw, groups_of
from .faults import FAULTS, Crash, CrashWhenFinal, Cut, Fault, Partition
from .liars import LIARS, ONLY_BY_NAME, LiarSpec
from .regions import one_way_ns
from .rejoin import draw_crashes
from .scenario import Agenda, Load, Scenario
from .storage import Store

__all__ = ["PROFILES", "draw"]

MS = 1_000_000
SECOND = 1_000 * MS
EVENTS = 5_500  # taken into DAGs by all peers together, about, in a scenario of size 1
CROWD_NS = 300 * MS
EARLY_NS = 60 * MS
SIZES = (0.01, 1_000.0)  # least and greatest
MOST_PEERS = 128
CHANGING_LIARS = (
    "false_changer", "false_changer", "replayer", "replayer", "equivocator", "fork_bomb", "twin", "withholder",
    "silent", "stale", "junk",
)  # fmt: skip
LEAST_PEERS = {"kills": 4, "twins": 4, "beyond": 2, "rejoin": 4, "epochs": 4}  # 1 elsewhere


def draw(seed: int, profile: str = "chaos", *, peers: int | None = None, core: str = "auto",
         kinds: Collection[str] = (), size: float = 1.0) -> Scenario:  # fmt: skip
    """The scenario of a seed.

    `profile` is one of PROFILES; `kinds` leaves of its faults and liars only those with these names; `size` makes it
    longer or shorter. Raises ArgumentError for a name that is not known, and for what is too small or too large.
    """
    make = PROFILES.get(profile)
    if make is None:
        raise ArgumentError(f"profile {profile!r}: give one of {', '.join(PROFILES)}")
    for kind in kinds:
        if kind not in FAULTS and kind not in LIARS:
            raise ArgumentError(f"fault {kind!r}: give one of {', '.join((*FAULTS, *LIARS))}")
    least = LEAST_PEERS.get(profile, 1)
    if peers is not None and not least <= peers <= MOST_PEERS:
        raise ArgumentError(f"profile {profile!r} with {peers} peers: give {least} to {MOST_PEERS}")
    if not SIZES[0] <= size <= SIZES[1]:
        raise ArgumentError(f"scenarios of size {size:g}: give {SIZES[0]:g} to {SIZES[1]:g}")
    return make(Draw(seed, profile, peers, core, kinds, size))


class Draw:
    """One scenario on its way."""

    def __init__(
        self, seed: int, profile: str, peers: int | None, core: str, kinds: Collection[str], size: float
    ) -> None:
        self.seed = seed
        self.rng = random.Random(f"scenario/{profile}/{seed}")
        self.peers = peers
        self.core = core
        self.kinds = kinds
        self.size = size

    def wants(self, kind: str) -> bool:
        """Whether this kind of fault or liar may be drawn."""
        return kind in self.kinds if self.kinds else kind not in ONLY_BY_NAME

    def count_of_peers(self, choices: tuple[int, ...]) -> int:
        """How many peers."""
        drawn = self.rng.choice(choices)
        return drawn if self.peers is None else self.peers

    def rounds(self, n: int) -> int:
        """For about how many rounds it lasts."""
        return max(12, int(EVENTS * self.size / (n * n)))

    def liars(self, n: int, count: int, kinds: Collection[str] = ()) -> tuple[LiarSpec, ...]:
        """Liars of these kinds, or of any."""
        known = [kind for kind in LIARS if self.wants(kind) and (not kinds or kind in kinds)]
        creators = self.rng.sample(range(n), count)
        if not known:
            return ()
        return tuple(
            LiarSpec(kind=self.rng.choice(known), creator=creator, strength=self.rng.choice((0.1, 0.3, 1.0)))
            for creator in creators
        )


def _lan(draw: Draw) -> Scenario:
    """Peers close to each other, where seldom anything goes wrong."""
    rng = draw.rng
    n = draw.count_of_peers((1, 2, 3, 4, 4, 4, 5, 7, 10))
    delays = Delays(
        kind=rng.choice(("fixed", "uniform")),
        low_ns=rng.choice((50_000, 200_000, MS)),
        high_ns=rng.choice((MS, 2 * MS)),
        grain_ns=rng.choice((0, 250_000)),
    )
    duration = draw.rounds(n) * 2 * MS
    return _network(draw, n, delays, duration, rng.choice((0, 0, 1, 2)), liars=0)


def _kills(draw: Draw) -> Scenario:
    """The same, and one of them dies for good when it learns that a transaction of its own is final."""
    n = draw.count_of_peers((4, 4, 7))
    scenario = _lan(Draw(draw.seed, "kills/lan", n, draw.core, ("crash_when_final",), draw.size))
    at = draw.rng.randrange(scenario.duration_ns // 2)
    faults = (CrashWhenFinal(at_ns=at, peer=draw.rng.randrange(n)),) if draw.wants("crash_when_final") else ()
    return dataclasses.replace(scenario, f=None, faults=faults)


def _crowd(draw: Draw) -> Scenario:
    """Many peers, close to each other, and little that goes wrong: most events for the time it takes."""
    rng = draw.rng
    n = draw.count_of_peers((16, 20, 31))
    delays = Delays(kind="uniform", low_ns=200_000, high_ns=rng.choice((1, 3)) * MS, grain_ns=500_000)
    duration = int(CROWD_NS * draw.size)
    return _network(draw, n, delays, duration, rng.choice((0, 1, 2)), liars=0)


def _wan(draw: Draw) -> Scenario:
    """Peers in ten regions of the world."""
    rng = draw.rng
    n = draw.count_of_peers((4, 7, 10))
    apart = one_way_ns()
    places = rng.sample(range(len(apart)), min(n, len(apart)))
    matrix = tuple(tuple(max(MS, apart[one][other]) for other in places) for one in places)
    delays = Delays(kind="lognormal", matrix=matrix, sigma=rng.choice((0.05, 0.2, 0.5)), grain_ns=MS)
    return _network(draw, n, delays, draw.rounds(n) * 120 * MS, rng.choice((0, 1, 2, 3)), liars=None)


def _chaos(draw: Draw) -> Scenario:
    """Everything that can go wrong, several things at once."""
    rng = draw.rng
    n = draw.count_of_peers((4, 4, 4, 4, 5, 6, 7, 7, 10, 13))
    delays = Delays(
        kind=rng.choice(("fixed", "uniform", "uniform", "lognormal")),
        low_ns=rng.choice((100_000, MS, 2 * MS)),
        high_ns=rng.choice((2, 5, 20)) * MS,
        sigma=rng.choice((0.1, 0.5, 1.0)),
        grain_ns=rng.choice((0, 100_000, 500_000)),
        loss=rng.choice((0, 0, 0, 0.02)),
        duplicates=rng.choice((0, 0, 0.02)),
        reordering=rng.choice((0, 0, 0.05)),
    )
    return _network(draw, n, delays, draw.rounds(n) * 4 * MS, rng.randint(1, 6), liars=None)


def _twins(draw: Draw) -> Scenario:
    """Up to f peers run two or three times, while the network is cut in another way again and again."""
    rng = draw.rng
    n = draw.count_of_peers((4, 4, 7))
    f = (n - 1) // 3
    delays = Delays(kind=rng.choice(("fixed", "uniform")), low_ns=MS, high_ns=rng.choice((2, 4)) * MS, grain_ns=250_000)
    scenario = _network(draw, n, delays, draw.rounds(n) * 3 * MS, 0, liars=0)
    liars = draw.liars(n, rng.randint(1, f), ("twin",))
    faults: list[Fault] = []
    at = 20 * MS
    while at < scenario.duration_ns and draw.wants("partition"):
        until = at + rng.randint(2, 40) * MS
        if rng.random() < 0.7:
            faults.append(
                Partition(at_ns=at, until_ns=until, groups=groups_of(rng, n), how=rng.choice(("hold", "reset")))
            )
        at = until
    lower_f = None if scenario.f is None else max(scenario.f, len(liars))
    return dataclasses.replace(scenario, f=lower_f, liars=liars, faults=tuple(faults))


def _beyond(draw: Draw) -> Scenario:
    """More liars than the network is made for: it may stop, and it may be split, but nothing may break."""
    rng = draw.rng
    n = draw.count_of_peers((4, 4, 7))
    scenario = _chaos(Draw(draw.seed, "beyond/chaos", n, draw.core, draw.kinds, draw.size))
    forking = ("equivocator", "twin", "fork_bomb", "time_liar", "withholder")
    liars = draw.liars(n, rng.randint(scenario.tolerated + 1, n - 1), forking)
    lying = {liar.creator for liar in liars}  # these are others than those of whom the faults know
    faults = tuple(fault for fault in scenario.faults if isinstance(fault, Cut | Partition) or not fault.whom & lying)
    return dataclasses.replace(scenario, liars=liars, faults=faults, patience_ns=2 * SECOND)


def _rejoin(draw: Draw) -> Scenario:
    """Peers crash again and again, and come back with stores of every age; up to f liars besides.

    Who loses something knows it, so nobody may sign twice. One after the other does: what f + 1 peers have lost at once
    nobody may have any more, and too few are left to go on.
    """
    rng = draw.rng
    n = draw.count_of_peers((4, 4, 4, 7))
    delays = Delays(
        kind=rng.choice(("fixed", "uniform")),
        low_ns=rng.choice((200_000, MS)),
        high_ns=rng.choice((1, 2, 4)) * MS,
        grain_ns=rng.choice((0, 250_000)),
    )
    scenario = _network(draw, n, delays, draw.rounds(n) * 4 * MS, 0, liars=None)
    trims = rng.random() < 0.2  # stores that forget, so that nobody who lost its own can be brought back
    durability = "full" if trims else rng.choice(("full", "full", "full", "normal", "memory"))
    if trims:  # nobody may be away for longer than the others retain: 80 rounds, of 2 ms and more
        delays = dataclasses.replace(delays, low_ns=MS)
    scenario = dataclasses.replace(
        scenario,
        f=None,
        faults=(),
        delays=delays,
        durability=durability,
        gc_depth=10 if trims else scenario.gc_depth,
        retain_events=80 * n if trims else 40_000,
        retain_rounds=rng.choice((0, 80)) if trims else None,
    )
    return dataclasses.replace(
        scenario, faults=draw_crashes(rng, scenario, draw.wants("cut")) if draw.wants("crash") else ()
    )


def _sync(draw: Draw) -> Scenario:
    """Proposals and votes on sync points, several at once, while something goes wrong; liars vote both ways."""
    rng = draw.rng
    n = draw.count_of_peers((1, 2, 4, 4, 4, 4, 5, 7, 7))
    delays = dataclasses.replace(_uneven(rng), loss=rng.choice((0, 0, 0.02)))
    scenario = _network(draw, n, delays, draw.rounds(n) * 4 * MS, rng.randint(0, 3), liars=0)
    spare = scenario.tolerated - len(scenario.forgetful | _dead(scenario))
    lying = tuple(
        LiarSpec(kind="false_voter", creator=creator, strength=rng.choice((0.3, 1.0)))
        for creator in rng.sample(range(n), rng.randint(0, max(0, spare)))
        if not any(creator in fault.whom for fault in scenario.faults)
    )
    agenda = Agenda(
        proposals=rng.choice((4, 8, 16)),
        burst=rng.choice((1, 2, 4)),
        refused=rng.choice((0.0, 0.2)),
        open=rng.choice((0.0, 0.3, 1.0)),
        hasty=rng.choice((0.0, 0.3)),
        ends=rng.random() < 0.2,
    )
    return dataclasses.replace(scenario, liars=lying, agenda=agenda, epoch_ms=rng.choice((0, 0, 20, 100)))


def _epochs(draw: Draw) -> Scenario:
    """Members join and leave, keys and settings change, while peers crash and the network falls apart; some lie."""
    rng = draw.rng
    n = draw.count_of_peers((4, 4, 5, 5, 6, 7))
    scenario = _network(draw, n, _uneven(rng), draw.rounds(n) * 4 * MS, 0, liars=0)
    changes = draw_changes(rng, n, scenario.duration_ns)
    faults = draw_interruptions(rng, n, changes, scenario.duration_ns, draw.wants)
    fewest = max(FEWEST_MEMBERS, n - sum(change.kind == "leave" for change in changes))
    kinds = [kind for kind in CHANGING_LIARS if not draw.kinds or kind in draw.kinds]
    most = (fewest - 1) // 3 if kinds else 0
    liars = tuple(
        LiarSpec(kind=rng.choice(kinds), creator=creator, strength=rng.choice((0.3, 1.0)))
        for creator in rng.sample(range(n), rng.choice((0, most, most)))
    )
    lying = {liar.creator for liar in liars}
    return dataclasses.replace(
        scenario,
        f=None,
        retain_events=40_000,
        faults=tuple(fault for fault in faults if isinstance(fault, Partition) or not fault.whom & lying),
        liars=liars,
        changes=changes,
        stumbles=rng.choice((0.0, 0.0, 0.1, 0.3)) if draw.wants("crash") else 0.0,
        newcomers=min(MOST_NEWCOMERS, sum(change.kind == "join" for change in changes)),
    )


def _uneven(rng: random.Random) -> Delays:
    """Ways of some milliseconds, which differ."""
    return Delays(
        kind=rng.choice(("fixed", "uniform", "lognormal")),
        low_ns=rng.choice((200_000, MS)),
        high_ns=rng.choice((2, 5)) * MS,
        sigma=rng.choice((0.1, 0.5)),
        grain_ns=rng.choice((0, 250_000)),
    )


def _dead(scenario: Scenario) -> frozenset[int]:
    """Who dies and does not come back."""
    return frozenset(
        peer
        for fault in scenario.faults
        if isinstance(fault, Crash | CrashWhenFinal) and fault.until_ns is None
        for peer in fault.whom
    )


PROFILES: dict[str, Callable[[Draw], Scenario]] = {
    "lan": _lan,
    "kills": _kills,
    "crowd": _crowd,
    "wan": _wan,
    "chaos": _chaos,
    "twins": _twins,
    "beyond": _beyond,
    "rejoin": _rejoin,
    "sync": _sync,
    "epochs": _epochs,
}
"""What `draw` draws, by name."""


def _network(draw: Draw, n: int, delays: Delays, duration: int, faults: int, liars: int | None) -> Scenario:
    """A network with so many faults; with liars None, any number of liars that it is made for."""
    rng = draw.rng
    f = (n - 1) // 3
    lower_f = rng.randint(0, f) if f and rng.random() < 0.1 else None
    tolerated = f if lower_f is None else lower_f
    lying = rng.randint(0, tolerated) if liars is None else liars
    specs = draw.liars(n, lying)
    gc_depth = rng.choice((10, 30, 200))
    # Whoever starts again may have lost what it had of the others, and needs every round of theirs.
    restarts = rng.random() < 0.6
    retain = 40_000 if restarts else rng.choice((0, 60, 100, 400)) * n  # rounds; three gc depths are kept in any case
    scenario = Scenario(
        seed=draw.seed,
        peers=n,
        core=draw.core,
        rule=rng.choice(("two_step", "two_step", *RULES)),
        order=rng.choice(ORDERS),
        f=lower_f,
        gc_depth=gc_depth,
        retain_events=retain,
        pool_bytes=rng.choice((20_000, 4 * 1024 * 1024)),
        min_interval_us=rng.choice((0, 1_000, 1_000)),
        heartbeat_us=rng.choice((50_000, 500_000)),
        delays=delays,
        sync_ns=rng.choice((0, MS, 5 * MS)),
        unread=rng.choice((16, 256, None)),
        signatures="ed25519" if rng.random() < 0.02 else "simulated",
        duration_ns=duration,
        load=Load(
            transactions=rng.choice((20, 60, 150)),
            bytes=rng.choice((16, 32, 300)),
            awaited=rng.choice((0.0, 0.5, 1.0)),
            burst=rng.choice((1, 1, 5)),
        ),
        liars=specs,
    )
    if restarts and not specs and draw.wants("crash") and rng.random() < 0.05:
        return dataclasses.replace(scenario, faults=_all_crash(rng, scenario))
    return dataclasses.replace(scenario, faults=FaultDraw(draw.rng, draw.wants, scenario, restarts).draw(faults))


def _all_crash(rng: random.Random, scenario: Scenario) -> tuple[Fault, ...]:
    """The power fails everywhere, and comes back.

    Early: so these scenarios stay what they were; in `rejoin` it happens at any time.
    """
    at = rng.randrange(1, min(EARLY_NS, scenario.duration_ns))
    return tuple(
        Crash(
            at_ns=at,
            until_ns=min(at + rng.randint(MS, 50 * MS), scenario.duration_ns),
            peer=peer,
            store=rng.choice((Store.KEPT, Store.UNSYNCED_LOST, Store.TORN)).value,
            silent=True,
        )
        for peer in range(scenario.peers)
    )
