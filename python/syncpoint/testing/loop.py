"""An asyncio event loop on virtual time: waiting takes none, and the same happens in every run.

Handles are run in the order of their time, and of equal times in the order in which they were made. Nothing here
reads a clock, opens a socket or starts a thread.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from typing import Any, NoReturn, TypeVar

__all__ = ["Process", "VirtualLoop"]

T = TypeVar("T")

BEGIN_NS = 1_700_000_000_000_000_000  # what virtual time starts from: ns since the Unix epoch
MAX_HANDLES_AT_ONCE = 10_000_000  # in one instant; beyond, something calls itself again and again

MIN_PRUNE = 256
MAX_CANCELS = 10  # of one task that does not want to end


class Process:
    """What runs for one simulated process; once it is dead nothing of it runs any more, not even `finally`."""

    __slots__ = ("alive", "name", "prune_at", "stopped", "tasks", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stopped = False  # as by SIGSTOP
        self.waiting: list[Any] = []  # what would have run since it was stopped, or died
        self.tasks: list[asyncio.Task[Any]] = []  # kept, so that the end of a dead process disturbs nobody
        self.prune_at = MIN_PRUNE  # tasks kept, before those that are done are let go


_running: ContextVar[Process | None] = ContextVar("syncpoint_process", default=None)


class Call:
    """What the network does at a time: a handle that costs half of asyncio's, and cannot be cancelled."""

    __slots__ = ("_args", "_callback", "_context")
    _cancelled = False

    def __init__(self, context: Context, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._context = context
        self._callback = callback
        self._args = args


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs callbacks and tasks; time passes when nothing is left to be done now."""

    def __init__(self) -> None:
        self.now_ns = BEGIN_NS
        self.problems: list[str] = []  # exceptions that nobody caught, each with the process that it is of
        self.last_words: list[str] = []  # the same of processes that are dead
        self._ready: deque[Any] = deque()  # handles and calls
        self._timers: list[tuple[int, int, Any]] = []  # heap: (ns, number, handle or call)
        self._count = 0
        self._processes: dict[Process, None] = {}  # all that ever were
        self._special = False  # whether any process is dead or stopped
        self._failed: list[tuple[Process | None, int, asyncio.Task[Any]]] = []  # tasks that raised, and when (ns)
        self._closed = False

    # -- processes ----------------------------------------------------------------------------------

    def spawn(self, process: Process, main: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Start a coroutine as part of a process; whatever it starts is part of it as well."""
        self._processes.setdefault(process)
        return self.context_of(process).run(lambda: self.create_task(main()))

    def context_of(self, process: Process) -> Context:
        """A context whose callbacks are part of a process."""
        context = Context()
        context.run(_running.set, process)
        return context

    def kill(self, process: Process) -> None:
        """End a process at once: nothing of it runs any more."""
        self._tell_failed([each for each in self._failed if each[0] is process and each[1] < self.now_ns])
        # Whoever waits for a task that raised only now would have been woken next.
        self._failed = [each for each in self._failed if each[0] is not process]
        process.alive = False
        self._special = True

    def suspend(self, process: Process) -> None:
        """Stop a process; time goes on without it."""
        process.stopped = True
        self._special = True

    def resume(self, process: Process) -> None:
        """Let a stopped process go on with all that would have happened."""
        process.stopped = False
        self._ready.extend(process.waiting)
        process.waiting.clear()

    # -- running ------------------------------------------------------------------------------------

    def run_until(self, done: Callable[[], bool], until_ns: int) -> bool:
        """Run until `done()` holds, but not past a time; whether it holds. It is asked after each instant."""
        previous = events._get_running_loop()
        events._set_running_loop(self)
        try:
            self._drain()
            while not done():
                if not self._timers or self._timers[0][0] > until_ns:
                    self.now_ns = max(self.now_ns, until_ns)
                    return False
                self.now_ns = max(self.now_ns, self._timers[0][0])
                while self._timers and self._timers[0][0] <= self.now_ns:
                    self._ready.append(heapq.heappop(self._timers)[2])
                self._drain()
            return True
        finally:
            events._set_running_loop(previous)

    def collect(self) -> None:
        """Add to `problems` what tasks raised that nobody asked for their results.

        asyncio tells of them when they are forgotten, but here they are kept. To be called when nothing is going to
        ask any more.
        """
        failed, self._failed = self._failed, []
        self._tell_failed(failed)

    def _drain(self) -> None:
        """Run all that is to be done now, and what that makes to be done now."""
        ready = self._ready
        count = 0
        while ready:
            handle = ready.popleft()
            if handle._cancelled:
                continue
            if self._special and self._holds_back(handle):
                continue
            try:
                handle._context.run(handle._callback, *handle._args)
            except Exception as error:
                self._tell(handle._context.get(_running), f"exception in {_named(handle._callback)}: {error!r}")
            count += 1
            if count > MAX_HANDLES_AT_ONCE:
                raise AssertionError(f"time stands still: something calls itself without end: {handle!r}")

    def end(self) -> None:
        """Cancel every task of every process and let it end; what goes wrong with that is nobody's business."""
        self._closed = True
        self._timers.clear()
        self._special = False
        for process in self._processes:  # a task whose wake-up was held back cannot even be cancelled
            self._ready.extend(process.waiting)
            process.waiting.clear()
        previous = events._get_running_loop()
        events._set_running_loop(self)
        try:
            for _ in range(MAX_CANCELS):
                tasks = [task for process in self._processes for task in process.tasks if not task.done()]
                if not tasks:
                    break
                for task in tasks:
                    task.cancel()
                self._drain()
        finally:
            events._set_running_loop(previous)
        for process in self._processes:
            process.tasks.clear()
        self._timers.clear()
        self._failed.clear()

    def _holds_back(self, handle: Any) -> bool:
        """Keep what belongs to a process that is stopped or dead; of a dead one only what its tasks may need to end."""
        process = handle._context.get(_running)
        if process is None or (process.alive and not process.stopped):
            return False
        if process.alive or not isinstance(handle, Call):
            process.waiting.append(handle)
        return True

    # -- asyncio ------------------------------------------------------------------------------------

    def time(self) -> float:
        """Seconds since the beginning."""
        return (self.now_ns - BEGIN_NS) / 1e9

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        """Run it after what is to be run now already."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run it after so many seconds."""
        return self.call_at_ns(self.now_ns + round(delay * 1e9), callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run it at a time of `time()`."""
        return self.call_at_ns(BEGIN_NS + round(when * 1e9), callback, *args, context=context)

    def call_at_ns(
        self, when: int, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run it at a time in ns; one that is past means now."""
        handle = asyncio.TimerHandle((when - BEGIN_NS) / 1e9, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def put(self, when: int, context: Context, callback: Callable[..., object], *args: Any) -> None:
        """The same without a handle, for what is never cancelled."""
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, Call(context, callback, args)))

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        """Run a coroutine."""
        task = asyncio.Task(coro, loop=self, name=name or "task", context=context, **options)
        process = _running.get() if context is None else context.get(_running)
        if process is not None:
            if len(process.tasks) >= process.prune_at:
                process.tasks = [each for each in process.tasks if not each.done()]
                process.prune_at = max(MIN_PRUNE, 2 * len(process.tasks))
            process.tasks.append(task)
        task.add_done_callback(functools.partial(self._done, process), context=context)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what went wrong where nobody was looking."""
        error, message = context.get("exception"), str(context.get("message"))
        self._tell(_running.get(), f"{message}: {error!r}" if error is not None else message)

    def _done(self, process: Process | None, task: asyncio.Task[Any]) -> None:
        """Keep a task that raised; whoever waits for its result is woken after this."""
        if not self._closed and not task.cancelled() and task._log_traceback:
            self._failed.append((process, self.now_ns, task))

    def _tell_failed(self, failed: list[tuple[Process | None, int, asyncio.Task[Any]]]) -> None:
        for process, at_ns, task in failed:
            if task._log_traceback:  # nobody has asked for its exception; now we have
                told = f"nobody looked at what a task raised at {(at_ns - BEGIN_NS) / 1e9:.6f} s"
                self._tell(process, f"{told} ({_named(task.get_coro())}): {task.exception()!r}")

    def _tell(self, process: Process | None, text: str) -> None:
        if self._closed:
            return
        if process is None:
            self.problems.append(text)
        elif process.alive:
            self.problems.append(f"{process.name}: {text}")
        else:
            self.last_words.append(f"{process.name}: {text}")

    def get_debug(self) -> bool:
        """Never: it would make runs differ."""
        return False

    def is_running(self) -> bool:
        """Whether it is this thread's loop now."""
        return events._get_running_loop() is self

    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def close(self) -> None:
        """End what is left."""
        self.end()

    def call_soon_threadsafe(self, *args: Any, **options: Any) -> NoReturn:  # type: ignore[override]
        """There are no threads."""
        raise RuntimeError("there are no threads in a simulation: call it from the event loop")

    def run_in_executor(self, *args: Any, **options: Any) -> NoReturn:  # type: ignore[override]
        """There are no threads."""
        raise RuntimeError("there are no threads in a simulation: await something of the event loop instead")

    async def shutdown_asyncgens(self) -> None:
        """Nothing to shut down."""

    def _no_io(self, *args: Any, **options: Any) -> NoReturn:
        raise RuntimeError("there is no network in a simulation but the simulated one: use the engine's")

    getaddrinfo = create_connection = create_server = create_datagram_endpoint = sock_connect = _no_io


def _named(what: object) -> str:
    """How a function is called, without where it is in memory: two runs are to say the same."""
    while isinstance(what, functools.partial):
        what = what.func
    return getattr(what, "__qualname__", None) or type(what).__name__
