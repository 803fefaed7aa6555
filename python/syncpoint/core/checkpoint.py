"""What peers say of the order at checkpoints: votes, certificates, and contradictions (C1, C2, C4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .committee import Committee
from .crypto import HASH_BYTES, Signer
from .items import CheckpointVote, checkpoint_message, decode_checkpoint_vote, encode_checkpoint_vote
from .order import Orderer
from .values import Event, Item, ItemType, SyncPoint

__all__ = ["CHECKPOINT_ROUNDS", "NOT_ATTESTED", "Certificate", "Checkpoints", "Divergence"]

CHECKPOINT_ROUNDS = 8  # every so many closed rounds there is a checkpoint, if anything was delivered
MAX_CHECKPOINTS = 128  # of ours that are kept, and votes of one creator; the oldest are forgotten
MAX_CERTIFY = 1_024  # certificates that are waited for; beyond, the oldest wait gets none

NOT_ATTESTED = bytes(HASH_BYTES)  # in the place of a state hash


@dataclass(frozen=True, slots=True)
class Certificate:
    """Votes of q creators for one checkpoint, or none where it is too old to be known any more (C2)."""

    wanted: int  # the index that was asked for
    index: int  # of the checkpoint: the first one at it or after it that has the votes
    order_hash: bytes
    state_hash: bytes
    signers: int  # bit set over creators
    signatures: bytes  # 64 bytes each, in creator order
    epoch: int = 0  # the number of the epoch whose creators these are


@dataclass(frozen=True, slots=True)
class Divergence:
    """So many others contradict us at a checkpoint that some honest one does (C4)."""

    index: int
    ours: bytes  # order hash, or state hash
    theirs: bytes
    is_state: bool  # it is the application that differs, not the order


class Checkpoints:
    """Our checkpoints, and what all peers say of theirs; a local matter, as votes count where they are in the DAG."""

    def __init__(self, committee: Committee, own: int, signer: Signer, number: int = 0) -> None:
        """`number` is that of the epoch."""
        self.committee = committee
        self._number = number
        self._own = own
        self._signer = signer
        self._ours: dict[int, bytes] = {}  # index -> order hash, ascending
        self._attested: dict[int, bytes] = {}  # index -> our state hash
        self._votes: list[dict[tuple[int, bool], CheckpointVote]] = [{} for _ in range(committee.n)]
        self._wanted: list[int] = []  # indices
        self._certificates: list[Certificate] = []  # that were waited for, since they were taken last
        self._divergence: Divergence | None = None  # the first one, until it is taken
        self._diverged = False
        self._forgotten = -1  # checkpoints up to here are not known any more

    def begin(self, next_index: int) -> None:
        """Begin behind what was delivered before a restart: its checkpoints are not known any more."""
        self._forgotten = next_index - 1

    def follow(self, next_index: int, order_hash: bytes) -> None:
        """Begin behind what ended the epoch before: what applications attest there is said in this one."""
        self._forgotten = next_index - 2
        self._ours[next_index - 1] = order_hash

    def close(self, round: int, points: Sequence[SyncPoint], orderer: Orderer) -> list[Item]:
        """Note our checkpoints at the closing of a round; our votes for them, none of an observer (C1, Q4)."""
        votes: list[Item] = []
        for point in points:
            votes += self._reached(point.index, point.order_hash)
        newest = max(self._ours, default=self._forgotten)
        if round % CHECKPOINT_ROUNDS == 0 and orderer.index - 1 > newest:
            votes += self._reached(orderer.index - 1, orderer.order_hash)
        return votes

    def attest(self, index: int, state_hash: bytes) -> list[Item]:
        """Add the hash of our application's state at a checkpoint; our vote, none where that is not known any more."""
        if index not in self._ours or index in self._attested:
            return []
        self._attested[index] = state_hash
        self._look(index)
        return self._vote(index, state_hash)

    def accept(self, event: Event) -> None:
        """Take the votes in an accepted event (C1)."""
        for item in event.items:
            vote = decode_checkpoint_vote(item.body) if item.type == ItemType.CHECKPOINT_VOTE else None
            if vote is None:
                continue
            votes = self._votes[event.creator]
            # Of several votes of one creator for one checkpoint the first counts, as in a count of events (Q3).
            votes.setdefault((vote.index, vote.state_hash != NOT_ATTESTED), vote)
            if len(votes) > 2 * MAX_CHECKPOINTS:
                del votes[next(iter(votes))]
            self._look(vote.index)

    def certify(self, index: int) -> None:
        """Wait for a certificate of the first checkpoint at an index or after it."""
        self._wanted.append(index)
        if len(self._wanted) > MAX_CERTIFY:
            self._certificates.append(self._unknown(self._wanted.pop(0)))
        self._certify()

    def is_voted(self, index: int) -> bool:
        """Whether q creators have voted for our checkpoint at an index; their signatures are not looked at."""
        order_hash = self._ours.get(index)
        found = sum(vote.order_hash == order_hash for vote in self._at(index, attested=False).values())
        return order_hash is not None and found >= self.committee.q

    def certificate(self, index: int) -> Certificate | None:
        """The certificate of the order alone at our checkpoint at an index; None while votes are missing."""
        order_hash = self._ours.get(index)
        if order_hash is None:
            return None
        signed = self._signed(index, order_hash, NOT_ATTESTED, self._at(index, attested=False))
        return None if signed is None else Certificate(index, index, order_hash, NOT_ATTESTED, *signed, self._number)

    def take_certificates(self) -> list[Certificate]:
        """Certificates that were waited for, since they were taken last."""
        taken, self._certificates = self._certificates, []
        return taken

    def take_divergence(self) -> Divergence | None:
        """The first contradiction, once."""
        taken, self._divergence = self._divergence, None
        return taken

    # -- private --------------------------------------------------------------------------------------

    def _reached(self, index: int, order_hash: bytes) -> list[Item]:
        self._ours[index] = order_hash
        if len(self._ours) > MAX_CHECKPOINTS:
            self._forgotten = next(iter(self._ours))
            del self._ours[self._forgotten]
            self._attested.pop(self._forgotten, None)
        self._look(index)
        return self._vote(index, NOT_ATTESTED)

    def _vote(self, index: int, state_hash: bytes) -> list[Item]:
        if self._own >= self.committee.n:
            return []
        order_hash = self._ours[index]
        message = checkpoint_message(self.committee.epoch_id, index, order_hash, state_hash)
        vote = CheckpointVote(index, order_hash, state_hash, self._signer.sign(message))
        return [Item(ItemType.CHECKPOINT_VOTE, encode_checkpoint_vote(vote))]

    def _at(self, index: int, *, attested: bool) -> dict[int, CheckpointVote]:
        """The votes for a checkpoint, by creator."""
        found = {creator: votes.get((index, attested)) for creator, votes in enumerate(self._votes)}
        return {creator: vote for creator, vote in found.items() if vote is not None}

    def _look(self, index: int) -> None:
        """Compare what is said of a checkpoint with what we have there, and certify it if somebody waits."""
        ours = self._ours.get(index)
        if ours is None:
            return
        others = [vote.order_hash for vote in self._at(index, attested=False).values() if vote.order_hash != ours]
        if len(others) > self.committee.f:  # C4: one of them at least is honest
            self._contradicted(Divergence(index, ours, max(others, key=others.count), is_state=False))
        state = self._attested.get(index)
        if state is not None:
            states = [vote.state_hash for vote in self._at(index, attested=True).values() if vote.order_hash == ours]
            theirs = max(states, key=states.count, default=state)
            if theirs != state and states.count(theirs) >= self.committee.q:  # we are the minority
                self._contradicted(Divergence(index, state, theirs, is_state=True))
        if self._wanted:
            self._certify()

    def _contradicted(self, divergence: Divergence) -> None:
        if not self._diverged:
            self._diverged, self._divergence = True, divergence

    def _certify(self) -> None:
        waiting = []
        for wanted in self._wanted:
            certificate = self._certificate(wanted)
            if certificate is None:
                waiting.append(wanted)
            else:
                self._certificates.append(certificate)
        self._wanted = waiting

    def _certificate(self, wanted: int) -> Certificate | None:
        """A certificate if there can be one, None while votes are missing; what is attested goes first."""
        if wanted <= self._forgotten:
            return self._unknown(wanted)
        for index, order_hash in self._ours.items():
            if index < wanted:
                continue
            for attested in (True, False):
                votes = self._at(index, attested=attested)
                for state_hash in sorted({vote.state_hash for vote in votes.values()}):
                    signed = self._signed(index, order_hash, state_hash, votes)
                    if signed is not None:
                        return Certificate(wanted, index, order_hash, state_hash, *signed, self._number)
        return None

    def _signed(
        self, index: int, order_hash: bytes, state_hash: bytes, votes: dict[int, CheckpointVote]
    ) -> tuple[int, bytes] | None:
        """Signers and signatures of q good votes for one content, None while there are fewer."""
        alike = {
            creator: vote
            for creator, vote in votes.items()
            if vote.order_hash == order_hash and vote.state_hash == state_hash
        }
        if len(alike) < self.committee.q:
            return None
        message = checkpoint_message(self.committee.epoch_id, index, order_hash, state_hash)
        signers = 0
        signatures: list[bytes] = []
        for creator, vote in alike.items():
            if len(signatures) < self.committee.q and self.committee.verify(creator, message, vote.signature):
                signers |= 1 << creator
                signatures.append(vote.signature)
        return (signers, b"".join(signatures)) if len(signatures) == self.committee.q else None

    def _unknown(self, wanted: int) -> Certificate:
        return Certificate(wanted, wanted, NOT_ATTESTED, NOT_ATTESTED, 0, b"", self._number)
