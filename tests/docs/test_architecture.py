"""ARCHITECTURE.md maps every module and names every limit, with the code's values."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Iterator
from types import ModuleType

import pytest

from .markdown import ROOT, documents, name_of, rows, text_of

PACKAGE = ROOT / "python/syncpoint"
DOCUMENT = "ARCHITECTURE.md"
LIMIT = re.compile(r"^_?MAX_|_MAX_")
PATH = re.compile(r"`((?:python|core|runtime|cli|testing|tests|docs|benches|examples)/[\w./-]*)`")


def module_of(path: str) -> ModuleType:
    """The module at a path below the package."""
    return importlib.import_module("syncpoint." + path.removesuffix(".py").replace("/", "."))


def value_of(path: str, name: str) -> object:
    """A constant of a module or a class, or the default of a dataclass's field."""
    value: object = module_of(path)
    for part in name.split("."):
        if isinstance(value, type) and dataclasses.is_dataclass(value):
            value = {field.name: field.default for field in dataclasses.fields(value)}[part]
        else:
            value = getattr(value, part)
    return value


def limits() -> Iterator[tuple[str, str, str]]:
    """Path, name and value as the tables give them."""
    for name, value, path, *_ in rows(DOCUMENT, "limit"):
        yield path.strip("`"), name.strip("`"), value


def modules() -> set[str]:
    """Every module of the package; a package's own file says nothing that its modules do not."""
    return {each.relative_to(PACKAGE).as_posix() for each in PACKAGE.rglob("*.py") if each.name != "__init__.py"}


@pytest.mark.parametrize(("path", "name", "value"), list(limits()))
def test_a_limit_has_the_codes_value(path: str, name: str, value: str) -> None:
    found = value_of(path, name)
    assert isinstance(found, int | float)
    assert value == (f"{found:,}" if isinstance(found, int) else str(found))


def test_no_limit_is_left_out() -> None:
    told = {(path, name) for path, name, _ in limits()}
    assert len(told) == len(list(limits())), "a limit stands there twice"
    found = {
        (path, name)
        for path in modules() - {"__main__.py"}
        for name, value in vars(module_of(path)).items()
        if LIMIT.search(name) and isinstance(value, int | float) and is_defined_in(path, name)
    }
    assert found <= told


def is_defined_in(path: str, name: str) -> bool:
    """Whether a module defines a name, rather than importing it."""
    return re.search(rf"^(?:\w+, )*{name}(?:, \w+)*(?:: [^=\n]+)? = ", (PACKAGE / path).read_text(), re.M) is not None


def test_every_module_is_on_the_map() -> None:
    assert {cells[0].strip("`") for cells in rows(DOCUMENT, "module")} == modules()


@pytest.mark.parametrize("name", [name_of(path) for path in documents()])
def test_files_that_are_named_are_there(name: str) -> None:
    missing = [
        path for path in PATH.findall(text_of(name)) if not (ROOT / path).exists() and not (PACKAGE / path).exists()
    ]
    assert not missing
