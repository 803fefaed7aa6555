"""Open proposals in words: what they change, until when they can be voted on, and how."""

from __future__ import annotations

import datetime
import shlex
from pathlib import Path

from ..core.config import Network
from ..proposal import Proposal
from .change import AUTO, SETTINGS
from .network_view import flags_of

__all__ = ["ID_DIGITS", "change_of", "printable", "time_of", "waiting"]

ID_DIGITS = 16  # of an id, as people see it
SHOWN_METADATA = 60  # characters in a note; 'syncpoint vote' shows all of it


def waiting(proposal: Proposal, network: Network, control: Path | None) -> str:
    """What a person has to hear of a proposal that waits for a vote: what, by whom, until when, and how to approve.

    `network` has the settings that hold; `control` is the control socket, None without one.
    """
    what = change_of(proposal, network) or proposal.metadata.decode("utf-8", "replace")[:SHOWN_METADATA]
    how = "start with --control PATH"
    if control is not None:
        how = f"syncpoint vote {proposal.id.hex()[:ID_DIGITS]} --control {shlex.quote(str(control))}"
    asks = f"{proposal.kind.name} is proposed by {proposal.proposer} until {time_of(proposal.deadline)}"
    return f"{asks}{': ' if what else ''}{printable(what)}; to approve it: {how}"


def change_of(proposal: Proposal, network: Network) -> str:
    """What it changes, in words, where the settings are these; nothing of one that changes nothing."""
    if proposal.joins is not None:
        flags = flags_of(proposal.joins)
        return " ".join([f"lets in {proposal.joins.public} at {proposal.joins.address}", *flags])
    if proposal.leaves is not None:
        return f"removes {proposal.leaves}"
    if proposal.rotates is not None:
        return f"replaces {proposal.rotates[0]} by {proposal.rotates[1]}"
    if proposal.network is not None:
        values = [(name, getattr(network, name), getattr(proposal.network, name)) for name in SETTINGS]
        return ", ".join(f"{name} = {_value(new)} (was {_value(old)})" for name, old, new in values if new != old)
    return ""


def _value(value: object) -> object:
    return AUTO if value is None else value


def time_of(deadline: int) -> str:
    """A time in ns since the Unix epoch, to the second."""
    return f"{datetime.datetime.fromtimestamp(deadline // 10**9, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


def printable(text: str) -> str:
    """What a peer attached, without what would steer the terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
