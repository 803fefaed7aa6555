"""An agreed order made by hand, with the certificates that a committee would sign for it."""

from __future__ import annotations

from collections.abc import Sequence

from syncpoint.core.checkpoint import NOT_ATTESTED, Certificate
from syncpoint.core.epoch import sync_point_digest
from syncpoint.core.items import checkpoint_message
from syncpoint.core.order import Orderer
from syncpoint.core.proof import prove_sync_point, prove_transaction
from syncpoint.core.values import Delivered, Item, SyncPoint, SyncPointKind

from .build import Peers

BEGIN_NS = 1_700_000_000_000_000_000


class Places:
    """Events and sync points, each behind the last, and proofs of them."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers
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
            )
        )

    def point(
        self, kind: int = SyncPointKind.CUSTOM, proposer: int | None = 1, approvals: int = 0b111, metadata: bytes = b"m"
    ) -> int:
        """Deliver a sync point next; its index."""
        proposal = bytes(32) if proposer is None else bytes(range(32))
        digest = sync_point_digest(kind, 1, proposal, proposer, approvals, metadata)
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
            )
        )

    def certificate(
        self, signers: Sequence[int] | None = None, state_hash: bytes = NOT_ATTESTED, by: Sequence[int] | None = None
    ) -> Certificate:
        """A certificate of the last place; `by` are those whose keys sign it, if not the signers."""
        signers = range(self.peers.committee.q) if signers is None else signers
        index = len(self.places) - 1
        message = checkpoint_message(self.peers.epoch_id, index, self.hashes[-1], state_hash)
        signatures = b"".join(self.peers.signers[creator].sign(message) for creator in (signers if by is None else by))
        bits = sum(1 << creator for creator in signers)
        return Certificate(index, index, self.hashes[-1], state_hash, bits, signatures)

    def proof(self, index: int, position: int = 0, certificate: Certificate | None = None) -> bytes:
        """The proof of a sync point, or of a transaction of an event, by a certificate of the last place."""
        certificate = self.certificate() if certificate is None else certificate
        what, before, later = self.places[index], self.hashes[index], self.places[index + 1 :]
        if isinstance(what, SyncPoint):
            return prove_sync_point(self.peers.epoch_id, certificate, before, what, later)
        return prove_transaction(self.peers.epoch_id, certificate, before, what, position, later)

    def _add(self, place: Delivered | SyncPoint) -> int:
        self.places.append(place)
        self.hashes.append(self._orderer.order_hash)
        return place.index
