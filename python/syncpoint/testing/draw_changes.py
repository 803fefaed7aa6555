"""Changes of members, keys and settings, with crashes and cuts meanwhile: what the profile "epochs" draws."""

from __future__ import annotations

import random
from collections.abc import Callable

from ..core.config import ORDERS, RULES
from .changes import ChangeSpec
from .draw_faults import groups_of
from .faults import Crash, Fault, Partition
from .storage import Store

__all__ = ["FEWEST_MEMBERS", "MOST_NEWCOMERS", "draw_changes", "draw_interruptions"]

MS = 1_000_000
FIRST_NS = 20 * MS  # when all are linked
LONGEST_NS = 80 * MS  # that a fault lasts
DECIDED_NS = 90 * MS  # in which most changes are decided
MOST_NEWCOMERS = 3
FEWEST_MEMBERS = 4  # whoever leaves
SYNCED = (Store.KEPT, Store.KEPT, Store.UNSYNCED_LOST, Store.TORN)  # from which nothing is missing that was durable


def draw_changes(rng: random.Random, peers: int, duration_ns: int) -> tuple[ChangeSpec, ...]:
    """Two to five changes, sometimes two at a time; each key changes once."""
    changes: list[ChangeSpec] = []
    joined, at = 0, 0
    rotating = rng.sample(range(peers), peers)
    leaving = rng.sample(range(peers), peers)
    for _ in range(rng.randint(2, 5)):
        if not changes or rng.random() < 0.6:
            at = rng.randrange(FIRST_NS, duration_ns)
        kind = rng.choice(("join", "join", "leave", "leave", "rotate", "configure"))
        if kind == "join" and joined < MOST_NEWCOMERS:
            peer = peers + joined
            joined += 1
            leaving.append(peer)
            changes.append(ChangeSpec(kind=kind, at_ns=at, peer=peer, started_ns=rng.choice((0, at // 2, at))))
        elif kind == "leave" and leaving:
            changes.append(ChangeSpec(kind=kind, at_ns=at, peer=leaving.pop()))
        elif kind == "configure":
            name, value = rng.choice(
                (("order", rng.choice(ORDERS)), ("rule", rng.choice(RULES)), ("gc_depth", rng.choice((12, 50, 150))))
            )
            changes.append(ChangeSpec(kind=kind, at_ns=at, settings=((name, value),)))
        elif rotating:
            changes.append(ChangeSpec(kind="rotate", at_ns=at, peer=rotating.pop()))
    return tuple(sorted(changes, key=lambda change: change.at_ns))


def draw_interruptions(
    rng: random.Random, peers: int, changes: tuple[ChangeSpec, ...], duration_ns: int, wants: Callable[[str], bool]
) -> tuple[Fault, ...]:
    """Crashes of one peer or all, which lose nothing that was durable, and partitions; most while a change goes on.

    A newcomer may crash as well.
    """
    faults: list[Fault] = []
    hosts = peers + sum(change.kind == "join" for change in changes)
    for _ in range(rng.randint(0, 4)):
        at = rng.randrange(FIRST_NS, duration_ns)
        if rng.random() < 0.7:
            at = min(rng.choice(changes).at_ns + rng.randrange(DECIDED_NS), duration_ns - 2 * MS)
        until = min(at + rng.randint(MS, LONGEST_NS), duration_ns)
        if rng.random() < 0.6:
            if wants("crash"):
                whom = range(hosts) if rng.random() < 0.15 else (rng.randrange(hosts),)
                faults += [_crash(rng, at, max(at, until), peer) for peer in whom]
        elif wants("partition"):
            groups = groups_of(rng, hosts)
            faults.append(
                Partition(at_ns=at, until_ns=max(at, until), groups=groups, how=rng.choice(("hold", "reset", "drop")))
            )
    return tuple(sorted(faults, key=lambda fault: fault.at_ns))


def _crash(rng: random.Random, at: int, until: int, peer: int) -> Crash:
    """Its application goes on where it was, or before that, or begins anew."""
    return Crash(
        at_ns=at,
        until_ns=until,
        peer=peer,
        store=rng.choice(SYNCED).value,
        silent=rng.random() < 0.3,
        resumes=rng.choice((None, 1.0, rng.random())),
    )
