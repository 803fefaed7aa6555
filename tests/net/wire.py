"""What lies between hosts: a switch in this process that delays, loses and cuts off packets as a test wants it.

Each host has a TUN device in its namespace, and the switch holds the other end of it. So what goes lost here goes lost
for the kernel's TCP, and a host that is cut off sees a dead cable: silence, and no reset. No queueing discipline of
the kernel is needed, which many kernels lack.
"""

from __future__ import annotations

import heapq
import os
import random
import select
import socket
import threading
import time
from collections.abc import Collection

__all__ = ["Wire"]

MAX_FLYING = 100_000  # packets on their way; beyond, they are lost, as in a router whose queue is full
READS_AT_ONCE = 64  # packets of one host, before those of the others have their turn
MAX_PACKET_BYTES = 65_535
_TCP = 6
_SYN, _ACK = 0x02, 0x10


class Wire:
    """Carries IPv4 packets between hosts, which go by their numbers; others are ignored."""

    def __init__(self, ends: Collection[int], *, seed: int) -> None:
        """`ends` are the descriptors of the hosts' devices, not blocking; `seed` is where the losses start."""
        self.delay_s = [0.0] * len(ends)  # of what a host sends
        self.loss = [0.0] * len(ends)  # the part of what a host sends that never arrives, 0.0 to 1.0
        self.addresses: dict[bytes, int] = {}  # IPv4 address, 4 bytes -> host
        self.shielded: frozenset[int] = frozenset()  # hosts that nobody can connect to, as behind a NAT
        self.carried = self.lost = 0  # packets
        self._sides = [0] * len(ends)  # hosts that have different numbers here do not hear of each other
        self._ends = list(ends)
        self._chance = random.Random(seed)
        self._flying: list[tuple[float, int, int, bytes]] = []  # when it arrives, its number, where, what
        self._bell, self._button = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="wire", daemon=True)

    def place(self, host: int, address: str) -> None:
        """From now on a host has this address and no other."""
        kept = {each: other for each, other in self.addresses.items() if other != host}
        self.addresses = kept | {socket.inet_aton(address): host}

    def cut(self, *parts: Collection[int]) -> None:
        """Let no packet pass between these parts; hosts in none of them are a part together."""
        sides = [0] * len(self._ends)
        for number, part in enumerate(parts, start=1):
            for host in part:
                sides[host] = number
        self._sides = sides

    def heal(self) -> None:
        """Let all packets pass again."""
        self.cut()

    def __enter__(self) -> Wire:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._button.send(b"\0")
        self._thread.join()
        self._bell.close()
        self._button.close()

    # -- private: all in the switch's thread; what a test sets is replaced as a whole -------------------

    def _run(self) -> None:
        poll = select.poll()
        hosts = {end: host for host, end in enumerate(self._ends)}
        for each in (*self._ends, self._bell.fileno()):
            poll.register(each, select.POLLIN)
        while True:
            wait_ms = None
            if self._flying:
                wait_ms = max(0.0, self._flying[0][0] - time.monotonic()) * 1000
            for end, _ in poll.poll(wait_ms):
                if end not in hosts:
                    return
                self._take(hosts[end])
            self._hand_over()

    def _take(self, source: int) -> None:
        for _ in range(READS_AT_ONCE):
            try:
                packet = os.read(self._ends[source], MAX_PACKET_BYTES)
            except OSError:  # nothing more, or the device is down
                return
            if packet[0] >> 4 != 4:  # the kernel looks for IPv6 routers
                continue
            target = self._target(source, packet)
            if target is None or len(self._flying) >= MAX_FLYING or self._chance.random() < self.loss[source]:
                self.lost += 1
                continue
            self.carried += 1
            heapq.heappush(
                self._flying, (time.monotonic() + self.delay_s[source], self.carried, self._ends[target], packet)
            )

    def _target(self, source: int, packet: bytes) -> int | None:
        target = self.addresses.get(packet[16:20])
        if target is None or self._sides[source] != self._sides[target]:
            return None
        if target in self.shielded and packet[9] == _TCP:
            flags = packet[(packet[0] & 0x0F) * 4 + 13]
            if flags & (_SYN | _ACK) == _SYN:
                return None
        return target

    def _hand_over(self) -> None:
        now = time.monotonic()
        while self._flying and self._flying[0][0] <= now:
            _, _, end, packet = heapq.heappop(self._flying)
            try:
                os.write(end, packet)
            except OSError:  # the device is down, or its host does not take it
                self.lost += 1
