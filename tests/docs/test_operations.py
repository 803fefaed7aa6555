"""docs/operations.md, done as it says: four machines, which are four folders, on loopback."""

from __future__ import annotations

import ast
import contextlib
import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from syncpoint import EngineStatus, Genesis, PeerRecord, Status
from syncpoint.runtime.dial import explain
from syncpoint.runtime.hello import Refusal

from .markdown import ROOT, rows, text_of
from .shell import environment, run

DOCUMENT = "docs/operations.md"
MACHINES = "abcd"
PACKAGE = ROOT / "python/syncpoint"


@dataclass(frozen=True)
class Block:
    """A piece of the document: what kind, and for whom (`each`, `once`, `no-run`, a file's name), or when.

    `run` starts all peers, `restart` one after the other once more, `lost` the last one, which has lost its store.
    """

    language: str
    words: tuple[str, ...]
    text: str


def blocks() -> list[Block]:
    """All fenced pieces, in order."""
    found = re.findall(r"^```(\w+)([^\n]*)\n(.*?)^```$", text_of(DOCUMENT), flags=re.MULTILINE | re.DOTALL)
    return [Block(language, tuple(words.split()), text) for language, words, text in found]


def free_addresses() -> list[str]:
    """One for each machine."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in MACHINES]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return ["127.0.0.1:{1}".format(*each.getsockname()) for each in sockets]


class Machines:
    """Four folders, and what runs in them."""

    def __init__(self, folder: Path) -> None:
        self.addresses = free_addresses()
        self.env = environment(folder / "bin")
        self.folders = {name: folder / name for name in MACHINES}
        self.running: list[subprocess.Popen[str]] = []
        for each in self.folders.values():
            each.mkdir()

    def on_loopback(self, text: str, name: str) -> str:
        """Commands and files as they are on one machine, with free ports in place of the hosts."""
        for other, address in zip(MACHINES, self.addresses, strict=True):
            text = text.replace(f"{other}.example.org:9001", address)
        return text.replace("0.0.0.0:9001", self.addresses[MACHINES.index(name)])

    def do(self, block: Block) -> list[str]:
        """Do what one block says; what was printed, by machine."""
        match block.language, block.words:
            case "sh", ("each", *options):
                said = []
                for name, folder in self.folders.items():
                    commands = self.on_loopback(block.text, name)
                    if "exit=1" in options:
                        commands = f"if {commands.strip()}; then exit 3; else test $? = 1; fi"
                    said.append(run(commands, folder, self.env))
                return said
            case "sh", ("once",):
                return [run(block.text, self.folders["a"], self.env)]
            case "sh", ("run",):
                for name, folder in self.folders.items():
                    self.running.append(self.start(self.on_loopback(block.text, name), folder))
                return []
            case "sh", ("restart",):
                for number, (name, folder) in enumerate(self.folders.items()):
                    last = assert_they_order(self.running, f"before {name} goes")
                    self.stop(number)
                    assert_they_order([each for each in self.running if each.poll() is None], f"without {name}")
                    command = self.on_loopback(block.text, name).replace("LAST", str(last))
                    again = self.running[number] = self.start(command, folder)
                    assert again.stdout is not None
                    assert json.loads(again.stdout.readline())["transactions"] == [f"without {name}"]
                    assert_they_order([again, *self.running], f"with {name} again")
                return []
            case "sh", ("lost",):
                *others, folder = self.folders.values()
                self.stop(len(others))
                shutil.rmtree(folder / "store")
                self.running[-1] = self.start(self.on_loopback(block.text, MACHINES[-1]), folder)
                assert_they_order(self.running[::-1], "what the one without a disk sends")
                return []
            case "sh", ("no-run",):
                assert not re.search("^syncpoint ", block.text, flags=re.MULTILINE), "commands of ours are to be run"
                return []
            case "text", ("peers.txt",):
                text = self.on_loopback(block.text, "a")
                for name, folder in self.folders.items():
                    text = text.replace(f"RECORD-OF-{name.upper()}", (folder / "record.txt").read_text().strip())
                (self.folders["a"] / "peers.txt").write_text(text)
                return []
            case "python", ("no-run",):
                return []
            case other:
                raise AssertionError(f"nobody knows what to do with {other}")

    def stop(self, number: int) -> None:
        """Stop a peer in good order."""
        self.running[number].send_signal(signal.SIGTERM)
        _, err = self.running[number].communicate()
        assert self.running[number].returncode == 0, err

    def start(self, command: str, folder: Path) -> subprocess.Popen[str]:
        """Start a peer with pipes."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            cwd=folder,
            env=self.env,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
        )


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    found = Machines(tmp_path)
    yield found
    for process in found.running:
        process.kill()
        process.communicate()


@pytest.mark.timeout(900)  # some thirty processes, one after the other
@pytest.mark.skipif(sys.platform == "win32", reason="commands for a POSIX shell")
def test_what_it_says_leads_to_a_running_network(machines: Machines) -> None:
    said: dict[str, list[str]] = {}
    for block in blocks():
        printed = machines.do(block)
        said[block.text] = printed
        if block.text.startswith("syncpoint network create"):
            for name in MACHINES[1:]:
                made = (machines.folders["a"] / "network.toml").read_bytes()
                (machines.folders[name] / "network.toml").write_bytes(made)
        if block.words == ("run",):
            assert_they_order(machines.running, "hello")
    keygen = said["syncpoint keygen key.pem\n"]
    assert len({PeerRecord.parse(each) for each in keygen}) == 4
    shown = said["syncpoint network show network.toml\n"]
    assert shown == [shown[0]] * 4
    genesis = Genesis.from_toml(machines.folders["d"] / "network.toml")
    assert genesis.fingerprint in shown[0]
    assert {entry.record for entry in genesis.entries} == {PeerRecord.parse(each) for each in keygen}
    for checked in said["syncpoint check --network network.toml --key key.pem\n"]:
        assert "3 of 3 others would take a link" in checked


def assert_they_order(processes: list[subprocess.Popen[str]], line: str) -> int:
    """The first of them sends a line, and all of them print it; its index."""
    stdin = processes[0].stdin
    assert stdin is not None
    stdin.write(f"{line}\n")
    stdin.flush()
    events = []
    for process in dict.fromkeys(processes):
        assert process.stdout is not None
        while True:
            event = json.loads(process.stdout.readline())
            if event["transactions"] == [line]:
                break
        events.append(event)
    assert events == [events[0]] * len(events)
    index: int = events[0]["index"]
    return index


def names(header: str) -> list[str]:
    """All that stands in backquotes in the first cells of a table."""
    return [name for first, *_ in rows(DOCUMENT, header) for name in re.findall("`([^`]+)`", first)]


def test_every_number_of_the_status_is_explained() -> None:
    assert sorted(names("field")) == sorted(each.name for each in fields(EngineStatus))
    assert sorted(names("field of `consensus`")) == sorted(each.name for each in fields(Status))


def test_every_refusal_is_explained() -> None:
    assert names("refusal") == [each.name for each in Refusal]


def logged() -> list[str]:
    """What the library tells its loggers, at levels that a user sees."""
    found = []
    for path in [PACKAGE / "engine.py", PACKAGE / "stream.py", *sorted((PACKAGE / "runtime").glob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("log.warning", "log.error"):
                found.append(ast.literal_eval(node.args[0]))
    return found


def test_every_message_is_explained() -> None:
    messages = logged()
    assert len(messages) > 5
    told = [first for first, *_ in rows(DOCUMENT, "message")]
    for message in messages:
        pattern = ".*?".join(re.escape(part) for part in re.split("%[sd]", message))
        assert any(re.search(pattern, each) for each in told), message


def test_what_check_looks_at_is_explained() -> None:
    source = "".join((PACKAGE / f"cli/{name}.py").read_text(encoding="utf-8") for name in ("check", "check_members"))
    looked_at = set(re.findall(r'(?:look\(\s*|Finding\(|what = )"([^"]+)"', source))
    told = [name for name in names("line") if name in looked_at]
    assert sorted(told) == sorted(looked_at)
    assert len(looked_at) == 8


def test_every_reason_for_no_answer_is_explained() -> None:
    alert = ssl.SSLError(1, "an alert")
    alert.reason = "TLSV1_ALERT_UNKNOWN_CA"
    reasons = [
        explain(error)
        for error in (
            ConnectionRefusedError(),
            TimeoutError(),
            socket.gaierror(-2, "Name or service not known"),
            ssl.SSLCertVerificationError(1, "no"),
            alert,
        )
    ]
    told = [first for first, *_ in rows(DOCUMENT, "what it says")]
    assert len(told) == len(reasons)
    assert all(reason.startswith(each) for reason, each in zip(reasons, told, strict=True))
