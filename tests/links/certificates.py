"""Certificates that no honest peer shows."""

from __future__ import annotations

import datetime
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tests.runtime.nodes import key, seed

from syncpoint.core.crypto import Signer
from syncpoint.runtime.certificate import anchor_of, certificate_of

OUTSIDER = 99  # a key that is nobody's


def secret(creator: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seed(creator))


def genuine(creator: int) -> bytes:
    """The certificate of a key, in DER."""
    return certificate_of(Signer(seed(creator)))


def forged(
    names_of: int, public_of: int, signed_by: int, *, days: tuple[int, int] = (-10, 10), ca: bool = False
) -> bytes:
    """A certificate with the names of one key, for another, signed by a third, in DER."""
    like = x509.load_der_x509_certificate(genuine(names_of))
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(like.subject)
        .issuer_name(x509.load_der_x509_certificate(anchor_of(key(signed_by))).subject)
        .public_key(Ed25519PublicKey.from_public_bytes(key(public_of)))
        .serial_number(1)
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(secret(signed_by), None)
        .public_bytes(Encoding.DER)
    )


def self_signed(name: str, creator: int) -> bytes:
    """What `openssl req -x509` makes, in DER."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(secret(creator).public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(secret(creator), None)
        .public_bytes(Encoding.DER)
    )


def pem(*certificates: bytes) -> str:
    return "".join(map(ssl.DER_cert_to_PEM_cert, certificates))


def key_pem(creator: int) -> str:
    return secret(creator).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def context(
    chain: tuple[bytes, ...], holder: int, *, server: bool, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    """TLS that shows certificates with the key of `holder` and takes any; without certificates it shows none."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.minimum_version = min(version, ssl.TLSVersion.TLSv1_2)
    made.maximum_version = version
    if chain:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "chain.pem"
            path.write_text(pem(*chain) + key_pem(holder))
            made.load_cert_chain(path)
    return made
