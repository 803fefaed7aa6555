"""`syncpoint propose`, `vote` and `members` at peers that run, and their control socket."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import json
import os
import shutil
import signal
import socket
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from syncpoint import ArgumentError, KeySecret, PeerRecord, Proposal, SyncPointKind
from syncpoint.cli import control, control_server
from syncpoint.cli.control import MAX_REQUEST_BYTES, ask, check_folder, find_socket, is_trusted
from syncpoint.cli.proposal_view import waiting
from syncpoint.core.config import Network as Settings

from .conftest import TIMEOUT_S, Network, Peers, Start, await_note, command, next_line

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs UNIX sockets")

PROPOSER = KeySecret.generate().public()


def test_a_proposal_is_voted_on_by_hand_and_comes_to_all(start: Start, peers: Peers) -> None:
    group = peers(4)
    proposing = start("propose", "session", "--metadata", "première", "--timeout", 300, "--control", group.paths[0])
    proposal = group.open_proposal(1, 2, 3)
    listed = command("vote", "--control", group.paths[2])
    assert proposal["id"][:16] in listed
    assert "première" in listed
    assert json.loads(command("vote", "--json", "--control", group.paths[3]))["proposals"] == [proposal]
    said = command("vote", proposal["id"][:16], "--control", group.paths[1])
    assert said == f"approved: SESSION {proposal['id']}\n"
    twice = command("vote", proposal["id"], "--control", group.paths[1], code=2)
    assert "a vote cannot be changed" in twice
    assert "Engine" not in twice
    command("vote", proposal["id"].upper(), "--control", group.paths[2])
    out, err = proposing.communicate(timeout=TIMEOUT_S)
    assert proposing.returncode == 0, err
    points = [next_line(process) for process in group.processes]
    assert points == [points[0]] * 4
    point = points[0]
    assert point["sync_point"] == "SESSION"
    assert len(point["approvals"]) == 3
    first = f"SESSION adopted: at index {point['index']} on every peer, sync point 1; 3 peers had approved it"
    assert out.splitlines()[:3] == [first, f"session     {point['session_id']}", f"order hash  {point['order_hash']}"]
    assert sorted(out.splitlines()[3:]) == sorted(f"approved    {key}" for key in point["approvals"])
    assert command("vote", "--control", group.paths[0]) == "no proposal is open\n"
    late = command("vote", proposal["id"], "--control", group.paths[3], code=2)
    assert "0 of the 0 open proposals" in late
    assert "'syncpoint vote' without an id" in late


def test_without_a_policy_a_peer_says_what_waits_for_its_operator(start: Start, peers: Peers, folder: Path) -> None:
    """In one line, with the command that approves it; also at the next start, as long as it is open."""
    group = peers(2, None, "--store", folder / "s")
    assert "SESSION adopted" in command("propose", "SESSION", "--timeout", 300, "--control", group.paths[0])
    changing = start("change", "config", "--gc-depth", 100, "--timeout", 300, "--control", group.paths[0])
    said = await_note(group.processes[1], "is proposed by")
    (proposal,) = ask(group.paths[1], {"do": "proposals"})["proposals"]
    until = datetime.datetime.fromtimestamp(proposal["deadline"] // 10**9, datetime.UTC)
    approves = f"syncpoint vote {proposal['id'][:16]} --control {group.paths[1]}"
    assert said == (
        f"syncpoint: CONFIG is proposed by {proposal['proposer']} until {until:%Y-%m-%d %H:%M:%S} UTC: "
        f"gc_depth = 100 (was 200); to approve it: {approves}\n"
    )
    group.processes[1].terminate()
    assert "is proposed by" not in group.processes[1].communicate(timeout=TIMEOUT_S)[1]
    again = start("run", *group.files[1], "--control", group.paths[1], "--store", folder / "s")
    assert await_note(again, "is proposed by") == said
    assert command(*approves.split()[1:]).startswith("approved: CONFIG")
    out, err = changing.communicate(timeout=TIMEOUT_S)
    assert (changing.returncode, err) == (0, "")
    assert out.startswith("CONFIG adopted")


def test_what_waits_is_said_without_what_would_steer_the_terminal() -> None:
    proposal = Proposal(
        id=bytes(range(32)),
        kind=SyncPointKind.CUSTOM,
        metadata=b"\x1b[2J" + 100 * b"x",
        proposer=PROPOSER,
        deadline=1_700_000_000_999_999_999,
    )
    asks = f"CUSTOM is proposed by {PROPOSER} until 2023-11-14 22:13:20 UTC"
    how = "to approve it: syncpoint vote 0001020304050607 --control '/a b/s'"
    assert waiting(proposal, Settings(), Path("/a b/s")) == f"{asks}: \ufffd[2J{56 * 'x'}; {how}"
    plain = dataclasses.replace(proposal, metadata=b"")
    assert waiting(plain, Settings(), None) == f"{asks}; to approve it: start with --control PATH"


def test_so_many_refusals_that_nothing_comes_of_it(start: Start, peers: Peers) -> None:
    group = peers()
    proposing = start("propose", "CUSTOM", "--timeout", 300, "--control", group.paths[0])
    proposal = group.open_proposal(1)
    assert command("vote", "--refuse", proposal["id"], "--control", group.paths[1]).startswith("refused: CUSTOM")
    out, err = proposing.communicate(timeout=TIMEOUT_S)
    assert proposing.returncode == 1
    assert out == ""
    assert err.startswith("syncpoint: REFUSED: the proposal was not adopted: so many peers refused it")


def test_a_policy_refuses_for_its_owner(peers: Peers) -> None:
    group = peers(approve="none")
    assert "REFUSED" in command("propose", "SNAPSHOT", "--timeout", 300, "--control", group.paths[0], code=1)


def test_a_policy_approves_the_end_which_ends_all_peers_and_their_sockets(peers: Peers) -> None:
    group = peers(approve="all")
    assert "END adopted" in command("propose", "end", "--timeout", 300, "--control", group.paths[0])
    last = []
    for process in group.processes:
        out, err = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, err
        last.append(json.loads(out.splitlines()[-1]))
    assert last == [last[0]] * 2
    assert last[0]["sync_point"] == "END"
    assert not any(path.exists() for path in group.paths)


def test_a_peer_that_ends_tells_those_that_wait(start: Start, peers: Peers) -> None:
    group = peers()
    proposing = start("propose", "SESSION", "--timeout", 300, "--control", group.paths[0])
    group.open_proposal(1)
    group.processes[0].terminate()
    _, err = proposing.communicate(timeout=TIMEOUT_S)
    assert proposing.returncode == 2
    assert "the peer ended before it was known what comes of the proposal, which stands" in err


def test_whoever_waits_no_more_leaves_the_proposal(start: Start, peers: Peers) -> None:
    group = peers()
    proposing = start("propose", "SESSION", "--timeout", 300, "--control", group.paths[0])
    proposal = group.open_proposal(1)
    seen = json.loads(command("members", "--json", "--control", group.paths[1]))
    assert [each["peer"] for each in seen["members"]] == [0, 1]
    (own,), (other,) = ([each for each in seen["members"] if each["own"] is is_own] for is_own in (True, False))
    assert (seen["n"], seen["f"], seen["q"], seen["has_quorum"]) == (2, 0, 2, True)
    assert (own["linked"], own["proposals"], own["active"]) == (False, 0, True)
    assert (other["linked"], other["proposals"], other["active"]) == (True, 1, True)
    assert other["key"] == proposal["proposer"]
    assert min(own["newest_round"], other["newest_round"]) >= 1
    assert other["address"].startswith("127.0.0.1:")
    said = command("members", "--control", group.paths[1])
    assert "a quorum is 2: there is one" in said
    assert "this peer" in said
    assert said.count("yes") == 3  # linked, and active
    proposing.send_signal(signal.SIGINT)
    _, err = proposing.communicate(timeout=TIMEOUT_S)
    assert proposing.returncode == 130
    assert err == "syncpoint: waits no more; if the proposal was sent, it stands\n"
    assert "approved" in command("vote", proposal["id"], "--control", group.paths[1])
    assert next_line(group.processes[0])["sync_point"] == "SESSION"


def test_a_peer_alone_has_no_quorum_and_says_so(start: Start, network: Network, folder: Path) -> None:
    process = start("run", *network(4)[0], "--control", folder / "s")
    await_note(process, "control socket")
    assert "there is none, so nothing is ordered" in command("members", "--control", folder / "s")


@pytest.mark.parametrize("stored", [True, False])
def test_the_socket_lies_where_the_peer_has_its_files(
    start: Start, network: Network, folder: Path, stored: bool
) -> None:
    ((*files,),) = network(1)
    key = folder / "key.pem"
    shutil.copy(files[3], key)
    place = folder / "store" if stored else folder
    options = ["--store", place] if stored else []
    process = start("run", *files[:3], key, *options)
    path = Path(await_note(process, "control socket").split()[-1])
    name = f"{str(KeySecret.load(key).public())[:12]}.sock" if stored else "key.pem.sock"
    assert path == place / name
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
    assert "EPOCH adopted" in command("propose", "EPOCH", "--store", place)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_dead_peers_socket_is_replaced_and_a_living_ones_is_not(start: Start, network: Network, folder: Path) -> None:
    ((*files,),) = network(1)
    path = folder / "s"
    dead = start("run", *files, "--control", path)
    await_note(dead, "control socket")
    dead.kill()
    dead.wait()
    assert path.exists()
    assert "any more: start it again" in command("members", "--control", path, code=2)
    living = start("run", *files, "--control", path)
    await_note(living, "control socket")
    second = start("run", *files, "--listen", "127.0.0.1:0", "--control", path)
    _, err = second.communicate(timeout=TIMEOUT_S)
    assert second.returncode == 2
    assert f"{path} is the control socket of a peer that runs: give this one another --control PATH" in err
    assert "peers of" in command("members", "--control", path)


def test_what_is_no_socket_is_left_alone(start: Start, network: Network, folder: Path) -> None:
    path = folder / "precious"
    path.write_text("mine")
    process = start("run", *network(1)[0], "--control", path)
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 2
    assert "is there and is no socket: give --control another path" in err
    assert path.read_text() == "mine"


def test_a_path_that_is_too_long_for_a_socket(start: Start, network: Network, folder: Path) -> None:
    ((*files,),) = network(1)
    deep = folder / ("x" * 120)
    deep.mkdir()
    process = start("run", *files, "--control", deep / "s")
    assert "too many for a socket: give --control a shorter path" in process.communicate(timeout=TIMEOUT_S)[1]
    assert process.returncode == 2
    # Where nobody asked for one, the peer runs without.
    process = start("run", *files, "--store", deep / "store", "--exit-when-idle", 0)
    _, err = process.communicate("", timeout=TIMEOUT_S)
    assert process.returncode == 0, err
    assert "no control socket, so no 'syncpoint propose'" in err


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
def test_a_folder_in_which_others_may_write_is_refused(start: Start, network: Network, folder: Path) -> None:
    shared = folder / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    process = start("run", *network(1)[0], "--control", shared / "s")
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 2
    assert "others may write in" in err
    with pytest.raises(ArgumentError, match="chmod go-w"):
        ask(shared / "s", {"do": "members"})
    shared.chmod(0o1777)  # there nobody can remove what is not theirs
    check_folder(shared)


BAD_QUESTIONS = [
    b"x" * (MAX_REQUEST_BYTES + 1),
    b"x" * MAX_REQUEST_BYTES + b"\n",
    b'{"do":"propose","kind":"SESSION","metadata":"!","timeout":1}\n',
    b'{"do":"propose","kind":"SESSION","metadata":"","timeout":NaN}\n',
    b'{"do":"propose","kind":"MEMBERSHIP","metadata":"","timeout":1}\n',
    b'{"do":"propose","kind":"NOTHING","metadata":"","timeout":1}\n',
    b'{"do":"propose","kind":"SESSION","metadata":"","timeout":"1"}\n',
    b'{"do":"change","what":"add","timeout":1,"address":"h:1","record":"","capabilities":[]}\n',
    b'{"do":"change","what":"add","timeout":1,"address":"h:1","record":"RECORD","capabilities":["none"]}\n',
    b'{"do":"change","what":"add","timeout":1,"address":"h:1","record":"RECORD","capabilities":[[]]}\n',
    b'{"do":"change","what":"remove","timeout":NaN,"key":""}\n',
    b'{"do":"change","what":"rotate","timeout":1,"file":"/"}\n',
    b'{"do":"change","what":"config","timeout":1,"settings":{"none":1}}\n',
    b'{"do":"change","what":"config","timeout":1,"settings":{"name":"other"}}\n',
    b'{"do":"change","what":"config","timeout":1,"settings":{"gc_depth":"much"}}\n',
    b'{"do":"change","what":"all","timeout":1}\n',
    b'{"do":"vote","proposal":"","approve":true}\n',
    b'{"do":"vote","proposal":"00000000","approve":1}\n',
    b"[" * 10_000 + b"\n",
    b"{}\n",
    b"\xff\n",
    b"\n",
]


def test_a_peer_survives_every_question(running: Path) -> None:
    record = str(PeerRecord.of(KeySecret.generate())).encode()
    for line in BAD_QUESTIONS:
        line = line.replace(b"RECORD", record)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.connect(str(running))
            connection.sendall(line)
            said = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(4096):
                    said += piece
        assert said == b"" if len(line) > MAX_REQUEST_BYTES else "error" in json.loads(said), (line[:80], said)
        assert ask(running, {"do": "members"})["n"] == 1


def test_so_many_connections_and_no_more(running: Path) -> None:
    from syncpoint.cli.control_server import MAX_CONNECTIONS

    silent = [socket.socket(socket.AF_UNIX) for _ in range(MAX_CONNECTIONS)]
    try:
        for each in silent:
            each.connect(str(running))
        with pytest.raises(ArgumentError, match="has no room for another question"):
            ask(running, {"do": "members"})
    finally:
        for each in silent:
            each.close()


def test_another_users_socket_is_not_told_anything(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "s"
    monkeypatch.setattr(control, "is_trusted", lambda connection: False)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid or 1)
    monkeypatch.setattr(control, "check_folder", lambda folder: None)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        with pytest.raises(ArgumentError, match="another user listens there"):
            ask(path, {"do": "members"})


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="the system does not tell who connects")
def test_our_own_user_and_root_are_trusted_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def trusts(user: int) -> bool:
        connection: Any = SimpleNamespace(getsockopt=lambda *_: struct.pack("3i", 1, user, 77))
        return is_trusted(connection)

    monkeypatch.setattr(os, "geteuid", lambda: 77)
    assert trusts(77)
    assert trusts(0)
    assert not trusts(78)


async def test_a_stranger_gets_no_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Any = None  # nothing is asked of engine and network
    monkeypatch.setattr(control_server, "is_trusted", lambda connection: False)
    async with control_server.controlled(folder / "s", True, nothing, nothing):
        reader, writer = await asyncio.open_unix_connection(folder / "s")
        writer.write(b"{}\n")  # anybody else is told that this is no question
        said = b""
        with contextlib.suppress(ConnectionError):
            said = await reader.read()
        assert said == b""
        writer.close()


def test_which_socket_is_meant(folder: Path) -> None:
    assert find_socket(folder / "a", None) == folder / "a"
    for given, says in (
        ((folder / "a", folder), "are both given"),
        ((None, None), "which peer\\? give --store"),
        ((None, folder / "none"), "is no folder"),
        ((None, folder), "no peer runs with .*there is no control socket in it"),
    ):
        with pytest.raises(ArgumentError, match=says):
            find_socket(*given)
    (folder / "a.sock").touch()
    assert find_socket(None, folder) == folder / "a.sock"
    (folder / "b.sock").touch()
    with pytest.raises(ArgumentError, match=r"2 control sockets: give --control with one of .*a\.sock, .*b\.sock"):
        find_socket(None, folder)
