"""What a command does with an exception: one clear line on standard error, and an exit code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NoReturn

import typer

from ..errors import SyncpointError

__all__ = ["FAILED", "INTERRUPTED", "MISUSE", "STALLED", "fail", "note", "one_line", "plain_errors"]

FAILED = 1  # what was asked for was tried and did not hold
MISUSE = 2  # the user can put it right
STALLED = 3  # nothing moved any more
INTERRUPTED = 130  # as shells have it: 128 + SIGINT


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what the user can put right into one line and exit code 2, Ctrl-C into exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        fail("standard output was closed by whoever read it", FAILED)
    except (SyncpointError, ValueError, TypeError, OSError) as error:
        fail(one_line(error), MISUSE)


def fail(message: str, code: int) -> NoReturn:
    """End the command with a line on standard error."""
    note(message)
    raise typer.Exit(code) from None


def note(message: str) -> None:
    """A line on standard error."""
    typer.echo(f"syncpoint: {message}", err=True)


def one_line(error: BaseException) -> str:
    """An exception's message without line breaks, error numbers and the like."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return " ".join(text.split()) or type(error).__name__
