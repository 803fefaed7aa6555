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

from syncpoint import Genesis, KeySecret, PeerRecord
from syncpoint.cli.app import app

from .conftest import Start

Network = Callable[..., list[list[str]]]


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
def files(network: Network) -> list[str]:
    """The options by which `run` gets the files of one of two peers."""
    return network(2)[0]


@pytest.fixture
def file(files: list[str]) -> Path:
    """The network file of two peers."""
    return Path(files[1])


@pytest.fixture
def key(files: list[str]) -> Path:
    """The key file of one of them."""
    return Path(files[3])


def test_a_file_that_is_none(key: Path, tmp_path: Path) -> None:
    def refused_file(path: Path) -> str:
        lines = {refused("network", "show", path), refused("run", "--network", path, "--key", key)}
        assert len(lines) == 1
        return lines.pop()

    assert "cannot be read: No such file or directory" in refused_file(tmp_path / "none.toml")
    assert "cannot be read: Is a directory" in refused_file(tmp_path)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    assert "is not UTF-8" in refused_file(binary)
    empty = tmp_path / "empty"
    empty.write_text("")
    assert "has no format; this version of syncpoint reads format = 1" in refused_file(empty)
    large = tmp_path / "large"
    large.write_bytes(b"#" * (2 << 20))
    assert "more than 1048576 bytes" in refused_file(large)


def test_a_network_file_that_somebody_changed(files: list[str], file: Path) -> None:
    file.write_text(file.read_text().replace("max_ahead = 200", "max_ahead = 200 # enough"))
    for command in (["run", *files], ["network", "show", file]):
        line = refused(*command)
        assert f"{file} is not in the one form of a network file" in line
        assert "'max_ahead = 200 # enough' stands in line 9, and 'max_ahead = 200' should stand there" in line


def test_a_key_that_is_none_of_the_peers(files: list[str], key: Path) -> None:
    key.unlink()
    secret = KeySecret.generate()
    secret.save(key)
    line = refused("run", *files)
    assert f"{files[1]}: none of its 2 peers has the key {secret.public()} of {key}: give the key file whose" in line


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_a_key_that_others_can_read(files: list[str], key: Path) -> None:
    key.chmod(0o644)
    assert f"run 'chmod 600 {key}'" in refused("run", *files)


def test_a_key_that_is_not_there(files: list[str], key: Path) -> None:
    key.unlink()
    assert f"{key} is not there" in refused("run", *files)


def test_a_taken_port(files: list[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused("run", *files, "--listen", f"127.0.0.1:{port}")
        assert f"cannot listen at 127.0.0.1:{port}: Address already in use; choose another" in line


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["run", "{files}", "--count", "-1"], "--count is -1"),
        (["run", "{files}", "--exit-when-idle", "nan"], "--exit-when-idle is nan"),
        (["run", "{files}", "--core", "fast"], "core is 'fast': give one of auto, native, python"),
        (["run", "{files}", "--listen", "nowhere"], "--listen: the address 'nowhere' has no host and port"),
        (["run", "{files}", "--listen", "127.0.0.1:65536"], "--listen: the address .* has the port '65536'"),
        (["demo", "--kill", "--peers", "3"], "3 peers tolerate no fault.*it takes 4 or more"),
        (["demo", "--peers", "17"], "--peers is 17: give 1 to 16"),
        (["demo", "--peers", "0"], "--peers is 0"),
        (["demo", "--rate", "-1"], "--rate is -1"),
        (["demo", "--rate", "nan"], "--rate is nan"),
        (["demo", "--patience", "0"], "--patience is 0"),
        (["demo", "--input", "/nonexistent"], "/nonexistent: No such file or directory"),
        (["demo", "--input", "/dev/null"], "/dev/null holds no line"),
        (["demo", "--core", "fast"], "core is 'fast'"),
        (["propose", "nothing", "--store", "{tmp}"], "'nothing' is no kind of a sync point: give one of SESSION,"),
        (["propose", "membership", "--store", "{tmp}"], "syncpoint: MEMBERSHIP has to say what.*'syncpoint change'"),
        (["propose", "END", "--timeout", "0", "--store", "{tmp}"], "syncpoint: timeout is 0.0: give 0.001 to 3600"),
        (["propose", "END", "--metadata", "x" * 8193, "--store", "{tmp}"], "metadata of 8193 bytes"),
        (["propose", "END"], "which peer. give --store"),
        (["propose", "END", "--store", "{tmp}"], "no peer runs with .*syncpoint run"),
        (["vote", "--store", "{tmp}", "--refuse"], "--refuse needs the ID"),
        (["vote", "--control", "{tmp}/none"], "no peer runs with the control socket .*/none: nothing is there"),
        (["members", "--control", "a", "--store", "b"], "--control and --store are both given"),
        (["members", "--store", "{tmp}/none"], "is no folder"),
        (["init", "{tmp}/new", "--peers", "129"], "--peers is 129: give 1 to 128"),
        (["init", "{tmp}/new", "--peers", "0"], "--peers is 0"),
        (["init", "{tmp}/new", "--base-port", "65533"], "--base-port is 65533: 4 peers fit with 1 to 65532"),
        (["init", "{tmp}/new", "--name", ""], "Network.name is ''"),
        (["init", "{file}"], "is not a folder"),
        (["init", "{tmp}"], "is not empty"),
        (["keygen"], "keygen needs one path"),
        (["keygen", "{tmp}/a", "--show", "{tmp}/b"], "keygen needs one path"),
        (["keygen", "{tmp}/none/key.pem"], "cannot be made"),
        (["keygen", "--show", "{tmp}/none"], "is not there"),
        (["keygen", "--show", "{file}"], "may be used by others"),
    ],
)  # fmt: skip
def test_a_wrong_argument(files: list[str], tmp_path: Path, args: list[str], says: str) -> None:
    given = [each for arg in args for each in (files if arg == "{files}" else [arg])]
    line = refused(*(arg.format(file=files[1], tmp=tmp_path) for arg in given))
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
    record = PeerRecord.parse(made.stdout)
    assert made.stdout == f"{record}\n"
    assert record.public == KeySecret.load(path).public()
    assert made.stderr == f"syncpoint: the peer record of the key {record.public}\n"
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    assert "never overwritten" in refused("keygen", path)
    assert path.read_bytes() == before
    shown = CliRunner().invoke(app, ["keygen", "--show", str(path)])
    assert (shown.stdout, shown.stderr) == (made.stdout, made.stderr)


def test_init_takes_the_ports_it_is_given(network: Network) -> None:
    files = network(3, "--base-port", "9100")
    entries = {entry.public: entry.address for entry in Genesis.from_toml(Path(files[0][1])).entries}
    addresses = [entries[KeySecret.load(each[3]).public()] for each in files]
    assert addresses == ["127.0.0.1:9100", "127.0.0.1:9101", "127.0.0.1:9102"]


def test_without_uvloop(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    line = refused("run", *files, "--loop", "uvloop")
    assert re.search(r"uvloop cannot be used here .*: pip install 'syncpoint\[fast\]', or leave --loop out", line), line


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
    process = start("network", "show", tmp_path / "none.toml")
    out, err = process.communicate()
    assert process.returncode == 2
    assert out == ""
    assert err.count("\n") == 1
    process = start("no-such-command")
    process.communicate()
    assert process.returncode == 2
