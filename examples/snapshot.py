"""Accounts, and a snapshot of them that all peers take at the same place while transfers go on.

No peer waits for another: each writes its file when it comes to the sync point in its own stream, and tells the others
the hash of what it wrote. What a quorum attested alike can be proved; a peer that it contradicts would end with
DivergenceError.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
from pathlib import Path

from four_peers import four_peers
from syncpoint import Engine, Event, Genesis, SyncPoint, SyncPointKind

TRANSFERS = 50  # of each peer


async def run(engine: Engine, folder: Path, number: int) -> None:
    """Keep the accounts of one peer, and write them down at every snapshot, until the session has ended."""
    balances = {"alice": 1_000, "bob": 1_000, "carol": 1_000, "dave": 1_000}
    async for message in engine:
        match message:
            case Event():
                for transaction in message.transactions:
                    giver, taker, amount = transaction.decode().split()
                    if balances[giver] >= int(amount):  # judged in the agreed order, so the same everywhere
                        balances[giver] -= int(amount)
                        balances[taker] += int(amount)
            case SyncPoint(kind=SyncPointKind.SNAPSHOT):
                state = json.dumps(balances, sort_keys=True).encode()
                file_of(folder, number, message.index).write_bytes(state)
                message.attest(hashlib.sha256(state).digest())


def file_of(folder: Path, number: int, index: int) -> Path:
    """Where a peer writes its snapshot at an index."""
    return folder / f"peer{number}-{index}.json"


async def transfer(engine: Engine, giver: str, taker: str) -> None:
    """Send transfers without a pause."""
    for number in range(TRANSFERS):
        await engine.send_transaction(f"{giver} {taker} {number}".encode())
        await asyncio.sleep(0)


async def attested(point: SyncPoint, engine: Engine, genesis: Genesis) -> bytes:
    """The hash that a quorum of the peers signed as the state behind a sync point."""
    while (proved := (await point.proof()).verify(genesis)).state_hash is None:
        await engine.submit(b"alice bob 0")  # what the others attest comes with their next events
    return proved.state_hash


async def main(folder: Path) -> None:
    """Take two snapshots under load, and compare the files."""
    async with four_peers() as (genesis, engines):
        applications = [asyncio.create_task(run(engine, folder, number)) for number, engine in enumerate(engines)]
        ways = (("alice", "bob"), ("bob", "carol"), ("carol", "bob"), ("alice", "dave"))
        transfers = [asyncio.create_task(transfer(engine, *way)) for engine, way in zip(engines, ways, strict=True)]
        points = [await engines[number].propose(SyncPointKind.SNAPSHOT) for number in (1, 2)]
        await asyncio.gather(*transfers)
        hashes = [await attested(point, engines[0], genesis) for point in points]
        await asyncio.gather(*(engine.vote_end_session() for engine in engines))
        await asyncio.gather(*applications)
    for point, state_hash in zip(points, hashes, strict=True):
        print(f"snapshot at index {point.index}, a quorum attested {state_hash.hex()[:16]}...")
        for number in range(len(engines)):
            data = file_of(folder, number, point.index).read_bytes()
            assert hashlib.sha256(data).digest() == state_hash
            print(f"  {file_of(folder, number, point.index).name}: {data.decode()}")
    print("all four peers wrote the same files")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(main(Path(name)))
