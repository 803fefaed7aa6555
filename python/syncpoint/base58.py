"""Base58 in Bitcoin's alphabet: text for keys and hashes that people copy by hand.

The alphabet leaves out 0, O, I and l, which look like others. A leading zero byte is a leading "1".
There is no checksum.
"""

from __future__ import annotations

from syncpoint.errors import ArgumentError, ArgumentTypeError, Base58Error

__all__ = ["ALPHABET", "MAX_BYTES", "decode", "encode"]

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

MAX_BYTES = 4096
"""The most bytes that one text stands for: the work grows with the square of the length."""

_MAX_CHARACTERS = MAX_BYTES * 138 // 100 + 1  # log(256) / log(58) is 1.3658
_VALUES = {character: value for value, character in enumerate(ALPHABET)}


def encode(data: bytes | bytearray | memoryview) -> str:
    """Return `data` as base58 text.

    At most `MAX_BYTES` bytes, else ArgumentError; anything but bytes is ArgumentTypeError.

    >>> encode(b"\\x00syncpoint")
    '12UFXuwo3hzQ5h'
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ArgumentTypeError(
            f"base58.encode was given {type(data).__name__}; allowed are bytes, bytearray and memoryview: "
            "encode text first, for instance with text.encode()"
        )
    raw = bytes(data)
    if len(raw) > MAX_BYTES:
        raise ArgumentError(
            f"base58.encode was given {len(raw)} bytes; at most {MAX_BYTES} are allowed: use base64 for long data"
        )
    number = int.from_bytes(raw, "big")
    characters: list[str] = []
    while number:
        number, value = divmod(number, 58)
        characters.append(ALPHABET[value])
    zeros = len(raw) - len(raw.lstrip(b"\0"))
    return ALPHABET[0] * zeros + "".join(reversed(characters))


def decode(text: str) -> bytes:
    """Return the bytes that base58 `text` stands for; the empty text is no bytes.

    A character outside the alphabet, white space among them, raises Base58Error with the character
    and its position (counted from 0), a text for more than `MAX_BYTES` bytes Base58Error, anything
    but a str ArgumentTypeError.

    >>> decode("12UFXuwo3hzQ5h")
    b'\\x00syncpoint'
    """
    if not isinstance(text, str):
        raise ArgumentTypeError(
            f"base58.decode was given {type(text).__name__}; only str is allowed: "
            "decode bytes first, for instance with data.decode('ascii')"
        )
    if len(text) > _MAX_CHARACTERS:
        raise Base58Error(
            f"base58.decode was given {len(text)} characters; at most {_MAX_CHARACTERS} "
            f"({MAX_BYTES} bytes) are allowed: check that this is the right text"
        )
    number = 0
    for position, character in enumerate(text):
        value = _VALUES.get(character)
        if value is None:
            raise Base58Error(
                f"character {character!r} at position {position} is not base58; allowed are the digits "
                "and letters without 0, O, I and l: check that the text was copied whole and by itself"
            )
        number = number * 58 + value
    zeros = len(text) - len(text.lstrip(ALPHABET[0]))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
