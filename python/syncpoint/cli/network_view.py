"""What a network file is, in lines that operators compare: the same file, the same lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from ..core.config import Network
from ..genesis import Genesis, GenesisPeer
from ..options import Options
from ..peers import Peer

__all__ = ["flags_of", "summary"]


def summary(genesis: Genesis) -> str:
    """Id, settings and peers of a network, a line for each."""
    return "\n".join(_lines(genesis))


def flags_of(entry: GenesisPeer | Peer) -> list[str]:
    """The flags of a peer that are set, by their names."""
    return [each.name for each in fields(entry.capabilities) if getattr(entry.capabilities, each.name)]


def _lines(genesis: Genesis) -> Iterator[str]:
    committee = genesis.committee
    yield f"network      {genesis.network.name!r}"
    yield f"id           {genesis.id.hex()}"
    yield f"fingerprint  {genesis.fingerprint}"
    yield f"n, f, q      {committee.n} that order, of which {committee.f} may lie or be dead; a quorum is {committee.q}"
    yield f"observers    {len(committee.observers)}"
    yield f"settings     {_settings(genesis.network)}"
    yield f"options      {_settings(genesis.options, Options()) or 'all as they are by default'}"
    for index, entry in enumerate(genesis.entries):
        yield f"peer {index:<8}{' '.join([str(entry.public), entry.address, *flags_of(entry)])}"


def _settings(settings: Network | Options, default: Options | None = None) -> str:
    """Names and values; given a default, only where they differ from it."""
    return ", ".join(
        f"{each.name} = {_value(getattr(settings, each.name))}"
        for each in fields(settings)
        if each.name != "name" and (default is None or getattr(settings, each.name) != getattr(default, each.name))
    )


def _value(value: object) -> object:
    return "left out" if value is None else value
