"""A whole cluster on one thread, on virtual time: real engines, drivers and cores; a simulated world around them."""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from ..core.config import Network
from ..core.input import Input
from ..core.journal import EpochStart
from ..core.output import Output
from ..engine import Engine
from ..errors import ArgumentError
from ..keys import KeySecret
from ..message import Event, Message
from ..options import Options
from ..peers import PeerCapabilities, Peers
from ..proposal import Proposal
from ..runtime import driver
from ..socket import Socket
from .clock import HostClock
from .delays import Delays
from .internet import Internet
from .loop import BEGIN_NS, VirtualLoop
from .node import Node, Watched
from .storage import Disk, Store
from .world import Host, SimulatedContext

__all__ = ["CORES", "HOWS", "PORT", "App", "Cluster", "Node", "spare_secret"]

CORES = ("native", "python", "mixed")
HOWS = ("reset", "hold", "drop")  # to cut the network
SECOND_NS = 1_000_000_000
PORT = 7000

App = Callable[[Engine], Awaitable[None]]
"""What runs beside an engine, as an application would: it receives the stream, and sends."""


@functools.cache
def secrets_of(n: int, observers: int = 0) -> tuple[KeySecret, ...]:
    """Keys, always the same, in the order of their numbers: n that order, then observers."""
    made = [KeySecret.from_seed(bytes((number % 256, number // 256)) * 16) for number in range(1, n + observers + 1)]
    of_members, of_observers = (sorted(some, key=lambda secret: secret.public()) for some in (made[:n], made[n:]))
    return (*of_members, *of_observers)


@functools.cache
def spare_secret(number: int) -> KeySecret:
    """A key that is none of these, always the same for a number, 0 to 255."""
    return KeySecret.from_seed(bytes((number, 255)) * 16)


@functools.cache
def peers_of(n: int, observers: int = 0) -> Peers:
    """The address book of these keys."""
    peers = Peers()
    for number, secret in enumerate(secrets_of(n, observers)):
        peers.insert(f"host{number}:{PORT}", secret.public(), PeerCapabilities(no_order=number >= n))
    return peers


class Cluster:
    """n peers that run, on virtual time, what they would run in production; everything follows from the seed.

    `observers` more take no part in ordering (Q4); their numbers are n and above. `newcomers` are no members when the
    network begins, and follow until they are let in; their numbers come after those.

    >>> with Cluster(4, seed=1) as cluster:
    ...     cluster.start()
    ...     cluster.run(0.1)
    ...     cluster.nodes[0].status().has_quorum
    True

    `app` is the application of each peer, a coroutine function that gets the started engine; without one the stream
    is read and forgotten. `core` is "native", "python", "mixed" (in turn) or "auto". What is not given is drawn from
    the seed or has the default of production; `local` replaces fields of `Local` that options do
    not reach, and `unread` the number of messages that an engine delivers unread before it stands still. Each peer has
    a store on a disk of its own that takes `sync_ns` to sync; `durability` and `retain_rounds` are as in `Context`.
    Times are s of virtual time unless the name says ns.
    """

    def __init__(
        self,
        n: int,
        *,
        observers: int = 0,
        seed: int = 0,
        core: str = "auto",
        network: Network | None = None,
        options: Options | None = None,
        local: Mapping[str, int] | None = None,
        delays: Delays | None = None,
        sync_ns: int = 0,
        durability: str = "full",
        retain_rounds: int | None = None,
        signatures: str = "simulated",
        app: App | None = None,
        unread: int | None = None,
        newcomers: int = 0,
    ) -> None:
        if n < 1:
            raise ArgumentError(f"Cluster({n}): give at least one peer")
        if observers < 0:
            raise ArgumentError(f"Cluster(observers={observers}): give 0 or more")
        if core != "auto" and core not in CORES:
            raise ArgumentError(f"Cluster(core={core!r}): give one of auto, {', '.join(CORES)}")
        self.n = n
        self.observers = observers
        self.seed = seed
        self.network = network or Network()
        self.options = options or Options()
        self.loop = VirtualLoop()  # type: ignore[abstract]
        self.internet = Internet(self.loop, random.Random(f"internet/{seed}"), delays or Delays())
        self.peers = peers_of(n, observers)
        self.secrets = (*secrets_of(n, observers), *map(spare_secret, range(newcomers)))
        self.hosts = {bytes(secret.public()): number for number, secret in enumerate(self.secrets)}
        """The numbers of hosts by their public keys, those that they get later as well."""
        self.starts: list[EpochStart] = []  # of epochs, in turn, as somebody has entered them
        self.app = app
        self.crash_when_final: dict[int, list[object]] = {}  # peer -> who kills it when a transaction of its is final
        self.faults: list[object] = []  # those that last, and have begun and not ended
        self.happened: Counter[str] = Counter()
        self.invalid: dict[bytes, str] = {}  # digest -> what is wrong, of events that liars made against the rules
        self.received: Callable[[Node, Message], None] | None = None  # sees every message, before the application
        self.ended: Callable[[Node], None] | None = None  # told when an application got its last message, or is over
        self.stepped: Callable[[Node, Sequence[Input], list[Output]], None] | None = None
        self.approve: Callable[[Node, Proposal], bool | None] | None = None  # instead of the default policy
        self.local = dict(local or {})
        self.sync_ns = sync_ns
        self.durability = durability
        self.retain_rounds = retain_rounds
        self._signatures = signatures
        self._core = core
        self.unread = unread
        self.nodes = [self._node(number, number) for number in range(n + observers + newcomers)]

    # -- what happens -------------------------------------------------------------------------------

    @property
    def now_ns(self) -> int:
        """Virtual time since the beginning, ns."""
        return self.loop.now_ns - BEGIN_NS

    def start(self, *numbers: int) -> None:
        """Start the peers with these numbers, all of them if none is given; they link up as time passes."""
        for number in numbers or range(len(self.nodes)):
            self._boot(self.nodes[number])

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.loop.run_until(lambda: False, self.loop.now_ns + round(seconds * 1e9))

    def run_until(self, done: Callable[[], bool], within: float = 60.0) -> bool:
        """Let time pass until something holds, but no longer than `within`; whether it holds."""
        return self.loop.run_until(done, self.loop.now_ns + round(within * 1e9))

    def at(self, ns: int, action: Callable[[], object]) -> None:
        """Do something at a virtual time, ns since the beginning."""
        self.loop.call_at_ns(BEGIN_NS + ns, action)

    def crash(self, number: int, *, silent: bool = False, by: object = None) -> None:
        """End a peer's process as by SIGKILL, or (`silent`) its computer, so that nobody is told."""
        node = self._running(number)
        node.past = node.statuses()
        node.up = False
        node.killed_by, node.killed_at_ns, node.killed_computer = by, self.loop.now_ns, silent
        node.machine = None
        self.loop.kill(node.host.process)
        if node.host.open_links is not None:
            self.internet.ruined(node.host.open_links, silent=silent)

    def restart(
        self,
        number: int,
        store: Store = Store.KEPT,
        backup_ns: int = 0,
        *,
        traces: bool = False,
        joining: bool = False,
        resume_after: int | None = None,
    ) -> None:
        """Start a crashed peer again, with what is left of its store; a backup is from `backup_ns` before the crash.

        With `traces` an old or lost store shows that it is. `joining` is told to the engine as
        `joining_running_session`, and `resume_after` as well.
        """
        node = self.nodes[number]
        if node.up or not node.host.starts:
            raise ArgumentError(f"peer {number} is running, or was never started: crash it before it starts again")
        if node.host.open_links is not None:  # whoever still believes in the old process learns better
            for wire in node.host.open_links.wires():
                self.internet.break_wire(wire, None)
        node.host.disk.crashed(store, node.killed_at_ns, backup_ns=backup_ns, power=node.killed_computer, traces=traces)
        node.killed_by = None
        node.joining, node.resume_after = joining, resume_after
        self.happened[f"restarts {store}"] += 1
        self._boot(node)

    def partition(self, *groups: Iterable[int], how: str = "reset", one_way: bool = False, by: object = None) -> None:
        """Cut the network between groups of hosts.

        `how` is "reset" (links break), "hold" (what is sent arrives when the cut is healed) or "drop" (what is sent
        is lost, links stay). `one_way` leaves the way from later groups to earlier ones, where links do not break.
        `by` is whose cut it is: what several cut stays so until each of them has joined it.
        """
        if one_way and how == "reset":
            raise ArgumentError('a link breaks for both sides: with one_way, give how="hold" or "drop"')
        sides = [list(group) for group in groups]
        for at, ours in enumerate(sides):
            for theirs in sides[at + 1 :]:
                for one in ours:
                    for other in theirs:
                        self.cut(one, other, how, by)
                        if not one_way:
                            self.cut(other, one, how, by)

    def cut(self, source: int, target: int, how: str, by: object = None) -> None:
        """Let nothing through from one host to another; see `partition`."""
        if how not in HOWS:
            raise ArgumentError(f"a cut with how={how!r}: give one of {', '.join(HOWS)}")
        self.internet.block(source, target, "drop" if how == "reset" else how, by)
        if how == "reset":
            self.internet.reset(source, target)

    def join(self, *groups: Iterable[int], by: object = None) -> None:
        """End the cuts between groups of hosts that are `by` the same; what was held back arrives."""
        for ours, theirs in itertools.permutations([list(group) for group in groups], 2):
            for source, target in itertools.product(ours, theirs):
                self.internet.unblock(source, target, by)
        self._release()

    def heal(self) -> None:
        """End all cuts; what was held back arrives."""
        self.internet.unblock_all()
        self._release()

    def suspend(self, number: int) -> None:
        """Stop a peer's process, as by SIGSTOP; its links stay up."""
        self.loop.suspend(self.nodes[number].host.process)

    def resume(self, number: int) -> None:
        """Let it go on."""
        self.loop.resume(self.nodes[number].host.process)

    def hear(self, number: int) -> None:
        """Let a peer's application read again."""
        node = self.nodes[number]
        node.deaf = False
        if node.hearing is not None and not node.hearing.done():
            node.hearing.set_result(None)

    def add_twin(self, creator: int) -> Node:
        """Another peer with the key of this one, on a host of its own."""
        node = self._node(len(self.nodes), creator, shared=True)
        self.nodes[creator].host._shared = True
        self.nodes.append(node)
        return node

    def send(self, number: int, *transactions: bytes) -> None:
        """Let a peer send transactions as its application would, without waiting; QueueFull when it has no room."""
        node = self._running(number)
        if node.engine is None:
            raise ArgumentError(f"peer {number} has no engine yet: let time pass first")
        engine = node.engine

        def give() -> None:
            for transaction in transactions:
                engine.try_send_transaction(transaction)

        self.loop.context_of(node.host.process).run(give)

    def spawn(self, number: int, main: Callable[[], Any]) -> asyncio.Task[Any]:
        """Start a coroutine in a peer's process."""
        return self.loop.spawn(self.nodes[number].host.process, main)

    def close(self) -> None:
        """End all tasks, of dead processes as well, and forget all that was to happen."""
        for node in self.nodes:
            if node.host.open_links is not None:
                node.host.open_links.dead = True
        self.loop.end()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what is there ------------------------------------------------------------------------------

    @property
    def running(self) -> list[Node]:
        """The peers whose process lives."""
        return [node for node in self.nodes if node.up]

    def deliveries(self) -> int:
        """Events taken into DAGs, by all peers together."""
        return sum(node.deliveries() for node in self.nodes)

    # -- private ------------------------------------------------------------------------------------

    def _node(self, number: int, creator: int, *, shared: bool = False) -> Node:
        core = ("native", "python")[number % 2] if self._core == "mixed" else self._core
        clock = HostClock(lambda: self.loop.now_ns)
        disk = Disk(self.loop, self.sync_ns, random.Random(f"disk/{self.seed}/{number}"))
        host = Host(self.loop, self.internet, number, clock, disk, signatures=self._signatures, shared=shared)
        return Node(number, creator, core, host)

    def _running(self, number: int) -> Node:
        node = self.nodes[number]
        if not node.up:
            raise ArgumentError(f"peer {number} is not running: start it, or start it again, before")
        return node

    def _boot(self, node: Node) -> None:
        if node.up:
            raise ArgumentError(f"peer {node.number} is running already")
        node.up = True
        node.engine = None
        process = node.host.boot()
        task = self.loop.spawn(process, lambda: self._main(node))
        task.add_done_callback(functools.partial(self._ended, node))

    async def _main(self, node: Node) -> None:
        """What the process of a peer does."""
        watch = functools.partial(self._watch, node)
        async with SimulatedContext(
            node.host,
            node.core,
            self.local,
            watch,
            durability=self.durability,
            retain_rounds=self.retain_rounds,
            approve=None if self.approve is None else functools.partial(self.approve, node),
        ) as context:
            socket = await Socket.bind(context, self._address(node))
            secret = self.secrets[node.creator]
            engine = await Engine.start(
                context,
                socket,
                self.options,
                secret,
                self.peers,
                node.joining,
                network=self.network,
                resume_after=node.resume_after,
                joins=node.number >= len(self.peers) and not node.shares,
                next_secret=node.next_secret,
            )
            engine._stream.max_messages = self.unread
            node.engine = engine
            if self.app is not None:
                await self.app(engine)
                return
            await self._read(node, engine)

    async def _read(self, node: Node, engine: Engine) -> None:
        """What an application does that only reads."""
        while (message := await engine.recv_message()) is not None:
            if message.index >= node.received:
                node.received = message.index + 1
            if self.received is not None:
                self.received(node, message)
            if (
                self.crash_when_final.get(node.number)
                and isinstance(message, Event)
                and message.creator == engine.public
                and message.transaction_count
            ):
                self.happened["fault crash_when_final"] += 1
                self.crash(node.number, by=self.crash_when_final[node.number].pop(0))
                await self.loop.create_future()  # it is dead: nothing comes after this
            if node.deaf:
                node.hearing = self.loop.create_future()
                await node.hearing
        if self.ended is not None:
            self.ended(node)
        if engine.status().consensus.ended:  # the engine goes on for others that are not there yet (S4)
            await self.loop.create_future()

    def _release(self) -> None:
        self.internet.release(node.host.open_links for node in self.nodes if node.host.open_links is not None)

    def _watch(self, node: Node, machine: driver.Machine) -> driver.Machine:
        look = None if self.stepped is None else functools.partial(self.stepped, node)
        node.machine = Watched(machine, look)
        return node.machine

    def _address(self, node: Node) -> str:
        return f"host{node.creator}:{PORT}"

    def _ended(self, node: Node, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        if task.exception() is not None:
            node.failed = task.exception()
        if self.ended is not None:
            self.ended(node)
