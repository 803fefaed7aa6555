"""The version stands in one place, and everything says the same."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import syncpoint
from syncpoint import _python, backend
from syncpoint._version import CHECKOUT, UNKNOWN, python_form

from .conftest import ROOT

PACKAGE = Path(syncpoint.__file__).parent


def toml(name: str) -> dict[str, object]:
    """A TOML file of the tree, its tables flat: "a.b.c"."""
    flat: dict[str, object] = {}

    def take(prefix: str, value: object) -> None:
        if isinstance(value, dict):
            for key, each in value.items():
                take(f"{prefix}.{key}" if prefix else key, each)
        else:
            flat[prefix] = value

    take("", tomllib.loads((ROOT / name).read_text(encoding="utf-8")))
    return flat


VERSION = str(toml("Cargo.toml")["workspace.package.version"])


def test_everything_says_the_version_of_cargo_toml() -> None:
    assert syncpoint.__version__ == python_form(VERSION)
    assert _python.__version__ == syncpoint.__version__
    assert backend.core_info("python").version == syncpoint.__version__
    for crate in ("rust/core/Cargo.toml", "rust/py/Cargo.toml"):
        assert toml(crate)["package.version.workspace"] is True
    project = toml("pyproject.toml")
    assert "version" in str(project["project.dynamic"])
    assert "project.version" not in project
    pattern = str(project["tool.hatch.version.pattern"])
    found = re.search(pattern, (ROOT / str(project["tool.hatch.version.path"])).read_text(encoding="utf-8"))
    assert found is not None
    assert found["version"] == VERSION


def test_the_lock_file_follows() -> None:
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text(encoding="utf-8"))
    ours = {package["name"]: package["version"] for package in lock["package"] if "source" not in package}
    assert ours == {"syncpoint-core": VERSION, "syncpoint-py": VERSION}


def test_both_backends_and_the_tests_want_the_same_tools() -> None:
    text = (ROOT / "build_backend/syncpoint_build.py").read_text(encoding="utf-8")
    wanted = re.findall(r'"maturin(>=[^"]+)"', text)
    assert len(wanted) == 1
    assert re.findall(r"'maturin(>=[^']+)'", (ROOT / "Makefile").read_text(encoding="utf-8")) == wanted
    hatchling = [need for need in toml("pyproject.toml")["build-system.requires"] if "hatchling" in need]  # type: ignore[attr-defined]
    assert hatchling[0] in toml("pyproject.toml")["project.optional-dependencies.test"]  # type: ignore[operator]


@pytest.mark.parametrize(
    "version",
    ["0.1.0", "1.20.3", "1.0.0-alpha.1", "1.0.0-beta.12", "1.0.0-rc.3", "1.0.0-dev.0", "1.0.0+abc.1", "1.0.0-rc.1+abc"],
)
def test_versions_of_cargo_in_pythons_form(version: str) -> None:
    packaging = pytest.importorskip("packaging.version")
    assert python_form(version) == str(packaging.Version(version))


def test_the_version_is_one_that_both_can_write() -> None:
    packaging = pytest.importorskip("packaging.version")
    assert str(packaging.Version(VERSION)) == python_form(VERSION)


def told(folder: Path) -> list[str]:
    """Version and top of the checkout that the package in a folder finds."""
    code = "import syncpoint._version as v; print(v.__version__); print(v.CHECKOUT)"
    command = [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {code}"]
    # -S: what is installed here has no part in it; the package's other modules would need that.
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_checkout_is_read_an_installation_knows_and_a_copy_does_not(tmp_path: Path) -> None:
    package = tmp_path / "python" / "syncpoint"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copy(PACKAGE / "_version.py", package)
    assert told(package.parent) == [UNKNOWN, "None"]
    info = package.parent / "syncpoint-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: syncpoint\nVersion: 1.2rc1\n")
    assert told(package.parent) == ["1.2rc1", "None"]
    (tmp_path / "Cargo.toml").write_text('[workspace.package]\nversion = "3.4.5-beta.6"\n')
    assert told(package.parent) == ["3.4.5b6", str(tmp_path)]
    # A Cargo.toml that happens to lie above an installation is somebody else's.
    installed = package.parent.rename(tmp_path / "site-packages")
    assert told(installed) == ["1.2rc1", "None"]


def test_this_checkout_is_found() -> None:
    if PACKAGE != ROOT / "python" / "syncpoint":
        pytest.skip("the package under test is installed elsewhere")
    assert CHECKOUT == ROOT
