"""`syncpoint change`: asks the network for other members, another key or other settings, through a peer that runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Annotated, Any

import typer

from ..address import parse_address
from ..core.config import Network
from ..errors import ArgumentError
from ..keys import KeyPublic, KeySecret
from ..peers import PeerCapabilities
from ..record import PeerRecord
from .control import ControlFile, StoreFolder, find_socket
from .guard import plain_errors
from .propose import Timeout, decide

__all__ = ["AUTO", "SETTINGS", "app", "capabilities_of"]

SETTINGS = ("rule", "order", "f", "gc_depth", "max_ahead", "epoch_ms")  # the others cannot change: links need them
AUTO = "auto"  # the word for an f that is None

app = typer.Typer(
    no_args_is_help=True,
    help="Ask for other members, another key or other settings, through a peer that runs. A quorum has to agree: with "
    "'syncpoint vote', or with the same command at their own peers.",
)


@app.command()
def add(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Where the new peer listens.")],
    record: Annotated[str, typer.Argument(metavar="RECORD", help="What its 'syncpoint keygen' prints.")],
    capability: Annotated[
        list[str] | None, typer.Option("--capability", metavar="NAME", help="One that it has; can be given often.")
    ] = None,
    timeout: Timeout = 30.0,
    control: ControlFile = None,
    store: StoreFolder = None,
) -> None:
    """Let a peer in. It starts with 'syncpoint run --joins', before or after that."""
    with plain_errors():
        parse_address(address)
        names = capability or []
        capabilities_of(names)
        fields = {"address": address, "record": str(PeerRecord.parse(record)), "capabilities": names}
        _ask("add", fields, timeout, control, store)


@app.command()
def remove(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Of the peer, as 'syncpoint members' shows it.")],
    timeout: Timeout = 30.0,
    control: ControlFile = None,
    store: StoreFolder = None,
) -> None:
    """Remove a peer."""
    with plain_errors():
        _ask("remove", {"key": str(KeyPublic.parse(key))}, timeout, control, store)


@app.command()
def rotate(
    key_file: Annotated[Path, typer.Argument(metavar="FILE", help="The new key, made with 'syncpoint keygen'.")],
    timeout: Timeout = 30.0,
    control: ControlFile = None,
    store: StoreFolder = None,
) -> None:
    """Give the peer that is asked another key. From its next start on it needs both: --key OLD --next-key NEW."""
    with plain_errors():
        KeySecret.load(key_file)  # what is wrong with it is said here; the peer reads it by itself
        _ask("rotate", {"file": str(key_file.absolute())}, timeout, control, store)


@app.command()
def config(
    rule: Annotated[str | None, typer.Option("--rule", help="two_step or three_step.")] = None,
    order: Annotated[str | None, typer.Option("--order", help="fair or fast.")] = None,
    f: Annotated[
        str | None,
        typer.Option("--f", metavar="N", help=f"Liars that are tolerated; {AUTO}: as many as the members allow."),
    ] = None,
    gc_depth: Annotated[int | None, typer.Option("--gc-depth", help="Rounds, 4 to 10,000.")] = None,
    max_ahead: Annotated[int | None, typer.Option("--max-ahead", help="Rounds, 8 to 100,000.")] = None,
    epoch_ms: Annotated[int | None, typer.Option("--epoch-ms", help="Milliseconds, 0 for no regular beat.")] = None,
    timeout: Timeout = 30.0,
    control: ControlFile = None,
    store: StoreFolder = None,
) -> None:
    """Change settings of the network; those that are not given stay."""
    with plain_errors():
        values = (rule, order, f, gc_depth, max_ahead, epoch_ms)
        given: dict[str, Any] = {name: value for name, value in zip(SETTINGS, values, strict=True) if value is not None}
        if not given:
            raise ArgumentError(f"nothing changes: give one of {', '.join(SETTINGS)}")
        if f is not None:
            given["f"] = _f_of(f)
        Network(**given)  # it says what is out of its range
        _ask("config", {"settings": given}, timeout, control, store)


def capabilities_of(names: Sequence[object]) -> PeerCapabilities:
    """Those with these names, and no others; ArgumentError for what is no name of one."""
    known = [field.name for field in fields_of(PeerCapabilities)]
    for name in names:
        if name not in known:
            raise ArgumentError(f"{name!r} is no capability: give one of {', '.join(known)}")
    return PeerCapabilities(**{name: name in names for name in known})


def _f_of(word: str) -> int | None:
    """What `Network.f` is to be."""
    try:
        return None if word == AUTO else int(word)
    except ValueError:
        raise ArgumentError(
            f"--f is {word!r}: give a whole number, or {AUTO} for as many as the members allow"
        ) from None


def _ask(what: str, fields: dict[str, Any], timeout: float, control: Path | None, store: Path | None) -> None:
    decide(find_socket(control, store), {"do": "change", "what": what, "timeout": timeout, **fields}, timeout)
