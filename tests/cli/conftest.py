"""How the tests of the command line start it: as a user does, or in this process where no process is needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from syncpoint.cli.app import app
from syncpoint.cli.control import ask

Process = subprocess.Popen[str]
Start = Callable[..., Process]
Network = Callable[..., list[list[str]]]
Peers = Callable[..., "Group"]
TIMEOUT_S = 120


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


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, as a socket's must be."""
    path = Path(tempfile.mkdtemp(prefix="sp"))
    yield path
    shutil.rmtree(path)


@dataclass
class Group:
    """Peers that run, and their control sockets."""

    processes: list[Process]
    paths: list[Path]
    files: list[list[str]]

    def open_proposal(self, *numbers: int) -> dict[str, Any]:
        """The one that is open at some peers that ask for votes, as soon as it is."""
        for number in numbers:
            await_note(self.processes[number], "is proposed by")
        (proposal,) = ask(self.paths[numbers[0]], {"do": "proposals"})["proposals"]
        return dict(proposal)


@pytest.fixture
def peers(start: Start, network: Network, folder: Path) -> Callable[..., Group]:
    """Start peers, which leave their votes to people unless they are told otherwise."""

    def begin(count: int = 2, approve: str | None = "ask", *options: object) -> Group:
        paths = [folder / f"{number}" for number in range(count)]
        files = network(count)
        approval = () if approve is None else ("--approve", approve)
        processes = [
            start("run", *each, "--control", path, *approval, *options) for each, path in zip(files, paths, strict=True)
        ]
        for process in processes:
            await_note(process, "control socket")
        return Group(processes, paths, files)

    return begin


def await_note(process: Process, text: str) -> str:
    """The line of standard error that has a text."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return line
    raise AssertionError(f"it ended without {text!r}: {seen}")


def command(*args: object, code: int = 0) -> str:
    """What a command says, in this process: on standard output if all is well, else on standard error."""
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout if code == 0 else result.stderr


def next_line(process: Process) -> dict[str, Any]:
    assert process.stdout is not None
    line: dict[str, Any] = json.loads(process.stdout.readline())
    return line


def say(process: Process, line: str) -> None:
    """Have a peer send a transaction."""
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


@pytest.fixture
def running(start: Start, network: Network, folder: Path) -> Path:
    """The control socket of a peer that runs alone in its network."""
    process = start("run", *network(1)[0], "--control", folder / "s")
    await_note(process, "control socket")
    return folder / "s"
