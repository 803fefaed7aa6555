"""The engine that an application holds: send transactions, receive the agreed stream."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from types import TracebackType

from .address import parse_address
from .context import Context
from .core.committee import Committee
from .core.config import Local, MachineConfig, Member, Network
from .core.input import Submit
from .core.output import Queue
from .core.values import Delivered
from .core.wire import max_frame_bytes
from .errors import ArgumentError, ArgumentTypeError, EngineStopped, ObserverError, QueueFull, TransactionTooLarge
from .keys import KeyPublic, KeySecret
from .message import Message, Receipt
from .options import Options
from .peers import PeerCapabilities, Peers
from .runtime.driver import Driver, Machine
from .runtime.line import Line
from .runtime.links import LinkPeer, LinkSettings
from .runtime.rows import Identity
from .runtime.storage import Storage
from .socket import Socket
from .status import EngineStatus
from .stream import Stream, check_resume

__all__ = ["Engine"]

log = logging.getLogger("syncpoint.engine")

ACTIVE_ROUNDS = 16  # a creator is active while its newest event is at most so far below the top round

BytesLike = bytes | bytearray | memoryview


class Engine:
    """One peer of a network. `async for message in engine` is the agreed stream.

    All methods are to be called from the event loop in which it was started. Every wait can be cancelled:
    a cancelled `recv_message` loses no message, a cancelled `send_transaction` has not sent anything, a
    cancelled `submit` has sent its transaction and only no longer waits for it.
    """

    def __init__(
        self,
        context: Context,
        machine: Machine,
        network: Network,
        options: Options,
        storage: Storage,
        keys: Sequence[KeyPublic],
        own: int,
        capabilities: PeerCapabilities,
    ) -> None:
        """Use `Engine.start`."""
        self._context = context
        clock = context._world.clock()
        self._driver = Driver(machine, clock, storage, self._deliver, self._queue_changed, self._halted, self._failed)
        self._stream = Stream(storage, self._driver, keys, self._failed)
        self._network = network
        self._options = options
        self._keys = tuple(keys)
        self._own = own
        self._capabilities = capabilities
        self._stopped = False
        self._stopping: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._halt_reason: str | None = None
        self._senders = Line()
        self._submitted = 0  # transactions given to the machine, which numbers them alike
        self._waiting_transactions = 0  # of these, in no event yet
        self._unacknowledged: dict[int, int] = {}  # of those that are not final: number -> bytes
        self._unacknowledged_bytes = 0
        self._receipts: dict[int, asyncio.Future[Receipt]] = {}

    @classmethod
    async def start(
        cls,
        context: Context,
        socket: Socket,
        options: Options,
        secret: KeySecret,
        peers: Peers,
        joining_running_session: bool = False,
        *,
        network: Network | None = None,
        resume_after: int | None = None,
    ) -> Engine:
        """Start a peer; it links up with the others by itself, in whatever order they start.

        `peers` holds every peer of the network, this one among them, and is the same everywhere; so is
        `network` (name, decision rule, order, limits; default `Network()`). With `Context(storage=...)` the peer
        goes on where its store ends, and the application gets the stream from index `resume_after + 1` on (default:
        from its beginning), exactly as before. `joining_running_session` says that this key may have signed what the
        store does not have; such a peer, told or not, signs nothing until the others have said how far it was.
        Raises ArgumentError, ArgumentTypeError or SocketBindError for what cannot work, ContextError for a
        context that is closed or of another event loop, StorageError when the store cannot be used: its network or
        its key is another one, it is in use or damaged, or the disk is in trouble.
        """
        network = Network() if network is None else network
        for name, value, kind in (
            ("context", context, Context),
            ("socket", socket, Socket),
            ("options", options, Options),
            ("secret", secret, KeySecret),
            ("peers", peers, Peers),
            ("joining_running_session", joining_running_session, bool),
            ("network", network, Network),
        ):
            if not isinstance(value, kind):
                # The value is not shown: it may be a secret in the wrong place.
                raise ArgumentTypeError(f"Engine.start: {name} is a {type(value).__name__}: give a {kind.__name__}")
        context._check()
        world = context._world
        check_resume(resume_after, world.stores)
        public = secret.public()
        if public not in peers:
            raise ArgumentError(
                f"our own key {public} is not among the {len(peers)} peers: "
                "every peer is, so add peers.insert(our address, secret.public())"
            )
        members = tuple(Member(bytes(peer.public), peer.capabilities.flags) for peer in peers)
        try:
            committee = Committee.genesis(network, members)
        except ValueError as error:
            raise ArgumentError(
                f"Engine.start: {error}; set Network(f=...) lower, leave it out, or have more peers that order"
            ) from error
        own = peers.index(public)
        others, is_public = [], False
        for creator, peer in enumerate(peers):
            if creator == own:
                is_public = peer.capabilities.public
            else:
                host, port = parse_address(peer.address)
                others.append(LinkPeer(creator, bytes(peer.public), host, port, peer.capabilities.public))
        if committee.f == 0 and committee.n > 1:  # Q2
            log.warning("%d peers with f = %d tolerate no fault at all; 4 tolerate one", committee.n, committee.f)
        config = MachineConfig(
            network=network,
            members=members,
            seed=secret._seed,
            entropy=world.entropy(),
            local=Local(
                min_event_interval_ns=options.base_min_event_interval_us * 1000,
                heartbeat_ns=options.heartbeat_us * 1000,
                verify_threads=options.max_blocking_verify_threads or world.threads,
                stores=world.stores,
            ),
            signatures=world.signatures,
        )
        machine = context._machine(config)
        entries = tuple(peers)
        keys = [peer.public for peer in entries]
        identity = Identity(network_id=committee.epoch_id, public=bytes(public), network=network, members=members)
        storage = world.storage(context._storage_settings(identity, config.local, joining_running_session))
        engine = cls(context, machine, network, options, storage, keys, own, entries[own].capabilities)
        driver = engine._driver
        settings = LinkSettings(
            own=own,
            seed=secret._seed,
            key=bytes(public),
            public=is_public,
            network_id=committee.epoch_id,
            epoch_id=committee.epoch_id,
            max_frame_bytes=max_frame_bytes(committee.n, network),
            peers=others,
        )
        links = world.links(socket._take(), settings, driver)
        context._own(engine)
        try:
            await driver.start(links, lambda loaded: engine._stream.begin(loaded, resume_after))
            if engine._error is not None:
                raise engine._error
        except BaseException:  # cancelled, too: nobody else holds the engine
            await engine.stop()
            raise
        return engine

    # -- sending ------------------------------------------------------------------------------------

    async def send_transaction(self, transaction: BytesLike) -> None:
        """Queue a transaction for our next event; waits while the queue is full.

        It is copied, so the buffer can be used again. 0 bytes to `Network.max_transaction_bytes`.
        Raises TransactionTooLarge, ArgumentTypeError, and EngineStopped also when this peer has halted
        (`status().consensus.halted`); ObserverError when it takes no part in ordering. Cancelled, it has not been sent.
        """
        data = self._checked(transaction)
        await self._room(len(data))
        self._post(data)

    def try_send_transaction(self, transaction: BytesLike) -> None:
        """Queue a transaction like `send_transaction`, but raise QueueFull instead of waiting."""
        data = self._checked(transaction)
        if self._senders or not self._has_room(len(data)):
            raise QueueFull(
                f"{self._waiting_transactions} transactions are queued "
                f"(limit {self._options.transaction_channel_size}) and {self._unacknowledged_bytes} bytes "
                f"are not final (limit {self._options.max_unacknowledged_bytes}): "
                "await send_transaction, or try again after receiving messages"
            )
        self._post(data)

    async def submit(self, transaction: BytesLike) -> Receipt:
        """Send a transaction and wait until it is final; its place in the order.

        Raises what `send_transaction` raises, and EngineStopped when the engine stops or halts first (whether
        the transaction will be final is unknown then). Cancelled while it waits for room, nothing was sent;
        cancelled after that, it was sent all the same.
        """
        data = self._checked(transaction)
        await self._room(len(data))
        receipt: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        number = self._post(data)
        self._receipts[number] = receipt
        try:
            return await receipt
        finally:
            self._receipts.pop(number, None)

    # -- receiving ----------------------------------------------------------------------------------

    async def recv_message(self) -> Message | None:
        """The next message of the agreed stream; None once the engine is stopped and all were received.

        A peer with `PeerCapabilities.no_logic` has no messages: there it waits until the engine is stopped.
        Several tasks may wait; each message goes to one of them. Raises EngineStopped when the engine
        failed. Cancelled, it has not taken a message.
        """
        event = await self._stream.receive()
        if event is None and self._error is not None:
            raise self._stopped_error("and has no more messages")
        return event

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        message = await self.recv_message()
        if message is None:
            raise StopAsyncIteration
        return message

    async def forget(self, until: int) -> None:
        """Let the store delete the stream up to this index, which the application has received and needs no more.

        What a start needs stays. It returns when the rest is deleted; the file keeps its size, and the room is used
        anew. Raises ArgumentError or ArgumentTypeError for an index that was not received, and EngineStopped.
        """
        if self._stopped:
            raise self._stopped_error("and forgets nothing more")
        self._stream.check_forget(until)
        await self._driver.storage.forget(until)

    # -- looking and stopping -----------------------------------------------------------------------

    @property
    def network(self) -> Network:
        """What all peers of this network have set alike."""
        return self._network

    @property
    def public(self) -> KeyPublic:
        """Our own key."""
        return self._keys[self._own]

    def status(self) -> EngineStatus:
        """A snapshot for people and metrics."""
        consensus, transport = self._driver.machine.status(), self._driver.transport
        assert transport is not None
        return EngineStatus(
            core=self._context.core,
            consensus=consensus,
            linked=tuple(self._keys[creator] for creator in consensus.linked),
            refusals={self._keys[creator]: why for creator, why in transport.refusals.items()},
            rejects=Counter(consensus.rejects) + Counter(transport.rejects),
            unread_messages=self._stream.unread,
            unacknowledged_bytes=self._unacknowledged_bytes,
            dropped_frames=transport.dropped_frames,
            stopped=self._stopped,
            delivered_per_s=self._driver.delivered_per_s,
            storage=self._driver.storage.trouble,
        )

    def active_creators(self) -> tuple[KeyPublic, ...]:
        """The peers that keep up: whose newest event here is at most 16 rounds below the newest of all."""
        status = self._driver.machine.status()
        lowest = max(1, status.top_round - ACTIVE_ROUNDS)
        creators = self._keys[: status.peers]  # observers come after them, and make no events
        return tuple(key for key, newest in zip(creators, status.frontier, strict=True) if newest >= lowest)

    async def stop(self) -> None:
        """Stop: no more events are made, links close, waits end with EngineStopped (or None for messages).

        Messages that were delivered before can still be received. Stopping twice is fine.
        """
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop(), name="syncpoint stop")
        # Shielded: whoever is cancelled while it waits here must not leave the links half closed.
        await asyncio.shield(self._stopping)

    async def __aenter__(self) -> Engine:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def __repr__(self) -> str:
        return f"Engine({self.public}, {'stopped' if self._stopped else 'running'})"

    # -- private: sending ---------------------------------------------------------------------------

    def _checked(self, transaction: BytesLike) -> bytes:
        if self._capabilities.no_order:
            raise ObserverError(f"{self.public} is an observer (no_order), and sends nothing: use a peer that orders")
        self._require_running()
        if not isinstance(transaction, bytes | bytearray | memoryview):
            raise ArgumentTypeError(
                f"a transaction is {type(transaction).__name__}: "
                "give bytes, bytearray or memoryview (encode text first)"
            )
        data = bytes(transaction)
        if len(data) > self._network.max_transaction_bytes:
            raise TransactionTooLarge(
                f"a transaction of {len(data)} bytes: this network takes up to {self._network.max_transaction_bytes}; "
                "split it, or set Network(max_payload_bytes=...) higher on all peers"
            )
        if len(data) > self._options.max_unacknowledged_bytes:
            raise TransactionTooLarge(
                f"a transaction of {len(data)} bytes: Options.max_unacknowledged_bytes is "
                f"{self._options.max_unacknowledged_bytes}; set it higher"
            )
        return data

    def _has_room(self, size: int) -> bool:
        return (
            self._waiting_transactions < self._options.transaction_channel_size
            and self._unacknowledged_bytes + size <= self._options.max_unacknowledged_bytes
        )

    async def _room(self, size: int) -> None:
        """Wait until there is room and it is our turn; what follows must not await before it posts."""
        await self._senders.turn(lambda: not self._is_running or self._has_room(size))
        self._require_running()

    def _post(self, data: bytes) -> int:
        number = self._submitted
        self._submitted += 1
        self._waiting_transactions += 1
        self._unacknowledged[number] = len(data)
        self._unacknowledged_bytes += len(data)
        self._driver.post(Submit((data,)))
        return number

    # -- private: called by the driver ----------------------------------------------------------------

    def _deliver(self, messages: Sequence[Delivered]) -> None:
        for done in messages:
            self._acknowledge(done)
        if not self._capabilities.no_logic:  # else nobody reads here, so nothing may pile up
            self._stream.deliver(messages)

    def _acknowledge(self, done: Delivered) -> None:
        """Our own transactions in it are final."""
        for position, number in enumerate(done.submissions):
            if number is None:  # sent before a restart: nobody waits for it
                continue
            self._unacknowledged_bytes -= self._unacknowledged.pop(number)
            receipt = self._receipts.pop(number, None)
            if receipt is not None and not receipt.done():
                receipt.set_result(
                    Receipt(
                        index=done.index,
                        position=position,
                        consensus_at=done.consensus_at,
                        hash=done.event.digest,
                    )
                )
        if done.submissions:
            self._senders.call()

    def _queue_changed(self, queue: Queue) -> None:
        self._waiting_transactions = queue.transactions
        self._senders.call()

    def _halted(self, reason: str) -> None:
        log.error("this peer makes no more events: %s", reason)
        self._halt_reason = reason
        self._end_waits()

    def _failed(self, error: BaseException) -> None:
        log.error("the engine failed and stops", exc_info=error)
        self._error = error
        self._end()
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop(), name="syncpoint stop")

    # -- private: the end ---------------------------------------------------------------------------

    async def _stop(self) -> None:
        self._end()
        await self._stream.close()
        await self._driver.stop()
        self._context._disown(self)  # not before: the context waits for engines that are still stopping

    async def _shut_down(self) -> None:
        await self.stop()

    def _end(self) -> None:
        self._stopped = True
        self._stream.end()
        self._end_waits()

    def _end_waits(self) -> None:
        """Nothing that is sent from here on, or waits to be, becomes final by us."""
        self._senders.call()
        for receipt in self._receipts.values():
            if not receipt.done():
                receipt.set_exception(self._stopped_error("before the transaction was final"))
        self._receipts.clear()

    def _stopped_error(self, when: str) -> EngineStopped:
        if self._error is not None:
            what = f"the engine failed ({self._error})"
        elif self._stopped:
            what = "the engine was stopped"
        else:
            what = f"this peer has halted ({self._halt_reason})"
        error = EngineStopped(f"{what} {when}")
        error.__cause__ = self._error
        return error

    @property
    def _is_running(self) -> bool:
        return not self._stopped and self._halt_reason is None

    def _require_running(self) -> None:
        if not self._is_running:
            advice = "start another one" if self._stopped else "stop it, and start one with a new key"
            raise self._stopped_error(f"and takes no more transactions: {advice}")
