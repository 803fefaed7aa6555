"""Simulations in which members, keys and settings change: what they are, and that their checker can complain."""

from __future__ import annotations

import dataclasses

import pytest

from syncpoint.errors import ArgumentError
from syncpoint.testing.campaign import Settings
from syncpoint.testing.changes import ChangeSpec
from syncpoint.testing.check_epochs import EpochCheckers
from syncpoint.testing.faults import Crash
from syncpoint.testing.scenario import Agenda, Load, Scenario
from syncpoint.testing.simulation import Outcome, Simulation, simulate

MS = 1_000_000
CHANGES = (
    ChangeSpec(kind="join", at_ns=30 * MS, peer=4),
    ChangeSpec(kind="rotate", at_ns=30 * MS, peer=1),
    ChangeSpec(kind="configure", at_ns=150 * MS, settings=(("order", "fast"), ("gc_depth", 50))),
    ChangeSpec(kind="leave", at_ns=250 * MS, peer=2),
)
SCENARIO = Scenario(
    core="python", duration_ns=400 * MS, load=Load(transactions=30), changes=CHANGES, newcomers=1, peers=4
)


def test_every_kind_of_change_is_made_and_counted() -> None:
    outcome = simulate(SCENARIO)
    assert outcome.problem is None
    counted = {name: outcome.features[name] for name in ("joined", "rotated", "configured", "left", "epochs entered")}
    assert counted == {"joined": 1, "rotated": 1, "configured": 1, "left": 1, "epochs entered": 4}


def test_it_goes_through_a_file() -> None:
    for seed in range(20):
        scenario = Settings(profile="epochs", size=0.15).scenario(seed)
        assert 2 <= len(scenario.changes) <= 5
        assert Scenario.from_json(scenario.to_json()) == scenario
        assert all(change.kind in str(scenario) for change in scenario.changes)


@pytest.mark.parametrize(
    "change",
    [
        ChangeSpec(kind="leave", at_ns=0, peer=5),
        ChangeSpec(kind="marry", at_ns=0),
        ChangeSpec(kind="join", at_ns=-1, peer=4),
        ChangeSpec(kind="configure", at_ns=0, settings=(("height", 3),)),
    ],
)
def test_what_nobody_can_call_for_is_refused(change: ChangeSpec) -> None:
    with pytest.raises(ArgumentError):
        dataclasses.replace(SCENARIO, changes=(change,)).check()


def test_no_agenda_besides() -> None:
    with pytest.raises(ArgumentError, match="has no agenda"):
        dataclasses.replace(SCENARIO, agenda=Agenda(proposals=1)).check()


def run_with(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> Outcome:
    """The scenario, with something of what the checker believes made untrue."""
    simulation = Simulation(SCENARIO)
    assert isinstance(simulation.checkers, EpochCheckers)
    monkeypatch.setattr(simulation.checkers.points, name, value)
    return simulation.run()


def test_what_nobody_called_for_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(dict[object, object]):
        def setdefault(self, key: object, default: object = None) -> object:
            return super().setdefault(key, set())

        def __getitem__(self, key: object) -> object:
            return set()

    outcome = run_with(monkeypatch, "called", Forgetful())
    assert outcome.problem is not None
    assert outcome.problem.startswith("Epochs ")
    assert "was called for by set()" in outcome.problem or "was called for by None" in outcome.problem


def test_keys_of_no_member_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Empty(list[object]):
        def __getitem__(self, at: object) -> object:
            return super().__getitem__(at) if at == -1 else {}

    simulation = Simulation(SCENARIO)
    assert isinstance(simulation.checkers, EpochCheckers)
    points = simulation.checkers.points
    monkeypatch.setattr(points, "rosters", Empty(points.rosters))
    problem = simulation.run().problem
    assert problem is not None
    assert "is of a key that is no member's in epoch 0" in problem


@pytest.mark.parametrize("restarts", [False, True])
def test_who_was_down_hears_of_its_removal_whoever_joined_since(restarts: bool) -> None:
    """Also when all others have started again meanwhile: stores remember whom they let go of a moment ago."""
    others = tuple(Crash(at_ns=400 * MS, until_ns=430 * MS, peer=peer) for peer in (0, 1, 2, 4, 5, 6, 7) if restarts)
    scenario = Scenario(
        core="python",
        seed=1,
        duration_ns=600 * MS,
        load=Load(transactions=30),
        changes=(ChangeSpec(kind="leave", at_ns=60 * MS, peer=3), ChangeSpec(kind="join", at_ns=250 * MS, peer=7)),
        faults=(Crash(at_ns=40 * MS, until_ns=550 * MS, peer=3), *others),
        newcomers=1,
        peers=7,
    )
    simulation = Simulation(scenario)
    outcome = simulation.run()
    assert outcome.problem is None
    assert (outcome.features["left"], outcome.features["joined"]) == (1, 1)
    assert isinstance(simulation.checkers, EpochCheckers)
    stream = simulation.checkers.history.streams[3]
    assert stream.ended
    assert stream.last == simulation.checkers.points.removed[3]
