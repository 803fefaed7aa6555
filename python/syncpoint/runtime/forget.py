"""What a store need not keep any longer, deleted in small steps."""

from __future__ import annotations

from .epochs import Epochs
from .reload import read_delivered
from .rows import State, StoreFile
from .storage import StorageSettings

__all__ = ["Forgetter"]

STEP_ROWS = 256  # of each kind, deleted in one commit


class Forgetter:
    """Decides at every commit how far the oldest rows can go.

    What a start needs always stays: the rounds that a machine keeps, and whatever an own event waits for that may still
    have to be sent again (O11).
    """

    def __init__(self, file: StoreFile, settings: StorageSettings, epochs: Epochs) -> None:
        self.closed = 0  # the height of the round whose closing delivered the last event
        self._file = file
        self._settings = settings
        self._epochs = epochs
        self._asked = 0  # heights up to here are not needed, as the application says

    def forget(self, until: int, state: State) -> None:
        """Let the stream up to this index go."""
        if until >= state.first_index:
            (row,) = read_delivered(self._file, until, until + 1)
            self._asked = max(self._asked, row.closed_by - 1)

    def step(self, state: State, own_round: int, own_from: int) -> tuple[int, int]:
        """Below which id and which index rows go with the next commit; 0 where none does.

        `own_round` and `own_from` are height and id of the oldest own event that is not settled, 0 without any.
        """
        floor = self._floor()
        if floor <= 0:
            return 0, 0
        below = min(floor, own_round - 1) if own_round else floor
        index = state.first_index + STEP_ROWS
        if not (index < state.end_index and self._closed_by(index) <= below):
            index = 0
        # An event is delivered less than `gc_depth` rounds after its own (O2), so rows that stay find their events.
        id = state.first_event + STEP_ROWS
        top = self._epochs.below(floor, self._epochs.gc_depth)
        if not (id < (own_from or state.end_event) and id < state.end_event and self._top(id) <= top):
            id = 0
        return id, index

    def _floor(self) -> int:
        """Up to which height rounds may go; they are counted on into the epoch before (S4)."""
        settings, epochs = self._settings, self._epochs
        keep = settings.keep_rounds(epochs.network_of(epochs.newest), epochs.creators_of(epochs.newest))
        most = epochs.below(self.closed, keep + 1)
        floor = min(self._asked, most)
        if settings.retain_rounds is not None:
            floor = max(floor, min(most, epochs.below(self.closed, settings.retain_rounds)))
        if settings.retain_bytes is not None and most > floor and self._file.size() > settings.retain_bytes:
            return most
        return floor

    def _closed_by(self, index: int) -> int:
        (row,) = read_delivered(self._file, index, index + 1)
        return row.closed_by

    def _top(self, id: int) -> int:
        for at in range(id, id + STEP_ROWS):  # the next one that is not damaged tells as much: it never falls
            for row in self._file.events(at, at + 1):
                if row.is_intact:
                    return row.top
        return self.closed
