"""Connecting to a peer, and what to say when that fails."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

from .links import LinkPeer

__all__ = ["HELLO_TIMEOUT_S", "connect", "explain"]

HELLO_TIMEOUT_S = 3.0  # for a connection; then for its TLS and its HELLO

Link = TypeVar("Link", bound=asyncio.BaseProtocol)


async def connect(make: Callable[[], Link], peer: LinkPeer, attempt: int, timeout_s: float | None = None) -> Link:
    """Connect to a peer; its name is looked up each time, and each attempt takes the next of its addresses.

    Raises OSError and TimeoutError, that after `HELLO_TIMEOUT_S` if nothing else is given.
    """
    loop = asyncio.get_running_loop()
    timeout_s = HELLO_TIMEOUT_S if timeout_s is None else timeout_s
    async with asyncio.timeout(timeout_s):
        hosts = [peer.host]
        if not _is_ip(peer.host):
            found = await loop.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)
            hosts = list(dict.fromkeys(str(where[0]) for *_, where in found))
        link = make()
        await loop.create_connection(lambda: link, hosts[attempt % len(hosts)], peer.port)
    return link


def explain(error: BaseException | None) -> str:
    """Why there is no connection, and what to do about it."""
    match error:
        case socket.gaierror():
            return f"the name of its host is unknown ({error.strerror}): check its spelling and the name service"
        case TimeoutError():
            return "no answer in time: is that machine up, and does no firewall drop the packets?"
        case ConnectionRefusedError():
            return "nothing listens at its address: is the peer running, and is the port right?"
        case ssl.SSLCertVerificationError():
            return "who answers has no certificate of a peer of this network: check which address belongs to which key"
        case ssl.SSLError() if "ALERT" in (error.reason or ""):
            return f"the other side does not take our certificate ({_reason(error)}): is our key among its peers?"
        case ssl.SSLError():
            return f"something other than a syncpoint peer answers ({_reason(error)}): check the address"
        case None | ConnectionResetError() | BrokenPipeError() | ConnectionAbortedError():
            return "the other side ended the connection before its HELLO: is our key among its peers, is it overloaded?"
        case OSError():
            return f"{error.strerror or error}: check the address and the way there"
        case _:
            return f"{type(error).__name__}: {error}"


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
