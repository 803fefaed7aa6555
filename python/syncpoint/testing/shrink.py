"""A failing scenario made as small as it gets while it still fails in the same way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

from .delays import Delays
from .scenario import Scenario

__all__ = ["shrink"]


def shrink(scenario: Scenario, fails: Callable[[Scenario], bool], tries: int = 200) -> Scenario:
    """The smallest scenario found for which `fails` holds, as it does for the one that is given.

    Leaves out faults and liars, ends earlier, sends less, and takes away what makes links uneven, as long as that
    changes nothing; runs at most `tries` scenarios.
    """
    left = tries
    smaller = True
    while smaller and left > 0:
        smaller = False
        for candidate in _smaller(scenario):
            if left <= 0:
                break
            left -= 1
            if fails(candidate):
                scenario, smaller = candidate, True
                break
    return scenario


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Scenarios with less in them, those with much less first."""
    for name in ("faults", "liars"):
        entries = getattr(scenario, name)
        size = len(entries) // 2
        while size:  # halves, quarters, ..., single ones
            for at in range(0, len(entries), size):
                yield _with(scenario, name, entries[:at] + entries[at + size :])
            size //= 2
        if len(entries) == 1:
            yield _with(scenario, name, ())
    for duration in (scenario.duration_ns // 4, scenario.duration_ns // 2, scenario.duration_ns * 3 // 4):
        if duration and all(fault.at_ns <= duration for fault in scenario.faults):
            yield dataclasses.replace(
                scenario,
                duration_ns=duration,
                faults=tuple(
                    fault
                    if fault.until_ns is None or fault.until_ns <= duration
                    else dataclasses.replace(fault, until_ns=duration)
                    for fault in scenario.faults
                ),
            )
    load = scenario.load
    for transactions in (0, load.transactions // 4, load.transactions // 2):
        if transactions < load.transactions:
            yield _with(scenario, "load", dataclasses.replace(load, transactions=transactions))
    even = Delays(kind="fixed", low_ns=scenario.delays.low_ns)
    for delays in (even, dataclasses.replace(scenario.delays, loss=0.0, duplicates=0.0, reordering=0.0)):
        if delays != scenario.delays:
            yield _with(scenario, "delays", delays)
    if scenario.sync_ns:
        yield _with(scenario, "sync_ns", 0)
    for at, fault in enumerate(scenario.faults):
        if fault.until_ns is not None and fault.until_ns - fault.at_ns > 2_000_000:
            shorter = dataclasses.replace(fault, until_ns=(fault.at_ns + fault.until_ns) // 2)
            yield _with(scenario, "faults", (*scenario.faults[:at], shorter, *scenario.faults[at + 1 :]))


def _with(scenario: Scenario, name: str, value: object) -> Scenario:
    return dataclasses.replace(scenario, **{name: value})  # type: ignore[arg-type]
