"""The benches of stores run, and count what they say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "benches" / "stores.py"


@pytest.mark.timeout(300)
def test_the_bench_of_stores_runs(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH), "--quick", "--json", "--core", "python", "--durability", "none,memory,full"]
    done = subprocess.run([*command, "--folder", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {each["durability"]: each for each in json.loads(done.stdout)["results"]}
    assert list(found) == ["none", "memory", "full"]
    for durability, result in found.items():
        for measure in ("latency", "peak"):
            assert 0 < result[measure]["p50"] <= result[measure]["p99"]
            assert result[measure]["transactions"] > 0
            assert (result[measure]["syncs"] > 0) == (durability == "full")
    assert not list(tmp_path.iterdir()), "it left stores behind"


@pytest.mark.timeout(300)
def test_the_bench_of_catching_up_runs(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH.with_name("catching_up.py")), "--json", "--core", "python", "--events", "300"]
    done = subprocess.run([*command, "--folder", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["result"]
    assert result["behind"] >= 300
    assert min(result["per_s"], result["live_per_s"], result["meanwhile_per_s"]) > 0
