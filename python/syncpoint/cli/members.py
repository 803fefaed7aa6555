"""`syncpoint members`: the peers of a network as one that runs sees them."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .control import ControlFile, StoreFolder, ask, find_socket
from .guard import plain_errors

__all__ = ["members"]


def members(
    control: ControlFile = None,
    store: StoreFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object with all of it.")] = False,
) -> None:
    """Show the peers as one that runs ('syncpoint run') sees them: keys, addresses, links, how far each is.

    A peer is active while its newest event is at most 16 rounds below the newest of all.
    """
    with plain_errors():
        answer = ask(find_socket(control, store), {"do": "members"})
        if as_json:
            typer.echo(json.dumps(answer))
        else:
            _show(answer)


def _show(answer: dict[str, Any]) -> None:

    console = Console()
    table = Table(title=f"peers of {answer['network']!r}", title_justify="left")
    table.add_column("peer", justify="right")
    for name in ("key", "address", "capabilities", "linked"):
        table.add_column(name, overflow="fold")
    for name in ("newest round", "open proposals"):
        table.add_column(name, justify="right")
    table.add_column("active")
    for each in answer["members"]:
        table.add_row(
            str(each["peer"]),
            each["key"],
            Text(each["address"]),
            " ".join(each["capabilities"]),
            _linked(each),
            "" if each["newest_round"] is None else str(each["newest_round"]),
            str(each["proposals"] or ""),
            {True: Text("yes", "green"), False: Text("no", "bold red"), None: Text("observer", "dim")}[each["active"]],
        )
    console.print(table)
    quorum = "there is one" if answer["has_quorum"] else "there is none, so nothing is ordered"
    console.print(
        f"{answer['n']} peers order, {answer['f']} of them may lie or be dead; a quorum is {answer['q']}: {quorum}",
        soft_wrap=True,
    )


def _linked(member: dict[str, Any]) -> Text:

    if member["own"]:
        return Text("this peer", "dim")
    if member["linked"]:
        return Text("yes", "green")
    return Text(f"no: {member['refusal']}" if member["refusal"] else "no", "bold red")
