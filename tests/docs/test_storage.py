"""docs/storage.md, done as it says, and compared with the code."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from tests.store.history import filled, history

from syncpoint import base58
from syncpoint.runtime import sqlite, tip

from .blocks import code_blocks
from .markdown import rows, text_of
from .shell import environment, run

DOCUMENT = "docs/storage.md"


def test_the_commands_run(tmp_path: Path) -> None:
    made = history(12)
    key = base58.encode(made.identity.public)
    folder = tmp_path / "stores"
    folder.mkdir()
    asyncio.run(filled(folder / f"{key}.syncpoint", made))
    (commands,) = code_blocks(text_of(DOCUMENT), "sh")
    shown = run(commands.replace("KEY", key), tmp_path, environment(tmp_path / "bin"))
    assert "all is as it was written" in shown
    assert f"{len(made.delivered)} order hashes compared, all the same" in shown
    assert len(shown.splitlines()) == 1 + 1 + len(made.accepted) + len(made.delivered) + 1


def test_the_promises_are_for_each_durability() -> None:
    assert [name.strip("`") for name, *_ in rows(DOCUMENT, "durability")] == list(tip.DURABILITIES)


def test_the_tables_have_these_columns() -> None:
    told = {name.strip("`"): columns for name, columns in rows(DOCUMENT, "table")}
    tables = {name: sql for name, sql in sqlite.TABLES.items() if sql.startswith("CREATE TABLE")}
    assert told.keys() == tables.keys()
    for name, sql in tables.items():
        columns = re.findall(r"[(,] ?(\w+) (?:INTEGER|BLOB|TEXT)", sql)
        assert [each for each in re.findall("`([^`]+)`", told[name]) if each in columns] == columns


def test_the_numbers_are_the_codes() -> None:
    text = text_of(DOCUMENT)
    assert f"application id `{sqlite.APPLICATION_ID:#x}`, `user_version` {sqlite.FORMAT}" in text
    made = tip.Tip(0, False, True, 1, 2, bytes(tip.BOOT_BYTES)).encode()
    assert f"{len(made)} bytes: whether own events may be missing" in text
