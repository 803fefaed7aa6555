"""Members, keys and settings that change, as applications see it: called for, the same everywhere, and what follows."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import pickle
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from syncpoint import (
    ArgumentError,
    ArgumentTypeError,
    Context,
    Engine,
    EngineStopped,
    Event,
    Genesis,
    GenesisPeer,
    KeyPublic,
    KeySecret,
    Message,
    Network,
    NotAMember,
    ObserverError,
    Options,
    Outcome,
    Peer,
    PeerCapabilities,
    PeerRecord,
    Peers,
    Proposal,
    ProposalRejected,
    ProvedSyncPoint,
    Socket,
    SyncPoint,
    SyncPointKind,
)
from syncpoint.core.change import Add, encode_change
from syncpoint.proposal import Approve, approve_by_default
from syncpoint.runtime import leaving

from .cluster import DEADLINE_S, Cluster, cluster, read_all, until
from .test_sync_points import has, in_time, opened, points, rest

OPTIONS = Options(heartbeat_us=50_000)
CORE = "python"


@contextlib.asynccontextmanager
async def network(
    n: int,
    *,
    network: Network | None = None,
    approve: Approve | None = None,
    capabilities: Sequence[PeerCapabilities] | None = None,
) -> AsyncIterator[Cluster]:
    """A network of so many peers, which keep nothing."""
    async with (
        Context(core=CORE, approve=approve) as context,
        cluster(n, options=OPTIONS, network=network, context=context, capabilities=capabilities) as net,
    ):
        yield net


class Joiner:
    """A peer that is no member yet."""

    def __init__(self, net: Cluster, socket: Socket) -> None:
        self.net = net
        self.socket = socket
        self.address = socket.address
        self.secret = KeySecret.generate()
        self.record = PeerRecord.of(self.secret)

    @classmethod
    async def of(cls, net: Cluster) -> Joiner:
        return cls(net, await Socket.bind(net.context, "127.0.0.1:0"))

    async def start(self) -> Engine:
        net = self.net
        return await Engine.start(
            net.context, self.socket, net.options, self.secret, net.peers, network=net.network, joins=True
        )


def add(joiner: Joiner, **more: Any) -> Callable[[Engine], Any]:
    return lambda engine: engine.vote_add_node(joiner.address, joiner.record, **more)


async def agreed(engines: Sequence[Engine], call: Callable[[Engine], Any]) -> SyncPoint:
    """What several are told who call for the same at once."""
    told = await in_time(*(call(engine) for engine in engines))
    assert told == [told[0]] * len(engines)
    point: SyncPoint = told[0]
    return point


async def in_epoch(number: int, *engines: Engine) -> None:
    """Wait until all are in an epoch."""

    def is_there(engine: Engine) -> bool:
        return engine.status().consensus.epoch >= number

    await in_time(*(until(engine, functools.partial(is_there, engine)) for engine in engines))


async def streams_up_to(index: int, *engines: Engine) -> list[list[Message]]:
    """The stream of each, which is the same for all."""
    streams = await in_time(*(read_all(engine, lambda got: bool(got) and got[-1].index >= index) for engine in engines))
    shortest = min(map(len, streams))
    assert shortest >= index + 1
    assert all(stream[:shortest] == streams[0][:shortest] for stream in streams)
    return [stream[:shortest] for stream in streams]


def keys(peers: Peers) -> list[KeyPublic]:
    return [peer.public for peer in peers]


# Added


@pytest.mark.parametrize("early", [True, False])
async def test_a_fifth_peer_is_let_in_and_has_the_whole_stream(early: bool) -> None:
    async with network(4) as net:
        joiner = await Joiner.of(net)
        fifth = await joiner.start() if early else None
        await in_time(*(engine.submit(b"before") for engine in net.engines))
        point = await agreed(net.engines[:3], add(joiner))
        assert (point.kind, point.joined, point.left, point.rotated) == (
            SyncPointKind.MEMBERSHIP,
            (joiner.secret.public(),),
            (),
            (),
        )
        assert Peer(joiner.address, joiner.secret.public()) in list(point.peers)
        assert len(point.peers) == 5
        assert len(point.approvals) == 3
        fifth = fifth or await joiner.start()
        everybody = [*net.engines, fifth]
        await in_epoch(1, *everybody)
        for engine in everybody:
            assert engine.peers == point.peers
            assert engine.status().consensus.peers == 5
        receipts = await in_time(*(engine.submit(b"after") for engine in everybody))
        last = max(receipt.index for receipt in receipts)
        streams = await streams_up_to(last, *everybody)
        assert [each for each in points(streams[0]) if each.joined] == [point]
        after = [e for e in streams[4] if isinstance(e, Event) and e.transactions == (b"after",)]
        assert sorted(e.creator for e in after) == sorted(engine.public for engine in everybody)
        assert {e.epoch for e in after} == {1}
        assert pickle.loads(pickle.dumps(after[0])) == after[0]
        assert set(fifth.active_creators()) == set(keys(point.peers))
        assert all(set(engine.status().linked) <= set(keys(point.peers)) for engine in everybody)


async def test_a_joiner_queues_what_it_sends_and_has_no_say(caplog: pytest.LogCaptureFixture) -> None:
    async with network(4) as net:
        joiner = await Joiner.of(net)
        fifth = await joiner.start()
        assert fifth.public == joiner.secret.public()
        assert fifth.peers == net.peers
        sent = asyncio.ensure_future(fifth.submit(b"from outside"))
        for call in (
            fifth.propose(SyncPointKind.CUSTOM),
            fifth.vote_end_session(),
            fifth.vote_remove_node(net.engines[0].public),
            fifth.rotate_key(KeySecret.generate()),
            fifth.change_options(Network(gc_depth=8)),
        ):
            with pytest.raises(NotAMember, match=r"is no member of this network, and proposes .*vote_add_node"):
                await call
        with pytest.raises(NotAMember, match="votes on nothing"):
            fifth.vote(bytes(32))
        await agreed(net.engines, add(joiner))
        (receipt,) = await in_time(sent)
        (stream,) = await in_time(read_all(net.engines[0], lambda got: bool(got) and got[-1].index >= receipt.index))
        event = stream[receipt.index]
        assert isinstance(event, Event)
        assert (event.creator, event.transactions) == (fifth.public, (b"from outside",))
        (point,) = await in_time(fifth.propose(SyncPointKind.CUSTOM, b"has a say now"))
        assert point.proposer == fifth.public
        (own,) = await in_time(read_all(fifth, has(2)))
        assert [each.is_just_synced for each in points(own)] == [False, True]


async def test_a_joiner_votes_on_what_was_open_when_it_was_let_in() -> None:
    async with network(4) as net:
        joiner = await Joiner.of(net)
        fifth = await joiner.start()
        removing = asyncio.ensure_future(net.engines[0].vote_remove_node(net.engines[3].public, timeout=600))
        await in_time(*(opened(engine) for engine in net.engines))
        await agreed(net.engines[:3], add(joiner))
        await in_epoch(1, *net.engines, fifth)
        (proposal,) = fifth.proposals  # those for the addition that came too late are over
        assert proposal.leaves == net.engines[3].public
        for engine in (fifth, *net.engines[1:3]):
            engine.vote(proposal)
        (point,) = await in_time(removing)
        assert fifth.public in point.approvals


async def test_a_joiner_is_not_asked_about_what_ends_where_it_is_let_in() -> None:  # S7
    asked: list[Proposal] = []
    async with network(4) as net, Context(core=CORE, approve=asked.append) as context:
        joiner = Joiner(net, await Socket.bind(context, "127.0.0.1:0"))
        fifth = await Engine.start(
            context, joiner.socket, net.options, joiner.secret, net.peers, network=net.network, joins=True
        )
        first, second, third = net.engines[:3]
        calls = []
        for count, engine in enumerate((first, second), 1):
            calls.append(asyncio.ensure_future(add(joiner, timeout=600)(engine)))
            await in_time(*(opened(each, count) for each in net.engines))
        staying = asyncio.ensure_future(first.propose(SyncPointKind.END, timeout=600))
        await in_time(*(opened(each, 3) for each in net.engines))
        third.vote(third.proposals[0])
        await in_time(*calls)
        await in_epoch(1, *net.engines, fifth)
        await until(fifth, lambda: bool(asked))
        assert [proposal.kind for proposal in asked] == [SyncPointKind.END]
        staying.cancel()


async def test_an_observer_is_let_in() -> None:
    async with network(1) as net:
        joiner = await Joiner.of(net)
        await agreed(net.engines, add(joiner, capabilities=PeerCapabilities(no_order=True)))
        observer = await joiner.start()
        await in_epoch(1, *net.engines, observer)
        (receipt,) = await in_time(net.engines[0].submit(b"seen by all"))
        await streams_up_to(receipt.index, net.engines[0], observer)
        assert observer.status().consensus.peers == 1
        with pytest.raises(ObserverError):
            await observer.send_transaction(b"x")


# Removed


async def test_a_removed_peer_gets_its_reason() -> None:
    async with network(5) as net:
        *staying, gone = net.engines
        waiting = asyncio.ensure_future(gone.vote_remove_node(staying[0].public, timeout=600))
        await in_time(*(opened(engine) for engine in net.engines))
        point = await agreed(staying, lambda engine: engine.vote_remove_node(gone.public))
        assert (point.left, point.kicked, point.joined) == ((gone.public,), (), ())
        assert gone.public not in point.peers
        await in_epoch(1, *net.engines)
        with pytest.raises(EngineStopped, match="a sync point has removed it"):
            await in_time(waiting)
        for engine in staying:
            assert gone.public not in {each.proposer for each in engine.proposals}
        for call in (gone.submit(b"x"), gone.propose(SyncPointKind.CUSTOM)):
            with pytest.raises(EngineStopped, match=r"a sync point has removed it.*start it with joins=True"):
                await in_time(call)
        receipts = await in_time(*(engine.submit(b"goes on") for engine in staying))
        streams = await streams_up_to(max(receipt.index for receipt in receipts), *staying)
        assert gone.public in {e.creator for e in streams[0] if isinstance(e, Event) and e.epoch == 0}
        assert all(engine.status().consensus.peers == 4 for engine in staying)
        assert gone.public not in staying[0].active_creators()
        (own,) = await in_time(rest(gone))
        assert own == streams[0][: point.index + 1]


async def test_a_peer_that_removed_itself_is_let_in_again() -> None:
    async with network(4) as net:
        one, *others = net.engines
        point = await agreed(net.engines, lambda engine: engine.vote_remove_node(one.public))
        assert point.left == (one.public,)
        await in_epoch(1, *net.engines)
        await one.stop()
        joiner = await Joiner.of(net)
        joiner.secret, joiner.record = net.secrets[0], PeerRecord.of(net.secrets[0])
        again = await agreed(others, add(joiner))
        assert again.joined == (one.public,)
        await in_epoch(2, *others)
        (stream,) = await in_time(read_all(others[0], has(2)))
        assert [(each.joined, each.left) for each in points(stream)] == [((), (one.public,)), ((one.public,), ())]


# Keys


async def test_a_peer_moves_to_another_key() -> None:
    async with network(4) as net:
        one, *others = net.engines
        before, secret = one.public, KeySecret.generate()
        await in_time(one.submit(b"old key"))
        (point,) = await in_time(one.rotate_key(secret))
        assert (point.kind, point.rotated) == (SyncPointKind.KEY_ROTATION, ((before, secret.public()),))
        assert before not in point.peers
        assert [p.address for p in point.peers if p.public == secret.public()] == [net.addresses[0]]
        await in_epoch(1, *net.engines)
        assert one.public == secret.public()
        receipts = await in_time(*(engine.submit(b"new key") for engine in net.engines))
        streams = await streams_up_to(max(receipt.index for receipt in receipts), *net.engines)
        creators = [e.creator for e in streams[1] if isinstance(e, Event) and e.transactions == (b"old key",)]
        assert creators == [before]
        assert sorted(
            e.creator for e in streams[1] if isinstance(e, Event) and e.transactions == (b"new key",)
        ) == sorted([secret.public(), *(engine.public for engine in others)])

        def is_linked(engine: Engine) -> bool:
            return secret.public() in engine.status().linked

        await in_time(*(until(engine, functools.partial(is_linked, engine)) for engine in others))
        (again,) = await in_time(one.propose(SyncPointKind.CUSTOM))
        assert again.proposer == secret.public()


async def test_a_key_changes_twice_and_others_change_meanwhile() -> None:
    async with network(4) as net:
        one, *others = net.engines
        first = one.public
        second, third = KeySecret.generate(), KeySecret.generate()
        await in_time(one.rotate_key(second))
        await in_epoch(1, *net.engines)
        with pytest.raises(ProposalRejected):
            await in_time(one.rotate_key(third, timeout=0.001))
        await agreed(others, lambda engine: engine.change_options(dataclasses.replace(net.network, gc_depth=50)))
        await in_epoch(2, *net.engines)
        assert one.public == second.public()
        await in_time(one.submit(b"still the second one"))
        (point,) = await in_time(one.rotate_key(third))
        assert point.rotated == ((second.public(), third.public()),)
        await in_epoch(3, *net.engines)
        (receipt,) = await in_time(one.submit(b"the third one"))
        streams = await streams_up_to(receipt.index, *net.engines)
        own = [e.creator for e in streams[1] if isinstance(e, Event) and e.transactions]
        assert own == [second.public(), third.public()]
        assert first not in keys(others[0].peers)


@pytest.mark.parametrize("leaving_s", [leaving.LEAVING_S, 0.0])
async def test_a_peer_starts_again_with_both_keys(leaving_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins where its first key counts, however long the others have not known that any more."""
    monkeypatch.setattr(leaving, "LEAVING_S", leaving_s)
    async with network(4) as net:
        one, *others = net.engines
        secret = KeySecret.generate()
        await in_time(one.rotate_key(secret))
        await in_epoch(1, *net.engines)
        await one.stop()
        socket = await Socket.bind(net.context, net.addresses[0])
        again = await Engine.start(
            net.context, socket, OPTIONS, net.secrets[0], net.peers, True, network=net.network, next_secret=secret
        )
        await in_epoch(1, again)
        assert again.public == secret.public()
        (receipt,) = await in_time(again.submit(b"back"))
        streams = await in_time(
            *(read_all(engine, lambda got: len(got) > receipt.index) for engine in (again, *others))
        )
        events = [stream[receipt.index] for stream in streams]
        assert events == [events[0]] * 4  # and with it all before it (O9)
        assert isinstance(events[0], Event)
        assert events[0].creator == secret.public()
        assert [point.is_just_synced for point in points(streams[0])] == [True]


# Settings


async def test_settings_change_everywhere() -> None:
    async with network(4) as net:
        wanted = dataclasses.replace(net.network, gc_depth=50, order="fast")
        point = await agreed(net.engines[1:], lambda engine: engine.change_options(wanted))
        assert (point.kind, point.network, point.peers) == (SyncPointKind.CONFIG, wanted, net.peers)
        await in_epoch(1, *net.engines)
        assert all(engine.network == wanted for engine in net.engines)
        receipts = await in_time(*(engine.submit(b"goes on") for engine in net.engines))
        await streams_up_to(max(receipt.index for receipt in receipts), *net.engines)


# Proposed, and decided


async def test_proposals_say_what_they_change() -> None:
    async with network(2, approve=lambda proposal: None) as net:
        one, two = net.engines
        joiner, secret, settings = await Joiner.of(net), KeySecret.generate(), Network(gc_depth=8)
        flags = PeerCapabilities(public=True)
        tasks = [
            asyncio.ensure_future(call)
            for call in (
                one.vote_add_node(joiner.address, joiner.record, flags),
                one.vote_remove_node(two.public),
                one.rotate_key(secret),
                one.change_options(settings),
                one.propose(SyncPointKind.CUSTOM),
            )
        ]
        (found,) = await in_time(opened(two, 5))
        said = [(each.kind.name, each.joins, each.leaves, each.rotates, each.network) for each in found]
        assert said == [
            ("MEMBERSHIP", Peer(joiner.address, joiner.secret.public(), flags), None, None, None),
            ("MEMBERSHIP", None, two.public, None, None),
            ("KEY_ROTATION", None, None, (one.public, secret.public()), None),
            ("CONFIG", None, None, None, settings),
            ("CUSTOM", None, None, None, None),
        ]
        assert [approve_by_default(each) for each in found] == [None, None, True, None, True]
        for task in tasks:
            task.cancel()


async def test_nobody_alone_decides_about_members_or_settings() -> None:
    async with network(4) as net:
        joiner = await Joiner.of(net)
        for call in (
            net.engines[0].vote_add_node(joiner.address, joiner.record, timeout=0.05),
            net.engines[0].vote_remove_node(net.engines[1].public, timeout=0.05),
            net.engines[0].change_options(Network(gc_depth=8), timeout=0.05),
        ):
            with pytest.raises(ProposalRejected) as raised:
                await in_time(call)
            assert raised.value.outcome is Outcome.EXPIRED
        assert all(engine.status().consensus.epoch == 0 for engine in net.engines)


async def test_of_two_changes_that_exclude_each_other_one_is_a_conflict() -> None:
    async with network(2, approve=lambda proposal: True) as net:
        joiner = await Joiner.of(net)
        await joiner.start()
        told = await asyncio.wait_for(
            asyncio.gather(
                add(joiner)(net.engines[0]),
                add(joiner, capabilities=PeerCapabilities(unkickable=True))(net.engines[1]),
                return_exceptions=True,
            ),
            DEADLINE_S,
        )
        (point,) = [each for each in told if isinstance(each, SyncPoint)]
        (refused,) = [each for each in told if isinstance(each, ProposalRejected)]
        assert refused.outcome is Outcome.CONFLICT
        assert "another change came first" in refused.reason
        assert point.joined == (joiner.secret.public(),)


async def test_who_calls_for_what_was_decided_gets_its_sync_point() -> None:
    async with network(4) as net:
        joiner = await Joiner.of(net)
        point = await agreed(net.engines[:3], add(joiner))
        await in_epoch(1, *net.engines)
        assert (await in_time(add(joiner)(net.engines[3])))[0] == point
        await agreed(net.engines, lambda engine: engine.change_options(Network(gc_depth=8)))
        with pytest.raises(ArgumentError, match="is a member already"):
            await add(joiner)(net.engines[3])


@pytest.mark.parametrize(("contact", "flags"), [(b"", 0), (b"nowhere", 0), (b"\xff:1", 0), (b"host:1", 16)])
async def test_what_nobody_can_read_is_refused(contact: bytes, flags: int) -> None:
    asked: list[Proposal] = []

    def policy(proposal: Proposal) -> bool:
        asked.append(proposal)
        return True

    async with network(2, approve=policy) as net:
        change = Add(bytes(PeerRecord.of(KeySecret.generate())), flags, contact)
        with pytest.raises(ProposalRejected) as raised:
            await in_time(
                net.engines[0]._agreement.propose(SyncPointKind.MEMBERSHIP, b"", 30_000_000_000, encode_change(change))
            )
        assert raised.value.outcome is Outcome.REFUSED
        assert not asked


async def test_sync_points_of_all_epochs_are_proved() -> None:  # C2, C3
    async with network(4) as net:
        genesis, joiner = genesis_of(net), await Joiner.of(net)
        agreed_on = [await agreed(net.engines, add(joiner))]
        everybody = [*net.engines, await joiner.start()]
        await in_epoch(1, *everybody)
        agreed_on.append(await agreed(net.engines, lambda engine: engine.change_options(Network(gc_depth=8))))
        await in_epoch(2, *everybody)
        agreed_on += await in_time(everybody[4].propose(SyncPointKind.CUSTOM, b"by the fifth"))
        proofs = await in_time(*(point.proof() for point in agreed_on))
    proved = [proof.verify(genesis, CORE) for proof in proofs]
    assert [found.index for found in proved] == [point.index for point in agreed_on]
    assert [(found.epoch, found.checkpoint_epoch, found.peers) for found in proved] == [(0, 0, 4), (1, 1, 5), (2, 2, 5)]
    members, settings, custom = proved
    assert isinstance(members, ProvedSyncPoint)
    assert members.joined == joiner.secret.public()
    assert isinstance(settings, ProvedSyncPoint)
    assert settings.settings == Network(gc_depth=8)
    assert isinstance(custom, ProvedSyncPoint)
    assert (custom.proposer, custom.metadata) == (joiner.secret.public(), b"by the fifth")


def genesis_of(net: Cluster) -> Genesis:
    """The network file that a network began with."""
    entries = [
        GenesisPeer(record=PeerRecord.of(secret), address=address)
        for secret, address in zip(net.secrets, net.addresses, strict=True)
    ]
    return Genesis(entries=tuple(entries), network=net.network or Network())


# Wrong arguments

RECORD = PeerRecord.of(KeySecret.generate())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda e: e.vote_add_node("nowhere", RECORD), ArgumentError, "'nowhere' has no host and port"),
        (lambda e: e.vote_add_node(7, RECORD), ArgumentTypeError, "given as int"),
        (lambda e: e.vote_add_node("h:1", RECORD.public), ArgumentTypeError, "is a KeyPublic: give the PeerRecord"),
        (lambda e: e.vote_add_node("h:1", RECORD, 3), ArgumentTypeError, "capabilities is a int"),
        (lambda e: e.vote_add_node("h:1", RECORD, timeout=0), ArgumentError, "vote_add_node: timeout is 0"),
        (
            lambda e: e.vote_add_node(".".join(["a" * 62] * 4) + ":65535", RECORD),
            ArgumentError,
            "has 257 bytes: give 255",
        ),
        (lambda e: e.vote_remove_node(str(e.public)), ArgumentTypeError, "public is a str: give the KeyPublic"),
        (lambda e: e.vote_remove_node(RECORD.public), ArgumentError, "is none of the 1 members"),
        (lambda e: e.vote_remove_node(e.public), ArgumentError, "nobody would order: add another"),
        (lambda e: e.rotate_key(RECORD), ArgumentTypeError, "secret is a PeerRecord: give a KeySecret"),
        (lambda e: e.rotate_key(KeySecret.generate(), timeout="1"), ArgumentTypeError, "rotate_key: timeout is '1'"),
        (lambda e: e.change_options(Options()), ArgumentTypeError, "network is a Options: give a Network"),
        (lambda e: e.change_options(e.network), ArgumentError, "these are the settings already"),
        (lambda e: e.change_options(Network(name="other")), ArgumentError, "name would be 'other', and stays 'sync"),
        (lambda e: e.change_options(Network(max_payload_bytes=2048)), ArgumentError, "max_payload_bytes would be 2048"),
        (lambda e: e.change_options(Network(f=1)), ArgumentError, "f would be 1, which takes 4 .* 1: give 0 at most"),
    ],
)
async def test_what_cannot_be_called_for(call: Callable[[Engine], Any], error: type[Exception], message: str) -> None:
    async with network(1) as net:
        with pytest.raises(error, match=message):
            await call(net.engines[0])
        assert net.engines[0].proposals == ()


async def test_what_the_members_do_not_allow() -> None:
    async with network(4, network=Network(f=1)) as net:
        one, two, *_ = net.engines
        with pytest.raises(ArgumentError, match="3 members that order, and f is set to 1, which takes 4"):
            await one.vote_remove_node(two.public)
        with pytest.raises(ArgumentError, match="is a member already"):
            await one.vote_add_node("127.0.0.1:1", PeerRecord.of(net.secrets[1]))
        with pytest.raises(ArgumentError, match="is a member's key already"):
            await one.rotate_key(net.secrets[1])


async def test_a_start_with_a_key_that_is_no_members(tmp_path: Any) -> None:
    async with network(1) as net:
        socket = await Socket.bind(net.context, "127.0.0.1:0")
        arguments = (net.context, socket, OPTIONS, KeySecret.generate(), net.peers)
        with pytest.raises(ArgumentError, match=r"not among the 1 peers.*or joins=True"):
            await Engine.start(*arguments)
        with pytest.raises(ArgumentTypeError, match="joins is a int: give a bool"):
            await Engine.start(*arguments, joins=1)  # type: ignore[arg-type]
        with pytest.raises(ArgumentTypeError, match="next_secret is a str: give a KeySecret") as raised:
            await Engine.start(*arguments, next_secret="secret words")  # type: ignore[arg-type]
        assert "words" not in str(raised.value)
