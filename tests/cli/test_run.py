"""`syncpoint init` and `syncpoint run`: peers between standard input and standard output."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from syncpoint import Genesis, KeyPublic
from syncpoint.address import parse_address
from syncpoint.cli.loop import Loop, run_on

from .conftest import Start

Network = Callable[..., list[list[str]]]

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and terminals")


def events(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def transactions(out: str) -> list[str | None]:
    return [each for event in events(out) for each in event["transactions"]]


def test_four_peers_print_the_same_stream(start: Start, network: Network) -> None:
    files = network(4, "--name", 'a "quoted" name', "--rule", "three_step", "--order", "fast")
    processes = [start("run", *each, "--count", 4 * 50) for each in files]
    for number, process in enumerate(processes):
        assert process.stdin is not None
        process.stdin.write("".join(f"peer {number} line {line}\n" for line in range(49)) + f"no end {number}")
        process.stdin.close()
        process.stdin = None
    results = [process.communicate() for process in processes]
    for process, (_, err) in zip(processes, results, strict=True):
        assert process.returncode == 0, err
    outs = [out for out, _ in results]
    assert outs.count(outs[0]) == 4
    sent = {f"peer {number} line {line}" for number in range(4) for line in range(49)}
    received = transactions(outs[0])
    assert len(received) == 200
    assert set(received) == sent | {f"no end {number}" for number in range(4)}
    for number in range(4):  # each peer's own stay in their order
        own = [each for each in received if each is not None and each.startswith(f"peer {number} ")]
        assert own == [f"peer {number} line {line}" for line in range(49)]
    stream = events(outs[0])
    assert [event["index"] for event in stream] == sorted({event["index"] for event in stream})
    assert all(len(bytes.fromhex(event["order_hash"])) == 32 for event in stream)
    for event in stream:
        KeyPublic.parse(event["creator"])


@posix
def test_a_conversation_until_sigterm(start: Start, network: Network) -> None:
    processes = [start("run", *each) for each in network(4)]
    first, last = processes[0], processes[3]
    assert first.stdin is not None
    assert last.stdin is not None
    first.stdin.write("ping\n")
    first.stdin.flush()
    for process in processes:
        assert process.stdout is not None
        assert transactions(process.stdout.readline()) == ["ping"]  # flushed at once
    last.stdin.write("pong\n")
    last.stdin.flush()
    for process in processes:
        assert process.stdout is not None
        assert transactions(process.stdout.readline()) == ["pong"]
    for process, number in zip(processes, [signal.SIGTERM, signal.SIGINT] * 2, strict=True):
        process.send_signal(number)
    for process in processes:
        _, err = process.communicate()
        assert process.returncode == 0
        assert "stopped: 2 transactions delivered" in err
        assert "Traceback" not in err


def test_a_file_as_input_until_idle(start: Start, network: Network, tmp_path: Path) -> None:
    lines = [b"text", b"", b"\xff\xfe", b"x" * 100_000] * 3
    path = tmp_path / "input"
    path.write_bytes(b"\n".join(lines) + b"\n")
    with path.open("rb") as file:
        process = start("run", *network(1)[0], "--exit-when-idle", 0.2, stdin=file)
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert transactions(out) == ["text", "", None, "x" * 100_000] * 3
    binary = [each for event in events(out) for each in event.get("base64", {}).values()]
    assert binary == ["//4="] * 3


def test_no_input_at_all(start: Start, network: Network) -> None:
    process = start("run", *network(1)[0], "--exit-when-idle", 0, "--all", stdin=subprocess.DEVNULL)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert transactions(out) == []


@posix
def test_a_terminal_as_input(start: Start, network: Network) -> None:
    import pty

    ours, theirs = pty.openpty()
    process = start("run", *network(1)[0], "--exit-when-idle", 0.1, stdin=theirs)
    os.close(theirs)
    os.write(ours, b"typed\n")
    assert process.stdout is not None
    assert transactions(process.stdout.readline()) == ["typed"]
    os.write(ours, b"\x04")  # Ctrl-D
    _, err = process.communicate()
    os.close(ours)
    assert process.returncode == 0, err


@posix
def test_whoever_reads_it_may_go_away(start: Start, network: Network) -> None:
    process = start("run", *network(1)[0])
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    process.stdin.write("to nobody\n")
    process.stdin.flush()
    process.stdout = None
    _, err = process.communicate()
    assert process.returncode == 1
    assert err.splitlines()[-1] == "syncpoint: standard output was closed by whoever read it"
    assert "Traceback" not in err


def test_a_peer_listens_elsewhere_than_its_address(start: Start, network: Network) -> None:
    files = network(1)[0]
    with socket.socket() as taken:  # by whatever passes links on to the peer
        taken.bind(parse_address(Genesis.from_toml(Path(files[1])).entries[0].address))
        taken.listen()
        process = start("run", *files, "--exit-when-idle", 0, stdin=subprocess.DEVNULL)
        _, err = process.communicate()
        assert process.returncode == 2, err
        assert "cannot listen at" in err
        process = start("run", *files, "--listen", "127.0.0.1:0", "--exit-when-idle", 0, stdin=subprocess.DEVNULL)
        _, err = process.communicate()
        assert process.returncode == 0, err
        assert f"({Genesis.from_toml(Path(files[1])).fingerprint}) listens at 127.0.0.1:" in err


@posix
def test_peers_on_both_event_loops_print_the_same_stream(start: Start, network: Network) -> None:
    pytest.importorskip("uvloop")
    processes = [
        start("run", *each, "--loop", loop) for each, loop in zip(network(4), ["asyncio", "uvloop"] * 2, strict=True)
    ]
    streams: list[list[str | None]] = []
    for number, process in enumerate(processes):
        assert process.stdin is not None
        process.stdin.write(f"from {number}\n")
        process.stdin.flush()
    for process in processes:
        assert process.stdout is not None
        received: list[str | None] = []
        while len(received) < 4:
            line = process.stdout.readline()
            assert line, "it ended early"
            received += transactions(line)
        streams.append(received)
    for process in processes:
        process.terminate()
        _, err = process.communicate()
        assert process.returncode == 0, err
        assert "Traceback" not in err
    assert streams == [streams[0]] * 4
    assert set(streams[0]) == {f"from {number}" for number in range(4)}


@posix
def test_the_event_loop_is_the_one_that_was_asked_for() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def which() -> type:
        return type(asyncio.get_running_loop())

    assert run_on(Loop.UVLOOP, which()) is uvloop.Loop
    assert run_on(Loop.ASYNCIO, which()).__module__.startswith("asyncio.")


def test_a_peer_with_a_store_goes_on_where_it_was(start: Start, network: Network, tmp_path: Path) -> None:
    ((*files,),) = network(1)
    store = ["--store", tmp_path / "stores", "--linger", 0]
    first, err = start("run", *files, *store, "--count", 2).communicate("one\ntwo\n", 60)
    assert transactions(first) == ["one", "two"], err
    last = events(first)[-1]["index"]
    second, err = start("run", *files, *store, "--count", 3).communicate("three\n", 60)
    assert transactions(second) == ["one", "two", "three"], err
    assert events(second)[: len(events(first))] == events(first)
    third, err = start("run", *files, *store, "--count", 2, "--resume-after", last).communicate("four\n", 60)
    assert transactions(third) == ["three", "four"], err
    refused = start("run", *files, "--resume-after", 3)
    assert "nothing is stored" in refused.communicate("", 60)[1]
    assert refused.returncode == 2


def test_a_peer_can_be_told_that_its_store_was_lost(start: Start, network: Network, tmp_path: Path) -> None:
    ((*files,),) = network(1)
    store = ["--store", tmp_path / "stores", "--linger", 0, "--count", 1]
    for told in (False, True):
        options = ["--joining-running-session"] if told else []
        out, err = start("run", *files, *store, *options).communicate("one\n", 60)
        assert transactions(out)[0] == "one", err
        assert ("own events may be missing" in err) == told
