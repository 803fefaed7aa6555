"""Who is let in: links over TLS 1.3 between keys that are known, and everything else that is refused (T1)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
import subprocess
import warnings
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography import x509
from tests.runtime.nodes import (
    DEADLINE_S,
    Node,
    Raw,
    hello_with,
    key,
    listener,
    pair,
    port_of,
    prefixed,
    raw_accept,
    raw_client,
    running,
    seed,
    settings_of,
)

from syncpoint.core.config import PROTOCOL_VERSION
from syncpoint.core.crypto import Signer
from syncpoint.runtime import link as link_module
from syncpoint.runtime import tls as tls_module
from syncpoint.runtime.certificate import anchor_of, certificate_of, key_of
from syncpoint.runtime.hello import Hello, Refusal, encode_refusal
from syncpoint.runtime.session import Session
from syncpoint.runtime.tls import Tls

from .certificates import OUTSIDER, context, forged, genuine, key_pem, pem, self_signed

T = TypeVar("T")


def three(**more: Any) -> list[Node]:
    """Peers 0, 1 and 2; 0 dials 1 and 2, and 1 dials 2."""
    socks = [listener() for _ in range(3)]
    ports = {creator: port_of(sock) for creator, sock in enumerate(socks)}
    return [
        Node(own, sock, {peer: port for peer, port in ports.items() if peer != own}, tls=True, **more)
        for own, sock in enumerate(socks)
    ]


# -- the certificate -------------------------------------------------------------------------------------


def test_a_certificate_is_what_x509_says() -> None:
    signer = Signer(seed(1))
    made = x509.load_der_x509_certificate(certificate_of(signer))
    trusted = x509.load_der_x509_certificate(anchor_of(signer.public))
    made.verify_directly_issued_by(trusted)
    assert made.public_key().public_bytes_raw() == signer.public  # type: ignore[union-attr]
    assert made.not_valid_after_utc.year == 9999
    assert certificate_of(signer) == genuine(1), "it never changes"
    assert certificate_of(Signer(seed(2))) != genuine(1)


def test_the_key_of_a_certificate_and_of_nothing_else() -> None:
    certificate = genuine(1)
    assert key_of(certificate) == key(1)
    signature = len(certificate) - 64
    for at in range(len(certificate)):
        for changed in (certificate[at] ^ 1, certificate[at] ^ 0x80):
            other = certificate[:at] + bytes([changed]) + certificate[at + 1 :]
            assert key_of(other) == (key(1) if at >= signature else None), f"byte {at}"
    for size in range(len(certificate)):
        assert key_of(certificate[:size]) is None
    assert key_of(certificate + b"\0") is None
    assert key_of(anchor_of(key(1))) is None
    assert key_of(forged(1, 1, 1)) is None, "other dates"


@pytest.mark.parametrize("form", ["memory", "pipe", "file"])
def test_the_secret_reaches_tls_on_every_system(form: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if form != "memory":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    if form == "file":
        monkeypatch.setattr(tls_module.os.path, "isdir", lambda path: False)
    monkeypatch.setattr(tls_module.tempfile, "tempdir", str(tmp_path))
    made = Tls(seed(1), [key(0)])
    assert made.client.get_ca_certs(binary_form=True) == [anchor_of(key(0))]
    assert list(tmp_path.iterdir()) == [], "left behind"


def test_strict_checks_take_the_certificate_too(tmp_path: Path) -> None:
    (tmp_path / "leaf.pem").write_text(pem(genuine(1)))
    (tmp_path / "anchor.pem").write_text(pem(anchor_of(key(1))))
    command = ["openssl", "verify", "-x509_strict", "-CAfile", "anchor.pem", "leaf.pem"]
    try:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError:
        pytest.skip("no openssl command")
    assert done.returncode == 0, done.stderr


# -- links -----------------------------------------------------------------------------------------------


async def test_peers_link_and_exchange_frames() -> None:
    nodes = three()
    frames = [b"a", b"b" * 100_000, bytes(1)] * 20
    async with running(*nodes):
        for own, node in enumerate(nodes):
            await node.until_linked(*(peer for peer in range(3) if peer != own))
        for own, node in enumerate(nodes):
            for frame in frames:
                node.transport.broadcast(frame)
            node.transport.flush()
            for other in nodes:
                if other is not node:
                    await other.until(lambda other=other, own=own: len(other.got(own)) == len(frames))  # type: ignore[misc]
                    assert other.got(own) == frames
        for link in nodes[0].transport._links.values():
            assert link._session._tls.version() == "TLSv1.3"
        assert all(not node.transport.refusals and not node.transport.gate for node in nodes)


async def test_who_dials_whom_follows_from_who_can_be_reached() -> None:
    def dials(own: int, public: bool, other: int, other_public: bool) -> bool:
        settings = settings_of(own, {other: 1}, public=public)
        peer = settings.peers[0]
        return settings.dials(type(peer)(other, peer.key, peer.host, peer.port, other_public))

    for left in (False, True):
        for right in (False, True):
            assert dials(0, left, 1, right) != dials(1, right, 0, left), "exactly one of the two"
    assert dials(0, False, 1, False)
    assert dials(0, True, 1, True)
    assert dials(1, False, 0, True), "the higher number behind NAT dials"
    assert not dials(0, True, 1, False), "who cannot be reached is not dialled"


# -- attackers -------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def connected(port: int, tls: ssl.SSLContext) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname="")
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answer_of(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the other side closes, or breaks off."""
    data = b""
    with contextlib.suppress(OSError):
        async with asyncio.timeout(DEADLINE_S):
            while more := await reader.read(65536):
                data += more
    return data


def chains(names: int) -> dict[str, tuple[tuple[bytes, ...], int]]:
    """Certificates with which somebody tries to be peer `names`, each with the key that it holds."""
    member = 2  # another member, who helps
    return {
        "no certificate": ((), OUTSIDER),
        "an outsider": ((genuine(OUTSIDER),), OUTSIDER),
        "an outsider and its anchor": ((genuine(OUTSIDER), anchor_of(key(OUTSIDER))), OUTSIDER),
        "an outsider with the name of a member": ((forged(names, OUTSIDER, OUTSIDER),), OUTSIDER),
        "an outsider with the name and the issuer of a member": ((with_issuer(names),), OUTSIDER),
        "self-signed": ((self_signed(f"sp-anchor-{names}", OUTSIDER),), OUTSIDER),
        "issued by a member for an outsider": ((forged(names, OUTSIDER, member),), OUTSIDER),
        "issued by a member in a chain": (
            (forged(names, OUTSIDER, 98), forged(98, 98, member, ca=True)),
            OUTSIDER,
        ),
        "expired": ((forged(names, names, names, days=(-10, -5)),), names),
        "not valid yet": ((forged(names, names, names, days=(5, 10)),), names),
        "a certificate of its own making": ((forged(names, names, names),), names),
    }


def with_issuer(names: int) -> bytes:
    """The genuine certificate with another key and another signature in their places."""
    genuine_one, outsider = genuine(names), genuine(OUTSIDER)
    return genuine_one.replace(key(names), key(OUTSIDER))[:-64] + outsider[-64:]


CASES = list(chains(0))


@pytest.mark.parametrize("case", CASES)
async def test_whoever_dials_with_another_certificate_comes_no_further(case: str) -> None:
    node = Node(1, listener(), {0: 1, 2: 1}, tls=True)
    chain, holder = chains(0)[case]
    async with running(node):
        with contextlib.suppress(OSError):
            async with connected(node.port, context(chain, holder, server=False)) as (reader, writer):
                writer.write(prefixed(hello_with()))
                answer = await answer_of(reader)
                assert answer in (b"", prefixed(encode_refusal(Refusal.CERTIFICATE))), "the attacker learns nothing"
        await gate_is_empty(node)
        assert node.history == []
        assert node.frames == {}
        await honest_link(node)


@pytest.mark.parametrize("case", CASES)
async def test_whoever_answers_with_another_certificate_comes_no_further(case: str) -> None:
    chain, holder = chains(1)[case]
    heard: list[bytes] = []
    if not chain:
        chain, holder = (self_signed("server", OUTSIDER),), OUTSIDER  # a server has to show one
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await answer_of(reader))
        writer.transport.abort()
        served.set()

    server = await asyncio.start_server(serve, sock=listener(), ssl=context(chain, holder, server=True))
    async with server:
        node = Node(0, listener(), {1: server.sockets[0].getsockname()[1], 2: 1}, tls=True)
        async with running(node):
            await until(lambda: 1 in node.transport.refusals)
            assert node.history == []
            words = node.transport.refusals[1]
            assert "no certificate of a peer of this network" in words or words == Refusal.CERTIFICATE.advice
    assert all(not words for words in heard), "our HELLO was told to a stranger"


async def test_a_member_that_answers_for_another_is_left() -> None:
    other = Node(2, listener(), {0: 1, 1: 1}, tls=True)
    node = Node(0, listener(), {1: other.port, 2: 1}, tls=True)
    async with running(other, node):
        await until(lambda: node.transport.refusals.get(1) == Refusal.WRONG_PEER.advice)
        assert node.history == []
        await gate_is_empty(other)
        assert other.history == []


async def test_a_member_that_claims_to_be_another_is_told_so() -> None:
    node = Node(1, listener(), {0: 1, 2: 1}, tls=True)
    async with running(node), connected(node.port, Tls(seed(2), [key(1)]).client) as (reader, writer):
        writer.write(prefixed(hello_with(0, 1)))
        assert await answer_of(reader) == prefixed(encode_refusal(Refusal.CERTIFICATE))
        assert node.history == []


@pytest.mark.parametrize("server", [False, True], ids=["who dials", "who answers"])
async def test_a_certificate_without_its_key_is_worth_nothing(server: bool) -> None:
    """What is public anyway, the certificate of a member, shown by somebody with another key."""
    problems: list[str] = []

    def attack(sock: socket.socket) -> None:
        settings, connection = tlslite_over(sock)
        stolen, secret = tlslite_certificate(genuine(1 if server else 0), OUTSIDER)
        try:
            if server:
                connection.handshakeServer(certChain=stolen, privateKey=secret, settings=settings, reqCert=True)
            else:
                connection.handshakeClientCert(stolen, secret, settings=settings)
                connection.sendall(prefixed(hello_with()))
            problems.append(f"read {bytes(connection.recv(100))!r}")
        except Exception as error:  # whatever tlslite makes of the alert
            problems.append(type(error).__name__)

    if server:
        with listener() as sock:
            node = Node(0, listener(), {1: port_of(sock), 2: 1}, tls=True)
            async with running(node):
                accepted, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(sock), DEADLINE_S)
                with accepted:
                    await asyncio.to_thread(attack, accepted)
                await until(lambda: 1 in node.transport.refusals)
                assert node.history == []
    else:
        node = Node(1, listener(), {0: 1, 2: 1}, tls=True)
        async with running(node):
            async with raw_client(node.port) as raw:
                await asyncio.to_thread(attack, raw.sock)
            await gate_is_empty(node)
            assert node.history == []
    assert len(problems) == 1
    assert not problems[0].startswith("read b'\\x"), problems


@pytest.mark.parametrize("server", [False, True], ids=["who dials", "who answers"])
async def test_tls_1_2_is_not_spoken(server: bool) -> None:
    version = ssl.TLSVersion.TLSv1_2
    if server:
        told = await asyncio.start_server(
            lambda *_: None, sock=listener(), ssl=context((genuine(1),), 1, server=True, version=version)
        )
        async with told:
            node = Node(0, listener(), {1: told.sockets[0].getsockname()[1]}, tls=True)
            async with running(node):
                await until(lambda: 1 in node.transport.refusals)
                assert node.history == []
    else:
        node = Node(1, listener(), {0: 1}, tls=True)
        async with running(node):
            with pytest.raises(OSError):
                async with connected(node.port, context((genuine(0),), 0, server=False, version=version)):
                    pass
            assert node.history == []


WRONG_WORDS = {
    "another network": ({"network_id": bytes(32)}, Refusal.NETWORK),
    "another limit": ({"max_frame_bytes": 5}, Refusal.LIMITS),
    "meant for another": ({"expected": key(2)}, Refusal.WRONG_PEER),
}


@pytest.mark.parametrize(("words", "refusal"), WRONG_WORDS.values(), ids=WRONG_WORDS)
async def test_a_member_of_something_else_is_told_so(words: dict[str, Any], refusal: Refusal) -> None:
    node = Node(1, listener(), {0: 1, 2: 1}, tls=True)
    async with running(node), connected(node.port, Tls(seed(0), [key(1)]).client) as (reader, writer):
        writer.write(prefixed(hello_with(**words)))
        assert await answer_of(reader) == prefixed(encode_refusal(refusal))
        assert node.history == []


async def test_another_version_is_told_so() -> None:
    node = Node(1, listener(), {0: 1, 2: 1}, tls=True)
    hello = hello_with()
    async with running(node), connected(node.port, Tls(seed(0), [key(1)]).client) as (reader, writer):
        writer.write(prefixed(hello[:7] + struct.pack("<H", PROTOCOL_VERSION + 1) + hello[9:]))
        assert await answer_of(reader) == prefixed(encode_refusal(Refusal.VERSION))


async def test_a_dialler_hears_of_its_refusal() -> None:
    node = Node(1, listener(), {0: 1, 2: 1}, tls=True)
    dialler = Node(0, listener(), {1: node.port}, tls=True, max_frame_bytes=5)
    async with running(node, dialler):
        await until(lambda: dialler.transport.refusals.get(1) == Refusal.LIMITS.advice)
        assert node.history == dialler.history == []


async def test_one_who_is_not_known_there_hears_of_it() -> None:
    node = Node(1, listener(), {2: 1}, tls=True)
    dialler = Node(0, listener(), {1: node.port}, tls=True)
    async with running(node, dialler):
        await until(lambda: "is our key among its peers" in dialler.transport.refusals.get(1, ""))
        assert node.history == dialler.history == []


async def test_recorded_bytes_are_worth_nothing() -> None:
    """All that a member sent in a good session, sent again by somebody else."""
    node = Node(1, listener(), {0: 1, 2: 1}, tls=True)
    recorded = bytearray()
    loop = asyncio.get_running_loop()
    async with running(node):
        with listener() as proxy:
            dialler = Node(0, listener(), {1: port_of(proxy)}, tls=True)
            async with running(dialler), raw_accept(proxy) as outer, raw_client(node.port) as inner:
                jobs = [
                    loop.create_task(relay(outer.sock, inner.sock, recorded)),
                    loop.create_task(relay(inner.sock, outer.sock, bytearray())),
                ]
                await node.until_linked(0)
                await dialler.until_linked(1)
                dialler.transport.send(1, b"pay 5")
                dialler.transport.flush()
                await node.until(lambda: node.got(0) == [b"pay 5"])
                for job in jobs:
                    job.cancel()
                await asyncio.gather(*jobs, return_exceptions=True)
        await node.until(lambda: node.history == [("up", 0), ("down", 0)])
        async with raw_client(node.port) as client:
            await client.send(bytes(recorded))
            await client.closed_after()
        await gate_is_empty(node)
        assert node.got(0) == [b"pay 5"]
        assert node.history == [("up", 0), ("down", 0)]


async def relay(source: socket.socket, target: socket.socket, record: bytearray) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, 65536):
        record += data
        await loop.sock_sendall(target, data)


async def test_junk_over_tls_costs_its_sender_the_link_and_nobody_else() -> None:
    nodes = three()
    await nodes[0].transport.close()  # somebody else has its key
    async with running(nodes[1], nodes[2]):
        await nodes[1].until_linked(2)
        async with connected(nodes[1].port, Tls(seed(0), [key(1)]).client) as (reader, writer):
            writer.write(prefixed(hello_with()) + struct.pack("<I", 2**31) + os.urandom(1000))
            answer = await answer_of(reader)
            assert isinstance(Hello.decode(answer[4:]), Hello)
        await nodes[1].until(lambda: ("down", 0) in nodes[1].history)
        async with connected(nodes[1].port, Tls(seed(0), [key(1)]).client) as (reader, writer):
            writer.write(prefixed(hello_with()))
            assert await answer_of(reader) == prefixed(encode_refusal(Refusal.BACK_OFF))
        assert nodes[1].linked == [2]
        assert sum(nodes[1].transport.rejects.values()) == 1


async def test_a_slow_reader_does_not_fill_our_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What TLS has taken from us is bounded too: it stops us before it holds much."""
    node = Node(1, listener(), {0: 1, 2: 1}, tls=True)
    async with running(node), connected(node.port, Tls(seed(0), [key(1)]).client) as (_, writer):
        writer.transport.pause_reading()
        writer.write(prefixed(hello_with()))
        await node.until_linked(0)
        while not node.transport.dropped_frames:
            node.transport.send(0, bytes(90_000))
            node.transport.flush()
            await asyncio.sleep(0)
        link = node.transport._links[0]
        assert link._outbox_bytes > 15 * 2**20, "it waits with us, where it counts"


async def test_new_keys_are_taken() -> None:
    def speak(connection: Any) -> bytes:
        for _ in connection.send_keyupdate_request(1):
            """It is on its way."""
        connection.sendall(prefixed(b"with new keys"))
        return bytes(connection.read(min=9, max=9))

    async with linked_with_tlslite(speak) as (node, spoken):
        await node.until(lambda: node.got(1) == [b"with new keys"])
        node.transport.send(1, b"of us")
        node.transport.flush()
        assert await spoken == prefixed(b"of us")


# -- the end ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sender", [0, 1], ids=["the dialler", "the other"])
@pytest.mark.parametrize("paused", [False, True])
async def test_close_says_so_after_all_that_is_queued(sender: int, paused: bool) -> None:
    frames = [bytes([number]) * 90_000 for number in range(50)]
    nodes = pair(tls=True)
    here, there = nodes[sender], nodes[1 - sender]
    async with running(there):
        async with running(here):
            await here.until_linked(1 - sender)
            await there.until_linked(sender)
            link = there.transport._links[sender]
            if paused:
                here.transport.pause()
            there.transport.send(sender, bytes(90_000))  # what is on its way here must not break the end
            there.transport.flush()
            for frame in frames:
                here.transport.send(1 - sender, frame)
        await asyncio.wait_for(link.gone, DEADLINE_S)
        assert [frame[:1] for frame in there.got(sender)] == [frame[:1] for frame in frames]
        assert link._session.ended


async def test_one_who_does_not_close_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "SHUTDOWN_TIMEOUT_S", 0.05)
    node = Node(1, listener(), {0: 1, 2: 1}, tls=True)
    session = Tls(seed(0), [key(1)]).session(server=False)
    async with running(node), raw_client(node.port) as raw:
        await shake(raw, session)
        await raw.send(session.seal(prefixed(hello_with(network_id=bytes(32)))))
        assert await hear(raw, session) == prefixed(encode_refusal(Refusal.NETWORK))
        await gate_is_empty(node)


async def test_a_changed_byte_ends_the_link() -> None:
    node = Node(1, listener(), {0: 1, 2: 1}, tls=True)
    session = Tls(seed(0), [key(1)]).session(server=False)
    async with running(node), raw_client(node.port) as raw:
        await shake(raw, session)
        await raw.send(session.seal(prefixed(hello_with())))
        await node.until_linked(0)
        sealed = session.seal(prefixed(b"pay 5"))
        await raw.send(sealed[:-1] + bytes([sealed[-1] ^ 1]))
        with pytest.raises(ssl.SSLError, match="ALERT"):
            await hear(raw, session)
        raw.sock.shutdown(socket.SHUT_RDWR)
        await node.until(lambda: node.history == [("up", 0), ("down", 0)])
        assert node.got(0) == []


async def test_a_server_that_falls_silent_in_tls_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "HELLO_TIMEOUT_S", 0.05)
    with listener() as server:
        node = Node(0, listener(), {1: port_of(server)}, tls=True)
        async with running(node):
            for _ in range(2):
                async with raw_accept(server) as raw:
                    await raw.closed_after()
            assert "no answer in time" in node.transport.refusals[1]
            assert node.history == []


# -- helpers ---------------------------------------------------------------------------------------------


async def shake(raw: Raw, session: Session) -> None:
    """Get through the handshake, as whoever dials."""
    session.take(b"")
    await raw.send(session.words())
    while not session.established:
        session.take(await raw.some())
    await raw.send(session.words())


async def hear(raw: Raw, session: Session) -> bytes:
    """All that is said until the end."""
    heard = b""
    while not session.ended:
        heard += session.take(await raw.some())
    return heard


@contextlib.asynccontextmanager
async def linked_with_tlslite(speak: Callable[[Any], T]) -> AsyncIterator[tuple[Node, asyncio.Future[T]]]:
    """Node 0, and as peer 1 another TLS, which can do what Python's cannot; `speak` runs in a thread of its own."""

    def serve(sock: socket.socket) -> T:
        settings, connection = tlslite_over(sock)
        chain, secret = tlslite_certificate(genuine(1), 1)
        connection.handshakeServer(certChain=chain, privateKey=secret, settings=settings, reqCert=True)
        size = len(prefixed(hello_with()))
        connection.read(min=size, max=size)
        connection.sendall(prefixed(hello_with(1, 0)))
        return speak(connection)

    with listener() as server:
        node = Node(0, listener(), {1: port_of(server), 2: 1}, tls=True)
        async with running(node), raw_accept(server) as raw:
            spoken = asyncio.ensure_future(asyncio.to_thread(serve, raw.sock))
            yield node, spoken
            await spoken


def tlslite_over(sock: socket.socket) -> tuple[Any, Any]:
    """Settings of TLS 1.3, and a connection."""
    with warnings.catch_warnings():  # of a module that Python 3.12 no longer has
        warnings.simplefilter("ignore", DeprecationWarning)
        from tlslite import handshakesettings
        from tlslite.api import TLSConnection

    settings = handshakesettings.HandshakeSettings()
    settings.minVersion = settings.maxVersion = (3, 4)
    sock.setblocking(True)
    sock.settimeout(DEADLINE_S)
    return settings, TLSConnection(sock)


def tlslite_certificate(certificate: bytes, holder: int) -> tuple[Any, Any]:
    """A certificate and the key of `holder`."""
    from tlslite.api import X509CertChain, parsePEMKey

    chain = X509CertChain()
    chain.parsePemList(pem(certificate))
    return chain, parsePEMKey(key_pem(holder), private=True)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110 - it is said nowhere else
            await asyncio.sleep(0.001)


async def gate_is_empty(node: Node) -> None:
    await until(lambda: not node.transport.gate and not node.transport.links)


async def honest_link(node: Node) -> None:
    """An honest peer 0 still comes in."""
    peer = Node(0, listener(), {node.transport.settings.own: node.port}, tls=True)
    async with running(peer):
        await peer.until_linked(node.transport.settings.own)
        await node.until_linked(0)
