"""The network file: one text for one network, and every other text refused with its place."""

from __future__ import annotations

import random
import re
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import pytest

from syncpoint import (
    ArgumentError,
    ArgumentTypeError,
    Genesis,
    GenesisPeer,
    KeyFormatError,
    KeySecret,
    Network,
    Options,
    PeerCapabilities,
    PeerRecord,
    Peers,
    base58,
)
from syncpoint.core.committee import Committee
from syncpoint.core.config import Member

SECRETS = sorted((KeySecret(number.to_bytes(32, "little")) for number in range(8)), key=KeySecret.public)
RECORDS = [PeerRecord.of(secret) for secret in SECRETS]
NETWORK = Network(name='a "quoted" \\ name\n\x7f, Größe 大', rule="three_step", order="fast", f=0, gc_depth=50)
OPTIONS = Options(heartbeat_us=250_000, enable_dynamic_epoch_size=False, max_blocking_verify_threads=2)


def entry(number: int, **changes: Any) -> GenesisPeer:
    settings: dict[str, Any] = {"record": RECORDS[number], "address": f"peer{number}.example:9001", **changes}
    return GenesisPeer(**settings)


def some(count: int = 4, **settings: Any) -> Genesis:
    return Genesis(entries=tuple(entry(number) for number in range(count)), **settings)


# Records


def test_a_record_comes_back_from_its_text_and_names_its_key() -> None:
    for secret, record in zip(SECRETS, RECORDS, strict=True):
        assert record.public == secret.public()
        assert len(bytes(record)) == 96
        assert PeerRecord.parse(f" {record}\n") == record
        assert re.fullmatch("[1-9A-HJ-NP-Za-km-z]{131,132}", str(record))
        assert eval(repr(record)) == record


@pytest.mark.parametrize("bit", [0, 255, 256, 511, 512, 767])
def test_a_record_with_one_bit_changed_proves_nothing(bit: int) -> None:
    raw = bytearray(bytes(RECORDS[0]))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(KeyFormatError, match=r"proves nothing.*--show"):
        PeerRecord(bytes(raw))


def test_a_record_of_a_key_that_another_key_signed() -> None:
    with pytest.raises(KeyFormatError, match=f"of {RECORDS[0].public} proves nothing"):
        PeerRecord(bytes(RECORDS[0])[:32] + bytes(RECORDS[1])[32:])


def test_what_is_no_record() -> None:
    with pytest.raises(KeyFormatError, match=r"32 bytes; it has exactly 96: .*not the public key alone"):
        PeerRecord.parse(str(SECRETS[0].public()))
    with pytest.raises(KeyFormatError, match="given as base58, but character 'l' at position 0"):
        PeerRecord.parse("l")
    wrong: Any
    for wrong in (None, b"", bytearray(96)):
        with pytest.raises(ArgumentTypeError, match="only str is allowed"):
            PeerRecord.parse(wrong)
    for wrong in (None, "", bytearray(96)):
        with pytest.raises(ArgumentTypeError, match="only bytes are allowed: for text use parse"):
            PeerRecord(wrong)


# The one form


def test_the_file_as_it_stands() -> None:
    genesis = Genesis(
        entries=(entry(0, capabilities=PeerCapabilities(no_order=True, public=True)), entry(1)),
        network=replace(NETWORK, name='say "hi"\n'),
        options=OPTIONS,
    )
    assert genesis.to_toml() == (
        "format = 1\n"
        "\n"
        "[network]\n"
        'name = "say \\"hi\\"\\u000a"\n'
        'rule = "three_step"\n'
        'order = "fast"\n'
        "f = 0\n"
        "gc_depth = 50\n"
        "max_payload_bytes = 1048576\n"
        "max_ahead = 200\n"
        "epoch_ms = 0\n"
        "\n"
        "[options]\n"
        "heartbeat_us = 250000\n"
        "enable_dynamic_epoch_size = false\n"
        "max_blocking_verify_threads = 2\n"
        "\n"
        "[[peers]]\n"
        f'record = "{RECORDS[1]}"\n'
        'address = "peer1.example:9001"\n'
        "\n"
        "[[peers]]\n"
        f'record = "{RECORDS[0]}"\n'
        'address = "peer0.example:9001"\n'
        "capabilities = { no_order = true, public = true }\n"
    )


@pytest.mark.parametrize("network", [Network(), NETWORK, Network(f=1)])
@pytest.mark.parametrize("options", [Options(), OPTIONS])
def test_what_is_written_is_read_and_nothing_is_lost(network: Network, options: Options, tmp_path: Path) -> None:
    genesis = Genesis(
        entries=tuple(entry(n, capabilities=PeerCapabilities(public=n == 1, unkickable=n > 2)) for n in range(4)),
        network=network,
        options=options,
    )
    again = Genesis.from_toml(genesis.to_toml())
    assert again == genesis
    assert (again.network, again.options, again.entries) == (network, options, genesis.entries)
    path = tmp_path / "network.toml"
    path.write_bytes(genesis.to_toml().encode())
    assert Genesis.from_toml(path) == genesis


def test_the_order_in_which_peers_are_given_makes_no_difference(seed: int) -> None:
    entries = [entry(number, capabilities=PeerCapabilities(no_order=number in (2, 5))) for number in range(8)]
    plain = Genesis(entries=tuple(entries))
    random.Random(seed).shuffle(entries)
    genesis = Genesis(entries=tuple(entries))
    assert genesis == plain
    assert genesis.to_toml() == plain.to_toml()
    assert [each.public for each in genesis.entries] == [peer.public for peer in genesis.peers()]


def test_every_setting_is_in_the_text() -> None:
    """A field that `to_toml` forgot would be lost without anybody noticing."""
    others: dict[str, object] = {
        "name": "x",
        "rule": "three_step",
        "order": "fast",
        "f": 0,
        "gc_depth": 5,
        "max_payload_bytes": 2048,
        "max_ahead": 9,
        "epoch_ms": 1000,
    }
    assert set(others) == {each.name for each in fields(Network)}
    plain = some()
    for name, value in others.items():
        changed = some(network=Network(**{name: value}))  # type: ignore[arg-type]
        assert f"\n{name} = " in changed.to_toml()
        assert Genesis.from_toml(changed.to_toml()) == changed != plain


# The id


def test_the_id_is_the_epoch_id_that_an_engine_starts_with() -> None:
    genesis = some(network=NETWORK)
    members = [Member(bytes(peer.public), peer.capabilities.flags) for peer in genesis.peers()]
    assert genesis.id == Committee.genesis(NETWORK, members).epoch_id
    assert (genesis.committee.n, genesis.committee.f, genesis.committee.q) == (4, 0, 4)


def test_what_makes_another_network_and_what_does_not() -> None:
    genesis = some()
    same = [
        some(options=OPTIONS),
        Genesis(entries=(*genesis.entries[:3], replace(genesis.entries[3], address="elsewhere.example:1"))),
    ]
    others = [
        some(network=Network(name="other")),
        some(network=Network(f=1)),
        some(network=Network(gc_depth=201)),
        some(5),
        Genesis(entries=(*genesis.entries[:3], entry(4))),
        Genesis(entries=(*genesis.entries[:3], entry(3, capabilities=PeerCapabilities(no_order=True)))),
    ]
    assert {each.id for each in same} == {genesis.id}
    assert all(each != genesis for each in same)
    assert len({each.id for each in [genesis, *others]}) == 1 + len(others)


def test_the_fingerprint_is_the_beginning_of_the_id_and_easy_to_say() -> None:
    genesis = some()
    assert re.fullmatch("([0-9a-f]{4} ){7}[0-9a-f]{4}", genesis.fingerprint)
    assert genesis.id.hex().startswith(genesis.fingerprint.replace(" ", ""))


def test_the_address_book_is_the_callers_own() -> None:
    genesis = some()
    genesis.peers().insert("another.example:1", SECRETS[5].public())
    assert len(genesis.peers()) == 4
    assert isinstance(genesis.peers(), Peers)
    with pytest.raises(FrozenInstanceError):
        genesis.network = NETWORK  # type: ignore[misc]


# What is refused


TEXT = some(options=OPTIONS).to_toml()
OTHER_RECORD = re.escape(str(RECORDS[1]))


def change(pattern: str, new: str) -> str:
    text, count = re.subn(pattern, lambda _: new, TEXT, count=1, flags=re.MULTILINE)
    assert count == 1
    return text


@pytest.mark.parametrize(
    ("pattern", "new", "says"),
    [
        ("^format = 1", "format = 2", "has format = 2; this version of syncpoint reads format = 1: .*network create'"),
        ("^format = 1", "", "has no format"),
        ("^format = 1", "format = true", r"'format = true' stands in line 1, and 'format = 1' should stand there"),
        ("^format = 1", "format = = 1", "is not TOML: .*from whoever made it"),
        ("^format = 1", "format = 1\nextra = 2", "has a field 'extra'; allowed are format, network, .*: remove it"),
        (r"^\[network\]", "[netwrk]", "a field 'netwrk'; .*did you mean 'network'"),
        ("^rule", "rul", r"\[network\] has a field 'rul'; .*did you mean 'rule'"),
        ("^rule = .*", 'rule = "one_step"', r"\[network\]: Network.rule is 'one_step'"),
        ("^rule = .*", "rule = []", r"\[network\]: Network.rule is \[\]"),
        ("^name = .*", "name = 5", r"\[network\]: Network.name is 5"),
        ("^gc_depth = .*", "gc_depth = 1", "Network.gc_depth is 1: give 4 to"),
        ("^gc_depth = .*", "gc_depth = 1.5", "Network.gc_depth is 1.5: give an integer"),
        ("^gc_depth = .*", "f = 2\ngc_depth = 200", "f = 2 liars among 4 peers that order: 0 to 1 can be tolerated"),
        ("^gc_depth = .*", "f = -1\ngc_depth = 200", "Network.f is -1: give 0 to"),
        ("^gc_depth = .*\n", "", "'max_payload_bytes = 1048576' stands in line 7, and 'gc_depth = 200' should"),
        ("^gc_depth = .*", "gc_depth = 2_00", "'gc_depth = 2_00' stands in line 7, and 'gc_depth = 200' should stand"),
        ("^heartbeat_us", "heartbeat", r"\[options\] has a field 'heartbeat'; .*did you mean 'heartbeat_us'"),
        ("^heartbeat_us = .*", "heartbeat_us = 1", r"\[options\]: Options.heartbeat_us was given 1;"),
        ("^heartbeat_us = .*", "heartbeat_us = 500000", "'heartbeat_us = 500000' stands in line 13, and 'enable_"),
        ("^record", "recrd", "peer number 1 has a field 'recrd'; .*did you mean 'record'"),
        ("^record = .*", "record = 1", r"peer number 1, at peer0.example:9001 has record = 1; allowed is a string"),
        ("^record = .*", "", r"peer number 1, at peer0.example:9001 has no record; .*'syncpoint keygen' printed"),
        ("^record = .*", 'record = "0"', "number 1, at peer0.example:9001: a peer record was given as base58, but"),
        ("^record = .*", 'record = "2g"', "peer number 1, at peer0.example:9001: a peer record was given as 1 bytes"),
        ("^record = .*", f'record = "{RECORDS[1]}"', f"the public key {RECORDS[1].public} is already there"),
        ("^record = .*", f'record = "{RECORDS[7]}"', f"'record = \"{RECORDS[7]}\"' stands in line 18, and 'record = "),
        ("^record = .*", f'record = " {RECORDS[0]}"', "stands in line 18, and"),
        ("^address = .*", "", "peer number 1 has no address; allowed is a string"),
        ("^address = .*", 'address = "nowhere"', "the address 'nowhere' has no host and port"),
        ("^address = .*", 'address = "peer1.example:9001"', "the address 'peer1.example:9001' is already that of"),
        ("^(?=address = )", "capabilities = { publik = true }\n", "number 1, at .*, capabilities has a field 'publik'"),
        ("^(?=address = )", "capabilities = { public = 1 }\n", "number 1, at .*: PeerCapabilities.public was given 1"),
        ("^(?=address = )", "capabilities = { public = true }\n", "'capabilities .*' stands in line 19, and 'address"),
        ("^(?=address = )", "capabilities = {}\n", "'capabilities = {}' stands in line 19, and 'address"),
        ("^(?=address = )", "capabilities = { public = false }\n", "stands in line 19, and"),
        ("^(?=address = )", "# mine\n", "'# mine' stands in line 19, and 'address = .*should stand there"),
        ("^format = 1\n", "format = 1\r\n", r"'format = 1\\r' stands in line 1, and 'format = 1' should"),
        ("^format = 1\n", "format = 1 \n", "'format = 1 ' stands in line 1"),
        (r"\n\Z", "", r"'address = .peer3.example:9001.' stands in line 31, and 'address = .*\\n' should stand there"),
        (r"\Z", "\n", r"'\\n' stands in line 32, and the file should end before it"),
        (r"\naddress = .peer3[^\n]*\n\Z", "\naddress = 'peer3.example:9001'\n", "stands in line 31, and 'address"),
    ],
)  # fmt: skip
def test_any_other_text(pattern: str, new: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "network.toml"
    path.write_bytes(change(pattern, new).encode())
    for source, name in ((path, str(path)), (path.read_bytes().decode(), "the network text")):
        with pytest.raises(ArgumentError) as caught:
            Genesis.from_toml(source)
        assert str(caught.value).startswith(name)
        assert re.search(says, str(caught.value)), caught.value


def test_a_record_that_proves_nothing_is_a_bad_key_and_names_its_peer() -> None:
    forged = base58.encode(bytes(RECORDS[0])[:32] + bytes(RECORDS[1])[32:])
    with pytest.raises(KeyFormatError, match=rf"peer number 1, at peer0.example:9001: .*{RECORDS[0].public} proves"):
        Genesis.from_toml(change("^record = .*", f'record = "{forged}"'))


def test_peers_in_another_order() -> None:
    head, first, *others = re.split(r"(?=^\[\[peers\]\])", TEXT, flags=re.MULTILINE)
    swapped = head + "\n".join(part.strip("\n") + "\n" for part in [*others, first])
    assert sorted(swapped) == sorted(TEXT)
    with pytest.raises(ArgumentError, match=f"{RECORDS[1]}.* stands in line 18, and .*{RECORDS[0]}.* should stand"):
        Genesis.from_toml(swapped)


def test_no_peers() -> None:
    with pytest.raises(ArgumentError, match=r"a network without peers; allowed are 1 to 128"):
        Genesis(entries=())
    head = TEXT.partition("[[peers]]")[0]
    with pytest.raises(ArgumentError, match=r"without peers"):
        Genesis.from_toml(head)
    with pytest.raises(ArgumentError, match=r"peers is 3; allowed are \[\[peers\]\] tables"):
        Genesis.from_toml("format = 1\npeers = 3\n")
    with pytest.raises(ArgumentError, match=r"peer number 1 is 3; allowed is a table"):
        Genesis.from_toml("format = 1\npeers = [3]\n")


def test_a_long_line_is_not_shown_whole() -> None:
    with pytest.raises(ArgumentError) as caught:
        Genesis.from_toml("#" * 100_000 + "\n" + TEXT)
    assert len(str(caught.value)) < 600
    assert "###...'" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"network": None}, "Genesis.network is a NoneType: give a Network"),
        ({"options": {}}, "Genesis.options is a dict: give a Options"),
        ({"entries": [entry(0)]}, "Genesis.entries is a list: give a tuple"),
        ({"entries": (RECORDS[0],)}, "an entry of Genesis.entries is a PeerRecord: give a GenesisPeer"),
        ({"entries": (entry(0, record="x"),)}, "GenesisPeer.record is a str: give a PeerRecord"),
        ({"entries": (entry(0, address=1),)}, "an address was given as int"),
        ({"entries": (entry(0, capabilities=1),)}, "a int as capabilities"),
    ],
)  # fmt: skip
def test_values_of_another_type(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentTypeError, match=says):
        Genesis(**{"entries": (entry(0),), **changes})
    with pytest.raises(ArgumentTypeError, match=r"Genesis.from_toml was given bytes; .*use pathlib.Path"):
        Genesis.from_toml(b"")  # type: ignore[arg-type]
