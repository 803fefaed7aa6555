"""`syncpoint check`: what it says of our own files, and of each other peer, and that it disturbs nobody."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from syncpoint import Genesis, KeySecret, PeerCapabilities, PeerRecord
from syncpoint.address import parse_address
from syncpoint.cli import check
from syncpoint.cli.app import app
from syncpoint.cli.control import ask
from syncpoint.runtime.hello import Refusal
from syncpoint.runtime.links import LinkPeer
from syncpoint.runtime.probe import Probe

from .conftest import Peers, Start, await_note, command
from .test_misuse import refused

Network = Callable[..., list[list[str]]]

MS = 1_000_000
GOOD = Probe(round_trip_ns=2 * MS, clock_offset_ns=-1 * MS, address="127.0.0.1:1")


def checked(*args: object) -> tuple[int, str]:
    """Exit code, and what is said on standard output, without the lines of the tables and as if it were one line."""
    result = CliRunner().invoke(app, ["check", *map(str, args)], env={"COLUMNS": "240"})
    assert result.exit_code in (0, 1), result.output
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert result.stderr == ""
    return result.exit_code, " ".join(re.sub("[\u2500-\u257f]", " ", result.stdout).split())


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[LinkPeer]]:
    """Have the others answer so, in their order; returns those that were asked."""

    def answer(*probes: Probe) -> list[LinkPeer]:
        asked: list[LinkPeer] = []

        async def fake(
            seed: bytes,
            network_id: bytes,
            keys: Sequence[bytes],
            peer: LinkPeer,
            max_frame_bytes: int,
            timeout_s: float,
        ) -> Probe:
            asked.append(peer)
            assert timeout_s == 3.0
            assert bytes(KeySecret(seed).public()) in keys
            return probes[len(asked) - 1]

        monkeypatch.setattr(check, "probe", fake)
        return asked

    return answer


def numbered(files: Sequence[str]) -> tuple[Genesis, int]:
    """The network of a peer's files, and its number there."""
    genesis = Genesis.from_toml(Path(files[1]))
    return genesis, genesis.peers().index(KeySecret.load(files[3]).public())


def rewrite(files: Sequence[str], *, public: Sequence[int] = (), observers: Sequence[int] = ()) -> None:
    """Mark peers as public, or as observers, in the network file."""
    genesis = Genesis.from_toml(Path(files[1]))
    entries = [
        replace(entry, capabilities=PeerCapabilities(public=number in public, no_order=number in observers))
        for number, entry in enumerate(genesis.entries)
    ]
    Path(files[1]).write_bytes(replace(genesis, entries=tuple(entries)).to_toml().encode())


# What others answer


def test_all_is_well(network: Network, answers: Any) -> None:
    files = network(4)[0]
    asked = answers(GOOD, GOOD, GOOD)
    code, said = checked(*files)
    assert code == 0, said
    genesis, own = numbered(files)
    others = [(number, entry) for number, entry in enumerate(genesis.entries) if number != own]
    assert asked == [LinkPeer(n, bytes(each.public), *parse_address(each.address)) for n, each in others]
    for number, each in others:
        assert f" {number} {each.address} 127.0.0.1:1 ok 2.0 ms -1.0 ms nothing to do" in said or (
            f" {number} {each.address} ok 2.0 ms -1.0 ms nothing to do 127.0.0.1:1" in said
        )
    assert (
        f"network file ok 'syncpoint' in its one form, 4 peers; compare with the others: {genesis.fingerprint}" in said
    )
    assert f"key file ok for its owner alone; {genesis.entries[own].public}" in said
    assert f"our peer ok number {own}, at {genesis.entries[own].address}" in said
    assert f"listening ok {genesis.entries[own].address} is free" in said
    assert "our clock ok +1.0 ms against the median of 3 others" in said
    assert "3 of 3 others would take a link. Within reach, with us: 4 of 4 that order; a quorum is 3." in said


@pytest.mark.parametrize("refusal", Refusal)
def test_a_refusal_says_what_to_do(network: Network, answers: Any, refusal: Refusal) -> None:
    answers(GOOD, Probe(refusal=refusal, round_trip_ns=MS, address="127.0.0.1:1"), GOOD)
    code, said = checked(*network(4)[0])
    assert code == 1
    assert f"{refusal.name}: {refusal.advice}" in said.replace(" 127.0.0.1:1", "")
    assert "2 of 3 others would take a link. Within reach, with us: 3 of 4 that order; a quorum is 3." in said


def test_a_peer_that_is_not_reached(network: Network, answers: Any) -> None:
    answers(Probe(error="the name of its host is unknown"), GOOD, Probe(error="nothing listens"))
    code, said = checked(*network(4)[0])
    assert code == 1
    assert "failed the name of its host is unknown" in said
    assert "failed nothing listens" in said
    assert "against the median of 1 others" in said
    assert "1 of 3 others would take a link. Within reach, with us: 2 of 4 that order; a quorum is 3." in said


def test_a_peer_that_was_reached_and_did_not_answer_is_asked_again(network: Network, answers: Any) -> None:
    """It may show an old key of its own, and the new one the next time."""
    files = network(2)[0]
    other = Probe(error="who answers has no certificate of a peer of this network", address="127.0.0.1:1")
    asked = answers(other, other, GOOD)
    assert checked(*files)[0] == 0
    assert len(asked) == 3
    asked = answers(other, other, other)
    assert checked(*files)[0] == 1
    assert len(asked) == 3


def test_clocks_that_differ_are_noted_and_no_fault(network: Network, answers: Any) -> None:
    """Agreement does not depend on them, so they are no reason to stay down."""
    late = replace(GOOD, clock_offset_ns=-5000 * MS)
    answers(late, late, GOOD)
    code, said = checked(*network(4)[0])
    assert code == 0
    assert said.count("note 2.0 ms -5000.0 ms its clock and ours differ: let NTP set both") == 2
    assert "our clock note +5000.0 ms against the median of 3 others: let NTP set it" in said


def test_a_clock_is_not_blamed_for_a_long_way(network: Network, answers: Any) -> None:
    """The offset is only known to within half a round trip."""
    far = replace(GOOD, round_trip_ns=2000 * MS, clock_offset_ns=1000 * MS)
    answers(far, GOOD, GOOD)
    code, said = checked(*network(4)[0])
    assert code == 0
    assert "its clock and ours differ" not in said


def test_who_is_not_public_need_not_be_reached_where_others_are(network: Network, answers: Any) -> None:
    files = network(4)[0]
    own = numbered(files)[1]
    others = [number for number in range(4) if number != own]
    rewrite(files, public=[own, others[0], others[1]])
    answers(GOOD, GOOD, Probe(error="nothing listens"))
    code, said = checked(*files)
    assert code == 0
    assert "note not public, so it dials the public peers, and this is no fault by itself: nothing listens" in said
    assert "2 of 3 others would take a link" in said
    answers(GOOD, Probe(error="nothing listens"), GOOD)
    assert checked(*files)[0] == 1


def test_observers_are_numbered_last_and_count_in_no_quorum(network: Network, answers: Any) -> None:
    files = network(5)[0]
    own = numbered(files)[1]
    observer = 0 if own != 0 else 1
    rewrite(files, observers=[observer])
    genesis, number = numbered(files)
    asked = answers(GOOD, Probe(error="nothing listens"), GOOD, GOOD)
    said = checked(*files)[1]
    assert [(peer.creator, peer.key) for peer in asked] == [
        (place, bytes(peer.public)) for place, peer in enumerate(genesis.peers()) if place != number
    ]
    assert "3 of 4 others would take a link. Within reach, with us: 3 of 4 that order; a quorum is 3." in said
    rewrite(files, observers=[number])
    answers(GOOD, GOOD, GOOD, GOOD)
    assert "4 of 4 others would take a link. Within reach, with us: 4 of 4 that order" in checked(*files)[1]


def test_a_network_of_one(network: Network, answers: Any) -> None:
    asked = answers()
    code, said = checked(*network(1)[0])
    assert code == 0
    assert asked == []
    assert "the other peers" not in said
    assert "0 of 0 others would take a link. Within reach, with us: 1 of 1 that order; a quorum is 1." in said


def test_an_ipv6_address_is_shown_as_it_is(network: Network, answers: Any) -> None:
    """And not taken for markup."""
    files = network(2)[0]
    genesis, own = numbered(files)
    entries = [replace(e, address="[fd00::1]:9001") if n != own else e for n, e in enumerate(genesis.entries)]
    Path(files[1]).write_bytes(replace(genesis, entries=tuple(entries)).to_toml().encode())
    asked = answers(GOOD)
    assert "[fd00::1]:9001" in checked(*files)[1]
    assert (asked[0].host, asked[0].port) == ("fd00::1", 9001)


# Our own


def own_fault(answers: Any, *args: object) -> str:
    """What is said of ourselves when that is so bad that nobody else is asked."""
    asked = answers()
    code, said = checked(*args)
    assert code == 1
    assert asked == []
    return said


def test_a_network_file_that_is_bad(network: Network, answers: Any) -> None:
    files = network(4)[0]
    Path(files[1]).write_text(Path(files[1]).read_text() + "# mine\n")
    said = own_fault(answers, *files)
    assert "network file failed" in said
    assert "'# mine" in said
    assert "key file ok" in said


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_a_key_that_others_can_read(network: Network, answers: Any) -> None:
    files = network(4)[0]
    Path(files[3]).chmod(0o640)
    said = own_fault(answers, *files)
    assert "network file ok" in said
    assert "key file failed" in said
    assert "chmod 600" in said


def test_a_key_that_is_none_of_the_peers(network: Network, answers: Any, tmp_path: Path) -> None:
    KeySecret.generate().save(tmp_path / "other.pem")
    said = own_fault(answers, *network(4)[0][:2], "--key", tmp_path / "other.pem")
    assert "our peer failed" in said
    assert "none of its 4 peers has the key" in said


def test_an_address_that_is_in_use_is_noted(network: Network, answers: Any) -> None:
    """It may be ourselves who use it: to check a running peer is no fault."""
    answers(GOOD, GOOD, GOOD)
    files = network(4)[0]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:{1}".format(*taken.getsockname())
        code, said = checked(*files, "--listen", address)
        assert code == 0
        assert f"listening note {address} is in use: by this peer, if it runs now; else end what holds it" in said


def test_an_address_of_another_machine(network: Network, answers: Any) -> None:
    answers(GOOD, GOOD, GOOD)
    code, said = checked(*network(4)[0], "--listen", "192.0.2.1:9001")
    assert code == 1
    assert "listening failed 192.0.2.1:9001 is no address of this machine: " in said
    assert "give --listen 0.0.0.0:9001" in said


def test_a_core_that_does_not_run(network: Network, answers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "syncpoint._native", None)
    answers(GOOD, GOOD, GOOD)
    code, said = checked(*network(4)[0], "--core", "native")
    assert code == 1
    assert 'version, core failed core="native", but' in said


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--timeout", "0"], "--timeout is 0.0: give more than 0 and at most 60 seconds"),
        (["--timeout", "nan"], "--timeout is nan"),
        (["--timeout", "61"], "--timeout is 61.0"),
    ],
)
def test_a_wrong_argument(network: Network, args: list[str], says: str) -> None:
    assert says in refused("check", *network(1)[0], *args)


# Members that have changed


def test_without_a_store_it_says_whose_members_it_judges_by(network: Network, answers: Any, tmp_path: Path) -> None:
    files = network(4)[0]
    answers(GOOD, GOOD, GOOD)
    first = "the 4 first ones, by the network file alone"
    assert f"members ok {first}; if members have changed since, give --store" in checked(*files)[1]
    answers(GOOD, GOOD, GOOD)
    code, said = checked(*files, "--store", tmp_path)
    assert code == 0
    assert f"members note {first}: {tmp_path}" in said
    assert "is not there" in said


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs UNIX sockets")
def test_a_store_says_who_is_a_member_now(start: Start, peers: Peers, folder: Path, answers: Any) -> None:
    """Two members, then the second one takes another key, then a third one joins, without whom nothing goes on."""
    store, key = folder / "s", folder / "next.pem"
    group = peers(2, "all", "--store", store)
    command("keygen", key)
    command("change", "rotate", key, "--control", group.paths[1])
    third = KeySecret.generate()
    command("change", "add", "127.0.0.1:1", PeerRecord.of(third), "--control", group.paths[0])
    while len(ask(group.paths[1], {"do": "members"})["members"]) < 3:
        time.sleep(0.05)
    first, second = (KeySecret.load(files[3]).public() for files in group.files)
    now = sorted([bytes(first), bytes(KeySecret.load(key).public()), bytes(third.public())])

    asked = answers(GOOD, GOOD)
    code, said = checked(*group.files[1], "--store", store, "--next-key", key)
    assert code == 0, said
    assert (
        f"members note the 2 first ones, by the network file alone: {store / str(second)}.syncpoint is in use" in said
    )
    assert f"no peer runs with the control socket {store}" in said, "this one has its socket elsewhere"
    store.joinpath(str(second)[:12] + ".sock").symlink_to(group.paths[1])
    asked = answers(GOOD, GOOD)
    code, said = checked(*group.files[1], "--store", store, "--next-key", key)
    assert code == 0, said
    assert f"members ok 3, as the peer that runs with {store} has them" in said
    assert sorted([*(peer.key for peer in asked), bytes(KeySecret.load(key).public())]) == now
    assert "2 of 2 others would take a link. Within reach, with us: 3 of 3 that order; a quorum is 3." in said

    for process in group.processes:
        process.terminate()
        process.communicate()
    asked = answers(GOOD, GOOD)
    code, said = checked(*group.files[1], "--store", store, "--next-key", key)
    assert code == 0, said
    assert f"members ok 3, those of epoch 2, the newest in {store / str(second)}.syncpoint" in said
    own = now.index(bytes(KeySecret.load(key).public()))
    genesis, number = numbered(group.files[1])
    assert f"our peer ok number {own}, at {genesis.entries[number].address}" in said
    assert [peer.creator for peer in asked] == [number for number in range(3) if number != own]
    assert [peer.key for peer in asked] == [key for number, key in enumerate(now) if number != own]
    assert "3 of 3 that order; a quorum is 3." in said

    said = own_fault(answers, *group.files[1], "--store", store)
    assert (
        f"our peer failed {second} is none of these 3 members: after 'syncpoint change rotate' give --next-key" in said
    )


def test_a_store_of_another_network(start: Start, network: Network, answers: Any, tmp_path: Path) -> None:
    files = network(1)[0]
    process = start("run", *files, "--store", tmp_path / "s", "--exit-when-idle", 0)
    process.communicate("")
    genesis = Genesis.from_toml(Path(files[1]))
    other = replace(genesis, network=replace(genesis.network, name="other"))
    Path(files[1]).write_bytes(other.to_toml().encode())
    answers()
    code, said = checked(*files, "--store", tmp_path / "s")
    assert code == 1
    assert "members failed the 1 first ones, by the network file alone: " in said
    assert "is of another network: give the folder that this peer runs with" in said


# Real peers


def test_running_peers_are_checked_and_not_disturbed(start: Start, network: Network) -> None:
    files = network(4)
    processes = [start("run", *each) for each in files]

    def everybody_hears(who: int, text: str) -> None:
        stdin = processes[who].stdin
        assert stdin is not None
        stdin.write(f"{text}\n")
        stdin.flush()
        for process in processes:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["transactions"] == [text]

    everybody_hears(0, "before")
    for each in files:  # with the key of each, while it runs
        code, said = checked(*each, "--timeout", 60)
        assert code == 0, said
        assert said.count("nothing to do") == 3
        assert "listening note" in said
        assert "3 of 3 others would take a link. Within reach, with us: 4 of 4" in said
    everybody_hears(3, "after")
    for process in processes:
        process.terminate()
        _, err = process.communicate()
        assert process.returncode == 0, err
        assert "no link with" not in err


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs UNIX sockets")
def test_a_running_peer_is_checked_by_its_newest_key(start: Start, network: Network, folder: Path) -> None:
    files, stores, key = network(2), [folder / "0", folder / "1"], folder / "next.pem"
    for each, store in zip(files, stores, strict=True):
        await_note(start("run", *each, "--store", store, "--approve", "all"), "control socket")
    command("keygen", key)
    command("change", "rotate", key, "--store", stores[1])
    for store in stores:
        while f'"{KeySecret.load(key).public()}"' not in command("members", "--json", "--store", store):
            time.sleep(0.05)
    code, said = checked(*files[0], "--store", stores[0], "--timeout", 60)
    assert code == 0, said
    assert "1 of 1 others would take a link" in said
    code, said = checked(*files[1], "--store", stores[1], "--next-key", key, "--timeout", 60)
    assert code == 0, said


def test_running_peers_of_another_network(start: Start, network: Network) -> None:
    first, second = network(2)
    process = start("run", *second)
    assert process.stderr is not None
    assert any("listens at" in line for line in iter(process.stderr.readline, ""))
    genesis = Genesis.from_toml(Path(first[1]))
    other = replace(genesis, network=replace(genesis.network, name="other"))
    Path(first[1]).write_bytes(other.to_toml().encode())
    code, said = checked(*first, "--timeout", 60)
    assert code == 1
    assert f"NETWORK: {Refusal.NETWORK.advice}" in said
    assert "0 of 1 others would take a link" in said
