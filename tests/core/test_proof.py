"""Proofs: what they prove, and that nothing else is taken for one (C2, C3)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from syncpoint.backend import load_core
from syncpoint.core.config import MAX_TRANSACTIONS, Member
from syncpoint.core.crypto import DOMAIN_EVENT
from syncpoint.core.items import MAX_METADATA_BYTES, checkpoint_message
from syncpoint.core.proof import (
    MAX_DEPTH,
    MAX_HEADER_BYTES,
    MAX_PLACES,
    MAX_PROOF_BYTES,
    MAX_TRANSITIONS,
    Flaw,
    Proved,
    ProvedSyncPoint,
    ProvedTransaction,
)
from syncpoint.core.values import Delivered, SyncPoint, SyncPointKind
from syncpoint.core.wire import event_digest

from .build import Peers
from .places import Places

PEERS = Peers(4)
STATE = bytes(range(100, 132))
# Where a field of a proof by 3 of 4 peers starts.
VERSION, KIND, NETWORK, TRANSITIONS, EPOCH, CHECKPOINT = 0, 2, 3, 35, 37, 39
SIGNERS = CHECKPOINT + 8 + 32 + 32
SIGNATURES = SIGNERS + 16
PLACE = SIGNATURES + 3 * 64
CONTENT = PLACE + 8 + 8 + 32


class Checker:
    """A core's check, by the members of a committee."""

    def __init__(self, core: str) -> None:
        self._face: Any = load_core(core)

    def __call__(self, proof: bytes, peers: Peers = PEERS) -> Proved | Flaw:
        members = [Member(signer.public) for signer in peers.signers]
        result = self._face.check_proof(proof, peers.network, members)
        assert isinstance(result, Proved | Flaw)
        return result


@pytest.fixture
def check(core: str) -> Checker:
    """Each core's check in turn."""
    return Checker(core)


def some_order(peers: Peers = PEERS) -> Places:
    """Events with payloads of several sizes, and a sync point at index 3."""
    order = Places(peers)
    order.event(0, [b"alone"])
    order.event(1, [b"a", b"", b"c" * 300])
    order.event(2)
    order.point()
    order.event(3, [b"last"])
    return order


def proved(result: Proved | Flaw) -> Proved:
    """What was proved, where a proof has to hold."""
    assert isinstance(result, Proved), result
    return result


# -- what holds -------------------------------------------------------------------------------------


def test_a_transaction_is_proved_with_its_place(check: Checker) -> None:
    order = some_order()
    event = order.places[1]
    assert isinstance(event, Delivered)
    for position, transaction in enumerate(event.event.transactions):
        found = proved(check(order.proof(1, position)))
        assert found == Proved(
            what=ProvedTransaction(
                transaction=transaction,
                depth=(2, 2, 1)[position],
                turns=(0b00, 0b01, 0b1)[position],
                creator=1,
                round=1,
                created_at=event.event.created_at,
                digest=event.digest,
            ),
            index=1,
            consensus_at=event.consensus_at,
            order_hash=event.order_hash,
            checkpoint=4,
            checkpoint_hash=order.hashes[-1],
            state_hash=bytes(32),
            signers=0b0111,
            epoch=0,
            creators=tuple(signer.public for signer in PEERS.signers),
            checkpoint_epoch=0,
            voters=tuple(signer.public for signer in PEERS.signers),
        )


def test_a_sync_point_is_proved_with_its_content(check: Checker) -> None:
    order = some_order()
    point = order.places[3]
    assert isinstance(point, SyncPoint)
    found = proved(check(order.proof(3, certificate=order.certificate((0, 2, 3), STATE))))
    assert found.what == ProvedSyncPoint(
        SyncPointKind.CUSTOM, 1, bytes(range(32)), 1, 0b111, b"", b"m", digest=point.digest
    )
    assert (found.index, found.consensus_at, found.order_hash) == (3, point.consensus_at, point.order_hash)
    assert (found.state_hash, found.signers) == (STATE, 0b1101)


def test_a_sync_point_that_is_its_own_checkpoint_needs_nothing_behind_it(check: Checker) -> None:
    order = Places(PEERS)
    order.point(SyncPointKind.EPOCH, None, 0, b"")
    proof = order.proof(0)
    assert len(proof) == CONTENT + 63
    found = proved(check(proof))
    assert found.checkpoint == found.index == 0
    assert found.checkpoint_hash == found.order_hash
    assert isinstance(found.what, ProvedSyncPoint)
    assert found.what.proposer is None


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 31])
def test_committees_of_all_sizes_prove(check: Checker, n: int) -> None:
    peers = Peers(n)
    order = Places(peers)
    order.event(n - 1, [b"x"])
    order.point(approvals=1, proposer=0)
    last = range(peers.committee.f, n)
    for index in (0, 1):
        for signers in (None, last):
            assert proved(check(order.proof(index, certificate=order.certificate(signers)), peers)).index == index


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 33])
def test_transactions_of_one_event_stand_in_the_order_of_their_turns(check: Checker, count: int) -> None:
    order = Places(PEERS)
    order.event(0, [b"%d" % number for number in range(count)])
    ways = []
    for position in range(count):
        what = proved(check(order.proof(0, position))).what
        assert isinstance(what, ProvedTransaction)
        assert what.transaction == b"%d" % position
        ways.append(f"{what.turns:0{what.depth}b}" if what.depth else "")
    assert ways == sorted(ways)
    assert len(set(ways)) == count
    assert not [(one, two) for one, two in itertools.permutations(ways, 2) if two.startswith(one)]


def test_the_largest_payload_is_as_deep_as_a_proof_may_be(check: Checker) -> None:
    order = Places(PEERS)
    order.event(0, [b""] * MAX_TRANSACTIONS)
    what = proved(check(order.proof(0, MAX_TRANSACTIONS - 1))).what
    assert isinstance(what, ProvedTransaction)
    assert (what.depth, what.turns) == (MAX_DEPTH, MAX_TRANSACTIONS - 1)


def test_simulated_signatures_count_where_they_are_asked_for(core: str) -> None:
    face: Any = load_core(core)
    peers = Peers(4)
    members = [Member(signer.public) for signer in peers.signers]
    order = some_order(peers)
    real = order.certificate()
    text = checkpoint_message(peers.epoch_id, real.index, real.order_hash, real.state_hash)
    made = b"".join(face.simulated_signature(member.public, text) for member in peers.committee.members[:3])
    proof = order.proof(3, certificate=replace(real, signatures=made))
    assert face.check_proof(proof, peers.network, members) is Flaw.SIGNATURE
    assert isinstance(face.check_proof(proof, peers.network, members, "simulated"), Proved)


# -- what does not ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("index", "position"), [(0, 0), (1, 1), (3, 0)], ids=["alone", "in a tree", "a sync point"])
def test_no_single_bit_can_be_another(check: Checker, index: int, position: int) -> None:
    proof = some_order().proof(index, position)
    whole = int.from_bytes(proof, "little")
    taken = [
        bit
        for bit in range(8 * len(proof))
        if not isinstance(check((whole ^ 1 << bit).to_bytes(len(proof), "little")), Flaw)
    ]
    assert not taken
    assert isinstance(check(proof), Proved)


@pytest.mark.parametrize("index", [1, 3])
def test_no_beginning_of_a_proof_is_one_and_nothing_may_follow(check: Checker, index: int) -> None:
    proof = some_order().proof(index)
    assert [check(proof[:length]) for length in range(len(proof))] == [Flaw.TRUNCATED] * len(proof)
    assert check(proof + b"\0") is Flaw.TRAILING


def test_another_network_takes_it_for_nothing(check: Checker) -> None:
    proof = some_order().proof(3)
    for other in (Peers(4, "others"), Peers(4, order="fast"), Peers(5)):
        assert check(proof, other) is Flaw.NETWORK
        renamed = proof[:NETWORK] + other.epoch_id + proof[TRANSITIONS:]
        assert check(renamed, other) in (Flaw.SIGNATURE, Flaw.TRUNCATED, Flaw.SIGNERS)


def test_only_q_creators_are_signers(check: Checker) -> None:
    order = some_order()
    for signers in ((), (0,), (0, 1), (0, 1, 2, 3)):
        assert check(order.proof(3, certificate=order.certificate(signers))) is Flaw.SIGNERS
    others = replace(order.certificate(), signers=0b10011)
    assert check(order.proof(3, certificate=others)) is Flaw.SIGNERS
    highest = replace(order.certificate(), signers=0b11 | 1 << 127)
    assert check(order.proof(3, certificate=highest)) is Flaw.SIGNERS


def test_each_signer_has_signed(check: Checker) -> None:
    order = some_order()
    for by in ((1, 0, 2), (0, 1, 3), (0, 1, 1), (3, 3, 3)):
        assert check(order.proof(3, certificate=order.certificate((0, 1, 2), by=by))) is Flaw.SIGNATURE
    real = order.certificate()
    missing = replace(real, signatures=real.signatures[:64] + bytes(64) + real.signatures[128:])
    assert check(order.proof(3, certificate=missing)) is Flaw.SIGNATURE
    short = order.proof(3, certificate=replace(real, signatures=real.signatures[:128]))
    assert isinstance(check(short), Flaw)


def test_the_signature_of_an_event_counts_for_no_checkpoint(check: Checker) -> None:
    order = some_order()
    real = order.certificate()
    event = DOMAIN_EVENT + event_digest(real.order_hash)
    wrong = PEERS.signers[2].sign(event)
    assert check(order.proof(3, certificate=replace(real, signatures=real.signatures[:128] + wrong))) is Flaw.SIGNATURE


def test_what_was_signed_cannot_be_exchanged(check: Checker) -> None:
    order = some_order()
    real = order.certificate()
    assert check(order.proof(3, certificate=replace(real, state_hash=STATE))) is Flaw.SIGNATURE
    assert check(order.proof(3, certificate=replace(real, order_hash=STATE))) is Flaw.CHAIN
    longer = some_order()
    longer.event(0)
    # The certificate is of index 4, and the path goes on to 5.
    assert check(longer.proof(3, certificate=replace(real, index=5))) is Flaw.CHAIN


def test_what_is_proved_cannot_be_exchanged(check: Checker) -> None:
    order = some_order()
    for index in (1, 3):
        place, proof = order.places[index], order.proof(index)
        later = proof[: PLACE + 8] + (place.consensus_at + 1).to_bytes(8, "little") + proof[PLACE + 16 :]
        assert check(later) is Flaw.CHAIN
        moved = proof[:PLACE] + (index + 1).to_bytes(8, "little") + proof[PLACE + 8 : -40]
        assert check(moved) is Flaw.CHAIN
    point = order.places[3]
    assert isinstance(point, SyncPoint)
    for lie in (
        replace(point, kind=SyncPointKind.SNAPSHOT),
        replace(point, metadata=b"n"),
        replace(point, metadata=b""),
        replace(point, proposer=2),
        replace(point, proposer=None),
        replace(point, approvals=0b1111),
        replace(point, proposal=STATE),
        replace(point, epoch_index=2),
    ):
        order.places[3] = lie
        assert check(order.proof(3)) is Flaw.CHAIN, lie


def test_another_transaction_is_not_in_the_event(check: Checker) -> None:
    order = some_order()
    proof = order.proof(1, 2)
    assert proof.count(b"c" * 300) == 1
    assert check(proof.replace(b"c" * 300, b"c" * 299 + b"d")) is Flaw.PAYLOAD
    # Another event holds it, which is at another place.
    order.places[1] = replace(order.places[1], event=PEERS.event(1, 1, transactions=[b"d"]))  # type: ignore[call-arg]
    assert check(order.proof(1)) is Flaw.CHAIN


def test_an_inner_node_is_no_transaction(check: Checker) -> None:
    order = some_order()
    event = order.places[1]
    assert isinstance(event, Delivered)
    proof = order.proof(1, 0)
    transactions = event.event.transactions
    assert transactions[0] == b"a"
    face: Any = load_core("python")
    left = face.blake3(b"\0" + transactions[0]) + face.blake3(b"\0" + transactions[1])
    right = face.blake3(b"\0" + transactions[2])
    header = len(event.event.header)
    end = CONTENT + 4 + header
    made = bytes((1, 0, 0)) + right + len(left).to_bytes(4, "little") + left
    later = proof[-3 * 40 :]
    assert check(proof[:end] + made + later) is Flaw.PAYLOAD


@pytest.mark.parametrize(
    ("at", "value", "flaw"),
    [
        (VERSION, b"\x02\x00", Flaw.VERSION),
        (KIND, b"\x00", Flaw.KIND),
        (KIND, b"\x03", Flaw.KIND),
        (NETWORK, bytes(32), Flaw.NETWORK),
        (TRANSITIONS, b"\x01\x00", Flaw.COMMITTEE),
        (TRANSITIONS, (MAX_TRANSITIONS + 1).to_bytes(2, "little"), Flaw.LIMIT),
        (EPOCH, b"\x01\x00", Flaw.PLACE),
        (CHECKPOINT, (2).to_bytes(8, "little"), Flaw.PLACE),
        (CHECKPOINT, (3 + MAX_PLACES).to_bytes(8, "little"), Flaw.TRUNCATED),
        (CHECKPOINT, (4 + MAX_PLACES).to_bytes(8, "little"), Flaw.LIMIT),
        (CHECKPOINT, (2**64 - 1).to_bytes(8, "little"), Flaw.LIMIT),
        (PLACE, (2**64 - 1).to_bytes(8, "little"), Flaw.PLACE),
        (CONTENT, b"\x00", Flaw.SYNC_POINT),
        (CONTENT, b"\x09", Flaw.SYNC_POINT),
        (CONTENT + 41, (4).to_bytes(2, "little"), Flaw.SYNC_POINT),
        (CONTENT + 43, b"\x1f", Flaw.SYNC_POINT),
        (CONTENT + 59, (MAX_METADATA_BYTES + 1).to_bytes(4, "little"), Flaw.LIMIT),
    ],
)
def test_each_field_of_a_sync_point_is_looked_at(check: Checker, at: int, value: bytes, flaw: Flaw) -> None:
    proof = some_order().proof(3)
    assert check(proof[:at] + value + proof[at + len(value) :]) is flaw


def test_each_field_of_a_transaction_is_looked_at(check: Checker) -> None:
    order = some_order()
    proof = order.proof(1, 1)
    event = order.places[1]
    assert isinstance(event, Delivered)
    header = CONTENT + 4
    turns = header + len(event.event.header)
    size = turns + 3 + 2 * 32
    for at, value, flaw in (
        (CONTENT, (MAX_HEADER_BYTES + 1).to_bytes(4, "little"), Flaw.LIMIT),
        (header, b"\x02\x00", Flaw.EVENT),
        (header + 2, bytes(32), Flaw.EVENT),
        (header + 34, b"\x04\x00", Flaw.EVENT),
        (header + 36, bytes(8), Flaw.EVENT),
        (turns, b"\x0f", Flaw.LIMIT),
        (turns + 1, b"\x05\x00", Flaw.PAYLOAD),
        (turns + 1, b"\x02\x00", Flaw.PAYLOAD),
        (size, (2**23 + 1).to_bytes(4, "little"), Flaw.LIMIT),
        (size, (1).to_bytes(4, "little"), Flaw.PAYLOAD),
    ):
        assert check(proof[:at] + value + proof[at + len(value) :]) is flaw, (at, value)


def test_a_proof_is_not_longer_than_it_may_be(check: Checker) -> None:
    proof = some_order().proof(3)
    room = MAX_PROOF_BYTES - len(proof)
    assert check(proof + bytes(room)) is Flaw.TRAILING
    assert check(proof + bytes(room + 1)) is Flaw.LIMIT
