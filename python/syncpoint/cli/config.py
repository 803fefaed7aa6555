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
import difflib
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..address import parse_address
from ..core.config import Network
from ..errors import ArgumentError
from ..keys import KeyPublic, KeySecret
from ..options import Options
from ..peers import MAX_PEERS, PeerCapabilities, Peers

__all__ = ["PeerConfig", "load", "peer_toml"]

MAX_FILE_BYTES = 1 << 20  # 128 peers need some 20 kB; a longer file is refused unparsed

Made = TypeVar("Made")  # a result
Settings = TypeVar("Settings", Network, Options)
Table = dict[str, Any]


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
    document = _fields(_document(path), ("listen", "key", "network", "options", "peers"), str(path))
    network = _made(path, "network", document, Network)
    options = _made(path, "options", document, Options)
    peers = _peers(path, document)
    listen = _text(path, document, "listen", '"host:port"') if "listen" in document else None
    if listen is not None:
        _in_file(f"{path}, listen", lambda: parse_address(listen, allow_zero_port=True))
    secret = KeySecret.load(path.parent / _text(path, document, "key", '"key.pem", relative to this file'))
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


def _document(path: Path) -> Table:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ArgumentError(
            f"{path} cannot be read: {error.strerror}; give the path of a peer's TOML file, "
            "as 'syncpoint init' writes it"
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise ArgumentError(f"{path} has more than {MAX_FILE_BYTES} bytes: give the path of a peer's TOML file")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ArgumentError(f"{path} is not UTF-8: {error}; TOML is UTF-8: save it as such") from None
    except tomllib.TOMLDecodeError as error:
        raise ArgumentError(f"{path} is not TOML: {error}: correct that place") from None


def _made(path: Path, name: str, document: Table, kind: type[Settings]) -> Settings:
    """An object of a dataclass made from the table of the same name."""
    where = f"{path}, [{name}]"
    table = _fields(document.get(name, {}), [field.name for field in dataclasses.fields(kind)], where)
    return _in_file(where, lambda: kind(**table))


def _peers(path: Path, document: Table) -> Peers:
    tables = document.get("peers")
    if not isinstance(tables, list) or not tables:
        raise ArgumentError(
            f"{path} holds no peer; allowed are 1 to {MAX_PEERS} [[peers]] tables: "
            "add one with address and public for each peer, ourselves included"
        )
    peers = Peers()
    for number, entry in enumerate(tables, start=1):
        where = f"{path}, [[peers]] number {number}"
        table = _fields(entry, ("address", "public", "capabilities"), where)
        address = _text(where, table, "address", '"host:port"')
        public = _text(where, table, "public", '"the key in base58"')
        flag_names = [field.name for field in dataclasses.fields(PeerCapabilities)]
        flags = _fields(table.get("capabilities", {}), flag_names, f"{where}, capabilities")
        _in_file(
            where,
            lambda: peers.insert(address, KeyPublic.parse(public), PeerCapabilities(**flags)),  # noqa: B023 - called at once
        )
    return peers


def _fields(table: object, allowed: Iterable[str], where: str) -> Table:
    """The table, if it is one and has no other fields than the allowed ones."""
    names = tuple(allowed)
    if not isinstance(table, dict):
        raise ArgumentError(f"{where} is {table!r}; allowed is a table with {', '.join(names)}: write it as a table")
    for name in table:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            advice = f"did you mean {close[0]!r}?" if close else "remove it"
            raise ArgumentError(f"{where} has a field {name!r}; allowed are {', '.join(names)}: {advice}")
    return table


def _text(where: Path | str, table: Table, name: str, example: str) -> str:
    value = table.get(name)
    if not isinstance(value, str):
        found = f"{name} = {value!r}" if name in table else f"no {name}"
        raise ArgumentError(f"{where} has {found}; allowed is a string: write {name} = {example}")
    return value


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
