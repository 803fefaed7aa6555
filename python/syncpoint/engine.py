"""The engine that an application holds: send transactions, receive the agreed stream."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from types import TracebackType

from .agreement import Agreement, AgreementSettings
from .context import Context
from .core import values
from .core.committee import Committee
from .core.config import Network
from .core.journal import EpochStart
from .core.values import Delivered, SyncPointKind
from .deciding import Deciding
from .ending import Ending
from .keys import KeyPublic, KeySecret
from .membership import Membership
from .message import Event, Message, Receipt
from .options import Options
from .peers import Peers
from .proof import Proof
from .proving import Prover
from .removal import Removal
from .runtime.driver import Driver, Machine
from .runtime.leaving import LEAVING_S
from .runtime.storage import Loaded, Storage, is_event
from .sending import BytesLike, Outbox
from .socket import Socket
from .starting import Given
from .status import EngineStatus
from .stream import Stream

__all__ = ["Engine"]

log = logging.getLogger("syncpoint.engine")

ACTIVE_ROUNDS = 16  # a creator is active while its newest event is at most so far below the top round


class Engine(Deciding):
    """One peer of a network. `async for message in engine` is the agreed stream.

    All methods are to be called from the event loop in which it was started. Every wait can be cancelled:
    a cancelled `recv_message` loses no message, a cancelled `send_transaction` has not sent anything, a
    cancelled `submit` has sent its transaction and only no longer waits for it.
    """

    def __init__(
        self,
        given: Given,
        machine: Machine,
        storage: Storage,
        committee: Committee,
        membership: Membership,
        settings: AgreementSettings,
    ) -> None:
        """Use `Engine.start`."""
        self._context = context = given.context
        self._membership = membership
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
            self._entered,
        )
        self._stream = Stream(storage, driver, self._message, self._failed)
        self._outbox = Outbox(given.network, given.options, driver.post, ending)
        self._agreement = Agreement(
            settings,
            driver.post,
            # Consensus time may be ahead of our clock; a deadline must not be over before it begins.
            lambda: max(clock.now(), machine.status().consensus_at),
            ending,
            self._failed,
            lambda index: self._prover.sync_point(index),
            lambda proposal: self._removal.sees(proposal),
        )
        self._removal = Removal(given.options.fallen_behind_kick_s, membership, self._agreement, machine.status, ending)
        self._prover = Prover(
            storage, committee, lambda: machine.status().delivered, self._agreement.certificate, ending
        )
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
        joins: bool = False,
        next_secret: KeySecret | None = None,
    ) -> Engine:
        """Start a peer; it links up with the others by itself, in whatever order they start.

        `peers` holds every peer of the network, this one among them, and is the same everywhere; so is
        `network` (name, decision rule, order, limits; default `Network()`). With `Context(storage=...)` the peer
        goes on where its store ends, and the application gets the stream from index `resume_after + 1` on (default:
        from its beginning), exactly as before. `joining_running_session` says that this key may have signed what the
        store does not have; such a peer, told or not, signs nothing until the others have said how far it was.
        With `joins` our key need not be among `peers`, which are those that the network began with all the same: this
        peer follows from the beginning, and takes part from the sync point on that lets it in
        (`vote_add_node`). `next_secret` is the secret of a key that takes the place of ours once a sync point says so:
        a peer that called `rotate_key` gives both from its next start on.
        Raises ArgumentError, ArgumentTypeError or SocketBindError for what cannot work, ContextError for a
        context that is closed or of another event loop, StorageError when the store cannot be used: its network or
        its key is another one, it is in use or damaged, or the disk is in trouble.
        """
        given = Given(
            context=context,
            socket=socket,
            options=options,
            secret=secret,
            peers=peers,
            joining_running_session=joining_running_session,
            network=Network() if network is None else network,
            resume_after=resume_after,
            joins=joins,
            next_secret=next_secret,
        )
        given.check()
        committee, world = given.committee(), context._world
        if committee.f == 0 and committee.n > 1:  # Q2
            log.warning("%d peers with f = %d tolerate no fault at all; 4 tolerate one", committee.n, committee.f)
        membership, config = given.membership(committee.epoch_id), given.config()
        machine = context._machine(config)
        identity = given.identity(committee.epoch_id)
        storage = world.storage(context._storage_settings(identity, config.local, joining_running_session))
        settings = AgreementSettings(
            membership=membership,
            entropy=config.entropy,
            approve=context._approve,
            left_open=context._left_open,
            joining=joining_running_session or membership.seat is None,
        )
        engine = cls(given, machine, storage, committee, membership, settings)
        links = world.links(socket._take(), membership.links(), engine._driver)
        context._own(engine)
        try:
            await engine._driver.start(links, lambda loaded: engine._loaded(loaded, resume_after))
            if engine._ending.error is not None:
                raise engine._ending.error
            status = machine.status()
            if status.ended and engine._ending.session_end is None:  # before this start
                engine._session_ended(status.delivered - 1)
            engine._removal.start()
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
        With `joins` it is queued until this peer is let in.
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

    # -- receiving ----------------------------------------------------------------------------------

    async def recv_message(self) -> Message | None:
        """The next message of the agreed stream; None once the engine is stopped and all were received.

        After a sync point that ends the session, or that removes this peer, comes None, too, although the engine runs
        until it is stopped.

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
        """What all peers of this network have set alike, in the epoch that this peer is in."""
        return self._membership.current.network

    @property
    def peers(self) -> Peers:
        """The address book of the epoch that this peer is in: a copy."""
        return copy.copy(self._membership.current.peers)

    @property
    def public(self) -> KeyPublic:
        """Our own key in the epoch that this peer is in."""
        return self._membership.public

    def status(self) -> EngineStatus:
        """A snapshot for people and metrics."""
        consensus, transport = self._driver.machine.status(), self._driver.transport
        assert transport is not None
        key_at = self._membership.key_at
        return EngineStatus(
            core=self._context.core,
            consensus=consensus,
            linked=tuple(filter(None, map(key_at, consensus.linked))),
            refusals={key: why for number, why in transport.refusals.items() if (key := key_at(number)) is not None},
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
        # Observers come after those that order, and make no events.
        creators = self._membership.of(status.epoch).keys[: status.peers]
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

    def _checked(self, transaction: BytesLike) -> bytes:
        self._check_orders()
        return self._outbox.check(transaction)

    # -- private: called by the driver ----------------------------------------------------------------

    def _loaded(self, loaded: Loaded, resume_after: int | None) -> None:
        """Take up what the store has."""
        self._link_as(loaded.epochs)
        self._prover.begin(loaded.epochs)
        if self._membership.is_removed and self._membership.removed_at is not None:
            # What was heard behind it is stored, too.
            loaded = dataclasses.replace(loaded, end=min(loaded.end, self._membership.removed_at + 1))
        self._stream.begin(loaded, resume_after)
        self._look_for_us()

    def _link_as(self, epochs: Sequence[EpochStart]) -> None:
        """Link as in the newest epoch, also with those whose old keys counted when it began: they count again."""
        transport = self._driver.transport
        assert transport is not None
        newest = epochs[-1].consensus_at if epochs else 0
        is_known = False
        for start in epochs:
            if not is_known and newest - start.consensus_at < LEAVING_S * 1e9:
                transport.begin(self._membership.links())
                is_known = True
            self._membership.enter(start)
            if is_known:
                self._change_links()

    def _entered(self, start: EpochStart) -> None:
        """An epoch has begun: from here on its members and settings hold (S4)."""
        was_member = self._membership.seat is not None
        self._membership.enter(start)
        self._prover.enter(start)
        members = self._membership.current
        n, f = members.committee.n, members.committee.f
        log.info("epoch %d: %d peers that order, %d others, f = %d", start.number, n, len(members.keys) - n, f)
        if f == 0 and n > 1:  # Q2
            log.warning("%d peers with f = %d tolerate no fault at all; 4 tolerate one", n, f)
        self._change_links()
        self._agreement.entered(was_member)
        self._look_for_us()

    def _look_for_us(self) -> None:
        """What comes behind the sync point that removed us is for the others alone, though we may still hear it."""
        if self._membership.is_removed:
            self._ending.is_removed = True
            self._stream.finish()

    def _change_links(self) -> None:
        transport = self._driver.transport
        assert transport is not None
        transport.change(self._membership.links())

    def _deliver(self, messages: Sequence[Delivered | values.SyncPoint]) -> None:
        self._prover.note(messages)
        for done in messages:
            if is_event(done):
                self._outbox.delivered(done)
            else:
                self._agreement.delivered(done)
        # Else nobody reads here, so nothing may pile up.
        if not self._membership.capabilities.no_logic and not self._ending.is_removed:
            self._stream.deliver(messages)
        last = messages[-1] if messages else None
        if last is not None and not is_event(last) and last.kind == SyncPointKind.END:
            self._session_ended(last.index)

    def _message(self, done: Delivered | values.SyncPoint) -> Message:
        """What a core delivered, as the application sees it."""
        if is_event(done):
            return Event._of(done, self._membership.of(done.epoch).keys[done.event.creator])
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
        self._removal.stop()
        self._stream.end()
        self._end_waits()

    def _end_waits(self) -> None:
        self._outbox.end()
        self._agreement.end()
