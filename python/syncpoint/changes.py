"""What changes the network, between the application and the core: checked at the call, readable where it arrives."""

from __future__ import annotations

import copy

from .address import parse_address
from .core import values
from .core.change import MAX_CONTACT_BYTES, Add, Change, Configure, Remove, Rotate, decode_change
from .core.config import Network
from .core.output import Opened
from .core.roster import Roster
from .core.values import SyncPointKind
from .errors import ArgumentError, ArgumentTypeError
from .keys import KeyPublic, KeySecret
from .membership import Members, Membership, key_of, read_contact
from .message import Attester, SyncPoint
from .peers import Peer, PeerCapabilities
from .proposal import Proposal
from .record import PeerRecord
from .removal import FALLEN_BEHIND, is_kick

__all__ = [
    "addition",
    "check_applies",
    "configuration",
    "read_proposal",
    "read_sync_point",
    "removal",
    "roster_after",
    "rotation",
]


# -- what the application asks for ----------------------------------------------------------------------


def addition(address: object, record: object, capabilities: object) -> Add:
    """A member more; raises ArgumentError or ArgumentTypeError for what is none."""
    call = "Engine.vote_add_node"
    if not isinstance(record, PeerRecord):
        raise ArgumentTypeError(
            f"{call}: record is a {type(record).__name__}: give the PeerRecord that its owner's PeerRecord.of(secret), "
            "or 'syncpoint keygen', made"
        )
    if not isinstance(capabilities, PeerCapabilities):
        raise ArgumentTypeError(
            f"{call}: capabilities is a {type(capabilities).__name__}: give PeerCapabilities(...), or leave it out"
        )
    parse_address(address)  # type: ignore[arg-type]  # it says what is wrong
    assert isinstance(address, str)
    contact = address.encode()
    if len(contact) > MAX_CONTACT_BYTES:
        raise ArgumentError(f"{call}: the address has {len(contact)} bytes: give {MAX_CONTACT_BYTES} at most")
    return Add(bytes(record), capabilities.flags, contact)


def removal(public: object) -> Remove:
    """A member less; raises ArgumentTypeError for what is none."""
    if not isinstance(public, KeyPublic):
        raise ArgumentTypeError(
            f"Engine.vote_remove_node: public is a {type(public).__name__}: give the KeyPublic of a member, "
            "as in Engine.peers"
        )
    return Remove(bytes(public))


def rotation(membership: Membership, secret: object) -> Rotate:
    """Another key for ourselves; raises ArgumentTypeError for what is none."""
    if not isinstance(secret, KeySecret):
        # The value is not shown: it may be a secret in another form.
        raise ArgumentTypeError(f"Engine.rotate_key: secret is a {type(secret).__name__}: give a KeySecret")
    ours = (seat.member.public for seat in membership.coming.seats if seat.number == membership.number)
    return Rotate(next(ours, bytes(membership.public)), bytes(PeerRecord.of(secret)))


def configuration(network: object) -> Configure:
    """Other settings; raises ArgumentTypeError for what is none."""
    if not isinstance(network, Network):
        raise ArgumentTypeError(f"Engine.change_options: network is a {type(network).__name__}: give a Network")
    return Configure(network)


def check_applies(roster: Roster, change: Change) -> None:
    """Raise ArgumentError where a change cannot be made to a roster (S7)."""
    if roster.change(change) is not None:
        return
    orders = sum(seat.member.orders for seat in roster.seats)
    match change:
        case Add():
            public, seats = key_of(change.member.public), len(roster.seats)
            if roster.seat_of(change.member.public) is None:
                raise ArgumentError(
                    f"Engine.vote_add_node: there are {seats} members, and no network has more: remove one first"
                )
            raise ArgumentError(f"Engine.vote_add_node: {public} is a member already: there is nothing to change")
        case Remove():
            public, seat = key_of(change.public), roster.seat_of(change.public)
            if seat is None:
                raise ArgumentError(
                    f"Engine.vote_remove_node: {public} is none of the {len(roster.seats)} members: "
                    "look at Engine.peers"
                )
            if orders == seat.member.orders:
                raise ArgumentError(
                    f"Engine.vote_remove_node: without {public} nobody would order: add another member first"
                )
            raise ArgumentError(
                f"Engine.vote_remove_node: without {public} there would be {orders - 1} members that order, and f is "
                f"set to {roster.network.f}, which takes {_least(roster.network)}: "
                "lower it with Engine.change_options first"
            )
        case Rotate():
            raise ArgumentError(
                f"Engine.rotate_key: {key_of(change.new)} is a member's key already: give KeySecret.generate()"
            )
        case Configure():
            _check_settings(roster.network, change.network, orders)


def _check_settings(now: Network, network: Network, orders: int) -> None:
    """Raise ArgumentError that says why the settings of a network cannot become others."""
    if network == now:
        raise ArgumentError("Engine.change_options: these are the settings already: there is nothing to change")
    for name in ("name", "max_payload_bytes"):
        if getattr(network, name) != getattr(now, name):
            raise ArgumentError(
                f"Engine.change_options: {name} would be {getattr(network, name)!r}, and stays "
                f"{getattr(now, name)!r} as long as the network lives: start another network for that"
            )
    raise ArgumentError(
        f"Engine.change_options: f would be {network.f}, which takes {_least(network)} members that order, and there "
        f"are {orders}: give {(orders - 1) // 3} at most, or None"
    )


def _least(network: Network) -> int:
    return 3 * (network.f or 0) + 1


# -- what arrives ---------------------------------------------------------------------------------------


def read_proposal(opened: Opened, members: Members) -> Proposal | None:
    """A proposal that was opened, as the application sees it; None where it would not see what it asks for.

    That is a new member with an address that is none, or with flags that this version does not know.
    """
    change = decode_change(opened.kind, opened.change)
    joins, leaves, rotates, network = None, None, None, None
    match change:
        case Add():
            address, capabilities = read_contact(change.contact), PeerCapabilities._of(change.flags)
            if address is None or capabilities.flags != change.flags:
                return None
            joins = Peer(address, key_of(change.member.public), capabilities)
        case Remove():
            leaves = key_of(change.public)
        case Rotate():
            rotates = key_of(change.old), key_of(change.new)
        case Configure():
            network = change.network
    return Proposal(
        id=opened.proposal,
        kind=SyncPointKind(opened.kind),
        metadata=opened.metadata,
        proposer=members.keys[opened.proposer],
        deadline=opened.deadline,
        joins=joins,
        leaves=leaves,
        rotates=rotates,
        network=network,
        _change=opened.change,
    )


def read_sync_point(
    point: values.SyncPoint, membership: Membership, *, is_just_synced: bool, engine: Attester
) -> SyncPoint:
    """A sync point of the core, as the application sees it."""
    before = membership.of(point.epoch)
    after, change = roster_after(point, before)
    joined: tuple[KeyPublic, ...] = ()
    gone: tuple[KeyPublic, ...] = ()
    rotated: tuple[tuple[KeyPublic, KeyPublic], ...] = ()
    match change:
        case Add():
            joined = (key_of(change.member.public),)
        case Remove():
            gone = (key_of(change.public),)
        case Rotate():
            rotated = ((key_of(change.old), key_of(change.new)),)
    kicked = is_kick(point.metadata)
    members = before if after is before.roster else membership.members(after, point.epoch + 1, bytes(32))
    return SyncPoint(
        kind=SyncPointKind(point.kind),
        metadata=point.metadata,
        index=point.index,
        timestamp=point.consensus_at,
        epoch_index=point.epoch_index,
        session_id=point.session_id,
        proposer=before.key(point.proposer),
        approvals=before.creators(point.approvals),
        joined=joined,
        left=() if kicked else gone,
        kicked=gone if kicked else (),
        fallen_behind=gone if point.metadata.startswith(FALLEN_BEHIND) else (),
        rotated=rotated,
        peers=copy.copy(members.peers),
        network=members.network,
        is_just_synced=is_just_synced,
        order_hash=point.order_hash,
        _engine=engine,
    )


def roster_after(point: values.SyncPoint, before: Members) -> tuple[Roster, Change | None]:
    """The roster from a sync point on, that of its own epoch if it changes nothing, and what it changes."""
    change = decode_change(point.kind, point.change) if point.change else None
    after = None if change is None else before.roster.change(change)
    return (before.roster, None) if after is None else (after, change)
