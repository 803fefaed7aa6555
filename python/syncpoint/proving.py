"""Proofs of what this peer has delivered, made of its store and of the votes that its machine or its store has (C3)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from .core.checkpoint import NOT_ATTESTED, Certificate
from .core.committee import Committee
from .core.items import CheckpointVote, checkpoint_message, decode_checkpoint_vote
from .core.journal import EpochStart
from .core.proof import MAX_PLACES, MAX_PROOF_BYTES, MAX_TRANSITIONS, prove_sync_point, prove_transaction
from .core.transition import decode_transition
from .core.values import Delivered, ItemType, SyncPoint
from .ending import Ending
from .errors import ArgumentError, ArgumentTypeError, ProofUnavailable
from .proof import Proof
from .runtime.rows import chain_begin
from .runtime.storage import Storage, is_event

__all__ = ["Prover"]

MAX_POINTS = 128  # newest sync points that can be proved without a store; the machine knows as many checkpoints
MAX_SEARCHED = 65_536  # places behind an old one that are searched for votes

Place = Delivered | SyncPoint


class Prover:
    """Proves what one peer has delivered."""

    def __init__(
        self,
        storage: Storage,
        committee: Committee,
        delivered: Callable[[], int],
        certificate: Callable[[int], Awaitable[Certificate]],
        ending: Ending,
    ) -> None:
        """`committee` is the first one, `delivered` tells how many places are, `certificate` waits for one."""
        self._storage = storage
        self._network_id = committee.epoch_id
        self._committees = [committee]  # by the number of the epoch
        self._starts: list[EpochStart] = []  # of each epoch but the first
        self._delivered = delivered
        self._certificate = certificate
        self._ending = ending
        self._newest: bytes | None = None  # order hash after the last place that was delivered since the start
        self._points: dict[int, tuple[bytes, SyncPoint]] = {}  # the newest sync points, with the order hash before each

    def begin(self, epochs: Sequence[EpochStart]) -> None:
        """Take up the epochs that the store has, ascending."""
        for start in epochs:
            self.enter(start)

    def enter(self, start: EpochStart) -> None:
        """The next epoch begins."""
        if start.number < len(self._committees):  # the store had it
            return
        assert start.number == len(self._committees), "epochs come one after the other"
        self._starts.append(start)
        self._committees.append(start.roster.committee(start.epoch_id, self._committees[0].signatures))

    def note(self, messages: Sequence[Place]) -> None:
        """Remember the sync points among what was delivered now."""
        before = self._newest
        for place in messages:
            if not is_event(place):
                if place.index == 0:
                    before = chain_begin(self._network_id)
                if before is not None:
                    self._points[place.index] = before, place
                if len(self._points) > MAX_POINTS:
                    del self._points[next(iter(self._points))]
            before = place.order_hash
        self._newest = before

    async def transaction(self, index: object, position: object) -> Proof:
        """The proof of a transaction of the event at an index, by its position there.

        It waits until a quorum has signed a checkpoint at the index or behind it. Raises ArgumentError,
        ArgumentTypeError, ProofUnavailable and EngineStopped.
        """
        at, number = _number("index", index), _number("position", position)
        before, place = await self._read(at)
        if not is_event(place):
            raise ArgumentError(
                f"Engine.prove: at index {at} is a sync point, which has no transactions: use SyncPoint.proof"
            )
        count = place.event.transaction_count
        if number >= count:
            allowed = f"give 0 to {count - 1}" if count else "none of it can be proved"
            raise ArgumentError(f"Engine.prove: the event at index {at} has {count} transactions: {allowed}")
        certificate, later = await self._to_checkpoint(at)
        links = self._links(certificate)
        return _made(prove_transaction(self._network_id, links, certificate, before, place, number, later))

    async def sync_point(self, index: int) -> Proof:
        """The proof of the sync point at an index, as for a transaction; the newest ones need no store."""
        before, place = self._points.get(index) or await self._read(index)
        assert not is_event(place), "it came from here"
        certificate, later = await self._to_checkpoint(index)
        links = self._links(certificate)
        return _made(prove_sync_point(self._network_id, links, certificate, before, place, later))

    # -- private ------------------------------------------------------------------------------------

    async def _read(self, index: int) -> tuple[bytes, Place]:
        """What stands at an index, and the order hash before it."""
        end = self._delivered()
        if index >= end:
            raise ArgumentError(
                f"Engine.prove: index {index} is not delivered yet: delivered are the indices below {end}"
            )
        if index == 0:
            before = chain_begin(self._network_id)
            return before, (await self._page(0, 1))[0]
        # The order hash before it is that of the place before, so that has to be there as well.
        previous = (await self._page(index - 1, index))[0]
        return previous.order_hash, (await self._page(index, index + 1))[0]

    async def _to_checkpoint(self, index: int) -> tuple[Certificate, list[Place]]:
        """A certificate that reaches an index, and what stands between."""
        certificate = await self._certified(index)
        count = certificate.index - index
        if count > MAX_PLACES:
            raise ProofUnavailable(
                f"there are {count} places from index {index} to its checkpoint, and a proof has {MAX_PLACES} at most: "
                "prove an index that is nearer to the next checkpoint"
            )
        return certificate, [place async for place in self._places(index + 1, certificate.index + 1)]

    async def _certified(self, index: int) -> Certificate:
        """A certificate of the machine, else one of the store."""
        last = self._certificate_of_end(index)
        if last is not None and last.index == index:
            return last  # a machine that began behind it would wait for votes of the next epoch
        try:
            return await self._certificate(index)
        except ProofUnavailable as unknown:
            stored = await self._stored_certificate(index)
            if stored is None:
                raise unknown from None
            return stored

    def _links(self, certificate: Certificate) -> list[bytes]:
        """The transitions to the epoch of a certificate."""
        if certificate.epoch > MAX_TRANSITIONS:
            raise ProofUnavailable(
                f"members, keys or settings changed {certificate.epoch} times up to its checkpoint, and a proof has "
                f"{MAX_TRANSITIONS} such changes at most"
            )
        return [start.transition for start in self._starts[: certificate.epoch]]

    async def _stored_certificate(self, index: int) -> Certificate | None:
        """A certificate of votes in stored events, which also tell of checkpoints that the machine has forgotten.

        Of an epoch that is over there is the one that ended it, whose votes no delivered event holds.
        """
        epoch, last = self._epoch_of(index), self._certificate_of_end(index)
        end = self._delivered() if last is None else last.index + 1
        hashes: dict[int, bytes] = {}
        found: dict[tuple[int, bytes], dict[int, bytes]] = {}  # (index, state hash) -> creator -> signature
        committee = self._committees[epoch]
        async for place in self._places(index, min(end, index + MAX_SEARCHED)):
            hashes[place.index] = place.order_hash
            if not is_event(place):
                continue
            for vote in _votes(place):
                if hashes.get(vote.index) != vote.order_hash:
                    continue
                creator, votes = place.event.creator, found.setdefault((vote.index, vote.state_hash), {})
                if creator in votes or not _is_signed(committee, creator, vote):
                    continue
                votes[creator] = vote.signature
                if len(votes) == committee.q:
                    signers = sum(1 << creator for creator in votes)
                    signatures = b"".join(votes[creator] for creator in sorted(votes))
                    return Certificate(index, vote.index, vote.order_hash, vote.state_hash, signers, signatures, epoch)
        return last

    def _epoch_of(self, index: int) -> int:
        """The number of the epoch that an index is in."""
        return bisect_right(self._starts, index, key=lambda start: start.next_index)

    def _certificate_of_end(self, index: int) -> Certificate | None:
        """That of the sync point that ended the epoch of an index, None of one that goes on."""
        epoch = self._epoch_of(index)
        if epoch == len(self._starts):
            return None
        start = self._starts[epoch]
        decoded = decode_transition(start.transition)
        assert decoded is not None, "the machine made it"
        fence = decoded[0]
        return Certificate(index, fence.index, start.order_hash, NOT_ATTESTED, fence.signers, fence.signatures, epoch)

    async def _places(self, first: int, end: int) -> AsyncIterator[Place]:
        """What stands from an index on, below another."""
        while first < end:
            for place in await self._page(first, end):
                yield place
                first = place.index + 1

    async def _page(self, first: int, end: int) -> Sequence[Place]:
        """Some of that, one at least."""
        if self._ending.is_stopped:
            raise self._ending.exception("and proves nothing more")
        try:
            await self._storage.written()  # what was delivered a moment ago
            return await self._storage.read(first, end)
        except ArgumentError as error:  # it is not kept, or not any more
            raise ProofUnavailable(f"index {first} is needed for this proof, and {error}") from None
        except RuntimeError:  # the store was closed meanwhile
            if self._ending.is_stopped:
                raise self._ending.exception("before the proof was made") from None
            raise


def _is_signed(committee: Committee, creator: int, vote: CheckpointVote) -> bool:
    message = checkpoint_message(committee.epoch_id, vote.index, vote.order_hash, vote.state_hash)
    return committee.verify(creator, message, vote.signature)


def _made(proof: bytes) -> Proof:
    if len(proof) > MAX_PROOF_BYTES:
        raise ProofUnavailable(f"this proof would have {len(proof)} bytes, and none has more than {MAX_PROOF_BYTES}")
    return Proof(proof)


def _votes(place: Delivered) -> list[CheckpointVote]:
    """The votes for checkpoints in an event."""
    votes = [decode_checkpoint_vote(item.body) for item in place.event.items if item.type == ItemType.CHECKPOINT_VOTE]
    return [vote for vote in votes if vote is not None]


def _number(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentTypeError(f"Engine.prove: {name} is {value!r}: give an integer")
    if value < 0:
        raise ArgumentError(f"Engine.prove: {name} is {value}: give 0 or more")
    return value
