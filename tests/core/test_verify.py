"""Validity: every rule by the code of its refusal, and random DAGs against the rules' definitions (V1 to V8)."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random

import pytest

from core import dags
from core.build import Graph, Peers, parent_of, signed_again
from core.without_v8 import lawless_dag, obeys_all_but_v8
from model import model
from model.generate import random_dag
from syncpoint.core import verify, wire
from syncpoint.core.crypto import DOMAIN_EVENT
from syncpoint.core.error import Reject
from syncpoint.core.values import Event, Item, Parent
from syncpoint.testing.dag import DagRun, events_of

pytestmark = pytest.mark.usefixtures("functions")

PEERS = Peers(4, gc_depth=4)
SEVEN = Peers(7)


def grown(rounds: int, peers: Peers = PEERS) -> tuple[Graph, list[list[Event]]]:
    """A graph of full rounds, and its events by round."""
    graph = Graph(peers)
    return graph, graph.rows(rounds)


# -- the event alone (V1 to V3) ---------------------------------------------------------------------


def test_a_valid_event_is_accepted() -> None:
    graph, rows = grown(3)
    assert graph.check(PEERS.event(0, 4, rows[3])) is None
    assert graph.check(PEERS.event(0, 4, rows[3][:3])) is None
    assert graph.check(PEERS.event(3, 1)) is None


def test_creator() -> None:
    assert PEERS.check(PEERS.event(4, 1, signer=0)) is Reject.CREATOR  # V1
    assert PEERS.check(PEERS.event(2**16 - 1, 1, signer=0)) is Reject.CREATOR


def test_signature() -> None:
    # V1
    event = PEERS.event(0, 1)
    assert PEERS.check(signed_again(PEERS, event, 1)) is Reject.SIGNATURE
    assert PEERS.check(dataclasses.replace(event, signature=bytes(64))) is Reject.SIGNATURE
    other = PEERS.event(0, 1)
    assert PEERS.check(dataclasses.replace(event, signature=other.signature)) is Reject.SIGNATURE


def test_signature_without_its_domain() -> None:
    # E2: what is signed for another purpose counts nowhere else.
    event = PEERS.event(0, 1)
    for message in (event.digest, b"syncpoint/peer/v1" + event.digest, DOMAIN_EVENT + event.header):
        signature = PEERS.signers[0].sign(message)
        assert PEERS.check(dataclasses.replace(event, signature=signature)) is Reject.SIGNATURE


def test_no_quorum() -> None:
    # V2: q strong parents, none in round 1.
    _, rows = grown(3)
    assert PEERS.check(PEERS.event(0, 1, rows[1])) is Reject.NO_QUORUM
    assert PEERS.check(PEERS.event(0, 4)) is Reject.NO_QUORUM
    assert PEERS.check(PEERS.event(0, 4, rows[3][:2])) is Reject.NO_QUORUM
    assert PEERS.check(PEERS.event(0, 4, [*rows[3][:2], *rows[2][2:]])) is Reject.NO_QUORUM
    assert PEERS.check(PEERS.event(0, 4, [*rows[3][:3], *rows[2][3:]])) is None


def test_a_quorum_is_counted_in_creators() -> None:
    # Q3: variants of one creator are not two parents.
    first = [PEERS.event(creator, 1) for creator in (0, 1, 1)]
    assert PEERS.check(PEERS.event(0, 2, first)) is Reject.PARENT_ORDER


def test_parent_order() -> None:
    # V3
    _, rows = grown(2)
    one, two, three, four = rows[2]
    for parents in ([two, one, three], [one, two, two, three], [one, two, four, three]):
        assert PEERS.check(PEERS.event(0, 3, parents)) is Reject.PARENT_ORDER
    stranger = Parent(4, 2, bytes(32))
    assert PEERS.check(PEERS.event(0, 3, [one, two, three, stranger])) is Reject.PARENT_ORDER


def test_parent_round() -> None:
    # V3: of a lower round, and not below r - gc_depth, which is 4 here.
    _, rows = grown(7)
    strong = rows[6][:3]

    def with_weak(round: int) -> Reject | None:
        return PEERS.check(PEERS.event(0, 7, [*strong, Parent(3, round, bytes(32))]))

    assert [with_weak(round) for round in (3, 4, 5, 6)] == [None] * 4
    for round in (0, 1, 2, 7, 8, 2**64 - 1):
        assert with_weak(round) is Reject.PARENT_ROUND
    early = [parent_of(event) for event in grown(1)[1][1]]
    assert PEERS.check(PEERS.event(0, 2, [*early[:3], Parent(3, 0, bytes(32))])) is Reject.PARENT_ROUND


# -- the event among its ancestors (V3 to V5, V8) ---------------------------------------------------


def test_parent_mismatch() -> None:
    # V3: a reference says what its parent is.
    graph, rows = grown(3)
    for index, lie in ((1, {"creator": 2}), (3, {"round": 2})):
        parents = [parent_of(event) for event in rows[3]]
        other = rows[3][index]
        parents[index] = Parent(other.creator, other.round, other.digest)._replace(**lie)
        assert graph.check_ancestors(PEERS.event(0, 4, parents)) is Reject.PARENT_MISMATCH
    old = rows[2][3]
    parents = [*rows[3][:3], Parent(3, 3, old.digest)]
    assert graph.check(PEERS.event(0, 4, parents)) is Reject.PARENT_MISMATCH


def test_self_parent() -> None:
    # V4: the latest own event that is behind the event.
    graph, rows = grown(3)
    assert graph.check(PEERS.event(0, 4, rows[3][1:])) is Reject.SELF_PARENT
    assert graph.check(PEERS.event(0, 4, [rows[1][0], *rows[3][1:]])) is Reject.SELF_PARENT
    # Its event of round 3 is behind none of these, so that of round 2 is the latest there.
    assert graph.check(PEERS.event(0, 4, [rows[2][0], *rows[3][1:]])) is None


def test_self_parent_after_a_gap() -> None:
    # R3: the only case in which it is of an older round.
    graph, rows = gap(5)
    assert graph.check(PEERS.event(0, 6, [rows[2][0], *rows[5]])) is None
    assert graph.check(PEERS.event(0, 6, [rows[1][0], *rows[5]])) is Reject.PARENT_ROUND
    assert graph.check(PEERS.event(0, 6, rows[5])) is Reject.SELF_PARENT
    assert graph.check(PEERS.event(0, 5, [rows[1][0], *rows[4]])) is Reject.SELF_PARENT


def test_self_parent_beyond_what_may_be_a_parent() -> None:
    # V3 and V4: a latest own event below r - gc_depth cannot be among the parents, and need not be.
    graph, rows = gap(6)
    assert graph.check(PEERS.event(0, 6, rows[5])) is Reject.SELF_PARENT
    assert graph.check(PEERS.event(0, 7, rows[6])) is None


def gap(rounds: int) -> tuple[Graph, list[list[Event]]]:
    """A graph in which creator 0 is silent after round 2, and its events by round."""
    graph = Graph(PEERS)
    rows = graph.rows(2)
    for round in range(3, rounds + 1):
        rows.append([graph.add(creator, round, rows[-1]) for creator in (1, 2, 3)])
    return graph, rows


def test_the_first_event_of_a_creator_may_be_late() -> None:
    graph = Graph(PEERS)
    row = [graph.add(creator, 1) for creator in (1, 2, 3)]
    row = [graph.add(creator, 2, row) for creator in (1, 2, 3)]
    assert graph.check(PEERS.event(0, 3, row)) is None


def test_time() -> None:
    # V5
    graph, rows = grown(1)
    for created_at, code in ((1001, None), (1000, Reject.TIME), (999, Reject.TIME), (0, Reject.TIME)):
        assert graph.check(PEERS.event(0, 2, rows[1], created_at=created_at)) is code
    assert graph.check(PEERS.event(0, 2, rows[1], created_at=2**62)) is None  # nothing else is asked


@pytest.mark.parametrize("peers", [PEERS, SEVEN], ids=["n4", "n7"])
def test_exposed_author(peers: Peers) -> None:
    # V8: who has shown two faces to two strong parents is no strong parent.
    n = peers.committee.n
    graph = Graph(peers)
    liar = n - 1
    first = [graph.add(creator, 1) for creator in range(n)]
    other = peers.event(liar, 1)
    graph.insert(other)
    second = [graph.add(creator, 2, [*first[:liar], (first[liar], other)[creator == 1]]) for creator in range(n)]
    assert graph.check(peers.event(0, 3, second)) is Reject.EXPOSED_AUTHOR
    assert graph.check(peers.event(0, 3, second[:liar])) is None
    if n == 4:
        assert graph.check(peers.event(0, 3, [second[0], *second[2:]])) is None  # one face only
    assert graph.check(peers.event(liar, 3, second)) is Reject.EXPOSED_AUTHOR  # the liar as well


def test_exposed_author_as_a_weak_parent() -> None:
    # V8 keeps the liar's events out of the strong parents only: its older ones stay within reach (P6).
    graph = Graph(PEERS)
    first = [graph.add(creator, 1) for creator in range(4)]
    other = PEERS.event(3, 1)
    graph.insert(other)
    second = [graph.add(creator, 2, [*first[:3], (first[3], other)[creator == 1]]) for creator in range(3)]
    assert graph.check(PEERS.event(0, 3, [*second, parent_of(first[3])])) is None
    assert graph.check(PEERS.event(3, 3, [*second, parent_of(first[3])])) is None


def test_what_exposes_is_two_variants_of_one_round() -> None:
    # Two strong parents with different variants; a variant that only one of them has exposes nobody.
    graph = Graph(PEERS)
    first = [graph.add(creator, 1) for creator in range(4)]
    other = PEERS.event(3, 1)
    graph.insert(other)
    second = [graph.add(creator, 2, [*first[:3], other]) for creator in range(4)]
    nodes = [graph.dag.get(event.digest) for event in second]
    assert verify.exposed([node for node in nodes if node], graph.dag) == 0
    assert graph.check(PEERS.event(0, 3, second)) is None
    assert verify.exposed([], graph.dag) == 0


# -- random DAGs ------------------------------------------------------------------------------------


def test_the_generators_events_are_valid(seed: int) -> None:
    # Its liars may drop their self-parent where V8 took it from them; all else obeys every rule.
    committees = {n: Peers(n) for n in set(dags.SIZES)}
    for number in range(max(1, dags.DAGS // 10)):
        rng = dags.randomness(seed, "verify", number)
        n = rng.choice(dags.SIZES)
        events, bad = random_dag(rng, n, rng.randint(3, 9), idle=rng.choice((0, 0, 0.3)))
        view = model.View(model.Committee.of(n), bytes(32), events)
        for event, alone, reject in checked(committees[n], events):
            assert alone is None, f"DAG {number}"
            lost = event.creator in bad and breaks_v4(view, event)
            assert reject is (Reject.SELF_PARENT if lost else None), f"DAG {number}"


def test_refusals_equal_the_rules(seed: int) -> None:
    # Nobody obeys V8, clocks run backwards and self-parents are older than they should be.
    committees = {n: Peers(n) for n in (4, 7)}
    codes = set()
    for number in range(max(60, dags.DAGS // 10)):  # fewer might break a rule nowhere
        rng = dags.randomness(seed, "lawless", number)
        n = rng.choice((4, 7))
        events = [spoilt(rng, event) for event in lawless_dag(rng, n, rng.randint(3, 7))]
        view = model.View(model.Committee.of(n), bytes(32), events)
        for event, _, reject in checked(committees[n], events):
            assert reject is by_the_rules(view, event), f"DAG {number}"
            codes.add(reject)
    assert codes == {None, Reject.SELF_PARENT, Reject.TIME, Reject.EXPOSED_AUTHOR}


def checked(peers: Peers, events: list[model.Event]) -> list[tuple[model.Event, Reject | None, Reject | None]]:
    """The events, really signed, with what is wrong with each alone and among its ancestors."""
    graph, real, out = Graph(peers), {}, []
    for event in sorted(events, key=lambda event: event.round):
        parents = [real[id] for id in event.parents]
        made = peers.event(event.creator, event.round, parents, created_at=event.created_at)
        out.append((event, peers.check(made), graph.check_ancestors(made)))
        graph.insert(made)
        real[event.id] = made
    return out


def spoilt(rng: random.Random, event: model.Event) -> model.Event:
    """The event, perhaps with a wrong time or without a parent."""
    if rng.random() < 0.1:
        event = dataclasses.replace(event, created_at=max(1, event.created_at - rng.randint(0, 200)))
    if event.parents and rng.random() < 0.1:
        gone = rng.choice(event.parents)
        event = dataclasses.replace(event, parents=tuple(id for id in event.parents if id != gone))
    return event


def by_the_rules(view: model.View, event: model.Event) -> Reject | None:
    """V4, V5 and V8, word by word."""
    if breaks_v4(view, event):
        return Reject.SELF_PARENT
    if any(
        view.by_id[id].creator == event.creator and view.by_id[id].created_at >= event.created_at
        for id in event.parents
    ):
        return Reject.TIME
    strong = view.strong(event)
    exposed = {
        a.creator
        for one, two in itertools.combinations(strong, 2)
        for a, b in itertools.product(view.strong(one), view.strong(two))
        if a.creator == b.creator and a != b
    }
    if any(parent.creator in exposed for parent in strong):
        return Reject.EXPOSED_AUTHOR
    return None


def breaks_v4(view: model.View, event: model.Event) -> bool:
    """Whether the latest earlier event of its creator in its history is not among its parents."""
    past = [view.by_id[id] for id in view.history(event) if id != event.id]
    own = [other.round for other in past if other.creator == event.creator]
    parents = [view.by_id[id].round for id in event.parents if view.by_id[id].creator == event.creator]
    return bool(own) and max(own) not in parents


# -- why V8 is a rule -------------------------------------------------------------------------------


def without_v8() -> tuple[dags.Document, list[list[model.Event]]]:
    """A DAG that obeys every rule but V8, and the two views of it that disagree."""
    made = json.loads((dags.DATA / "without_v8.json").read_text())
    events = dags.Model(made).view.by_id
    return made, [[events[id] for id in view] for view in made["views"]]


def union(views: list[list[model.Event]]) -> list[model.Event]:
    """The events of all views, each once."""
    return list({event.id: event for view in views for event in view}.values())


def test_without_v8_two_views_disagree() -> None:
    made, views = without_v8()
    statuses = []
    for view in views:
        run = DagRun(made, "two_step", "fair")
        entries = [entry for entry in made["events"] if entry["id"] in {event.id for event in view}]
        for event in events_of({**made, "events": entries}):
            run.accept(event)
        statuses.append(run.slots()[made["slot"]])
        assert statuses[-1] == dags.Model({**made, "events": entries}).slots("two_step")[made["slot"]]
    assert statuses[0] != statuses[1]
    assert "undecided" not in statuses


def test_the_rest_of_the_rules_does_not_prevent_it() -> None:
    made, views = without_v8()
    assert obeys_all_but_v8(dags.committee_of(made), union(views))


def test_v8_prevents_it() -> None:
    made, views = without_v8()
    events = union(views)
    found = [(alone, reject) for _, alone, reject in checked(Peers(made["n"]), events)]
    assert {alone for alone, _ in found} == {None}
    assert {reject for _, reject in found} == {None, Reject.EXPOSED_AUTHOR}


# -- evidence (E5) ----------------------------------------------------------------------------------


def proof_of(*events: Event) -> bytes:
    """The body of an EVIDENCE item of these events, in this order."""
    return b"".join(len(event.header).to_bytes(4, "little") + event.header + event.signature for event in events)


def pair(creator: int = 2, round: int = 3) -> list[Event]:
    """Two events of one slot, the lower digest first."""
    events = [PEERS.event(creator, round), PEERS.event(creator, round)]
    return sorted(events, key=lambda event: event.digest)


def test_evidence_proves_who_signed_twice() -> None:
    for creator in range(4):
        one, two = pair(creator)
        body = wire.encode_evidence(two, one)
        assert body == proof_of(one, two)
        assert verify.check_evidence(body, PEERS.committee) == creator
        carried = PEERS.event(0, 1, items=[Item(4, body)])
        assert verify.check_evidence(carried.items[0].body, PEERS.committee) == creator


def test_evidence_of_invalid_events_is_evidence() -> None:
    # What was signed is a lie whatever else is wrong with it.
    one, two = PEERS.event(1, 5), PEERS.event(1, 5, [Parent(3, 9, bytes(32))])
    assert verify.check_evidence(wire.encode_evidence(one, two), PEERS.committee) == 1


def test_one_event_twice_is_no_evidence() -> None:
    one, _ = pair()
    assert verify.check_evidence(proof_of(one, one), PEERS.committee) is None


def test_events_of_two_rounds_are_no_evidence() -> None:
    body = wire.encode_evidence(PEERS.event(2, 3), PEERS.event(2, 4))
    assert verify.check_evidence(body, PEERS.committee) is None


def test_events_of_two_creators_are_no_evidence() -> None:
    body = wire.encode_evidence(PEERS.event(2, 3), PEERS.event(1, 3))
    assert verify.check_evidence(body, PEERS.committee) is None


def test_events_of_a_stranger_are_no_evidence() -> None:
    one, two = (PEERS.event(4, 3, signer=0) for _ in range(2))
    assert verify.check_evidence(wire.encode_evidence(one, two), PEERS.committee) is None


@pytest.mark.parametrize("forged", [0, 1])
def test_a_forged_signature_is_no_evidence(forged: int) -> None:
    events = pair()
    events[forged] = signed_again(PEERS, events[forged], 1)
    assert verify.check_evidence(wire.encode_evidence(*events), PEERS.committee) is None


def test_another_signature_of_one_event_is_no_evidence() -> None:
    # E2: ids do not depend on signatures, so this is one event.
    one, two = pair()
    again = dataclasses.replace(one, signature=two.signature)
    assert verify.check_evidence(proof_of(one, again), PEERS.committee) is None


def test_another_epoch_is_no_evidence() -> None:
    one, two = pair()
    body = wire.encode_evidence(one, two)
    assert verify.check_evidence(body, Peers(4, name="test", gc_depth=5).committee) is None
    foreign = [PEERS.event(2, 3), Peers(4, gc_depth=5).event(2, 3)]
    assert verify.check_evidence(wire.encode_evidence(*foreign), PEERS.committee) is None


def test_evidence_has_one_encoding() -> None:
    # E4: the lower digest first.
    one, two = pair()
    assert verify.check_evidence(proof_of(two, one), PEERS.committee) is None


def test_damaged_evidence_is_no_evidence() -> None:
    body = wire.encode_evidence(*pair())
    for length in range(len(body)):
        assert verify.check_evidence(body[:length], PEERS.committee) is None
    assert verify.check_evidence(body + b"\0", PEERS.committee) is None
    for at in range(0, len(body) * 8, 3):
        damaged = bytearray(body)
        damaged[at // 8] ^= 1 << at % 8
        assert verify.check_evidence(bytes(damaged), PEERS.committee) is None
