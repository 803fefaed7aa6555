"""Which core runs, and why.

There are two, and each has a face: a module with the names of `Core`. `syncpoint._python` is always there,
`syncpoint._native` where the package was built with a Rust toolchain or comes from a wheel for the platform.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from ._version import CHECKOUT, UNKNOWN, __version__, python_form
from .core.config import MachineConfig, Member, Network
from .core.error import Reject
from .core.proof import Flaw, Proved
from .core.values import Event
from .errors import ArgumentError, CoreUnavailable
from .runtime import driver

if TYPE_CHECKING:
    from ._python import DagRun as PythonDagRun

__all__ = ["CORES", "SEAM", "VARIABLE", "Core", "CoreInfo", "core_info", "load_core", "make_machine"]

CORES = ("auto", "native", "python")

SEAM = 8
"""The number of the seam between the package and a core; a change of what crosses it makes another number."""

VARIABLE = "SYNCPOINT_CORE"
"""The environment variable that says what "auto" means; it is read whenever a core is chosen."""

_NATIVE, _PYTHON = "syncpoint._native", "syncpoint._python"


class Core(Protocol):
    """The face of a core: what the package uses of it; all that it has is in `_native.pyi`."""

    @property
    def SEAM(self) -> int:  # noqa: N802
        """The seam that it fits."""
        ...

    @property
    def __version__(self) -> str:
        """Its version; the native core has it in Cargo's form."""
        ...

    @property
    def HASH(self) -> str:  # noqa: N802
        """Where its BLAKE3 comes from."""
        ...

    @property
    def Machine(self) -> Callable[[MachineConfig], driver.Machine]:  # noqa: N802
        """Makes a machine."""
        ...

    @property
    def decode_event(self) -> Callable[[bytes, bytes, Network], Event | Reject]:
        """Makes an event of an EVENT frame of an epoch; the native core's has the same fields."""
        ...

    @property
    def event_key(self) -> Callable[[bytes], tuple[bytes, int, bytes] | None]:
        """By what a store finds the event of an EVENT frame."""
        ...

    @property
    def check_proof(self) -> Callable[[bytes, Network, Sequence[Member]], Proved | Flaw]:
        """Judges a proof by the first members of its network."""
        ...

    @property
    def DagRun(self) -> type[PythonDagRun]:  # noqa: N802
        """Decides and orders a DAG that is given as data; the native core's has the same methods."""
        ...


@dataclass(frozen=True, slots=True)
class CoreInfo:
    """The core that a choice leads to."""

    name: str
    """The core that runs: "native" or "python"."""

    reason: str
    """Why this one."""

    hash: str
    """Where BLAKE3 comes from: "native" (Rust), "blake3" (the package) or "python" (our own, slower)."""

    requested: str
    """What was asked for, by the caller or else by SYNCPOINT_CORE: "auto", "native" or "python"."""

    version: str
    """The core's version."""

    file: str
    """The file that it was loaded from."""


class _NoNative(Exception):
    """There is no native core, or none that may run."""

    def __init__(self, reason: str, *, broken: bool = False) -> None:
        super().__init__(reason)
        self.broken = broken  # it is there, so whoever installed it expects it to run


def core_info(core: str = "auto") -> CoreInfo:
    """What `Context(core=...)` would run: "native", "python", or with "auto" the first of them that can.

    Where SYNCPOINT_CORE is set, "auto" means what it says. Raises ArgumentError for another word, in either
    place, and CoreUnavailable for a native core that is asked for and cannot run here. Warns (RuntimeWarning)
    when "auto" leads to the Python core although a native one is installed.
    """
    info, _ = _choose(core)
    return info


def load_core(core: str = "auto") -> Core:
    """The face of the core that `core_info` tells of, with the same errors and warnings.

    Both cores can be in use at once, by their names.
    """
    _, face = _choose(core)
    return face


def make_machine(config: MachineConfig, core: str = "auto") -> driver.Machine:
    """A machine of the chosen core."""
    return load_core(core).Machine(config)


def _choose(core: str) -> tuple[CoreInfo, Core]:
    requested, asked = _request(core)
    if requested == "python":
        return _python(asked, requested)
    try:
        face = _load_native()
    except _NoNative as problem:
        if requested == "native":
            raise CoreUnavailable(f"{asked}, but {problem}. To get it: {_way_out()}") from problem
        if problem.broken:
            warnings.warn(
                f"the slower Python core runs: {problem}. To get the other: {_way_out()}", RuntimeWarning, stacklevel=3
            )
        return _python(str(problem), requested)
    file = str(getattr(face, "__file__", None))
    reason = "installed" if requested == "auto" else asked
    return CoreInfo("native", reason, face.HASH, requested, python_form(face.__version__), file), face


def _python(reason: str, requested: str) -> tuple[CoreInfo, Core]:
    module = importlib.import_module(_PYTHON)
    face = cast(Core, module)
    return CoreInfo("python", reason, face.HASH, requested, face.__version__, str(module.__file__)), face


def _request(core: str) -> tuple[str, str]:
    """One of CORES, and what says so."""
    if core not in CORES:
        raise ArgumentError(f"core is {core!r}: give one of {', '.join(CORES)}")
    if core != "auto":
        return core, f'core="{core}"'
    word = os.environ.get(VARIABLE) or "auto"
    if word not in CORES:
        raise ArgumentError(f"the environment variable {VARIABLE} is {word!r}: set it to one of {', '.join(CORES)}")
    return word, f"{VARIABLE}={word}"


def _load_native() -> Core:
    """The native core; raises _NoNative."""
    try:
        module = importlib.import_module(_NATIVE)
    except ModuleNotFoundError as error:
        if error.name == _NATIVE:
            raise _NoNative(_why_absent()) from None
        raise _NoNative(f"the native core does not load: {error}", broken=True) from error
    except Exception as error:  # whatever a damaged or foreign file makes of its import
        raise _NoNative(f"the native core does not load: {error}", broken=True) from error
    seam, version = getattr(module, "SEAM", None), str(getattr(module, "__version__", UNKNOWN))
    if seam != SEAM:
        raise _NoNative(f"the native core in {module.__file__} has seam {seam}, not {SEAM}", broken=True)
    # The same seam does not mean the same rules: an old core left in a tree would split a network.
    if __version__ not in (python_form(version), UNKNOWN):
        raise _NoNative(f"the native core in {module.__file__} is of {version}, not {__version__}", broken=True)
    return cast(Core, module)


def _why_absent() -> str:
    """Why there is no native core, as well as it can be told."""
    here = Path(__file__).parent
    foreign = sorted(path.name for path in here.glob("_native.*") if path.suffix in (".so", ".pyd"))
    if foreign:
        return f"the native core here is for another Python ({', '.join(foreign)})"
    note = here / "_no_native.txt"  # from the build backend
    if note.is_file():
        return note.read_text(encoding="utf-8").strip()
    return f"there is no native core in this {'checkout' if CHECKOUT is not None else 'installation'}"


def _way_out() -> str:
    source = "--editable ." if CHECKOUT is not None else "--no-cache-dir --no-binary syncpoint syncpoint"
    return (
        "install Rust (https://rustup.rs), then `pip install --force-reinstall --no-deps "
        f'-C core=native {source}`. To do without: core="python" or {VARIABLE}=python'
    )
