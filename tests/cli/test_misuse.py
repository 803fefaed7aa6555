"""Every wrong input is one clear line on standard error and exit code 2; in this process, for speed."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from syncpoint import KeySecret
from syncpoint.cli.app import app

from .conftest import Start

Network = Callable[..., list[Path]]


def refused(*args: object) -> str:
    """The one line that a command says about its misuse."""
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("syncpoint: ")
    return lines[0]


@pytest.fixture
def config(network: Network) -> Path:
    return network(2)[0]


def change(config: Path, pattern: str, new: str) -> None:
    text, count = re.subn(pattern, new, config.read_text(), count=1, flags=re.MULTILINE)
    assert count == 1
    config.write_text(text)


@pytest.mark.parametrize(
    ("pattern", "new", "says"),
    [
        ("^listen", "lisen", "has a field 'lisen'; allowed are listen, key, .*: did you mean 'listen'"),
        ("^rule", "rul", "[network] has a field 'rul'; allowed are name, rule, order, .*: did you mean 'rule'"),
        ("^name = .*", "zzz = 1", "[network] has a field 'zzz'; .*: remove it"),
        (r"^\[options\].*", "[options]\nheartbeat = 1", "[options] has a field 'heartbeat'; .*mean 'heartbeat_us'"),
        (r"^\[options\].*", "[option]", "did you mean 'options'"),
        ("^address", "adress", "peer number 1 has a field 'adress'; .*: did you mean 'address'"),
        ("^(public.*)", r"\1\ncapabilities = { publik = true }", "number 1, capabilities has a field 'publik'"),
        ("^(public.*)", r"\1\ncapabilities = { public = 1 }", "number 1: PeerCapabilities.public was given 1"),
        ("^(public.*)", r"\1\ncapabilities = true", "peer number 1, capabilities is True; allowed is a table"),
        ("^listen = .*", "listen = 9001", 'has listen = 9001; allowed is a string: write listen = "host:port"'),
        ("^listen = .*", 'listen = "nowhere"', "listen: the address 'nowhere' has no host and port"),
        ("^key = .*", "", "has no key; allowed is a string"),
        ("^key = .*", "key = 1", "has key = 1; allowed is a string"),
        ("^name = .*", "name = 5", r"[network]: Network.name is 5"),
        ("^name = .*", 'name = ""', r"[network]: Network.name is ''"),
        ("^rule = .*", 'rule = "one_step"', "[network]: Network.rule is 'one_step': give one of two_step, three_step"),
        ("^rule = .*", "f = 1.5", "[network]: Network.f is 1.5: give an integer"),
        ("^rule = .*", "f = true", "[network]: Network.f is True: give an integer"),
        ("^rule = .*", "gc_depth = 1", "[network]: Network.gc_depth is 1: give 4 to"),
        (r"^\[options\].*", '[options]\nheartbeat_us = "1"', "[options]: Options.heartbeat_us was given '1'"),
        (r"^\[options\].*", "[options]\nheartbeat_us = 1", "[options]: Options.heartbeat_us was given 1;"),
        ("^public = .*", 'public = "0OIl"', "peer number 1 has public = "),
        ("^public = .*", "public = 1", "peer number 1 has public = 1; allowed is a string"),
        ("^address = .*", "", "peer number 1 has no address"),
        ("^address = .*", 'address = "127.0.0.1"', "peer number 1: the address '127.0.0.1' has no"),
        ("^listen", "listen = = 1\nlisten", "is not TOML: "),
    ],
)  # fmt: skip
def test_a_wrong_field(config: Path, pattern: str, new: str, says: str) -> None:
    change(config, pattern, new)
    line = refused("run", config)
    assert str(config) in line
    assert re.search(says.replace("[", r"\[").replace("(", r"\("), line), line


def test_a_file_that_is_none(tmp_path: Path) -> None:
    assert "cannot be read: No such file or directory" in refused("run", tmp_path / "none.toml")
    assert "cannot be read: Is a directory" in refused("run", tmp_path)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    assert "is not UTF-8" in refused("run", binary)
    empty = tmp_path / "empty"
    empty.write_text("")
    assert "holds no peer" in refused("run", empty)
    large = tmp_path / "large"
    large.write_bytes(b"#" * (2 << 20))
    assert "more than 1048576 bytes" in refused("run", large)


def test_peers_without_ourselves(config: Path) -> None:
    key = config.parent / "key.pem"
    key.unlink()
    secret = KeySecret.generate()
    secret.save(key)
    line = refused("run", config)
    assert f"none of the 2 peers has our own public key {secret.public()}" in line


def test_a_key_twice(config: Path) -> None:
    text = config.read_text()
    keys = re.findall('^public = "(.*)"', text, flags=re.MULTILINE)
    config.write_text(text.replace(keys[1], keys[0]))
    assert f"peer number 2: the public key {keys[0]} is already there" in refused("run", config)


def test_an_address_twice(config: Path) -> None:
    text = config.read_text()
    places = re.findall('^address = "(.*)"', text, flags=re.MULTILINE)
    config.write_text(text.replace(f'address = "{places[1]}"', f'address = "{places[0]}"'))
    assert f"peer number 2: the address '{places[0]}' is already" in refused("run", config)


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_a_key_that_others_can_read(config: Path) -> None:
    key = config.parent / "key.pem"
    key.chmod(0o644)
    assert f"run 'chmod 600 {key}'" in refused("run", config)


def test_a_key_that_is_not_there(config: Path) -> None:
    (config.parent / "key.pem").unlink()
    assert f"{config.parent / 'key.pem'} is not there" in refused("run", config)


def test_a_taken_port(config: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        change(config, "^listen = .*", f'listen = "127.0.0.1:{port}"')
        assert f"cannot listen at 127.0.0.1:{port}: Address already in use; choose another" in refused("run", config)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["run", "{config}", "--count", "-1"], "--count is -1"),
        (["run", "{config}", "--exit-when-idle", "nan"], "--exit-when-idle is nan"),
        (["run", "{config}", "--core", "fast"], "core is 'fast': give one of auto, native, python"),
        (["demo", "--kill", "--peers", "3"], "3 peers tolerate no fault.*it takes 4 or more"),
        (["demo", "--peers", "17"], "--peers is 17: give 1 to 16"),
        (["demo", "--peers", "0"], "--peers is 0"),
        (["demo", "--rate", "-1"], "--rate is -1"),
        (["demo", "--rate", "nan"], "--rate is nan"),
        (["demo", "--patience", "0"], "--patience is 0"),
        (["demo", "--input", "/nonexistent"], "/nonexistent: No such file or directory"),
        (["demo", "--input", "/dev/null"], "/dev/null holds no line"),
        (["demo", "--core", "fast"], "core is 'fast'"),
        (["init", "{tmp}/new", "--peers", "129"], "--peers is 129: give 1 to 128"),
        (["init", "{tmp}/new", "--peers", "0"], "--peers is 0"),
        (["init", "{tmp}/new", "--base-port", "65533"], "--base-port is 65533: 4 peers fit with 1 to 65532"),
        (["init", "{tmp}/new", "--name", ""], "Network.name is ''"),
        (["init", "{config}"], "is not a folder"),
        (["init", "{tmp}"], "is not empty"),
        (["keygen"], "keygen needs one path"),
        (["keygen", "{tmp}/a", "--show", "{tmp}/b"], "keygen needs one path"),
        (["keygen", "{tmp}/none/key.pem"], "cannot be made"),
        (["keygen", "--show", "{tmp}/none"], "is not there"),
        (["keygen", "--show", "{config}"], "may be used by others"),
    ],
)  # fmt: skip
def test_a_wrong_argument(config: Path, tmp_path: Path, args: list[str], says: str) -> None:
    line = refused(*(arg.format(config=config, tmp=tmp_path) for arg in args))
    assert re.search(says, line), line
    assert not (tmp_path / "new").exists()


def test_a_line_that_no_transaction_holds(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_bytes(b"short\n" + b"x" * (1 << 20))
    assert "line 2 has more than" in refused("demo", "--input", text)


def test_keygen_writes_one_key_and_never_another(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    made = CliRunner().invoke(app, ["keygen", str(path)])
    assert made.exit_code == 0
    assert made.stdout.strip() == str(KeySecret.load(path).public())
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    assert "never overwritten" in refused("keygen", path)
    assert path.read_bytes() == before
    shown = CliRunner().invoke(app, ["keygen", "--show", str(path)])
    assert shown.stdout == made.stdout


def test_init_takes_the_ports_it_is_given(network: Network) -> None:
    files = network(3, "--base-port", "9100")
    listens = [re.search('^listen = "(.*)"', file.read_text(), flags=re.MULTILINE) for file in files]
    assert [match and match[1] for match in listens] == ["127.0.0.1:9100", "127.0.0.1:9101", "127.0.0.1:9102"]


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['syncpoint', 'demo']\n"
    code += "from syncpoint.__main__ import main; main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        f"syncpoint: the command line needs {missing}, which is not installed: pip install 'syncpoint[cli]'\n"
    )


def test_as_a_process(start: Start, tmp_path: Path) -> None:
    process = start("run", tmp_path / "none.toml")
    out, err = process.communicate()
    assert process.returncode == 2
    assert out == ""
    assert err.count("\n") == 1
    process = start("no-such-command")
    process.communicate()
    assert process.returncode == 2
