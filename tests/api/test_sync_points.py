"""Sync points as an application sees them: proposed, voted on, the same everywhere, and the end of a session."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
import logging
import pickle
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from syncpoint import (
    ArgumentError,
    ArgumentTypeError,
    Context,
    DivergenceError,
    Engine,
    EngineStopped,
    KeyPublic,
    KeySecret,
    Message,
    Network,
    ObserverError,
    Options,
    Outcome,
    PeerCapabilities,
    Peers,
    ProofUnavailable,
    Proposal,
    ProposalRejected,
    Socket,
    SyncPoint,
    SyncPointKind,
)
from syncpoint.core.crypto import blake3
from syncpoint.core.epoch import MAX_PROPOSALS, sync_point_digest
from syncpoint.core.output import Halted
from syncpoint.proposal import Approve, approve_by_default

from .cluster import DEADLINE_S, Cluster, cluster, cycles, read_all, until

PROPOSABLE = [
    SyncPointKind.SESSION,
    SyncPointKind.SNAPSHOT,
    SyncPointKind.EPOCH,
    SyncPointKind.CUSTOM,
    SyncPointKind.END,
]
CHANGING = [SyncPointKind.MEMBERSHIP, SyncPointKind.KEY_ROTATION, SyncPointKind.CONFIG]


def has(count: int) -> Callable[[list[Message]], bool]:
    """Whether so many sync points have come."""
    return lambda messages: len(points(messages)) >= count


def points(messages: list[Message]) -> list[SyncPoint]:
    """The sync points of a stream."""
    return [message for message in messages if isinstance(message, SyncPoint)]


async def in_time(*waits: Any) -> Any:
    """What several waits come to."""
    async with asyncio.timeout(DEADLINE_S):
        return await asyncio.gather(*waits)


def nobody(proposal: Proposal) -> None:
    """A policy that leaves everything to the application."""


@contextlib.asynccontextmanager
async def voters(*policies: Approve | None, options: Options | None = None) -> AsyncIterator[Cluster]:
    """A network of as many peers as there are policies, each with its own."""
    async with contextlib.AsyncExitStack() as stack:
        contexts = [await stack.enter_async_context(Context(approve=policy)) for policy in policies]
        net = await stack.enter_async_context(
            cluster(len(policies), 0, options=options or Options(heartbeat_us=50_000), context=contexts[0])
        )
        for number, context in enumerate(contexts):
            net.context = context
            await net.start(number)
        yield net


async def opened(engine: Engine, count: int = 1) -> tuple[Proposal, ...]:
    """The open proposals of a peer, once there are so many."""
    await until(engine, lambda: len(engine.proposals) >= count)
    return engine.proposals


# What a sync point is

KEYS = [KeySecret.generate().public() for _ in range(4)]
FIELDS: dict[str, Any] = {
    "kind": SyncPointKind.CUSTOM,
    "metadata": b"m",
    "index": 7,
    "timestamp": 1_700_000_000_000_000_000,
    "epoch_index": 2,
    "session_id": b"s" * 32,
    "proposer": KEYS[0],
    "approvals": (KEYS[0], KEYS[1], KEYS[2]),
    "joined": (),
    "left": (),
    "kicked": (),
    "fallen_behind": (),
    "rotated": (),
    "peers": Peers(),
    "network": Network(),
    "is_just_synced": False,
    "order_hash": b"o" * 32,
}
OTHER_PEERS = Peers()
OTHER_PEERS.insert("127.0.0.1:9001", KEYS[0])
OTHERS: dict[str, Any] = {
    "kind": SyncPointKind.END,
    "metadata": b"",
    "index": 8,
    "timestamp": 1,
    "epoch_index": 3,
    "session_id": bytes(32),
    "proposer": None,
    "approvals": (),
    "joined": (KEYS[3],),
    "left": (KEYS[3],),
    "kicked": (KEYS[3],),
    "fallen_behind": (KEYS[3],),
    "rotated": ((KEYS[2], KEYS[3]),),
    "peers": OTHER_PEERS,
    "network": Network(gc_depth=7),
    "is_just_synced": True,
    "order_hash": bytes(32),
}


def test_a_sync_point_can_be_made_by_hand() -> None:
    point = SyncPoint(**FIELDS)
    assert {name: getattr(point, name) for name in FIELDS} == FIELDS
    assert not point.is_session_ended
    assert SyncPoint(**{**FIELDS, "kind": SyncPointKind.END}).is_session_ended
    with pytest.raises(TypeError):
        SyncPoint(7)  # type: ignore[misc, call-arg]
    with pytest.raises(AttributeError):
        point.index = 8  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        point.another = 8  # type: ignore[attr-defined]
    match point:
        case SyncPoint(kind=SyncPointKind.CUSTOM, metadata=b"m"):
            pass
        case _:
            pytest.fail("not matched")


@pytest.mark.parametrize("name", FIELDS)
def test_sync_points_are_equal_by_value(name: str) -> None:
    point = SyncPoint(**FIELDS)
    assert point == SyncPoint(**FIELDS)
    assert hash(point) == hash(SyncPoint(**FIELDS))
    assert point != SyncPoint(**{**FIELDS, name: OTHERS[name]})
    assert f"{name}=" in repr(point)


def test_sync_points_travel_without_their_engine() -> None:
    point = SyncPoint(**FIELDS)
    for other in (pickle.loads(pickle.dumps(point)), copy.copy(point), copy.deepcopy(point)):
        assert other is not point
        assert (other, hash(other), repr(other)) == (point, hash(point), repr(point))
        with pytest.raises(ArgumentError, match=r"no engine behind .* made by hand, copied or unpickled; take the one"):
            other.attest(b"h" * 32)


# Proposed, and the same everywhere


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("kind", PROPOSABLE)
async def test_every_kind_is_the_same_on_all_peers(kind: SyncPointKind, n: int) -> None:
    async with cluster(n) as net:
        proposer = net.engines[-1]
        for number, engine in enumerate(net.engines):
            await engine.send_transaction(b"%d" % number)
        decided = asyncio.ensure_future(proposer.propose(kind, b"said with it"))
        if kind is SyncPointKind.END:  # which the policy leaves to the application
            for engine in net.engines[:-1]:
                ((proposal,),) = await in_time(opened(engine))
                engine.vote(proposal)
        (point,) = await in_time(decided)
        streams = await in_time(*(read_all(engine, has(1)) for engine in net.engines))
        quorum = n - (n - 1) // 3
        for engine, stream in zip(net.engines, streams, strict=True):
            (same,) = points(stream)
            assert same == point
            assert stream == streams[0]  # the events before it, too
            assert stream[-1] is same
            assert same.index == len(stream) - 1
            assert same.timestamp > stream[-2].consensus_at
            status = engine.status().consensus
            assert status.epoch_index == 1
            assert status.ended == (kind is SyncPointKind.END)
        assert (point.kind, point.metadata, point.epoch_index) == (kind, b"said with it", 1)
        assert point.proposer == proposer.public
        assert proposer.public in point.approvals
        assert len(point.approvals) >= quorum
        assert list(point.approvals) == sorted(point.approvals)
        assert point.peers == net.peers
        assert point.is_session_ended == (kind is SyncPointKind.END)
        assert not point.is_just_synced


def order_hash_after(before: Message, point: SyncPoint, proposal: bytes, keys: list[KeyPublic]) -> bytes:
    """The order hash at a sync point, from what all see of it (O9)."""
    proposer = None if point.proposer is None else keys.index(point.proposer)
    bits = sum(1 << keys.index(key) for key in point.approvals)
    digest = sync_point_digest(point.kind, point.epoch_index, proposal, proposer, bits, point.metadata)
    return blake3(before.order_hash + struct.pack("<Q32sQ", point.index, digest, point.timestamp))


async def test_session_ids_change_at_sessions_only() -> None:
    async with cluster(1) as net:
        (engine,) = net.engines
        kinds = [SyncPointKind.CUSTOM, SyncPointKind.SESSION, SyncPointKind.SNAPSHOT, SyncPointKind.SESSION]
        first, second, third, fourth = [(await in_time(engine.propose(kind)))[0] for kind in kinds]
        assert first.session_id != second.session_id == third.session_id != fourth.session_id
        assert [point.epoch_index for point in (first, second, third, fourth)] == [1, 2, 3, 4]
        assert len({first.session_id, second.session_id, fourth.session_id}) == 3


async def test_many_at_once_come_in_one_order_everywhere() -> None:
    async with cluster(4) as net:
        async with asyncio.timeout(DEADLINE_S):
            made = await asyncio.gather(
                *(
                    engine.propose(SyncPointKind.CUSTOM, b"%d/%d" % (number, turn))
                    for number, engine in enumerate(net.engines)
                    for turn in range(4)
                )
            )
        streams = await in_time(*(read_all(engine, has(len(made))) for engine in net.engines))
        assert all(points(stream) == points(streams[0]) for stream in streams)
        assert sorted(made, key=lambda point: point.index) == points(streams[0])
        assert [point.epoch_index for point in points(streams[0])] == list(range(1, len(made) + 1))
        for stream in streams:
            assert [message.index for message in stream] == list(range(len(stream)))
            times = [m.timestamp if isinstance(m, SyncPoint) else m.consensus_at for m in stream]
            assert all(one < two for one, two in itertools.pairwise(times))


async def test_the_regular_beat_needs_no_proposal() -> None:
    async with cluster(4, network=Network(epoch_ms=1), options=Options(heartbeat_us=50_000)) as net:
        await in_time(net.engines[0].submit(b"x"))
        streams = await in_time(*(read_all(engine, has(1)) for engine in net.engines))
        (point,) = points(streams[0])
        assert (point.kind, point.metadata, point.proposer, point.approvals) == (SyncPointKind.EPOCH, b"", None, ())
        assert all(points(stream) == [point] for stream in streams)
        assert point.order_hash == order_hash_after(streams[0][-2], point, bytes(32), [])


async def test_a_peer_without_logic_proposes_and_reads_nothing() -> None:
    async with cluster(2, capabilities=[PeerCapabilities(no_logic=True), PeerCapabilities()]) as net:
        silent = next(engine for engine in net.engines if engine._membership.capabilities.no_logic)
        (other,) = [engine for engine in net.engines if engine is not silent]
        (point,) = await in_time(silent.propose(SyncPointKind.SNAPSHOT))
        (stream,) = await in_time(read_all(other, has(1)))
        assert points(stream) == [point]
        assert silent.status().unread_messages == 0


async def test_an_observer_sees_proposals_and_sync_points_and_has_no_say() -> None:
    capabilities = [PeerCapabilities(), PeerCapabilities(no_order=True)]
    async with Context(approve=nobody) as context, cluster(2, capabilities=capabilities, context=context) as net:
        observer = next(engine for engine in net.engines if engine._membership.capabilities.no_order)
        (member,) = [engine for engine in net.engines if engine is not observer]
        (point,) = await in_time(member.propose(SyncPointKind.CUSTOM, b"x"))
        (stream,) = await in_time(read_all(observer, has(1)))
        assert points(stream) == [point]
        with pytest.raises(ObserverError):
            await observer.propose(SyncPointKind.CUSTOM)
        with pytest.raises(ObserverError):
            observer.vote(bytes(32))
        point_there = points(stream)[0]
        point_there.attest(b"h" * 32)


async def test_the_address_book_of_a_sync_point_is_the_receivers_own() -> None:
    async with cluster(1) as net:
        (engine,) = net.engines
        (first,) = await in_time(engine.propose(SyncPointKind.CUSTOM))
        first.peers.insert("127.0.0.1:1", KEYS[0])
        (second,) = await in_time(engine.propose(SyncPointKind.CUSTOM))
        assert second.peers == net.peers
        assert len(first.peers) == 2


async def test_the_first_one_after_joining_says_so() -> None:
    async with cluster(4, 3) as net:
        engine = await net.start(3, joining=True)
        for _ in range(2):
            await in_time(net.engines[0].propose(SyncPointKind.CUSTOM))
        (stream,) = await in_time(read_all(engine, has(2)))
        assert [point.is_just_synced for point in points(stream)] == [True, False]
        (own,) = await in_time(read_all(net.engines[0], has(2)))
        assert [point.is_just_synced for point in points(own)] == [False, False]


# Decided against


async def test_refused_by_so_many_that_there_can_be_no_quorum() -> None:
    def refuse(proposal: Proposal) -> bool:
        return False

    async with voters(refuse, refuse, None, None) as net:
        with pytest.raises(ProposalRejected, match="so many peers refused it") as raised:
            await in_time(net.engines[2].propose(SyncPointKind.CUSTOM))
        assert raised.value.outcome is Outcome.REFUSED
        copied = pickle.loads(pickle.dumps(raised.value))
        assert (copied.outcome, str(copied)) == (Outcome.REFUSED, str(raised.value))
        await in_time(net.engines[0].submit(b"the network goes on"))
        assert all(engine.status().consensus.epoch_index == 0 for engine in net.engines)


async def test_one_refusal_of_four_stops_nothing() -> None:
    async with voters(lambda proposal: False, None, None, None) as net:
        (point,) = await in_time(net.engines[1].propose(SyncPointKind.CUSTOM))
        refused = net.engines[0].public
        assert refused not in point.approvals
        assert len(point.approvals) == 3


async def test_expired_when_nobody_votes() -> None:
    async with voters(nobody, nobody) as net:
        with pytest.raises(ProposalRejected, match="by its deadline; give a longer timeout") as raised:
            await in_time(net.engines[0].propose(SyncPointKind.CUSTOM, timeout=0.2))
        assert raised.value.outcome is Outcome.EXPIRED
        assert net.engines[0].proposals == ()
        await until(net.engines[1], lambda: not net.engines[1].proposals)


async def test_too_many_of_one_peer() -> None:
    async with voters(nobody, nobody) as net:
        engine = net.engines[0]
        waiting = [asyncio.ensure_future(engine.propose(SyncPointKind.CUSTOM)) for _ in range(MAX_PROPOSALS)]
        await cycles()
        with pytest.raises(ProposalRejected, match="16 others of this peer") as raised:
            await in_time(engine.propose(SyncPointKind.CUSTOM))
        assert raised.value.outcome is Outcome.TOO_MANY
        await opened(net.engines[1], MAX_PROPOSALS)
        for proposal in net.engines[1].proposals:
            net.engines[1].vote(proposal)
        made = await in_time(*waiting)
        assert len({point.index for point in made}) == MAX_PROPOSALS
        # They are remembered until their deadlines, and the network says no as well.
        with pytest.raises(ProposalRejected) as raised:
            await in_time(engine.propose(SyncPointKind.CUSTOM))
        assert raised.value.outcome is Outcome.TOO_MANY


async def test_a_deadline_too_far_for_the_others_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cluster(1) as net:
        (engine,) = net.engines
        plain = engine._agreement._now
        monkeypatch.setattr(engine._agreement, "_now", lambda: plain() + 10_000_000_000)
        with pytest.raises(ProposalRejected, match="too far ahead of the others' clocks") as raised:
            await in_time(engine.propose(SyncPointKind.CUSTOM, timeout=3600))
        assert raised.value.outcome is Outcome.INVALID


@pytest.mark.parametrize("kind", CHANGING)
async def test_kinds_that_have_calls_of_their_own(kind: SyncPointKind) -> None:
    async with cluster(1) as net:
        with pytest.raises(ArgumentError, match=f"{kind.name} needs more .* call Engine.*SESSION, SNAPSHOT, EPOCH"):
            await net.engines[0].propose(kind)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("CUSTOM",), ArgumentTypeError, r"kind is 'CUSTOM' \(str\): give a SyncPointKind, one of SESSION"),
        ((7,), ArgumentTypeError, r"kind is 7 \(int\)"),
        ((SyncPointKind.CUSTOM, "text"), ArgumentTypeError, r"metadata is str.*encode text first"),
        ((SyncPointKind.CUSTOM, bytes(8193)), ArgumentError, r"8193 bytes; allowed are up to 8192"),
        ((SyncPointKind.CUSTOM, b"", "1"), ArgumentTypeError, r"timeout is '1': give seconds"),
        ((SyncPointKind.CUSTOM, b"", True), ArgumentTypeError, r"timeout is True"),
        ((SyncPointKind.CUSTOM, b"", 0), ArgumentError, r"timeout is 0: give 0.001 to 3600 seconds"),
        ((SyncPointKind.CUSTOM, b"", 3600.1), ArgumentError, r"timeout is 3600.1"),
        ((SyncPointKind.CUSTOM, b"", float("nan")), ArgumentError, r"timeout is nan"),
        ((SyncPointKind.CUSTOM, b"", float("inf")), ArgumentError, r"timeout is inf"),
    ],
)
async def test_what_cannot_be_proposed(arguments: Any, error: type[Exception], message: str) -> None:
    async with cluster(1) as net:
        with pytest.raises(error, match=message):
            await net.engines[0].propose(*arguments)
        assert net.engines[0].proposals == ()


async def test_the_largest_metadata_of_any_bytes_like_kind() -> None:
    async with cluster(1) as net:
        for metadata in (bytes(8192), bytearray(b"array"), memoryview(b"-view-")[1:5]):
            (point,) = await in_time(net.engines[0].propose(SyncPointKind.CUSTOM, metadata))
            assert point.metadata == bytes(metadata)
            assert type(point.metadata) is bytes


async def test_a_cancelled_proposal_stands_all_the_same() -> None:
    async with cluster(2, 1) as net:
        engine = net.engines[0]
        task = asyncio.ensure_future(engine.propose(SyncPointKind.CUSTOM, b"stands"))
        await cycles()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await net.start(1)
        (stream,) = await in_time(read_all(engine, has(1)))
        assert points(stream)[0].metadata == b"stands"
        assert not engine._agreement._own


async def test_proposals_alike_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    async with cluster(1) as net:
        (engine,) = net.engines
        now = engine._agreement._now()
        monkeypatch.setattr(engine._agreement, "_now", lambda: now)
        one, two = await in_time(*(engine.propose(SyncPointKind.CUSTOM, b"same") for _ in range(2)))
        assert one.index != two.index


# Votes


async def test_by_hand() -> None:
    async with voters(nobody, nobody, nobody, nobody) as net:
        proposer, *others = net.engines
        waiting = asyncio.ensure_future(proposer.propose(SyncPointKind.SNAPSHOT, b"?", timeout=600))
        found = await in_time(*(opened(engine) for engine in net.engines))
        assert len(set(found)) == 1
        ((proposal,), *_) = found
        assert (proposal.kind, proposal.metadata, proposal.proposer) == (
            SyncPointKind.SNAPSHOT,
            b"?",
            proposer.public,
        )
        assert len(proposal.id) == 32
        assert proposer.status().consensus.proposals == 1
        others[0].vote(proposal)
        others[1].vote(proposal.id, approve=True)
        (point,) = await in_time(waiting)
        assert set(point.approvals) == {proposer.public, others[0].public, others[1].public}
        assert point.timestamp < proposal.deadline
        (stream,) = await in_time(read_all(others[2], has(1)))
        keys = [peer.public for peer in net.peers]
        assert point.order_hash == order_hash_after(stream[-2], point, proposal.id, keys)
        await until(others[2], lambda: not others[2].proposals)
        with pytest.raises(ArgumentError, match=f"none of the 0 open proposals has the id {proposal.id.hex()}"):
            others[2].vote(proposal)


async def test_refused_by_hand() -> None:
    async with voters(nobody, nobody) as net:
        waiting = asyncio.ensure_future(net.engines[0].propose(SyncPointKind.CUSTOM, timeout=600))
        ((proposal,),) = await in_time(opened(net.engines[1]))
        net.engines[1].vote(proposal, approve=False)
        with pytest.raises(ProposalRejected):
            await in_time(waiting)


async def test_votes_that_cannot_be() -> None:
    async with voters(nobody, nobody, nobody, nobody) as net:
        proposer, other, *_ = net.engines
        waiting = asyncio.ensure_future(proposer.propose(SyncPointKind.CUSTOM, timeout=600))
        ((proposal,), _) = await in_time(opened(other), opened(proposer))
        wrong: Any
        for wrong in (None, "id", 5):
            with pytest.raises(ArgumentTypeError, match=r"give one of Engine.proposals, or its id"):
                other.vote(wrong)
        for wrong in (None, 1, "yes"):
            with pytest.raises(ArgumentTypeError, match="give True or False"):
                other.vote(proposal, wrong)
        for unknown in (bytes(32), b"", b"x" * 33):
            with pytest.raises(ArgumentError, match=r"none of the 1 open proposals .* look at Engine.proposals"):
                other.vote(unknown)
        other.vote(proposal)
        with pytest.raises(ArgumentError, match=r"has voted on .* a vote cannot be changed"):
            other.vote(proposal, approve=False)
        with pytest.raises(ArgumentError, match="as its proposer"):
            proposer.vote(proposal, approve=False)
        waiting.cancel()


async def test_a_policy_is_asked_once_about_each_and_not_about_its_own() -> None:
    asked: list[Proposal] = []

    def policy(proposal: Proposal) -> bool | None:
        asked.append(proposal)
        return proposal.metadata == b"yes"

    async with voters(None, policy) as net:
        other, judge = net.engines
        (point,) = await in_time(other.propose(SyncPointKind.CUSTOM, b"yes"))
        with pytest.raises(ProposalRejected):
            await in_time(other.propose(SyncPointKind.CUSTOM, b"no"))
        (own,) = await in_time(judge.propose(SyncPointKind.CUSTOM, b"mine"))
        assert [proposal.metadata for proposal in asked] == [b"yes", b"no"]
        assert asked[0].proposer == other.public
        assert point.index < own.index


@pytest.mark.parametrize("answer", ["raise", 1, "yes"])
async def test_a_policy_that_fails_counts_as_none(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    def policy(proposal: Proposal) -> Any:
        if answer == "raise":
            raise RuntimeError("a bug of the application")
        return answer

    async with voters(None, policy) as net:
        waiting = asyncio.ensure_future(net.engines[0].propose(SyncPointKind.CUSTOM, timeout=600))
        ((proposal,),) = await in_time(opened(net.engines[1]))
        assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == [
            f"the policy failed on {proposal!r}: nothing is voted until Engine.vote is called"
        ]
        net.engines[1].vote(proposal)
        await in_time(waiting)
        caplog.clear()


def test_the_default_approves_what_can_be_carried_out() -> None:
    for kind in SyncPointKind:
        proposal = Proposal(id=bytes(32), kind=kind, metadata=b"", proposer=KEYS[0], deadline=1)
        # Else one peer could end it for all, or decide who takes part; a key is changed by its holder alone.
        by_itself = kind not in (SyncPointKind.END, SyncPointKind.MEMBERSHIP, SyncPointKind.CONFIG)
        assert approve_by_default(proposal) is (True if by_itself else None)


@pytest.mark.parametrize("wrong", [True, 5, "always"])
def test_what_is_no_policy(wrong: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"approve=.*give a function of a Proposal, or None"):
        Context(approve=wrong)


# The end of the session


@pytest.mark.parametrize("n", [1, 2, 4])
async def test_after_the_end_nothing_comes_and_nothing_is_taken(n: int) -> None:
    async with cluster(n) as net:
        point = await ended(*net.engines)
        assert point.is_session_ended
        assert point.metadata == b"bye"
        streams = await in_time(*(rest(engine) for engine in net.engines))
        for stream in streams:
            assert stream == streams[0]
            assert stream[-1] == point
        for engine in net.engines:
            assert await in_time(engine.recv_message()) == [None]
            status = engine.status()
            assert (status.consensus.ended, status.stopped) == (True, False)
            assert status.consensus.delivered == point.index + 1
            says = f"the session ended with index {point.index} and takes no more"
            with pytest.raises(EngineStopped, match=f"{says} transactions: stop it"):
                await engine.send_transaction(b"x")
            with pytest.raises(EngineStopped, match=says):
                engine.try_send_transaction(b"x")
            with pytest.raises(EngineStopped, match=says):
                await engine.submit(b"x")
            with pytest.raises(EngineStopped, match=f"{says} proposals"):
                await engine.propose(SyncPointKind.CUSTOM)
            with pytest.raises(EngineStopped, match=f"{says} votes"):
                engine.vote(bytes(32))
            with pytest.raises(ProofUnavailable, match=f"ended with index {point.index}"):
                await engine._agreement.certificate(point.index + 1)


async def rest(engine: Engine) -> list[Message]:
    """The stream up to its end."""
    return [message async for message in engine]


async def ended(*engines: Engine) -> SyncPoint:
    """What all are told who vote for the end at once."""
    told = await in_time(*(engine.vote_end_session(b"bye") for engine in engines))
    assert told == [told[0]] * len(engines)
    point: SyncPoint = told[0]
    return point


async def test_one_peer_alone_does_not_end_the_session() -> None:
    async with cluster(4) as net:
        one, two, three, four = net.engines
        alone = asyncio.ensure_future(one.vote_end_session(b"one"))
        for engine in (two, three, four):
            ((proposal,),) = await in_time(opened(engine))
            assert proposal.kind is SyncPointKind.END
        await in_time(*(engine.submit(b"goes on") for engine in net.engines))
        assert not alone.done()
        assert [len(engine.proposals) for engine in net.engines] == [1, 1, 1, 1]
        others = [asyncio.ensure_future(engine.vote_end_session(b"others")) for engine in (two, three)]
        told = await in_time(alone, *others)
        assert told == [told[0]] * 3
        (stream,) = await in_time(rest(four))
        assert stream[-1] == told[0]


async def test_a_vote_for_the_end_is_over_when_nobody_waits_for_it() -> None:
    async with cluster(2) as net:
        one, two = net.engines
        with pytest.raises(ProposalRejected, match="by its deadline"):
            await in_time(one.vote_end_session(timeout=0.05))
        later = asyncio.ensure_future(two.vote_end_session())
        ((proposal,),) = await in_time(opened(one))
        await in_time(one.submit(b"goes on"), two.submit(b"goes on"))
        assert not later.done()
        one.vote(proposal)
        (point,) = await in_time(later)
        assert point.proposer == proposal.proposer


async def test_a_vote_for_the_end_goes_before_the_policy() -> None:
    async with voters(*[lambda proposal: False] * 2) as net:
        point = await ended(*net.engines)
        assert len(point.approvals) == 2


async def test_whoever_waits_when_the_session_ends_is_told() -> None:
    async with voters(lambda proposal: proposal.kind is SyncPointKind.END or None, nobody) as net:
        one, two = net.engines
        undecided = asyncio.ensure_future(one.propose(SyncPointKind.CUSTOM, timeout=600))
        await in_time(opened(two), opened(one))
        reading = asyncio.ensure_future(rest(two))
        await in_time(two.vote_end_session())
        with pytest.raises(ProposalRejected, match="the session ended first") as raised:
            await in_time(undecided)
        assert raised.value.outcome is Outcome.ENDED
        (stream,) = await in_time(reading)
        assert points(stream)[-1].is_session_ended
        assert one.proposals == two.proposals == ()


async def test_a_transaction_that_the_end_overtakes() -> None:
    async with cluster(1, options=Options(transaction_channel_size=1)) as net:
        (engine,) = net.engines
        (first,) = await in_time(engine.vote_end_session())
        # As if both had been on their way when the session ended.
        engine._ending.session_end = None
        sent = asyncio.ensure_future(engine.submit(b"sent"))
        waiting = asyncio.ensure_future(engine.submit(b"waits for room"))
        certificate = asyncio.ensure_future(engine._agreement.certificate(first.index + 1))
        await cycles()
        assert not sent.done()
        assert not waiting.done()
        engine._session_ended(first.index)
        with pytest.raises(EngineStopped, match=r"the session ended with index .* before the transaction was final"):
            await in_time(sent)
        with pytest.raises(EngineStopped, match="the session ended"):
            await in_time(waiting)
        with pytest.raises(ProofUnavailable, match="the session ended"):
            await in_time(certificate)


async def test_one_that_comes_late_still_gets_to_the_end() -> None:
    async with cluster(4, 3) as net:
        await in_time(net.engines[0].submit(b"before"))
        point = await ended(*net.engines)
        late = await net.start(3)
        (stream,) = await in_time(rest(late))
        assert stream[-1] == point


async def test_the_end_of_a_stopped_engine_is_that_it_was_stopped() -> None:
    async with cluster(1) as net:
        (engine,) = net.engines
        (point,) = await in_time(engine.vote_end_session())
        await engine.stop()
        with pytest.raises(EngineStopped, match="the engine was stopped and takes no more proposals: start another"):
            await engine.propose(SyncPointKind.CUSTOM)
        with pytest.raises(EngineStopped, match="attests nothing more"):
            point.attest(b"h" * 32)
        with pytest.raises(EngineStopped, match="proves nothing more"):
            await engine._agreement.certificate(0)
        assert points(await rest(engine)) == [point]


async def test_waits_end_when_the_engine_stops_or_halts() -> None:
    async with cluster(2, 1) as net:
        (engine,) = net.engines
        proposal = asyncio.ensure_future(engine.propose(SyncPointKind.CUSTOM))
        certificate = asyncio.ensure_future(engine._agreement.certificate(0))
        await cycles()
        engine._driver._carry_out(Halted("a reason"), 0)
        with pytest.raises(EngineStopped, match=r"halted \(a reason\) before it was known"):
            await in_time(proposal)
        with pytest.raises(EngineStopped, match="takes no more proposals"):
            await engine.propose(SyncPointKind.CUSTOM)
        assert not certificate.done()  # it goes on following, and others may still vote
        await engine.stop()
        with pytest.raises(EngineStopped, match="the engine was stopped before"):
            await in_time(certificate)


# What is attested and certified


async def test_equal_states_are_attested_and_certified() -> None:
    async with cluster(4) as net:
        (point,) = await in_time(net.engines[0].propose(SyncPointKind.SNAPSHOT))
        streams = await in_time(*(read_all(engine, has(1)) for engine in net.engines))
        state = blake3(b"the same on all")
        for stream in streams:
            points(stream)[0].attest(bytearray(state))
        certificates = await in_time(*(engine._agreement.certificate(point.index) for engine in net.engines))
        for certificate in certificates:
            assert (certificate.wanted, certificate.index) == (point.index, point.index)
            assert certificate.order_hash == point.order_hash
            assert len(certificate.signatures) == 3 * 64
        # Once all votes are here, what is attested goes first.
        async with asyncio.timeout(DEADLINE_S):
            for engine in net.engines:
                while (again := await engine._agreement.certificate(point.index)).state_hash != state:
                    await cycles()
                assert again.order_hash == point.order_hash
        assert not any(engine.status().stopped for engine in net.engines)


async def test_the_minority_diverges_and_the_others_go_on() -> None:
    async with cluster(4) as net:
        await in_time(net.engines[0].propose(SyncPointKind.SNAPSHOT))
        streams = await in_time(*(read_all(engine, has(1)) for engine in net.engines))
        right, wrong = blake3(b"right"), blake3(b"wrong")
        liar, *others = net.engines
        for stream, state in zip(streams, (wrong, right, right, right), strict=True):
            points(stream)[0].attest(state)
        index = points(streams[0])[0].index
        with pytest.raises(
            DivergenceError, match=f"at index {index}: the state that was attested is {wrong.hex()}"
        ) as e:
            await in_time(read_all(liar, lambda messages: False))
        error = e.value
        assert (error.index, error.ours, error.theirs, error.is_state) == (index, wrong, right, True)
        assert isinstance(error, EngineStopped)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
        assert liar.status().stopped
        for call in (liar.submit(b"x"), liar.propose(SyncPointKind.CUSTOM)):
            with pytest.raises(DivergenceError):
                await in_time(call)
        (receipt,) = await in_time(others[0].submit(b"the others go on"))
        assert receipt.index > index
        (point,) = await in_time(others[1].propose(SyncPointKind.SNAPSHOT))
        assert point.epoch_index == 2
        assert not any(engine.status().stopped for engine in others)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (b"", ArgumentError, "0 bytes, : give a hash of 32 bytes"),
        (bytes(31), ArgumentError, "31 bytes"),
        (bytes(32), ArgumentError, "not all zero"),
        ("h" * 32, ArgumentTypeError, "was given a str: give 32 bytes"),
    ],
)
async def test_what_cannot_be_attested(wrong: Any, error: type[Exception], message: str) -> None:
    async with cluster(1) as net:
        (point,) = await in_time(net.engines[0].propose(SyncPointKind.CUSTOM))
        with pytest.raises(error, match=message):
            point.attest(wrong)


async def test_attested_twice() -> None:
    async with cluster(1) as net:
        (point,) = await in_time(net.engines[0].propose(SyncPointKind.CUSTOM))
        point.attest(b"h" * 32)
        point.attest(b"h" * 32)
        with pytest.raises(ArgumentError, match=r"at index .*, and .* before: attest once"):
            point.attest(b"i" * 32)


async def test_a_checkpoint_that_is_not_known_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    from syncpoint.core import checkpoint

    monkeypatch.setattr(checkpoint, "MAX_CHECKPOINTS", 2)
    async with Context(core="python") as context, cluster(1, context=context) as net:
        (engine,) = net.engines
        made = [(await in_time(engine.propose(SyncPointKind.CUSTOM)))[0] for _ in range(3)]
        with pytest.raises(ProofUnavailable, match=r"not known here any more: .*prove sooner"):
            await in_time(engine._agreement.certificate(made[0].index))
        two = [asyncio.ensure_future(engine._agreement.certificate(made[-1].index)) for _ in range(2)]
        await asyncio.sleep(0)
        two[0].cancel()
        (found,) = await in_time(two[1])
        assert found.index == made[-1].index


# After a restart


@contextlib.asynccontextmanager
async def alone(folder: Path, approve: Approve | None = None) -> AsyncIterator[Callable[..., Any]]:
    """Starts one peer on the same store, again and again."""
    secret = KeySecret.generate()
    address = ""

    async with contextlib.AsyncExitStack() as stack:

        async def start(resume_after: int | None = None) -> Engine:
            nonlocal address
            context = await stack.enter_async_context(Context(storage=folder, approve=approve))
            socket = await Socket.bind(context, address or "127.0.0.1:0")
            address = socket.address
            peers = Peers()
            peers.insert(address, secret.public())
            return await Engine.start(context, socket, Options(), secret, peers, resume_after=resume_after)

        yield start


async def test_a_restart_keeps_sync_points_in_the_stream(tmp_path: Path) -> None:
    async with alone(tmp_path) as start:
        engine = await start()
        for kind in (SyncPointKind.SESSION, SyncPointKind.CUSTOM):
            await in_time(engine.submit(b"x"))
            await in_time(engine.propose(kind, b"kept"))
        (before,) = await in_time(read_all(engine, has(2)))
        await engine.stop()
        again = await start()
        (after,) = await in_time(read_all(again, has(2)))
        assert after == before
        (third,) = await in_time(again.propose(SyncPointKind.SESSION))
        assert third.epoch_index == 3
        # Its checkpoint is not known any more: nothing follows.
        points(after)[0].attest(b"h" * 32)
        await again.stop()
        last = await start(resume_after=third.index - 1)
        (rest_of_it,) = await in_time(read_all(last, has(1)))
        assert points(rest_of_it) == [third]


@pytest.mark.parametrize("received", ["all", "before it", "nothing"])
async def test_a_restart_after_the_end(tmp_path: Path, received: str) -> None:
    async with alone(tmp_path) as start:
        engine = await start()
        await in_time(engine.submit(b"x"))
        (point,) = await in_time(engine.vote_end_session())
        (before,) = await in_time(rest(engine))
        await engine.stop()
        behind = {"all": point.index, "before it": point.index - 1, "nothing": None}[received]
        again = await start(resume_after=behind)
        (after,) = await in_time(rest(again))
        assert after == before[0 if behind is None else behind + 1 :]
        with pytest.raises(EngineStopped, match=f"the session ended with index {point.index}"):
            await again.submit(b"x")


async def test_a_restart_asks_again_about_what_is_open(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def policy(proposal: Proposal) -> None:
        asked.append(proposal.id)

    secrets = sorted((KeySecret.generate() for _ in range(2)), key=KeySecret.public)
    async with Context() as context, contextlib.AsyncExitStack() as stack:
        sockets = [await Socket.bind(context, "127.0.0.1:0") for _ in secrets]
        peers = Peers()
        for socket, secret in zip(sockets, secrets, strict=True):
            peers.insert(socket.address, secret.public())
        options = Options(heartbeat_us=50_000)
        proposer = await Engine.start(context, sockets[0], options, secrets[0], peers)
        address = sockets[1].address
        await sockets[1].close()

        async def start() -> Engine:
            judging = await stack.enter_async_context(Context(storage=tmp_path, approve=policy))
            return await Engine.start(judging, await Socket.bind(judging, address), options, secrets[1], peers)

        judge = await start()
        waiting = asyncio.ensure_future(proposer.propose(SyncPointKind.CUSTOM, timeout=600))
        ((proposal,),) = await in_time(opened(judge))
        # That it was opened has to be stored: what comes behind it in the order is.
        await in_time(judge.submit(b"behind it"))
        await judge.stop()
        judge = await start()
        ((again,),) = await in_time(opened(judge))
        assert again == proposal
        assert asked == [proposal.id, proposal.id]
        judge.vote(again)
        (point,) = await in_time(waiting)
        assert len(point.approvals) == 2
