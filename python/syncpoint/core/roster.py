"""Who is a member, under which number, and what becomes of that and of the settings by a change (S4, S7)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import ArgumentError
from .change import Add, Change, Configure, Remove, Rotate
from .committee import Committee
from .config import MAX_PEERS, Member, Network
from .crypto import blake3

__all__ = ["DOMAIN_EPOCH", "NO_SEAT", "Places", "Roster", "Seat", "next_epoch_id"]

DOMAIN_EPOCH = b"syncpoint/epoch/v1"
NO_SEAT = MAX_PEERS  # the number of whoever is no member


class Seat(NamedTuple):
    """A member, and the number that it has as long as it is one."""

    number: int  # at the seam
    member: Member
    contact: bytes = b""  # where it is to be found; empty of a first member


@dataclass(frozen=True, slots=True)
class Roster:
    """The members and settings of one epoch."""

    network: Network
    seats: tuple[Seat, ...]  # by number, ascending
    last_number: int  # that was given to anybody

    @classmethod
    def first(cls, network: Network, members: Iterable[Member]) -> Roster:
        """That of the first epoch: numbers in the order of keys, observers last (Q4)."""
        ordered = sorted(members, key=lambda member: (not member.orders, member.public))
        seats = tuple(Seat(number, member) for number, member in enumerate(ordered))
        return cls(network, seats, len(seats) - 1)

    def seat_of(self, public: bytes) -> Seat | None:
        """The seat of the member with a key, None without one."""
        return next((seat for seat in self.seats if seat.member.public == public), None)

    def committee(self, epoch_id: bytes, signatures: str = "ed25519") -> Committee:
        """The committee of an epoch with these members; creators are in the order of their keys."""
        ordered = sorted((seat.member for seat in self.seats), key=lambda member: member.public)
        orders = tuple(member for member in ordered if member.orders)
        observers = tuple(member for member in ordered if not member.orders)
        return Committee(len(orders), self.network.f, epoch_id, orders, signatures, observers)

    def change(self, change: Change) -> Roster | None:
        """The roster after a change; None where it does not apply (S7)."""
        changed = self._changed(change)
        if changed is None:
            return None
        try:
            changed.committee(bytes(32))
        except ArgumentError:  # nobody would order, or f liars are too many for so few
            return None
        return changed

    def _changed(self, change: Change) -> Roster | None:
        if isinstance(change, Add):
            if self.seat_of(change.member.public) is not None or len(self.seats) >= MAX_PEERS:
                return None
            number = self._next_number()
            return self._with((*self.seats, Seat(number, change.member, change.contact)), number)
        if isinstance(change, Remove):
            kept = tuple(seat for seat in self.seats if seat.member.public != change.public)
            return self._with(kept) if len(kept) < len(self.seats) else None
        if isinstance(change, Rotate):
            found = self.seat_of(change.old)
            if found is None or self.seat_of(change.new) is not None:
                return None
            moved = found._replace(member=Member(change.new, found.member.flags))
            return self._with((*(seat for seat in self.seats if seat is not found), moved))
        assert isinstance(change, Configure)
        network, fixed = change.network, self.network
        if network == fixed or (network.name, network.max_payload_bytes) != (fixed.name, fixed.max_payload_bytes):
            return None  # links depend on these two
        return Roster(network, self.seats, self.last_number)

    def _with(self, seats: tuple[Seat, ...], last_number: int | None = None) -> Roster:
        ordered = tuple(sorted(seats, key=lambda seat: seat.number))
        return Roster(self.network, ordered, self.last_number if last_number is None else last_number)

    def _next_number(self) -> int:
        """The first free one behind the last one: who left is known by its own until all others had their turn."""
        taken = {seat.number for seat in self.seats}
        numbers = ((self.last_number + turn) % MAX_PEERS for turn in range(1, MAX_PEERS + 1))
        return next(number for number in numbers if number not in taken)


class Places:
    """Numbers at the seam and indices within an epoch: creators, then observers, then whoever is no member in it."""

    def __init__(self, roster: Roster, committee: Committee) -> None:
        ordered = [member.public for member in (*committee.members, *committee.observers)]
        self._size = len(ordered)
        self._indices = {seat.number: ordered.index(seat.member.public) for seat in roster.seats}
        self._numbers = {index: number for number, index in self._indices.items()}

    def index_of(self, number: int) -> int:
        """The index of the peer with a number."""
        return self._indices.get(number, self._size + number)

    def number_of(self, index: int) -> int:
        """The number of the peer with an index."""
        return self._numbers.get(index, index - self._size)


def next_epoch_id(epoch_id: bytes, digest: bytes, order_hash: bytes) -> bytes:
    """The id of the epoch behind a sync point with this digest and the order hash after it (S4)."""
    return blake3(DOMAIN_EPOCH + epoch_id + digest + order_hash)
