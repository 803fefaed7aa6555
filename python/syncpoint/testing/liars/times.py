"""A liar about time."""

from __future__ import annotations

import random

from ...core.wire import MAX_TIME
from ..cluster import Cluster
from .base import LiarSpec
from .forger import MS, Forger

__all__ = ["TimeLiar"]

SECOND_NS = 1_000 * MS
DAY_NS = 86_400 * SECOND_NS
LEFT_NS = 10_000_000  # before the end of time: so many events can still be made
WAYS = ("step", "step", "step", "now", "second", "second", "day", "century", "end", "same", "before", "beyond")


class TimeLiar(Forger):
    """Says of each event that it was made at another wrong time, from the oldest that is valid to the end of time."""

    kind = "time_liar"

    def __init__(self, cluster: Cluster, spec: LiarSpec, rng: random.Random) -> None:
        super().__init__(cluster, spec, rng)
        # Not everybody goes that far, as there is no way back.
        self._ways = tuple(way for way in WAYS if way not in ("century", "end") or rng.random() < 0.5)

    def lie(self, round: int) -> None:
        """One valid event with a wrong time, sometimes after one whose time is not valid."""
        rng = self.rng
        tip = self.tip()
        last = tip.created_at if tip is not None else 0
        way = rng.choice(self._ways)
        self.count("lies")
        self.count(way)
        if way in ("same", "before", "beyond"):
            at = {"same": last, "before": rng.randint(0, last), "beyond": MAX_TIME + rng.randint(1, DAY_NS)}[way]
            event = self.make(round, tip, at=at)
            if event is not None:
                self.keep(event)
                self.show(event)
            if event is None or event.digest in self.dag:
                return
            way = "step"
        # V5 leads in one direction only: who is at the end of time goes on in steps, or could make no more events.
        event = self.make(round, tip, at=max(min(self._time(way, last), MAX_TIME - LEFT_NS), last + 1))
        if event is not None:
            self.keep(event)
            self.show(event)

    def _time(self, way: str, last: int) -> int:
        """What the event claims, ns; to be moved above the last one (V5)."""
        rng = self.rng
        match way:
            case "step":  # the oldest that is valid
                return last + 1
            case "now":
                return self.node.host.hardware_clock.wall()
            case "second":
                return last + rng.randint(1, SECOND_NS)
            case "day":
                return last + rng.randint(1, DAY_NS)
            case "century":
                return last + rng.randint(1, 36_525 * DAY_NS)
            case _:
                return MAX_TIME - LEFT_NS
