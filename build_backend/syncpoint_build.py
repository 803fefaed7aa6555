"""The build backend (PEP 517 and 660): a native wheel where a Rust toolchain works, else a pure one.

It decides and hands on: to maturin for what holds the native core, to hatchling for everything else. Both read the
one [project] table and the one version in Cargo.toml. The sdist and the metadata never need Rust. Who builds
chooses with SYNCPOINT_BUILD=auto|native|pure or, stronger, with `pip install -C core=native ...`:

- auto: native if cargo and rustc run and are new enough, else pure. A native build that fails is an error.
- native: as auto, but a missing toolchain is an error. For releases, and for whoever must not get the slow one.
- pure: never native.

Run as a program it says what it would build, for make.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - frontends run the backend before they compare requires-python
    sys.exit("syncpoint needs Python 3.11 or newer; this is " + sys.version.split()[0])

import importlib
import os
import re
import subprocess
import sysconfig
import tomllib
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = dict[str, Any] | None

TREE = Path(__file__).resolve().parents[1]
PACKAGE = TREE / "python" / "syncpoint"
VARIABLE, SETTING, MODES = "SYNCPOINT_BUILD", "core", ("auto", "native", "pure")
MATURIN = "maturin>=1.14,<2"
IMPLEMENTATIONS = ("cpython", "pypy", "graalpy")  # that the native core can be built for
NATIVE_SUFFIXES = (".so", ".pyd", ".dylib", ".dll")
REASON = "_SYNCPOINT_NO_NATIVE"  # how hatch_note.py, which hatchling runs, learns what to write
GET_RUST = "install Rust (https://rustup.rs)"
ASKED = "a pure build was asked for"
TOOL_TIMEOUT_S = 60.0


class BuildError(SystemExit):
    """Ends the build with one message and no traceback."""


class Decision(NamedTuple):
    """What is built."""

    native: bool
    reason: str
    """With which compiler, or why not native."""


# --- What build frontends call ---


def get_requires_for_build_sdist(config_settings: Settings = None) -> list[str]:
    """What an sdist needs besides hatchling: nothing."""
    decide_mode(config_settings)
    return []


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """What a wheel needs besides hatchling: maturin, but only where it will run, for it may have to be compiled."""
    return [MATURIN] if decide(config_settings).native else []


# hatchling wants one package more for editable installations, but does not use it with our `dev-mode-dirs`.
get_requires_for_build_editable = get_requires_for_build_wheel


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Settings = None) -> str:
    """Write the .dist-info folder that both kinds of wheel have.

    hatchling hides its own hook from some frontends and leaves the entry points out; maturin's needs cargo.
    """
    from hatchling.builders.wheel import WheelBuilder

    decide_mode(config_settings)
    builder = WheelBuilder(str(TREE))
    folder = Path(metadata_directory, f"{builder.artifact_project_id}.dist-info")
    folder.mkdir(exist_ok=True)
    metadata = builder.config.core_metadata_constructor(builder.metadata)
    (folder / "METADATA").write_text(metadata, encoding="utf-8")
    scripts = builder.metadata.core.scripts
    lines = ["[console_scripts]", *(f"{name} = {target}" for name, target in sorted(scripts.items())), ""]
    (folder / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder.name


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def build_sdist(sdist_directory: str, config_settings: Settings = None) -> str:
    """Pack the sources, those of both cores."""
    decide_mode(config_settings)
    name: str = _hatchling().build_sdist(sdist_directory, _others(config_settings))
    return name


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Build what an installation copies."""
    return _build("build_wheel", wheel_directory, config_settings)


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """Build what lets an installation use the tree itself; a native one compiles into it."""
    return _build("build_editable", wheel_directory, config_settings)


# --- The decision ---


def decide(settings: Settings) -> Decision:
    """Native or not, from the environment and the settings alone: it is asked for in more than one process."""
    mode = decide_mode(settings)
    if mode == "pure":
        return Decision(False, ASKED)
    lack, compiler = toolchain()
    if lack and mode == "native":
        raise BuildError(f"syncpoint: a native build was asked for, but {lack}: {GET_RUST}")
    return Decision(not lack, lack or compiler)


def decide_mode(settings: Settings) -> str:
    """One of MODES, by the frontend's settings, else by the environment."""
    given = (settings or {}).get(SETTING)
    source = f"-C {SETTING}="
    if given is None:
        given = os.environ.get(VARIABLE) or MODES[0]
        source = f"{VARIABLE}="
    if given not in MODES:
        raise BuildError(f"syncpoint: {source}{given} is unknown: give one of {', '.join(MODES)}")
    return str(given)


def toolchain() -> tuple[str, str]:
    """What a native build lacks ("" if nothing), and the compiler."""
    if sys.implementation.name not in IMPLEMENTATIONS:
        return f"there is no native core for {sys.implementation.name}", ""
    # They are run, not only looked for: where rustup has no toolchain there is a cargo, but it does nothing.
    found = {tool: _version_of(os.environ.get(tool.upper()) or tool) for tool in ("cargo", "rustc")}
    absent = [tool for tool, version in found.items() if not version]
    if absent:
        return f"no working {' and '.join(absent)} on PATH", ""
    needed = tomllib.loads((TREE / "Cargo.toml").read_text("utf-8"))["workspace"]["package"]["rust-version"]
    compiler = f"rustc {found['rustc']}"
    if _numbers(found["rustc"]) < _numbers(needed):
        return f"{compiler} is older than {needed}, which the native core needs", ""
    return "", compiler


def _version_of(tool: str) -> str:
    """What a tool says its version is, "" if it cannot say."""
    try:
        run = subprocess.run([tool, "--version"], capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(r"\d+(\.\d+)+", run.stdout)
    return found[0] if found else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


# --- The builds ---


def _build(hook: str, directory: str, settings: Settings) -> str:
    decision = decide(settings)
    if hook == "build_editable":
        _remove_built()
    build = _build_native if decision.native else _build_pure
    return build(hook, directory, settings, decision.reason)


def _build_native(hook: str, directory: str, settings: Settings, compiler: str) -> str:
    try:
        maturin = importlib.import_module("maturin")
    except ModuleNotFoundError:  # the frontend was told not to install what a build needs
        raise BuildError(
            f"syncpoint: the native build needs {MATURIN}: install it here, or set {VARIABLE}=pure"
        ) from None
    print(f"syncpoint: building the native core with {compiler}", file=sys.stderr, flush=True)
    os.environ.setdefault("MATURIN_NO_INSTALL_RUST", "1")
    # maturin's hooks run the program of that name, which may be in an environment that is not on PATH.
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    try:
        # Given a folder with metadata, maturin copies it in place of its own, which has more in it.
        name: str = getattr(maturin, hook)(directory, _others(settings), None)
    except (SystemExit, OSError) as error:
        _say(
            "syncpoint: the native core could not be built; the reason is above.",
            "The package also works without it, slower:",
            f"  {VARIABLE}=pure pip install ...    or    pip install -C {SETTING}=pure ...",
            "Without a network, cargo needs its registry's crates vendored or cached.",
        )
        raise BuildError(1) from error
    return name


def _build_pure(hook: str, directory: str, settings: Settings, reason: str) -> str:
    lines = [f"syncpoint: building without the native core: {reason}."]
    if reason != ASKED:
        lines += [
            f"The package does the same without it, slower. To get it, {GET_RUST}",
            f"and build again. With {VARIABLE}=native its absence is an error.",
        ]
    _say(*lines)
    os.environ[REASON] = f"no native core was built: {reason}"
    name: str = getattr(_hatchling(), hook)(directory, _others(settings), None)
    with zipfile.ZipFile(Path(directory, name)) as wheel:
        native = [entry for entry in wheel.namelist() if entry.endswith(NATIVE_SUFFIXES)]
    if native or not name.endswith("-py3-none-any.whl"):
        raise BuildError(f"syncpoint: {name} is to be pure, but has native files: {native}")
    return name


def _remove_built() -> None:
    """Remove native cores of earlier builds that this Python would import before, or in place of, a new one."""
    for suffix in EXTENSION_SUFFIXES:
        (PACKAGE / f"_native{suffix}").unlink(missing_ok=True)


def _hatchling() -> Any:
    return importlib.import_module("hatchling.build")


def _others(settings: Settings) -> Settings:
    """The settings without ours, which the other backends do not know."""
    return {key: value for key, value in (settings or {}).items() if key != SETTING} or None


def _say(*lines: str) -> None:
    bar = "*" * 80
    print("", bar, *(f"* {line}" for line in lines), bar, "", sep="\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    print("native" if decide(None).native else "pure")
