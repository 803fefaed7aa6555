"""Liars about what the network decides: proposals, votes and checkpoints; and about who is in it."""

from __future__ import annotations

import dataclasses
import random
from collections import deque

from ...core.change import Add, Change, Configure, Remove, Rotate, encode_change
from ...core.config import MAX_ITEM_BYTES, MAX_ITEMS, Member
from ...core.crypto import Signer, peer_record
from ...core.epoch import MAX_DEADLINE_NS
from ...core.items import (
    MAX_METADATA_BYTES,
    CheckpointVote,
    Proposal,
    Vote,
    checkpoint_message,
    encode_checkpoint_vote,
    encode_proposal,
    encode_vote,
    proposal_id,
)
from ...core.values import Event, Item, ItemType, SyncPointKind
from ..cluster import Cluster
from .base import LiarSpec
from .forger import MS, Forger

__all__ = ["FalseChanger", "FalseVoter"]

SECOND_NS = 1_000 * MS
KEPT = 64  # proposals of all peers that are repeated and voted on
SHARE = 0.3  # of rounds in which it lies, at strength 1
WAYS = (
    "both ways", "both ways", "proposes", "proposes", "repeats", "malformed", "far deadline", "past deadline",
    "other kind", "many", "false checkpoint", "false checkpoint", "unknown proposal",
)  # fmt: skip
CHANGING_WAYS = ("lets in", "removes", "other key", "configures", "mismatched", "approves all", "approves all")


class FalseVoter(Forger):
    """Makes right events, in which it proposes what nobody wants, votes twice, and says of checkpoints what is untrue.

    It approves and refuses the same proposal, repeats old ones, proposes more than it may, with deadlines that are over
    or hours away, and adds items that mean nothing. Its checkpoint votes name other hashes, or have bad signatures.
    """

    kind = "false_voter"

    def __init__(self, cluster: Cluster, spec: LiarSpec, rng: random.Random) -> None:
        super().__init__(cluster, spec, rng)
        self.ways: tuple[str, ...] = WAYS
        self._known: deque[tuple[bytes, bytes]] = deque(maxlen=KEPT)  # id and body
        self._made = 0

    def heard(self, peer: int, event: Event, frame: bytes) -> None:
        """Keep what others propose."""
        super().heard(peer, event, frame)
        for item in event.items:
            if item.type == ItemType.PROPOSE:
                id = proposal_id(self.committee.epoch_id, event.creator, item.body)
                if (id, item.body) not in self._known:
                    self._known.append((id, item.body))

    def lie(self, round: int) -> None:
        """An event with items that lie; in most rounds one without."""
        if self.rng.random() >= SHARE:
            self.behave(round)
            return
        items: list[Item] = []
        room = MAX_ITEM_BYTES
        for way in self.rng.choices(self.ways, k=self.rng.randint(1, 4)):
            for item in self.items(way):
                room -= len(item.body)
                if room >= 0 and len(items) < MAX_ITEMS:
                    items.append(item)
            self.count(way)
        event = self.make(round, self.tip(), items=tuple(items))
        if event is None:
            return
        self.count("lies")
        self.keep(event)
        self.show(event)

    # -- what it says ---------------------------------------------------------------------------------

    def items(self, way: str) -> list[Item]:
        """What it says in one of its ways."""
        rng = self.rng
        now = self.node.host.hardware_clock.wall()
        match way:
            case "both ways":
                first = rng.random() < 0.5
                return [_vote(id, approves) for id, _ in self._some() for approves in (first, not first)]
            case "proposes":
                item = self._propose(rng.randint(1, 8), now + rng.randint(MS, 2 * SECOND_NS))
                id = proposal_id(self.committee.epoch_id, self.creator, item.body)
                self._known.append((id, item.body))
                return [_vote(id, True), item, _vote(id, False)]
            case "repeats":
                return [Item(ItemType.PROPOSE, body) for _, body in self._some()]
            case "malformed":
                junk = rng.randbytes(rng.choice((0, 16, 33, 104, 136)))
                kinds = (ItemType.PROPOSE, ItemType.VOTE, ItemType.CHECKPOINT_VOTE)
                return [Item(kind, junk) for kind in kinds]
            case "far deadline":
                return [self._propose(7, now + rng.choice((MAX_DEADLINE_NS // 2, 2 * MAX_DEADLINE_NS, 2**63)) % 2**64)]
            case "past deadline":
                return [self._propose(7, max(0, now - rng.choice((MS, SECOND_NS, now))))]
            case "other kind":
                return [self._propose(rng.choice((0, 2, 3, 4, 9, 255)), now + SECOND_NS)]
            case "many":
                return [self._propose(7, now + rng.randint(MS, 50 * MS)) for _ in range(20)]
            case "unknown proposal":
                return [_vote(rng.randbytes(32), True)]
            case _:
                return [self._checkpoint()]

    def _some(self) -> list[tuple[bytes, bytes]]:
        return self.rng.sample(list(self._known), min(len(self._known), self.rng.randint(1, 4)))

    def _propose(self, kind: int, deadline: int) -> Item:
        self._made += 1
        metadata = b"lie %d of %d" % (self._made, self.creator)
        if self.rng.random() < 0.05:
            metadata = metadata.ljust(MAX_METADATA_BYTES, b".")
        return Item(ItemType.PROPOSE, encode_proposal(Proposal(kind, deadline, self.rng.getrandbits(64), metadata)))

    def _checkpoint(self) -> Item:
        """A vote for a place that honest peers have, will have or never will, with hashes that they have not."""
        rng = self.rng
        delivered = max((status.delivered for node in self.cluster.running if (status := node.status())), default=0)
        index = rng.choice((delivered - 1, delivered, delivered + rng.randint(0, 40), rng.getrandbits(64)))
        order_hash, state_hash = rng.randbytes(32), rng.choice((bytes(32), rng.randbytes(32)))
        message = checkpoint_message(self.committee.epoch_id, max(0, index), order_hash, state_hash)
        signature = self.signer.sign(message) if rng.random() < 0.7 else rng.randbytes(64)
        vote = CheckpointVote(max(0, index), order_hash, state_hash, signature)
        return Item(ItemType.CHECKPOINT_VOTE, encode_checkpoint_vote(vote))


class FalseChanger(FalseVoter):
    """The same, where members change: it wants strangers in and others out, and says yes to all that is proposed.

    Of changes that exclude each other it approves all, in one event; it asks for other keys in the name of others.
    """

    kind = "false_changer"

    def __init__(self, cluster: Cluster, spec: LiarSpec, rng: random.Random) -> None:
        super().__init__(cluster, spec, rng)
        self.ways = (*WAYS, *CHANGING_WAYS)

    def items(self, way: str) -> list[Item]:
        """What it says in one of its ways."""
        if way not in CHANGING_WAYS:
            return super().items(way)
        if way == "approves all":
            return [_vote(id, True) for id, _ in self._known]
        rng = self.rng
        record = peer_record(Signer(rng.randbytes(32)))
        members = self.committee.members
        changes: dict[str, tuple[SyncPointKind, Change]] = {
            "lets in": (SyncPointKind.MEMBERSHIP, Add(record, 0, b"nowhere:1")),
            "removes": (SyncPointKind.MEMBERSHIP, Remove(rng.choice(members).public)),
            "other key": (SyncPointKind.KEY_ROTATION, Rotate(rng.choice(self._others()).public, record)),
            "configures": (SyncPointKind.CONFIG, Configure(dataclasses.replace(self.network, gc_depth=9))),
            "mismatched": (SyncPointKind.CONFIG, Remove(rng.choice(members).public)),
        }
        kind, change = changes[way]
        deadline = self.node.host.hardware_clock.wall() + rng.randint(10 * MS, 2 * SECOND_NS)
        body = encode_proposal(Proposal(kind, deadline, rng.getrandbits(64), b"a lie", encode_change(change)))
        id = proposal_id(self.committee.epoch_id, self.creator, body)
        self._known.append((id, body))
        return [Item(ItemType.PROPOSE, body), _vote(id, True)]

    def _others(self) -> list[Member]:
        return [member for creator, member in enumerate(self.committee.members) if creator != self.creator]


def _vote(id: bytes, approves: bool) -> Item:
    return Item(ItemType.VOTE, encode_vote(Vote(id, approves)))
