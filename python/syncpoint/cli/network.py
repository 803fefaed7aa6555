"""`syncpoint network`: make the file that all peers share, and look at one."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from ..core.config import Network
from ..errors import ArgumentError
from ..genesis import Genesis, GenesisPeer
from ..options import Options
from ..peers import PeerCapabilities
from ..record import PeerRecord
from ..tables import read_file
from .choices import Order, Rule
from .guard import plain_errors
from .network_view import summary

__all__ = ["app", "write_network"]

FLAGS = {"observer": "no_order", "no_logic": "no_logic", "public": "public", "unkickable": "unkickable"}
PEER_FORM = f"RECORD@HOST:PORT, with flags after a comma ({', '.join(FLAGS)})"

app = typer.Typer(no_args_is_help=True, help="The file that all peers of a network share: make one, look at one.")


@app.command()
def create(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The new network file; never overwritten.")],
    peer: Annotated[
        list[str] | None, typer.Option("--peer", metavar="RECORD@HOST:PORT[,FLAG]...", help="A peer; for each one.")
    ] = None,
    peers_from: Annotated[
        Path | None,
        typer.Option(
            "--peers-from", metavar="FILE", help="Peers from a file: RECORD HOST:PORT [FLAG]... on a line for each."
        ),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="The network's name.")] = Network().name,
    rule: Annotated[Rule, typer.Option("--rule", help="The decision rule.")] = Rule.TWO_STEP,
    order: Annotated[Order, typer.Option("--order", help="The delivery order.")] = Order.FAIR,
    f: Annotated[
        int | None, typer.Option("--f", help="Liars and crashes tolerated; default: the most that so many peers can.")
    ] = None,
    gc_depth: Annotated[
        int, typer.Option("--gc-depth", help="Rounds that an undelivered event may still be ordered.")
    ] = Network().gc_depth,
    max_payload_bytes: Annotated[
        int, typer.Option("--max-payload-bytes", help="Bytes of transactions in one event.")
    ] = Network().max_payload_bytes,
    max_ahead: Annotated[
        int, typer.Option("--max-ahead", help="Rounds above ours from which events are kept.")
    ] = Network().max_ahead,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="A field of syncpoint.Options that all peers start with."),
    ] = None,
) -> None:
    """Write a network file from the records of its peers, and show what is in it.

    Hand the file to every peer. Its operator compares the fingerprint with the others before the peer starts.
    """
    with plain_errors():
        entries = [_peer_of_argument(text) for text in peer or ()]
        if peers_from is not None:
            entries += _peers_of_file(peers_from)
        if not entries:
            raise ArgumentError("no peer was given: give --peer for each one, ourselves included, or --peers-from")
        network = Network(
            name=name,
            rule=rule.value,
            order=order.value,
            f=f,
            gc_depth=gc_depth,
            max_payload_bytes=max_payload_bytes,
            max_ahead=max_ahead,
        )
        genesis = Genesis(entries=tuple(entries), network=network, options=_options(option or ()))
        write_network(path, genesis)
        typer.echo(summary(genesis))


@app.command()
def show(path: Annotated[Path, typer.Argument(metavar="FILE", help="A network file.")]) -> None:
    """Check a network file, and show its id, its settings and who is in it."""
    with plain_errors():
        typer.echo(summary(Genesis.from_toml(path)))


def write_network(path: Path, genesis: Genesis) -> None:
    """Write a new network file; ArgumentError where there is a file already, or none can be."""
    try:
        with path.open("xb") as file:
            file.write(genesis.to_toml().encode())
    except FileExistsError:
        raise ArgumentError(
            f"{path} is already there and never overwritten: give another path, or look at it with "
            "'syncpoint network show'"
        ) from None


def _peer_of_argument(text: str) -> GenesisPeer:
    """The peer in an argument; neither base58 nor an address holds an @ or a comma."""
    record, at, rest = text.partition("@")
    address, *flags = rest.split(",")
    if not at:
        raise ArgumentError(f"--peer {text!r} has no '@'; allowed is {PEER_FORM}: write the record and the address")
    return _peer("--peer", record, address, flags)


def _peers_of_file(path: Path) -> Iterator[GenesisPeer]:
    what = "a file with a record, an address and flags on each line"
    for number, line in enumerate(read_file(path, what).splitlines(), start=1):
        words = line.partition("#")[0].split()
        if words:
            where = f"{path}, line {number}"
            if len(words) < 2:
                raise ArgumentError(f"{where} has no address; allowed is {what}: write RECORD HOST:PORT [FLAG]...")
            yield _peer(where, words[0], words[1], words[2:])


def _peer(where: str, record: str, address: str, flags: list[str]) -> GenesisPeer:
    for flag in flags:
        if flag not in FLAGS:
            raise ArgumentError(f"{where}, at {address}: the flag {flag!r} is none of {', '.join(FLAGS)}: leave it out")
    try:
        return GenesisPeer(
            record=PeerRecord.parse(record),
            address=address,
            capabilities=PeerCapabilities(**{FLAGS[flag]: True for flag in flags}),
        )
    except ArgumentError as error:
        raise ArgumentError(f"{where}, at {address}: {error}") from None


def _options(settings: Iterable[str]) -> Options:
    """Options from NAME=VALUE, with values as TOML has them."""
    values: dict[str, object] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise ArgumentError(f"--option {setting!r} has no '='; allowed is NAME=VALUE, like heartbeat_us=250000")
        if name in values:
            raise ArgumentError(f"--option {name} was given twice: give it once")
        try:
            document = tomllib.loads(f"value = {text}")
        except tomllib.TOMLDecodeError:
            document = {}
        if list(document) != ["value"]:
            raise ArgumentError(f"--option {setting!r}: the value is neither a whole number nor true or false")
        values[name] = document["value"]
    return Options.from_mapping(values)
