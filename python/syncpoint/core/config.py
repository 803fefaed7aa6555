"""What a network agrees on before it starts, and what each peer may set for itself."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..errors import ArgumentError, ArgumentTypeError

__all__ = [
    "MAX_GC_DEPTH",
    "MAX_ITEMS",
    "MAX_ITEM_BYTES",
    "MAX_NAME_BYTES",
    "MAX_PAYLOAD_BYTES",
    "MAX_PEERS",
    "MAX_TRANSACTIONS",
    "NO_ORDER",
    "ORDERS",
    "PROTOCOL_VERSION",
    "RULES",
    "SIGNATURES",
    "Local",
    "MachineConfig",
    "Member",
    "Network",
]

PROTOCOL_VERSION = 1
MAX_PEERS = 128
MAX_NAME_BYTES = 64
MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
MAX_GC_DEPTH = 10_000
MAX_TRANSACTIONS = 16_384  # in one event
MAX_ITEMS = 64
MAX_ITEM_BYTES = 64 * 1024
NO_ORDER = 1  # in `Member.flags`: an observer (Q4)

RULES = ("two_step", "three_step")
ORDERS = ("fair", "fast")
SIGNATURES = ("ed25519", "simulated")

_SETTINGS = struct.Struct("<BBHIIII")  # what follows the name


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What all peers of a network must have set alike; its hash is part of every event (E1).

    Raises ArgumentError or ArgumentTypeError at construction for a value outside its range.
    """

    name: str = "syncpoint"
    """Any text of 1 to 64 bytes; keeps apart networks that are otherwise alike."""

    rule: str = "two_step"
    """The decision rule: "two_step" (final in two message delays in the good case) or "three_step" (D5 to D8)."""

    order: str = "fair"
    """The delivery order: "fair" (median of first-seen times, one delay later) or "fast" (O4, O5)."""

    f: int | None = None
    """Liars and crashes tolerated: 0 to floor((n-1)/3); None takes the most (Q1)."""

    gc_depth: int = 200
    """Rounds, 4 to 10,000: how long an undelivered event may still be ordered (O2, V3).

    It bounds how far a peer may lag and still have its own transactions ordered: its delay there and back
    must be shorter than so many rounds of the others. Memory grows with it.
    """

    max_payload_bytes: int = 1024 * 1024
    """Bytes of transactions in one event, 1 KiB to 8 MiB; a transaction takes its length + 4."""

    max_ahead: int = 200
    """Rounds, 8 to 100,000: an event farther above the highest round that a peer knows is not kept (V7)."""

    epoch_ms: int = 0
    """Milliseconds of consensus time from a transaction to the next regular EPOCH sync point, 0 to 3,600,000 (S5).

    0 stands for none. An idle network makes none in any case.
    """

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ArgumentTypeError(f"Network.name is {self.name!r}: give a text")
        encoded = self.name.encode(errors="replace")  # a lone surrogate has no encoding and comes out different
        if encoded.decode() != self.name or not 1 <= len(encoded) <= MAX_NAME_BYTES:
            raise ArgumentError(f"Network.name is {self.name!r}: give a text of 1 to {MAX_NAME_BYTES} bytes in UTF-8")
        if self.rule not in RULES:
            raise ArgumentError(f"Network.rule is {self.rule!r}: give one of {', '.join(RULES)}")
        if self.order not in ORDERS:
            raise ArgumentError(f"Network.order is {self.order!r}: give one of {', '.join(ORDERS)}")
        if self.f is not None:
            _check_range("Network.f", self.f, 0, MAX_PEERS // 3)
        _check_range("Network.gc_depth", self.gc_depth, 4, MAX_GC_DEPTH)
        _check_range("Network.max_payload_bytes", self.max_payload_bytes, 1024, MAX_PAYLOAD_BYTES)
        _check_range("Network.max_ahead", self.max_ahead, 8, 100_000)
        _check_range("Network.epoch_ms", self.epoch_ms, 0, 3_600_000)

    @property
    def max_transaction_bytes(self) -> int:
        """The largest transaction: what fills one event by itself."""
        return self.max_payload_bytes - 4

    def encode(self) -> bytes:
        """The canonical bytes of these settings (docs/wire.md); equal networks, equal bytes."""
        name = self.name.encode()
        settings = _SETTINGS.pack(
            RULES.index(self.rule),
            ORDERS.index(self.order),
            0xFFFF if self.f is None else self.f,
            self.gc_depth,
            self.max_payload_bytes,
            self.max_ahead,
            self.epoch_ms,
        )
        return struct.pack("<H", len(name)) + name + settings

    @classmethod
    def decode(cls, data: bytes) -> Network | None:
        """The settings in canonical bytes, None when they are none."""
        if len(data) < 2:
            return None
        (size,) = struct.unpack_from("<H", data)
        if len(data) != 2 + size + _SETTINGS.size:
            return None
        rule, order, f, gc_depth, max_payload_bytes, max_ahead, epoch_ms = _SETTINGS.unpack_from(data, 2 + size)
        if rule >= len(RULES) or order >= len(ORDERS):
            return None
        try:
            return cls(
                name=data[2 : 2 + size].decode(),
                rule=RULES[rule],
                order=ORDERS[order],
                f=None if f == 0xFFFF else f,
                gc_depth=gc_depth,
                max_payload_bytes=max_payload_bytes,
                max_ahead=max_ahead,
                epoch_ms=epoch_ms,
            )
        except (UnicodeDecodeError, ArgumentError):
            return None


@dataclass(frozen=True, slots=True)
class Member:
    """One peer as the committee knows it."""

    public: bytes  # 32 bytes
    flags: int = 0  # its capabilities, one bit each

    @property
    def orders(self) -> bool:
        """Whether it takes part in ordering; else it is an observer (Q4)."""
        return not self.flags & NO_ORDER


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """What one peer sets for itself; agreement never depends on it (P5)."""

    min_event_interval_ns: int = 1_000_000
    heartbeat_ns: int = 500_000_000
    retain_events: int = 40_000  # about so many are kept in memory for peers that are behind (F4) ...
    retain_bytes: int = 256 * 1024 * 1024  # ... unless they are larger than this
    pool_bytes_per_sender: int = 4 * 1024 * 1024  # events from one peer that wait for their parents (V7)
    verify_threads: int = 1  # threads that check signatures when many come at once; the Python core uses one
    stores: bool = False  # whether what is accepted is given out to be written (J2): there is a store to keep it


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineConfig:
    """Everything a machine is made from."""

    network: Network
    members: tuple[Member, ...]  # in any order, observers among them
    seed: bytes  # 32 bytes: our Ed25519 secret
    entropy: bytes  # 32 bytes: randomness comes in, it is never made here (L1)
    local: Local = Local()

    joins: bool = False
    """Whether our key need not be in the first committee: we follow until a sync point lets us in (S6)."""

    next_seed: bytes | None = None
    """32 bytes: the secret of a key that takes the place of ours in the first epoch whose committee has it (S4)."""

    signatures: str = "ed25519"
    """How events are signed: "ed25519", or "simulated", for tests on virtual time only: it proves nothing.

    A simulated signature is a hash that anyone can compute (`crypto.simulated_signature`), so that a simulator spends
    its time on the order and not on curves. Keys, bytes and epoch id are the same. No setting of a network or of an
    engine leads to it: what surrounds a machine chooses, alike for all machines that are to understand each other.
    """

    def __post_init__(self) -> None:
        if self.signatures not in SIGNATURES:
            raise ArgumentError(f"MachineConfig.signatures is {self.signatures!r}: give one of {', '.join(SIGNATURES)}")

    def __repr__(self) -> str:
        return f"MachineConfig(network={self.network!r}, {len(self.members)} members)"


def _check_range(what: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentTypeError(f"{what} is {value!r}: give an integer")
    if not low <= value <= high:
        raise ArgumentError(f"{what} is {value}: give {low} to {high}")
