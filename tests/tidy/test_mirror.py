"""One module, two languages, one name (L2): the Rust core has what the Python core has, by the same names.

Rust is read as text, line by line, as rustfmt leaves it.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from enum import EnumType, IntEnum

import pytest

from .sources import CORE, ROOT, exported, public_definitions, tree_of
from .test_core import MODULES

RUST = ROOT / "rust" / "core" / "src"
PUBLIC = r"pub(?:\(crate\))? (?:const )?(?:fn|struct|enum|type|trait) (?:r#)?(\w+)"
ONLY_RUST = {"lib", "bits"}  # the crate itself, and sets that are plain integers in Python

# What Python has and Rust does without.
ONLY_PYTHON = {
    "config.Network.max_transaction_bytes",  # for the engine, which is Python
    "dag.Node.strong_parents",  # the set says it
    "fetch.Server.BYTES_PER_PULL",
    "proof.prove_sync_point",  # for the engine, which is Python
    "proof.prove_transaction",
    "wire.header_of",  # for the store, which is Python
    "wire.slot_of",
    "values.Event.linked",  # there is no garbage collector to spare
    "committee.PRIMARY_CACHE",  # hashing is fast enough
}

pytestmark = pytest.mark.skipif(not RUST.is_dir(), reason="an installed package has no Rust sources beside it")

modules = pytest.mark.parametrize("module", sorted(MODULES))


def test_the_modules_are_the_same() -> None:
    assert {path.stem for path in RUST.glob("*.rs")} - ONLY_RUST == MODULES


@modules
def test_it_says_the_same_of_itself(module: str) -> None:
    text = ast.get_docstring(tree_of(CORE / f"{module}.py"))
    assert text is not None
    assert sentence(rust_module_doc(module)) == sentence(text)


@modules
def test_public_names_are_the_same(module: str) -> None:
    rust = dict(rust_items(module))
    variants = rust_variants(module)
    for name, doc in python_items(module):
        last = name.rpartition(".")[2]
        if last in rust:
            assert sentence(rust[last]) == sentence(doc), name
        elif f"{module}.{name}" not in ONLY_PYTHON:
            assert last in variants, f"{module}.rs has no {name}"


@modules
def test_public_names_have_the_same_order(module: str) -> None:
    python = [name for name, _ in python_items(module) if "." not in name]
    rust = [name for name, _ in rust_items(module, indent="") if name in python]
    assert rust == [name for name in python if name in rust]


@modules
def test_constants_have_the_same_values(module: str) -> None:
    python = importlib.import_module(f"syncpoint.core.{module}")
    known: dict[str, object] = {}
    for name, value in rust_constants("config"):
        known[name] = evaluate(value, known)
    enums = {enum.__name__: enum for enum in vars(python).values() if isinstance(enum, EnumType)}
    for name, value in rust_constants(module):
        known[name] = evaluate(value, known | enums)
        if hasattr(python, name):
            there = getattr(python, name)
            assert known[name] == (list(there) if isinstance(there, tuple) else there), name
    missing = {name for name in python_constants(module) if name not in known and f"{module}.{name}" not in ONLY_PYTHON}
    assert not missing, f"{module}.rs lacks {sorted(missing)}"


@modules
def test_numbers_have_the_same_names(module: str) -> None:
    python = importlib.import_module(f"syncpoint.core.{module}")
    enums = [
        value
        for value in vars(python).values()
        if isinstance(value, type) and issubclass(value, IntEnum) and value.__module__ == python.__name__
    ]
    for enum in enums:
        body = re.search(rf"pub enum {enum.__name__} \{{(.*?)^\}}", rust_text(module), re.S | re.M)
        assert body, f"{module}.rs has no enum {enum.__name__}"
        found = {member_of(name): int(number) for name, number in re.findall(r"^\s+(\w+) = (\d+),", body[1], re.M)}
        assert found == {member.name: member.value for member in enum}


# -- reading ----------------------------------------------------------------------------------------


def sentence(text: str) -> str:
    """The first sentence, without marks that only one language has."""
    plain = re.sub(r"[`\[\]]", "", " ".join(text.split()))
    return re.split(r"(?<=[.:])(?:\s|$)", plain)[0]


def member_of(variant: str) -> str:
    """What a variant of a Rust enumeration is called in Python."""
    return re.sub(r"(?<=.)(?=[A-Z])", "_", variant).upper()


def rust_text(module: str) -> str:
    return (RUST / f"{module}.rs").read_text()


def rust_module_doc(module: str) -> str:
    lines = [line[3:] for line in rust_text(module).splitlines() if line.startswith("//!")]
    return "\n".join(lines).split("\n\n")[0]


def rust_items(module: str, indent: str = " *") -> Iterator[tuple[str, str]]:
    """Public types and functions with the first paragraph of their doc comment."""
    doc: list[str] = []
    for line in rust_text(module).splitlines():
        bare = line.strip()
        if bare.startswith("///"):
            doc.append(bare[3:])
        elif match := re.match(
            rf"{indent}pub(?:\(crate\))? (?:const )?(?:fn|struct|enum|type|trait) (?:r#)?(\w+)", line
        ):
            yield match[1], "\n".join(doc).split("\n\n")[0]
            doc = []
        elif not bare.startswith("#["):
            doc = []


def rust_variants(module: str) -> set[str]:
    """Names of variants and public fields: what is a class or a property in Python."""
    text = rust_text(module)
    return set(re.findall(r"^    (\w+)(?:\(.*\)| \{|,| =)", text, re.M)) | set(
        re.findall(r"pub(?:\(crate\))? (\w+):", text)
    )


def rust_constants(module: str) -> Iterator[tuple[str, str]]:
    yield from re.findall(r"const (\w+): [^=]+ =\s+(\[0; \d+\]|[^;]+);", rust_text(module))


def evaluate(text: str, known: dict[str, object]) -> object:
    """The value of a Rust constant, by Python's rules, which are the same here."""
    plain = re.sub(r"(?<=\d)_(?=\d)", "", text).replace("/", "//").replace("&", "").replace("Self::", "")
    plain = re.sub(r"(\w+)\.len\(\)", r"len(\1)", plain)
    plain = re.sub(r"\[0; (\d+)\]", r"bytes(\1)", plain)
    plain = re.sub(r"\b([A-Z]\w+)::([A-Z]\w+)", lambda match: f"{match[1]}.{member_of(match[2])}", plain)
    plain = re.sub(
        r"b\"(.*?)\"", lambda match: repr(match[1].encode().replace(b"////", b"//").replace(b"//", b"/")), plain
    )
    try:
        return eval(plain, {"__builtins__": {"len": len, "bytes": bytes}}, dict(known))
    except (AttributeError, NameError, SyntaxError):
        return text


def python_constants(module: str) -> set[str]:
    names = set()
    for node in tree_of(CORE / f"{module}.py").body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            for name in ast.walk(target):
                if isinstance(name, ast.Name) and name.id.isupper() and not name.id.startswith("_"):
                    names.add(name.id)
    return names


def python_items(module: str) -> Iterator[tuple[str, str]]:
    """What a module exports, and the public methods of it, with their docstrings."""
    path = CORE / f"{module}.py"
    public = exported(path)
    assert public is not None
    for name, node in public_definitions(tree_of(path).body):
        if name.partition(".")[0] in public:
            yield name, ast.get_docstring(node) or ""


def test_the_reader_sees_what_there_is() -> None:
    # All of it would pass if nothing was found.
    assert sum(1 for module in MODULES for _ in rust_items(module)) > 120
    assert sum(1 for module in MODULES for _ in rust_constants(module)) > 40
    assert sum(1 for module in MODULES for _ in python_items(module)) > 120
