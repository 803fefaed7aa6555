"""Deciding and ordering against the executable specification (D1 to D11, O1 to O10)."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from core import dags
from model import model
from model.generate import random_view
from model.model import ORDERS, RULES
from syncpoint.core.crypto import blake3
from syncpoint.core.dag import Node
from syncpoint.core.values import Event
from syncpoint.testing import order_dag
from syncpoint.testing.dag import DagRun, events_of

KINDS = {"patterns": 22, "random": 44, "edges": 12}  # folder: files; an edge needs the rule that it names
FIXTURES = sorted(path for kind in KINDS for path in (dags.DATA / kind).glob("*.json"))
BOTH = [(rule, order) for rule in RULES for order in ORDERS]
VIEWS = 5  # of one DAG, besides the whole

fixture_files = pytest.mark.parametrize("path", FIXTURES, ids=lambda path: f"{path.parent.name}/{path.stem}")


@fixture_files
def test_a_fixture_has_its_stored_outcome(path: Path) -> None:
    made = json.loads(path.read_text())
    assert order_dag(made) == made["outcome"]


@fixture_files
def test_a_fixture_event_by_event_has_its_stored_outcome(path: Path) -> None:
    made = json.loads(path.read_text())
    for rule, order in BOTH:
        run = DagRun(made, rule, order)
        for event in events_of(made):
            run.accept(event)
            run.close()
        assert run.slots() == made["outcome"][rule]["slots"]
        assert batches_of(run) == made["outcome"][rule][order]


@fixture_files
def test_a_stored_outcome_is_the_models(path: Path) -> None:
    made = json.loads(path.read_text())
    assert model.outcome(made) == made["outcome"]


def test_all_fixtures_are_here() -> None:
    assert Counter(path.parent.name for path in FIXTURES) == KINDS


# -- random DAGs ------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def valid_dags(seed: int) -> list[tuple[dags.Document, dags.Document]]:
    """The random DAGs of a run, each with what the model says of it."""
    made = [dags.valid_document(dags.randomness(seed, "valid", number)) for number in range(dags.DAGS)]
    return [(document, dags.Model(document).outcome(RULES)) for document in made]


def test_random_dags_equal_the_model(seed: int) -> None:
    for number, (made, outcome) in enumerate(valid_dags(seed)):
        assert order_dag(made) == outcome, f"DAG {number}"


def test_decisions_never_change_and_arrival_does_not_matter(seed: int) -> None:
    # D11: whatever order events arrive in and whenever rounds are closed on the way.
    for number, (made, outcome) in enumerate(valid_dags(seed)):
        rng = dags.randomness(seed, "arrival", number)
        events = real_events(made, dags.arrival(rng, dags.Model(made).events))
        for rule, order in BOTH:
            where = f"DAG {number}, {rule}, {order}"
            run, known = DagRun(made, rule, order), {}
            often = rng.choice((0.0, 0.05, 0.5))
            for event in events:
                run.accept(event)
                if rng.random() < often:
                    run.close()
                if order == "fair":
                    assert_kept(run, known, where)
            run.close()
            assert run.slots() == outcome[rule]["slots"], where
            assert batches_of(run) == outcome[rule][order], where


@pytest.mark.parametrize("anyone_forks", [False, True])
def test_invalid_dags_equal_the_model(seed: int, anyone_forks: bool) -> None:
    # With more than f liars decisions may change on the way; what counts is the whole DAG, as in the model.
    for number in range(dags.DAGS):
        made = dags.wild_document(dags.randomness(seed, "wild", number), anyone_forks=anyone_forks)
        assert order_dag(made) == dags.Model(made).outcome(RULES), f"DAG {number}"


def test_commits_are_counted_by_what_decided_them() -> None:
    # D5, D7, D9: a slot for which the votes and the certificates suffice counts as committed by the votes.
    total: Counter[str] = Counter()
    for path in FIXTURES:
        made = json.loads(path.read_text())
        view = dags.Model(made).view
        for rule in RULES:
            run = DagRun(made, rule, "fair")
            for event in events_of(made):
                parents = [parent.digest for parent in event.parents]
                run.count(event.digest, event.creator, event.round, event.created_at, parents)
            run.decide()
            expected = Counter(commit_of(view, rule, slot) for slot in view.decide(rule).items())
            counted = {
                "fast": run.decider.fast_commits,
                "certified": run.decider.certified_commits,
                "indirect": run.decider.indirect_commits,
            }
            assert counted == {kind: expected[kind] for kind in counted}, f"{path.stem}, {rule}"
            total.update({f"{rule} {kind}": count for kind, count in counted.items()})
    assert total["three_step fast"] == 0
    assert all(total[f"two_step {kind}"] > 0 for kind in ("fast", "certified", "indirect"))
    assert all(total[f"three_step {kind}"] > 0 for kind in ("certified", "indirect"))


def commit_of(view: model.View, rule: str, slot: tuple[tuple[int, int], Any]) -> str:
    """By what the model commits a slot, or that it does not."""
    (round, creator), status = slot
    if status is None or status is False:
        return "none"
    if view.direct(rule, round, creator) is None:
        return "indirect"
    votes = {vote.creator for vote in view.at(round + 1) if view.vote(vote, round, creator) == status}
    return "fast" if rule == "two_step" and len(votes) >= view.k.fast else "certified"


# -- what two peers may never disagree on -----------------------------------------------------------


def test_views_of_one_dag_never_disagree(seed: int) -> None:
    for number, (made, outcome) in enumerate(valid_dags(seed)[: max(1, dags.DAGS // 4)]):
        rng = dags.randomness(seed, "views", number)
        events = dags.Model(made).events
        views = [events, *(random_view(rng, events) for _ in range(VIEWS))]
        for rule, order in BOTH:
            where = f"DAG {number}, {rule}, {order}"
            runs = [run_of(made, dags.arrival(rng, view), rule, order) for view in views]
            slots = outcome[rule]["slots"]
            for run in runs:
                early = {slot: status for slot, status in run.slots().items() if status != "undecided"}
                assert early.items() <= slots.items(), f"{where}: slots"
            streams = [stream_of(run) for run in runs]
            for stream in streams:
                assert stream == streams[0][: len(stream)], f"{where}: order"
            assert_stream(runs[0], where)


def assert_stream(run: DagRun, where: str) -> None:
    done = [delivered for _, batch in run.batches for delivered in batch]
    times = [delivered.consensus_at for delivered in done]
    assert all(one < two for one, two in itertools.pairwise(times)), f"{where}: O8"
    place = {delivered.event.digest: index for index, delivered in enumerate(done)}
    for delivered in done:
        behind = [place[parent] for parent in delivered.parents if parent in place]
        assert all(index < place[delivered.event.digest] for index in behind), f"{where}: child before parent"
    slots = [(delivered.event.round, delivered.event.creator) for delivered in done]
    assert len(set(slots)) == len(slots), f"{where}: slot delivered twice (O7)"


# -- what is delivered with an event ----------------------------------------------------------------


def test_order_hash_index_and_whitened_signature(seed: int) -> None:
    # O8 to O10 from their definitions; the model knows nothing of hashes and signatures.
    for number, (made, _) in enumerate(valid_dags(seed)[: max(1, dags.DAGS // 10)]):
        rng = dags.randomness(seed, "signatures", number)
        events = [dataclasses.replace(event, signature=rng.randbytes(64)) for event in events_of(made)]
        for rule, order in BOTH:
            run = DagRun(made, rule, order)
            for event in events:
                run.accept(event)
            run.close()
            before, index = blake3(b"syncpoint/order/v1" + bytes.fromhex(made["epoch_id"])), 0
            for round, batch in run.batches:
                statuses = [run.decider.status(round, creator) for creator in range(made["n"])]
                committed = [status.event.signature for status in statuses if isinstance(status, Node)]
                for done in batch:
                    at = done.consensus_at.to_bytes(8, "little")
                    before = blake3(before + index.to_bytes(8, "little") + done.event.digest + at)
                    assert (done.index, done.order_hash, done.closed_by) == (index, before, round)
                    assert done.whitened_signature == xor([done.event.signature, *committed])
                    index += 1
            assert (run.orderer.index, run.orderer.order_hash) == (index, before)


def test_what_carries_something_is_missed_until_it_is_delivered(seed: int) -> None:
    # P2: an engine makes events until this is false.
    for number, (made, _) in enumerate(valid_dags(seed)[: max(1, dags.DAGS // 10)]):
        rng = dags.randomness(seed, "carrying", number)
        share = rng.choice((0.02, 0.2))
        events = [
            dataclasses.replace(event, transactions=(b"x",)) if rng.random() < share else event
            for event in events_of(made)
        ]
        for rule, order in BOTH:
            run = DagRun(made, rule, order)
            for event in events:
                run.accept(event)
            run.close()
            done = {(delivered.event.round, delivered.event.creator) for _, batch in run.batches for delivered in batch}
            alive = [event for event in events if event.carries and event.round > run.orderer.floor]
            if not run.orderer.has_undelivered:
                assert {(event.round, event.creator) for event in alive} <= done
            if any((event.round, event.creator) not in done for event in alive):
                assert run.orderer.has_undelivered
            if not alive:
                assert not run.orderer.has_undelivered


def test_settled_is_what_the_votes_say(seed: int) -> None:
    # P3: the primary of a round has qc votes for one variant, or qc creators without a vote for each.
    for number, (made, _) in enumerate(valid_dags(seed)[: max(1, dags.DAGS // 10)]):
        view, committee = dags.Model(made).view, dags.committee_of(made)
        run = run_of(made, view.by_id.values(), "two_step", "fair")
        for round in range(1, view.top + 1):
            primary = view.slot_order(round)[0]
            votes = [(vote.creator, view.vote(vote, round, primary)) for vote in view.at(round + 1)]
            known = view.variants(round, primary)
            settled = any(len({c for c, b in votes if b == one}) >= committee.qc for one in known) or (
                len({c for c, _ in votes}) >= committee.qc
                and all(len({c for c, b in votes if b != one}) >= committee.qc for one in known)
            )
            decided = run.decider.status(round, primary) is not None
            assert run.decider.settled(round) == (settled or decided), f"DAG {number}, round {round}"


# -- one rule each ----------------------------------------------------------------------------------


def test_a_parent_that_is_not_there_is_misuse() -> None:
    made = json.loads(FIXTURES[0].read_text())
    del made["events"][0]
    with pytest.raises(ValueError, match="parent"):
        order_dag(made)


def test_another_core_is_misuse() -> None:
    with pytest.raises(ValueError, match="core"):
        order_dag(json.loads(FIXTURES[0].read_text()), core="another")


# -- helpers ----------------------------------------------------------------------------------------


def run_of(made: dags.Document, events: Iterable[model.Event], rule: str, order: str) -> DagRun:
    """These events of a document, in this order, through dag, decide and order."""
    run = DagRun(made, rule, order)
    for event in real_events(made, events):
        run.accept(event)
    run.close()
    return run


def real_events(made: dags.Document, events: Iterable[model.Event]) -> list[Event]:
    """The core's events for the model's, in the same order."""
    by_digest = {event.digest.hex(): event for event in events_of(made)}
    return [by_digest[event.id] for event in events]


def assert_kept(run: DagRun, known: dict[str, str], where: str) -> None:
    """D11: note every decision, and that none was ever another one."""
    for slot, status in run.slots().items():
        if status != "undecided":
            assert known.setdefault(slot, status) == status, f"{where}: slot {slot} changed"
        else:
            assert slot not in known, f"{where}: slot {slot} is open again"


def batches_of(run: DagRun) -> list[dict[str, Any]]:
    """The batches in the form of an outcome."""
    return [
        {"round": round, "events": [[done.event.digest.hex(), done.consensus_at] for done in batch]}
        for round, batch in run.batches
    ]


def stream_of(run: DagRun) -> list[tuple[int, bytes, int, bytes]]:
    """All that was delivered, as far as peers must agree on it."""
    return [
        (done.index, done.event.digest, done.consensus_at, done.order_hash)
        for _, batch in run.batches
        for done in batch
    ]


def xor(values: list[bytes]) -> bytes:
    """The values, all of one length, XORed."""
    number = functools.reduce(lambda one, two: one ^ int.from_bytes(two, "big"), values, 0)
    return number.to_bytes(len(values[0]), "big")
