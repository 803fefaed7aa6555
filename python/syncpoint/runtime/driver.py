"""Runs one machine: collects what happened, steps once per wake-up, carries out what it answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from ..core.error import Reject
from ..core.input import Connected, Disconnected, Input, Persisted, Received, Start
from ..core.journal import EpochStart
from ..core.output import (
    Broadcast,
    Certified,
    Closed,
    Deliver,
    Diverged,
    Entered,
    Halted,
    Opened,
    Output,
    Persist,
    Queue,
    Rejected,
    Send,
    SendStored,
    Wake,
    Write,
)
from ..core.status import Status
from ..core.values import Delivered, SyncPoint
from ..errors import StorageError
from .clock import Clock
from .links import Links
from .rate import Rate
from .storage import Loaded, Storage

__all__ = ["Driver", "Machine"]

log = logging.getLogger("syncpoint.driver")

# What no honest peer of this version sends, as it would have refused it itself: the sender's link is closed, and it is
# kept out for a while. Events that are wrong only among their ancestors are not here: what is known of those differs.
JUNK = frozenset(code for code in Reject if code < Reject.PARENT_MISMATCH and code is not Reject.EPOCH)


class Machine(Protocol):
    """The seam: what either core makes."""

    def step(self, now: int, inputs: Sequence[Input]) -> list[Output]:
        """Take inputs at a time in ns, never decreasing; return outputs, to be carried out in order."""
        ...

    def status(self) -> Status:
        """A read-only snapshot."""
        ...

    def digest(self) -> bytes:
        """A hash of all consensus state."""
        ...


class Driver:
    """The loop around a machine; everything in it happens in one asyncio event loop's thread."""

    def __init__(
        self,
        machine: Machine,
        clock: Clock,
        storage: Storage,
        deliver: Callable[[Sequence[Delivered | SyncPoint]], None],
        queue: Callable[[Queue], None],
        halted: Callable[[str], None],
        failed: Callable[[BaseException], None],
        agreement: Callable[[Opened | Closed | Certified | Diverged], None],
        entered: Callable[[EpochStart], None],
    ) -> None:
        """`entered` is told of epochs, in order with what is delivered (S4)."""
        self.machine = machine
        self.transport: Links | None = None
        self._clock = clock
        self.storage = storage
        self._deliver = deliver
        self._queue = queue
        self._halted = halted
        self._failed = failed
        self._agreement = agreement
        self._entered = entered
        self._loop = asyncio.get_running_loop()
        self._inputs: list[Input] = []
        self._scheduled: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at: int | None = None  # ns: when the timer is due
        self._paused: set[str] = set()  # for what
        self._delivered = Rate()
        self._unreadable = ""  # why the store could not be read when that was logged last
        self._answers: dict[int, asyncio.Task[None]] = {}  # peer -> what the store is asked for its sake
        self._stopped = False
        self._running = False

    async def start(self, transport: Links, loaded: Callable[[Loaded], None] = lambda loaded: None) -> None:
        """Take up what the store has, then open the links; `loaded` is told of it first, and may raise."""
        self.transport = transport
        found = await self.storage.load(self)
        if self._stopped:
            return
        loaded(found)
        self.post(Start(found.records, found.whole))
        self._run()
        if not self._stopped:
            await transport.start()

    @property
    def delivered_per_s(self) -> float:
        """Events delivered per second, of late."""
        return self._delivered.per_s(self._loop.time())

    def post(self, input: Input) -> None:
        """Give the machine something at the next wake-up; all that comes until then goes in one step."""
        self._inputs.append(input)
        if self._scheduled is None and not self._running and not self._paused and not self._stopped:
            self._scheduled = self._loop.call_soon(self._run)

    def received(self, peer: int, frames: list[bytes]) -> None:
        """Frames came in on a link."""
        self.post(Received(peer, frames))

    def connected(self, peer: int) -> None:
        """A link is up."""
        self.post(Connected(peer))

    def disconnected(self, peer: int) -> None:
        """A link is gone, and with it what was to be answered there: half of an answer is of no use on the next one."""
        answer = self._answers.pop(peer, None)
        if answer is not None:
            answer.cancel()
        self.post(Disconnected(peer))

    def storage_failed(self, error: BaseException) -> None:
        """Nothing may go on as if it had been written."""
        if not self._stopped:
            self._stopped = True
            self._failed(error)

    def storage_full(self, full: bool) -> None:
        """What is to be written must not grow without end."""
        if full:
            self.pause("storage")
        else:
            self.resume("storage")

    def pause(self, reason: str) -> None:
        """Stand still, as a peer that is too slow, for a reason: the application or the store does not keep up."""
        if not self._stopped:
            if not self._paused and self.transport is not None:
                self.transport.pause()
            self._paused.add(reason)

    def resume(self, reason: str) -> None:
        """Go on, unless there is another reason to stand still."""
        if reason in self._paused and not self._stopped:
            self._paused.remove(reason)
            if self._paused:
                return
            if self.transport is not None:
                self.transport.resume()
            if self._scheduled is None and not self._running:
                self._scheduled = self._loop.call_soon(self._run)

    async def stop(self) -> None:
        """Step no more; close links and storage."""
        self._stopped = True
        for answer in self._answers.values():
            answer.cancel()
        for handle in (self._scheduled, self._timer):
            if handle is not None:
                handle.cancel()
        try:
            if self.transport is not None:
                await self.transport.close()
        finally:
            await self.storage.close()

    def _woken(self) -> None:
        self._timer = self._wake_at = None
        self._run()

    def _run(self) -> None:
        if self._scheduled is not None:  # the timer was first; what was posted is taken now
            self._scheduled.cancel()
            self._scheduled = None
        if self._stopped or self._paused:
            return
        self._running = True
        try:
            self._step()
            # What became durable at once (and only that) is in here already.
            while self._inputs and not self._paused:
                self._step()
            if self.transport is not None:
                self.transport.flush()
        except Exception as error:  # a bug or a broken store: nothing may go on as if it had not happened
            self._stopped = True
            self._failed(error)
        finally:
            self._running = False

    def _step(self) -> None:
        inputs, self._inputs = self._inputs, []
        now = self._clock.now()
        for output in self.machine.step(now, inputs):
            self._carry_out(output, now)

    def _carry_out(self, output: Output, now: int) -> None:
        transport = self.transport
        assert transport is not None
        match output:
            case SendStored():
                if output.peer not in self._answers:  # else it asks once more, and goes without
                    self._answers[output.peer] = self._loop.create_task(
                        self._answer(output), name=f"syncpoint answer to peer {output.peer}"
                    )
            case Broadcast():
                transport.broadcast(output.frame)
            case Send():
                transport.send(output.peer, output.frame)
            case Persist():
                token = output.token
                self.storage.persist(output.records, lambda: self.post(Persisted(token)))
            case Write():
                self.storage.write(output.records)
            case Deliver():
                self._delivered.add(len(output.messages), self._loop.time())
                self.storage.deliver(output.messages, output.states)
                self._deliver(output.messages)
            case Wake():
                if output.at == self._wake_at:  # most often: it is a heartbeat or a timeout that did not move
                    return
                if self._timer is not None:
                    self._timer.cancel()
                self._wake_at = output.at
                self._timer = self._loop.call_later(max(0, output.at - now) / 1e9, self._woken)
            case Queue():
                self._queue(output)
            case Rejected():
                if output.code in JUNK:
                    transport.drop(output.peer)
            case Entered():
                self._entered(output.start)
            case Halted():
                self._halted(output.reason)
            case Opened() | Closed() | Certified() | Diverged():
                self._agreement(output)

    async def _answer(self, output: SendStored) -> None:
        """Send what the store has, as it is read; a store that cannot be read has nothing."""
        try:
            async for frames in self.storage.above(output.epoch, output.frontier, output.first, output.most):
                self._send(output.peer, frames)
        except StorageError as error:
            if str(error) != self._unreadable:  # it will ask again, and again
                self._unreadable = str(error)
                log.warning("peer %d is behind, and what it needs cannot be read: %s", output.peer, error)
        finally:
            if self._answers.get(output.peer) is asyncio.current_task():  # else it was cancelled, and the next one runs
                del self._answers[output.peer]
        self._send(output.peer, [output.last])

    def _send(self, peer: int, frames: Sequence[bytes]) -> None:
        transport = self.transport
        if self._stopped or transport is None:
            return
        for frame in frames:
            transport.send(peer, frame)
        transport.flush()
