"""Who takes part in which epoch: under which number, with which key and at which address (S4)."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from .address import parse_address
from .core.config import MAX_PEERS, Member, Network
from .core.journal import EpochStart
from .core.roster import NO_SEAT, Roster, Seat
from .core.wire import max_frame_bytes
from .errors import ArgumentError
from .keys import KeyPublic, KeySecret
from .peers import Peer, PeerCapabilities, Peers
from .runtime.links import LinkPeer, LinkSettings

__all__ = ["Members", "Membership", "key_of", "read_contact"]

UNKNOWN_ADDRESS = "unknown.invalid:1"  # of a member that a quorum let in with words that are no address


class Members:
    """The members of one epoch, and its settings."""

    def __init__(self, epoch: int, epoch_id: bytes, roster: Roster, addresses: Mapping[int, str]) -> None:
        """`addresses` are those of the first members, by their numbers."""
        self.epoch = epoch
        self.epoch_id = epoch_id
        self.roster = roster
        self.peers = Peers._of(
            Peer(_address(seat, addresses), key_of(seat.member.public), PeerCapabilities._of(seat.member.flags))
            for seat in roster.seats
        )
        self.committee = roster.committee(epoch_id)
        self.keys = tuple(peer.public for peer in self.peers)  # by creator index, then those of observers
        self.numbers = {seat.number: key_of(seat.member.public) for seat in roster.seats}

    @property
    def network(self) -> Network:
        """The settings."""
        return self.roster.network

    def key(self, creator: int | None) -> KeyPublic | None:
        """The key of a creator, None of nobody."""
        return None if creator is None else self.keys[creator]

    def creators(self, bits: int) -> tuple[KeyPublic, ...]:
        """The keys of a set of creators, in the order of their indices."""
        return tuple(key for creator, key in enumerate(self.keys) if bits >> creator & 1)


class Membership:
    """The members of all epochs so far, and who we are among them."""

    def __init__(
        self, network: Network, network_id: bytes, peers: Peers, secrets: Sequence[KeySecret], *, joins: bool
    ) -> None:
        """`peers` are those of the first epoch; of several secrets of ours the last one that is a member's counts."""
        self.network_id = network_id
        self.joins = joins
        self._addresses = {number: peer.address for number, peer in enumerate(peers)}
        self._secrets = list(secrets)
        members = (Member(bytes(peer.public), peer.capabilities.flags) for peer in peers)
        self._epochs = [self.members(Roster.first(network, members), 0, network_id)]
        self.coming = self.current.roster  # that behind the last sync point that was delivered
        self.removed_at: int | None = None  # index of the sync point that removed us last
        self._secret = secrets[0]
        self._find_us()

    # -- the epochs ---------------------------------------------------------------------------------

    @property
    def current(self) -> Members:
        """Those of the epoch that we are in."""
        return self._epochs[-1]

    def of(self, epoch: int) -> Members:
        """Those of the epoch with a number, which was entered."""
        return self._epochs[epoch]

    def members(self, roster: Roster, epoch: int, epoch_id: bytes) -> Members:
        """What a roster means."""
        return Members(epoch, epoch_id, roster, self._addresses)

    def enter(self, start: EpochStart) -> None:
        """An epoch has begun."""
        if start.number < len(self._epochs):  # the store had it
            return
        assert start.number == len(self._epochs), "an epoch was left out"
        self._epochs.append(self.members(start.roster, start.number, start.epoch_id))
        self.coming = start.roster
        was_member = self.seat is not None
        self._find_us()
        if was_member and self.seat is None:
            self.removed_at = start.next_index - 1

    def key_at(self, number: int) -> KeyPublic | None:
        """The key of the peer that has a number at the seam, or had it last; None of who was never a member."""
        found = (members.numbers.get(number) for members in reversed(self._epochs))
        return next((key for key in found if key is not None), None)

    @property
    def is_removed(self) -> bool:
        """Whether we were a member, and are none for good."""
        return self.seat is None and not self.joins

    # -- ourselves ----------------------------------------------------------------------------------

    def may_become(self, secret: KeySecret) -> None:
        """Take note of another secret of ours: it counts in epochs whose roster has its key."""
        if secret not in self._secrets:
            self._secrets.append(secret)

    @property
    def public(self) -> KeyPublic:
        """Our key in this epoch; of who is no member, the one that it had last, or begins with."""
        return self._secret.public()

    @property
    def number(self) -> int:
        """Our number at the seam, NO_SEAT without one."""
        return NO_SEAT if self.seat is None else self.seat.number

    @property
    def capabilities(self) -> PeerCapabilities:
        """What sets us apart; nothing as long as we are no member."""
        return PeerCapabilities() if self.seat is None else PeerCapabilities._of(self.seat.member.flags)

    def links(self) -> LinkSettings:
        """Whom there are to be links with in this epoch."""
        others = []
        for seat in self.current.roster.seats:
            if seat is not self.seat:
                host, port = parse_address(_address(seat, self._addresses))
                is_public = PeerCapabilities._of(seat.member.flags).public
                others.append(LinkPeer(seat.number, seat.member.public, host, port, is_public))
        return LinkSettings(
            own=self.number,
            seed=self._secret._seed,
            key=bytes(self.public),
            # After a restart in an epoch that is over the others may know us by a newer key.
            coming=[(bytes(secret.public()), secret._seed) for secret in self._secrets if self._is_newer(secret)],
            public=self.capabilities.public,
            network_id=self.network_id,
            epoch_id=self.current.epoch_id,
            # Both sides have to say the same, and may be in different epochs.
            max_frame_bytes=max_frame_bytes(MAX_PEERS, self.current.network),
            peers=others,
        )

    def _is_newer(self, secret: KeySecret) -> bool:
        """Whether a secret of ours was given after the one that we are known by in this epoch."""
        return self._secrets.index(secret) > self._secrets.index(self._secret)

    def _find_us(self) -> None:
        self.seat: Seat | None = None
        for secret in self._secrets:
            seat = self.current.roster.seat_of(bytes(secret.public()))
            if seat is not None:
                self.seat, self._secret = seat, secret


def read_contact(contact: bytes) -> str | None:
    """The address that a member was let in with, None when it is none."""
    try:
        text = contact.decode()
        parse_address(text)
    except (UnicodeDecodeError, ArgumentError):
        return None
    return text


@functools.lru_cache(maxsize=8 * MAX_PEERS)
def key_of(public: bytes) -> KeyPublic:
    """The key with these bytes; to check that it is a good one takes its time."""
    return KeyPublic(public)


def _address(seat: Seat, addresses: Mapping[int, str]) -> str:
    """Where a member is to be found: as it was let in, or as the first peers say."""
    if not seat.contact:
        return addresses.get(seat.number, UNKNOWN_ADDRESS)
    return read_contact(seat.contact) or UNKNOWN_ADDRESS
