"""The first thing that a reader copies from the README runs as it stands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .blocks import code_blocks

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
TIMEOUT_S = 60

SAMPLE = """\
# Title

```sh
pip install syncpoint
```

```python title="a.py"
x = 1

print("```")
```

  ~~~python
  y = 2
    # deeper
  ~~~

````markdown
```python
not_this
```
````
"""


def test_blocks_are_found() -> None:
    assert code_blocks(SAMPLE, "python") == ['x = 1\n\nprint("```")\n', "y = 2\n  # deeper\n"]
    assert code_blocks(SAMPLE, "sh") == ["pip install syncpoint\n"]
    assert code_blocks(SAMPLE, "rust") == []
    with pytest.raises(AssertionError, match="no end"):
        code_blocks("```python\nx", "python")


def test_the_first_example_runs_as_it_stands(tmp_path: Path) -> None:
    blocks = code_blocks(README.read_text(encoding="utf-8"), "python")
    assert blocks, "the README shows no Python"
    example = tmp_path / "example.py"
    example.write_text(blocks[0], encoding="utf-8")
    try:
        done = subprocess.run(
            [sys.executable, "-W", "error", str(example)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
        )
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"it does not end by itself within {TIMEOUT_S} s; so far it wrote {error.stdout!r}")
    assert done.returncode == 0, done.stderr
    assert done.stdout, "it shows nothing"
    assert "Traceback" not in done.stderr
