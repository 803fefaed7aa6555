"""`python -m tests.store`: kill peers under load, and count what is lost; `... full`: fill their disks."""

import sys

from . import full, kills

if sys.argv[1:2] == ["full"]:
    full.main(sys.argv[2:])
else:
    kills.main()
