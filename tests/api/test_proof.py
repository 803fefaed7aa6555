"""Proofs as an application has them: bytes, files, words."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from core.build import Peers
from core.places import BEGIN_NS, Places, addition, removal, rotation
from syncpoint import (
    ArgumentError,
    ArgumentTypeError,
    Flaw,
    Genesis,
    GenesisPeer,
    KeyPublic,
    KeySecret,
    PeerCapabilities,
    PeerRecord,
    Proof,
    ProofError,
    ProvedSyncPoint,
    ProvedTransaction,
    SyncPointKind,
)
from syncpoint.core.change import Change, Configure
from syncpoint.core.config import Network
from syncpoint.core.crypto import Signer, blake3
from syncpoint.core.proof import MAX_PROOF_BYTES
from syncpoint.proof import _WORDS

PEERS = Peers(4, "proofs")
STATE = bytes(range(32))


def genesis_of(peers: Peers, name: str = "proofs", *, observers: int = 0) -> Genesis:
    """The network file of such a committee."""
    secrets = [KeySecret.from_seed(blake3(f"{name}/{number}".encode())) for number in range(peers.committee.n)]
    entries = [
        GenesisPeer(record=PeerRecord.of(secret), address=f"127.0.0.1:{9001 + number}")
        for number, secret in enumerate(secrets)
    ]
    entries += [
        GenesisPeer(
            record=PeerRecord.of(KeySecret.from_seed(blake3(b"observer/%d" % number))),
            address=f"127.0.0.1:{9101 + number}",
            capabilities=PeerCapabilities(no_order=True),
        )
        for number in range(observers)
    ]
    return Genesis(entries=tuple(entries), network=peers.network)


GENESIS = genesis_of(PEERS)


def some_order() -> Places:
    """An event with three transactions, a sync point, and an event behind it."""
    order = Places(PEERS)
    order.event(2, [b"first", b"second", b"x" * 100])
    order.point(SyncPointKind.SNAPSHOT, 1, 0b1011, b"noon")
    order.event(0)
    return order


@pytest.fixture
def order() -> Places:
    """The same each time but for the salts."""
    return some_order()


def test_a_transaction_in_words(order: Places, core: str) -> None:
    proved = Proof(order.proof(0, 1)).verify(GENESIS, core)
    assert isinstance(proved, ProvedTransaction)
    keys = [entry.public for entry in GENESIS.entries]
    assert (proved.transaction, proved.creator, proved.index, proved.branch) == (b"second", keys[2], 0, "01")
    assert (proved.signers, proved.peers, proved.checkpoint) == (tuple(keys[:3]), 4, 2)
    assert (proved.network, proved.state_hash, proved.consensus_at) == ("syncpoint", None, BEGIN_NS)
    assert str(proved) == (
        f"The transaction b'second' (6 bytes), sent by {keys[2]} in its event {order.places[0].digest.hex()} "
        "of round 1.\n"
        "It stands at index 0 in the order of the network 'syncpoint', at 2023-11-14 22:13:20.000000000 UTC; "
        f"the order hash there is {order.places[0].order_hash.hex()}.\n"
        f"3 of 4 peers signed the order up to index 2: {keys[0]}, {keys[1]}, {keys[2]}."
    )


def test_a_sync_point_in_words(order: Places, core: str) -> None:
    certificate = order.certificate((0, 2, 3), STATE)
    proved = Proof(order.proof(1, certificate=certificate)).verify(GENESIS, core)
    assert isinstance(proved, ProvedSyncPoint)
    keys = [entry.public for entry in GENESIS.entries]
    assert (proved.kind, proved.metadata, proved.proposer) == (SyncPointKind.SNAPSHOT, b"noon", keys[1])
    assert proved.approvals == (keys[0], keys[1], keys[3])
    assert proved.state_hash == STATE
    assert str(proved) == (
        f"Sync point 1, SNAPSHOT, proposed by {keys[1]}, approved by {keys[0]}, {keys[1]}, {keys[3]}, "
        "with the metadata b'noon' (4 bytes).\n"
        "It stands at index 1 in the order of the network 'syncpoint', at 2023-11-14 22:13:20.000000001 UTC; "
        f"the order hash there is {order.places[1].order_hash.hex()}.\n"
        f"3 of 4 peers signed the order up to index 2 and the state of the application there, {STATE.hex()}: "
        f"{keys[0]}, {keys[2]}, {keys[3]}."
    )


def test_the_regular_beat_and_long_bytes_in_words(order: Places) -> None:
    order.point(SyncPointKind.EPOCH, None, 0, b"")
    beat = Proof(order.proof(3)).verify(GENESIS, "python")
    assert "Sync point 1, EPOCH, that came by itself, with the metadata b'' (0 bytes).\n" in str(beat)
    long = Proof(order.proof(0, 2)).verify(GENESIS, "python")
    assert f"The transaction b'{'x' * 64}'... (100 bytes), sent" in str(long)


NEW = [Signer(blake3(b"new/%d" % number)) for number in range(2)]
CHANGES: list[tuple[Change, str]] = [
    (addition(NEW[0]), f"It let in the peer {KeyPublic(NEW[0].public)}."),
    (removal(PEERS.signers[3]), f"It removed the peer {GENESIS.entries[3].public}."),
    (rotation(PEERS.signers[0], NEW[1]), f"It replaced the key {GENESIS.entries[0].public} by "
     f"{KeyPublic(NEW[1].public)}."),
    (Configure(Network(gc_depth=9, order="fast")),
     "From then on the settings are: name 'syncpoint', rule 'two_step', order 'fast', f None, gc_depth 9, "
     "max_payload_bytes 1048576, max_ahead 200, epoch_ms 0."),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), CHANGES, ids=["joined", "left", "rotated", "settings"])
def test_what_a_sync_point_changed_in_words(order: Places, core: str, change: Change, words: str) -> None:
    index = order.change(change, *NEW)
    order.event(1, [b"x"])
    proved = Proof(order.proof(index)).verify(GENESIS, core)
    assert isinstance(proved, ProvedSyncPoint)
    assert f" with the metadata b'' (0 bytes). {words}\n" in str(proved)
    said = proved.joined, proved.left, proved.rotated, proved.settings
    assert sum(value is not None for value in said) == 1
    assert (proved.epoch, proved.checkpoint_epoch) == (0, 1)
    assert "of the network 'syncpoint', at 2023" in str(proved)


def test_who_signed_is_who_they_were_then(order: Places, core: str) -> None:
    old, new = GENESIS.entries[0].public, KeyPublic(NEW[1].public)
    order.change(rotation(PEERS.signers[0], NEW[1]), NEW[1])
    early = order.change(addition(NEW[0]), NEW[0])
    order.event(3, [b"later"])
    now = [KeyPublic(signer.public) for signer in order.peers.signers]
    assert len(now) == 5
    assert new in now
    assert old not in now
    proved = Proof(order.proof(len(order.places) - 1)).verify(GENESIS, core)
    assert isinstance(proved, ProvedTransaction)
    assert (proved.creator, proved.signers, proved.peers) == (now[3], tuple(now[:4]), 5)
    assert (proved.epoch, proved.checkpoint_epoch) == (2, 2)
    assert "of the network 'syncpoint', in its epoch 2, at" in str(proved)
    assert (
        "4 of 5 peers of epoch 2, which 2 changes made of those in the network file, each signed by those before it, "
        "signed the order up to index 5: " in str(proved)
    )
    # What is proved was made by those of another epoch than those who signed it.
    proved = Proof(order.proof(early)).verify(GENESIS, core)
    assert isinstance(proved, ProvedSyncPoint)
    between = sorted({*(entry.public for entry in GENESIS.entries), new} - {old})
    assert (proved.proposer, proved.approvals) == (between[0], (between[0],))
    assert (proved.epoch, proved.checkpoint_epoch, proved.signers) == (1, 2, tuple(now[:4]))
    first = Proof(order.proof(0)).verify(GENESIS, core)
    assert isinstance(first, ProvedTransaction)
    assert (first.creator, first.epoch, first.peers) == (GENESIS.entries[2].public, 0, 5)


def test_it_is_bytes_whatever_they_are(order: Places) -> None:
    data = order.proof(1)
    proof = Proof(data)
    assert bytes(proof) == data
    assert len(proof) == len(data)
    assert proof == Proof(bytearray(data)) == Proof(memoryview(data))
    assert hash(proof) == hash(Proof(data))
    assert proof != Proof(data[:-1])
    assert proof != data
    assert repr(proof) == f"Proof({len(data)} bytes)"
    with pytest.raises(ArgumentTypeError, match=r"a Proof is made of str: give bytes, or use Proof.read for a file"):
        Proof("proof.bin")  # type: ignore[arg-type]


def test_it_goes_through_a_file(order: Places, tmp_path: Path) -> None:
    proof = Proof(order.proof(0))
    path = tmp_path / "proof"
    path.write_bytes(bytes(10_000))
    proof.write(path)
    assert path.read_bytes() == bytes(proof)
    assert Proof.read(str(path)) == proof
    with pytest.raises(FileNotFoundError):
        Proof.read(tmp_path / "none")
    with path.open("wb") as file:
        file.truncate(MAX_PROOF_BYTES + 1)
    with pytest.raises(ProofError, match="is no proof: it is longer") as raised:
        Proof.read(path)
    assert raised.value.flaw is Flaw.LIMIT


def forged_change() -> bytes:
    """A proof by peers that let themselves in."""
    order = some_order()
    order.change(removal(PEERS.signers[0]), by=(1, 2, 3))
    order.event(0)
    return order.proof(0)


def test_what_is_wrong_is_said(order: Places, core: str) -> None:
    proof = order.proof(0)
    others = genesis_of(Peers(4, "proofs", order="fast"))
    cases = [
        (proof, others, Flaw.NETWORK, f"of another network: give .* of this one is {others.fingerprint}"),
        (proof[:-1], GENESIS, Flaw.TRUNCATED, "the bytes end too soon"),
        (b"", GENESIS, Flaw.TRUNCATED, "no proof at all"),
        (proof + b"x", GENESIS, Flaw.TRAILING, "something was added"),
        (b"\x02" + proof[1:], GENESIS, Flaw.VERSION, "of a version that this one does not know"),
        (proof.replace(b"first", b"First"), GENESIS, Flaw.PAYLOAD, "the event does not hold the transaction"),
        (order.proof(0, 0, order.certificate((0, 1))), GENESIS, Flaw.SIGNERS, "as make a quorum"),
        (order.proof(0, 0, order.certificate((0, 1, 2), by=(0, 1, 3))), GENESIS, Flaw.SIGNATURE, "signature is wrong"),
        (
            forged_change(),
            GENESIS,
            Flaw.COMMITTEE,
            "a change of peers, keys or settings",
        ),
    ]
    for data, genesis, flaw, words in cases:
        with pytest.raises(ProofError, match=f"^it proves nothing: .*{words}") as raised:
            Proof(data).verify(genesis, core)
        assert raised.value.flaw is flaw
        assert raised.value.args == (flaw, raised.value.reason)


def test_every_flaw_has_words_of_its_own() -> None:
    assert list(_WORDS) == list(Flaw)
    assert len(set(_WORDS.values())) == len(Flaw)


def test_observers_do_not_count(core: str) -> None:
    peers = Peers(4, "proofs")
    genesis = genesis_of(peers, observers=2)
    peers.committee, peers.epoch_id = genesis.committee, genesis.id
    order = Places(peers)
    order.point()
    proved = Proof(order.proof(0)).verify(genesis, core)
    assert len(genesis.entries) == 6
    assert (len(proved.signers), proved.peers) == (3, 4)


def test_misuse_is_refused(order: Places) -> None:
    proof = Proof(order.proof(0))
    with pytest.raises(
        ArgumentTypeError, match=r"was given a str: give the Genesis of the network, as Genesis.from_toml"
    ):
        proof.verify("network.toml")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="core is 'fast'"):
        proof.verify(GENESIS, "fast")


def test_what_is_proved_cannot_be_changed(order: Places) -> None:
    proved = Proof(order.proof(1)).verify(GENESIS, "python")
    with pytest.raises(dataclasses.FrozenInstanceError):
        proved.index = 7  # type: ignore[misc]
    assert proved == Proof(order.proof(1)).verify(GENESIS, "python")
