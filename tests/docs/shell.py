"""Shell commands as a person types them, with `syncpoint` on the path as if it were installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "python"
TIMEOUT_S = 240


def environment(bin_folder: Path, **settings: str) -> dict[str, str]:
    """An environment in which `syncpoint` runs this package; its script is put into a folder."""
    bin_folder.mkdir(parents=True, exist_ok=True)
    script = bin_folder / "syncpoint"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m syncpoint "$@"\n')
    script.chmod(0o755)
    path = os.pathsep.join([str(bin_folder), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(PACKAGE), "COLUMNS": "200", **settings}


def run(commands: str, folder: Path, env: dict[str, str]) -> str:
    """What a row of commands prints, run in a folder until the first of them fails, which none may."""
    done = subprocess.run(
        ["/bin/sh", "-e", "-u", "-c", commands],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
    return done.stdout
