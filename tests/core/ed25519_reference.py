"""Ed25519 in plain Python integers: what rule SP says, written down once more and independently.

Nothing here is secret or fast in the way real keys need it; it serves as an opinion in tests and as
the workshop for signatures and keys that no honest signer makes.
"""

from __future__ import annotations

import functools
import hashlib

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)

Point = tuple[int, int, int, int]  # extended coordinates X, Y, Z, T with x = X/Z, y = Y/Z, xy = T/Z

IDENTITY: Point = (0, 1, 1, 0)
IDENTITY_BYTES = b"\x01" + bytes(31)


def add(a: Point, b: Point) -> Point:
    """The complete addition law of a = -1 twisted Edwards curves; it also doubles."""
    left = (a[1] - a[0]) * (b[1] - b[0]) % P
    right = (a[1] + a[0]) * (b[1] + b[0]) % P
    c = 2 * a[3] * b[3] * D % P
    d = 2 * a[2] * b[2] % P
    e, f, g, h = right - left, d - c, d + c, right + left
    return e * f % P, g * h % P, f * g % P, e * h % P


def negate(a: Point) -> Point:
    return -a[0] % P, a[1], a[2], -a[3] % P


def multiply(scalar: int, a: Point) -> Point:
    result = IDENTITY
    for bit in bin(scalar)[2:]:
        result = add(result, result)
        if bit == "1":
            result = add(result, a)
    return result


def equal(a: Point, b: Point) -> bool:
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def encode(a: Point) -> bytes:
    inverse = pow(a[2], -1, P)
    x, y = a[0] * inverse % P, a[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode(data: bytes) -> Point | None:
    """The point of a canonical encoding, None if it is none."""
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    if len(data) != 32 or y >= P:
        return None
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    square = u * pow(v, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


def _base() -> Point:
    point = decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
    assert point is not None
    return point


BASE = _base()


def _torsion() -> list[Point]:
    """All eight points of small order, as multiples of one of order eight."""
    y = 2
    while True:
        point = decode(y.to_bytes(32, "little"))
        if point is not None:
            point = multiply(L, point)
            if not equal(multiply(4, point), IDENTITY):
                return [multiply(k, point) for k in range(8)]
        y += 1


TORSION = _torsion()


def admit(public: bytes) -> bool:
    """Rule SP item 1, without the self-signature."""
    point = decode(public)
    return point is not None and not equal(multiply(8, point), IDENTITY) and equal(multiply(L, point), IDENTITY)


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Rule SP item 2, the cofactorless equation R = SB - hA, compared as bytes."""
    if len(signature) != 64:
        return False
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    tables = _tables(public)
    if s >= L or r == IDENTITY_BYTES or tables is None:
        return False
    right = add(_by_table(s, _BASE_TABLES), negate(_by_table(challenge(r, public, message), tables)))
    return encode(right) == r


def verify_cofactored(public: bytes, message: bytes, signature: bytes) -> bool:
    """The equation that rule SP forbids, 8R = 8(SB - hA): it shows that a vector is a real trap."""
    r, key = decode(signature[:32]), decode(public)
    assert r is not None
    assert key is not None
    s = int.from_bytes(signature[32:], "little")
    h = challenge(signature[:32], public, message)
    difference = add(multiply(s, BASE), negate(add(r, multiply(h, key))))
    return equal(multiply(8, difference), IDENTITY)


def challenge(r: bytes, public: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(r + public + message).digest(), "little") % L


def secret_scalar(seed: bytes) -> int:
    number = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little")
    return number & (1 << 254) - 8 | 1 << 254


def public_of(seed: bytes) -> bytes:
    return encode(_by_table(secret_scalar(seed) % L, _BASE_TABLES))


def sign_with(scalar: int, public: bytes, message: bytes, nonce: int, r: bytes | None = None) -> bytes:
    """A signature with everything chosen by hand: the nonce, and even an R that is not nonce * B."""
    r = encode(_by_table(nonce % L, _BASE_TABLES)) if r is None else r
    s = (nonce + challenge(r, public, message) * scalar) % L
    return r + s.to_bytes(32, "little")


Tables = list[list[Point]]


def _make_tables(point: Point) -> Tables:
    """For each of the 64 hexadecimal digits of a scalar its 16 multiples: 63 additions multiply."""
    tables = []
    for _ in range(64):
        row = [IDENTITY]
        for _ in range(15):
            row.append(add(row[-1], point))
        tables.append(row)
        point = add(row[-1], point)
    return tables


@functools.lru_cache(maxsize=32)
def _tables(public: bytes) -> Tables | None:
    point = decode(public)
    return None if point is None else _make_tables(point)


def _by_table(scalar: int, tables: Tables) -> Point:
    assert 0 <= scalar < 2**256
    result = IDENTITY
    for row in tables:
        result = add(result, row[scalar & 15])
        scalar >>= 4
    return result


_BASE_TABLES = _make_tables(BASE)
