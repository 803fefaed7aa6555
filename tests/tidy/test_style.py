"""Files, names and docstrings are as the architecture wants them."""

from __future__ import annotations

import ast
import importlib
import re
import tokenize
from pathlib import Path

import pytest

from .sources import PACKAGE, ROOT, calls_of, exported, files, name_of, public_definitions, tree_of

MAX_LINES = 450
FORBIDDEN_NAMES = ("utils", "util", "manager", "sync", "helpers", "misc", "common")
# Public by name for the modules beside them, but not part of what their module stands for.
NEIGHBOURS_ONLY = {
    "core/dag.py": {"creators_of", "nodes_of"},
    "core/fetch.py": {"Waiting", "Want", "event_bytes"},
    "core/timer.py": {"Arrivals"},
    "core/wire.py": {"payload_length"},
    "runtime/transport.py": {"Link"},
    "testing/cluster.py": {"Watched", "peers_of", "secrets_of"},
    "testing/dag.py": {"events_of"},
    "testing/draw.py": {"Draw"},
    "testing/faults.py": {"Lasting", "LastingPeerFault", "PeerFault"},
    "testing/loop.py": {"Call"},
}
SOURCES = files(PACKAGE)
LIBRARY = [
    path for path in SOURCES if "cli" not in path.parts and path.stem not in ("__init__", "__main__", "_version")
]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_modules_are_small(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{name_of(path)} has {lines} lines: at most {MAX_LINES}; split it by what it does"


def test_files_are_named_after_what_they_do() -> None:
    bad = [name_of(path) for path in SOURCES if path.stem.strip("_") in FORBIDDEN_NAMES]
    assert not bad, f"{bad}: name the file after the step it does"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_all_that_is_public_has_a_docstring(path: Path) -> None:
    tree = tree_of(path)
    if tree.body:
        assert ast.get_docstring(tree), f"{name_of(path)} does not say what it is"
    else:
        assert path.stem == "__init__", f"{name_of(path)} is empty"
    bare = [
        name
        for name, node in public_definitions(tree.body)
        if not ast.get_docstring(node) and not any("overload" in ast.unparse(d) for d in node.decorator_list)
    ]
    assert not bare, f"{name_of(path)}: no docstring at {bare}"


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_all_lists_what_is_public(path: Path) -> None:
    names = exported(path)
    assert names is not None, f"{name_of(path)} has no __all__"
    assert len(set(names)) == len(names)
    module = importlib.import_module(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts))
    assert not [name for name in names if not hasattr(module, name)], "__all__ lists what is not there"
    defined = {name for name, _ in public_definitions(tree_of(path).body) if "." not in name}
    beside = NEIGHBOURS_ONLY.get(path.relative_to(PACKAGE).as_posix(), set())
    left = defined - set(names) - beside
    assert not left, f"{name_of(path)}: {left} belong into __all__, or begin with _, or into NEIGHBOURS_ONLY"


@pytest.mark.parametrize("path", [*SOURCES, *files(ROOT / "tests"), *files(ROOT / "examples")], ids=name_of)
def test_nothing_is_left_for_later(path: Path) -> None:
    words = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    with tokenize.open(path) as file:
        comments = [token for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.COMMENT]
    left = [token.string for token in comments if words.search(token.string)]
    left += words.findall(ast.get_docstring(tree_of(path)) or "")
    assert not left, f"{name_of(path)}: {left}"


@pytest.mark.parametrize("path", [path for path in SOURCES if "cli" not in path.parts], ids=name_of)
def test_the_library_prints_nothing(path: Path) -> None:
    if path.stem == "__main__":
        return  # the command line before its packages are found
    prints = [line for line, name in calls_of(path) if name == "print"]
    assert not prints, f"{name_of(path)} prints in lines {prints}: use its logger"


def test_the_top_level_lists_what_it_offers() -> None:
    import syncpoint

    names = exported(PACKAGE / "__init__.py")
    assert names is not None
    assert names == sorted(names)
    assert set(names) == {name for name in vars(syncpoint) if not name.startswith("_")} - SUBMODULES | {"__version__"}


SUBMODULES = {
    path.stem if path.is_file() else path.name
    for path in PACKAGE.iterdir()
    if path.suffix == ".py" or (path / "__init__.py").exists()
} - {"base58"}
