"""Base58: the published examples, round trips and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncpoint import base58
from syncpoint.errors import ArgumentError, ArgumentTypeError, Base58Error

# From the Internet draft "The Base58 Encoding Scheme" and from Bitcoin's own vectors.
EXAMPLES = [
    (b"", ""),
    (b"Hello World!", "2NEpo7TZRRrLZSi2U"),
    (
        b"The quick brown fox jumps over the lazy dog.",
        "USm3fpXnKG5EUBx2ndxBDMPVciP5hGey2Jh4NDv6gmeo1LkMeiKrLJUUBk6Z",
    ),
    (bytes.fromhex("0000287fb4cd"), "11233QC4"),
    (bytes.fromhex("61"), "2g"),
    (bytes.fromhex("516b6fcd0f"), "ABnLTmg"),
    (bytes(10), "1111111111"),
]


@pytest.mark.parametrize(("data", "text"), EXAMPLES)
def test_published_examples(data: bytes, text: str) -> None:
    assert base58.encode(data) == text
    assert base58.decode(text) == data


@given(st.binary(max_size=200))
def test_every_value_comes_back(data: bytes) -> None:
    text = base58.encode(data)
    assert set(text) <= set(base58.ALPHABET)
    assert base58.decode(text) == data


@given(st.text(base58.ALPHABET, max_size=100))
def test_every_text_comes_back(text: str) -> None:
    assert base58.encode(base58.decode(text)) == text


def test_all_bytes_like_objects_are_encoded() -> None:
    assert base58.encode(bytearray(b"a")) == base58.encode(memoryview(b"a")) == base58.encode(b"a") == "2g"


@pytest.mark.parametrize(
    ("text", "character", "position"),
    [
        ("0", "0", 0),
        ("2g0", "0", 2),
        ("aIb", "I", 1),
        ("lO", "l", 0),
        ("2g\n", "\n", 2),
        ("2 g", " ", 1),
        ("ä", "ä", 0),
    ],
)
def test_other_characters_are_named_with_their_position(text: str, character: str, position: int) -> None:
    with pytest.raises(Base58Error) as caught:
        base58.decode(text)
    message = str(caught.value)
    assert f"character {character!r} at position {position} is not base58" in message
    assert "allowed are the digits and letters without 0, O, I and l" in message
    assert "check that the text was copied whole" in message
    assert caught.value.code == -6


def test_the_limit_is_reached_and_not_passed() -> None:
    longest = b"\xff" * base58.MAX_BYTES
    assert base58.decode(base58.encode(longest)) == longest
    with pytest.raises(ArgumentError, match="given 4097 bytes; at most 4096 are allowed: use base64"):
        base58.encode(longest + b"\xff")
    with pytest.raises(Base58Error, match=r"given 9000 characters; at most 5653 .*allowed: check"):
        base58.decode("2" * 9000)


@pytest.mark.parametrize("wrong", ["text", None, 5, [1]])
def test_only_bytes_are_encoded(wrong: object) -> None:
    with pytest.raises(ArgumentTypeError, match=f"given {type(wrong).__name__}; allowed are bytes.*encode text"):
        base58.encode(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [b"2g", None, 5])
def test_only_text_is_decoded(wrong: object) -> None:
    with pytest.raises(ArgumentTypeError, match=f"given {type(wrong).__name__}; only str is allowed: decode bytes"):
        base58.decode(wrong)  # type: ignore[arg-type]
