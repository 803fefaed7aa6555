"""One signature that one core accepts and the other one does not splits a network (rule SP)."""

from __future__ import annotations

import collections
import os
import random
from typing import Any

import pytest

from core import ed25519_reference as reference
from core.test_crypto import CANONICAL_TORSION, KINDS, NON_CANONICAL_TORSION, flip, vector
from syncpoint.backend import load_core
from syncpoint.core.crypto import Signer

VECTORS = int(os.environ.get("SYNCPOINT_VECTORS", "20000"))


def disagreements(seed: int, one: Any, two: Any, count: int) -> tuple[list[str], collections.Counter[str]]:
    """Signatures that two cores judge differently, of so many; and what was accepted, by kind."""
    rng = random.Random(f"signatures/{seed}")
    keys = [(reference.secret_scalar(each), Signer(each)) for each in map(rng.randbytes, [32] * 16)]
    odd, accepted = [], collections.Counter[str]()
    for _ in range(count):
        scalar, signer = rng.choice(keys)
        kind, message, signature = vector(rng, scalar, signer)
        public = signer.public
        said = one.verify(public, message, signature)
        if two.verify(public, message, signature) is not said:
            odd.append(f"{kind}: {public.hex()} {message.hex()} {signature.hex()}")
        accepted[kind] += said
    return odd, accepted


@pytest.mark.native
def test_signatures_are_judged_alike(seed: int) -> None:
    odd, accepted = disagreements(seed, load_core("python"), load_core("native"), VECTORS)
    assert not odd, odd[:5]
    assert {kind for kind in KINDS if accepted[kind]} == {"honest", "own nonce"}


@pytest.mark.native
def test_keys_are_admitted_alike(seed: int) -> None:
    one: Any = load_core("python")
    two: Any = load_core("native")
    rng = random.Random(f"keys/{seed}")
    admitted = refused = 0
    for number in range(max(400, VECTORS // 10)):
        public = Signer(rng.randbytes(32)).public
        match number % 6:
            case 1:
                public = rng.randbytes(32)
            case 2:
                public = flip(public, rng.randrange(256))
            case 3:
                public = rng.choice((*CANONICAL_TORSION, *NON_CANONICAL_TORSION))
            case 4:
                point = reference.decode(public)
                assert point is not None
                public = reference.encode(reference.add(point, rng.choice(reference.TORSION)))
            case 5:
                public = (public * 2)[: rng.choice((0, 31, 32, 33, 64))]
        said = one.admit(public)
        assert two.admit(public) is said, public.hex()
        admitted += said
        refused += not said
    assert min(admitted, refused) > 50


@pytest.mark.native
def test_both_sign_alike(seed: int) -> None:
    one: Any = load_core("python")
    two: Any = load_core("native")
    rng = random.Random(f"signing/{seed}")
    for _ in range(500):
        secret, message = rng.randbytes(32), rng.randbytes(rng.choice((0, 1, 50, 200)))
        assert one.derive(secret) == two.derive(secret)
        assert one.sign(secret, message) == two.sign(secret, message)
        assert one.peer_record(secret) == two.peer_record(secret)
        record = flip(one.peer_record(secret), rng.randrange(96 * 8)) if rng.random() < 0.5 else one.peer_record(secret)
        assert one.check_peer_record(record) == two.check_peer_record(record)


def test_a_core_that_takes_the_identity_as_r_is_noticed() -> None:
    class Lax:
        def verify(self, public: bytes, message: bytes, signature: bytes) -> bool:
            if signature[:32] == reference.IDENTITY_BYTES:
                return True
            plain: Any = load_core("python")
            return bool(plain.verify(public, message, signature))

    odd, _ = disagreements(1, load_core("python"), Lax(), 300)
    assert odd
    assert all(line.startswith(("identity R", "small R")) for line in odd)
