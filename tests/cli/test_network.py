"""`syncpoint network`: the file that all peers share, made and shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from syncpoint import Genesis, KeySecret, Options, PeerCapabilities, PeerRecord
from syncpoint.cli.app import app

from .test_misuse import refused

SECRETS = sorted((KeySecret(bytes([number]) * 32) for number in range(5)), key=KeySecret.public)
RECORDS = [str(PeerRecord.of(secret)) for secret in SECRETS]
PEERS = [f"{record}@peer{number}.example:9001" for number, record in enumerate(RECORDS)]


def given(peers: list[str]) -> list[str]:
    return [each for peer in peers for each in ("--peer", peer)]


def made(*args: object) -> str:
    result = CliRunner().invoke(app, ["network", *map(str, args)])
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "network.toml"


def test_a_network_of_everything(path: Path) -> None:
    peers = [PEERS[3] + ",public,unkickable", PEERS[1], PEERS[0] + ",observer", PEERS[2] + ",no_logic", PEERS[4]]
    said = made(
        "create", path, *given(peers), "--name", "all of it", "--rule", "three_step", "--order", "fast", "--f", 0,
        "--gc-depth", 50, "--max-payload-bytes", 4096, "--max-ahead", 60,
        "--option", "heartbeat_us=250000", "--option", "enable_dynamic_epoch_size=false",
    )  # fmt: skip
    genesis = Genesis.from_toml(path)
    network = genesis.network
    assert (network.name, network.rule, network.order, network.f) == ("all of it", "three_step", "fast", 0)
    assert (network.gc_depth, network.max_payload_bytes, network.max_ahead) == (50, 4096, 60)
    assert genesis.options == Options(heartbeat_us=250_000, enable_dynamic_epoch_size=False)
    numbered = [*SECRETS[1:], SECRETS[0]]  # the observer is the last
    assert [entry.public for entry in genesis.entries] == [secret.public() for secret in numbered]
    assert [entry.capabilities for entry in genesis.entries] == [
        PeerCapabilities(),
        PeerCapabilities(no_logic=True),
        PeerCapabilities(public=True, unkickable=True),
        PeerCapabilities(),
        PeerCapabilities(no_order=True),
    ]
    assert said.splitlines() == [
        "network      'all of it'",
        f"id           {genesis.id.hex()}",
        f"fingerprint  {genesis.fingerprint}",
        "n, f, q      4 that order, of which 0 may lie or be dead; a quorum is 4",
        "observers    1",
        "settings     rule = three_step, order = fast, f = 0, gc_depth = 50, max_payload_bytes = 4096, max_ahead = 60, "
        "epoch_ms = 0",
        "options      heartbeat_us = 250000, enable_dynamic_epoch_size = False",
        f"peer 0       {SECRETS[1].public()} peer1.example:9001",
        f"peer 1       {SECRETS[2].public()} peer2.example:9001 no_logic",
        f"peer 2       {SECRETS[3].public()} peer3.example:9001 public unkickable",
        f"peer 3       {SECRETS[4].public()} peer4.example:9001",
        f"peer 4       {SECRETS[0].public()} peer0.example:9001 no_order",
    ]
    assert made("show", path) == said


def test_a_network_of_defaults(path: Path) -> None:
    said = made("create", path, *given(PEERS[:4]))
    assert Genesis.from_toml(path).network == Genesis.from_toml(path).network.__class__()
    assert "4 that order, of which 1 may lie or be dead; a quorum is 3" in said
    assert ", f = left out, " in said
    assert "all as they are by default" in said


def test_peers_as_they_were_collected(path: Path, tmp_path: Path) -> None:
    """From a file, from arguments, and in any order: the same network."""
    collected = tmp_path / "peers.txt"
    collected.write_text(
        f"# who sent what\n\n{RECORDS[2]} peer2.example:9001 public unkickable\n"
        f"  {RECORDS[0]}\tpeer0.example:9001  # the old one\r\n{RECORDS[1]} [2001:db8::1]:9001"
    )
    said = made("create", path, "--peers-from", collected)
    other = tmp_path / "other.toml"
    peers = [PEERS[0], f"{RECORDS[1]}@[2001:db8::1]:9001", PEERS[2] + ",public,unkickable"]
    assert made("create", other, *given(peers)) == said
    assert other.read_bytes() == path.read_bytes()
    both = tmp_path / "both.toml"
    made("create", both, "--peers-from", collected, "--peer", PEERS[3])
    assert len(Genesis.from_toml(both).entries) == 4


def test_a_file_is_never_overwritten(path: Path) -> None:
    path.write_text("mine")
    assert "is already there and never overwritten" in refused("network", "create", path, "--peer", PEERS[0])
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "no peer was given: give --peer for each one, ourselves included, or --peers-from"),
        (["--peer", RECORDS[0]], "has no '@'; allowed is RECORD@HOST:PORT, with flags after a comma"),
        (["--peer", f"{RECORDS[0]}@nowhere"], "the address 'nowhere' has no host and port"),
        (["--peer", f"{RECORDS[0]}@a.example:0"], "has the port 0"),
        (["--peer", f"{RECORDS[0][:-4]}@a.example:1"], "--peer, at a.example:1: a peer record was given as 9[345] b"),
        (["--peer", f"{RECORDS[0][:-1]}0@a.example:1"], "--peer, at a.example:1: .*character '0' at position 13"),
        (["--peer", f"{SECRETS[0].public()}@a.example:1"], "--peer, at a.example:1: .*not the public key alone"),
        (["--peer", f"{RECORDS[0][:9]}2{RECORDS[0][10:]}@a.example:1"], "--peer, at a.example:1: .*proves nothing"),
        (["--peer", PEERS[0] + ",publik"], "the flag 'publik' is none of observer, no_logic, public, unkickable"),
        (["--peer", PEERS[0] + ","], "the flag '' is none of"),
        (["--peer", PEERS[0], "--peer", PEERS[0]], "is already there"),
        (["--peer", PEERS[0], "--peer", f"{RECORDS[1]}@peer0.example:9001"], "is already that of"),
        (["--peers-from", "{tmp}/none"], "/none cannot be read: No such file"),
        (["--peers-from", "{tmp}/short"], "/short, line 2 has no address"),
        (["--peers-from", "{tmp}/bad"], "/bad, line 1, at a.example:1: a peer record was given as base58, but"),
        (["--peers-from", "{tmp}/empty"], "no peer was given"),
        (["{peer}", "--f", "1"], "f = 1 liars among 1 peers that order: 0 to 0 can be tolerated"),
        (["--peer", PEERS[0] + ",observer"], "none of 1 peers takes part in ordering"),
        (["{peer}", "--f", "-1"], "Network.f is -1"),
        (["{peer}", "--name", ""], "Network.name is ''"),
        (["{peer}", "--gc-depth", "1"], "Network.gc_depth is 1"),
        (["{peer}", "--option", "heartbeat_us"], "has no '='; allowed is NAME=VALUE"),
        (["{peer}", "--option", "heartbeat=1"], "Options has no field 'heartbeat'; .*did you mean 'heartbeat_us'"),
        (["{peer}", "--option", "heartbeat_us=1"], "Options.heartbeat_us was given 1;"),
        (["{peer}", "--option", "heartbeat_us=x"], "the value is neither a whole number nor true or false"),
        (["{peer}", "--option", "heartbeat_us=1\nx=2"], "the value is neither"),
        (["{peer}", "--option", "heartbeat_us=5000", "--option", "heartbeat_us=5000"], "heartbeat_us was given twice"),
    ],
)  # fmt: skip
def test_a_wrong_argument_writes_no_file(path: Path, tmp_path: Path, args: list[str], says: str) -> None:
    (tmp_path / "short").write_text(f"# a comment\n{RECORDS[0]} # a.example:1\n")
    (tmp_path / "bad").write_text("0 a.example:1\n")
    (tmp_path / "empty").write_text("# nobody yet\n")
    expanded = [each for arg in args for each in (["--peer", PEERS[0]] if arg == "{peer}" else [arg])]
    line = refused("network", "create", path, *(arg.replace("{tmp}", str(tmp_path)) for arg in expanded))
    assert re.search(says, line), line
    assert not path.exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    line = refused("network", "create", tmp_path / "none" / "network.toml", "--peer", PEERS[0])
    assert "No such file or directory" in line
