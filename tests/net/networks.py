"""Four peers as processes, each on a host of its own, and what a test does with them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence

from syncpoint import KeyPublic
from syncpoint.cli.cluster import Cluster, Place, WorkerPeer
from syncpoint.cli.streams import find_faults

from .hosts import Hosts, hosts

__all__ = ["LONG", "PEERS", "NetworkOfHosts", "running"]

LONG = os.environ.get("SYNCPOINT_NET") == "long"
PEERS = 4
PORT = 4000
REPORT_S = 0.1  # between two reports of a peer
PATIENCE_S = 90.0  # without any delivery: a test that needs it has failed


class NetworkOfHosts:
    """Peers on hosts, which go by their hosts' numbers, and the lines that were sent."""

    def __init__(self, hosts: Hosts, cluster: Cluster) -> None:
        self.hosts = hosts
        self.cluster = cluster
        self.text: list[str] = []

    @property
    def peers(self) -> Sequence[WorkerPeer]:
        """All peers, in the order of their hosts."""
        return self.cluster.peers

    async def start(self, prepare: Callable[[list[int]], None] = lambda order: None, *, lines: int = 0) -> None:
        """Start all peers and link them up, then have each send some lines and wait until all have arrived.

        `prepare` is called before, with the peers in the order of their keys: the earlier dials the later, as long
        as both can be dialled.
        """
        await self.until(lambda: all(peer.public for peer in self.peers), "not all peers started")
        prepare(sorted(range(PEERS), key=lambda number: KeyPublic.parse(self.peers[number].public)))
        await self.cluster.start(report_s=REPORT_S)
        self.send(lines)
        await self.until_received(len(self.text))

    def hide(self, peer: int) -> None:
        """Put a peer that is to start behind a NAT, and have it say so."""
        self.hosts.wire.shielded |= {peer}
        self.cluster.places[peer] = dataclasses.replace(self.cluster.places[peer], public=False)

    def send(self, count: int, senders: Collection[int] = range(PEERS)) -> None:
        """Have each of some peers send so many new lines at once."""
        for sender in senders:
            numbers = range(len(self.text), len(self.text) + count)
            self.text += [f"line {number} by peer {sender}" for number in numbers]
            self.cluster.send(self.peers[sender], [(number, 0, self.text[number]) for number in numbers])

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until something holds that only the peers' reports can change."""
        await self.cluster.wait(holds, PATIENCE_S, what)

    async def until_received(self, count: int, receivers: Collection[int] = range(PEERS)) -> None:
        """Wait until some peers have received so many lines."""
        await self.until(lambda: all(self.peers[each].lines >= count for each in receivers), "lines did not arrive")

    async def until_linked(self, *links: int) -> None:
        """Wait until each peer has so many links."""
        await self.until(lambda: [peer.linked for peer in self.peers] == list(links), f"links are not {links}")

    async def hold(self, seconds: float) -> None:
        """Wait until every peer has reported at least so many seconds later."""
        until_ns = time.monotonic_ns() + int(seconds * 1e9)
        await self.until(lambda: all(peer.now_ns >= until_ns for peer in self.peers), "peers do not report")

    async def finish(self) -> None:
        """All lines arrive at all peers; nothing is lost, doubled or changed, and the order is one."""
        await self.until_received(len(self.text))
        await self.cluster.stop()
        faults = find_faults(self.text, {peer.number: peer.deliveries for peer in self.peers})
        assert not faults, "\n".join(faults)


@contextlib.asynccontextmanager
async def running(
    *, seed: int, delay_s: float = 0.002, loss: float = 0.0, names: Sequence[str] = ()
) -> AsyncIterator[NetworkOfHosts]:
    """Peers on hosts between which packets take `delay_s` each way; they know each other by addresses or `names`."""
    with hosts(PEERS, delay_s=delay_s, loss=loss, seed=seed) as made:
        addresses = names or [made.address(host) for host in range(PEERS)]
        places = [
            Place(command=made.command(host), bind=f"0.0.0.0:{PORT}", address=f"{address}:{PORT}", public=True)
            for host, address in enumerate(addresses)
        ]
        async with Cluster(PEERS, network={"name": "net"}, options={}, core="native", places=places) as cluster:
            yield NetworkOfHosts(made, cluster)
