"""What a liar is: a description as data, and something that takes an engine's place at one of the peers."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ...errors import ArgumentError
from ..cluster import Cluster

__all__ = ["Liar", "LiarSpec"]

MAX_FORKS = 1_000  # of one slot, by one liar
MAX_COPIES = 3  # of one identity


@dataclass(frozen=True, slots=True, kw_only=True)
class LiarSpec:
    """Who lies, how, how much and when; times are ns since the beginning of the simulation.

    Raises ArgumentError for a value outside its range.
    """

    kind: str
    """One of `LIARS`."""

    creator: int
    """Whose place it takes."""

    strength: float = 1.0
    """How often, or how much, it misbehaves: 0 (never, as far as the kind can behave) to 1."""

    begin_ns: int = 0
    """Until then it behaves."""

    until_ns: int | None = None
    """From then on it is silent; None is never."""

    forks: int = 50
    """For "fork_bomb": events for one slot at strength 1, 2 to 1,000."""

    copies: int = 2
    """For "twin" and "hot_spare": how many run, 2 or 3."""

    padding: int | None = None
    """For those that fork: bytes in each header, 0 to 60,000. With more than 8,000 nobody makes a proof of the forks,
    so that they are never excluded. None is drawn."""

    victim: int | None = None
    """For "stale": whom it never votes for; None is drawn."""

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("creator", self.creator, 0, None),
            ("strength", self.strength, 0, 1),
            ("begin_ns", self.begin_ns, 0, None),
            ("forks", self.forks, 2, MAX_FORKS),
            ("copies", self.copies, 2, MAX_COPIES),
            ("padding", self.padding or 0, 0, 60_000),
        ):
            if value < low or (high is not None and value > high):
                raise ArgumentError(f"LiarSpec.{name} is {value}: give {low}{f' to {high}' if high else ' or more'}")

    def to_data(self) -> dict[str, Any]:
        """As plain values, for a file; `liar_from` reads it."""
        data: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                data[field.name] = value
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> LiarSpec:
        """What `to_data` wrote; ArgumentError for what is none."""
        try:
            return cls(**data)
        except TypeError as error:
            raise ArgumentError(f"a liar of kind {data.get('kind')!r}: {error}") from error


class Liar:
    """Takes the place of the engine of one peer; all that it does follows from the random numbers that it gets."""

    kind: ClassVar[str]

    def __init__(self, cluster: Cluster, spec: LiarSpec, rng: random.Random) -> None:
        if not spec.creator < cluster.n:
            raise ArgumentError(
                f"a liar in place of peer {spec.creator}: there are {cluster.n}, give 0 to {cluster.n - 1}"
            )
        self.cluster = cluster
        self.spec = spec
        self.creator = spec.creator
        self.rng = rng
        self.counters: dict[str, int] = {}
        """What it did, by name; "lies" is there when it lied at all."""

    def start(self) -> None:
        """Begin; instead of `cluster.start(creator)`."""
        raise NotImplementedError

    @property
    def over(self) -> bool:
        """Whether it is silent for good."""
        return self.spec.until_ns is not None and self.cluster.now_ns >= self.spec.until_ns

    @property
    def lying(self) -> bool:
        """Whether it is the time to lie."""
        return self.spec.begin_ns <= self.cluster.now_ns and not self.over

    def lies(self) -> bool:
        """Whether to lie now; drawn anew at each call."""
        return self.lying and self.rng.random() < self.spec.strength

    def count(self, what: str, by: int = 1) -> None:
        """Note what was done."""
        self.counters[what] = self.counters.get(what, 0) + by
