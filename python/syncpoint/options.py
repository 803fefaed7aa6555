"""Settings of one engine, under the names and in the units of the SDK."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

from syncpoint.errors import ArgumentError, ArgumentTypeError

__all__ = ["Options"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Settings of one engine, checked when they are made and never changed afterwards.

    All names and units are the SDK's. Each field below tells its unit, default, range and effect. A
    value outside its range raises ArgumentError, one of another type ArgumentTypeError; both name the
    field, what was given, what is allowed and what to do.

    >>> Options(heartbeat_us=250_000).heartbeat_us
    250000
    """

    base_min_event_interval_us: int = 1_000
    """Least time between two own events, in microseconds.

    Default 1_000; 0 to 10_000_000, and at most `heartbeat_us`. Smaller means less latency and more
    events; 0 sets no limit of its own.
    """

    heartbeat_us: int = 500_000
    """Longest time without an own event, in microseconds, even if nothing is to be said.

    Default 500_000; 1_000 to 60_000_000. Smaller shows a dead peer sooner and costs idle traffic.
    """

    report_gossip_events: bool = False
    """Whether to deliver events before they are ordered.

    Default False. Accepted for compatibility; no effect yet: the stream holds the agreed order only.
    """

    fallen_behind_kick_s: int = -1
    """How long a peer may be silent before its removal is proposed, in seconds.

    Default -1 (the SDK: 10, which removes a peer that takes longer to restart); 1 to 31_536_000, or any
    negative number for never. With it the engine also proposes to remove a peer that has signed two events
    for one slot, and approves such proposals of others if it sees the same. A peer is silent while a quorum
    makes events and it makes none. Nobody is proposed who has `PeerCapabilities.unkickable`.
    """

    target_ack_latency_ms: int = 400
    """The time from an own event to its order that the SDK aims at, in milliseconds.

    Default 400; 1 to 3_600_000, and target <= max <= throttle <= reset. Accepted for compatibility; no
    effect yet: replaced by the pacing of every single event (`base_min_event_interval_us`).
    """

    max_ack_latency_ms: int = 600
    """The time to order above which the SDK makes fewer events, in milliseconds.

    Default 600; range as `target_ack_latency_ms`. Accepted for compatibility; no effect yet: replaced
    by the pacing of every single event.
    """

    throttle_ack_latency_ms: int = 900
    """The time to order above which the SDK takes no more transactions, in milliseconds.

    Default 900; range as `target_ack_latency_ms`. Accepted for compatibility; no effect yet: replaced
    by back-pressure (`transaction_channel_size`, `max_unacknowledged_bytes`).
    """

    reset_ack_latency_ms: int = 2_000
    """The time to order above which the SDK starts its latency control anew, in milliseconds.

    Default 2_000; range as `target_ack_latency_ms`. Accepted for compatibility; no effect yet: there
    is no such control to start anew.
    """

    enable_dynamic_epoch_size: bool = True
    """Whether the SDK may change the length of epochs with the load.

    Default True. Accepted for compatibility; no effect yet: replaced by `Network(epoch_ms=...)`, the length of
    an epoch in consensus time, which all peers of a network have alike.
    """

    transaction_channel_size: int = 4_096
    """Most own transactions that wait to be put into an event.

    Default 4_096; 1 to 1_048_576. At the limit `send_transaction` waits and `try_send_transaction`
    raises QueueFull.
    """

    max_unacknowledged_bytes: int = 64 * 1024 * 1024
    """Most bytes of own transactions that are not final yet.

    Default 67_108_864 (64 MiB; the SDK: 500 MiB, which lets a network without quorum fill the memory
    of small machines); 1 to 1_099_511_627_776 (1 TiB). At the limit `send_transaction` waits and
    `try_send_transaction` raises QueueFull.
    """

    max_blocking_verify_threads: int | None = None
    """Most threads that verify signatures at the same time.

    Default None, which stands for the number of processors; 1 to 1_024. It has its effect with the
    native core, and only while many events come in at once: one that lags catches up sooner.
    """

    enable_state_sharing: bool = False
    """Whether peers help others to catch up with the application's state.

    Default False. Accepted for compatibility; no effect yet.
    """

    epoch_states_to_cache: int = 3
    """How many epochs' application states to keep for peers that catch up.

    Default 3; 0 to 1_000. Accepted for compatibility; no effect yet.
    """

    enable_hole_punching: bool = False
    """Whether to reach peers behind NAT by hole punching.

    Default False. Accepted for compatibility; no effect yet: replaced by
    `PeerCapabilities.public`, as a peer that cannot be reached dials those that can.
    """

    def __post_init__(self) -> None:
        for name in _FLAGS:
            value: object = getattr(self, name)
            if not isinstance(value, bool):
                raise ArgumentTypeError(
                    f"Options.{name} was given {value!r} ({type(value).__name__}); allowed are "
                    "True and False: give one of them, or leave the field out for its default"
                )
        for name, (low, high, unit) in _RANGES.items():
            value = getattr(self, name)
            if value is not None or name not in _OPTIONAL:
                _check_integer(name, value, low, high, unit)
        if self.base_min_event_interval_us > self.heartbeat_us:
            raise ArgumentError(
                f"Options.base_min_event_interval_us is {self.base_min_event_interval_us} and heartbeat_us "
                f"{self.heartbeat_us}; allowed is an interval of at most the heartbeat: lower the first or "
                "raise the second"
            )
        for lower, upper in itertools.pairwise(_RISING):
            if getattr(self, lower) > getattr(self, upper):
                raise ArgumentError(
                    f"Options.{lower} is {getattr(self, lower)} and {upper} {getattr(self, upper)}; "
                    f"allowed is {' <= '.join(_RISING)}: lower the first or raise the second"
                )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object]) -> Options:
        """Make options from a mapping of field names to values, as a TOML table gives it.

        Fields that are left out have their defaults. An unknown field raises ArgumentError, which
        suggests the closest name; values are checked as by the constructor.

        >>> Options.from_mapping({"heartbeat_us": 250_000}) == Options(heartbeat_us=250_000)
        True
        """
        if not isinstance(mapping, Mapping):
            raise ArgumentTypeError(
                f"Options.from_mapping was given {type(mapping).__name__}; only a mapping of field names to "
                "values is allowed: give a dict, or one table of a TOML file"
            )
        known = [field.name for field in fields(cls)]
        for name in mapping:
            if name not in known:
                close = difflib.get_close_matches(str(name), known, n=1)
                advice = f"did you mean {close[0]!r}?" if close else "remove it"
                raise ArgumentError(f"Options has no field {name!r}; allowed are {', '.join(known)}: {advice}")
        return cls(**cast("dict[str, Any]", dict(mapping)))


_FLAGS = (
    "report_gossip_events",
    "enable_dynamic_epoch_size",
    "enable_state_sharing",
    "enable_hole_punching",
)
_RISING = (
    "target_ack_latency_ms",
    "max_ack_latency_ms",
    "throttle_ack_latency_ms",
    "reset_ack_latency_ms",
)
_OPTIONAL = ("max_blocking_verify_threads",)
_NEVER_IF_NEGATIVE = ("fallen_behind_kick_s",)
_RANGES: dict[str, tuple[int, int, str]] = {
    "base_min_event_interval_us": (0, 10_000_000, "microseconds"),
    "heartbeat_us": (1_000, 60_000_000, "microseconds"),
    "fallen_behind_kick_s": (1, 31_536_000, "seconds"),
    **dict.fromkeys(_RISING, (1, 3_600_000, "milliseconds")),
    "transaction_channel_size": (1, 1_048_576, "transactions"),
    "max_unacknowledged_bytes": (1, 1 << 40, "bytes"),
    "max_blocking_verify_threads": (1, 1_024, "threads"),
    "epoch_states_to_cache": (0, 1_000, "epochs"),
}


def _check_integer(name: str, value: object, low: int, high: int, unit: str) -> None:
    allowed = f"allowed are whole numbers of {low} to {high} ({unit})"
    if name in _NEVER_IF_NEGATIVE:
        allowed += ", or a negative number for never"
    if name in _OPTIONAL:
        allowed += ", or None for the number of processors"
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentTypeError(
            f"Options.{name} was given {value!r} ({type(value).__name__}); {allowed}: "
            "give an int, or leave the field out for its default"
        )
    if not low <= value <= high and not (value < 0 and name in _NEVER_IF_NEGATIVE):
        raise ArgumentError(
            f"Options.{name} was given {value}; {allowed}: "
            "give a value in this range, or leave the field out for its default"
        )
