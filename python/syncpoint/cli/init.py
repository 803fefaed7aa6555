"""`syncpoint init`: the files of a local network."""

from __future__ import annotations

import contextlib
import shlex
import socket
from pathlib import Path
from typing import Annotated

import typer

from ..core.config import Network
from ..errors import ArgumentError
from ..genesis import Genesis, GenesisPeer
from ..keys import KeySecret
from ..peers import MAX_PEERS
from ..record import PeerRecord
from .choices import Order, Rule
from .guard import plain_errors
from .network import write_network

__all__ = ["init"]

HOST = "127.0.0.1"
NETWORK_FILE, KEY_FILE = "network.toml", "key.pem"


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    peers: Annotated[int, typer.Option("--peers", help=f"How many peers, 1 to {MAX_PEERS}.")] = 4,
    base_port: Annotated[
        int | None,
        typer.Option("--base-port", help="Peer i listens at this port + i; default: ports that are free now."),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="The network's name.")] = Network().name,
    rule: Annotated[Rule, typer.Option("--rule", help="The decision rule.")] = Rule.TWO_STEP,
    order: Annotated[Order, typer.Option("--order", help="The delivery order.")] = Order.FAIR,
) -> None:
    """Write a network file and a key per peer, for a network on this machine alone."""
    with plain_errors():
        network = Network(name=name, rule=rule.value, order=order.value)
        addresses = [f"{HOST}:{port}" for port in _ports(peers, base_port)]
        _take(folder)
        faults = _write(folder, addresses, network)
        typer.echo(f"{peers} peers in {folder}, which tolerate {faults} faulty. Start each in a terminal of its own:")
        for number in range(peers):
            files = ["--network", str(folder / NETWORK_FILE), "--key", str(folder / f"peer{number}" / KEY_FILE)]
            typer.echo(f"  syncpoint run {shlex.join(files)}")


def _ports(count: int, base: int | None) -> list[int]:
    if not 1 <= count <= MAX_PEERS:
        raise ArgumentError(f"--peers is {count}: give 1 to {MAX_PEERS}")
    if base is None:
        return _free_ports(count)
    last = 65_536 - count
    if not 1 <= base <= last:
        raise ArgumentError(f"--base-port is {base}: {count} peers fit with 1 to {last}")
    return list(range(base, base + count))


def _free_ports(count: int) -> list[int]:
    """Ports that are free now; another program may take one before a peer does, which that peer then says."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _take(folder: Path) -> None:
    """Make the folder, or make sure that it is empty."""
    if folder.exists() and not folder.is_dir():
        raise ArgumentError(f"{folder} is not a folder: give a new or empty one")
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ArgumentError(f"{folder} is not empty, and nothing in it is ever overwritten: give a new or empty folder")


def _write(folder: Path, addresses: list[str], network: Network) -> int:
    """All the files; how many faulty peers the network tolerates."""
    entries = []
    for number, address in enumerate(addresses):
        secret = KeySecret.generate()
        (folder / f"peer{number}").mkdir()
        secret.save(folder / f"peer{number}" / KEY_FILE)
        entries.append(GenesisPeer(record=PeerRecord.of(secret), address=address))
    genesis = Genesis(entries=tuple(entries), network=network)
    write_network(folder / NETWORK_FILE, genesis)
    return genesis.committee.f
