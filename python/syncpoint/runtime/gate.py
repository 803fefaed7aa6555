"""Who waits before a link: a bounded number, and none who cannot be pushed out."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Hashable
from typing import Any

__all__ = ["Gate", "origin_of"]

_IPV6_NETWORK_BITS = 64  # one machine may have all the addresses of such a network


class Gate:
    """Has room for so many strangers; who comes when it is full takes the place of another.

    To refuse newcomers would let whoever fills the gate keep everybody else out until its connections time out. Here
    the oldest of those goes whose address has the most in the gate: a peer needs its place for two round trips, and
    a flood from other addresses never takes it away.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._waiting: dict[Hashable, dict[object, Callable[[], None]]] = {}  # host -> who, oldest first -> its end
        self._hosts: dict[object, Hashable] = {}

    def __len__(self) -> int:
        return len(self._hosts)

    def enter(self, who: object, host: Hashable, close: Callable[[], None]) -> None:
        """Let somebody wait; `close` ends it, should it have to go before it leaves."""
        if len(self._hosts) >= self._room:
            crowded = max(self._waiting.values(), key=len)
            oldest, end = next(iter(crowded.items()))
            self.leave(oldest)
            end()
        self._hosts[who] = host
        self._waiting.setdefault(host, {})[who] = close

    def close(self) -> None:
        """End the waiting of all."""
        for there in list(self._waiting.values()):
            for who, end in list(there.items()):
                self.leave(who)
                end()

    def leave(self, who: object) -> None:
        """It has said who it is, or is gone."""
        host = self._hosts.pop(who, None)
        if host is not None:
            there = self._waiting[host]
            del there[who]
            if not there:
                del self._waiting[host]


def origin_of(where: Any) -> Hashable:
    """What counts as one origin of connections: an IPv4 address, or a network of IPv6 addresses."""
    host = where[0] if isinstance(where, tuple) and where else str(where)
    try:
        address = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return str(host)
    if isinstance(address, ipaddress.IPv4Address):
        return address
    return address.ipv4_mapped or int(address) >> 128 - _IPV6_NETWORK_BITS
