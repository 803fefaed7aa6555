"""Both cores have one face: the same names, the same arguments, and a stub that tells of them."""

from __future__ import annotations

import ast
import inspect
import re
from types import ModuleType

import pytest

from syncpoint import _python, backend

from .sources import PACKAGE, ROOT, exported, public_definitions, tree_of

STUB = PACKAGE / "_native.pyi"
CARGO = ROOT / "Cargo.toml"
CLASSES = ("DagRun", "Delivered", "Event", "Machine")
# What the Python core's classes have besides: they stay open to be looked into.
BESIDE = {
    "DagRun": {"committee", "dag", "decider", "orderer", "epoch"},
    "Delivered": set(),
    "Event": {"linked"},
    "Machine": {"config", "committee", "make_replica", "own"},
    "SyncPoint": set(),
}


@pytest.fixture
def native() -> ModuleType:
    """The native core itself."""
    return pytest.importorskip("syncpoint._native")


def stubs() -> dict[str, ast.stmt]:
    """What the stub defines."""
    names: dict[str, ast.stmt] = {}
    for node in tree_of(STUB).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names[node.target.id] = node
    return names


def members_of_stub(name: str) -> dict[str, ast.FunctionDef]:
    """The methods and properties that the stub gives a class."""
    node = stubs()[name]
    assert isinstance(node, ast.ClassDef)
    return {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}


def arguments(node: ast.FunctionDef) -> list[str]:
    """The names of a function's arguments, but for `self` and `cls`."""
    return [each.arg for each in node.args.args if each.arg not in ("self", "cls")]


def arguments_of(function: object) -> list[str]:
    """The same of a function or class itself."""
    return [name for name in inspect.signature(function).parameters if name != "self"]  # type: ignore[arg-type]


def public(names: object) -> set[str]:
    """Those without an underscore, and the version."""
    return {name for name in names if not name.startswith("_") or name == "__version__"}  # type: ignore[attr-defined]


def test_the_stub_tells_of_all_that_the_python_face_has() -> None:
    assert set(stubs()) - {"__all__"} == set(_python.__all__)
    assert exported(STUB) == _python.__all__


@pytest.mark.native
def test_the_stub_tells_of_all_that_the_native_face_has(native: ModuleType) -> None:
    assert public(vars(native)) == set(_python.__all__)
    assert public(native.__all__) == set(_python.__all__)


@pytest.mark.parametrize("name", CLASSES)
def test_classes_have_the_same_members(name: str) -> None:
    stub = {each for each in members_of_stub(name) if not each.startswith("_")}
    made = getattr(_python, name)
    fields = set(getattr(made, "__dataclass_fields__", ()))
    assert public(dir(made)) | fields == stub | (BESIDE[name] & (public(dir(made)) | fields))


@pytest.mark.native
@pytest.mark.parametrize("name", CLASSES)
def test_native_classes_have_the_members_of_the_stub(native: ModuleType, name: str) -> None:
    assert public(dir(getattr(native, name))) == {each for each in members_of_stub(name) if not each.startswith("_")}


FUNCTIONS = [name for name, node in public_definitions(tree_of(STUB).body) if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_and_methods_have_the_same_arguments(name: str) -> None:
    assert_arguments(_python, name)


@pytest.mark.native
@pytest.mark.parametrize("name", FUNCTIONS)
def test_native_functions_and_methods_have_the_arguments_of_the_stub(native: ModuleType, name: str) -> None:
    assert_arguments(native, name)


def assert_arguments(module: ModuleType, name: str) -> None:
    """The function or method has the arguments that the stub tells of."""
    owner, _, function = name.rpartition(".")
    node = members_of_stub(owner)[function] if owner else stubs()[name]
    assert isinstance(node, ast.FunctionDef)
    if any(ast.unparse(each) == "property" for each in node.decorator_list):
        return
    made = getattr(getattr(module, owner) if owner else module, function)
    assert arguments_of(made) == arguments(node)


@pytest.mark.parametrize("name", ["DagRun", "Machine"])
def test_what_is_made_by_hand_is_made_alike(name: str) -> None:
    assert arguments(members_of_stub(name)["__new__"]) == arguments_of(getattr(_python, name))


@pytest.mark.native
@pytest.mark.parametrize("name", ["DagRun", "Machine"])
def test_what_is_made_by_hand_is_made_alike_natively(native: ModuleType, name: str) -> None:
    assert arguments(members_of_stub(name)["__new__"]) == arguments_of(getattr(native, name))


@pytest.mark.native
def test_the_native_core_makes_no_events_by_hand(native: ModuleType) -> None:
    for name in ("Delivered", "Event", "SyncPoint"):
        with pytest.raises(TypeError, match="create"):
            getattr(native, name)()


def test_the_seam_has_one_number() -> None:
    assert _python.SEAM == backend.SEAM


@pytest.mark.native
def test_the_native_core_fits(native: ModuleType) -> None:
    assert native.SEAM == backend.SEAM
    assert native.HASH == "native"
    version = re.search(r'^version = "([^"]+)"', CARGO.read_text(), re.MULTILINE)
    assert version is not None
    assert native.__version__ == version[1]


def test_the_stub_describes_everything() -> None:
    bare = [
        name
        for name, node in public_definitions(tree_of(STUB).body)
        if not ast.get_docstring(node) and not name.rpartition(".")[2].startswith("_")
    ]
    assert not bare
