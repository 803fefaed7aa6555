"""The programs in examples/ run by themselves, on either core, and what they tell is true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from .markdown import ROOT, links, rows, text_of

FOLDER = ROOT / "examples"
TIMEOUT_S = 120
SHARED = "four_peers.py"  # no program: what they have in common


@pytest.fixture
def told(request: pytest.FixtureRequest, core: str, tmp_path: Path) -> list[str]:
    """The lines of a program, which leaves nothing behind."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(FOLDER / request.param)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "python"), "SYNCPOINT_CORE": core, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(tmp_path.iterdir())
    print(done.stdout)
    return done.stdout.splitlines()


@pytest.mark.parametrize("told", ["sessions.py"], indirect=True)
def test_an_auction_ends_alike_everywhere(told: list[str]) -> None:
    lots = ["a lamp", "a clock", "a chair"]
    assert [line.partition(" is on offer")[0] for line in told[:3]] == lots
    sales = [re.fullmatch(r"(.+): peer[0-3] for (\d+), after (\d+) bids, closed at index (\d+)", line) for line in told]
    found = [(sale[1], int(sale[2]), int(sale[3]), int(sale[4])) for sale in sales if sale]
    assert [lot for lot, *_ in found] == lots
    assert all(highest in (3, 50) for _, highest, *_ in found)
    assert all(4 <= bids <= 12 for _, _, bids, _ in found)  # the four that were final, and those on their way
    assert sum(bids for _, _, bids, _ in found) <= 24
    indices = [index for *_, index in found]
    assert indices == sorted(set(indices))
    assert told[6:] == ["all four peers wrote the same protocol"]


@pytest.mark.parametrize("told", ["snapshot.py"], indirect=True)
def test_snapshots_are_equal(told: list[str]) -> None:
    heads = [re.fullmatch(r"snapshot at index (\d+), a quorum attested (\w{16})\.\.\.", told[at]) for at in (0, 5)]
    indices = [int(head[1]) for head in heads if head]
    assert len(indices) == 2
    assert indices == sorted(set(indices))
    for number, head in enumerate(heads):
        files = [line.split(maxsplit=1) for line in told[5 * number + 1 : 5 * number + 5]]
        assert [name for name, _ in files] == [f"peer{peer}-{indices[number]}.json:" for peer in range(4)]
        (state,) = {state for _, state in files}
        assert head is not None
        assert head[2] == sha256(state.encode()).hexdigest()[:16]
        assert sum(int(balance) for balance in re.findall(r"\d+", state)) == 4_000
    assert told[10:] == ["all four peers wrote the same files"]


@pytest.mark.parametrize("told", ["proof.py"], indirect=True)
def test_a_proof_holds_and_a_forged_one_does_not(told: list[str]) -> None:
    (index,) = re.findall(r"final at index (\d+)$", told[0])
    assert told[3] == "The proof holds:"
    assert told[4].startswith("The transaction b'peer 0 owes peer 1 a lunch' (26 bytes), sent by ")
    assert told[5].startswith(f"It stands at index {index} in the order of the network 'syncpoint', at ")
    assert told[6].startswith("3 of 4 peers signed the order up to index ")
    assert told[8:] == ["The forged one: it proves nothing: the event does not hold the transaction"]


@pytest.mark.parametrize("told", ["membership.py"], indirect=True)
def test_the_order_goes_on_over_changes(told: list[str]) -> None:
    assert told == [
        "a fifth peer joins: 5 peers, joined is its key: True",
        "a peer has another key: the old one was its own: True",
        "settings change: gc_depth is 100",
        "the fifth peer leaves: 4 peers",
        "all five peers have the same 90 transactions, each once, over 3 changes before them",
    ]


def test_every_program_is_tested_and_named() -> None:
    programs = {path.name for path in FOLDER.glob("*.py")} - {SHARED}
    assert programs == set(re.findall(r'"told", \["(\w+\.py)"\]', Path(__file__).read_text(encoding="utf-8")))
    named = [target for target in links(text_of("docs/sync-points.md")) if target.startswith("../examples/")]
    assert {Path(target).name for target in named} == programs
    assert len(list(rows("docs/sync-points.md", "program"))) == len(programs)
