"""Does lockstep see anything? Each planted difference must be found within the streams of a plain run.

A difference is a change of one place in a copy of the Python core, small enough for most tests to pass; streams then
run that copy against the native core. A change whose place is not found exactly once fails as well, so that this
table follows the code. Every module of the core that does something is in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from core.test_planted_bugs import ROOT, copy_of_package
from core.test_planted_bugs import run as run_tests

STREAMS = 300  # as in a plain run

pytestmark = pytest.mark.native


class Plant(NamedTuple):
    """One place in which the Python core is made to differ."""

    name: str
    file: str  # of syncpoint/core
    old: str
    new: str
    seed: int = 0  # where to begin: a little before the stream that finds it


PLANTS = [
    Plant(
        "a payload may not be as long as the limit",
        "wire.py",
        "if length > network.max_payload_bytes:",
        "if length >= network.max_payload_bytes:",
    ),
    Plant(
        "the round is looked at before the epoch",
        "wire.py",
        "    if epoch != epoch_id:\n        return Reject.EPOCH\n"
        "    if not 0 < round <= MAX_ROUND:\n        return Reject.ROUND\n",
        "    if not 0 < round <= MAX_ROUND:\n        return Reject.ROUND\n"
        "    if epoch != epoch_id:\n        return Reject.EPOCH\n",
        seed=15,
    ),
    Plant("one item too many", "config.py", "MAX_ITEMS = 64\n", "MAX_ITEMS = 65\n", seed=30),
    Plant(
        "parents may be one round older",
        "verify.py",
        "max(1, event.round - gc_depth) <= parent.round",
        "max(1, event.round - gc_depth - 1) <= parent.round",
    ),
    Plant(
        "time before the self-parent",
        "verify.py",
        "event.created_at <= own.created_at",
        "event.created_at < own.created_at",
        seed=332,
    ),
    Plant(
        "variants in the order of arrival",
        "dag.py",
        "            variants.sort(key=lambda variant: variant.digest)\n",
        "",
    ),
    Plant(
        "evidence of an exposed variant although another one has as much",
        "decide.py",
        "count >= self.committee.t_exposed and strong == 1",
        "count >= self.committee.t_exposed",
        seed=686,
    ),
    Plant(
        "what is below is looked at a round later",
        "decide.py",
        "self._decide_below(changed - 3)",
        "self._decide_below(changed - 4)",
        seed=16,
    ),
    Plant("ties in the order fall the other way", "order.py", '"big") ^ salt)', '"big") ^ ~salt)'),
    Plant(
        "the floor of the order is one round lower",
        "order.py",
        "self._drop_below(round - self.gc_depth)",
        "self._drop_below(round - self.gc_depth - 1)",
        seed=122,
    ),
    Plant("the upper median", "values.py", "(len(ordered) - 1) // 2", "len(ordered) // 2"),
    Plant("sizes without lengths", "values.py", " + 4 * len(self.transactions)", ""),
    Plant(
        "of two variants the later one is built on",
        "propose.py",
        "first = [min(variants, key=lambda node: node.index)",
        "first = [max(variants, key=lambda node: node.index)",
        seed=30,
    ),
    Plant(
        "of two weak parents the later one",
        "propose.py",
        "(known.round, node.index) < (node.round, known.index)",
        "known.round <= node.round",
        seed=45,
    ),
    Plant(
        "what is sent again comes in the other order",
        "propose.py",
        "self._queue.extendleft(reversed(again))",
        "self._queue.extendleft(again)",
        seed=122,
    ),
    Plant(
        "retries thrice as long",
        "fetch.py",
        "want.retry = min(2 * want.retry, MAX_RETRY_NS)",
        "want.retry = min(3 * want.retry, MAX_RETRY_NS)",
    ),
    Plant(
        "who referred to an event is asked after everybody else",
        "fetch.py",
        "order = [peer for peer in want.hints if peer in self.linked]\n"
        "        order += [peer for peer in self.linked if peer not in want.hints]",
        "order = [peer for peer in self.linked if peer not in want.hints]\n"
        "        order += [peer for peer in want.hints if peer in self.linked]",
    ),
    Plant(
        "a turn begins with an observer",
        "fetch.py",
        "turn.append(observers[want.asked // (len(turn) + 1) % len(observers)])",
        "turn.insert(0, observers[want.asked // (len(turn) + 1) % len(observers)])",
        seed=23,
    ),
    Plant(
        "an observer is pulled from although a member is",
        "fetch.py",
        "if other < self._n or not is_member",
        "if (other < self._n) is is_member",
        seed=23,
    ),
    Plant(
        "positions with the widths swapped",
        "journal.py",
        '_POSITION = struct.Struct("<QI")',
        '_POSITION = struct.Struct("<IQ")',
        seed=122,
    ),
    Plant(
        "an average that is cut, not rounded down",
        "timer.py",
        "average + (value - average) // SMOOTHING",
        "average + abs(value - average) // SMOOTHING * (1 if value > average else -1)",
    ),
    Plant("timely with one round less", "timer.py", "TIMELY_ROUNDS = 13", "TIMELY_ROUNDS = 12", seed=18),
    Plant(
        "what waited is taken in in the other order",
        "replica.py",
        "event, sender = ready.pop()",
        "event, sender = ready.pop(0)",
    ),
    Plant(
        "one round less is too old",
        "replica.py",
        "event.round <= self.dag.floor + self.network.gc_depth",
        "event.round < self.dag.floor + self.network.gc_depth",
        seed=47,
    ),
    Plant(
        "an observer is a member to itself",
        "status.py",
        "creator=None if replica.observes else replica.own",
        "creator=replica.own",
        seed=23,
    ),
    Plant("a refusal more is remembered", "fetch.py", "MAX_REFUSED = 4096", "MAX_REFUSED = 4097", seed=162),
    Plant(
        "a round less is retained",
        "retain.py",
        "return self._least if held > self._bytes else self.rounds\n",
        "return self._least if held > self._bytes else self.rounds - 1\n",
        seed=8,
    ),
    Plant(
        "a round less makes a peer far behind",
        "recover.py",
        "return base_round + self._gc_depth // 2 >= max(",
        "return base_round + self._gc_depth // 2 > max(",
        seed=12,
    ),
    Plant(
        "an answer less is enough",
        "recover.py",
        "< min(committee.q, committee.n - 1)",
        "< min(committee.q, committee.n - 1) - 1",
        seed=30,
    ),
    Plant("it goes on a round too early", "recover.py", "= top + 1, top + 1", "= top + 1, top", seed=360),
    Plant("what was delivered before is queued again", "propose.py", "self._placed.pop(height, None)", "pass", seed=24),
    Plant("the place counts an event more", "order.py", "_, self.index, self", "self.index, _, self", seed=52),
    Plant(
        "metadata may not be as long as the limit",
        "items.py",
        "if len(data) <= MAX_METADATA_BYTES else None",
        "if len(data) < MAX_METADATA_BYTES else None",
    ),
    Plant("a proposal more", "epoch.py", "MAX_PROPOSALS = 16 ", "MAX_PROPOSALS = 17 "),
    Plant(
        "a refusal more is needed",
        "epoch.py",
        "ballot.refusals.bit_count() == self.committee.f + 1",
        "ballot.refusals.bit_count() == self.committee.f + 2",
        seed=59,
    ),
    Plant(
        "the beat comes a transaction later",
        "epoch.py",
        "orderer.consensus_at >= self._beat_from + self._epoch_ns",
        "orderer.consensus_at > self._beat_from + 2 * self._epoch_ns",
    ),
    Plant(
        "the state forgets who refused",
        "epoch.py",
        "approvals, refusals = _bits(ballot.approvals), _bits(ballot.refusals)",
        "approvals = refusals = _bits(ballot.approvals)",
        seed=6,
    ),
    Plant(
        "a certificate is not for the checkpoint itself",
        "checkpoint.py",
        "if index < wanted:",
        "if index <= wanted:",
        seed=9,
    ),
    Plant(
        "the last of several votes for a checkpoint counts",
        "checkpoint.py",
        "votes.setdefault((vote.index, vote.state_hash != NOT_ATTESTED), vote)",
        "votes[vote.index, vote.state_hash != NOT_ATTESTED] = vote",
        seed=9,
    ),
    Plant("frontiers a little later", "exchange.py", "STALL_NS = 500_000_000", "STALL_NS = 500_000_001"),
    Plant(
        "whatever we say is a reason for an event",
        "propose.py",
        "        if is_urgent:\n            self._urgent",
        "        if is_urgent or self._items:\n            self._urgent",
        seed=8,
    ),
    Plant(
        "half a peer less may be missing from a fast commit",
        "committee.py",
        "(n - 3 * self.f + 1) // 2",
        "(n - 3 * self.f) // 2",
    ),
    Plant(
        "half of a simulated signature is enough",
        "committee.py",
        "return signature == simulated_signature(public, message)",
        "return signature[:32] == simulated_signature(public, message)[:32]",
        seed=172,
    ),
    Plant("fast commits are not told apart", "decide.py", "self.fast_commits += 1", "self.certified_commits += 1"),
    Plant(
        "the odd hash is hashed again",
        "crypto.py",
        "above.append(level[-1])",
        "above.append(_digest(_NODE + level[-1] + level[-1]))",
    ),
    Plant(
        "two numbers swapped",
        "error.py",
        "TRUNCATED = 3  # the bytes end before the value does\n    TRAILING = 4",
        "TRUNCATED = 4  # the bytes end before the value does\n    TRAILING = 3",
    ),
]
# Modules in which nothing happens: they say what goes in and out; and proofs, which no machine makes (test_proofs.py).
SILENT = {"__init__", "_blake3", "input", "output", "proof"}
# Streams hardly come to what is late; the liar of a test of machines does, which have both cores in step there.
LATE = [
    Plant(
        "late begins a round deeper", "late.py", "is_late = node.round <= self.line", "is_late = node.round < self.line"
    ),
    Plant("one creator more makes it common", "late.py", ".bit_count() > self._f or", ".bit_count() > self._f + 1 or"),
]
# Streams stay in one epoch; stories of changes lead both cores in step through many.
CHANGES = [
    Plant(
        "a capability more is lost",
        "change.py",
        "return Member(self.record[:PUBLIC_BYTES], self.flags)",
        "return Member(self.record[:PUBLIC_BYTES], 1)",
    ),
    Plant(
        "the next number is the one before the last",
        "roster.py",
        "(self.last_number + turn) % MAX_PEERS",
        "(self.last_number - turn) % MAX_PEERS",
    ),
    Plant(
        "a transition forgets who proposed",
        "transition.py",
        "if transition.proposer is None else transition.proposer",
        "if True else transition.proposer",
    ),
    Plant(
        "an answer of an ended epoch begins a round later",
        "ended.py",
        "committee.q, gc_depth)",
        "committee.q, gc_depth) + 1",
    ),
    Plant(
        "a fence ends nothing",
        "replica.py",
        "None if fence is None else self.checkpoints",
        "None if fence is None or fence.kind == 4 else self.checkpoints",
    ),
    Plant(
        "what ended an epoch is forgotten",
        "machine.py",
        "self._ended.add(before.committee, before.network.gc_depth, tuple(before.dag.frontier))",
        "self._ended.add(before.committee, before.network.gc_depth, (0,) * before.committee.n)",
    ),
]
STORIES = "tests/lockstep/test_epochs.py"
LIAR = "tests/core/test_far_behind.py::test_a_liar_that_shows_its_old_events_to_one_peer_first_stops_nobody"


def run(folder: Path, first: int, last: int) -> subprocess.CompletedProcess[str]:
    """These streams with the package in the folder."""
    command = [sys.executable, "-m", "tests.lockstep", "--seeds", f"{first}:{last}"]
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False)


def test_every_module_that_does_something_has_a_difference(tmp_path: Path) -> None:
    modules = {path.stem for path in (copy_of_package(tmp_path) / "core").glob("*.py")} - SILENT
    assert modules == {Path(plant.file).stem for plant in [*PLANTS, *LATE, *CHANGES]}


def test_the_copy_without_a_difference_is_what_runs_and_has_none(tmp_path: Path) -> None:
    copy = copy_of_package(tmp_path)
    found = subprocess.run(
        [sys.executable, "-c", "import syncpoint; print(syncpoint.__file__)"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()) == copy / "__init__.py"
    done = run(tmp_path, 0, 12)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no difference" in done.stdout


def plant_in(folder: Path, plant: Plant) -> None:
    """Make a copy of the package that differs."""
    file = copy_of_package(folder) / "core" / plant.file
    text = file.read_text()
    assert text.count(plant.old) == 1, f"{plant.file} has {text.count(plant.old)} places to plant the difference in"
    file.write_text(text.replace(plant.old, plant.new))


@pytest.mark.parametrize("plant", LATE, ids=lambda plant: plant.name)
def test_a_planted_difference_in_what_is_late_is_found(plant: Plant, tmp_path: Path) -> None:
    plant_in(tmp_path, plant)
    done = run_tests(tmp_path, [LIAR], ("-k", "lockstep"))
    assert done.returncode == 1, f"no difference was found, or nothing ran:\n{done.stdout}{done.stderr}"
    assert "outputs differ" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("plant", CHANGES, ids=lambda plant: plant.name)
def test_a_planted_difference_in_epochs_is_found(plant: Plant, tmp_path: Path) -> None:
    plant_in(tmp_path, plant)
    done = run_tests(tmp_path, [STORIES], ())
    assert done.returncode == 1, f"no difference was found, or nothing ran:\n{done.stdout}{done.stderr}"
    assert "differ" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_a_planted_difference_is_found(plant: Plant, tmp_path: Path) -> None:
    plant_in(tmp_path, plant)
    done = run(tmp_path, plant.seed, plant.seed + STREAMS)
    assert done.returncode == 1, f"no difference was found, or nothing ran:\n{done.stdout}{done.stderr}"
    assert "differ\ninputs:" in done.stdout, done.stdout + done.stderr
