"""An agreed order made by hand, over as many epochs as it takes, with the certificates that committees would sign."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from syncpoint.core.change import Add, Change, Configure, Remove, Rotate, encode_change
from syncpoint.core.checkpoint import NOT_ATTESTED, Certificate
from syncpoint.core.crypto import Signer, peer_record
from syncpoint.core.epoch import sync_point_digest
from syncpoint.core.items import checkpoint_message
from syncpoint.core.order import Orderer
from syncpoint.core.proof import prove_sync_point, prove_transaction
from syncpoint.core.roster import Roster, next_epoch_id
from syncpoint.core.transition import encode_transition, transition_of
from syncpoint.core.values import Delivered, Item, SyncPoint, SyncPointKind

from .build import Peers

BEGIN_NS = 1_700_000_000_000_000_000


class Places:
    """Events and sync points, each behind the last, and proofs of them."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers  # those of the newest epoch
        self.network_id = peers.epoch_id
        self.roster = Roster.first(peers.network, (*peers.committee.members, *peers.committee.observers))
        self.epoch = 0  # number of the newest one
        self.transitions: list[bytes] = []  # to each epoch but the first
        self._signers = {signer.public: signer for signer in peers.signers}
        self.places: list[Delivered | SyncPoint] = []
        self._orderer = Orderer(peers.committee, "fair", peers.network.gc_depth)
        self.hashes = [self._orderer.order_hash]  # before each place, and after the last

    def event(self, creator: int, transactions: Sequence[bytes] = (), items: Sequence[Item] = ()) -> int:
        """Deliver an event next; its index."""
        event = self.peers.event(creator, 1, transactions=transactions, items=items)
        index = self._orderer.place(event.digest, BEGIN_NS)
        return self._add(
            Delivered(
                event=event,
                parents=(),
                index=index,
                consensus_at=self._orderer.consensus_at,
                order_hash=self._orderer.order_hash,
                whitened_signature=bytes(64),
                closed_by=1,
                submissions=(),
                epoch=self.epoch,
            )
        )

    def point(
        self,
        kind: int = SyncPointKind.CUSTOM,
        proposer: int | None = 1,
        approvals: int = 0b111,
        metadata: bytes = b"m",
        change: bytes = b"",
    ) -> int:
        """Deliver a sync point next; its index. The epoch goes on, whatever it changes."""
        proposal = bytes(32) if proposer is None else bytes(range(32))
        digest = sync_point_digest(kind, 1, proposal, proposer, approvals, metadata, change)
        index = self._orderer.place(digest, 0)
        return self._add(
            SyncPoint(
                kind=kind,
                metadata=metadata,
                proposal=proposal,
                proposer=proposer,
                approvals=approvals,
                epoch_index=1,
                session_id=self.peers.epoch_id,
                digest=digest,
                index=index,
                consensus_at=self._orderer.consensus_at,
                order_hash=self._orderer.order_hash,
                closed_by=1,
                change=change,
                epoch=self.epoch,
            )
        )

    def change(self, change: Change, *newcomers: Signer, by: Sequence[int] | None = None) -> int:
        """Deliver a sync point that changes something, and begin the next epoch; its index.

        `newcomers` are whose keys are new, `by` those whose keys sign, if not the first q.
        """
        index = self.point(kind_of(change), 0, 1, b"", encode_change(change))
        point, roster = self.places[index], self.roster.change(change)
        assert isinstance(point, SyncPoint)
        assert roster is not None, "it does not apply"
        self.transitions.append(encode_transition(transition_of(point, self.hashes[index], self.certificate(by=by))))
        self._signers |= {signer.public: signer for signer in newcomers}
        epoch_id = next_epoch_id(self.peers.epoch_id, point.digest, point.order_hash)
        after = copy.copy(self.peers)
        after.network, after.epoch_id, after.committee = roster.network, epoch_id, roster.committee(epoch_id)
        after.signers = [self._signers[member.public] for member in after.committee.members]
        self.peers, self.roster, self.epoch = after, roster, self.epoch + 1
        return index

    def certificate(
        self, signers: Sequence[int] | None = None, state_hash: bytes = NOT_ATTESTED, by: Sequence[int] | None = None
    ) -> Certificate:
        """A certificate of the last place; `by` are those whose keys sign it, if not the signers."""
        signers = range(self.peers.committee.q) if signers is None else signers
        index = len(self.places) - 1
        message = checkpoint_message(self.peers.epoch_id, index, self.hashes[-1], state_hash)
        signatures = b"".join(self.peers.signers[creator].sign(message) for creator in (signers if by is None else by))
        bits = sum(1 << creator for creator in signers)
        return Certificate(index, index, self.hashes[-1], state_hash, bits, signatures, self.epoch)

    def proof(self, index: int, position: int = 0, certificate: Certificate | None = None) -> bytes:
        """The proof of a sync point, or of a transaction of an event, by a certificate of the last place."""
        certificate = self.certificate() if certificate is None else certificate
        what, before, later = self.places[index], self.hashes[index], self.places[index + 1 : certificate.index + 1]
        transitions = self.transitions[: certificate.epoch]
        if isinstance(what, SyncPoint):
            return prove_sync_point(self.network_id, transitions, certificate, before, what, later)
        return prove_transaction(self.network_id, transitions, certificate, before, what, position, later)

    def _add(self, place: Delivered | SyncPoint) -> int:
        self.places.append(place)
        self.hashes.append(self._orderer.order_hash)
        return place.index


def kind_of(change: Change) -> SyncPointKind:
    """The kind of sync point that a change takes."""
    if isinstance(change, Rotate):
        return SyncPointKind.KEY_ROTATION
    return SyncPointKind.CONFIG if isinstance(change, Configure) else SyncPointKind.MEMBERSHIP


def addition(signer: Signer, flags: int = 0) -> Add:
    """What lets somebody in."""
    return Add(peer_record(signer), flags, b"127.0.0.1:9009")


def rotation(old: Signer, new: Signer) -> Rotate:
    """What gives somebody a new key."""
    return Rotate(old.public, peer_record(new))


def removal(signer: Signer) -> Remove:
    """What puts somebody out."""
    return Remove(signer.public)
