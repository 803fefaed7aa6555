"""Code blocks of Markdown text."""

from __future__ import annotations

import re

_FENCE = re.compile(r"^(?P<indent> {0,3})(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^\n`]*)$")


def code_blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language, in order, without their fences and their common indent."""
    blocks: list[str] = []
    lines: list[str] = []
    opening: re.Match[str] | None = None
    for line in text.splitlines():
        fence = _FENCE.match(line)
        if opening is None:
            if fence is not None:
                opening, lines = fence, []
        elif fence is not None and not fence["info"].strip() and fence["fence"].startswith(opening["fence"]):
            if opening["info"].split(maxsplit=1)[:1] == [language]:
                blocks.append("".join(f"{line}\n" for line in lines))
            opening = None
        else:
            lines.append(line.removeprefix(opening["indent"]))
    assert opening is None, "a code block has no end"
    return blocks
