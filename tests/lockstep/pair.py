"""Two machines that get the same inputs, and must answer the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.virtual import machine_of
from syncpoint.core.config import MachineConfig
from syncpoint.core.input import Input
from syncpoint.core.output import Output
from syncpoint.core.status import Status
from syncpoint.errors import CorruptError

EVENT = (
    "creator", "round", "created_at", "items", "transactions", "header", "digest", "signature",
    "size", "carries", "transaction_count", "payload_bytes",
)  # fmt: skip
DELIVERED = (
    "parents", "index", "consensus_at", "order_hash", "whitened_signature", "closed_by", "submissions", "epoch",
)  # fmt: skip
SYNC_POINT = (
    "kind", "metadata", "proposal", "proposer", "approvals", "epoch_index", "session_id", "digest", "index",
    "consensus_at", "order_hash", "closed_by", "change", "epoch",
)  # fmt: skip
OUTPUTS: dict[str, tuple[str, ...]] = {
    "Persist": ("token", "records"),
    "Write": ("records",),
    "Send": ("peer", "frame"),
    "SendStored": ("peer", "epoch", "first", "frontier", "most", "last"),
    "Broadcast": ("frame",),
    "Deliver": ("messages", "states"),
    "Opened": ("proposal", "proposer", "kind", "deadline", "salt", "metadata", "change", "voted"),
    "Closed": ("proposal", "outcome"),
    "Certified": ("certificate",),
    "Diverged": ("divergence",),
    "Entered": ("start",),
    "Queue": ("transactions", "bytes"),
    "Wake": ("at",),
    "Rejected": ("peer", "code"),
    "Halted": ("reason",),
}
EXACT = 20  # steps: so often types count as well, as True equals 1 and a Reject its number
STATUS = tuple(field.name for field in dataclasses.fields(Status))


class Difference(Exception):
    """The two machines did not do the same."""


class Stopped(CorruptError):
    """Both machines refused to go on, for the same reason: neither may be asked anything any more."""


class Pair:
    """Two machines in one place; it answers with what the first one says, which is looked into by name as well.

    Outputs are compared at every step, status and digest at every `look_every`-th.
    """

    def __init__(
        self,
        config: MachineConfig,
        cores: tuple[str, str],
        make: Callable[..., Any] = machine_of,
        look_every: int = 1,
    ) -> None:
        self.cores = cores
        self.look_every = look_every
        self.first, self.second = (make(core, config) for core in cores)
        self.name = "a machine"
        self.steps = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.first, name)

    def step(self, now: int, inputs: Sequence[Input]) -> list[Output]:
        """One step of both; raises Difference, with all that there is to know, unless they agree."""
        self.steps += 1
        exact = self.steps % EXACT == 1
        one, two = (_outcome(machine, now, inputs, exact) for machine in (self.first, self.second))
        if one[1] != two[1] or isinstance(one[1], Exception):
            raise Difference(self._report(now, inputs, "outputs", one[1], two[1]))
        if isinstance(one[1], str):
            raise Stopped(one[1])
        if self.steps % self.look_every:
            return one[0]
        ours, theirs = self.first.status(), self.second.status()
        if ours != theirs or (exact and plain_status(ours) != plain_status(theirs)):
            report = self._report(now, inputs, "status", plain_status(ours), plain_status(theirs), one[1])
            raise Difference(report)
        ours, theirs = self.first.digest(), self.second.digest()
        if ours != theirs:
            raise Difference(self._report(now, inputs, "digest", ours, theirs, one[1]))
        return one[0]

    def _report(
        self, now: int, inputs: Sequence[Input], what: str, one: Any, two: Any, outputs: Sequence[Any] = ()
    ) -> str:
        lines = [f"step {self.steps} of {self.name} at {now}: {what} differ", "inputs:"]
        lines += [f"  {_shown(input)}" for input in inputs] or ["  none"]
        if outputs:
            lines += ["outputs of both:", *(f"  {_shown(output)}" for output in outputs)]
        if isinstance(one, tuple) and isinstance(two, tuple):
            alike = next(
                (at for at, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two))
            )
            lines.append(f"the first {alike} are alike; from there on:")
            one, two = one[alike:], two[alike:]
        for core, said in zip(self.cores, (one, two), strict=True):
            if isinstance(said, tuple | list):
                lines += [f"{core}:", *(f"  {_shown(each)}" for each in said)]
            else:
                lines.append(f"{core}: {_shown(said)}")
        return "\n".join(lines)


def plain(output: Any, exact: bool = True) -> tuple[Any, ...]:
    """An output of either core as its name and its fields, which are plain values if they have to be exactly so."""
    name = type(output).__name__
    if name == "Deliver":
        states = tuple(map(tuple, output.states))
        return name, *(_delivered(message, exact) for message in output.messages), states
    fields = [getattr(output, field) for field in OUTPUTS[name]]
    if name in ("Persist", "Write"):
        fields[-1] = tuple(fields[-1])  # any sequence will do
    return name, *(map(_plain, fields) if exact else fields)


def plain_status(status: Any) -> tuple[tuple[str, Any], ...]:
    """All fields of a status, by name."""
    return tuple((name, _plain(getattr(status, name))) for name in STATUS)


def _outcome(
    machine: Any, now: int, inputs: Sequence[Input], exact: bool
) -> tuple[list[Output], tuple[Any, ...] | str | Exception]:
    """What a step put out, as it is and in plain values; why the journal was refused; or how the machine failed."""
    try:
        outputs = machine.step(now, list(inputs))
    except CorruptError as error:
        return [], f"CorruptError: {error}"
    except Exception as error:  # no input of a stream may bring this about (L7)
        return [], error
    return list(outputs), tuple(plain(output, exact) for output in outputs)


def _delivered(done: Any, exact: bool) -> tuple[Any, ...]:
    if type(done).__name__ == "SyncPoint":
        fields = [getattr(done, name) for name in SYNC_POINT]
    else:
        fields = [getattr(done.event, name) for name in EVENT] + [getattr(done, name) for name in DELIVERED]
    return tuple(map(_plain, fields) if exact else fields)


def _plain(value: Any) -> Any:
    """A value that is equal, and of equal kind, for both cores: a bool is no number, bytes are bytes."""
    if value is None or isinstance(value, str | bytes):
        return value
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, Mapping):
        return tuple(sorted((_plain(key), _plain(entry)) for key, entry in value.items()))
    if isinstance(value, Sequence):
        return tuple(map(_plain, value))
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return (type(value).__name__, *(_plain(getattr(value, field.name)) for field in fields))
    if hasattr(value, "type") and hasattr(value, "body"):
        return int(value.type), bytes(value.body)
    raise AssertionError(f"a core gave {value!r}")


def _shown(value: Any) -> str:
    """One line of a report: frames and records in hex, so that they can be fed again."""
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_shown, value))})"
    if dataclasses.is_dataclass(value):
        fields = [f"{field.name}={_shown(getattr(value, field.name))}" for field in dataclasses.fields(value)]
        return f"{type(value).__name__}({', '.join(fields)})"
    return repr(value)
