"""What a peer stores, made by hand: events that four peers really signed, and the order that follows from them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.core.build import Peers

from syncpoint._python import DagRun
from syncpoint.core.config import Member
from syncpoint.core.journal import Position, encode_own_event, encode_peer_event
from syncpoint.core.values import Delivered, Event
from syncpoint.core.wire import encode_event
from syncpoint.runtime.rows import Identity
from syncpoint.runtime.sqlite import SqliteFile
from syncpoint.runtime.storage import Loaded, StorageSettings
from syncpoint.runtime.store import Store

OWN = 0
PAGE_BYTES = 512  # small pages make a small file
Result = TypeVar("Result")


@dataclass(frozen=True)
class Accepted:
    """One event that entered the DAG, and what was delivered then."""

    event: Event
    record: bytes
    messages: tuple[Delivered, ...]

    @property
    def is_own(self) -> bool:
        return self.event.creator == OWN


class History:
    """Full rounds of four peers, of which we are the first; every event carries a transaction."""

    def __init__(self, rounds: int, *, gc_depth: int = 4, absent: Sequence[tuple[int, int]] = ()) -> None:
        """`absent` are (round, creator) that nobody refers to, and that come at the very end."""
        self.peers = Peers(4, "store", gc_depth=gc_depth, order="fast")
        network, committee = self.peers.network, self.peers.committee
        self.identity = Identity(
            network_id=self.peers.epoch_id,
            public=committee.members[OWN].public,
            network=network,
            members=tuple(Member(member.public) for member in committee.members),
        )
        self.run = DagRun(4, None, self.peers.epoch_id, network.gc_depth, network.rule, network.order)
        self.accepted: list[Accepted] = []
        below: list[Event] = []
        for round in range(1, rounds + 1):
            row = []
            for creator in range(4):
                event = self.peers.event(creator, round, below, transactions=(b"%d/%d" % (round, creator),), salt=1)
                if (round, creator) not in absent:
                    row.append(event)
                    self.accept(event)
            below = row

    def accept(self, event: Event, taken_over: Sequence[Position] = ()) -> None:
        """One event more."""
        self.run.decider.insert(self.run._accepted(event))
        messages = [done for _, batch in self.run._batches() for done in batch]
        frame = encode_event(event)
        record = encode_own_event(frame, taken_over) if event.creator == OWN else encode_peer_event(frame)
        self.accepted.append(Accepted(event, record, tuple(messages)))

    @property
    def delivered(self) -> list[Delivered]:
        """The whole order."""
        return [done for accepted in self.accepted for done in accepted.messages]

    def settings(self, **changed: object) -> StorageSettings:
        """For a store of ours."""
        fields: dict[str, object] = {
            "identity": self.identity,
            "decode": self.peers.decode,
            "keep_rounds": 2 * self.peers.network.gc_depth,
        }
        return StorageSettings(**(fields | changed))  # type: ignore[arg-type]


@functools.cache
def history(rounds: int) -> History:
    """The same for all who only read it."""
    return History(rounds)


class Inline:
    """A worker that does everything at once."""

    async def run(self, work: Callable[[], Result]) -> Result:
        return work()

    def close(self) -> None:
        pass


class User:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.full: list[bool] = []

    def storage_failed(self, error: BaseException) -> None:
        self.errors.append(error)

    def storage_full(self, full: bool) -> None:
        self.full.append(full)


def store_at(path: Path, made: History, **settings: object) -> Store:
    """A store in a file with small pages, which waits for its disk in the event loop."""
    return Store(SqliteFile(path, page_bytes=PAGE_BYTES), Inline(), made.settings(**settings))


async def feed(store: Store, accepted: Sequence[Accepted]) -> None:
    """Give a store what a machine would, and wait until it is written."""
    for each in accepted:
        if each.is_own:
            store.persist([each.record], lambda: None)
        else:
            store.write([each.record])
        if each.messages:
            store.deliver(each.messages)
    while store._writing is not None:
        await store._writing


async def filled(path: Path, made: History, **settings: object) -> None:
    """A store with all of a history, closed."""
    store = store_at(path, made, **settings)
    user = User()
    await store.load(user)
    await feed(store, made.accepted)
    await store.close()
    assert not user.errors, user.errors


async def read_all(store: Store, loaded: Loaded, first: int = 0) -> list[Delivered]:
    """The stream from an index on, as it is stored."""
    found: list[Delivered] = []
    while first < loaded.end:
        page = await store.read(first, loaded.end)
        found += page
        first = page[-1].index + 1
    return found


def names(messages: Sequence[Delivered]) -> list[tuple[object, ...]]:
    """All that an application sees of these."""
    return [
        (
            done.index, done.event.digest, done.event.creator, done.event.round, done.event.created_at, done.parents,
            done.event.transactions, done.consensus_at, done.order_hash, done.whitened_signature, done.closed_by,
        )
        for done in messages
    ]  # fmt: skip
