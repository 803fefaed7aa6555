"""Proofs over epochs: who signs follows from the first members, sync point by sync point (C2, C3)."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from syncpoint.backend import load_core
from syncpoint.core.change import Change, Configure, decode_change
from syncpoint.core.checkpoint import NOT_ATTESTED, Certificate
from syncpoint.core.config import Member, Network
from syncpoint.core.crypto import Signer, blake3
from syncpoint.core.input import Certify
from syncpoint.core.items import checkpoint_message
from syncpoint.core.order import first_order_hash
from syncpoint.core.proof import (
    MAX_TRANSITION_BYTES,
    Flaw,
    Proved,
    ProvedSyncPoint,
    ProvedTransaction,
    prove_sync_point,
    prove_transaction,
)
from syncpoint.core.transition import Transition, decode_transition, encode_transition
from syncpoint.core.values import SyncPoint, SyncPointKind
from syncpoint.runtime.storage import is_event

from .build import Peers
from .epochs import Changing
from .places import Places, addition, removal, rotation
from .virtual import MS

STATE = bytes(range(100, 132))
BEGIN, EPOCH = 39, 37  # where the transitions start, and the number of the epoch of what is proved
NEW = [Signer(blake3(b"new/%d" % number)) for number in range(4)]


class Checker:
    """A core's check, by the first members of a network."""

    def __init__(self, core: str) -> None:
        self._face: Any = load_core(core)

    def __call__(self, proof: bytes, peers: Peers) -> Proved | Flaw:
        members = [Member(signer.public) for signer in peers.signers]
        result = self._face.check_proof(proof, peers.network, members)
        assert isinstance(result, Proved | Flaw)
        return result


@pytest.fixture
def check(core: str) -> Checker:
    """Each core's check in turn."""
    return Checker(core)


PEERS = Peers(4, "epochs")


def changed(changes: list[Callable[[Places], tuple[Change, ...]]], peers: Peers = PEERS) -> Places:
    """An order that goes through these changes, with an event on each side of each."""
    order = Places(peers)
    order.event(0, [b"in epoch 0", b"x"])
    for number, change in enumerate(changes, 1):
        order.change(*change(order))  # type: ignore[arg-type]
        order.event(order.peers.committee.n - 1, [b"in epoch %d" % number, b"x"])
    return order


def adds(number: int, flags: int = 0) -> Callable[[Places], tuple[Any, ...]]:
    """A new member."""
    return lambda _: (addition(NEW[number], flags), NEW[number])


def removes(creator: int) -> Callable[[Places], tuple[Any, ...]]:
    """A member less."""
    return lambda order: (removal(order.peers.signers[creator]),)


def rotates(creator: int, number: int) -> Callable[[Places], tuple[Any, ...]]:
    """A new key."""
    return lambda order: (rotation(order.peers.signers[creator], NEW[number]), NEW[number])


def configures(**settings: Any) -> Callable[[Places], tuple[Any, ...]]:
    """Other settings."""
    return lambda order: (Configure(Network(**settings)),)


CHANGES: dict[str, list[Callable[[Places], tuple[Any, ...]]]] = {
    "nothing": [],
    "a member more": [adds(0)],
    "an observer more": [adds(0, 1)],
    "a member less": [removes(3)],
    "a new key": [rotates(1, 0)],
    "other settings": [configures(gc_depth=9, order="fast")],
    "three of them": [adds(0), rotates(2, 1), removes(0)],
}
TWO = [adds(0), rotates(2, 1)]


def proved(result: Proved | Flaw) -> Proved:
    """What was proved, where a proof has to hold."""
    assert isinstance(result, Proved), result
    return result


def with_transitions(order: Places, change: Callable[[list[bytes]], list[bytes]], index: int = -1) -> bytes:
    """The proof of the last place, or another one, with other transitions than there were."""
    index = index % len(order.places)
    proof, old, new = order.proof(index), order.transitions, change(list(order.transitions))
    rest = proof[BEGIN + sum(4 + len(each) for each in old) :]
    links = b"".join(len(each).to_bytes(4, "little") + each for each in new)
    return proof[: BEGIN - 4] + struct.pack("<H", len(new)) + proof[EPOCH:BEGIN] + links + rest


def relinked(data: bytes, **fields: Any) -> bytes:
    """A transition with other content."""
    found = decode_transition(data)
    assert found is not None
    return encode_transition(replace(found[0], **fields))


def transition(data: bytes) -> Transition:
    """What bytes that a test made say."""
    found = decode_transition(data)
    assert found is not None
    return found[0]


# -- what holds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", CHANGES)
def test_every_place_of_every_epoch_is_proved(check: Checker, what: str) -> None:
    order = changed(CHANGES[what])
    first, last = [signer.public for signer in PEERS.signers], [signer.public for signer in order.peers.signers]
    for place in order.places:
        found = proved(check(order.proof(place.index), PEERS))
        assert (found.index, found.epoch, found.order_hash) == (place.index, place.epoch, place.order_hash)
        assert (found.checkpoint, found.checkpoint_epoch) == (len(order.places) - 1, len(CHANGES[what]))
        assert found.voters == tuple(last)
        if place.epoch == 0:
            assert found.creators == tuple(first)
        if isinstance(place, SyncPoint):
            assert isinstance(found.what, ProvedSyncPoint)
            assert (found.what.kind, found.what.change, found.what.digest) == (place.kind, place.change, place.digest)
        else:
            assert isinstance(found.what, ProvedTransaction)
            assert found.what.transaction == b"in epoch %d" % place.epoch
            assert found.what.creator == place.event.creator


def test_the_committee_of_an_epoch_before_signs_as_well(check: Checker) -> None:
    order = Places(PEERS)
    order.event(1, [b"x"])
    early = order.certificate()
    order.change(*adds(0)(order))
    order.event(4, [b"y"])
    found = proved(check(order.proof(0, certificate=early), PEERS))
    assert (found.checkpoint, found.epoch, found.checkpoint_epoch) == (0, 0, 0)
    assert len(found.voters) == 4
    found = proved(check(order.proof(0), PEERS))
    assert (found.checkpoint, found.epoch, found.checkpoint_epoch) == (2, 0, 1)
    assert len(found.voters) == 5


def test_the_next_committee_may_sign_at_the_sync_point_that_made_it(check: Checker) -> None:
    order = Places(PEERS)
    order.event(1, [b"x"])
    fence = order.change(*adds(0)(order))
    attested = order.certificate(state_hash=STATE)
    for index in (0, fence):
        found = proved(check(order.proof(index, certificate=attested), PEERS))
        assert (found.checkpoint, found.epoch, found.checkpoint_epoch) == (fence, 0, 1)
        assert found.state_hash == STATE


def test_real_machines_make_proofs_over_epochs(check: Checker) -> None:
    cluster = Changing(4, network=Network(gc_depth=6))
    rng = random.Random(7)
    new, seed = cluster.make(bytes([100]) * 32), bytes([101]) * 32
    changes: list[Callable[[], bytes]] = [
        lambda: cluster.change(0, cluster.addition(new)),
        lambda: cluster.rotate(1, seed),
        lambda: cluster.change(2, Configure(Network(gc_depth=8, order="fast"))),
        lambda: cluster.change(3, cluster.removal(0)),
    ]

    def load(senders: list[int]) -> None:
        delivered = cluster.counts[2]
        for _ in range(6):
            cluster.submit(rng.choice(senders), rng.randbytes(20))
            cluster.run(rng.randint(0, 2 * MS))
        cluster.run_until(lambda: cluster.counts[2] == delivered + 6)

    asked: list[int] = []

    def certify() -> None:
        """Ask for certificates of places here and there, some from the epoch before."""
        for index in {0, len(cluster.delivered[2]) // 2, len(cluster.delivered[2]) - 1}:
            asked.append(index)
            cluster.step(2, Certify(index))

    load([0, 1, 2, 3])
    for epoch, change in enumerate(changes, 1):
        certify()
        cluster.agree(change())
        cluster.run_until(lambda: all(cluster.epoch_of(i) == epoch for i in range(1, 5)))  # noqa: B023
        certify()
        load([1, 2, 3, 4])
        certify()
        load([1, 2, 3, 4])
    cluster.run_until(lambda: len(cluster.certified[2]) == len(asked))
    places = cluster.delivered[2]
    transitions = [entered.start.transition for entered in cluster.entered[2]]
    assert len(transitions) == 4
    genesis = first_order_hash(cluster.epoch_id)
    seen = set()
    peers = Peers(4)
    peers.network, peers.signers = cluster.network, [Signer(keys[0]) for keys in cluster.keys[:4]]
    for certificate in cluster.certified[2]:
        if not certificate.signers:
            continue
        reached, up_to = transitions[: certificate.epoch], certificate.index + 1
        for index in {certificate.wanted, certificate.index, max(0, certificate.index - 9)}:
            before, place = places[index - 1].order_hash if index else genesis, places[index]
            arguments = cluster.epoch_id, reached, certificate, before, place
            if not is_event(place):
                proof = prove_sync_point(*arguments, places[index + 1 : up_to])
            elif place.event.transactions:
                proof = prove_transaction(*arguments, 0, places[index + 1 : up_to])
            else:
                continue
            found = proved(check(proof, peers))
            assert (found.index, found.epoch, found.checkpoint_epoch) == (index, place.epoch, certificate.epoch)
            seen.add(found.epoch)
    assert seen == set(range(5))


# -- what does not ----------------------------------------------------------------------------------


def test_no_single_bit_can_be_another(check: Checker) -> None:
    proof = changed(TWO).proof(1)  # of the first fence, through the second one
    whole = int.from_bytes(proof, "little")
    taken = [
        bit
        for bit in range(8 * len(proof))
        if not isinstance(check((whole ^ 1 << bit).to_bytes(len(proof), "little"), PEERS), Flaw)
    ]
    assert not taken
    assert isinstance(check(proof, PEERS), Proved)


def test_no_beginning_of_a_proof_is_one_and_nothing_may_follow(check: Checker) -> None:
    proof = changed(TWO).proof(2)
    assert {check(proof[:length], PEERS) for length in range(len(proof))} == {Flaw.TRUNCATED}
    assert check(proof + b"\0", PEERS) is Flaw.TRAILING


def test_another_genesis_takes_it_for_nothing(check: Checker) -> None:
    proof = changed(TWO).proof(4)
    for other in (Peers(4, "others"), Peers(4, "epochs", order="fast"), Peers(5, "epochs")):
        assert check(proof, other) is Flaw.NETWORK
        renamed = proof[:3] + other.epoch_id + proof[35:]
        assert check(renamed, other) is Flaw.COMMITTEE


def test_each_transition_is_signed_by_q_of_those_before_it(check: Checker) -> None:
    for by in ((0, 1, 3), (1, 0, 2), (0, 0, 0)):
        order = Places(PEERS)
        order.change(*adds(0)(order), by=by)
        order.event(4, [b"x"])
        assert check(order.proof(1), PEERS) is Flaw.COMMITTEE, by
    order = changed(TWO)
    for number, q in enumerate((3, 4)):
        real = transition(order.transitions[number])
        assert real.signers.bit_count() == q
        for fields in (
            {"signers": real.signers & ~1, "signatures": real.signatures[64:]},
            {"signers": real.signers | 1 << q, "signatures": real.signatures + real.signatures[:64]},
            {"signers": real.signers & ~1 | 1 << 127},
            {"signers": 0, "signatures": b""},
            {"signatures": real.signatures[64:] + real.signatures[:64]},
            {"signatures": bytes(64) + real.signatures[64:]},
        ):
            forged = relinked(order.transitions[number], **fields)
            links = [*order.transitions[:number], forged, *order.transitions[number + 1 :]]
            assert check(with_transitions(order, lambda _: links), PEERS) is Flaw.COMMITTEE, fields  # noqa: B023


def test_a_committee_cannot_be_replaced_by_one_of_a_liar(check: Checker) -> None:
    """A rotated key and a removed member sign nothing any more, and nobody else comes in by himself."""
    order = changed([rotates(1, 0)])
    place = len(order.places) - 1
    message = checkpoint_message(order.peers.epoch_id, place, order.hashes[-1], NOT_ATTESTED)
    keys = {signer.public: signer for signer in (*PEERS.signers, *order.peers.signers)}
    rotated = order.peers.committee.number(NEW[0].public)
    assert rotated is not None
    signers = sorted({rotated, *[creator for creator in range(4) if creator != rotated][:2]})
    right = [keys[order.peers.committee.members[creator].public] for creator in signers]
    wrong = [PEERS.signers[1] if signer.public == NEW[0].public else signer for signer in right]
    bits = sum(1 << creator for creator in signers)
    for chosen, flaw in ((right, None), (wrong, Flaw.SIGNATURE)):
        signatures = b"".join(signer.sign(message) for signer in chosen)
        certificate = Certificate(place, place, order.hashes[-1], NOT_ATTESTED, bits, signatures, 1)
        result = check(order.proof(place, certificate=certificate), PEERS)
        assert result is flaw or (flaw is None and isinstance(result, Proved))
    forged = relinked(order.transitions[0], change=order.transitions[0][:0])
    assert check(with_transitions(order, lambda _: [forged]), PEERS) is Flaw.COMMITTEE
    other = Places(PEERS)
    other.event(0, [b"in epoch 0", b"x"])
    other.change(*rotates(1, 1)(other))
    real = transition(other.transitions[0])
    forged = relinked(order.transitions[0], change=real.change)
    assert check(with_transitions(order, lambda _: [forged]), PEERS) is Flaw.COMMITTEE


def test_transitions_come_all_in_their_order(check: Checker) -> None:
    order = changed([adds(0), rotates(2, 1), configures(gc_depth=9)])
    links = order.transitions
    for other in (
        [links[1], links[0], links[2]],
        [links[0], links[2], links[1]],
        [links[0], links[2]],
        [links[1], links[2]],
        [links[0], links[0], links[1], links[2]],
        [*links, links[2]],
    ):
        proof = with_transitions(order, lambda _: other, index=2)  # noqa: B023
        assert check(proof, PEERS) is Flaw.COMMITTEE
    # With fewer of them it is another committee that has to sign, and it did not.
    for count in (1, 2):
        assert isinstance(check(with_transitions(order, lambda _: links[:count], index=2), PEERS), Flaw)  # noqa: B023
    assert isinstance(check(with_transitions(order, lambda _: links), PEERS), Proved)


def test_a_transition_that_goes_back_in_the_order_is_none(check: Checker) -> None:
    """Both are signed as they should be, one by a committee that contradicts itself."""
    order = changed([configures(gc_depth=9)])
    back = Places(order.peers)
    back.event(0, [b"x"])
    back.change(*configures(gc_depth=10)(back))  # at index 1 as well
    proof = with_transitions(order, lambda links: [*links, back.transitions[0]])
    assert transition(back.transitions[0]).index == transition(order.transitions[0]).index
    assert check(proof, PEERS) is Flaw.COMMITTEE


def test_a_place_is_in_the_epoch_that_it_is_said_to_be_in(check: Checker) -> None:
    order = changed(TWO)  # event, fence, event, fence, event
    for place in order.places:
        proof = order.proof(place.index)
        for epoch in range(4):
            result = check(proof[:EPOCH] + struct.pack("<H", epoch) + proof[EPOCH + 2 :], PEERS)
            assert isinstance(result, Proved) if epoch == place.epoch else result is Flaw.PLACE


def test_a_committee_signs_nothing_from_before_its_time(check: Checker) -> None:
    order = Places(PEERS)
    order.event(0, [b"x"])
    order.event(1, [b"y"])
    early = order.hashes[1]
    order.change(*adds(0)(order))
    message = checkpoint_message(order.peers.epoch_id, 0, early, NOT_ATTESTED)
    signatures = b"".join(signer.sign(message) for signer in order.peers.signers[:4])
    certificate = Certificate(0, 0, early, NOT_ATTESTED, 0b1111, signatures, 1)
    assert check(order.proof(0, certificate=certificate), PEERS) is Flaw.PLACE


def test_the_order_goes_through_the_fences(check: Checker) -> None:
    """A committee that signs another past than the one that made it proves nothing."""
    order = changed([adds(0)])
    other = Places(PEERS)
    other.event(0, [b"another past"])
    other.change(*adds(0)(other))
    assert order.hashes[1] != other.hashes[1]
    # The committee of the second epoch of the one network signs the order of the other one.
    other.event(1, [b"x"])
    message = checkpoint_message(order.peers.epoch_id, 2, other.hashes[-1], NOT_ATTESTED)
    signatures = b"".join(signer.sign(message) for signer in order.peers.signers[:4])
    certificate = Certificate(2, 2, other.hashes[-1], NOT_ATTESTED, 0b1111, signatures, 1)
    other.transitions = order.transitions
    for index in (0, 1):
        assert check(other.proof(index, certificate=certificate), PEERS) is Flaw.CHAIN


def test_each_length_is_looked_at(check: Checker) -> None:
    order = changed(TWO)
    proof = order.proof(4)
    size = len(order.transitions[0])
    for length, flaw in (
        (MAX_TRANSITION_BYTES + 1, Flaw.LIMIT),
        (size - 1, Flaw.COMMITTEE),
        (size + 1, Flaw.COMMITTEE),
        (0, Flaw.COMMITTEE),
        (MAX_TRANSITION_BYTES, Flaw.TRUNCATED),
    ):
        assert check(proof[:BEGIN] + length.to_bytes(4, "little") + proof[BEGIN + 4 :], PEERS) is flaw, length


def test_a_sync_point_that_changes_nothing_is_none(check: Checker) -> None:
    order = Places(PEERS)
    for kind in (SyncPointKind.MEMBERSHIP, SyncPointKind.KEY_ROTATION, SyncPointKind.CONFIG):
        for change in (b"", b"\x02" + bytes(31), b"x" * 400):
            order.point(kind, change=change)
            assert decode_change(kind, change) is None
            assert check(order.proof(len(order.places) - 1), PEERS) is Flaw.SYNC_POINT
