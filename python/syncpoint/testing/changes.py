"""What members of a simulated network change in it, as data: who joins, who leaves, which keys and settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.config import Network
from ..errors import ArgumentError

__all__ = ["KINDS", "ChangeSpec", "change_from"]

KINDS = ("join", "leave", "rotate", "configure")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSpec:
    """A change that a quorum of members, or for a key its holder, calls for at a time (ns)."""

    kind: str
    at_ns: int
    peer: int = 0
    """Number of the host that joins, leaves or has another key."""
    settings: tuple[tuple[str, Any], ...] = ()
    """Fields of `Network` that become others, with their values."""
    started_ns: int = 0
    """When the host that joins starts."""

    def network(self, now: Network) -> Network:
        """The settings that are to hold."""
        return dataclasses.replace(now, **dict(self.settings))

    def check(self, hosts: int) -> None:
        """Raise ArgumentError for what no network of so many hosts can be asked for."""
        if self.kind not in KINDS or not 0 <= self.peer < hosts or min(self.at_ns, self.started_ns) < 0:
            raise ArgumentError(f"{self}: give a kind of {', '.join(KINDS)}, a peer below {hosts}, and times from 0 on")
        try:
            self.network(Network())
        except TypeError as error:
            raise ArgumentError(f"{self}: {error}") from error

    def to_data(self) -> dict[str, Any]:
        """As plain values, for a file."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }


def change_from(data: Mapping[str, Any]) -> ChangeSpec:
    """The change that `to_data` wrote; ArgumentError for what is none."""
    fields = dict(data)
    if "settings" in fields:
        fields["settings"] = tuple(map(tuple, fields["settings"]))
    try:
        return ChangeSpec(**fields)
    except TypeError as error:
        raise ArgumentError(f"a change: {error}") from error
