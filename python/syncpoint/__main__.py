"""The command `syncpoint`, also as `python -m syncpoint`."""

from __future__ import annotations

import sys

from .cli import WORKER

__all__ = ["main"]

NEEDED = ("typer", "rich")  # the extra `cli`


def main() -> None:
    """Run the command line; exit code 2 for what the user can put right, 130 when interrupted."""
    if len(sys.argv) == 4 and sys.argv[1] == WORKER:
        from .cli import worker

        worker.main(sys.argv[2], sys.argv[3])
        return
    try:
        from .cli.app import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in NEEDED:
            raise
        print(
            f"syncpoint: the command line needs {error.name}, which is not installed: pip install 'syncpoint[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    app()


if __name__ == "__main__":
    main()
