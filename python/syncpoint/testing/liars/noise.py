"""Liars that send what nobody can use: junk, floods, events of rounds that do not exist."""

from __future__ import annotations

import random
import struct
from collections import deque

from ...core import wire
from ...core.config import MAX_PEERS, PROTOCOL_VERSION
from ...core.crypto import DOMAIN_EVENT, blake3
from ...core.dag import Node
from ...core.values import Event, Item, ItemType, Parent
from ...core.wire import FrameType
from ..cluster import Cluster
from .base import LiarSpec
from .forger import MS, Forger

__all__ = ["FarFuture", "Junk"]

FRAMES_PER_TICK = 4  # at strength 1
EVENTS_PER_TICK = 2  # at strength 1
KEPT_FRAMES = 64  # of others, to replay and mutate
FLOOD = 16  # requests or pulls at once
SIGNATURE_BYTES = 64
MAX_PROOF = 3_000  # bytes: events that quote events that quote events would grow without end
# Junk that no honest peer can send closes the link; were it sent all the time, nothing else would get through.
LOUD = ("random", "cut off", "too long", "unknown type", "empty", "huge count")
QUIET = (
    "flipped", "resigned", "another epoch", "another version", "another's", "replay", "frontier", "wrong parents",
    "wrong payload",
)  # fmt: skip
FLOODS = ("requests", "pulls")
LOUD_SHARE = 0.02
FLOOD_SHARE = 0.01
SHARES = (LOUD_SHARE, FLOOD_SHARE, 1 - LOUD_SHARE - FLOOD_SHARE)
IDENTITY_BYTES = 44  # of a header: version, epoch, creator, round
EVERYTHING = 2**64 - 1


class Junk(Forger):
    """Takes part, and besides sends bytes of all kinds that mean nothing, or the same again and again."""

    kind = "junk"

    def __init__(self, cluster: Cluster, spec: LiarSpec, rng: random.Random) -> None:
        super().__init__(cluster, spec, rng)
        self._frames: deque[bytes] = deque(maxlen=KEPT_FRAMES)

    def heard(self, peer: int, event: Event, frame: bytes) -> None:
        """Keep some frames of others."""
        super().heard(peer, event, frame)
        if len(self._frames) < KEPT_FRAMES or self.rng.random() < 0.02:  # old ones stay for long
            self._frames.append(frame)

    def tick(self) -> None:
        """Send some of each."""
        rng = self.rng
        for _ in range(FRAMES_PER_TICK):
            if self.lies() and self.linked:
                peer = rng.choice(list(self.linked))
                how = rng.choice(rng.choices((LOUD, FLOODS, QUIET), SHARES)[0])
                self.count("lies")
                self.count(how)
                for frame in self._junk(how):
                    self.send(peer, frame)

    def _junk(self, how: str) -> list[bytes]:
        rng = self.rng
        frame = self._some_frame()
        match how:
            case "random":
                return [rng.randbytes(rng.choice((1, 2, 40, 200, 3_000)))]
            case "cut off":
                return [frame[: rng.randrange(1, len(frame))]]
            case "too long":
                return [frame + rng.randbytes(rng.randint(1, 8))]
            case "unknown type":
                return [bytes((rng.choice((0, 1, 2, 3, 15, 20, 99, 255)),)) + frame[1:]]
            case "empty":
                return [b""]
            case "huge count":
                return [self._huge()]
            case "flipped":
                at = rng.randrange(1, len(frame))
                return [frame[:at] + bytes((frame[at] ^ 1 << rng.randrange(8),)) + frame[at + 1 :]]
            case "replay":
                return [frame] * rng.randint(1, 4)
            case "requests":
                digests = [node.digest for row in list(self.dag.rows.values())[-64:] for node in row.nodes]
                digests += [rng.randbytes(32) for _ in range(8)]
                return [wire.encode_request(rng.choices(digests, k=wire.MAX_REQUEST)) for _ in range(FLOOD)]
            case "pulls":
                lowest = [rng.randint(0, self.dag.top) for _ in range(self.committee.n)]
                pull = wire.encode_frontier(FrameType.PULL, rng.choice((lowest, [0] * self.committee.n)), self.epoch)
                return [pull] * rng.randint(1, FLOOD)
            case "frontier":
                claim = [rng.choice((0, self.dag.top, 2**62, EVERYTHING)) for _ in range(self.committee.n)]
                return [wire.encode_frontier(rng.choice((FrameType.FRONTIER, FrameType.PULL)), claim, self.epoch)]
        return [self._event(how)]

    def behave(self, round: int) -> None:
        """One right event, with items that look like evidence and prove nothing."""
        tip = self.tip()
        event = self.make(round, tip, items=self._items(tip) if tip is not None and self.lies() else ())
        if event is not None:
            self.keep(event)
            self.show(event)

    def lie(self, round: int) -> None:
        """Behave: the lies come with the ticks."""
        self.behave(round)

    def _some_frame(self) -> bytes:
        """A right frame that is older or younger."""
        tip = self.tip()
        if tip is not None and self.rng.random() < 0.2:
            return wire.encode_event(tip.event)
        if self._frames:
            return self.rng.choice(self._frames)
        return self.frontier()

    def _now(self, **fields: object) -> Event:
        """An event of the newest round, as it could be; to be made wrong, as a right one would be a fork."""
        strong = self.known.strong(self.dag.top, self.tip()) or []
        return self.sign(self.dag.top if strong else 1, strong, **fields)  # type: ignore[arg-type]

    def _event(self, how: str) -> bytes:
        """A frame of an event that is wrong in one way, with a signature of ours that fits."""
        rng = self.rng
        event = self._now()
        match how:
            case "another epoch":
                event = self._now(epoch_id=blake3(event.digest))
            case "another version":
                version = struct.pack("<H", rng.choice((0, PROTOCOL_VERSION + 1, 0xFFFF)))
                return self._resigned(version + event.header[2:], event)
            case "another's":
                other = rng.choice((*self.peers, self.committee.n, 0xFFFF))
                return self._resigned(event.header[:34] + struct.pack("<H", other) + event.header[36:], event)
            case "resigned":
                at = rng.randrange(IDENTITY_BYTES)
                changed = bytes((event.header[at] ^ rng.randint(1, 255),))
                header = event.header[:at] + changed + event.header[at + 1 :]
                return self._resigned(header, event)
            case "wrong parents":
                event = self._now(references=self._references(event))
            case "wrong payload":
                frame = wire.encode_event(self._now(transactions=(b"one", b"two")))
                return frame[:-1] + b"x"
        return wire.encode_event(event)

    def _resigned(self, header: bytes, event: Event) -> bytes:
        signature = self.signer.sign(DOMAIN_EVENT + wire.event_digest(header))
        frame = wire.encode_event(event)
        return frame[:1] + header + signature + frame[1 + len(header) + SIGNATURE_BYTES :]

    def _items(self, tip: Node) -> tuple[Item, ...]:
        """What looks like evidence and proves nothing."""
        rng = self.rng
        nodes = [node for node in self.dag.row(tip.round).nodes if node.creator != self.creator] or [tip]
        one, two = rng.choice(nodes).event, rng.choice(nodes).event
        proof = wire.encode_evidence(one, two)
        at = rng.randrange(len(proof))
        changed = proof[:at] + bytes((proof[at] ^ 1 << rng.randrange(8),)) + proof[at + 1 :]
        twice = wire.encode_evidence(one, one)
        body = rng.choice((proof, changed, proof[:at], proof + b"\x00", rng.randbytes(200), twice))
        return (Item(ItemType.EVIDENCE, body[:MAX_PROOF]),) * rng.choice((1, 2, 6))

    def _references(self, event: Event) -> list[Parent]:
        """Parents out of order, twice, too few, too many, of other rounds, or of nobody."""
        rng = self.rng
        parents = list(event.parents) or [Parent(0, 1, bytes(32))]
        match rng.randrange(6):
            case 0:
                parents.reverse()
            case 1:
                parents.append(parents[-1])
            case 2:
                del parents[self.committee.q - 1 :]
            case 3:
                parents = parents * 40
            case 4:
                parents[0] = parents[0]._replace(round=rng.choice((0, event.round, event.round + 1, 2**62, EVERYTHING)))
            case 5:
                parents[-1] = parents[-1]._replace(creator=rng.choice((self.committee.n, 0xFFFF)))
        return parents[:MAX_PEERS]

    def _huge(self) -> bytes:
        """Counts and lengths far above what follows, or at their limits."""
        rng = self.rng
        match rng.randrange(3):
            case 0:
                count = rng.choice((0, wire.MAX_REQUEST + 1, 0xFFFF))
                return bytes((FrameType.REQUEST,)) + struct.pack("<H", count) + bytes(32)
            case 1:  # parents and items
                frame = wire.encode_event(self._now())
                return frame[:97] + rng.choice((b"\xff\xff\x00\x00", b"\x00\x00\xff\xff")) + frame[101:]
            case _:  # payload
                frame = wire.encode_event(self._now())
                return frame[:93] + b"\xff\xff\xff\xff" + frame[97:]


class FarFuture(Forger):
    """Takes part, and besides sends signed events of rounds that nobody has reached, with parents that it made up."""

    kind = "far_future"

    def tick(self) -> None:
        """Send some, near and far."""
        rng = self.rng
        ahead = self.network.max_ahead
        for _ in range(EVENTS_PER_TICK):
            if not (self.lies() and self.linked):
                continue
            distance = rng.choice((5, 9, 17, ahead // 2, ahead - 1, ahead, ahead + 1, 2 * ahead, 10**9, 2**61))
            round = self.dag.top + distance
            real = self._real() if rng.random() < 0.5 else None  # some of it is there, so that it looks better
            count = rng.randint(self.committee.q, self.committee.n) if real is None else self.committee.n
            creators = sorted(rng.sample(range(self.committee.n), count))
            references = [Parent(creator, round - 1, rng.randbytes(32)) for creator in creators]
            if real is not None:
                references = [real if parent.creator == real.creator else parent for parent in references]
            event = self.sign(round, (), references=references, transactions=(bytes(rng.choice((10, 1_000))),))
            self.count("lies")
            self.count("beyond" if distance > ahead else "ahead")
            self.show(event, rng.sample(list(self.linked), rng.randint(1, len(self.linked))))
            self._chain(event)

    def _chain(self, event: Event) -> None:
        """Sometimes a child of it, whose only missing parents are made up as well."""
        rng = self.rng
        if rng.random() < 0.3:
            references = [Parent(creator, event.round, rng.randbytes(32)) for creator in range(self.committee.n)]
            references[self.creator] = Parent(self.creator, event.round, event.digest)
            self.show(self.sign(event.round + 1, (), references=references), after_ns=rng.randrange(1, 20 * MS))

    def _real(self) -> Parent | None:
        """A newest event of somebody."""
        nodes: list[Node] = self.dag.row(self.dag.top).nodes
        if not nodes:
            return None
        node = self.rng.choice(nodes)
        return Parent(node.creator, node.round, node.digest)
