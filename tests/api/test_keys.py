"""Key pairs in all their forms, compared with what OpenSSL writes (rule SP item 1)."""

from __future__ import annotations

import base64
import copy
import os
import pickle
import random
import re
import stat
import traceback
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from syncpoint import base58, keys
from syncpoint.core import crypto
from syncpoint.errors import ArgumentTypeError, KeyFileError, KeyFormatError
from syncpoint.keys import KeyPublic, KeySecret

SEED = bytes(range(100, 132))
OPENSSL = Ed25519PrivateKey.from_private_bytes(SEED)
SECRET = KeySecret.from_seed(SEED)
PUBLIC = SECRET.public()
RAW = OPENSSL.public_key().public_bytes_raw()
OTHER = KeySecret.from_seed(bytes(32))

DER, PEM = serialization.Encoding.DER, serialization.Encoding.PEM
PKCS8, SPKI = serialization.PrivateFormat.PKCS8, serialization.PublicFormat.SubjectPublicKeyInfo
PLAIN = serialization.NoEncryption()

posix_only = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")


# The forms, against OpenSSL


def test_the_forms_are_those_of_openssl() -> None:
    assert bytes(PUBLIC) == PUBLIC.to_bytes() == RAW
    assert SECRET.to_der() == OPENSSL.private_bytes(DER, PKCS8, PLAIN)
    assert SECRET.to_pem().encode() == OPENSSL.private_bytes(PEM, PKCS8, PLAIN)
    assert PUBLIC.to_der() == OPENSSL.public_key().public_bytes(DER, SPKI)
    assert PUBLIC.to_pem().encode() == OPENSSL.public_key().public_bytes(PEM, SPKI)


def test_every_form_of_a_secret_comes_back() -> None:
    assert SECRET.to_base58() == base58.encode(SEED)
    for again in (
        KeySecret(SEED),
        KeySecret.from_der(SECRET.to_der()),
        KeySecret.from_pem(SECRET.to_pem()),
        KeySecret.from_base58(SECRET.to_base58()),
        KeySecret.parse(SECRET.to_base58()),
        KeySecret.parse(f"\n {SECRET.to_base58()}\n"),
        KeySecret.parse(SECRET.to_pem()),
        KeySecret.parse("\n" + SECRET.to_pem().replace("\n", "\r\n")),
    ):
        assert again == SECRET
        assert again._seed == SEED
        assert again.public() == PUBLIC


def test_every_form_of_a_public_key_comes_back() -> None:
    assert str(PUBLIC) == PUBLIC.to_base58() == base58.encode(RAW)
    for again in (
        KeyPublic(RAW),
        KeyPublic.from_bytes(bytearray(RAW)),
        KeyPublic.from_der(PUBLIC.to_der()),
        KeyPublic.from_pem(PUBLIC.to_pem()),
        KeyPublic.from_base58(str(PUBLIC)),
        KeyPublic.parse(f" {PUBLIC}\n"),
        KeyPublic.parse(PUBLIC.to_pem()),
        pickle.loads(pickle.dumps(PUBLIC)),
        copy.deepcopy(PUBLIC),
    ):
        assert again == PUBLIC
        assert again.to_bytes() == RAW


def test_the_signature_of_a_secret_is_openssls() -> None:
    assert SECRET._signer.sign(b"message") == OPENSSL.sign(b"message")


def test_generated_keys_are_all_different() -> None:
    generated = [KeySecret.generate() for _ in range(5)]
    assert len({secret.public() for secret in generated}) == 5
    assert all(len(secret._seed) == 32 for secret in generated)


def version_2(public: bytes, older: bool = False) -> bytes:
    head = "3053020101300506032b657004220420" if older else "3051020101300506032b657004220420"
    return bytes.fromhex(head) + SEED + bytes.fromhex("a123032100" if older else "812100") + public


@pytest.mark.parametrize("older", [False, True])
def test_pkcs8_version_2_is_read_if_its_public_key_is_right(older: bool) -> None:
    der = version_2(RAW, older)
    assert der[1] == len(der) - 2  # the outer length is right, so this is what tools write
    assert KeySecret.from_der(der) == SECRET
    with pytest.raises(KeyFormatError) as caught:
        KeySecret.from_der(version_2(bytes(OTHER.public()), older))
    message = str(caught.value)
    assert bytes(OTHER.public()).hex() in message
    assert RAW.hex() in message
    assert "both must be equal: the file is damaged" in message


def test_the_example_of_rfc_8410_is_read_without_its_attributes() -> None:
    """Section 10.3; nobody writes the attributes, a nickname, so they are not read either."""
    example = base64.b64decode(
        "MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhCoB8wHQYKKoZIhvcNAQkJFDEPDA1D"
        "dXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
    )
    attributes = example[48:81]
    assert attributes.startswith(bytes.fromhex("a01f"))
    assert attributes.endswith(b"Curdle Chairs")
    without = b"\x30\x51" + example[2:48] + example[81:]
    assert bytes(KeySecret.from_der(without).public()) == example[-32:]
    with pytest.raises(KeyFormatError, match="116 bytes were given"):
        KeySecret.from_der(example)


# Equality, order, and what is never shown


def test_public_keys_are_values() -> None:
    assert KeyPublic(RAW) == PUBLIC
    assert OTHER.public() != PUBLIC
    assert PUBLIC != RAW
    assert len({PUBLIC, KeyPublic(RAW), OTHER.public()}) == 2
    assert eval(repr(PUBLIC)) == PUBLIC


def test_public_keys_are_ordered_by_their_bytes() -> None:
    rng = random.Random(4)
    some = [KeySecret(rng.randbytes(32)).public() for _ in range(20)]
    assert sorted(some) == sorted(some, key=bytes)
    low, high = sorted(some)[:2]
    same = KeyPublic(bytes(low))
    assert low < high
    assert high > low
    assert low <= high
    assert high >= low
    assert low <= same
    assert low >= same
    assert not low < same
    assert not low > same
    assert not high < low
    assert not high <= low
    with pytest.raises(TypeError):
        assert low < bytes(high)


def test_secrets_are_equal_if_their_seeds_are() -> None:
    assert KeySecret(SEED) == SECRET
    assert hash(KeySecret(SEED)) == hash(SECRET)
    assert SECRET != OTHER
    assert SECRET != SEED


def shows_secret(text: str) -> bool:
    forms = (SEED.hex(), repr(SEED)[2:-1], SECRET.to_base58(), SECRET.to_pem().splitlines()[1])
    return any(form in text for form in forms)


def test_the_check_for_shown_secrets_works() -> None:
    assert shows_secret(f"... {SECRET.to_base58()} ...")
    assert shows_secret(repr(SEED))


def test_secrets_are_never_shown() -> None:
    for text in (repr(SECRET), str(SECRET), f"{SECRET}", f"{[SECRET]}", repr(SECRET._signer)):
        assert not shows_secret(text)
    assert str(PUBLIC) in repr(SECRET)
    assert str(PUBLIC) in str(SECRET)


def test_secrets_are_not_pickled() -> None:
    with pytest.raises(ArgumentTypeError, match=r"KeySecret cannot be pickled.*use save and load"):
        pickle.dumps(SECRET)
    assert copy.copy(SECRET) is SECRET
    assert copy.deepcopy([SECRET]) == [SECRET]


# Bad input


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_raw_keys_of_other_lengths_are_refused(length: int) -> None:
    for kind, name in ((KeySecret, "secret"), (KeyPublic, "public")):
        with pytest.raises(KeyFormatError, match=f"{name} key was given as {length} bytes; .*exactly 32: for DER"):
            kind(bytes(length))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x01" + bytes(31), "a point of small order"),
        (b"\x01" + bytes(30) + b"\x80", "a point of small order"),
        (b"\xec" + b"\xff" * 30 + b"\x7f", "a point of small order"),
        (b"\xed" + b"\xff" * 30 + b"\x7f", "its y is not below 2**255 - 19"),
        (b"\xff" * 32, "its y is not below 2**255 - 19"),
        (b"\x02" + bytes(31), "no point of the curve, or one outside the prime-order group"),
        (bytes(32), "no point of the curve, or one outside the prime-order group"),
    ],
)
def test_public_keys_that_are_not_admitted_are_refused(raw: bytes, reason: str) -> None:
    spki = PUBLIC.to_der()[:12] + raw
    for make in (
        lambda: KeyPublic(raw),
        lambda: KeyPublic.from_der(spki),
        lambda: KeyPublic.parse(base58.encode(raw)),
    ):
        with pytest.raises(KeyFormatError) as caught:
            make()
        message = str(caught.value)
        assert raw.hex() in message
        assert reason in message
        assert "give the key as its owner's KeySecret.public() shows it" in message
        assert caught.value.code == -3


def other_der(private: object) -> bytes:
    assert isinstance(private, x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey)
    return private.private_bytes(DER, PKCS8, PLAIN)


def test_other_der_is_refused() -> None:
    der = SECRET.to_der()
    wrong = [
        b"",
        der[:-1],
        der + b"\0",
        der[1:],
        PUBLIC.to_der(),
        version_2(RAW)[:-1],
        version_2(RAW) + b"\0",
        version_2(RAW).replace(bytes.fromhex("812100"), bytes.fromhex("812101")),
        other_der(x25519.X25519PrivateKey.generate()),
        other_der(ec.generate_private_key(ec.SECP256R1())),
    ]
    for each in wrong:
        with pytest.raises(KeyFormatError) as caught:
            KeySecret.from_der(each)
        message = str(caught.value)
        assert f"{len(each)} bytes were given that are no Ed25519 secret key" in message
        assert "allowed is unencrypted PKCS#8" in message
        assert "openssl genpkey" in message
        assert not shows_secret(message)


def test_other_public_der_is_refused() -> None:
    der = PUBLIC.to_der()
    x_der = x25519.X25519PrivateKey.generate().public_key().public_bytes(DER, SPKI)
    for each in (b"", der[:-1], der + b"\0", RAW, SECRET.to_der(), x_der):
        with pytest.raises(KeyFormatError) as caught:
            KeyPublic.from_der(each)
        message = str(caught.value)
        assert f"{len(each)} bytes were given that are no Ed25519 public key" in message
        assert "allowed is the 44-byte SubjectPublicKeyInfo" in message
        assert "openssl pkey -pubin" in message


def test_pem_of_another_kind_is_refused_with_the_way_out() -> None:
    with pytest.raises(KeyFormatError, match=r"is 'PUBLIC KEY'; allowed here is 'PRIVATE KEY' only: .*give the secret"):
        KeySecret.parse(PUBLIC.to_pem())
    with pytest.raises(KeyFormatError, match=r"is 'PRIVATE KEY'; allowed here is 'PUBLIC KEY' only: .*keep it"):
        KeyPublic.parse(SECRET.to_pem())
    locked = OPENSSL.private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"password")).decode()
    with pytest.raises(KeyFormatError, match=r"is 'ENCRYPTED PRIVATE KEY'.*remove the passphrase with 'openssl"):
        KeySecret.parse(locked)
    with pytest.raises(KeyFormatError, match=r"is 'CERTIFICATE'; .*convert it with 'openssl pkey'"):
        KeyPublic.parse("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----")


def test_damaged_pem_is_refused() -> None:
    pem = SECRET.to_pem()
    lines = pem.splitlines()
    damaged = [
        "",
        lines[0],
        "\n".join(lines[:2]),
        pem + pem,
        "text\n" + pem,
        pem.replace("END PRIVATE", "END PUBLIC"),
        pem.replace(lines[1], lines[1][:10] + "*" + lines[1][11:]),
    ]
    for text in damaged:
        with pytest.raises(KeyFormatError) as caught:
            KeySecret.from_pem(text)
        message = str(caught.value)
        assert f"{len(text)} characters were given that are not PEM" in message
        assert "allowed is one block, its first line '-----BEGIN PRIVATE KEY-----'" in message
        assert "copied whole" in message
        assert not shows_secret(message)
    with pytest.raises(KeyFormatError, match=r"does not hold base64; allowed are whole lines.*copied whole"):
        KeySecret.from_pem(pem.replace(lines[1], lines[1][:-1]))
    with pytest.raises(KeyFormatError, match="36 bytes were given that are no Ed25519 secret key"):
        KeySecret.from_pem(pem.replace(lines[1], lines[1][:48]))


def test_other_text_is_refused_and_not_quoted() -> None:
    text = SECRET.to_base58()
    with pytest.raises(KeyFormatError) as caught:
        KeySecret.parse(text[:20] + "0" + text[20:])
    message = "".join(traceback.format_exception(caught.value))
    assert f"secret key of {len(text) + 1} characters" in message
    assert "character '0' at position 20 is not base58" in message
    assert "allowed are" in message
    assert text[:20] not in message
    assert text[20:] not in message
    with pytest.raises(KeyFormatError, match=r"secret key was given as base58 of 1 bytes; .*exactly 32 .*copied whole"):
        KeySecret.parse("2g")
    with pytest.raises(KeyFormatError, match=r"public key was given as base58 of 0 bytes; .*exactly 32 .*copied whole"):
        KeyPublic.parse("")


@pytest.mark.parametrize("kind", [KeySecret, KeyPublic])
def test_other_types_are_refused(kind: type[KeySecret] | type[KeyPublic]) -> None:
    for from_bytes in (kind, kind.from_der):
        for wrong in ("text", None, 32):
            with pytest.raises(ArgumentTypeError, match=f"given {type(wrong).__name__}; allowed are bytes.*use parse"):
                from_bytes(wrong)  # type: ignore[arg-type]
    for from_text in (kind.parse, kind.from_pem, kind.from_base58):
        for other in (b"bytes", None, 32):
            with pytest.raises(ArgumentTypeError, match=f"given {type(other).__name__}; only str.*use from_der"):
                from_text(other)  # type: ignore[arg-type]


# Files


def test_a_saved_key_is_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "node.pem"
    SECRET.save(path)
    assert path.read_text() == SECRET.to_pem()
    assert KeySecret.load(path) == SECRET
    assert KeySecret.load(str(path)) == SECRET


@posix_only
@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_a_saved_key_is_its_owners_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        SECRET.save(tmp_path / "node.pem")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "node.pem").stat().st_mode) == 0o600


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "node.pem"
    SECRET.save(path)
    with pytest.raises(KeyFileError, match="already there and a key is never overwritten: give another path") as caught:
        OTHER.save(path)
    assert str(path) in str(caught.value)
    assert KeySecret.load(path) == SECRET


@posix_only
def test_a_link_is_not_followed_when_saving(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError, match="already there"):
        SECRET.save(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


def test_saving_into_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"cannot be made: .*check that the folder is there"):
        SECRET.save(tmp_path / "missing" / "node.pem")


def test_a_failed_write_leaves_no_half_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keys.os, "fsync", full)
    with pytest.raises(KeyFileError, match="cannot be written: No space left on device; check"):
        SECRET.save(tmp_path / "node.pem")
    assert list(tmp_path.iterdir()) == []


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


@posix_only
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o601, 0o660, 0o777])
def test_a_file_that_others_may_use_is_refused_with_the_command(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "node.pem", SECRET.to_pem().encode(), mode)
    with pytest.raises(KeyFileError) as caught:
        KeySecret.load(path)
    message = str(caught.value)
    assert f"mode {mode:04o}" in message
    assert "allowed is its owner alone (0600)" in message
    assert f"run 'chmod 600 {path}'" in message


@posix_only
def test_the_command_quotes_the_path(tmp_path: Path) -> None:
    path = write(tmp_path / "my key.pem", SECRET.to_pem().encode(), 0o644)
    with pytest.raises(KeyFileError) as caught:
        KeySecret.load(path)
    command = re.search(r"run '(chmod 600 .*)'$", str(caught.value))
    assert command is not None
    assert os.system(command[1]) == 0
    assert KeySecret.load(path) == SECRET


@posix_only
@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_stricter_modes_are_fine(tmp_path: Path, mode: int) -> None:
    assert KeySecret.load(write(tmp_path / "node.pem", SECRET.to_pem().encode(), mode)) == SECRET


def test_base58_and_openssl_files_are_loaded(tmp_path: Path) -> None:
    assert KeySecret.load(write(tmp_path / "text", SECRET.to_base58().encode() + b"\n")) == SECRET
    assert KeySecret.load(write(tmp_path / "pem", OPENSSL.private_bytes(PEM, PKCS8, PLAIN))) == SECRET


def test_a_missing_file_is_refused_with_the_way_to_make_one(tmp_path: Path) -> None:
    path = tmp_path / "missing.pem"
    with pytest.raises(KeyFileError, match=r"is not there: .*KeySecret.generate\(\).save\(path\)") as caught:
        KeySecret.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("data", "found", "advice"),
    [
        (b"", "base58 of 0 bytes", "copied whole"),
        (b"nonsense!", "character '!' at position 8", "copied whole"),
        (PUBLIC.to_pem().encode(), "is 'PUBLIC KEY'", "give the secret one"),
        (SECRET.to_pem()[:-20].encode(), "that are not PEM", "copied whole"),
        (SECRET.to_der()[:16] + b"\xff" * 32, "not ASCII text", "convert DER with 'openssl"),
        (b"1" * 5000, "more than 4096 bytes", "give the path of a key file"),
    ],
)
def test_malformed_files_are_refused(tmp_path: Path, data: bytes, found: str, advice: str) -> None:
    path = write(tmp_path / "node.pem", data)
    with pytest.raises(KeyFileError) as caught:
        KeySecret.load(path)
    message = str(caught.value)
    assert f"{path} holds no secret key" in message
    assert found in message
    assert advice in message
    assert not shows_secret(message)


@posix_only
def test_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"cannot be opened: .*give a file that this user may read"):
        KeySecret.load(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(KeyFileError, match="is not a regular file: give the path of a key file"):
        KeySecret.load(tmp_path / "pipe")


def test_key_files_errors_are_os_errors() -> None:
    assert issubclass(KeyFileError, OSError)


def test_the_public_key_of_a_secret_is_derived() -> None:
    assert bytes(SECRET.public()) == crypto.derive(SEED)
