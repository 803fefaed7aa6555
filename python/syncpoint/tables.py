"""TOML read strictly: what is not known is an error that names the place, never ignored. And strings for it."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable
from typing import Any

from .errors import ArgumentError, ArgumentTypeError

__all__ = ["Table", "check_fields", "parse", "quoted", "read_file", "read_source", "string_field"]

MAX_FILE_BYTES = 1 << 20  # a file of 128 peers needs some 20 kB; a longer one is refused unparsed

Table = dict[str, Any]


def read_source(source: str | os.PathLike[str], caller: str, name: str, what: str) -> tuple[str, str]:
    """A text, and what to call it in errors: `source` itself as a str, then called `name`, or a file as a path.

    Raises ArgumentTypeError, which names the caller, for anything but these two, and ArgumentError for a file that
    cannot be read; `what` is what it should be, in words.
    """
    if isinstance(source, str):
        return source, name
    if isinstance(source, os.PathLike):
        return read_file(source, what), os.fspath(source)
    raise ArgumentTypeError(
        f"{caller} was given {type(source).__name__}; allowed are a str (the text itself) and a "
        "path: use pathlib.Path(name) for a file"
    )


def read_file(path: str | os.PathLike[str], what: str) -> str:
    """The text of a TOML file, `what` it should be in words; ArgumentError if it cannot be read."""
    name = os.fspath(path)
    try:
        with open(name, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ArgumentError(
            f"{name} cannot be read: {error.strerror}; allowed is {what}: check the path and that this user may read it"
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise ArgumentError(f"{name} has more than {MAX_FILE_BYTES} bytes: give the path of {what}")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArgumentError(f"{name} is not UTF-8: {error}; TOML is UTF-8: save it as such") from None


def parse(text: str, where: str, advice: str) -> Table:
    """The document in a TOML text; ArgumentError, which ends with the advice, if it is none."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ArgumentError(f"{where} is not TOML: {error}; {advice}") from None


def check_fields(table: object, allowed: Iterable[str], where: str) -> Table:
    """`table`, if it is a table with no other fields than the allowed ones; else ArgumentError."""
    names = tuple(allowed)
    if not isinstance(table, dict):
        raise ArgumentError(f"{where} is {table!r}; allowed is a table with {', '.join(names)}: write it as a table")
    for name in table:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            advice = f"did you mean {close[0]!r}?" if close else "remove it"
            raise ArgumentError(f"{where} has a field {name!r}; allowed are {', '.join(names)}: {advice}")
    return table


def string_field(table: Table, name: str, where: str, example: str) -> str:
    """A string of a table; ArgumentError, which shows an example, if it is missing or something else."""
    value = table.get(name)
    if not isinstance(value, str):
        found = f"{name} = {value!r}" if name in table else f"no {name}"
        raise ArgumentError(f"{where} has {found}; allowed is a string: write {name} = {example}")
    return value


def quoted(text: str) -> str:
    """A TOML basic string, in one way for every text."""
    escaped = "".join(
        f"\\u{ord(character):04x}" if ord(character) < 0x20 or character == "\x7f" else character
        for character in text.replace("\\", "\\\\").replace('"', '\\"')
    )
    return f'"{escaped}"'
