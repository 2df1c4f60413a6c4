"""The command line: `jorbit quickstart | train | evaluate | predict | md | relax | label | orbits | rank | ...`."""

from jorbit.cli.app import app, main

__all__ = ["app", "main"]
