"""Each kind of liar against engines as they are: up to f of them hold up and split nobody, more break nothing."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from syncpoint.core.config import Network
from syncpoint.core.error import Reject
from syncpoint.core.verify import check_event
from syncpoint.errors import ArgumentError
from syncpoint.message import Event, Message
from syncpoint.testing.cluster import Cluster, Node
from syncpoint.testing.liars import LIARS, Liar, LiarSpec, liar_from
from syncpoint.testing.liars.forger import Forger
from syncpoint.testing.liars.twins import Copies, Twin

SECOND_NS = 1_000_000_000
BOUND_S = 5.0  # of virtual time, from when the last transaction was sent until it is delivered everywhere
FORKERS = ("equivocator", "fork_bomb", "twin")


class Party:
    """A cluster with liars in it, whose honest peers send transactions."""

    def __init__(self, n: int, specs: Sequence[LiarSpec], *, core: str, seed: int, **options: Any) -> None:
        self.cluster = Cluster(n, seed=seed, core=core, **options)
        self.cluster.received = self.received
        self.honest = [peer for peer in range(n) if peer not in {spec.creator for spec in specs}]
        self.streams: dict[int, list[Message]] = {}
        self.transactions: dict[int, list[bytes]] = {}
        self.sent: list[bytes] = []
        self.liars: list[Liar] = [
            LIARS[spec.kind](self.cluster, spec, random.Random(f"{seed}/{spec.creator}")) for spec in specs
        ]
        for liar in self.liars:
            liar.start()
        self.cluster.start(*self.honest)

    def received(self, node: Node, message: Message) -> None:
        self.streams.setdefault(node.number, []).append(message)
        if isinstance(message, Event):
            self.transactions.setdefault(node.number, []).extend(message.transactions)

    def run(self, seconds: float, every: float = 0.05) -> None:
        """Let time pass; every honest peer sends something now and then."""
        for _ in range(round(seconds / every)):
            self.cluster.run(every)
            for peer in self.honest:
                if self.cluster.nodes[peer].engine is not None:
                    self.sent.append(b"%d of %d" % (len(self.sent), peer))
                    self.cluster.send(peer, self.sent[-1])

    def all_delivered(self) -> bool:
        wanted = set(self.sent)
        return all(wanted <= set(self.transactions.get(peer, ())) for peer in self.honest)

    def check(self) -> None:
        """Nothing broke, and all that two honest peers have is alike."""
        cluster = self.cluster
        assert not cluster.loop.problems
        for node in cluster.nodes:
            assert node.failed is None, f"peer {node.number}: {node.failed!r}"
        longest = max((self.streams.get(peer, []) for peer in self.honest), key=len)
        for peer in self.honest:
            stream = self.streams.get(peer, [])
            assert [message.index for message in stream] == list(range(len(stream)))
            for ours, theirs in zip(stream, longest, strict=False):
                assert ours.order_hash == theirs.order_hash, f"peer {peer} has another order at {ours.index}"
            own = [each for each in self.transactions.get(peer, ()) if not each.startswith(b"lie")]
            assert len(own) == len(set(own)), f"peer {peer} got a transaction twice"

    def digest(self) -> str:
        """All that anybody got."""
        content = hashlib.sha256()
        for number in sorted(self.streams):
            for message in self.streams[number]:
                at = message.consensus_at if isinstance(message, Event) else message.timestamp
                content.update(b"%d %d %d" % (number, message.index, at) + message.order_hash)
        return content.hexdigest()

    def __enter__(self) -> Party:
        return self

    def __exit__(self, *_: object) -> None:
        self.cluster.close()


def specs_of(kind: str, n: int, count: int, seed: int, **fields: object) -> list[LiarSpec]:
    creators = random.Random(seed).sample(range(n), count)
    return [LiarSpec(kind=kind, creator=creator, forks=12, **fields) for creator in creators]  # type: ignore[arg-type]


def check_lies(party: Party) -> None:
    """The liars did lie, and the others saw what of it can be seen."""
    for liar in party.liars:
        assert liar.counters["lies"] > 0
        if liar.kind in FORKERS:
            assert liar.counters["forks"] > 0
            seen = [party.cluster.nodes[peer].status() for peer in party.honest]
            assert any(liar.creator in status.equivocators for status in seen if status is not None)


def against(kind: str, n: int, core: str, seed: int = 1, seconds: float = 0.6) -> None:
    with Party(n, specs_of(kind, n, (n - 1) // 3, seed), core=core, seed=seed) as party:
        party.run(seconds)
        assert party.cluster.run_until(party.all_delivered, BOUND_S)
        party.check()
        check_lies(party)


@pytest.mark.parametrize("kind", [kind for kind in LIARS if kind != "hot_spare"])
def test_one_of_four_holds_up_nobody(kind: str, core: str) -> None:
    against(kind, 4, core, seed=4)


@pytest.mark.parametrize("kind", ["equivocator", "withholder", "stale", "twin"])
def test_two_of_seven_hold_up_nobody(kind: str, core: str) -> None:
    against(kind, 7, core, seconds=0.6)


def test_whatever_they_do_honest_peers_agree(seed: int, core: str) -> None:
    rng = random.Random(seed)
    for number in range(3):
        n = rng.choice((4, 5, 7))
        creators = rng.sample(range(n), rng.randint(1, (n - 1) // 3))
        specs = [
            LiarSpec(
                kind=rng.choice(list(LIARS)),
                creator=creator,
                strength=rng.choice((0.2, 1.0)),
                begin_ns=rng.choice((0, SECOND_NS // 4)),
                until_ns=rng.choice((None, SECOND_NS // 2)),
                forks=6,
            )
            for creator in creators
        ]
        network = Network(
            rule=rng.choice(("two_step", "three_step")),
            order=rng.choice(("fair", "fast")),
            gc_depth=rng.choice((10, 200)),
            max_ahead=rng.choice((8, 200)),
        )
        with Party(n, specs, core=core, seed=seed + number, network=network) as party:
            party.run(0.8)
            assert party.cluster.run_until(party.all_delivered, BOUND_S), f"{specs} in {network}"
            party.check()


@pytest.mark.native
@pytest.mark.parametrize("kind", LIARS)
def test_the_same_seed_gives_the_same_lies(kind: str) -> None:
    def run() -> tuple[str, list[dict[str, int]], int]:
        with Party(4, specs_of(kind, 4, 1, 3), core="native", seed=3) as party:
            party.run(0.5)
            return party.digest(), [liar.counters for liar in party.liars], party.cluster.internet.frames

    assert run() == run()


@pytest.mark.native
def test_both_cores_meet_the_same_liar_alike() -> None:
    def run(core: str) -> str:
        with Party(4, specs_of("equivocator", 4, 1, 5, padding=9_000), core=core, seed=5) as party:
            party.run(0.5)
            return party.digest()

    assert run("python") == run("native")


# -- more of them than the network is made for --------------------------------------------------------


@pytest.mark.parametrize("padding", [0, 9_000])
@pytest.mark.parametrize("kind", ["equivocator", "fork_bomb", "twin", "withholder"])
def test_two_of_four_break_nothing(kind: str, padding: int, core: str) -> None:
    """They may stop the network, and split it; then there is proof against them, and no engine ever fails."""
    for seed in range(2):
        with Party(4, specs_of(kind, 4, 2, seed, padding=padding), core=core, seed=seed) as party:
            party.run(0.5)
            assert not party.cluster.loop.problems
            for node in party.cluster.nodes:
                assert node.failed is None, f"seed {seed}, peer {node.number}: {node.failed!r}"
            try:
                party.check()
            except AssertionError:
                seen = [party.cluster.nodes[peer].status() for peer in party.honest]
                assert all(status is not None and status.equivocators for status in seen)


def test_twins_do_not_mend_what_other_twins_cut() -> None:
    """Each changes whom its own copies know; a way between copies of both is open when neither has cut it."""
    specs = [LiarSpec(kind="twin", creator=1, strength=0.0), LiarSpec(kind="twin", creator=2)]
    with Party(7, specs, core="python", seed=1) as party:
        one, other = party.liars
        assert isinstance(one, Twin)
        assert isinstance(other, Twin)
        cut = dict(party.cluster.internet.cut)
        assert any(copy.number in pair for pair in cut for copy in one.copies)
        one._apart = True
        one._turn()
        assert party.cluster.internet.cut == cut
        other._turn()
        assert party.cluster.internet.cut != cut


def test_two_worlds_are_noticed_when_they_meet(core: str) -> None:
    """Two of four who run twice show each half of a cut network another one: it splits, and both halves have proof."""
    specs = [LiarSpec(kind="twin", creator=creator, strength=0.0) for creator in (1, 2)]
    with Party(4, specs, core=core, seed=1, network=Network(gc_depth=10)) as party:
        here, there = [0], [3]
        for liar in party.liars:
            assert isinstance(liar, Copies)
            here.append(liar.copies[0].number)
            there.append(liar.copies[1].number)
        party.cluster.partition(here, there)
        party.run(0.35)
        party.cluster.heal()
        party.run(1.0)
        with pytest.raises(AssertionError, match="another order"):
            party.check()
        assert not party.cluster.loop.problems
        for node in party.cluster.nodes:
            assert node.failed is None, f"peer {node.number}: {node.failed!r}"
        for peer in party.honest:
            status = party.cluster.nodes[peer].status()
            assert status is not None
            assert status.equivocators == (1, 2)


# -- what single kinds do -----------------------------------------------------------------------------


def test_long_headers_keep_an_equivocator_from_being_excluded(core: str) -> None:
    """Without a proof against it its events are referred to, so that its forks go on doing harm."""
    own: dict[int, int] = {}
    for padding in (0, 9_000):
        spec = LiarSpec(kind="equivocator", creator=1, padding=padding)
        with Party(4, [spec], core=core, seed=1) as party:
            party.run(1.0)
            assert party.cluster.run_until(party.all_delivered, BOUND_S)
            party.check()
            liar = party.cluster.secrets[1].public()
            own[padding] = sum(message.creator == liar for message in party.streams[0])
    assert own[9_000] > 2 * own[0]


def test_a_fork_bomb_is_stored_only_as_far_as_others_refer_to_it(core: str) -> None:
    with Party(4, [LiarSpec(kind="fork_bomb", creator=2, forks=40)], core=core, seed=4) as party:
        party.run(0.4)
        party.check()
        status = party.cluster.nodes[0].status()
        assert status is not None
        assert party.liars[0].counters["forks"] > 10 * status.top_round
        assert status.events < 8 * status.top_round


def test_time_stays_between_honest_clocks_whatever_a_liar_says(core: str) -> None:
    with Party(4, [LiarSpec(kind="time_liar", creator=0)], core=core, seed=6) as party:
        party.run(1.0)
        party.check()
        begin = party.cluster.loop.now_ns - party.cluster.now_ns
        assert party.streams[1]
        for message in party.streams[1]:
            assert begin <= message.consensus_at <= party.cluster.loop.now_ns


def test_a_stale_peer_never_votes_for_its_victim(core: str) -> None:
    with Party(4, [LiarSpec(kind="stale", creator=0, victim=3)], core=core, seed=7) as party:
        party.run(0.5)
        party.check()
        (liar,) = party.liars
        assert isinstance(liar, Forger)
        own = [variants[0] for row in liar.dag.rows.values() for variants in row.variants[:1] if variants]
        votes = [[parent.creator for parent in node.strong_parents()] for node in own if node.round > 1]
        assert len(votes) > 10
        assert sum(3 in strong or len(strong) > 3 for strong in votes) <= 2  # where nobody else was there


def test_a_silent_peer_comes_back(core: str) -> None:
    with Party(4, [LiarSpec(kind="silent", creator=1)], core=core, seed=8) as party:
        party.run(2.0, every=0.02)
        status = party.cluster.nodes[0].status()
        assert status is not None
        assert party.liars[0].counters["lies"] >= 1
        assert 1 < party.liars[0].counters["events"] < status.top_round
        party.check()


def test_twins_do_not_mind_each_other(core: str) -> None:
    with Party(4, [LiarSpec(kind="twin", creator=1)], core=core, seed=2) as party:
        party.run(1.0)
        copies = [node for node in party.cluster.nodes if node.creator == 1]
        statuses = [status for node in copies if (status := node.status()) is not None]
        assert len(statuses) == 2
        assert all(status.halted is None and status.own_events > 1 for status in statuses)
        party.check()


def test_a_hot_spare_stops_and_says_so(core: str) -> None:
    """The engine as it is, twice with one key (R5): no copy that signed anything goes on."""
    both = 0
    for seed in range(6):
        with Party(4, [LiarSpec(kind="hot_spare", creator=0)], core=core, seed=seed) as party:
            party.run(0.5)
            assert party.cluster.run_until(party.all_delivered, BOUND_S)
            party.check()
            statuses = [node.status() for node in party.cluster.nodes if node.creator == 0]
            stopped = [status for status in statuses if status is not None and status.halted is not None]
            assert stopped, "neither copy noticed"
            assert all("process" in str(status.halted) for status in stopped)
            if all(status is not None and status.own_events > 0 for status in statuses):
                assert len(stopped) == 2, "one copy goes on, and nobody takes its events"
                both += 1
    assert both, "one of them always stopped before it had signed anything"


@pytest.mark.parametrize("kind", [kind for kind, made in LIARS.items() if issubclass(made, Forger)])
def test_a_liar_that_never_lies_is_a_good_peer(kind: str) -> None:
    with Party(4, [LiarSpec(kind=kind, creator=1, strength=0.0)], core="python", seed=9) as party:
        party.run(0.3)
        assert "lies" not in party.liars[0].counters
        assert "invalid events" not in party.liars[0].counters
        statuses = [status for peer in party.honest if (status := party.cluster.nodes[peer].status()) is not None]
        assert all(not status.rejects and not status.skips[0] for status in statuses)
        liar = party.cluster.secrets[1].public()
        assert 4 * sum(message.creator == liar for message in party.streams[0]) > 0.8 * len(party.streams[0])
        party.check()


def test_what_a_rule_breaker_calls_invalid_is_just_that() -> None:
    """Each of its events breaks the rule that it says and no other: the codes are those of the checks of the core."""
    codes = {
        "V2: too few strong parents": Reject.NO_QUORUM,
        "V3: a parent that is too old": Reject.PARENT_ROUND,
        "V3: two parents of one creator": Reject.PARENT_ORDER,
        "V3: a parent of another round": Reject.PARENT_MISMATCH,
        "V4: no self-parent": Reject.SELF_PARENT,
        "V4: no self-parent, and kept back until that is dropped": Reject.SELF_PARENT,
        "V4: a self-parent that is not the latest": Reject.SELF_PARENT,
        "V5: no later than its self-parent": Reject.TIME,
    }
    found: dict[str, set[Reject | None]] = {}
    kept_back = 0
    for seed in range(4):
        spec, network = LiarSpec(kind="rule_breaker", creator=1), Network(gc_depth=6)
        with Party(4, [spec], core="auto", seed=seed, network=network, local={"retain_events": 0}) as party:
            (liar,) = party.liars
            assert isinstance(liar, Forger)
            for _ in range(30):
                party.run(0.05)
                for digest, event in list(liar.aside.items()):
                    alone = check_event(event, liar.committee, network.gc_depth)
                    how = party.cluster.invalid[digest].partition("(")[2].removesuffix(")")
                    if alone is not None or event.round > liar.dag.floor + network.gc_depth + 1:
                        found.setdefault(how, set()).add(alone or liar.known.enter(event))
            kept_back += liar.counters.get("late events", 0)
            statuses = [party.cluster.nodes[peer].status() for peer in party.honest]
            assert all(1 not in status.equivocators for status in statuses if status is not None)
            party.check()
    assert found == {how: {code} for how, code in codes.items()}
    assert kept_back, "nobody was shown an event that it could not check"


def test_a_liar_forgets_what_is_long_ago() -> None:
    with Party(4, [LiarSpec(kind="far_future", creator=2)], core="auto", seed=10, network=Network(gc_depth=4)) as party:
        party.run(2.5, every=0.01)
        (liar,) = party.liars
        assert isinstance(liar, Forger)
        assert liar.dag.top > 150
        assert liar.dag.floor > liar.dag.top - 150
        assert len(liar.dag) < 150 * 5
        party.check()


@pytest.mark.native
def test_liars_sign_as_their_network_does() -> None:
    specs = [LiarSpec(kind="equivocator", creator=3)]
    with Party(4, specs, core="mixed", seed=11, signatures="ed25519") as party:
        party.run(0.2)
        party.check()
        status = party.cluster.nodes[0].status()
        assert status is not None
        assert 3 in status.equivocators
        assert Reject.SIGNATURE not in status.rejects


def test_a_liar_is_silent_after_its_time(core: str) -> None:
    spec = LiarSpec(kind="equivocator", creator=1, begin_ns=SECOND_NS // 5, until_ns=SECOND_NS // 2)
    with Party(4, [spec], core=core, seed=1) as party:
        party.run(0.2)
        liar = party.liars[0]
        assert liar.counters["events"] > 0
        assert "lies" not in liar.counters
        party.run(0.4)
        assert liar.counters["lies"] > 0
        before = dict(liar.counters)
        party.run(0.2)
        assert liar.counters == before
        assert party.cluster.run_until(party.all_delivered, BOUND_S)
        party.check()


# -- as data ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LIARS)
def test_a_liar_is_data(kind: str) -> None:
    spec = LiarSpec(kind=kind, creator=2, strength=0.5, until_ns=7, forks=9, padding=0, victim=1)
    assert liar_from(json.loads(json.dumps(spec.to_data()))) == spec
    assert LIARS[kind].kind == kind


def test_what_is_no_liar_is_refused() -> None:
    for data in (
        {"kind": "saint", "creator": 1},
        {"creator": 1},
        {"kind": "twin"},
        {"kind": "twin", "creator": 1, "x": 2},
    ):
        with pytest.raises(ArgumentError):
            liar_from(data)
    for field, value in (("creator", -1), ("strength", 1.5), ("forks", 1), ("copies", 4), ("padding", 10**6)):
        with pytest.raises(ArgumentError, match=field):
            LiarSpec(**{"kind": "junk", "creator": 0, field: value})  # type: ignore[arg-type]
    with Cluster(4) as cluster, pytest.raises(ArgumentError, match="4"):
        LIARS["junk"](cluster, LiarSpec(kind="junk", creator=4), random.Random(0))
