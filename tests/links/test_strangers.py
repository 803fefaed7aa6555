"""Connections that say nothing, or nothing that is worth an answer, cost little and stand in nobody's way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

import pytest
from tests.runtime.nodes import Node, cycles, hello_with, key, listener, raw_client, running, seed

from syncpoint.runtime import link as link_module
from syncpoint.runtime import strangers as strangers_module
from syncpoint.runtime import transport as transport_module
from syncpoint.runtime.tls import Tls

from .test_tls import connected, gate_is_empty, honest_link, shake, until


def greeting() -> bytes:
    """What a TLS client says first."""
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        Tls(seed(0), [key(1)]).client.wrap_bio(coming, going, server_side=False).do_handshake()
    return going.read()


def victim() -> Node:
    return Node(1, listener(), {0: 1, 2: 1}, tls=True)


def handshakes(node: Node) -> int:
    return len(node.transport.gate)


def waiting(node: Node) -> int:
    return len(node.transport._strangers.gate)


@pytest.mark.parametrize("size", [0, 1, 4, 5, 100])
async def test_tls_does_not_begin_before_a_whole_greeting(size: int) -> None:
    node, words = victim(), greeting()
    async with running(node), raw_client(node.port) as client:
        await client.send(words[:size])
        await until(lambda: waiting(node) == 1)
        await cycles()
        assert handshakes(node) == 0
        await client.send(words[size:])
        answer = await client.exactly(5)
        assert answer[:2] == b"\x16\x03", "TLS answers"
        assert waiting(node) == 0
        await honest_link(node)


@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\xff\xff" + bytes(100),
        b"\x17\x03\x03\x00\x10" + bytes(16),
        b"\x16\x02\x00\x00\x10" + bytes(16),
        b"\x80\x2e\x01\x00\x02" + bytes(46),
    ],
    ids=["HTTP", "too long", "another record", "another version", "SSL 2"],
)
async def test_who_does_not_greet_as_tls_does_is_cut_off(words: bytes) -> None:
    node = victim()
    async with running(node), raw_client(node.port) as client:
        await client.send(words)
        assert await client.closed_after() == b""
        assert waiting(node) == handshakes(node) == 0


async def test_who_hangs_up_is_forgotten() -> None:
    node = victim()
    async with running(node):
        async with raw_client(node.port), raw_client(node.port) as half:
            await half.send(greeting()[:50])
            await until(lambda: waiting(node) == 2)
        await until(lambda: waiting(node) == 0)


async def test_who_is_silent_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strangers_module, "HELLO_TIMEOUT_S", 0.05)
    node = victim()
    async with running(node), raw_client(node.port) as silent, raw_client(node.port) as half:
        await half.send(greeting()[:50])
        assert await silent.closed_after() == b""
        assert await half.closed_after() == b""
        assert waiting(node) == handshakes(node) == 0


@pytest.mark.parametrize("member", [False, True], ids=["after its greeting", "before its HELLO"])
async def test_who_falls_silent_in_tls_is_cut_off(member: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    node = victim()
    async with running(node), raw_client(node.port) as client:
        monkeypatch.setattr(link_module, "HELLO_TIMEOUT_S", 0.3 if member else 0.05)
        if member:
            await shake(client, Tls(seed(0), [key(1)]).session(server=False))
        else:
            await client.send(greeting())
        await client.closed_after()
        await gate_is_empty(node)
        assert node.history == []


async def test_silent_ones_do_not_keep_a_peer_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strangers_module, "MAX_STRANGERS", 3)
    node = victim()
    async with running(node), contextlib.AsyncExitStack() as stack:
        for _ in range(8):
            await stack.enter_async_context(raw_client(node.port))
        await until(lambda: waiting(node) == 3)
        await honest_link(node)


async def test_half_handshakes_do_not_keep_a_peer_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "MAX_HANDSHAKES", 3)
    node = victim()
    async with running(node), contextlib.AsyncExitStack() as stack:
        for _ in range(8):
            client = await stack.enter_async_context(raw_client(node.port))
            await client.send(greeting())
            await client.exactly(5)
        assert handshakes(node) == 3
        await honest_link(node)


async def test_members_without_a_hello_do_not_keep_a_peer_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "MAX_HANDSHAKES", 3)
    node = victim()
    async with running(node), contextlib.AsyncExitStack() as stack:
        for _ in range(8):
            await stack.enter_async_context(connected(node.port, Tls(seed(2), [key(1)]).client))
        await until(lambda: handshakes(node) == 3)
        await honest_link(node)


async def test_close_sends_all_away() -> None:
    node = victim()
    async with raw_client(port := node.port) as silent, raw_client(port) as half, raw_client(port) as greeted:
        async with running(node):
            await half.send(greeting()[:50])
            await greeted.send(greeting())
            await until(lambda: waiting(node) == 2 and handshakes(node) == 1)
        for client in (silent, half, greeted):
            await client.closed_after()
    assert not asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]


class Exhausted:
    """A listener of a system that cannot accept at first."""

    def __init__(self, inner: socket.socket) -> None:
        self.inner = inner
        self.refusals = 3

    def accept(self) -> object:
        if self.refusals:
            self.refusals -= 1
            raise OSError(24, "Too many open files")
        return self.inner.accept()

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


async def test_a_system_that_is_out_of_descriptors_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strangers_module, "ACCEPT_PAUSE_S", 0.001)
    node = victim()
    listening = Exhausted(node.transport._strangers._listener)
    node.transport._strangers._listener = listening  # type: ignore[assignment]
    async with running(node):
        await honest_link(node)
    assert listening.refusals == 0


async def test_a_hello_may_come_with_the_end_of_the_handshake() -> None:
    node = victim()
    async with running(node), connected(node.port, Tls(seed(0), [key(1)]).client) as (reader, writer):
        writer.write(len(hello_with()).to_bytes(4, "little") + hello_with() + b"\x05\x00\x00\x00frame")
        await node.until(lambda: node.got(0) == [b"frame"])
        assert reader is not None
