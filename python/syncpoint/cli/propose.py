"""`syncpoint propose`: asks the network for a sync point, through a peer that runs."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.change import CHANGING
from ..core.values import SyncPointKind
from ..errors import ArgumentError
from ..proposal import PROPOSABLE, check_proposal
from .control import ANSWER_TIMEOUT_S, DECISION_GRACE_S, ControlFile, StoreFolder, ask, find_socket
from .guard import FAILED, STALLED, fail, note, plain_errors

__all__ = ["Timeout", "decide", "propose"]

Timeout = Annotated[float, typer.Option("--timeout", metavar="SECONDS", help="How long a quorum has to approve it.")]
KINDS = ", ".join(kind.name for kind in PROPOSABLE)


def propose(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=f"What it is about: {KINDS}.")],
    metadata: Annotated[str, typer.Option("--metadata", metavar="TEXT", help="What all peers see with it.")] = "",
    timeout: Timeout = 30.0,
    control: ControlFile = None,
    store: StoreFolder = None,
) -> None:
    """Propose a sync point through a peer that runs ('syncpoint run'), and wait for what comes of it.

    Exit code 0 when it was adopted, 1 when the network decided against it, 3 when there was no quorum to decide.
    Interrupted, it waits no more, and the proposal stands.
    """
    with plain_errors():
        wanted = _kind_of(kind)
        data = metadata.encode("utf-8", "surrogateescape")
        try:
            check_proposal(wanted, data, timeout)
        except ArgumentError as error:
            raise ArgumentError(str(error).removeprefix("Engine.propose: ")) from None
        request = {
            "do": "propose",
            "kind": wanted.name,
            "metadata": base64.b64encode(data).decode("ascii"),
            "timeout": timeout,
        }
        decide(find_socket(control, store), request, timeout)


def decide(path: Path, request: dict[str, Any], timeout: float) -> None:
    """Have a peer propose what the request says, and say what comes of it; `timeout` in s, that of the proposal."""
    try:
        answer = ask(path, request, timeout + DECISION_GRACE_S + ANSWER_TIMEOUT_S)
    except KeyboardInterrupt:
        note("waits no more; if the proposal was sent, it stands")
        raise
    match answer["outcome"]:
        case "ADOPTED":
            typer.echo(_in_words(answer["sync_point"]))
        case "UNDECIDED":
            fail(f"UNDECIDED: {answer['reason']}", STALLED)
        case outcome:
            fail(f"{outcome}: {answer['reason']}", FAILED)


def _kind_of(text: str) -> SyncPointKind:
    try:
        kind = SyncPointKind[text.upper()]
    except KeyError:
        raise ArgumentError(f"{text!r} is no kind of a sync point: give one of {KINDS}") from None
    if kind in CHANGING:
        raise ArgumentError(f"{kind.name} has to say what changes: 'syncpoint change' asks for that; else give {KINDS}")
    return kind


def _in_words(point: dict[str, Any]) -> str:
    approvals = point["approvals"]
    who = f"{len(approvals)} peer{'s' if len(approvals) > 1 else ''} had approved it"
    return "\n".join(
        [
            f"{point['sync_point']} adopted: at index {point['index']} on every peer, sync point "
            f"{point['epoch_index']}; {who}",
            f"session     {point['session_id']}",
            f"order hash  {point['order_hash']}",
            *(f"approved    {key}" for key in approvals),
            *(f"{name:<11} {key}" for name in ("joined", "left", "rotated") for key in point.get(name, ())),
        ]
    )
