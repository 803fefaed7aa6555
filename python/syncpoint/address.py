"""Network addresses as text: host:port."""

from __future__ import annotations

import ipaddress
import re

from syncpoint.errors import ArgumentError, ArgumentTypeError

__all__ = ["parse_address"]

_MAX_HOST_CHARACTERS = 253  # of a host name in the DNS
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_ZONE = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")
_ALLOWED = "allowed is host:port, like 'example.org:9001', '192.0.2.1:9001' or '[2001:db8::1]:9001'"


def parse_address(text: str, *, allow_zero_port: bool = False) -> tuple[str, int]:
    """Return host and port of `text`, which is host:port.

    The host is a name, an IPv4 address, or an IPv6 address in square brackets, which the result is
    without. The port is 1 to 65535; with `allow_zero_port` also 0, which lets the system choose.
    Nothing is looked up. Raises ArgumentError for anything else, ArgumentTypeError for what is no str.

    >>> parse_address("[::1]:9001")
    ('::1', 9001)
    """
    if not isinstance(text, str):
        raise ArgumentTypeError(
            f"an address was given as {type(text).__name__}; only str is allowed: write it as 'host:port'"
        )
    host, colon, port_text = text.rpartition(":")
    if not colon or not host or (text.startswith("[") and not host.endswith("]")):
        raise _wrong(text, "has no host and port", "write both, with a colon between")
    if _PORT.fullmatch(port_text) is None or int(port_text) > 65535:
        raise _wrong(text, f"has the port {port_text!r}", "give a port of 1 to 65535")
    port = int(port_text)
    if port == 0 and not allow_zero_port:
        raise _wrong(text, "has the port 0", "give the port of 1 to 65535 at which the peer listens")
    return _host(text, host), port


def _host(text: str, host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        zone = host.partition("%")[2]
        if not _is_ip(host, 6) or ("%" in host and _ZONE.fullmatch(zone) is None):
            raise _wrong(text, f"has {host!r} in brackets", "put an IPv6 address between the brackets")
    elif ":" in host:
        raise _wrong(text, "has several colons", f"put an IPv6 address in brackets, like '[{host}]:9001'")
    elif host.rpartition(".")[2].isdecimal():
        # A name never ends in a number; this is meant as an IPv4 address.
        if not _is_ip(host, 4):
            raise _wrong(text, f"has the host {host!r}", "write an IPv4 address as four numbers of 0 to 255")
    elif len(host) > _MAX_HOST_CHARACTERS or not all(
        _LABEL.fullmatch(label) for label in host.removesuffix(".").split(".")
    ):
        raise _wrong(
            text,
            f"has the host {host!r}",
            f"write a host name of letters, digits, '-' and '.', at most {_MAX_HOST_CHARACTERS} characters, "
            "an international one in its ASCII form (xn--...)",
        )
    return host


def _is_ip(host: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(host).version == version
    except ValueError:
        return False


def _wrong(text: str, found: str, advice: str) -> ArgumentError:
    return ArgumentError(f"the address {text!r} {found}; {_ALLOWED}: {advice}")
