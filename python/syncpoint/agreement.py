"""The engine's part in what the network decides about itself: proposals, votes, sync points, certificates."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .changes import read_proposal, read_sync_point, roster_after
from .core import values
from .core.checkpoint import MAX_CERTIFY, MAX_CHECKPOINTS, NOT_ATTESTED, Certificate
from .core.crypto import HASH_BYTES, blake3
from .core.epoch import MAX_PROPOSALS, Outcome
from .core.input import Attest, Certify, Input, Propose, Vote
from .core.items import Proposal as ProposalItem
from .core.items import encode_proposal, proposal_id
from .core.output import Certified, Closed, Diverged, Opened
from .core.values import SyncPointKind
from .ending import Ending
from .errors import ArgumentError, ArgumentTypeError, DivergenceError, ProofUnavailable, ProposalRejected
from .membership import Membership
from .message import SyncPoint
from .proof import Proof
from .proposal import Approve, Proposal, approve_by_default

__all__ = ["Agreement", "AgreementSettings"]

log = logging.getLogger("syncpoint.engine")

DOMAIN_PROPOSAL_SALT = b"syncpoint/proposal-salt/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementSettings:
    """What an engine is in the eyes of the others, and how it decides."""

    membership: Membership
    """Who is a member, ourselves among them or not."""

    entropy: bytes
    """32 bytes that nobody can foresee, for the salts of our proposals."""

    approve: Approve
    """The policy."""

    left_open: Callable[[Proposal], None]
    """Is told of each proposal on which nothing votes but `Engine.vote`."""

    joining: bool
    """Whether we join a running session, or the network."""


class _Wish(NamedTuple):
    """A change that is waited for, or the end of the session, whoever proposes it."""

    kind: SyncPointKind
    change: bytes
    found: asyncio.Future[SyncPoint]

    def is_for(self, kind: int, change: bytes) -> bool:
        """Whether this is it."""
        return (kind, change) == (self.kind, self.change)


class Agreement:
    """Proposes, votes and waits for what comes of it; it decides nothing: the machine counts."""

    def __init__(
        self,
        settings: AgreementSettings,
        post: Callable[[Input], None],
        now: Callable[[], int],
        ending: Ending,
        failed: Callable[[BaseException], None],
        prove: Callable[[int], Awaitable[Proof]],
        sees: Callable[[Proposal], bool],
    ) -> None:
        """`post` gives the machine an input, `now` is ns since the Unix epoch, `failed` ends the engine.

        `prove` makes the proof of the sync point at an index; `sees` tells whether we would propose the same by
        ourselves.
        """
        self._settings = settings
        self._membership = settings.membership
        self._post = post
        self._now = now
        self._ending = ending
        self._failed = failed
        self._prove = prove
        self._sees = sees
        self._open: dict[bytes, Proposal] = {}  # by id, in the order of delivery
        self._voted: set[bytes] = set()  # of these, those that we have voted on
        self._own: dict[bytes, asyncio.Future[SyncPoint]] = {}  # ours that are not decided yet, waited for or not
        self._salts = 0  # made so far
        self._attested: dict[int, bytes] = {}  # index -> the state hash that was given, the newest ones
        self._certificates: dict[int, list[asyncio.Future[Certificate]]] = {}  # by the index that was asked for
        self._just_synced: int | None = None  # index of the first sync point after joining
        self._wishes: list[_Wish] = []  # what is waited for, whoever proposes it
        self._newest: values.SyncPoint | None = None  # of those that changed the network, or ended the session

    # -- what the application does ------------------------------------------------------------------

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        """Those that are open."""
        return tuple(self._open.values())

    async def propose(self, kind: SyncPointKind, metadata: bytes, timeout_ns: int, change: bytes = b"") -> SyncPoint:
        """Propose what was checked, and wait for its sync point; ProposalRejected when there will be none."""
        return await self._propose(kind, metadata, timeout_ns, change)

    async def agree(self, kind: SyncPointKind, metadata: bytes, timeout_ns: int, change: bytes = b"") -> SyncPoint:
        """Propose a change, or the end, and approve that of others meanwhile; the sync point, whoever proposed it."""
        self._ending.require_running("proposals")
        wish = _Wish(kind, change, asyncio.get_running_loop().create_future())
        if self._newest is not None and wish.is_for(self._newest.kind, self._newest.change):
            return self.message(self._newest)
        self._wishes.append(wish)
        proposed: asyncio.Future[SyncPoint] | None = None
        try:
            for proposal in self.proposals:
                if wish.is_for(proposal.kind, proposal._change):
                    self.approve(proposal)
            proposed = self._propose(kind, metadata, timeout_ns, change)
            await asyncio.wait((proposed, wish.found), return_when=asyncio.FIRST_COMPLETED)
            return wish.found.result() if wish.found.done() else proposed.result()
        finally:
            self._wishes.remove(wish)
            if proposed is not None and not proposed.cancel() and not proposed.cancelled():
                proposed.exception()  # that of another peer came first: nobody asks what became of ours

    def is_newest(self, change: bytes) -> bool:
        """Whether this was the last change: others were faster, and nothing has changed since."""
        return self._newest is not None and self._newest.change == change

    def approve(self, proposal: Proposal) -> None:
        """Approve an open proposal if we have not voted on it."""
        if proposal.id not in self._voted:
            self.vote(proposal, approve=True)

    def vote(self, proposal: Proposal | bytes, approve: bool) -> None:
        """Approve or refuse an open proposal that we have not voted on."""
        id = proposal.id if isinstance(proposal, Proposal) else proposal
        if not isinstance(id, bytes):
            raise ArgumentTypeError(
                f"Engine.vote was given a {type(proposal).__name__}: give one of Engine.proposals, or its id"
            )
        if not isinstance(approve, bool):
            raise ArgumentTypeError(f"Engine.vote: approve is {approve!r}: give True or False")
        self._ending.require_running("votes")
        if id not in self._open:
            raise ArgumentError(
                f"Engine.vote: none of the {len(self._open)} open proposals has the id {id.hex()}: "
                "it is decided, or not delivered here yet; look at Engine.proposals"
            )
        if id in self._voted:
            raise ArgumentError(
                f"Engine.vote: this peer has voted on {id.hex()}, by its policy, by hand, or as its proposer; "
                "a vote cannot be changed"
            )
        self._voted.add(id)
        self._post(Vote(id, approve))

    def attest(self, index: int, state_hash: bytes) -> None:
        """Tell the others the hash of our application's state behind a sync point (C1)."""
        if len(state_hash) != HASH_BYTES or state_hash == NOT_ATTESTED:
            raise ArgumentError(
                f"SyncPoint.attest was given {len(state_hash)} bytes, {state_hash[:HASH_BYTES].hex()}: give a hash "
                f"of {HASH_BYTES} bytes, not all zero"
            )
        before = self._attested.get(index, state_hash)
        if before != state_hash:
            raise ArgumentError(
                f"SyncPoint.attest was given {state_hash.hex()} at index {index}, and {before.hex()} before: "
                "attest once, when the state is that of this place"
            )
        if self._ending.is_stopped:
            raise self._ending.exception("and attests nothing more")
        if index not in self._attested:
            self._attested[index] = state_hash
            if len(self._attested) > MAX_CHECKPOINTS:
                del self._attested[next(iter(self._attested))]
            self._post(Attest(index, state_hash))

    async def proof(self, index: int) -> Proof:
        """Prove the sync point at an index (C3)."""
        return await self._prove(index)

    async def certificate(self, index: int) -> Certificate:
        """A quorum's signatures for the first checkpoint at an index or behind it, as soon as there are any (C2).

        Raises ProofUnavailable where it is too old or never comes, and EngineStopped.
        """
        if self._ending.is_stopped:
            raise self._ending.exception("and proves nothing more")
        if self._is_beyond(index):
            raise _beyond(index, self._ending.session_end)
        if sum(map(len, self._certificates.values())) >= MAX_CERTIFY:
            raise ProofUnavailable(f"{MAX_CERTIFY} proofs are waited for already: ask for fewer at once")
        found: asyncio.Future[Certificate] = asyncio.get_running_loop().create_future()
        waiting = self._certificates.setdefault(index, [])
        waiting.append(found)
        if len(waiting) == 1:
            self._post(Certify(index))
        try:
            return await found
        finally:
            waiting.remove(found)  # the list stays: the machine answers once

    # -- what the driver tells ----------------------------------------------------------------------

    def told(self, output: Opened | Closed | Certified | Diverged) -> None:
        """Take what the machine says of proposals and checkpoints."""
        match output:
            case Opened():
                self._opened(output)
            case Closed():
                self._open.pop(output.proposal, None)
                self._voted.discard(output.proposal)
                outcome = Outcome(output.outcome)
                if outcome is not Outcome.ADOPTED:  # else its sync point was delivered before
                    self._reject(output.proposal, outcome)
            case Certified():
                self._certified(output.certificate)
            case Diverged():
                divergence = output.divergence
                self._failed(DivergenceError(divergence.index, divergence.ours, divergence.theirs, divergence.is_state))

    def delivered(self, point: values.SyncPoint) -> None:
        """Take note of a sync point that was delivered now: its proposer waits for it."""
        if self._settings.joining and self._just_synced is None and self._has_us(point.epoch):
            self._just_synced = point.index
        if point.kind == SyncPointKind.END or point.change:
            self._newest = point
            self._membership.coming = roster_after(point, self._membership.of(point.epoch))[0]
        for wish in self._wishes:
            if wish.is_for(point.kind, point.change) and not wish.found.done():
                wish.found.set_result(self.message(point))
        decided = self._own.pop(point.proposal, None)
        if decided is not None and not decided.done():
            decided.set_result(self.message(point))

    def message(self, point: values.SyncPoint) -> SyncPoint:
        """A sync point of the core, as the application sees it."""
        is_first = point.index == self._just_synced
        return read_sync_point(point, self._membership, is_just_synced=is_first, engine=self)

    def entered(self, was_member: bool) -> None:
        """An epoch has begun, and the membership knows; `was_member` says whether we were one in the epoch before."""
        if self._membership.seat is None and self._membership.joins:  # else we are about to halt
            for id in list(self._own):
                self._reject(id, Outcome.LEFT)
        elif not was_member and not self._membership.capabilities.no_order and self._ending.is_running:
            # We had no say before. The machine may still tell of some that they end here, in this same step.
            self._voted.clear()
            asyncio.get_running_loop().call_soon(self._ask_all, self.proposals)

    def session_ended(self) -> None:
        """Nothing is delivered any more: what is not decided will not be (S4)."""
        # The machine may still say of some how they ended, in this same step.
        asyncio.get_running_loop().call_soon(self._give_up)

    def end(self) -> None:
        """The engine has stopped, or makes no more events: nobody waits for anything of it any more."""
        waiting: list[asyncio.Future[SyncPoint] | asyncio.Future[Certificate]] = list(self._own.values())
        if self._ending.is_stopped:
            waiting += [found for each in self._certificates.values() for found in each]
        for decided in waiting:
            if not decided.done():
                decided.set_exception(self._ending.exception("before it was known what comes of it"))
        self._own.clear()

    # -- private --------------------------------------------------------------------------------------

    def _propose(
        self, kind: SyncPointKind, metadata: bytes, timeout_ns: int, change: bytes
    ) -> asyncio.Future[SyncPoint]:
        """Propose something; its sync point, or ProposalRejected."""
        self._ending.require_running("proposals")
        if len(self._own) >= MAX_PROPOSALS:
            raise _rejected(Outcome.TOO_MANY)
        salt, deadline = self._salt(), self._now() + timeout_ns
        body = encode_proposal(ProposalItem(kind, deadline, salt, metadata, change))
        id = proposal_id(self._membership.network_id, self._membership.number, body)
        decided: asyncio.Future[SyncPoint] = asyncio.get_running_loop().create_future()
        self._own[id] = decided
        self._post(Propose(body))
        return decided

    def _salt(self) -> int:
        """A number that nobody can foresee, so that two proposals alike have different ids."""
        self._salts += 1
        salt = blake3(DOMAIN_PROPOSAL_SALT + self._settings.entropy + struct.pack("<Q", self._salts))
        return int.from_bytes(salt[:8], "little")

    def _opened(self, opened: Opened) -> None:
        proposal = read_proposal(opened, self._membership.current)
        if proposal is None:  # nobody can want what nobody can read
            if not opened.voted and self._ending.is_running:
                self._post(Vote(opened.proposal, False))
            return
        self._open[proposal.id] = proposal
        if opened.voted:
            self._voted.add(proposal.id)
        elif self._ending.is_running:
            self._ask(proposal)

    def _ask_all(self, proposals: Sequence[Proposal]) -> None:
        """Vote on those that are still open and not voted on."""
        for proposal in proposals:
            if proposal.id in self._open and proposal.id not in self._voted and self._ending.is_running:
                self._ask(proposal)

    def _ask(self, proposal: Proposal) -> None:
        """Vote by what the application waits for, else by the policy."""
        if any(wish.is_for(proposal.kind, proposal._change) for wish in self._wishes):
            self.vote(proposal, approve=True)
            return
        try:
            answer = self._settings.approve(proposal)
            if not (answer is None or isinstance(answer, bool)):
                raise ArgumentTypeError(f"Context(approve=...) returned {answer!r}: return True, False or None")
        except Exception:
            log.exception("the policy failed on %r: nothing is voted until Engine.vote is called", proposal)
            return
        if answer is None and self._settings.approve is approve_by_default and self._sees(proposal):
            answer = True
        if proposal.id in self._voted:  # the policy itself may have voted by hand
            return
        if answer is None:
            self._settings.left_open(proposal)
        else:
            self.vote(proposal, answer)

    def _has_us(self, epoch: int) -> bool:
        """Whether we are a member in an epoch."""
        return self._membership.public in self._membership.of(epoch).keys

    def _reject(self, id: bytes, outcome: Outcome) -> None:
        decided = self._own.pop(id, None)
        if decided is not None and not decided.done():
            decided.set_exception(_rejected(outcome))

    def _give_up(self) -> None:
        for id in list(self._own):
            self._reject(id, Outcome.ENDED)
        for index, waiting in self._certificates.items():
            for found in waiting:
                if self._is_beyond(index) and not found.done():
                    found.set_exception(_beyond(index, self._ending.session_end))

    def _certified(self, certificate: Certificate) -> None:
        index = certificate.wanted
        for found in self._certificates.pop(index, ()):
            if found.done():
                continue
            if certificate.signatures:
                found.set_result(certificate)
            else:
                found.set_exception(
                    ProofUnavailable(
                        f"the votes of the checkpoint behind index {index} are not known here any more: a peer has "
                        f"those of its last {MAX_CHECKPOINTS} checkpoints, none of before its start; "
                        "prove sooner, or on a peer that runs for longer"
                    )
                )

    def _is_beyond(self, index: int) -> bool:
        end = self._ending.session_end
        return end is not None and index > end


def _rejected(outcome: Outcome) -> ProposalRejected:
    return ProposalRejected(outcome, f"the proposal was not adopted: {_REASONS[outcome]}")


def _beyond(index: int, end: int | None) -> ProofUnavailable:
    return ProofUnavailable(f"there is nothing to prove at index {index}: the session ended with index {end}")


_REASONS = {
    Outcome.REFUSED: "so many peers refused it that no quorum can approve it any more",
    Outcome.EXPIRED: "a quorum had not approved it by its deadline; give a longer timeout, or see who has not voted",
    Outcome.INVALID: "its deadline lies too far ahead of the others' clocks; "
    "give a shorter timeout, and look at this machine's clock",
    Outcome.TOO_MANY: f"{MAX_PROPOSALS} others of this peer are open, or decided and not past their deadline; "
    "wait for these, and give shorter timeouts",
    Outcome.ENDED: "the session ended first",
    Outcome.CONFLICT: "another change came first, and with that this one does not apply any more; "
    "look at Engine.peers and Engine.network",
    Outcome.LEFT: "this peer is no member any more",
}
