"""What was given to a store since the last commit, put together into the rows of the next one; the worker's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..core.error import Reject
from ..core.journal import EpochStart, OwnEvent, PeerEvent, Record, decode_record, encode_sync_point
from ..core.values import SyncPoint
from .epochs import Epochs, epoch_row
from .forget import Forgetter
from .page import row_of
from .reload import OpenOwn
from .rows import PROPOSALS, Batch, DeliveredRow, EventRow, MetaRow, State, StoreFile
from .storage import Agreed, StorageSettings, is_event
from .whole import Wholeness

__all__ = ["Batches", "Given"]


@dataclass(slots=True)
class Given:
    """Something that was given to be written."""

    size: int
    records: Sequence[bytes] = ()
    messages: Sequence[Agreed] = ()
    proposals: MetaRow | None = None  # their state, where it changed
    is_own: bool = False  # what we sign, or the beginning of an epoch
    durable: Callable[[], None] | None = None


class Batches:
    """Knows what the file holds as of the newest batch, so that the next one goes on from there."""

    def __init__(self, file: StoreFile, settings: StorageSettings) -> None:
        self.state = State()
        self.epochs = Epochs(settings.identity)  # that began
        self.open = OpenOwn()
        self.top = 0  # the height of the highest event
        self.wholeness = Wholeness(True, False)  # whether own events are all there
        self.forgetter = Forgetter(file, settings, self.epochs)
        self._settings = settings

    def put_together(self, given: Sequence[Given]) -> Batch:
        """The rows of what was given, and of what is let go of with it."""
        state = self.state
        events: list[EventRow] = []
        delivered: list[DeliveredRow] = []
        meta: dict[str, MetaRow] = {}
        for each in given:
            for record in each.records:
                decoded = decode_record(record)
                if isinstance(decoded, EpochStart):
                    self.epochs.add(decoded)
                    row = epoch_row(decoded)
                    meta[row.name] = row
                    self.wholeness.began()
                else:
                    events.append(self._event_row(state.end_event + len(events), record, decoded))
            for done in each.messages:
                assert done.index == state.end_index + len(delivered), "something that was delivered is missing"
                place = row_of(done)
                delivered.append(place)
                if is_event(done):
                    self.open.delivered(place.round, place.digest)
                else:
                    events.append(self._point_row(state.end_event + len(events), place.closed_by, done))
                self.wholeness.delivered(done)
                self.forgetter.closed = place.closed_by
            if each.proposals is not None:
                meta[PROPOSALS] = each.proposals
        own_height, own_from = self.open.lowest
        forget_events, forget_delivered = self.forgetter.step(state, own_height, own_from)
        self.state = State(
            sequence=state.sequence + 1,
            first_event=max(state.first_event, forget_events),
            end_event=state.end_event + len(events),
            first_index=max(state.first_index, forget_delivered),
            end_index=state.end_index + len(delivered),
            own_from=own_from,
            epochs=self.epochs.newest,
        )
        return Batch(
            events=events,
            delivered=delivered,
            meta=[*meta.values(), self.state.row()],
            forget_events=forget_events,
            forget_delivered=forget_delivered,
        )

    def _event_row(self, id: int, record: bytes, decoded: Record | None) -> EventRow:
        assert isinstance(decoded, OwnEvent | PeerEvent), "a machine wrote a record that is none of an event"
        key = self._settings.locate(decoded.frame)
        assert key is not None, "a machine wrote an event that is cut off"
        epoch_id, round, digest = key
        at = self.epochs.height_in(epoch_id, round)
        assert at is not None, "a machine wrote an event of an epoch that has not begun"
        self.top = max(self.top, at)
        row = EventRow.of(id, at, self.top, digest, record)
        if isinstance(decoded, OwnEvent):
            event = self._settings.decode(decoded.frame)
            assert not isinstance(event, Reject), "a machine wrote an event that is none"
            self.open.add(row, decoded, event.transaction_count)
            self.wholeness.made()
        return row

    def _point_row(self, id: int, closed_by: int, point: SyncPoint) -> EventRow:
        self.top = max(self.top, closed_by)
        return EventRow.of(id, closed_by, self.top, point.digest, encode_sync_point(point))
