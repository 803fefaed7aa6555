"""How the tests of the command line start it: as a user does, or in this process where no process is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `syncpoint ARGS` with pipes; whatever still runs at the end of the test is killed."""
    processes: list[subprocess.Popen[str]] = []

    def begin(*args: object, **options: object) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        settings: dict[str, Any] = {
            "stdin": pipe,
            "stdout": pipe,
            "stderr": pipe,
            "text": True,
            "encoding": "utf-8",
            **options,
        }
        command = [sys.executable, "-m", "syncpoint", *map(str, args)]
        process: subprocess.Popen[str] = subprocess.Popen(command, env={**os.environ, "COLUMNS": "120"}, **settings)
        processes.append(process)
        return process

    yield begin
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None and not stream.closed:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass


@pytest.fixture
def network(tmp_path: Path) -> Callable[..., list[list[str]]]:
    """Write a network with `syncpoint init`; for each peer the options by which a command gets its files."""
    from typer.testing import CliRunner

    from syncpoint.cli.app import app

    def write(peers: int = 4, *options: str) -> list[list[str]]:
        folder = tmp_path / "net"
        result = CliRunner().invoke(app, ["init", str(folder), "--peers", str(peers), *options])
        assert result.exit_code == 0, result.output
        return [
            ["--network", str(folder / "network.toml"), "--key", str(folder / f"peer{number}" / "key.pem")]
            for number in range(peers)
        ]

    return write


@pytest.fixture
def poem(tmp_path: Path) -> Path:
    """A text of 60 lines, some alike, one empty, one that is not UTF-8."""
    path = tmp_path / "poem.txt"
    lines = [b"How doth the little crocodile", b"", b"na\xefve", "Größe, 大".encode()]
    path.write_bytes(b"\n".join(lines[number % len(lines)] for number in range(60)))
    return path
