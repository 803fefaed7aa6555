"""What a change of the members costs: a process for each peer, on loopback, from n to n + 3 and back under load.

    python benches/changes.py                       one network, 4 to 7 to 4, five times
    python benches/changes.py --networks 5 --rounds 10
    python benches/changes.py --order fast --durability memory
    python benches/changes.py --quick --core python

One joins or leaves at a time. Each has its own store; who was removed comes back with it. Every member sends
transactions one after the other, and waits for each. A stall is the time from the last event with a transaction before
the sync point to the first one after it, as a peer that stays receives them; all that stay count, each by its own
times. Behind is the part of it behind the sync point; rounds are the events that the peer itself made meanwhile, one in
each round. Beside it stands the time between any two events with transactions. At the end every transaction has to be
in the order once, and the order has to be the same everywhere.

All peers share this machine's cores, so with more peers than cores these are not the numbers of a real network. Who
joins has to catch up with what came since it left, and takes from the others what that costs.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import contextlib
import itertools
import json
import math
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from surroundings import cores, describe
from syncpoint import (
    Context,
    Engine,
    Event,
    KeyPublic,
    KeySecret,
    Network,
    Options,
    PeerRecord,
    Peers,
    Socket,
    SyncPoint,
)
from syncpoint.core.config import ORDERS

Json = dict[str, Any]

JOINERS = 3
CHANGES = ("joins", "leaves")
DURABILITIES = ("full", "normal", "memory")
PATIENCE_S = 60.0  # for one answer of a peer
PAUSE_S = 0.2  # between two changes, for the load alone
TIMEOUT_S = 3.0  # of a proposal: a peer has 16 at most before their deadlines, and PAUSE_S lies between two
LOOK_S = 0.01  # between two looks at whether a condition holds


def main() -> None:
    arguments = _arguments()
    results = [_measure(arguments) for _ in range(arguments.networks)]
    if arguments.json:
        print(json.dumps({"setup": describe(), "arguments": vars(arguments), "results": results}))
        return
    print("\n".join(describe()))
    print(
        f"{arguments.peers} peers, one process each, {arguments.core} core, {arguments.order} order, durability "
        f"{arguments.durability}; {JOINERS} join and leave {arguments.rounds} times, each for itself"
    )
    for result in results:
        _show(result)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--core", choices=cores(), default=cores()[-1])
    parser.add_argument("--order", choices=ORDERS, default=Network().order)
    parser.add_argument("--durability", choices=DURABILITIES, default=DURABILITIES[0])
    parser.add_argument("--peers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5, help="there and back (5)")
    parser.add_argument("--networks", type=int, default=1, help="one after the other (1)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--quick", action="store_true", help="--rounds 1")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds = 1
    if min(arguments.rounds, arguments.networks, arguments.peers) < 1:
        parser.error("--peers, --rounds and --networks from 1")
    return arguments


def _show(result: Json) -> None:
    joins, leaves = (result[change] for change in CHANGES)
    columns = "stall p50", "p90", "most", "behind p50", "rounds p50", "most", "call p50", "most"
    print(f"{'ms':<8}{'changes':>8}{'stalls':>8}" + "".join(f"{column:>12}" for column in columns))
    everything = {what: joins[what] + leaves[what] for what in joins}
    for name, found in {"all": everything, "joins": joins, "leaves": leaves}.items():
        stalls, rounds, calls = (sorted(found[what]) for what in ("stalls", "rounds", "calls"))
        cells = [_ms(stalls, 0.5), _ms(stalls, 0.9), _ms(stalls, 1.0), _ms(sorted(found["behind"]), 0.5)]
        cells += [str(_at(rounds, 0.5)), str(_at(rounds, 1.0)), _ms(calls, 0.5), _ms(calls, 1.0)]
        print(f"{name:<8}{len(calls):>8}{len(stalls):>8}" + "".join(f"{cell:>12}" for cell in cells))
    gaps = sorted(result["gaps"])
    print(
        f"between events p50 {_ms(gaps, 0.5)} ms, p99 {_ms(gaps, 0.99)} ms; "
        f"{result['transactions']:,} transactions, each once, {result['places']:,} places alike",
        flush=True,
    )


def _ms(ordered: list[float], part: float) -> str:
    return f"{_at(ordered, part) * 1e3:.1f}"


def _at(ordered: list[float], part: float) -> float:
    """What so large a part of them is at most; NaN where there are none."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else math.nan


# -- one network --------------------------------------------------------------------------------------


def _measure(arguments: argparse.Namespace) -> Json:
    """What a network had to bear."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        everybody = [
            stack.enter_context(contextlib.closing(Process(f"peer {number}", arguments, folder)))
            for number in range(arguments.peers + JOINERS)
        ]
        calls = _change(everybody[: arguments.peers], everybody[arguments.peers :], arguments.rounds)
        reports = {process.name: process.ask("report") for process in everybody}
    return _judge(reports, list(reports)[: arguments.peers], calls)


def _change(members: list[Process], joiners: list[Process], rounds: int) -> dict[str, list[float]]:
    """Let them come and go under load; the times from call to sync point."""
    peers = Peers()
    calls: dict[str, list[float]] = {change: [] for change in CHANGES}
    for member in members:
        address, record = member.ask("bind")
        peers.insert(address, record.public)
    for member in members:
        member.ask("start", peers)
    for member in members:
        member.ask("send")
    for _ in range(rounds):
        for joiner in joiners:
            address, record = joiner.ask("bind")
            joiner.ask("start", peers)
            calls["joins"].append(members[0].ask("add", address, record))
            joiner.ask("send")
            time.sleep(PAUSE_S)
        for leaver in reversed(joiners):
            public = leaver.ask("rest")
            calls["leaves"].append(members[0].ask("remove", public))
            leaver.ask("leave")
            time.sleep(PAUSE_S)
    for member in members:
        member.ask("rest")
    # Nothing is on its way, so who is as far as anybody is now has all of it.
    end = max(member.ask("reach", 0) for member in members)
    for member in members:
        member.ask("reach", end)
    for member in members:
        member.ask("stop")
    return calls


class Process:
    """A peer in a process of its own: what is asked is what `Peer` can do, one thing at a time."""

    def __init__(self, name: str, arguments: argparse.Namespace, folder: str) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.name = name
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_work, args=(theirs, name, arguments, folder))
        self._process.start()
        theirs.close()  # else we would not see that it has ended

    def ask(self, what: str, *arguments: object) -> Any:
        """Have something done; the answer."""
        try:
            self._pipe.send((what, arguments))
            if not self._pipe.poll(PATIENCE_S):
                sys.exit(f"changes: {self.name} has not done {what!r} within {PATIENCE_S:.0f} s")
            return self._pipe.recv()
        except (EOFError, OSError):
            sys.exit(f"changes: {self.name} has ended, and was asked to {what!r}; see above")

    def close(self) -> None:
        """End it: its engine has stopped, or nothing is to be saved."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


# -- what was measured --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Received:
    """An event or a sync point, as one peer received it."""

    order_hash: bytes
    at: float  # s, of one clock for all processes
    transactions: tuple[bytes, ...] = ()
    made: int = 0  # own events by then; asked for with transactions only
    change: str | None = None  # what a sync point is about


@dataclass(frozen=True, slots=True)
class Report:
    """One peer, over all of its lives."""

    stream: list[Received]
    sent: list[bytes]


def _judge(reports: dict[str, Report], staying: list[str], calls: dict[str, list[float]]) -> Json:
    """What was measured, if nothing is lost, doubled or at another place."""
    longest = max(staying, key=lambda name: len(reports[name].stream))  # who stopped last may have received more
    order = [each.order_hash for each in reports[longest].stream]
    for name, report in reports.items():
        if [each.order_hash for each in report.stream] != order[: len(report.stream)]:
            sys.exit(f"changes: {name} has another order than {longest}")
    sent = Counter(each for report in reports.values() for each in report.sent)
    for name in staying:
        there = Counter(each for received in reports[name].stream for each in received.transactions)
        if there != sent:
            sys.exit(f"changes: of {sent.total()} transactions {name} has {there.total()}, or has others")
    found: Json = {change: {"calls": calls[change], "stalls": [], "behind": [], "rounds": []} for change in CHANGES}
    gaps: list[float] = []
    for name in staying:
        _add_stalls(found, gaps, reports[name].stream)
    return {**found, "gaps": gaps, "transactions": sent.total(), "places": len(order)}


def _add_stalls(found: Json, gaps: list[float], stream: list[Received]) -> None:
    """Add what one peer had to wait."""
    carrying = [place for place, received in enumerate(stream) if received.transactions]
    gaps += [stream[after].at - stream[before].at for before, after in itertools.pairwise(carrying)]
    for place, point in enumerate(stream):
        next_one = bisect.bisect(carrying, place)
        if point.change is not None and 0 < next_one < len(carrying):
            before, after = (stream[carrying[each]] for each in (next_one - 1, next_one))
            kind = found[point.change]
            kind["stalls"].append(after.at - before.at)
            kind["behind"].append(after.at - point.at)
            kind["rounds"].append(after.made - before.made)


# -- the process of a peer ----------------------------------------------------------------------------


def _work(pipe: Connection, name: str, arguments: argparse.Namespace, folder: str) -> None:
    asyncio.run(Peer(name, arguments, folder).serve(pipe))


class Peer:
    """One peer: it runs one engine at a time, and its store outlives them. Its key never leaves the process."""

    def __init__(self, name: str, arguments: argparse.Namespace, folder: str) -> None:
        self._name = name
        self._arguments = arguments
        self._folder = Path(folder, name)
        self._secret = KeySecret.generate()
        self._address = "127.0.0.1:0"  # the first life takes a free port, the others that one
        self._stream: list[Received] = []
        self._sent: list[bytes] = []
        self._is_sending = False

    _group: asyncio.TaskGroup
    _context: Context
    _socket: Socket
    _engine: Engine
    _reading: asyncio.Task[None]
    _sending: asyncio.Task[None]

    async def serve(self, pipe: Connection) -> None:
        """Do what is asked until the process is ended; a task that fails ends it as well."""
        asked: asyncio.Queue[tuple[str, tuple[Any, ...]]] = asyncio.Queue()

        def take() -> None:
            try:
                asked.put_nowait(pipe.recv())
            except (EOFError, OSError):
                os._exit(1)  # who asks is gone: there is nothing to be saved

        asyncio.get_running_loop().add_reader(pipe.fileno(), take)
        async with asyncio.TaskGroup() as self._group:
            while True:
                what, arguments = await asked.get()
                pipe.send(await getattr(self, what)(*arguments))

    async def bind(self) -> tuple[str, PeerRecord]:
        """Listen; where, and who we are."""
        # The policy is a yes, so that one call decides, and what is measured is not when the others call.
        self._context = Context(
            self._arguments.core,
            self._folder,
            durability=self._arguments.durability,
            approve=lambda proposal: True,
        )
        self._socket = await Socket.bind(self._context, self._address)
        self._address = self._socket.address
        return self._address, PeerRecord.of(self._secret)

    async def start(self, peers: Peers) -> None:
        """Take part, or wait to be let in, from where our stream ends."""
        self._engine = await Engine.start(
            self._context,
            self._socket,
            Options(),
            self._secret,
            peers,
            network=Network(name="bench", order=self._arguments.order),
            joins=self._secret.public() not in peers,
            resume_after=len(self._stream) - 1 if self._stream else None,
        )
        self._reading = self._group.create_task(self._read())

    async def send(self) -> None:
        """Begin to send, as soon as we are a member."""
        await _until(lambda: self._is_member)
        self._is_sending = True
        self._sending = self._group.create_task(self._send())

    async def rest(self) -> KeyPublic:
        """Send no more, once what was sent last is final; who we are."""
        self._is_sending = False
        await self._sending
        return self._secret.public()

    async def add(self, address: str, record: PeerRecord) -> float:
        """Let a peer in; how long that took, s."""
        began = time.perf_counter()
        await self._engine.vote_add_node(address, record, timeout=TIMEOUT_S)
        return time.perf_counter() - began

    async def remove(self, public: KeyPublic) -> float:
        """Remove a peer; how long that took, s."""
        began = time.perf_counter()
        await self._engine.vote_remove_node(public, timeout=TIMEOUT_S)
        return time.perf_counter() - began

    async def reach(self, length: int) -> int:
        """Receive so much at least; how much it is."""
        await _until(lambda: len(self._stream) >= length)
        return len(self._stream)

    async def leave(self) -> None:
        """Stop once we are out. At the sync point it is too early: the others may need our signature on it."""
        await _until(lambda: not self._is_member)
        await self.stop()

    async def stop(self) -> None:
        """Stop, and receive what is left; the store stays."""
        await self._engine.stop()
        await self._reading
        await self._context.close()

    async def report(self) -> Report:
        """All that was sent and received."""
        return Report(self._stream, self._sent)

    @property
    def _is_member(self) -> bool:
        """Whether we order in the epoch that we are in."""
        return self._engine.status().consensus.creator is not None

    async def _send(self) -> None:
        while self._is_sending:
            transaction = f"{self._name}, {len(self._sent)}".encode()
            self._sent.append(transaction)
            await self._engine.submit(transaction)

    async def _read(self) -> None:
        async for message in self._engine:
            at = time.perf_counter()
            assert message.index == len(self._stream), "a gap in the stream"
            match message:
                case Event(transactions=()):
                    received = Received(message.order_hash, at)
                case Event():
                    made = self._engine.status().consensus.own_events
                    received = Received(message.order_hash, at, message.transactions, made)
                case SyncPoint():
                    received = Received(message.order_hash, at, change=CHANGES[not message.joined])
            self._stream.append(received)


async def _until(holds: Callable[[], bool]) -> None:
    """Not noticed at once, so nothing that is measured may wait here."""
    while not holds():  # noqa: ASYNC110 - who asks has patience
        await asyncio.sleep(LOOK_S)


if __name__ == "__main__":
    main()
