"""What the tests need to know of Markdown besides its code blocks: files, links, tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCED = re.compile(r"^(`{3,})[^\n]*\n.*?^\1[ ]*$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\[[^\]]*\]\(\s*<?(?P<target>[^)\s>]+)>?[^)]*\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


def documents() -> list[Path]:
    """Every Markdown file of the project."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def name_of(path: Path) -> str:
    """A file's name from the project's root."""
    return path.relative_to(ROOT).as_posix()


def text_of(name: str) -> str:
    """The text of a file, named from the project's root."""
    return (ROOT / name).read_text(encoding="utf-8")


def links(text: str) -> list[str]:
    """The targets of all links outside of code."""
    return [found["target"] for found in _LINK.finditer(_SPAN.sub("code", _FENCED.sub("", text)))]


def anchors(text: str) -> set[str]:
    """The names under which the headings of a text can be linked to."""
    headings = _HEADING.findall(_FENCED.sub("", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(name: str, header: str) -> Iterator[list[str]]:
    """The cells of every row of the tables whose first header cell is `header`."""
    inside = found = False
    for line in text_of(name).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            inside = False
        elif cells[0] == header:
            inside = found = True
        elif inside and not set(line) <= set("|-: "):
            yield cells
    assert found, f"{name} has no table that starts with {header!r}"
