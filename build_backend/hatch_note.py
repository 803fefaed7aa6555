"""A build hook of hatchling: writes into a pure wheel why it has no native core.

Frontends show what a build prints only when it fails, so the reason has to travel with the package;
`syncpoint.core_info` tells it.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

__all__ = ["NoteHook"]

REASON = "_SYNCPOINT_NO_NATIVE"  # set by syncpoint_build.py
NOTE = "syncpoint/_no_native.txt"  # read by syncpoint/backend.py


class NoteHook(BuildHookInterface[Any]):
    """Adds the note to wheels; an editable installation has no files of its own to add it to."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the note where the wheel's builder finds it."""
        if version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory()
        note = Path(self._folder.name, "note.txt")
        note.write_text(os.environ.get(REASON, "no native core was built") + "\n", encoding="utf-8")
        build_data["force_include"][str(note)] = NOTE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what `initialize` wrote."""
        if version != "editable":
            self._folder.cleanup()
