"""What a peer stores, made by hand: events that four peers really signed, and the order that follows from them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.core.build import Peers

from syncpoint._python import DagRun
from syncpoint.core.config import Member
from syncpoint.core.epoch import Ballot, Outcome
from syncpoint.core.items import Proposal, encode_proposal, encode_vote, proposal_id
from syncpoint.core.items import Vote as VoteItem
from syncpoint.core.journal import (
    Position,
    StoredSyncPoint,
    decode_record,
    encode_own_event,
    encode_peer_event,
    encode_sync_point,
)
from syncpoint.core.retain import RETAIN_GC_DEPTHS
from syncpoint.core.values import Event, Item, ItemType, SyncPoint, SyncPointKind
from syncpoint.core.wire import encode_event
from syncpoint.runtime.rows import Batch, EventRow, Identity
from syncpoint.runtime.sqlite import SqliteFile
from syncpoint.runtime.storage import Agreed, Loaded, StorageSettings, is_event
from syncpoint.runtime.store import Store

OWN = 0
PAGE_BYTES = 512  # small pages make a small file
Result = TypeVar("Result")


@dataclass(frozen=True)
class Accepted:
    """One event that entered the DAG, and what was delivered then."""

    event: Event
    record: bytes
    messages: tuple[Agreed, ...]
    states: tuple[tuple[int, bytes], ...] = ()
    opened: tuple[Ballot, ...] = ()
    decided: tuple[tuple[bytes, Outcome], ...] = ()

    @property
    def is_own(self) -> bool:
        return self.event.creator == OWN


class History:
    """Full rounds of four peers, of which we are the first; every event carries a transaction."""

    def __init__(
        self,
        rounds: int,
        *,
        gc_depth: int = 4,
        absent: Sequence[tuple[int, int]] = (),
        items: Callable[[History, int, int], Sequence[Item]] = lambda made, round, creator: (),
        round_ns: int = 1000,
        **network: Any,
    ) -> None:
        """`absent` are (round, creator) that nobody refers to, and that come at the very end.

        `items` says what the event of a round and a creator carries.
        """
        self.peers = Peers(4, "store", gc_depth=gc_depth, order="fast", **network)
        network, committee = self.peers.network, self.peers.committee
        self.identity = Identity(
            network_id=self.peers.epoch_id,
            public=committee.members[OWN].public,
            network=network,
            members=tuple(Member(member.public) for member in committee.members),
        )
        self.run = DagRun(4, None, self.peers.epoch_id, network.gc_depth, network.rule, network.order, network.epoch_ms)
        self.accepted: list[Accepted] = []
        below: list[Event] = []
        for round in range(1, rounds + 1):
            row = []
            for creator in range(4):
                carried = items(self, round, creator)
                payload = (b"%d/%d" % (round, creator),)
                event = self.peers.event(
                    creator, round, below, transactions=payload, items=carried, salt=1, created_at=round * round_ns
                )  # fmt: skip
                if (round, creator) not in absent:
                    row.append(event)
                    self.accept(event)
            below = row

    def accept(self, event: Event, taken_over: Sequence[Position] = ()) -> None:
        """One event more."""
        self.run.decider.insert(self.run._accepted(event))
        messages: list[Agreed] = []
        states: list[tuple[int, bytes]] = []
        epoch = self.run.epoch
        for round, committed in self.run.decider.closing():
            for done in [] if epoch.is_ended else self.run.orderer.close(round, committed):
                epoch.count(done)
                messages.append(done)
            messages += epoch.close(round, self.run.orderer)
            state = epoch.take_changes()
            if state is not None:
                states.append((round, state))
        news = epoch.take_news()
        opened = [ballot for ballot, how in news if how is None]
        decided = [(ballot.id, how) for ballot, how in news if how is not None]
        frame = encode_event(event)
        record = encode_own_event(frame, taken_over) if event.creator == OWN else encode_peer_event(frame)
        self.accepted.append(
            Accepted(event, record, tuple(messages), tuple(states), tuple(opened), tuple(decided))
        )  # fmt: skip

    @property
    def delivered(self) -> list[Any]:
        """The whole order."""
        return [done for accepted in self.accepted for done in accepted.messages]

    def settings(self, **changed: object) -> StorageSettings:
        """For a store of ours."""
        fields: dict[str, object] = {
            "identity": self.identity,
            "decode": self.peers.decode,
            "keep_rounds": lambda network, n: RETAIN_GC_DEPTHS * network.gc_depth,
        }
        return StorageSettings(**(fields | changed))  # type: ignore[arg-type]


@functools.cache
def history(rounds: int) -> History:
    """The same for all who only read it."""
    return History(rounds)


DEADLINE = 10**9  # ns

# What is said in the history below: (round, creator) -> (proposals by number, votes as (number, approves)).
SAID: dict[tuple[int, int], tuple[tuple[int, ...], tuple[tuple[int, bool], ...]]] = {
    (2, 1): ((1,), ()),
    (3, 0): ((2,), ((1, True),)),
    (5, 2): ((3, 4), ((2, True), (1, False))),  # 1 and 2 wait for their last vote, 3 is refused
    (6, 3): ((), ((3, False),)),
    (8, 0): ((), ((3, False), (4, True))),
    (9, 3): ((), ((1, True), (2, True))),  # 1 and 2 are adopted at once
    (12, 1): ((1,), ((4, True), (2, False))),  # 1 once more: it is decided, and stays so
    (14, 2): ((5,), ()),
    (16, 0): ((), ((5, True),)),
    (18, 3): ((6,), ((5, True),)),  # 6 is never decided
}
KINDS = {
    1: SyncPointKind.SNAPSHOT,
    2: SyncPointKind.CUSTOM,
    3: SyncPointKind.END,
    4: SyncPointKind.SESSION,
    5: SyncPointKind.EPOCH,
    6: SyncPointKind.END,
}
PROPOSERS = {number: creator for (_, creator), (proposed, _) in reversed(SAID.items()) for number in proposed}


def body_of(number: int) -> bytes:
    """What is proposed under a number."""
    return encode_proposal(Proposal(KINDS[number], DEADLINE, number, b"proposal %d" % number + bytes(number == 2)))


def id_of(made: History, number: int) -> bytes:
    """The id of that proposal."""
    return proposal_id(made.peers.epoch_id, PROPOSERS[number], body_of(number))


def said(made: History, round: int, creator: int) -> list[Item]:
    """The items of an event: proposals and votes as in `SAID`."""
    proposed, votes = SAID.get((round, creator), ((), ()))
    items = [Item(ItemType.PROPOSE, body_of(number)) for number in proposed]
    return items + [
        Item(ItemType.VOTE, encode_vote(VoteItem(id_of(made, number), approves))) for number, approves in votes
    ]


@functools.cache
def with_points(rounds: int = 24) -> History:
    """A history in which the network agrees about itself, by proposals and by the clock."""
    return History(rounds, items=said, epoch_ms=1, round_ns=150_000)


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


def give(store: Store, accepted: Sequence[Accepted]) -> None:
    """Give a store what a machine would."""
    for each in accepted:
        if each.is_own:
            store.persist([each.record], lambda: None)
        else:
            store.write([each.record])
        if each.messages:
            store.deliver(each.messages, each.states)


async def feed(store: Store, accepted: Sequence[Accepted]) -> None:
    """The same, and wait until it is written."""
    give(store, accepted)
    await store.written()


async def filled(path: Path, made: History, **settings: object) -> None:
    """A store with all of a history, closed."""
    store = store_at(path, made, **settings)
    user = User()
    await store.load(user)
    await feed(store, made.accepted)
    await store.close()
    assert not user.errors, user.errors


async def read_all(store: Store, loaded: Loaded, first: int = 0) -> list[Agreed]:
    """The stream from an index on, as it is stored."""
    found: list[Agreed] = []
    while first < loaded.end:
        page = await store.read(first, loaded.end)
        found += page
        first = page[-1].index + 1
    return found


async def old_events(store: Store, *asked: Any) -> list[bytes]:
    """All pages of an answer to a peer that is behind."""
    return [frame async for page in store.above(*asked) for frame in page]


def rewrite_point(path: Path, **changed: Any) -> EventRow:
    """Let the first sync point of a store say something else, with a checksum that fits; its row."""
    file = SqliteFile(path)
    file.open()
    row = next(row for row in file.events(1, 1000) if isinstance(decode_record(row.record), StoredSyncPoint))
    record = decode_record(row.record)
    assert isinstance(record, StoredSyncPoint)
    place = {"digest": b"", "index": 0, "consensus_at": 0, "order_hash": b"", "closed_by": 0}
    said_now = encode_sync_point(SyncPoint(**(record._asdict() | place | changed)))
    file._db.execute("DELETE FROM event WHERE id = ?", (row.id,))
    file.commit(Batch(events=[EventRow.of(row.id, row.round, row.top, row.digest, said_now)]), sync=False)
    file.close()
    return row


def names(messages: Sequence[Agreed]) -> list[tuple[object, ...]]:
    """All that an application sees of these."""
    return [_name(done) for done in messages]


def _name(done: Agreed) -> tuple[object, ...]:
    place = done.index, done.digest, done.consensus_at, done.order_hash, done.closed_by
    if not is_event(done):
        said_of_it = done.kind, done.metadata, done.proposal, done.proposer, done.approvals
        return *place, *said_of_it, done.epoch_index, done.session_id
    event = done.event
    said_of_it = event.creator, event.round, event.created_at, done.parents, event.transactions
    return *place, *said_of_it, done.whitened_signature
