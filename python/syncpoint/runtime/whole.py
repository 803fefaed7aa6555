"""Whether the journal has all that we ever signed, as far as what is written tells (R2)."""

from __future__ import annotations

from ..core.change import CHANGING
from .storage import Agreed, is_event

__all__ = ["Wholeness"]


class Wholeness:
    """Follows what is written, in its order; once own events may be missing, they may be until one is made.

    Whoever makes an event knows where to go on in its epoch. Of later epochs it knows nothing where it lost its
    journal: it may have been in them before. So an event that is made when all of an epoch is delivered says nothing,
    and each epoch that begins in the life of a process that doubts is in doubt anew, as it is for the machine.
    """

    def __init__(self, is_whole: bool, is_closed: bool) -> None:
        """`is_closed` says that nothing more is delivered in the newest epoch (S4)."""
        self.is_whole = is_whole
        self._doubts = not is_whole
        self._is_closed = is_closed

    def made(self) -> None:
        """An own event."""
        self.is_whole = self.is_whole or not self._is_closed

    def delivered(self, done: Agreed) -> None:
        """Something at its place in the order."""
        self._is_closed = not is_event(done) and done.kind in CHANGING

    def began(self) -> None:
        """The next epoch."""
        self._is_closed = False
        self.is_whole = self.is_whole and not self._doubts
