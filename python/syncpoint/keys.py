"""Key pairs: who a peer is. Ed25519 under rule SP, in DER, PEM, base58 and file form.

The SDK calls the same classes Ed25519 in its documentation but carries P-256 keys; these are Ed25519.
DER and PEM are the forms that OpenSSL reads and writes, so `openssl pkey -in FILE -text` shows them.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
import secrets
import shlex
import stat
from typing import NoReturn

from syncpoint import base58
from syncpoint.core import crypto
from syncpoint.errors import ArgumentTypeError, Base58Error, KeyFileError, KeyFormatError

__all__ = ["KeyPublic", "KeySecret"]

# SubjectPublicKeyInfo of RFC 8410: all that can vary is the key.
_SPKI = bytes.fromhex("302a300506032b6570032100")
# PrivateKeyInfo version 1, as OpenSSL writes it, and the two forms of version 2 with the public key:
# [1] as RFC 5958 has it, and as older tools wrapped it.
_PKCS8_V1 = bytes.fromhex("302e020100300506032b657004220420")
_PKCS8_V2 = (
    (bytes.fromhex("3051020101300506032b657004220420"), bytes.fromhex("812100")),
    (bytes.fromhex("3053020101300506032b657004220420"), bytes.fromhex("a123032100")),
)

_PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\r?\n([A-Za-z0-9+/=\r\n]*)-----END \1-----")
_PEM_SECRET = "PRIVATE KEY"  # noqa: S105 - the name of the form, not a secret
_PEM_PUBLIC = "PUBLIC KEY"

_MAX_FILE_BYTES = 4096  # a key file has about 120; a longer one is refused unread
_OPEN_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class KeyPublic:
    """A peer's public key, which is also its name: 32 bytes, admitted under rule SP.

    `str()` is base58, `bytes()` the raw 32 bytes; keys are hashable, equal and ordered by those
    bytes. Bytes that are no admissible key raise KeyFormatError.

    >>> key = KeySecret.from_seed(bytes(32)).public()
    >>> str(key)
    '4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS'
    >>> KeyPublic.parse(str(key)) == key
    True
    """

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        raw = _checked_bytes(raw, "KeyPublic")
        if len(raw) != crypto.PUBLIC_BYTES:
            raise KeyFormatError(
                f"a public key was given as {len(raw)} bytes; it has exactly {crypto.PUBLIC_BYTES}: "
                "for DER, PEM or text use from_der, from_pem or parse"
            )
        if not crypto.admit(raw):
            raise KeyFormatError(
                f"{raw.hex()} is no Ed25519 public key that may join: {_why_refused(raw)}; "
                "give the key as its owner's KeySecret.public() shows it"
            )
        self._raw = raw

    @classmethod
    def from_bytes(cls, raw: bytes) -> KeyPublic:
        """Make a key from its 32 raw bytes; KeyFormatError if they are no admissible key."""
        return cls(raw)

    @classmethod
    def from_der(cls, der: bytes) -> KeyPublic:
        """Make a key from its 44-byte SubjectPublicKeyInfo; KeyFormatError for anything else."""
        der = _checked_bytes(der, "KeyPublic.from_der")
        if len(der) != len(_SPKI) + crypto.PUBLIC_BYTES or not der.startswith(_SPKI):
            raise KeyFormatError(
                f"{len(der)} bytes were given that are no Ed25519 public key in DER; allowed is the 44-byte "
                f"SubjectPublicKeyInfo, which starts with {_SPKI.hex()}: convert the key with "
                "'openssl pkey -pubin -outform DER'"
            )
        return cls(der[len(_SPKI) :])

    @classmethod
    def from_pem(cls, pem: str) -> KeyPublic:
        """Make a key from the PEM form of its DER, "BEGIN PUBLIC KEY"; KeyFormatError for anything else."""
        return cls.from_der(_from_pem(pem, _PEM_PUBLIC, "KeyPublic.from_pem"))

    @classmethod
    def from_base58(cls, text: str) -> KeyPublic:
        """Make a key from the base58 text of its 32 bytes; KeyFormatError for anything else."""
        return cls(_from_base58(text, "public key", "KeyPublic.from_base58"))

    @classmethod
    def parse(cls, text: str) -> KeyPublic:
        """Make a key from text, base58 or PEM, with white space around it allowed.

        KeyFormatError if it is neither.
        """
        return cls.from_pem(text) if _is_pem(text, "KeyPublic.parse") else cls.from_base58(text.strip())

    def to_bytes(self) -> bytes:
        """Return the 32 raw bytes."""
        return self._raw

    def to_der(self) -> bytes:
        """Return the 44-byte SubjectPublicKeyInfo, as OpenSSL writes it."""
        return _SPKI + self._raw

    def to_pem(self) -> str:
        """Return the PEM form of `to_der`, with a line feed at the end."""
        return _to_pem(self.to_der(), _PEM_PUBLIC)

    def to_base58(self) -> str:
        """Return the base58 text of the 32 raw bytes, 32 to 44 characters."""
        return base58.encode(self._raw)

    def __bytes__(self) -> bytes:
        return self._raw

    def __str__(self) -> str:
        return self.to_base58()

    def __repr__(self) -> str:
        return f"KeyPublic.parse({self.to_base58()!r})"

    def __hash__(self) -> int:
        return hash(self._raw)

    def __eq__(self, other: object) -> bool:
        return self._raw == other._raw if isinstance(other, KeyPublic) else NotImplemented

    def __lt__(self, other: KeyPublic) -> bool:
        if not isinstance(other, KeyPublic):
            return NotImplemented
        return self._raw < other._raw

    def __le__(self, other: KeyPublic) -> bool:
        if not isinstance(other, KeyPublic):
            return NotImplemented
        return self._raw <= other._raw

    def __gt__(self, other: KeyPublic) -> bool:
        if not isinstance(other, KeyPublic):
            return NotImplemented
        return self._raw > other._raw

    def __ge__(self, other: KeyPublic) -> bool:
        if not isinstance(other, KeyPublic):
            return NotImplemented
        return self._raw >= other._raw

    def __reduce__(self) -> tuple[type[KeyPublic], tuple[bytes]]:
        # Through the constructor, so that what comes out of a pickle is admitted too.
        return KeyPublic, (self._raw,)


class KeySecret:
    """A peer's secret key: 32 random bytes, the Ed25519 seed, that only the peer knows.

    `repr()` and `str()` show the public key only, error messages never quote what was given, and the
    key refuses to be pickled. Equality takes the same time for every pair of keys. Bytes of another
    length raise KeyFormatError.

    >>> secret = KeySecret.generate()
    >>> KeySecret.parse(secret.to_base58()) == secret
    True
    """

    __slots__ = ("_public", "_seed", "_signer")

    def __init__(self, seed: bytes) -> None:
        seed = _checked_bytes(seed, "KeySecret")
        if len(seed) != crypto.SEED_BYTES:
            raise KeyFormatError(
                f"a secret key was given as {len(seed)} bytes; it has exactly {crypto.SEED_BYTES}: "
                "for DER, PEM or text use from_der, from_pem or parse"
            )
        self._seed = seed
        self._signer = crypto.Signer(seed)
        self._public = KeyPublic(self._signer.public)

    @classmethod
    def generate(cls) -> KeySecret:
        """Make a new key from the operating system's randomness."""
        return cls(secrets.token_bytes(crypto.SEED_BYTES))

    @classmethod
    def from_seed(cls, seed: bytes) -> KeySecret:
        """Make a key from its 32-byte seed; KeyFormatError for another length."""
        return cls(seed)

    @classmethod
    def from_der(cls, der: bytes) -> KeySecret:
        """Make a key from PKCS#8.

        Version 1, 48 bytes, as OpenSSL writes it; also version 2, which carries the public key too,
        if that public key is the right one. KeyFormatError for anything else.
        """
        der = _checked_bytes(der, "KeySecret.from_der")
        if len(der) == len(_PKCS8_V1) + crypto.SEED_BYTES and der.startswith(_PKCS8_V1):
            return cls(der[len(_PKCS8_V1) :])
        for prefix, middle in _PKCS8_V2:
            seed_end = len(prefix) + crypto.SEED_BYTES
            public_start = seed_end + len(middle)
            if (
                len(der) == public_start + crypto.PUBLIC_BYTES
                and der.startswith(prefix)
                and der[seed_end:public_start] == middle
            ):
                return cls._with_public(der[len(prefix) : seed_end], der[public_start:])
        raise KeyFormatError(
            f"{len(der)} bytes were given that are no Ed25519 secret key in DER; allowed is unencrypted "
            "PKCS#8, version 1 (48 bytes) or version 2 with the public key: make a key with "
            "'openssl genpkey -algorithm ed25519 -outform DER'"
        )

    @classmethod
    def from_pem(cls, pem: str) -> KeySecret:
        """Make a key from the PEM form of its DER, "BEGIN PRIVATE KEY"; KeyFormatError for anything else."""
        return cls.from_der(_from_pem(pem, _PEM_SECRET, "KeySecret.from_pem"))

    @classmethod
    def from_base58(cls, text: str) -> KeySecret:
        """Make a key from the base58 text of its 32 bytes; KeyFormatError for anything else."""
        return cls(_from_base58(text, "secret key", "KeySecret.from_base58"))

    @classmethod
    def parse(cls, text: str) -> KeySecret:
        """Make a key from text, base58 or PEM, with white space around it allowed.

        KeyFormatError if it is neither.
        """
        return cls.from_pem(text) if _is_pem(text, "KeySecret.parse") else cls.from_base58(text.strip())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> KeySecret:
        """Read a key from a file as `save` writes it (PEM; base58 text is read too).

        KeyFileError if the file is missing, unreadable or malformed, or if, on POSIX, group or others
        may touch it; the message says what to do.
        """
        name = os.fspath(path)
        text = _read_key_file(name)
        try:
            return cls.parse(text)
        except KeyFormatError as error:
            raise KeyFileError(f"{name} holds no secret key: {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the key as PEM to a new file that only its owner may read and write (0600).

        An existing file is never overwritten: KeyFileError, as for every other failure to write.
        """
        name = os.fspath(path)
        try:
            # O_EXCL also refuses a link that somebody laid in our way.
            descriptor = os.open(name, _OPEN_FLAGS | os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise KeyFileError(
                f"{name} is already there and a key is never overwritten: give another path, "
                "load it with KeySecret.load, or move it away first"
            ) from None
        except OSError as error:
            raise KeyFileError(f"{name} cannot be made: {error.strerror}; {_CHECK_FOLDER}") from error
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(self.to_pem().encode("ascii"))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            os.unlink(name)  # half a key would only be in the way of the next attempt
            raise KeyFileError(f"{name} cannot be written: {error.strerror}; {_CHECK_FOLDER}") from error

    def public(self) -> KeyPublic:
        """Return the public key."""
        return self._public

    def to_der(self) -> bytes:
        """Return the secret as 48 bytes of PKCS#8 version 1, as OpenSSL writes it."""
        return _PKCS8_V1 + self._seed

    def to_pem(self) -> str:
        """Return the secret as the PEM form of `to_der`, with a line feed at the end."""
        return _to_pem(self.to_der(), _PEM_SECRET)

    def to_base58(self) -> str:
        """Return the secret as the base58 text of its 32 bytes, 32 to 44 characters."""
        return base58.encode(self._seed)

    def __repr__(self) -> str:
        return f"<KeySecret of {self._public}>"

    def __eq__(self, other: object) -> bool:
        return hmac.compare_digest(self._seed, other._seed) if isinstance(other, KeySecret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._public)

    def __copy__(self) -> KeySecret:
        return self

    def __deepcopy__(self, memo: object) -> KeySecret:
        return self

    def __reduce__(self) -> NoReturn:
        raise ArgumentTypeError(
            "a KeySecret cannot be pickled, so that it is not written or sent by accident: "
            "use save and load, or to_der and from_der, where that is what you want"
        )

    @classmethod
    def _with_public(cls, seed: bytes, public: bytes) -> KeySecret:
        key = cls(seed)
        if key._signer.public != public:
            raise KeyFormatError(
                f"the PKCS#8 names the public key {public.hex()}, but the public key of its secret is "
                f"{key._signer.public.hex()}; both must be equal: the file is damaged, take another copy"
            )
        return key


_CHECK_FOLDER = "check that the folder is there, that you may write to it and that the disk is not full"


def _checked_bytes(data: bytes, where: str) -> bytes:
    """Return any bytes-like `data` as bytes; ArgumentTypeError, which never quotes it, for the rest."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ArgumentTypeError(
            f"{where} was given {type(data).__name__}; allowed are bytes, bytearray and memoryview: for text use parse"
        )
    return bytes(data)


def _checked_text(text: str, where: str) -> str:
    if not isinstance(text, str):
        raise ArgumentTypeError(
            f"{where} was given {type(text).__name__}; only str is allowed: "
            "for bytes use from_der, or decode them first"
        )
    return text


def _why_refused(raw: bytes) -> str:
    """Say in words which check of rule SP item 1 refused a key of the right length."""
    y = int.from_bytes(raw, "little") & ((1 << 255) - 1)
    if y >= 2**255 - 19:
        return "its y is not below 2**255 - 19, so it is not the canonical form of any point (rule SP)"
    if y in (1, 2**255 - 20):
        return "it is a point of small order (rule SP)"
    return "it is no point of the curve, or one outside the prime-order group (rule SP)"


def _from_base58(text: str, what: str, where: str) -> bytes:
    _checked_text(text, where)
    try:
        raw = base58.decode(text)
    except Base58Error as error:
        raise KeyFormatError(f"a {what} of {len(text)} characters was given as base58, but {error}") from None
    if len(raw) != crypto.PUBLIC_BYTES:
        raise KeyFormatError(
            f"a {what} was given as base58 of {len(raw)} bytes; it has exactly {crypto.PUBLIC_BYTES} "
            "(32 to 44 characters): check that the text was copied whole"
        )
    return raw


def _is_pem(text: str, where: str) -> bool:
    return _checked_text(text, where).lstrip().startswith("-----BEGIN")


def _from_pem(pem: str, label: str, where: str) -> bytes:
    match = _PEM_BLOCK.fullmatch(_checked_text(pem, where).strip())
    if match is None:
        raise KeyFormatError(
            f"{len(pem)} characters were given that are not PEM; allowed is one block, its first line "
            f"'-----BEGIN {label}-----', its last '-----END {label}-----', base64 between, nothing around: "
            "check that the text was copied whole"
        )
    if match[1] != label:
        raise KeyFormatError(
            f"the PEM block is '{match[1]}'; allowed here is '{label}' only: "
            + _PEM_ADVICE.get(match[1], "convert it with 'openssl pkey'")
        )
    try:
        return base64.b64decode("".join(match[2].split()), validate=True)
    except binascii.Error:
        raise KeyFormatError(
            f"the PEM block '{label}' does not hold base64; allowed are whole lines of base64: "
            "check that the text was copied whole"
        ) from None


_PEM_ADVICE = {
    _PEM_SECRET: "this is a secret key, keep it to yourself and give the public one",
    _PEM_PUBLIC: "this is a public key, give the secret one",
    "ENCRYPTED PRIVATE KEY": "remove the passphrase with 'openssl pkey -in FILE -out NEW'",
}


def _to_pem(der: bytes, label: str) -> str:
    # 48 and 44 bytes: base64 fits into the 64 characters of one line.
    return f"-----BEGIN {label}-----\n{base64.b64encode(der).decode('ascii')}\n-----END {label}-----\n"


def _read_key_file(name: str) -> str:
    try:
        file = open(name, "rb", opener=_open_without_waiting)  # noqa: SIM115 - see the with below
    except FileNotFoundError:
        raise KeyFileError(
            f"{name} is not there: give the path of a key file, or make a key with KeySecret.generate().save(path)"
        ) from None
    except OSError as error:
        raise KeyFileError(f"{name} cannot be opened: {error.strerror}; give a file that this user may read") from error
    with file:
        # Asked of the open file, so that nobody can put another in its place in between.
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise KeyFileError(f"{name} is not a regular file: give the path of a key file")
        if os.name == "posix" and status.st_mode & 0o077:
            raise KeyFileError(
                f"{name} may be used by others (mode {stat.S_IMODE(status.st_mode):04o}); "
                f"allowed is its owner alone (0600): run 'chmod 600 {shlex.quote(name)}'"
            )
        data = file.read(_MAX_FILE_BYTES + 1)
    if len(data) > _MAX_FILE_BYTES:
        raise KeyFileError(
            f"{name} holds no secret key: it has more than {_MAX_FILE_BYTES} bytes; "
            "a key file has about 120: give the path of a key file"
        )
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise KeyFileError(
            f"{name} holds no secret key: it is not ASCII text; allowed are PEM and base58: "
            "convert DER with 'openssl pkey -inform DER'"
        ) from None


def _open_without_waiting(name: str, flags: int) -> int:
    # A pipe in place of the file must not hang us.
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
