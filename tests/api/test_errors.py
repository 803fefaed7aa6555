"""Mistakes of the caller: each raises where it was made and says what was given, what is allowed, what to do."""

from __future__ import annotations

import asyncio
import errno
import re
import socket as socket_module
import sys
from typing import Any

import pytest

import syncpoint
from syncpoint import (
    ArgumentError,
    ArgumentTypeError,
    Context,
    CoreUnavailable,
    Engine,
    KeySecret,
    Network,
    Options,
    PeerCapabilities,
    Peers,
    QueueFull,
    Socket,
    SocketBindError,
    SyncpointError,
    Transaction,
    TransactionTooLarge,
    core_info,
    errors,
    load_core,
)

from .cluster import cluster

# The tree

SDK_CODES = {
    "ArgumentError": -1,
    "ArgumentTypeError": -2,
    "KeyFormatError": -3,
    "ContextError": -4,
    "Base58Error": -6,
    "SocketBindError": -7,
    "TransactionTooLarge": -1,
}
BUILT_IN = {
    "ArgumentError": ValueError,
    "ArgumentTypeError": TypeError,
    "CoreUnavailable": ImportError,
    "KeyFileError": OSError,
    "SocketBindError": OSError,
    "StorageError": OSError,
}
CLASSES = {
    name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, BaseException)
}


def test_every_exception_is_exported_here_and_at_the_top() -> None:
    assert set(errors.__all__) == set(CLASSES)
    assert errors.__all__ == sorted(errors.__all__)
    for name in errors.__all__:
        assert name in syncpoint.__all__
        assert getattr(syncpoint, name) is getattr(errors, name)


@pytest.mark.parametrize("name", CLASSES)
def test_all_derive_from_one_root_and_have_the_codes_of_the_sdk(name: str) -> None:
    assert issubclass(CLASSES[name], SyncpointError)
    assert vars(errors)[name].code == SDK_CODES.get(name)
    assert CLASSES[name].__doc__
    if name in BUILT_IN:
        assert issubclass(CLASSES[name], BUILT_IN[name])


def test_subclasses_that_callers_rely_on() -> None:
    assert issubclass(errors.KeyFormatError, ArgumentError)
    assert issubclass(errors.Base58Error, ArgumentError)
    assert issubclass(TransactionTooLarge, ArgumentError)
    assert issubclass(errors.CorruptError, errors.StorageError)
    assert not issubclass(QueueFull, ArgumentError)


# Context and core


@pytest.mark.parametrize("core", ["rust", "", "Python", 5, None])
def test_an_unknown_core(core: Any) -> None:
    for make in (Context, core_info):
        with pytest.raises(ArgumentError, match=f"core is {core!r}: give one of auto, native, python"):
            make(core)


def test_a_core_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "syncpoint._native", None)
    for make in (Context, core_info, load_core):
        with pytest.raises(CoreUnavailable, match=r'core="native", but .*To get it: .*To do without: core="python"'):
            make("native")


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"storage": 5}, ArgumentTypeError, r"storage=5.*give the path of a folder, or None"),
        ({"durability": "some"}, ArgumentError, r"durability='some'.*full, normal, memory"),
        ({"retain_rounds": -1}, ArgumentError, r"retain_rounds=-1.*0 or more"),
        ({"retain_rounds": True}, ArgumentTypeError, r"retain_rounds=True.*an integer"),
        ({"retain_bytes": 1000}, ArgumentError, r"retain_bytes=1000.*1048576 or more"),
    ],
)
def test_a_context_says_what_is_wrong_with_a_store(settings: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Context(**settings)


# Sockets


async def test_a_port_that_is_taken() -> None:
    async with Context() as context:
        first = await Socket.bind(context, "127.0.0.1:0")
        with pytest.raises(
            SocketBindError, match=rf"cannot listen at {first.address}: .*choose another port"
        ) as raised:
            await Socket.bind(context, first.address)
        assert raised.value.errno == errno.EADDRINUSE
        await first.close()
        await first.close()
        await Socket.bind(context, first.address)


async def test_an_address_of_another_machine() -> None:
    async with Context() as context:
        with pytest.raises(
            SocketBindError, match=r"cannot listen at 192.0.2.1:9001: .*0\.0\.0\.0 or \[::\] stands for all"
        ) as raised:
            await Socket.bind(context, "192.0.2.1:9001")
        assert raised.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
async def test_all_addresses_of_this_machine(address: str) -> None:
    if address.startswith("[") and not has_ipv6():
        return
    async with Context() as context, await Socket.bind(context, address) as bound:
        assert bound.address.rpartition(":")[0] == address.rpartition(":")[0]
        assert not bound.address.endswith(":0")


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.1.2.3:0", "localhost:0", "[::1]:0"])
async def test_an_address_that_only_we_can_reach(address: str) -> None:
    if address.startswith("[") and not has_ipv6():
        return
    async with Context() as context, await Socket.bind(context, address) as bound:
        host, _, port = bound.address.rpartition(":")
        assert int(port) > 0
        assert host in ("127.0.0.1", "127.1.2.3", "[::1]")
        assert bound.address in repr(bound)


def has_ipv6() -> bool:
    try:
        with socket_module.socket(socket_module.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("address", ["", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:x", "::1:9001", "127.0.0.256:1"])
async def test_what_is_no_address(address: str) -> None:
    async with Context() as context:
        with pytest.raises(ArgumentError, match=re.escape(repr(address)) + ".*allowed is host:port"):
            await Socket.bind(context, address)


@pytest.mark.parametrize("wrong", [None, 9001, b"127.0.0.1:0", ("127.0.0.1", 0)])
async def test_wrong_types_for_bind(wrong: Any) -> None:
    async with Context() as context:
        with pytest.raises(ArgumentTypeError, match=type(wrong).__name__):
            await Socket.bind(context, wrong)
    with pytest.raises(ArgumentTypeError, match=f"context is a {type(wrong).__name__}: give a Context"):
        await Socket.bind(wrong, "127.0.0.1:0")


# Engine.start


async def start(within: Context, **changed: Any) -> Engine:
    """Start a network of one with some arguments replaced."""
    secret = KeySecret.generate()
    socket = await Socket.bind(within, "127.0.0.1:0")
    peers = Peers()
    peers.insert(socket.address, secret.public())
    arguments: dict[str, Any] = {
        "context": within,
        "socket": socket,
        "options": Options(),
        "secret": secret,
        "peers": peers,
    }
    return await Engine.start(**(arguments | changed))


@pytest.mark.parametrize(
    ("name", "wrong", "allowed"),
    [
        ("context", None, "Context"),
        ("context", Context, "Context"),
        ("socket", "127.0.0.1:9001", "Socket"),
        ("socket", None, "Socket"),
        ("options", {}, "Options"),
        ("options", Network(), "Options"),
        ("secret", bytes(32), "KeySecret"),
        ("secret", KeySecret.generate().public(), "KeySecret"),
        ("peers", [], "Peers"),
        ("peers", None, "Peers"),
        ("joining_running_session", None, "bool"),
        ("joining_running_session", 1, "bool"),
        ("network", "syncpoint", "Network"),
        ("network", Options(), "Network"),
    ],
)
async def test_wrong_types_for_start(name: str, wrong: Any, allowed: str) -> None:
    async with Context() as context:
        with pytest.raises(ArgumentTypeError) as raised:
            await start(context, **{name: wrong})
        assert str(raised.value) == f"Engine.start: {name} is a {type(wrong).__name__}: give a {allowed}"


async def test_a_wrong_secret_is_not_shown() -> None:
    secret = KeySecret.generate()
    async with Context() as context:
        with pytest.raises(ArgumentTypeError) as raised:
            await start(context, options=secret)
    assert secret.to_base58() not in str(raised.value)


async def test_raw_secret_bytes_are_not_shown() -> None:
    async with Context() as context:
        with pytest.raises(ArgumentTypeError) as raised:
            await start(context, secret=b"hush, this is a seed of 32 bytes")
    assert "hush" not in str(raised.value)


async def test_the_old_sdk_order_of_arguments_works() -> None:
    secret = KeySecret.generate()
    async with Context() as context:
        socket = await Socket.bind(context, "127.0.0.1:0")
        peers = Peers()
        peers.insert(socket.address, secret.public(), PeerCapabilities(public=True))
        engine = await Engine.start(context, socket, Options(), secret, peers, True)
        await engine.submit(b"x")


async def test_peers_without_ourselves() -> None:
    async with Context() as context:
        peers = Peers()
        peers.insert("127.0.0.1:9001", KeySecret.generate().public())
        with pytest.raises(
            ArgumentError, match=r"our own key \w+ is not among the 1 peers: .*peers.insert\(our address"
        ):
            await start(context, peers=peers)
        with pytest.raises(ArgumentError, match="not among the 0 peers"):
            await start(context, peers=Peers())


async def test_peers_that_cannot_be_reached_are_no_mistake() -> None:
    """They may come later; until then the status says what is wrong."""
    async with Context() as context:
        secret = KeySecret.from_seed(bytes(32))
        others = sorted(KeySecret.generate().public() for _ in range(20))
        peers = Peers()
        peers.insert("127.0.0.1:9001", secret.public())
        unknown = next(other for other in reversed(others) if other > secret.public())
        peers.insert("no-such-host.invalid:9002", unknown)
        engine = await start(context, secret=secret, peers=peers)
        async with asyncio.timeout(20):
            while unknown not in engine.status().refusals:  # noqa: ASYNC110 - it is said nowhere else
                await asyncio.sleep(0.01)
        assert "the name of its host is unknown" in engine.status().refusals[unknown]
        assert "check its spelling" in engine.status().refusals[unknown]


async def test_a_mistake_leaves_the_socket_to_be_used_again() -> None:
    async with Context() as context:
        socket = await Socket.bind(context, "127.0.0.1:0")
        with pytest.raises(ArgumentError):
            await start(context, socket=socket, peers=Peers())
        engine = await start(context, socket=socket)
        await engine.submit(b"x")


async def test_a_socket_is_used_once() -> None:
    async with Context() as context:
        socket = await Socket.bind(context, "127.0.0.1:0")
        await start(context, socket=socket)
        with pytest.raises(ArgumentError, match="closed or used by an engine: bind another one"):
            await start(context, socket=socket)
        closed = await Socket.bind(context, "127.0.0.1:0")
        await closed.close()
        with pytest.raises(ArgumentError, match="closed or used by an engine: bind another one"):
            await start(context, socket=closed)


@pytest.mark.parametrize(("n", "f", "most"), [(1, 1, 0), (3, 1, 0), (4, 2, 1), (6, 2, 1)])
async def test_more_faults_than_can_be_tolerated(n: int, f: int, most: int) -> None:
    async with cluster(n, 0, network=Network(f=f)) as net:
        with pytest.raises(
            ArgumentError,
            match=rf"f = {f} liars among {n} peers that order: 0 to {most} can be tolerated; .*Network\(f=...\) lower",
        ):
            await net.start(0)


# Network


@pytest.mark.parametrize(
    ("field", "value", "kind", "allowed"),
    [
        ("name", "", ArgumentError, "1 to 64 bytes"),
        ("name", "é" * 33, ArgumentError, "1 to 64 bytes"),
        ("name", b"x", ArgumentTypeError, "a text"),
        ("name", None, ArgumentTypeError, "a text"),
        ("rule", "one_step", ArgumentError, "two_step, three_step"),
        ("rule", None, ArgumentError, "two_step, three_step"),
        ("order", "", ArgumentError, "fair, fast"),
        ("order", 1, ArgumentError, "fair, fast"),
        ("f", -1, ArgumentError, "0 to 42"),
        ("f", 43, ArgumentError, "0 to 42"),
        ("f", 1.0, ArgumentTypeError, "an integer"),
        ("f", True, ArgumentTypeError, "an integer"),
        ("gc_depth", 3, ArgumentError, "4 to 10000"),
        ("gc_depth", 10_001, ArgumentError, "4 to 10000"),
        ("gc_depth", None, ArgumentTypeError, "an integer"),
        ("max_payload_bytes", 1023, ArgumentError, "1024 to 8388608"),
        ("max_payload_bytes", 8 * 1024 * 1024 + 1, ArgumentError, "1024 to 8388608"),
        ("max_payload_bytes", "1 MiB", ArgumentTypeError, "an integer"),
        ("max_ahead", 7, ArgumentError, "8 to 100000"),
        ("max_ahead", 100_001, ArgumentError, "8 to 100000"),
        ("max_ahead", 8.5, ArgumentTypeError, "an integer"),
    ],
)
def test_bad_network_settings(field: str, value: Any, kind: type[Exception], allowed: str) -> None:
    with pytest.raises(kind) as raised:
        Network(**{field: value})
    text = str(raised.value)
    assert text.startswith(f"Network.{field} is {value!r}: give ")
    assert allowed in text


def test_good_network_settings() -> None:
    Network(name="é" * 32, rule="three_step", order="fast", f=0, gc_depth=4, max_payload_bytes=1024, max_ahead=8)
    Network(name="x", f=42, gc_depth=10_000, max_payload_bytes=8 * 1024 * 1024, max_ahead=100_000)
    with pytest.raises(TypeError):
        Network("name")  # type: ignore[call-arg]


def test_a_name_that_cannot_be_encoded() -> None:
    with pytest.raises(ArgumentError, match=r"Network\.name"):
        Network(name="\ud800")


# Transactions


@pytest.mark.parametrize("wrong", ["text", None, 5, [1, 2], object()])
async def test_what_is_no_transaction(wrong: Any) -> None:
    async with cluster(1) as net:
        (engine,) = net.engines
        for send in (engine.send_transaction, engine.submit):
            with pytest.raises(
                ArgumentTypeError, match=f"a transaction is {type(wrong).__name__}: give bytes.*encode text"
            ):
                await send(wrong)
        with pytest.raises(ArgumentTypeError, match="encode text first"):
            engine.try_send_transaction(wrong)
        assert engine.status().consensus.queued_transactions == 0


@pytest.mark.parametrize("size", [-1, 1.5, "5", None, True])
def test_a_transaction_of_no_size(size: Any) -> None:
    with pytest.raises(ArgumentError, match=re.escape(f"allocate({size!r})") + ".*0 or more"):
        Transaction.allocate(size)


async def test_a_transaction_over_the_default_limit() -> None:
    async with cluster(1) as net:
        (engine,) = net.engines
        limit = Network().max_transaction_bytes
        with pytest.raises(
            TransactionTooLarge, match=rf"{limit + 1} bytes: this network takes up to {limit}; split it"
        ):
            await engine.send_transaction(bytes(limit + 1))
