"""The address book: which peers there are, where they listen and what they may do."""

from __future__ import annotations

import bisect
import ipaddress
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields

from syncpoint.address import parse_address
from syncpoint.core.config import MAX_PEERS
from syncpoint.errors import ArgumentError, ArgumentTypeError, KeyFormatError
from syncpoint.keys import KeyPublic
from syncpoint.tables import Table, check_fields, parse, read_source, string_field

__all__ = ["MAX_PEERS", "Peer", "PeerCapabilities", "Peers", "capabilities_line", "read_capabilities"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerCapabilities:
    """What sets one peer apart from the others; all flags are False by default.

    The flags are part of the network's identity, so all peers must name the same ones. A flag that is no
    bool raises ArgumentTypeError.
    """

    no_order: bool = False
    """The peer is an observer (Q4): it receives the order like the others, but makes no events, has no vote
    and does not count in n, f or a quorum. Its engine sends nothing: sending raises ObserverError."""

    no_logic: bool = False
    """The peer orders but does not run the application: its engine hands out no messages, so nobody has to
    read them; `recv_message` waits until the engine stops. It sends, and gets receipts, like any other."""

    public: bool = False
    """The peer can be reached by everybody at its address.

    One without the flag, as behind NAT, dials all peers that have it and is dialled by none of them. Of two
    that have it, or lack it, either may have to dial. A peer begins once it has heard from a quorum, itself
    counted (R1): so in a network of n with peers that cannot be reached, at least n - f - 1 need the flag.
    """

    unkickable: bool = False
    """The peer is never proposed for removal by the engine of another one (`Options.fallen_behind_kick_s`); who
    wants it removed calls `Engine.vote_remove_node`."""

    def __post_init__(self) -> None:
        for name in _FLAGS:
            value: object = getattr(self, name)
            if not isinstance(value, bool):
                raise ArgumentTypeError(
                    f"PeerCapabilities.{name} was given {value!r} ({type(value).__name__}); allowed are True "
                    "and False: give one of them, or leave the flag out"
                )

    @property
    def flags(self) -> int:
        """All flags as one number of 0 to 15: bit 0 is `no_order`, then in the order of the fields."""
        return sum(getattr(self, name) << bit for bit, name in enumerate(_FLAGS))

    @classmethod
    def _of(cls, flags: int) -> PeerCapabilities:
        """Those of such a number; bits that mean nothing are left out."""
        return cls(**{name: bool(flags >> bit & 1) for bit, name in enumerate(_FLAGS)})


_FLAGS = tuple(each.name for each in fields(PeerCapabilities))
_NO_CAPABILITIES = PeerCapabilities()


@dataclass(frozen=True, slots=True)
class Peer:
    """One entry of the address book."""

    address: str
    """Where the peer listens, as host:port."""

    public: KeyPublic
    """Who the peer is."""

    capabilities: PeerCapabilities = field(default_factory=PeerCapabilities)
    """What the peer may do."""


class Peers:
    """The peers of a network, ourselves included, in the order of their numbers.

    First come those that order, in the order of their public keys' bytes: their numbers are the creator indices.
    Then come the observers (`no_order`), likewise. So it does not matter who was inserted first. At most
    `MAX_PEERS` peers. Two sets are equal if they hold equal peers.

    >>> peers = Peers()
    >>> peers.insert("127.0.0.1:9001", KeyPublic.parse("4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS"))
    >>> [peer.address for peer in peers]
    ['127.0.0.1:9001']
    """

    __slots__ = ("_addresses", "_by_key", "_peers")

    def __init__(self) -> None:
        self._peers: list[Peer] = []
        self._by_key: dict[KeyPublic, Peer] = {}
        self._addresses: dict[tuple[str, int], KeyPublic] = {}

    @classmethod
    def with_capacity(cls, capacity: int) -> Peers:
        """Return an empty set; there for code that was written for the SDK.

        `capacity` is how many peers are to come, 0 to `MAX_PEERS`; ArgumentError for another number.
        """
        if isinstance(capacity, bool) or not isinstance(capacity, int):
            raise ArgumentTypeError(
                f"Peers.with_capacity was given {capacity!r} ({type(capacity).__name__}); allowed is an "
                f"int of 0 to {MAX_PEERS}: give the number of peers, or use Peers()"
            )
        if not 0 <= capacity <= MAX_PEERS:
            raise ArgumentError(
                f"Peers.with_capacity was given {capacity}; allowed are 0 to {MAX_PEERS}: "
                "a network has no more peers than that"
            )
        return cls()

    @classmethod
    def from_toml(cls, source: str | os.PathLike[str]) -> Peers:
        """Make the set from TOML: the text itself as a str, or a file as a pathlib.Path.

        Each peer is one `[[peers]]` table with `address`, `public` (the key in base58 or PEM) and,
        if any flag is set, a table `capabilities` of flags. Unknown fields, missing fields, no peer at
        all, and all that `insert` refuses raise ArgumentError, which names the peer.
        """
        what = "a TOML file with [[peers]] tables"
        text, name = read_source(source, "Peers.from_toml", "the peers text", what)
        advice = (
            "allowed are [[peers]] tables with address and public: correct that place, or give a file as pathlib.Path"
        )
        document = check_fields(parse(text, name, advice), ("peers",), name)
        return cls.from_tables(document.get("peers"), name)

    @classmethod
    def from_tables(cls, tables: object, where: str) -> Peers:
        """Make the set from `[[peers]]` tables that were parsed already; `where` names them in errors.

        The tables and the errors are those of `from_toml`.
        """
        if not isinstance(tables, list) or not tables:
            raise ArgumentError(
                f"{where} holds no peer; allowed are 1 to {MAX_PEERS} [[peers]] tables: "
                "add one with address and public for each peer, ourselves included"
            )
        peers = cls()
        for number, table in enumerate(tables, start=1):
            place = f"{where}, peer number {number}"
            entry = _peer_fields(table, place)
            try:
                peers.insert(*entry)
            except ArgumentError as error:
                raise ArgumentError(f"{place}: {error}") from None
        return peers

    def insert(
        self,
        address: str,
        public: KeyPublic,
        capabilities: PeerCapabilities = _NO_CAPABILITIES,
    ) -> None:
        """Add one peer.

        `address` is where it listens: host:port, IPv6 in square brackets, port 1 to 65535. Raises
        ArgumentError for a malformed address, for a key or an address that is there already and for
        more than `MAX_PEERS` peers; the set is then as before.
        """
        if not isinstance(public, KeyPublic):
            raise ArgumentTypeError(
                f"Peers.insert was given a {type(public).__name__} as public key; only KeyPublic is allowed: "
                "use KeyPublic.parse(text), or secret.public() for our own"
            )
        if not isinstance(capabilities, PeerCapabilities):
            raise ArgumentTypeError(
                f"Peers.insert was given a {type(capabilities).__name__} as capabilities; only "
                "PeerCapabilities is allowed: use PeerCapabilities(), or leave it out"
            )
        place = _place(*parse_address(address))
        known = self._by_key.get(public)
        if known is not None:
            raise ArgumentError(
                f"the public key {public} is already there, with the address "
                f"{known.address!r}; every peer has its own key: insert each peer once"
            )
        if place in self._addresses:
            raise ArgumentError(
                f"the address {address!r} is already that of {self._addresses[place]}; every peer has its "
                "own address: give this one another host or port"
            )
        if len(self._peers) >= MAX_PEERS:
            raise ArgumentError(
                f"{address!r} would be peer number {MAX_PEERS + 1}; at most {MAX_PEERS} are allowed: "
                "make the network smaller"
            )
        peer = self._by_key[public] = Peer(address, public, capabilities)
        bisect.insort(self._peers, peer, key=_rank)
        self._addresses[place] = public

    def index(self, public: KeyPublic) -> int:
        """Return the number of the peer with a key, 0 to len - 1; ArgumentError if it is not a peer's.

        Of a peer that orders it is its creator index; observers have the numbers after those.
        """
        if public not in self:
            raise ArgumentError(
                f"{public} is the key of none of the {len(self)} peers; allowed are the keys that were "
                "inserted: insert this peer first"
            )
        return bisect.bisect_left(self._peers, _rank(self._by_key[public]), key=_rank)

    def to_toml(self) -> str:
        """Return the set as TOML text that `from_toml` reads, in the order of iteration."""
        return "\n".join(_peer_toml(peer) for peer in self._peers)

    @classmethod
    def _of(cls, entries: Iterable[Peer]) -> Peers:
        """What a quorum has agreed upon: two may have one address, as when one takes the place of the other."""
        peers = cls()
        for peer in entries:
            peers._by_key[peer.public] = peer
            bisect.insort(peers._peers, peer, key=_rank)
            peers._addresses[_place(*parse_address(peer.address))] = peer.public
        return peers

    def __copy__(self) -> Peers:
        other = Peers()
        other._peers, other._by_key, other._addresses = list(self._peers), dict(self._by_key), dict(self._addresses)
        return other

    def __len__(self) -> int:
        return len(self._peers)

    def __iter__(self) -> Iterator[Peer]:
        return iter(tuple(self._peers))

    def __contains__(self, public: object) -> bool:
        return isinstance(public, KeyPublic) and public in self._by_key

    def __eq__(self, other: object) -> bool:
        return self._peers == other._peers if isinstance(other, Peers) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # a set that can change has no hash

    def __repr__(self) -> str:
        return f"<Peers: {len(self._peers)}>"


def _rank(peer: Peer) -> tuple[bool, KeyPublic]:
    """Return what peers are sorted by: as in a committee, those that do not order come last."""
    return peer.capabilities.no_order, peer.public


def read_capabilities(entry: Table, where: str) -> PeerCapabilities:
    """The flags in the table `capabilities` of a peer's TOML table, none without one; ArgumentError else."""
    flags = check_fields(entry.get("capabilities", {}), _FLAGS, f"{where}, capabilities")
    try:
        return PeerCapabilities(**flags)
    except ArgumentTypeError as error:
        raise ArgumentError(f"{where}: {error}") from None


def capabilities_line(capabilities: PeerCapabilities) -> str:
    """The line of TOML that `read_capabilities` reads; no line when no flag is set."""
    flags = [f"{name} = true" for name in _FLAGS if getattr(capabilities, name)]
    return f"capabilities = {{ {', '.join(flags)} }}\n" if flags else ""


def _place(host: str, port: int) -> tuple[str, int]:
    """Return what is equal for two spellings of one address."""
    try:
        return str(ipaddress.ip_address(host)), port
    except ValueError:
        return host.lower().removesuffix("."), port


def _peer_fields(table: object, where: str) -> tuple[str, KeyPublic, PeerCapabilities]:
    entry = check_fields(table, ("address", "public", "capabilities"), where)
    address = string_field(entry, "address", where, '"host:port"')
    text = string_field(entry, "public", where, '"the key in base58"')
    try:
        public = KeyPublic.parse(text)
    except KeyFormatError as error:
        raise KeyFormatError(f"{where} has public = {text!r}: {error}") from None
    return address, public, read_capabilities(entry, where)


def _peer_toml(peer: Peer) -> str:
    # Neither an address nor base58 holds anything that TOML would want escaped.
    text = f'[[peers]]\naddress = "{peer.address}"\npublic = "{peer.public}"\n'
    return text + capabilities_line(peer.capabilities)
