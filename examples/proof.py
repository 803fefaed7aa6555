"""A transaction of one peer, proved by another one, and checked when there is no network any more.

Whoever checks needs two files: the proof, and the network file, which has to come from a place that he trusts.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from four_peers import four_peers
from syncpoint import Genesis, Message, Proof, ProofError


async def prove(folder: Path) -> None:
    """Run a network for as long as it takes to write a proof."""
    async with four_peers(storage=folder / "stores") as (genesis, engines):
        (folder / "network.toml").write_text(genesis.to_toml(), encoding="utf-8")
        receipt = await engines[0].submit(b"peer 0 owes peer 1 a lunch")
        print(f"peer 0 sent a transaction; it is final at index {receipt.index}")
        witness = engines[2]
        message: Message | None = None
        while message is None or message.index < receipt.index:  # until it has come to the same place
            message = await witness.recv_message()
        proof = await witness.prove(receipt.index, receipt.position)
        proof.write(folder / "lunch.proof")
        print(f"peer 2 proved it, in {len(proof)} bytes; the network is gone now")


def check(folder: Path) -> None:
    """Check the proof, and then a forged one, with nothing but the files."""
    genesis = Genesis.from_toml(folder / "network.toml")
    proof = Proof.read(folder / "lunch.proof")
    print(f"\nThe proof holds:\n{proof.verify(genesis)}")
    forged = Proof(bytes(proof).replace(b"owes peer 1 a lunch", b"owes peer 3 a lunch"))
    try:
        forged.verify(genesis)
    except ProofError as error:
        print(f"\nThe forged one: {error}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(prove(Path(name)))
        check(Path(name))
