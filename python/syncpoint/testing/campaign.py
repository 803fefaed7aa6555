"""Many scenarios on all cores of this computer: what failed, what happened, what never happened."""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field

from ..core.crypto import blake3
from .draw import draw
from .features import WANTED
from .scenario import Scenario
from .simulation import Outcome, simulate

__all__ = ["Campaign", "Settings", "missing", "repeat"]

CHUNK = 8  # scenarios that a process takes at once
MIN_SCENARIOS = 500  # from which on a campaign must have had everything
KEPT_LATENCIES = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Which scenarios."""

    profile: str = "chaos"
    peers: int | None = None
    core: str = "auto"
    kinds: tuple[str, ...] = ()
    size: float = 1.0

    def check(self) -> None:
        """Raise ArgumentError for what cannot be drawn."""
        self.scenario(0).check()

    def scenario(self, seed: int) -> Scenario:
        """The scenario of a seed."""
        return draw(seed, self.profile, peers=self.peers, core=self.core, kinds=self.kinds, size=self.size)

    def outcome(self, seed: int) -> Outcome:
        """Draw the scenario of a seed, and run it."""
        return simulate(self.scenario(seed))


@dataclass(slots=True)
class Campaign:
    """Scenarios of many seeds, and what came of them."""

    settings: Settings
    done: int = 0
    deliveries: int = 0
    ordered: int = 0
    virtual_ns: int = 0
    cpu_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)
    digests: dict[int, str] = field(default_factory=dict)
    """Of each seed."""
    latencies: list[tuple[float, float]] = field(default_factory=list)
    """A sample: ms from making an event to its delivery, and the same in typical message delays."""

    def digest(self) -> str:
        """Hex, of all that happened: of the digests of all seeds, in order."""
        return blake3("".join(f"{seed} {self.digests[seed]}\n" for seed in sorted(self.digests)).encode()).hex()

    def run(
        self, seeds: Iterable[int], *, processes: int | None = None, until: float | None = None
    ) -> Iterator[Outcome]:
        """Run the scenarios of these seeds, several at once; each outcome as it comes, in no order.

        `until` is a time of `time.monotonic()` after which nothing more is begun. Closing the iterator ends it.
        """
        count = processes or os.cpu_count() or 1
        if count == 1:
            for seed in seeds:
                if until is not None and time.monotonic() >= until:
                    return
                yield self._add(*_run_one(self.settings, seed))
            return
        chunks = _chunks(seeds, until)
        # Not a fork: a child must not have what this process happens to have, threads and locks among it.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(count, mp_context=context) as pool:
            running = {pool.submit(_run_some, self.settings, chunk) for chunk in itertools.islice(chunks, 2 * count)}
            try:
                while running:
                    finished, running = wait(running, return_when=FIRST_COMPLETED)
                    running |= {pool.submit(_run_some, self.settings, chunk)
                                for chunk in itertools.islice(chunks, len(finished))}  # fmt: skip
                    for outcome, cpu_s in (each for future in finished for each in future.result()):
                        yield self._add(outcome, cpu_s)
            finally:
                for future in running:
                    future.cancel()

    def _add(self, outcome: Outcome, cpu_s: float) -> Outcome:
        self.done += 1
        self.deliveries += outcome.deliveries
        self.ordered += outcome.ordered
        self.virtual_ns += outcome.virtual_ns
        self.cpu_s += cpu_s
        self.counts.update(outcome.features)
        self.digests[outcome.scenario.seed] = outcome.digest
        if len(self.latencies) < KEPT_LATENCIES:
            delay_ns = outcome.scenario.delays.typical_ns
            self.latencies += [(ns / 1e6, ns / delay_ns) for ns in outcome.latencies_ns]
        if not outcome.ok:
            self.failures.append(outcome)
        return outcome


def missing(campaign: Campaign) -> list[str]:
    """What should have happened in a campaign of this length, and happened too seldom."""
    settings = campaign.settings
    if campaign.done < MIN_SCENARIOS or settings.kinds:
        return []
    return [
        f"{what}: {campaign.counts[what]}, at least {least} wanted"
        for what, least in WANTED.get(settings.profile, {}).items()
        if campaign.counts[what] < least
    ]


def repeat(campaign: Campaign, share: float = 0.01) -> list[int]:
    """Run a share of the seeds again in a fresh process with another hash seed; those whose digest differs."""
    rng = random.Random(len(campaign.digests))
    known = sorted(campaign.digests)
    seeds = rng.sample(known, min(len(known), max(1, round(share * len(known)))))
    settings = dataclasses.asdict(campaign.settings)
    script = (
        "import sys; from syncpoint.testing.campaign import Settings\n"
        f"settings = Settings(**{settings!r})\n"
        f"for seed in {seeds!r}: print(seed, settings.outcome(seed).digest)\n"
    )
    environment = os.environ | {"PYTHONHASHSEED": str(rng.randrange(1, 2**32))}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    again = dict(line.split() for line in done.stdout.splitlines())
    return [seed for seed in seeds if again.get(str(seed)) != campaign.digests[seed]]


def _run_one(settings: Settings, seed: int) -> tuple[Outcome, float]:
    begin = time.process_time()
    outcome = settings.outcome(seed)
    return outcome, time.process_time() - begin


def _run_some(settings: Settings, seeds: list[int]) -> list[tuple[Outcome, float]]:
    return [_run_one(settings, seed) for seed in seeds]


def _chunks(seeds: Iterable[int], until: float | None) -> Iterator[list[int]]:
    """A few seeds at a time, while there is time."""
    rest = iter(seeds)
    while (until is None or time.monotonic() < until) and (chunk := list(itertools.islice(rest, CHUNK))):
        yield chunk
