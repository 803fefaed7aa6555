"""Epochs under faults: peers crash and come back with their stores, while members and settings change (S4, R1)."""

from __future__ import annotations

import random

import pytest

from syncpoint.core.change import Configure
from syncpoint.core.config import Local, Network
from syncpoint.core.retain import Retention
from syncpoint.runtime.storage import is_event

from .epochs import Changing
from .virtual import MS, jitter

LONG = Local(stores=True, heartbeat_ns=50 * MS)


class Story:
    """What happens to a network, drawn from a seed; in the end all has to be in order."""

    def __init__(self, seed: int, core: str, steps: int) -> None:
        self.rng = rng = random.Random(seed)
        self.core = core
        network = Network(gc_depth=6, order=rng.choice(("fair", "fast")), rule=rng.choice(("two_step", "three_step")))
        loss = rng.choice((0.0, 0.0, 0.02))
        self.cluster = Changing(
            4,
            network=network,
            local=LONG,
            core=core,
            delay=jitter(random.Random(seed + 1), MS // 2, 3 * MS, loss=loss),
            persist_ns=rng.choice((0, MS, 4 * MS)),
        )
        self.sent: list[bytes] = []
        self.down: int | None = None
        self.fresh = iter(range(100, 200))
        for _ in range(steps):
            rng.choice(
                (self.load, self.load, self.crash, self.restart, self.add, self.remove, self.rotate, self.configure)
            )()
        self.restart()
        self.cluster.run(500 * MS)
        self.load()

    def members(self) -> list[int]:
        """Those of the peer that is farthest."""
        cluster = self.cluster
        first = max(cluster.live, key=lambda i: (len(cluster.entered[i]), -i))
        return sorted(cluster.members(first))

    def load(self) -> None:
        cluster, rng = self.cluster, self.rng
        members = [i for i in self.members() if i in cluster.live and i not in cluster.halted]
        for _ in range(rng.randint(1, 6)):
            i = rng.choice(members)
            if i in cluster.members(i):
                self.sent.append(b"transaction %d" % len(self.sent))
                cluster.submit(i, self.sent[-1])
            cluster.run(rng.randint(0, 4 * MS))

    def crash(self) -> None:
        """One peer at a time, and none whose transactions would be lost with it as they are in no event."""
        cluster = self.cluster
        members = self.members()
        able = [i for i in members if i in cluster.live and not cluster.machines[i].status().queued_transactions]
        if self.down is None and able and len(members) > 3:
            self.down = self.rng.choice(able)
            cluster.crash(self.down)
            cluster.run(self.rng.randint(0, 30 * MS))

    def restart(self) -> None:
        cluster = self.cluster
        if self.down is not None:
            i, self.down = self.down, None
            shelf = cluster.stores[i]
            roster = shelf.starts[-1].roster if shelf.starts else None
            network = cluster.network if roster is None else roster.network
            n = cluster.n if roster is None else sum(seat.member.orders for seat in roster.seats)
            cluster.entered[i] = []
            cluster.restart(i, records=shelf.load(cluster.epoch_id, cluster.network, Retention(network, LONG, n)))
            cluster.run(self.rng.randint(0, 10 * MS))

    def proposer(self) -> int | None:
        cluster = self.cluster
        able = [i for i in self.members() if i in cluster.live and i in cluster.members(i) and i not in cluster.halted]
        return self.rng.choice(able) if able else None

    def add(self) -> None:
        by = self.proposer()
        if by is not None and len(self.members()) < 7:
            new = self.cluster.make(bytes([next(self.fresh)]) * 32, self.core)
            self.cluster.agree(self.cluster.change(by, self.cluster.addition(new)))
            self.pause()

    def remove(self) -> None:
        by, members = self.proposer(), self.members()
        gone = self.rng.choice(members)
        if by not in (None, gone) and len(members) > 4 and gone != self.down and by is not None:
            self.cluster.agree(self.cluster.change(by, self.cluster.removal(gone)))
            self.pause()

    def rotate(self) -> None:
        """A peer has one new key in the air at most: after a crash it knows the last two."""
        by = self.proposer()
        if by is not None and self.cluster.has_newest_key(by):
            self.cluster.agree(self.cluster.rotate(by, bytes([next(self.fresh)]) * 32))
            self.pause()

    def configure(self) -> None:
        by = self.proposer()
        if by is not None:
            rng = self.rng
            network = Network(gc_depth=rng.randint(6, 9), order=rng.choice(("fair", "fast")), rule="two_step")
            self.cluster.agree(self.cluster.change(by, Configure(network)))
            self.pause()

    def pause(self) -> None:
        self.cluster.run(self.rng.choice((0, 2 * MS, 40 * MS)))


@pytest.mark.parametrize("seed", range(12))
def test_the_one_order_goes_on_whatever_happens(core: str, seed: int) -> None:
    check(Story(seed, core, steps=24))


def check(story: Story) -> None:
    """All members come to one order over all epochs, and nothing is lost or doubled."""
    cluster = story.cluster
    cluster.run_until(lambda: _all_there(story), within=20_000 * MS)
    streams = [[(done.digest, done.order_hash) for done in cluster.stores[i].delivered] for i in story.members()]
    assert all(stream == streams[0] for stream in streams)
    there = _transactions(story)
    assert len(there) == len(set(there))
    assert not cluster.diverged


def _all_there(story: Story) -> bool:
    """All members are in one epoch, and have delivered all but what is left with a removed peer."""
    cluster, members = story.cluster, story.members()
    statuses = [cluster.machines[i].status() for i in members]
    if len({status.epoch for status in statuses}) > 1 or len({status.delivered for status in statuses}) > 1:
        return False
    gone = set(range(cluster.size)) - set(members)
    left = sum(cluster.machines[i].status().queued_transactions for i in gone)
    return len(set(story.sent) - set(_transactions(story))) <= left


def _transactions(story: Story) -> list[bytes]:
    """What a member has delivered."""
    delivered = story.cluster.stores[story.members()[0]].delivered
    return [transaction for done in delivered if is_event(done) for transaction in done.event.transactions]
