"""TLS without any IO: what one end says is what the other hears, in whatever pieces it comes."""

from __future__ import annotations

import ssl

import pytest
from tests.runtime.nodes import key, seed

from syncpoint.runtime.session import MAX_RECORD_BYTES, Session
from syncpoint.runtime.tls import Tls

from .certificates import OUTSIDER


def sessions(client: int = 0, *, known: int = 0) -> tuple[Session, Session]:
    """The ends of a connection from somebody to peer 1, who knows one key."""
    return Tls(seed(client), [key(1)]).session(server=False), Tls(seed(1), [key(known)]).session(server=True)


def carry(source: Session, target: Session, size: int = 1 << 20, data: bytes = b"") -> bytes:
    """Bring `data`, or else what TLS has to say, from one end to the other in pieces; what was heard."""
    data = data or source.words()
    return b"".join(target.take(data[at : at + size]) for at in range(0, len(data), size))


def shake(client: Session, server: Session, size: int = 1 << 20) -> None:
    client.take(b"")
    for _ in range(2):
        carry(client, server, size)
        carry(server, client, size)


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("length", [1, 300, MAX_RECORD_BYTES, MAX_RECORD_BYTES + 1, 5 * MAX_RECORD_BYTES])
def test_what_is_sealed_is_heard_in_whatever_pieces_it_comes(length: int, size: int) -> None:
    client, server = sessions()
    assert not client.established
    assert client.key is None
    shake(client, server, size)
    assert client.established
    assert server.established
    assert (client.key, server.key) == (key(1), key(0))
    data = bytes(range(256)) * (length // 256) + bytes(length % 256)
    for source, target in ((client, server), (server, client)):
        sealed = source.seal(data)
        assert length == 1 or data not in sealed
        assert carry(source, target, size, sealed) == data
        assert not target.ended
        assert not target.words()


def test_what_comes_with_the_end_of_the_handshake_is_heard() -> None:
    client, server = sessions()
    client.take(b"")
    carry(client, server)
    carry(server, client)
    assert carry(client, server, data=client.words() + client.seal(b"hello")) == b"hello"


@pytest.mark.parametrize(("client", "known"), [(OUTSIDER, 0), (0, 2)], ids=["an outsider", "of another network"])
def test_who_is_refused_hears_of_it(client: int, known: int) -> None:
    left, right = sessions(client, known=known)
    left.take(b"")
    carry(left, right)
    carry(right, left)
    with pytest.raises(ssl.SSLCertVerificationError):
        carry(left, right)
    assert not right.established
    assert right.key is None
    with pytest.raises(ssl.SSLError, match="ALERT"):
        carry(right, left)


@pytest.mark.parametrize("at", [0, 5, -1])
def test_a_changed_byte_is_not_taken(at: int) -> None:
    client, server = sessions()
    shake(client, server)
    sealed = bytearray(client.seal(bytes(100)))
    sealed[at] ^= 1
    with pytest.raises(ssl.SSLError):
        server.take(bytes(sealed))
    assert server.words(), "it says why"


def test_the_end_is_told() -> None:
    client, server = sessions()
    assert client.farewell() == b"", "nobody was told of a beginning"
    shake(client, server)
    last = client.seal(b"last") + client.farewell()
    assert carry(client, server, data=last + bytes(100)) == b"last", "what comes after the end is not heard"
    assert server.ended
    assert server.farewell(), "the other end says so, too"
