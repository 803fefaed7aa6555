"""The command line: one file per command, `app` puts them together."""

__all__ = ["WORKER"]

WORKER = "worker"
"""The hidden command of one peer of a `cluster`; many start at once, so it is spared typer and rich."""
