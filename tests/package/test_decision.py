"""When the native core is built, when it is not, and when that is an error."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from .conftest import ROOT, Toolchain

HALF = {
    "nothing": ({"cargo": None, "rustc": None}, "no working cargo and rustc on PATH"),
    "only rustc": ({"cargo": None}, "no working cargo on PATH"),
    "only cargo": ({"rustc": None}, "no working rustc on PATH"),
    "a shim without a toolchain": (
        {"cargo": "echo 'error: no default toolchain' >&2; exit 1", "rustc": "exit 1"},
        "no working cargo and rustc on PATH",
    ),
    "a tool that says nothing": ({"cargo": "true"}, "no working cargo on PATH"),
    "a tool that fails": ({"cargo": "echo cargo 1.95.0; exit 1"}, "no working cargo on PATH"),
    "an old compiler": (
        {"rustc": "echo 'rustc 1.87.9 (17067e9ac 2025-05-09)'"},
        "rustc 1.87.9 is older than 1.88, which the native core needs",
    ),
}


@pytest.mark.parametrize("tools", [tools for tools, _ in HALF.values()], ids=HALF)
def test_without_a_toolchain_the_build_is_pure_and_says_why(
    backend: ModuleType, toolchain: Toolchain, tools: dict[str, str | None], request: pytest.FixtureRequest
) -> None:
    toolchain(**tools)
    reason = HALF[request.node.callspec.id][1]
    assert backend.decide(None) == (False, reason)
    with pytest.raises(SystemExit) as error:
        backend.decide({"core": "native"})
    assert str(error.value) == (
        f"syncpoint: a native build was asked for, but {reason}: install Rust (https://rustup.rs)"
    )


@pytest.mark.parametrize("version", ["1.88.0", "1.100.0-nightly", "2.0.0"])
def test_with_a_toolchain_the_build_is_native(backend: ModuleType, toolchain: Toolchain, version: str) -> None:
    toolchain(rustc=f"echo 'rustc {version} (1a2b 2026-01-01)'")
    number = version.partition("-")[0]
    assert backend.decide(None) == (True, f"rustc {number}")
    assert backend.decide({"core": "native"}).native
    assert backend.decide({"core": "pure"}) == (False, "a pure build was asked for")


def test_the_tools_can_be_named(backend: ModuleType, toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = toolchain()
    monkeypatch.setenv("PATH", "")
    assert not backend.decide(None).native
    monkeypatch.setenv("CARGO", str(folder / "cargo"))
    monkeypatch.setenv("RUSTC", str(folder / "rustc"))
    assert backend.decide(None).native


def test_a_tool_that_hangs_is_none(backend: ModuleType, toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch) -> None:
    toolchain(cargo="exec /bin/sleep 60")
    monkeypatch.setattr(backend, "TOOL_TIMEOUT_S", 0.2)
    start = time.monotonic()
    assert backend.decide(None) == (False, "no working cargo on PATH")
    assert time.monotonic() - start < 30


def test_an_interpreter_that_the_native_core_does_not_know(
    backend: ModuleType, toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolchain()
    monkeypatch.setattr(backend.sys, "implementation", type("implementation", (), {"name": "rustpython"}))
    assert backend.decide(None) == (False, "there is no native core for rustpython")


def test_settings_go_before_the_environment(
    backend: ModuleType, toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolchain()
    monkeypatch.setenv("SYNCPOINT_BUILD", "pure")
    assert not backend.decide(None).native
    assert not backend.decide({"other": "native"}).native
    assert backend.decide({"core": "native"}).native
    monkeypatch.setenv("SYNCPOINT_BUILD", "")
    assert backend.decide(None).native


@pytest.mark.parametrize("hook", ["build_wheel", "build_editable", "build_sdist", "prepare_metadata_for_build_wheel"])
def test_an_unknown_word_is_an_error(backend: ModuleType, monkeypatch: pytest.MonkeyPatch, hook: str) -> None:
    with pytest.raises(SystemExit, match=r"^syncpoint: -C core=rust is unknown: give one of auto, native, pure$"):
        getattr(backend, hook)("nowhere", {"core": "rust"})
    with pytest.raises(SystemExit, match=r"^syncpoint: -C core=\['pure', 'pure'\] is unknown"):
        getattr(backend, hook)("nowhere", {"core": ["pure", "pure"]})
    monkeypatch.setenv("SYNCPOINT_BUILD", "Pure")
    with pytest.raises(SystemExit, match=r"^syncpoint: SYNCPOINT_BUILD=Pure is unknown"):
        getattr(backend, hook)("nowhere")


def test_maturin_is_asked_for_only_where_it_will_run(backend: ModuleType, toolchain: Toolchain) -> None:
    hooks = (backend.get_requires_for_build_wheel, backend.get_requires_for_build_editable)
    toolchain(cargo=None)
    assert [hook() for hook in hooks] == [[], []]
    toolchain()
    assert [hook() for hook in hooks] == [["maturin>=1.14,<2"], ["maturin>=1.14,<2"]]
    assert [hook({"core": "pure"}) for hook in hooks] == [[], []]
    assert backend.get_requires_for_build_sdist() == []


def test_an_old_python_is_told_so() -> None:
    code = "import sys; sys.version_info = (3, 10, 1); import syncpoint_build"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "build_backend", capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert run.stderr.startswith("syncpoint needs Python 3.11 or newer; this is ")
    assert run.stderr.count("\n") == 1


def test_make_is_told_what_will_be_built(toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> str:
        command = [sys.executable, str(ROOT / "build_backend" / "syncpoint_build.py")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    monkeypatch.delenv("SYNCPOINT_BUILD", raising=False)
    toolchain(rustc=None)
    assert told() == "pure\n"
    toolchain()
    assert told() == "native\n"
    monkeypatch.setenv("SYNCPOINT_BUILD", "pure")
    assert told() == "pure\n"


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.skipif(not (ROOT / "Makefile").is_file(), reason="an installed package has no Makefile beside it")
@pytest.mark.parametrize("as_argument", [False, True])
def test_make_does_not_go_on_with_another_core_than_it_was_asked_for(tmp_path: Path, as_argument: bool) -> None:
    word = "SYNCPOINT_BUILD=nativ"
    command = ["make", "--dry-run", "test", f"PYTHON={sys.executable}", f"VENV={tmp_path}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    if as_argument:
        command.append(word)
    else:
        environment |= dict([word.split("=")])
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode
    assert "SYNCPOINT_BUILD=nativ is unknown" in run.stderr
    assert "pytest" not in run.stdout
