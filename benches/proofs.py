"""Proofs: how long they are, and how long a check of one takes with each core.

    python benches/proofs.py                 committees of 4, 10, 31 and 100, sync points and transactions
    python benches/proofs.py --sizes 4,7 --rounds 200

Of each committee a sync point that is its own checkpoint, as every one is, and a transaction of 100 bytes among 16 in
an event of a full graph, with its checkpoint at the end of the same round (so n places lie between) and 8 rounds
later (the farthest that it is while all keep up). A sync point behind changes has the links of so many epochs, each by
a sync point that changes settings. The cores take turns; what is shown are medians by the clock.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from surroundings import describe
from syncpoint.backend import load_core
from syncpoint.core import wire
from syncpoint.core.change import Configure, encode_change
from syncpoint.core.checkpoint import CHECKPOINT_ROUNDS, NOT_ATTESTED, Certificate
from syncpoint.core.committee import Committee
from syncpoint.core.config import Member, Network
from syncpoint.core.crypto import Signer, blake3
from syncpoint.core.epoch import sync_point_digest
from syncpoint.core.items import checkpoint_message
from syncpoint.core.order import Orderer
from syncpoint.core.proof import Proved, prove_sync_point, prove_transaction
from syncpoint.core.roster import Roster, next_epoch_id
from syncpoint.core.transition import encode_transition, transition_of
from syncpoint.core.values import Delivered, Event, Parent, SyncPoint, SyncPointKind
from syncpoint.errors import CoreUnavailable

SIZES = (4, 10, 31, 100)
CHANGES = (1, 10)
TRANSACTIONS = [bytes([number]) * 100 for number in range(16)]
BEGIN_NS = 1_700_000_000_000_000_000


@dataclass
class Case:
    """A proof to be checked."""

    what: str
    proof: bytes


class Bench:
    """A committee and proofs that it could make."""

    def __init__(self, n: int) -> None:
        signers = [Signer(blake3(b"bench/%d" % number)) for number in range(n)]
        self.signers = sorted(signers, key=lambda signer: signer.public)
        self.network = Network()
        self.members = tuple(Member(signer.public) for signer in self.signers)
        self.committee = Committee.genesis(self.network, self.members)

    def cases(self) -> list[Case]:
        """A proof of each kind."""
        n = self.committee.n
        return [
            Case("sync point", self._sync_point()),
            *(Case(f"sync point, {count} changes", self._sync_point(count)) for count in CHANGES),
            Case("transaction, 1 round", self._transaction(n)),
            Case(f"transaction, {CHECKPOINT_ROUNDS} rounds", self._transaction(n * CHECKPOINT_ROUNDS)),
        ]

    def _sync_point(self, changes: int = 0) -> bytes:
        """The proof of one, behind so many that change the settings."""
        orderer, first, transitions = self._orderer(), self.committee, []
        for number in range(changes):
            change = encode_change(Configure(replace(self.network, gc_depth=100 + number)))
            before, point = orderer.order_hash, self._point(orderer, SyncPointKind.CONFIG, change)
            transitions.append(encode_transition(transition_of(point, before, self._certificate(orderer))))
            epoch_id = next_epoch_id(self.committee.epoch_id, point.digest, point.order_hash)
            self.committee = Roster.first(self.network, self.members).committee(epoch_id)
        before, point = orderer.order_hash, self._point(orderer, SyncPointKind.SNAPSHOT, epoch=changes)
        certificate = replace(self._certificate(orderer), epoch=changes)
        self.committee = first
        return prove_sync_point(first.epoch_id, transitions, certificate, before, point, [])

    def _point(self, orderer: Orderer, kind: SyncPointKind, change: bytes = b"", epoch: int = 0) -> SyncPoint:
        approvals, proposal = (1 << self.committee.q) - 1, bytes(32)
        digest = sync_point_digest(kind, 1, proposal, 0, approvals, b"", change)
        index = orderer.place(digest, BEGIN_NS)
        return SyncPoint(
            kind=kind, metadata=b"", proposal=proposal, proposer=0, approvals=approvals,
            epoch_index=1, session_id=self.committee.epoch_id, digest=digest, index=index,
            consensus_at=orderer.consensus_at, order_hash=orderer.order_hash, closed_by=1, change=change, epoch=epoch,
        )  # fmt: skip

    def _transaction(self, later: int) -> bytes:
        orderer = self._orderer()
        before = orderer.order_hash
        places = [self._place(orderer, number) for number in range(later + 1)]
        certificate = self._certificate(orderer)
        return prove_transaction(self.committee.epoch_id, [], certificate, before, places[0], 5, places[1:])

    def _orderer(self) -> Orderer:
        return Orderer(self.committee, "fair", self.network.gc_depth)

    def _place(self, orderer: Orderer, number: int) -> Delivered:
        n, epoch_id = self.committee.n, self.committee.epoch_id
        parents = tuple(Parent(creator, 1, blake3(b"%d" % creator)) for creator in range(n))
        header = wire.encode_header(epoch_id, number % n, 2, BEGIN_NS, number, parents, (), TRANSACTIONS)
        digest = wire.event_digest(header)
        event = Event(number % n, 2, BEGIN_NS, parents, (), tuple(TRANSACTIONS), header, digest, bytes(64))
        index = orderer.place(digest, BEGIN_NS)
        return Delivered(
            event=event, parents=(), index=index, consensus_at=orderer.consensus_at, order_hash=orderer.order_hash,
            whitened_signature=bytes(64), closed_by=4, submissions=(),
        )  # fmt: skip

    def _certificate(self, orderer: Orderer) -> Certificate:
        index, order_hash, q = orderer.index - 1, orderer.order_hash, self.committee.q
        message = checkpoint_message(self.committee.epoch_id, index, order_hash, NOT_ATTESTED)
        signatures = b"".join(signer.sign(message) for signer in self.signers[:q])
        return Certificate(index, index, order_hash, NOT_ATTESTED, (1 << q) - 1, signatures)


def cores() -> dict[str, Any]:
    """The faces of the cores that there are."""
    found: dict[str, Any] = {}
    for name in ("python", "native"):
        try:
            found[name] = load_core(name)
        except CoreUnavailable as error:
            print(f"no native core: {error}")
    return found


def measured(bench: Bench, case: Case, faces: dict[str, Any], rounds: int) -> dict[str, float]:
    """Milliseconds for a check, by core."""
    taken: dict[str, list[float]] = {name: [] for name in faces}
    for _ in range(rounds):
        for name, face in faces.items():
            begin = time.perf_counter()
            result = face.check_proof(case.proof, bench.network, bench.members)
            taken[name].append(1000 * (time.perf_counter() - begin))
            assert isinstance(result, Proved), result
    return {name: statistics.median(values) for name, values in taken.items()}


def numbers(text: str) -> list[int]:
    """Committee sizes from a list with commas."""
    return [int(part) for part in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=numbers, default=list(SIZES), help="sizes of committees, with commas")
    parser.add_argument("--rounds", type=int, default=50, help="checks of each proof with each core")
    chosen = parser.parse_args(arguments)
    print(*describe(), sep="\n")
    faces = cores()
    print(f"{'n':>4}{'q':>4}  {'what':<22}{'bytes':>8}" + "".join(f"{name + ' ms':>12}" for name in faces))
    for n in chosen.sizes:
        bench = Bench(n)
        for case in bench.cases():
            ms = measured(bench, case, faces, chosen.rounds)
            print(
                f"{n:>4}{bench.committee.q:>4}  {case.what:<22}{len(case.proof):>8,}"
                + "".join(f"{ms[name]:>12.2f}" for name in faces)
            )


if __name__ == "__main__":
    main()
