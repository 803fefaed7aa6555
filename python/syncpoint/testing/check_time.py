"""Whether consensus times are times of honest clocks."""

from __future__ import annotations

import functools

from ..runtime.clock import SLEW, Clock
from .checker import Checker, Observed
from .cluster import Node
from .history import Place

__all__ = ["ConsensusTime"]

_FRESH_NS = 1_000_000  # clocks are not looked at again for so long
_KEEP = 1 << 12  # entries, before those that are too old are let go


class ConsensusTime(Checker):
    """consensus_at rises strictly, and lies between times that honest clocks showed.

    The clocks are those that processes have (`runtime.clock.Clock`, which goes on when the wall clock is set back), and
    what counts is what they showed last; so skew, drift, jumps and slewing need no allowance. An honest created_at is
    such a reading, or 1 ns above the event before it (V5).

    Not above: let t be the true time of the first delivery, and U the highest created_at or reading of an honest peer
    before t. In fair order a stamp is the lower median of q times (O4), of which at most f are lies; as f is below
    half of q, some honest one is at least as high. In fast order it is a median of medians of strong parents (O5), of
    which each event has q. O6 raises stamps only to others of the batch. So a stamp is at most U, and consensus_at at
    most U or 1 ns above the one before (O8). To U comes 1 ns for each start of a peer: what it signed last, and
    could not send before it died, may have been above its clock as well.

    Not below, in fair order: an honest creator's event e is seen by peers in events that they make later, or by
    itself, at e's own created_at. Of q such times the lower median is at least the smallest honest one. So the stamp
    is at least the smallest of e's created_at, what the clocks of honest peers said when e was sent, and with what
    those began that started between that and the delivery. Nothing is known of an event that was not seen to be
    sent (its creator died, and others got it out of its journal), nor of what liars make.

    Not below, in fast order: the batch of round R is at least the smallest honest created_at of round R - 1.
    That says nothing about round 1, where a committed liar's own created_at counts.

    With more liars than f there are no bounds.
    """

    def __init__(self, observed: Observed) -> None:
        super().__init__(observed)
        self.fair = observed.cluster.network.order == "fair"
        self._bounded = len(observed.liars) <= observed.cluster.n - observed.q
        self._clocks: dict[int, Clock] = {}  # of the newest processes, by number of the host
        self._tops: dict[int, int] = {
            node.number: 0 for node in observed.members()
        }  # what they signed, or showed before
        self._top = 0  # the highest that any had shown or signed when it was last looked at
        self._starts = 0
        self._lows: dict[tuple[int, int], int] = {}  # fair: slot of an event on its way -> no stamp is below this
        self._created: dict[tuple[int, int], int] = {}  # fast: slot -> created_at
        self._newest: dict[int, tuple[int, int]] = {}  # host -> round and created_at of its newest event
        self._low: tuple[int, int] = (-1, 0)  # what all clocks have passed, as of a virtual time (ns)
        self._batch: tuple[int, int] = (0, 0)  # fast: round, and what its stamps are not below
        self._most = _KEEP + 4 * observed.cluster.n * observed.cluster.network.gc_depth  # of these two
        self._last = -1  # consensus_at
        for node in observed.members():
            clock = node.host.hardware_clock
            clock.clock = functools.partial(self._boot, node)  # type: ignore[method-assign]

    def made(self, node: Node, creator: int, round: int, created_at: int, frame: bytes) -> None:
        """An honest event: its time is its creator's; note what the clocks show."""
        number = node.number
        if number not in self._tops:  # an observer makes no events (Q4): NoSelfFork complains
            return
        before, last = self._newest.get(number, (0, 0))
        top = self._shown(number)
        faithful = creator in self.observed.faithful
        if faithful and not last < created_at <= top:
            # Above its clock only if the event before it was already; those between were not sent.
            above = max(top, last + 1) + max(0, round - before - 1)
            if not last < created_at <= above:
                raise self.violated(
                    number,
                    f"its event of round {round} has created_at {created_at}; its clock has shown at most {top}, "
                    f"and its event of round {before} has {last}",
                )
        self._newest[number] = round, created_at
        if created_at > top:
            self._tops[number] = created_at
        slot = creator, round
        if not self.fair:
            self._created[slot] = min(created_at, self._created.get(slot, created_at))
            if len(self._created) > self._most:
                self._created = self._young(self._created, round)
        elif faithful:
            low = self._passed()
            self._lows[slot] = low if low < created_at else created_at
            if len(self._lows) > self._most:
                self._lows = self._young(self._lows, round)

    def ordered(self, place: Place) -> None:
        """Above the one before; not above, nor below, what honest clocks allow."""
        before, self._last = self._last, place.consensus_at
        if place.consensus_at <= before:
            raise self.violated(place.node, f"{_told(place)} is not above the one before it, {before}")
        if place.point is not None:
            if place.consensus_at != before + 1 and before >= 0:
                raise self.violated(place.node, f"{place.point} has not the time behind {before}")
            return
        low = self._lows.pop((place.creator, place.round), 0) if self.fair else self._low_of_batch(place.closed_by)
        if not self._bounded or (not self.fair and place.closed_by <= 1):
            return
        if place.consensus_at > self._top:
            self._top = max(self._shown(number) for number in self._tops)
        top = self._top + self._starts
        if place.consensus_at > top and place.consensus_at > before + 1:
            raise self.violated(
                place.node,
                f"{_told(place)} is {place.consensus_at - top} ns above all that honest clocks have shown: "
                f"{self._told_tops()}",
            )
        if place.consensus_at < low:
            raise self.violated(
                place.node,
                f"{_told(place)} is {low - place.consensus_at} ns below the least that an honest peer can have said: "
                f"{low}; their clocks have shown at most {self._told_tops()}",
            )

    # -- clocks -------------------------------------------------------------------------------------

    def _boot(self, node: Node) -> Clock:
        """The clock of a process that starts."""
        hardware = node.host.hardware_clock
        self._tops[node.number] = self._shown(node.number)
        clock = self._clocks[node.number] = Clock(hardware.steady, hardware.wall)
        self._starts += 1
        self._lows = {slot: min(low, clock._now) for slot, low in self._lows.items()}
        self._low = (-1, 0)
        return clock

    def _shown(self, number: int) -> int:
        """The highest that a host's clocks have shown, or that it signed."""
        clock = self._clocks.get(number)
        return self._tops[number] if clock is None else max(self._tops[number], clock._now)

    def _passed(self) -> int:
        """What no honest clock that runs will show any more, or a little less."""
        now = self.cluster.loop.now_ns
        at, low = self._low
        if at < 0 or now - at >= _FRESH_NS:  # it only rises
            nodes = self.cluster.nodes
            low = min((_passed(clock) for number, clock in self._clocks.items() if nodes[number].up), default=0)
            self._low = now, low
        return low

    def _low_of_batch(self, round: int) -> int:
        """The smallest honest created_at of the round before, or what is known to be below it."""
        if round != self._batch[0]:
            lows = []
            for node in self.observed.members():
                # Of each start one event may not have been seen, the last; the one before it is older (V5).
                rounds = range(round - 1, max(0, round - 1 - node.host.starts), -1)
                known = (self._created[slot] for each in rounds if (slot := (node.creator, each)) in self._created)
                first = next(known, None) if node.host.starts > 1 else self._created.get((node.creator, round - 1))
                if first is not None:
                    lows.append(first)
                elif node.host.starts > 1:
                    lows.append(0)
            self._batch = round, min(lows, default=0)
        return self._batch[1]

    def _young(self, slots: dict[tuple[int, int], int], round: int) -> dict[tuple[int, int], int]:
        lowest = round - 3 * self.cluster.network.gc_depth
        return {slot: at for slot, at in slots.items() if slot[1] >= lowest}

    def _told_tops(self) -> str:
        return ", ".join(f"{number}: {self._shown(number)}" for number in self._tops)


def _passed(clock: Clock) -> int:
    """What a clock will never show any more, whatever is done to the wall clock."""
    passed = clock._read_steady() - clock._steady
    return clock._now + passed - passed // SLEW


def _told(place: Place) -> str:
    return (
        f"consensus_at {place.consensus_at} at index {place.index} (creator {place.creator}, round {place.round}, "
        f"created_at {place.created_at}, closed by round {place.closed_by})"
    )
