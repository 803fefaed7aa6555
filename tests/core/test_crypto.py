"""Hashes, Merkle trees, keys and signatures; rules SP 1 to SP 3 and E3."""

from __future__ import annotations

import copy
import importlib.util
import inspect
import os
import pickle
import random
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import blake3 as blake3_package
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from syncpoint.core import _blake3, crypto
from syncpoint.errors import ArgumentError, ArgumentTypeError

from . import ed25519_reference as reference

pytestmark = pytest.mark.usefixtures("functions")

VECTORS = int(os.environ.get("SYNCPOINT_VECTORS", "3000"))
P, L = reference.P, reference.L


# Hashes

# From the official test vectors: the first 32 bytes for the input 0, 1, ..., 250, 0, 1, ...
OFFICIAL = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    1023: "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    1025: "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
    2048: "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a",
    2049: "5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030",
    8192: "aae792484c8efe4f19e2ca7d371d8c467ffb10748d8a5a1ae579948f718a2a63",
    31744: "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47",
}
OFFICIAL_LONG_1 = (  # all 131 bytes of the official output for the input 00
    "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213c3a6cb8bf623e20cdb535f8d1a5ffb86"
    "342d9c0b64aca3bce1d31f60adfa137b358ad4d79f97b47c3d5e79f179df87a3b9776ef8325f8329886ba42f07fb138b"
    "b502f4081cbcec3195c5871e6c23e2cc97d3c69a613eba131e5f1351f3f1da786545e5"
)
LENGTHS = [0, 1, 63, 64, 65, 127, 128, 1023, 1024, 1025, 2048, 2049, 3072, 3073, 4096, 5121, 8192, 31744]


def pattern(length: int) -> bytes:
    return bytes(i % 251 for i in range(length))


@pytest.mark.parametrize("length", OFFICIAL)
def test_both_backends_give_the_official_hashes(length: int) -> None:
    assert _blake3.blake3(pattern(length)).hex() == OFFICIAL[length]
    assert crypto.blake3(pattern(length)).hex() == OFFICIAL[length]


@pytest.mark.parametrize("length", LENGTHS)
def test_plain_python_equals_the_package(length: int) -> None:
    data = pattern(length)
    assert _blake3.blake3(data) == blake3_package.blake3(data).digest()


def test_plain_python_equals_the_package_on_random_lengths() -> None:
    rng = random.Random(3)
    for _ in range(20):
        data = rng.randbytes(rng.randrange(6000))
        assert _blake3.blake3(data) == blake3_package.blake3(data).digest()


@pytest.mark.parametrize("length", [0, 1, 32, 63, 64, 65, 131, 200])
def test_longer_output(length: int) -> None:
    data = pattern(1500)
    assert _blake3.blake3(data, length) == blake3_package.blake3(data).digest(length=length)


def test_longer_output_is_the_official_one() -> None:
    assert _blake3.blake3(b"\0", 131).hex() == OFFICIAL_LONG_1


def crypto_without_the_package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(sys.modules, "blake3", None)  # importing it now fails
    spec = importlib.util.spec_from_file_location("crypto_again", Path(crypto.__file__))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_backends_tell_their_name_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    assert crypto.HASH_BACKEND == "blake3"
    other = crypto_without_the_package(monkeypatch)
    assert other.HASH_BACKEND == "python"
    assert other._digest is not crypto._digest
    leaves = [pattern(n) for n in range(7)]
    assert other.blake3(b"abc") == crypto.blake3(b"abc")
    assert other.merkle_root(leaves) == crypto.merkle_root(leaves)


# Merkle trees (E3)


def recursive_root(leaves: list[bytes]) -> bytes:
    """The definition of RFC 6962, word by word."""
    if not leaves:
        return bytes(32)
    if len(leaves) == 1:
        return crypto.blake3(b"\0" + leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return crypto.blake3(b"\1" + recursive_root(leaves[:split]) + recursive_root(leaves[split:]))


@pytest.mark.parametrize("count", [*range(34), 63, 64, 65, 100, 129])
def test_merkle_root_has_the_shape_of_rfc_6962(count: int) -> None:
    leaves = [b"transaction %d" % i for i in range(count)]
    assert crypto.merkle_root(leaves) == recursive_root(leaves)
    assert crypto.merkle_root(tuple(leaves)) == crypto.merkle_root(leaves)


def test_merkle_root_tells_trees_apart() -> None:
    inner = crypto.blake3(b"\0a") + crypto.blake3(b"\0b")
    roots = [
        crypto.merkle_root(leaves)
        for leaves in (
            [],
            [b""],
            [b"", b""],
            [b"a", b"b"],
            [b"b", b"a"],
            [b"a", b"b", b"b"],
            [inner],
            [b"ab"],
        )
    ]
    assert len(set(roots)) == len(roots)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 33])
def test_merkle_paths_prove_every_leaf_and_nothing_else(count: int) -> None:
    leaves = [b"transaction %d" % i for i in range(count)]
    root = crypto.merkle_root(leaves)
    for index, leaf in enumerate(leaves):
        path = crypto.merkle_path(leaves, index)
        assert len(path) <= (count - 1).bit_length()
        assert crypto.merkle_check(root, leaf, index, count, path)
        assert not crypto.merkle_check(root, leaf + b"!", index, count, path)
        assert not crypto.merkle_check(bytes(32), leaf, index, count, path)
        assert not crypto.merkle_check(root, leaf, index, count, (*path, bytes(32)))
        for other in range(count):
            assert crypto.merkle_check(root, leaf, other, count, path) is (other == index)
        for place in range(len(path)):
            shorter = path[:place] + path[place + 1 :]
            changed = (*path[:place], bytes(32), *path[place + 1 :])
            cut = (*path[:place], path[place][:31], *path[place + 1 :])
            for wrong in (shorter, changed, cut):
                assert not crypto.merkle_check(root, leaf, index, count, wrong)


def test_merkle_check_refuses_numbers_out_of_range() -> None:
    leaves = [b"a", b"b", b"c"]
    root, path = crypto.merkle_root(leaves), crypto.merkle_path(leaves, 0)
    assert crypto.merkle_check(root, b"a", 0, 3, path)
    for index, count in [(-1, 3), (3, 3), (0, 0), (0, -1), (0, 1), (0, 2), (0, 2**64), (2**64, 2**65)]:
        assert not crypto.merkle_check(root, b"a", index, count, path)


def test_an_inner_node_is_no_leaf() -> None:
    leaves = [b"a", b"b"]
    inner = crypto.blake3(b"\0a") + crypto.blake3(b"\0b")
    assert not crypto.merkle_check(crypto.merkle_root(leaves), inner, 0, 1, ())


@pytest.mark.parametrize(("count", "index"), [(3, 3), (3, -1), (0, 0)])
def test_merkle_path_refuses_other_indices(count: int, index: int) -> None:
    with pytest.raises(ArgumentError) as caught:
        crypto.merkle_path([b"x"] * count, index)
    message = str(caught.value)
    assert f"index {index} is no leaf" in message
    assert ("give one of 0 to 2" if count else "give at least one leaf") in message


# Keys and signers

# RFC 8032, section 7.1, tests 1 and 2.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
]


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_signer_gives_the_results_of_rfc_8032(seed: str, public: str, message: str, signature: str) -> None:
    signer = crypto.Signer(bytes.fromhex(seed))
    assert crypto.derive(bytes.fromhex(seed)).hex() == public
    assert signer.public.hex() == public
    assert reference.public_of(bytes.fromhex(seed)).hex() == public
    assert signer.sign(bytes.fromhex(message)).hex() == signature
    assert crypto.verify(signer.public, bytes.fromhex(message), bytes.fromhex(signature))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_seeds_of_other_lengths_are_refused(length: int) -> None:
    for make in (crypto.derive, crypto.Signer):
        with pytest.raises(ArgumentError, match=f"has {length} bytes.*exactly 32.*give 32 random bytes"):
            make(bytes(length))


def test_signer_keeps_its_secret() -> None:
    seed = bytes(range(32))
    signer = crypto.Signer(seed)
    for text in (repr(signer), str(signer)):
        assert seed.hex() not in text
        assert repr(seed) not in text
        assert signer.public.hex() in text
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(ArgumentTypeError, match="cannot be pickled or copied; make a new one"):
            attempt(signer)


# Admission (SP 1)

CANONICAL_TORSION = [reference.encode(point) for point in reference.TORSION]
SIGN = 1 << 255
NON_CANONICAL_TORSION = [
    number.to_bytes(32, "little") for number in (P, P | SIGN, P + 1, P + 1 | SIGN, 1 | SIGN, P - 1 | SIGN)
]


def test_the_small_order_encodings_are_all_there() -> None:
    assert len(set(CANONICAL_TORSION)) == 8
    assert len(set(NON_CANONICAL_TORSION) - set(CANONICAL_TORSION)) == 6
    for point in reference.TORSION:
        assert reference.equal(reference.multiply(8, point), reference.IDENTITY)
    assert sorted(len(order_of(point)) for point in reference.TORSION) == [1, 2, 4, 4, 8, 8, 8, 8]


def order_of(point: reference.Point) -> list[reference.Point]:
    multiples = [point]
    while not reference.equal(multiples[-1], reference.IDENTITY):
        multiples.append(reference.add(multiples[-1], point))
    return multiples


@pytest.mark.parametrize("public", CANONICAL_TORSION + NON_CANONICAL_TORSION, ids=bytes.hex)
def test_small_order_keys_are_refused(public: bytes) -> None:
    assert not crypto.admit(public)
    assert not reference.admit(public)


def test_every_y_that_is_not_below_p_is_refused() -> None:
    for y in range(P, 2**255):
        for number in (y, y | SIGN):
            assert not crypto.admit(number.to_bytes(32, "little"))


@pytest.mark.parametrize("torsion", range(1, 8))
def test_mixed_order_keys_are_refused(torsion: int) -> None:
    """Of these, libsodium before 2026 admits the one with the point of order two (torsion 4)."""
    for seed in (bytes(32), b"x" * 32):
        honest = reference.decode(crypto.derive(seed))
        assert honest is not None
        mixed = reference.encode(reference.add(honest, reference.TORSION[torsion]))
        assert not crypto.admit(mixed)
        assert not reference.admit(mixed)


@pytest.mark.parametrize("torsion", range(1, 8))
def test_mixed_order_keys_are_refused_even_where_libsodium_admits_them(
    torsion: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = reference.decode(crypto.derive(bytes(32)))
    assert honest is not None
    mixed = reference.add(honest, reference.TORSION[torsion])
    product = reference.encode(reference.multiply(L - 1, mixed))
    monkeypatch.setattr(crypto, "crypto_core_ed25519_is_valid_point", lambda point: True)
    # As the older scalar multiplication, which does not look at the point, computes it.
    monkeypatch.setattr(crypto, "crypto_scalarmult_ed25519_noclamp", lambda scalar, point: product)
    assert not crypto.admit(reference.encode(mixed))


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_keys_of_other_lengths_are_refused(length: int) -> None:
    public = crypto.derive(bytes(32))
    assert crypto.admit(public)
    assert not crypto.admit((public * 2)[:length])


def test_admission_agrees_with_the_reference() -> None:
    rng = random.Random(1)
    admitted = refused = 0
    for number in range(max(60, VECTORS // 15)):
        public = crypto.derive(rng.randbytes(32)) if number % 3 else rng.randbytes(32)
        if number % 3 == 2:
            public = flip(public, rng.randrange(256))
        opinion = reference.admit(public)
        assert crypto.admit(public) is opinion, public.hex()
        admitted += opinion
        refused += not opinion
    assert admitted >= 20
    assert refused >= 20


# Signatures (SP 2)


def flip(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data, "little") ^ 1 << bit).to_bytes(len(data), "little")


def openssl_opinion(public: bytes, message: bytes, signature: bytes) -> bool:
    """Rule SP item 2 over OpenSSL."""
    if len(signature) != 64 or int.from_bytes(signature[32:], "little") >= L:
        return False
    if signature[:32] == reference.IDENTITY_BYTES:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def raw_openssl(public: bytes, message: bytes, signature: bytes) -> bool:
    """OpenSSL without the rule."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


SEED = b"syncpoint test seed, 32 bytes ok"
SCALAR = reference.secret_scalar(SEED)
PUBLIC = crypto.derive(SEED)
MESSAGE = crypto.DOMAIN_EVENT + b"message"
HONEST = crypto.Signer(SEED).sign(MESSAGE)


def opinions(public: bytes, message: bytes, signature: bytes) -> set[bool]:
    return {
        crypto.verify(public, message, signature),
        openssl_opinion(public, message, signature),
        reference.verify(public, message, signature),
    }


def test_an_honest_signature_is_accepted() -> None:
    assert opinions(PUBLIC, MESSAGE, HONEST) == {True}
    assert opinions(PUBLIC, MESSAGE, reference.sign_with(SCALAR, PUBLIC, MESSAGE, nonce=12345)) == {True}


@pytest.mark.parametrize("times", [1, 2, 7, 14])
def test_s_plus_a_multiple_of_l_is_refused(times: int) -> None:
    s = int.from_bytes(HONEST[32:], "little") + times * L
    assert s < 2**256
    assert opinions(PUBLIC, MESSAGE, HONEST[:32] + s.to_bytes(32, "little")) == {False}


def test_the_rule_holds_whatever_libsodium_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Older and newer libsodium refuse some of this by themselves; rule SP does not lean on it."""
    monkeypatch.setattr(crypto, "crypto_sign_open", lambda signed, public: signed[64:])
    verify = inspect.unwrap(crypto.verify)  # of the Python core alone: the other one has no libsodium
    r = HONEST[:32]
    for s, accepted in [(0, True), (L - 1, True), (L, False), (L + 1, False), (2**256 - 1, False)]:
        assert verify(PUBLIC, MESSAGE, r + s.to_bytes(32, "little")) is accepted
    assert not verify(PUBLIC, MESSAGE, reference.IDENTITY_BYTES + HONEST[32:])


def test_a_small_s_is_accepted() -> None:
    """S is compared as a number, from its last byte on."""
    signatures = (reference.sign_with(SCALAR, PUBLIC, MESSAGE, nonce) for nonce in range(1, 5000))
    assert opinions(PUBLIC, MESSAGE, next(each for each in signatures if each[63] == 0)) == {True}


def test_the_identity_as_r_is_refused_although_the_equation_holds() -> None:
    signature = reference.sign_with(SCALAR, PUBLIC, MESSAGE, nonce=0)
    assert signature[:32] == reference.IDENTITY_BYTES
    assert raw_openssl(PUBLIC, MESSAGE, signature)  # a real trap: libraries differ here
    assert opinions(PUBLIC, MESSAGE, signature) == {False}


@pytest.mark.parametrize("r", CANONICAL_TORSION + NON_CANONICAL_TORSION, ids=bytes.hex)
def test_small_order_and_non_canonical_r_are_refused(r: bytes) -> None:
    assert opinions(PUBLIC, MESSAGE, reference.sign_with(SCALAR, PUBLIC, MESSAGE, nonce=0, r=r)) == {False}


@pytest.mark.parametrize("torsion", range(1, 8))
def test_r_with_torsion_is_refused_although_the_cofactored_equation_holds(torsion: int) -> None:
    r = reference.add(reference.multiply(777, reference.BASE), reference.TORSION[torsion])
    signature = reference.sign_with(SCALAR, PUBLIC, MESSAGE, nonce=777, r=reference.encode(r))
    assert reference.verify_cofactored(PUBLIC, MESSAGE, signature)  # a real trap
    assert opinions(PUBLIC, MESSAGE, signature) == {False}


def test_every_flipped_bit_is_refused() -> None:
    for bit in range(512):
        assert not crypto.verify(PUBLIC, MESSAGE, flip(HONEST, bit))
    for bit in range(len(MESSAGE) * 8):
        assert not crypto.verify(PUBLIC, flip(MESSAGE, bit), HONEST)
    for bit in range(256):
        assert not crypto.verify(flip(PUBLIC, bit), MESSAGE, HONEST)


@pytest.mark.parametrize("length", [0, 1, 32, 63, 65, 96, 128])
def test_signatures_of_other_lengths_are_refused(length: int) -> None:
    assert opinions(PUBLIC, MESSAGE, (HONEST * 2)[:length]) == {False}


@pytest.mark.parametrize("border", [62, 63, 65, 66])
def test_the_border_between_signature_and_message_does_not_move(border: int) -> None:
    """libsodium sees both in one piece, which here is always an honest one."""
    signer = crypto.Signer(SEED)
    for number in range(60):
        message = b"\0\0message %d" % number
        signed = signer.sign(message) + message
        assert crypto.verify(PUBLIC, signed[64:], signed[:64])
        assert not crypto.verify(PUBLIC, signed[border:], signed[:border])


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_verify_refuses_keys_of_other_lengths(length: int) -> None:
    assert not crypto.verify((PUBLIC * 2)[:length], MESSAGE, HONEST)


def test_a_signature_counts_for_one_key_and_one_domain() -> None:
    other = crypto.Signer(bytes(32))
    assert not crypto.verify(other.public, MESSAGE, HONEST)
    assert not crypto.verify(PUBLIC, crypto.DOMAIN_PEER + b"message", HONEST)


def test_cores_opinion_equals_openssls_and_the_references_on_generated_vectors() -> None:
    rng = random.Random(2)
    keys = [(reference.secret_scalar(seed), crypto.Signer(seed)) for seed in map(rng.randbytes, [32] * 8)]
    accepted: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for _ in range(VECTORS):
        scalar, signer = rng.choice(keys)
        kind, message, signature = vector(rng, scalar, signer)
        opinion = reference.verify(signer.public, message, signature)
        evidence = (kind, signer.public.hex(), message.hex(), signature.hex())
        assert crypto.verify(signer.public, message, signature) is opinion, evidence
        assert openssl_opinion(signer.public, message, signature) is opinion, evidence
        (accepted if opinion else refused)[kind] += 1
    # Each kind is there, and has one verdict only: the generator makes what it says it makes.
    assert set(accepted) == {"honest", "own nonce"}
    assert set(refused) == set(KINDS) - set(accepted)


KINDS = (
    "honest",
    "own nonce",
    "S + nL",
    "torsioned R",
    "small R",
    "non-canonical R",
    "identity R",
    "flipped signature",
    "flipped message",
    "random S",
    "random",
    "wrong length",
)


def vector(rng: random.Random, scalar: int, signer: crypto.Signer) -> tuple[str, bytes, bytes]:
    """One signature to judge: its kind, the message, the signature."""
    kind = rng.choice(KINDS)
    message = rng.randbytes(rng.choice([0, 1, 32, 50, 200]) + (kind == "flipped message"))
    honest = signer.sign(message)
    nonce = rng.randrange(1, L)

    def with_r(r: bytes, nonce: int) -> bytes:
        return reference.sign_with(scalar, signer.public, message, nonce, r)

    match kind:
        case "honest":
            signature = honest
        case "own nonce":
            signature = reference.sign_with(scalar, signer.public, message, nonce)
        case "S + nL":
            s = int.from_bytes(honest[32:], "little") + L * rng.randrange(1, 15)
            signature = honest[:32] + s.to_bytes(32, "little")
        case "torsioned R":
            base = reference.decode(reference.sign_with(scalar, signer.public, message, nonce)[:32])
            assert base is not None
            r = reference.add(base, reference.TORSION[rng.randrange(1, 8)])
            signature = with_r(reference.encode(r), nonce)
        case "small R":
            signature = with_r(rng.choice(CANONICAL_TORSION[1:]), 0)
        case "non-canonical R":
            number = rng.randrange(P, 2**255) | rng.choice([0, SIGN])
            choices = [rng.choice(NON_CANONICAL_TORSION), number.to_bytes(32, "little")]
            signature = with_r(rng.choice(choices), 0)
        case "identity R":
            signature = with_r(reference.IDENTITY_BYTES, 0)
        case "flipped signature":
            signature = flip(honest, rng.randrange(512))
        case "flipped message":
            signature, message = honest, flip(message, rng.randrange(len(message) * 8))
        case "random S":
            signature = honest[:32] + rng.randrange(L).to_bytes(32, "little")
        case "random":
            signature = rng.randbytes(64)
        case _:
            signature = (honest * 2)[: rng.choice([0, 32, 63, 65, 96])]
    return kind, message, signature


# Peer records (SP 1)


def test_a_peer_record_proves_its_key() -> None:
    signer = crypto.Signer(SEED)
    record = crypto.peer_record(signer)
    assert len(record) == crypto.PEER_RECORD_BYTES == 96
    assert record[:32] == signer.public
    assert reference.verify(signer.public, b"syncpoint/peer/v1" + signer.public, record[32:])
    assert crypto.check_peer_record(record) == signer.public


def test_other_peer_records_are_refused() -> None:
    record = crypto.peer_record(crypto.Signer(SEED))
    other = crypto.peer_record(crypto.Signer(bytes(32)))
    assert crypto.check_peer_record(other[:32] + record[32:]) is None  # somebody else's signature
    assert crypto.check_peer_record(PUBLIC + crypto.Signer(SEED).sign(PUBLIC)) is None  # no domain
    for length in (0, 32, 64, 95, 97, 192):
        assert crypto.check_peer_record((record * 2)[:length]) is None
    for bit in range(0, 96 * 8, 5):
        assert crypto.check_peer_record(flip(record, bit)) is None


def test_a_record_of_a_mixed_order_key_is_refused_although_its_signature_holds() -> None:
    honest = reference.decode(PUBLIC)
    assert honest is not None
    mixed = reference.encode(reference.add(honest, reference.TORSION[4]))
    # With h even, h times the point of order two is the identity and the equation holds.
    record = next(
        mixed + signature
        for nonce in range(1, 200)
        for signature in [reference.sign_with(SCALAR, mixed, crypto.DOMAIN_PEER + mixed, nonce)]
        if reference.challenge(signature[:32], mixed, crypto.DOMAIN_PEER + mixed) % 2 == 0
    )
    assert crypto.verify(mixed, crypto.DOMAIN_PEER + mixed, record[32:])  # a real trap
    assert crypto.check_peer_record(record) is None


def test_domains_and_sizes_are_those_of_the_design() -> None:
    assert (crypto.DOMAIN_EVENT, crypto.DOMAIN_PEER) == (b"syncpoint/event/v1", b"syncpoint/peer/v1")
    assert (crypto.HASH_BYTES, crypto.SEED_BYTES, crypto.PUBLIC_BYTES, crypto.SIGNATURE_BYTES) == (
        32,
        32,
        32,
        64,
    )
