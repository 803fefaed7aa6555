"""How long to wait for whom: measured, local, and never a matter of safety (P4, P5)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from .committee import Committee

__all__ = ["Advance", "Timer"]

MS = 1_000_000
MIN_SOFT_NS, FIRST_SOFT_NS, MAX_SOFT_NS = 5 * MS, 20 * MS, 250 * MS
MIN_TIMEOUT_NS, FIRST_TIMEOUT_NS, MAX_TIMEOUT_NS = 5 * MS, 100 * MS, 10_000 * MS
HISTORY_ROUNDS = 16  # of which a timely peer was in time ...
TIMELY_ROUNDS = 13  # ... in at least so many (80 %)
SMOOTHING = 8  # weight of the past in an average, of 1 / (1 + SMOOTHING) for the newest


class Advance(Enum):
    """What ended the wait for a round (P3)."""

    SETTLED = "settled"
    TIMEOUT = "timeout"
    OVERTAKEN = "overtaken"


class Arrivals:
    """When the events of one round were accepted here."""

    __slots__ = ("at", "created_at", "creators", "quorum_at", "unsettled")

    def __init__(self) -> None:
        self.at: dict[int, int] = {}  # creator -> ns
        self.creators = 0  # bit set
        self.created_at: int | None = None  # ns, when our own was made
        self.quorum_at: int | None = None  # ns, when q creators were here
        self.unsettled = False  # we waited for it to be settled


class Timer:
    """Arrivals by round, and the waits that follow from them."""

    def __init__(self, committee: Committee, own: int) -> None:
        self.committee = committee
        self.own = own
        self.soft_ns = FIRST_SOFT_NS
        self.timeout_ns = FIRST_TIMEOUT_NS
        self.timely = (1 << committee.n) - 1 if own < committee.n else 0  # bit set over creators; observers do not wait
        self.linked = 1 << own  # bit set over creators: we, and those with a live link
        self.timeouts = 0
        self._in_time = [(1 << HISTORY_ROUNDS) - 1] * committee.n  # one bit per round, newest lowest
        self._rounds: dict[int, Arrivals] = {}
        self._delay_ns = FIRST_SOFT_NS  # from our event of a round to q events of it
        self._late_ns = FIRST_SOFT_NS  # from q events of a round to the last one worth waiting for
        self._settle_ns = FIRST_TIMEOUT_NS // 4  # from q events of a round to when it is settled

    def follow(self, before: Timer, places: Sequence[int]) -> None:
        """Go on with what was measured in the epoch before, where the creators had these indices.

        Who was no creator there is not waited for until it is mostly in time: it may still be catching up (P4).
        """
        self.timeouts = before.timeouts
        if before.own >= before.committee.n:  # an observer measures nothing
            return
        self.soft_ns, self.timeout_ns = before.soft_ns, before.timeout_ns
        self._delay_ns, self._late_ns, self._settle_ns = before._delay_ns, before._late_ns, before._settle_ns
        for creator, place in enumerate(places):
            was_there = place < before.committee.n
            self._in_time[creator] = before._in_time[place] if was_there else 0
            if not was_there or not before.timely >> place & 1:
                self.timely &= ~(1 << creator)

    def accepted(self, round: int, creator: int, now: int) -> None:
        """Note the first event of a creator in a round."""
        arrivals = self._rounds.setdefault(round, Arrivals())
        if arrivals.creators >> creator & 1:
            return
        arrivals.creators |= 1 << creator
        arrivals.at[creator] = now
        if creator == self.own:
            arrivals.created_at = now
        if arrivals.creators.bit_count() == self.committee.q:
            arrivals.quorum_at = now

    def expects(self, creator: int) -> bool:
        """Whether a creator's next event is worth a wait: it is linked and mostly in time (P4)."""
        return bool(self.timely & self.linked & 1 << creator)

    def soft_until(self, round: int) -> int:
        """Until when to wait for the timely peers' events of a round; 0 when they are all here (P4)."""
        arrivals = self._rounds.get(round)
        if arrivals is None or arrivals.quorum_at is None or not self.timely & self.linked & ~arrivals.creators:
            return 0
        return arrivals.quorum_at + self.soft_ns

    def timeout_at(self, round: int) -> int:
        """When the wait for a round ends whatever is missing (P3)."""
        arrivals = self._rounds.get(round)
        if arrivals is None or arrivals.quorum_at is None:
            return 0
        return arrivals.quorum_at + self.timeout_ns

    def unsettled(self, round: int) -> None:
        """Note that we wait only for the round to be settled (P3)."""
        self._rounds.setdefault(round, Arrivals()).unsettled = True

    def advanced(self, round: int, by: Advance, now: int) -> None:
        """Learn from a round that we leave now for the next one (P5)."""
        self.prune(round - 2)
        if by is Advance.OVERTAKEN:  # we were behind: these arrivals say nothing about the peers
            return
        arrivals = self._rounds.get(round)
        if by is Advance.TIMEOUT:
            if arrivals is not None and arrivals.unsettled:  # else nobody waited: the round was over long ago
                self.timeouts += 1
                self.timeout_ns = min(2 * self.timeout_ns, MAX_TIMEOUT_NS)
        elif arrivals is not None and arrivals.quorum_at is not None:
            took = now - arrivals.quorum_at if arrivals.unsettled else 0
            self._settle_ns = _smooth(self._settle_ns, took)
            base = 4 * self._settle_ns + self.soft_ns + MIN_TIMEOUT_NS
            self.timeout_ns = min(max(base, self.timeout_ns * 3 // 4), MAX_TIMEOUT_NS)
        self._score(round - 1)  # one round later, so that who was a little late is seen to be there

    def prune(self, floor: int) -> None:
        """Forget the arrivals of all rounds up to `floor`."""
        for round in [round for round in self._rounds if round <= floor]:
            del self._rounds[round]

    def _score(self, round: int) -> None:
        """Who was in time in a round, and how long that took."""
        arrivals = self._rounds.get(round)
        if arrivals is None or arrivals.quorum_at is None:
            return
        if arrivals.created_at is not None:
            self._delay_ns = _smooth(self._delay_ns, max(0, arrivals.quorum_at - arrivals.created_at))
        # Far later than the network's own delay is slow: not worth a wait (P4).
        cap, late = 4 * self._delay_ns + MIN_SOFT_NS, 0
        for creator in range(self.committee.n):
            lateness = arrivals.at.get(creator, arrivals.quorum_at + MAX_SOFT_NS + 1) - arrivals.quorum_at
            in_time = creator == self.own or lateness <= self.soft_ns
            history = (self._in_time[creator] << 1 | in_time) & ((1 << HISTORY_ROUNDS) - 1)
            self._in_time[creator] = history
            if history.bit_count() >= TIMELY_ROUNDS:
                self.timely |= 1 << creator
            else:
                self.timely &= ~(1 << creator)
            if lateness <= cap:
                late = max(late, lateness)
        self._late_ns = _smooth(self._late_ns, late)
        # Generous: leaving without a timely peer's vote costs a delay or two, and who is there is not waited for.
        self.soft_ns = min(max(4 * self._late_ns, MIN_SOFT_NS), cap, MAX_SOFT_NS)


def _smooth(average: int, value: int) -> int:
    return average + (value - average) // SMOOTHING if value != average else average
