"""docs/proofs.md tells what the code does: its layouts, its numbers, its sizes."""

from __future__ import annotations

import re

from core.build import Peers
from core.places import Places, removal, rotation
from syncpoint.core.change import MAX_CHANGE_BYTES, Configure, encode_change
from syncpoint.core.committee import Committee
from syncpoint.core.config import MAX_PAYLOAD_BYTES, Network
from syncpoint.core.crypto import Signer
from syncpoint.core.items import MAX_METADATA_BYTES
from syncpoint.core.proof import (
    MAX_DEPTH,
    MAX_HEADER_BYTES,
    MAX_PLACES,
    MAX_PROOF_BYTES,
    MAX_TRANSITION_BYTES,
    MAX_TRANSITIONS,
    PROOF_VERSION,
    Flaw,
    ProofKind,
)
from syncpoint.core.values import Delivered

from .markdown import rows, text_of

DOCUMENT = "docs/proofs.md"
METADATA, TRANSACTION = b"some metadata", b"a transaction"


def fixed(header: str) -> int:
    """The bytes of all fields of a table whose size is a number."""
    return sum(int(size) for size, *_ in rows(DOCUMENT, header) if size.isdecimal())


def test_the_layouts_are_the_codes() -> None:
    peers = Peers(4)
    order = Places(peers)
    order.event(1, [b"x", TRANSACTION, b"y"])
    order.point(metadata=METADATA)
    event = order.places[0]
    assert isinstance(event, Delivered)
    header = event.event.header
    begin = fixed("size") + 3 * 64
    assert len(order.proof(0, 1)) == begin + fixed("size in a transaction") + len(header) + 64 + len(TRANSACTION) + 40
    assert order.proof(0, 1)[begin + 4 : begin + 4 + len(header)] == header
    assert len(order.proof(1)) == begin + fixed("size in a sync point") + len(METADATA)
    assert order.proof(1).endswith(METADATA)
    for kind, index in ((ProofKind.SYNC_POINT, 1), (ProofKind.TRANSACTION, 0)):
        assert order.proof(index)[:3] == PROOF_VERSION.to_bytes(2, "little") + bytes((kind,))


def test_the_flaws_are_the_codes() -> None:
    assert [(int(number), name.strip("`")) for number, name, _ in rows(DOCUMENT, "flaw")] == [
        (flaw.value, flaw.name) for flaw in Flaw
    ]


def test_the_limits_are_the_codes() -> None:
    text = re.sub(r"\s+", " ", text_of(DOCUMENT))
    for words in (
        f"at most {MAX_PLACES:,} below the checkpoint",
        f"u32, up to {MAX_METADATA_BYTES:,}",
        f"u32, up to {MAX_HEADER_BYTES:,}",
        f"0 to {MAX_DEPTH}",
        f"u32, up to {MAX_PAYLOAD_BYTES:,}",
        f"longer than {MAX_PROOF_BYTES:,} bytes",
        f"u16, up to {MAX_TRANSITIONS:,}",
        f"through {MAX_TRANSITIONS:,} changes",
        f"u32 length of up to {MAX_TRANSITION_BYTES:,}",
        f"of the change, up to {MAX_CHANGE_BYTES:,}",
        f"of the metadata, up to {MAX_METADATA_BYTES:,}",
        f"up to {2 + MAX_CHANGE_BYTES + MAX_METADATA_BYTES:,}",
    ):
        assert words in text, words


def test_the_sizes_are_those_of_the_proofs() -> None:
    for n, q, point, near, far in rows(DOCUMENT, "n"):
        peers, committee = int(n), Committee(int(n), None, bytes(32))
        begin = fixed("size") + 64 * committee.q
        assert committee.q == int(q)
        assert point == f"{begin + fixed('size in a sync point'):,}"
        # A header with a parent of each peer, a way of 4 steps, and the events of one round behind it, or of eight.
        transaction = begin + fixed("size in a transaction") + (100 + 42 * peers) + 4 * 32 + 100
        assert (near, far) == (f"{transaction + 40 * peers:,}", f"{transaction + 8 * 40 * peers:,}")


def test_the_sizes_of_changes_are_those_of_the_proofs() -> None:
    new = Signer(bytes(32))
    for n, q, *sizes in rows(DOCUMENT, "n before a change"):
        peers = Peers(int(n))
        assert peers.committee.q == int(q)
        changes = Configure(Network(gc_depth=9)), removal(peers.signers[0]), rotation(peers.signers[0], new)
        for change, size in zip(changes, sizes, strict=True):
            order = Places(peers)
            index = order.point()
            alone = len(order.proof(index))
            order.change(change, new)
            after = len(order.transitions[0]) + 4
            assert size == f"{after:,}"
            assert after == 4 + fixed("size in a transition") + len(encode_change(change)) + 64 * int(q)
            # The place of the change lies between, and others sign.
            assert len(order.proof(index)) == alone + after + 40 + 64 * (order.peers.committee.q - int(q))
