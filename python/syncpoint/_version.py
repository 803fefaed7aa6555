"""The version: Cargo.toml says it for both cores, an installation carries it along."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

__all__ = ["CHECKOUT", "UNKNOWN", "__version__", "python_form"]

UNKNOWN = "0+unknown"  # of a package that was copied by hand from where it knew

_CARGO_VERSION = re.compile(r'^version = "([^"]+)"', re.MULTILINE)
_PRE_RELEASE = re.compile(r"(?<=\d)-(alpha|beta|rc|dev)\.(?=\d)")
_SHORT = {"alpha": "a", "beta": "b", "rc": "rc", "dev": ".dev"}


def python_form(version: str) -> str:
    """A version as Cargo writes it in the form that Python packages have: "1.2.0-rc.3" is "1.2.0rc3"."""
    return _PRE_RELEASE.sub(lambda found: _SHORT[found[1]], version)


def _find_checkout() -> Path | None:
    """The top of the source tree, where the package is used from one, with or without an editable installation."""
    source, top = Path(__file__).parents[1:3]
    return top if source.name == "python" and (top / "Cargo.toml").is_file() else None


def _find_version() -> str:
    # What an editable installation wrote down when it was made may be old by now, so the tree goes first.
    if CHECKOUT is not None:
        found = _CARGO_VERSION.search((CHECKOUT / "Cargo.toml").read_text(encoding="utf-8"))
        return python_form(found[1]) if found else UNKNOWN
    try:
        return metadata.version("syncpoint")
    except metadata.PackageNotFoundError:
        return UNKNOWN


CHECKOUT = _find_checkout()
__version__ = _find_version()
