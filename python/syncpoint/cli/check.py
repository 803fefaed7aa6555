"""`syncpoint check`: could this peer run, and which of the others could it link with?"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated, TypeVar

import typer

from .. import __version__
from ..address import parse_address
from ..backend import CORES, core_info
from ..context import Context
from ..core.config import MAX_PEERS
from ..core.wire import max_frame_bytes
from ..errors import ArgumentError, SocketBindError, SyncpointError
from ..genesis import Genesis
from ..keys import KeySecret
from ..peers import Peer
from ..runtime.links import LinkPeer
from ..runtime.probe import Probe, probe
from ..socket import Socket
from .check_members import known_members
from .check_view import CLOCK_NOTE_NS, Finding, Known, OtherPeer, Verdict, show
from .control import default_path
from .files import KeyFile, Listen, NetworkFile, PeerFiles
from .guard import FAILED, one_line, plain_errors

__all__ = ["check"]

MAX_TIMEOUT_S = 60.0
TRIES = 3  # to get an answer of who was reached

Made = TypeVar("Made")  # what was looked at


def check(
    network: NetworkFile,
    key: KeyFile,
    listen: Listen = None,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", help="How long to wait for each of the others.")
    ] = 3.0,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store", metavar="FOLDER", help="Of its store: judge by the members that it has, not the first."
        ),
    ] = None,
    next_key: Annotated[
        Path | None, typer.Option("--next-key", metavar="FILE", help="Its newest key, as 'syncpoint run' has it.")
    ] = None,
    core: Annotated[str, typer.Option("--core", help=f"The core that is to run: {', '.join(CORES)}.")] = "auto",
) -> None:
    """Tell whether a peer's files are sound, whether it could listen, and what it hears from each other peer.

    The network file names the first members alone. With --store the others are those of the newest epoch in it, or of
    the peer that runs with it. They are asked whether they would take a link, and what time they have; nothing else
    comes of it, and a running peer with the same key is not disturbed. Exit code 0 when nothing has to be done, 1 when
    something has.
    """
    with plain_errors():
        if not 0 < timeout <= MAX_TIMEOUT_S:
            raise ArgumentError(f"--timeout is {timeout}: give more than 0 and at most {MAX_TIMEOUT_S:g} seconds")
        if not asyncio.run(_check(network, key, listen, timeout, store, next_key, core)):
            raise typer.Exit(FAILED)


async def _check(
    network: Path,
    key: Path,
    listen: str | None,
    timeout_s: float,
    store: Path | None,
    next_key: Path | None,
    core: str,
) -> bool:
    """Look at everything and show it; whether all is well."""
    findings: list[Finding] = []

    def look(what: str, at: Callable[[], Made], seen: Callable[[Made], str]) -> Made | None:
        try:
            found = at()
        except (SyncpointError, OSError) as error:
            findings.append(Finding(what, Verdict.FAILED, one_line(error)))
            return None
        findings.append(Finding(what, Verdict.OK, seen(found)))
        return found

    look("version, core", lambda: core_info(core), lambda info: f"syncpoint {__version__}, {info.name} ({info.reason})")
    genesis = look("network file", lambda: Genesis.from_toml(network), _seen_in_file)
    secret = look("key file", lambda: KeySecret.load(key), lambda secret: f"for its owner alone; {secret.public()}")
    newest = secret
    if next_key is not None:
        path = next_key
        newest = look("next key file", lambda: KeySecret.load(path), lambda secret: f"the same, of {secret.public()}")
    if genesis is None or secret is None or newest is None:
        show(findings, [], None, None)
        return False
    control = None if store is None else default_path(store, key, secret.public())
    known, finding = known_members(genesis, secret, store, control)
    findings.append(finding)

    def ourselves() -> tuple[PeerFiles, KeySecret, int]:
        files = PeerFiles.of(genesis, secret, network, key, listen, joins=store is not None)
        for each in (newest, secret):
            number = known.number_of(each.public())
            if number is not None:
                return files, each, number
        raise ArgumentError(
            f"{newest.public()} is none of these {len(known.peers)} members: after 'syncpoint change rotate' give "
            "--next-key; one that is not let in yet, or was removed, links with nobody"
        )

    ours = look("our peer", ourselves, lambda ours: f"number {ours[2]}, at {known.peers[ours[2]].address}")
    others: list[OtherPeer] = []
    if ours is not None:
        files, held, own = ours
        findings.append(await _listening(files.listen))
        others = await _ask_all(genesis, held, known, own, timeout_s)
    findings += _clock(others)
    show(findings, others, known, None if ours is None else ours[2])
    return Verdict.FAILED not in {each.verdict for each in findings} | {each.verdict for each in others}


def _seen_in_file(genesis: Genesis) -> str:
    return (
        f"{genesis.network.name!r} in its one form, {len(genesis.entries)} peers; compare with the others: "
        f"{genesis.fingerprint}"
    )


async def _listening(address: str) -> Finding:
    """Whether the address can be listened at; what is bound for that is closed at once."""
    what = "listening"
    try:
        async with Context() as context, await Socket.bind(context, address):
            return Finding(what, Verdict.OK, f"{address} is free, and can be listened at")
    except SocketBindError as error:
        if error.errno == errno.EADDRINUSE:
            words = "is in use: by this peer, if it runs now; else end what holds it, or take another port"
            return Finding(what, Verdict.NOTE, f"{address} {words}")
        if error.errno == errno.EADDRNOTAVAIL:
            everywhere = f"0.0.0.0:{parse_address(address, allow_zero_port=True)[1]}"
            words = f"is no address of this machine: if something passes links on to it, give --listen {everywhere}"
            return Finding(what, Verdict.FAILED, f"{address} {words}")
        return Finding(what, Verdict.FAILED, one_line(error))


async def _ask_all(genesis: Genesis, secret: KeySecret, known: Known, own: int, timeout_s: float) -> list[OtherPeer]:
    """What each other peer answers; all are asked at once."""
    numbered = [(number, entry) for number, entry in enumerate(known.peers) if number != own]
    keys = [bytes(entry.public) for entry in known.peers]
    asks = (_ask(genesis, secret, keys, number, entry, timeout_s) for number, entry in numbered)
    answers = await asyncio.gather(*asks)
    # Where some peers are marked as public the others are those that nobody can dial.
    some_public = any(entry.capabilities.public for entry in known.peers)
    others = []
    for (number, entry), answer in zip(numbered, answers, strict=True):
        other = OtherPeer.of(number, entry.address, answer)
        if answer.error is not None and some_public and not entry.capabilities.public:
            words = f"not public, so it dials the public peers, and this is no fault by itself: {answer.error}"
            other = replace(other, verdict=Verdict.NOTE, words=words)
        others.append(other)
    return others


async def _ask(
    genesis: Genesis, secret: KeySecret, keys: Sequence[bytes], number: int, entry: Peer, timeout_s: float
) -> Probe:
    """The one place where another peer is asked.

    One whose key was replaced a moment ago shows the old one and the new one in turn, so it is asked again.
    """
    host, port = parse_address(entry.address)
    peer = LinkPeer(number, bytes(entry.public), host, port, entry.capabilities.public)
    for _ in range(TRIES):
        answer = await probe(
            secret._seed, genesis.id, keys, peer, max_frame_bytes(MAX_PEERS, genesis.network), timeout_s
        )
        if answer.error is None or not answer.address:  # it answered, or cannot be reached at all
            break
    return answer


def _clock(others: list[OtherPeer]) -> list[Finding]:
    """Our clock among those of the others; nothing where no clock was heard of."""
    offsets = [other.probe.clock_offset_ns for other in others if other.is_reached]
    if not offsets:
        return []
    offset_ns = median(offsets)
    words = f"{-offset_ns / 1e6:+.1f} ms against the median of {len(offsets)} others"
    if abs(offset_ns) <= CLOCK_NOTE_NS:
        return [Finding("our clock", Verdict.OK, words)]
    return [Finding("our clock", Verdict.NOTE, f"{words}: let NTP set it (chronyd, systemd-timesyncd)")]
