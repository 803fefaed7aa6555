"""The build backend as a module, Rust toolchains that only pretend, and trees to build in."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
NOT_COPIED = ("__pycache__", "_native.*.so", "_native.*.pyd", "target", "dist", ".*", "tests")

Toolchain = Callable[..., Path]
Hook = Callable[..., subprocess.CompletedProcess[str]]


def module_of(name: str) -> ModuleType:
    """A file of build_backend/, fresh."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "build_backend" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def require_native(what: str) -> None:
    """Skip where the native core cannot be had, unless whoever runs the tests insists."""
    if os.environ.get("SYNCPOINT_REQUIRE_NATIVE") == "1":
        pytest.fail(f"SYNCPOINT_REQUIRE_NATIVE=1, but {what}")
    pytest.skip(what)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The backend, where nothing is asked for."""
    for name in ("SYNCPOINT_BUILD", "CARGO", "RUSTC"):
        monkeypatch.delenv(name, raising=False)
    return module_of("syncpoint_build")


@pytest.fixture
def toolchain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toolchain:
    """Puts tools on an otherwise empty PATH, by the shell lines that they consist of, None for not there."""
    if os.name == "nt":
        pytest.skip("the toolchains that pretend are shell scripts")

    def install(cargo: str | None = "echo cargo 1.95.0", rustc: str | None = "echo 'rustc 1.95.0 (1a2b 2026)'") -> Path:
        folder = tmp_path / "toolchain"
        folder.mkdir(exist_ok=True)
        for name, line in (("cargo", cargo), ("rustc", rustc)):
            if line is not None:
                (folder / name).write_text(f"#!/bin/sh\n{line}\n")
                (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        return folder

    return install


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what a build needs."""
    pytest.importorskip("hatchling", reason="builds need hatchling")
    copy = tmp_path / "tree"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
    shutil.copy(ROOT / ".gitignore", copy)
    return copy


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Hook:
    """Calls a hook of a tree's backend in a process of its own, as frontends do; the last line is its answer."""
    monkeypatch.delenv("SYNCPOINT_BUILD", raising=False)

    def call(tree: Path, name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        code = f"import syncpoint_build; print(syncpoint_build.{name}(*{arguments!r}))"
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree / "build_backend"), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return call
