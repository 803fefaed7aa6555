"""Checks what is to be released.

    python build_backend/check_wheels.py contents [--complete] DIST
    python build_backend/check_wheels.py install [--quick] DIST

`contents` looks into every file of the folder DIST, compares the wheels with each other, and runs the tools that
know the formats, which build_backend/requirements.txt lists; with --complete a missing platform is a fault.
`install` installs what fits this Python into empty environments, away from the tree, and runs tests there: each
wheel, and the sdist twice, with a Rust toolchain and with it hidden; with --quick the wheels alone. The tests are those
that tell an installation from the tree; what all the others see is the same code.
"""

from __future__ import annotations

import argparse
import email
import itertools
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.tags import sys_tags
from packaging.utils import parse_wheel_filename

__all__ = ["differences", "faults_of_sdist", "faults_of_wheel", "main", "missing_platforms", "without_toolchain"]

TREE = Path(__file__).resolve().parents[1]
NATIVE = re.compile(r"\.(so|pyd|dylib|dll)$")
NOTE = "syncpoint/_no_native.txt"
IN_SDIST = (
    "Cargo.toml", "Cargo.lock", "LICENSE", "Makefile", "PKG-INFO", "README.md", "pyproject.toml",
    "build_backend/syncpoint_build.py", "build_backend/hatch_note.py", "rust/core/Cargo.toml", "rust/core/src/lib.rs",
    "rust/py/Cargo.toml", "rust/py/src/lib.rs", "python/syncpoint/__init__.py", "python/syncpoint/py.typed",
    "tests/conftest.py", "docs/README.md", "examples/sessions.py",
)  # fmt: skip
NOT_IN_SDIST = re.compile(r"\.(so|pyd|dylib|dll|pyc)$|/(target|dist|__pycache__|\.git|\.venv[^/]*)/")
# Where no platform wheel fits, installers take the pure one without a word: so each of these has to be there.
PLATFORMS = tuple(
    re.compile(f"-{python}-{platform}\\.whl$")
    for python in ("cp311-abi3", "cp314-cp314t")
    for platform in (
        r".*manylinux_2_17_x86_64", r".*manylinux_2_17_aarch64", r"musllinux_1_2_x86_64", r"musllinux_1_2_aarch64",
        r"macosx_\d+_\d+_x86_64", r"macosx_\d+_\d+_arm64", r"win_amd64",
    )
)  # fmt: skip
# The parts of an environment that our requirements ask about; "other" stands for all further values.
MACHINES = ("x86_64", "AMD64", "arm64", "aarch64", "other")
IMPLEMENTATIONS = ("CPython", "PyPy", "other")
TESTS = (
    "tests/api", "tests/core/test_face.py", "tests/core/test_data_files.py",
    "tests/links/test_tls.py", "tests/links/test_strangers.py",
)  # fmt: skip
SDIST_TESTS = ("tests/core/test_face.py",)
SMALL = {
    "SYNCPOINT_DAGS": "50",
    "SYNCPOINT_SCENARIOS": "5",
    "SYNCPOINT_VECTORS": "500",
    "SYNCPOINT_LOCKSTEP": "30",
}


# --- What is in the files ---


def faults_of_wheel(path: Path) -> Iterator[str]:
    """What is wrong with one wheel by itself."""
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
    native = [name for name in names if NATIVE.search(name)]
    if _is_pure(path):
        if native:
            yield f"it is pure, but has {native}"
        if NOTE not in names:
            yield f"it does not say why it has no native core: {NOTE} is missing"
    else:
        if len(native) != 1 or not native[0].startswith("syncpoint/_native."):
            yield f"it is to have one native core, and has {native}"
        if NOTE in names:
            yield f"it has a native core, and {NOTE} denies it"
    strange = [name for name in names if not re.match(r"syncpoint(-[^/]+\.dist-info)?/", name) or name.endswith(".pyc")]
    if strange:
        yield f"it has what does not belong into it: {strange}"


def faults_of_sdist(path: Path) -> Iterator[str]:
    """What an sdist lacks, and what it has too much."""
    with tarfile.open(path) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    lacking = [name for name in IN_SDIST if name not in names]
    if lacking:
        yield f"it lacks {lacking}"
    surplus = sorted(name for name in names if NOT_IN_SDIST.search("/" + name))
    if surplus:
        yield f"it has what belongs to one machine: {surplus}"


def differences(one: Path, other: Path) -> dict[str, tuple[Any, Any]]:
    """What two wheels of one version say of themselves differently, the native core aside."""
    first, second = _description(one), _description(other)
    keys = sorted(first.keys() | second.keys())
    return {key: (first.get(key), second.get(key)) for key in keys if first.get(key) != second.get(key)}


def missing_platforms(names: list[str]) -> list[str]:
    """The platforms that none of the wheels is for."""
    return [platform.pattern for platform in PLATFORMS if not any(map(platform.search, names))]


def _is_pure(wheel: Path) -> bool:
    return wheel.name.endswith("-py3-none-any.whl")


def _description(path: Path) -> dict[str, Any]:
    """Metadata, entry points, licences and the package's files, in a form in which equal means the same."""
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        texts = {name.partition(".dist-info/")[2]: wheel.read(name).decode() for name in names if ".dist-info/" in name}
        sums = {name: wheel.getinfo(name).CRC for name in names if name.startswith("syncpoint/")}
    metadata = email.message_from_string(texts["METADATA"])
    plain: dict[str, Any] = {key: sorted(metadata.get_all(key, [])) for key in metadata if key != "Requires-Dist"}
    plain["Keywords"] = sorted(str(metadata["Keywords"]).split(","))
    plain["Description-Content-Type"] = metadata.get_content_type()
    plain["Description"] = str(metadata.get_payload()).strip()
    for environment in _environments(metadata):
        plain[f"requirements for {environment}"] = sorted(_required(metadata, environment))
    plain["entry points"] = texts["entry_points.txt"].replace(" ", "").split()
    plain["licences"] = {name: text for name, text in texts.items() if name.startswith("licenses/")}
    plain["files"] = {name: sum for name, sum in sums.items() if not NATIVE.search(name) and name != NOTE}
    return plain


def _environments(metadata: Message) -> Iterator[dict[str, str]]:
    extras = ("", *sorted(metadata.get_all("Provides-Extra", [])))
    for machine, implementation, extra in itertools.product(MACHINES, IMPLEMENTATIONS, extras):
        yield {"platform_machine": machine, "platform_python_implementation": implementation, "extra": extra}


def _required(metadata: Message, environment: Mapping[str, str]) -> set[str]:
    """What has to be installed; the package's own extras, which only one of the backends resolves, resolved."""
    found = set()
    for text in metadata.get_all("Requires-Dist", []):
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate(dict(environment)):
            continue
        if requirement.name == metadata["Name"]:
            for extra in requirement.extras:
                found |= _required(metadata, {**environment, "extra": extra})
        else:
            found.add(f"{requirement.name}{requirement.specifier}")
    return found


# --- What other tools say ---


def _run_tools(wheels: list[Path], sdists: list[Path]) -> Iterator[str]:
    stable = [path for path in wheels if "-abi3-" in path.name]
    commands: dict[str, list[str | Path]] = {
        "twine": ["check", "--strict", *wheels, *sdists],
        "check_wheel_contents": [*wheels],
        "abi3audit": ["--strict", "--assume-minimum-abi3", "3.11", *stable],
    }
    if not stable:
        del commands["abi3audit"]
    for module, arguments in commands.items():
        print(f"+ {module}", flush=True)
        command = [sys.executable, "-m", module, *(str(argument) for argument in arguments)]
        if subprocess.run(command, check=False).returncode:
            yield f"{module} found faults"


# --- What happens where they are installed ---


def without_toolchain(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, with cargo and rustc hidden."""
    kept = {key: value for key, value in environment.items() if key not in ("CARGO", "RUSTC")}
    folders = environment.get("PATH", "").split(os.pathsep)
    hidden = [folder for folder in folders if not any(shutil.which(tool, path=folder) for tool in ("cargo", "rustc"))]
    return kept | {"PATH": os.pathsep.join(hidden)}


def _install(wheels: list[Path], sdists: list[Path]) -> Iterator[str]:
    ours = set(sys_tags())
    strange = [key for key in os.environ if key.startswith(("SYNCPOINT_", "PYTHON")) and key != "SYNCPOINT_SEED"]
    usual = {key: value for key, value in os.environ.items() if key not in strange}
    has_tools = not sysconfig.get_config_var("Py_GIL_DISABLED")  # not all that tests need is there without the GIL
    tests, few = (TESTS, SDIST_TESTS) if has_tools else ((), ())
    tried = 0
    for wheel in wheels:
        if ours & parse_wheel_filename(wheel.name)[3]:
            tried += 1
            yield from _try("python" if _is_pure(wheel) else "native", wheel, usual, tests)
    for sdist in sdists:
        tried += 1
        if shutil.which("cargo"):
            yield from _try("native", sdist, usual, few)
        yield from _try("python", sdist, without_toolchain(usual), few)
    if not tried:
        yield "nothing here fits this Python"


def _try(core: str, file: Path, environment: Mapping[str, str], tests: tuple[str, ...]) -> Iterator[str]:
    """Install a file into an empty environment, away from the tree; see the right core chosen; run tests."""
    print(f"+ {file.name}: is the core {core}?", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = folder / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
        for each in ("tests", "docs"):
            shutil.copytree(TREE / each, folder / each, ignore=shutil.ignore_patterns("__pycache__"))
        for each in ("pyproject.toml", "README.md"):
            shutil.copy(TREE / each, folder)
        chosen = "import syncpoint; info = syncpoint.core_info(); print(info); assert info.name == " + repr(core)
        required = {"SYNCPOINT_CORE": core} | ({"SYNCPOINT_REQUIRE_NATIVE": "1"} if core == "native" else {})
        extra = "test" if tests else "cli"
        pip: list[str | Path] = [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-cache-dir",
        ]
        steps: list[tuple[str, list[str | Path], dict[str, str]]] = [
            ("making an environment", [sys.executable, "-m", "venv", python.parents[1]], {}),
            ("installing", [*pip, f"{file.resolve()}[{extra}]"], {}),
            ("the choice of the core", [python, "-W", "error", "-c", chosen], {}),
            ("the command line", [python.with_name("syncpoint"), "--version"], {}),
        ]
        if tests:
            steps.append(("a test", [python, "-m", "pytest", "-q", "--numprocesses", "auto", *tests], SMALL | required))
        for what, command, added in steps:
            arguments = [str(argument) for argument in command]
            if subprocess.run(arguments, cwd=folder, env={**environment, **added}, check=False).returncode:
                yield f"{file.name}: {what} failed"
                return


def _contents(wheels: list[Path], sdists: list[Path], complete: bool) -> Iterator[str]:
    pure = [wheel for wheel in wheels if _is_pure(wheel)]
    if len(sdists) != 1 or len(pure) != 1 or len(wheels) < 2:
        yield f"one sdist, one pure wheel and native ones are needed, not {[path.name for path in wheels + sdists]}"
    for wheel in wheels:
        yield from (f"{wheel.name}: {fault}" for fault in faults_of_wheel(wheel))
        for key, (said, expected) in differences(wheel, *pure[:1]).items() if pure else ():
            yield f"{wheel.name}: its {key} should be that of the pure wheel, {expected}, not {said}"
    for sdist in sdists:
        yield from (f"{sdist.name}: {fault}" for fault in faults_of_sdist(sdist))
    if complete:
        yield from (f"there is no wheel {platform}" for platform in missing_platforms([path.name for path in wheels]))
    yield from _run_tools(wheels, sdists)


def main() -> int:
    """Say every fault; 1 is the exit code if there is one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("contents", "install"))
    parser.add_argument("--complete", action="store_true", help="every platform has to be there")
    parser.add_argument("--quick", action="store_true", help="no sdist")
    parser.add_argument("dist", type=Path, metavar="DIST")
    given = parser.parse_args()
    wheels, sdists = sorted(given.dist.glob("*.whl")), sorted(given.dist.glob("*.tar.gz"))
    if given.what == "contents":
        faults = list(_contents(wheels, sdists, given.complete))
    else:
        faults = list(_install(wheels, [] if given.quick else sdists))
    print(*(f"FAULT: {fault}" for fault in faults), f"{given.what}: {len(faults)} faults", sep="\n", flush=True)
    return min(len(faults), 1)


if __name__ == "__main__":
    sys.exit(main())
