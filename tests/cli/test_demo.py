"""`syncpoint demo` in real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import Start


def demo(start: Start, *args: object, code: int = 0, text: str | None = None) -> dict[str, Any]:
    process = start("demo", "--json", "--rate", 300, *args)
    out, err = process.communicate(text)
    assert process.returncode == code, err
    assert out.count("\n") == 1, "one JSON object, nothing else"
    result: dict[str, Any] = json.loads(out)
    return result


def children_of(process: subprocess.Popen[str]) -> list[int]:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if listed.exists():
        return [int(pid) for pid in listed.read_text().split()]
    out = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in out.stdout.split()]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_running(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert any("running" in line for line in process.stdout)


def test_all_peers_have_the_same_stream(start: Start, poem: Path) -> None:
    result = demo(start, "--input", poem)
    assert result["ok"]
    assert result["problems"] == []
    assert result["lines"] == 60
    assert [each["transactions"] for each in result["results"]] == [60] * 4
    assert len({each["order_hash"] for each in result["results"]}) == 1
    assert len({each["public"] for each in result["results"]}) == 4
    for times in result["latency_ms"].values():
        assert times["count"] == 60
        assert 0 < times["p50"] <= times["p95"] <= times["p99"] <= times["max"]
    assert result["latency_ms"]["submitter"]["p50"] <= result["latency_ms"]["everywhere"]["p50"]
    assert result["core"]["name"] in ("python", "native")


def test_survivors_take_over_the_lines_of_a_killed_peer(start: Start, poem: Path, seed: int) -> None:
    result = demo(start, "--input", poem, "--kill", "--seed", seed)
    kill = result["kill"]
    assert kill["seed"] == seed
    assert kill["at_lines"] >= kill["after_lines"]
    assert kill["taken_over"] is not None
    survived = [each for each in result["results"] if each["survived"]]
    assert [each["transactions"] for each in survived] == [60] * 3
    assert len({each["order_hash"] for each in survived}) == 1
    assert not result["results"][kill["peer"]]["survived"]


def test_the_seed_decides_who_is_killed_and_when() -> None:
    from syncpoint.cli.cluster import Cluster
    from syncpoint.cli.demo_run import DemoRun, Settings

    def kill(seed: int) -> object:
        settings = Settings(
            text=["a"] * 1000, title="a", peers=4, rule="two_step", order="fair", rate=0, kill=True, seed=seed,
            patience_s=1, core="auto",
        )  # fmt: skip
        return DemoRun(settings, Cluster(4, network={}, options={})).kill

    assert kill(7) == kill(7)
    assert len({str(kill(seed)) for seed in range(8)}) > 4


@pytest.mark.parametrize("option", [("--order", "fast"), ("--rule", "three_step")])
def test_every_order_and_rule(start: Start, poem: Path, option: tuple[str, str]) -> None:
    result = demo(start, "--input", poem, *option)
    assert result["ok"]
    assert result[option[0].strip("-")] == option[1]


def test_one_peer_reads_standard_input(start: Start) -> None:
    result = demo(start, "--peers", 1, "--input", "-", text="one\ntwo\n\n")
    assert result["ok"]
    assert result["lines"] == 3
    assert result["text"] == "standard input"


def test_plain_lines_where_there_is_no_terminal(start: Start, poem: Path) -> None:
    process = start("demo", "--input", poem, "--rate", 100, "--peers", 2)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "\x1b" not in out
    lines = out.splitlines()
    assert any("final everywhere" in line and "running" in line for line in lines)
    assert "final everywhere 60/60" in out
    assert sum(line.startswith("peer ") and "order hash" in line for line in lines) == 2
    assert sum(line.startswith("submit to final") for line in lines) == 2
    assert "transactions/s" in out
    assert lines[-1] == "All 2 peers have the same stream: no line lost, none doubled."


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_picture_on_a_terminal(start: Start, poem: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    process = start("demo", "--input", poem, "--rate", 100, "--peers", 2, stdout=theirs)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    text = shown.decode()
    assert "\x1b[" in text
    assert "60/60 lines final everywhere" in text
    assert "●" in text
    assert "all agree up to event" in text
    assert text.rstrip().endswith("none doubled.")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing_behind(start: Start, poem: Path, number: signal.Signals) -> None:
    process = start("demo", "--input", poem, "--rate", 2, "--peers", 2)  # it would take half a minute
    wait_until_running(process)
    children = children_of(process)
    assert len(children) >= 2
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err == ""
    assert not any(map(is_running, children))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_stall_is_told_with_what_the_peers_say(start: Start, poem: Path) -> None:
    process = start("demo", "--input", poem, "--rate", 5, "--patience", 1)
    wait_until_running(process)
    children = children_of(process)
    for child in children[:2]:
        os.kill(child, signal.SIGSTOP)
    out, err = process.communicate()
    assert process.returncode == 3
    assert "FAILED: stalled: lines are outstanding: nothing was delivered for 1 s" in out
    assert '"answers": false' in err
    assert '"closed_round"' in err
    assert "Traceback" not in err
    assert not any(map(is_running, children))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_peer_that_ends_by_itself_is_a_failure(start: Start, poem: Path) -> None:
    process = start("demo", "--input", poem, "--rate", 5, "--peers", 2)
    wait_until_running(process)
    os.kill(children_of(process)[0], signal.SIGKILL)
    out, err = process.communicate()
    assert process.returncode == 1
    assert "ended unexpectedly" in err
    assert "FAILED" in out
    assert "Traceback" not in err


def test_the_shipped_text_is_all_there() -> None:
    from syncpoint.cli.demo import _read

    lines, title = _read(None)
    assert "Alice" in title
    assert len(lines) >= 1000
    assert lines[0].strip() == "ALICE'S ADVENTURES IN WONDERLAND"
    assert lines[-1].strip() == "THE END"
    assert not any("\r" in line or "Gutenberg" in line for line in lines)
