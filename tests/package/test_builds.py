"""What is in wheels and sdists, and what a build says that fails."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from .conftest import ROOT, Hook, Toolchain, module_of, require_native

pytest.importorskip("packaging")
check_wheels = module_of("check_wheels")


def answer(run: subprocess.CompletedProcess[str]) -> str:
    """What a hook returned."""
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()[-1]


def test_a_pure_wheel_says_why_it_is_one(tree: Path, hook: Hook, toolchain: Toolchain, tmp_path: Path) -> None:
    toolchain(cargo=None, rustc=None)
    run = hook(tree, "build_wheel", str(tmp_path))
    assert "building without the native core: no working cargo and rustc on PATH." in run.stderr
    wheel = tmp_path / answer(run)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert not list(check_wheels.faults_of_wheel(wheel))
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "site")
    code = "import syncpoint; print(syncpoint.__version__, syncpoint.core_info().reason)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "SYNCPOINT_CORE": ""}
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    version = wheel.name.split("-")[1]
    assert told.stdout == f"{version} no native core was built: no working cargo and rustc on PATH\n"


def test_a_native_file_in_the_tree_does_not_get_into_a_pure_wheel(tree: Path, hook: Hook, tmp_path: Path) -> None:
    (tree / "python/syncpoint" / f"_native{EXTENSION_SUFFIXES[0]}").touch()
    wheel = tmp_path / answer(hook(tree, "build_wheel", str(tmp_path), {"core": "pure"}))
    assert not list(check_wheels.faults_of_wheel(wheel))
    # Nor does it if both of what keeps it out were lost: then there is no wheel at all.
    (tree / ".gitignore").unlink()
    settings = (tree / "pyproject.toml").read_text(encoding="utf-8")
    (tree / "pyproject.toml").write_text(settings.replace('"*.so", "*.pyd", ', ""), encoding="utf-8")
    run = hook(tree, "build_wheel", str(tmp_path), {"core": "pure"})
    assert run.returncode == 1
    assert "is to be pure, but has native files" in run.stderr


def test_an_editable_installation_leaves_no_old_core_behind(tree: Path, hook: Hook, tmp_path: Path) -> None:
    package = tree / "python/syncpoint"
    stale = [package / f"_native{suffix}" for suffix in EXTENSION_SUFFIXES]
    foreign = package / "_native.cpython-399-x86_64-linux-gnu.so"
    for path in (*stale, foreign):
        path.touch()
    wheel = answer(hook(tree, "build_editable", str(tmp_path), {"core": "pure"}))
    assert not [path for path in stale if path.exists()]
    assert foreign.exists(), "what another Python may use is not ours to remove"
    with zipfile.ZipFile(tmp_path / wheel) as file:
        assert not [name for name in file.namelist() if name.startswith("syncpoint/")]


def test_an_sdist_has_both_cores_and_needs_no_rust(
    tree: Path, hook: Hook, toolchain: Toolchain, tmp_path: Path
) -> None:
    toolchain(cargo=None, rustc=None)
    shutil.copytree(ROOT / "tests/tidy", tree / "tests/tidy")
    shutil.copy(ROOT / "tests/conftest.py", tree / "tests")
    for junk in ("target/release/x.rs", "rust/core/target/x.rs", "python/syncpoint/_native.abi3.so", "dist/x.py"):
        (tree / junk).parent.mkdir(parents=True, exist_ok=True)
        (tree / junk).touch()
    (tree / ".gitignore").unlink()  # the settings alone keep junk out
    sdist = tmp_path / answer(hook(tree, "build_sdist", str(tmp_path)))
    assert not list(check_wheels.faults_of_sdist(sdist))
    with tarfile.open(sdist) as file:
        file.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    # What comes out of it is the same again, and no different.
    first = tmp_path / answer(hook(tree, "build_wheel", str(tmp_path), {"core": "pure"}))
    kept = first.rename(tmp_path / ("1" + first.name))
    second = tmp_path / answer(hook(source, "build_wheel", str(tmp_path), {"core": "pure"}))
    assert check_wheels.differences(kept, second) == {}


def test_metadata_needs_no_rust_and_is_the_wheels(tree: Path, hook: Hook, toolchain: Toolchain, tmp_path: Path) -> None:
    toolchain()  # it works, and is not called
    folder = tmp_path / answer(hook(tree, "prepare_metadata_for_build_wheel", str(tmp_path)))
    wheel = tmp_path / answer(hook(tree, "build_wheel", str(tmp_path), {"core": "pure"}))
    with zipfile.ZipFile(wheel) as file:
        for name in ("METADATA", "entry_points.txt"):
            told = file.read(f"{folder.name}/{name}").decode().split()
            assert (folder / name).read_text(encoding="utf-8").split() == told


def test_without_maturin_the_native_build_says_so(tree: Path, hook: Hook, toolchain: Toolchain, tmp_path: Path) -> None:
    toolchain()
    (tree / "build_backend/maturin.py").write_text("raise ModuleNotFoundError(name='maturin')")
    run = hook(tree, "build_wheel", str(tmp_path))
    assert run.returncode == 1
    assert run.stderr == (
        "syncpoint: the native build needs maturin>=1.14,<2: install it here, or set SYNCPOINT_BUILD=pure\n"
    )


def test_a_native_build_that_fails_is_an_error_with_a_way_out(
    tree: Path, hook: Hook, toolchain: Toolchain, tmp_path: Path
) -> None:
    toolchain()
    (tree / "build_backend/maturin.py").write_text(
        "import os, sys\n"
        "def build_wheel(directory, settings, metadata):\n"
        "    assert metadata is None and settings == {'build-args': '--verbose'}, (metadata, settings)\n"
        "    assert os.environ['MATURIN_NO_INSTALL_RUST'] == '1'\n"
        "    print('error[E0308]: mismatched types', file=sys.stderr)\n"
        "    sys.exit(1)\n"
    )
    run = hook(tree, "build_wheel", str(tmp_path), {"core": "auto", "build-args": "--verbose"}, "metadata")
    assert run.returncode == 1
    assert run.stderr.index("E0308") < run.stderr.index("the native core could not be built; the reason is above.")
    assert "SYNCPOINT_BUILD=pure pip install" in run.stderr
    assert "Traceback" not in run.stderr
    assert not list(tmp_path.glob("*.whl"))


def test_native_and_pure_wheels_differ_in_the_core_alone(
    tree: Path, hook: Hook, backend: object, tmp_path: Path
) -> None:
    lack, _ = backend.toolchain()  # type: ignore[attr-defined]
    if lack:
        require_native(f"a native wheel cannot be built: {lack}")
    if importlib.util.find_spec("maturin") is None:
        require_native("a native wheel cannot be built: maturin is not installed")
    # In the tree itself, where what the installation compiled is found again.
    native = tmp_path / answer(hook(ROOT, "build_wheel", str(tmp_path), {"core": "native"}))
    pure = tmp_path / answer(hook(tree, "build_wheel", str(tmp_path), {"core": "pure"}))
    assert not list(check_wheels.faults_of_wheel(native))
    assert check_wheels.differences(native, pure) == {}
