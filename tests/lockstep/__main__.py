"""`python -m tests.lockstep`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # as pytest finds the tests' packages

from lockstep.campaign import main

sys.exit(main())
