"""`syncpoint run`: one peer, between standard input and standard output."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ..backend import CORES
from ..context import Context
from ..engine import Engine
from ..errors import ArgumentError
from ..genesis import Genesis
from ..keys import KeySecret
from ..message import Event, SyncPoint
from ..proposal import Approve, Proposal
from ..runtime.tip import DURABILITIES
from ..socket import Socket
from .choices import Approval
from .control import default_path
from .control_server import controlled, point_fields
from .files import KeyFile, Listen, NetworkFile, PeerFiles
from .guard import note, plain_errors
from .lines import LineReader, LineWriter
from .loop import Loop, run_on
from .proposal_view import waiting

__all__ = ["run"]

STDOUT = 1
LOOK_S = 0.05  # between two looks at whether the peer is idle


def run(
    network: NetworkFile,
    key: KeyFile,
    listen: Listen = None,
    exit_when_idle: Annotated[
        float | None,
        typer.Option(
            "--exit-when-idle",
            metavar="SECONDS",
            help="End when the input has ended, what it held is final, and nothing came for so long.",
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", metavar="N", help="End after N delivered transactions.")
    ] = None,
    linger: Annotated[
        float,
        typer.Option(
            "--linger",
            metavar="SECONDS",
            help="With --count, and at the end of the session: stay so long, for peers that still lack something.",
        ),
    ] = 1.0,
    everything: Annotated[bool, typer.Option("--all", help="Print events without transactions as well.")] = False,
    store: Annotated[
        Path | None,
        typer.Option("--store", metavar="FOLDER", help="Keep everything there, and go on from it at the next start."),
    ] = None,
    durability: Annotated[
        str, typer.Option("--durability", help=f"What --store promises: {', '.join(DURABILITIES)}.")
    ] = "full",
    resume_after: Annotated[
        int | None,
        typer.Option("--resume-after", metavar="INDEX", help="With --store: print what comes behind this event."),
    ] = None,
    joining_running_session: Annotated[
        bool,
        typer.Option(
            "--joining-running-session",
            help="The store was lost or put back: sign nothing until the others have said how far this key was.",
        ),
    ] = False,
    joins: Annotated[
        bool,
        typer.Option(
            "--joins",
            help="Our key need not be in the network file: follow until 'syncpoint change add' lets us in.",
        ),
    ] = False,
    next_key: Annotated[
        Path | None,
        typer.Option(
            "--next-key",
            metavar="FILE",
            help="The newest key of this peer after 'syncpoint change rotate'; --key stays the first one.",
        ),
    ] = None,
    approve: Annotated[
        Approval | None,
        typer.Option(
            "--approve",
            help="How to vote on what others propose; 'ask' leaves it to 'syncpoint vote'. Default: approve what "
            "changes nothing about the network, and new keys; leave the rest to 'syncpoint vote', and say so.",
        ),
    ] = None,
    control: Annotated[
        Path | None,
        typer.Option(
            "--control",
            metavar="PATH",
            help="Where 'syncpoint propose', 'change', 'vote' and 'members' reach this peer; default: in the folder "
            "of its store, without one beside its key file.",
        ),
    ] = None,
    core: Annotated[str, typer.Option("--core", help=f"The core that runs: {', '.join(CORES)}.")] = "auto",
    loop: Annotated[
        Loop, typer.Option("--loop", help="The event loop; uvloop needs 'syncpoint[fast]'.")
    ] = Loop.ASYNCIO,
) -> None:
    """Run one peer: each line of standard input is a transaction, each line of standard output an agreed event.

    The agreed stream is JSON, one event per line. The end of the input only ends the sending; SIGINT or SIGTERM
    stops the peer. Notes go to standard error.
    """
    with plain_errors():
        for name, value in (("--exit-when-idle", exit_when_idle), ("--count", count), ("--linger", linger)):
            if value is not None and (value < 0 or value != value):
                raise ArgumentError(f"{name} is {value}: give 0 or more")
        files = PeerFiles.load(network, key, listen, joins=joins)
        next_secret = None if next_key is None else KeySecret.load(next_key)
        logging.basicConfig(format="syncpoint: %(message)s", level=logging.WARNING, stream=sys.stderr)
        policy = None if approve is None else _policy(approve)
        context = functools.partial(Context, core, store, durability=durability, approve=policy)
        place = default_path(store, key, files.secret.public()) if control is None else control
        controlling = functools.partial(controlled, place, control is not None)
        peer = _Peer(files, context, controlling, everything, resume_after, joining_running_session, joins, next_secret)
        run_on(loop, peer.run(exit_when_idle, count, linger))


class _Peer:
    """One running peer."""

    def __init__(
        self,
        files: PeerFiles,
        context: Callable[[], Context],
        controlling: Callable[[Engine, Genesis], contextlib.AbstractAsyncContextManager[Path | None]],
        everything: bool,
        resume_after: int | None,
        joining_running_session: bool,
        joins: bool,
        next_secret: KeySecret | None,
    ) -> None:
        self._files = files
        self._context = context
        self._controlling = controlling
        self._resume_after = resume_after
        self._joining_running_session = joining_running_session
        self._joins = joins
        self._next_secret = next_secret
        self._everything = everything
        self._input_ended = False
        self._delivered = 0  # transactions
        self._received_at = 0.0  # loop time of the last one
        self._waiting: list[Proposal] = []  # for a vote, and a person is to hear of them
        self._tell: Callable[[], None] = lambda: None  # of these, once there is an engine
        self._signalled = asyncio.Event()

    async def run(self, exit_when_idle: float | None, count: int | None, linger: float) -> None:
        """Start, and go on until the first reason to end."""
        genesis = self._files.genesis
        async with self._context() as context:
            context._left_open = self._left_open
            socket = await Socket.bind(context, self._files.listen)
            engine = await Engine.start(
                context,
                socket,
                genesis.options,
                self._files.secret,
                genesis.peers(),
                self._joining_running_session,
                network=genesis.network,
                resume_after=self._resume_after,
                joins=self._joins,
                next_secret=self._next_secret,
            )
            with _signals_set(self._signalled):
                note(
                    f"peer {engine.public} of {len(genesis.entries)} in network {genesis.network.name!r} "
                    f"({genesis.fingerprint}) listens at {socket.address}, {context.core.name} core"
                )
                async with self._controlling(engine, genesis) as control:
                    self._tell = functools.partial(self._tell_of, engine, control)
                    self._tell()
                    await self._until_first_end(engine, exit_when_idle, count, linger)
                note(f"stopped: {self._delivered} transactions delivered, {_place(engine)}")

    def _left_open(self, proposal: Proposal) -> None:
        """Tell of it, or as soon as there is an engine: a store may have it open."""
        self._waiting.append(proposal)
        self._tell()

    def _tell_of(self, engine: Engine, control: Path | None) -> None:
        for proposal in self._waiting:
            if proposal in engine.proposals:
                note(waiting(proposal, engine.network, control))
        self._waiting.clear()

    async def _until_first_end(
        self, engine: Engine, exit_when_idle: float | None, count: int | None, linger: float
    ) -> None:
        jobs = [self._receive(engine, count, linger), self._send(engine), self._signal()]
        if exit_when_idle is not None:
            jobs.append(self._idle(engine, exit_when_idle))
        tasks = [asyncio.ensure_future(job) for job in jobs]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _receive(self, engine: Engine, count: int | None, linger: float) -> None:
        """Print the stream; ends after `count` transactions, or with the session."""
        if count == 0:
            return
        writer, loop = LineWriter(STDOUT), asyncio.get_running_loop()
        async for message in engine:
            if isinstance(message, SyncPoint):
                await writer.write(_as_json(point_fields(message)))
                continue
            # Counted first: whoever reads the line may end us before the write returns.
            self._delivered += message.transaction_count
            if message.transaction_count:
                self._received_at = loop.time()
            if self._everything or message.transaction_count:
                await writer.write(_as_json(_event_fields(message)))
            if count is not None and self._delivered >= count:
                await asyncio.sleep(linger)
                return
        await asyncio.sleep(linger)  # the session has ended

    async def _send(self, engine: Engine) -> NoReturn:
        """Send what comes in, no faster than the engine takes it."""
        descriptor = None if sys.stdin is None else sys.stdin.fileno()
        async for lines in LineReader(descriptor, engine.network.max_transaction_bytes).batches():
            for line in lines:
                await engine.send_transaction(line)
        self._input_ended = True
        await asyncio.Event().wait()
        raise AssertionError

    async def _signal(self) -> None:
        await self._signalled.wait()

    async def _idle(self, engine: Engine, seconds: float) -> None:
        """Ends when nothing was to be done for so long; without ever having had a quorum, nothing is idle."""
        loop = asyncio.get_running_loop()
        seen_quorum, busy_at = False, loop.time()
        while True:
            now, status = loop.time(), engine.status()
            seen_quorum = seen_quorum or status.consensus.has_quorum
            consensus = status.consensus
            outstanding = consensus.queued_transactions or consensus.undelivered or status.unread_messages
            if not (seen_quorum and self._input_ended) or status.unacknowledged_bytes or outstanding:
                busy_at = now
            if now - max(busy_at, self._received_at) >= seconds:
                return
            await asyncio.sleep(LOOK_S)


def _policy(approval: Approval) -> Approve:
    if approval is Approval.ASK:
        return lambda proposal: None
    return lambda proposal: approval is Approval.ALL


def _place(engine: Engine) -> str:
    """How far the peer got."""
    status = engine.status().consensus
    if status.delivered == 0:
        return "no event"
    return f"order hash {status.order_hash.hex()[:16]} after event {status.delivered - 1}"


def _as_json(fields: dict[str, object]) -> bytes:
    """One line."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _event_fields(event: Event) -> dict[str, object]:
    """An event; a transaction that is not UTF-8 is null, and stands in `base64` under its place in the list."""
    transactions: list[str | None] = []
    binary: dict[str, str] = {}
    for place, transaction in enumerate(event.transactions):
        try:
            transactions.append(transaction.decode("utf-8"))
        except UnicodeDecodeError:
            transactions.append(None)
            binary[str(place)] = base64.b64encode(transaction).decode("ascii")
    line: dict[str, object] = {
        "index": event.index,
        "consensus_at": event.consensus_at,
        "creator": str(event.creator),
        "round": event.round,
        "hash": event.hash.hex(),
        "order_hash": event.order_hash.hex(),
        "transactions": transactions,
    }
    if binary:
        line["base64"] = binary
    return line


@contextlib.contextmanager
def _signals_set(event: asyncio.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set the event, where the loop can do that; elsewhere Ctrl-C interrupts as ever."""
    loop = asyncio.get_running_loop()
    taken = []
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, event.set)
            taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
