"""Peer records: a public key, with the proof that somebody holds its secret."""

from __future__ import annotations

from dataclasses import dataclass

from . import base58
from .core.crypto import PEER_RECORD_BYTES, PUBLIC_BYTES, check_peer_record, peer_record
from .errors import ArgumentTypeError, Base58Error, KeyFormatError
from .keys import KeyPublic, KeySecret

__all__ = ["PeerRecord"]


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """A public key and its signature over itself, 96 bytes: what a peer hands to whoever makes the network.

    Nothing in it is secret. `str()` is base58 on one line, `bytes()` the 96 bytes. Bytes that prove nothing raise
    KeyFormatError, so whoever holds a record holds a good one (rule SP item 1).

    >>> record = PeerRecord.of(KeySecret.from_seed(bytes(32)))
    >>> str(record.public)
    '4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS'
    >>> PeerRecord.parse(str(record)) == record
    True
    """

    raw: bytes
    """The 32-byte public key, then its 64-byte signature."""

    def __post_init__(self) -> None:
        if not isinstance(self.raw, bytes):
            raise ArgumentTypeError(
                f"PeerRecord was given {type(self.raw).__name__}; only bytes are allowed: for text use parse"
            )
        if len(self.raw) != PEER_RECORD_BYTES:
            raise KeyFormatError(
                f"a peer record was given as {len(self.raw)} bytes; it has exactly {PEER_RECORD_BYTES}: "
                "give what 'syncpoint keygen' prints, all of it, not the public key alone"
            )
        if check_peer_record(self.raw) is None:
            raise KeyFormatError(
                f"the peer record of {base58.encode(self.raw[:PUBLIC_BYTES])} proves nothing: the key is none that may "
                "join, or did not sign it (rule SP); take it once more from its owner's 'syncpoint keygen --show'"
            )

    @classmethod
    def of(cls, secret: KeySecret) -> PeerRecord:
        """Make the record of our own key."""
        return cls(peer_record(secret._signer))

    @classmethod
    def parse(cls, text: str) -> PeerRecord:
        """Make a record from its base58 text, with white space around it allowed; KeyFormatError for anything else."""
        if not isinstance(text, str):
            raise ArgumentTypeError(f"PeerRecord.parse was given {type(text).__name__}; only str is allowed")
        try:
            raw = base58.decode(text.strip())
        except Base58Error as error:
            raise KeyFormatError(f"a peer record was given as base58, but {error}") from None
        return cls(raw)

    @property
    def public(self) -> KeyPublic:
        """Whose record it is."""
        return KeyPublic(self.raw[:PUBLIC_BYTES])

    def __bytes__(self) -> bytes:
        return self.raw

    def __str__(self) -> str:
        return base58.encode(self.raw)

    def __repr__(self) -> str:
        return f"PeerRecord.parse({str(self)!r})"
