"""The option for a quick look, and the table at the end."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import pytest

from surroundings import describe

Rows = dict[tuple[str, int | str], dict[str, list[float]]]  # (stage, n) -> core -> values

_ROWS = pytest.StashKey[Rows]()
_REMARKS = pytest.StashKey[list[str]]()
_NOTES = """\
us per event of processor time, but verify on threads: by the clock. Medians; the cores take turns.
All stages are asked for from Python: what it costs to get there and back is in them. `cargo bench -p syncpoint-core`
has the native core's alone.
decode             an EVENT frame with one transaction of 128 bytes and n parents
verify             one signature; the key is decoded anew each time
insert+decide+order  a full graph of honest peers, given round by round; with rules and rounds kept as in a machine
step               what machine 0 of a cluster in virtual time was told, told again: mostly one frame per step
step, unsigned     the same with simulated signatures, a hash each: next to nothing is made or checked
memory             of a machine's graph, events included; from the system, and from tracemalloc
window             of 1,000 rounds, in one run in a process of its own; rounds kept as in a machine"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Fewer runs of fewer events."""
    parser.addoption("--quick", action="store_true", help="a look in half a minute; the figures are rough")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """An empty table, and none of pytest-benchmark's."""
    config.stash[_ROWS] = {}
    config.stash[_REMARKS] = []
    config.option.benchmark_quiet = True


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str, int | str, str, Sequence[float]], None]:
    """Put values of (stage, n, core) into the table."""
    rows = request.config.stash[_ROWS]

    def put(stage: str, n: int | str, core: str, values: Sequence[float]) -> None:
        rows.setdefault((stage, n), {}).setdefault(core, []).extend(values)

    return put


@pytest.fixture
def remark(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Put a line below the table."""
    return request.config.stash[_REMARKS].append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print it."""
    rows = config.stash[_ROWS]
    if not rows:
        return
    write = terminalreporter.write_line
    terminalreporter.section("core benches")
    for line in describe():
        write(line)
    write("")
    write(f"{'stage':<36}{'n':>5}{'python':>12}{'native':>12}{'python:native':>15}")
    for (stage, n), values in rows.items():
        medians = {core: statistics.median(each) for core, each in values.items()}
        python, native = (medians.get(core) for core in ("python", "native"))
        ratio = "" if python is None or native is None else f"{python / native:.1f}"
        write(f"{stage:<36}{n:>5}{_figure(python):>12}{_figure(native):>12}{ratio:>15}")
    write("")
    for line in (*config.stash[_REMARKS], "", *_NOTES.splitlines()):
        write(line)


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.2f}"
