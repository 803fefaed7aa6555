"""Links lead somewhere, and the Python that the documentation shows runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .blocks import code_blocks
from .markdown import ROOT, anchors, documents, links, name_of, text_of

TIMEOUT_S = 60
ELSEWHERE = ("https://", "http://", "mailto:")
NO_RUN = "```python no-run\n"  # a piece that is shown, not run

NAMES = [name_of(path) for path in documents()]
EXAMPLES = [
    pytest.param(code, id=f"{name}-{number}")
    for name in NAMES
    if name == "README.md" or name.startswith("docs/")
    for number, code in enumerate(code_blocks(text_of(name).replace(NO_RUN, "```text\n"), "python"))
    if (name, number) != ("README.md", 0)  # that one is test_readme's
]


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    broken = []
    for target in links(text_of(name)):
        if target.startswith(ELSEWHERE):
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / name).parent / path if path else ROOT / name
        if not found.exists() or (anchor and anchor not in anchors(found.read_text(encoding="utf-8"))):
            broken.append(target)
    assert not broken


def test_every_document_is_in_the_index() -> None:
    there = {name for name in NAMES if name.startswith("docs/") and name != "docs/README.md"}
    listed = {os.path.normpath(f"docs/{target}") for target in links(text_of("docs/README.md"))}
    assert there <= listed


def test_every_reading_is_listed_with_the_rules() -> None:
    listed = set(links(text_of("docs/protocol.md").partition("## Readings")[2]))
    assert listed == {name.removeprefix("docs/") for name in NAMES if name.startswith("docs/decisions/")}


@pytest.mark.parametrize("code", EXAMPLES)
def test_an_example_runs_and_ends(code: str, tmp_path: Path) -> None:
    example = tmp_path / "example.py"
    example.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(example)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout, "it shows nothing"


def test_a_broken_link_is_seen() -> None:
    text = "# One *two*, three\n[a](b.md#c) `[x](y)`\n```text\n# no\n[n](m)\n```\n[d\ne](<f.md>)\n"
    assert links(text) == ["b.md#c", "f.md"]
    assert anchors(text) == {"one-two-three"}
