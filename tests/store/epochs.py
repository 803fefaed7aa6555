"""What a peer stores over several epochs: all that a real machine puts out while members, keys and settings change."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.core.epochs import Changing
from tests.core.shelf import Shelf
from tests.core.virtual import MS, members_of

from syncpoint.core.change import Configure
from syncpoint.core.config import Local, Network
from syncpoint.core.crypto import derive
from syncpoint.core.journal import EpochStart, OwnEvent, PeerEvent, decode_record, height
from syncpoint.core.output import Deliver, Entered, Persist, Write
from syncpoint.core.retain import Retention
from syncpoint.core.values import SyncPointKind
from syncpoint.core.wire import decode_event, epoch_id_of
from syncpoint.runtime.rows import Identity
from syncpoint.runtime.sqlite import SqliteFile
from syncpoint.runtime.storage import Loaded, StorageSettings
from syncpoint.runtime.store import Store

from .history import PAGE_BYTES, Inline, User

OWN = 0  # whose store it is
N = 5
NETWORK = Network(gc_depth=4)
LOCAL = Local(stores=True, retain_events=1)  # so the rounds that are kept follow from the settings alone
NEW = bytes([100]) * 32


class Watched(Changing):
    """Changing machines; what one of them puts out is kept, in its order."""

    def __init__(self, **settings: Any) -> None:
        self.outputs: list[Any] = []
        super().__init__(N, network=NETWORK, local=LOCAL, **settings)

    @property
    def identity(self) -> Identity:
        """Whose store it is."""
        members = members_of(N)
        return Identity(network_id=self.epoch_id, public=derive(self.keys[OWN][0]), network=NETWORK, members=members)

    def load(self, rng: random.Random, count: int, peers: Sequence[int]) -> list[bytes]:
        """Transactions at random times."""
        sent = [b"transaction %d" % rng.getrandbits(64) for _ in range(count)]
        for transaction in sent:
            self.submit(rng.choice(peers), transaction)
            self.run(rng.randint(0, 2 * MS))
        return sent

    def until(self, rng: random.Random, epoch: int, peers: Sequence[int]) -> None:
        """Let these peers enter an epoch; ours has transactions under way all the time."""
        while self.epoch_of(OWN) < epoch:
            self.load(rng, 1, [OWN])
        self.run_until(lambda: all(self.epoch_of(i) >= epoch for i in peers))

    def _carry_out(self, i: int, output: object) -> None:
        if i == OWN and isinstance(output, Write | Persist | Deliver | Entered):
            self.outputs.append(output)
        super()._carry_out(i, output)


@dataclass(frozen=True)
class Life:
    """A life of a peer through four epochs."""

    outputs: Sequence[Any]
    identity: Identity
    digest: bytes  # of the machine in the end

    @property
    def delivered(self) -> list[Any]:
        """The whole order."""
        return [done for output in self.outputs if isinstance(output, Deliver) for done in output.messages]

    @property
    def records(self) -> list[bytes]:
        """All that was to be written, in its order."""
        return [record for output in self.outputs if isinstance(output, Write | Persist) for record in output.records]

    @property
    def starts(self) -> list[EpochStart]:
        """How the epochs began."""
        return [output.start for output in self.outputs if isinstance(output, Entered)]

    @property
    def heights(self) -> dict[bytes, int]:
        """The height of every event, by the frame."""
        ids = [self.identity.network_id, *(start.epoch_id for start in self.starts)]
        found = {}
        for record in map(decode_record, self.records):
            if isinstance(record, OwnEvent | PeerEvent):
                event = decode(record.frame)
                found[record.frame] = height(ids.index(epoch_id_of(record.frame[1:])), event.round)
        return found

    def at(self, path: Path, **changed: Any) -> Store:
        """A store of this peer, which waits for its disk in the event loop."""
        return Store(SqliteFile(path, page_bytes=PAGE_BYTES), Inline(), settings_of(self.identity, **changed))


def settings_of(identity: Identity, **changed: Any) -> StorageSettings:
    """For a store of ours."""
    fields: dict[str, Any] = {"identity": identity, "decode": decode, "keep_rounds": kept}
    return StorageSettings(**(fields | changed))


def kept(network: Network, n: int) -> int:
    """Rounds that a machine keeps."""
    return Retention(network, LOCAL, n).rounds


def decode(frame: bytes) -> Any:
    """The event in a frame, of whatever epoch."""
    return decode_event(frame, epoch_id_of(frame[1:]), NETWORK)


def give(store: Store, outputs: Sequence[Any]) -> None:
    """Give a store what a machine puts out."""
    for output in outputs:
        if isinstance(output, Write):
            store.write(output.records)
        elif isinstance(output, Persist):
            store.persist(output.records, lambda: None)
        elif isinstance(output, Deliver):
            store.deliver(output.messages, output.states)


async def feed(store: Store, outputs: Sequence[Any]) -> None:
    """The same, and wait until it is written."""
    give(store, outputs)
    await store.written()


async def reloaded(life: Life, path: Path, outputs: Sequence[Any] = (), **changed: Any) -> tuple[Store, Loaded]:
    """What a start finds behind these; the store is open."""
    if outputs:
        store = life.at(path, **changed)
        await store.load(User())
        await feed(store, outputs)
        await store.close()
    store = life.at(path, **changed)
    return store, await store.load(User())


def shelved(outputs: Sequence[Any]) -> Shelf:
    """The plain store behind these."""
    shelf = Shelf()
    for output in outputs:
        if isinstance(output, Write | Persist):
            shelf.records += output.records
        elif isinstance(output, Deliver):
            shelf.deliver(output.messages, output.states)
    return shelf


@functools.cache
def life(rounds: int = 20) -> Life:
    """A peer is removed, a setting changes, a key, and one proposal stays open all the time."""
    cluster = Watched()
    rng = random.Random(f"life/{rounds}")
    peers = list(range(N))
    cluster.propose(1, SyncPointKind.CUSTOM, b"never decided")
    cluster.load(rng, rounds, peers)
    cluster.agree(cluster.change(1, cluster.removal(4)))
    cluster.load(rng, 5, peers)
    peers.remove(4)
    cluster.until(rng, 1, peers)
    cluster.load(rng, rounds, peers)
    cluster.agree(cluster.change(2, Configure(Network(gc_depth=6))))
    cluster.load(rng, 5, peers)
    cluster.until(rng, 2, peers)
    cluster.load(rng, 2, peers)  # a short one
    cluster.agree(cluster.rotate(3, NEW))
    cluster.load(rng, 5, peers)
    cluster.until(rng, 3, peers)
    point = cluster.propose(0, SyncPointKind.SESSION)
    for i in peers:
        cluster.run_until(lambda i=i: any(each.proposal == point for each in cluster.opened[i]))  # type: ignore[misc]
        cluster.vote(i, point)
    cluster.load(rng, rounds, peers)
    cluster.run_until(lambda: cluster.counts[OWN] == cluster.counts[1] and point in cluster.closed[OWN])
    return Life(tuple(cluster.outputs), cluster.identity, cluster.machines[OWN].digest())
