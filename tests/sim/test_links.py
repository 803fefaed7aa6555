"""Simulated links follow the peers as they change, by the same rules as real ones (tests/links/test_leaving.py)."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from syncpoint.runtime.hello import Refusal
from syncpoint.runtime.leaving import LEAVING_S
from syncpoint.runtime.links import LinkPeer, LinkSettings
from syncpoint.testing.delays import Delays
from syncpoint.testing.internet import Internet
from syncpoint.testing.loop import Process, VirtualLoop
from syncpoint.testing.transport import SimulatedLinks

Roster = dict[int, tuple[int, int]]  # number -> (host, secret)


def key(secret: int) -> bytes:
    return bytes([secret]) * 32


def same(*members: int) -> Roster:
    return {number: (number, number) for number in members}


class Peer:
    """The links of one host, and all that they reported."""

    def __init__(self, world: World, host: int, roster: Roster) -> None:
        self.history: list[tuple[str, int]] = []
        self.frames: dict[int, list[bytes]] = {}
        listener = world.internet.bind(f"host{host}", 7000, "", number=host)
        self.links = SimulatedLinks(
            world.internet, listener, Process(f"host {host}"), host, world.settings(host, roster), self
        )

    @property
    def linked(self) -> list[int]:
        return sorted(self.links._wires)

    def connected(self, peer: int) -> None:
        self.history.append(("up", peer))

    def disconnected(self, peer: int) -> None:
        self.history.append(("down", peer))

    def received(self, peer: int, frames: list[bytes]) -> None:
        self.frames.setdefault(peer, []).extend(frames)


class World:
    """Peers on a simulated network, without engines."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()  # type: ignore[abstract]
        self.internet = Internet(self.loop, random.Random(1), Delays(kind="fixed", low_ns=1_000_000))
        self.peers: dict[int, Peer] = {}

    def settings(self, host: int, roster: Roster, network: bytes = b"N" * 32) -> LinkSettings:
        """What a host has to know of a roster."""
        own = next((number for number, (where, _) in roster.items() if where == host), 128)
        public = key(roster[own][1] if own in roster else host)
        return LinkSettings(
            own=own,
            seed=b"secret of " + public,
            key=public,
            network_id=network,
            epoch_id=bytes([len(roster)]) * 32,
            max_frame_bytes=5,
            peers=[
                LinkPeer(number, key(secret), f"host{where}", 7000)
                for number, (where, secret) in roster.items()
                if number != own
            ],
        )

    def start(self, roster: Roster, *hosts: int) -> list[Peer]:
        """Start links at these hosts, and let time pass until they are up."""
        for host in hosts:
            peer = self.peers[host] = Peer(self, host, roster)
            self.loop.spawn(peer.links.process, peer.links.start)
        self.run(0.1)
        return [self.peers[host] for host in hosts]

    def change(self, roster: Roster, *hosts: int, run_s: float = 5.0) -> None:
        """Let these hosts enter an epoch with other peers, and let time pass until everybody has dialled again."""
        for host in hosts:
            links = self.peers[host].links
            links.context.run(links.change, self.settings(host, roster))
        self.run(run_s)

    def run(self, seconds: float) -> None:
        self.loop.run_until(lambda: False, self.loop.now_ns + round(seconds * 1e9))

    def linked(self) -> dict[int, list[int]]:
        return {host: peer.linked for host, peer in self.peers.items()}

    def exchange(self, left: int, right: int, as_right: int, as_left: int) -> None:
        """Frames pass both ways; `as_right` is the number of `right` at `left`."""
        words = b"%d" % self.loop.now_ns
        for sender, receiver, to, as_sender in ((left, right, as_right, as_left), (right, left, as_left, as_right)):
            self.peers[sender].links.send(to, words)
            self.peers[sender].links.flush()
            self.run(0.1)
            assert self.peers[receiver].frames[as_sender][-1] == words


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.loop.end()
    assert not made.loop.problems


@pytest.mark.parametrize("newcomer", [0, 3], ids=["which dials", "which is dialled"])
def test_a_member_that_joins_is_linked(world: World, newcomer: int) -> None:
    members = [host for host in range(4) if host != newcomer]
    world.start(same(*members), *members, newcomer)
    assert world.peers[newcomer].linked == []
    if newcomer == 0:
        assert world.peers[0].links.refusals == dict.fromkeys(members, Refusal.NOT_A_MEMBER.advice)
    world.change(same(*range(4)), *members)
    assert world.linked() == {host: [each for each in range(4) if each != host] for host in (*members, newcomer)}
    world.change(same(*range(4)), newcomer)  # it hears of itself
    world.exchange(newcomer, members[0], members[0], newcomer)
    assert not any(what == "down" for peer in world.peers.values() for what, _ in peer.history)
    assert world.peers[newcomer].links.refusals == {}


def test_a_member_that_left_is_served_for_a_while_and_then_kept_out(world: World) -> None:
    first, second, third = world.start(same(0, 1, 2), 0, 1, 2)
    begin_s = world.loop.time()
    world.change(same(0, 1), 0, 1)
    world.exchange(0, 2, 2, 0)
    for left, right in ((0, 2), (2, 1)):
        world.internet.reset(left, right)
    world.run(5.0)
    assert (first.linked, second.linked, third.linked) == ([1, 2], [0, 2], [0, 1]), "it may come back"
    world.run(begin_s + LEAVING_S - 0.1 - world.loop.time())
    assert third.linked == [0, 1]
    world.run(5.0)
    assert (first.linked, second.linked, third.linked) == ([1], [0], [])
    assert ("down", 1) not in first.history


def test_a_member_comes_back_with_another_number(world: World) -> None:
    first, second, third = world.start(same(0, 1, 2), 0, 1, 2)
    world.change(same(0, 1), 0, 1)
    again = {0: (0, 0), 1: (1, 1), 5: (2, 2)}
    world.change(again, 0, 1)
    assert (first.linked, second.linked) == ([1, 5], [0, 5])
    world.change(again, 2)
    world.exchange(0, 2, 5, 0)
    world.run(2 * LEAVING_S)
    assert (first.linked, third.linked) == ([1, 5], [0, 1])
    assert second.history[-2:] == [("down", 2), ("up", 5)]


def test_a_number_that_is_given_to_a_newcomer_ends_the_link_of_who_had_it(world: World) -> None:
    first, _, third, fourth = world.start(same(0, 1, 2), 0, 1, 2, 3)
    assert fourth.linked == []
    world.change(same(0, 1), 0, 1)
    world.change(same(0, 1) | {2: (3, 3)}, 0, 1)
    assert (third.linked, fourth.linked, first.linked) == ([], [0, 1], [1, 2])
    world.exchange(0, 3, 2, 0)
    assert first.history[-2:] == [("down", 2), ("up", 2)]


def test_a_key_that_is_kept_out_says_nothing_of_the_next_one_with_its_number(world: World) -> None:
    first, *_ = world.start(same(0, 1, 2), 0, 1, 2, 3)
    first.links.drop(2)
    world.change(same(0, 1), 0, run_s=0)
    world.change(same(0, 1) | {2: (3, 3)}, 0, run_s=0)
    assert first.links.keeps_out(key(2))
    assert not first.links.keeps_out(key(3))


# Secret 9 is above all others, so its owner dials nobody any more; secret 0 makes host 3 the one that dials all.
NEW_KEYS = {
    "the dialler is dialled from now on": (same(0, 1, 2), 0, {0: (0, 9), 1: (1, 1), 2: (2, 2)}),
    "who is dialled dials from now on": (same(1, 2, 3), 3, {1: (1, 1), 2: (2, 2), 3: (3, 0)}),
}


@pytest.mark.parametrize(("before", "rotated", "after"), NEW_KEYS.values(), ids=NEW_KEYS)
def test_a_new_key_leaves_links_alone_until_its_time_is_over(
    world: World, before: Roster, rotated: int, after: Roster
) -> None:
    world.start(before, *before)
    others = [host for host in before if host != rotated]
    world.change(after, *before)
    for host in others:
        world.exchange(rotated, host, host, rotated)
        assert ("down", rotated) not in world.peers[host].history
    world.run(LEAVING_S)
    for host in others:
        world.exchange(rotated, host, host, rotated)
        assert world.peers[host].history[-2:] == [("down", rotated), ("up", rotated)]
        links = world.peers[host].links
        assert links._wires[rotated].key(links) == key(after[rotated][1])
    assert world.peers[rotated].links._keys == [key(after[rotated][1])]


@pytest.mark.parametrize("ahead", [True, False], ids=["the owner is ahead", "the other is ahead"])
@pytest.mark.parametrize(("before", "rotated", "after"), NEW_KEYS.values(), ids=NEW_KEYS)
def test_peers_link_anew_while_one_of_them_does_not_know_of_a_new_key(
    world: World, before: Roster, rotated: int, after: Roster, ahead: bool
) -> None:
    other = next(host for host in before if host != rotated)
    world.start(before, *before)
    first, second = (rotated, other) if ahead else (other, rotated)
    world.change(after, first)
    world.internet.reset(rotated, other)
    world.run(5.0)
    assert rotated in world.peers[other].linked
    links = world.peers[other].links
    assert links._wires[rotated].key(links) == key(before[rotated][1])
    world.change(after, second)
    world.internet.reset(rotated, other)
    world.run(5.0)
    assert links._wires[rotated].key(links) == key(after[rotated][1])
    assert key(before[rotated][1]) not in links._peers, "its new key has been seen"
    world.exchange(rotated, other, other, rotated)


def test_our_own_old_key_ends_though_the_other_side_knows_no_other(world: World) -> None:
    first, second = world.start(same(0, 1), 0, 1)
    world.change({0: (0, 9), 1: (1, 1)}, 0)
    assert first.linked == [1]
    world.run(LEAVING_S)
    assert (first.linked, second.linked) == ([], [])
    assert first.history == [("up", 1), ("down", 1)]


def test_strangers_and_other_networks_are_refused(world: World) -> None:
    first, second, third = world.start(same(1, 2), 1, 2, 0)
    assert third.linked == []
    world.change(same(1, 2, 3), 1)  # somebody else
    assert third.linked == []
    second.links.change(world.settings(2, same(1, 2), network=b"X" * 32))
    world.internet.reset(1, 2)
    world.run(5.0)
    assert first.linked == []
    assert first.links.refusals[2] == Refusal.NETWORK.advice


def test_links_begin_as_they_are_told_before_the_start(world: World) -> None:
    roster = same(0, 1, 2)
    for host in roster:
        world.peers[host] = Peer(world, host, roster)
    for host in (0, 1):
        links = world.peers[host].links
        links.context.run(links.begin, world.settings(host, same(0, 1)))
    for peer in world.peers.values():
        world.loop.spawn(peer.links.process, peer.links.start)
    world.run(5.0)
    assert world.linked() == {0: [1], 1: [0], 2: []}


def test_delays_are_those_of_the_hosts_whatever_their_numbers(world: World) -> None:
    asked: list[tuple[int, int]] = []
    plain = world.internet.delay

    def delay(source: int, target: int) -> int:
        asked.append((source, target))
        return plain(source, target)

    world.internet.delay = delay  # type: ignore[method-assign]
    world.start({0: (0, 0), 1: (7, 7)}, 0, 7)
    assert set(asked) == {(0, 7), (7, 0)}


def test_a_dead_process_changes_nothing(world: World) -> None:
    first, _ = world.start(same(0, 1), 0, 1)
    world.change(same(0), 0, run_s=0)
    world.internet.ruined(first.links, silent=False)
    first.links.process.alive = False
    world.run(2 * LEAVING_S)
    world.change(same(0, 1), 0)
    assert first.history == [("up", 1)]
