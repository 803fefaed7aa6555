"""Every exception that syncpoint raises at its callers.

A wrong argument raises where it was given and says what was given, what is allowed and what to do.
What a peer does wrong never raises: it is counted (`Engine.status().consensus.rejects`).
"""

from __future__ import annotations

from typing import ClassVar

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
    "ObserverError",
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


class EngineStopped(SyncpointError):
    """The engine was stopped before, or while, this call could be carried out."""


class DivergenceError(SyncpointError):
    """A super-majority vouches for another order or state than ours."""


class StorageError(SyncpointError, OSError):
    """The store cannot be read or written."""


class CorruptError(StorageError):
    """Our own store contradicts itself."""
