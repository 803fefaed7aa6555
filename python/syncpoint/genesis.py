"""The network file: all that the peers of a network have alike when it begins, and where each of them listens."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import zip_longest
from typing import TypeVar

from .core.committee import Committee
from .core.config import MAX_PEERS, Member, Network
from .errors import ArgumentError, ArgumentTypeError, KeyFormatError
from .keys import KeyPublic
from .options import Options
from .peers import PeerCapabilities, Peers, capabilities_line, read_capabilities
from .record import PeerRecord
from .tables import Table, check_fields, parse, quoted, read_source, string_field

__all__ = ["Genesis", "GenesisPeer"]

FORMAT = 1  # the first field of the file; a file of another format is refused, not guessed at
FINGERPRINT_BYTES = (
    16  # two networks with one fingerprint take 2^64 attempts, so nobody shows two people different ones
)
GROUP_DIGITS = 4
SHOWN = 200  # characters of a line in an error

Made = TypeVar("Made")  # a result
Settings = TypeVar("Settings", Network, Options)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesisPeer:
    """One peer as the network file has it."""

    record: PeerRecord
    """Its public key, with the proof that it holds the secret."""

    address: str
    """Where it listens, as host:port. It may change without making another network."""

    capabilities: PeerCapabilities = field(default_factory=PeerCapabilities)
    """What sets it apart."""

    @property
    def public(self) -> KeyPublic:
        """Who it is."""
        return self.record.public


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """What a network begins with: its settings, its peers, and options that all of them start with.

    `entries` may be given in any order, and are kept in that of the peers' numbers: by their public keys, observers
    last (Q4). Raises ArgumentError for no peer, more than 128, observers alone, one key or one address twice, a
    malformed address, and an f that so many peers cannot have; ArgumentTypeError for a value of another type.

    >>> from syncpoint import KeySecret
    >>> record = PeerRecord.of(KeySecret.from_seed(bytes(32)))
    >>> genesis = Genesis(entries=(GenesisPeer(record=record, address="127.0.0.1:9001"),))
    >>> genesis.fingerprint
    'e01a 2221 88dd 354e dfe5 9d6f 6bcc cfb8'
    >>> Genesis.from_toml(genesis.to_toml()) == genesis
    True
    """

    entries: tuple[GenesisPeer, ...]
    """All peers."""

    network: Network = field(default_factory=Network)
    """What all peers must have set alike."""

    options: Options = field(default_factory=Options)
    """What all peers start with; a peer that differs here is in the same network."""

    committee: Committee = field(init=False, repr=False, compare=False)
    """The first committee: n, f, q and every other threshold."""

    def __post_init__(self) -> None:
        for name, kind in (("network", Network), ("options", Options), ("entries", tuple)):
            _check_type(f"Genesis.{name}", getattr(self, name), kind)
        for entry in self.entries:
            _check_type("an entry of Genesis.entries", entry, GenesisPeer)
            _check_type("GenesisPeer.record", entry.record, PeerRecord)
        if not self.entries:
            raise ArgumentError(f"a network without peers; allowed are 1 to {MAX_PEERS}: give the record of each")
        numbered = {peer.public: number for number, peer in enumerate(self.peers())}
        ordered = tuple(sorted(self.entries, key=lambda entry: numbered[entry.public]))
        object.__setattr__(self, "entries", ordered)
        members = [Member(bytes(entry.public), entry.capabilities.flags) for entry in ordered]
        object.__setattr__(self, "committee", Committee.genesis(self.network, members))

    @classmethod
    def from_toml(cls, source: str | os.PathLike[str]) -> Genesis:
        """Read the one form that `to_toml` writes: the text itself as a str, or a file as a pathlib.Path.

        Whatever `to_toml` would write otherwise is refused, so that equal networks have equal files. Raises
        ArgumentError, which names the place, what is wrong there, and what should stand there.
        """
        text, where = read_source(source, "Genesis.from_toml", "the network text", "a network file")
        document = parse(text, where, "correct that place, or take the file once more from whoever made it")
        if document.get("format") != FORMAT:
            raise ArgumentError(
                f"{where} has {_found(document, 'format')}; this version of syncpoint reads format = {FORMAT}: "
                "give a network file, as 'syncpoint network create' writes it, or install the version that wrote it"
            )
        check_fields(document, ("format", "network", "options", "peers"), where)
        genesis = _in_place(
            where,
            lambda: cls(
                network=_settings(document, "network", Network),
                options=_settings(document, "options", Options),
                entries=tuple(_entries(document.get("peers", []))),
            ),
        )
        _require_canonical(text, genesis.to_toml(), where)
        return genesis

    def to_toml(self) -> str:
        """Return the network file: the one text for this network, its options and addresses.

        Settings of the network are all written, but those that are None; options only where they differ from the
        default; peers in the order of their numbers, with the flags that are set. No comments.
        """
        options = Options()
        changed = [
            each.name for each in fields(Options) if getattr(self.options, each.name) != getattr(options, each.name)
        ]
        return "\n".join(
            [
                f"format = {FORMAT}",
                "",
                "[network]",
                *_lines(self.network, [each.name for each in fields(Network)]),
                "",
                *(["[options]", *_lines(self.options, changed), ""] if changed else []),
                "\n".join(_entry_toml(entry) for entry in self.entries),
            ]
        )

    @property
    def id(self) -> bytes:
        """The network id, 32 bytes: the hash of all that peers must have alike, which every event carries (E1).

        That is the network's settings and the peers' keys and capabilities. Addresses and options are not in it.
        """
        return self.committee.epoch_id

    @property
    def fingerprint(self) -> str:
        """The first half of the id in groups of hex digits, for people to compare by voice."""
        digits = self.id[:FINGERPRINT_BYTES].hex()
        return " ".join(digits[at : at + GROUP_DIGITS] for at in range(0, len(digits), GROUP_DIGITS))

    def peers(self) -> Peers:
        """Return the address book, a new one each time, as `Engine.start` takes it."""
        peers = Peers()
        for entry in self.entries:
            peers.insert(entry.address, entry.public, entry.capabilities)
        return peers


def _check_type(what: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise ArgumentTypeError(f"{what} is a {type(value).__name__}: give a {kind.__name__}")


# -- writing ----------------------------------------------------------------------------------------


def _lines(settings: Network | Options, names: list[str]) -> Iterator[str]:
    """A line for each setting that is not None."""
    for name in names:
        value = getattr(settings, name)
        if isinstance(value, bool):
            yield f"{name} = {str(value).lower()}"
        elif value is not None:
            yield f"{name} = {quoted(value) if isinstance(value, str) else value}"


def _entry_toml(entry: GenesisPeer) -> str:
    # Neither an address nor base58 holds anything that TOML would want escaped.
    return f'[[peers]]\nrecord = "{entry.record}"\naddress = "{entry.address}"\n' + capabilities_line(
        entry.capabilities
    )


# -- reading ----------------------------------------------------------------------------------------


def _settings(document: Table, name: str, kind: type[Settings]) -> Settings:
    """The settings in the table of this name, the defaults without one."""
    table = check_fields(document.get(name, {}), [each.name for each in fields(kind)], f"[{name}]")
    return _in_place(f"[{name}]", lambda: kind(**table))


def _entries(tables: object) -> Iterator[GenesisPeer]:
    if not isinstance(tables, list):
        raise ArgumentError(f"peers is {tables!r}; allowed are [[peers]] tables: write one for each peer")
    for number, table in enumerate(tables, start=1):
        where = f"peer number {number}"
        entry = check_fields(table, ("record", "address", "capabilities"), where)
        address = string_field(entry, "address", where, '"host:port"')
        where = f"{where}, at {address}"
        text = string_field(entry, "record", where, "\"what 'syncpoint keygen' printed\"")
        record = _in_place(where, partial(PeerRecord.parse, text))
        yield GenesisPeer(record=record, address=address, capabilities=read_capabilities(entry, where))


def _in_place(where: str, make: Callable[[], Made]) -> Made:
    """What `make` returns; its complaints name the place."""
    try:
        return make()
    except KeyFormatError as error:
        raise KeyFormatError(f"{where}: {error}") from None
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"{where}: {error}") from None


def _require_canonical(given: str, canonical: str, where: str) -> None:
    if given == canonical:
        return
    # Only a line feed ends a line here, as in TOML; a name may hold other characters that end lines elsewhere.
    lines = zip_longest(*(io.StringIO(text, newline="\n") for text in (given, canonical)))
    for number, (is_there, belongs) in enumerate(lines, start=1):
        if is_there != belongs:
            found = "the file ends before" if is_there is None else f"{_shown(is_there, belongs)} stands in"
            wanted = "the file should end before it"
            if belongs is not None:
                wanted = f"{_shown(belongs, is_there)} should stand there"
            raise ArgumentError(
                f"{where} is not in the one form of a network file: {found} line {number}, and {wanted}. "
                "Take the file once more from whoever made it, or correct that line"
            )
    raise AssertionError("texts that differ have a line that differs")


def _shown(line: str, other: str | None) -> str:
    """A line for an error, without the line feed that both have."""
    if other is not None and line.endswith("\n") and other.endswith("\n"):
        line = line[:-1]
    return repr(line if len(line) <= SHOWN else f"{line[:SHOWN]}...")


def _found(document: Table, name: str) -> str:
    return f"{name} = {document[name]!r}" if name in document else f"no {name}"
