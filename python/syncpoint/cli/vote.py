"""`syncpoint vote`: what is open, and a vote on it, through a peer that runs."""

from __future__ import annotations

import base64
import datetime
import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import ArgumentError
from .control import ControlFile, StoreFolder, ask, find_socket
from .guard import plain_errors

__all__ = ["vote"]


def vote(
    proposal: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="The id, or its first digits; without it, what is open is listed."),
    ] = None,
    refuse: Annotated[bool, typer.Option("--refuse", help="Refuse it; a vote cannot be changed.")] = False,
    control: ControlFile = None,
    store: StoreFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with all of it.")] = False,
) -> None:
    """Vote on an open proposal through a peer that runs with '--approve ask'; without ID, list those that are open.

    The vote is sent with the peer's next event, and counts where that is delivered.
    """
    with plain_errors():
        if proposal is None and refuse:
            raise ArgumentError("--refuse needs the ID of what is refused: 'syncpoint vote' without both lists the ids")
        path = find_socket(control, store)
        if proposal is None:
            answer = ask(path, {"do": "proposals"})
        else:
            answer = ask(path, {"do": "vote", "proposal": proposal, "approve": not refuse})
        if as_json:
            typer.echo(json.dumps(answer))
        elif proposal is None:
            _show(answer["proposals"])
        else:
            voted = answer["proposal"]
            typer.echo(f"{'approved' if answer['approve'] else 'refused'}: {voted['kind']} {voted['id']}")


def _show(proposals: list[dict[str, Any]]) -> None:
    """The open proposals as a table."""
    if not proposals:
        typer.echo("no proposal is open")
        return

    table = Table(title="open proposals", title_justify="left")
    for name in ("id", "kind", "proposer", "deadline", "metadata", "changes"):
        table.add_column(name, overflow="fold")
    for each in proposals:
        deadline = datetime.datetime.fromtimestamp(each["deadline"] // 10**9, datetime.UTC)
        table.add_row(
            each["id"][:16],
            each["kind"],
            each["proposer"],
            f"{deadline:%Y-%m-%d %H:%M:%S} UTC",
            Text(_printable(base64.b64decode(each["metadata"]))),
            Text(_printable(each["changes"].encode())),
        )
    Console().print(table)


def _printable(metadata: bytes) -> str:
    """What a peer attached, without what would steer the terminal."""
    text = metadata.decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
