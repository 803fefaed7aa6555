"""Random clusters with up to f liars and crashes: the honest peers agree, and lose and double nothing."""

from __future__ import annotations

import collections
import os
import random

import pytest

from syncpoint.core import wire
from syncpoint.core.config import Local, Network
from syncpoint.core.crypto import DOMAIN_EVENT, Signer
from syncpoint.core.error import Reject
from syncpoint.core.input import Input, Received
from syncpoint.core.values import Event, Parent
from syncpoint.core.wire import FrameType

from .virtual import MS, Cluster, jitter, seeds

pytestmark = pytest.mark.usefixtures("machines")

SCENARIOS = int(os.environ.get("SYNCPOINT_SCENARIOS", "60"))


class Liar:
    """Signs several events for one slot, skips, lies about time, obeys V8 or not, and shows each peer another face."""

    def __init__(self, cluster: LiarsCluster, creator: int, rng: random.Random) -> None:
        self.cluster = cluster
        self.creator = creator
        self.rng = rng
        self.signer = Signer(seeds(cluster.n)[creator])
        self.made: dict[int, list[Event]] = {}
        self.keeps_to_v4 = rng.random() < 0.7

    def act(self) -> None:
        """Make up to three variants of the next, or the last, own event."""
        rng = self.rng
        last = max(self.made, default=0)
        round = last + 1 if rng.random() < 0.8 else max(1, last)
        for _ in range(rng.choice((1, 1, 2, 3))):
            parents = self.parents(round)
            if parents is None:
                return
            event = self.sign(round, parents)
            self.made.setdefault(round, []).append(event)
            reach = rng.choice((1, 0.5, 0.2))
            for peer in self.cluster.honest:
                if rng.random() < reach:
                    self.show(peer, event)

    def parents(self, round: int) -> list[Event] | None:
        """What an event of `round` could build on, as some honest peer sees it."""
        if round == 1:
            return []
        machine = self.cluster.machines[self.rng.choice(self.cluster.honest)]
        chosen = []
        for creator, variants in enumerate(machine.replica.dag.row(round - 1).variants):
            candidates = [node.event for node in variants]
            if creator == self.creator:
                candidates = self.made.get(round - 1, [])
                if not candidates and self.keeps_to_v4:
                    return None
            if candidates and self.rng.random() < 0.9:
                chosen.append(self.rng.choice(candidates))
        return chosen if len(chosen) >= machine.committee.q else None

    def sign(self, round: int, parents: list[Event]) -> Event:
        rng, cluster = self.rng, self.cluster
        at = cluster.now + rng.choice((0, 0, 0, -(10**9), 10**12, 5 * MS))
        at = max([at, 1, *(parent.created_at + 1 for parent in parents if parent.creator == self.creator)])
        references = tuple(sorted(Parent(parent.creator, parent.round, parent.digest) for parent in parents))
        transactions = (b"lie %d" % rng.getrandbits(64),) if rng.random() < 0.5 else ()
        header = wire.encode_header(
            cluster.machines[0].committee.epoch_id,
            self.creator,
            round,
            at,
            rng.getrandbits(60),
            references,
            (),
            transactions,
        )
        digest = wire.event_digest(header)
        signature = self.signer.sign(DOMAIN_EVENT + digest)
        return Event(self.creator, round, at, references, (), transactions, header, digest, signature)

    def answer(self, peer: int, frame: bytes) -> None:
        """Serve what peers ask for, mostly."""
        if frame[0] != FrameType.REQUEST or self.rng.random() < 0.2:
            return
        asked = wire.decode_request(frame)
        assert not isinstance(asked, Reject)
        for event in (event for variants in self.made.values() for event in variants):
            if event.digest in asked:
                self.show(peer, event)

    def show(self, peer: int, event: Event) -> None:
        self.cluster._put(
            self.cluster.now + self.rng.randint(MS, 5 * MS), peer, Received(self.creator, (wire.encode_event(event),))
        )


class LiarsCluster(Cluster):
    """A cluster some of whose peers are liars rather than machines."""

    def __init__(self, n: int, liars: list[int], rng: random.Random, **options: object) -> None:
        self.liars: dict[int, Liar] = {}
        super().__init__(n, **options)  # type: ignore[arg-type]
        self.honest = [i for i in range(n) if i not in liars]
        self.down |= set(liars)
        self.liars = {creator: Liar(self, creator, rng) for creator in liars}

    def step(self, i: int, *inputs: Input) -> None:
        if i not in self.liars:
            return super().step(i, *inputs)
        for input in inputs:
            if isinstance(input, Received):
                for frame in input.frames:
                    self.liars[i].answer(input.peer, frame)
        return None


def scenario(rng: random.Random) -> collections.Counter[str]:
    """One random cluster from start to the delivery of all; what happened in it."""
    n = rng.choice((4, 4, 4, 7, 10))
    f = (n - 1) // 3
    network = Network(
        rule=rng.choice(("two_step", "two_step", "three_step")),
        order=rng.choice(("fair", "fast")),
        gc_depth=rng.choice((10, 30, 200)),
    )
    local = Local(retain_events=rng.choice((400, 4_000, 40_000)))
    cluster = LiarsCluster(
        n,
        rng.sample(range(n), rng.randint(0, f)),
        rng,
        network=network,
        local=local,
        delay=jitter(rng, MS, rng.choice((2, 5, 20)) * MS, loss=rng.choice((0, 0, 0.05))),
    )
    honest = cluster.honest
    crashed: list[int] = []
    sent: dict[bytes, int] = {}
    for number in range(rng.choice((40, 120))):
        cluster.run(rng.randint(0, 4 * MS))
        for liar in cluster.liars.values():
            if rng.random() < 0.7:
                liar.act()
        live = [i for i in honest if i not in cluster.down]
        if len(crashed) + len(cluster.liars) < f and rng.random() < 0.05:
            crashed.append(rng.choice(live))
            cluster.crash(crashed[-1])
        # Who restarts has only its journal, so the others must still have every round (until F4 is built).
        elif crashed and local.retain_events == 40_000 and rng.random() < 0.05:
            cluster.restart(crashed.pop())
        elif rng.random() < 0.05:
            one, other = rng.sample(live, 2)
            cluster.cut(one, other)
            cluster.link(one, other)
        transaction = b"%d" % number
        sent[transaction] = rng.choice([i for i in honest if i not in cluster.down])
        cluster.submit(sent[transaction], transaction)
    live = [i for i in honest if i not in cluster.down]
    # What a peer had only in memory when it crashed is lost with it (which may be all); all else must be delivered.
    kept = {transaction for transaction, i in sent.items() if i in live and not cluster._generation[i]}
    cluster.run_until(lambda: all(kept <= set(cluster.transactions(i)) for i in live), within=30_000 * MS)
    cluster.check_agreement(honest)
    assert not cluster.halted
    for i in live:
        seen = collections.Counter(cluster.transactions(i))
        assert max(seen.values(), default=1) == 1, "a transaction was delivered twice"
        slots = collections.Counter((done.event.round, done.event.creator) for done in cluster.delivered[i])
        assert max(slots.values(), default=1) == 1, "two variants of one slot were delivered"
    status = cluster.machines[live[0]].status()
    happened = collections.Counter(reject.name for _, _, reject in cluster.rejects)
    happened["indirect"] = status.commits[2] + status.skips[1]
    happened["skipped"] = status.skips[0]
    happened["equivocators"] = len(status.equivocators)
    return happened


def test_honest_peers_agree_whatever_up_to_f_others_do(seed: int) -> None:
    happened: collections.Counter[str] = collections.Counter()
    for number in range(SCENARIOS):
        try:
            happened += scenario(random.Random(seed + number))
        except AssertionError as error:
            pytest.fail(f"scenario {number}: SYNCPOINT_SEED={seed + number} SYNCPOINT_SCENARIOS=1 replays it: {error}")
    if SCENARIOS >= 30:  # a run in which nothing went wrong has tested nothing
        for what in ("EQUIVOCATION", "EXPOSED_AUTHOR", "indirect", "skipped", "equivocators"):
            assert happened[what] > 0, f"no scenario had {what}"
