"""One encoding per value, and decoders that nothing upsets (E1 to E5, V1, V6, T2)."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.build import Peers, join
from syncpoint.core import verify, wire
from syncpoint.core.config import (
    MAX_ITEM_BYTES,
    MAX_ITEMS,
    MAX_PAYLOAD_BYTES,
    MAX_PEERS,
    PROTOCOL_VERSION,
    Network,
)
from syncpoint.core.crypto import DOMAIN_EVENT, blake3, merkle_root
from syncpoint.core.error import Reject
from syncpoint.core.values import Event, Item, Parent
from syncpoint.core.wire import FrameType

pytestmark = pytest.mark.usefixtures("functions")

PEERS = Peers(4, max_payload_bytes=2048)
SALT = slice(52, 60)  # of a header
SIGNATURE = bytes(range(64))

examples = settings(
    max_examples=200,
    deadline=None,
    database=None,
    print_blob=True,  # the line that runs a failure again
    suppress_health_check=[HealthCheck.too_slow],
)

u16 = st.integers(0, 2**16 - 1)
u64 = st.integers(0, 2**64 - 1)
hashes = st.binary(min_size=32, max_size=32)
parents = st.lists(st.builds(Parent, u16, u64, hashes), max_size=5)
items = st.lists(st.builds(Item, u16, st.binary(max_size=40)), max_size=4)
transactions = st.lists(st.binary(max_size=60), max_size=6)


@st.composite
def event_frames(draw: st.DrawFn) -> bytes:
    """EVENT frames with any values in their fields; nothing of them is valid but the encoding."""
    payload = draw(transactions)
    header = wire.encode_header(
        PEERS.epoch_id,
        draw(u16),
        draw(st.integers(1, wire.MAX_ROUND)),
        draw(st.integers(0, wire.MAX_TIME)),
        draw(u64),
        draw(parents),
        draw(items),
        payload,
    )
    return join(header, draw(st.binary(min_size=64, max_size=64)), payload)


request_frames = st.lists(hashes, min_size=1, max_size=10).map(wire.encode_request)
frontier_frames = st.builds(
    wire.encode_frontier,
    st.sampled_from([FrameType.FRONTIER, FrameType.PULL]),
    st.lists(u64, min_size=4, max_size=4),
)
frames = st.one_of(event_frames(), request_frames, frontier_frames)


def encode(value: object, frame: bytes) -> bytes:
    """The frame of what was decoded from `frame`, put together from its values."""
    if isinstance(value, Event):
        (salt,) = struct.unpack("<Q", value.header[SALT])  # signed, but not kept
        header = wire.encode_header(
            PEERS.epoch_id,
            value.creator,
            value.round,
            value.created_at,
            salt,
            value.parents,
            value.items,
            value.transactions,
        )
        assert header == value.header
        assert wire.encode_event(value) == join(header, value.signature, value.transactions)
        return wire.encode_event(value)
    if isinstance(value, list):
        return wire.encode_request(value)
    assert isinstance(value, tuple)
    return wire.encode_frontier(FrameType(frame[0]), value, int.from_bytes(frame[1:5], "little"))


def assert_canonical(frame: bytes) -> None:
    """E4: refused, or exactly what the encoder makes of it."""
    value = PEERS.read(frame)
    if not isinstance(value, Reject):
        assert encode(value, frame) == frame


def flips(data: bytes) -> Iterator[bytes]:
    """The data with each one of its bits changed."""
    for at, bit in itertools.product(range(len(data)), range(8)):
        yield data[:at] + bytes((data[at] ^ 1 << bit,)) + data[at + 1 :]


def some_frames() -> dict[str, bytes]:
    """One valid frame of each kind and shape."""
    first = [PEERS.event(creator, 1) for creator in range(4)]
    rich = {
        "items": [Item(1, b"proposal"), Item(900, b"")],
        "transactions": [b"one", b"", b"three"],
    }
    return {
        "event": PEERS.frame(0, 1),
        "event with everything": PEERS.frame(2, 2, first, **rich),
        "request": wire.encode_request([blake3(b"1"), blake3(b"2")]),
        "frontier": wire.encode_frontier(FrameType.FRONTIER, [1, 2, 3, 2**64 - 1]),
        "pull": wire.encode_frontier(FrameType.PULL, [0, 0, 0, 0]),
    }


FRAMES = some_frames()
each_frame = pytest.mark.parametrize("name", FRAMES)


# -- round trips ------------------------------------------------------------------------------------


@examples
@given(
    u16,
    st.integers(1, wire.MAX_ROUND),
    st.integers(0, wire.MAX_TIME),
    u64,
    parents,
    items,
    transactions,
    st.binary(min_size=64, max_size=64),
)
def test_an_event_comes_out_as_it_went_in(creator, round, created_at, salt, parents, items, payload, signature):
    header = wire.encode_header(PEERS.epoch_id, creator, round, created_at, salt, parents, items, payload)
    event = PEERS.decode(join(header, signature, payload))
    assert isinstance(event, Event)
    assert (event.creator, event.round, event.created_at) == (creator, round, created_at)
    assert (list(event.parents), list(event.items), list(event.transactions)) == (parents, items, payload)
    assert (event.header, event.signature) == (header, signature)
    assert header[SALT] == salt.to_bytes(8, "little")
    assert event.digest == blake3(DOMAIN_EVENT + header) == wire.event_digest(header)  # E2
    assert wire.decode_header(header, PEERS.epoch_id) == (creator, round)


@examples
@given(frames)
def test_encode_and_decode_are_inverse(frame):
    value = PEERS.read(frame)
    assert not isinstance(value, Reject)
    assert encode(value, frame) == frame


@examples
@given(st.lists(hashes, min_size=1, max_size=20))
def test_a_request_comes_out_as_it_went_in(digests):
    assert wire.decode_request(wire.encode_request(digests)) == digests


@examples
@given(st.sampled_from([FrameType.FRONTIER, FrameType.PULL]), st.lists(u64, min_size=1, max_size=20))
def test_a_frontier_comes_out_as_it_went_in(type, frontier):
    frame = wire.encode_frontier(type, frontier)
    assert frame[0] == type
    assert wire.decode_frontier(frame, len(frontier)) == tuple(frontier)


def test_the_id_of_an_event_does_not_depend_on_its_signature() -> None:
    # E2
    header = PEERS.header(0, 1)
    one, two = PEERS.decode(join(header, bytes(64))), PEERS.decode(join(header, SIGNATURE))
    assert isinstance(one, Event)
    assert isinstance(two, Event)
    assert one.digest == two.digest
    assert one.signature != two.signature


def test_the_layout_of_a_header() -> None:
    # docs/wire.md: little-endian, fixed widths, in this order.
    parent, item = Parent(3, 7, bytes([9]) * 32), Item(4, b"body")
    header = wire.encode_header(PEERS.epoch_id, 2, 8, 10**18, 5, [parent], [item], [b"tx"])
    assert header == b"".join(
        (
            PROTOCOL_VERSION.to_bytes(2, "little"),
            PEERS.epoch_id,
            (2).to_bytes(2, "little"),
            (8).to_bytes(8, "little"),
            (10**18).to_bytes(8, "little"),
            (5).to_bytes(8, "little"),
            merkle_root([b"tx"]),
            (6).to_bytes(4, "little"),
            (1).to_bytes(2, "little"),
            (1).to_bytes(2, "little"),
            (3).to_bytes(2, "little") + (7).to_bytes(8, "little") + bytes([9]) * 32,
            (4).to_bytes(2, "little") + (4).to_bytes(4, "little") + b"body",
        )
    )
    assert join(header, SIGNATURE, [b"tx"]) == b"\x10" + header + SIGNATURE + b"\x02\x00\x00\x00tx"


# -- damage -----------------------------------------------------------------------------------------


@each_frame
def test_every_truncation_is_refused(name: str) -> None:
    frame = FRAMES[name]
    assert not isinstance(PEERS.read(frame), Reject)
    for length in range(len(frame)):
        assert isinstance(PEERS.read(frame[:length]), Reject), length


@each_frame
def test_a_byte_more_is_refused(name: str) -> None:
    for more in (b"\x00", b"\xff", bytes(8), bytes(32), bytes(42)):
        assert PEERS.read(FRAMES[name] + more) is Reject.TRAILING


@each_frame
def test_every_flipped_bit_is_refused_or_is_another_value(name: str) -> None:
    frame = FRAMES[name]
    for damaged in flips(frame):
        assert_canonical(damaged)
    if frame[0] == FrameType.EVENT:
        end = len(frame) - wire.payload_length(PEERS.decode(frame).transactions)
        for damaged in flips(frame[end:]):
            assert PEERS.read(frame[:end] + damaged) is Reject.PAYLOAD  # V6


def test_no_flipped_bit_of_an_event_is_signed() -> None:
    # V1, E2: everything is either under the signature or is the signature.
    frame = FRAMES["event with everything"]
    for damaged in itertools.islice(flips(frame), 0, None, 5):
        event = PEERS.read(damaged)
        if isinstance(event, Event):
            assert PEERS.check(event) is not None


@settings(examples, max_examples=500)
@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda body: b"\x10" + body)))
def test_no_bytes_raise(data):
    assert_canonical(data)
    for type in FrameType:
        assert_canonical(bytes((type,)) + data)
    wire.decode_header(data, PEERS.epoch_id)
    wire.decode_evidence(data)
    assert verify.check_evidence(data, PEERS.committee) is None


@settings(examples, max_examples=500)
@given(frames, st.integers(0, 400), st.integers(0, 60), st.binary(max_size=60))
def test_no_spliced_frame_raises(frame, at, drop, put):
    assert_canonical(frame[:at] + put + frame[at + drop :])


def test_no_random_event_raises(seed: int) -> None:
    # Random counts and lengths behind a right version and epoch, which hypothesis rarely gets past.
    rng = random.Random(seed)
    start = struct.pack("<H32s", PROTOCOL_VERSION, PEERS.epoch_id)
    for _ in range(3000):
        counts = struct.pack("<IHH", rng.choice((0, 4, 9, 2**32 - 1)), rng.randint(0, 3), rng.randint(0, 70))
        fixed = start + rng.randbytes(2 + 7) + b"\x00" + rng.randbytes(8 + 8 + 32) + counts
        body = rng.randbytes(rng.randint(0, 200)) if rng.random() < 0.5 else bytes(rng.randint(0, 600))
        assert_canonical(b"\x10" + fixed + body)


# -- what a decoder refuses, by its code ------------------------------------------------------------


def refusal(**changes: object) -> object:
    """What decoding says of an event whose header differs from a valid one in these raw fields."""
    fields = {
        "version": PROTOCOL_VERSION,
        "epoch": PEERS.epoch_id,
        "creator": 0,
        "round": 1,
        "created_at": 1,
        "salt": 1,
        "root": merkle_root([b"tx"]),
        "length": 6,
        "parents": 0,
        "items": 0,
    } | changes
    header = struct.pack("<H32sHQQQ32sIHH", *fields.values())
    return PEERS.decode(join(header, SIGNATURE, [b"tx"]))


def test_a_valid_header_is_taken() -> None:
    assert isinstance(refusal(), Event)
    assert isinstance(refusal(round=wire.MAX_ROUND), Event)


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        (Reject.VERSION, {"version": PROTOCOL_VERSION + 1}),  # V1
        (Reject.VERSION, {"version": 0}),
        (Reject.EPOCH, {"epoch": bytes(32)}),  # V1
        (Reject.ROUND, {"round": 0}),
        (Reject.ROUND, {"round": wire.MAX_ROUND + 1}),
        (Reject.ROUND, {"round": 2**64 - 1}),
        (Reject.TIME, {"created_at": 2**62 + 1}),
        (Reject.TIME, {"created_at": 2**64 - 1}),
        (Reject.LIMIT, {"length": PEERS.network.max_payload_bytes + 1}),
        (Reject.LIMIT, {"items": MAX_ITEMS + 1}),
        (Reject.PAYLOAD, {"root": bytes(32)}),  # V6
        (Reject.PAYLOAD, {"root": merkle_root([b"another"])}),
        (Reject.TRUNCATED, {"length": 7}),
        (Reject.TRAILING, {"length": 5}),
        (Reject.TRUNCATED, {"parents": 2}),
        (Reject.TRUNCATED, {"parents": 128}),
        (Reject.LIMIT, {"parents": 129}),
        (Reject.LIMIT, {"parents": 2**16 - 1}),
        (Reject.TRUNCATED, {"length": 100}),
    ],
)
def test_a_wrong_field_is_refused(code: Reject, changes: dict[str, object]) -> None:
    assert refusal(**changes) is code


@pytest.mark.parametrize("payload", [[b"abcdefgh"], [b"ab", b"cd", b""], [b"", b"cdefgh"], [b"abcd", b"\0"]])
def test_transactions_divided_otherwise_are_refused(payload: list[bytes]) -> None:
    # V6, E3: the root fixes where each transaction ends.
    header = PEERS.header(0, 1, transactions=[b"ab", b"cd"])
    frame = join(header, SIGNATURE, payload)
    assert isinstance(PEERS.decode(frame), Reject)


@pytest.mark.parametrize("body", [b"\x03\0\0\0ab" + b"\0" * 2, b"\x00" * 7, b"\xff" * 8, b"\x01\0\0\0a\0\0\0"])
def test_a_payload_whose_lengths_do_not_fit_is_refused(body: bytes) -> None:
    header = struct.pack("<H32sHQQQ32sIHH", PROTOCOL_VERSION, PEERS.epoch_id, 0, 1, 1, 1, bytes(32), len(body), 0, 0)
    assert PEERS.decode(b"\x10" + header + SIGNATURE + body) is Reject.PAYLOAD


def test_items_up_to_their_limits() -> None:
    most = [Item(7, b"")] * (MAX_ITEMS - 1) + [Item(7, bytes(MAX_ITEM_BYTES))]
    event = PEERS.event(0, 1, items=most)
    assert list(event.items) == most
    more = [Item(7, b"x"), *most[1:]]
    assert PEERS.decode(PEERS.frame(0, 1, items=more)) is Reject.LIMIT
    assert PEERS.decode(PEERS.frame(0, 1, items=[*most, Item(7, b"")])) is Reject.LIMIT


def test_a_payload_up_to_its_limit() -> None:
    largest = bytes(PEERS.network.max_transaction_bytes)
    assert PEERS.event(0, 1, transactions=[largest]).transactions == (largest,)
    assert PEERS.decode(PEERS.frame(0, 1, transactions=[largest + b"x"])) is Reject.LIMIT
    assert PEERS.decode(PEERS.frame(0, 1, transactions=[largest, b""])) is Reject.LIMIT
    many = [b""] * (PEERS.network.max_payload_bytes // 4)
    assert len(PEERS.event(0, 1, transactions=many).transactions) == len(many)


def test_unknown_items_are_kept() -> None:
    # E5
    assert PEERS.event(0, 1, items=[Item(65535, b"later")]).items == (Item(65535, b"later"),)


def test_requests_up_to_their_limit() -> None:
    digests = [blake3(bytes((number % 256, number // 256))) for number in range(wire.MAX_REQUEST)]
    frame = wire.encode_request(digests)
    assert wire.decode_request(frame) == digests
    more = struct.pack("<BH", FrameType.REQUEST, wire.MAX_REQUEST + 1) + b"".join(digests) + bytes(32)
    assert wire.decode_request(more) is Reject.LIMIT
    assert wire.decode_request(struct.pack("<BH", FrameType.REQUEST, 0)) is Reject.LIMIT
    for wrong in ([], [*digests, bytes(32)]):
        with pytest.raises(AssertionError):
            wire.encode_request(wrong)


def test_a_frontier_of_another_size_is_refused() -> None:
    frame = wire.encode_frontier(FrameType.FRONTIER, [1, 2, 3, 4])
    assert wire.decode_frontier(frame, 5) is Reject.TRUNCATED
    assert wire.decode_frontier(frame, 3) is Reject.TRAILING


def test_the_key_of_an_event_is_found_where_its_header_is_whole() -> None:
    event = PEERS.event(1, 3, items=[Item(1, b""), Item(2, b"xyz")], transactions=[b"one"])
    frame = wire.encode_event(event)
    key = PEERS.epoch_id, 3, event.digest
    assert wire.event_key(frame) == key
    end = 1 + len(event.header)
    assert wire.event_key(frame[:end]) == key
    for length in range(end):
        assert wire.event_key(frame[:length]) is None


def test_a_header_alone_ends_where_it_ends() -> None:
    header = PEERS.header(1, 3, items=[Item(1, b"x")])
    assert wire.decode_header(header, PEERS.epoch_id) == (1, 3)
    assert wire.decode_header(header + b"\0", PEERS.epoch_id) is Reject.TRAILING
    assert wire.decode_header(header, bytes(32)) is Reject.EPOCH
    for length in range(len(header)):
        assert isinstance(wire.decode_header(header[:length], PEERS.epoch_id), Reject)


@pytest.mark.parametrize("n", [1, 4, MAX_PEERS])
def test_the_longest_frame_is_as_long_as_said(n: int) -> None:
    # T2
    network = Network(max_payload_bytes=1024)
    items = [Item(7, b"")] * (MAX_ITEMS - 1) + [Item(7, bytes(MAX_ITEM_BYTES))]
    parents = [Parent(creator, 1, bytes(32)) for creator in range(n)]
    payload = [bytes(network.max_transaction_bytes)]
    header = wire.encode_header(bytes(32), 0, 2, 1, 1, parents, items, payload)
    frame = join(header, SIGNATURE, payload)
    assert isinstance(wire.decode_event(frame, bytes(32), network), Event)
    longest = wire.max_frame_bytes(n, network)
    assert len(frame) == longest
    assert len(wire.encode_request([bytes(32)] * wire.MAX_REQUEST)) <= longest
    assert len(wire.encode_frontier(FrameType.PULL, [0] * n)) <= longest
    assert wire.max_frame_bytes(n, Network(max_payload_bytes=MAX_PAYLOAD_BYTES)) > MAX_PAYLOAD_BYTES


# -- evidence (E5) ----------------------------------------------------------------------------------


def test_evidence_holds_both_headers_in_digest_order() -> None:
    one, two = sorted((PEERS.event(0, 1), PEERS.event(0, 1)), key=lambda event: event.digest)
    pairs = [(one.header, one.signature), (two.header, two.signature)]
    assert wire.decode_evidence(wire.encode_evidence(one, two)) == pairs
    assert wire.encode_evidence(one, two) == wire.encode_evidence(two, one)


def test_evidence_that_is_cut_or_goes_on_is_refused() -> None:
    body = wire.encode_evidence(PEERS.event(0, 1), PEERS.event(0, 1))
    for length in range(len(body)):
        assert wire.decode_evidence(body[:length]) is Reject.TRUNCATED
    assert wire.decode_evidence(body + b"\0") is Reject.TRAILING
