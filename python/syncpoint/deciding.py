"""What an application decides together with the others: sync points, members, keys, settings."""

from __future__ import annotations

from . import changes
from .agreement import Agreement
from .core.change import Add, Change, Configure, Remove, encode_change
from .core.config import Network
from .core.input import NextKey
from .core.values import SyncPointKind
from .ending import Ending
from .errors import NotAMember, ObserverError
from .keys import KeyPublic, KeySecret
from .membership import Membership
from .message import SyncPoint
from .peers import PeerCapabilities
from .proposal import Proposal, check_proposal, check_timeout
from .record import PeerRecord
from .runtime.driver import Driver
from .sending import BytesLike

__all__ = ["Deciding"]

_NO_CAPABILITIES = PeerCapabilities()


class Deciding:
    """That part of an engine. To propose, or vote, raises NotAMember as long as this peer was not let in."""

    _agreement: Agreement
    _driver: Driver
    _ending: Ending
    _membership: Membership

    async def propose(self, kind: SyncPointKind, metadata: BytesLike = b"", timeout: float = 30.0) -> SyncPoint:
        """Propose a sync point, and wait for it: it is what all peers find in their stream, at the same index (S1, S2).

        `kind` is SESSION, SNAPSHOT, EPOCH, CUSTOM or END; `metadata` 0 to 8,192 bytes that all peers will see;
        `timeout` the seconds of consensus time that a quorum has to approve it, 0.001 to 3,600. To propose is to
        approve. Raises ProposalRejected when the network decides against it, with the outcome and the reason; at once
        when 16 of this peer are not decided. Raises ArgumentError, ArgumentTypeError, ObserverError, NotAMember and
        EngineStopped. Without a quorum nothing is decided, and this waits. Cancelled, the proposal stands all the same.
        """
        self._check_votes("proposes")
        return await self._agreement.propose(*check_proposal(kind, metadata, timeout))

    async def vote_end_session(self, metadata: BytesLike = b"", timeout: float = 30.0) -> SyncPoint:
        """Vote for the end of the session; its sync point is the last message on every peer.

        Proposes END, as `propose` does, with the same errors, and approves what other peers propose of this kind as
        long as it waits. The default policy leaves END to the application: the session ends when a quorum called this.
        Returns the sync point that ended it, whoever had proposed that.
        """
        self._check_votes("proposes")
        return await self._agreement.agree(*check_proposal(SyncPointKind.END, metadata, timeout))

    async def vote_add_node(
        self,
        address: str,
        record: PeerRecord,
        capabilities: PeerCapabilities = _NO_CAPABILITIES,
        timeout: float = 30.0,
    ) -> SyncPoint:
        """Vote for a member more: who holds the key of `record`, is found at `address` and has these capabilities (S4).

        Proposes that, as `propose` does, and approves what other peers propose of the same as long as it waits. The
        default policy leaves it to the application, so the peer is let in when a quorum called this with equal
        arguments. Returns the sync point that let it in, whoever had proposed that; from there on it is a member, and
        n, f and a quorum are counted anew. Errors as of `propose`, and ArgumentError for a malformed address, for
        who is a member already, and for more than 128 members. ProposalRejected with the outcome CONFLICT: another
        change came first, with which this one does not apply.
        """
        return await self._change("vote_add_node", changes.addition(address, record, capabilities), timeout)

    async def vote_remove_node(self, public: KeyPublic, timeout: float = 30.0) -> SyncPoint:
        """Vote for a member less, which may be ourselves (S4).

        As `vote_add_node`, the other way round: ArgumentError for who is no member, when nobody would be left that
        orders, and when too few would be for the f that the network has set. The removed peer receives the sync point
        as its last message, and halts.
        """
        return await self._change("vote_remove_node", changes.removal(public), timeout)

    async def rotate_key(self, secret: KeySecret, timeout: float = 30.0) -> SyncPoint:
        """Go on with another key; the present one is worth nothing from the sync point on that this returns (S4).

        Keep the new secret before you call this. The default policy of the others approves it. At its next start the
        peer needs both: `Engine.start(secret=the first one, next_secret=the new one)`. Errors as of `propose`, and
        ArgumentError when the new key is a member's already. After ProposalRejected the present key holds.
        """
        rotate = changes.rotation(self._membership, secret)
        timeout_ns = self._check_change("rotate_key", rotate, timeout)
        self._membership.may_become(secret)
        self._driver.post(NextKey(secret._seed))
        return await self._agreement.agree(SyncPointKind.KEY_ROTATION, b"", timeout_ns, encode_change(rotate))

    async def change_options(self, network: Network, timeout: float = 30.0) -> SyncPoint:
        """Vote for other settings of the network, all of them as they are to be (S4).

        As `vote_add_node`: they change when a quorum called this with equal settings. `name` and `max_payload_bytes`
        cannot change. Errors as of `propose`, and ArgumentError for these two, for settings that hold already, and for
        an f that the members are too few for. Start from `Engine.network`, as with `dataclasses.replace`.
        """
        return await self._change("change_options", changes.configuration(network), timeout)

    def vote(self, proposal: Proposal | bytes, approve: bool = True) -> None:
        """Approve or refuse an open proposal, or its id, that the policy of the context left to us.

        It counts where the event that carries it is delivered, and cannot be changed. Raises ArgumentError for one
        that is not open here or that this peer has voted on, ArgumentTypeError, ObserverError, NotAMember and
        EngineStopped.
        """
        self._check_votes("votes on")
        self._agreement.vote(proposal, approve)

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        """The proposals that were delivered here and are not decided, in the order of their delivery."""
        return self._agreement.proposals

    # -- private --------------------------------------------------------------------------------------

    async def _change(self, call: str, change: Add | Remove | Configure, timeout: float) -> SyncPoint:
        timeout_ns = self._check_change(call, change, timeout)
        kind = SyncPointKind.CONFIG if isinstance(change, Configure) else SyncPointKind.MEMBERSHIP
        return await self._agreement.agree(kind, b"", timeout_ns, encode_change(change))

    def _check_change(self, call: str, change: Change, timeout: float) -> int:
        """The time to decide in ns, if there is anything to decide."""
        self._check_votes("proposes")
        self._ending.require_running("proposals")
        timeout_ns = check_timeout(call, timeout)
        if not self._agreement.is_newest(encode_change(change)):
            changes.check_applies(self._membership.coming, change)
        return timeout_ns

    def _check_orders(self) -> None:
        if self._membership.capabilities.no_order:
            key = self._membership.public
            raise ObserverError(f"{key} is an observer (no_order), and sends nothing: use a peer that orders")

    def _check_votes(self, does: str) -> None:
        self._check_orders()
        if self._membership.seat is None and self._ending.is_running:
            raise NotAMember(
                f"{self._membership.public} is no member of this network, and {does} nothing: "
                "members let it in with Engine.vote_add_node(its address, PeerRecord.of(its secret))"
            )
