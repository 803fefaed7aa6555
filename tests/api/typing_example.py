"""What a type checker makes of an application: no Any anywhere, every type as the documentation says.

It is checked by `mypy --strict` and run, both by `test_typing.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import assert_type

from syncpoint import (
    Context,
    CoreInfo,
    Engine,
    EngineStatus,
    Event,
    KeyPublic,
    KeySecret,
    Message,
    Network,
    Options,
    Peer,
    PeerCapabilities,
    Peers,
    Proposal,
    Receipt,
    Reject,
    Socket,
    Status,
    SyncPoint,
    SyncpointError,
    SyncPointKind,
    Transaction,
    base58,
)


async def main() -> list[bytes]:
    """One peer by itself, with everything that an application touches."""
    secret = KeySecret.generate()
    assert_type(secret, KeySecret)
    assert_type(secret.public(), KeyPublic)
    assert_type(KeyPublic.parse(str(secret.public())), KeyPublic)
    assert_type(base58.encode(bytes(secret.public())), str)
    assert_type(base58.decode("2g"), bytes)

    def approve(proposal: Proposal) -> bool | None:
        assert_type(proposal.kind, SyncPointKind)
        assert_type(proposal.proposer, KeyPublic)
        return proposal.kind is not SyncPointKind.END

    context = Context(core="auto", approve=approve)
    assert_type(context.core, CoreInfo)
    got: list[bytes] = []
    async with context as entered:
        assert_type(entered, Context)
        socket = await Socket.bind(context, "127.0.0.1:0")
        assert_type(socket, Socket)
        assert_type(socket.address, str)

        peers = Peers()
        assert_type(peers.insert(socket.address, secret.public(), PeerCapabilities(public=True)), None)
        assert_type(len(peers), int)
        assert_type(iter(peers), Iterator[Peer])
        for peer in peers:
            assert_type(peer.public, KeyPublic)
            assert_type(peer.capabilities.no_order, bool)

        network = Network(name="typed", order="fast")
        assert_type(network.max_transaction_bytes, int)
        engine = await Engine.start(context, socket, Options(heartbeat_us=100_000), secret, peers, network=network)
        assert_type(engine, Engine)
        assert_type(engine.public, KeyPublic)
        assert_type(engine.network, Network)

        transaction = Transaction.allocate(5)
        transaction[:] = b"first"
        assert_type(await engine.send_transaction(transaction), None)
        assert_type(engine.try_send_transaction(memoryview(b"second")), None)
        receipt = await engine.submit(bytearray(b"third"))
        assert_type(receipt, Receipt)
        assert_type(receipt.index, int)
        assert_type(receipt.position, int)
        assert_type(receipt.consensus_at, int)
        assert_type(receipt.hash, bytes)

        point = await engine.propose(SyncPointKind.SNAPSHOT, b"here", timeout=5)
        assert_type(point, SyncPoint)
        assert_type(engine.proposals, tuple[Proposal, ...])
        for proposal in engine.proposals:
            assert_type(engine.vote(proposal, approve=False), None)

        message = await engine.recv_message()
        assert_type(message, Message | None)
        if isinstance(message, Event):
            got += message.transactions

        async for message in engine:
            match message:
                case Event():
                    assert_type(message, Event)
                    assert_type(message.index, int)
                    assert_type(message.creator, KeyPublic)
                    assert_type(message.round, int)
                    assert_type(message.created_at, int)
                    assert_type(message.consensus_at, int)
                    assert_type(message.hash, bytes)
                    assert_type(message.order_hash, bytes)
                    assert_type(message.whitened_signature, bytes)
                    assert_type(message.parents, tuple[bytes, ...])
                    assert_type(message.transactions, tuple[bytes, ...])
                    assert_type(message.transaction_count, int)
                    got += message.transactions
                case SyncPoint():
                    assert_type(message, SyncPoint)
                    assert_type(message.kind, SyncPointKind)
                    assert_type(message.timestamp, int)
                    assert_type(message.proposer, KeyPublic | None)
                    assert_type(message.approvals, tuple[KeyPublic, ...])
                    assert_type(message.rotated, tuple[tuple[KeyPublic, KeyPublic], ...])
                    assert_type(message.peers, Peers)
                    assert_type(message.is_session_ended, bool)
                    assert_type(message.attest(bytes(range(32))), None)
                    break

        status = engine.status()
        assert_type(status, EngineStatus)
        assert_type(status.consensus, Status)
        assert_type(status.linked, tuple[KeyPublic, ...])
        assert_type(status.refusals, dict[KeyPublic, str])
        assert_type(status.consensus.rejects.get(Reject.TIME), int | None)
        assert_type(engine.active_creators(), tuple[KeyPublic, ...])

        try:
            engine.try_send_transaction(bytes(10_000_000))
        except SyncpointError as error:
            assert_type(error.code, int | None)
        async with engine as same:
            assert_type(same, Engine)
        assert_type(await engine.stop(), None)
    return got


if __name__ == "__main__":
    print(asyncio.run(main()))
