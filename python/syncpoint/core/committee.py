"""Who decides, and how many of them it takes."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from ..errors import ArgumentError
from .config import MAX_PEERS, Member, Network
from .crypto import blake3, simulated_signature, verify

__all__ = ["DOMAIN_GENESIS", "DOMAIN_SLOTS", "Committee"]

DOMAIN_GENESIS = b"syncpoint/genesis/v1"
DOMAIN_SLOTS = b"syncpoint/slots/v1"


class Committee:
    """The peers of one epoch in creator order, and every threshold that follows from their number (Q1).

    Observers are not among them: they are listed, and count nowhere (Q4).
    """

    __slots__ = (
        "_primaries",
        "epoch_id",
        "f",
        "fast",
        "members",
        "n",
        "observers",
        "p",
        "q",
        "qc",
        "signatures",
        "t_exposed",
        "t_plain",
    )

    def __init__(
        self,
        n: int,
        f: int | None,
        epoch_id: bytes,
        members: tuple[Member, ...] = (),
        signatures: str = "ed25519",
        observers: tuple[Member, ...] = (),
    ) -> None:
        most, peers = (n - 1) // 3, n + len(observers)
        if not 1 <= peers <= MAX_PEERS:
            raise ArgumentError(f"a committee of {peers} peers: 1 to {MAX_PEERS} are allowed")
        if n < 1:
            raise ArgumentError(f"none of {peers} peers takes part in ordering: leave out no_order for at least one")
        if f is not None and not 0 <= f <= most:
            raise ArgumentError(f"f = {f} liars among {n} peers that order: 0 to {most} can be tolerated")
        self.n = n
        self.f = most if f is None else f
        self.q = n - self.f
        self.p = 0 if self.f == 0 else (n - 3 * self.f + 1) // 2
        self.fast = n - self.p
        self.qc = (n + self.f + 2) // 2
        self.t_plain = max(1, min(n - 2 * self.f - self.p, self.qc))
        self.t_exposed = self.f + self.p
        self.epoch_id = epoch_id
        self.members = members
        self.observers = observers
        self.signatures = signatures  # one of SIGNATURES: by what `verify` checks
        self._primaries: dict[int, int] = {}

    @classmethod
    def genesis(cls, network: Network, members: Sequence[Member], signatures: str = "ed25519") -> Committee:
        """The first committee of a network; members count in the order of their keys, however they are given.

        Those that do not order are its observers, in the same order (Q4). The epoch id covers all.
        """
        ordered = tuple(sorted(members, key=lambda member: member.public))
        if len({member.public for member in ordered}) != len(ordered):
            raise ArgumentError("the same key twice in the committee: every peer has one vote (Q1)")
        encoded = b"".join(struct.pack("<32sB", member.public, member.flags) for member in ordered)
        settings = network.encode()
        epoch_id = blake3(DOMAIN_GENESIS + settings + struct.pack("<H", len(ordered)) + encoded)
        orders = tuple(member for member in ordered if member.orders)
        observers = tuple(member for member in ordered if not member.orders)
        return cls(len(orders), network.f, epoch_id, orders, signatures, observers)

    def number(self, public: bytes) -> int | None:
        """The number of the peer with a key, None when there is none: creator indices first, then observers (Q4)."""
        for number, member in enumerate((*self.members, *self.observers)):
            if member.public == public:
                return number
        return None

    def verify(self, creator: int, message: bytes, signature: bytes) -> bool:
        """Tell whether `signature` is one of `message` by a creator."""
        public = self.members[creator].public
        if self.signatures == "simulated":
            return signature == simulated_signature(public, message)
        return verify(public, message, signature)

    def primary(self, round: int) -> int:
        """The creator whose slot comes first in the round (D4)."""
        found = self._primaries.get(round)
        if found is None:
            seed = blake3(DOMAIN_SLOTS + self.epoch_id + struct.pack("<Q", round))
            found = int.from_bytes(seed[:8], "little") % self.n
            if len(self._primaries) >= PRIMARY_CACHE:
                self._primaries.clear()
            self._primaries[round] = found
        return found

    def slot_order(self, round: int) -> list[int]:
        """The creators of a round, primary first, then in a circle (D4)."""
        first = self.primary(round)
        return [*range(first, self.n), *range(first)]


PRIMARY_CACHE = 1024  # rounds; the cache is emptied when it is full
