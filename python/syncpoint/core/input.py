"""What the runtime tells a machine.

Peers have numbers, which they keep as long as they are members: at first those that order their creator index, 0 to
n - 1, and observers the numbers from n on (Q4); whoever joins gets the next free one (`roster.Roster`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "Attest",
    "Certify",
    "Connected",
    "Disconnected",
    "Input",
    "NextKey",
    "Persisted",
    "Propose",
    "Received",
    "Start",
    "Submit",
    "Vote",
]


@dataclass(frozen=True, slots=True)
class Start:
    """The first input: what the store has (J1, J2, R1), nothing for a new peer.

    The records are the beginnings of all epochs after the first; if anything was delivered in the newest epoch, a place
    and the state of proposals and votes there if there is any; then events in the order in which they were written: of
    the newest epoch all those of the retained rounds up to the place and above, and of any epoch own ones from the
    oldest on that was not delivered; then which own ones were delivered before the place.
    """

    records: Sequence[bytes]
    whole: bool = True  # False when own events may be missing: lost, from a backup, or damaged (R2)


@dataclass(frozen=True, slots=True)
class Received:
    """Frames from a peer, in the order in which they arrived, without their length prefix."""

    peer: int
    frames: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Submit:
    """Transactions of our own application; they are numbered from 0 in the order in which they come in."""

    transactions: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Propose:
    """Our own application asks for a sync point (S1)."""

    body: bytes  # `items.encode_proposal`, which has an id by `items.proposal_id`


@dataclass(frozen=True, slots=True)
class Vote:
    """Our own application approves or refuses a proposal (S1)."""

    proposal: bytes  # its id
    approves: bool


@dataclass(frozen=True, slots=True)
class Attest:
    """The hash of our own application's state behind a sync point (C1)."""

    index: int  # of the sync point
    state_hash: bytes  # 32 bytes


@dataclass(frozen=True, slots=True)
class Certify:
    """Ask for a certificate of the first checkpoint at an index or behind it; `Certified` answers (C2)."""

    index: int


@dataclass(frozen=True, slots=True)
class NextKey:
    """The secret of a key that takes the place of ours in the first epoch whose committee has it (S4)."""

    seed: bytes  # 32 bytes

    def __repr__(self) -> str:
        return "NextKey(...)"


@dataclass(frozen=True, slots=True)
class Persisted:
    """The records of the Persist with this token are durable now."""

    token: int


@dataclass(frozen=True, slots=True)
class Connected:
    """A link to this peer is up."""

    peer: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The link to this peer is gone."""

    peer: int


Input = Start | Received | Submit | Propose | Vote | Attest | Certify | NextKey | Persisted | Connected | Disconnected
