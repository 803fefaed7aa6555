"""What a change of the members costs: engines on loopback, from n to n + 3 and back under load, one at a time.

    python benches/changes.py                       one network, 4 to 7 to 4, five times
    python benches/changes.py --networks 5 --rounds 10
    python benches/changes.py --quick --core python

All engines run in one process, each with its own store; who was removed comes back with its own. Every member sends
transactions one after the other, and waits for each. A stall is the time from the last event with a transaction before
the sync point to the first one after it, as a peer that stays receives them; beside it stands the time between any two
such events. At the end every transaction has to be in the order once, and the order has to be the same everywhere.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from surroundings import describe
from syncpoint import Context, Engine, Event, KeyPublic, KeySecret, Options, PeerRecord, Peers, Socket

JOINERS = 3
PATIENCE_S = 60.0
TIMEOUT_S = 2.0  # of a proposal


@dataclass(slots=True)
class Peer:
    """One peer, over all of its lives."""

    name: str
    secret: KeySecret
    folder: Path
    context: Context | None = None
    engine: Engine | None = None
    address: str = ""
    stream: list[tuple[bytes, bytes]] = field(default_factory=list)  # event or sync point: order hash, transactions
    times: list[float] = field(default_factory=list)  # when each of these was received, s
    points: list[int] = field(default_factory=list)  # indices of sync points
    sent: list[bytes] = field(default_factory=list)
    sending: asyncio.Task[None] | None = None
    reading: asyncio.Task[None] | None = None

    @property
    def public(self) -> KeyPublic:
        """Its key."""
        return self.secret.public()

    @property
    def running(self) -> Engine:
        """Its engine, which runs."""
        assert self.engine is not None, "it is not running"
        return self.engine

    async def start(self, core: str, peers: Peers | None) -> None:
        """Bind, and start once the peers are known."""
        # The policy is a yes: else each member would propose, of which there are 16 at most before their deadlines.
        self.context = Context(core=core, storage=self.folder, approve=lambda proposal: True)  # type: ignore[arg-type]
        socket = await Socket.bind(self.context, self.address or "127.0.0.1:0")
        self.address = socket.address
        if peers is None:
            self.socket_of_first = socket
            return
        await self.run(socket, peers)

    socket_of_first: Socket | None = None

    async def run(self, socket: Socket, peers: Peers) -> None:
        """Take part, or wait to be let in."""
        assert self.context is not None
        options = Options(heartbeat_us=50_000)
        after = len(self.stream) - 1 if self.stream else None
        joins = self.public not in peers
        self.engine = await Engine.start(
            self.context, socket, options, self.secret, peers, joins=joins, resume_after=after
        )
        self.reading = asyncio.create_task(self._read())

    async def stop(self) -> None:
        """Stop, and keep the store."""
        await self.running.stop()
        assert self.reading is not None
        assert self.context is not None
        await self.reading
        await self.context.close()
        self.engine = None

    def send(self) -> None:
        """Begin to send."""
        self.sending = asyncio.create_task(self._send())

    async def rest(self) -> None:
        """Send no more, once what was sent last is final."""
        task, self.sending = self.sending, None
        if task is not None:
            await task

    async def _send(self) -> None:
        while self.sending is not None:
            transaction = f"{self.name} {len(self.sent)}".encode()
            self.sent.append(transaction)
            await self.running.submit(transaction)

    async def _read(self) -> None:
        async for message in self.running:
            assert message.index == len(self.stream), "a gap in the stream"
            is_event = isinstance(message, Event)
            self.stream.append((message.order_hash, b"\n".join(message.transactions) if is_event else b""))
            self.times.append(time.perf_counter())
            if not is_event:
                self.points.append(message.index)


def main() -> None:
    arguments = _arguments()
    results = [asyncio.run(_network(arguments)) for _ in range(arguments.networks)]
    if arguments.json:
        print(json.dumps({"setup": describe(), "results": results}))
        return
    print("\n".join(describe()))
    print(
        f"{arguments.peers} peers in one process, {arguments.core} core; "
        f"{JOINERS} join and leave {arguments.rounds} times, each for itself"
    )
    for found in results:
        stalls, gaps, calls = found["stalls"], found["gaps"], found["calls"]
        print(
            f"{len(stalls)} changes: stall p50 {_ms(stalls, 0.5)} p90 {_ms(stalls, 0.9)} most {_ms(stalls, 1.0)}; "
            f"between events p50 {_ms(gaps, 0.5)} p99 {_ms(gaps, 0.99)}; "
            f"call to sync point p50 {_ms(calls, 0.5)} most {_ms(calls, 1.0)}; "
            f"{found['transactions']:,} transactions, each once, {found['places']:,} places alike"
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--core", default="native", choices=("native", "python"))
    parser.add_argument("--peers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5, help="there and back (5)")
    parser.add_argument("--networks", type=int, default=1, help="one after the other (1)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="--rounds 1")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds = 1
    if min(arguments.rounds, arguments.networks) < 1 or arguments.peers < 1:
        parser.error("--peers, --rounds and --networks from 1")
    return arguments


async def _network(arguments: argparse.Namespace) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        everybody = [
            Peer(f"peer {i}", KeySecret.generate(), Path(folder, str(i))) for i in range(arguments.peers + JOINERS)
        ]
        first, joiners = everybody[: arguments.peers], everybody[arguments.peers :]
        peers = Peers()
        for peer in first:
            await peer.start(arguments.core, None)
            peers.insert(peer.address, peer.public)
        for peer in first:
            assert peer.socket_of_first is not None
            await peer.run(peer.socket_of_first, peers)
        members, calls = list(first), list[float]()
        for peer in members:
            peer.send()
        for _ in range(arguments.rounds):
            for joiner in joiners:
                await joiner.start(arguments.core, peers)
                record = PeerRecord.of(joiner.secret)
                began = time.perf_counter()
                await members[0].running.vote_add_node(joiner.address, record, timeout=TIMEOUT_S)
                calls.append(time.perf_counter() - began)
                members.append(joiner)
                await _until(lambda: joiner.running.status().consensus.creator is not None)  # noqa: B023
                joiner.send()
                await asyncio.sleep(0.2)
            for leaver in reversed(joiners):
                await leaver.rest()
                members.remove(leaver)
                began = time.perf_counter()
                await members[0].running.vote_remove_node(leaver.public, timeout=TIMEOUT_S)
                calls.append(time.perf_counter() - began)
                await leaver.stop()
                await asyncio.sleep(0.2)
        for peer in members:
            await peer.rest()
        await _until(lambda: len({len(peer.stream) for peer in members}) == 1)
        for peer in members:
            await peer.stop()
        return _judge(everybody, members, calls)


async def _until(done: object) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not done():  # type: ignore[operator]  # noqa: ASYNC110 - a bench looks on from outside
            await asyncio.sleep(0.002)


def _judge(everybody: list[Peer], members: list[Peer], calls: list[float]) -> dict[str, object]:
    """What was measured, if nothing is lost, doubled or at another place."""
    one = max(members, key=lambda peer: len(peer.stream))  # who stopped last may have received more
    for peer in everybody:
        if peer.stream != one.stream[: len(peer.stream)]:
            sys.exit(f"changes: {peer.name} has another order than {one.name}")
    there = [each for _, transactions in one.stream for each in transactions.split(b"\n") if each]
    sent = [each for peer in everybody for each in peer.sent]
    if sorted(there) != sorted(sent):
        sys.exit(f"changes: {len(sent)} transactions were sent, and {len(there)} are in the order")
    carrying = [index for index, (_, transactions) in enumerate(one.stream) if transactions]
    gaps = [one.times[after] - one.times[before] for before, after in itertools.pairwise(carrying)]
    stalls = []
    for point in one.points:
        before = max((index for index in carrying if index < point), default=None)
        after = min((index for index in carrying if index > point), default=None)
        if before is not None and after is not None:
            stalls.append(one.times[after] - one.times[before])
    return {"stalls": stalls, "gaps": gaps, "calls": calls, "transactions": len(sent), "places": len(one.stream)}


def _ms(seconds: list[float], part: float) -> str:
    ordered = sorted(seconds)
    found = statistics.median(ordered) if part == 0.5 else ordered[min(len(ordered) - 1, int(part * len(ordered)))]
    return f"{found * 1e3:.1f} ms"


if __name__ == "__main__":
    main()
