"""Proofs of what a store holds: of old transactions, after a restart, and of what is forgotten."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest
from tests.api.cluster import DEADLINE_S

from syncpoint import (
    ArgumentError,
    Engine,
    EngineStopped,
    Genesis,
    GenesisPeer,
    PeerRecord,
    Proof,
    ProofUnavailable,
    ProvedSyncPoint,
    ProvedTransaction,
    Receipt,
    SyncPoint,
    SyncPointKind,
)

from .test_engine import NETWORK, SECRETS, engines, keep_little


def genesis(n: int) -> Genesis:
    """The network file of those engines."""
    entries = [
        GenesisPeer(record=PeerRecord.of(secret), address=f"127.0.0.1:{9001 + number}")
        for number, secret in enumerate(SECRETS[:n])
    ]
    return Genesis(entries=tuple(entries), network=NETWORK)


async def some(engine: Engine, first: int, count: int) -> list[Receipt]:
    """So many transactions, one after the other."""
    return [await engine.submit(b"%d" % number) for number in range(first, first + count)]


async def test_every_transaction_and_sync_point_is_proved_by_each_peer(tmp_path: Path, core: str) -> None:
    async with asyncio.timeout(DEADLINE_S), engines(tmp_path, 4, core=core) as made:
        first, *others = made
        receipts = await some(first, 0, 3)
        agreed = await asyncio.gather(first.propose(SyncPointKind.SNAPSHOT, b"noon"), some(others[0], 3, 3))
        point, more = agreed
        assert isinstance(point, SyncPoint)
        proof = await point.proof()
        for receipt in receipts + more:
            while first.status().consensus.delivered <= receipt.index:
                await first.recv_message()
        proofs = [await first.prove(receipt.index, receipt.position) for receipt in receipts + more]
    for checker in ("python", core):
        proved = proof.verify(genesis(4), checker)
        assert isinstance(proved, ProvedSyncPoint)
        assert (proved.index, proved.kind, proved.metadata) == (point.index, SyncPointKind.SNAPSHOT, b"noon")
        assert (proved.consensus_at, proved.order_hash) == (point.timestamp, point.order_hash)
        assert (proved.proposer, proved.approvals) == (point.proposer, point.approvals)
        for number, (receipt, made_proof) in enumerate(zip(receipts + more, proofs, strict=True)):
            shown = made_proof.verify(genesis(4), checker)
            assert isinstance(shown, ProvedTransaction)
            assert (shown.transaction, shown.index, shown.hash) == (b"%d" % number, receipt.index, receipt.hash)
            assert shown.consensus_at == receipt.consensus_at
            assert len(shown.signers) == 3


async def test_what_came_before_a_restart_is_proved_after_it(tmp_path: Path, core: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        async with engines(tmp_path, 4, core=core) as (engine, *_):
            receipts = await some(engine, 0, 3)
            point = await engine.propose(SyncPointKind.CUSTOM, b"before")
            # The votes for its checkpoint are in events that are delivered, and so stored, behind it.
            await some(engine, 3, 20)
        async with engines(tmp_path, 4, core=core) as (engine, *_):
            proofs = [await engine.prove(receipt.index, receipt.position) for receipt in receipts]
            again = None
            while not isinstance(again, SyncPoint):
                again = await engine.recv_message()
            assert dataclasses.replace(again, peers=point.peers) == point  # ports are new each time
            proof = await again.proof()
        for number, each in enumerate(proofs):
            shown = each.verify(genesis(4), core)
            assert isinstance(shown, ProvedTransaction)
            assert (shown.transaction, shown.index) == (b"%d" % number, receipts[number].index)
        assert proof.verify(genesis(4), core).order_hash == point.order_hash
        # Both engines are gone, and what the application still holds says so.
        with pytest.raises(EngineStopped):
            await again.proof()
        with pytest.raises(EngineStopped):
            await engine.prove(0, 0)


async def test_what_is_forgotten_or_not_there_is_said(
    tmp_path: Path, core: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_little(monkeypatch)
    async with asyncio.timeout(DEADLINE_S), engines(tmp_path, 1, core=core) as (engine,):
        receipts = await some(engine, 0, 40)
        index = -1
        while index < receipts[20].index:
            message = await engine.recv_message()
            assert message is not None
            index = message.index
        early = await engine.prove(receipts[0].index, 0)
        await engine.forget(receipts[20].index)
        with pytest.raises(ProofUnavailable, match=r"the store begins with index \d+: what was before is forgotten"):
            await engine.prove(receipts[0].index, 0)
        with pytest.raises(ArgumentError, match="is not delivered yet"):
            await engine.prove(10**9, 0)
        late = await engine.prove(receipts[-1].index, receipts[-1].position)
    assert early.verify(genesis(1), core).index == receipts[0].index
    assert Proof(bytes(late)).verify(genesis(1), core).index == receipts[-1].index
