"""What a machine tells the runtime to do; outputs are carried out in order.

Peers have numbers as in `input`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .checkpoint import Certificate, Divergence
from .epoch import Outcome
from .error import Reject
from .journal import EpochStart
from .values import Delivered, SyncPoint

__all__ = [
    "Broadcast",
    "Certified",
    "Closed",
    "Deliver",
    "Diverged",
    "Entered",
    "Halted",
    "Opened",
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
    """Make these records durable, not before those of an earlier one, then answer `Persisted(token)` (J1)."""

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
    epoch: int  # the number of the epoch that they are of
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

    messages: Sequence[Delivered | SyncPoint]
    states: Sequence[
        tuple[int, bytes]
    ] = ()  # where the state of proposals and votes changed: round, the state after it


@dataclass(frozen=True, slots=True)
class Opened:
    """A proposal was delivered and is open, or is still after a restart (S1)."""

    proposal: bytes  # its id
    proposer: int  # creator, in the epoch that was entered last
    kind: int
    deadline: int  # ns, of consensus time
    salt: int
    metadata: bytes
    change: bytes
    voted: bool  # our vote is counted, or we have none


@dataclass(frozen=True, slots=True)
class Closed:
    """A proposal is decided; after an adopted one comes its sync point (S2).

    It comes once for each that was `Opened` here, and for each that our own application asked for since the start and
    that never was open. Of what others ask for in vain nobody hears.
    """

    proposal: bytes  # its id
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate that was asked for; without signatures where the checkpoint is too old to be known (C2)."""

    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Diverged:
    """Others contradict us, honest ones among them: our order, or our application, is another one (C4)."""

    divergence: Divergence


@dataclass(frozen=True, slots=True)
class Entered:
    """An epoch has begun: from here on its members, their numbers and its settings hold (S4).

    Its sync point was delivered before. Peers that are no members any more are still served for a while.
    """

    start: EpochStart


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


Output = (
    Persist
    | Write
    | Send
    | SendStored
    | Broadcast
    | Deliver
    | Opened
    | Closed
    | Certified
    | Diverged
    | Entered
    | Queue
    | Wake
    | Rejected
    | Halted
)
