"""What docs/simulator.md shows runs, and its tables name what there is."""

from __future__ import annotations

import pytest

from syncpoint.testing.checkers import Checkers
from syncpoint.testing.cluster import Cluster
from syncpoint.testing.faults import FAULTS
from syncpoint.testing.history import History
from syncpoint.testing.liars import LIARS

from .blocks import code_blocks
from .markdown import rows, text_of

DOCUMENT = "docs/simulator.md"


@pytest.mark.parametrize("block", code_blocks(text_of(DOCUMENT), "python"))
def test_an_example_runs(block: str) -> None:
    exec(compile(block, DOCUMENT, "exec"), {})


def test_its_tables_name_every_fault_liar_and_checker() -> None:
    named = [name.strip("` ") for kind, *_ in rows(DOCUMENT, "kind") for name in kind.split(",")]
    assert sorted(named) == sorted([*FAULTS, *LIARS])
    with Cluster(1) as cluster:
        checkers = {checker.name for checker in Checkers(cluster, History(cluster), {0}).all}
    told = {line.split("`")[1] for line in text_of(DOCUMENT).splitlines() if line.startswith("| `") and "`" in line}
    assert checkers <= told
