"""`syncpoint verify`: what a proof proves, and exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from api.test_proof import GENESIS, genesis_of, some_order
from core.build import Peers
from syncpoint import Genesis, Proof
from syncpoint.cli.app import app


def asked(*args: object) -> Result:
    return CliRunner().invoke(app, ["verify", *map(str, args)])


def written(folder: Path, data: bytes, genesis: Genesis = GENESIS) -> tuple[Path, str, Path]:
    """A proof and a network file, as arguments."""
    proof, network = folder / "proof", folder / "network.toml"
    Proof(data).write(proof)
    network.write_text(genesis.to_toml(), encoding="utf-8")
    return proof, "--network", network


@pytest.mark.parametrize("index", [0, 1])
def test_what_holds_is_said_in_words(tmp_path: Path, core: str, index: int) -> None:
    data = some_order().proof(index)
    result = asked(*written(tmp_path, data), "--core", core)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{Proof(data).verify(GENESIS, core)}\n"


def test_what_does_not_is_said_with_its_reason(tmp_path: Path, core: str) -> None:
    data = some_order().proof(1)
    result = asked(*written(tmp_path, data[:-1] + bytes((data[-1] ^ 1,))), "--core", core)
    assert (result.exit_code, result.stdout) == (1, "")
    words = "it proves nothing: what it shows does not lead to the order hash that was signed"
    assert result.stderr.startswith(f"syncpoint: {tmp_path / 'proof'}: {words}")
    others = genesis_of(Peers(4, "proofs", order="fast"))
    result = asked(*written(tmp_path, data, others))
    assert result.exit_code == 1
    assert f"the fingerprint of this one is {others.fingerprint}" in result.stderr


def test_files_that_are_not_there_are_misuse(tmp_path: Path) -> None:
    proof, option, network = written(tmp_path, some_order().proof(1))
    for args, words in (
        ((tmp_path / "none", option, network), "No such file"),
        ((proof, option, tmp_path / "none.toml"), "cannot be read"),
        ((proof, option, network, "--core", "fast"), "core is 'fast'"),
    ):
        result = asked(*args)
        assert (result.exit_code, result.stdout) == (2, "")
        assert words in result.stderr
