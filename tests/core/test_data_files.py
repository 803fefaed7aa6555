"""What both cores are tested with as data: keys, signatures, trees, frames, events, items, records, rosters, waits.

Here the plain-Python core reads it; `rust/core/tests/data_files.rs` reads the same files.
`cd tests && python -m core.test_data_files` writes them anew.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from syncpoint.core import crypto, epoch, items, journal, verify, wire
from syncpoint.core.change import MAX_CONTACT_BYTES, Add, Configure, Remove, Rotate, decode_change, encode_change
from syncpoint.core.committee import Committee
from syncpoint.core.config import (
    MAX_ITEM_BYTES,
    MAX_ITEMS,
    MAX_PEERS,
    MAX_TRANSACTIONS,
    PROTOCOL_VERSION,
    SIGNATURES,
    Member,
    Network,
)
from syncpoint.core.error import Reject
from syncpoint.core.roster import Roster, Seat
from syncpoint.core.timer import Advance, Timer
from syncpoint.core.values import Event, Item, Parent, SyncPoint
from syncpoint.core.wire import FrameType

from . import ed25519_reference as reference
from .build import Graph, Peers, parent_of
from .test_crypto import CANONICAL_TORSION, KINDS, NON_CANONICAL_TORSION, RFC_8032, SIGN, flip, pattern, vector

ROOT = Path(__file__).parents[1] / "data"
SEED = 20240229  # of everything random in the files

Json = dict[str, Any]


def squeeze(data: bytes) -> str:
    """Hex, long runs shortened: `ab*3` is the byte three times; pieces stand one after the other."""
    pieces, at = [], 0
    for run in re.finditer(rb"(.)\1{31,}", data, re.DOTALL):
        pieces += [data[at : run.start()].hex(), f"{run[1].hex()}*{len(run[0])}"]
        at = run.end()
    return " ".join(filter(None, [*pieces, data[at:].hex()]))


def expand(text: str) -> bytes:
    """The bytes of a squeezed text."""
    pieces = (piece.partition("*") for piece in text.split())
    return b"".join(bytes.fromhex(data) * int(times or 1) for data, _, times in pieces)


# -- keys and signatures (SP 1, SP 2) ---------------------------------------------------------------


def make_keys() -> Json:
    """Every way for 32 bytes to be no key, and some keys."""
    rng = random.Random(SEED)
    honest = [crypto.derive(rng.randbytes(32)) for _ in range(20)]
    points = [point for each in honest[:4] if (point := reference.decode(each)) is not None]
    kinds: dict[str, Iterable[bytes]] = {
        "honest": honest,
        "small order": CANONICAL_TORSION + NON_CANONICAL_TORSION,
        "mixed order": [
            reference.encode(reference.add(point, torsion))
            for point, torsion in itertools.product(points, reference.TORSION[1:])
        ],
        "y not below p": [(y | sign).to_bytes(32, "little") for y in range(reference.P, 2**255) for sign in (0, SIGN)],
        "flipped": [flip(rng.choice(honest), rng.randrange(256)) for _ in range(40)],
        "random": [rng.randbytes(32) for _ in range(40)],
        "wrong length": [(honest[0] * 2)[:length] for length in (0, 1, 31, 33, 64)],
    }
    keys = []
    for kind, publics in kinds.items():
        for public in publics:
            admitted = reference.admit(public)
            assert crypto.admit(public) is admitted
            keys.append({"kind": kind, "public": public.hex(), "admitted": admitted})
    signers = [{"seed": seed, "public": public, "message": text, "signature": s} for seed, public, text, s in RFC_8032]
    for _ in range(10):
        seed, message = rng.randbytes(32), rng.randbytes(rng.randrange(200))
        signer = crypto.Signer(seed)
        signature = signer.sign(message)
        signers.append(
            {"seed": seed.hex(), "public": signer.public.hex(), "message": message.hex(), "signature": signature.hex()}
        )
    return {"signers": signers, "keys": keys, "records": list(make_records(rng))}


def make_records(rng: random.Random) -> Iterator[Json]:
    signer = crypto.Signer(rng.randbytes(32))
    record, other = crypto.peer_record(signer), crypto.peer_record(crypto.Signer(rng.randbytes(32)))
    mixed = reference.encode(reference.add(reference.decode(signer.public) or reference.BASE, reference.TORSION[4]))
    records = [
        record,
        other,
        other[:32] + record[32:],
        signer.public + signer.sign(signer.public),
        mixed + crypto.Signer(rng.randbytes(32)).sign(crypto.DOMAIN_PEER + mixed),
        *((record * 2)[:length] for length in (0, 32, 64, 95, 97, 192)),
        *(flip(record, rng.randrange(96 * 8)) for _ in range(30)),
    ]
    for each in records:
        public = crypto.check_peer_record(each)
        yield {"record": each.hex(), "public": public and public.hex()}


def make_signatures() -> Json:
    """Some of every kind of signature that a liar may try with an admitted key."""
    rng = random.Random(SEED)
    keys = [(reference.secret_scalar(seed), crypto.Signer(seed)) for seed in map(rng.randbytes, [32] * 8)]
    counts, signatures = dict.fromkeys(KINDS, 0), []
    while min(counts.values()) < 40:
        scalar, signer = rng.choice(keys)
        kind, message, signature = vector(rng, scalar, signer)
        if counts[kind] == 40:
            continue
        counts[kind] += 1
        valid = reference.verify(signer.public, message, signature)
        assert crypto.verify(signer.public, message, signature) is valid
        fields = {"public": signer.public, "message": message, "signature": signature}
        signatures.append({"kind": kind, **{name: each.hex() for name, each in fields.items()}, "valid": valid})
    return {"signatures": signatures}


def test_keys(keys: Json) -> None:
    for each in keys["keys"]:
        assert crypto.admit(bytes.fromhex(each["public"])) is each["admitted"], each
    for each in keys["signers"]:
        signer = crypto.Signer(bytes.fromhex(each["seed"]))
        assert signer.public.hex() == crypto.derive(bytes.fromhex(each["seed"])).hex() == each["public"]
        assert signer.sign(bytes.fromhex(each["message"])).hex() == each["signature"]
    for each in keys["records"]:
        public = crypto.check_peer_record(bytes.fromhex(each["record"]))
        assert (public and public.hex()) == each["public"], each


def test_signatures(signatures: Json) -> None:
    for each in signatures["signatures"]:
        public, message, signature = (bytes.fromhex(each[name]) for name in ("public", "message", "signature"))
        assert crypto.admit(public)
        assert crypto.verify(public, message, signature) is each["valid"], each
    assert {each["kind"] for each in signatures["signatures"] if each["valid"]} == {"honest", "own nonce"}


def make_simulated() -> Json:
    """What stands for signatures in simulations, and what either scheme says of either's."""
    rng = random.Random(SEED)
    seeds = sorted(map(rng.randbytes, [32] * 3), key=crypto.derive)
    real, simulated = ([crypto.Signer(seed, scheme) for seed in seeds] for scheme in SIGNATURES)
    signers, judged = [], []
    # Up to a block of 1024 bytes is hashed in another way than more, and 55 bytes are before the message.
    for length in (0, 1, 50, 200, 968, 969, 970, 1024, 5000):
        creator, message = rng.randrange(3), rng.randbytes(length)
        expected = b"".join(
            crypto.blake3(b"syncpoint/simulated/v1" + half + simulated[creator].public + message)
            for half in (b"\x00", b"\x01")
        )
        assert simulated[creator].sign(message) == expected
        signers.append({"creator": creator, "message": message.hex(), "signature": expected.hex()})
    for creator in range(3):
        message = crypto.DOMAIN_EVENT + rng.randbytes(32)
        made = {"ed25519": real[creator].sign(message), "simulated": simulated[creator].sign(message)}
        for scheme in SIGNATURES:
            right, (other,) = made[scheme], (made[each] for each in SIGNATURES if each != scheme)
            tries = {
                "right": right,
                "of the other scheme": other,
                "halves swapped": right[32:] + right[:32],
                "half the other's": right[:32] + other[32:],
                "flipped": flip(right, rng.randrange(512)),
                "nothing": b"",
                "cut": right[:63],
                "longer": right + b"\0",
            }
            judged += [(scheme, creator, message, kind, signature) for kind, signature in tries.items()]
            judged.append((scheme, (creator + 1) % 3, message, "another's", right))
            judged.append((scheme, creator, flip(message, rng.randrange(400)), "of another message", right))
    return {
        "seeds": [seed.hex() for seed in seeds],
        "signers": signers,
        "judged": [
            {
                "signatures": scheme, "creator": creator, "message": message.hex(), "signature": signature.hex(),
                "kind": kind, "valid": kind == "right",
            }
            for scheme, creator, message, kind, signature in judged
        ],
    }  # fmt: skip


def test_simulated_signatures(simulated: Json) -> None:
    seeds = [bytes.fromhex(seed) for seed in simulated["seeds"]]
    publics = [crypto.derive(seed) for seed in seeds]
    for each in simulated["signers"]:
        creator, message = each["creator"], bytes.fromhex(each["message"])
        signer = crypto.Signer(seeds[creator], "simulated")
        assert signer.public == publics[creator], "the keys are the real ones"
        assert signer.sign(message).hex() == each["signature"]
        assert crypto.simulated_signature(publics[creator], message).hex() == each["signature"]
    committees = {name: Committee.genesis(Network(), [*map(Member, publics)], name) for name in SIGNATURES}
    assert len({committee.epoch_id for committee in committees.values()}) == 1
    for each in simulated["judged"]:
        message, signature = bytes.fromhex(each["message"]), bytes.fromhex(each["signature"])
        assert committees[each["signatures"]].verify(each["creator"], message, signature) is each["valid"], each


# -- hashes and trees (E3) --------------------------------------------------------------------------


def leaves_of(tree: Json) -> list[bytes]:
    """So many leaves: `transaction 0` and on, the first of them longer."""
    leaves = [b"transaction %d" % number for number in range(tree["leaves"])]
    return [pattern(tree["first"]), *leaves[1:]] if tree["first"] else leaves


def make_trees() -> Json:
    rng = random.Random(SEED)
    hashes = [[length, crypto.blake3(pattern(length)).hex()] for length in (0, 1, 64, 65, 1023, 1024, 1025, 31744)]
    trees, proofs = [], []
    sizes = [(count, 0) for count in [*range(18), 31, 32, 33, 100, 1000, 4097]]
    for count, first in [*sizes, *((3, first) for first in (1022, 1023, 1024, 1025, 5000))]:
        tree: Json = {"leaves": count, "first": first}
        leaves = leaves_of(tree)
        tree["root"] = crypto.merkle_root(leaves).hex()
        tree["paths"] = {}
        for index in sorted({0, count // 2, count - 1} & set(range(count))):
            path = crypto.merkle_path(leaves, index)
            tree["paths"][index] = [each.hex() for each in path]
            if count < 20 and not first:
                proofs += list(make_proofs(rng, leaves, index, path))
        trees.append(tree)
    return {"hashes": hashes, "trees": trees, "proofs": proofs}


def make_proofs(rng: random.Random, leaves: list[bytes], index: int, path: tuple[bytes, ...]) -> Iterator[Json]:
    """The proof of a leaf, and what is none."""
    root, count = crypto.merkle_root(leaves), len(leaves)
    tries = [
        (root, leaves[index], index, count, path),
        (root, leaves[index], rng.randrange(count + 1), count, path),
        (root, leaves[index], index, rng.choice([0, count + 1, 2 * count, 2**63, 2**64 - 1]), path),
        (root, leaves[index], rng.choice([count, 2**64 - 1]), count, path),
        (root, leaves[index], index, count, path[:-1]),
        (root, leaves[index], index, count, (*path, root)),
        (root, leaves[index] + b"!", index, count, path),
        (bytes(32), leaves[index], index, count, path),
    ]
    for root, leaf, index, count, path in tries:
        holds = crypto.merkle_check(root, leaf, index, count, path)
        hexes = [each.hex() for each in path]
        # Numbers of 64 bits are strings: not every JSON reader keeps them.
        yield {
            "root": root.hex(), "leaf": leaf.hex(), "index": str(index), "count": str(count), "path": hexes,
            "holds": holds,
        }  # fmt: skip


def test_trees(trees: Json) -> None:
    for length, digest in trees["hashes"]:
        assert crypto.blake3(pattern(length)).hex() == digest
    for tree in trees["trees"]:
        leaves = leaves_of(tree)
        assert crypto.merkle_root(leaves).hex() == tree["root"]
        for index, path in tree["paths"].items():
            assert [each.hex() for each in crypto.merkle_path(leaves, int(index))] == path
    for each in trees["proofs"]:
        root, leaf, path = bytes.fromhex(each["root"]), bytes.fromhex(each["leaf"]), each["path"]
        path = [bytes.fromhex(step) for step in path]
        assert crypto.merkle_check(root, leaf, int(each["index"]), int(each["count"]), path) is each["holds"], each


# -- frames (E4) ------------------------------------------------------------------------------------

PEERS = Peers(4, max_payload_bytes=128 * 1024)
FIXED = struct.Struct("<H32sHQQQ32sIHH")
SIGNATURE = bytes(range(64))
PAYLOAD = b"\x02\0\0\0tx"


def broken(faults: Json) -> bytes:
    """An EVENT frame that is valid but for these raw fields."""
    raw: Json = {"parents_and_items": b"", "signature": SIGNATURE, "payload": PAYLOAD}
    raw |= {name: value for name, value in faults.items() if name in raw}
    fields = {
        "version": PROTOCOL_VERSION,
        "epoch": PEERS.epoch_id,
        "creator": 0,
        "round": 1,
        "created_at": 1,
        "salt": 1,
        "root": crypto.merkle_root([b"tx"]),
        "length": len(raw["payload"]),
        "parent_count": 0,
        "item_count": 0,
    }
    fields |= {name: value for name, value in faults.items() if name in fields}
    assert set(faults) <= {*raw, *fields}
    return b"\x10" + FIXED.pack(*fields.values()) + b"".join(raw.values())


MANY = [b""] * MAX_TRANSACTIONS
ITEM = struct.pack("<HI", 7, 3) + b"abc"
FAULTS: dict[str, Json] = {
    "another version": {"version": PROTOCOL_VERSION + 1},
    "version 0": {"version": 0},
    "another epoch": {"epoch": bytes(32)},
    "round 0": {"round": 0},
    "a round too high": {"round": 2**62 + 1},
    "the highest round that there is": {"round": 2**64 - 1},
    "a time too high": {"created_at": 2**62 + 1},
    "the highest time that there is": {"created_at": 2**64 - 1},
    "too many parents": {"parent_count": MAX_PEERS + 1},
    "the most parents that there are": {"parent_count": 2**16 - 1},
    "parents that are not there": {"parent_count": 5},
    "too many items": {"item_count": MAX_ITEMS + 1},
    "an item that is not there": {"item_count": 1, "signature": b"", "payload": b"", "parents_and_items": ITEM[:5]},
    "an item without its end": {"item_count": 1, "parents_and_items": ITEM[:2] + b"\xff\xff\0\0"},
    "an item too long": {"item_count": 1, "parents_and_items": ITEM[:2] + struct.pack("<I", MAX_ITEM_BYTES + 1)},
    "items too long together": {
        "item_count": 2,
        "parents_and_items": ITEM + ITEM[:2] + struct.pack("<I", MAX_ITEM_BYTES - 2),
    },
    "the longest item that there is": {"item_count": 1, "parents_and_items": ITEM[:2] + b"\xff" * 4},
    "a payload too long": {"length": PEERS.network.max_payload_bytes + 1},
    "the longest payload that there is": {"length": 2**32 - 1},
    "a payload without its end": {"length": len(PAYLOAD) + 1},
    "more than its payload": {"length": len(PAYLOAD) - 1},
    "no signature": {"signature": b"", "payload": b""},
    "another root": {"root": bytes(32)},
    "a transaction without its end": {"payload": b"\x03\0\0\0tx"},
    "a transaction without its length": {"payload": b"\x02\0\0\0tx\0\0\0"},
    "the longest transaction that there is": {"payload": b"\xff\xff\xff\xfftx"},
    "a transaction more": {"payload": PAYLOAD + bytes(4)},
    "too many transactions": {"payload": bytes(4 * MAX_TRANSACTIONS + 4)},
}
TAKEN: dict[str, Json] = {
    "nothing wrong": {},
    "the highest round": {"round": 2**62, "created_at": 2**62},
    "any creator": {"creator": 2**16 - 1},
    "any parents": {"parent_count": 2, "parents_and_items": bytes(84)},
    "the most parents": {"parent_count": MAX_PEERS, "parents_and_items": b"\xff" * 42 * MAX_PEERS},
    "an item": {"item_count": 1, "parents_and_items": ITEM},
    "the longest item": {
        "item_count": 1,
        "parents_and_items": ITEM[:2] + struct.pack("<I", MAX_ITEM_BYTES) + bytes(MAX_ITEM_BYTES),
    },
    "the most items": {"item_count": MAX_ITEMS, "parents_and_items": bytes(6 * MAX_ITEMS)},
    "no payload": {"payload": b"", "root": bytes(32)},
    "the most transactions": {"payload": bytes(4 * MAX_TRANSACTIONS), "root": crypto.merkle_root(MANY)},
}


def code_of(value: object) -> int:
    """The number of a refusal, 0 for a value."""
    return int(value) if isinstance(value, Reject) else 0


def make_malformed() -> Json:
    """Frames of every kind with every fault, and with any two: which one is found first matters as well."""
    frames = {name: broken(faults) for name, faults in {**FAULTS, **TAKEN}.items()}
    for (one, first), (two, second) in itertools.combinations(FAULTS.items(), 2):
        if not set(first) & set(second):
            frames[f"{one}, {two}"] = broken(first | second)
    valid = frames["an item"]
    for length in (1, 2, 100, 101, 109, 110, 111, 173, 174, 175, 178, 179):
        frames[f"an event cut to {length}"] = valid[:length]
    frames["an event and a byte"] = valid + b"\0"
    request = wire.encode_request([crypto.blake3(b"1"), crypto.blake3(b"2")])
    most = struct.pack("<BH", FrameType.REQUEST, wire.MAX_REQUEST) + bytes(32 * wire.MAX_REQUEST)
    above = struct.pack("<BH", FrameType.REQUEST, wire.MAX_REQUEST + 1) + bytes(32 * (wire.MAX_REQUEST + 1))
    frames |= {"a request": request, "the longest request": most, "too long a request": above}
    frames |= {f"a request cut to {length}": request[:length] for length in (1, 2, 3, 34, 35, 66)}
    frames |= {
        "a request and a byte": request + b"\0",
        "a request for nothing": b"\x11\0\0",
        "a request for too much": b"\x11\xff\xff",
    }
    for type in (FrameType.FRONTIER, FrameType.PULL):
        frontier = wire.encode_frontier(type, [1, 2**62, 2**64 - 1, 0])
        frames |= {f"a {type.name}": frontier, f"a {type.name} and a byte": frontier + b"\0"}
        frames |= {f"a {type.name} cut to {length}": frontier[:length] for length in (1, 8, 9, 32)}
    frames |= {f"type {type}": bytes((type,)) + bytes(40) for type in (0, 1, 2, 3, 15, 20, 255)}
    frames["nothing"] = b""
    header = PEERS.header(1, 3, [Parent(2, 1, SIGNATURE[:32])], items=[Item(9, b"abc")], salt=1)
    headers = [header, header + b"\0", bytes(2) + header[2:], header[:2] + bytes(32) + header[34:], b""]
    headers += [header[:length] for length in (99, 100, 141, 142, 147, 148, 150)]
    headers += [frame[1:101] for frame in (broken(FAULTS["round 0"]), broken(FAULTS["a time too high"]))]
    return {
        "epoch_id": PEERS.epoch_id.hex(),
        "n": PEERS.committee.n,
        "max_payload_bytes": PEERS.network.max_payload_bytes,
        "frames": [[name, squeeze(frame), code_of(PEERS.read(frame))] for name, frame in frames.items()],
        "headers": [[squeeze(each), code_of(wire.decode_header(each, PEERS.epoch_id))] for each in headers],
        "evidence": list(make_evidence()),
        "members": [member.public.hex() for member in PEERS.committee.members],
    }


def make_evidence() -> Iterator[Json]:
    """Bodies of evidence, what decoding them says, and whom they convict."""
    one, two = sorted((PEERS.event(2, 1, salt=salt) for salt in (1, 2)), key=lambda event: event.digest)
    body, half = wire.encode_evidence(one, two), len(wire.encode_evidence(one, two)) // 2
    other = PEERS.event(2, 2, [Parent(creator, 1, one.digest) for creator in range(4)], salt=3)
    alien = PEERS.event(1, 1, salt=3)
    forged = PEERS.event(2, 1, salt=5, signer=1)
    nobody = [PEERS.decode(PEERS.frame(9, 1, salt=salt, signer=2)) for salt in (1, 2)]
    far = PEERS.header(2, 1, salt=1, epoch_id=bytes(32))
    bodies = [
        body,
        body[half:] + body[:half],
        body[:half] * 2,
        wire.encode_evidence(one, other),
        wire.encode_evidence(one, alien),
        wire.encode_evidence(one, forged),
        wire.encode_evidence(*[event for event in nobody if isinstance(event, Event)]),
        struct.pack("<I", len(far)) + far + SIGNATURE + body[half:],
        *(body[:length] for length in (0, 3, 4, 103, 104, 167, 168, 171, 172, len(body) - 1)),
        body + b"\0",
        b"\xff" * 4 + body[4:],
        *(flip(body, bit) for bit in range(3, len(body) * 8, 97)),
    ]
    for each in bodies:
        proved = verify.check_evidence(each, PEERS.committee)
        yield {"body": each.hex(), "code": code_of(wire.decode_evidence(each)), "proves": proved}


def test_malformed_frames(malformed: Json) -> None:
    assert malformed["epoch_id"] == PEERS.epoch_id.hex()
    assert malformed["max_payload_bytes"] == PEERS.network.max_payload_bytes
    codes = set()
    for name, frame, code in malformed["frames"]:
        assert code_of(PEERS.read(expand(frame))) == code, name
        codes.add(code)
    assert codes == {0, *map(int, (*FRAME_CODES, *EVENT_CODES))}, "every code that a decoder can give, and success"
    for header, code in malformed["headers"]:
        assert code_of(wire.decode_header(expand(header), PEERS.epoch_id)) == code, header
    for each in malformed["evidence"]:
        body = bytes.fromhex(each["body"])
        assert code_of(wire.decode_evidence(body)) == each["code"], each
        assert verify.check_evidence(body, PEERS.committee) == each["proves"], each


FRAME_CODES = (Reject.FRAME_EMPTY, Reject.FRAME_TYPE, Reject.TRUNCATED, Reject.TRAILING, Reject.LIMIT)
EVENT_CODES = (Reject.VERSION, Reject.EPOCH, Reject.ROUND, Reject.TIME, Reject.PAYLOAD)


# -- events and their ancestors (V1 to V8) ----------------------------------------------------------

GC_DEPTH = 6


def make_events() -> Json:
    """Histories with liars in them, event by event: its code, and whether it entered the DAG."""
    rng = random.Random(SEED)
    random_ones = [make_history(rng, n, liars) for n, liars in ((4, 1), (4, 2), (7, 3), (1, 1), (10, 3))]
    return {"histories": [make_history_with_weak_links(), *random_ones]}


def make_history_with_weak_links() -> Json:
    """Creator 3 leaves out its latest event, which only weak parents of others' events know (V4)."""
    peers = Peers(4, "history", gc_depth=GC_DEPTH)
    graph, steps = Graph(peers), []

    def add(creator: int, round: int, parents: list[Event]) -> Event:
        frame = peers.frame(creator, round, sorted(parents, key=lambda event: event.creator))
        steps.append({"frame": squeeze(frame), **judge(graph, frame)})
        event = peers.decode(frame)
        assert isinstance(event, Event)
        return event

    first = [add(creator, 1, []) for creator in range(4)]
    second = [add(creator, 2, first) for creator in range(3)]
    third = [add(creator, 3, second) for creator in range(3)]
    late = add(3, 2, first)
    fourth = [add(creator, 4, [*third, late]) for creator in range(3)]
    fifth = [add(creator, 5, fourth) for creator in range(3)]
    for above in (fourth, fifth):
        for own in ([], [first[3]], [late]):
            add(3, above[0].round + 1, [*above, *own])
    assert [step.get("ancestors") for step in steps[-6:]] == [Reject.SELF_PARENT, Reject.SELF_PARENT, None] * 2
    members = [each.hex() for each in publics(peers)]
    return {"n": 4, "seeds": "history", "members": members, "steps": steps}


def make_history(rng: random.Random, n: int, liars: int) -> Json:
    """Rounds in which some are missing, liars sign twice, and most events come after tries that are not valid."""
    peers = Peers(n, f"history {n}", gc_depth=GC_DEPTH)
    graph, steps = Graph(peers), []

    def attempt(frame: bytes) -> bool:
        verdict = judge(graph, frame)
        steps.append({"frame": squeeze(frame), **verdict})
        return not verdict

    for round in range(1, 15):
        missing = rng.sample(range(n), rng.randrange(peers.committee.f + 1))
        for creator in rng.sample(range(n), n):
            if creator in missing and round > 1:
                if round > 3 and not graph.dag.row(round - 2).creators >> creator & 1:
                    # It comes so late that only weak parents bring it into anyone's history.
                    attempt(peers.frame(creator, round - 2, some_parents(rng, graph, round - 2, plain=True)))
                continue
            first = peers.frame(creator, round, some_parents(rng, graph, round, plain=True))
            assert attempt(first), "every honest peer can go on"
            # What liars show some of their peers, and what breaks a rule, comes after what all have seen first.
            for _ in range(rng.choice([0, 0, 1, 2]) if creator < liars else 0):
                attempt(peers.frame(creator, round, some_parents(rng, graph, round), transactions=[b"x"]))
            if rng.random() < 0.6:
                attempt(an_odd_frame(rng, graph, creator, round))
    return {"n": n, "seeds": f"history {n}", "members": [each.hex() for each in publics(peers)], "steps": steps}


def publics(peers: Peers) -> list[bytes]:
    return [member.public for member in peers.committee.members]


def some_parents(rng: random.Random, graph: Graph, round: int, *, plain: bool = False) -> list[Parent]:
    """Of every creator the latest event that came first, or any of the latest, now and then an earlier one."""
    parents = []
    for other in range(graph.peers.committee.n):
        below = range(max(1, round - GC_DEPTH), round)
        known = [node.event for each in below for node in graph.dag.row(each).nodes if node.creator == other]
        latest = max((event.round for event in known), default=0)
        earlier = not plain and rng.random() < 0.03
        choice = [event for event in known if event.round == latest or earlier]
        if choice:
            parents.append(parent_of(choice[0] if plain else rng.choice(choice)))
    return parents


def an_odd_frame(rng: random.Random, graph: Graph, creator: int, round: int) -> bytes:
    """An event with something wrong in it, mostly."""
    n = graph.peers.committee.n
    parents, fields = some_parents(rng, graph, round, plain=rng.random() < 0.7), {}
    at = rng.randrange(len(parents)) if parents else 0
    odd = parents[at] if parents else Parent(0, 0, bytes(32))
    match rng.randrange(-2, 12):
        case -2 | -1 | 0:
            parents = [parent for parent in parents if parent.creator != creator]
        case 1:
            parents = parents[: n // 2]
        case 2:
            fields = {"created_at": rng.choice([0, 1000 * (round - 1), 1000 * (round - 1), 2**62])}
        case 3:
            fields = {"signer": rng.randrange(n)}
        case 4:
            creator, fields = n + rng.choice([0, 5000]), {"signer": creator}
        case 5:
            parents[at : at + 1] = [odd._replace(creator=rng.choice([n, 2**16 - 1, (odd.creator + 1) % n]))]
        case 6:
            parents[at : at + 1] = [odd._replace(round=rng.choice([0, max(odd.round, 1) - 1, round, 2**64 - 1]))]
        case 7:
            parents[at : at + 1] = [odd, odd] if parents else [odd]
        case 8:  # the right event under another's name
            parents[at : at + 1] = [odd._replace(digest=parents[at - 1].digest) for _ in parents[:1]]
        case 9:
            old = [
                node.event for node in graph.dag.row(max(1, round - GC_DEPTH - 1)).nodes if node.creator == odd.creator
            ]
            parents[at : at + 1] = [parent_of(event) for event in old[:1]]
        case 10:
            parents[at : at + 1] = [odd._replace(digest=bytes(32)) for _ in parents[:1]]
        case _:
            return flip(graph.peers.frame(creator, round, parents), 8 * rng.randrange(1, 165) + rng.randrange(8))
    return graph.peers.frame(creator, round, parents, **fields)


def judge(graph: Graph, frame: bytes) -> Json:
    """What is said of an event at each step, and its insertion if nothing is wrong with it."""
    peers, event = graph.peers, graph.peers.decode(frame)
    if isinstance(event, Reject):
        return {"decode": int(event)}
    alone = peers.check(event)
    if alone is not None:
        return {"alone": int(alone)}
    if any(graph.dag.get(parent.digest) is None for parent in event.parents):
        return {"missing": True}
    ancestors = graph.check_ancestors(event)
    if ancestors is not None:
        return {"ancestors": int(ancestors)}
    if event.digest not in graph.dag:
        graph.insert(event)
    return {}


def test_events(events: Json) -> None:
    codes = set()
    for history in events["histories"]:
        peers = Peers(history["n"], history["seeds"], gc_depth=GC_DEPTH)
        assert [each.hex() for each in publics(peers)] == history["members"]
        graph = Graph(peers)
        for number, step in enumerate(history["steps"]):
            verdict = judge(graph, expand(step["frame"]))
            assert verdict == {name: value for name, value in step.items() if name != "frame"}, number
            codes |= set(verdict.items())
    # The histories are worth something: each rule is broken somewhere, and each code comes from its place.
    alone = (Reject.CREATOR, Reject.SIGNATURE, Reject.NO_QUORUM, Reject.PARENT_ORDER, Reject.PARENT_ROUND)
    ancestors = (Reject.PARENT_MISMATCH, Reject.SELF_PARENT, Reject.TIME, Reject.EXPOSED_AUTHOR)
    assert {("alone", int(code)) for code in alone} | {("ancestors", int(code)) for code in ancestors} <= codes


# -- items (E5) --------------------------------------------------------------------------------------

LARGEST = 2**64 - 1


def make_items() -> Json:
    """Bodies of items, right ones and wrong ones, and what follows from the right ones."""
    rng = random.Random(SEED)
    proposals = [
        items.Proposal(kind, rng.choice((0, 7, LARGEST)), rng.choice((0, 1, LARGEST)), metadata)
        for kind in (0, 1, 8, 255)
        for metadata in (b"", b"why", bytes(items.MAX_METADATA_BYTES))
    ]
    right = [items.encode_proposal(each) for each in proposals]
    changes = make_changes()
    for kind, change in ((2, changes[0][1]), (3, "00" * items.MAX_CHANGE_BYTES), (4, "")):
        metadata = rng.choice((b"", b"why", bytes(items.MAX_METADATA_BYTES)))
        right.append(items.encode_proposal(items.Proposal(kind, 7, 1, metadata, bytes.fromhex(change))))
    short = right[1]  # with three bytes of metadata
    wrong = [right[-3][:length] for length in (17, 18, 19, 100)] + [
        right[-2][:17] + b"\1\2" + right[-2][19:] + bytes(9)
    ]
    wrong += [short[:length] for length in (0, 1, 9, 16)] + [right[2] + b"x", right[2] + bytes(2**16)]
    ids = [[creator, squeeze(body)] for body in (*right[:3], b"") for creator in (0, 1, 127, 2**16 - 1)]
    votes = [items.encode_vote(items.Vote(rng.randbytes(32), approves)) for approves in (True, False)]
    votes += [votes[0][:32], votes[0] + b"\1", votes[0][:32] + b"\2", votes[0][:32] + b"\xff", b""]
    checkpoints = [
        items.encode_checkpoint_vote(
            items.CheckpointVote(
                index, rng.randbytes(32), rng.choice((bytes(32), rng.randbytes(32))), rng.randbytes(64)
            )
        )
        for index in (0, 1, LARGEST)
    ]
    checkpoints += [checkpoints[0][:length] for length in (0, 7, 8, 135)] + [checkpoints[0] + b"\0"]
    points = [
        (kind, index, rng.randbytes(32), proposer, approvals, metadata)
        for kind, index, proposer, approvals, metadata in (
            (1, 1, 0, 7, b""), (6, 2**40, None, 0, b""), (255, LARGEST, 127, 2**128 - 1, b"metadata" * 1024),
        )
    ]  # fmt: skip
    return {
        "epoch_id": PEERS.epoch_id.hex(),
        "changes": changes,
        "proposals": [[squeeze(body), proposal_of(body)] for body in (*right, *wrong)],
        "ids": [
            [creator, body, items.proposal_id(PEERS.epoch_id, creator, expand(body)).hex()] for creator, body in ids
        ],
        "votes": [[body.hex(), vote_of(body)] for body in votes],
        "checkpoints": [[body.hex(), checkpoint_of(body)] for body in checkpoints],
        "sync_points": [
            [
                kind,
                str(index),
                id.hex(),
                proposer,
                hex(approvals),
                squeeze(metadata),
                digest_of(kind, index, id, proposer, approvals, metadata),
            ]
            for kind, index, id, proposer, approvals, metadata in points
        ],
    }


def make_changes() -> list[Json]:
    """Changes, right ones and wrong ones, by the kind of their sync point."""
    record = crypto.peer_record(crypto.Signer(bytes(range(32))))
    forged = record[:-1] + bytes((record[-1] ^ 1,))
    network = Network(name="another", rule="three_step", order="fast", f=1, gc_depth=7, epoch_ms=9)
    settings = network.encode()
    changes = [
        (2, encode_change(Add(record, 9, b"host:1"))), (2, encode_change(Add(record, 0, b"c" * MAX_CONTACT_BYTES))),
        (2, encode_change(Add(forged, 0, b""))), (2, encode_change(Add(record, 0, b"abc"))[:-1]), (2, b""), (2, b"\3"),
        (2, encode_change(Remove(record[:32]))), (2, encode_change(Remove(record[:32])) + b"x"), (1, b""),
        (3, encode_change(Rotate(record[:32], record))), (3, encode_change(Rotate(record[:32], forged))), (3, b"x"),
        (4, settings), (4, settings[:-1]), (4, settings + b"x"), (4, b""), (4, b"\xff\xff"),
        (4, settings[:9] + b"\2" + settings[10:]), (4, settings[:10] + b"\2" + settings[11:]),
        (4, settings[:13] + bytes(4) + settings[17:]), (4, settings[:2] + b"\xff" + settings[3:]), (5, settings),
    ]  # fmt: skip
    return [[kind, body.hex(), decode_change(kind, body) is not None] for kind, body in changes]


def proposal_of(body: bytes) -> Json | None:
    made = items.decode_proposal(body)
    if made is None:
        return None
    kind, deadline, salt, metadata, change = made
    said = {"kind": kind, "deadline": str(deadline), "salt": str(salt), "metadata": squeeze(metadata)}
    return said | {"change": change.hex()} if change else said


def vote_of(body: bytes) -> Json | None:
    made = items.decode_vote(body)
    return None if made is None else {"proposal": made.proposal.hex(), "approves": made.approves}


def checkpoint_of(body: bytes) -> Json | None:
    made = items.decode_checkpoint_vote(body)
    if made is None:
        return None
    message = items.checkpoint_message(PEERS.epoch_id, made.index, made.order_hash, made.state_hash)
    return {
        "index": str(made.index), "order_hash": made.order_hash.hex(), "state_hash": made.state_hash.hex(),
        "signature": made.signature.hex(), "message": message.hex(),
    }  # fmt: skip


def digest_of(*point: Any) -> str:
    return epoch.sync_point_digest(*point).hex()


def test_items(bodies: Json) -> None:
    assert bodies["epoch_id"] == PEERS.epoch_id.hex()
    for text, expected in bodies["proposals"]:
        body = expand(text)
        assert proposal_of(body) == expected, text
        made = items.decode_proposal(body)
        assert made is None or items.encode_proposal(made) == body
    for kind, text, holds in bodies["changes"]:
        change = decode_change(kind, bytes.fromhex(text))
        assert (change is not None) is holds, text
        assert change is None or encode_change(change).hex() == text
    for creator, text, id in bodies["ids"]:
        assert items.proposal_id(PEERS.epoch_id, creator, expand(text)).hex() == id
    assert len({id for *_, id in bodies["ids"]}) == len(bodies["ids"]), "no two have one id"
    for text, expected in bodies["votes"]:
        assert vote_of(bytes.fromhex(text)) == expected, text
        made_vote = items.decode_vote(bytes.fromhex(text))
        assert made_vote is None or items.encode_vote(made_vote).hex() == text
    for text, expected in bodies["checkpoints"]:
        assert checkpoint_of(bytes.fromhex(text)) == expected, text
        made_checkpoint = items.decode_checkpoint_vote(bytes.fromhex(text))
        assert made_checkpoint is None or items.encode_checkpoint_vote(made_checkpoint).hex() == text
    for kind, index, id, proposer, approvals, metadata, digest in bodies["sync_points"]:
        point = (kind, int(index), bytes.fromhex(id), proposer, int(approvals, 16), expand(metadata))
        assert digest_of(*point) == digest
    for kind in ("proposals", "votes", "checkpoints"):
        assert {expected is None for _, expected in bodies[kind]} == {True, False}, f"right and wrong {kind}"


# -- records (J1) -----------------------------------------------------------------------------------


def make_journal() -> Json:
    rng = random.Random(SEED)
    positions = [journal.Position(rng.randrange(2**64), rng.randrange(2**32)) for _ in range(3)]
    whole = journal.encode_own_event(b"a frame", positions)
    records = [
        journal.encode_own_event(b"", []), journal.encode_own_event(b"frame", []), whole,
        *(whole[:length] for length in (0, 1, 4, 5, 6, 40, 41)), b"\0" + whole[1:], b"\2" + whole[1:],
        b"\1\xff\xff\xff\xff", b"\1\xff\xff\xff\xff" + bytes(100),
    ]  # fmt: skip
    place = journal.encode_place(
        journal.Place(rng.randrange(2**64), rng.randrange(2**64), rng.randrange(2**64), whole[-32:])
    )
    records += [
        journal.encode_peer_event(b"a frame"), journal.encode_peer_event(b""), place, place[:-1], place + b"x",
        journal.encode_own_delivered(2**64 - 1), journal.encode_own_delivered(7)[:-1],
        journal.encode_own_delivered(7) + b"x", b"\xff" + whole[1:],
    ]  # fmt: skip
    points = [
        journal.StoredSyncPoint(kind, index, rng.randbytes(32), proposer, approvals, rng.randbytes(32), metadata, b"")
        for kind, index, proposer, approvals, metadata in (
            (6, 1, None, 0, b""), (7, 2**64 - 1, 2**16 - 2, 2**128 - 1, b"why"), (0, 0, 0, 5, b""),
        )
    ]  # fmt: skip
    records += [journal.encode_state(state) for state in (b"", b"the state")] + [encoded(point) for point in points]
    records += [encoded(points[0])[:-1], encoded(points[0])[:1]]
    changing = points[1]._replace(kind=2, change=rng.randbytes(33))
    records += [encoded(changing), encoded(changing)[:-4], encoded(changing)[:-40]]
    seats = (Seat(0, Member(rng.randbytes(32), 0)), Seat(7, Member(rng.randbytes(32), 9), b"host:1"))
    start = journal.EpochStart(
        3, rng.randbytes(32), 2**40, 2**60, rng.randbytes(32), Roster(Network(name="n", f=0), seats, MAX_PEERS - 1),
        (1, 2**40, 0), b"the state", b"the transition",
    )  # fmt: skip
    whole = encoded(start)
    records += [whole, whole[:-1], whole + b"x", *(whole[:length] for length in (1, 50, 90, 100, 140, 200))]
    said = [(record, journal.decode_record(record)) for record in records]
    return {"records": [[record.hex(), record_of(decoded)] for record, decoded in said]}


def record_of(record: journal.Record | None) -> Json:
    match record:
        case journal.OwnEvent(taken_over, frame):
            return {"taken_over": [[str(each.height), each.place] for each in taken_over], "frame": frame.hex()}
        case journal.PeerEvent(frame):
            return {"frame": frame.hex()}
        case journal.Place(round, index, consensus_at, order_hash):
            return {"place": [str(round), str(index), str(consensus_at), order_hash.hex()]}
        case journal.OwnDelivered(height):
            return {"delivered": str(height)}
        case journal.State(state):
            return {"state": state.hex()}
        case journal.StoredSyncPoint(kind, index, proposal, proposer, approvals, session_id, metadata, change):
            texts = [each.hex() for each in (proposal, session_id, metadata, *([change] if change else []))]
            return {"sync_point": [kind, str(index), proposer, hex(approvals), *texts]}
        case journal.EpochStart():
            return {"epoch": epoch_of(record)}
    return None


def epoch_of(start: journal.EpochStart) -> Json:
    """All that the record of an epoch's beginning says."""
    numbers = (start.number, start.next_index, start.consensus_at)
    return {
        "numbers": list(map(str, numbers)),
        "texts": [each.hex() for each in (start.epoch_id, start.order_hash, start.state, start.transition)],
        "network": start.roster.network.encode().hex(),
        "seats": [[seat.number, *said_of(seat.member), seat.contact.hex()] for seat in start.roster.seats],
        "last_number": start.roster.last_number,
        "reached": list(map(str, start.reached)),
    }


def said_of(member: Member) -> list[Any]:
    return [member.public.hex(), member.flags]


def encoded(record: journal.Record) -> bytes:
    match record:
        case journal.OwnEvent(taken_over, frame):
            return journal.encode_own_event(frame, taken_over)
        case journal.PeerEvent(frame):
            return journal.encode_peer_event(frame)
        case journal.Place():
            return journal.encode_place(record)
        case journal.OwnDelivered(height):
            return journal.encode_own_delivered(height)
        case journal.State(state):
            return journal.encode_state(state)
        case journal.EpochStart():
            return journal.encode_epoch_start(record)
        case journal.StoredSyncPoint(kind, index, proposal, proposer, approvals, session_id, metadata, change):
            nowhere = {"digest": bytes(32), "index": 0, "consensus_at": 0, "order_hash": bytes(32), "closed_by": 0}
            nowhere["change"] = change
            content = (kind, metadata, proposal, proposer, approvals, index, session_id)
            return journal.encode_sync_point(SyncPoint(*content, **nowhere))


def test_journal(records: Json) -> None:
    for text, expected in records["records"]:
        decoded = journal.decode_record(bytes.fromhex(text))
        assert record_of(decoded) == expected, text
        if decoded is not None:
            assert encoded(decoded).hex() == text


# -- members and their numbers (S4, S7) -------------------------------------------------------------

Wish = tuple[str, Any, int]  # a kind, whose key (one byte, 32 times) or which settings, and another key or flags


def make_rosters() -> Json:
    """Changes of members and settings, possible ones and others, and who has which number after them."""
    rng = random.Random(SEED)
    full: list[Wish] = [("remove", 70, 0), ("add", 200, 0), ("add", 201, 0), ("remove", 127, 0), ("remove", 3, 0)]
    full += [("remove", 9, 0), *(("add", key, 0) for key in (201, 202, 203, 204))]
    return {
        "runs": [
            run_of(Network(), [[key, int(key == 2)] for key in range(5)], wishes_of(rng, 1000)),
            run_of(Network(f=1), [[key, 0] for key in range(4)], wishes_of(rng, 40)),
            run_of(Network(), [[key, 0] for key in range(MAX_PEERS)], full),
        ]
    }


def wishes_of(rng: random.Random, count: int) -> Iterator[Wish]:
    for _ in range(count):
        kind = rng.choice(("add", "add", "add", "remove", "remove", "rotate", "configure"))
        if kind == "configure":
            name = rng.choice((Network().name, Network().name, "another"))
            yield kind, Network(name=name, gc_depth=rng.choice((6, 7)), f=rng.choice((None, 1))).encode().hex(), 0
        else:
            yield kind, rng.randrange(16), rng.randrange(2 if kind == "add" else 16)


def run_of(network: Network, members: list[list[int]], wishes: Iterable[Wish]) -> Json:
    """After each change that applies the number that was given last, and that of the new key."""
    roster, steps = Roster.first(network, [Member(key_of(key), flags) for key, flags in members]), []
    for kind, what, other in wishes:
        changed = roster.change(change_of(kind, what, other))
        seat = None if changed is None else changed.seat_of(key_of({"add": what, "rotate": other}.get(kind, 255)))
        said = None if changed is None else [changed.last_number, None if seat is None else seat.number]
        steps.append([kind, what, other, said])
        roster = changed or roster
    seats = [[seat.number, seat.member.public[0], seat.member.flags, seat.contact.hex()] for seat in roster.seats]
    return {"network": network.encode().hex(), "members": members, "steps": steps, "seats": seats}


def change_of(kind: str, what: Any, other: int) -> Add | Remove | Rotate | Configure:
    match kind:
        case "add":
            return Add(key_of(what) + bytes(64), other, b"host:1")
        case "remove":
            return Remove(key_of(what))
        case "rotate":
            return Rotate(key_of(what), key_of(other) + bytes(64))
    return Configure(network_of(what))


def key_of(byte: int) -> bytes:
    return bytes((byte,)) * 32


def network_of(text: str) -> Network:
    network = Network.decode(bytes.fromhex(text))
    assert network is not None
    return network


def test_rosters(rosters: Json) -> None:
    for run in rosters["runs"]:
        wishes = [(kind, what, other) for kind, what, other, _ in run["steps"]]
        assert run_of(network_of(run["network"]), run["members"], wishes) == run


# -- waits (P3 to P5) -------------------------------------------------------------------------------


def make_timers() -> Json:
    rng = random.Random(SEED)
    return {"runs": [make_run(rng, n, rounds) for n, rounds in ((1, 20), (4, 120), (10, 60), (128, 6))]}


def make_run(rng: random.Random, n: int, rounds: int) -> Json:
    """Rounds with peers that are mostly in time, late, far too late or never there."""
    own = rng.randrange(n)
    timer = Timer(Committee(n, None, bytes(32)), own)
    now, steps = rng.choice([0, 1_700_000_000_000_000_000]), []
    lag = [rng.choice([1, 3, 10, 60, 400]) for _ in range(n)]
    for round in range(1, rounds + 1):
        arrivals = [(rng.randrange(lag[creator] * 1_000_000), creator) for creator in range(n) if rng.random() < 0.95]
        calls: list[list[Any]] = []
        if rng.random() < 0.2:
            calls.append(["linked", hex(rng.getrandbits(n) | 1 << own), 0, 0])
        arrivals.sort()
        if len(arrivals) > timer.committee.q and rng.random() < 0.3:  # the last one just in time
            in_time = arrivals[timer.committee.q - 1][0] + timer.soft_ns
            arrivals = [*arrivals[:-1], (max(in_time, arrivals[-2][0]), arrivals[-1][1])]
        for after, creator in arrivals:
            calls.append(["accepted", max(1, round - (rng.random() < 0.1)), creator, now + after])
        if rng.random() < 0.5:
            calls.append(["unsettled", round, 0, 0])
        now += rng.randrange(120_000_000)
        now = max([now, *(call[3] for call in calls)])
        calls.append(["advanced", round, rng.choices(list(Advance), [8, 2, 1])[0].value, now])
        if rng.random() < 0.05:
            calls.append(["prune", rng.randrange(round), 0, 0])
        for call in calls:
            steps.append([*call, apply(timer, *call)])
    return {"n": n, "own": own, "steps": steps}


def apply(timer: Timer, call: str, first: Any, second: Any, now: int) -> list[Any]:
    """Do one call and tell all that can be seen afterwards."""
    match call:
        case "linked":
            timer.linked, round = int(first, 16), 1
        case "accepted":
            timer.accepted(round := first, second, now)
        case "unsettled":
            timer.unsettled(round := first)
        case "advanced":
            timer.advanced(round := first, Advance(second), now)
        case _:
            timer.prune(round := first)
    waits = [timer.soft_ns, timer.timeout_ns, timer.soft_until(round), timer.timeout_at(round)]
    return [*waits, hex(timer.timely), timer.timeouts]


def test_timers(timers: Json) -> None:
    for run in timers["runs"]:
        timer = Timer(Committee(run["n"], None, bytes(32)), run["own"])
        for number, (*call, expected) in enumerate(run["steps"]):
            assert apply(timer, *call) == expected, number


# -- the files --------------------------------------------------------------------------------------

FILES: dict[str, Callable[[], Json]] = {
    "crypto/keys.json": make_keys,
    "crypto/signatures.json": make_signatures,
    "crypto/simulated.json": make_simulated,
    "crypto/trees.json": make_trees,
    "wire/malformed.json": make_malformed,
    "verify/events.json": make_events,
    "wire/items.json": make_items,
    "journal/records.json": make_journal,
    "roster/changes.json": make_rosters,
    "timer/waits.json": make_timers,
}


def stored(name: str) -> Json:
    return json.loads((ROOT / name).read_text(encoding="utf-8"))


@pytest.fixture
def keys() -> Json:
    return stored("crypto/keys.json")


@pytest.fixture
def signatures() -> Json:
    return stored("crypto/signatures.json")


@pytest.fixture
def simulated() -> Json:
    return stored("crypto/simulated.json")


@pytest.fixture
def trees() -> Json:
    return stored("crypto/trees.json")


@pytest.fixture
def malformed() -> Json:
    return stored("wire/malformed.json")


@pytest.fixture
def events() -> Json:
    return stored("verify/events.json")


@pytest.fixture
def bodies() -> Json:
    return stored("wire/items.json")


@pytest.fixture
def records() -> Json:
    return stored("journal/records.json")


@pytest.fixture
def rosters() -> Json:
    return stored("roster/changes.json")


@pytest.fixture
def timers() -> Json:
    return stored("timer/waits.json")


def test_squeezing_loses_nothing() -> None:
    for data in (b"", bytes(40), b"ab" + bytes(31) + b"c", b"\n" * 100 + b"x", broken(TAKEN["the most items"])):
        assert expand(squeeze(data)) == data


def lines(value: Json) -> str:
    """JSON with one vector a line, so that a change of one is a change of one line."""
    parts = []
    for name, entry in value.items():
        if isinstance(entry, list):
            rows = ",\n".join(f"  {json.dumps(each)}" for each in entry)
            parts.append(f" {json.dumps(name)}: [\n{rows}\n ]")
        else:
            parts.append(f" {json.dumps(name)}: {json.dumps(entry)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    for name, make in FILES.items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(lines(make()), encoding="utf-8")
