"""What an engine says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .backend import CoreInfo
from .core.error import Reject
from .core.status import Status
from .keys import KeyPublic

__all__ = ["EngineStatus"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """What an engine says of itself; reading it changes nothing."""

    core: CoreInfo
    """Which core runs."""

    consensus: Status
    """What its machine says: rounds, delivered events, order hash, rejects by code, pace."""

    linked: tuple[KeyPublic, ...]
    """The peers with a live link."""

    refusals: dict[KeyPublic, str]
    """Peers without a link: why there is none, as far as is known, and what to do about it."""

    rejects: Mapping[Reject, int]
    """What peers sent that was refused, by code (docs/wire.md): by links and by the machine together."""

    unread_messages: int
    """Delivered, not received by the application yet."""

    unacknowledged_bytes: int
    """Bytes of own transactions that are not final yet."""

    dropped_frames: int
    """Frames not sent because a peer's queue was full; it fetches what it lacks."""

    stopped: bool
    """Whether the engine was stopped or has failed."""

    delivered_per_s: float
    """Events delivered per second, over the last five: while we catch up, how fast."""

    storage: str | None = None
    """Why nothing can be stored at the moment, and so no event be made; None when all is well."""
