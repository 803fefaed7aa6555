"""`syncpoint keygen`: make a key file, or show whose it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ArgumentError
from ..keys import KeySecret
from .guard import plain_errors

__all__ = ["keygen"]


def keygen(
    path: Annotated[Path | None, typer.Argument(help="Where to write the new secret key; never overwritten.")] = None,
    show: Annotated[
        Path | None, typer.Option("--show", metavar="PATH", help="Only show the public key of this key file.")
    ] = None,
) -> None:
    """Write a new secret key to PATH, for its owner alone (0600), and print the public key in base58."""
    with plain_errors():
        if (path is None) == (show is None):
            raise ArgumentError(
                "keygen needs one path: 'syncpoint keygen PATH' writes a new key, "
                "'syncpoint keygen --show PATH' prints the public key of an existing one"
            )
        if path is not None:
            secret = KeySecret.generate()
            secret.save(path)
        else:
            assert show is not None
            secret = KeySecret.load(show)
        typer.echo(str(secret.public()))
