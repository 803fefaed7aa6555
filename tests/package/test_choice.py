"""Which core runs: what is asked for, what is there, and never a silent change of the two."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import pytest

import syncpoint
from syncpoint import ArgumentError, CoreUnavailable, _python, backend
from syncpoint._version import __version__

SEAM = backend.SEAM
GOOD = f"""
from syncpoint._python import Machine
SEAM, HASH, __version__ = {SEAM}, "native", {__version__!r}
"""
FILE = f"_native{EXTENSION_SUFFIXES[0]}"

# A native core is a module like another to whoever chooses: all that matters is how its import ends.
USELESS = {
    "another seam": ("_native.py", GOOD + "SEAM += 1", rf"has seam {SEAM + 1}, not {SEAM}"),
    "no seam": ("_native.py", GOOD + "del SEAM", rf"has seam None, not {SEAM}"),
    "an old version": ("_native.py", GOOD + "__version__ = '0.0.1-rc.2'", f"is of 0.0.1-rc.2, not {__version__}"),
    "a damaged file": (FILE, "not a program", "does not load: "),
    "an undefined symbol": ("_native.py", "raise ImportError('undefined symbol: x')", "load: undefined symbol: x"),
    "a failing start": ("_native.py", "raise SystemError('no GIL')", "does not load: no GIL"),
    "a module it lacks": ("_native.py", "import missing_module", "does not load: No module named 'missing_module'"),
}
ASK = """
import json, sys, warnings
import syncpoint
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    try:
        info = syncpoint.core_info(sys.argv[1])
        face = syncpoint.load_core(sys.argv[1])
        told = {"name": info.name, "reason": info.reason, "requested": info.requested, "file": info.file,
                "hash": info.hash, "version": info.version, "face": face.__name__}
    except Exception as error:
        told = {"error": type(error).__name__, "text": str(error)}
told["warnings"] = [[each.category.__name__, str(each.message)] for each in caught]
print(json.dumps(told))
"""

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The package as an installation has it, without a native core."""
    package = tmp_path / "syncpoint"
    ignored = shutil.ignore_patterns("__pycache__", "_native.*so", "_native.*pyd", "_no_native.txt", "cli")
    shutil.copytree(Path(syncpoint.__file__).parent, package, ignore=ignored)
    info = tmp_path / f"syncpoint-{__version__}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: syncpoint\nVersion: {__version__}\n")
    return package


@pytest.fixture
def ask(installed: Path) -> Ask:
    """What that installation says of the choice of a core, in a process of its own."""

    def run(core: str = "auto", variable: str = "") -> dict[str, Any]:
        environment = {**os.environ, "PYTHONPATH": str(installed.parent), "SYNCPOINT_CORE": variable}
        done = subprocess.run(
            [sys.executable, "-c", ASK, core],
            cwd=installed.parent, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    return run


def test_without_a_native_core_python_runs_in_silence(installed: Path, ask: Ask) -> None:
    told = ask()
    assert told == {
        "name": "python",
        "reason": "there is no native core in this installation",
        "requested": "auto",
        "file": str(installed / "_python.py"),
        "hash": _python.HASH,
        "version": __version__,
        "face": "syncpoint._python",
        "warnings": [],
    }
    told = ask("native")
    assert told["error"] == "CoreUnavailable"
    assert told["text"] == (
        'core="native", but there is no native core in this installation. To get it: install Rust '
        "(https://rustup.rs), then `pip install --force-reinstall --no-deps -C core=native --no-cache-dir "
        '--no-binary syncpoint syncpoint`. To do without: core="python" or SYNCPOINT_CORE=python'
    )


def test_the_builds_note_is_the_reason(installed: Path, ask: Ask) -> None:
    (installed / "_no_native.txt").write_text("no native core was built: no cargo\n")
    assert ask()["reason"] == "no native core was built: no cargo"
    assert "but no native core was built: no cargo. To get it" in ask("native")["text"]


def test_a_core_for_another_python_is_named(installed: Path, ask: Ask) -> None:
    (installed / "_native.cpython-399-x86_64-linux-gnu.so").touch()
    told = ask()
    assert told["reason"] == "the native core here is for another Python (_native.cpython-399-x86_64-linux-gnu.so)"
    assert told["warnings"] == []


def test_a_native_core_runs_unless_python_is_asked_for(installed: Path, ask: Ask) -> None:
    (installed / "_native.py").write_text(GOOD)
    for core, reason in (("auto", "installed"), ("native", 'core="native"')):
        assert ask(core) == {
            "name": "native",
            "reason": reason,
            "requested": core,
            "file": str(installed / "_native.py"),
            "hash": "native",
            "version": __version__,
            "face": "syncpoint._native",
            "warnings": [],
        }
    told = ask("python")
    assert (told["name"], told["reason"], told["warnings"]) == ("python", 'core="python"', [])


@pytest.mark.parametrize("what", USELESS)
def test_a_native_core_that_cannot_run_is_never_passed_over_in_silence(installed: Path, ask: Ask, what: str) -> None:
    name, text, problem = USELESS[what]
    (installed / name).write_text(text)
    told = ask()
    assert told["name"] == "python"
    assert problem in told["reason"]
    assert {category for category, _ in told["warnings"]} == {"RuntimeWarning"}
    assert told["warnings"][0][1].startswith(f"the slower Python core runs: {told['reason']}. To get the other:")
    told = ask("native")
    assert told["error"] == "CoreUnavailable"
    assert problem in told["text"]
    assert "To get it: install Rust" in told["text"]
    told = ask("python")
    assert (told["name"], told["warnings"]) == ("python", [])


def test_a_copy_of_unknown_version_takes_the_core_beside_it(installed: Path, ask: Ask) -> None:
    shutil.rmtree(installed.parent / f"syncpoint-{__version__}.dist-info")
    (installed / "_version.py").write_text(
        (installed / "_version.py").read_text(encoding="utf-8").replace('version("syncpoint")', 'version("no such")')
    )
    (installed / "_native.py").write_text(GOOD)
    assert ask()["name"] == "native"


# The environment variable


@pytest.mark.parametrize("word", ["", "auto"])
def test_nothing_is_asked_for(installed: Path, ask: Ask, word: str) -> None:
    (installed / "_native.py").write_text(GOOD)
    assert ask(variable=word)["name"] == "native"


def test_the_variable_says_what_auto_means(installed: Path, ask: Ask) -> None:
    told = ask(variable="native")
    assert told["error"] == "CoreUnavailable"
    assert told["text"].startswith("SYNCPOINT_CORE=native, but there is no native core in this installation.")
    (installed / "_native.py").write_text(GOOD)
    told = ask(variable="native")
    assert (told["name"], told["requested"], told["reason"]) == ("native", "native", "SYNCPOINT_CORE=native")
    told = ask(variable="python")
    assert (told["name"], told["requested"], told["reason"]) == ("python", "python", "SYNCPOINT_CORE=python")
    assert ask("native", variable="python")["name"] == "native"
    assert ask("python", variable="native")["name"] == "python"


def test_a_wrong_word_is_the_callers_mistake(ask: Ask) -> None:
    told = ask(variable="rust")
    assert told["error"] == "ArgumentError"
    assert told["text"] == ("the environment variable SYNCPOINT_CORE is 'rust': set it to one of auto, native, python")
    assert ask("python", variable="rust")["name"] == "python"


def test_the_variable_is_read_at_each_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "syncpoint._native", None)
    monkeypatch.setenv("SYNCPOINT_CORE", "python")
    assert syncpoint.Context().core.reason == "SYNCPOINT_CORE=python"
    monkeypatch.setenv("SYNCPOINT_CORE", "native")
    with pytest.raises(CoreUnavailable):
        syncpoint.Context()
    monkeypatch.setenv("SYNCPOINT_CORE", "Python")
    with pytest.raises(ArgumentError):
        syncpoint.Context()


# What is chosen is used


def test_machines_are_of_the_chosen_core(monkeypatch: pytest.MonkeyPatch) -> None:
    class Native:
        SEAM, HASH, __version__, __file__ = SEAM, "native", __version__, "_native.so"

        @staticmethod
        def Machine(config: object) -> object:
            return ("native", config)

    monkeypatch.setitem(sys.modules, "syncpoint._native", Native)
    config: Any = "config"
    machine: Any = backend.make_machine(config, "native")
    assert machine == ("native", "config")
    monkeypatch.setattr(_python, "Machine", lambda config: ("python", config))
    machine = backend.make_machine(config, "python")
    assert machine == ("python", "config")


def test_the_python_face_fits_the_seam() -> None:
    assert backend.load_core("python").SEAM == backend.SEAM


@pytest.mark.native
def test_the_native_face_fits_the_seam() -> None:
    native = backend.load_core("native")
    assert native.SEAM == backend.SEAM
    assert native.HASH == "native"
    lacking = [name for name in _python.__all__ if not hasattr(native, name)]
    assert not lacking
