"""Crashes that follow each other, with stores of every age: what the profile "rejoin" draws."""

from __future__ import annotations

import random

from .faults import Crash, Cut, Fault
from .scenario import Scenario
from .storage import Store

__all__ = ["draw_crashes"]

MS = 1_000_000
FIRST_NS = 20 * MS  # when stores have been made
LONGEST_NS = 30 * MS  # that a peer is away
LONGEST_TRIMMED_NS = 10 * MS  # the same, where the others retain little
LONGEST_CUT_NS = 20 * MS  # before and after a loss
LOSS_GAP_NS = 60 * MS  # between two peers that lose something: what one lost, others have passed on by then
SYNCED = (Store.KEPT, Store.UNSYNCED_LOST, Store.TORN)  # from which nothing is missing that was durable
AGED = (Store.OLD, Store.LOST)


def draw_crashes(rng: random.Random, scenario: Scenario, cuts: bool = True) -> tuple[Fault, ...]:
    """Crashes from soon after the beginning to the end of a scenario without any.

    Any number of peers may die at once and lose nothing. Who loses something does it alone, is told so or notices, and
    has come back before somebody else does. With `cuts`, what it sent last has sometimes reached one peer only,
    and most do not know of it when it asks. Where stores forget, nobody loses anything.
    """
    faults: list[Fault] = []
    trims = scenario.retain_rounds is not None
    honest = [peer for peer in range(scenario.peers) if peer not in scenario.liar_creators]
    at = FIRST_NS + 4 * scenario.sync_ns
    while at < scenario.duration_ns - MS:
        until = min(at + rng.randint(MS, LONGEST_TRIMMED_NS if trims else LONGEST_NS), scenario.duration_ns)
        loses = not trims and rng.random() < 0.4
        silent = rng.random() < 0.3
        if scenario.durability == "memory" or (scenario.durability == "normal" and silent):
            loses = True
        for peer in rng.sample(honest, 1 if loses else rng.randint(1, len(honest))):
            if loses:
                store = rng.choice((*SYNCED, *AGED, *AGED))
            else:
                store = rng.choice(SYNCED if scenario.durability == "full" else SYNCED[:1])
            faults.append(_crash(rng, (at, until), peer, store, silent, loses, trims))
            if loses and cuts and rng.random() < 0.5:
                faults += _cuts(rng, scenario.peers, faults[-1], scenario.duration_ns)
        at = until + rng.randint(0, 40 * MS)
        if loses:
            at += LONGEST_CUT_NS + LOSS_GAP_NS + 4 * scenario.sync_ns
    return tuple(sorted(faults, key=lambda fault: fault.at_ns))


def _cuts(rng: random.Random, peers: int, crash: Fault, end_ns: int) -> list[Fault]:
    """What a peer sends reaches one other only, from before its crash until after it."""
    (peer,) = crash.whom
    assert crash.until_ns is not None
    begin = max(0, crash.at_ns - rng.randint(MS, LONGEST_CUT_NS))
    until = min(crash.until_ns + rng.randint(MS, LONGEST_CUT_NS), end_ns)
    others = rng.sample([other for other in range(peers) if other != peer], peers - 2)
    return [Cut(at_ns=begin, until_ns=until, source=peer, target=other) for other in others]


def _crash(
    rng: random.Random, within: tuple[int, int], peer: int, store: Store, silent: bool, loses: bool, trims: bool
) -> Crash:
    """One of them, between two times; its application goes on where it was, or before that, or begins anew."""
    at, until = within
    begin = at if rng.random() < 0.5 else rng.randrange(at, until)
    joining = store in AGED and rng.random() < 0.5
    return Crash(
        at_ns=begin,
        until_ns=rng.randint(begin, until),
        peer=peer,
        store=store.value,
        silent=silent,
        backup_ns=rng.randint(0, begin) if store is Store.OLD else 0,
        traces=store in AGED and (not joining or rng.random() < 0.3),
        joining=joining,
        alone=loses,
        resumes=1.0 if trims else rng.choice((None, 1.0, rng.random())),
    )
