"""`syncpoint vote`: what is open, and a vote on it, through a peer that runs."""

from __future__ import annotations

import base64
import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import ArgumentError
from .control import ControlFile, StoreFolder, ask, find_socket
from .guard import plain_errors
from .proposal_view import ID_DIGITS, printable, time_of

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
    """Vote on an open proposal through a peer that runs; without ID, list those that are open.

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
        table.add_row(
            each["id"][:ID_DIGITS],
            each["kind"],
            each["proposer"],
            time_of(each["deadline"]),
            Text(printable(base64.b64decode(each["metadata"]).decode("utf-8", "replace"))),
            Text(printable(each["changes"])),
        )
    Console().print(table)
