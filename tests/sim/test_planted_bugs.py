"""Does the simulator see anything? Each planted bug must be found by a drawn scenario, and by nothing else.

The scenario is the one of the seed in the table. Where it finds nothing any more, because scenarios are drawn in
another way, the seeds from 0 on may find it, as they did in docs/planted-bugs.md.
"""

from __future__ import annotations

import json
from collections import defaultdict

import pytest

from .planted import BUGS, LIMIT_S, Bug, Change, look, planted

pytestmark = pytest.mark.timeout(900)  # a hunt takes LIMIT_S of processor time, of a computer with more to do

MARKED = [pytest.param(bug, id=str(bug), marks=[pytest.mark.native] if bug.core == "mixed" else []) for bug in BUGS]


@pytest.mark.parametrize("core", ["python", pytest.param("mixed", marks=pytest.mark.native)])
def test_without_the_bug_all_these_scenarios_pass(core: str) -> None:
    wanted: dict[tuple[tuple[Change, ...], str], set[int]] = defaultdict(set)
    for bug in BUGS:
        if bug.core == core:
            wanted[bug.given, json.dumps(bug.settings)].add(bug.seed)
    for (given, settings), seeds in wanted.items():
        with planted(*given) as folder:
            found = look(folder, json.loads(settings), sorted(seeds), more=False)
        assert found.problem is None, f"seed {found.seed} of {settings}"
        assert found.scenarios == len(seeds)


def test_the_copy_is_what_runs() -> None:
    change = ("testing/campaign.py", "CHUNK = 8", "CHUNK = what_is_not_there")
    with planted(change) as folder, pytest.raises(AssertionError, match="what_is_not_there"):
        look(folder, {}, [0], more=False)


@pytest.mark.parametrize("bug", MARKED)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    with planted(*bug.changes) as folder:
        found = look(folder, bug.settings, [bug.seed])
    assert found.problem is not None, f"{found.scenarios} scenarios, {LIMIT_S:.0f} s, and nobody noticed"


def test_no_bug_is_planted_twice() -> None:
    assert len({str(bug) for bug in BUGS}) == len(BUGS)
    assert len({bug.changes for bug in BUGS}) == len(BUGS)
