"""How a peer makes proofs: what it needs, where it finds that, and what it says when it is not there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import pytest

from core.build import Peers
from core.places import Places, addition, rotation
from syncpoint import ArgumentError, ArgumentTypeError, EngineStopped, Proof, ProofUnavailable
from syncpoint.core.checkpoint import Certificate
from syncpoint.core.crypto import Signer, blake3
from syncpoint.core.items import CheckpointVote, checkpoint_message, encode_checkpoint_vote
from syncpoint.core.journal import EpochStart
from syncpoint.core.values import Delivered, Item, ItemType, SyncPoint
from syncpoint.ending import Ending
from syncpoint.proof import ProvedSyncPoint, ProvedTransaction
from syncpoint.proving import MAX_POINTS, Prover
from syncpoint.runtime.storage import MemoryStorage, Storage, StorageSettings

from .test_proof import genesis_of

PEERS = Peers(4, "proofs")
GENESIS = genesis_of(PEERS)
STATE = bytes(range(32))
PAGE = 3

Result = TypeVar("Result")


class Shelf:
    """A store that has written what it was told to, and gives it in small pages."""

    def __init__(self, places: Sequence[Delivered | SyncPoint], first: int = 0) -> None:
        self.places = places
        self.first = first
        self.is_written = False
        self.closed = False

    async def written(self) -> None:
        """All of it is."""
        self.is_written = True

    async def read(self, first: int, end: int) -> list[Delivered | SyncPoint]:
        """A page."""
        assert self.is_written, "it is read before it is written"
        assert first < end <= len(self.places)
        if self.closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if first < self.first:
            raise ArgumentError(f"the store begins with index {self.first}")
        return list(self.places[first : min(end, first + PAGE)])


class Bench:
    """A prover on an order, with a machine that knows a certificate or has forgotten it."""

    def __init__(self, order: Places, certificate: Certificate | None = None, storage: Any = None) -> None:
        self.order = order
        self.certificate = certificate
        self.ending = Ending()
        self.storage = Shelf(order.places) if storage is None else storage
        self.asked: list[int] = []
        self.prover = Prover(
            cast(Storage, self.storage), PEERS.committee, lambda: len(order.places), self._certificate, self.ending
        )

    async def _certificate(self, index: int) -> Certificate:
        self.asked.append(index)
        if self.certificate is None:
            raise ProofUnavailable(f"the votes behind index {index} are forgotten")
        return self.certificate


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Wait for it."""
    return asyncio.run(work)


def vote(order: Places, creator: int, *, state_hash: bytes = bytes(32), **lies: Any) -> Item:
    """A creator's vote for the newest place as a checkpoint."""
    index, order_hash = len(order.places) - 1, order.hashes[-1]
    signature = PEERS.signers[creator].sign(checkpoint_message(PEERS.epoch_id, index, order_hash, state_hash))
    said = replace(CheckpointVote(index, order_hash, state_hash, signature), **lies)
    return Item(ItemType.CHECKPOINT_VOTE, encode_checkpoint_vote(said))


def long_order() -> Places:
    """Events with two transactions each, and a sync point at index 4."""
    order = Places(PEERS)
    for number in range(9):
        if number == 4:
            order.point()
        else:
            order.event(number % 4, [b"%d" % number, b"more"])
    return order


@pytest.mark.parametrize("index", [0, 1, 3, 5, 8])
def test_a_transaction_is_proved_from_the_store(index: int) -> None:
    order = long_order()
    bench = Bench(order, order.certificate())
    for position, transaction in enumerate((b"%d" % index, b"more")):
        proof = run(bench.prover.transaction(index, position))
        assert proof == Proof(order.proof(index, position))
        proved = proof.verify(GENESIS, "python")
        assert isinstance(proved, ProvedTransaction)
        assert (proved.index, proved.transaction, proved.checkpoint) == (index, transaction, 8)
    assert bench.asked == [index, index]


def test_a_new_sync_point_needs_no_store() -> None:
    order = long_order()
    del order.places[5:], order.hashes[6:]
    bench = Bench(order, order.certificate(), MemoryStorage(cast(StorageSettings, _Settings)))
    bench.prover.note(order.places[:3])
    bench.prover.note(order.places[3:])
    proof = run(bench.prover.sync_point(4))
    assert isinstance(proof.verify(GENESIS, "python"), ProvedSyncPoint)
    with pytest.raises(ProofUnavailable, match=r"index 0 is needed for this proof, .* give Context\(storage=...\)"):
        run(bench.prover.transaction(0, 0))


class _Settings:
    joining = False


def test_the_first_place_needs_none_before_it() -> None:
    order = Places(PEERS)
    order.point()
    bench = Bench(order, order.certificate())
    bench.prover.note(order.places)
    assert run(bench.prover.sync_point(0)) == Proof(order.proof(0))


def test_older_sync_points_come_from_the_store() -> None:
    order = Places(PEERS)
    for _ in range(MAX_POINTS + 2):
        order.point()
    bench = Bench(order, order.certificate())
    bench.prover.note(order.places)
    for index in (0, 1, 2, MAX_POINTS + 1):
        assert run(bench.prover.sync_point(index)) == Proof(order.proof(index))
    assert len(bench.prover._points) == MAX_POINTS
    # What was delivered before a start has no place before it in memory.
    late = Bench(order, order.certificate())
    late.prover.note(order.places[7:8])
    assert run(late.prover.sync_point(7)) == Proof(order.proof(7))


@pytest.mark.parametrize("state_hash", [bytes(32), STATE])
def test_votes_in_stored_events_certify_what_the_machine_has_forgotten(state_hash: bytes) -> None:
    order = long_order()
    items = [vote(order, creator, state_hash=state_hash) for creator in range(4)]
    for creator in (3, 0, 2, 1):
        order.event(creator, items=items[creator : creator + 1])
    bench = Bench(order)
    proved = run(bench.prover.transaction(1, 0)).verify(GENESIS, "python")
    assert (proved.index, proved.checkpoint) == (1, 8)
    assert proved.state_hash == (STATE if any(state_hash) else None)
    assert proved.signers == tuple(GENESIS.entries[creator].public for creator in (0, 2, 3))


def test_votes_that_do_not_count_certify_nothing() -> None:
    order = long_order()
    right = [vote(order, creator) for creator in range(2)]
    wrong = [
        vote(order, 2, signature=bytes(64)),
        vote(order, 2, order_hash=STATE),
        vote(order, 2, index=7),
        vote(order, 2, state_hash=STATE),
        Item(ItemType.CHECKPOINT_VOTE, b"short"),
        Item(ItemType.VOTE, right[0].body),
    ]
    order.event(0, items=[right[0], right[0]])
    order.event(1, items=[right[1]])
    order.event(0, items=[right[0]])
    order.event(2, items=wrong)
    order.event(3, items=[right[0]])  # signed by another
    with pytest.raises(ProofUnavailable, match="the votes behind index 1 are forgotten"):
        run(Bench(order).prover.transaction(1, 0))
    # With the last one they are enough; a vote for a checkpoint that lies before is for another proof.
    more = long_order()
    items = [vote(more, creator) for creator in range(3)]
    for creator in range(3):
        more.event(creator, [b"x"], items=[items[creator]])
    assert run(Bench(more).prover.transaction(8, 1)).verify(GENESIS, "python").index == 8
    with pytest.raises(ProofUnavailable, match="forgotten"):
        run(Bench(more).prover.transaction(9, 0))


def test_what_cannot_be_proved_is_refused() -> None:
    order = long_order()
    order.event(0)
    bench = Bench(order, order.certificate())
    cases: list[tuple[object, object, type[Exception], str]] = [
        (10, 0, ArgumentError, "index 10 is not delivered yet: delivered are the indices below 10"),
        (4, 0, ArgumentError, r"at index 4 is a sync point, which has no transactions: use SyncPoint\.proof"),
        (3, 2, ArgumentError, "the event at index 3 has 2 transactions: give 0 to 1"),
        (9, 0, ArgumentError, "the event at index 9 has 0 transactions: none of it can be proved"),
        (-1, 0, ArgumentError, "index is -1: give 0 or more"),
        (0, -1, ArgumentError, "position is -1: give 0 or more"),
        ("0", 0, ArgumentTypeError, "index is '0': give an integer"),
        (0, True, ArgumentTypeError, "position is True: give an integer"),
    ]
    for index, position, error, words in cases:
        with pytest.raises(error, match=f"Engine.prove: .*{words}"):
            run(bench.prover.transaction(index, position))
    assert not bench.asked, "nobody waits for a certificate before"


def test_what_is_forgotten_is_said() -> None:
    order = long_order()
    bench = Bench(order, order.certificate(), Shelf(order.places, first=3))
    for index in (2, 3):  # the order hash before the first place that is kept is gone
        with pytest.raises(ProofUnavailable, match=f"index {index - 1} is needed .* the store begins with index 3"):
            run(bench.prover.transaction(index, 0))
    with pytest.raises(ProofUnavailable, match="index 1 is needed"):
        run(bench.prover.sync_point(2))
    assert run(bench.prover.transaction(5, 0)) == Proof(order.proof(5))


def test_a_checkpoint_may_not_be_too_far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    order = long_order()
    bench = Bench(order, order.certificate())
    monkeypatch.setattr("syncpoint.proving.MAX_PLACES", 7)
    with pytest.raises(ProofUnavailable, match="8 places from index 0 to its checkpoint, and a proof has 7 at most"):
        run(bench.prover.transaction(0, 0))
    assert len(run(bench.prover.transaction(1, 0)))


def test_an_engine_that_stops_proves_nothing() -> None:
    order = long_order()
    bench = Bench(order, order.certificate())
    bench.storage.closed = True
    with pytest.raises(RuntimeError):  # a bug, as long as the engine runs
        run(bench.prover.transaction(1, 0))

    async def stops() -> None:
        bench.ending.is_stopped = True
        raise RuntimeError("cannot schedule new futures after shutdown")

    bench.storage.written = stops
    with pytest.raises(EngineStopped, match="the engine was stopped before the proof was made"):
        run(bench.prover.transaction(1, 0))
    with pytest.raises(EngineStopped, match="the engine was stopped and proves nothing more"):
        run(bench.prover.transaction(1, 0))


# -- over epochs ----------------------------------------------------------------------------------------


def start_of(order: Places) -> EpochStart:
    """What a machine says when it enters the newest epoch of an order."""
    last = order.places[-1]
    return EpochStart(
        order.epoch, order.peers.epoch_id, last.index + 1, last.consensus_at, last.order_hash, order.roster, (), b"",
        order.transitions[-1],
    )  # fmt: skip


def epochs_order() -> tuple[Places, list[EpochStart]]:
    """Three epochs of some events each, and what began the second and the third one."""
    new = [Signer(blake3(b"new/%d" % number)) for number in range(2)]
    order, starts = Places(PEERS), []
    for epoch in range(3):
        for number in range(3):
            order.event(number, [b"%d in %d" % (number, epoch), b"more"])
        if epoch < 2:
            order.change((addition(new[0]), rotation(PEERS.signers[1], new[1]))[epoch], *new)
            starts.append(start_of(order))
    return order, starts


@pytest.mark.parametrize("at_once", [True, False])
def test_transactions_and_sync_points_of_all_epochs_are_proved(at_once: bool) -> None:
    order, starts = epochs_order()
    bench = Bench(order, order.certificate())
    if at_once:
        bench.prover.begin(starts)
    else:
        bench.prover.begin(())
        for start in starts:
            bench.prover.enter(start)
    for place in order.places:
        if isinstance(place, SyncPoint):
            # It has ended its epoch: who signed that is known, and nobody waits for those of the next one.
            proved = run(bench.prover.sync_point(place.index)).verify(GENESIS, "python")
            assert (proved.checkpoint, proved.epoch, proved.checkpoint_epoch) == (place.index, place.epoch, place.epoch)
            continue
        proof = run(bench.prover.transaction(place.index, 0))
        assert proof == Proof(order.proof(place.index))
        proved = proof.verify(GENESIS, "python")
        assert (proved.index, proved.epoch, proved.checkpoint_epoch) == (place.index, place.epoch, 2)
    assert bench.asked == [place.index for place in order.places if not isinstance(place, SyncPoint)]


def test_a_certificate_of_an_epoch_before_needs_no_later_changes() -> None:
    order, starts = epochs_order()
    early = Places(PEERS)
    early.event(0, [b"x"])
    bench = Bench(early, early.certificate())
    bench.prover.begin(starts)
    proof = run(bench.prover.transaction(0, 0))
    assert proof == Proof(early.proof(0))
    assert proof.verify(GENESIS, "python").checkpoint_epoch == 0
    assert order.epoch == 2


def test_the_sync_point_that_ended_an_epoch_certifies_what_the_machine_has_forgotten() -> None:
    order, starts = epochs_order()
    bench = Bench(order)
    bench.prover.begin(starts)
    for place in order.places[:8]:
        if isinstance(place, SyncPoint):
            proved = run(bench.prover.sync_point(place.index)).verify(GENESIS, "python")
        else:
            proved = run(bench.prover.transaction(place.index, 1)).verify(GENESIS, "python")
        assert (proved.index, proved.epoch, proved.checkpoint_epoch) == (place.index, place.epoch, place.epoch)
        assert proved.checkpoint == (3, 7)[place.epoch]
    # The newest epoch has no end yet, and no votes in it.
    with pytest.raises(ProofUnavailable, match="the votes behind index 8 are forgotten"):
        run(bench.prover.transaction(8, 0))


def test_votes_count_by_the_committee_of_their_epoch() -> None:
    order, starts = epochs_order()
    index, order_hash = len(order.places) - 1, order.hashes[-1]
    message = checkpoint_message(order.peers.epoch_id, index, order_hash, bytes(32))
    q = order.peers.committee.q
    for creator in range(q):
        signature = order.peers.signers[creator].sign(message)
        said = CheckpointVote(index, order_hash, bytes(32), signature)
        order.event(creator, [b"x"], items=[Item(ItemType.CHECKPOINT_VOTE, encode_checkpoint_vote(said))])
    bench = Bench(order)
    bench.prover.begin(starts)
    proved = run(bench.prover.transaction(8, 0)).verify(GENESIS, "python")
    assert (proved.checkpoint, proved.epoch, proved.checkpoint_epoch, len(proved.signers)) == (index, 2, 2, q)
    # Those of the first committee are others.
    old = Bench(order)
    old.prover.begin(())
    with pytest.raises(ProofUnavailable):
        run(old.prover.transaction(8, 0))


def test_changes_may_be_too_many_or_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    order, starts = epochs_order()
    bench = Bench(order, order.certificate())
    bench.prover.begin(starts)
    with monkeypatch.context() as patch:
        patch.setattr("syncpoint.proving.MAX_TRANSITIONS", 1)
        with pytest.raises(ProofUnavailable, match="changed 2 times up to its checkpoint, and a proof has 1 such"):
            run(bench.prover.transaction(0, 0))
    monkeypatch.setattr("syncpoint.proving.MAX_PROOF_BYTES", 1000)
    with pytest.raises(ProofUnavailable, match=r"this proof would have \d+ bytes, and none has more than 1000"):
        run(bench.prover.transaction(0, 0))
