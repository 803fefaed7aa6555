"""What links cost: processor time for a megabyte, with frames one by one and many at once, with and without TLS.

    python benches/links.py
    python benches/links.py --megabytes 50 --frame 300

Two transports in two processes; one sends frames of a size to the other, so many per flush, as fast as the other takes
them. Processor time is that of both processes. What a network of peers loses by TLS: benches/cluster.py --links.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import socket
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from surroundings import describe
from syncpoint.cli.loop import Loop, run_on
from syncpoint.runtime.transport import MAX_SEND_BYTES, Transport

sys.path.append(str(Path(__file__).parents[1]))
from tests.runtime.nodes import Plain, listener, port_of, settings_of

MAX_FRAME = 2_000_000


class User:
    """Counts what comes."""

    def __init__(self) -> None:
        self.bytes = 0
        self.up = asyncio.Event()
        self.changed = asyncio.Event()

    def received(self, peer: int, frames: list[bytes]) -> None:
        self.bytes += sum(map(len, frames))
        self.changed.set()

    def connected(self, peer: int) -> None:
        self.up.set()

    def disconnected(self, peer: int) -> None:
        """Only at the end."""


def transport_of(own: int, sock: socket.socket, port: int, tls: bool, user: User) -> Transport:
    settings = settings_of(own, {1 - own: port}, max_frame_bytes=MAX_FRAME)
    return Transport(sock, settings, user, None if tls else lambda settings: Plain())


async def _receive(port: int, total: int, tls: bool, result: Connection) -> None:
    user = User()
    sock = listener()
    result.send(port_of(sock))
    transport = transport_of(1, sock, port, tls, user)
    await transport.start()
    await user.up.wait()
    begin = time.process_time()
    while user.bytes < total:
        user.changed.clear()
        await user.changed.wait()
    result.send(time.process_time() - begin)
    await transport.close()


async def _send(sock: socket.socket, port: int, total: int, frame: int, batch: int, tls: bool) -> tuple[float, float]:
    user = User()
    transport = transport_of(0, sock, port, tls, user)
    await transport.start()
    await user.up.wait()
    begin, cpu, data = time.perf_counter(), time.process_time(), bytes(frame)
    (link,) = transport._links.values()
    for _ in range(total // (frame * batch)):
        for _ in range(batch):
            transport.send(1, data)
        transport.flush()
        while link.queued_bytes() > MAX_SEND_BYTES // 4:  # noqa: ASYNC110 - links do not tell
            await asyncio.sleep(0)
    while link.queued_bytes():  # noqa: ASYNC110 - the same
        await asyncio.sleep(0)
    assert not transport.dropped_frames
    took = time.perf_counter() - begin, time.process_time() - cpu
    await transport.close()
    return took


def _receiver(loop: Loop, port: int, total: int, tls: bool, result: Connection) -> None:
    run_on(loop, _receive(port, total, tls, result))


def measure(loop: Loop, tls: bool, frame: int, batch: int, total: int) -> tuple[float, float]:
    """Megabytes per second, and processor time of both sides in ms for a megabyte."""
    total -= total % (frame * batch)
    ours, theirs = multiprocessing.Pipe()
    sock = listener()
    process = multiprocessing.get_context("spawn").Process(
        target=_receiver, args=(loop, port_of(sock), total, tls, theirs)
    )
    process.start()
    port: int = ours.recv()
    seconds, sending = run_on(loop, _send(sock, port, total, frame, batch, tls))
    receiving: float = ours.recv()
    process.join()
    megabytes = total / 1e6
    return megabytes / seconds, (sending + receiving) * 1000 / megabytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=float, default=30)
    parser.add_argument("--frame", type=int, default=300, help="bytes of a small frame")
    parser.add_argument("--loop", type=lambda text: [Loop(each) for each in text.split(",")], default=list(Loop))
    arguments = parser.parse_args()
    for line in describe():
        print(line)
    print(f"\n{'':26}{'':8}{'MB/s: plain':>14}{'TLS':>8}{'ratio':>8}{'ms of CPU/MB: plain':>22}{'TLS':>8}{'ratio':>8}")
    for what, frame, batch in (
        ("one by one", arguments.frame, 1),
        ("64 at once", arguments.frame, 64),
        ("", 64_000, 4),
    ):
        total = int(arguments.megabytes * 1e6)
        if batch == 1:
            total //= 10  # it takes so much longer
        for loop in arguments.loop:
            plain, tls = (measure(loop, tls, frame, batch, total) for tls in (False, True))
            print(
                f"{frame:>6,} bytes, {what or '4 at once':<12}{loop:<8}{plain[0]:>12.0f}{tls[0]:>8.0f}"
                f"{tls[0] / plain[0]:>8.2f}{plain[1]:>22.2f}{tls[1]:>8.2f}{tls[1] / plain[1]:>8.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
