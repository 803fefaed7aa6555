"""Both cores do the same at every step of random streams; and the comparison sees it when they do not."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import pytest

from core.virtual import machine_of
from syncpoint.core.config import MachineConfig
from syncpoint.core.epoch import Outcome
from syncpoint.core.error import Reject
from syncpoint.core.input import Input
from syncpoint.core.output import Certified, Closed, Deliver, Output, Rejected, Send, Wake
from syncpoint.core.values import Delivered, SyncPoint

from .campaign import main
from .pair import Difference
from .stream import Tally, stream

STREAMS = int(os.environ.get("SYNCPOINT_LOCKSTEP", "300"))
FIXED = min(150, STREAMS)  # of them are the same in every run ...
ENOUGH = 150  # ... and with so many of those, everything has to happen
PARTS = 4  # tests that share the others, so that a run shows where it is

BOTH = ("python", "native")


def run(first: int, count: int) -> Tally:
    """So many streams of both cores; the command to run one again is part of the failure."""
    tally = Tally()
    for seed in range(first, first + count):
        try:
            tally.add(stream(seed, BOTH))
        except Difference as difference:
            pytest.fail(f"{difference}\nreplay: python -m tests.lockstep --seeds {seed}:{seed + 1}", pytrace=False)
    return tally


@pytest.mark.native
def test_the_fixed_streams_reach_every_reject_code(capsys: pytest.CaptureFixture[str]) -> None:
    seen = run(0, FIXED)
    with capsys.disabled():
        print("\n" + "\n".join(seen.lines()))
    if FIXED >= ENOUGH:
        assert not seen.missing(), "a run that reaches less has tested less"


@pytest.mark.native
@pytest.mark.parametrize("part", range(PARTS))
def test_both_cores_do_the_same_at_every_step(part: int, seed: int) -> None:
    count, left = divmod(STREAMS - FIXED, PARTS)
    first = (seed << 20) + (1 << 40) + part * (count + 1)
    run(first, count + (part < left))


# -- the comparison sees what it is for -----------------------------------------------------------------


class Spoiled:
    """A machine that says something else in one place."""

    def __init__(self, config: MachineConfig, kind: str) -> None:
        self.machine = machine_of("python", config)
        self.kind = kind
        self.steps = 0

    def step(self, now: int, inputs: Sequence[Input]) -> list[Output]:
        self.steps += 1
        outputs = self.machine.step(now, inputs)
        for place, output in enumerate(outputs):
            spoiled = self._spoiled(output)
            if spoiled is not None:
                return [*outputs[:place], *spoiled, *outputs[place + 1 :]]
        return outputs

    def _spoiled(self, output: Output) -> list[Output] | None:
        match self.kind, output:
            case "a byte of a frame", Send(peer, frame) if self.steps > 20:
                return [Send(peer, frame[:-1] + bytes((frame[-1] ^ 1,)))]
            case "one ns", Wake(at) if self.steps > 20:
                return [Wake(at + 1)]
            case "an output less", Rejected():
                return []
            case "an output more", Wake():
                return [output, output]
            case "another code", Rejected(peer, code):
                return [Rejected(peer, Reject.LIMIT if code is not Reject.LIMIT else Reject.TRAILING)]
            case "consensus time", Deliver((*before, last), states):
                return [Deliver((*before, dataclasses.replace(last, consensus_at=1)), states)]
            case "a submission", Deliver((*before, Delivered() as last), states) if last.submissions:
                return [Deliver((*before, dataclasses.replace(last, submissions=(99,))), states)]
            case "a state", Deliver(messages, ((round, state), *others)):
                return [Deliver(messages, ((round, state + b"x"), *others))]
            case "who agreed", Deliver((*before, SyncPoint() as last), states):
                return [Deliver((*before, dataclasses.replace(last, approvals=0x80)), states)]
            case "how it was decided", Closed(proposal, outcome):
                return [Closed(proposal, Outcome.ENDED if outcome != Outcome.ENDED else Outcome.EXPIRED)]
            case "a signer", Certified(certificate):
                return [Certified(dataclasses.replace(certificate, signers=0x80))]
            case "a failure", Deliver():
                raise ValueError("nobody may see this")
        return None

    def status(self) -> Any:
        status = self.machine.status()
        return dataclasses.replace(status, soft_wait_ns=1) if self.kind == "status" and self.steps > 20 else status

    def digest(self) -> bytes:
        return bytes(32) if self.kind == "digest" and self.steps > 20 else self.machine.digest()


KINDS = (
    "a byte of a frame", "one ns", "an output less", "an output more", "another code", "consensus time",
    "a submission", "a state", "who agreed", "how it was decided", "a signer", "a failure", "status", "digest",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_machine_that_does_something_else_is_noticed(kind: str) -> None:
    def make(core: str, config: MachineConfig) -> Any:
        return Spoiled(config, kind) if core == "spoiled" else machine_of(core, config)

    with pytest.raises(Difference, match=r"(?s)seed \d+: step \d+ of peer .* differ\ninputs:\n.*\nspoiled:"):
        all(stream(seed, ("python", "spoiled"), make) for seed in range(20))


def test_a_core_does_as_itself(seed: int) -> None:
    tally = Tally()
    for number in range(3):
        tally.add(stream(seed + number, ("python", "python")))
    assert tally.streams == 3
    assert tally.steps > 100


def test_a_stream_is_the_same_every_time() -> None:
    one, two = (stream(5, ("python", "python")) for _ in range(2))
    assert dataclasses.asdict(one) == dataclasses.asdict(two)


def test_the_command_says_what_it_ran(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "3:5", "--cores", "python,python", "--size", "0.2"]) == 0
    out = capsys.readouterr().out
    assert "2 streams, " in out
    assert "seeds 3:5, " in out
    assert "no difference" in out
