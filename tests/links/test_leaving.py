"""Links follow the peers as they change: who joins, who leaves, who has another key."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.runtime.nodes import (
    DEADLINE_S,
    Node,
    hello_with,
    key,
    listener,
    prefixed,
    raw_client,
    running,
    seed,
    settings_of,
)

from syncpoint.runtime import transport as transport_module
from syncpoint.runtime.hello import Hello, Refusal, encode_refusal
from syncpoint.runtime.leaving import LEAVING_S, Leaving
from syncpoint.runtime.links import LinkPeer, LinkSettings
from syncpoint.runtime.tls import Tls

from .test_tls import hear, shake, until


class Later:
    """The timers of a loop whose time passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Later.Handle]] = []

    class Handle:
        def __init__(self, call: Callable[[], object]) -> None:
            self.call = call
            self.cancelled = False

        def cancel(self) -> None:
            self.cancelled = True

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any, context: object = None) -> Handle:
        handle = Later.Handle(lambda: callback(*args))
        self.timers.append((self.now + delay, handle))
        return handle

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        due = [handle for at, handle in self.timers if at <= self.now]
        self.timers = [(at, handle) for at, handle in self.timers if at > self.now]
        for handle in due:
            if not handle.cancelled:
                handle.call()

    @property
    def waiting(self) -> int:
        return sum(not handle.cancelled for _, handle in self.timers)


class Network:
    """Nodes over TLS, with addresses that stay, whose peers and keys can be changed; one clock for all that leave."""

    def __init__(self, *members: int, outside: tuple[int, ...] = ()) -> None:
        """Member i has number i and secret i; those `outside` know the members and are known to nobody."""
        self.clock = Later()
        self.socks = {number: listener() for number in (*members, *outside)}
        self.ports = {number: sock.getsockname()[1] for number, sock in self.socks.items()}
        self.nodes = {number: self.node(number, *members) for number in (*members, *outside)}

    def node(self, own: int, *members: int) -> Node:
        others = {number: self.ports[number] for number in members if number != own}
        node = Node(own, self.socks[own], others, tls=True)
        node.transport._leaving._loop = self.clock  # type: ignore[assignment]
        return node

    def settings(self, node: int, roster: dict[int, tuple[int, int]]) -> LinkSettings:
        """What a node has to know of a roster: number -> whose port, and which secret."""
        own = next((number for number, (port, _) in roster.items() if port == node), 128)
        secret = roster[own][1] if own in roster else node
        return LinkSettings(
            own=own,
            seed=seed(secret),
            key=key(secret),
            network_id=settings_of(0, {}).network_id,
            epoch_id=bytes([len(roster)]) * 32,
            max_frame_bytes=settings_of(0, {}).max_frame_bytes,
            peers=[
                LinkPeer(number, key(secret), "127.0.0.1", self.ports[port])
                for number, (port, secret) in roster.items()
                if number != own
            ],
        )

    def change(self, roster: dict[int, tuple[int, int]], *nodes: int) -> None:
        """Let these nodes, all if none is given, enter an epoch with other peers."""
        for number in nodes or self.nodes:
            self.nodes[number].transport.change(self.settings(number, roster))

    async def linked(self, **links: list[int]) -> None:
        """Wait until these nodes (`n0=...`) have links to these peers."""
        for name, peers in links.items():
            await self.nodes[int(name[1:])].until_linked(*peers)


def same(*members: int) -> dict[int, tuple[int, int]]:
    return {number: (number, number) for number in members}


async def exchange(left: Node, right: Node, as_right: int, as_left: int) -> None:
    """Frames pass both ways; `as_right` is the number of `right` at `left`."""
    await left.until(lambda: as_right in left.linked)
    await right.until(lambda: as_left in right.linked)
    words = b"%d" % len(left.history + right.history) + bytes([len(right.got(as_left)) % 256])
    left.transport.send(as_right, words)
    left.transport.flush()
    await right.until(lambda: words in right.got(as_left))
    right.transport.send(as_left, words)
    right.transport.flush()
    await left.until(lambda: words in left.got(as_right))


@contextlib.asynccontextmanager
async def up(network: Network) -> AsyncIterator[dict[int, Node]]:
    async with running(*network.nodes.values()):
        yield network.nodes


async def refused(network: Network, at: int, secret: int) -> bytes | None:
    """What a caller with a secret is told; None when TLS lets it come no further."""
    session = Tls(seed(secret), [key(number) for number in range(10)]).session(server=False)
    async with raw_client(network.ports[at]) as raw:
        try:
            await shake(raw, session)
            expected = session.key
            assert expected is not None
            await raw.send(session.seal(prefixed(hello_with(secret, 0, expected=expected))))
            return await hear(raw, session)
        except (OSError, AssertionError):
            return None


# -- joining and leaving ---------------------------------------------------------------------------------


@pytest.mark.parametrize("newcomer", [0, 3], ids=["which dials", "which is dialled"])
async def test_a_member_that_joins_is_linked(newcomer: int) -> None:
    members = [number for number in range(4) if number != newcomer]
    network = Network(*members, outside=(newcomer,))
    async with up(network) as nodes:
        for number in members:
            await nodes[number].until_linked(*(each for each in members if each != number))
        assert nodes[newcomer].linked == []
        network.change(same(*range(4)), *members)
        for number in members:
            await nodes[number].until_linked(*(each for each in range(4) if each != number))
            assert not any(what == "down" for what, _ in nodes[number].history), "who stays keeps its link"
        await nodes[newcomer].until_linked(*members)
        network.change(same(*range(4)), newcomer)  # it hears of itself
        await exchange(nodes[newcomer], nodes[members[0]], members[0], newcomer)
        assert all(what == "up" for what, _ in nodes[newcomer].history), "its number of its own does not matter"
        assert network.clock.waiting == 0, "nobody has left"


async def test_a_member_that_left_is_served_for_a_while_and_then_kept_out() -> None:
    network = Network(0, 1, 2)
    async with up(network) as nodes:
        await network.linked(n0=[1, 2], n1=[0, 2])
        network.change(same(0, 1), 0, 1)  # 2 does not know yet
        network.clock.pass_by(LEAVING_S - 1)
        await exchange(nodes[0], nodes[2], 2, 0)
        nodes[0].transport.broadcast(b"to all")
        nodes[0].transport.flush()
        await nodes[2].until(lambda: b"to all" in nodes[2].got(0))
        # It may also come back, whoever dials.
        nodes[0].transport._links[2].abort()
        nodes[2].transport._links[1].abort()
        await nodes[0].until(lambda: nodes[0].history[-2:] == [("down", 2), ("up", 2)])
        await nodes[1].until(lambda: nodes[1].history[-2:] == [("down", 2), ("up", 2)])
        network.clock.pass_by(1)
        await network.linked(n0=[1], n1=[0], n2=[])
        assert await refused(network, 0, secret=2) is None, "TLS does not know it"
        assert list(nodes[0].transport._dialers) == list(nodes[0].transport.settings.peers)
        assert ("down", 1) not in nodes[0].history


async def test_a_member_that_dials_comes_back_with_another_number() -> None:
    network = Network(0, 1, 2)
    async with up(network) as nodes:
        await network.linked(n0=[1, 2], n1=[0, 2], n2=[0, 1])
        network.change(same(1, 2), 1)
        network.change({1: (1, 1), 2: (2, 2), 5: (0, 0)}, 1)
        await nodes[1].until_linked(2, 5)
        await exchange(nodes[1], nodes[0], 5, 1)


async def test_a_member_comes_back_with_another_number() -> None:
    network = Network(0, 1, 2)
    async with up(network) as nodes:
        await network.linked(n0=[1, 2], n1=[0, 2], n2=[0, 1])
        network.change(same(0, 1), 0, 1)
        again = {0: (0, 0), 1: (1, 1), 5: (2, 2)}
        network.change(again, 0, 1)
        await network.linked(n0=[1, 5], n1=[0, 5])
        network.change(again, 2)
        await exchange(nodes[0], nodes[2], 5, 0)
        assert network.clock.waiting == 0
        network.clock.pass_by(2 * LEAVING_S)
        assert nodes[0].linked == [1, 5], "it is here to stay"


async def test_a_number_that_is_given_to_a_newcomer_ends_the_link_of_who_had_it() -> None:
    network = Network(0, 1, 2, outside=(3,))
    async with up(network) as nodes:
        await network.linked(n0=[1, 2], n1=[0, 2], n2=[0, 1])
        nodes[0].transport.refusals[2] = "an old reason"
        network.change(same(0, 1), 0, 1)
        assert nodes[0].transport.refusals == {}
        network.change(same(0, 1) | {2: (3, 3)}, 0, 1)
        await network.linked(n2=[])
        await network.linked(n3=[0, 1], n0=[1, 2], n1=[0, 2])
        await exchange(nodes[0], nodes[3], 2, 0)
        assert nodes[0].history[-2:] == [("down", 2), ("up", 2)]
        assert await refused(network, 0, secret=2) is None
        assert network.clock.waiting == 0


async def test_a_key_that_is_kept_out_says_nothing_of_the_next_one_with_its_number() -> None:
    network = Network(0, 1, 2, outside=(3,))
    async with up(network) as nodes:
        await network.linked(n0=[1, 2])
        nodes[0].transport.drop(2)
        network.change(same(0, 1), 0)
        network.change(same(0, 1) | {2: (3, 3)}, 0)
        assert nodes[0].transport.keeps_out(key(2))
        assert not nodes[0].transport.keeps_out(key(3))


async def test_a_stranger_is_refused_before_and_after_changes() -> None:
    network = Network(0, 1, outside=(3,))
    async with up(network) as nodes:
        await network.linked(n0=[1])
        assert await refused(network, 1, secret=3) is None
        network.change({0: (0, 5), 1: (1, 1)})
        for _ in range(2):
            assert await refused(network, 0, secret=3) is None
        assert nodes[0].linked == [1]
        assert nodes[3].linked == []


async def test_links_begin_as_they_are_told_before_the_start() -> None:
    network = Network(0, 1, 2)
    for number in (0, 1):
        network.nodes[number].transport.begin(network.settings(number, same(0, 1)))
    async with up(network):
        await network.linked(n0=[1], n1=[0])
        assert await refused(network, 0, secret=2) is None
        assert network.clock.waiting == 0


# -- new keys --------------------------------------------------------------------------------------------

# Secret 5 is above all others, so its owner dials nobody any more; peer 2 with secret 0 becomes the one that dials all.
NEW_KEYS = {
    "the dialler is dialled from now on": (same(0, 1, 2), 0, {0: (0, 5), 1: (1, 1), 2: (2, 2)}),
    "who is dialled dials from now on": (same(1, 2, 3), 3, {1: (1, 1), 2: (2, 2), 3: (3, 0)}),
}


@pytest.mark.parametrize(("before", "rotated", "after"), NEW_KEYS.values(), ids=NEW_KEYS)
async def test_a_new_key_leaves_links_alone_until_its_time_is_over(
    before: dict[int, tuple[int, int]], rotated: int, after: dict[int, tuple[int, int]]
) -> None:
    network = Network(*before)
    others = [number for number in before if number != rotated]
    async with up(network) as nodes:
        for number, node in nodes.items():
            await node.until_linked(*(each for each in before if each != number))
        network.change(after)
        for number in others:
            await exchange(nodes[rotated], nodes[number], number, rotated)
        assert not any(("down", number) in nodes[rotated].history for number in before)
        network.clock.pass_by(LEAVING_S)
        for number in others:
            await nodes[number].until(lambda n=number: nodes[n].history[-2:] == [("down", rotated), ("up", rotated)])  # type: ignore[misc]
            link = nodes[number].transport._links[rotated]
            assert link.key == key(after[rotated][1])
            await exchange(nodes[rotated], nodes[number], number, rotated)
            assert await refused(network, number, secret=before[rotated][1]) is None
        assert list(nodes[rotated].transport.faces) == [key(after[rotated][1])], "its old key is forgotten"


@pytest.mark.parametrize("ahead", [True, False], ids=["the owner is ahead", "the other is ahead"])
@pytest.mark.parametrize(("before", "rotated", "after"), NEW_KEYS.values(), ids=NEW_KEYS)
async def test_peers_link_anew_while_one_of_them_does_not_know_of_a_new_key(
    before: dict[int, tuple[int, int]], rotated: int, after: dict[int, tuple[int, int]], ahead: bool
) -> None:
    other = next(number for number in before if number != rotated)
    network = Network(rotated, other)
    async with up(network) as nodes:
        await nodes[rotated].until_linked(other)
        await nodes[other].until_linked(rotated)
        first, second = (rotated, other) if ahead else (other, rotated)
        roster = {number: after[number] for number in (rotated, other)}
        network.change(roster, first)
        for _ in range(3):
            nodes[rotated].transport._links[other].abort()
            await nodes[rotated].until_linked()
            await nodes[rotated].until_linked(other)
            await nodes[other].until_linked(rotated)
        assert nodes[other].transport._links[rotated].key == key(before[rotated][1])
        network.change(roster, second)
        # From now on the new key will do; when it has been seen, the old one does not any more.
        network.clock.pass_by(LEAVING_S)
        await until(
            lambda: (
                rotated in nodes[other].transport._links
                and nodes[other].transport._links[rotated].key == key(after[rotated][1])
            )
        )
        await nodes[rotated].until_linked(other)
        await exchange(nodes[rotated], nodes[other], other, rotated)


async def test_our_own_old_key_ends_though_the_other_side_knows_no_other() -> None:
    network = Network(0, 1)
    async with up(network) as nodes:
        await network.linked(n0=[1], n1=[0])
        network.change({0: (0, 5), 1: (1, 1)}, 0)
        network.clock.pass_by(LEAVING_S)
        await network.linked(n0=[], n1=[])
        assert nodes[0].history == [("up", 1), ("down", 1)]


async def test_a_link_with_the_new_key_ends_the_old_key() -> None:
    network = Network(0, 1, 2)
    async with up(network) as nodes:
        await network.linked(n0=[1, 2], n1=[0, 2], n2=[0, 1])
        after = {0: (0, 5), 1: (1, 1), 2: (2, 2)}
        network.change(after, 1)
        assert set(nodes[1].transport._peers) == {key(5), key(2), key(0)}
        session = Tls(seed(5), [key(1)]).session(server=False)
        async with raw_client(network.ports[1]) as raw:
            await shake(raw, session)
            await raw.send(session.seal(prefixed(hello_with(5, 1))))
            await nodes[1].until(lambda: nodes[1].history[-2:] == [("down", 0), ("up", 0)])
            assert nodes[1].transport._links[0].key == key(5)
            assert set(nodes[1].transport._peers) == {key(5), key(2)}
            assert await refused(network, 1, secret=0) is None
            assert nodes[1].transport._links[0].key == key(5)
            assert network.clock.waiting == 0


async def test_a_caller_finds_the_key_that_it_expects_after_one_more_call() -> None:
    """TLS shows a certificate before it is told whose is expected, so both have their turn."""
    network = Network(0, 1)
    shown: list[bytes] = []
    network.socks[0].close()  # nobody else calls
    async with running(network.nodes[1]):
        network.change({0: (0, 0), 1: (1, 5)}, 1)
        for _ in range(4):
            session = Tls(seed(0), [key(1), key(5)]).session(server=False)
            async with raw_client(network.ports[1]) as raw:
                await shake(raw, session)
                assert session.key is not None
                shown.append(session.key)
                other = key(1) if shown[-1] == key(5) else key(5)
                await raw.send(session.seal(prefixed(hello_with(0, 1, expected=other))))
                assert await hear(raw, session) == prefixed(encode_refusal(Refusal.WRONG_PEER)), "not what it sees"
        assert shown == [key(5), key(1)] * 2


async def test_the_epoch_of_the_other_end_does_not_matter() -> None:
    network = Network(0, 1)
    network.nodes[1].transport.change(settings_of(1, {0: network.ports[0]}, epoch_id=b"X" * 32))
    async with up(network) as nodes:
        await network.linked(n0=[1], n1=[0])
        hello = Hello.decode(nodes[1].transport.settings.hello(nodes[1].transport.settings.peers[0]))
        assert isinstance(hello, Hello)
        assert hello.epoch_id == b"X" * 32


async def test_calls_that_cross_end_with_one_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """While only one side knows of a new key, both may dial."""
    monkeypatch.setattr(transport_module, "FIRST_REDIAL_S", 0.001)
    network = Network(0, 1)
    async with up(network) as nodes:
        await network.linked(n0=[1], n1=[0])
        network.change({0: (0, 5), 1: (1, 1)}, 0, 1)
        assert nodes[0].transport._dialers
        assert nodes[1].transport._dialers
        for node in nodes.values():
            for link in list(node.transport._links.values()):
                link.abort()
        async with asyncio.timeout(DEADLINE_S):
            while not nodes[0].got(1) or not nodes[1].got(0):
                for own, node in nodes.items():  # what is sent while there is no link is gone
                    node.transport.send(1 - own, b"now")
                    node.transport.flush()
                await asyncio.sleep(0)
        for _ in range(100):
            await exchange(nodes[0], nodes[1], 1, 0)
        histories = [list(node.history) for node in nodes.values()]
        for _ in range(100):
            await exchange(nodes[0], nodes[1], 1, 0)
        assert [node.history for node in nodes.values()] == histories, "there is peace"


# -- who is leaving --------------------------------------------------------------------------------------


def settings(own: tuple[int, int], *others: tuple[int, int]) -> LinkSettings:
    """Numbers and secrets."""
    peers = [LinkPeer(number, key(secret), "", 1) for number, secret in others]
    plain = settings_of(own[1], {})
    return LinkSettings(
        own=own[0], seed=plain.seed, key=plain.key, network_id=plain.network_id, epoch_id=plain.epoch_id,
        max_frame_bytes=5, peers=peers,
    )  # fmt: skip


def leaving(*steps: LinkSettings) -> tuple[Leaving, Later, list[None]]:
    clock, ended = Later(), list[None]()
    made = Leaving(clock, lambda: ended.append(None))  # type: ignore[arg-type]
    for old, new in itertools.pairwise(steps):
        made.change(old, new)
    return made, clock, ended


def test_who_is_leaving() -> None:
    first = settings((0, 0), (1, 1), (2, 2))
    made, clock, ended = leaving(first, first)
    assert (made.peers, made.seeds) == ({}, {})
    assert made.everybody(first) is first
    # A new key of a peer, twice, and one of our own.
    made, clock, ended = leaving(first, settings((0, 0), (1, 1), (2, 3)), settings((0, 0), (1, 1), (2, 4)))
    assert {each.key: each.creator for each in made.peers.values()} == {key(2): 2, key(3): 2}
    last = settings((0, 5), (1, 1), (2, 4))
    clock.pass_by(LEAVING_S / 2)
    made.change(settings((0, 0), (1, 1), (2, 4)), last)
    assert [face.key for face in made.faces(last)] == [key(5), key(0)]
    assert [face.seed for face in made.faces(last)] == [seed(5), seed(0)]
    assert [peer.key for peer in made.everybody(last).peers] == [key(1), key(4), key(2), key(3)]
    clock.pass_by(LEAVING_S / 2)
    assert (made.peers, list(made.seeds), len(ended)) == ({}, [key(0)], 2)
    clock.pass_by(LEAVING_S / 2)
    assert (made.seeds, len(ended), clock.waiting) == ({}, 3, 0)
    # Back with its old key, or with that of ours.
    made, clock, _ = leaving(first, settings((0, 5), (1, 1)), settings((0, 0), (1, 1), (7, 2)))
    assert (made.peers, list(made.seeds), clock.waiting) == ({}, [key(5)], 1)
    # A number for somebody else, be it us.
    gone = settings((128, 0), (1, 1))
    assert leaving(first, gone, settings((128, 0), (1, 1), (2, 3)))[0].peers == {}
    assert leaving(first, gone, settings((2, 0), (1, 1)))[0].peers == {}
    made, clock, _ = leaving(first, gone)
    assert not made.forget(1)
    assert made.forget(2)
    assert clock.waiting == 0
    made, clock, _ = leaving(first, settings((0, 5), (1, 1)))
    made.close()
    assert clock.waiting == 0


def test_a_key_that_may_be_ours_already_is_shown_as_well() -> None:
    first = dataclasses.replace(settings((0, 0), (1, 1)), coming=[(key(7), seed(7))])
    faces = leaving(first, first)[0].faces(first)
    assert [(face.key, face.seed) for face in faces] == [(key(0), seed(0)), (key(7), seed(7))]


def test_whom_we_dial_with_old_and_new_keys() -> None:
    first = settings((1, 1), (0, 0), (2, 2))
    made, *_ = leaving(first, first)
    assert [peer.creator for peer in made.dialled(first)] == [2]
    other = settings((1, 1), (0, 3), (2, 2))
    assert [(peer.creator, peer.key) for peer in leaving(first, other)[0].dialled(other)] == [(0, key(3)), (2, key(2))]
    other = settings((1, 1), (0, 0), (2, 0))
    assert [(peer.creator, peer.key) for peer in leaving(first, other)[0].dialled(other)] == [(2, key(0))]
    other = settings((1, 5), (0, 0), (2, 2))
    assert [peer.creator for peer in leaving(first, other)[0].dialled(other)] == [2]
    other = settings((1, 1), (0, 0))
    assert [peer.creator for peer in leaving(first, other)[0].dialled(other)] == [2]
