"""The certificate by which a peer shows on a link that it holds its key: made from the key alone, byte by byte.

Everybody can compute what a peer's certificate says, all but its signature; there is nothing in it to be chosen, to
be parsed or to expire. A certificate is signed by its own key, and names as its issuer the *anchor* of that key: a
certificate that is never sent, that everybody computes for each key to be trusted, and that nobody signs, because
nobody checks the signature of what is trusted anyway. So the 32 bytes of a public key are all that it takes to check a
certificate. (A plain self-signed certificate could be trusted only by whoever has its signature, too.)

Bytes: docs/wire.md; why: docs/decisions/0010-links-from-keys-alone.md.
"""

from __future__ import annotations

from ..core.crypto import PUBLIC_BYTES, SIGNATURE_BYTES, Signer, blake3

__all__ = ["anchor_of", "certificate_of", "key_of", "secret_der"]

DOMAIN_TLS = b"syncpoint/tls/v1"
NAME_BYTES = 20  # of the hash of a key, in the names of its two certificates

_BOOLEAN, _INTEGER, _BITS, _OCTETS, _UTF8, _UTC_TIME, _TIME = 0x01, 0x02, 0x03, 0x04, 0x0C, 0x17, 0x18
_SEQUENCE, _SET, _VERSION, _EXTENSIONS, _KEY_ID = 0x30, 0x31, 0xA0, 0xA3, 0x80


def certificate_of(signer: Signer) -> bytes:
    """The certificate of a key pair, in DER: it never changes, as Ed25519 signs the same alike each time."""
    body = _body(signer.public)
    return _signed(body, signer.sign(body))


def anchor_of(public: bytes) -> bytes:
    """What to trust, in DER, so that the certificate of a 32-byte public key is taken."""
    name = _anchor_name(public)
    usage = _extension("551d0f", _tlv(_BITS, b"\x02\x04"))  # it signs certificates, and nothing else
    identifier = _extension("551d0e", _tlv(_OCTETS, _key_id(public)), critical=False)
    authority = _extension("551d13", _tlv(_SEQUENCE, _tlv(_BOOLEAN, b"\xff"), _tlv(_INTEGER, b"\x00")))
    return _signed(_certified(public, name, name, authority + usage + identifier), bytes(SIGNATURE_BYTES))


def key_of(certificate: bytes) -> bytes | None:
    """The 32-byte key whose certificate this is, byte by byte but for its signature; None for anything else.

    Whether the signature is good, and whether whoever showed it holds the key, is for TLS to find out.
    """
    public = certificate[_KEY_AT : _KEY_AT + PUBLIC_BYTES]
    if len(public) != PUBLIC_BYTES or len(certificate) < SIGNATURE_BYTES:
        return None
    expected = _signed(_body(public), certificate[-SIGNATURE_BYTES:])
    return public if certificate == expected else None


def secret_der(seed: bytes) -> bytes:
    """The secret key for TLS, as PKCS#8 in DER."""
    return _tlv(_SEQUENCE, _tlv(_INTEGER, b"\x00"), _ALGORITHM, _tlv(_OCTETS, _tlv(_OCTETS, seed)))


def _tlv(tag: int, *content: bytes) -> bytes:
    """One DER value; no content here has more than 65,535 bytes."""
    data = b"".join(content)
    size = len(data)
    if size < 0x80:
        length = bytes([size])
    elif size < 0x100:
        length = bytes([0x81, size])
    else:
        length = bytes([0x82]) + size.to_bytes(2, "big")
    return bytes([tag]) + length + data


def _object(encoded: str) -> bytes:
    return _tlv(0x06, bytes.fromhex(encoded))


_ALGORITHM = _tlv(_SEQUENCE, _object("2b6570"))  # Ed25519
_VALIDITY = _tlv(_SEQUENCE, _tlv(_UTC_TIME, b"200101000000Z"), _tlv(_TIME, b"99991231235959Z"))


def _extension(encoded: str, content: bytes, *, critical: bool = True) -> bytes:
    return _tlv(_SEQUENCE, _object(encoded), _tlv(_BOOLEAN, b"\xff") if critical else b"", _tlv(_OCTETS, content))


def _key_id(public: bytes) -> bytes:
    return blake3(DOMAIN_TLS + public)[:NAME_BYTES]


def _name(text: str) -> bytes:
    return _tlv(_SEQUENCE, _tlv(_SET, _tlv(_SEQUENCE, _object("550403"), _tlv(_UTF8, text.encode()))))


def _anchor_name(public: bytes) -> bytes:
    return _name(f"sp-anchor-{_key_id(public).hex()}")


def _body(public: bytes) -> bytes:
    """What a key's certificate says: all that is signed."""
    leaf = _extension("551d13", _tlv(_SEQUENCE))  # it signs no certificates
    issuer = _extension("551d23", _tlv(_SEQUENCE, _tlv(_KEY_ID, _key_id(public))), critical=False)
    return _certified(public, _anchor_name(public), _name(f"sp-{_key_id(public).hex()}"), leaf + issuer)


def _certified(public: bytes, issuer: bytes, subject: bytes, extensions: bytes) -> bytes:
    return _tlv(
        _SEQUENCE,
        _tlv(_VERSION, _tlv(_INTEGER, b"\x02")),
        _tlv(_INTEGER, b"\x01"),
        _ALGORITHM,
        issuer,
        _VALIDITY,
        subject,
        _tlv(_SEQUENCE, _ALGORITHM, _tlv(_BITS, b"\x00" + public)),
        _tlv(_EXTENSIONS, _tlv(_SEQUENCE, extensions)),
    )


def _signed(body: bytes, signature: bytes) -> bytes:
    return _tlv(_SEQUENCE, body, _ALGORITHM, _tlv(_BITS, b"\x00" + signature))


_KEY_AT = _signed(_body(bytes(PUBLIC_BYTES)), b"").index(b"\x00" + bytes(PUBLIC_BYTES)) + 1
