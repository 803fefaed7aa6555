"""docs/protocol.md has every rule that the code cites, and the committee's numbers."""

from __future__ import annotations

import re
import tokenize
from pathlib import Path

import pytest

from syncpoint.core.committee import Committee

from .markdown import ROOT, rows, text_of

DOCUMENT = "docs/protocol.md"
RULE = re.compile(r"\b([QEVDOPFSCJRTL])([1-9][0-9]?)\b")
BOLD = re.compile(r"\*\*([QEVDOPFSCJRTL])([1-9][0-9]?)\*\*(?: to \*\*\1([1-9][0-9]?)\*\*)?")


def cited(path: Path) -> set[str]:
    """The rules that comments and texts of a module name, alone, in rows and in ranges."""
    with path.open("rb") as file:
        tokens = [each for each in tokenize.tokenize(file.readline) if each.type in (tokenize.COMMENT, tokenize.STRING)]
    return {"".join(found) for each in tokens for found in RULE.findall(each.string)}


def documented() -> set[str]:
    """The rules that the document has in bold, ranges spelt out."""
    return {
        f"{letter}{number}"
        for letter, first, last in BOLD.findall(text_of(DOCUMENT))
        for number in range(int(first), int(last or first) + 1)
    }


def test_every_rule_that_the_code_cites_is_documented() -> None:
    undocumented = {
        path.relative_to(ROOT).as_posix(): missing
        for path in sorted((ROOT / "python/syncpoint").rglob("*.py"))
        if (missing := cited(path) - documented())
    }
    assert not undocumented


def test_a_citation_is_seen(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('"""Says (O88, O89) and (D71 to D74)."""\nx = 1  # V90\ny = R77 = 3\n')
    assert cited(module) == {"O88", "O89", "D71", "D74", "V90"}
    assert {"S1", "S4", "S7", "L2"} <= documented()
    assert "S8" not in documented()


@pytest.mark.parametrize("cells", list(rows(DOCUMENT, "n")), ids=lambda cells: f"n={cells[0]}")
def test_thresholds_are_the_codes(cells: list[str]) -> None:
    committee = Committee(int(cells[0]), None, bytes(32))
    names = ("n", "f", "q", "p", "fast", "qc", "t_plain", "t_exposed")
    assert [int(cell) for cell in cells] == [getattr(committee, name) for name in names]
