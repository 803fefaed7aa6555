"""The checks before a release see what they are there to see."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from .conftest import module_of

pytest.importorskip("packaging")
check_wheels = module_of("check_wheels")

PURE, NATIVE = "syncpoint-1-py3-none-any.whl", "syncpoint-1-cp311-abi3-win_amd64.whl"
NOTE, CORE = "syncpoint/_no_native.txt", "syncpoint/_native.pyd"
METADATA = "Name: syncpoint\nKeywords: b,a\n{}\n\nText\n"


def wheel(path: Path, *names: str, metadata: str = "", scripts: str = "x = y") -> Path:
    """A wheel with empty files."""
    with zipfile.ZipFile(path, "w") as file:
        for name in ("syncpoint/__init__.py", *names):
            file.writestr(name, "")
        file.writestr("syncpoint-1.dist-info/METADATA", METADATA.format(metadata))
        file.writestr("syncpoint-1.dist-info/entry_points.txt", scripts)
    return path


@pytest.mark.parametrize(
    ("name", "files", "fault"),
    [
        (PURE, [NOTE], ""),
        (NATIVE, [CORE], ""),
        (PURE, [], "does not say why"),
        (PURE, [NOTE, CORE], "it is pure, but has"),
        (NATIVE, [], "is to have one native core, and has []"),
        (NATIVE, [CORE, "syncpoint/_native.abi3.so"], "is to have one native core"),
        (NATIVE, ["syncpoint/core.so"], "is to have one native core"),
        (NATIVE, [CORE, NOTE], "denies it"),
        (PURE, [NOTE, "tests/test_x.py"], "does not belong into it: ['tests/test_x.py']"),
        (PURE, [NOTE, "syncpoint/x.pyc"], "does not belong into it"),
    ],
)
def test_faults_of_a_wheel(tmp_path: Path, name: str, files: list[str], fault: str) -> None:
    faults = list(check_wheels.faults_of_wheel(wheel(tmp_path / name, *files)))
    assert len(faults) == bool(fault)
    assert all(fault in each for each in faults)


def test_faults_of_an_sdist(tmp_path: Path) -> None:
    def faults(*names: str) -> list[str]:
        with tarfile.open(tmp_path / "x.tar.gz", "w") as file:
            for name in names:
                file.addfile(tarfile.TarInfo(f"syncpoint-1/{name}"), io.BytesIO())
        return list(check_wheels.faults_of_sdist(tmp_path / "x.tar.gz"))

    whole = check_wheels.IN_SDIST
    assert faults(*whole) == []
    assert faults(*whole[1:]) == ["it lacks ['Cargo.toml']"]
    for junk in ("target/x.rs", "rust/core/target/x", "python/syncpoint/_native.abi3.so", "tests/__pycache__/x.py"):
        assert faults(*whole, junk) == [f"it has what belongs to one machine: ['{junk}']"]


@pytest.mark.parametrize(
    ("one", "other", "differing"),
    [
        ({}, {}, []),
        ({"metadata": "Classifier: A"}, {"metadata": "Classifier: B"}, ["Classifier"]),
        ({"scripts": "[x]\na = b:c"}, {"scripts": "[x]\na=b:c\n"}, []),
        ({"scripts": "a = b:c"}, {"scripts": "a = b:d"}, ["entry points"]),
        ({"metadata": "Requires-Dist: a>=1; extra=='x'"}, {"metadata": "Requires-Dist: a >=1 ;extra == 'x'"}, []),
    ],
)
def test_differences(tmp_path: Path, one: dict[str, str], other: dict[str, str], differing: list[str]) -> None:
    first = wheel(tmp_path / NATIVE, CORE, **one)
    second = wheel(tmp_path / PURE, NOTE, **other)
    assert list(check_wheels.differences(first, second)) == differing


def test_differing_files_and_requirements(tmp_path: Path) -> None:
    first = wheel(tmp_path / NATIVE, CORE, "syncpoint/extra.py")
    assert list(check_wheels.differences(first, wheel(tmp_path / PURE, NOTE))) == ["files"]
    extras = "Provides-Extra: cli\nProvides-Extra: test\nRequires-Dist: rich; extra == 'cli'\n"
    resolved = wheel(tmp_path / PURE, NOTE, metadata=extras + "Requires-Dist: rich; extra == 'test'")
    for requirement, same in (("syncpoint[cli]; extra == 'test'", True), ("syncpoint; extra == 'test'", False)):
        by_name = wheel(tmp_path / NATIVE, CORE, metadata=f"{extras}Requires-Dist: {requirement}")
        assert (check_wheels.differences(by_name, resolved) == {}) == same
    marked = wheel(tmp_path / NATIVE, CORE, metadata="Requires-Dist: a; platform_machine == 'arm64'")
    other = wheel(tmp_path / PURE, NOTE, metadata="Requires-Dist: a; platform_machine == 'aarch64'")
    assert check_wheels.differences(marked, other)


def test_missing_platforms() -> None:
    everything = [
        f"syncpoint-1.2.3-{python}-{platform}.whl"
        for python in ("cp311-abi3", "cp314-cp314t")
        for platform in (
            "manylinux2014_x86_64.manylinux_2_17_x86_64", "manylinux2014_aarch64.manylinux_2_17_aarch64",
            "musllinux_1_2_x86_64", "musllinux_1_2_aarch64", "macosx_10_12_x86_64", "macosx_11_0_arm64", "win_amd64",
        )
    ]  # fmt: skip
    assert check_wheels.missing_platforms(everything) == []
    for number in range(len(everything)):
        assert len(check_wheels.missing_platforms(everything[:number] + everything[number + 1 :])) == 1


def test_the_toolchain_can_be_hidden(tmp_path: Path) -> None:
    tools, others = tmp_path / "tools", tmp_path / "others"
    for folder, name in ((tools, "cargo"), (others, "ls")):
        folder.mkdir()
        (folder / name).touch(mode=0o755)
    hidden = check_wheels.without_toolchain(
        {"PATH": os.pathsep.join(map(str, (tools, others))), "CARGO": "/x", "RUSTC": "/y", "HOME": "/z"}
    )
    assert hidden == {"PATH": str(others), "HOME": "/z"}
