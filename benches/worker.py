"""A peer of `cluster.py` whose links are not what they usually are.

    python benches/worker.py plain uvloop native 127.0.0.1:0

Without TLS, to see what TLS costs; on uvloop. No setting of the package leads to links without TLS.
"""

from __future__ import annotations

import sys
from pathlib import Path

from syncpoint.cli import worker
from syncpoint.cli.loop import Loop
from syncpoint.runtime import transport

sys.path.append(str(Path(__file__).parents[1]))
from tests.runtime.nodes import Plain

LINKS = ("tls", "plain")

if __name__ == "__main__":
    links, loop, core, address = sys.argv[1:]
    if links == "plain":
        transport._tls = lambda settings: Plain()
    worker.main(core, address, Loop(loop))
