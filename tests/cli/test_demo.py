"""`syncpoint demo` in real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from syncpoint.cli.cluster import Cluster, WorkerPeer
from syncpoint.cli.demo_run import DemoRun, Settings
from syncpoint.cli.points import Point
from syncpoint.cli.streams import Delivery
from syncpoint.cli.worker import line_checksum, line_transaction

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


def assert_same_points(result: dict[str, Any]) -> None:
    points = result["sync_points"]
    assert result["ok"]
    assert points["alike"] >= 1
    assert points["last"]["kind"] == "SESSION"
    assert points["last"]["proposal"] == points["proposed"] - 1
    assert points["last"]["epoch_index"] == points["alike"]


def test_sessions_change_at_the_same_index_on_all_peers(start: Start, poem: Path) -> None:
    result = demo(start, "--input", poem, "--sync-points", "--rate", 20)  # time for two or more proposals
    assert_same_points(result)
    assert result["sync_points"]["not_adopted"] == []
    assert result["sync_points"]["alike"] == result["sync_points"]["proposed"] >= 2


def test_survivors_agree_on_sync_points(start: Start, poem: Path, seed: int) -> None:
    assert_same_points(demo(start, "--input", poem, "--sync-points", "--rate", 20, "--kill", "--seed", seed))


def test_without_sync_points_there_are_none(start: Start, poem: Path) -> None:
    assert demo(start, "--input", poem, "--peers", 1)["sync_points"] is None


def test_plain_lines_tell_of_sessions(start: Start, poem: Path) -> None:
    process = start("demo", "--input", poem, "--rate", 100, "--peers", 2, "--sync-points")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "  first session" in out
    assert "on 2 of 2" in out
    assert "at the same index with the same order hash on all peers, the last at index" in out
    assert out.splitlines()[-1].endswith("each at the same index everywhere.")


def test_different_sync_points_are_a_failure() -> None:
    from syncpoint.cli.demo_result import result_of

    run = doctored_run()
    assert result_of(run)["ok"]
    run.cluster.peers[1].points = [replace(point, index=point.index + 1) for point in run.cluster.peers[1].points]
    result = result_of(run)
    assert not result["ok"]
    assert result["sync_points"]["alike"] == 0
    assert "peers 0 and 1 differ in their sync point 1" in result["problems"][0]


def test_peers_light_up_when_all_are_in_the_same_session() -> None:
    run = doctored_run()
    assert run.sessions is not None
    same = [text.plain for text in run.sessions.picture()]
    assert same[:2] == [f"{number:>4} session abababab  from index 7, sync point 1" for number in (0, 1)]
    assert same[2].strip() == "the same session from the same index on all peers"
    assert {str(text.style) for text in run.sessions.picture()[:2]} == {"bold green"}
    run.cluster.peers[1].points.clear()
    apart = run.sessions.picture()
    assert {str(text.style) for text in apart[:2]} == {"yellow"}
    assert apart[2].plain.strip() == "a session begins"
    assert run.sessions.line() == "session abababab at index 7 on 1 of 2"


def doctored_run() -> DemoRun:
    """A run of two peers without processes, which had one line and one sync point."""
    line = Delivery(3, "hash", (0,), line_checksum([line_transaction(0, "a")]), 0)
    settings = Settings(
        text=["a"], title="a", peers=2, rule="two_step", order="fair", rate=0, kill=False, seed=0,
        patience_s=1, core="auto", sync_points=True,
    )  # fmt: skip
    run = DemoRun(settings, Cluster(2, network={}, options={}))
    for number in range(2):
        points = [Point(7, 1, "SESSION", "ab" * 32, "cd" * 32, 0)]
        process: Any = None  # nothing is asked of it
        run.cluster.peers.append(WorkerPeer(number, process, deliveries=[line], lines=1, points=points))
    assert run.sessions is not None
    run.sessions.last = 0
    return run


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_picture_on_a_terminal(start: Start, poem: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    process = start("demo", "--input", poem, "--rate", 100, "--peers", 2, "--sync-points", stdout=theirs)
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
    assert "the same session from the same index on all peers" in text
    assert text.rstrip().endswith("each at the same index everywhere.")


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
