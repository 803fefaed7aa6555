"""The engine that an application holds: send transactions, receive the agreed stream."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from types import TracebackType

from .address import parse_address
from .agreement import Agreement, AgreementSettings
from .context import Context
from .core import values
from .core.committee import Committee
from .core.config import Local, MachineConfig, Member, Network
from .core.values import Delivered, SyncPointKind
from .core.wire import max_frame_bytes
from .ending import Ending
from .errors import ArgumentError, ArgumentTypeError, ObserverError
from .keys import KeyPublic, KeySecret
from .message import Event, Message, Receipt, SyncPoint
from .options import Options
from .peers import PeerCapabilities, Peers
from .proof import Proof
from .proposal import Proposal, check_proposal
from .proving import Prover
from .runtime.driver import Driver, Machine
from .runtime.links import LinkPeer, LinkSettings
from .runtime.rows import Identity
from .runtime.storage import Storage, is_event
from .sending import BytesLike, Outbox
from .socket import Socket
from .status import EngineStatus
from .stream import Stream, check_resume

__all__ = ["Engine"]

log = logging.getLogger("syncpoint.engine")

ACTIVE_ROUNDS = 16  # a creator is active while its newest event is at most so far below the top round


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
        committee: Committee,
        settings: AgreementSettings,
        capabilities: PeerCapabilities,
    ) -> None:
        """Use `Engine.start`."""
        self._context = context
        clock = context._world.clock()
        self._ending = ending = Ending()
        self._driver = driver = Driver(
            machine,
            clock,
            storage,
            self._deliver,
            lambda queue: self._outbox.queue_changed(queue),
            self._halted,
            self._failed,
            lambda output: self._agreement.told(output),
        )
        self._stream = Stream(storage, driver, self._message, self._failed)
        self._outbox = Outbox(network, options, driver.post, ending)
        self._agreement = Agreement(
            settings,
            driver.post,
            # Consensus time may be ahead of our clock; a deadline must not be over before it begins.
            lambda: max(clock.now(), machine.status().consensus_at),
            ending,
            self._failed,
            lambda index: self._prover.sync_point(index),
        )
        self._prover = Prover(
            storage, committee, lambda: machine.status().delivered, self._agreement.certificate, ending
        )
        self._network = network
        self._keys = tuple(settings.keys)
        self._own = settings.own
        self._capabilities = capabilities
        self._stopping: asyncio.Task[None] | None = None

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
            committee = Committee.genesis(network, members, world.signatures)
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
        identity = Identity(network_id=committee.epoch_id, public=bytes(public), network=network, members=members)
        storage = world.storage(context._storage_settings(identity, config.local, joining_running_session))
        agreement = AgreementSettings(
            own=own,
            keys=[peer.public for peer in peers],
            peers=copy.copy(peers),
            epoch_id=committee.epoch_id,
            entropy=config.entropy,
            approve=context._approve,
            joining=joining_running_session,
        )
        capabilities = tuple(peers)[own].capabilities
        engine = cls(context, machine, network, options, storage, committee, agreement, capabilities)
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
            if engine._ending.error is not None:
                raise engine._ending.error
            status = machine.status()
            if status.ended and engine._ending.session_end is None:  # before this start
                engine._session_ended(status.delivered - 1)
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
        await self._outbox.send(self._checked(transaction))

    def try_send_transaction(self, transaction: BytesLike) -> None:
        """Queue a transaction like `send_transaction`, but raise QueueFull instead of waiting."""
        self._outbox.try_send(self._checked(transaction))

    async def submit(self, transaction: BytesLike) -> Receipt:
        """Send a transaction and wait until it is final; its place in the order.

        Raises what `send_transaction` raises, and EngineStopped when the engine stops or halts first (whether
        the transaction will be final is unknown then). Cancelled while it waits for room, nothing was sent;
        cancelled after that, it was sent all the same.
        """
        return await self._outbox.submit(self._checked(transaction))

    # -- deciding -----------------------------------------------------------------------------------

    async def propose(self, kind: SyncPointKind, metadata: BytesLike = b"", timeout: float = 30.0) -> SyncPoint:
        """Propose a sync point, and wait for it: it is what all peers find in their stream, at the same index (S1, S2).

        `kind` is SESSION, SNAPSHOT, EPOCH, CUSTOM or END; `metadata` 0 to 8,192 bytes that all peers will see;
        `timeout` the seconds of consensus time that a quorum has to approve it, 0.001 to 3,600. To propose is to
        approve. Raises ProposalRejected when the network decides against it, with the outcome and the reason; at once
        when 16 of this peer are not decided. Raises ArgumentError, ArgumentTypeError, ObserverError and
        EngineStopped. Without a quorum nothing is decided, and this waits. Cancelled, the proposal stands all the same.
        """
        self._check_orders()
        return await self._agreement.propose(*check_proposal(kind, metadata, timeout))

    async def vote_end_session(self, metadata: BytesLike = b"", timeout: float = 30.0) -> SyncPoint:
        """Vote for the end of the session; its sync point is the last message on every peer.

        Proposes END, as `propose` does, with the same errors, and approves what other peers propose of this kind as
        long as it waits. The default policy leaves END to the application: the session ends when a quorum called this.
        Returns the sync point that ended it, whoever had proposed that.
        """
        self._check_orders()
        return await self._agreement.vote_end_session(*check_proposal(SyncPointKind.END, metadata, timeout)[1:])

    def vote(self, proposal: Proposal | bytes, approve: bool = True) -> None:
        """Approve or refuse an open proposal, or its id, that the policy of the context left to us.

        It counts where the event that carries it is delivered, and cannot be changed. Raises ArgumentError for one
        that is not open here or that this peer has voted on, ArgumentTypeError, ObserverError and EngineStopped.
        """
        self._check_orders()
        self._agreement.vote(proposal, approve)

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        """The proposals that were delivered here and are not decided, in the order of their delivery."""
        return self._agreement.proposals

    # -- receiving ----------------------------------------------------------------------------------

    async def recv_message(self) -> Message | None:
        """The next message of the agreed stream; None once the engine is stopped and all were received.

        After a sync point that ends the session comes None, too, although the engine runs until it is stopped.

        A peer with `PeerCapabilities.no_logic` has no messages: there it waits until the engine is stopped.
        Several tasks may wait; each message goes to one of them. Raises EngineStopped when the engine
        failed, DivergenceError if because others contradict us. Cancelled, it has not taken a message.
        """
        message = await self._stream.receive()
        if message is None and self._ending.error is not None:
            raise self._ending.exception("and has no more messages")
        return message

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
        if self._ending.is_stopped:
            raise self._ending.exception("and forgets nothing more")
        self._stream.check_forget(until)
        await self._driver.storage.forget(until)

    async def prove(self, index: int, position: int) -> Proof:
        """A proof that a transaction stands where it does in the agreed order, for whoever has the network file (C3).

        `index` is that of its event, `position` its place in `Event.transactions`, as in a `Receipt`. It waits until a
        quorum has signed the order up to there or farther, which takes some rounds. Needs `Context(storage=...)`, and
        that the store still has the place and the one before it. Raises ArgumentError for an index that is not
        delivered yet or has a sync point, and for a position that the event does not have; ArgumentTypeError;
        ProofUnavailable where it cannot be made by this peer, or not any more; and EngineStopped.
        """
        return await self._prover.transaction(index, position)

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
            unacknowledged_bytes=self._outbox.unacknowledged_bytes,
            dropped_frames=transport.dropped_frames,
            stopped=self._ending.is_stopped,
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
        return f"Engine({self.public}, {'stopped' if self._ending.is_stopped else 'running'})"

    # -- private: what is allowed ---------------------------------------------------------------------------

    def _check_orders(self) -> None:
        if self._capabilities.no_order:
            raise ObserverError(f"{self.public} is an observer (no_order), and sends nothing: use a peer that orders")

    def _checked(self, transaction: BytesLike) -> bytes:
        self._check_orders()
        return self._outbox.check(transaction)

    # -- private: called by the driver ----------------------------------------------------------------

    def _deliver(self, messages: Sequence[Delivered | values.SyncPoint]) -> None:
        self._prover.note(messages)
        for done in messages:
            if is_event(done):
                self._outbox.delivered(done)
            else:
                self._agreement.delivered(done)
        if not self._capabilities.no_logic:  # else nobody reads here, so nothing may pile up
            self._stream.deliver(messages)
        last = messages[-1] if messages else None
        if last is not None and not is_event(last) and last.kind == SyncPointKind.END:
            self._session_ended(last.index)

    def _message(self, done: Delivered | values.SyncPoint) -> Message:
        """What a core delivered, as the application sees it."""
        if is_event(done):
            return Event._of(done, self._keys[done.event.creator])
        return self._agreement.message(done)

    def _session_ended(self, index: int) -> None:
        """Nothing is delivered behind an index any more; the engine goes on for others that are not there yet (S4)."""
        log.info("the session ended with index %d", index)
        self._ending.session_end = index
        self._stream.finish()
        self._outbox.end()
        self._agreement.session_ended()

    def _halted(self, reason: str) -> None:
        log.error("this peer makes no more events: %s", reason)
        self._ending.halted = reason
        self._end_waits()

    def _failed(self, error: BaseException) -> None:
        log.error("the engine failed and stops", exc_info=error)
        self._ending.error = error
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
        self._ending.is_stopped = True
        self._stream.end()
        self._end_waits()

    def _end_waits(self) -> None:
        self._outbox.end()
        self._agreement.end()
