"""A driver's surroundings under the test's control, and a machine that follows a script."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, cast

from syncpoint.core.input import Input
from syncpoint.core.output import Output
from syncpoint.core.status import Status
from syncpoint.core.values import Delivered
from syncpoint.errors import StorageError
from syncpoint.runtime.clock import Clock
from syncpoint.runtime.driver import Driver
from syncpoint.runtime.storage import Loaded, Storage, StorageUser
from syncpoint.runtime.transport import Transport


class Handle:
    """Something that a loop will do, unless it is cancelled."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class VirtualLoop:
    """An event loop whose time passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000_000_000_000  # ns
        self._soon: deque[Handle] = deque()
        self._timers: list[tuple[int, int, Handle]] = []
        self._numbers = itertools.count()

    def call_soon(self, callback: Callable[[], object]) -> Handle:
        handle = Handle(callback)
        self._soon.append(handle)
        return handle

    def call_later(self, delay: float, callback: Callable[[], object]) -> Handle:
        handle = Handle(callback)
        heapq.heappush(self._timers, (self.now + round(delay * 1e9), next(self._numbers), handle))
        return handle

    def time(self) -> float:
        """Seconds."""
        return self.now / 1e9

    def create_task(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """A task that waits for nothing but what is done at once runs beside the virtual time."""
        return asyncio.get_running_loop().create_task(coroutine, name=name)

    @property
    def due(self) -> list[int]:
        """When the timers that were not cancelled go off."""
        return sorted(at for at, _, handle in self._timers if not handle.cancelled)

    def run(self) -> int:
        """Do all that is to be done now; how many callbacks that were."""
        count = 0
        while self._soon:
            handle = self._soon.popleft()
            if not handle.cancelled:
                handle.callback()
                count += 1
        return count

    def advance(self, duration: int) -> None:
        """Let so many ns pass."""
        end = self.now + duration
        self.run()
        while self._timers and self._timers[0][0] <= end:
            at, _, handle = heapq.heappop(self._timers)
            self.now = max(self.now, at)
            if not handle.cancelled:
                handle.callback()
                self.run()
        self.now = end


class LoopClock(Clock):
    """The loop's time as the time of the day."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now(self) -> int:
        return self._loop.now


class FakeTransport:
    """Notes what it is told to do."""

    def __init__(self, log: list[Any]) -> None:
        self.log = log

    async def start(self) -> None:
        self.log.append("start")

    async def close(self) -> None:
        self.log.append("close")

    def broadcast(self, frame: bytes) -> None:
        self.log.append(("broadcast", frame))

    def send(self, peer: int, frame: bytes) -> None:
        self.log.append(("send", peer, frame))

    def flush(self) -> None:
        self.log.append("flush")

    def pause(self) -> None:
        self.log.append("pause")

    def resume(self) -> None:
        self.log.append("resume")

    def drop(self, peer: int) -> None:
        self.log.append(("drop", peer))


class FakeStorage:
    """Makes records durable when the test says so, or at once."""

    def __init__(self, log: list[Any]) -> None:
        self.log = log
        self.records: Sequence[bytes] = ()
        self.whole = True
        self.at_once = False
        self.waiting: deque[Callable[[], None]] = deque()
        self.old: list[list[bytes] | StorageError | asyncio.Event] = []  # pages, trouble, or what they wait for

    async def load(self, user: StorageUser) -> Loaded:
        return Loaded(records=self.records, whole=self.whole)

    def write(self, records: Sequence[bytes]) -> None:
        self.log.append(("write", *records))

    def deliver(self, messages: Sequence[Delivered], states: Sequence[tuple[int, bytes]]) -> None:
        self.log.append(("store", *messages, *states))

    def persist(self, records: Sequence[bytes], durable: Callable[[], None]) -> None:
        self.log.append(("persist", *records))
        if self.at_once:
            durable()
        else:
            self.waiting.append(durable)

    async def above(self, epoch: int, frontier: Sequence[int], first: int, most: int) -> AsyncIterator[list[bytes]]:
        self.log.append(("above", epoch, frontier, first, most))
        for page in self.old:
            match page:
                case StorageError():
                    raise page
                case asyncio.Event():
                    await page.wait()
                case _:
                    yield page

    async def close(self) -> None:
        self.log.append("closed")


Answer = Callable[[int, Sequence[Input]], Sequence[Output]]


class ScriptedMachine:
    """Answers its steps from a script, then with nothing."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, list[Input]]] = []
        self.script: deque[Sequence[Output] | Answer] = deque()
        self.otherwise: Answer = lambda now, inputs: ()

    def step(self, now: int, inputs: Sequence[Input]) -> list[Output]:
        self.steps.append((now, list(inputs)))
        answer = self.script.popleft() if self.script else self.otherwise
        return list(answer(now, inputs) if callable(answer) else answer)

    def status(self) -> Status:
        raise NotImplementedError

    def digest(self) -> bytes:
        return b""

    @property
    def inputs(self) -> list[list[Input]]:
        """What each step was given."""
        return [inputs for _, inputs in self.steps]


class Bench:
    """A driver among fakes; `log` has in one order what it made the world do."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.log: list[Any] = []
        self.loop = VirtualLoop()
        self.machine = ScriptedMachine()
        self.transport = FakeTransport(self.log)
        self.storage = FakeStorage(self.log)
        self.errors: list[BaseException] = []
        self.driver = Driver(
            self.machine,
            clock or LoopClock(self.loop),
            cast(Storage, self.storage),
            lambda messages: self.log.append(("deliver", *messages)),
            lambda queue: self.log.append(queue),
            lambda reason: self.log.append(("halted", reason)),
            self.errors.append,
            lambda output: self.log.append(output),
            lambda start: self.log.append(("entered", start)),
        )
        self.driver._loop = cast(asyncio.AbstractEventLoop, self.loop)

    async def start(self) -> None:
        """Start the driver, and forget what that did."""
        await self.driver.start(cast(Transport, self.transport))
        self.machine.steps.clear()
        self.log.clear()
