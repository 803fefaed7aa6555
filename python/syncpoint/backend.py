"""Which core runs, and why."""

from __future__ import annotations

from dataclasses import dataclass

from .core.config import MachineConfig
from .core.crypto import HASH_BACKEND
from .core.machine import Machine as PythonMachine
from .errors import ArgumentError, CoreUnavailable
from .runtime.driver import Machine

__all__ = ["CORES", "CoreInfo", "core_info", "make_machine"]

CORES = ("auto", "native", "python")


@dataclass(frozen=True, slots=True)
class CoreInfo:
    """The core that a choice leads to."""

    name: str
    """The core that runs: "python"."""

    reason: str
    """Why this one."""

    hash: str
    """Where BLAKE3 comes from: "blake3" (the package) or "python" (our own, slower)."""


def core_info(core: str = "auto") -> CoreInfo:
    """What `Context(core=...)` would run: "auto", "native" or "python".

    Raises ArgumentError for another word, CoreUnavailable for a core that cannot run here.
    """
    if core not in CORES:
        raise ArgumentError(f"core is {core!r}: give one of {', '.join(CORES)}")
    if core == "native":
        raise CoreUnavailable('the native core is not part of this version: use core="auto" or core="python"')
    reason = "asked for" if core == "python" else "this version has no native core"
    return CoreInfo("python", reason, HASH_BACKEND)


def make_machine(config: MachineConfig, core: str = "auto") -> Machine:
    """A machine of the chosen core."""
    core_info(core)
    return PythonMachine(config)
