"""Both cores read the same out of any bytes: the same values, or the same reject codes; and write them back alike."""

from __future__ import annotations

import collections
import random
from collections.abc import Callable
from typing import Any

import pytest

from core.build import Graph, Peers
from syncpoint.backend import load_core
from syncpoint.core import wire
from syncpoint.core.config import Member
from syncpoint.core.error import Reject
from syncpoint.core.journal import (
    OwnEvent,
    Place,
    Position,
    encode_own_delivered,
    encode_own_event,
    encode_peer_event,
    encode_place,
)
from syncpoint.core.values import Event, Item, Parent
from syncpoint.core.wire import FrameType

from .mutate import junk, mutated

FRAMES = 50_000
CHECKS = 3_000
EVENT = (
    "creator", "round", "created_at", "parents", "items", "transactions", "header", "digest", "signature",
    "size", "carries", "transaction_count", "payload_bytes",
)  # fmt: skip


class Bench:
    """A committee, frames that its members really made, and what a face makes of frames."""

    def __init__(self, seed: int, n: int, **network: Any) -> None:
        self.rng = random.Random(f"decoders/{seed}/{n}")
        self.n = n
        self.peers = Peers(n, f"decoders/{n}", **network)
        self.members = tuple(Member(signer.public) for signer in self.peers.signers)
        self.evidence: list[bytes] = []
        self.frames = self._frames()
        self.records = [self._record(frame) for frame in self.frames if frame[0] == FrameType.EVENT]
        self.headers = [event.header for event in self.events]

    def _frames(self) -> list[bytes]:
        rng, graph = self.rng, Graph(self.peers)
        rows = graph.rows(4)
        self.events = [event for row in rows for event in row]
        for number in range(60):
            creator, round = rng.randrange(self.n), rng.choice((1, 2, 3, 4, 5))
            parents = rows[round - 1]
            one, two = (self._event(creator, round, parents) for _ in range(2))
            if one is None or two is None:
                continue
            self.events += (one, two)
            if number % 3 == 0:
                self.evidence.append(wire.encode_evidence(one, two))
        frames = [wire.encode_event(event) for event in self.events]
        frames += [wire.encode_request([rng.randbytes(32)] * count) for count in (1, 2, 255, 256)]
        for kind in (FrameType.FRONTIER, FrameType.PULL):
            for epoch in (0, 1, 2**32 - 1):
                frames.append(wire.encode_frontier(kind, [rng.getrandbits(64) for _ in range(self.n)], epoch))
        return frames

    def _event(self, creator: int, round: int, parents: list[Event]) -> Event | None:
        rng = self.rng
        items = [
            Item(rng.choice((0, 1, 4, 77)), rng.randbytes(rng.randrange(50))) for _ in range(rng.choice((0, 1, 3)))
        ]
        items += [Item(4, proof) for proof in self.evidence[-1:]]
        transactions = [rng.randbytes(rng.randrange(40)) for _ in range(rng.choice((0, 1, 2, 9)))]
        made = self.peers.decode(self.peers.frame(creator, round, parents, items=items, transactions=transactions))
        return made if isinstance(made, Event) else None

    def _record(self, frame: bytes) -> bytes:
        rng = self.rng
        over = [Position(rng.getrandbits(64), rng.getrandbits(32)) for _ in range(rng.choice((0, 0, 1, 3)))]
        match self.rng.randrange(4):
            case 0:
                return encode_peer_event(frame)
            case 1:
                return encode_own_delivered(self.rng.getrandbits(64))
            case 2:
                return encode_place(Place(*(self.rng.getrandbits(64) for _ in range(3)), self.rng.randbytes(32)))
        return encode_own_event(frame, over)

    def some(self, among: list[bytes]) -> bytes:
        """Bytes to decode: nearly right ones mostly."""
        rng = self.rng
        draw = rng.random()
        if draw < 0.15:
            return rng.choice(among)
        if draw < 0.25:
            return junk(rng)
        if draw < 0.35:
            whole = rng.choice(among)
            return whole[: rng.randrange(len(whole) + 1)]
        return mutated(rng, rng.choice(among), among)

    def decoders(self, face: Any) -> dict[str, Callable[[bytes], Any]]:
        """What a face reads, and writes back, by kind."""
        epoch_id, network, n = self.peers.epoch_id, self.peers.network, self.n

        def event(frame: bytes) -> Any:
            made = face.decode_event(frame, epoch_id, network)
            if isinstance(made, Reject):
                return made
            return tuple(plain(getattr(made, name)) for name in EVENT), face.encode_event(made)

        def request(frame: bytes) -> Any:
            made = face.decode_request(frame)
            return made if isinstance(made, Reject) else (list(made), face.encode_request(made))

        def frontier(frame: bytes) -> Any:
            made = face.decode_frontier(frame, n)
            if isinstance(made, Reject):
                return made
            epoch = int.from_bytes(frame[1:5], "little")
            return tuple(made), face.encode_frontier(FrameType.FRONTIER, made, epoch), face.encode_frontier(19, made)

        def evidence(body: bytes) -> Any:
            made = face.decode_evidence(body)
            return made if isinstance(made, Reject) else [tuple(pair) for pair in made]

        def header(data: bytes) -> Any:
            made = face.decode_header(data, epoch_id)
            return made if isinstance(made, Reject) else tuple(made)

        def record(data: bytes) -> Any:
            made = face.decode_record(data)
            if isinstance(made, OwnEvent):
                return type(made).__name__, tuple(map(tuple, made.taken_over)), made.frame
            return made if made is None else (type(made).__name__, *made)

        def key(frame: bytes) -> Any:
            made = face.event_key(frame)
            return made if made is None else tuple(made)

        return {
            "event": event, "request": request, "frontier": frontier, "evidence": evidence, "header": header,
            "record": record, "key": key,
        }  # fmt: skip

    def corpus(self) -> dict[str, list[bytes]]:
        """Right bytes of each kind."""
        by_type: dict[str, list[bytes]] = {"event": [], "request": [], "frontier": []}
        for frame in self.frames:
            kind = {FrameType.EVENT: "event", FrameType.REQUEST: "request"}.get(FrameType(frame[0]), "frontier")
            by_type[kind].append(frame)
        others = {"evidence": self.evidence, "header": self.headers, "record": self.records}
        return by_type | others | {"key": by_type["event"]}


def plain(value: Any) -> Any:
    """Tuples for what either core may have its own classes for."""
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    if isinstance(value, Parent | Item):
        return tuple(value)
    return value


def shown(made: Any) -> Any:
    """What was made of bytes, with the kind of value that it is."""
    return (type(made).__name__, made)


def fuzz(seed: int, one: Any, two: Any, frames: int) -> collections.Counter[str]:
    """So many frames through two faces; what came of them."""
    happened: collections.Counter[str] = collections.Counter()
    for n, network in ((1, {}), (4, {}), (7, {"max_payload_bytes": 1024})):
        bench = Bench(seed, n, **network)
        corpus = bench.corpus()
        ours, theirs = bench.decoders(one), bench.decoders(two)
        kinds = ["event"] * 5 + ["request", "frontier", "evidence", "header", "record", "key"]
        for number in range(frames // 3):
            kind = bench.rng.choice(kinds)
            among = corpus[kind] if bench.rng.random() < 0.97 else bench.frames
            data = bench.some(among)
            where = f"n = {n}, {kind} {number}: {data.hex()}"
            said, other = shown(ours[kind](data)), shown(theirs[kind](data))
            assert said == other, where
            made = said[1]
            happened[made.name if isinstance(made, Reject) else f"{kind} {'none' if made is None else 'read'}"] += 1
            if kind == "event" and not isinstance(made, Reject):
                assert made[1][1:] == data[1:], f"written back otherwise: {where}"
            if kind in ("request", "frontier") and not isinstance(made, Reject):
                assert made[1][1:] == data[1:], f"written back otherwise: {where}"
    return happened


@pytest.mark.native
def test_any_bytes_are_read_alike(seed: int) -> None:
    happened = fuzz(seed, load_core("python"), load_core("native"), FRAMES)
    kinds = ("event", "request", "frontier", "evidence", "header", "record", "key")
    for what in (*(f"{kind} read" for kind in kinds), "record none", "key none"):
        assert happened[what] > 100, what
    for code in ("TRUNCATED", "TRAILING", "LIMIT", "VERSION", "EPOCH", "ROUND", "TIME", "PAYLOAD"):
        assert happened[code] > 30, code


def test_a_reader_that_takes_a_byte_more_is_noticed() -> None:
    class Lax:
        def __getattr__(self, name: str) -> Any:
            return getattr(load_core("python"), name)

        def decode_request(self, frame: bytes) -> Any:
            made = load_core("python").decode_request(frame)  # type: ignore[attr-defined]
            return made if made is not Reject.TRAILING else Reject.TRUNCATED

    with pytest.raises(AssertionError, match="request"):
        fuzz(1, load_core("python"), Lax(), 6_000)


@pytest.mark.native
def test_events_are_checked_alike(seed: int) -> None:
    """V1, V2, V3, as far as an event alone tells."""
    one: Any = load_core("python")
    two: Any = load_core("native")
    happened: collections.Counter[str] = collections.Counter()
    for n in (1, 4, 7):
        bench = Bench(seed, n, gc_depth=4)
        peers, rng = bench.peers, bench.rng
        for number in range(CHECKS // 3):
            frame = spoiled(bench, rng.choice(bench.events))
            ours, theirs = (face.decode_event(frame, peers.epoch_id, peers.network) for face in (one, two))
            if isinstance(ours, Reject):
                assert ours is theirs
                continue
            said = one.check_event(ours, peers.network, bench.members)
            other = two.check_event(theirs, peers.network, bench.members)
            assert shown(said) == shown(other), f"n = {n}, event {number}: {frame.hex()}"
            happened["valid" if said is None else said.name] += 1
    for what in ("valid", "CREATOR", "NO_QUORUM", "PARENT_ORDER", "PARENT_ROUND", "SIGNATURE"):
        assert happened[what] > 5, (what, happened)


def spoiled(bench: Bench, event: Event) -> bytes:
    """An EVENT frame with one thing wrong in its header or its signature; mostly signed again."""
    rng, peers = bench.rng, bench.peers
    creator, round, parents = event.creator, event.round, list(event.parents)
    match rng.choice(("right", "creator", "round", "few", "order", "parent round", "parent creator", "signature")):
        case "creator":
            creator = rng.choice((bench.n, bench.n + 1, 65535, rng.randrange(bench.n)))
        case "round":
            round = rng.choice((1, 2, round + 1, round + 3, round + 4, 2**62))
        case "few":
            del parents[rng.randrange(len(parents) + 1) :]
        case "order":
            rng.shuffle(parents)
        case "parent round" if parents:
            at = rng.randrange(len(parents))
            below = rng.choice((0, round, round - 1, round - 2, max(0, round - 4), max(0, round - 5), 2**63))
            parents[at] = parents[at]._replace(round=below)
        case "parent creator" if parents:
            at = rng.randrange(len(parents))
            parents[at] = parents[at]._replace(creator=rng.choice((0, bench.n, 65535)))
    header = peers.header(creator, round, parents, created_at=event.created_at)
    signer = rng.randrange(bench.n) if rng.random() < 0.1 else min(creator, bench.n - 1)
    signature = peers.sign(signer, header)
    if rng.random() < 0.1:
        at = rng.randrange(64)
        signature = signature[:at] + bytes((signature[at] ^ 1 << rng.randrange(8),)) + signature[at + 1 :]
    return bytes((FrameType.EVENT,)) + header + signature


@pytest.mark.native
def test_evidence_is_judged_alike(seed: int) -> None:
    one: Any = load_core("python")
    two: Any = load_core("native")
    proven = nothing = 0
    for n in (1, 4, 7):
        bench = Bench(seed, n)
        for number in range(CHECKS // 3):
            body = bench.some(bench.evidence)
            if bench.rng.random() < 0.3:
                first, second = bench.rng.choices(bench.events, k=2)
                body = wire.encode_evidence(first, second)
            said = one.check_evidence(body, bench.peers.network, bench.members)
            other = two.check_evidence(body, bench.peers.network, bench.members)
            assert shown(said) == shown(other), f"n = {n}, evidence {number}: {body.hex()}"
            proven += said is not None
            nothing += said is None
    assert proven > 100
    assert nothing > 500
