"""Hashes, keys, signatures and Merkle trees: rule SP.

Two cores that disagree about one signature split the network, so this module accepts exactly what
rule SP accepts: a key is admitted once, by `admit`, and a signature is checked by `verify`, which
means something only for an admitted key. There is no batch verification, no cofactored equation and
no prehashing. What is signed starts with a domain, so that no signature counts in two places.

`simulated_signature` stands in for all of that in simulations; no setting leads to it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NoReturn

from nacl.bindings import (
    crypto_core_ed25519_is_valid_point,
    crypto_scalarmult_ed25519_noclamp,
    crypto_sign,
    crypto_sign_open,
    crypto_sign_seed_keypair,
)
from nacl.exceptions import BadSignatureError, CryptoError

from syncpoint.errors import ArgumentError, ArgumentTypeError

HASH_BACKEND: str
"""Which BLAKE3 is in use: "blake3", the package, or "python", our own plain-Python one."""

try:
    from blake3 import blake3 as _package_blake3
except ImportError:
    from syncpoint.core import _blake3

    HASH_BACKEND = "python"

    def _digest(data: bytes) -> bytes:
        return _blake3.blake3(data)
else:
    HASH_BACKEND = "blake3"

    def _digest(data: bytes) -> bytes:
        return _package_blake3(data).digest()


__all__ = [
    "DOMAIN_EVENT",
    "DOMAIN_PEER",
    "DOMAIN_SIMULATED",
    "HASH_BACKEND",
    "HASH_BYTES",
    "PEER_RECORD_BYTES",
    "PUBLIC_BYTES",
    "SEED_BYTES",
    "SIGNATURE_BYTES",
    "Signer",
    "admit",
    "blake3",
    "check_peer_record",
    "derive",
    "merkle_check",
    "merkle_path",
    "merkle_root",
    "peer_record",
    "simulated_signature",
    "verify",
]

HASH_BYTES = 32
SEED_BYTES = 32
PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64
PEER_RECORD_BYTES = PUBLIC_BYTES + SIGNATURE_BYTES

DOMAIN_EVENT = b"syncpoint/event/v1"
DOMAIN_PEER = b"syncpoint/peer/v1"
DOMAIN_SIMULATED = b"syncpoint/simulated/v1"

_ORDER = 2**252 + 27742317777372353535851937790883648493  # L, the order of the base point
_ORDER_BIG_ENDIAN = _ORDER.to_bytes(32, "big")
_MINUS_ONE = (_ORDER - 1).to_bytes(32, "little")
_IDENTITY = b"\x01" + bytes(31)

_RECORDS = 256  # peer records whose outcome is kept

_LEAF = b"\x00"
_NODE = b"\x01"
_EMPTY_ROOT = bytes(HASH_BYTES)


def blake3(data: bytes) -> bytes:
    """Return the 32-byte BLAKE3 hash of `data`.

    >>> blake3(b"").hex()[:16]
    'af1349b9f5f9a1a6'
    """
    return _digest(data)


def derive(seed: bytes) -> bytes:
    """Return the 32-byte public key of a 32-byte Ed25519 seed.

    Raises ArgumentError for a seed of another length.
    """
    return _key_pair(seed)[0]


class Signer:
    """Signs with one key: the pair is computed once from the seed, never handed in in halves.

    `seed` is 32 bytes; another length raises ArgumentError. `signatures` is one of `config.SIGNATURES`.
    The secret is never shown by `repr` and never pickled.
    """

    __slots__ = ("_pair", "_simulated", "public")

    public: bytes
    """The public key, 32 bytes."""

    def __init__(self, seed: bytes, signatures: str = "ed25519") -> None:
        self.public, self._pair = _key_pair(seed)
        self._simulated = signatures == "simulated"

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of `message`, which starts with its domain."""
        if self._simulated:
            return simulated_signature(self.public, message)
        return crypto_sign(message, self._pair)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"Signer(public={self.public.hex()})"

    def __reduce__(self) -> NoReturn:
        raise ArgumentTypeError(
            "a Signer holds a secret and cannot be pickled or copied; make a new one from the seed where it is needed"
        )


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether `signature` is one of `message` by `public`, under rule SP item 2.

    `public` is an admitted key (`admit`); for any other the answer has no meaning. Wrong lengths
    are False; no bytes make it raise.
    """
    if len(signature) != SIGNATURE_BYTES or len(public) != PUBLIC_BYTES:
        return False
    # S, the second half, read backwards is big-endian, so comparing bytes compares numbers.
    if signature[:31:-1] >= _ORDER_BIG_ENDIAN or signature[:32] == _IDENTITY:
        return False
    try:
        crypto_sign_open(signature + message, public)
    except BadSignatureError:
        return False
    return True


def simulated_signature(public: bytes, message: bytes) -> bytes:
    """Return the 64 bytes that stand for a signature of `message` by `public` in a simulation.

    Two hashes that anyone can compute: they prove nothing, and are for tests on virtual time only. A public
    key of another length than 32 bytes raises ArgumentError.
    """
    if len(public) != PUBLIC_BYTES:
        raise ArgumentError(f"public has {len(public)} bytes: give {PUBLIC_BYTES}")
    signed = public + message
    return _digest(DOMAIN_SIMULATED + b"\x00" + signed) + _digest(DOMAIN_SIMULATED + b"\x01" + signed)


def admit(public: bytes) -> bool:
    """Tell whether `public` may be a peer's key: the point checks of rule SP item 1.

    True for 32 bytes that are the one canonical encoding of a point of the prime-order group other
    than the identity. The proof of possession, the rest of the item, is `check_peer_record`'s.
    """
    if len(public) != PUBLIC_BYTES or not crypto_core_ed25519_is_valid_point(public):
        return False
    return _is_torsion_free(public)


def peer_record(signer: Signer) -> bytes:
    """Return the 96-byte record by which a key proves that someone holds it.

    The 32-byte public key, then its 64-byte signature over `DOMAIN_PEER` and itself (rule SP item 1).
    """
    return signer.public + signer.sign(DOMAIN_PEER + signer.public)


def check_peer_record(record: bytes) -> bytes | None:
    """Return the public key of a peer record, or None if the record does not hold.

    It holds if it has 96 bytes, the key is admitted and the key signed it (rule SP item 1).
    """
    return _holder(bytes(record)) if len(record) == PEER_RECORD_BYTES else None


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Return the 32-byte root of the binary Merkle tree over `leaves` (rule E3).

    The tree has the shape of RFC 6962: the left part is the largest power of two below the count.
    Leaves and nodes are hashed with different prefixes. No leaves give 32 zero bytes.
    """
    if not leaves:
        return _EMPTY_ROOT
    level = [_digest(_LEAF + leaf) for leaf in leaves]
    while len(level) > 1:
        level = _level_above(level)
    return level[0]


def merkle_path(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the hashes that lead from leaf `index` to the root, lowest first.

    `index` runs from 0 to len(leaves) - 1; anything else raises ArgumentError. The path of a
    single leaf is empty; with n leaves it has at most ceil(log2(n)) hashes.
    """
    if not 0 <= index < len(leaves):
        raise ArgumentError(
            f"index {index} is no leaf of a tree of {len(leaves)}; give one of 0 to {len(leaves) - 1}"
            if leaves
            else f"index {index} is no leaf of an empty tree; give at least one leaf"
        )
    path: list[bytes] = []
    level = [_digest(_LEAF + leaf) for leaf in leaves]
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level = _level_above(level)
        index >>= 1
    return tuple(path)


def merkle_check(root: bytes, leaf: bytes, index: int, count: int, path: Sequence[bytes]) -> bool:
    """Tell whether `path` proves that `leaf` is number `index` of the `count` leaves under `root`.

    Never raises, whatever a peer sent: a wrong index, count, length or hash is False.
    """
    if not 0 <= index < count:
        return False
    steps = iter(path)
    node = _digest(_LEAF + leaf)
    while count > 1:
        if index ^ 1 < count:  # otherwise the node is the odd one at the end and moves up unchanged
            sibling = next(steps, None)
            if sibling is None or len(sibling) != HASH_BYTES:
                return False
            node = _digest(_NODE + sibling + node if index & 1 else _NODE + node + sibling)
        index >>= 1
        count = (count + 1) >> 1
    return next(steps, None) is None and node == root


def _key_pair(seed: bytes) -> tuple[bytes, bytes]:
    if len(seed) != SEED_BYTES:
        raise ArgumentError(
            f"the seed has {len(seed)} bytes; an Ed25519 seed has exactly {SEED_BYTES}: "
            "give 32 random bytes, for instance those of KeySecret.generate()"
        )
    return crypto_sign_seed_keypair(seed)


def _is_torsion_free(public: bytes) -> bool:
    """Tell whether [L]A is the identity, asked as [L-1]A = -A.

    libsodium before 2026 looked only at one coordinate of [L]A and took A + (0, -1) for a point of
    the main subgroup (CVE-2025-69277), so its point check alone is not enough.
    """
    try:
        negated = crypto_scalarmult_ed25519_noclamp(_MINUS_ONE, public)
    except CryptoError:
        return False  # the fixed libsodium finds it out by itself
    # The negative of a point has the same y and the other sign bit.
    return negated == public[:31] + bytes([public[31] ^ 0x80])


def _level_above(level: list[bytes]) -> list[bytes]:
    above = [_digest(_NODE + left + right) for left, right in zip(level[::2], level[1::2], strict=False)]
    if len(level) & 1:
        above.append(level[-1])
    return above


@functools.lru_cache(maxsize=_RECORDS)  # one record is shown by proposals, sync points and starts, again and again
def _holder(record: bytes) -> bytes | None:
    public, signature = record[:PUBLIC_BYTES], record[PUBLIC_BYTES:]
    if admit(public) and verify(public, DOMAIN_PEER + public, signature):
        return public
    return None
