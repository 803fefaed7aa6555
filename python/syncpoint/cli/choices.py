"""Words that commands take."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Approval", "Order", "Rule"]


class Approval(StrEnum):
    """How a peer votes on what others propose."""

    ALL = "all"
    NONE = "none"
    ASK = "ask"


class Rule(StrEnum):
    """`Network.rule`."""

    TWO_STEP = "two_step"
    THREE_STEP = "three_step"


class Order(StrEnum):
    """`Network.order`."""

    FAIR = "fair"
    FAST = "fast"
