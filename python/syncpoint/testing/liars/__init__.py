"""Peers that lie, each in one way: what a simulation puts in place of engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ArgumentError
from .base import Liar, LiarSpec
from .decisions import FalseChanger, FalseVoter
from .forks import Equivocator, ForkBomb
from .hiding import Silent, Stale, Withholder
from .noise import FarFuture, Junk
from .outdated import Replayer
from .rules import RuleBreaker
from .times import TimeLiar
from .twins import HotSpare, Twin

__all__ = ["LIARS", "ONLY_BY_NAME", "Liar", "LiarSpec", "liar_from"]

LIARS: dict[str, type[Liar]] = {
    each.kind: each
    for each in (
        Equivocator,
        ForkBomb,
        Withholder,
        Silent,
        TimeLiar,
        Stale,
        Junk,
        FarFuture,
        Twin,
        HotSpare,
        RuleBreaker,
        FalseVoter,
        FalseChanger,
        Replayer,
    )
}
"""Every kind of liar by its name."""

ONLY_BY_NAME = frozenset({"rule_breaker", "false_voter", "false_changer", "replayer"})
"""Kinds that are drawn only if they are asked for, so that the scenarios of all seeds so far stay what they are."""


def liar_from(data: Mapping[str, Any]) -> LiarSpec:
    """The liar that `to_data` wrote; ArgumentError for what is none."""
    if data.get("kind") not in LIARS:
        raise ArgumentError(f"a liar of kind {data.get('kind')!r}: give one of {', '.join(LIARS)}")
    return LiarSpec.from_data(data)
