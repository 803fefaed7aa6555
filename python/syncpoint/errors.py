"""Every exception that syncpoint raises at its callers.

A wrong argument raises where it was given and says what was given, what is allowed and what to do.
What a peer does wrong never raises: it is counted (`Engine.status().consensus.rejects`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from .core.epoch import Outcome
    from .core.proof import Flaw

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "Base58Error",
    "ContextError",
    "CoreUnavailable",
    "CorruptError",
    "DivergenceError",
    "EngineStopped",
    "KeyFileError",
    "KeyFormatError",
    "NotAMember",
    "ObserverError",
    "ProofError",
    "ProofUnavailable",
    "ProposalRejected",
    "QueueFull",
    "SocketBindError",
    "StorageError",
    "SyncpointError",
    "TransactionTooLarge",
]


class SyncpointError(Exception):
    """The root of all exceptions of this package; `code` is the number that `tashi_vertex` uses, if any."""

    code: ClassVar[int | None] = None


class ArgumentError(SyncpointError, ValueError):
    """A value that is not allowed (SDK code -1)."""

    code = -1


class ArgumentTypeError(SyncpointError, TypeError):
    """A value of the wrong type, None where an object is needed among them (SDK code -2)."""

    code = -2


class KeyFormatError(ArgumentError):
    """Bytes or text that are no key in the form asked for (SDK code -3)."""

    code = -3


class ContextError(SyncpointError):
    """The context cannot be used: it is closed, or in use in another event loop (SDK code -4)."""

    code = -4


class Base58Error(ArgumentError):
    """Text that is not base58 (SDK code -6)."""

    code = -6


class SocketBindError(SyncpointError, OSError):
    """The address cannot be bound: taken, not ours, not allowed, or not an address (SDK code -7)."""

    code = -7


class TransactionTooLarge(ArgumentError):
    """A transaction over the network's `max_transaction_bytes`."""


class KeyFileError(SyncpointError, OSError):
    """A key file that is missing, already there, malformed, or that others can read."""


class CoreUnavailable(SyncpointError, ImportError):
    """The core that was asked for cannot run here."""


class QueueFull(SyncpointError):
    """`try_send_transaction` found the queue at its limit; `await send_transaction` waits instead."""


class ObserverError(SyncpointError):
    """An observer (`PeerCapabilities.no_order`) has nothing to send with; a peer that takes part in ordering has."""


class NotAMember(SyncpointError):
    """This peer was not let in yet (`Engine.start(joins=True)`), and has no say; `Engine.vote_add_node` lets it in."""


class EngineStopped(SyncpointError):
    """The engine was stopped before, or while, this call could be carried out."""


class DivergenceError(EngineStopped):
    """So many others vouch for another order or another state than ours that the engine has stopped (C4).

    Either this application does not compute the same from the same stream, or this machine is damaged.
    """

    def __init__(self, index: int, ours: bytes, theirs: bytes, is_state: bool) -> None:
        super().__init__(index, ours, theirs, is_state)
        self.index = index
        """The place in the agreed stream behind which both were computed."""
        self.ours = ours
        """What we have there, 32 bytes: an order hash, or what our application attested."""
        self.theirs = theirs
        """What the others have there."""
        self.is_state = is_state
        """Whether it is the application's state that differs; else it is the order."""

    def __str__(self) -> str:
        what = "the state that was attested" if self.is_state else "the order"
        return (
            f"the others contradict us at index {self.index}: {what} is {self.ours.hex()} here and "
            f"{self.theirs.hex()} there"
        )


class ProposalRejected(SyncpointError):
    """The network has decided against a proposal, and nothing else has happened (S2)."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(outcome, reason)
        self.outcome = outcome
        """What became of it."""
        self.reason = reason
        """The same in words, and what to do."""

    def __str__(self) -> str:
        return self.reason


class ProofUnavailable(SyncpointError):
    """What was asked to be proved cannot be proved by this peer, or not any more."""


class ProofError(SyncpointError, ValueError):
    """Bytes that prove nothing in the network that was given (C3)."""

    def __init__(self, flaw: Flaw, reason: str) -> None:
        super().__init__(flaw, reason)
        self.flaw = flaw
        """What is wrong, as a number."""
        self.reason = reason
        """The same in words."""

    def __str__(self) -> str:
        return self.reason


class StorageError(SyncpointError, OSError):
    """The store cannot be read or written."""


class CorruptError(StorageError):
    """Our own store contradicts itself."""
