"""Hosts on this machine: network namespaces with an address each, and a wire between them.

All names begin with a prefix and the number of the process that made them. Devices and switch go with their process;
namespaces do not, so those of a process that was killed are taken away by whoever comes next.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .wire import Wire

__all__ = ["Hosts", "hosts", "why_not"]

PREFIX = "syncpoint-net-"
CONFIGURATION = Path("/etc/netns")  # `ip netns exec NAME` puts what is in NAME there over /etc
DEVICE = "wire"
QUEUE_PACKETS = 10_000  # that the kernel keeps for the switch, which has to share the processors
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001


@dataclass(frozen=True, slots=True)
class Hosts:
    """Some hosts, which go by their numbers, and the wire between them."""

    wire: Wire
    names: Sequence[str]

    def command(self, host: int) -> list[str]:
        """What starts a program on a host, before the program's own name."""
        return ["ip", "netns", "exec", self.names[host]]

    def address(self, host: int) -> str:
        """The address that a host has from the beginning."""
        return _address(host)

    def move(self, host: int, address: str) -> None:
        """Give a host another address; what its programs had connected from the old one hears nothing more."""
        _ip("-n", self.names[host], "addr", "flush", "dev", DEVICE)
        _ip("-n", self.names[host], "addr", "add", f"{address}/16", "dev", DEVICE)
        self.wire.place(host, address)

    def call(self, addresses: Mapping[str, str]) -> None:
        """Write the names of all hosts into the hosts file of each: name -> address."""
        text = "".join(f"{address}\t{name}\n" for name, address in {"localhost": "127.0.0.1", **addresses}.items())
        for name in self.names:
            (CONFIGURATION / name / "hosts").write_text(text)  # in place: programs have this very file


@contextlib.contextmanager
def hosts(count: int, *, delay_s: float = 0.0, loss: float = 0.0, seed: int) -> Iterator[Hosts]:
    """Make hosts between which a packet takes `delay_s` each way, and is lost with a probability `loss`.

    Raises OSError or CalledProcessError where that is not possible.
    """
    _clean_up()
    names = [f"{PREFIX}{os.getpid()}-{host}" for host in range(count)]
    with contextlib.ExitStack() as stack:
        ends = []
        for host, name in enumerate(names):
            stack.callback(_remove, name)
            ends.append(_make(name, _address(host)))
            stack.callback(os.close, ends[-1])
        wire = Wire(ends, seed=seed)
        wire.delay_s, wire.loss = [delay_s] * count, [loss] * count
        for host in range(count):
            wire.place(host, _address(host))
        stack.enter_context(wire)
        yield Hosts(wire, names)


def why_not() -> str | None:
    """Why there can be no hosts here, None when there can."""
    if sys.platform != "linux":
        return f"network namespaces are Linux's, and this is {sys.platform}"
    if os.geteuid() != 0:
        return "making network namespaces takes root"
    if shutil.which("ip") is None:
        return "making network namespaces takes the command ip (package iproute2)"
    try:
        with hosts(1, seed=0):
            return None
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be made here: {error.stderr.strip()}"
    except OSError as error:
        return f"network namespaces cannot be made here: {error}"


def _address(host: int) -> str:
    return f"10.213.0.{host + 1}"


def _make(name: str, address: str) -> int:
    """A namespace with a device; the descriptor of the device's other end."""
    _ip("netns", "add", name)
    there = CONFIGURATION / name
    there.mkdir(parents=True)
    (there / "hosts").write_text("127.0.0.1\tlocalhost\n")
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        made = fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH22x", b"syncpoint%d", _IFF_TUN_NO_PI))
        _ip("link", "set", made[:16].rstrip(b"\0").decode(), "netns", name, "name", DEVICE)
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "addr", "add", f"{address}/16", "dev", DEVICE)
        _ip("-n", name, "link", "set", DEVICE, "up", "txqueuelen", str(QUEUE_PACKETS))
    except BaseException:
        os.close(end)
        raise
    return end


def _remove(name: str) -> None:
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    shutil.rmtree(CONFIGURATION / name, ignore_errors=True)
    with contextlib.suppress(OSError):  # it is not ours alone
        CONFIGURATION.rmdir()


def _clean_up() -> None:
    """Remove what processes left that were killed."""
    there = {line.split()[0] for line in _ip("netns", "list").splitlines() if line}
    if CONFIGURATION.is_dir():
        there |= {path.name for path in CONFIGURATION.iterdir()}
    for name in there:
        maker = name.removeprefix(PREFIX).partition("-")[0]
        if name.startswith(PREFIX) and not Path(f"/proc/{maker}").exists():
            _remove(name)


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True).stdout
