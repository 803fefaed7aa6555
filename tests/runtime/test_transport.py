"""Links over real sockets: how they come up, what they carry, what they refuse, how they end (T1, T2)."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from syncpoint.core.config import PROTOCOL_VERSION
from syncpoint.runtime import link as link_module
from syncpoint.runtime import penalties as penalties_module
from syncpoint.runtime import transport as transport_module
from syncpoint.runtime.gate import Gate, origin_of
from syncpoint.runtime.hello import MAX_HELLO_BYTES, Hello, Refusal, decode_refusal, encode_refusal
from syncpoint.runtime.link import Link

from .nodes import (
    DEADLINE_S,
    EPOCH,
    MAX_FRAME,
    Node,
    acceptor,
    cycles,
    hello_with,
    key,
    listener,
    pair,
    port_of,
    prefixed,
    raw_accept,
    raw_client,
    running,
)

FRAMES = [b"a", b"bc" * 100, b"\x00\x00\x00\x00", b"\x01" + bytes(5), b"d" * 3000, b"e"]


# Coming up


@pytest.mark.parametrize("listening", [True, False], ids=["both bound", "not listening before its start"])
@pytest.mark.parametrize("first", [0, 1], ids=["the dialler first", "the other first"])
async def test_links_come_up_in_either_start_order(first: int, listening: bool) -> None:
    nodes = pair(listening=listening)
    async with running(nodes[first], nodes[1 - first]):
        await nodes[0].until_linked(1)
        await nodes[1].until_linked(0)
        assert nodes[0].history == [("up", 1)]
        assert nodes[1].history == [("up", 0)]
        assert not nodes[0].transport.refusals


async def test_seven_nodes_have_one_link_per_pair() -> None:
    socks = [listener() for _ in range(7)]
    ports = {creator: port_of(sock) for creator, sock in enumerate(socks)}
    nodes = [
        Node(own, sock, {peer: port for peer, port in ports.items() if peer != own}) for own, sock in enumerate(socks)
    ]
    async with running(*nodes):
        for own, node in enumerate(nodes):
            await node.until(lambda node=node: len(node.linked) == 6)  # type: ignore[misc]
            assert sorted(node.history) == [("up", peer) for peer in range(7) if peer != own]


# Frames


async def test_frames_cut_at_every_byte_arrive_intact_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = 0
    plain = Link.data_received

    def in_two(link: Link, data: bytes) -> None:
        for part in (data[:cut], data[cut:]):
            if part:
                plain(link, part)

    frames = [b"a", b"bc" * 20, bytes(4), b"\x01" + bytes(5)]
    stream = prefixed(*frames)
    left, right = pair()
    async with running(left, right):
        await left.until_linked(1)
        await right.until_linked(0)
        monkeypatch.setattr(Link, "data_received", in_two)
        for cut in range(len(stream) + 1):  # noqa: B007 - read by in_two
            for sender, receiver, to in ((left, right, 1), (right, left, 0)):
                receiver.frames.clear()
                for frame in frames:
                    sender.transport.send(to, frame)
                sender.transport.flush()
                await receiver.until(lambda r=receiver, to=to: len(r.got(1 - to)) >= len(frames))  # type: ignore[misc]
                assert receiver.got(1 - to) == frames


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 64])
async def test_a_link_comes_up_and_carries_frames_in_small_pieces(
    size: int, tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Link.data_received

    def in_pieces(link: Link, data: bytes) -> None:
        for at in range(0, max(1, len(data)), size):  # nothing at all is how a link begins
            plain(link, data[at : at + size])

    monkeypatch.setattr(Link, "data_received", in_pieces)
    left, right = pair(tls=tls)
    async with running(left, right):
        await left.until_linked(1)
        await right.until_linked(0)
        for frame in FRAMES:
            right.transport.send(0, frame)
        right.transport.flush()
        await left.until(lambda: len(left.got(1)) >= len(FRAMES))
        assert left.got(1) == FRAMES


async def test_many_frames_of_one_write_are_reported_at_once_also_those_right_after_the_hello() -> None:
    node = acceptor()
    async with running(node), raw_client(node.port) as client:
        await client.send(prefixed(hello_with(), *FRAMES))
        await node.until(lambda: bool(node.got(0)))
        assert node.got(0) == FRAMES
        assert node.history == [("up", 0)]


async def test_the_largest_frame_passes() -> None:
    left, right = pair()
    async with running(left, right):
        await left.until_linked(1)
        left.transport.send(1, bytes(MAX_FRAME))
        left.transport.flush()
        await right.until(lambda: bool(right.got(0)))
        assert right.got(0) == [bytes(MAX_FRAME)]


class Counting:
    """An asyncio transport that counts its writes."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)
        self.inner.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


async def test_one_flush_is_one_write_per_link() -> None:
    socks = [listener() for _ in range(3)]
    ports = {creator: port_of(sock) for creator, sock in enumerate(socks)}
    nodes = [
        Node(own, sock, {peer: port for peer, port in ports.items() if peer != own}) for own, sock in enumerate(socks)
    ]
    async with running(*nodes):
        await nodes[0].until_linked(1, 2)
        counts = {}
        for peer, link in nodes[0].transport._links.items():
            counts[peer] = Counting(link._transport)
            link._transport = counts[peer]  # type: ignore[assignment]
        for number in range(100):
            nodes[0].transport.broadcast(b"all %d" % number)
            nodes[0].transport.send(1, b"one %d" % number)
        assert not any(count.writes for count in counts.values()), "written before the flush"
        nodes[0].transport.flush()
        nodes[0].transport.flush()  # there is nothing left to write
        mixed = [text % number for number in range(100) for text in (b"all %d", b"one %d")]
        assert counts[1].writes == [prefixed(*mixed)]
        assert counts[2].writes == [prefixed(*(b"all %d" % number for number in range(100)))]
        await nodes[1].until(lambda: len(nodes[1].got(0)) == 200)
        await nodes[2].until(lambda: len(nodes[2].got(0)) == 100)
        assert nodes[1].got(0) == mixed


async def test_what_is_sent_without_a_link_is_gone() -> None:
    left, right = pair(listening=False)
    async with running(left):
        left.transport.send(1, b"to nobody")
        left.transport.send(5, b"to a stranger")
        left.transport.broadcast(b"to nobody")
        left.transport.flush()
        async with running(right):
            await left.until_linked(1)
            left.transport.send(1, b"to somebody")
            left.transport.flush()
            await right.until(lambda: bool(right.got(0)))
            assert right.got(0) == [b"to somebody"]
            assert left.transport.dropped_frames == 0


# Junk


@pytest.mark.parametrize("length", [0, MAX_FRAME + 1, 2**31, 2**32 - 1])
async def test_a_frame_of_a_forbidden_length_closes_the_link(length: int) -> None:
    node = acceptor()
    async with running(node), raw_client(node.port) as client:
        await client.hello(0, 1)
        await client.send(prefixed(b"good") + struct.pack("<I", length))
        assert await client.closed_after() == b""
        await node.until(lambda: node.history == [("up", 0), ("down", 0)])
        assert node.linked == []


@pytest.mark.parametrize("length", [0, MAX_FRAME + 1])
async def test_the_dialler_comes_back_after_junk(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(penalties_module, "FIRST_PENALTY_S", 0.001)
    server = listener()
    node = Node(0, listener(), {1: port_of(server)})
    with server:
        async with running(node):
            for turn in range(3):
                async with raw_accept(server) as link:
                    hello = Hello.decode(await link.frame())
                    assert isinstance(hello, Hello)
                    assert (hello.key, hello.expected, hello.epoch_id) == (key(0), key(1), EPOCH)
                    await link.send(prefixed(hello_with(1, 0)))
                    await node.until(lambda turn=turn: len(node.history) == 2 * turn + 1)  # type: ignore[misc]
                    await link.send(struct.pack("<I", length))
                    await link.closed_after()
                await node.until(lambda turn=turn: len(node.history) == 2 * turn + 2)  # type: ignore[misc]
            assert node.history == [("up", 1), ("down", 1)] * 3


async def test_drop_closes_one_link_and_it_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(penalties_module, "FIRST_PENALTY_S", 0.001)
    left, right = pair()
    async with running(left, right):
        await right.until_linked(0)
        right.transport.drop(0)
        right.transport.drop(7)  # nobody
        await right.until(lambda: right.history == [("up", 0), ("down", 0), ("up", 0)])
        await left.until(lambda: left.history == [("up", 1), ("down", 1), ("up", 1)])


# HELLO


def with_version(frame: bytes, version: int) -> bytes:
    return frame[:7] + struct.pack("<H", version) + frame[9:]


BAD_HELLOS = {
    "another network": (hello_with(network_id=b"X" * 32), Refusal.NETWORK),
    "another limit": (hello_with(max_frame_bytes=MAX_FRAME + 1), Refusal.LIMITS),
    "an unknown purpose": (hello_with()[:-9] + b"\x02" + hello_with()[-8:], Refusal.MALFORMED),
    "another version": (with_version(hello_with(), PROTOCOL_VERSION + 1), Refusal.VERSION),
    "another version, of which only the start is known": (
        with_version(hello_with(), 7)[:20] + bytes(99),
        Refusal.VERSION,
    ),
    "a stranger": (hello_with(key=key(9)), Refusal.NOT_A_MEMBER),
    "our own key": (hello_with(key=key(1)), Refusal.NOT_A_MEMBER),
    "meant for another": (hello_with(expected=key(2)), Refusal.WRONG_PEER),
    "another magic": (b"\x01SYNCPT" + hello_with()[7:], Refusal.MALFORMED),
    "another frame": (b"\x10" + hello_with()[1:], Refusal.MALFORMED),
    "too short": (hello_with()[:-1], Refusal.MALFORMED),
    "too long": (hello_with() + b"\0", Refusal.MALFORMED),
    "one byte": (b"\x01", Refusal.MALFORMED),
}


@pytest.mark.parametrize(("hello", "refusal"), BAD_HELLOS.values(), ids=BAD_HELLOS)
async def test_whoever_dials_with_a_wrong_hello_is_told_why(hello: bytes, refusal: Refusal) -> None:
    node = acceptor()
    async with running(node), raw_client(node.port) as client:
        await client.send(prefixed(hello))
        assert await client.closed_after() == prefixed(encode_refusal(refusal))
        assert node.history == []
        assert not node.transport.gate


@pytest.mark.parametrize(
    "words",
    [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", struct.pack("<I", 0), struct.pack("<I", MAX_HELLO_BYTES + 1)],
    ids=["HTTP", "nothing", "more than a HELLO"],
)
async def test_other_protocols_are_cut_off(words: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "syncpoint.transport")
    node = acceptor()
    async with running(node), raw_client(node.port) as client:
        await client.send(words)
        assert await client.closed_after() == b""
        assert node.history == []
        assert not node.transport.gate
        assert Refusal.MALFORMED.advice in caplog.text
        assert not [record for record in caplog.records if record.levelno > logging.INFO], "a stranger fills the log"


def answer_with(**fields: Any) -> bytes:
    return hello_with(1, 0, **fields)


BAD_ANSWERS = {
    "another network": (prefixed(answer_with(network_id=b"X" * 32)), Refusal.NETWORK),
    "another limit": (prefixed(answer_with(max_frame_bytes=1)), Refusal.LIMITS),
    "another version": (prefixed(with_version(answer_with(), 2)), Refusal.VERSION),
    "another peer": (prefixed(answer_with(key=key(2))), Refusal.WRONG_PEER),
    "an answer to another": (prefixed(answer_with(expected=key(2))), Refusal.WRONG_PEER),
    "an event": (prefixed(b"\x10event"), Refusal.MALFORMED),
    "a web server": (b"HTTP/1.1 400 Bad Request\r\n\r\n", Refusal.MALFORMED),
    "an unknown refusal": (prefixed(struct.pack("<BH", 2, 999)), Refusal.MALFORMED),
    **{f"refused: {refusal.name}": (prefixed(encode_refusal(refusal)), refusal) for refusal in Refusal},
}


@pytest.mark.parametrize(("answer", "refusal"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_a_dialler_notes_why_there_is_no_link_until_there_is_one(
    answer: bytes, refusal: Refusal, caplog: pytest.LogCaptureFixture
) -> None:
    server = listener()
    node = Node(0, listener(), {1: port_of(server)})
    with server:
        async with running(node):
            for _ in range(2):
                async with raw_accept(server) as link:
                    await link.frame()
                    await link.send(answer)
                    await link.closed_after()
            assert node.history == []
            assert node.transport.refusals == {1: refusal.advice}
            assert caplog.text.count(refusal.advice) == 1, "said twice"
            async with raw_accept(server) as link:
                await link.frame()
                await link.send(prefixed(answer_with()))
                await node.until_linked(1)
                assert node.transport.refusals == {}


def test_the_advice_says_what_to_do() -> None:
    words = {
        Refusal.MALFORMED: "something other than a syncpoint peer",
        Refusal.VERSION: "install the same",
        Refusal.NETWORK: "give both the same",
        Refusal.NOT_A_MEMBER: "add it",
        Refusal.WRONG_PEER: "check which address",
        Refusal.EPOCH: "wait until",
        Refusal.LIMITS: "install the same",
        Refusal.CERTIFICATE: "something stands between",
        Refusal.BACK_OFF: "look for a second program",
    }
    assert set(words) == set(Refusal)
    for refusal, word in words.items():
        assert word in refusal.advice
        assert decode_refusal(encode_refusal(refusal)) is refusal
    assert decode_refusal(b"") is None
    assert decode_refusal(hello_with()) is None


# Limits


async def test_a_silent_client_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "HELLO_TIMEOUT_S", 0.05)
    node = acceptor()
    async with running(node), raw_client(node.port) as silent, raw_client(node.port) as slow:
        await slow.send(prefixed(hello_with())[:20])
        assert await silent.closed_after() == b""
        assert await slow.closed_after() == b""
        assert not node.transport.gate
        assert node.history == []


async def test_a_silent_server_is_left_and_dialled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "HELLO_TIMEOUT_S", 0.05)
    server = listener()
    node = Node(0, listener(), {1: port_of(server)})
    with server:
        async with running(node):
            for _ in range(2):
                async with raw_accept(server) as link:
                    await link.closed_after()
            assert node.history == []


async def test_a_link_that_is_up_may_be_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "HELLO_TIMEOUT_S", 0.05)
    left, right = pair()
    async with running(left, right), raw_client(right.port) as silent:
        await left.until_linked(1)
        await silent.closed_after()  # so the limit has passed for it, and before that for the link
        assert left.history == [("up", 1)]
        assert right.history == [("up", 0)]


async def test_only_so_many_may_wait_before_their_hello(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "MAX_HANDSHAKES", 2)
    node = acceptor()
    async with running(node), raw_client(node.port) as first, raw_client(node.port):
        async with asyncio.timeout(DEADLINE_S):
            while len(node.transport.gate) < 2:
                await cycles(1)
        async with raw_client(node.port) as third:
            assert await first.closed_after() == b"", "the oldest makes room"
            assert len(node.transport.gate) == 2
            await third.hello(0, 1)
            await node.until_linked(0)
            assert len(node.transport.gate) == 1, "who is linked waits no longer"


def test_the_gate_takes_from_whoever_crowds_it() -> None:
    ended: list[str] = []
    gate = Gate(4)
    for who, host in (("a1", "a"), ("b1", "b"), ("b2", "b"), ("c1", "c"), ("d1", "d"), ("b3", "b"), ("b4", "b")):
        gate.enter(who, host, lambda who=who: ended.append(who))  # type: ignore[misc]
    assert ended == ["b1", "a1", "b2"], "of the most crowded origin the oldest; of equals the first"
    gate.leave("c1")
    gate.leave("c1")
    gate.enter("e1", "e", lambda: ended.append("e1"))
    assert ended == ["b1", "a1", "b2"], "there was room"
    gate.close()
    assert sorted(ended[3:]) == ["b3", "b4", "d1", "e1"]
    assert not gate


def test_the_origins_of_connections() -> None:
    assert origin_of(("192.0.2.1", 5)) == origin_of(("192.0.2.1", 6)) != origin_of(("192.0.2.2", 5))
    assert origin_of(("2001:db8::1", 5, 0, 0)) == origin_of(("2001:db8::ffff:1", 6, 0, 0))
    assert origin_of(("2001:db8::1", 5, 0, 0)) != origin_of(("2001:db8:0:1::1", 5, 0, 0))
    assert origin_of(("::ffff:192.0.2.1", 5, 0, 0)) == origin_of(("192.0.2.1", 5))
    assert origin_of(("fe80::1%eth0", 5, 0, 2)) == origin_of(("fe80::2%eth0", 5, 0, 2))


async def test_silent_clients_do_not_keep_us_from_dialling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "MAX_HANDSHAKES", 1)
    left, right = pair(listening=False)
    async with running(left), raw_client(left.port) as first, raw_client(left.port):
        await first.closed_after()
        assert len(left.transport.gate) == 1
        async with running(right):
            await left.until_linked(1)
            assert len(left.transport.gate) == 1, "the link had to wait for the silent one to go"


async def test_a_slow_reader_loses_frames_and_nobody_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 200_000
    monkeypatch.setattr(transport_module, "MAX_SEND_BYTES", limit)
    socks = [listener() for _ in range(2)]
    ports = [port_of(sock) for sock in socks]
    node = Node(1, socks[1], {0: ports[0], 2: 1})
    fast = Node(0, socks[0], {1: ports[1], 2: 1})
    # Peer 2 is one that would be dialled; it is here as if it had dialled.
    async with running(node, fast), raw_client(node.port, receive_buffer=4096) as slow:
        await slow.hello(2, 1)
        await node.until_linked(0, 2)
        sent = 0
        while node.transport.dropped_frames < 10:
            frame = struct.pack("<I", sent) + bytes(60_000)
            node.transport.broadcast(frame)
            node.transport.flush()
            sent += 1
            assert node.transport._links[2].queued_bytes() <= limit
            await fast.until(lambda: len(fast.got(1)) >= sent)  # noqa: B023 - awaited at once
        assert [frame[:4] for frame in fast.got(1)] == [struct.pack("<I", number) for number in range(sent)]
        # What the slow one finds when it reads again is whole, in order, and lacks what was dropped.
        took = sent - node.transport.dropped_frames
        for number in range(took):
            assert await slow.frame() == struct.pack("<I", number) + bytes(60_000)
        node.transport.send(2, b"room again")
        node.transport.flush()
        assert await slow.frame() == b"room again"
        assert node.linked == [0, 2]


# Coming back


async def test_the_link_comes_back_when_the_peer_does() -> None:
    left, right = pair()
    async with running(left):
        async with running(right):
            await left.until_linked(1)
        await left.until_linked()
        again = Node(1, listener(listening=False, port=right.port), {0: left.port})
        async with running(again):
            await left.until_linked(1)
            left.transport.send(1, b"again")
            left.transport.flush()
            await again.until(lambda: again.got(0) == [b"again"])
        await left.until_linked()
        assert left.history == [("up", 1), ("down", 1)] * 2


async def test_the_pauses_between_dials_grow_and_start_anew_after_a_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    enough = asyncio.Event()
    server = listener(listening=False)
    plain = asyncio.sleep

    async def no_sleep(delay: float, result: None = None) -> None:
        if delay:
            pauses.append(delay)
            if len(pauses) == 8:
                enough.set()
            if len(pauses) >= 8:
                server.listen()
        await plain(0)

    monkeypatch.setattr(asyncio, "sleep", no_sleep)
    monkeypatch.setattr(random, "uniform", lambda low, high: 1.0)
    node = Node(0, listener(), {1: port_of(server)})
    with server:
        async with running(node):
            await asyncio.wait_for(enough.wait(), DEADLINE_S)
            assert pauses[:8] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
            async with raw_accept(server) as link:
                await link.frame()
                await link.send(prefixed(answer_with()))
                await node.until_linked(1)
                before = len(pauses)
            async with raw_accept(server):
                assert pauses[before] == 0.05


async def test_the_pauses_are_jittered(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float]] = []
    done = asyncio.Event()

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        done.set()
        return low

    monkeypatch.setattr(random, "uniform", uniform)
    gone = listener(listening=False)
    node = Node(0, listener(), {1: port_of(gone)})
    with gone:
        async with running(node):
            await asyncio.wait_for(done.wait(), DEADLINE_S)
    assert asked[0] == (0.5, 1.5)


async def test_the_newer_link_replaces_the_older() -> None:
    node = acceptor()
    async with running(node), raw_client(node.port) as old, raw_client(node.port) as new:
        await old.hello(0, 1)
        await old.send(prefixed(b"old"))
        await node.until(lambda: node.got(0) == [b"old"])
        node.transport.send(0, b"queued for the old one")
        await new.hello(0, 1)
        await old.closed_after()
        assert node.history == [("up", 0), ("down", 0), ("up", 0)]
        node.transport.send(0, b"to the new one")
        node.transport.flush()
        assert await new.frame() == b"to the new one"
        await new.send(prefixed(b"new"))
        await node.until(lambda: node.got(0) == [b"old", b"new"])
        assert node.linked == [0]


# Standing still


async def test_paused_links_are_not_read_until_they_are_resumed() -> None:
    node = acceptor()
    async with running(node), raw_client(node.port) as client:
        await client.hello(0, 1)
        await node.until_linked(0)
        node.transport.pause()
        node.transport.pause()
        await client.send(prefixed(*FRAMES))
        await cycles()
        assert node.got(0) == []
        node.transport.send(0, b"we may still speak")
        node.transport.flush()
        assert await client.frame() == b"we may still speak"
        node.transport.resume()
        node.transport.resume()
        await node.until(lambda: len(node.got(0)) == len(FRAMES))
        assert node.got(0) == FRAMES


async def test_a_link_that_comes_up_in_a_pause_is_paused_too() -> None:
    node = acceptor()
    async with running(node), raw_client(node.port) as client:
        node.transport.pause()
        await client.hello(0, 1)
        await node.until_linked(0)
        await client.send(prefixed(*FRAMES))
        await cycles()
        assert node.got(0) == []
        node.transport.resume()
        await node.until(lambda: len(node.got(0)) == len(FRAMES))


# The end


def open_files() -> int:
    """How many files and sockets the process has; without /proc nothing to count."""
    gc.collect()
    folder = Path("/proc/self/fd")
    return len(os.listdir(folder)) if folder.exists() else 0


def others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


async def nothing(left: Node, right: Node) -> None:
    pass


async def linked(left: Node, right: Node) -> None:
    await left.until_linked(1)
    await right.until_linked(0)


async def paused(left: Node, right: Node) -> None:
    await linked(left, right)
    left.transport.pause()
    right.transport.pause()


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("state", [nothing, linked, paused])
async def test_close_leaves_nothing(state: Callable[[Node, Node], Any], first: int) -> None:
    before = open_files()
    nodes = pair()
    async with running(nodes[first], nodes[1 - first]):
        await state(*nodes)
    assert not others()
    await cycles(2)
    assert open_files() == before
    assert ("down", 1 - first) not in nodes[first].history, "told of what it did itself"


async def test_close_leaves_nothing_with_strangers_on_both_sides() -> None:
    before = open_files()
    with listener() as silent:
        node = Node(0, listener(), {1: port_of(silent)})
        async with raw_client(node.port), raw_accept_later(silent, node):
            pass
    assert not others()
    await cycles(2)
    assert open_files() == before


class raw_accept_later:
    """A node that runs while one stranger waits at its door, and it at the door of another."""

    def __init__(self, silent: socket.socket, node: Node) -> None:
        self.silent, self.node = silent, node

    async def __aenter__(self) -> None:
        await self.node.transport.start()
        async with raw_accept(self.silent) as link:
            await link.frame()
            async with asyncio.timeout(DEADLINE_S):
                while not self.node.transport.gate:
                    await cycles(1)
            assert len(self.node.transport.links) == 2
            await self.node.transport.close()
            await link.closed_after()

    async def __aexit__(self, *_: object) -> None:
        assert not self.node.transport.gate
        assert not self.node.transport.links


@pytest.mark.parametrize("sender", [0, 1], ids=["the dialler", "the other"])
async def test_close_writes_out_what_is_queued(sender: int) -> None:
    frame = bytes(range(256)) * 40_000
    nodes = pair(max_frame_bytes=len(frame))
    async with running(nodes[1 - sender]):
        async with running(nodes[sender]):
            await linked(*nodes)
            nodes[sender].transport.send(1 - sender, frame)
        await nodes[1 - sender].until(lambda: bool(nodes[1 - sender].got(sender)))
        assert nodes[1 - sender].got(sender) == [frame]


@pytest.mark.parametrize("dialler", [True, False])
async def test_close_does_not_wait_for_ever_for_one_who_does_not_read(
    dialler: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, "CLOSE_TIMEOUT_S", 0.05)
    frame = bytes(15_000_000)
    before = open_files()
    with listener() as server:
        node = Node(0 if dialler else 1, listener(), {1 if dialler else 0: port_of(server)})
        await node.transport.start()
        if dialler:
            async with raw_accept(server) as link:
                await link.frame()
                await link.send(prefixed(answer_with()))
                await stuffed(node, 1, frame)
        else:
            async with raw_client(node.port, receive_buffer=4096) as link:
                await link.hello(0, 1)
                await stuffed(node, 0, frame)
    assert not others()
    assert open_files() == before


async def stuffed(node: Node, peer: int, frame: bytes) -> None:
    """Close a node while it has more to write than the kernel takes."""
    await node.until_linked(peer)
    node.transport.send(peer, frame)
    node.transport.flush()
    assert node.transport._links[peer].queued_bytes() > 0
    await asyncio.wait_for(node.transport.close(), DEADLINE_S)


async def test_a_transport_that_is_closed_while_it_starts_accepts_nobody() -> None:
    before = open_files()
    left, right = pair()
    starting = asyncio.get_running_loop().create_task(left.transport.start())
    await asyncio.sleep(0)  # it has begun to listen
    await left.transport.close()
    await starting
    await right.transport.close()
    assert not others()
    assert open_files() == before
