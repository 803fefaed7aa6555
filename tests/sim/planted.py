"""Does the simulator see anything? Wrong places, each of which its checkers must notice by themselves.

A bug is a change of one place in a copy of the package. Then scenarios are drawn and run against the copy, as
`syncpoint simulate` would run them: nothing in them knows of the bug. Some bugs make all peers wrong alike, so that
none of them would notice; those are planted in the Python half of a cluster of both cores ("mixed").

`python -m tests.sim.planted` looks for each bug from seed 0 on, and prints the table of docs/planted-bugs.md; with
words, for the bugs whose names begin with them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import syncpoint

PACKAGE = Path(syncpoint.__file__).parent
LIMIT_S = 120.0  # of processor time: 60 s on two processors
HEAD = """\
| rule | bug | planted in | core | profile | found by | seed | scenarios | s |
|---|---|---|---|---|---|---:|---:|---:|"""

Change = tuple[str, str, str]  # a file of the package, what occurs once there, and what takes its place

# No scenario is long enough for an engine to stand still at its limit: this is not a bug, but a lower one, in silence.
SOON_FULL: tuple[Change, ...] = (
    ("stream.py", "MAX_UNREAD_MESSAGES = 65_536", "MAX_UNREAD_MESSAGES = 16"),
    ("stream.py", 'log.warning("%d messages are unread', 'log.info("%d messages are unread'),
)

# What runs against the copy. Time is the processors', so that whatever else a computer does is not counted.
LOOK = """
import itertools, json, sys
from syncpoint.testing.campaign import Campaign, Settings
asked = json.loads(sys.argv[1])
campaign = Campaign(Settings(**asked["settings"]))
seeds = itertools.chain(asked["seeds"], itertools.count() if asked["more"] else ())
outcomes = campaign.run(seeds, processes=asked["processes"])
failed = next((each for each in outcomes if not each.ok or campaign.cpu_s > asked["limit_s"]), None)
found = {"scenarios": campaign.done, "cpu_s": campaign.cpu_s, "seed": None, "problem": None}
if failed is not None and not failed.ok:
    found |= {"seed": failed.scenario.seed, "problem": failed.problem}
outcomes.close()
print("\\nfound", json.dumps(found), flush=True)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """One wrong place, and the scenario that finds it."""

    rule: str
    """Of docs/protocol.md, or the part of the package whose promise is broken."""
    name: str
    file: str
    """Of the package."""
    old: str
    """Occurs once there."""
    new: str
    given: tuple[Change, ...] = ()
    """What else is changed, and is no bug."""
    core: str = "python"
    profile: str = "chaos"
    peers: int | None = None
    kinds: tuple[str, ...] = ()
    size: float = 0.3
    seed: int
    """The first that finds it, when this was written."""

    @property
    def settings(self) -> dict[str, Any]:
        """What scenarios are drawn, as `Settings` takes it."""
        return {
            "profile": self.profile,
            "core": self.core,
            "peers": self.peers,
            "kinds": self.kinds,
            "size": self.size,
        }

    @property
    def changes(self) -> tuple[Change, ...]:
        """All that is changed in the copy."""
        return (*self.given, (self.file, self.old, self.new))

    def __str__(self) -> str:
        """By what tests and people know it."""
        return f"{self.rule} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of looking for a bug."""

    seed: int | None
    problem: str | None
    scenarios: int
    cpu_s: float

    @property
    def checker(self) -> str:
        """Which one complained."""
        return "nobody" if self.problem is None else self.problem.partition(" ")[0]


@contextmanager
def planted(*changes: Change) -> Iterator[Path]:
    """A folder with a copy of the package in which something is changed."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(PACKAGE, Path(folder) / "syncpoint"))
        for file, old, new in changes:
            text = (copy / file).read_text(encoding="utf-8")
            assert text.count(old) == 1, f"{file} has {text.count(old)} places to plant this in: {old}"
            (copy / file).write_text(text.replace(old, new), encoding="utf-8")
        yield Path(folder)


def look(
    folder: Path,
    settings: dict[str, Any],
    seeds: Sequence[int] = (),
    *,
    more: bool = True,
    processes: int = 1,
    limit_s: float = LIMIT_S,
) -> Found:
    """Run the scenarios of these seeds, and `more` from 0 on, until one fails or the time is over."""
    asked = {"settings": settings, "seeds": list(seeds), "more": more, "processes": processes, "limit_s": limit_s}
    done = subprocess.run(
        [sys.executable, "-c", LOOK, json.dumps(asked)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    word, _, found = done.stdout.rstrip().rpartition("\n")[2].partition(" ")
    assert word == "found", f"the search broke down:\n{done.stdout}{done.stderr}"
    return Found(**json.loads(found))


def row(bug: Bug, found: Found) -> str:
    """A line of the table."""
    profile = ", ".join([bug.profile, *([] if bug.peers is None else [f"{bug.peers} peers"]), *bug.kinds])
    seed = "" if found.seed is None else str(found.seed)
    cells = (
        bug.rule, bug.name, f"`{bug.file}`", bug.core, profile, found.checker, seed, str(found.scenarios),
        f"{found.cpu_s / 2:.1f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main(words: Sequence[str]) -> int:
    """Look for the bugs from seed 0 on, on two processors; how many were not found."""
    missed = 0
    print(HEAD)
    for bug in BUGS:
        if words and not any(str(bug).startswith(word) for word in words):
            continue
        with planted(*bug.changes) as folder:
            found = look(folder, bug.settings, processes=2)
        missed += found.problem is None
        print(row(bug, found), flush=True)
    return missed


BUGS = (
    Bug(
        rule="Q1",
        name="fast path with a vote less",
        file="core/committee.py",
        old="self.fast = n - self.p",
        new="self.fast = n - self.p - 1",
        profile="twins",
        seed=3,
    ),
    Bug(
        rule="Q1",
        name="certificates with a vote less",
        file="core/committee.py",
        old="(n + self.f + 2) // 2",
        new="(n + self.f) // 2",
        profile="twins",
        seed=3,
    ),
    Bug(
        rule="Q1",
        name="a quorum with a peer less",
        file="core/committee.py",
        old="self.q = n - self.f",
        new="self.q = max(1, n - self.f - 1)",
        peers=4,
        seed=25,
    ),
    Bug(
        rule="Q1",
        name="evidence of one variant needs a vote more",
        file="core/committee.py",
        old="n - 2 * self.f - self.p,",
        new="n - 2 * self.f - self.p + 1,",
        core="mixed",
        profile="twins",
        peers=4,
        seed=0,
    ),
    Bug(
        rule="Q1",
        name="evidence of several variants needs a vote less",
        file="core/committee.py",
        old="self.t_exposed = self.f + self.p",
        new="self.t_exposed = max(1, self.f + self.p - 1)",
        profile="twins",
        seed=7,
    ),
    Bug(
        rule="Q1",
        name="evidence of several variants needs a vote more",
        file="core/committee.py",
        old="self.t_exposed = self.f + self.p",
        new="self.t_exposed = self.f + self.p + 1",
        core="mixed",
        kinds=("equivocator", "fork_bomb"),
        seed=7,
    ),
    Bug(
        rule="Q3",
        name="votes counted by event, not by creator",
        file="core/decide.py",
        old="tally.node.voting.bit_count() >= committee.fast",
        new="tally.node.voters.bit_count() >= committee.fast",
        core="mixed",
        kinds=("equivocator", "fork_bomb"),
        seed=12,
    ),
    Bug(
        rule="V1",
        name="signatures are not looked at",
        file="core/verify.py",
        old="if not committee.verify(event.creator, signed, event.signature):",
        new="if False:",
        core="mixed",
        seed=11,
    ),
    Bug(
        rule="V1",
        name="an event of another epoch will do",
        file="core/wire.py",
        old="if epoch != epoch_id:",
        new="if False:",
        core="mixed",
        peers=4,
        kinds=("junk",),
        size=0.15,
        seed=27,
    ),
    Bug(
        rule="V1",
        name="an event of another version will do",
        file="core/wire.py",
        old="if version != PROTOCOL_VERSION:",
        new="if False:",
        core="mixed",
        peers=4,
        kinds=("junk",),
        size=0.15,
        seed=55,
    ),
    Bug(
        rule="V3",
        name="two parents of one creator",
        file="core/verify.py",
        old="parent.creator <= last",
        new="parent.creator < last",
        core="mixed",
        peers=4,
        kinds=("junk",),
        size=0.15,
        seed=188,
    ),
    Bug(
        rule="V5",
        name="time may stand still",
        file="core/verify.py",
        old="event.created_at <= own.created_at",
        new="event.created_at < own.created_at",
        core="mixed",
        peers=4,
        kinds=("time_liar",),
        size=0.15,
        seed=2,
    ),
    Bug(
        rule="V5",
        name="our own time may stand still",
        file="core/propose.py",
        old="max(now, self.tip.created_at + 1) if",
        new="now if",
        peers=4,
        seed=3,
    ),
    Bug(
        rule="V6",
        name="the payload is not compared with its root",
        file="core/wire.py",
        old="if merkle_root(transactions) != payload_root:",
        new="if False:",
        core="mixed",
        peers=4,
        kinds=("junk",),
        size=0.15,
        seed=78,
    ),
    Bug(
        rule="V8",
        name="strong parents that show a fork may name its author",
        file="core/verify.py",
        old="if liars and any(",
        new="if False and any(",
        core="mixed",
        kinds=("equivocator", "fork_bomb"),
        seed=7,
    ),
    Bug(
        rule="E4",
        name="a header that is cut off raises",
        file="core/wire.py",
        old="    if len(data) < at:\n        return Reject.TRUNCATED\n    version",
        new="    version",
        peers=4,
        kinds=("junk",),
        size=1.0,
        seed=78,
    ),
    Bug(
        rule="E5",
        name="one event twice proves a fork",
        file="core/verify.py",
        old="digests[0] >= digests[1]",
        new="digests[0] > digests[1]",
        peers=4,
        kinds=("junk",),
        size=0.15,
        seed=1,
    ),
    Bug(
        rule="D1",
        name="weak parents vote",
        file="core/dag.py",
        old="if parent.round == node.round - 1:  # D1: a strong parent is a vote",
        new="if True:",
        peers=4,
        seed=2,
    ),
    Bug(
        rule="D2",
        name="certificates with a vote less",
        file="core/decide.py",
        old="if count >= self.need:  # D2",
        new="if count >= self.need - 1:",
        core="mixed",
        peers=4,
        kinds=("equivocator", "fork_bomb"),
        seed=28,
    ),
    Bug(
        rule="D3",
        name="evidence ignores exposure",
        file="core/decide.py",
        old="if seen == 1:",
        new="if True:",
        core="mixed",
        peers=4,
        kinds=("equivocator", "fork_bomb"),
        seed=1,
    ),
    Bug(
        rule="D4",
        name="the slot order begins at peer 0",
        file="core/committee.py",
        old="first = self.primary(round)",
        new="first = 0",
        core="mixed",
        peers=4,
        seed=21,
    ),
    Bug(
        rule="D6",
        name="skipped before a quorum is here",
        file="core/decide.py",
        old="here >= committee.q and self",
        new="self",
        peers=4,
        seed=64,
    ),
    Bug(
        rule="D7",
        name="the fast path in three_step",
        file="core/decide.py",
        old="if self.two_step and tally.node.voting",
        new="if tally.node.voting",
        core="mixed",
        profile="twins",
        seed=17,
    ),
    Bug(
        rule="D8",
        name="skipped by votes alone, whatever is evidence",
        file="core/decide.py",
        old="slot.blind.bit_count() >= committee.qc and self",
        new="self",
        peers=4,
        seed=0,
    ),
    Bug(
        rule="D9",
        name="the anchor one round early",
        file="core/decide.py",
        old="range(round + 3, self.dag.top + 1)",
        new="range(round + 2, self.dag.top + 1)",
        profile="twins",
        seed=4,
    ),
    Bug(
        rule="D9",
        name="open slots are passed over on the way to the anchor",
        file="core/decide.py",
        old="                if status is None:\n                    return None\n",
        new="",
        core="mixed",
        profile="twins",
        peers=7,
        seed=60,
    ),
    Bug(
        rule="D10",
        name="no evidence rung",
        file="core/decide.py",
        old="if self.two_step:\n            row = ",
        new="if False:\n            row = ",
        profile="twins",
        seed=0,
    ),
    Bug(
        rule="D10",
        name="certificates outside the anchor's history count",
        file="core/decide.py",
        old="if tally.certificates & past:",
        new="if tally.certificates:",
        core="mixed",
        peers=4,
        kinds=("partition", "equivocator", "withholder", "stale", "cut"),
        seed=109,
    ),
    Bug(
        rule="D10",
        name="no certificate rung",
        file="core/decide.py",
        old="if tally.certificates & past:",
        new="if False:",
        core="mixed",
        profile="twins",
        seed=9,
    ),
    Bug(
        rule="O2",
        name="the floor a round too low",
        file="core/order.py",
        old="self._drop_below(round - self.gc_depth)",
        new="self._drop_below(round - self.gc_depth - 1)",
        core="mixed",
        peers=4,
        seed=76,
    ),
    Bug(
        rule="O2",
        name="the floor a round too high",
        file="core/order.py",
        old="self._drop_below(round - self.gc_depth)",
        new="self._drop_below(round - self.gc_depth + 1)",
        core="mixed",
        peers=4,
        seed=55,
    ),
    Bug(
        rule="O3",
        name="newly held events in the order of a Python set",
        file="core/order.py",
        old="new.sort(key=lambda node: (node.round, node.creator, node.digest))",
        new="new = list(set(new))",
        peers=4,
        seed=2,
    ),
    Bug(
        rule="O3",
        name="newly held events as the walk finds them",
        file="core/order.py",
        old="new.sort(key=lambda node: (node.round, node.creator, node.digest))",
        new="pass",
        core="mixed",
        peers=4,
        seed=2,
    ),
    Bug(
        rule="O4",
        name="delivered when one creator too few has seen it",
        file="core/order.py",
        old="if len(sightings.times) == q:",
        new="if len(sightings.times) == max(1, q - 1):",
        core="mixed",
        peers=4,
        seed=0,
    ),
    Bug(
        rule="O4",
        name="the upper median",
        file="core/values.py",
        old="(len(ordered) - 1) // 2",
        new="len(ordered) // 2",
        core="mixed",
        peers=4,
        seed=0,
    ),
    Bug(
        rule="O4",
        name="the latest time instead of the median",
        file="core/values.py",
        old="ordered[(len(ordered) - 1) // 2]",
        new="ordered[-1]",
        peers=4,
        seed=7,
    ),
    Bug(
        rule="O5",
        name="times of weak parents count",
        file="core/order.py",
        old="for parent in node.strong_parents()]",
        new="for parent in node.parents]",
        core="mixed",
        peers=4,
        seed=8,
    ),
    Bug(
        rule="O5",
        name="the committed events' own times",
        file="core/order.py",
        old="lower_median([parent.created_at for parent in node.strong_parents()] or [node.created_at])",
        new="node.created_at",
        core="mixed",
        peers=4,
        seed=1,
    ),
    Bug(
        rule="O7",
        name="no salt",
        file="core/order.py",
        old='salt ^= int.from_bytes(node.digest, "big")',
        new="salt ^= 0",
        core="mixed",
        peers=4,
        seed=0,
    ),
    Bug(
        rule="O7",
        name="both variants of a slot are delivered",
        file="core/order.py",
        old="if taken >> node.creator & 1:",
        new="if False:",
        peers=4,
        seed=5,
    ),
    Bug(
        rule="O8",
        name="consensus_at may stand still",
        file="core/order.py",
        old="max(self.consensus_at + 1, stamp)",
        new="max(self.consensus_at, stamp)",
        peers=4,
        seed=0,
    ),
    Bug(
        rule="O9",
        name="the order hash leaves out the time",
        file="core/order.py",
        old="index, digest, self.consensus_at)",
        new="index, digest, 0)",
        peers=4,
        seed=0,
    ),
    Bug(
        rule="P1",
        name="rounds are left out to catch up",
        file="core/propose.py",
        old="round = self.base_round",
        new="round = self._dag.top",
        peers=4,
        seed=0,
    ),
    Bug(
        rule="P3",
        name="no timeout: the primary is waited for, for ever",
        file="core/propose.py",
        old=(
            "            if now >= timeout_at:  # P3 (b)\n"
            "                return self._make(round, parents, Advance.TIMEOUT, now)\n"
            "            self._timer.unsettled(round)\n"
            "            return timeout_at"
        ),
        new="            self._timer.unsettled(round)\n            return None",
        peers=4,
        seed=7,
    ),
    Bug(
        rule="P6",
        name="own strong parents against V8",
        file="core/propose.py",
        old="        while liars := exposed(chosen, self._dag):  # V8",
        new="        while liars := 0:",
        peers=4,
        seed=5,
    ),
    Bug(
        rule="J1",
        name="the driver says durable when it only wrote",
        file="runtime/driver.py",
        old="self.storage.persist(output.records, lambda: self.post(Persisted(token)))",
        new=("self.storage.persist(output.records, lambda: None)\n                self.post(Persisted(token))"),
        peers=4,
        kinds=("crash", "slow_disk"),
        seed=10,
    ),
    Bug(
        rule="R1",
        name="the journal is read and not taken up",
        file="core/replica.py",
        old='builds on nothing")\n        self._enter(event)',
        new='builds on nothing")\n        if event.creator != self.own:\n            self._enter(event)',
        peers=4,
        seed=15,
    ),
    Bug(
        rule="O11",
        name="what falls below the floor is not sent again",
        file="core/replica.py",
        old="self.proposer.expire(self.orderer.floor)  # O11",
        new="pass",
        profile="wan",
        peers=4,
        size=0.15,
        seed=172,
    ),
    Bug(
        rule="O11",
        name="sent again before it falls below the floor",
        file="core/propose.py",
        old="if at <= height(self._epoch, floor)):",
        new="if at <= height(self._epoch, floor + 4)):",
        peers=4,
        seed=0,
    ),
    Bug(
        rule="F2",
        name="a second variant is never taken",
        file="core/replica.py",
        old="return None if self.fetcher.wants(event.digest) else Reject.EQUIVOCATION",
        new="return Reject.EQUIVOCATION",
        peers=4,
        seed=5,
    ),
    Bug(
        rule="F2",
        name="any second variant is taken",
        file="core/replica.py",
        old="return None if self.fetcher.wants(event.digest) else Reject.EQUIVOCATION",
        new="return None",
        peers=4,
        seed=82,
    ),
    Bug(
        rule="F3",
        name="no frontiers when no round closes",
        file="core/exchange.py",
        old="self._outputs.append(Broadcast(self._encoded(FrameType.FRONTIER)))",
        new="pass",
        peers=4,
        seed=13,
    ),
    Bug(
        rule="F3",
        name="who is behind does not pull",
        file="core/exchange.py",
        old="        if behind:\n            self.pull(peer, now)\n",
        new="",
        peers=4,
        seed=10,
    ),
    Bug(
        rule="F4",
        name="rounds are never dropped",
        file="core/replica.py",
        old="if floor > self.dag.floor:",
        new="if False:",
        peers=4,
        seed=12,
    ),
    Bug(
        rule="F4",
        name="rounds are dropped too early",
        file="core/retain.py",
        old="return closed - self._kept(held)",
        new="return closed - self._least // RETAIN_GC_DEPTHS",
        peers=4,
        seed=2,
    ),
    Bug(
        rule="engine",
        name="receipts name position 0",
        file="sending.py",
        old="position=position,",
        new="position=0,",
        peers=4,
        seed=0,
    ),
    Bug(
        rule="engine",
        name="receipts name the next index",
        file="sending.py",
        old="index=done.index,",
        new="index=done.index + 1,",
        peers=4,
        seed=0,
    ),
    Bug(
        rule="engine",
        name="receipts for the wrong transaction of an event",
        file="core/propose.py",
        old="tuple(entry.number for entry in taken)",
        new="tuple(entry.number for entry in reversed(taken))",
        peers=4,
        seed=0,
    ),
    Bug(
        rule="engine",
        name="the newest message is received first",
        file="stream.py",
        old="message = self._live.popleft()",
        new="message = self._live.pop()",
        peers=4,
        seed=0,
    ),
    Bug(
        rule="engine",
        name="acknowledged before it is delivered",
        file="sending.py",
        old="return await receipt\n",
        new="return Receipt(index=0, position=0, consensus_at=0, hash=bytes(32))\n",
        peers=4,
        seed=0,
    ),
    Bug(
        rule="driver",
        name="inputs are given in reverse",
        file="runtime/driver.py",
        old="for output in self.machine.step(now, inputs):",
        new="for output in self.machine.step(now, inputs[::-1]):",
        peers=4,
        seed=5,
    ),
    Bug(
        rule="O7",
        name="ties by arrival",
        file="core/order.py",
        old='node.round, int.from_bytes(node.digest, "big") ^ salt)',
        new="node.round, node.index)",
        peers=4,
        seed=0,
    ),
    Bug(
        rule="clock",
        name="goes back when the wall clock is set back",
        file="runtime/clock.py",
        old="max(wall, self._now + passed - passed // SLEW)",
        new="wall",
        peers=4,
        seed=12,
    ),
    Bug(
        rule="Q1",
        name="fast path with f + 1 votes",
        file="core/committee.py",
        old="self.fast = n - self.p",
        new="self.fast = self.f + 1",
        profile="twins",
        seed=3,
    ),
    Bug(
        rule="driver",
        name="what comes while it stands still is dropped",
        file="runtime/driver.py",
        old="        self._inputs.append(input)\n        if self._sched",
        new=("        if not self._paused:\n            self._inputs.append(input)\n        if self._sched"),
        given=SOON_FULL,
        peers=4,
        seed=8,
    ),
    Bug(
        rule="engine",
        name="the last message before it stands still is lost",
        file="stream.py",
        old='            self._brake.pause("unread")',
        new='            self._brake.pause("unread")\n            self._live.pop()',
        given=SOON_FULL,
        peers=4,
        seed=3,
    ),
    Bug(
        rule="engine",
        name="it stands still for ever",
        file="stream.py",
        old='                self._brake.resume("unread")',
        new="                pass",
        given=SOON_FULL,
        peers=4,
        seed=8,
    ),
    Bug(
        rule="V2",
        name="a strong parent too few will do",
        file="core/verify.py",
        old="strong < committee.q",
        new="strong < committee.q - 1",
        peers=4,
        kinds=("rule_breaker",),
        seed=1,
    ),
    Bug(
        rule="V3",
        name="parents may be one round older",
        file="core/verify.py",
        old="max(1, event.round - gc_depth) <= parent.round",
        new="max(1, event.round - gc_depth - 1) <= parent.round",
        peers=4,
        kinds=("rule_breaker",),
        seed=28,
    ),
    Bug(
        rule="V3",
        name="parents need not be what references say",
        file="core/verify.py",
        old="if reference.creator != parent.creator or reference.round != parent.round:",
        new="if reference.creator != parent.creator:",
        peers=4,
        kinds=("rule_breaker",),
        seed=7,
    ),
    Bug(
        rule="V4",
        name="no self-parent is needed",
        file="core/verify.py",
        old="if event.round > 1 and not _is_latest(",
        new="if own is not None and not _is_latest(",
        peers=4,
        kinds=("rule_breaker",),
        seed=2,
    ),
    Bug(
        rule="V4",
        name="any self-parent will do",
        file="core/verify.py",
        old="if own is not None and own.round == event.round - 1:",
        new="if own is not None:",
        peers=4,
        kinds=("rule_breaker",),
        seed=2,
    ),
    Bug(
        rule="F4",
        name="an event that cannot be checked is taken",
        file="core/replica.py",
        old="return self.dag.floor > 0 and",
        new="return False and",
        peers=4,
        kinds=("rule_breaker", "partition"),
        size=1.0,
        seed=37,
    ),
    Bug(
        rule="E5",
        name="signatures in evidence are not looked at",
        file="core/verify.py",
        old="if not committee.verify(creator, DOMAIN_EVENT + wire.event_digest(header), signature):",
        new="if False:",
        peers=4,
        kinds=("rule_breaker",),
        seed=5,
    ),
    Bug(
        rule="J1",
        name="the store says durable before it has committed",
        file="runtime/store.py",
        old="is_own=True, durable=durable))",
        new="is_own=True))\n            durable()",
        profile="rejoin",
        peers=4,
        size=0.1,
        seed=4,
    ),
    Bug(
        rule="J1",
        name="own events are committed without a sync",
        file="runtime/store.py",
        old='commit.sync = commit.signed and self._settings.durability == "full"',
        new="commit.sync = False",
        profile="rejoin",
        peers=4,
        size=0.1,
        seed=0,
    ),
    Bug(
        rule="J2",
        name="what is committed together is written in reverse",
        file="runtime/store.py",
        old="            given.append(self._waiting.popleft())\n",
        new="            given.insert(0, self._waiting.popleft())\n",
        profile="rejoin",
        peers=4,
        size=0.1,
        seed=0,
    ),
    Bug(
        rule="J2",
        name="an application is given again what it has",
        file="stream.py",
        old="self._live_from = max(first, loaded.end)",
        new="self._live_from = loaded.end",
        profile="rejoin",
        peers=4,
        size=0.1,
        seed=1,
    ),
    Bug(
        rule="R1",
        name="the place is one round too late",
        file="runtime/reload.py",
        old="epoch_and_round(newest.closed_by - 1)",
        new="epoch_and_round(newest.closed_by)",
        profile="rejoin",
        peers=4,
        size=0.1,
        seed=0,
    ),
    Bug(
        rule="R1",
        name="delivered own events count as open",
        file="runtime/reload.py",
        old="self.records.append(encode_own_delivered(own[row.digest]))",
        new="pass",
        profile="rejoin",
        peers=4,
        size=0.1,
        seed=4,
    ),
    Bug(
        rule="R2",
        name="the tip is not looked at",
        file="runtime/store.py",
        old="why = doubt(file.read_tip(), existed, batches.state.sequence, file.inode(), file.boot()) or reload.doubt",
        new="why = reload.doubt",
        profile="rejoin",
        peers=4,
        size=0.1,
        seed=18,
    ),
    Bug(
        rule="S1",
        name="votes count where they are received",
        file="core/replica.py",
        old="        self.checkpoints.accept(event)\n",
        new="        self.checkpoints.accept(event)\n        for item in event.items:\n"
        "            vote = items.decode_vote(item.body) if item.type == ItemType.VOTE else None\n"
        "            if vote is not None:\n                self.epoch._vote(event.creator, vote)\n",
        profile="sync",
        size=0.15,
        seed=8,
    ),
    Bug(
        rule="S2",
        name="a quorum of votes, not of creators",
        file="core/epoch.py",
        old="        if ballot is None or ballot.voted(creator):\n",
        new="        if ballot is not None and ballot.voted(creator):\n"
        "            creator = (creator + 1) % self.committee.n\n        if ballot is None:\n",
        profile="sync",
        size=0.15,
        seed=11,
    ),
    Bug(
        rule="S2",
        name="deadlines by our own clock",
        file="core/replica.py",
        old="self.epoch.count(done)",
        new="self.epoch.count(replace(done, consensus_at=self._now))",
        profile="sync",
        size=0.15,
        seed=10,
    ),
    Bug(
        rule="S4",
        name="events behind the end",
        file="core/replica.py",
        old="if self.epoch.is_closed:  # nothing is delivered",
        new="if False:  # nothing is delivered",
        profile="sync",
        size=0.15,
        seed=8,
    ),
    Bug(
        rule="R1",
        name="a start forgets proposals and votes",
        file="core/replica.py",
        old="state = past.state\n",
        new="state = None\n",
        profile="sync",
        size=0.15,
        seed=9,
    ),
    Bug(
        rule="C4",
        name="f liars stop everybody",
        file="core/checkpoint.py",
        old="if len(others) > self.committee.f:",
        new="if len(others) >= max(1, self.committee.f):",
        profile="sync",
        size=0.15,
        seed=0,
    ),
    Bug(
        rule="S4",
        name="what is on its way at a fence is lost",
        file="core/propose.py",
        old="        before.expire(EPOCH_ROUNDS - 1)\n",
        new="",
        profile="epochs",
        size=0.15,
        seed=5,
    ),
    Bug(
        rule="S4",
        name="votes go over by the old indices",
        file="core/epoch.py",
        old="votes = _moved(ballot.approvals, places), _moved",
        new="votes = ballot.approvals, _moved",
        profile="epochs",
        size=0.15,
        seed=6,
    ),
    Bug(
        rule="S4",
        name="a start links as in the epoch before",
        file="engine.py",
        old="            if is_known:\n                self._change_links()",
        new="            pass",
        profile="epochs",
        size=0.15,
        seed=47,
    ),
    Bug(
        rule="S4",
        name="who was removed stays a member",
        file="core/roster.py",
        old="return self._with(kept) if len(kept) < len(self.seats) else None",
        new="return self._with(self.seats) if len(kept) < len(self.seats) else None",
        profile="epochs",
        size=0.15,
        seed=13,
    ),
    Bug(
        rule="S7",
        name="a key is replaced in the name of another",
        file="core/epoch.py",
        old="return not isinstance(change, Rotate) or change.old == self.committee.members[ballot.proposer].public",
        new="return True",
        profile="epochs",
        size=0.15,
        seed=56,
    ),
    Bug(
        rule="F3",
        name="what is missing in an epoch that is over is not pulled again",
        file="core/fetch.py",
        old="return self._below_missing(frontier, most) if in_vain else list(frontier)",
        new="return list(frontier)",
        profile="epochs",
        size=0.15,
        seed=36,
    ),
)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
