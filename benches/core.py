"""What an event costs in each stage of the core, both cores in one run.

python -m pytest benches/core.py               everything, in less than four minutes; the table is at the end
python -m pytest benches/core.py --quick       a look
python -m pytest benches/core.py -k step       some of it; pytest-benchmark's options work as well
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import apart
import graphs
import recorded
from recorded import Recording
from surroundings import cores
from syncpoint.backend import load_core, make_machine
from syncpoint.core.crypto import DOMAIN_EVENT, Signer
from syncpoint.core.input import Received, Start

Note = Callable[[str, int | str, str, Sequence[float]], None]

REPEATS = 3  # the cores take turns so many times
GRAPH_ROUNDS = {4: 400, 10: 200, 31: 60, 100: 16}
RECORDED_ROUNDS = {4: 600, 10: 200, 31: 60}
RUNS = {"python": 1, "native": 5}  # of a graph or a recording, in each turn
FRAMES = 200  # decoded in one run
SIGNATURES = 100  # checked in one run
BATCH = 64  # frames in a step that is checked on several threads
CORES = cores()
FAST = CORES[-1]

# Of the thread alone where that can be told well: another process's time is not ours.
TIMER = time.thread_time if time.get_clock_info("thread_time").resolution < 1e-6 else time.perf_counter
pytestmark = pytest.mark.benchmark(timer=TIMER)


def cases(**dimensions: Sequence[Any]) -> Callable[[Any], Any]:
    """Run a bench for all combinations of these and the cores that there are, REPEATS times or `repeats`, in turns."""

    def mark(bench: Any) -> Any:
        bench.dimensions = dimensions
        return bench

    return mark


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The cases of each bench, in the order in which they run."""
    quick = metafunc.config.getoption("quick")
    dimensions = dict(metafunc.function.dimensions)
    cores, repeats = dimensions.pop("core", CORES), dimensions.pop("repeats", range(1 if quick else REPEATS))
    if quick and "n" in dimensions:
        dimensions["n"] = [n for n in dimensions["n"] if n in (4, 31)]
    every = itertools.product(*dimensions.values(), repeats, [core for core in cores if core in CORES])
    metafunc.parametrize((*dimensions, "repeat", "core"), list(every))


@pytest.fixture
def quick(request: pytest.FixtureRequest) -> bool:
    """Whether a look is enough."""
    return bool(request.config.getoption("quick"))


@cases(n=(4, 10, 31, 100))
def test_decode(benchmark: BenchmarkFixture, note: Note, n: int, core: str, repeat: int) -> None:
    """Read EVENT frames."""
    network, epoch_id, frames = recorded.frames_of(n)
    decode = load_core(core).decode_event  # type: ignore[attr-defined]
    frames = list(itertools.islice(itertools.cycle(frames), FRAMES))

    def run() -> None:
        for frame in frames:
            decode(frame, epoch_id, network)

    benchmark.pedantic(run, rounds=10, warmup_rounds=1)
    note("decode", n, core, _per(benchmark, FRAMES))


@cases()
def test_verify(benchmark: BenchmarkFixture, note: Note, core: str, repeat: int) -> None:
    """Check one signature."""
    verify = load_core(core).verify  # type: ignore[attr-defined]
    signer = Signer(bytes(range(32)))
    signed = [
        (message, signer.sign(message)) for message in (DOMAIN_EVENT + bytes([i]) * 32 for i in range(SIGNATURES))
    ]

    def run() -> None:
        for message, signature in signed:
            assert verify(signer.public, message, signature)

    benchmark.pedantic(run, rounds=10, warmup_rounds=1)
    us = _per(benchmark, SIGNATURES)
    note("verify", "", core, us)
    note("verify, per second", "", core, [1e6 / each for each in us])


@pytest.mark.benchmark(timer=time.perf_counter)
@cases(threads=(1, 2), core=("native",))
def test_verify_on_threads(
    benchmark: BenchmarkFixture, note: Note, threads: int, core: str, repeat: int, quick: bool
) -> None:
    """Check the signatures of many frames that come at once; all are wrong, which takes as long as right ones."""
    recording = _recording(31, quick)
    config = replace(recording.config, local=replace(recording.config.local, verify_threads=threads))
    machine = make_machine(config, core)
    machine.step(0, (Start(()),))
    frames = [recorded.wrongly_signed(frame) for frame in recording.event_frames(config.network.max_ahead)[:BATCH]]
    benchmark.pedantic(machine.step, (0, (Received(1, frames),)), rounds=10, warmup_rounds=1)
    note(f"verify, {BATCH} frames at once", f"{threads} thr", core, _per(benchmark, BATCH))


@cases(n=(4, 10, 31, 100), order=("fair", "fast"))
def test_insert_decide_order(
    benchmark: BenchmarkFixture, note: Note, n: int, order: str, core: str, repeat: int, quick: bool
) -> None:
    """Take events into the graph, decide and order them."""
    rounds = list(graphs.rounds_of(n, GRAPH_ROUNDS[n] // (3 if quick else 1)))
    hashes = set()

    def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (graphs.empty(core, n, order),), {}

    def run(graph: Any) -> None:
        graphs.insert_decide_order(graph, rounds, n)
        hashes.add(graph.order_hash)

    benchmark.pedantic(run, setup=setup, rounds=RUNS[core])
    hashes.add(_ordered.setdefault((n, order, len(rounds)), *hashes))
    assert len(hashes) == 1, "the cores order differently"
    note(f"insert+decide+order, {order}", n, core, _per(benchmark, n * len(rounds)))


_ordered: dict[tuple[int, str, int], bytes] = {}


@cases(n=(4, 10, 31), signatures=("ed25519", "simulated"))
def test_step(
    benchmark: BenchmarkFixture, note: Note, n: int, signatures: str, core: str, repeat: int, quick: bool
) -> None:
    """Tell a machine all that another one was told, with signatures and with what takes next to no time."""
    recording = _recording(n, quick, signatures)
    benchmark.pedantic(_replay(recording), setup=lambda: ((recording.machine(core),), {}), rounds=RUNS[core])
    name = "step" if signatures == "ed25519" else "step, unsigned"
    note(name, n, core, _per(benchmark, recording.events))


@cases(n=(4, 31), repeats=(0,))
def test_memory(benchmark: BenchmarkFixture, note: Note, n: int, core: str, repeat: int, quick: bool) -> None:
    """How much memory grows per 1,000 rounds, as long as nothing is forgotten."""
    recording = _recording(n, quick)
    mib = benchmark.pedantic(apart.memory, (recording, core), rounds=1)
    note("memory per 1,000 rounds, MiB", n, core, [mib])
    if core == "python":
        note("  by tracemalloc", n, core, [apart.memory(recording, core, traced=True)])


@cases(n=(31,), core=("native",), repeats=(0,))
def test_flat(
    benchmark: BenchmarkFixture,
    note: Note,
    remark: Callable[[str], None],
    n: int,
    core: str,
    repeat: int,
    quick: bool,
) -> None:
    """Whether an event costs in the tenth thousand of rounds what it did in the first."""
    answer = benchmark.pedantic(apart.flat, (core, n, 3 if quick else apart.WINDOWS), rounds=1)
    for unit, name in (("us", "insert+decide+order"), ("mib", "MiB in memory")):
        windows = answer[unit]
        for number in (1, 2, len(windows)):  # from the second on as many rounds are kept as ever will be
            note(f"window {number}, {name}", n, core, [windows[number - 1]])
        remark(f"window 1 to {len(windows)}, {name}: {' '.join(f'{value:.1f}' for value in windows)}")


def _replay(recording: Recording) -> Callable[[Any], None]:
    def run(machine: Any) -> None:
        for now, inputs in recording.steps:
            machine.step(now, inputs)
        recording.check(machine)

    return run


def _recording(n: int, quick: bool, signatures: str = "ed25519") -> Recording:
    """Recorded once in a run, by the faster core."""
    rounds = RECORDED_ROUNDS[n] // (3 if quick else 1)
    return recorded.record(n, rounds if FAST == "native" else rounds // 4, FAST, signatures=signatures)


def _per(benchmark: BenchmarkFixture, events: int) -> list[float]:
    """us per event, of each run."""
    return [took * 1e6 / events for took in benchmark.stats.stats.data]
