"""Scenarios: drawn, stored, replayed, shrunk; and a few of each kind run, with every checker looking on."""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import syncpoint
from syncpoint.backend import core_info
from syncpoint.cli.app import app
from syncpoint.errors import ArgumentError
from syncpoint.testing.campaign import Campaign, Settings, missing, repeat
from syncpoint.testing.checkers import Violation
from syncpoint.testing.delays import Delays
from syncpoint.testing.draw import PROFILES, draw
from syncpoint.testing.faults import FAULTS, Crash, CrashWhenFinal, Partition
from syncpoint.testing.features import MINIMUMS
from syncpoint.testing.liars import LIARS, ONLY_BY_NAME, LiarSpec
from syncpoint.testing.scenario import Load, Scenario
from syncpoint.testing.shrink import shrink
from syncpoint.testing.simulation import Simulation, simulate

SEEDS = int(os.environ.get("SYNCPOINT_SEEDS", "3"))
KILLS = int(os.environ.get("SYNCPOINT_KILLS", "20"))
MS = 1_000_000


@pytest.mark.parametrize("profile", [profile for profile in PROFILES if profile != "crowd"])  # crowds are long
def test_every_promise_holds_in_every_profile(profile: str, core: str, seed: int) -> None:
    settings = Settings(profile=profile, core=core, size=0.15)
    for number in range(seed, seed + SEEDS):
        outcome = settings.outcome(number)
        command = f"syncpoint simulate --profile {profile} --seed {number} --size {settings.size} --core {core}"
        assert outcome.ok, f"{outcome.problem}\nto run it again: {command}"
        assert outcome.deliveries > 0


@pytest.mark.native
def test_every_promise_holds_with_both_cores_in_one_network(seed: int) -> None:
    settings = Settings(core="mixed", size=0.15)
    for number in range(seed, seed + SEEDS):
        outcome = settings.outcome(number)
        assert outcome.ok, f"{number}: {outcome.problem}"


@pytest.mark.native
def test_both_cores_do_the_same_in_a_whole_scenario() -> None:
    """Not only the same order: the same at every moment, so that the digest of all that happened is the same."""
    for number in range(5):
        scenario = draw(number, "lan", core="python", size=0.1)
        assert simulate(scenario).digest == simulate(dataclasses.replace(scenario, core="native")).digest


@pytest.mark.parametrize("number", [46183, 76627])
def test_a_round_that_was_left_out_beside_a_liar_stops_nobody(core: str, number: int) -> None:  # 0015, P7, V8
    """Who comes back leaves rounds out; where one of their creators is exposed later, too few others are left."""
    outcome = Settings(profile="twins", core=core, peers=4, size=0.05).outcome(number)
    assert outcome.ok, outcome.problem


def test_a_peer_that_comes_back_at_the_edge_of_what_is_retained_stops_nobody(core: str) -> None:  # 0015, P6
    """One peer takes its oldest events; another one, to whom they come a round later, must be able to follow both."""
    outcome = Settings(profile="twins", core=core, peers=4, size=0.05).outcome(75293)
    assert outcome.ok, outcome.problem


def test_a_slow_disk_does_not_keep_a_peer_behind_for_good(core: str) -> None:  # 0015
    """After a restart it makes an event each time that the others make one, and so would never come nearer."""
    outcome = Settings(profile="rejoin", core=core, size=0.05).outcome(5782)
    assert outcome.ok, outcome.problem
    assert outcome.virtual_ns < 2_000_000_000


def test_nobody_stalls_when_a_peer_dies_as_its_transaction_becomes_final(core: str) -> None:
    """The moment in which a peer knows something is final and may be the only one that knows."""
    for number in range(KILLS):
        outcome = simulate(
            Scenario(
                seed=number,
                core=core,
                duration_ns=150 * MS,
                patience_ns=5_000 * MS,
                delays=Delays(kind="uniform", low_ns=MS, high_ns=4 * MS),
                load=Load(transactions=40, awaited=1.0),
                faults=(CrashWhenFinal(at_ns=40 * MS, peer=number % 4),),
            )
        )
        assert outcome.ok, f"seed {number}: {outcome.problem}"


@pytest.mark.parametrize("profile", list(PROFILES))
def test_a_scenario_survives_its_file(profile: str) -> None:
    for number in range(40):
        scenario = draw(number, profile)
        assert Scenario.from_json(scenario.to_json()) == scenario
        assert draw(number, profile) == scenario


def test_every_kind_of_fault_and_liar_is_drawn() -> None:
    kinds = set()
    for number in range(400):
        scenario = draw(number, "chaos")
        kinds |= {fault.kind for fault in scenario.faults} | {liar.kind for liar in scenario.liars}
    assert kinds == {*FAULTS, *LIARS} - ONLY_BY_NAME
    only = draw(3, "chaos", kinds=("partition",))
    assert {fault.kind for fault in only.faults} <= {"partition"}
    assert not only.liars
    named = [liar.kind for number in range(20) for liar in draw(number, "chaos", kinds=tuple(ONLY_BY_NAME)).liars]
    assert set(named) == ONLY_BY_NAME


def test_a_drawn_network_is_one_that_can_come_through() -> None:
    for number in range(400):
        scenario = draw(number, "chaos")
        stay_dead = {fault.peer for fault in scenario.faults if isinstance(fault, Crash) and fault.until_ns is None}
        assert len(scenario.liar_creators | scenario.forgetful | stay_dead) <= scenario.tolerated
        assert not scenario.is_beyond
        assert draw(number, "beyond").is_beyond


BRIEF = Scenario(duration_ns=100 * MS, patience_ns=2_000 * MS, load=Load(transactions=4))


def test_what_crashes_a_simulation_is_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        pass

    simulation = Simulation(dataclasses.replace(BRIEF, seed=7))
    simulation.cluster.at(50 * MS, lambda: monkeypatch.setattr(simulation.cluster, "heal", lambda: 1 // 0))
    outcome = simulation.run()
    assert outcome.problem is not None
    assert outcome.problem.startswith("Crashed at 0.100000000 s: ZeroDivisionError(")
    assert outcome.problem.endswith("(seed 7)")
    assert outcome.features["scenarios"] == 0
    assert simulation.cluster.loop.is_closed()

    def panic(*_: object) -> None:
        raise Panic

    simulation = Simulation(BRIEF)
    monkeypatch.setattr(simulation.features, "finish", panic)
    outcome = simulation.run()
    assert outcome.problem is not None
    assert "Panic()" in outcome.problem
    assert outcome.ordered > 0
    assert simulation.cluster.loop.is_closed()


def test_an_interrupt_ends_a_simulation_as_it_should() -> None:
    simulation = Simulation(BRIEF)

    def interrupt() -> None:
        raise KeyboardInterrupt

    simulation.cluster.at(50 * MS, interrupt)
    with pytest.raises(KeyboardInterrupt):
        simulation.run()
    assert simulation.cluster.loop.is_closed()


def test_what_is_excused_beyond_hides_nothing_that_comes_later() -> None:
    beyond = dataclasses.replace(BRIEF, liars=tuple(LiarSpec(kind="junk", creator=creator) for creator in (2, 3)))
    assert beyond.is_beyond

    def outcome(*problems: Callable[[Simulation], object]) -> str | None:
        simulation = Simulation(beyond)
        for number, problem in enumerate(problems):
            simulation.cluster.at((number + 1) * 30 * MS, functools.partial(problem, simulation))
        return simulation.run().problem

    def split(simulation: Simulation) -> None:
        simulation.checkers._keep(Violation("Agreement", simulation.cluster.now_ns, 0, "planted"))

    def fork(simulation: Simulation) -> None:
        node = simulation.cluster.nodes[0]
        status = node.status()
        assert status is not None
        node.past = [dataclasses.replace(status, equivocators=(2,))]

    def fail(simulation: Simulation) -> None:
        raise ValueError("planted")

    assert outcome() is None
    assert outcome(split, fork) is None
    assert (outcome(split) or "").startswith("Agreement")
    assert (outcome(split, fork, fail) or "").startswith("QuietLogs")


def test_what_is_not_asked_for_is_counted() -> None:
    outcome = simulate(BRIEF)
    assert outcome.ok, outcome.problem
    assert outcome.features["probes"] == 4
    assert outcome.features["progress not asked for"] == outcome.features["peers left behind"] == 0
    faults = (Crash(at_ns=50 * MS, peer=0), Crash(at_ns=50 * MS, peer=1))
    outcome = simulate(dataclasses.replace(BRIEF, faults=faults))
    assert outcome.ok, outcome.problem
    assert outcome.features["progress not asked for"] == 1


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "JSON"),
        ("[]", "object"),
        ('{"version": 99}', "version 99"),
        ('{"version": 1, "colour": 1}', "colour"),
        ('{"version": 1, "peers": 0}', "0 peers"),
        ('{"version": 1, "peers": "four"}', "wrong type"),
        ('{"version": 1, "faults": 3}', "wrong type"),
        ('{"version": 1, "load": [1]}', "Load"),
        ('{"version": 1, "rule": "one_step"}', "one_step"),
        ('{"version": 1, "faults": [{"kind": "flood"}]}', "flood"),
        ('{"version": 1, "faults": [{"kind": "crash", "depth": 1}]}', "depth"),
        ('{"version": 1, "liars": [{"kind": "saint", "creator": 1}]}', "saint"),
        ('{"version": 1, "liars": [{"kind": "junk", "creator": 9}]}', "liars"),
        ('{"version": 1, "faults": [{"kind": "crash", "peer": 0, "at_ns": 5, "until_ns": 4}]}', "ends before"),
    ],
)
def test_what_is_no_scenario_is_refused(text: str, what: str) -> None:
    with pytest.raises(ArgumentError, match=what):
        Scenario.from_json(text)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ArgumentError, match="profile 'calm'"):
        draw(1, "calm")
    with pytest.raises(ArgumentError, match="fault 'flood'"):
        draw(1, kinds=("flood",))


def test_a_failing_scenario_is_made_small() -> None:
    scenario = draw(8, "chaos")
    guilty = Partition(at_ns=5 * MS, until_ns=900 * MS, groups=((0,), (1, 2)))
    faults = tuple(sorted((*scenario.faults, guilty), key=lambda fault: fault.at_ns))
    full = dataclasses.replace(scenario, faults=faults, liars=(LiarSpec(kind="junk", creator=1),))
    small = shrink(
        full, lambda one: any(isinstance(fault, Partition) and fault.at_ns == 5 * MS for fault in one.faults)
    )
    assert len(small.faults) == 1
    assert not small.liars
    assert small.load.transactions == 0
    assert small.duration_ns < scenario.duration_ns
    assert small.faults[0].until_ns is not None
    assert small.faults[0].until_ns < 100 * MS


def test_a_campaign_counts_what_happened_and_what_did_not() -> None:
    campaign = Campaign(Settings(core="python", size=0.05, kinds=("crash",)))
    outcomes = list(campaign.run(range(6), processes=1))
    assert campaign.done == len(outcomes) == 6
    assert campaign.deliveries == sum(outcome.deliveries for outcome in outcomes)
    assert campaign.counts["scenarios"] == 6
    assert not missing(campaign), "too short to ask for anything"
    campaign.settings = Settings()
    campaign.done = 10_000
    lacking = " ".join(missing(campaign))
    assert "fault partition" in lacking
    assert "liar twin" in lacking
    campaign.counts.update(dict.fromkeys((*MINIMUMS, *(f"fault {kind}" for kind in FAULTS)), 10**6))
    campaign.counts.update({f"liar {kind}": 10**6 for kind in LIARS})
    assert not missing(campaign)


def test_a_seed_does_the_same_in_another_process_with_another_hash_seed() -> None:
    campaign = Campaign(Settings(size=0.05, core=core_info().name))
    for _ in campaign.run(range(5), processes=1):
        pass
    assert not repeat(campaign, share=1.0)
    campaign.digests[3] = "00"
    assert repeat(campaign, share=1.0) == [3]


def test_several_processes_do_what_one_does() -> None:
    digests = []
    for processes in (1, 2):
        campaign = Campaign(Settings(profile="lan", core=core_info().name, size=0.05))
        for _ in campaign.run(range(10), processes=processes):
            pass
        digests.append(campaign.digest())
    assert digests[0] == digests[1]


# -- the command -----------------------------------------------------------------------------------------


def test_the_command_sums_up_and_tells_of_one() -> None:
    runner = CliRunner()
    many = runner.invoke(app, ["simulate", "--seeds", "0:3", "--size", "0.05", "--core", "python", "--processes", "1"])
    assert many.exit_code == 0, many.output
    assert "scenarios" in many.output
    one = runner.invoke(app, ["simulate", "--seed", "2", "--size", "0.05", "--core", "python"])
    assert one.exit_code == 0, one.output
    assert "all promises held" in one.output


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--profile", "calm"], "profile"),
        (["--seeds", "5"], "--seeds"),
        (["--seeds", "5:5"], "--seeds"),
        (["--core", "steel"], "--core"),
        (["--processes", "0"], "--processes"),
        (["--minutes", "-1"], "--minutes"),
        (["--faults", "flood"], "flood"),
        (["--file", "no-such-file.json"], "no-such-file.json"),
        (["--plot", "x.png"], "--plot"),
    ],
)
def test_misuse_is_one_clear_line(arguments: list[str], what: str) -> None:
    result = CliRunner().invoke(app, ["simulate", *arguments])
    assert result.exit_code == 2
    assert what in result.output


def test_a_failure_is_told_with_the_command_that_repeats_it(tmp_path: Path) -> None:
    """A core that orders otherwise: the scenario fails, is made small, stored, and fails again from its file."""
    script = (
        "import sys; from syncpoint.core import order\n"
        "order.lower_median = lambda values: 1\n"
        "from syncpoint.__main__ import main; main()\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(syncpoint.__file__).parents[1])}

    def run(*arguments: str, save: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script, "simulate", *arguments, "--core", "python", "--save", str(save)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)

    first = run("--profile", "lan", "--peers", "4", "--seeds", "0:2", "--size", "0.05", "--processes", "1")
    assert first.returncode == 1, first.stdout + first.stderr
    assert "ConsensusTime" in first.stdout
    (path, *_) = sorted(tmp_path.glob("failure-*.json"))
    assert path.name in first.stdout
    again = run("--file", str(path))
    assert again.returncode == 1
    assert "ConsensusTime" in again.stdout
    nowhere = run("--file", str(path), save=path / "below a file")
    assert nowhere.returncode == 1
    assert Scenario.from_json(nowhere.stdout[nowhere.stdout.index("{") : nowhere.stdout.rindex("}") + 1]).peers == 4
