"""What other peers are given of the graph, and what it may cost us."""

from __future__ import annotations

import pytest

from core import virtual
from syncpoint.core import wire
from syncpoint.core.committee import Committee
from syncpoint.core.config import MachineConfig, Network
from syncpoint.core.crypto import DOMAIN_EVENT, Signer
from syncpoint.core.error import Reject
from syncpoint.core.input import Connected, Received, Start
from syncpoint.core.machine import Machine
from syncpoint.core.output import Output, Rejected, Send
from syncpoint.core.values import Event, Parent
from syncpoint.core.wire import FrameType

from .virtual import EPOCH, MS, members_of, seeds

pytestmark = pytest.mark.usefixtures("machines")

N, LIAR, ROUNDS = 7, 6, 60
LATE = 2**64 - 1  # a round that nobody is ahead of
COMMITTEE = Committee.genesis(Network(), members_of(N))


def signed(creator: int, round: int, parents: list[Event], transactions: tuple[bytes, ...] = ()) -> Event:
    """An event that its creator really signed."""
    references = tuple(Parent(parent.creator, parent.round, parent.digest) for parent in parents)
    header = wire.encode_header(COMMITTEE.epoch_id, creator, round, round, 0, references, (), transactions)
    digest = wire.event_digest(header)
    signature = Signer(seeds(N)[creator]).sign(DOMAIN_EVENT + digest)
    return Event(creator, round, round, references, (), transactions, header, digest, signature)


def machine_with_rounds(rounds: int, transactions: tuple[bytes, ...] = ()) -> tuple[Machine, list[Event]]:
    """Peer 0 with one event of the liar, and rounds of the five others; their last one."""
    config = MachineConfig(network=Network(), members=members_of(N), seed=seeds(N)[0], entropy=bytes(32))
    machine = virtual.machine_of("python", config)
    machine.step(EPOCH, [Start([]), *map(Connected, range(1, N))])
    row: list[Event] = []
    for round in range(1, rounds + 1):
        row = [signed(creator, round, row, transactions) for creator in range(1, LIAR)]
        frames = [wire.encode_event(event) for event in row]
        if round == 1:
            frames.append(wire.encode_event(signed(LIAR, 1, [])))
        machine.step(EPOCH, [Received(1, frames)])
    assert machine.status().events == rounds * 5 + 1
    return machine, row


def asked(machine: Machine, now: int, frame: bytes, times: int = 1) -> tuple[int, int]:
    """How many events the liar gets for so many frames, and how often it is told that we are busy."""
    outputs: list[Output] = machine.step(now, [Received(LIAR, [frame] * times)])
    events = [o for o in outputs if isinstance(o, Send) and o.peer == LIAR and o.frame[0] == FrameType.EVENT]
    return len(events), outputs.count(Rejected(LIAR, Reject.BUSY))


def test_what_a_pull_passes_over_counts_as_well() -> None:
    """A frontier that lacks one old event and nothing else makes us go over all that we retain, for 57 bytes."""
    machine, _ = machine_with_rounds(ROUNDS)
    pull = wire.encode_frontier(FrameType.PULL, [LATE] * LIAR + [0])
    times = 1000
    events, busy = asked(machine, EPOCH, pull, times)
    assert events + busy == times
    assert busy > times / 2
    # The others are answered, and the liar again after a while.
    assert machine.step(EPOCH, [Received(1, [pull])])[0] == Send(1, wire.encode_event(signed(LIAR, 1, [])))
    assert asked(machine, EPOCH + 10 * MS, pull, 2) == (2, 0)


def test_who_lacks_everything_gets_it_within_the_budget() -> None:
    """Nothing is passed over, so the budget is that of the bytes alone."""
    machine, _ = machine_with_rounds(ROUNDS)
    pull = wire.encode_frontier(FrameType.PULL, [0] * N)
    assert asked(machine, EPOCH, pull) == (ROUNDS * 5 + 1, 0)
    assert asked(machine, EPOCH, pull, 3) == (3 * (ROUNDS * 5 + 1), 0)


def test_a_request_ends_where_the_budget_does() -> None:
    """One event asked for again and again: as many as fit, then none; smaller ones behind it do not count."""
    machine, row = machine_with_rounds(2, (bytes(500_000),))
    large, small = row[0].digest, signed(LIAR, 1, []).digest
    size = row[0].size
    fit = 16 * 1024 * 1024 // size
    request = wire.encode_request([large] * (fit - 1) + [bytes(32)] + [large] * 2 + [small])
    assert asked(machine, EPOCH, request) == (fit, 0)
    assert asked(machine, EPOCH, wire.encode_request([large, small])) == (0, 1)
    assert asked(machine, EPOCH, wire.encode_request([small, large])) == (1, 0)
    assert asked(machine, EPOCH, wire.encode_request([bytes(32)])) == (0, 0)
    assert asked(machine, EPOCH + 10 * MS, wire.encode_request([large])) == (1, 0)
