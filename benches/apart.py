"""What has to be measured in a process of its own, because that process's memory is what is measured.

    python benches/apart.py memory CORE      a recording on standard input; MiB per 1,000 rounds
    python benches/apart.py flat CORE N      10,000 rounds, by windows of 1,000: us per event, MiB

Each prints one JSON object.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

from graphs import empty, insert_decide_order, rounds_of
from recorded import Recording, read, write
from syncpoint import backend

MIB = 1 << 20
WARM_UP = 5  # one part in so many of a recording comes before the first look
WINDOW, WINDOWS = 1000, 10  # rounds

Json = dict[str, Any]


def memory(recording: Recording, core: str, *, traced: bool = False) -> float:
    """MiB that a machine's graph takes per 1,000 rounds, as the system sees it or as tracemalloc does."""
    command = ["traced" if traced else "memory", core]
    process = subprocess.Popen([sys.executable, __file__, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin:
        pickle.dump((recording.config, len(recording.steps)), process.stdin)
        write(recording.steps, process.stdin)
    with process.stdout:
        answer: Json = json.loads(process.stdout.read())
    assert process.wait() == 0
    return float(answer["mib_per_1000_rounds"])


def flat(core: str, n: int, windows: int) -> Json:
    """Time and memory of each window of a long run."""
    done = subprocess.run([sys.executable, __file__, "flat", core, str(n), str(windows)], stdout=subprocess.PIPE)
    done.check_returncode()
    answer: Json = json.loads(done.stdout)
    return answer


def _memory(core: str, *, traced: bool) -> Json:
    config, count = pickle.load(sys.stdin.buffer)
    machine = backend.make_machine(config, core)
    if traced:
        tracemalloc.start()
    look = (lambda: tracemalloc.get_traced_memory()[0]) if traced else _rss
    first, before = 0, 0
    for number, (now, inputs) in enumerate(read(sys.stdin.buffer)):
        machine.step(now, inputs)
        if number == count // WARM_UP:
            gc.collect()
            first, before = machine.status().closed_round, look()
    gc.collect()
    return {"mib_per_1000_rounds": (look() - before) / MIB / (machine.status().closed_round - first) * 1000}


def _flat(core: str, n: int, windows: int) -> Json:
    run = empty(core, n, "fair")
    rounds = rounds_of(n, WINDOW * windows)
    answer: Json = {"us": [], "mib": []}
    for _ in range(windows):
        took = 0.0
        for row in (next(rounds) for _ in range(WINDOW)):
            start = time.thread_time()
            insert_decide_order(run, (row,), n)
            took += time.thread_time() - start
        answer["us"].append(took * 1e6 / (WINDOW * n))
        answer["mib"].append(_rss() / MIB)
    return answer


def _rss() -> int:
    """Bytes in memory now; where the system does not tell, the most there ever were."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    what, core, *rest = sys.argv[1:]
    print(json.dumps(_flat(core, *map(int, rest)) if what == "flat" else _memory(core, traced=what == "traced")))
