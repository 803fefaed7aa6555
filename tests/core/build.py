"""Small committees with real keys, and events that they really signed."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from syncpoint.core import verify, wire
from syncpoint.core.committee import Committee
from syncpoint.core.config import Member, Network
from syncpoint.core.crypto import DOMAIN_EVENT, Signer, blake3
from syncpoint.core.dag import Dag, Node
from syncpoint.core.error import Reject
from syncpoint.core.values import Event, Item, Parent


class Peers:
    """A committee of `n`, whose secrets follow from `name`; creators count as in the committee."""

    def __init__(self, n: int, name: str = "test", **network: Any) -> None:
        self.network = Network(**network)
        signers = [Signer(blake3(f"{name}/{number}".encode())) for number in range(n)]
        self.signers = sorted(signers, key=lambda signer: signer.public)
        self.committee = Committee.genesis(self.network, [Member(signer.public) for signer in signers])
        self.epoch_id = self.committee.epoch_id
        self._salts = itertools.count(1)

    def header(
        self,
        creator: int,
        round: int,
        parents: Iterable[Event | Parent] = (),
        *,
        created_at: int | None = None,
        items: Sequence[Item] = (),
        transactions: Sequence[bytes] = (),
        salt: int | None = None,
        epoch_id: bytes | None = None,
    ) -> bytes:
        """The header of an event; every one has another salt, so that no two are equal by accident."""
        return wire.encode_header(
            self.epoch_id if epoch_id is None else epoch_id,
            creator,
            round,
            round * 1000 if created_at is None else created_at,
            next(self._salts) if salt is None else salt,
            [parent_of(parent) for parent in parents],
            items,
            transactions,
        )

    def frame(
        self,
        creator: int,
        round: int,
        parents: Iterable[Event | Parent] = (),
        *,
        signer: int | None = None,
        **fields: Any,
    ) -> bytes:
        """A signed EVENT frame; `fields` as for `header`, `signer` is who signs if not the creator."""
        header = self.header(creator, round, parents, **fields)
        signature = self.sign(creator if signer is None else signer, header)
        return join(header, signature, fields.get("transactions", ()))

    def event(self, creator: int, round: int, parents: Iterable[Event | Parent] = (), **fields: Any) -> Event:
        """An event as it comes out of its frame; arguments as for `frame`."""
        event = self.decode(self.frame(creator, round, parents, **fields))
        assert isinstance(event, Event), event
        return event

    def decode(self, frame: bytes) -> Event | Reject:
        """What a peer of this committee makes of an EVENT frame."""
        return wire.decode_event(frame, self.epoch_id, self.network)

    def sign(self, creator: int, header: bytes) -> bytes:
        """The creator's signature of a header."""
        return self.signers[creator].sign(DOMAIN_EVENT + wire.event_digest(header))

    def read(self, frame: bytes) -> object:
        """What a machine makes of a frame of any type."""
        if not frame:
            return Reject.FRAME_EMPTY
        match frame[0]:
            case wire.FrameType.EVENT:
                return wire.decode_event(frame, self.epoch_id, self.network)
            case wire.FrameType.REQUEST:
                return wire.decode_request(frame)
            case wire.FrameType.FRONTIER | wire.FrameType.PULL:
                return wire.decode_frontier(frame, self.committee.n)
        return Reject.FRAME_TYPE

    def check(self, event: Event) -> Reject | None:
        """What is wrong with the event alone."""
        return verify.check_event(event, self.committee, self.network.gc_depth)


class Graph:
    """A DAG of such events, checked as they come."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers
        self.dag = Dag(peers.committee.n)

    def check(self, event: Event) -> Reject | None:
        """What is wrong with the event, alone and among its ancestors, which must all be here."""
        reject = self.peers.check(event)
        return self.check_ancestors(event) if reject is None else reject

    def check_ancestors(self, event: Event) -> Reject | None:
        """What is wrong with it among its ancestors."""
        nodes = [self.dag.get(parent.digest) for parent in event.parents]
        assert all(nodes), "a parent is missing"
        present = [node for node in nodes if node is not None]
        return verify.check_ancestors(event, present, self.dag, self.peers.network.gc_depth)

    def insert(self, event: Event) -> Node:
        """Add an event without a look at it."""
        return self.dag.insert(event)

    def add(self, creator: int, round: int, parents: Iterable[Event | Parent] = (), **fields: Any) -> Event:
        """Make a valid event and add it."""
        event = self.peers.event(creator, round, parents, **fields)
        reject = self.check(event)
        assert reject is None, reject
        self.insert(event)
        return event

    def rows(self, rounds: int) -> list[list[Event]]:
        """That many full rounds, each event with the whole round before as its parents."""
        rows: list[list[Event]] = [[]]
        for round in range(1, rounds + 1):
            rows.append([self.add(creator, round, rows[-1]) for creator in range(self.peers.committee.n)])
        return rows


def parent_of(event: Event | Parent) -> Parent:
    """A reference to an event."""
    return event if isinstance(event, Parent) else Parent(event.creator, event.round, event.digest)


def join(header: bytes, signature: bytes, transactions: Sequence[bytes] = ()) -> bytes:
    """An EVENT frame of these parts, whether they fit together or not."""
    event = Event(0, 0, 0, (), (), tuple(transactions), header, bytes(32), signature)
    return wire.encode_event(event)


def signed_again(peers: Peers, event: Event, signer: int) -> Event:
    """The event with another's signature."""
    return dataclasses.replace(event, signature=peers.sign(signer, event.header))
