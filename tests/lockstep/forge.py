"""Events that somebody really signed, with whatever in them a liar might think of."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from core.virtual import MS, seeds
from syncpoint.core import wire
from syncpoint.core.config import SIGNATURES
from syncpoint.core.crypto import DOMAIN_EVENT, Signer
from syncpoint.core.items import (
    CheckpointVote,
    Proposal,
    Vote,
    checkpoint_message,
    encode_checkpoint_vote,
    encode_proposal,
    encode_vote,
)
from syncpoint.core.replica import PULL_GAP
from syncpoint.core.values import Event, Item, ItemType, Parent, SyncPointKind

from .mutate import FIELDS, number

LIES = (
    "none", "none", "none", "none", "none", "none", "fork", "fork", "fork", "time", "no self-parent", "few", "order",
    "twice", "reference", "reference", "ghost", "ghost", "deep", "signature", "another's", "field", "payload",
    "evidence", "items", "network", "network", "network",
)  # fmt: skip


KINDS = (1, 5, 5, 6, 7, 7, 7, 7, 7, 7, 7, 0, 2, 3, 4, 9, 255)  # of proposals; the end of all is asked for elsewhere
STATES = (bytes(32), b"\x01" * 32, b"\x02" * 32)  # hashes of applications


def some_proposal(rng: random.Random, now: int, kind: int | None = None) -> Proposal:
    """What somebody may ask for; of few salts, so that some are alike."""
    after = rng.choice((-1, 0, MS, 50 * MS, 300 * MS, 5_000 * MS, 5_000 * MS, 3_000_000 * MS, 9_000_000 * MS))
    deadline = rng.choice((max(0, now + after),) * 9 + (2**64 - 1,))
    metadata = bytes(rng.choice((0, 0, 5, 100, 8192)))
    return Proposal(rng.choice(KINDS) if kind is None else kind, deadline, rng.randrange(4), metadata)


class Forger:
    """Signs for all creators; what it made is kept, so that it can build on it, show it late, or be asked for it."""

    def __init__(self, n: int, rng: random.Random, signatures: str = "ed25519") -> None:
        self.n = n
        self.rng = rng
        self.signers = [Signer(seed, signatures) for seed in seeds(n)]
        self.others = [Signer(seed, scheme) for seed in seeds(n) for scheme in SIGNATURES if scheme != signatures]
        self.made: dict[tuple[int, int], list[Event]] = {}  # (round, creator) -> variants
        self.by_digest: dict[bytes, Event] = {}
        self.proposals: list[bytes] = []  # ids of those that some machine has seen

    def event(self, machine: Any, creator: int, now: int, lie: str | None = None, round: int | None = None) -> bytes:
        """An EVENT frame of a creator, as it could come next, or with a lie; `machine` is whose graph it builds on."""
        rng, lie = self.rng, lie or self.rng.choice(LIES)
        if not round:
            round = self._round(machine, creator, lie)
        parents = self._parents(machine, creator, round, lie)
        own = next((parent for parent in parents if parent.creator == creator), None)
        at = self._time(own, now, lie)
        references = sorted(Parent(parent.creator, parent.round, parent.digest) for parent in parents)
        references = self._references(references, machine, creator, round, lie)
        items = self._items(machine, creator, now, lie)
        transactions = self._transactions(machine.config.network.max_payload_bytes)
        header = wire.encode_header(
            machine.committee.epoch_id,
            creator,
            round,
            at,
            rng.getrandbits(64),
            references,
            items,
            transactions,
        )
        if lie == "field":
            start, width = rng.choice(tuple(FIELDS.values()))
            header = header[: start - 1] + number(rng, width) + header[start - 1 + width :]
        digest = wire.event_digest(header)
        signer = self.signers[rng.randrange(self.n) if lie == "another's" else creator]
        signature = signer.sign(DOMAIN_EVENT + digest)
        if lie == "signature":
            place, bit = rng.randrange(64), rng.randrange(8)
            if place < 16:  # under the other scheme
                signature = self.others[creator].sign(DOMAIN_EVENT + digest)
            else:
                signature = signature[:place] + bytes((signature[place] ^ 1 << bit,)) + signature[place + 1 :]
        if lie == "payload" and transactions:
            transactions = _another_payload(rng, transactions)
        event = Event(creator, round, at, tuple(references), tuple(items), transactions, header, digest, signature)
        if lie not in ("field", "signature", "another's", "payload"):
            self.made.setdefault((round, creator), []).append(event)
            self.by_digest[digest] = event
        return wire.encode_event(event)

    # -- the parts of an event ------------------------------------------------------------------------

    def _round(self, machine: Any, creator: int, lie: str) -> int:
        dag, depth = machine.replica.dag, machine.config.network.gc_depth
        last = max((round for round, by in self.made if by == creator and round <= dag.top + 1), default=0)
        last = max(last, dag.frontier[creator])
        if lie == "fork":
            return max(1, self.rng.choice((last, last, last - 1, dag.top, dag.top - 1)))
        if lie != "reference" and self.rng.random() < 0.15:
            ahead = dag.top + machine.config.network.max_ahead
            wild = (1, dag.floor, dag.floor + depth, dag.floor + depth + 1, dag.top + PULL_GAP, dag.top + PULL_GAP + 1)
            wild += (ahead - 1, ahead, ahead + 1, 2**62)
            return max(1, self.rng.choice(wild))
        return max(1, self.rng.choice((last + 1, last + 1, last + 1, dag.top, dag.top + 1)))

    def _parents(self, machine: Any, creator: int, round: int, lie: str) -> list[Event]:
        """One event per creator, most of the round before, of those that some machine or we ourselves have."""
        if round == 1:
            return []
        rng, dag = self.rng, machine.replica.dag
        chosen = []
        row = dag.row(round - 1)
        for by in range(self.n):
            candidates = [node.event for node in row.variants[by]]
            if by == creator or lie != "honest":
                candidates += self.made.get((round - 1, by), ())
            if by == creator and lie == "no self-parent":
                continue
            if not candidates or (by != creator and lie != "honest" and rng.random() < 0.05):
                candidates = self._older(dag, by, round, machine.config.network.gc_depth)
            if candidates:
                chosen.append(rng.choice(candidates))
        if lie == "few":
            rng.shuffle(chosen)
            del chosen[machine.committee.q - 1 :]
        return chosen

    def _older(self, dag: Any, by: int, round: int, depth: int) -> list[Event]:
        for below in range(round - 2, max(0, round - depth - 2), -1):
            candidates = [node.event for node in dag.row(below).variants[by]]
            if candidates and self.rng.random() < 0.7:
                return candidates
        return []

    def _time(self, own: Event | None, now: int, lie: str) -> int:
        if lie == "time":
            before = own.created_at if own is not None else now
            return self.rng.choice((before, before, max(0, before - 1), 0, 2**62, 2**62 + 1, 2**64 - 1))
        at = max(0, now + self.rng.choice((0, 0, 0, -(10**9), 10**12, 5 * MS)))
        return at if own is None else max(at, min(own.created_at + 1, 2**62))

    def _references(self, references: list[Parent], machine: Any, creator: int, round: int, lie: str) -> list[Parent]:
        rng = self.rng
        if lie == "order" and len(references) > 1:
            at = rng.randrange(len(references) - 1)
            references[at], references[at + 1] = references[at + 1], references[at]
        elif lie == "twice" and references:
            references.insert(0, references[0])
        elif lie == "reference" and len(references) > 1 and rng.random() < 0.7:  # each is said to be the other
            at, other = rng.sample(range(len(references)), 2)
            one, two = references[at], references[other]
            references[at], references[other] = one._replace(digest=two.digest), two._replace(digest=one.digest)
        elif lie in ("reference", "deep") and references:
            at = rng.randrange(len(references))
            by, below, digest = references[at]
            depth = machine.config.network.gc_depth
            if lie == "deep":
                below = rng.choice((0, round, round + 1, round - depth, round - depth - 1, 2**63))
            elif rng.random() < 0.5:
                by = rng.choice((by + 1, self.n, 2**16 - 1))
            else:
                below = rng.choice((below - 1, below - 2, below))
            references[at] = Parent(by, max(0, below), digest)
        elif lie == "ghost":
            known = {reference.creator: reference for reference in references}
            for by in range(self.n):
                if rng.random() < 0.4 or by not in known:
                    known[by] = Parent(by, max(round - 1, 1), rng.randbytes(32))
            references = sorted(known.values()) if round > 1 else []
        return references

    def _items(self, machine: Any, creator: int, now: int, lie: str) -> list[Item]:
        rng = self.rng
        if lie == "items":
            count = rng.choice((1, 3, 64, 65))
            return [Item(rng.choice((0, 1, 3, 4, 999)), rng.randbytes(rng.choice((0, 1, 40)))) for _ in range(count)]
        if lie == "network":
            makers = (self._proposal, self._vote, self._vote, self._checkpoint, self._checkpoint)
            return [rng.choice(makers)(machine, creator, now) for _ in range(rng.choice((1, 2, 4, 20)))]
        if lie == "contradiction":
            return [self._checkpoint(machine, creator, now, "another hash")]
        if lie != "evidence":
            return []
        forked = [variants for variants in self.made.values() if len(variants) > 1]
        if not forked:
            return [Item(ItemType.EVIDENCE, rng.randbytes(200))]
        return [self._evidence(forked) for _ in range(rng.choice((1, 2, 5, 6)))]

    def _proposal(self, _machine: Any, _creator: int, now: int) -> Item:
        rng = self.rng
        body = encode_proposal(some_proposal(rng, now, rng.choice((None,) * 20 + (SyncPointKind.END,))))
        body = rng.choice((body,) * 4 + (body[: rng.randrange(17)], body + bytes(rng.choice((1, 8193)))))
        return Item(ItemType.PROPOSE, body)

    def _vote(self, _machine: Any, _creator: int, _now: int) -> Item:
        rng = self.rng
        body = encode_vote(Vote(self.some_id(), rng.random() < 0.5))
        return Item(ItemType.VOTE, rng.choice((body,) * 4 + (body[:-1], body + b"\1", body[:-1] + b"\2")))

    def _checkpoint(self, machine: Any, creator: int, _now: int, lie: str = "") -> Item:
        """A vote for a checkpoint of a machine: as it is, contradicting it, signed badly, or no vote at all."""
        rng = self.rng
        known = [(rng.randrange(50), bytes(32)), *machine.replica.checkpoints._ours.items()]
        index, order_hash = known[-1] if lie else rng.choice(known[-4:])
        state_hash = STATES[0] if lie else rng.choice(STATES)
        kinds = ("right", "right", "right", "another hash", "another index", "signature", "cut", "longer")
        lie = lie or rng.choice(kinds)
        if lie == "another hash":
            order_hash = rng.choice((bytes(32), b"\xff" * 32))
        elif lie == "another index":
            index = rng.choice((index + 1, 2**64 - 1))
        message = checkpoint_message(machine.committee.epoch_id, index, order_hash, state_hash)
        signature = self.signers[rng.randrange(self.n) if lie == "signature" else creator].sign(message)
        body = encode_checkpoint_vote(CheckpointVote(index, order_hash, state_hash, signature))
        body = {"cut": body[: rng.randrange(136)], "longer": body + b"\0"}.get(lie, body)
        return Item(ItemType.CHECKPOINT_VOTE, body)

    def some_id(self) -> bytes:
        """The id of a proposal, mostly of one that there is."""
        known = self.proposals[-6:] if self.rng.random() < 0.9 else []
        return self.rng.choice(known) if known else self.rng.randbytes(32)

    def _evidence(self, forked: Sequence[list[Event]]) -> Item:
        """A proof, or what looks like one."""
        rng = self.rng
        one, two = rng.sample(rng.choice(forked), 2)
        proof = wire.encode_evidence(one, two)
        match rng.choice(("right", "right", "right", "flip", "same", "turned", "cut", "another slot")):
            case "flip":
                at = rng.randrange(len(proof))
                proof = proof[:at] + bytes((proof[at] ^ 1 << rng.randrange(8),)) + proof[at + 1 :]
            case "same":
                proof = wire.encode_evidence(one, one)
            case "turned":
                half = 4 + len(min(one, two, key=lambda event: event.digest).header) + 64
                proof = proof[half:] + proof[:half]
            case "cut":
                proof = proof[: rng.randrange(len(proof))]
            case "another slot":
                proof = wire.encode_evidence(one, rng.choice(rng.choice(forked)))
        return Item(rng.choice((ItemType.EVIDENCE, ItemType.EVIDENCE, ItemType.VOTE)), proof)

    def _transactions(self, room: int) -> tuple[bytes, ...]:
        rng = self.rng
        match rng.choice(("none", "none", "one", "one", "some", "empty", "full", "over")):
            case "one":
                return (b"lie %d" % rng.getrandbits(64),)
            case "some":
                return tuple(rng.randbytes(rng.randrange(20)) for _ in range(rng.randrange(5)))
            case "empty":
                return (b"",) * rng.choice((1, 2, 7))
            case "full" if room <= 5000:
                return (bytes(room - 4),)
            case "over" if room <= 5000:
                return (bytes(room - 3),)
            case _:
                return ()


def _another_payload(rng: random.Random, transactions: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """As long as these, and not these."""
    joined = b"".join(transactions)
    if not joined:
        return (*transactions[:-1], b"x")
    at = rng.randrange(len(joined))
    joined = joined[:at] + bytes((joined[at] ^ 1,)) + joined[at + 1 :]
    out, start = [], 0
    for transaction in transactions:
        out.append(joined[start : start + len(transaction)])
        start += len(transaction)
    if len(out) > 1 and out[0] and rng.random() < 0.5:  # the same bytes, divided otherwise
        out[0], out[1] = out[0][:-1], out[0][-1:] + out[1]
    return tuple(out)
