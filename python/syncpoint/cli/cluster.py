"""Peers as processes on this machine, seen from their parent: start, load, kill, listen, clean up.

`syncpoint demo` and the benchmarks use it. Every process is gone when the `async with` block is left,
however that happens; and were this process to be killed, they would see their input end and stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from ..backend import CoreInfo, core_info
from . import WORKER
from .points import Point
from .streams import Delivery

__all__ = ["Cluster", "ClusterFailed", "ClusterStalled", "Place", "WorkerPeer"]

Json = dict[str, Any]

START_TIMEOUT_S = 60.0  # for processes to start and link up; a busy machine takes its time
STOP_TIMEOUT_S = 5.0  # for a process to end by itself before it is killed
DIAGNOSIS_TIMEOUT_S = 3.0
MAX_MESSAGE_BYTES = 1 << 30  # our own children send it
KEPT_NOTES = 20  # lines of a child's standard error, the newest


class ClusterFailed(Exception):
    """A process ended that should not have, or did not start."""


class ClusterStalled(Exception):
    """Nothing moves any more, though something should; `diagnosis` is what each peer says of itself."""

    def __init__(self, message: str, diagnosis: dict[int, Json]) -> None:
        super().__init__(message)
        self.diagnosis = diagnosis


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one peer runs and how the others reach it; by itself here, at a free port of the loopback address."""

    command: Sequence[str] = ()
    """What comes before the peer's own command, as `ip netns exec NAME` for one in a namespace."""

    bind: str = "127.0.0.1:0"
    """Where it listens."""

    address: str = ""
    """Where the others dial it; "" is where it listens."""

    public: bool = False
    """Whether it has `PeerCapabilities.public`."""


@dataclass(eq=False)
class WorkerPeer:
    """One process, and all that it has reported."""

    number: int
    process: asyncio.subprocess.Process
    address: str = ""
    public: str = ""
    is_linked: bool = False  # to all others, once
    killed: bool = False  # by us, on purpose
    ended: bool = False  # said goodbye
    closed_round: int = 0
    top_round: int = 0
    frontier: list[int] = field(default_factory=list)  # newest round of each peer
    timeouts: int = 0  # rounds that ended by the timeout
    events: int = 0
    order_hash: str = ""
    linked: int = 0
    cpu_ns: int = 0
    now_ns: int = 0  # of the last report
    deliveries: list[Delivery] = field(default_factory=list)
    lines: int = 0  # delivered
    sent: int = 0
    fences: set[int] = field(default_factory=set)
    points: list[Point] = field(default_factory=list)
    proposals_made: int = 0  # as many as it was told to make
    proposals_decided: int = 0
    outcomes: list[str] = field(default_factory=list)  # of those that were not adopted, in words
    final: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=4096))  # (round, peer), the newest
    load_sent: int = 0
    load_received: int = 0
    load_ns: list[int] = field(default_factory=list)
    status: Json | None = None  # the answer to the last question for it
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_NOTES))
    readers: list[asyncio.Task[None]] = field(default_factory=list)


class Cluster:
    """`count` peers in one network."""

    def __init__(
        self,
        count: int,
        *,
        network: Mapping[str, object],
        options: Mapping[str, object],
        core: str = "auto",
        worker: Sequence[str] = (sys.executable, "-m", "syncpoint", WORKER),
        places: Sequence[Place] | None = None,
    ) -> None:
        """`worker` is the command of one peer, to which core and address are added.

        `places`, one for each peer, are this machine where they are left out; see `Network` and `Options`.
        """
        self.core: CoreInfo = core_info(core)
        self.places: list[Place] = list(places) if places is not None else [Place() for _ in range(count)]
        self.peers: list[WorkerPeer] = []
        self.sent: dict[int, tuple[int, int]] = {}  # line -> by whom and when
        self.progress = 0  # grows with every delivery anywhere
        self._count = count
        self._worker = worker
        self._network = dict(network)
        self._options = dict(options)
        self._changed = asyncio.Event()

    @property
    def alive(self) -> list[WorkerPeer]:
        """The peers that were not killed."""
        return [peer for peer in self.peers if not peer.killed]

    async def __aenter__(self) -> Cluster:
        try:
            for number in range(self._count):
                self.peers.append(await self._spawn(number))
        except BaseException:
            await self._clean_up()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._clean_up()

    async def start(self, *, report_s: float, grid: bool = False) -> None:
        """Tell everybody of all others, and wait until all are linked; `grid` asks for the final events' places."""
        await self.wait(lambda: all(peer.public for peer in self.peers), START_TIMEOUT_S, "not all peers started")
        for peer in self.peers:
            self.tell(
                peer,
                {
                    "do": "start",
                    "peers": [
                        [place.address or each.address, each.public, place.public]
                        for each, place in zip(self.peers, self.places, strict=True)
                    ],
                    "network": self._network,
                    "options": self._options,
                    "report_s": report_s,
                    "grid": grid,
                },
            )
        await self.wait(lambda: all(peer.is_linked for peer in self.peers), START_TIMEOUT_S, "not all peers linked up")

    def tell(self, peer: WorkerPeer, command: Json) -> None:
        """Give a peer something to do."""
        assert peer.process.stdin is not None
        peer.process.stdin.write(json.dumps(command, separators=(",", ":")).encode() + b"\n")

    def send(self, peer: WorkerPeer, lines: Sequence[tuple[int, int, str]]) -> None:
        """Have a peer send lines: number, when (monotonic ns, 0 for at once), text."""
        self.tell(peer, {"do": "send", "lines": lines})

    async def wait(self, holds: Callable[[], bool], patience_s: float, what: str) -> None:
        """Wait for a condition, with patience as long as something is delivered.

        Raises ClusterFailed when a process ends that should not, ClusterStalled, with `what`, when nothing
        was delivered for `patience_s`.
        """
        seen, since = self.progress, time.monotonic()
        while True:
            self._require_running()
            if holds():
                return
            if self.progress != seen:
                seen, since = self.progress, time.monotonic()
            left = patience_s - (time.monotonic() - since)
            if left <= 0:
                raise ClusterStalled(f"{what}: nothing was delivered for {patience_s:g} s", await self._diagnose())
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)

    async def kill(self, peer: WorkerPeer) -> None:
        """End a process as a power cut would, and take in what it had reported by then."""
        peer.killed = True
        peer.process.kill()
        await peer.process.wait()
        await asyncio.gather(*peer.readers)

    async def stop(self) -> None:
        """Let all peers report the rest and end."""
        for peer in self.alive:
            self.tell(peer, {"do": "stop"})
        await self.wait(lambda: all(peer.ended for peer in self.alive), START_TIMEOUT_S, "not all peers stopped")

    # -- private: processes -------------------------------------------------------------------------

    async def _spawn(self, number: int) -> WorkerPeer:
        place = self.places[number]
        process = await asyncio.create_subprocess_exec(
            *place.command, *self._worker, self.core.name, place.bind,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            limit=MAX_MESSAGE_BYTES,
            **_apart(),
        )  # fmt: skip
        peer = WorkerPeer(number, process)
        loop = asyncio.get_running_loop()
        peer.readers = [loop.create_task(self._read_messages(peer)), loop.create_task(self._read_notes(peer))]
        return peer

    async def _clean_up(self) -> None:
        """End all processes: those that said goodbye by themselves, the others at once."""
        for peer in self.peers:
            if peer.process.stdin is not None:
                peer.process.stdin.close()
            if not peer.ended:
                _kill(peer.process)
        for peer in self.peers:
            try:
                await asyncio.wait_for(peer.process.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                _kill(peer.process)
                await peer.process.wait()
            finally:
                for reader in peer.readers:
                    reader.cancel()
                await asyncio.gather(*peer.readers, return_exceptions=True)

    def _require_running(self) -> None:
        for peer in self.alive:
            if not peer.ended and peer.readers[0].done():
                error = peer.readers[0].exception()
                if error is not None:
                    raise error
                notes = "; ".join(peer.notes) or "it said nothing"
                raise ClusterFailed(f"peer {peer.number} ended unexpectedly: {notes}")

    async def _diagnose(self) -> dict[int, Json]:
        """What each living peer says of itself, as far as it still answers."""
        for peer in self.alive:
            peer.status = None
            self.tell(peer, {"do": "status"})
        deadline = time.monotonic() + DIAGNOSIS_TIMEOUT_S
        while any(peer.status is None for peer in self.alive) and (left := deadline - time.monotonic()) > 0:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)
        return {peer.number: peer.status or {"answers": False, "notes": list(peer.notes)} for peer in self.alive}

    # -- private: what they say ---------------------------------------------------------------------

    async def _read_messages(self, peer: WorkerPeer) -> None:
        assert peer.process.stdout is not None
        try:
            async for line in _whole_lines(peer.process.stdout):
                self._take(peer, json.loads(line))
                self._changed.set()
        finally:
            self._changed.set()

    async def _read_notes(self, peer: WorkerPeer) -> None:
        assert peer.process.stderr is not None
        async for line in _whole_lines(peer.process.stderr):
            peer.notes.append(line.decode(errors="replace").strip())

    def _take(self, peer: WorkerPeer, message: Json) -> None:
        match message["kind"]:
            case "hello":
                peer.address, peer.public = message["address"], message["public"]
            case "linked":
                peer.is_linked = True
            case "status":
                peer.status = message["status"]
            case "report":
                self._take_report(peer, message)
            case "bye":
                self._take_report(peer, message)
                peer.ended = True
            case other:
                raise AssertionError(f"unknown message {other!r}")

    def _take_report(self, peer: WorkerPeer, report: Json) -> None:
        for name in _PLAIN:
            setattr(peer, name, report[name])
        for line, sent_ns in report["sent"]:
            self.sent[line] = (peer.number, sent_ns)  # a line that is taken over counts from then on
        peer.sent += len(report["sent"])
        for index, _, order_hash, at_ns, lines, checksum in report["received"]:
            peer.deliveries.append(Delivery(index, order_hash, tuple(lines), checksum, at_ns))
            peer.lines += len(lines)
        peer.fences.update(report["fences"])
        peer.points += [Point(*each) for each in report["points"]]
        peer.proposals_decided += len(report["decided"])
        peer.outcomes += [reason for reason in report["decided"] if reason is not None]
        peer.final.extend((round, creator) for round, creator in report["final"])
        before = peer.load_received
        peer.load_sent, peer.load_received = report["load"]
        peer.load_ns += report["load_ns"]
        self.progress += sum(len(report[name]) for name in ("received", "fences", "points", "decided"))
        self.progress += peer.load_received - before


async def _whole_lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The lines of a stream; a last one that a kill cut short is dropped."""
    async for line in stream:
        if line.endswith(b"\n"):
            yield line


# What a report says is taken over as it is.
_PLAIN = (
    "closed_round", "top_round", "frontier", "timeouts", "events", "order_hash", "linked", "cpu_ns", "now_ns",
)  # fmt: skip


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def _apart() -> dict[str, Any]:
    """Ctrl-C in a terminal is for us alone: we end the children ourselves."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"process_group": 0}
