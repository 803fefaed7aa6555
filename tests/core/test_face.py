"""The faces of the cores: the same answers, the same refusals, and what the native one promises besides."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import json
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core import dags
from syncpoint import _python
from syncpoint.backend import load_core
from syncpoint.core import wire
from syncpoint.core.config import Local, MachineConfig, Member, Network
from syncpoint.core.crypto import DOMAIN_EVENT
from syncpoint.core.error import Reject
from syncpoint.core.input import Connected, Disconnected, Input, Persisted, Received, Start, Submit
from syncpoint.core.journal import Position, encode_own_event
from syncpoint.core.output import Deliver, Output, Persist, Rejected
from syncpoint.core.values import Event, Item, ItemType
from syncpoint.core.wire import FrameType
from syncpoint.errors import ArgumentError, ArgumentTypeError, CorruptError
from syncpoint.keys import KeySecret
from syncpoint.message import Event as Message
from syncpoint.testing import order_dag

from .build import Peers
from .virtual import EPOCH, members_of, seeds

PEERS = Peers(4)
MEMBERS = tuple(PEERS.committee.members)
ROWS = [[PEERS.event(creator, 1) for creator in range(4)]]
ROWS.append(
    [
        PEERS.event(
            creator,
            2,
            ROWS[0],
            transactions=[b"", b"one", b"two" * 100],
            items=[Item(ItemType.VOTE, b"yes"), Item(9, b"")],
        )
        for creator in range(4)
    ]
)
FRAMES = [wire.encode_event(event) for row in ROWS for event in row]


def simulated_of(event: Event) -> Event:
    """The event, signed as in a simulation."""
    signature = _python.simulated_signature(MEMBERS[event.creator].public, DOMAIN_EVENT + event.digest)
    return dataclasses.replace(event, signature=signature)


SEED = bytes(range(32))
PUBLIC = _python.derive(SEED)
SIGNATURE = _python.sign(SEED, b"message")
LEAVES = [b"%d" % number for number in range(5)]
ROOT = _python.merkle_root(LEAVES)
PATH = _python.merkle_path(LEAVES, 4)
TWIN = PEERS.event(1, 1, transactions=[b"another"])
EVIDENCE = wire.encode_evidence(ROWS[0][1], TWIN)
SIMULATED_EVIDENCE = wire.encode_evidence(*(simulated_of(event) for event in (ROWS[0][1], TWIN)))
SCHEMES = ("ed25519", "simulated", "none", None)
RECORD = encode_own_event(FRAMES[0], [Position(3, 1), Position(2**40, 7)])

# Per function what it is asked; both cores must say the same, or raise the same.
QUESTIONS: dict[str, list[tuple[Any, ...]]] = {
    "blake3": [(b"",), (b"x",), (bytes(5000),)],
    "derive": [(SEED,), (b"short",), (bytes(33),)],
    "sign": [(SEED, b""), (SEED, b"message"), (b"short", b"message")],
    "verify": [
        (PUBLIC, b"message", SIGNATURE),
        (PUBLIC, b"another", SIGNATURE),
        (PUBLIC, b"message", SIGNATURE[:63]),
        (b"", b"", b""),
    ],
    "admit": [(PUBLIC,), (bytes(32),), (b"\x01" + bytes(31),), (b"",)],
    "peer_record": [(SEED,), (b"",)],
    "check_peer_record": [(_python.peer_record(SEED),), (_python.peer_record(SEED)[:-1] + b"\xff",), (b"",)],
    "simulated_signature": [
        *((PUBLIC, bytes(length)) for length in (0, 50, 969, 970, 5000)),
        (bytes(32), b""),
        (PUBLIC[:31], b"message"),
        (PUBLIC + b"x", b"message"),
    ],
    "merkle_root": [([],), ([b""],), (LEAVES,), (tuple(LEAVES),)],
    "merkle_path": [(LEAVES, 0), (LEAVES, 4), ([b"x"], 0), (LEAVES, 5), (LEAVES, -1), (LEAVES, 2**70), ([], 0)],
    "merkle_check": [
        (ROOT, LEAVES[4], 4, 5, PATH),
        (ROOT, LEAVES[3], 4, 5, PATH),
        (ROOT, LEAVES[4], 5, 5, PATH),
        (ROOT, LEAVES[4], -1, 5, PATH),
        (ROOT, LEAVES[4], 4, 2**70, PATH),
        (ROOT[:31], LEAVES[4], 4, 5, PATH),
        (_python.blake3(b"\x01" + _python.blake3(b"\x00x")), b"x", 0, 2, [b""]),  # a step that is no hash
    ],
    "decode_event": [
        *((frame, PEERS.epoch_id, PEERS.network) for frame in FRAMES),
        (b"", PEERS.epoch_id, PEERS.network),
        (FRAMES[4][:-1], PEERS.epoch_id, PEERS.network),
        (FRAMES[4] + b"x", PEERS.epoch_id, PEERS.network),
        (FRAMES[4][:-1] + b"x", PEERS.epoch_id, PEERS.network),
        (FRAMES[4], bytes(32), PEERS.network),
    ],
    "decode_header": [
        (ROWS[1][2].header, PEERS.epoch_id),
        (ROWS[1][2].header + b"x", PEERS.epoch_id),
        (b"", PEERS.epoch_id),
    ],
    "decode_request": [
        (wire.encode_request([ROOT, SEED]),),
        (b"",),
        (b"\x11\x00\x00",),
        (b"\x11\x01\x01" + bytes(40),),
    ],
    "decode_frontier": [
        (wire.encode_frontier(FrameType.PULL, (1, 2**64 - 1)), 2),
        (wire.encode_frontier(FrameType.FRONTIER, ()), 0),
        (b"", 4),
        (bytes(40), 4),
    ],
    "decode_evidence": [(EVIDENCE,), (EVIDENCE[:-1],), (EVIDENCE + b"x",), (b"",)],
    "event_key": [*((frame,) for frame in FRAMES), (FRAMES[0][:90],), (b"",)],
    "decode_record": [(RECORD,), (RECORD[:20],), (b"",), (b"\x02" + RECORD[1:],)],
    "encode_request": [([ROOT],), ([SEED] * 256,), ([],), ([SEED] * 257,)],
    "encode_frontier": [(FrameType.FRONTIER, (0, 1, 2**64 - 1)), (FrameType.PULL, [])],
    "encode_network": [
        (Network(),),
        (Network(name="ü", rule="three_step", order="fast", f=0, gc_depth=4, max_payload_bytes=1024, max_ahead=8),),
    ],
    "epoch_id": [(PEERS.network, MEMBERS), (PEERS.network, MEMBERS[::-1]), (PEERS.network, MEMBERS[:1] * 2)],
    "committee": [(n, f) for n in (0, 1, 2, 4, 7, 19, 100, 128, 129, -1) for f in (None, 0, 1, 2, 33)],
    "slot_order": [(n, None, bytes([n]) * 32, round) for n in (1, 4, 7) for round in (1, 2, 3, 2**40)],
    "check_evidence": [(body, PEERS.network, MEMBERS) for body in (EVIDENCE, EVIDENCE[:-1], b"")]
    + [(EVIDENCE, Network(name="another"), MEMBERS)]
    + [(body, PEERS.network, MEMBERS, scheme) for body in (EVIDENCE, SIMULATED_EVIDENCE) for scheme in SCHEMES],
}
WITH_EVENTS = {"encode_event", "check_event", "check_proof"}  # each core's own values: below, and in test_proof.py


@pytest.fixture
def face(core: str) -> Any:
    """Each core's face in turn."""
    return load_core(core)


@pytest.fixture
def native() -> Any:
    """The native core's face."""
    return load_core("native")


def answer(function: Callable[..., Any], *arguments: Any) -> Any:
    """What it returns or raises, in a form to compare."""
    try:
        value = function(*arguments)
    except Exception as error:
        return type(error), str(error)
    return event_fields(value) if type(value).__name__ == "Event" else (type(value), value)


def event_fields(event: Any) -> dict[str, Any]:
    """All that an event says of itself."""
    names = (
        "creator", "round", "created_at", "parents", "items", "transactions", "header", "digest", "signature", "size",
        "carries", "transaction_count", "payload_bytes",
    )  # fmt: skip
    return {name: getattr(event, name) for name in names}


# -- functions --------------------------------------------------------------------------------------


def test_every_function_is_asked() -> None:
    functions = {name for name in _python.__all__ if callable(getattr(_python, name)) and name[0].islower()}
    assert set(QUESTIONS) | WITH_EVENTS == functions


@pytest.mark.native
@pytest.mark.parametrize("name", QUESTIONS)
def test_both_cores_answer_the_same(native: Any, name: str) -> None:
    answers = []
    for arguments in QUESTIONS[name]:
        answers.append(answer(getattr(_python, name), *arguments))
        assert answer(getattr(native, name), *arguments) == answers[-1], arguments
    assert any(each != answers[0] for each in answers), "nothing is told apart"


def test_an_event_goes_round(face: Any) -> None:
    for frame in FRAMES:
        event = face.decode_event(frame, PEERS.epoch_id, PEERS.network)
        assert face.encode_event(event) == frame
        assert face.check_event(event, PEERS.network, MEMBERS) is None
    refused = face.decode_event(FRAMES[0][:1] + FRAMES[0][1:-64] + bytes(64), PEERS.epoch_id, PEERS.network)
    assert face.check_event(refused, PEERS.network, MEMBERS) is Reject.SIGNATURE


def test_a_signature_counts_under_its_own_scheme_only(face: Any) -> None:
    for event in ROWS[0]:
        for made, right, wrong in ((event, "ed25519", "simulated"), (simulated_of(event), "simulated", "ed25519")):
            read = face.decode_event(wire.encode_event(made), PEERS.epoch_id, PEERS.network)
            assert face.check_event(read, PEERS.network, MEMBERS, right) is None
            assert face.check_event(read, PEERS.network, MEMBERS, wrong) is Reject.SIGNATURE
            assert (face.check_event(read, PEERS.network, MEMBERS) is None) is (right == "ed25519")
            with pytest.raises(ArgumentError, match="signatures is 'both': give one of ed25519, simulated"):
                face.check_event(read, PEERS.network, MEMBERS, "both")
    verdicts = [
        face.check_evidence(body, PEERS.network, MEMBERS, scheme)
        for body in (EVIDENCE, SIMULATED_EVIDENCE)
        for scheme in ("ed25519", "simulated")
    ]
    assert verdicts == [1, None, None, 1]


def test_refusals_are_the_members_of_reject(face: Any) -> None:
    assert face.decode_event(b"", PEERS.epoch_id, PEERS.network) is Reject.TRUNCATED
    assert face.decode_request(b"") is Reject.TRUNCATED


# -- graphs -----------------------------------------------------------------------------------------

DAGS = sorted((dags.DATA / "patterns").glob("*.json")) + sorted((dags.DATA / "edges").glob("*.json"))


@pytest.mark.native
@pytest.mark.parametrize("path", DAGS, ids=lambda path: path.stem)
def test_a_stored_graph_has_its_outcome(path: Path) -> None:
    made = json.loads(path.read_text())
    assert order_dag(made, core="native") == made["outcome"]


def test_a_graph_event_by_event(face: Any) -> None:
    for path in DAGS:
        made = json.loads(path.read_text())
        for rule, order in itertools.product(("two_step", "three_step"), ("fair", "fast")):
            run = dag_run(face, made, rule, order)
            batches = []
            for entry in entries(made):
                run.insert(*entry)
                batches += run.close()
            assert run.slots() == made["outcome"][rule]["slots"]
            assert len(run) == len(made["events"])
            stored = [
                (each["round"], [tuple(event) for event in each["events"]]) for each in made["outcome"][rule][order]
            ]
            assert [(round, [(digest.hex(), at) for digest, at in batch]) for round, batch in batches] == stored


@pytest.mark.native
def test_graphs_in_bulk_and_pruned_are_ordered_alike(native: Any) -> None:
    # Full rows: every round closes, and what lies deep enough is let go of.
    n, rounds, keep = 4, 60, 20
    events, below = [], []
    for round in range(1, rounds + 1):
        row = [_python.blake3(b"%d/%d" % (round, creator)) for creator in range(n)]
        events += [(digest, creator, round, 100 * round + creator, below) for creator, digest in enumerate(row)]
        below = row
    outcomes = []
    for face in (_python, native):
        run = face.DagRun(n, None, bytes(32), 10, "two_step", "fair")
        empty = run.order_hash
        batches = []
        for start in range(0, len(events), 40):
            run.insert_all(events[start : start + 40])
            batches += run.close()
            run.forget(keep)
        assert run.order_hash != empty
        assert len(run) < (keep + 15) * n
        outcomes.append((batches, run.order_hash, run.slots(), len(run)))
    assert outcomes[0] == outcomes[1]
    assert sum(len(batch) for _, batch in outcomes[0][0]) > 40 * n


WRONG_EVENTS: dict[str, tuple[Any, ...]] = {
    "another size": (b"short", 0, 1, 0, []),
    "no creator": (bytes(32), 4, 1, 0, []),
    "round 0": (bytes(32), 0, 0, 0, []),
    "far above": (bytes(32), 0, 2**62, 0, []),
    "again": (b"\x01" * 32, 1, 1, 0, []),
    "no parent": (bytes(32), 0, 2, 0, [bytes(32)]),
    "a parent beside": (bytes(32), 0, 1, 0, [b"\x01" * 32]),
    "before time": (bytes(32), 0, 1, -1, []),
    "no number": (bytes(32), 0, "1", 0, []),
    "no bytes": ("x", 0, 1, 0, []),
}


@pytest.mark.native
@pytest.mark.parametrize("why", WRONG_EVENTS)
def test_a_graph_refuses_what_cannot_be(native: Any, why: str) -> None:
    answers = []
    for face in (_python, native):
        run = face.DagRun(4, None, bytes(32), 10, "two_step", "fair")
        run.insert(b"\x01" * 32, 0, 1, 0, [])
        answers.append(answer(run.insert, *WRONG_EVENTS[why]))
        assert len(run) == 1
        run.insert(b"\x02" * 32, 0, 2, 5, [b"\x01" * 32])  # it goes on
    assert answers[0] == answers[1]
    assert issubclass(answers[0][0], ArgumentError | ArgumentTypeError)


@pytest.mark.native
def test_a_graph_is_made_of_what_can_be(native: Any) -> None:
    right: tuple[Any, ...] = (4, None, bytes(32), 10, "two_step", "fair")
    for place, wrong in ((0, 0), (1, 2), (3, -1)):
        arguments = (*right[:place], wrong, *right[place + 1 :])
        for face in (_python, native):
            if (face, place) != (_python, 3):
                with pytest.raises(ArgumentError):
                    face.DagRun(*arguments)
    for face in (_python, native):
        with pytest.raises(ArgumentError, match="keep_rounds is 9: give at least gc_depth, 10"):
            face.DagRun(*right).forget(9)


def dag_run(face: Any, made: dict[str, Any], rule: str, order: str) -> Any:
    """A run of the graph of a document."""
    return face.DagRun(made["n"], made.get("f"), bytes.fromhex(made["epoch_id"]), made["gc_depth"], rule, order)


def entries(made: dict[str, Any]) -> Iterator[tuple[bytes, int, int, int, list[bytes]]]:
    """The events of a document, parents first."""
    for event in sorted(made["events"], key=lambda event: event["round"]):
        parents = [bytes.fromhex(parent) for parent in event["parents"]]
        yield bytes.fromhex(event["id"]), event["creator"], event["round"], event["created_at"], parents


# -- machines: what goes wrong ----------------------------------------------------------------------


def config_of(n: int = 4, **changes: Any) -> MachineConfig:
    """Of the first of n peers."""
    fields: dict[str, Any] = {"network": Network(), "members": members_of(n), "seed": seeds(n)[0], "entropy": bytes(32)}
    return MachineConfig(**{**fields, **changes})


def started(face: Any, n: int = 4, **changes: Any) -> Any:
    """A machine, as the first of n peers."""
    machine = face.Machine(config_of(n, **changes))
    machine.step(EPOCH, [Start([])])
    return machine


MISUSE: dict[str, tuple[int, list[Input], type[Exception], str]] = {
    "back in time": (EPOCH - 1, [], AssertionError, "time went back"),
    "started twice": (EPOCH, [Start([])], AssertionError, "started twice"),
    "nothing to persist": (EPOCH, [Persisted(1)], AssertionError, "nothing was being persisted"),
    "too large": (EPOCH, [Submit([bytes(2**20)])], AssertionError, "the engine refuses larger transactions"),
}


@pytest.mark.parametrize("what", MISUSE)
def test_a_machine_that_failed_says_so_and_does_nothing_more(face: Any, what: str) -> None:
    now, inputs, kind, text = MISUSE[what]
    machine = started(face)
    with pytest.raises(kind) as raised:
        machine.step(now, inputs)
    assert (type(raised.value), str(raised.value)) == (kind, text)
    assert_poisoned(machine, f"{kind.__name__}: {text}")


def test_another_token_than_the_awaited_one(face: Any) -> None:
    machine = face.Machine(config_of(1))
    outputs = [*machine.step(EPOCH, [Start([]), Submit([b"x"])]), *machine.step(EPOCH + 10**9, [])]
    (token,) = [output.token for output in outputs if isinstance(output, Persist)]
    with pytest.raises(AssertionError, match=r"^another token was being persisted$"):
        machine.step(EPOCH + 10**9, [Persisted(token + 1)])
    assert_poisoned(machine, "AssertionError: another token was being persisted")


@pytest.mark.parametrize("record", [b"junk", encode_own_event(FRAMES[0], ())])
def test_a_corrupt_journal(face: Any, record: bytes) -> None:
    machine = face.Machine(config_of())
    with pytest.raises(CorruptError, match=r"^the journal holds") as raised:
        machine.step(EPOCH, [Start([record])])
    assert_poisoned(machine, f"CorruptError: {raised.value}")


def assert_poisoned(machine: Any, why: str) -> None:
    """It does nothing more, and says why."""
    told = f"this machine failed before and is of no more use: {why}"
    for call in (lambda: machine.step(EPOCH + 1, []), machine.digest, machine.digest):
        with pytest.raises(AssertionError) as raised:
            call()
        assert (type(raised.value), str(raised.value)) == (AssertionError, told)
    assert machine.status().halted == told
    assert machine.status().peers >= 1


NO_INPUTS: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "before time": (-1, [], ArgumentError, "now is -1: give 0 to 4611686018427387904"),
    "after time": (2**62 + 1, [], ArgumentError, "now is 4611686018427387905: give 0 to 4611686018427387904"),
    "half a ns": (1.5, [], ArgumentTypeError, "now is 1.5: give an integer"),
    "a number": (EPOCH, [7], ArgumentTypeError, "an input is a int: give those of syncpoint.core.input"),
    "an output": (EPOCH, [Rejected(1, Reject.TIME)], ArgumentTypeError, "an input is a Rejected: give those of"),
    "no peer": (EPOCH, [Received(128, [])], ArgumentError, "Received.peer is 128: give 0 to 127"),
    "below the peers": (EPOCH, [Connected(-1)], ArgumentError, "Connected.peer is -1: give 0 to 127"),
    "gone, and never here": (EPOCH, [Disconnected(129)], ArgumentError, "Disconnected.peer is 129: give 0 to 127"),
    "no bytes": (EPOCH, [Received(1, [bytearray(b"x")])], ArgumentTypeError, "a frame is a bytearray: give bytes"),
    "used up": (EPOCH, [Submit(iter([b"x"]))], ArgumentTypeError, "a transaction is in a list_iterator: give"),  # type: ignore[arg-type]
    "a text": (EPOCH, [Submit(["x"])], ArgumentTypeError, "a transaction is a str: give bytes"),  # type: ignore[list-item]
    "no record": (EPOCH, [Start([None])], ArgumentTypeError, "a record is a NoneType: give bytes"),  # type: ignore[list-item]
    "no token": (EPOCH, [Persisted(-1)], ArgumentError, "Persisted.token is -1: give 0 to 18446744073709551615"),
}


@pytest.mark.parametrize("what", NO_INPUTS)
def test_what_is_no_input_is_refused_before_anything_happens(face: Any, what: str) -> None:
    now, inputs, kind, text = NO_INPUTS[what]
    machine = started(face)
    before = machine.status(), machine.digest()
    with pytest.raises(kind) as raised:
        machine.step(now, [Submit([b"not taken"]), *inputs])
    assert type(raised.value) is kind
    assert str(raised.value).startswith(text)
    assert (machine.status(), machine.digest()) == before
    machine.step(EPOCH, [])  # it goes on


NO_CONFIGS: dict[str, dict[str, Any]] = {
    "a short seed": {"seed": b"short"},
    "another key": {"seed": bytes(32)},
    "little entropy": {"entropy": b"x"},
    "twice": {"members": members_of(4)[:1] * 2},
    "a short key": {"members": (*members_of(4), Member(b"short"))},
    "too many liars": {"network": Network(f=2)},
    "nobody": {"members": ()},
}


@pytest.mark.native
@pytest.mark.parametrize("what", NO_CONFIGS)
def test_both_cores_refuse_a_configuration_alike(native: Any, what: str) -> None:
    config = config_of(**NO_CONFIGS[what])
    kind, text = answer(_python.Machine, config)
    assert kind is ArgumentError
    assert answer(native.Machine, config) == (kind, text)


def test_a_scheme_that_is_none_is_no_configuration() -> None:
    for wrong in ("", "Ed25519", None, 1):
        with pytest.raises(ArgumentError, match=r"^MachineConfig.signatures is .*: give one of ed25519, simulated$"):
            config_of(signatures=wrong)


@pytest.mark.native
def test_the_native_core_looks_at_the_scheme_itself(native: Any) -> None:
    for wrong in ("none", None, 1):
        config = config_of()
        object.__setattr__(config, "signatures", wrong)  # past the check of the class
        with pytest.raises(ArgumentError, match=rf"^MachineConfig.signatures is {wrong!r}: give one of"):
            native.Machine(config)


@pytest.mark.parametrize("scheme", ["ed25519", "simulated"])
def test_a_machine_takes_what_is_signed_under_its_own_scheme(face: Any, scheme: str) -> None:
    for threads in (1, 4):
        machine = started(
            face,
            network=PEERS.network,
            members=MEMBERS,
            seed=blake3_seed(),
            signatures=scheme,
            local=Local(verify_threads=threads),
        )
        simulated = [wire.encode_event(simulated_of(event)) for row in ROWS for event in row if event.creator]
        real = [wire.encode_event(event) for row in ROWS for event in row if event.creator]
        right, wrong = (simulated, real) if scheme == "simulated" else (real, simulated)
        outputs = machine.step(EPOCH, [Connected(1), Received(1, wrong * 2)])
        assert [output.code for output in outputs if isinstance(output, Rejected)] == [Reject.SIGNATURE] * 12
        assert machine.status().events == 0
        outputs = machine.step(EPOCH, [Received(1, right)])
        assert not [output for output in outputs if isinstance(output, Rejected)]
        assert machine.status().events == 3  # the second round waits for our own event of the first
        assert machine.status().waiting_events == 3


def test_a_machine_signs_under_its_own_scheme(face: Any) -> None:
    seed, signed = seeds(1)[0], {}
    for scheme in ("ed25519", "simulated"):
        outputs = face.Machine(config_of(1, signatures=scheme)).step(EPOCH, [Start([])])
        (record,) = next(output.records for output in outputs if isinstance(output, Persist))
        event = face.decode_event(_python.decode_record(record).frame, machine_epoch(), Network())
        signed[scheme] = event.header, event.signature
        message = DOMAIN_EVENT + event.digest
        public = _python.derive(seed)
        assert _python.verify(public, message, event.signature) is (scheme == "ed25519")
        assert (_python.simulated_signature(public, message) == event.signature) is (scheme == "simulated")
    assert signed["ed25519"][0] == signed["simulated"][0], "the scheme changes no byte that is signed"


def machine_epoch() -> bytes:
    """The epoch id of a committee of one."""
    return _python.epoch_id(Network(), members_of(1))


def test_threads_that_check_signatures_change_nothing(face: Any) -> None:
    answers = []
    for threads in (1, 4):
        config = MachineConfig(
            network=PEERS.network,
            members=MEMBERS,
            seed=blake3_seed(),
            entropy=bytes(32),
            local=Local(verify_threads=threads),
        )
        machine = face.Machine(config)
        bad = FRAMES[3][:-64] + bytes(64)
        outputs = machine.step(
            EPOCH, [Start([]), *(Connected(peer) for peer in others()), Received(1, [*FRAMES * 4, bad])]
        )
        answers.append((outputs, machine.status(), machine.digest()))
    assert answers[0] == answers[1]
    assert answers[0][1].events > 0


@pytest.mark.native
def test_the_last_ns_that_a_clock_may_tell(native: Any) -> None:
    machines = [face.Machine(config_of()) for face in (_python, native)]
    frontier = wire.encode_frontier(FrameType.FRONTIER, [0] * 4)
    for now in (0, 1, 2**62 - 1, 2**62, 2**62):
        inputs: list[Input] = [Received(peer, [frontier]) for peer in others()]
        if not now:
            inputs = [Start([]), *map(Connected, others())]
        one, two = (machine.step(now, inputs) for machine in machines)
        assert [type(output).__name__ for output in one] == [type(output).__name__ for output in two]
        assert machines[0].status() == machines[1].status()


@pytest.mark.native
def test_a_retention_without_end(native: Any) -> None:
    local = Local(retain_bytes=2**63 - 1, retain_events=2**63 - 1, min_event_interval_ns=0)
    machine = native.Machine(alone(local))
    now, outputs = EPOCH, machine.step(EPOCH, [Start([]), Submit([b"x"])])
    for _ in range(20):
        now += 10**9
        inputs = [Persisted(output.token) for output in outputs if isinstance(output, Persist)]
        outputs = machine.step(now, inputs)
    assert machine.status().delivered > 0
    assert machine.status().halted is None


def alone(local: Local) -> MachineConfig:
    """A committee of one."""
    return MachineConfig(network=Network(), members=members_of(1), seed=seeds(1)[0], entropy=bytes(32), local=local)


WITHOUT_THREADS = """
from core.test_face import EPOCH, FRAMES, MEMBERS, PEERS, Local, MachineConfig, Received, Start, blake3_seed
from syncpoint.backend import load_core

local = Local(verify_threads=4)
config = MachineConfig(network=PEERS.network, members=MEMBERS, seed=blake3_seed(), entropy=bytes(32), local=local)
machine = load_core("native").Machine(config)
machine.step(EPOCH, [Start([]), Received(1, FRAMES)])
assert machine.status().events > 0
"""


@pytest.mark.native
@pytest.mark.skipif(sys.maxsize < 2**32, reason="every stack has room in a small address space")
def test_where_there_are_no_more_threads_signatures_are_checked_all_the_same(native: Any) -> None:
    # A stack of that size fits nowhere, so no thread starts: as where a container may have no more.
    environment = {**os.environ, "RUST_MIN_STACK": str(2**60), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", WITHOUT_THREADS], env=environment, check=True, timeout=60)


def blake3_seed() -> bytes:
    """The secret of creator 0 of PEERS."""
    made = [_python.blake3(f"test/{number}".encode()) for number in range(4)]
    return min(made, key=_python.derive)


def others() -> range:
    """The creators beside creator 0."""
    return range(1, 4)


# -- machines: threads and memory -------------------------------------------------------------------


def test_two_threads_step_one_after_the_other(face: Any) -> None:
    machine, barrier, steps, junk = started(face), threading.Barrier(2), 300, [b"", b"\xff", b""]
    answers: list[list[Output]] = []

    def run(peer: int) -> None:
        barrier.wait()
        for _ in range(steps):
            answers.append(machine.step(EPOCH, [Received(peer, junk)]))

    threads = [threading.Thread(target=run, args=(peer,)) for peer in (1, 2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert machine.status().rejects == {Reject.FRAME_EMPTY: 2 * 2 * steps, Reject.FRAME_TYPE: 2 * steps}
    # Every step had the outputs of its own inputs, all of them and no others.
    for outputs in answers:
        rejected = [output for output in outputs if isinstance(output, Rejected)]
        assert [output.code for output in rejected] == [Reject.FRAME_EMPTY, Reject.FRAME_TYPE, Reject.FRAME_EMPTY]
        assert len({output.peer for output in rejected}) == 1


@pytest.mark.native
def test_other_threads_run_during_a_step(native: Any) -> None:
    machine = started(native, network=PEERS.network, members=MEMBERS, seed=blake3_seed())
    frames = [wire.encode_event(PEERS.event(0, 1, transactions=[b"%d" % each for each in range(10_000)]))] * 20
    go, ran = threading.Event(), threading.Event()

    def run() -> None:
        go.wait()
        ran.set()

    thread = threading.Thread(target=run)
    thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # a thread gives way only when it lets go of the interpreter by itself
    try:
        go.set()
        for _ in frames:
            sum(range(1_000_000))  # longer than a step: nobody else runs
        if getattr(sys, "_is_gil_enabled", lambda: True)():
            assert not ran.is_set()
        for _ in range(100):
            machine.step(EPOCH, [Received(1, frames)])
            if ran.is_set():
                break
        assert ran.is_set()
    finally:
        sys.setswitchinterval(interval)
        thread.join()


def final_event(face: Any, size: int) -> Any:
    """What one machine delivers of a transaction of so many bytes, submitted to it alone."""
    machine = face.Machine(config_of(1, network=Network(max_payload_bytes=size + 1024)))
    inputs: list[Input] = [Start([]), Submit([bytes(size)])]
    for second in range(10):
        outputs = machine.step(EPOCH + second * 10**9, inputs)
        inputs = [Persisted(output.token) for output in outputs if isinstance(output, Persist)]
        for output in outputs:
            for done in output.messages if isinstance(output, Deliver) else ():
                if done.event.payload_bytes:
                    return done
    raise AssertionError("nothing was delivered")


@pytest.mark.native
def test_transactions_are_made_when_they_are_asked_for(native: Any) -> None:
    size = 1_000_000
    tracemalloc.start()
    try:
        done = final_event(native, size)
        message = Message._of(done, KeySecret.generate().public())
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        assert (message.transaction_count, message._payload_bytes) == (1, size)
        assert "1 transactions" in repr(message)
        assert {message: 1}[message] == 1
        looked, _ = tracemalloc.get_traced_memory()
        assert looked - before < size // 10
        transactions = message.transactions
        asked, _ = tracemalloc.get_traced_memory()
        assert asked - looked >= size
        assert message.transactions is transactions
        assert message.transaction(0) is transactions[0]
        again, _ = tracemalloc.get_traced_memory()
        assert again - asked < size // 10
    finally:
        tracemalloc.stop()
    assert transactions == (bytes(size),)


@pytest.mark.native
def test_frames_are_not_copied(native: Any) -> None:
    frame = bytes(bytearray(FRAMES[4]))  # our own
    held = sys.getrefcount(frame)
    event = native.decode_event(frame, PEERS.epoch_id, PEERS.network)
    assert sys.getrefcount(frame) == held + 1
    del event
    assert sys.getrefcount(frame) == held


def test_a_delivered_event_is_one_object(face: Any) -> None:
    done = final_event(face, 10)
    assert done.event is done.event
    assert done.event.transactions is done.event.transactions
    assert (done.index, done.parents, done.submissions) == (0, (), (0,))
    assert (len(done.order_hash), len(done.whitened_signature)) == (32, 64)
    with pytest.raises(AttributeError):
        done.index = 1
    with pytest.raises(AttributeError):
        done.event.round = 2


@pytest.mark.native
def test_both_cores_deliver_the_same(native: Any) -> None:
    one, two = (final_event(face, 1000) for face in (_python, native))
    names = ("index", "parents", "consensus_at", "order_hash", "whitened_signature", "closed_by", "submissions")
    assert [getattr(one, name) for name in names] == [getattr(two, name) for name in names]
    assert event_fields(one.event) == event_fields(two.event)
