"""What peers say of the order: votes, certificates and contradictions (C1, C2, C4)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable

import pytest

from syncpoint.core.checkpoint import (
    CHECKPOINT_ROUNDS,
    MAX_CERTIFY,
    MAX_CHECKPOINTS,
    NOT_ATTESTED,
    Certificate,
    Checkpoints,
    Divergence,
)
from syncpoint.core.config import Network
from syncpoint.core.crypto import SIGNATURE_BYTES, blake3
from syncpoint.core.input import Attest, Certify
from syncpoint.core.items import CheckpointVote, checkpoint_message, decode_checkpoint_vote, encode_checkpoint_vote
from syncpoint.core.order import Orderer
from syncpoint.core.values import Event, Item, ItemType, SyncPoint

from .build import Peers
from .test_sync_points import decided, propose, vote
from .virtual import MS, Cluster

OURS, OTHER = blake3(b"our order"), blake3(b"another order")
STATE, STATE_2 = blake3(b"a state"), blake3(b"another state")


class Desk:
    """The checkpoints of one peer of n, and votes that really are signed by the others."""

    def __init__(self, n: int = 4, own: int = 0) -> None:
        self.peers = Peers(n)
        self.committee = self.peers.committee
        signer = self.peers.signers[own if own < n else 0]
        self.checkpoints = Checkpoints(self.committee, own, signer)
        self.orderer = Orderer(self.committee, "fair", 200)
        self._round = 0

    def point(self, index: int, order_hash: bytes = OURS) -> list[CheckpointVote]:
        """We get to a sync point; what we say of it."""
        self._round = (
            self._round // CHECKPOINT_ROUNDS * CHECKPOINT_ROUNDS + 1
        )  # a round without a checkpoint of its own
        point = SyncPoint(
            7, b"", bytes(32), None, 0, 1, bytes(32), bytes(32), index, 0, order_hash, self._round
        )  # fmt: skip
        return votes_of(self.checkpoints.close(self._round, [point], self.orderer))

    def said(
        self, creator: int, index: int, order_hash: bytes = OURS, state_hash: bytes = NOT_ATTESTED, good: bool = True
    ) -> CheckpointVote:
        """A creator's vote, with its signature or a bad one."""
        message = checkpoint_message(self.committee.epoch_id, index, order_hash, state_hash)
        signature = self.peers.signers[creator].sign(message) if good else bytes(SIGNATURE_BYTES)
        return CheckpointVote(index, order_hash, state_hash, signature)

    def accept(self, creator: int, *votes: CheckpointVote) -> None:
        """An event with these votes gets into the DAG."""
        items = tuple(Item(ItemType.CHECKPOINT_VOTE, encode_checkpoint_vote(vote)) for vote in votes)
        self.checkpoints.accept(Event(creator, 1, 0, (), items, (), b"", bytes(32), bytes(64)))

    def vote(
        self,
        creators: Iterable[int],
        index: int,
        order_hash: bytes = OURS,
        state_hash: bytes = NOT_ATTESTED,
        good: bool = True,
    ) -> None:
        """Each says this."""
        for creator in creators:
            self.accept(creator, self.said(creator, index, order_hash, state_hash, good))

    def certificates(self) -> list[Certificate]:
        return self.checkpoints.take_certificates()


def votes_of(items: Iterable[Item]) -> list[CheckpointVote]:
    decoded = [decode_checkpoint_vote(item.body) for item in items if item.type == ItemType.CHECKPOINT_VOTE]
    return [vote for vote in decoded if vote is not None]


def check(certificate: Certificate, peers: Peers) -> None:
    """Whether it is what it says to be."""
    committee = peers.committee
    message = checkpoint_message(
        committee.epoch_id, certificate.index, certificate.order_hash, certificate.state_hash
    )  # fmt: skip
    signers = [creator for creator in range(committee.n) if certificate.signers >> creator & 1]
    assert len(signers) == committee.q
    assert len(certificate.signatures) == SIGNATURE_BYTES * committee.q
    for place, creator in enumerate(signers):
        signature = certificate.signatures[SIGNATURE_BYTES * place : SIGNATURE_BYTES * (place + 1)]
        assert committee.verify(creator, message, signature)


# -- votes (C1) -----------------------------------------------------------------------------------------


def test_we_say_what_we_have_and_sign_it_apart() -> None:
    desk = Desk()
    (vote,) = desk.point(5)
    assert (vote.index, vote.order_hash, vote.state_hash) == (5, OURS, NOT_ATTESTED)
    assert desk.committee.verify(0, checkpoint_message(desk.committee.epoch_id, 5, OURS, NOT_ATTESTED), vote.signature)
    (attested,) = votes_of(desk.checkpoints.attest(5, STATE))
    assert (attested.index, attested.order_hash, attested.state_hash) == (5, OURS, STATE)
    assert desk.committee.verify(0, checkpoint_message(desk.committee.epoch_id, 5, OURS, STATE), attested.signature)
    assert desk.checkpoints.attest(5, STATE_2) == [], "the first one counts"
    assert desk.checkpoints.attest(6, STATE) == [], "that is none of ours"


def test_an_observer_says_nothing() -> None:  # Q4
    desk = Desk(own=4)
    assert desk.point(5) == []
    assert desk.checkpoints.attest(5, STATE) == []


def test_the_message_binds_all_of_it() -> None:
    epochs, indices, orders, states = (blake3(b"epoch"), blake3(b"another")), (7, 8), (OURS, OTHER), (STATE, STATE_2)
    made = {checkpoint_message(*content) for content in itertools.product(epochs, indices, orders, states)}
    assert len(made) == 16


def test_every_eighth_round_is_a_checkpoint_if_anything_was_delivered() -> None:
    desk = Desk()
    seen = []
    for round in range(1, 5 * CHECKPOINT_ROUNDS + 1):
        if round in (3, 5, 2 * CHECKPOINT_ROUNDS, 2 * CHECKPOINT_ROUNDS + 1):
            desk.orderer.place(bytes(32), 0)
        items = desk.checkpoints.close(round, [], desk.orderer)
        seen += [(round, vote.index, vote.order_hash == desk.orderer.order_hash) for vote in votes_of(items)]
    assert seen == [
        (CHECKPOINT_ROUNDS, 1, True), (2 * CHECKPOINT_ROUNDS, 2, True), (3 * CHECKPOINT_ROUNDS, 3, True)
    ]  # fmt: skip


def test_a_sync_point_in_such_a_round_is_the_checkpoint() -> None:
    desk = Desk()
    index = desk.orderer.place(bytes(32), 0)
    point = SyncPoint(
        7, b"", bytes(32), None, 0, 1, bytes(32), bytes(32), index, 0, desk.orderer.order_hash, CHECKPOINT_ROUNDS
    )  # fmt: skip
    assert len(desk.checkpoints.close(CHECKPOINT_ROUNDS, [point], desk.orderer)) == 1


def test_malformed_votes_are_ignored() -> None:
    desk = Desk()
    desk.point(5)
    body = encode_checkpoint_vote(desk.said(1, 5))
    for wrong in (b"", body[:-1], body + b"x"):
        desk.checkpoints.accept(
            Event(1, 1, 0, (), (Item(ItemType.CHECKPOINT_VOTE, wrong),), (), b"", bytes(32), bytes(64))
        )
    desk.checkpoints.accept(Event(1, 1, 0, (), (Item(ItemType.VOTE, body),), (), b"", bytes(32), bytes(64)))
    desk.vote([0, 2], 5)
    assert not desk.checkpoints.is_voted(5)
    desk.checkpoints.accept(Event(1, 1, 0, (), (Item(ItemType.CHECKPOINT_VOTE, body),), (), b"", bytes(32), bytes(64)))
    assert desk.checkpoints.is_voted(5)


# -- certificates (C2) ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 4, 7])
def test_q_votes_are_a_certificate(n: int) -> None:
    desk = Desk(n)
    q = desk.committee.q
    desk.point(5)
    desk.checkpoints.certify(3)
    desk.vote(range(q - 1), 5)
    assert not desk.checkpoints.is_voted(5)
    assert desk.certificates() == []
    desk.vote([0, 0] if q > 1 else [], 5)  # one creator counts once
    assert desk.certificates() == []
    desk.vote([q - 1], 5)
    assert desk.checkpoints.is_voted(5)
    (certificate,) = desk.certificates()
    assert (certificate.wanted, certificate.index, certificate.order_hash) == (3, 5, OURS)
    assert certificate.state_hash == NOT_ATTESTED
    check(certificate, desk.peers)
    assert desk.certificates() == []
    desk.vote(range(q, n), 5)
    desk.checkpoints.certify(5)  # of what is here already
    (certificate,) = desk.certificates()
    check(certificate, desk.peers)


def test_a_bad_signature_is_left_out_and_another_vote_takes_its_place() -> None:
    desk = Desk()
    desk.point(5)
    desk.checkpoints.certify(5)
    desk.vote([0, 2], 5)
    desk.vote([1], 5, good=False)
    assert desk.certificates() == []
    desk.vote([1], 5)  # too late: its first one counts
    assert desk.certificates() == []
    desk.vote([3], 5)
    (certificate,) = desk.certificates()
    assert certificate.signers == 0b1101
    check(certificate, desk.peers)


def test_a_vote_with_anothers_signature_is_none() -> None:
    desk = Desk()
    desk.point(5)
    desk.checkpoints.certify(5)
    desk.vote([0, 2], 5)
    desk.accept(1, desk.said(2, 5))
    assert desk.certificates() == []


def test_votes_for_another_order_do_not_certify() -> None:
    desk = Desk(7)
    desk.point(5)
    desk.checkpoints.certify(5)
    desk.vote([1, 2], 5, OTHER)
    desk.vote([0, 3, 4, 5], 5)
    assert desk.certificates() == []
    assert not desk.checkpoints.is_voted(5)
    desk.vote([6], 5)
    assert desk.certificates()[0].signers == 0b1111001


def test_the_first_checkpoint_at_the_index_or_behind_it_is_certified() -> None:
    desk = Desk()
    for index in (5, 9):
        desk.checkpoints.certify(index - 1)
        desk.checkpoints.certify(index)
    desk.checkpoints.certify(10)
    for index in (5, 9):
        desk.point(index)
        desk.vote(range(4), index)
    assert [(each.wanted, each.index) for each in desk.certificates()] == [(4, 5), (5, 5), (8, 9), (9, 9)]


def test_attested_votes_certify_the_state_as_well_and_go_first() -> None:
    desk = Desk()
    desk.point(5)
    desk.checkpoints.attest(5, STATE)
    desk.vote(range(4), 5)
    desk.vote([0, 1], 5, OURS, STATE)
    desk.vote([3], 5, OURS, STATE_2)
    desk.checkpoints.certify(5)
    (plain,) = desk.certificates()
    assert plain.state_hash == NOT_ATTESTED
    desk.vote([2], 5, OURS, STATE)
    desk.checkpoints.certify(5)
    (attested,) = desk.certificates()
    assert (attested.state_hash, attested.signers) == (STATE, 0b111)
    check(attested, desk.peers)


def test_votes_that_are_ahead_of_us_are_kept() -> None:
    desk = Desk()
    desk.checkpoints.certify(5)
    desk.vote([1, 2, 3], 5)
    assert desk.certificates() == []
    assert not desk.checkpoints.is_voted(5)
    desk.point(5)
    assert desk.checkpoints.is_voted(5)
    (certificate,) = desk.certificates()
    check(certificate, desk.peers)


def test_a_liar_that_votes_for_everything_drives_out_only_its_own_votes() -> None:
    desk = Desk()
    desk.vote([1, 2, 3], 5)
    desk.accept(3, *(dataclasses.replace(desk.said(3, 6), index=index) for index in range(100, 100 + 300)))
    assert len(desk.checkpoints._votes[3]) == 2 * MAX_CHECKPOINTS
    desk.point(5)
    assert not desk.checkpoints.is_voted(5)
    desk.vote([0], 5)
    assert desk.checkpoints.is_voted(5)


def test_old_checkpoints_are_forgotten() -> None:
    desk = Desk()
    desk.checkpoints.certify(4)
    for index in range(5, 5 + MAX_CHECKPOINTS):
        desk.point(index)
    desk.checkpoints.attest(5, STATE)
    assert desk.certificates() == [], "it waits for votes for the one at 5"
    desk.point(5 + MAX_CHECKPOINTS)
    unknown = Certificate(4, 4, NOT_ATTESTED, NOT_ATTESTED, 0, b"")
    assert desk.certificates() == [unknown]
    desk.checkpoints.certify(5)
    assert desk.certificates()[0].signatures == b""
    assert desk.checkpoints.attest(5, STATE_2) == []
    assert not desk.checkpoints._attested
    desk.checkpoints.certify(6)
    assert desk.certificates() == []


def test_of_too_many_waits_the_oldest_gets_none() -> None:
    desk = Desk()
    for index in range(10, 10 + MAX_CERTIFY + 1):
        desk.checkpoints.certify(index)
    assert [(each.wanted, each.signers) for each in desk.certificates()] == [(10, 0)]


def test_what_was_delivered_before_a_start_has_no_checkpoints() -> None:  # R1
    desk = Desk()
    for _ in range(4):
        desk.orderer.place(bytes(32), 0)
    desk.checkpoints.begin(4)
    assert desk.checkpoints.close(CHECKPOINT_ROUNDS, [], desk.orderer) == [], "nothing was delivered since"
    desk.checkpoints.certify(3)
    assert [each.signers for each in desk.certificates()] == [0]
    desk.checkpoints.certify(4)
    assert desk.certificates() == []
    desk.orderer.place(bytes(32), 0)
    assert len(desk.checkpoints.close(2 * CHECKPOINT_ROUNDS, [], desk.orderer)) == 1


# -- contradictions (C4) --------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 4, 7])
def test_more_than_f_that_contradict_us_are_an_alarm(n: int) -> None:
    desk = Desk(n)
    f = desk.committee.f
    desk.point(5)
    desk.vote(range(1, f + 1), 5, OTHER)
    desk.vote([1] if f else [], 5, blake3(b"a third one"))
    assert desk.checkpoints.take_divergence() is None, "so many may lie"
    desk.vote([f + 1], 5, OTHER)
    assert desk.checkpoints.take_divergence() == Divergence(5, OURS, OTHER, is_state=False)
    desk.vote(range(n), 6, OTHER)
    desk.point(6)
    assert desk.checkpoints.take_divergence() is None, "it is said once"


def test_votes_from_before_we_get_there_contradict_us_too() -> None:
    desk = Desk()
    desk.vote([1], 5, blake3(b"a third one"))
    desk.vote([2, 3], 5, OTHER)
    assert desk.checkpoints.take_divergence() is None
    desk.point(5)
    assert desk.checkpoints.take_divergence() == Divergence(5, OURS, OTHER, is_state=False)


def test_only_q_that_attest_another_state_contradict_ours() -> None:
    desk = Desk()
    desk.point(5)
    desk.vote([1, 2], 5, OURS, STATE_2)
    desk.checkpoints.attest(5, STATE)
    desk.vote([0], 5, OURS, STATE)
    assert desk.checkpoints.take_divergence() is None, "two of four may be wrong as well as we"
    desk.vote([3], 5, OURS, STATE_2)
    assert desk.checkpoints.take_divergence() == Divergence(5, STATE, STATE_2, is_state=True)


def test_states_behind_another_order_do_not_count() -> None:
    desk = Desk()
    desk.point(5)
    desk.checkpoints.attest(5, STATE)
    desk.vote([1], 5, OTHER, STATE_2)
    desk.vote([2, 3], 5, OURS, STATE_2)
    assert desk.checkpoints.take_divergence() is None


def test_the_majority_sees_no_contradiction() -> None:
    desk = Desk()
    desk.point(5)
    desk.checkpoints.attest(5, STATE)
    desk.vote([0, 1, 2], 5, OURS, STATE)
    desk.vote([3], 5, OURS, STATE_2)
    assert desk.checkpoints.take_divergence() is None


# -- whole machines -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("machines")
@pytest.mark.parametrize("n", [1, 2, 4, 7])
def test_a_sync_point_is_certified_everywhere(n: int) -> None:
    cluster = Cluster(n, observers=1)
    id = propose(cluster, 0)
    vote(cluster, id, range(1, n))
    decided(cluster, id)
    (point,) = cluster.points(0)
    for i in range(cluster.size):
        cluster.step(i, Certify(point.index))
    cluster.run_until(lambda: all(cluster.certified))
    for (certificate,) in cluster.certified:
        assert (certificate.index, certificate.order_hash) == (point.index, point.order_hash)
        assert certificate.signers.bit_count() == cluster.machines[0].committee.q
        assert len(certificate.signatures) == SIGNATURE_BYTES * cluster.machines[0].committee.q
    assert not cluster.diverged


@pytest.mark.usefixtures("machines")
def test_rounds_are_certified_without_any_sync_point() -> None:
    cluster = Cluster(4)
    for number in range(60):
        cluster.submit(number % 4, b"%d" % number)
        cluster.run(5 * MS)
    cluster.run_until(lambda: cluster.all_have(60))
    middle = cluster.delivered[0][len(cluster.delivered[0]) // 2].index
    for i in range(4):
        cluster.step(i, Certify(middle))
    cluster.run_until(lambda: all(cluster.certified))
    found = {(each.wanted, each.index, each.order_hash) for (each,) in cluster.certified}
    ((wanted, index, order_hash),) = found
    assert wanted == middle <= index
    assert next(done for done in cluster.delivered[0] if done.index == index).order_hash == order_hash


@pytest.mark.usefixtures("machines")
def test_a_peer_whose_state_differs_learns_it_and_the_others_go_on() -> None:
    cluster = Cluster(4, network=Network(gc_depth=20))
    id = propose(cluster, 0)
    vote(cluster, id, range(4))
    decided(cluster, id)
    index = cluster.points(0)[0].index
    for i in range(4):
        cluster.step(i, Attest(index, STATE_2 if i == 2 else STATE))
    cluster.run_until(lambda: bool(cluster.diverged))
    cluster.run(1_000 * MS)
    assert cluster.diverged == {2: Divergence(index, STATE_2, STATE, is_state=True)}
    for i in range(4):
        cluster.step(i, Certify(index))
    cluster.run_until(lambda: all(cluster.certified))
    assert {each.state_hash for (each,) in cluster.certified} == {STATE}
