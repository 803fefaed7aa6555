"""The two files that a peer starts from: the network's, the same everywhere, and its own key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..address import parse_address
from ..errors import ArgumentError
from ..genesis import Genesis
from ..keys import KeySecret

__all__ = ["KeyFile", "Listen", "NetworkFile", "PeerFiles"]

NetworkFile = Annotated[
    Path, typer.Option("--network", metavar="FILE", help="The network file, see 'syncpoint network create'.")
]
KeyFile = Annotated[Path, typer.Option("--key", metavar="FILE", help="Our key file, see 'syncpoint keygen'.")]
Listen = Annotated[
    str | None,
    typer.Option(
        "--listen",
        metavar="HOST:PORT",
        help="Where to listen, like 0.0.0.0:9001 or [::]:9001; default: our address in the network file.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerFiles:
    """What one peer of a network starts with."""

    genesis: Genesis
    """What all peers have alike."""

    secret: KeySecret
    """Our key, which is that of one of the peers, or of one that joins."""

    number: int | None
    """Our number among the peers: the creator index, or above all of these for an observer; None if we join."""

    listen: str
    """Where to listen, host:port."""

    @classmethod
    def load(cls, network: Path, key: Path, listen: str | None, *, joins: bool = False) -> PeerFiles:
        """Read both files; ArgumentError or KeyFileError for what is wrong with them, or does not fit together."""
        return cls.of(Genesis.from_toml(network), KeySecret.load(key), network, key, listen, joins=joins)

    @classmethod
    def of(
        cls, genesis: Genesis, secret: KeySecret, network: Path, key: Path, listen: str | None, *, joins: bool = False
    ) -> PeerFiles:
        """Put together what was read from both files; ArgumentError where our key is no peer's, unless it `joins`."""
        if listen is not None:
            try:
                parse_address(listen, allow_zero_port=True)
            except ArgumentError as error:
                raise ArgumentError(f"--listen: {error}") from None
        keys = [entry.public for entry in genesis.entries]
        if joins and secret.public() not in keys:
            if listen is None:
                raise ArgumentError(f"{network} does not have our address, as we join: give --listen HOST:PORT")
            return cls(genesis=genesis, secret=secret, number=None, listen=listen)
        if secret.public() not in keys:
            raise ArgumentError(
                f"{network}: none of its {len(keys)} peers has the key {secret.public()} of {key}: give the "
                "key file whose record went into the network file, have the network made again with this one's, or "
                "give 'syncpoint run' --joins, to be let in by 'syncpoint change add'"
            )
        number = keys.index(secret.public())
        address = genesis.entries[number].address
        return cls(genesis=genesis, secret=secret, number=number, listen=address if listen is None else listen)
