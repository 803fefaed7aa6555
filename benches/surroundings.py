"""What figures were measured on: they mean nothing without it."""

from __future__ import annotations

import os
import platform
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from syncpoint.backend import core_info
from syncpoint.errors import CoreUnavailable

ROOT = Path(__file__).parents[1]
PACKAGES = ("blake3", "PyNaCl", "pytest-benchmark")
CRATES = ("blake3", "curve25519-dalek", "ed25519-dalek", "pyo3")


def cores() -> list[str]:
    """The cores that can run here."""
    try:
        core_info("native")
    except CoreUnavailable:
        return ["python"]
    return ["python", "native"]


def describe() -> list[str]:
    """The machine, its load, and all versions, one thing per line."""
    lines = [
        f"CPU      {_cpu()}, {os.cpu_count()} cores, load {_load()}",
        f"system   {platform.system()} {platform.release()} {platform.machine()}",
        f"Python   {platform.python_implementation()} {platform.python_version()}, {_versions()}",
    ]
    for core in cores():
        info = core_info(core)
        lines.append(f"{core:8} syncpoint {info.version}, BLAKE3 of {info.hash}, {Path(info.file).name}")
    if "native" in cores():
        lines.append(f"crates   {_crates()}")
        lines.append(f"build    profile release as in Cargo.toml: {_profile()}")
    return lines


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _load() -> str:
    return " ".join(f"{each:.2f}" for each in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"


def _versions() -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"no {package}")
    return ", ".join(found)


def _crates() -> str:
    """Of the checkout, which is what the native core was built from unless somebody forgot to."""
    try:
        lock = tomllib.loads((ROOT / "Cargo.lock").read_text(encoding="utf-8"))
    except OSError:
        return "unknown: no Cargo.lock"
    return ", ".join(f"{each['name']} {each['version']}" for each in lock["package"] if each["name"] in CRATES)


def _profile() -> str:
    try:
        profile = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["profile"]["release"]
    except (OSError, KeyError):
        return "unknown"
    return ", ".join(f"{name} {str(value).lower()}" for name, value in profile.items())
