"""What a store keeps of one peer and gives back at a start, in the plainest way: lists in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from syncpoint.core.config import Network
from syncpoint.core.journal import (
    OwnEvent,
    PeerEvent,
    Place,
    decode_record,
    encode_own_delivered,
    encode_place,
    encode_state,
)
from syncpoint.core.retain import Retention
from syncpoint.core.values import Delivered, Event, SyncPoint
from syncpoint.core.wire import decode_event, encode_event


class Shelf:
    """Records in the order in which they were written, and what was delivered in between."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.delivered: list[Any] = []  # Delivered and SyncPoint
        self.states: list[tuple[int, bytes]] = []  # of proposals and votes: round, ascending, and the state behind it
        self.strict = True  # what is delivered again is the same

    def deliver(self, messages: Sequence[Delivered | SyncPoint], states: Sequence[tuple[int, bytes]] = ()) -> None:
        for done in messages:
            known = self.delivered[done.index : done.index + 1]
            if not known or not self.strict:
                assert done.index <= len(self.delivered)
                self.delivered[done.index :] = [done]
            else:  # closed once more after a restart
                assert done.order_hash == known[0].order_hash
        for round, state in states:
            before = [known for known in self.states if known[0] == round]
            assert not self.strict or before in ([], [(round, state)])
            self.states = [*(known for known in self.states if known[0] < round), (round, state)]

    def cut(self, records: int, delivered: int) -> None:
        """Lose what came later."""
        del self.records[records:]
        del self.delivered[delivered:]

    def load(self, epoch_id: bytes, network: Network, retention: Retention) -> list[bytes]:
        """The records of a start of a peer that retains so much."""
        place = self.place()
        placed = place.next_index if place is not None else 0
        before = {done.digest for done in self.delivered[:placed]}
        events = [(record, *self._event(record, epoch_id, network)) for record in self.records]
        own = [(event.round, event.digest) for _, event, ours in events if ours]
        floor = max(0, place.round - retention.rounds) if place is not None else 0
        pending = min((round for round, digest in own if digest not in before), default=floor + 1)
        given = [record for record, event, ours in events if event.round > floor or (ours and event.round >= pending)]
        done = [encode_own_delivered(round) for round, digest in own if digest in before]
        begin = [encode_place(place)] if place is not None else []
        states = [state for round, state in self.states if place is not None and round <= place.round]
        return [*begin, *map(encode_state, states[-1:]), *given, *done]

    def above(self, frontier: Sequence[int], first: int, most: int, epoch_id: bytes, network: Network) -> list[bytes]:
        """EVENT frames above a frontier, lowest rounds first (F3)."""
        frames: list[bytes] = []
        left = most
        for event in sorted((self._event(record, epoch_id, network)[0] for record in self.records), key=_in_rounds):
            if event.round >= first and event.round > frontier[event.creator]:
                frame = encode_event(event)
                if frames and len(frame) > left:
                    break
                left -= len(frame)
                frames.append(frame)
        return frames

    def place(self) -> Place | None:
        """After the newest round whose whole batch is here for sure: another one came after it."""
        if not self.delivered:
            return None
        round = self.delivered[-1].closed_by - 1
        for done in reversed(self.delivered):
            if done.closed_by <= round:
                return Place(round, done.index + 1, done.consensus_at, done.order_hash)
        return None

    @staticmethod
    def _event(record: bytes, epoch_id: bytes, network: Network) -> tuple[Event, bool]:
        decoded = decode_record(record)
        assert isinstance(decoded, OwnEvent | PeerEvent)
        event = decode_event(decoded.frame, epoch_id, network)
        assert isinstance(event, Event)
        return event, isinstance(decoded, OwnEvent)


def _in_rounds(event: Event) -> tuple[int, bytes]:
    return event.round, event.digest
