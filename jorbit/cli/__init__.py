"""The command line: `jorbit quickstart | train | evaluate | predict | md | relax | label | list | info | doctor`."""

from jorbit.cli.app import app, main

__all__ = ["app", "main"]
