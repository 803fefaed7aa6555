"""Both cores say the same of proofs, whatever is wrong with them."""

from __future__ import annotations

import collections
import random
from typing import Any

import pytest

from core.build import Peers
from core.places import Places, addition, removal, rotation
from syncpoint.backend import load_core
from syncpoint.core.change import CHANGING, Change, Configure
from syncpoint.core.config import Member, Network
from syncpoint.core.crypto import Signer
from syncpoint.core.proof import Flaw, Proved
from syncpoint.core.values import SyncPointKind

from .mutate import WILD

PROOFS = 12_000
KINDS = [kind for kind in SyncPointKind if kind not in CHANGING]
COMMITTEES = ((1, 2), (4, 1), (4, 3), (7, 2))  # of the first epoch, and how many epochs


def order_of(peers: Peers, rng: random.Random, epochs: int) -> Places:
    """Events and sync points as they come, a sync point last, over so many epochs."""
    order = Places(peers)
    for number in range(6):
        creator, count = rng.randrange(order.peers.committee.n), rng.randrange(6)
        order.event(creator, [rng.randbytes(rng.randrange(9)) for _ in range(count)])
        order.point(rng.choice(KINDS), rng.choice((None, 0)), 1, rng.randbytes(rng.randrange(20)))
        if number < epochs - 1:
            change_something(order, rng)
    return order


def change_something(order: Places, rng: random.Random) -> None:
    """Begin the next epoch, with other members, keys or settings."""
    old, new = order.peers.signers[-1], Signer(rng.randbytes(32))
    changes: list[Change] = [
        addition(new),
        addition(new, 1),
        rotation(old, new),
        Configure(Network(gc_depth=9 + order.epoch)),
    ]
    if order.peers.committee.n > 1:
        changes.append(removal(old))
    order.change(rng.choice(changes), new)


def proofs_of(order: Places) -> list[bytes]:
    """A proof of each sync point and of each transaction."""
    proofs = []
    for place in order.places:
        transactions = getattr(getattr(place, "event", None), "transactions", (b"",))
        proofs += [order.proof(place.index, position) for position in range(len(transactions))]
    return proofs


def spoiled(rng: random.Random, proof: bytes, others: list[bytes]) -> bytes:
    """The proof with one to three things wrong with it, mostly near its fields."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(rng.choice((45, len(proof), len(proof)))) % max(1, len(proof))
        match rng.randrange(6):
            case 0:
                proof = proof[:at] + bytes((proof[at] ^ 1 << rng.randrange(8),)) + proof[at + 1 :]
            case 1:
                width = rng.choice((1, 2, 4, 8))
                value = (rng.choice(WILD) % 2 ** (8 * width)).to_bytes(width, "little")
                proof = (proof[:at] + value + proof[at + width :])[: len(proof)]
            case 2:
                proof = proof[:at]
            case 3:
                proof += rng.randbytes(rng.choice((1, 8, 40)))
            case 4:
                proof = proof[:at] + rng.choice(others)[at:]
            case 5:
                proof = proof[:at] + proof[at + rng.choice((1, 8, 40)) :]
        proof = proof or b"\x01"
    return proof


def fuzz(seed: int, one: Any, two: Any, count: int) -> collections.Counter[str]:
    """So many spoiled proofs through two faces; what was said of them."""
    said: collections.Counter[str] = collections.Counter()
    for n, epochs in COMMITTEES:
        rng = random.Random(f"proofs/{seed}/{n}/{epochs}")
        peers = Peers(n, f"proofs/{n}")
        members = tuple(Member(signer.public) for signer in peers.signers)
        proofs = proofs_of(order_of(peers, rng, epochs))
        for number in range(count // len(COMMITTEES)):
            proof = rng.choice(proofs)
            if number % 20:
                proof = spoiled(rng, proof, proofs)
            ours, theirs = (face.check_proof(proof, peers.network, members) for face in (one, two))
            assert (type(ours), ours) == (type(theirs), theirs), f"n = {n}, proof {number}: {proof.hex()}"
            assert isinstance(ours, Flaw) or proof in proofs, f"not as it was made: {proof.hex()}"
            said[ours.name if isinstance(ours, Flaw) else "PROVED"] += 1
    return said


@pytest.mark.native
def test_any_proofs_are_judged_alike(seed: int) -> None:
    said = fuzz(seed, load_core("python"), load_core("native"), PROOFS)
    assert said["PROVED"] >= PROOFS // 20
    assert {flaw.name for flaw in Flaw} <= set(said), said


def test_a_core_that_gives_another_reason_is_noticed() -> None:
    class Lax:
        def check_proof(self, *arguments: Any) -> Proved | Flaw:
            result: Proved | Flaw = load_core("python").check_proof(*arguments)  # type: ignore[attr-defined]
            return Flaw.TRUNCATED if result is Flaw.TRAILING else result

    with pytest.raises(AssertionError, match="proof"):
        fuzz(1, load_core("python"), Lax(), 3_000)
