"""Many streams from the command line: `python -m tests.lockstep --seeds 0:1000`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from .pair import Difference
from .stream import Tally, stream

EVERY = 250  # streams: how often a campaign says how far it is


def run(first: int, last: int, cores: tuple[str, str], size: float) -> int:
    """The streams of the seeds from `first` to before `last`; 1 at the first difference."""
    tally, start = Tally(), time.process_time()
    for seed in range(first, last):
        try:
            tally.add(stream(seed, cores, size=size))
        except Difference as difference:
            print(difference)
            print(f"again: python -m tests.lockstep --seeds {seed}:{seed + 1} --size {size} --cores {','.join(cores)}")
            print(f"{tally.streams} streams before it, {tally.steps} steps, without a difference")
            return 1
        if tally.streams % EVERY == 0:
            print(f"{tally.streams} streams, {tally.steps} steps, {time.process_time() - start:.0f} s", flush=True)
    print("\n".join(tally.lines()))
    missing = tally.missing()
    print(f"did not happen: {', '.join(missing)}" if missing else "all codes hit")
    print(f"seeds {first}:{last}, {time.process_time() - start:.1f} s of CPU, no difference")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.lockstep", description=__doc__)
    parser.add_argument("--seeds", default="0:300", help="FIRST:LAST, the last one not included")
    parser.add_argument("--size", type=float, default=1.0, help="length of the streams, 1.0 as in the tests")
    parser.add_argument("--cores", default="python,native", help="two of them; the first one is looked into")
    given = parser.parse_args(arguments)
    first, _, last = given.seeds.partition(":")
    one, _, two = given.cores.partition(",")
    return run(int(first), int(last), (one, two), given.size)
