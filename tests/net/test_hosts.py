"""The hosts and the wire themselves: what is cut is dead, what is slow is slow, and nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .hosts import PREFIX, hosts

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0  # of any program: a test that needs it has failed

SERVER = """
import socket
server = socket.create_server(("0.0.0.0", 4000))
print("listening", flush=True)
while True:
    server.accept()[0].sendall(b"hello")
"""
CLIENT = """
import socket, sys, time
begin = time.monotonic()
try:
    with socket.create_connection((sys.argv[1], 4000), timeout=float(sys.argv[2])) as sock:
        print(sock.recv(5).decode(), time.monotonic() - begin)
except OSError as error:
    print(type(error).__name__, 0)
"""
MAKER = """
import os, signal
from tests.net.hosts import hosts
with hosts(2, seed=0):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_packets_are_late_lost_kept_out_and_cut_off() -> None:
    with hosts(2, delay_s=0.05, seed=1) as made:
        made.call({"server.example": made.address(0)})

        def connect(to: str, patience_s: float) -> tuple[str, float]:
            command = [*made.command(1), sys.executable, "-c", CLIENT, to, str(patience_s)]
            said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_S).stdout
            return said.split()[0], float(said.split()[1])

        command = [*made.command(0), sys.executable, "-c", SERVER]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            try:
                assert server.stdout is not None
                server.stdout.readline()
                heard, took_s = connect("server.example", TIMEOUT_S)
                assert heard == "hello"
                assert took_s >= 0.2, "a handshake and a word are two round trips"
                assert made.wire.lost == 0
                made.wire.cut([0])
                assert connect("server.example", 0.1)[0] == "TimeoutError"
                made.wire.heal()
                made.wire.shielded = frozenset([0])
                assert connect("server.example", 0.1)[0] == "TimeoutError"
                made.wire.shielded = frozenset([1])  # who connects itself is not kept out
                assert connect("server.example", TIMEOUT_S)[0] == "hello"
                made.move(0, "10.213.7.7")
                assert connect(made.address(0), 0.1)[0] == "TimeoutError"
                assert connect("10.213.7.7", TIMEOUT_S)[0] == "hello"
                made.wire.loss = [1.0, 1.0]
                assert connect("10.213.7.7", 0.1)[0] == "TimeoutError"
            finally:
                server.kill()


def test_what_a_killed_process_left_is_removed_by_the_next_one() -> None:
    with subprocess.Popen([sys.executable, "-c", MAKER], cwd=ROOT) as maker:
        maker.wait(TIMEOUT_S)
    left = {f"{PREFIX}{maker.pid}-{host}" for host in range(2)}
    assert left <= _names(), "it was killed and left nothing: nothing can be seen here"
    with hosts(1, seed=0):
        assert not left & _names()
        assert f"{PREFIX}{os.getpid()}-0" in _names()
    assert f"{PREFIX}{os.getpid()}-0" not in _names()


def _names() -> set[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    there = {path.name for path in Path("/etc/netns").iterdir()} if Path("/etc/netns").is_dir() else set()
    return there | {line.split()[0] for line in listed.splitlines() if line}
