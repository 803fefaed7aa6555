"""The package as a type checker of an application sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from . import typing_example

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1] / "python"
STRICT = ("--strict", "--disallow-any-expr", "--disallow-any-explicit", "--disallow-any-decorated")
QUIET = ("--follow-imports=silent", "--config-file=")  # the package's own lines are not the application's


def check(path: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run mypy over one file as an application's author would."""
    return subprocess.run(
        [sys.executable, "-m", "mypy", *STRICT, *QUIET, f"--cache-dir={cache}", str(path)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=path.parent,
        env={**os.environ, "MYPYPATH": str(PACKAGE)},
    )


def test_an_application_is_typed_without_any(tmp_path: Path) -> None:
    done = check(HERE / "typing_example.py", tmp_path / "cache")
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from syncpoint import Event, base58\ndef f(event: Event) -> str:\n    return event.index\n")
    done = check(wrong, tmp_path / "cache")
    assert "Incompatible return value type" in done.stdout, "the checker does not look"


async def test_the_typed_application_runs() -> None:
    assert await typing_example.main() == [b"first", b"second", b"third"]
