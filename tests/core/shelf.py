"""What a store keeps of one peer and gives back at a start, in the plainest way: lists in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from syncpoint.core.config import Network
from syncpoint.core.journal import (
    EpochStart,
    OwnEvent,
    PeerEvent,
    Place,
    decode_record,
    encode_own_delivered,
    encode_place,
    encode_state,
    height,
)
from syncpoint.core.retain import Retention
from syncpoint.core.values import Delivered, Event, SyncPoint
from syncpoint.core.wire import decode_event, encode_event, epoch_id_of


class Shelf:
    """Records in the order in which they were written, and what was delivered in between."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.delivered: list[Any] = []  # Delivered and SyncPoint
        self.states: list[tuple[int, bytes]] = []  # of proposals and votes: height, ascending, and the state behind it
        self.strict = True  # what is delivered again is the same

    def deliver(self, messages: Sequence[Delivered | SyncPoint], states: Sequence[tuple[int, bytes]] = ()) -> None:
        for done in messages:
            known = self.delivered[done.index : done.index + 1]
            if not known or not self.strict:
                assert done.index <= len(self.delivered)
                self.delivered[done.index :] = [done]
            else:  # closed once more after a restart
                assert done.order_hash == known[0].order_hash
        epoch = messages[-1].epoch if messages else self.newest
        for round, state in states:
            at = height(epoch, round)
            before = [known for known in self.states if known[0] == at]
            assert not self.strict or before in ([], [(at, state)])
            self.states = [*(known for known in self.states if known[0] < at), (at, state)]

    def cut(self, records: int, delivered: int) -> None:
        """Lose what came later."""
        del self.records[records:]
        del self.delivered[delivered:]

    def load(self, epoch_id: bytes, network: Network, retention: Retention) -> list[bytes]:
        """The records of a start of a peer that retains so much; `epoch_id` is that of the first epoch."""
        begins = [record for record in self.records if isinstance(decode_record(record), EpochStart)]
        newest = self.newest
        ids = {epoch_id: 0} | {start.epoch_id: start.number for start in self.starts}
        place = self.place()
        placed = place.next_index if place is not None else (self.starts[-1].next_index if newest else 0)
        before = {done.digest for done in self.delivered[:placed]}
        events = [(record, *self._event(record, ids, network)) for record in self.records if record not in begins]
        own = [(at, event.digest) for _, event, at, ours in events if ours]
        floor = height(newest, max(0, place.round - retention.rounds) if place is not None else 0)
        pending = min((at for at, digest in own if digest not in before), default=floor + 1)
        given = [record for record, _, at, ours in events if at > floor or (ours and at >= pending)]
        done = [encode_own_delivered(at) for at, digest in own if digest in before]
        begin = [encode_place(place)] if place is not None else []
        behind = [(at, state) for at, state in self.states if place is not None and at <= height(newest, place.round)]
        states = [state for at, state in behind if at > height(newest, 0)]
        return [*begins, *begin, *map(encode_state, states[-1:]), *given, *done]

    @property
    def starts(self) -> list[EpochStart]:
        """The beginnings of epochs."""
        return [start for start in map(decode_record, self.records) if isinstance(start, EpochStart)]

    @property
    def newest(self) -> int:
        """The number of the newest epoch."""
        return max((start.number for start in self.starts), default=0)

    def above(
        self, frontier: Sequence[int], first: int, most: int, epoch_id: bytes, network: Network, epoch: int = 0
    ) -> list[bytes]:
        """EVENT frames of an epoch above a frontier, lowest rounds first (F3)."""
        ids = {epoch_id: 0} | {start.epoch_id: start.number for start in self.starts}
        frames: list[bytes] = []
        left = most
        records = [record for record in self.records if not isinstance(decode_record(record), EpochStart)]
        events = [self._event(record, ids, network)[:2] for record in records]
        for event in sorted((event for event, at in events if at - event.round == height(epoch, 0)), key=_in_rounds):
            if event.round >= first and event.round > frontier[event.creator]:
                frame = encode_event(event)
                if frames and len(frame) > left:
                    break
                left -= len(frame)
                frames.append(frame)
        return frames

    def place(self) -> Place | None:
        """After the newest round of the newest epoch whose whole batch is here for sure: another one came after it."""
        here = [done for done in self.delivered if done.epoch == self.newest]
        if not here:
            return None
        round = here[-1].closed_by - 1
        for done in reversed(here):
            if done.closed_by <= round:
                return Place(round, done.index + 1, done.consensus_at, done.order_hash)
        return None

    @staticmethod
    def _event(record: bytes, ids: Mapping[bytes, int], network: Network) -> tuple[Event, int, bool]:
        """The event of a record, its height, and whether it is our own."""
        decoded = decode_record(record)
        assert isinstance(decoded, OwnEvent | PeerEvent)
        epoch_id = epoch_id_of(decoded.frame[1:])
        event = decode_event(decoded.frame, epoch_id, network)
        assert isinstance(event, Event)
        return event, height(ids[epoch_id], event.round), isinstance(decoded, OwnEvent)


def _in_rounds(event: Event) -> tuple[int, bytes]:
    return event.round, event.digest
