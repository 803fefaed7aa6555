"""What a real peer is told, recorded from a cluster in virtual time, so that every core can be told the same."""

from __future__ import annotations

import functools
import pickle
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from syncpoint import backend
from syncpoint.core import wire
from syncpoint.core.committee import Committee
from syncpoint.core.config import MachineConfig, Member, Network
from syncpoint.core.crypto import DOMAIN_EVENT, Signer, blake3
from syncpoint.core.input import Input, Received, Start, Submit
from syncpoint.core.output import Persist
from syncpoint.core.values import Event, Parent
from syncpoint.core.wire import FrameType
from syncpoint.runtime.driver import Machine

sys.path.append(str(Path(__file__).parents[1]))
from tests.core import virtual

PAYLOAD = bytes(range(128))
NEAR_NS, FAR_NS = 200_000, 1_200_000  # how long a frame is on its way
SIGNATURE_BYTES = 64

Step = tuple[int, Sequence[Input]]


@dataclass(frozen=True)
class Recording:
    """All steps of machine 0, with what they led to."""

    config: MachineConfig
    steps: list[Step]
    events: int  # in its graph at the end
    rounds: int  # closed
    order_hash: bytes

    def machine(self, core: str) -> Machine:
        """A machine that can be told these steps."""
        return backend.make_machine(self.config, core)

    def check(self, machine: Machine) -> None:
        """Whoever was told these steps must have come to the same order."""
        status = machine.status()
        assert status.order_hash == self.order_hash, "the cores order differently"
        assert not status.rejects, f"something was refused: {status.rejects}"

    def event_frames(self, highest_round: int) -> list[bytes]:
        """The events of others, of rounds that a machine which knows nothing does not find too far ahead."""
        frames = (frame for _, inputs in self.steps for frame in _event_frames(inputs))
        return [frame for frame in frames if wire.slot_of(wire.header_of(frame))[1] <= highest_round]


@functools.cache
def record(n: int, rounds: int, core: str, order: str = "fair", signatures: str = "ed25519") -> Recording:
    """Let n machines with links of 0.2 to 1.2 ms run until machine 0 has closed `rounds` rounds.

    Everybody always has a transaction of 128 bytes to send, so there are events all the time. `signatures` is one of
    `syncpoint.core.config.SIGNATURES`: simulated ones take next to no time.
    """
    rng = random.Random(n)
    recorders: list[Recorder] = []

    def factory(creator: int, config: MachineConfig) -> Machine:
        config = replace(config, signatures=signatures)
        recorders.append(Recorder(config, backend.make_machine(config, core), keeps=creator == 0))
        return recorders[-1]

    delay = virtual.jitter(rng, NEAR_NS, FAR_NS)
    cluster = virtual.Cluster(n, network=Network(name="bench", order=order), delay=delay, factory=factory)
    first = recorders[0]
    while (status := first.machine.status()).closed_round < rounds:
        cluster.run(virtual.MS)
    return Recording(
        config=first.config,
        steps=first.steps,
        events=status.events,
        rounds=status.closed_round,
        order_hash=status.order_hash,
    )


class Recorder:
    """A machine that always has something to send, and remembers what it was told."""

    def __init__(self, config: MachineConfig, machine: Machine, *, keeps: bool) -> None:
        self.config = config
        self.machine = machine
        self.steps: list[Step] = []
        self._keeps = keeps

    def step(self, now: int, inputs: Sequence[Input]) -> list[Any]:
        """As the machine does, which is also given a transaction at the start and for each that it took."""
        if any(isinstance(each, Start) for each in inputs):
            inputs = (*inputs, Submit((PAYLOAD,)))
        outputs = self._step(now, inputs)
        if any(isinstance(output, Persist) for output in outputs):
            outputs += self._step(now, (Submit((PAYLOAD,)),))
        return outputs

    def _step(self, now: int, inputs: Sequence[Input]) -> list[Any]:
        if self._keeps:
            self.steps.append((now, inputs))
        return self.machine.step(now, inputs)

    def status(self) -> Any:
        """The machine's."""
        return self.machine.status()

    def digest(self) -> bytes:
        """The machine's."""
        return self.machine.digest()


@functools.cache
def frames_of(n: int) -> tuple[Network, bytes, list[bytes]]:
    """A network, the id of its epoch, and an EVENT frame of each of its n peers, with n parents."""
    network, signers = Network(name="bench"), [Signer(seed) for seed in virtual.seeds(n)]
    epoch_id = Committee.genesis(network, [Member(signer.public) for signer in signers]).epoch_id
    parents = [Parent(creator, 1, blake3(bytes([creator]))) for creator in range(n)]
    frames = []
    for creator, signer in enumerate(signers):
        header = wire.encode_header(epoch_id, creator, 2, 1, 0, parents, (), (PAYLOAD,))
        digest = wire.event_digest(header)
        signature = signer.sign(DOMAIN_EVENT + digest)
        event = Event(creator, 2, 1, tuple(parents), (), (PAYLOAD,), header, digest, signature)
        frames.append(wire.encode_event(event))
    return network, epoch_id, frames


def wrongly_signed(frame: bytes) -> bytes:
    """The event with another signature, which is wrong in nothing but its number: a whole check tells."""
    at = 1 + len(wire.header_of(frame)) + SIGNATURE_BYTES // 2
    return frame[:at] + bytes([frame[at] ^ 1]) + frame[at + 1 :]


def write(steps: Iterable[Step], file: BinaryIO) -> None:
    """Steps to a file, each by itself."""
    for step in steps:
        pickle.dump(step, file)


def read(file: BinaryIO) -> Iterator[Step]:
    """Steps from our own file, one by one: nothing of them stays in memory but what the reader keeps."""
    while True:
        try:
            yield pickle.load(file)
        except EOFError:
            return


def _event_frames(inputs: Sequence[Input]) -> list[bytes]:
    received = (each for each in inputs if isinstance(each, Received))
    return [frame for each in received for frame in each.frames if frame[0] == FrameType.EVENT]
