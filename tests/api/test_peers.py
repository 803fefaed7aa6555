"""The address book and the addresses in it."""

from __future__ import annotations

import dataclasses
import itertools
import random
from pathlib import Path
from typing import Any

import pytest

from syncpoint.address import parse_address
from syncpoint.core.committee import Committee
from syncpoint.core.config import Member, Network
from syncpoint.errors import ArgumentError, ArgumentTypeError, KeyFormatError
from syncpoint.keys import KeyPublic, KeySecret
from syncpoint.peers import MAX_PEERS, Peer, PeerCapabilities, Peers

FLAGS = ("no_order", "no_logic", "public", "unkickable")


def key(number: int) -> KeyPublic:
    return KeySecret(number.to_bytes(32, "little")).public()


KEYS = [key(number) for number in range(8)]


def some_peers(count: int = 4) -> Peers:
    peers = Peers()
    for number in range(count):
        peers.insert(f"10.0.0.{number}:9000", KEYS[number], PeerCapabilities(public=number == 2))
    return peers


# Addresses


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9001", "127.0.0.1", 9001),
        ("example.org:1", "example.org", 1),
        ("example.org.:65535", "example.org.", 65535),
        ("LOCALHOST:80", "LOCALHOST", 80),
        ("node-1_a.svc:80", "node-1_a.svc", 80),
        ("3com.example:80", "3com.example", 80),
        ("[::1]:9001", "::1", 9001),
        ("[2001:db8::1]:9001", "2001:db8::1", 9001),
        ("[fe80::1%eth0]:9001", "fe80::1%eth0", 9001),
    ],
)
def test_addresses_are_taken_apart(text: str, host: str, port: int) -> None:
    assert parse_address(text) == (host, port)


BAD_ADDRESSES = [
    ("", "has no host and port", "write both"),
    ("localhost", "has no host and port", "write both"),
    (":9001", "has no host and port", "write both"),
    ("[::1]", "has no host and port", "write both"),
    ("localhost:", "has the port ''", "1 to 65535"),
    ("localhost:http", "has the port 'http'", "1 to 65535"),
    ("localhost:0", "has the port 0", "1 to 65535"),
    ("localhost:65536", "has the port '65536'", "1 to 65535"),
    ("localhost:99999999999", "has the port '99999999999'", "1 to 65535"),
    ("localhost:-1", "has the port '-1'", "1 to 65535"),
    ("localhost:+80", "has the port '+80'", "1 to 65535"),
    ("localhost:080", "has the port '080'", "1 to 65535"),
    ("localhost: 80", "has the port ' 80'", "1 to 65535"),
    ("localhost:80 ", "has the port '80 '", "1 to 65535"),
    ("localhost:80\n", "has the port '80\\n'", "1 to 65535"),
    ("localhost:٨٠", "has the port '٨٠'", "1 to 65535"),
    ("::1:9001", "has several colons", "brackets, like '[::1]:9001'"),
    ("http://localhost:80", "has several colons", "put an IPv6 address in brackets"),
    ("[127.0.0.1]:80", "has '127.0.0.1' in brackets", "put an IPv6 address between"),
    ("[]:80", "has '' in brackets", "put an IPv6 address between"),
    ("[::g]:80", "has '::g' in brackets", "put an IPv6 address between"),
    ('[fe80::1%a"b]:80', "in brackets", "put an IPv6 address between"),
    ("[fe80::1%]:80", "in brackets", "put an IPv6 address between"),
    ("256.0.0.1:80", "has the host '256.0.0.1'", "four numbers"),
    ("1.2.3:80", "has the host '1.2.3'", "four numbers"),
    ("a b:80", "has the host 'a b'", "write a host name of letters"),
    ('a"b:80', "has the host 'a\"b'", "write a host name of letters"),
    ("a..b:80", "has the host 'a..b'", "write a host name of letters"),
    ("-a:80", "has the host '-a'", "write a host name of letters"),
    ("a-:80", "has the host 'a-'", "write a host name of letters"),
    ("bücher.example:80", "has the host", "ASCII form (xn--...)"),
    ("a\n:80", "has the host", "write a host name of letters"),
    ("x" * 64 + ":80", "has the host", "write a host name of letters"),
    ("x." * 127 + ":80", "has the host", "at most 253 characters"),
]


@pytest.mark.parametrize(("text", "found", "advice"), BAD_ADDRESSES)
def test_malformed_addresses_are_refused(text: str, found: str, advice: str) -> None:
    peers = Peers()
    for attempt in (lambda: parse_address(text), lambda: peers.insert(text, KEYS[0])):
        with pytest.raises(ArgumentError) as caught:
            attempt()
        message = str(caught.value)
        assert f"the address {text!r} " in message
        assert found in message
        assert "allowed is host:port, like 'example.org:9001'" in message
        assert advice in message
    assert len(peers) == 0


def test_port_zero_is_allowed_on_request_only() -> None:
    assert parse_address("localhost:0", allow_zero_port=True) == ("localhost", 0)
    with pytest.raises(ArgumentError, match="has the port '00'"):
        parse_address("localhost:00", allow_zero_port=True)


@pytest.mark.parametrize("wrong", [None, b"localhost:80", ("localhost", 80)])
def test_only_text_is_an_address(wrong: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=f"given as {type(wrong).__name__}; only str is allowed: write it"):
        parse_address(wrong)


# Capabilities


def test_flags_are_bits_in_their_order() -> None:
    for values in itertools.product([False, True], repeat=4):
        capabilities = PeerCapabilities(**dict(zip(FLAGS, values, strict=True)))
        assert capabilities.flags == sum(bit << place for place, bit in enumerate(values))
    assert PeerCapabilities(no_order=True).flags == 1
    assert PeerCapabilities(unkickable=True).flags == 8
    assert PeerCapabilities().flags == 0


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("wrong", [1, 0, None, "true"])
def test_flags_must_be_bools(name: str, wrong: Any) -> None:
    with pytest.raises(ArgumentTypeError) as caught:
        PeerCapabilities(**{name: wrong})
    message = str(caught.value)
    assert f"PeerCapabilities.{name} was given {wrong!r}" in message
    assert "allowed are True and False: give one of them" in message


# The set


def test_peers_are_ordered_by_their_keys_and_not_by_insertion() -> None:
    entries = [(f"10.0.0.{number}:9000", public) for number, public in enumerate(KEYS)]
    sets = []
    for seed in range(4):
        random.Random(seed).shuffle(entries)
        peers = Peers()
        for address, public in entries:
            peers.insert(address, public)
        sets.append(peers)
    assert [peer.public for peer in sets[0]] == sorted(KEYS, key=bytes)
    assert all([*peers] == [*sets[0]] for peers in sets)
    for index, peer in enumerate(sets[0]):
        assert sets[0].index(peer.public) == index


def test_observers_have_the_numbers_after_those_who_order() -> None:  # Q4
    rng = random.Random(4)
    for _ in range(20):
        flags = [rng.random() < 0.4 for _ in KEYS]
        peers, members = Peers(), []
        for number in rng.sample(range(len(KEYS)), len(KEYS)):
            capabilities = PeerCapabilities(no_order=flags[number], public=rng.random() < 0.5)
            peers.insert(f"10.0.0.{number}:9000", KEYS[number], capabilities)
            members.append(Member(bytes(KEYS[number]), capabilities.flags))
        if all(flags):
            continue
        committee = Committee.genesis(Network(), members)
        assert [peer.public for peer in peers] == sorted(KEYS, key=lambda key: (flags[KEYS.index(key)], bytes(key)))
        for public in KEYS:
            assert peers.index(public) == committee.number(bytes(public))
            assert [*peers][peers.index(public)].public == public
        assert Peers.from_toml(peers.to_toml()) == peers


def test_a_set_knows_its_members() -> None:
    peers = some_peers(4)
    assert len(peers) == 4
    assert KEYS[3] in peers
    assert KEYS[4] not in peers
    assert "10.0.0.1:9000" not in peers
    assert Peer("10.0.0.2:9000", KEYS[2], PeerCapabilities(public=True)) in list(peers)
    assert repr(peers) == "<Peers: 4>"
    with pytest.raises(ArgumentError) as caught:
        peers.index(KEYS[4])
    assert f"{KEYS[4]} is the key of none of the 4 peers; allowed are" in str(caught.value)
    assert "insert this peer first" in str(caught.value)


def test_sets_are_equal_if_their_peers_are() -> None:
    assert some_peers() == some_peers()
    assert some_peers(3) != some_peers(4)
    assert some_peers() != list(some_peers())
    with pytest.raises(TypeError):
        hash(some_peers())


def test_entries_never_change() -> None:
    peer = next(iter(some_peers()))
    with pytest.raises(dataclasses.FrozenInstanceError):
        peer.address = "other:1"  # type: ignore[misc]


def test_duplicates_are_refused_and_change_nothing() -> None:
    peers = some_peers(3)
    with pytest.raises(ArgumentError) as caught:
        peers.insert("10.0.0.9:9000", KEYS[1])
    message = str(caught.value)
    assert f"the public key {KEYS[1]} is already there, with the address '10.0.0.1:9000'" in message
    assert "insert each peer once" in message
    with pytest.raises(ArgumentError) as caught:
        peers.insert("10.0.0.1:9000", KEYS[5])
    message = str(caught.value)
    assert f"the address '10.0.0.1:9000' is already that of {KEYS[1]}" in message
    assert "give this one another host or port" in message
    assert peers == some_peers(3)
    peers.insert("10.0.0.1:9001", KEYS[5])
    assert len(peers) == 4


@pytest.mark.parametrize(
    ("first", "second"),
    [("Example.org:1", "example.ORG:1"), ("a.example:1", "a.example.:1"), ("[::1]:1", "[0:0::0:1]:1")],
)
def test_one_address_in_two_spellings_is_a_duplicate(first: str, second: str) -> None:
    peers = Peers()
    peers.insert(first, KEYS[0])
    with pytest.raises(ArgumentError, match="is already that of"):
        peers.insert(second, KEYS[1])


def test_the_limit_is_reached_and_not_passed() -> None:
    peers = Peers()
    for number in range(MAX_PEERS):
        peers.insert(f"localhost:{number + 1}", key(number))
    assert len(peers) == MAX_PEERS == 128
    with pytest.raises(ArgumentError, match="'localhost:9000' would be peer number 129; at most 128 are allowed: make"):
        peers.insert("localhost:9000", key(MAX_PEERS))
    assert len(peers) == MAX_PEERS


def test_insert_checks_types() -> None:
    peers = Peers()
    with pytest.raises(
        ArgumentTypeError, match=r"given a str as public key; only KeyPublic is allowed: use KeyPublic.parse"
    ):
        peers.insert("localhost:1", str(KEYS[0]))  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match="given a KeySecret as public key"):
        peers.insert("localhost:1", KeySecret.generate())  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match="given a int as capabilities; only PeerCapabilities is allowed: use"):
        peers.insert("localhost:1", KEYS[0], 3)  # type: ignore[arg-type]
    assert len(peers) == 0


def test_with_capacity() -> None:
    assert Peers.with_capacity(0) == Peers.with_capacity(128) == Peers()
    for number in (-1, 129):
        with pytest.raises(ArgumentError, match=f"given {number}; allowed are 0 to 128: a network"):
            Peers.with_capacity(number)
    with pytest.raises(ArgumentTypeError, match=r"given True \(bool\); allowed is an int of 0 to 128: give"):
        Peers.with_capacity(True)


# TOML


def test_toml_comes_back(tmp_path: Path) -> None:
    peers = some_peers()
    peers.insert("[fe80::1%eth0]:9", KEYS[6], PeerCapabilities(no_order=True, unkickable=True))
    text = peers.to_toml()
    assert Peers.from_toml(text) == peers
    assert Peers.from_toml(text).to_toml() == text
    path = tmp_path / "peers.toml"
    path.write_text(text)
    assert Peers.from_toml(path) == peers


def test_toml_is_what_people_write() -> None:
    text = f"""
        [[peers]]
        address = "one.example:9001"
        public = "{KEYS[0]}"

        [[peers]]
        address = "two.example:9001"
        public = '''
{KEYS[1].to_pem()}'''
        [peers.capabilities]
        public = true
        no_logic = false
    """
    expected = Peers()
    expected.insert("one.example:9001", KEYS[0])
    expected.insert("two.example:9001", KEYS[1], PeerCapabilities(public=True))
    assert Peers.from_toml(text) == expected


def entry(**fields: str) -> str:
    return "[[peers]]\n" + "".join(f"{name} = {value}\n" for name, value in fields.items())


GOOD = {"address": '"localhost:1"', "public": f'"{KEYS[0]}"'}


@pytest.mark.parametrize(
    ("text", "found", "allowed", "advice"),
    [
        ("", "the peers text holds no peer", "1 to 128 [[peers]] tables", "add one"),
        ("peers = []", "the peers text holds no peer", "1 to 128 [[peers]] tables", "add one"),
        ("peers = 3", "the peers text holds no peer", "1 to 128 [[peers]] tables", "add one"),
        (
            "peers = [3]",
            "peer number 1 is 3",
            "a table with address, public, capabilities",
            "write it as a table",
        ),
        ("[[peers]", "the peers text is not TOML", "[[peers]] tables", "correct that place"),
        ("peers.toml", "the peers text is not TOML", "[[peers]] tables", "give a file as pathlib.Path"),
        ("[[peer]]", "has a field 'peer'", "allowed are peers", "did you mean 'peers'?"),
        (entry(**GOOD, adress='"x"'), "number 1 has a field 'adress'", "address, public", "mean 'address'?"),
        (entry(**GOOD, zzz="1"), "number 1 has a field 'zzz'", "address, public, capabilities", "remove it"),
        (entry(address='"a:1"'), "number 1 has no public", "a string", 'write public = "the key'),
        (entry(public=GOOD["public"]), "number 1 has no address", "a string", 'write address = "host:port"'),
        (
            entry(**{**GOOD, "address": "9001"}),
            "has address = 9001",
            "a string",
            'write address = "host:port"',
        ),
        (
            entry(**{**GOOD, "address": '"a"'}),
            "peer number 1: the address 'a' has no",
            "host:port",
            "write both",
        ),
        (
            entry(**GOOD) + entry(**GOOD),
            "peer number 2: the public key",
            "its own key",
            "insert each peer once",
        ),
        (
            entry(**GOOD, capabilities="{ publik = true }"),
            "has a field 'publik'",
            "no_order",
            "mean 'public'?",
        ),
        (
            entry(**GOOD, capabilities="{ public = 1 }"),
            "number 1: PeerCapabilities.public was given 1",
            "True",
            "give",
        ),
        (
            entry(**GOOD, capabilities="true"),
            "capabilities is True",
            "a table with no_order",
            "write it as a table",
        ),
    ],
)
def test_bad_toml_is_refused(text: str, found: str, allowed: str, advice: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        Peers.from_toml(text)
    message = str(caught.value)
    assert found in message
    assert allowed in message
    assert advice in message


def test_a_bad_key_in_toml_is_named_with_its_peer() -> None:
    text = entry(**GOOD) + entry(address='"localhost:2"', public='"2g"')
    with pytest.raises(
        KeyFormatError, match=r"peer number 2 has public = '2g': .*base58 of 1 bytes; it has exactly 32"
    ):
        Peers.from_toml(text)


def test_bad_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    with pytest.raises(ArgumentError, match=r"peers.toml cannot be read: .*allowed is a TOML file.*check the path"):
        Peers.from_toml(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ArgumentError, match=r"peers.toml is not UTF-8: .*save it as such"):
        Peers.from_toml(path)
    path.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ArgumentError, match=r"peers.toml has more than 1048576 bytes: give the path"):
        Peers.from_toml(path)
    path.write_text("[[peers]]\naddress = 1")
    with pytest.raises(ArgumentError, match=r"peers.toml, peer number 1 has address = 1"):
        Peers.from_toml(path)
    with pytest.raises(ArgumentTypeError, match=r"given int; allowed are a str .*use pathlib.Path"):
        Peers.from_toml(3)  # type: ignore[arg-type]
