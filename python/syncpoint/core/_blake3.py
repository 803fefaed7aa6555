"""BLAKE3 in plain Python, for places where the `blake3` package cannot be installed.

Hash mode only. It is written to be read: some hundred times slower than the package, with equal results.
The algorithm is that of the BLAKE3 paper (O'Connor, Aumasson, Neves, Wilcox-O'Hearn, 2020).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = ["blake3"]

_BLOCK_BYTES = 64
_CHUNK_BYTES = 1024
_MASK32 = 0xFFFF_FFFF

# Flags that tell the compression function where in the tree it stands.
_CHUNK_START, _CHUNK_END, _PARENT, _ROOT = 1, 2, 4, 8

_IV = (
    0x6A09E667,
    0xBB67AE85,
    0x3C6EF372,
    0xA54FF53A,
    0x510E527F,
    0x9B05688C,
    0x1F83D9AB,
    0x5BE0CD19,
)
_PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
# One round mixes the four columns of the 4x4 state, then its four diagonals.
_LANES = (
    (0, 4, 8, 12),
    (1, 5, 9, 13),
    (2, 6, 10, 14),
    (3, 7, 11, 15),
    (0, 5, 10, 15),
    (1, 6, 11, 12),
    (2, 7, 8, 13),
    (3, 4, 9, 14),
)
_ROUNDS = 7


def blake3(data: bytes, length: int = 32) -> bytes:
    """Return the BLAKE3 hash of `data`.

    `length` is the number of output bytes, from 0 up; 32 is the usual digest, and a longer output
    starts with every shorter one.

    >>> blake3(b"").hex()[:16]
    'af1349b9f5f9a1a6'
    """
    root = _subtree(data, 0, len(data))
    blocks = -(-length // _BLOCK_BYTES)
    return b"".join(_output_block(root, index) for index in range(blocks))[:length]


class _Node(NamedTuple):
    """A tree node before its last compression: whether it is the root is known only at the end."""

    chain: tuple[int, ...]  # 8 words
    block: tuple[int, ...]  # 16 words
    counter: int  # the chunk's number; 0 for a parent
    block_length: int
    flags: int


def _subtree(data: bytes, start: int, end: int) -> _Node:
    """Return the node over `data[start:end]`; `start` is a multiple of the chunk size."""
    if end - start <= _CHUNK_BYTES:
        return _chunk(data[start:end], start // _CHUNK_BYTES)
    # The left part is the largest power of two of whole chunks that leaves something to the right.
    chunks_before_last = (end - start - 1) // _CHUNK_BYTES
    middle = start + (1 << (chunks_before_last.bit_length() - 1)) * _CHUNK_BYTES
    left = _chaining_value(_subtree(data, start, middle))
    right = _chaining_value(_subtree(data, middle, end))
    return _Node(_IV, left + right, 0, _BLOCK_BYTES, _PARENT)


def _chunk(data: bytes, number: int) -> _Node:
    """Return the node of one chunk of 0 to 1024 bytes."""
    node = _Node(_IV, (), number, 0, _CHUNK_START)
    last = max(len(data) - 1, 0) // _BLOCK_BYTES
    for index in range(last + 1):
        block = data[index * _BLOCK_BYTES : (index + 1) * _BLOCK_BYTES]
        words = struct.unpack("<16L", block.ljust(_BLOCK_BYTES, b"\0"))
        node = node._replace(block=words, block_length=len(block))
        if index < last:
            node = node._replace(chain=_chaining_value(node), flags=0)
    return node._replace(flags=node.flags | _CHUNK_END)


def _chaining_value(node: _Node) -> tuple[int, ...]:
    return _compress(node)[:8]


def _output_block(root: _Node, index: int) -> bytes:
    words = _compress(root._replace(counter=index, flags=root.flags | _ROOT))
    return struct.pack("<16L", *words)


def _compress(node: _Node) -> tuple[int, ...]:
    """Return the 16 output words of the compression function."""
    chain, words = node.chain, node.block
    counter_low, counter_high = node.counter & _MASK32, node.counter >> 32
    v = [*chain, *_IV[:4], counter_low, counter_high, node.block_length, node.flags]
    for _ in range(_ROUNDS):
        for lane, (i, j, k, m) in enumerate(_LANES):
            a, b, c, d = v[i], v[j], v[k], v[m]
            # The quarter round, twice: add a message word, then rotate by 16 and 12, by 8 and 7.
            a = (a + b + words[2 * lane]) & _MASK32
            d ^= a
            d = (d >> 16 | d << 16) & _MASK32
            c = (c + d) & _MASK32
            b ^= c
            b = (b >> 12 | b << 20) & _MASK32
            a = (a + b + words[2 * lane + 1]) & _MASK32
            d ^= a
            d = (d >> 8 | d << 24) & _MASK32
            c = (c + d) & _MASK32
            b ^= c
            b = (b >> 7 | b << 25) & _MASK32
            v[i], v[j], v[k], v[m] = a, b, c, d
        words = tuple(words[source] for source in _PERMUTATION)
    low = tuple(v[i] ^ v[i + 8] for i in range(8))
    high = tuple(v[i + 8] ^ chain[i] for i in range(8))
    return low + high
