"""All commands under one name."""

from __future__ import annotations

from typing import Annotated

import rich  # noqa: F401 - a part of the extra `cli` that the commands import only when they need it
import typer

from .. import __version__
from ..backend import core_info
from .change import app as change
from .check import check
from .demo import demo
from .dump import dump
from .guard import plain_errors
from .init import init
from .keygen import keygen
from .members import members
from .network import app as network
from .propose import propose
from .replay import replay
from .run import run
from .simulate import simulate_command
from .verify import verify
from .verify_store import verify_store
from .vote import vote

__all__ = ["app"]

app = typer.Typer(
    name="syncpoint",
    help="One agreed order for processes that do not trust each other.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        with plain_errors():
            core = core_info()
        typer.echo(f"syncpoint {__version__}, {core.name} core ({core.reason})")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version and the core, and exit."),
    ] = False,
) -> None:
    """One agreed order for processes that do not trust each other."""


app.command()(demo)
app.command()(keygen)
app.add_typer(network, name="network")
app.command()(init)
app.command()(check)
app.command()(run)
app.add_typer(change, name="change")
app.command()(propose)
app.command()(vote)
app.command()(members)
app.command()(dump)
app.command()(verify)
app.command("verify-store")(verify_store)
app.command()(replay)
app.command("simulate")(simulate_command)
