"""One peer of a `cluster`: a process that is told on standard input what to do, one JSON object per line.

It makes its own key, which never leaves it, listens, says its key and its address, and from then on reports at
regular intervals what it sent and what it received, as JSON lines on standard output. The end of its
standard input is the end of its parent, and so its own: there are never orphans.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import struct
import sys
import time
import zlib
from collections.abc import Callable
from typing import Any

from ..context import Context
from ..core.config import Network
from ..core.values import SyncPointKind
from ..engine import Engine
from ..errors import ProposalRejected
from ..keys import KeyPublic, KeySecret
from ..message import Event, SyncPoint
from ..options import Options
from ..peers import PeerCapabilities, Peers
from ..socket import Socket
from .lines import LineReader
from .loop import Loop, run_on

__all__ = ["fence_transaction", "line_checksum", "line_transaction", "main"]

Json = dict[str, Any]

MAX_COMMAND_BYTES = 1 << 30  # our own parent sends it
LOOK_S = 0.01  # between two looks at whether a condition holds
YIELD_EVERY = 64  # transactions sent without a pause before the engine gets its turn
FENCE = b"F"
LOAD = b"L"
_LOAD_HEADER = struct.Struct("<cHQ")  # LOAD, whose, when it was sent in monotonic ns


def line_transaction(number: int, text: str) -> bytes:
    """A line as a transaction: its number keeps apart lines that are alike. Starts with a digit."""
    return b"%d\t%b" % (number, text.encode("utf-8", "surrogateescape"))


def fence_transaction(peer: int) -> bytes:
    """What survivors send once they have all of a dead peer's events that they will ever get."""
    return b"%b%d" % (FENCE, peer)


def line_checksum(transactions: list[bytes]) -> int:
    """Shows that what arrived is what was sent, without sending all of it to the parent."""
    return zlib.crc32(b"\0".join(transactions))


def main(core: str, address: str, loop: Loop = Loop.ASYNCIO) -> None:
    """Be a peer that listens at an address, host:port, until the parent is done with it."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    run_on(loop, _work(core, address))


async def _work(core: str, address: str) -> None:
    async with Context(core=core) as context:
        socket = await Socket.bind(context, address)
        secret = KeySecret.generate()
        _say({"kind": "hello", "address": socket.address, "public": str(secret.public())})
        commands = LineReader(sys.stdin.fileno(), MAX_COMMAND_BYTES).batches()
        peer: _Peer | None = None
        try:
            async for lines in commands:
                for line in lines:
                    command = json.loads(line)
                    if peer is None:
                        assert command["do"] == "start"
                        peer = _Peer(await _start(context, socket, secret, command), command)
                    elif not peer.obey(command):
                        return
        finally:
            if peer is not None:
                await peer.end()


async def _start(context: Context, socket: Socket, secret: KeySecret, command: Json) -> Engine:
    peers = Peers()
    for address, public, can_be_dialled in command["peers"]:
        peers.insert(address, KeyPublic.parse(public), PeerCapabilities(public=can_be_dialled))
    network, options = Network(**command["network"]), Options.from_mapping(command["options"])
    return await Engine.start(context, socket, options, secret, peers, network=network)


class _Peer:
    """The running peer and what it has not reported yet."""

    def __init__(self, engine: Engine, command: Json) -> None:
        self._engine = engine
        self._numbers = {KeyPublic.parse(public): number for number, (_, public, _) in enumerate(command["peers"])}
        self._own = self._numbers[engine.public]
        self._keys = list(self._numbers)
        self._report_s: float = command["report_s"]
        self._final: list[tuple[int, int]] | None = [] if command["grid"] else None
        self._sent: list[tuple[int, int]] = []
        self._received: list[list[object]] = []
        self._fences: list[int] = []
        self._points: list[list[object]] = []
        self._decided: list[str | None] = []  # why not, of each proposal of ours
        self._load_sent = 0
        self._load_received = 0  # of all peers
        self._load_own = 0  # received, of ours
        self._load_ns: list[int] = []  # from sending to receiving, of ours
        self._load_woken = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        for job in (self._receive(), self._report(), self._link()):
            self._run(job)

    def obey(self, command: Json) -> bool:
        """Begin what a command says; False when it is the last one."""
        match command["do"]:
            case "send":
                self._run(self._send(command["lines"]))
            case "fence":
                self._run(self._fence(command["dead"]))
            case "propose":
                self._run(self._propose(command["number"]))
            case "load":
                self._run(self._load(command["window"], command["bytes"], command["until_ns"]))
            case "status":
                _say({"kind": "status", "status": self._status()})
            case "stop":
                return False
            case other:
                raise AssertionError(f"unknown command {other!r}")
        return True

    async def end(self) -> None:
        """Report the rest and stop everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(BrokenPipeError):  # the parent may be gone
            self._say_report("bye")
        await self._engine.stop()

    def _run(self, job: Any) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The parent sees the end and shows this; there is nothing to be saved here.
            logging.getLogger("syncpoint.worker").error("a peer failed", exc_info=error)
            os._exit(1)

    # -- sending and receiving ----------------------------------------------------------------------

    async def _send(self, lines: list[tuple[int, int, str]]) -> None:
        """Send lines, each when it is due (monotonic ns; 0 is at once)."""
        for count, (number, due_ns, text) in enumerate(lines):
            wait_ns = due_ns - time.monotonic_ns()
            if wait_ns > 0:
                await asyncio.sleep(wait_ns / 1e9)
            elif count % YIELD_EVERY == 0:
                await asyncio.sleep(0)
            self._sent.append((number, time.monotonic_ns()))
            await self._engine.send_transaction(line_transaction(number, text))

    async def _fence(self, dead: int) -> None:
        """Send a fence as soon as nothing of the dead peer can newly reach us but through another survivor."""
        key = self._keys[dead]

        def settled() -> bool:
            status = self._engine.status()
            return key not in status.linked and not status.consensus.waiting_events

        await _until(settled)
        await self._engine.send_transaction(fence_transaction(self._own))

    async def _propose(self, number: int) -> None:
        """Propose a session, which gets a number by which all know it."""
        try:
            await self._engine.propose(SyncPointKind.SESSION, b"%d" % number)
        except ProposalRejected as error:
            self._decided.append(f"proposal {number}: {error.outcome.name}: {error.reason}")
        else:
            self._decided.append(None)

    async def _load(self, window: int, size: int, until_ns: int) -> None:
        """Keep `window` transactions of `size` bytes on their way until the time is over."""
        self._load_ns.clear()
        while (now := time.monotonic_ns()) < until_ns:
            if self._load_sent - self._load_own >= window:
                self._load_woken.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._load_woken.wait(), (until_ns - now) / 1e9)
                continue
            self._load_sent += 1
            header = _LOAD_HEADER.pack(LOAD, self._own, now)
            await self._engine.send_transaction(header.ljust(size, b"."))

    async def _receive(self) -> None:
        async for event in self._engine:
            if isinstance(event, SyncPoint):
                self._take_point(event)
                continue
            now = time.monotonic_ns()
            if self._final is not None:
                self._final.append((event.round, self._numbers[event.creator]))
            if event.transactions:
                self._take(event, now)

    def _take(self, event: Event, now: int) -> None:
        lines = []
        for transaction in event.transactions:
            kind = transaction[:1]
            if kind == LOAD:
                self._take_load(transaction, now)
            elif kind == FENCE:
                self._fences.append(int(transaction[1:]))
            else:
                lines.append(transaction)
        if lines:
            numbers = [int(line.partition(b"\t")[0]) for line in lines]
            order_hash = event.order_hash.hex()
            self._received.append([event.index, event.round, order_hash, now, numbers, line_checksum(lines)])

    def _take_point(self, point: SyncPoint) -> None:
        session_id, order_hash = point.session_id.hex(), point.order_hash.hex()
        number = int(point.metadata or b"-1")  # one that comes by itself has none
        self._points.append([point.index, point.epoch_index, point.kind.name, session_id, order_hash, number])

    def _take_load(self, transaction: bytes, now: int) -> None:
        _, whose, sent_ns = _LOAD_HEADER.unpack_from(transaction)
        self._load_received += 1
        if whose == self._own:
            self._load_own += 1
            self._load_ns.append(now - sent_ns)
            self._load_woken.set()

    # -- reporting ----------------------------------------------------------------------------------

    async def _link(self) -> None:
        await _until(lambda: len(self._engine.status().linked) == len(self._numbers) - 1)
        _say({"kind": "linked"})

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(self._report_s)
            self._say_report("report")

    def _say_report(self, kind: str) -> None:
        status = self._engine.status()
        consensus = status.consensus
        frontier = {
            self._numbers[key]: newest for key, newest in zip(sorted(self._keys), consensus.frontier, strict=True)
        }
        _say(
            {
                "kind": kind,
                "closed_round": consensus.closed_round,
                "top_round": consensus.top_round,
                "frontier": [frontier[number] for number in range(len(self._keys))],
                "timeouts": consensus.timeouts,
                "events": consensus.delivered,
                "order_hash": consensus.order_hash.hex(),
                "linked": len(status.linked),
                "cpu_ns": time.process_time_ns(),
                "now_ns": time.monotonic_ns(),
                "sent": self._sent,
                "received": self._received,
                "fences": self._fences,
                "points": self._points,
                "decided": self._decided,
                "final": self._final or [],
                "load": [self._load_sent, self._load_received],
                "load_ns": self._load_ns,
            }
        )
        for each in (self._sent, self._received, self._fences, self._points, self._decided, self._load_ns):
            each.clear()
        if self._final is not None:
            self._final.clear()

    def _status(self) -> Json:
        """Everything the engine says of itself, for people who look for the reason of a stall."""
        status = self._engine.status()
        consensus = dataclasses.asdict(status.consensus)
        consensus["order_hash"] = status.consensus.order_hash.hex()
        consensus["rejects"] = {code.name: count for code, count in status.consensus.rejects.items()}
        return {
            "core": dataclasses.asdict(status.core),
            "linked": [self._numbers[key] for key in status.linked],
            "refusals": {str(self._numbers[key]): advice for key, advice in status.refusals.items()},
            "unread_messages": status.unread_messages,
            "unacknowledged_bytes": status.unacknowledged_bytes,
            "dropped_frames": status.dropped_frames,
            "stopped": status.stopped,
            "consensus": consensus,
        }


async def _until(holds: Callable[[], bool]) -> None:
    """Look until a condition holds that nobody tells us of."""
    while not holds():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(LOOK_S)


def _say(message: Json) -> None:
    """One line to the parent, which always reads."""
    data = memoryview(json.dumps(message, separators=(",", ":")).encode() + b"\n")
    while data:
        data = data[os.write(1, data) :]
