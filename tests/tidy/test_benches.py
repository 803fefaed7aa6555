"""Benches run by hand only: what they take of the package must be there all the same."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from .sources import ROOT, tree_of

BENCHES = sorted((ROOT / "benches").glob("*.py"))


def missing(path: Path) -> Iterator[str]:
    """The names that a file imports from the package, or from a file beside it, and that are not there."""
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        beside = path.with_name(f"{node.module}.py")
        if node.module.split(".")[0] == "syncpoint":
            module = importlib.import_module(node.module)
            yield from (f"{node.module}.{name.name}" for name in node.names if not _has(module, name.name))
        elif beside.exists():
            there = {name.id for name in ast.walk(tree_of(beside)) if isinstance(name, ast.Name)}
            there |= {getattr(each, "name", "") for each in tree_of(beside).body}
            yield from (f"{node.module}.{name.name}" for name in node.names if name.name not in there)


def _has(module: ModuleType, name: str) -> bool:
    if hasattr(module, name):
        return True
    return hasattr(module, "__path__") and importlib.util.find_spec(f"{module.__name__}.{name}") is not None


@pytest.mark.parametrize("path", BENCHES, ids=lambda path: path.name)
def test_what_a_bench_imports_is_there(path: Path) -> None:
    assert list(missing(path)) == []


def test_a_name_that_is_gone_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("def here(): ...\nTHERE = 1\n")
    path = tmp_path / "bench.py"
    path.write_text(
        "from syncpoint.core import machine, nothing\nfrom syncpoint.core.machine import Machine, GONE\n"
        "from beside import THERE, here, nowhere\n"
    )
    assert list(missing(path)) == ["syncpoint.core.nothing", "syncpoint.core.machine.GONE", "beside.nowhere"]
