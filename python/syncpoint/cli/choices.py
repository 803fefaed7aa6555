"""Words that commands take for a network's settings."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Order", "Rule"]


class Rule(StrEnum):
    """`Network.rule`."""

    TWO_STEP = "two_step"
    THREE_STEP = "three_step"


class Order(StrEnum):
    """`Network.order`."""

    FAIR = "fair"
    FAST = "fast"
