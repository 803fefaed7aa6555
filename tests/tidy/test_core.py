"""The core does no IO (L1), knows nothing of what surrounds it, and is ready to be written twice (L2)."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import pytest

from syncpoint import Network, Options, PeerCapabilities

from .sources import CORE, PACKAGE, calls_of, files, imports_of, name_of, tree_of

WORLD = {
    "asyncio", "datetime", "io", "logging", "multiprocessing", "os", "pathlib", "random", "secrets", "select",
    "selectors", "signal", "socket", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "uuid",
}  # fmt: skip
BUILT_INS = {"open", "input", "print", "id", "exec", "eval", "__import__", "breakpoint"}
MODULES = {
    "values", "error", "config", "committee", "crypto", "timer",
    "wire", "verify", "dag", "decide", "order",
    "items", "epoch", "checkpoint", "exchange",
    "late", "propose", "fetch", "journal", "recover", "retain", "input", "output", "status", "machine",
    "proof", "change", "roster", "transition", "replica", "ended",
}  # fmt: skip
PRIVATE = {"__init__", "_blake3"}
WORD = "simulated"  # the scheme's name
OUTSIDE = {"syncpoint.errors"}  # all that the core may use of the rest of the package


@pytest.mark.parametrize("path", files(CORE), ids=name_of)
def test_it_does_no_io(path: Path) -> None:  # L1
    worldly = {module for module in imports_of(path) if module.partition(".")[0] in WORLD}
    assert not worldly, f"{name_of(path)} imports {worldly}: time, bytes and randomness come in from outside"
    calls = [(line, name) for line, name in calls_of(path) if name in BUILT_INS]
    assert not calls, f"{name_of(path)} touches the world: {calls}"


@pytest.mark.parametrize("path", files(CORE), ids=name_of)
def test_it_computes_in_integers(path: Path) -> None:
    floats = [
        node.lineno
        for node in ast.walk(tree_of(path))
        if (isinstance(node, ast.Constant) and isinstance(node.value, float))
        or (isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div))
    ]
    assert not floats, f"{name_of(path)} computes with fractions in lines {floats}: use integers"


@pytest.mark.parametrize("path", files(CORE), ids=name_of)
def test_it_depends_on_nothing_around_it(path: Path) -> None:
    inside = {module for module in imports_of(path) if module.startswith("syncpoint.") and module.count(".") == 1} - {
        "syncpoint.core"
    }
    assert inside <= OUTSIDE, f"{name_of(path)} imports {inside - OUTSIDE} from around the core"


def test_it_has_exactly_these_modules() -> None:  # L2
    assert {path.stem for path in files(CORE)} == MODULES | PRIVATE
    assert not [path for path in CORE.iterdir() if path.is_dir() and path.name != "__pycache__"]


def test_the_machine_is_what_the_rest_uses_of_it() -> None:
    steps = {"dag", "decide", "order", "verify", "propose", "fetch", "exchange", "timer"}
    for path in files(PACKAGE):
        if CORE in path.parents or "testing" in path.parts or path.name == "_python.py":  # the core's own face
            continue
        used = {module.split(".")[2] for module in imports_of(path) if module.startswith("syncpoint.core.")}
        assert not used & steps, f"{name_of(path)} reaches around the machine to {used & steps}"


def test_no_setting_leads_to_simulated_signatures() -> None:
    """They prove nothing: a world around the engine chooses them, and the real one does not."""
    for settings in (Network, Options, PeerCapabilities):
        assert not [field.name for field in dataclasses.fields(settings) if "signatures" in field.name]
    for path in files(PACKAGE):
        if CORE in path.parents or "testing" in path.parts or path.name == "_python.py":
            continue
        words = [
            node.lineno for node in ast.walk(tree_of(path)) if isinstance(node, ast.Constant) and node.value == WORD
        ]
        assert not words, f"{name_of(path)} names {WORD!r} in lines {words}"


def test_the_check_of_imports_sees_all_ways_to_write_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from . import sources

    monkeypatch.setattr(sources, "PACKAGE", tmp_path / "syncpoint")
    path = tmp_path / "syncpoint" / "core" / "bad.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import os.path\nfrom time import time\nfrom .. import engine\nfrom ..runtime.clock import Clock\n"
        "from . import wire\ndef f():\n    import random as r\n    open('x')\n"
    )
    found = set(imports_of(path))
    assert found >= {
        "os.path", "time", "syncpoint.engine", "syncpoint.runtime.clock", "syncpoint.core.wire", "random",
    }  # fmt: skip
    assert list(calls_of(path)) == [(8, "open")]
