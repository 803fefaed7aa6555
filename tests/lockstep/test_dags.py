"""Deciding and ordering whole DAGs: both cores, and the model (D1 to D11, O1 to O8)."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from core import dags
from model.model import ORDERS, RULES
from syncpoint.backend import load_core
from syncpoint.testing import order_dag

FIXTURES = sorted(path for folder in ("patterns", "random", "edges") for path in (dags.DATA / folder).glob("*.json"))
BOTH = [(rule, order) for rule in RULES for order in ORDERS]

pytestmark = pytest.mark.native


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_native_core_has_the_stored_outcome_of_a_fixture(path: Path) -> None:
    made = json.loads(path.read_text())
    assert order_dag(made, core="native") == made["outcome"]


def test_the_native_core_equals_the_model_on_random_dags(seed: int) -> None:
    for number in range(dags.DAGS):
        made = dags.valid_document(dags.randomness(seed, "native", number))
        assert order_dag(made, core="native") == dags.Model(made).outcome(RULES), f"DAG {number}"


@pytest.mark.parametrize("anyone_forks", [False, True])
def test_the_native_core_equals_the_model_on_invalid_dags(seed: int, anyone_forks: bool) -> None:
    for number in range(dags.DAGS):
        made = dags.wild_document(dags.randomness(seed, "native wild", number), anyone_forks=anyone_forks)
        assert order_dag(made, core="native") == dags.Model(made).outcome(RULES), f"DAG {number}"


def test_both_cores_go_through_a_dag_event_by_event_alike(seed: int) -> None:
    """Slots, batches and order hash after every event and every closing, for DAGs that obey no rule as well."""
    for number in range(max(1, dags.DAGS // 2)):
        rng = dags.randomness(seed, "steps", number)
        made = dags.wild_document(rng, anyone_forks=rng.random() < 0.5) if number % 2 else dags.valid_document(rng)
        events = list(dags.arrival(rng, dags.Model(made).events))
        for rule, order in BOTH:
            walk(made, events, rule, order, random.Random(number), f"DAG {number}, {rule}, {order}")


def walk(made: dags.Document, events: list[Any], rule: str, order: str, rng: random.Random, where: str) -> None:
    """One DAG through both cores, closing now and then, and forgetting what may be forgotten."""
    epoch_id, depth = bytes.fromhex(made["epoch_id"]), made["gc_depth"]
    faces: list[Any] = [load_core("python"), load_core("native")]
    one, two = (face.DagRun(made["n"], made.get("f"), epoch_id, depth, rule, order) for face in faces)
    for event in events:
        parents = [bytes.fromhex(id) for id in event.parents]
        for run in (one, two):
            run.insert(bytes.fromhex(event.id), event.creator, event.round, event.created_at, parents)
        if rng.random() < 0.2:
            assert one.close() == two.close(), where
            assert one.slots() == two.slots(), where
            assert one.order_hash == two.order_hash, where
            assert len(one) == len(two), where
    assert one.close() == two.close(), where
    assert one.slots() == two.slots(), where
    assert one.order_hash == two.order_hash, where
