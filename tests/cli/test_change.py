"""`syncpoint change`, `run --joins` and `run --next-key`: members, keys and settings of peers that run."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from syncpoint import KeySecret, PeerRecord
from syncpoint.cli.control import ask

from .conftest import TIMEOUT_S, Network, Peers, Process, Start, await_note, command, next_line, say

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs UNIX sockets")

RECORD = PeerRecord.of(KeySecret.generate())


class Joiner:
    """A peer that runs and has to be let in."""

    def __init__(self, start: Start, network: Path, folder: Path, approve: str) -> None:
        key, self.path = folder / "new.pem", folder / "new"
        self.record = command("keygen", key).split()[-1]
        self.public = str(PeerRecord.parse(self.record).public)
        files = ["--network", network, "--key", key, "--listen", "127.0.0.1:0"]
        self.process = start("run", *files, "--joins", "--control", self.path, "--approve", approve)
        self.address = await_note(self.process, "listens at").split("listens at ")[1].split(",")[0]
        await_note(self.process, "control socket")


def members_of(path: Path) -> list[dict[str, Any]]:
    """The members as a peer has them."""
    members: list[dict[str, Any]] = ask(path, {"do": "members"})["members"]
    return members


def end_of(process: Process) -> str:
    """What a command says that ends well."""
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, err
    return out


def test_a_fifth_peer_is_voted_in_delivers_the_same_and_is_voted_out(
    start: Start, peers: Peers, folder: Path, tmp_path: Path
) -> None:
    group = peers(4)
    say(group.processes[0], "before it")
    before = [next_line(process) for process in group.processes]
    joiner = Joiner(start, tmp_path / "net" / "network.toml", folder, "ask")
    outside = command("change", "config", "--gc-depth", 100, "--control", joiner.path, code=2)
    assert "is no member of this network" in outside
    assert outside.endswith(": members let it in with 'syncpoint change add'\n")

    adding = start(
        *("change", "add", joiner.address, joiner.record, "--capability", "public"),
        *("--timeout", 300, "--control", group.paths[0]),
    )
    proposal = group.open_proposal(1, 2, 3)
    assert proposal["changes"] == f"lets in {joiner.public} at {joiner.address} public"
    assert joiner.address in command("vote", "--control", group.paths[3])
    for number in (1, 2):
        command("vote", proposal["id"], "--control", group.paths[number])
    said = end_of(adding)
    assert said.startswith("MEMBERSHIP adopted: at index ")
    assert f"joined      {joiner.public}" in said.splitlines()

    everybody = [*group.processes, joiner.process]
    assert next_line(joiner.process) == before[0], "who joins gets what was before"
    points = [next_line(process) for process in everybody]
    assert points == [points[0]] * 5
    assert points[0]["joined"] == [joiner.public]
    say(joiner.process, "from the fifth")
    events = [next_line(process) for process in everybody]
    assert events == [events[0]] * 5
    assert events[0]["creator"] == joiner.public
    (own,) = (member for member in members_of(joiner.path) if member["own"])
    assert (own["key"], own["address"], own["capabilities"]) == (joiner.public, joiner.address, ["public"])

    removing = start("change", "remove", joiner.public, "--timeout", 300, "--control", group.paths[1])
    proposal = group.open_proposal(0, 2, 3)
    assert proposal["changes"] == f"removes {joiner.public}"
    for number in (0, 2, 3):
        command("vote", proposal["id"], "--control", group.paths[number])
    assert f"left        {joiner.public}" in end_of(removing).splitlines()
    points = [next_line(process) for process in everybody]
    assert points == [points[0]] * 5
    assert points[0]["left"] == [joiner.public]
    say(group.processes[3], "after it")
    events = [next_line(process) for process in group.processes]
    assert events == [events[0]] * 4
    assert [member["key"] for member in members_of(group.paths[0])].count(joiner.public) == 0


def test_what_was_just_decided_is_not_decided_again(start: Start, peers: Peers, folder: Path, tmp_path: Path) -> None:
    group = peers(4, "all")
    joiner = Joiner(start, tmp_path / "net" / "network.toml", folder, "all")
    said = command("change", "add", joiner.address, joiner.record, "--control", group.paths[0])
    again = command("change", "add", joiner.address, joiner.record, "--control", group.paths[1])
    assert again == said


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_peer_gets_another_key_and_starts_with_both(start: Start, peers: Peers, folder: Path) -> None:
    store = ("--store", folder / "stores")
    group = peers(4, "all", *store)
    key = folder / "next.pem"
    command("keygen", key)
    said = command("change", "rotate", key, "--control", group.paths[3])
    old, new = next(line.split()[1::2] for line in said.splitlines() if line.startswith("rotated"))
    assert new == str(KeySecret.load(key).public()) != old
    points = [next_line(process) for process in group.processes]
    assert [point["rotated"] for point in points] == [[f"{old} by {new}"]] * 4

    group.processes[3].send_signal(signal.SIGTERM)
    assert end_of(group.processes[3]) == ""
    again = start("run", *group.files[3], "--next-key", key, "--control", group.paths[3], *store)
    assert next_line(again) == points[3], "it goes on from its store"
    say(again, "with the new key")
    events = [next_line(process) for process in (*group.processes[:3], again)]
    assert events == [events[0]] * 4
    assert events[0]["creator"] == new
    assert [member["key"] for member in members_of(group.paths[3]) if member["own"]] == [new]


def test_settings_are_shown_and_refused_and_changed(start: Start, peers: Peers) -> None:
    group = peers()
    for refuse in (["--refuse"], []):
        config = ("change", "config", "--gc-depth", 100, "--order", "fair", "--timeout", 300)
        changing = start(*config, "--control", group.paths[0])
        proposal = group.open_proposal(1)
        assert proposal["changes"] == "gc_depth = 100 (was 200)", "what stays is not said"
        command("vote", *refuse, proposal["id"], "--control", group.paths[1])
        if refuse:
            out, err = changing.communicate(timeout=TIMEOUT_S)
            assert (changing.returncode, out) == (1, "")
            assert err.startswith("syncpoint: REFUSED: ")
        else:
            assert end_of(changing).startswith("CONFIG adopted: at index ")
    assert [next_line(process)["sync_point"] for process in group.processes] == ["CONFIG"] * 2


def test_f_is_set_and_left_to_the_members_again(start: Start, peers: Peers) -> None:
    group = peers(4)
    for word, changes, voters in (("0", "f = 0 (was auto)", [1, 2]), ("auto", "f = auto (was 0)", [1, 2, 3])):
        changing = start("change", "config", "--f", word, "--timeout", 300, "--control", group.paths[0])
        proposal = group.open_proposal(1, 2, 3)
        assert proposal["changes"] == changes
        for number in voters:  # a quorum is n - f
            command("vote", proposal["id"], "--control", group.paths[number])
        assert end_of(changing).startswith("CONFIG adopted: at index ")
        assert ask(group.paths[0], {"do": "members"})["f"] == (0 if word == "0" else 1)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("change", "add", "nowhere", RECORD), "host:port"),
        (("change", "add", "127.0.0.1:1", "x"), "peer record"),
        (("change", "add", "127.0.0.1:1", RECORD, "--capability", "fast"), "'fast' is no capability: give one of no_o"),
        (("change", "remove", "x"), "x"),
        (("change", "rotate", "/no/such/file"), "/no/such/file"),
        (("change", "config"), "nothing changes: give one of rule, order, f, gc_depth, max_ahead, epoch_ms"),
        (("change", "config", "--gc-depth", 1), "give 4 to 10000"),
        (("change", "config", "--f", "most"), "--f is 'most': give a whole number, or auto for as many as the members"),
        (("change", "config", "--f", "1.5"), "--f is '1.5': give a whole number, or auto"),
        (("change", "config", "--f", 99), "Network.f is 99: give 0 to 42"),
    ],
)
def test_a_change_that_is_none_is_refused_before_anybody_is_asked(args: tuple[object, ...], said: str) -> None:
    assert said in command(*args, "--control", "/no/such/socket", code=2)


def test_what_cannot_be_is_refused_by_the_peer(running: Path, tmp_path: Path) -> None:
    (own,) = members_of(running)
    own_record = PeerRecord.of(KeySecret.load(tmp_path / "net" / "peer0" / "key.pem"))
    for args, says in (
        (("add", own["address"], own_record), "is a member"),
        (("remove", RECORD.public), f"{RECORD.public} is none of the 1 members"),
        (("remove", own["key"]), f"without {own['key']} nobody would order"),
        (
            ("config", "--f", 1),
            "f would be 1, which takes 4 members that order, and there are 1: give 0 at most, or auto",
        ),
        (("config", "--gc-depth", 200), "these are the settings already"),
    ):
        said = command("change", *args, "--control", running, code=2)
        assert says in said
        assert "Engine" not in said


def test_who_is_to_join_says_so_and_where_it_listens(network: Network, folder: Path) -> None:
    ((*files,),) = network(1)
    command("keygen", folder / "new.pem")
    stranger = (*files[:3], folder / "new.pem")
    assert "'syncpoint run' --joins, to be let in by 'syncpoint change add'" in command("run", *stranger, code=2)
    assert "as we join: give --listen HOST:PORT" in command("run", *stranger, "--joins", code=2)
    assert "/no/such/file is not there" in command("run", *files, "--next-key", "/no/such/file", code=2)
