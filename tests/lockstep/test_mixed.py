"""Clusters in which some peers run one core and some the other: nobody can tell."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api.cluster import read_transactions, transactions
from core.virtual import MS, Cluster, jitter
from syncpoint import Context, Engine, Event, KeySecret, Network, Options, Peers, Socket

CORES = ("native", "python")

pytestmark = pytest.mark.native


def mixed(n: int) -> list[str]:
    """A core for each of n peers, in turn."""
    return [CORES[i % 2] for i in range(n)]


# -- virtual time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "order"), [("two_step", "fair"), ("two_step", "fast"), ("three_step", "fair")])
@pytest.mark.parametrize("n", [2, 4, 7, 10])
def test_all_transactions_are_delivered_once_in_the_same_order(n: int, rule: str, order: str, seed: int) -> None:
    rng = random.Random(seed)
    network = Network(rule=rule, order=order)
    cluster = Cluster(n, network=network, delay=jitter(rng, MS, 5 * MS, loss=0.02), core=mixed(n))
    cluster.exchange(rng, 100)
    assert not cluster.rejects, "what one core makes the other one takes"


def test_peers_crash_and_come_back_with_the_other_core(seed: int) -> None:
    """A journal is read by both cores (J1, R1)."""
    rng = random.Random(seed)
    cores = mixed(4)
    cluster = Cluster(4, delay=jitter(rng, MS, 3 * MS), core=cores)
    for number in range(60):
        cluster.run(2 * MS)
        cluster.submit(number % 4, b"%d" % number)
        if number % 15 == 7:
            i = number % 4
            cluster.run(20 * MS)
            cluster.crash(i)
            cores[i] = CORES[cores[i] == "native"]
            cluster.restart(i)
    cluster.run_until(lambda: cluster.all_have(60), within=20_000 * MS)
    cluster.check_agreement()
    assert not cluster.halted


# -- real sockets, one process --------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def engines(cores: list[str], network: Network | None = None) -> AsyncIterator[list[Engine]]:
    """One engine per entry, each with a context of that core, on loopback."""
    async with contextlib.AsyncExitStack() as stack:
        contexts = [await stack.enter_async_context(Context(core=core)) for core in cores]
        assert [context.core.name for context in contexts] == cores
        secrets = [KeySecret.generate() for _ in cores]
        sockets = [await Socket.bind(context, "127.0.0.1:0") for context in contexts]
        peers = Peers()
        for socket, secret in zip(sockets, secrets, strict=True):
            peers.insert(socket.address, secret.public())
        yield [
            await Engine.start(context, socket, Options(), secret, peers, network=network or Network())
            for context, socket, secret in zip(contexts, sockets, secrets, strict=True)
        ]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("n", [4, 7])
async def test_engines_of_both_cores_have_one_stream(n: int) -> None:
    sent = [b"%05d" % number for number in range(700)]
    async with engines(mixed(n)) as made:

        async def feed(i: int) -> None:
            for transaction in sent[i::n]:
                await made[i].send_transaction(transaction)

        feeders = [asyncio.create_task(feed(i)) for i in range(n)]
        streams = await asyncio.gather(*(read_transactions(engine, len(sent)) for engine in made))
        await asyncio.gather(*feeders)
    assert sorted(transactions(streams[0])) == sent
    shortest = min(map(len, streams))
    assert all(told(stream[:shortest]) == told(streams[0][:shortest]) for stream in streams)
    assert all(transactions(stream) == transactions(streams[0]) for stream in streams)


def told(events: list[Event]) -> list[tuple[Any, ...]]:
    """All that peers must agree on."""
    names = ("index", "creator", "round", "created_at", "consensus_at", "hash", "parents", "order_hash", "transactions")
    return [tuple(getattr(event, name) for name in names) for event in events]


# -- real processes -------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
def test_processes_of_both_cores_print_the_same_stream(tmp_path: Path) -> None:
    """`syncpoint run`, with SYNCPOINT_CORE set for each."""
    pytest.importorskip("typer")
    folder, n, lines = tmp_path / "net", 4, 40
    command = [sys.executable, "-m", "syncpoint"]
    network = str(folder / "network.toml")
    subprocess.run([*command, "init", str(folder), "--peers", str(n)], check=True, capture_output=True)
    processes = [
        subprocess.Popen(
            [
                *command,
                "run",
                "--network",
                network,
                "--key",
                str(folder / f"peer{i}" / "key.pem"),
                "--count",
                str(n * lines),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"SYNCPOINT_CORE": core},
        )
        for i, core in enumerate(mixed(n))
    ]
    try:
        for i, process in enumerate(processes):
            assert process.stdin is not None
            process.stdin.write("".join(f"peer {i} line {line}\n" for line in range(lines)))
            process.stdin.close()
            process.stdin = None
        results = [process.communicate(timeout=90) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
    for process, (_, err) in zip(processes, results, strict=True):
        assert process.returncode == 0, err
    outs = [out for out, _ in results]
    assert outs.count(outs[0]) == n
    received = [line for event in map(json.loads, outs[0].splitlines()) for line in event["transactions"]]
    assert sorted(received) == sorted(f"peer {i} line {line}" for i in range(n) for line in range(lines))


def test_a_mixed_network_notices_a_core_that_orders_otherwise() -> None:
    """The comparison of streams sees one wrong consensus time."""
    cluster = Cluster(4, core=mixed(4))
    cluster.submit(0, b"x")
    cluster.run_until(lambda: cluster.all_have(1))
    cluster.check_agreement()
    done = cluster.delivered[1][0]

    class Later:
        consensus_at = done.consensus_at + 1

        def __getattr__(self, name: str) -> Any:
            return getattr(done, name)

    cluster.delivered[1][0] = Later()  # type: ignore[call-overload]
    with pytest.raises(AssertionError):
        cluster.check_agreement()
