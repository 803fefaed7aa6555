"""`syncpoint verify`: what a proof proves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..backend import CORES
from ..errors import ProofError
from ..genesis import Genesis
from ..proof import Proof
from .files import NetworkFile
from .guard import FAILED, fail, plain_errors

__all__ = ["verify"]


def verify(
    proof: Annotated[Path, typer.Argument(metavar="PROOF", help="The proof, a file as Proof.write makes it.")],
    network: NetworkFile,
    core: Annotated[str, typer.Option("--core", help=f"The core that checks it: {', '.join(CORES)}.")] = "auto",
) -> None:
    """Check a proof by the network file alone, without any peer, and say what it proves.

    Exit code 0 when it holds, 1 when it proves nothing, with the reason.
    """
    with plain_errors():
        genesis = Genesis.from_toml(network)
        try:
            proved = Proof.read(proof).verify(genesis, core)
        except ProofError as error:
            fail(f"{proof}: {error}", FAILED)
        typer.echo(str(proved))
