"""`syncpoint keygen`: make a key file, or show whose it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ArgumentError
from ..keys import KeySecret
from ..record import PeerRecord
from .guard import note, plain_errors

__all__ = ["keygen"]


def keygen(
    path: Annotated[Path | None, typer.Argument(help="Where to write the new secret key; never overwritten.")] = None,
    show: Annotated[
        Path | None, typer.Option("--show", metavar="PATH", help="Only show the peer record of this key file.")
    ] = None,
) -> None:
    """Write a new secret key to PATH, for its owner alone (0600), and print the peer record in base58.

    The record is one line, and not secret: it goes to whoever makes the network file. The key itself never leaves
    its machine.
    """
    with plain_errors():
        if (path is None) == (show is None):
            raise ArgumentError(
                "keygen needs one path: 'syncpoint keygen PATH' writes a new key, "
                "'syncpoint keygen --show PATH' prints the peer record of an existing one"
            )
        if path is not None:
            secret = KeySecret.generate()
            secret.save(path)
        else:
            assert show is not None
            secret = KeySecret.load(show)
        typer.echo(str(PeerRecord.of(secret)))
        note(f"the peer record of the key {secret.public()}")
