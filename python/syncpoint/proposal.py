"""What is proposed to the network, and the policy by which a peer votes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from .core.change import CHANGING
from .core.config import Network
from .core.items import MAX_METADATA_BYTES
from .core.values import SyncPointKind
from .errors import ArgumentError, ArgumentTypeError
from .keys import KeyPublic
from .peers import Peer

__all__ = ["PROPOSABLE", "Approve", "Proposal", "approve_by_default", "check_proposal", "check_timeout"]

PROPOSABLE = tuple(kind for kind in SyncPointKind if kind not in CHANGING)  # by `Engine.propose`
MIN_TIMEOUT_S = 0.001
MAX_TIMEOUT_S = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A sync point that a peer asks for and that is not decided yet; the same on every peer (S1)."""

    id: bytes
    """32 bytes."""

    kind: SyncPointKind
    """What the sync point will be about."""

    metadata: bytes
    """What the proposer attached, up to 8,192 bytes."""

    proposer: KeyPublic
    """Who asks for it, and has approved it thereby."""

    deadline: int
    """Consensus time, ns since the Unix epoch; if a quorum has not approved it by then, it is given up."""

    joins: Peer | None = None
    """Who is to be let in (MEMBERSHIP)."""

    leaves: KeyPublic | None = None
    """Who is to be removed (MEMBERSHIP)."""

    rotates: tuple[KeyPublic, KeyPublic] | None = None
    """The proposer's key, and the one that is to take its place (KEY_ROTATION)."""

    network: Network | None = None
    """The settings that are to hold (CONFIG)."""

    _change: bytes = field(default=b"", repr=False, compare=False)


Approve = Callable[[Proposal], bool | None]
"""A policy: True approves, False refuses, None leaves it to `Engine.vote`."""


def approve_by_default(proposal: Proposal) -> bool | None:
    """Approve what changes nothing about the network, and new keys; leave the rest to the application.

    Only the holder of a key can ask for another one. The end of the session, members and settings are left to the
    application: else a single peer could decide about them for all.
    """
    if proposal.kind is SyncPointKind.KEY_ROTATION:
        return True
    return True if proposal.kind in PROPOSABLE and proposal.kind is not SyncPointKind.END else None


def check_proposal(kind: object, metadata: object, timeout: object) -> tuple[SyncPointKind, bytes, int]:
    """Kind, metadata and time to decide in ns of what shall be proposed; ArgumentError or ArgumentTypeError."""
    names = ", ".join(each.name for each in PROPOSABLE)
    if not isinstance(kind, SyncPointKind):
        raise ArgumentTypeError(
            f"Engine.propose: kind is {kind!r} ({type(kind).__name__}): give a SyncPointKind, one of {names}"
        )
    if kind not in PROPOSABLE:
        raise ArgumentError(
            f"Engine.propose: {kind.name} needs more than metadata: call {_CALLS[kind]}; or give one of {names}"
        )
    if not isinstance(metadata, bytes | bytearray | memoryview):
        raise ArgumentTypeError(
            f"Engine.propose: metadata is {type(metadata).__name__}: give bytes, bytearray or memoryview "
            "(encode text first)"
        )
    data = bytes(metadata)
    if len(data) > MAX_METADATA_BYTES:
        raise ArgumentError(
            f"Engine.propose: metadata of {len(data)} bytes; allowed are up to {MAX_METADATA_BYTES}: "
            "send the rest as a transaction before, and name it by its hash"
        )
    return kind, data, check_timeout("propose", timeout)


def check_timeout(call: str, timeout: object) -> int:
    """The time to decide in ns; ArgumentError or ArgumentTypeError."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise ArgumentTypeError(f"Engine.{call}: timeout is {timeout!r}: give seconds, as int or float")
    if not (math.isfinite(timeout) and MIN_TIMEOUT_S <= timeout <= MAX_TIMEOUT_S):
        raise ArgumentError(f"Engine.{call}: timeout is {timeout}: give {MIN_TIMEOUT_S} to {MAX_TIMEOUT_S:.0f} seconds")
    return round(timeout * 1e9)


_CALLS = {
    SyncPointKind.MEMBERSHIP: "Engine.vote_add_node or Engine.vote_remove_node",
    SyncPointKind.KEY_ROTATION: "Engine.rotate_key",
    SyncPointKind.CONFIG: "Engine.change_options",
}
