"""What a machine tells the runtime to do; outputs are carried out in order.

Peers have numbers as in `input`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .error import Reject
from .values import Delivered

__all__ = [
    "Broadcast",
    "Deliver",
    "Halted",
    "Output",
    "Persist",
    "Queue",
    "Rejected",
    "Send",
    "SendStored",
    "Wake",
    "Write",
]


@dataclass(frozen=True, slots=True)
class Persist:
    """Make these records durable, then answer `Persisted(token)` (J1)."""

    token: int
    records: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Write:
    """Write these records of accepted events, in this order and before what comes after; nothing waits for it (J2)."""

    records: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Send:
    """Send a frame to a peer, or drop it when its queue is full."""

    peer: int
    frame: bytes


@dataclass(frozen=True, slots=True)
class SendStored:
    """Send a peer events that only the store has, lowest rounds first, as many as `most` bytes take; then a frame."""

    peer: int
    first: int  # the lowest round
    frontier: Sequence[int]  # round for each creator: the peer has what is not above
    most: int  # bytes; one event is sent whatever its size
    last: bytes  # the frame that ends the answer


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send a frame to every linked peer."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand these to the application, in this order."""

    messages: Sequence[Delivered]


@dataclass(frozen=True, slots=True)
class Queue:
    """So much of what was submitted has not gone into an event yet."""

    transactions: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Wake:
    """Call `step` at this time; replaces the earlier one."""

    at: int  # ns


@dataclass(frozen=True, slots=True)
class Rejected:
    """A frame of this peer was not taken; one that is malformed costs it the link."""

    peer: int
    code: Reject


@dataclass(frozen=True, slots=True)
class Halted:
    """This machine makes no more events, and why; it still follows, serves and delivers."""

    reason: str


Output = Persist | Write | Send | SendStored | Broadcast | Deliver | Queue | Wake | Rejected | Halted
