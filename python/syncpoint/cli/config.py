"""The TOML file of one peer, read strictly: what is not known is an error, never ignored.

listen = "127.0.0.1:9001"   # default: our own address among the peers
key = "key.pem"             # relative to this file

[network]                   # fields of syncpoint.Network, the same on all peers
name = "example"

[options]                   # fields of syncpoint.Options

[[peers]]                   # one for each peer, ourselves included
address = "127.0.0.1:9001"
public = "..."
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..address import parse_address
from ..core.config import Network
from ..errors import ArgumentError
from ..keys import KeySecret
from ..options import Options
from ..peers import Peers
from ..tables import Table, check_fields, parse, read_file, string_field

__all__ = ["PeerConfig", "load", "peer_toml"]

Made = TypeVar("Made")  # a result
Settings = TypeVar("Settings", Network, Options)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConfig:
    """All that starts one peer."""

    path: Path
    """The file it was read from."""

    listen: str
    """Where to listen, host:port."""

    secret: KeySecret
    """Our key."""

    network: Network
    """What all peers have set alike."""

    options: Options
    """What this peer sets for itself."""

    peers: Peers
    """All peers, ourselves included."""


def load(path: Path) -> PeerConfig:
    """Read one peer's file, and the key file it names.

    Raises ArgumentError, which names the file, the field and what is allowed, or KeyFileError.
    """
    where = str(path)
    text = read_file(path, "a peer's TOML file, as 'syncpoint init' writes it")
    document = parse(text, where, "correct that place")
    check_fields(document, ("listen", "key", "network", "options", "peers"), where)
    network = _made(path, "network", document, Network)
    options = _made(path, "options", document, Options)
    peers = Peers.from_tables(document.get("peers"), where)
    listen = string_field(document, "listen", where, '"host:port"') if "listen" in document else None
    if listen is not None:
        _in_file(f"{path}, listen", lambda: parse_address(listen, allow_zero_port=True))
    secret = KeySecret.load(path.parent / string_field(document, "key", where, '"key.pem", relative to this file'))
    own = next((peer for peer in peers if peer.public == secret.public()), None)
    if own is None:
        raise ArgumentError(
            f"{path}: none of the {len(peers)} peers has our own public key {secret.public()}: add a [[peers]] "
            "table with it and our address, or correct 'key'"
        )
    return PeerConfig(
        path=path,
        listen=own.address if listen is None else listen,
        secret=secret,
        network=network,
        options=options,
        peers=peers,
    )


def peer_toml(listen: str, key: str, network: Network, peers: Peers) -> str:
    """The text of one peer's file, which `load` reads; network settings that have their defaults are left out."""
    default = Network()
    settings = {
        field.name: getattr(network, field.name)
        for field in dataclasses.fields(network)
        if field.name in ("name", "rule", "order") or getattr(network, field.name) != getattr(default, field.name)
    }
    lines = [
        f"listen = {_quoted(listen)}",
        f"key = {_quoted(key)}  # relative to this file; it stays with this peer",
        "",
        "[network]  # the same on all peers",
        *(
            f"{name} = {_quoted(value) if isinstance(value, str) else value}"
            for name, value in settings.items()
            if value is not None
        ),
        "",
        "[options]  # this peer's own, see syncpoint.Options",
        "",
        peers.to_toml(),
    ]
    return "\n".join(lines)


def _made(path: Path, name: str, document: Table, kind: type[Settings]) -> Settings:
    """An object of a dataclass made from the table of the same name."""
    where = f"{path}, [{name}]"
    table = check_fields(document.get(name, {}), [field.name for field in dataclasses.fields(kind)], where)
    return _in_file(where, lambda: kind(**table))


def _in_file(where: str, make: Callable[[], Made]) -> Made:
    """What `make` returns; its complaints name the place in the file."""
    try:
        return make()
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"{where}: {error}") from None


def _quoted(text: str) -> str:
    """A TOML basic string."""
    escaped = "".join(
        f"\\u{ord(character):04x}" if ord(character) < 0x20 or character == "\x7f" else character
        for character in text.replace("\\", "\\\\").replace('"', '\\"')
    )
    return f'"{escaped}"'
