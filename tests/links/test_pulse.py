"""Links whose other end is gone without a word are given up, and no others (T1)."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest
from tests.runtime.nodes import DEADLINE_S, Node, acceptor, pair, raw_client, running

from syncpoint.runtime import pulse as pulse_module
from syncpoint.runtime import transport as transport_module
from syncpoint.runtime.pulse import KEEPALIVE_COUNT, SILENCE_S, Pulse

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what was acknowledged")

IDLE = (0, 0, 99.0)
ASKED = (0, 1, 99.0)  # one question is under way
RETRIES = (3, 0, 99.0)
UNANSWERED = (0, 2, 99.0)


def first_gone(monkeypatch: pytest.MonkeyPatch, seen: list[tuple[int, int, float] | None]) -> int | None:
    """At which of some looks, one every second, a connection is gone; None when it is not."""
    with socket.socket() as sock:
        pulse = Pulse(sock, 100.0)
        for second, each in enumerate(seen, start=1):
            answer = None if each is None else pulse_module._Seen(*each)
            monkeypatch.setattr(pulse_module, "_look", lambda sock, answer=answer: answer)
            if pulse.is_gone(100.0 + second):
                return second
    return None


@pytest.mark.parametrize("due", [RETRIES, UNANSWERED])
def test_who_owes_an_answer_for_too_long_is_gone(due: tuple[int, int, float], monkeypatch: pytest.MonkeyPatch) -> None:
    late = int(SILENCE_S)
    assert first_gone(monkeypatch, [due] * 99) == late
    assert first_gone(monkeypatch, [IDLE] * 50 + [due] * 49) == 50 + late
    assert first_gone(monkeypatch, ([due] * (late - 1) + [IDLE]) * 9) is None, "each time it came back"
    assert first_gone(monkeypatch, [(*due[:2], 0.5)] * 99) is None, "it loses much, but it answers"
    assert first_gone(monkeypatch, [due] * 3 + [(*due[:2], 0.5)] + [due] * 99) == 4 + late


@pytest.mark.parametrize("seen", [IDLE, ASKED, None])
def test_who_owes_no_answer_is_there(seen: tuple[int, int, float] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert first_gone(monkeypatch, [seen] * 999) is None


@pytest.mark.parametrize("who", [0, 1], ids=["by the dialler", "by the other"])
async def test_a_dead_link_is_given_up_and_dialled_again(who: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "LOOK_S", 0.001)
    nodes = pair()
    node, peer = nodes[who], 1 - who
    async with running(*nodes):
        await node.until_linked(peer)
        dead = node.transport._links[peer]
        monkeypatch.setattr(dead, "is_dead", lambda now: True)
        await node.until(lambda: node.history == [("up", peer), ("down", peer), ("up", peer)])
        async with asyncio.timeout(DEADLINE_S):
            await dead.gone
        assert not node.transport.refusals


async def test_it_is_said_why_a_dead_link_was_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "LOOK_S", 0.001)
    node = acceptor()
    async with running(node), raw_client(node.port) as raw:
        await raw.hello(0, 1)
        await node.until_linked(0)
        monkeypatch.setattr(node.transport._links[0], "is_dead", lambda now: True)
        await node.until_linked()
        assert node.transport.refusals[0].startswith(f"no answer for {SILENCE_S:g} s")


@linux
async def test_a_peer_that_does_not_read_is_not_given_up() -> None:
    node = acceptor()
    async with running(node), raw_client(node.port, receive_buffer=4096) as raw:
        await raw.hello(0, 1)
        await node.until_linked(0)
        link = node.transport._links[0]
        while not link._full:
            node.transport.send(0, bytes(50_000))
            node.transport.flush()
            await asyncio.sleep(0)
        now = asyncio.get_running_loop().time()
        assert not any(link.is_dead(now + second) for second in range(100))
        assert node.linked == [0]


async def test_idle_links_are_asked_whether_they_are_there() -> None:
    left, right = pair()
    async with running(left, right):
        for node, peer in ((left, 1), (right, 0)):
            await node.until_linked(peer)
            assert _option(node, peer, socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            if hasattr(socket, "TCP_KEEPCNT"):
                assert _option(node, peer, socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == KEEPALIVE_COUNT


def _option(node: Node, peer: int, level: int, option: int) -> int:
    transport = node.transport._links[peer]._transport
    assert transport is not None
    return int(transport.get_extra_info("socket").getsockopt(level, option))
