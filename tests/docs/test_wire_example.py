"""docs/wire.md tells what the code does: its example, its tables of numbers, its layouts.

`cd tests && python -m docs.test_wire_example` prints the example's data anew.
"""

from __future__ import annotations

import json
import re
from enum import IntEnum
from typing import Any

import pytest

from syncpoint.core import verify, wire
from syncpoint.core.committee import Committee
from syncpoint.core.config import MAX_PEERS, Member, Network
from syncpoint.core.crypto import DOMAIN_EVENT, Signer, merkle_root
from syncpoint.core.dag import Dag
from syncpoint.core.error import Reject
from syncpoint.core.journal import RecordType
from syncpoint.core.order import Orderer
from syncpoint.core.values import Event, Item, ItemType, Parent
from syncpoint.core.wire import FrameType
from syncpoint.runtime.hello import Hello, Refusal, encode_refusal

from .markdown import ROOT, rows, text_of

DATA = ROOT / "tests/data/wire/example.json"
SEED = bytes(range(32))
NETWORK = Network(name="example", f=0)
CREATED_AT = 1_700_000_000_000_000_000

Json = dict[str, Any]


def signed(signer: Signer, header: bytes, transactions: list[bytes]) -> bytes:
    """The EVENT frame of a header."""
    signature = signer.sign(DOMAIN_EVENT + wire.event_digest(header))
    return wire.encode_event(Event(0, 0, 0, (), (), tuple(transactions), header, bytes(32), signature))


def example() -> Json:
    """Two events of a network of one peer; the second one is the example, with one of everything."""
    signer = Signer(SEED)
    committee = Committee.genesis(NETWORK, [Member(signer.public)])
    epoch_id = committee.epoch_id
    first_header = wire.encode_header(epoch_id, 0, 1, CREATED_AT, 1, [], [], [])
    first = wire.event_digest(first_header)
    salt, item, transactions = 0x0807060504030201, Item(900, b"hi"), [b"hello", b""]
    header = wire.encode_header(
        epoch_id, 0, 2, CREATED_AT + 1_000_000, salt, [Parent(0, 1, first)], [item], transactions
    )
    frame = signed(signer, header, transactions)
    pieces = cut(
        frame,
        {
            "frame type": 1,
            "protocol version": 2,
            "epoch id": 32,
            "creator": 2,
            "round": 8,
            "created_at": 8,
            "salt": 8,
            "payload root": 32,
            "payload length": 4,
            "parent count": 2,
            "item count": 2,
            "parent creator": 2,
            "parent round": 8,
            "parent digest": 32,
            "item type": 2,
            "item length": 4,
            "item body": 2,
            "signature": 64,
            "transaction 0 length": 4,
            "transaction 0": 5,
            "transaction 1 length": 4,
        },
    )
    return {
        "seed": SEED.hex(),
        "public": signer.public.hex(),
        "network": {"name": NETWORK.name, "f": NETWORK.f},
        "network_encoding": NETWORK.encode().hex(),
        "epoch_id": epoch_id.hex(),
        "first_event": signed(signer, first_header, []).hex(),
        "first_digest": first.hex(),
        "creator": 0,
        "round": 2,
        "created_at": CREATED_AT + 1_000_000,
        "salt": salt,
        "item": {"type": item.type, "body": item.body.hex()},
        "transactions": [each.hex() for each in transactions],
        "digest": wire.event_digest(header).hex(),
        "frame": frame.hex(),
        "pieces": [[name, at, piece.hex()] for name, at, piece in pieces],
        "order_hash_before_index_0": Orderer(committee, "fair", 4).order_hash.hex(),
        "hello": Hello(
            network_id=epoch_id,
            epoch_id=epoch_id,
            key=signer.public,
            expected=signer.public,
            max_frame_bytes=wire.max_frame_bytes(MAX_PEERS, NETWORK),
            time=CREATED_AT,
        )
        .encode()
        .hex(),
        "refuse": encode_refusal(Refusal.NETWORK).hex(),
        "request": wire.encode_request([first]).hex(),
        "frontier": wire.encode_frontier(FrameType.FRONTIER, [2]).hex(),
        "pull": wire.encode_frontier(FrameType.PULL, [1]).hex(),
    }


def cut(data: bytes, sizes: dict[str, int]) -> list[tuple[str, int, bytes]]:
    """The data in named pieces, each with its offset."""
    pieces, at = [], 0
    for name, size in sizes.items():
        pieces.append((name, at, data[at : at + size]))
        at += size
    assert at == len(data), "the pieces do not make up the whole"
    return pieces


@pytest.fixture(scope="module")
def stored() -> Json:
    return json.loads(DATA.read_text(encoding="utf-8"))


def hex_in_document() -> str:
    """Everything that docs/wire.md says, without blanks and line ends, for long hex to be found in."""
    return re.sub(r"\s", "", text_of("docs/wire.md"))


def is_long_hex(value: object) -> bool:
    """Whether it is the bytes of something, rather than a number or a name."""
    return isinstance(value, str) and re.fullmatch("(?:[0-9a-f]{2}){3,}", value) is not None


def test_the_code_makes_the_stored_example(stored: Json) -> None:
    assert example() == stored


def test_the_document_shows_the_stored_example(stored: Json) -> None:
    text = hex_in_document()
    missing = [name for name, value in stored.items() if is_long_hex(value) and value not in text]
    assert not missing


def test_the_document_breaks_the_frame_down(stored: Json) -> None:
    shown = {cells[0]: (cells[1], cells[2].strip("`")) for cells in rows("docs/wire.md", "offset")}
    told = {str(at): (str(len(piece) // 2), piece) for _, at, piece in stored["pieces"]}
    assert shown == told


def test_the_example_is_a_valid_event(stored: Json) -> None:
    signer = Signer(bytes.fromhex(stored["seed"]))
    network = Network(**stored["network"])
    committee = Committee.genesis(network, [Member(signer.public)])
    dag = Dag(1)
    for name in ("first_event", "frame"):
        event = wire.decode_event(bytes.fromhex(stored[name]), committee.epoch_id, network)
        assert isinstance(event, Event)
        assert verify.check_event(event, committee, network.gc_depth) is None
        parents = [node for parent in event.parents if (node := dag.get(parent.digest)) is not None]
        assert verify.check_ancestors(event, parents, dag, network.gc_depth) is None
        dag.insert(event)
    assert event.digest.hex() == stored["digest"]
    assert [each.hex() for each in event.transactions] == stored["transactions"]
    pieces = {name: piece for name, _, piece in stored["pieces"]}
    assert merkle_root(event.transactions).hex() == pieces["payload root"]


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("reject", Reject),
        ("refusal", Refusal),
        ("frame", FrameType),
        ("item type", ItemType),
        ("record", RecordType),
    ],
)
def test_numbers_and_names_are_the_codes(header: str, kind: type[IntEnum]) -> None:
    shown = {int(cells[0]): cells[1].strip("`") for cells in rows("docs/wire.md", header)}
    assert shown == {member.value: member.name for member in kind}


@pytest.mark.parametrize(
    ("header", "size"),
    [("HELLO at", 150), ("EVENT at", 101), ("Network at", None)],
)
def test_offsets_follow_from_sizes(header: str, size: int | None) -> None:
    at = 0
    for offset, width, *_ in rows("docs/wire.md", header):
        if not offset.isdecimal() or not width.isdecimal():
            break  # from here on it depends on what came before
        assert int(offset) == at
        at += int(width)
    assert size in (None, at)


if __name__ == "__main__":
    print(json.dumps(example(), indent=1))
